package recorder

import (
	"encoding/binary"
	"hash/maphash"
)

// prefixes knows which beginnings of prompts were seen before, and gives their blocks of tokens identifiers: prompts
// that begin alike have the same ones there. How many tokens a prompt has is known of the whole alone, so within it
// tokens are counted as spread evenly over what is new of its text. It forgets what was not seen for long.
type prefixes struct {
	block int // tokens of an identifier
	chunk int // bytes of text that are compared at a time
	seed  maphash.Seed
	last  int64 // identifier that was given

	pieces generations[piece]
	marks  generations[mark]
}

// piece is a chunk of text behind all those before it.
type piece struct {
	tokens int   // of the text up to its end
	first  int64 // identifier of the first block that ends in it
}

// mark is a conversation up to an answer.
type mark struct {
	session int64
	turn    int // of the answer
	taken   bool
}

// What is remembered: of text about 32 MiB at a time, of conversations so many.
const (
	mostPieces = 1 << 19
	mostMarks  = 1 << 17
)

func newPrefixes(block int) *prefixes {
	p := &prefixes{block: block, chunk: max(64, block), seed: maphash.MakeSeed()}
	p.pieces.limit, p.marks.limit = mostPieces, mostMarks
	return p
}

// chain is the hash of a text that follows one with the hash h.
func (p *prefixes) chain(h uint64, text []byte) uint64 {
	var m maphash.Hash
	m.SetSeed(p.seed)
	var before [8]byte
	binary.LittleEndian.PutUint64(before[:], h)
	m.Write(before[:])
	m.Write(text)
	return m.Sum64()
}

// identifiers returns those of the blocks of a prompt with so many tokens, and remembers it.
func (p *prefixes) identifiers(text []byte, tokens int) []int64 {
	want := (tokens + p.block - 1) / p.block
	ids := make([]int64, 0, want+1)
	add := func(first int64, n int) {
		for i := range n {
			ids = append(ids, first+int64(i))
		}
	}
	h, at := uint64(0), 0
	for len(text) >= p.chunk {
		next := p.chain(h, text[:p.chunk])
		known, ok := p.pieces.get(next)
		if !ok {
			break
		}
		add(known.first, known.tokens/p.block-at/p.block)
		h, at, text = next, known.tokens, text[p.chunk:]
	}
	shared, fresh, rest := at, max(0, tokens-at), len(text)
	for done := p.chunk; done <= rest; done += p.chunk {
		h = p.chain(h, text[done-p.chunk:done])
		end := shared + int(int64(fresh)*int64(done)/int64(rest))
		n := end/p.block - at/p.block
		add(p.last+1, n)
		p.pieces.put(h, piece{end, p.last + 1})
		p.last += int64(n)
		at = end
	}
	if n := want - len(ids); n > 0 { // the last block is not full, or ends within the last chunk
		add(p.last+1, n)
		p.last += int64(n)
	}
	return ids[:want]
}

// generations is a map that forgets: when the young half is full, the old one goes. What is asked for stays young.
type generations[T any] struct {
	young, old map[uint64]T
	limit      int // of each half
	forgot     bool
}

func (g *generations[T]) get(key uint64) (v T, ok bool) {
	if v, ok = g.young[key]; ok {
		return v, true
	}
	if v, ok = g.old[key]; ok {
		g.put(key, v)
	}
	return v, ok
}

func (g *generations[T]) put(key uint64, v T) {
	if len(g.young) >= g.limit {
		g.forgot = g.forgot || len(g.old) > 0
		g.old, g.young = g.young, nil
	}
	if g.young == nil {
		g.young = map[uint64]T{}
	}
	g.young[key] = v
}
