package llmsim

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// loop is the one goroutine that runs the engine and writes its tokens.
type loop struct {
	server *Server
	sleep  sleeper
	done   chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	incoming []*stream
	aborting []*stream
	stopping bool
	news     atomic.Bool   // one of the three above is set
	kick     chan struct{} // wakes the goroutine when it is idle

	// The goroutine's own from here.
	spare   []*stream
	spare2  []*stream
	scratch scratch
}

// scratch is memory that the loop uses again for every token.
type scratch struct{ payload, frame []byte }

func startLoop(s *Server) (*loop, error) {
	l := &loop{server: s, done: make(chan struct{}), kick: make(chan struct{}, 1)}
	if s.cfg.VirtualTime {
		l.sleep = timerSleeper(s.origin)
	} else {
		l.sleep = preciseSleeper(s.origin)
	}
	if s.cfg.Fixed {
		go l.runFixed()
		return l, nil
	}
	engine, err := NewEngine(s.cfg)
	if err != nil {
		return nil, err
	}
	speed, err := NewSpeed(s.cfg.Speed, s.cfg.Seed)
	if err != nil {
		return nil, err
	}
	go l.runEngine(engine, speed)
	return l, nil
}

// submit hands a stream to the loop, which has it until it releases it.
func (l *loop) submit(st *stream) {
	l.mu.Lock()
	l.incoming = append(l.incoming, st)
	l.news.Store(true)
	l.mu.Unlock()
	l.wake()
}

// abort asks the loop to release a stream early. For one already released it does nothing.
func (l *loop) abort(st *stream) {
	l.mu.Lock()
	l.aborting = append(l.aborting, st)
	l.news.Store(true)
	l.mu.Unlock()
	l.wake()
}

// stop ends the goroutine and waits for it. What it still has is not released; handlers look at done.
func (l *loop) stop() {
	l.mu.Lock()
	l.stopping = true
	l.news.Store(true)
	l.mu.Unlock()
	l.wake()
	<-l.done
}

func (l *loop) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// take fetches what was submitted and aborted since the last call. The slices are valid until the next one.
func (l *loop) take() (incoming, aborting []*stream, stop bool) {
	if !l.news.Load() {
		return nil, nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.news.Store(l.stopping)
	clear(l.spare)
	clear(l.spare2)
	incoming, aborting = l.incoming, l.aborting
	l.incoming, l.spare = l.spare[:0], l.incoming
	l.aborting, l.spare2 = l.spare2[:0], l.aborting
	return incoming, aborting, l.stopping
}

// longestNap bounds how long the loop sleeps before it looks whether it is to stop, in ns.
const longestNap = 100_000_000

// sleepUntil sleeps until an instant of the server's clock. It reports false when the loop is to stop.
func (l *loop) sleepUntil(until int64) bool {
	for now := l.server.since(); until-now > longestNap; now = l.server.since() {
		l.sleep(now + longestNap)
		if l.ending() {
			return false
		}
	}
	l.sleep(until)
	return true
}

func (l *loop) ending() bool {
	if !l.news.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stopping
}

// release lets go of a stream, once.
func (l *loop) release(st *stream, outcome string) {
	if st.loopPos.released {
		return
	}
	st.loopPos.released = true
	l.server.metrics.finished(st)
	st.release(outcome)
}

// runEngine steps the engine on the clock. Step times are a function of the requests' arrival stamps alone: a step
// begins where the one before it ended, or when a request found the engine idle, and takes in what had arrived by then.
// It takes the engine's cost of it divided by the speed (nil: 1) at its beginning. If the loop is late, it is late in
// writing; the engine's schedule does not move.
func (l *loop) runEngine(engine *Engine, speed *Speed) {
	defer close(l.done)
	var arrived []*stream // submitted to the loop, not yet to the engine
	m := &l.server.metrics
	now := int64(0) // the engine's time
	for {
		incoming, aborting, stop := l.take()
		if stop {
			return
		}
		arrived = append(arrived, incoming...)
		for _, st := range aborting {
			if st.loopPos.released {
				continue
			}
			if !engine.Abort(&st.seq) {
				for i, a := range arrived {
					if a == st {
						arrived = append(arrived[:i], arrived[i+1:]...)
						break
					}
				}
			}
			l.release(st, "abort")
		}

		if !engine.Busy() {
			if len(arrived) == 0 {
				m.observe(engine, 0)
				<-l.kick
				continue
			}
			now = max(now, arrived[0].arrival)
		}
		kept := arrived[:0]
		for _, st := range arrived {
			if st.arrival > now {
				kept = append(kept, st)
				continue
			}
			m.submitted(&st.seq)
			if err := engine.Submit(&st.seq); err != nil {
				// max_model_len keeps this from happening; if it does, it is the engine that failed.
				outcome := "error"
				if errors.Is(err, ErrTooLong) {
					outcome = "refused"
				}
				l.release(st, outcome)
			}
		}
		clear(arrived[len(kept):])
		arrived = kept

		step := engine.Step()
		now += int64(speed.Stretch(step.Duration, time.Duration(now)))
		m.observe(engine, len(arrived))
		m.stepped(step)
		if !l.sleepUntil(now) {
			return
		}
		m.late(l.server.since() - now)
		for _, s := range step.Tokens {
			st := s.Tag.(*stream)
			if st.loopPos.released {
				continue
			}
			if !st.emit(&l.scratch, now, s.Generated, 1) {
				engine.Abort(s) // only where the stream ended before the sequence
				l.release(st, "")
			}
		}
	}
}
