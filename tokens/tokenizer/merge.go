package tokenizer

import "math"

// merger merges the bytes of a piece. It is kept from piece to piece to spare allocations.
type merger struct {
	parts []mergePart
	queue []candidate // a binary heap, the first merge to do in front
}

// mergePart is a token of the piece, linked to its neighbours; next is -1 at the end, id is -1 once it was merged away.
type mergePart struct {
	id         int32
	prev, next int32
}

// candidate is a pair that could be merged, if its parts are still the ones that it was found with.
type candidate struct {
	rank, at    int32
	left, right int32
}

// start begins a piece.
func (w *merger) start() { w.parts, w.queue = w.parts[:0], w.queue[:0] }

// add puts a token behind the others of the piece.
func (w *merger) add(id int32) {
	at := int32(len(w.parts))
	w.parts = append(w.parts, mergePart{id, at - 1, at + 1})
}

// mergeBytes appends the tokens of a piece that starts as its bytes.
func (w *merger) mergeBytes(t *huggingFace, piece string, ids []int) []int {
	w.start()
	for i := range len(piece) {
		w.add(t.bytes[piece[i]])
	}
	return w.merge(t, ids)
}

// merge appends the tokens of what was added. Of all pairs the one that comes first in the order of merging is joined,
// the leftmost where several are equal, until no pair is in that order.
func (w *merger) merge(t *huggingFace, ids []int) []int {
	if len(w.parts) == 0 || len(w.parts) > math.MaxInt32 {
		return ids
	}
	w.parts[len(w.parts)-1].next = -1
	for i := range len(w.parts) - 1 {
		w.consider(t, int32(i))
	}
	for len(w.queue) > 0 {
		c := w.pop()
		left := &w.parts[c.at]
		if left.id != c.left || left.next < 0 || w.parts[left.next].id != c.right {
			continue
		}
		right := &w.parts[left.next]
		left.id = t.merges[pair{c.left, c.right}].id
		right.id = -1
		left.next = right.next
		if left.next >= 0 {
			w.parts[left.next].prev = c.at
			w.consider(t, c.at)
		}
		if left.prev >= 0 {
			w.consider(t, left.prev)
		}
	}
	for i := int32(0); i >= 0; i = w.parts[i].next {
		ids = append(ids, int(w.parts[i].id))
	}
	return ids
}

// consider puts the pair that starts at a part into the queue.
func (w *merger) consider(t *huggingFace, at int32) {
	left := w.parts[at]
	right := w.parts[left.next].id
	m, ok := t.merges[pair{left.id, right}]
	if !ok {
		return
	}
	w.queue = append(w.queue, candidate{m.rank, at, left.id, right})
	for i := len(w.queue) - 1; i > 0; {
		up := (i - 1) / 2
		if !w.queue[i].before(w.queue[up]) {
			break
		}
		w.queue[i], w.queue[up] = w.queue[up], w.queue[i]
		i = up
	}
}

func (w *merger) pop() candidate {
	first, last := w.queue[0], len(w.queue)-1
	w.queue[0] = w.queue[last]
	w.queue = w.queue[:last]
	for i := 0; ; {
		least := i
		for _, down := range []int{2*i + 1, 2*i + 2} {
			if down < last && w.queue[down].before(w.queue[least]) {
				least = down
			}
		}
		if least == i {
			return first
		}
		w.queue[i], w.queue[least] = w.queue[least], w.queue[i]
		i = least
	}
}

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}
