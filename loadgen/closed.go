package loadgen

import (
	"context"
	"time"
)

// closedLoop waits until sending ends, or there is no request left to begin.
func (run *Run) closedLoop() {
	select {
	case <-run.sending.Done():
	case <-run.allSent:
	}
}

// SetStreams changes how many requests a closed-loop stage keeps in flight. Streams that are no longer wanted end with
// the request they are at.
func (run *Run) SetStreams(n int) {
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.closed || run.sending.Err() != nil {
		return
	}
	for len(run.streams) > n {
		last := len(run.streams) - 1
		run.streams[last]()
		run.streams = run.streams[:last]
	}
	now, first := run.clock.Now(), !run.begun
	run.begun = true
	for len(run.streams) < n {
		ctx, cancel := context.WithCancel(run.sending)
		delay := time.Duration(0)
		if first {
			now = run.result.Start
			delay = run.stage.Load.RampUp * time.Duration(len(run.streams)) / time.Duration(n)
		}
		run.streams = append(run.streams, cancel)
		run.requests.Add(1)
		free := max(now, run.result.Start) + int64(delay)
		go run.stream(ctx, time.Duration(free-run.clock.Now()), free)
	}
}

// afterRefusal is how long a stream of a closed loop waits when no connection could be made.
const afterRefusal = 100 * time.Millisecond

// stream sends one request after the other. free is the time from which it may.
func (run *Run) stream(ctx context.Context, delay time.Duration, free int64) {
	defer run.requests.Done()
	if !wait(ctx, delay) {
		return
	}
	for ctx.Err() == nil && run.sending.Err() == nil { // the stage's own end shows itself in the second first
		a, ok := run.nextOfStream(ctx)
		if !ok {
			return
		}
		a.rec.noteRequest(a.req, free)
		a.session.mark(a.rec, a.turn)
		a.rec.Started = run.clock.Now()
		if !run.takeSlot(a.rec) {
			if a.session != nil {
				run.turnsLeft.Done()
			}
			return
		}
		run.mu.Lock()
		r := run.idleReader()
		run.mu.Unlock()
		r.encode(&a.req)
		run.send(r, a)
		for next, ok := run.follow(r, a); ok && run.sendTurn(r, &next); next, ok = run.follow(r, a) {
			a = next
		}
		run.leave(r)
		free = run.clock.Now()
		if (a.rec.Err == ErrConnect || a.rec.Err == ErrLocal) && !wait(ctx, afterRefusal) {
			return
		}
	}
}

// takeSlot waits for a slot of the concurrency cap; false if sending ended before there was one, and the request is
// NotSent.
func (run *Run) takeSlot(rec *Record) bool {
	select {
	case run.slots <- struct{}{}:
		return true
	default:
	}
	rec.Flags |= DelayedByCap
	run.delayedByCap.Add(1)
	select {
	case run.slots <- struct{}{}:
		return true
	case <-run.sending.Done():
		return false
	}
}

// nextOfStream hands a stream its next request; ok is false if there is none. The source is asked by one stream at a
// time, and holds up no request that is under way.
func (run *Run) nextOfStream(ctx context.Context) (a job, ok bool) {
	select {
	case run.turn <- struct{}{}:
	case <-ctx.Done():
		return a, false
	}
	defer func() { <-run.turn }()
	if ctx.Err() != nil {
		return a, false
	}
	a.i = run.next // only who has the turn changes it
	if limit := run.stage.MaxRequests; limit > 0 && a.i >= limit {
		run.endStreams()
		return a, false
	}
	var err error
	if a.req, err = run.request(a.i); err != nil {
		run.stop(StopSource, err) // which ends all streams
		return a, false
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	a.session = run.begin(a.req, run.next)
	run.next++
	a.i = run.arena.count
	a.rec, a.detail = run.arena.add()
	return a, true
}

// endStreams ends a closed loop that has no request left to begin.
func (run *Run) endStreams() {
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.closed {
		return
	}
	run.closed = true
	close(run.allSent)
	for _, cancel := range run.streams { // those that still wait for their turn in the ramp-up
		cancel()
	}
}

// wait sleeps, and is false if the context ended before.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
