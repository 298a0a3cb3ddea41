package recorder

import (
	"sync"
	"sync/atomic"
	"time"
)

// tap holds copies of answers that have passed, and the requests that they answer, until they are read. Adding to it
// never waits: what goes beyond the memory for all connections ends it. A request wakes nobody, since it is passed
// on just then.
type tap struct {
	kept *atomic.Int64 // bytes of all

	mu     sync.Mutex
	more   sync.Cond
	pieces []copied
	asked  []request
	err    error // after the last piece
	off    bool  // nothing is kept any more

	// Of the reader alone.
	rest []byte
	at   time.Time // when what was read last had come
}

type copied struct {
	bytes []byte
	at    time.Time
}

func newTap(kept *atomic.Int64) *tap {
	t := &tap{kept: kept}
	t.more.L = &t.mu
	return t
}

// errBehind ends a tap whose reader does not keep up.
type errBehind struct{}

func (errBehind) Error() string { return "answers came faster than they could be read" }

// add adds a copy.
func (t *tap) add(p []byte, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.off {
		return
	}
	if t.kept.Add(int64(len(p))) > mostKept {
		t.kept.Add(-int64(len(p)))
		t.off, t.err = true, errBehind{}
	} else {
		t.pieces = append(t.pieces, copied{append([]byte(nil), p...), at})
	}
	t.more.Signal()
}

// close ends it after what was added so far.
func (t *tap) close(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	t.off = true
	t.more.Signal()
}

// stop drops what was added, and all that will be.
func (t *tap) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pieces {
		t.kept.Add(-int64(len(p.bytes)))
	}
	t.pieces, t.off = nil, true
}

// ended says whether it was closed.
func (t *tap) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err != nil
}

// settle is how long after something has passed its copy is read: whoever it passed to has the processor first.
const settle = 2 * time.Millisecond

// expect adds a request, which is to be answered after those before.
func (t *tap) expect(q request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = append(t.asked, q)
}

// next takes the request that is answered next; false if there is none.
func (t *tap) next() (q request, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.asked) == 0 {
		return q, false
	}
	q, t.asked = t.asked[0], t.asked[1:]
	return q, true
}

// wait waits until there is something to read, or nothing more will come.
func (t *tap) wait() {
	if len(t.rest) > 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.pieces) == 0 && t.err == nil {
		t.more.Wait()
		t.mu.Unlock()
		time.Sleep(settle)
		t.mu.Lock()
	}
}

// Read implements io.Reader.
func (t *tap) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		t.wait()
		t.mu.Lock()
		if len(t.pieces) == 0 {
			defer t.mu.Unlock()
			return 0, t.err
		}
		next := t.pieces[0]
		t.pieces = t.pieces[1:]
		t.mu.Unlock()
		t.rest, t.at = next.bytes, next.at
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	t.kept.Add(-int64(n))
	return n, nil
}
