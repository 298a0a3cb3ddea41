package tokens

import (
	"context"
	"sync"
)

// AheadConfig bounds what an [Ahead] keeps ready. The zero value is 4,096 items or 64 MiB, whichever is reached first.
type AheadConfig struct {
	Items int // 0 is 4,096
	Bytes int // 0 is 64 MiB; one item is kept ready however large it is
}

// Ahead builds the items of a source in its own goroutine, so that the caller of [Ahead.Next] only takes what lies ready.
// The items come in the source's order, the same in every run; memory stays within the configured bounds however long the
// run is.
type Ahead struct {
	cfg    AheadConfig
	cancel context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	filled   sync.Cond // something became ready, or the end did
	drained  sync.Cond // there is room for more
	ring     []Item    // of a length that is a power of two
	head, n  int
	bytes    int
	err      error // why nothing follows what is in the ring
	starved  int64
	built    int64
	sleeping bool // the builder waits for room
}

// NewAhead starts to build. The builder ends when ctx is done, at the source's end or error, or at [Ahead.Close].
func NewAhead(ctx context.Context, source Source, cfg AheadConfig) *Ahead {
	if cfg.Items <= 0 {
		cfg.Items = 4096
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = 64 << 20
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &Ahead{cfg: cfg, cancel: cancel, done: make(chan struct{}), ring: make([]Item, 16)}
	a.filled.L, a.drained.L = &a.mu, &a.mu
	stop := context.AfterFunc(ctx, func() { a.end(context.Cause(ctx)) })
	go func() {
		defer close(a.done)
		defer stop()
		a.build(source)
	}()
	return a
}

func (a *Ahead) build(source Source) {
	for i := 0; a.room(); i++ {
		it, err := source(i)
		if err != nil {
			a.end(err)
			return
		}
		a.put(it)
	}
}

// room waits until the buffer takes another item; false says that the end came first. Once full, it waits until half is
// taken: the builder then works in long stretches, and most calls of Next wake nobody.
func (a *Ahead) room() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n >= a.cfg.Items || a.bytes >= a.cfg.Bytes {
		for a.err == nil && a.n > 0 && (2*a.n > a.cfg.Items || 2*a.bytes > a.cfg.Bytes) {
			a.sleeping = true
			a.drained.Wait()
		}
		a.sleeping = false
	}
	return a.err == nil
}

func (a *Ahead) put(it Item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	if a.n == len(a.ring) {
		grown := make([]Item, 2*len(a.ring))
		copied := copy(grown, a.ring[a.head:])
		copy(grown[copied:], a.ring[:a.head])
		a.ring, a.head = grown, 0
	}
	a.ring[(a.head+a.n)&(len(a.ring)-1)] = it
	a.n++
	a.built++
	a.bytes += it.size()
	a.filled.Broadcast()
}

func (a *Ahead) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil {
		a.err = err
	}
	a.filled.Broadcast()
	a.drained.Broadcast()
}

// Next takes the next item. It waits only where none is ready, which [Ahead.Starved] counts. After the last item it returns
// the source's error (io.EOF at the end), or the context's cause once the context is done or the Ahead closed.
func (a *Ahead) Next() (Item, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == 0 && a.err == nil {
		a.starved++
		for a.n == 0 && a.err == nil {
			a.filled.Wait()
		}
	}
	if a.n == 0 {
		return Item{}, a.err
	}
	it := a.ring[a.head]
	a.ring[a.head] = Item{} // the collector may have its texts
	a.head = (a.head + 1) & (len(a.ring) - 1)
	a.n--
	a.bytes -= it.size()
	if a.sleeping && 2*a.n <= a.cfg.Items && 2*a.bytes <= a.cfg.Bytes || a.sleeping && a.n == 0 {
		a.sleeping = false
		a.drained.Signal()
	}
	return it, nil
}

// Fill waits until n items are ready, the buffer is full or the source has ended, and returns why it ended if it did before
// it gave anything. Call it before the first request is due.
func (a *Ahead) Fill(n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.n < n && a.n < a.cfg.Items && a.bytes < a.cfg.Bytes && !a.sleeping && a.err == nil {
		a.filled.Wait()
	}
	if a.n == 0 {
		return a.err
	}
	return nil
}

// Starved is how often Next found nothing ready and had to wait. More than 0 means that prompts were not built as fast as
// they were sent.
func (a *Ahead) Starved() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.starved
}

// Built is how many items the source has given so far.
func (a *Ahead) Built() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.built
}

// Close ends the builder and waits for it. Items that are ready can still be taken.
func (a *Ahead) Close() {
	a.cancel()
	<-a.done
}
