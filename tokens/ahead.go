package tokens

import (
	"context"
	"sync"

	"github.com/openloop/openloop/loadgen"
)

// ready is a request that can be sent, with what a saved workload says of it beside.
type ready struct {
	request                    loadgen.Request
	index                      int
	prefixTokens, promptTokens int
}

// size is what a request holds in memory, in bytes, near enough to bound a buffer by it.
func (r ready) size() int {
	n := 160 + len(r.request.Body)
	if s := r.request.Session; s != nil {
		for i := range s.Turns {
			n += 160 + len(s.Turns[i].Head) + len(s.Turns[i].Messages) + len(s.Turns[i].Answer)
		}
	}
	return n
}

// bounds limit what an ahead keeps ready; one request is kept ready however large it is.
type bounds struct{ items, bytes int }

// aheadMost is what lies ready at most in a long stage.
var aheadMost = bounds{4096, 64 << 20}

// firstShare divides the bounds at first: a stage of one request should not build thousands.
const firstShare = 16

// ahead builds the requests of a stage in its own goroutine, so that the caller of next only takes what lies ready.
// They come in order, the same in every run. It fills in steps: what lies ready is a sixteenth of its bounds at first,
// and doubles each time as much was taken, so that never much more is built than is sent.
type ahead struct {
	most   bounds
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	filled   sync.Cond // something became ready, or the end did
	drained  sync.Cond // there is room for more
	ring     []ready   // of a length that is a power of two
	head, n  int
	bytes    int
	share    int    // of the bounds, one in so many
	taken    bounds // since share became what it is
	err      error  // why nothing follows what is in the ring
	sleeping bool   // the builder waits for room
}

// newAhead starts to build. The builder ends when ctx is done, at the first error of build, or at close.
func newAhead(ctx context.Context, build func(i int) (ready, error), most bounds) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{most: most, cancel: cancel, done: make(chan struct{}), ring: make([]ready, 16), share: firstShare}
	a.filled.L, a.drained.L = &a.mu, &a.mu
	stop := context.AfterFunc(ctx, func() { a.end(context.Cause(ctx)) })
	go func() {
		defer close(a.done)
		defer stop()
		for i := 0; a.room(); i++ {
			r, err := build(i)
			if err != nil {
				a.end(err)
				return
			}
			a.put(r)
		}
	}()
	return a
}

// limits are the bounds of this step.
func (a *ahead) limits() bounds {
	return bounds{max(1, a.most.items/a.share), max(1, a.most.bytes/a.share)}
}

func (a *ahead) full() bool {
	l := a.limits()
	return a.n >= l.items || a.bytes >= l.bytes
}

// low says whether no more than half of what may lie ready does.
func (a *ahead) low() bool {
	l := a.limits()
	return a.n == 0 || 2*a.n <= l.items && 2*a.bytes <= l.bytes
}

// room waits until the buffer takes another request; false says that the end came first. Once full, it waits until half
// is taken: the builder then works in long stretches, and most calls of next wake nobody.
func (a *ahead) room() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full() {
		for a.err == nil && !a.low() {
			a.sleeping = true
			a.drained.Wait()
		}
		a.sleeping = false
	}
	return a.err == nil
}

func (a *ahead) put(r ready) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	if a.n == len(a.ring) {
		grown := make([]ready, 2*len(a.ring))
		copied := copy(grown, a.ring[a.head:])
		copy(grown[copied:], a.ring[:a.head])
		a.ring, a.head = grown, 0
	}
	a.ring[(a.head+a.n)&(len(a.ring)-1)] = r
	a.n++
	a.bytes += r.size()
	a.filled.Broadcast()
}

func (a *ahead) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.filled.Broadcast()
	a.drained.Broadcast()
}

// next takes the next request. It waits only where none is ready. After the last one it returns the error that ended
// the building (io.EOF at the end of the requests), or the context's cause once the context is done.
func (a *ahead) next() (ready, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.n == 0 && a.err == nil {
		a.filled.Wait()
	}
	if a.n == 0 {
		return ready{}, a.err
	}
	r := a.ring[a.head]
	a.ring[a.head] = ready{} // the collector may have its body
	a.head = (a.head + 1) & (len(a.ring) - 1)
	a.n--
	a.bytes -= r.size()
	a.taken.items++
	a.taken.bytes += r.size()
	if l := a.limits(); a.share > 1 && (a.taken.items >= l.items || a.taken.bytes >= l.bytes) {
		a.share /= 2
		a.taken = bounds{}
	}
	if a.sleeping && a.low() {
		a.sleeping = false
		a.drained.Signal()
	}
	return r, nil
}

// fill waits until the first step is ready or the building has ended, and returns why it ended if it did before it gave
// anything. It is called before the first request is due.
func (a *ahead) fill() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.full() && !a.sleeping && a.err == nil {
		a.filled.Wait()
	}
	if a.n == 0 {
		return a.err
	}
	return nil
}

// close ends the builder, waits for it, and lets go of what was not taken.
func (a *ahead) close() {
	a.cancel()
	<-a.done
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ring, a.head, a.n, a.bytes = nil, 0, 0, 0
}
