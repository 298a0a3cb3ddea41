package loadgen

import (
	"context"
	"time"
)

// heartbeat is how often the stage's heart beats, frozenFloor how late a beat may come without being noticed: a busy
// machine's scheduler takes that long.
const (
	heartbeat   = 100 * time.Millisecond
	frozenFloor = 50 * time.Millisecond
)

// heart notices that the process stood still: stopped by a signal or a debugger, on a machine that slept, or without a
// processor. An open loop shows that by late requests; a closed one only sends fewer, as if the server were slower.
type heart struct {
	last    int64         // when it beat last, on the stage's clock
	frozen  time.Duration // for how long it stood still in all
	longest time.Duration // … and at a time
}

// beat takes note of a beat.
func (h *heart) beat(now int64) {
	if late := time.Duration(now-h.last) - heartbeat; late > frozenFloor {
		h.frozen += late
		h.longest = max(h.longest, late)
	}
	h.last = now
}

// startHeart starts the stage's heart, which also keeps the clock's distance to the wall clock fresh. It must be
// stopped before it is read.
func (run *Run) startHeart() (h *heart, stop func()) {
	h = &heart{last: run.clock.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				h.beat(run.clock.Now())
				run.clock.Calibrate()
			case <-ctx.Done():
				return
			}
		}
	}()
	return h, func() {
		cancel()
		<-ended
		h.beat(run.clock.Now()) // it may be the end that came late
	}
}
