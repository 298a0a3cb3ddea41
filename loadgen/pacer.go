package loadgen

import (
	"errors"
	"fmt"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// coarse is how long before an arrival the pacer leaves the interruptible sleep of a Go timer for the precise one.
const coarse = 3 * time.Millisecond

// lead is how long before an arrival its request gets its goroutine, which builds what is to be written, looks for an
// idle connection, and waits. What is left to do at the moment itself takes a microsecond: on a machine where the
// server's process takes the processor whenever it wakes, the shorter way is the one that is seldom interrupted.
const lead = time.Millisecond

// job is one request to be sent, and where to write down what happens. Without a record, it is not to be sent.
type job struct {
	i       int // the index of its record
	due     int64
	rec     *Record
	detail  *Detail
	req     Request
	session *conversation // nil: it is no turn of one
	turn    int           // of it
}

// pacerSleep returns how the pacer sleeps until a time on the stage's clock, and what to call when it sleeps no more.
func (run *Run) pacerSleep() (until func(t int64), release func(), err error) {
	sleep := run.runner.Sleep
	if run.runner.VirtualTime {
		sleep = time.Sleep
	}
	if sleep != nil {
		return func(t int64) { sleep(time.Duration(t - run.clock.Now())) }, func() {}, nil
	}
	s, err := run.runner.newSleeper(run.clock.Origin())
	if err != nil {
		return nil, nil, err
	}
	s.Lock()
	return s.Until, s.Unlock, nil
}

// newSleeper makes the pacer's precise sleep.
func (r *Runner) newSleeper(origin time.Time) (*precise.Sleeper, error) {
	if r.sleeper != nil {
		return r.sleeper(origin)
	}
	return precise.NewSleeper(origin)
}

// pace fires the arrivals of an open loop. Those that are overdue are fired at once, none is dropped or moved.
func (run *Run) pace() {
	sleepUntil, release, err := run.pacerSleep()
	if err != nil {
		run.stop(StopPacer, fmt.Errorf("the pacer can't sleep precisely: %w", err))
		return
	}
	defer release()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	cancelled := run.sending.Done()
	for i := 0; run.stage.MaxRequests == 0 || i < run.stage.MaxRequests; i++ {
		offset, ok := run.schedule.At(i)
		if !ok {
			return
		}
		due := run.result.Start + int64(offset)
		if d := run.stage.MaxDuration; d > 0 && offset >= d {
			<-cancelled // the time limit
			return
		}
		// The request is fetched now, while there is time.
		late := run.clock.Now() >= due
		req, err := run.request(i)
		if err != nil {
			run.stop(StopSource, err)
			return
		}
		if !late && run.clock.Now() > due {
			run.waits.Add(1)
		}
		if wait := time.Duration(due-run.clock.Now()) - coarse; wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-cancelled:
				return
			}
		}
		r, ok := run.awaitDue(due, req, sleepUntil)
		if !ok {
			return
		}
		run.arrive(r, i, due, req)
	}
}

// request asks the source for a request.
func (run *Run) request(i int) (Request, error) {
	req, err := run.hooks.Source(i)
	if err == nil {
		err = run.runner.Client.check(&req)
	}
	if s := req.Session; s != nil && err == nil {
		if err = s.check(); err == nil && !run.stage.Load.Kind.Open() && !s.isChain() {
			err = errors.New("turns of a session that are sent at the same time need an open loop: " +
				"a closed one has a slot for each session")
		}
	}
	return req, err
}

// awaitDue sleeps until a request is due, and before that gives it a reader, if there is a slot for one: else nil. It
// is not ok if sending has ended meanwhile.
func (run *Run) awaitDue(due int64, req Request, sleepUntil func(int64)) (r *reader, ok bool) {
	if run.clock.Now() < due-int64(lead) {
		run.openAhead(&req)
		sleepUntil(due - int64(lead))
	}
	if r = run.takeReader(); r != nil {
		run.requests.Add(1)
		go run.fire(r, req)
	}
	if run.clock.Now() < due {
		sleepUntil(due)
	}
	if run.sending.Err() != nil {
		if r != nil {
			r.jobs <- job{}
		}
		return nil, false
	}
	return r, true
}

// openAhead opens a connection for the arrival that is next, if it will need one and may be sent.
func (run *Run) openAhead(req *Request) {
	c := run.runner.Client
	t := c.routes[c.route(req)].transport
	if len(run.slots) < cap(run.slots) && t.WantsConnection() {
		run.ahead.Go(func() { t.OpenConnection(run.flights, run.clock) })
	}
}

// takeReader takes a slot of the concurrency cap and a free reader, the one used last; nil if there is no slot.
func (run *Run) takeReader() *reader {
	run.mu.Lock()
	defer run.mu.Unlock()
	select {
	case run.slots <- struct{}{}:
		return run.idleReader()
	default:
		return nil
	}
}

// idleReader returns a free reader. run.mu is held.
func (run *Run) idleReader() *reader {
	n := len(run.idle)
	if n == 0 {
		return newReader(run.flights, run.runner.Client, run.clock)
	}
	r := run.idle[n-1]
	run.idle = run.idle[:n-1]
	return r
}

// arrive hands an arrival that is due to its reader. One that has none, for want of a slot, takes the slot that has
// come free since, or waits in line for those that others leave.
func (run *Run) arrive(r *reader, i int, due int64, req Request) {
	run.mu.Lock()
	a := job{due: due, req: req, session: run.begin(req, i)}
	run.next = i + 1
	run.record(&a)
	r = run.queue(r, a)
	run.mu.Unlock()
	if r != nil {
		r.jobs <- a
	}
	run.beginBranches(a)
}

// record gives a request that is due its record. run.mu is held.
func (run *Run) record(a *job) {
	a.i = run.arena.count
	a.rec, a.detail = run.arena.add()
	a.rec.noteRequest(a.req, a.due)
	a.session.mark(a.rec, a.turn)
}

// queue finds a reader for a request that is due and has none, or has it wait in line: nil. run.mu is held.
func (run *Run) queue(r *reader, a job) *reader {
	if r != nil {
		return r
	}
	select {
	case run.slots <- struct{}{}:
		r = run.idleReader()
		run.requests.Add(1)
		go run.fire(r, a.req)
	default:
		a.rec.Started = run.clock.Now()
		a.rec.Flags |= DelayedByCap
		run.delayedByCap.Add(1)
		run.line = append(run.line, a)
	}
	return r
}

// fire sends one request of an open loop when it is due, then those of its session that are due at once, and then those
// that wait in line for its slot.
func (run *Run) fire(r *reader, req Request) {
	defer run.requests.Done()
	r.encode(&req)
	a := <-r.jobs
	if a.rec == nil {
		r.exchange.Release()
		run.leave(r)
		return
	}
	a.rec.Started = run.clock.Now()
	for ok := true; ok; a, ok = run.leave(r) {
		if a.rec.Flags&DelayedByCap != 0 {
			r.encode(&a.req)
		}
		run.send(r, a)
		for ok := true; ok; {
			a, ok = run.sendFollowing(r, a)
		}
	}
}

// sendFollowing sends the turn that follows a request that has ended, if it is due at once; a later one waits for its
// time elsewhere.
func (run *Run) sendFollowing(r *reader, a job) (next job, ok bool) {
	if next, ok = run.follow(r, a); !ok {
		return next, false
	}
	if time.Duration(next.due-run.clock.Now()) > shortThink {
		run.await(next)
		return next, false
	}
	if !run.sendTurn(r, &next) {
		return next, false
	}
	return next, true
}

// sendTurn sends a turn when it is due, with the reader and the slot of the one before; false if sending has ended.
func (run *Run) sendTurn(r *reader, a *job) bool {
	if !wait(run.sending, time.Duration(a.due-run.clock.Now())) {
		run.turnsLeft.Done()
		return false
	}
	run.mu.Lock()
	run.record(a)
	run.mu.Unlock()
	a.rec.Started = run.clock.Now()
	r.encode(&a.req)
	run.send(r, *a)
	return true
}

// leave gives a reader's slot to the arrival that has waited longest in line, and returns that. If there is none, or
// none is to be sent any more, slot and reader are free.
func (run *Run) leave(r *reader) (next job, ok bool) {
	run.mu.Lock()
	defer run.mu.Unlock()
	if len(run.line) > 0 && run.sending.Err() == nil {
		next, run.line[0] = run.line[0], job{}
		run.line = run.line[1:]
		return next, true
	}
	for i := range run.line { // whoever still waits is not sent
		if run.line[i].session != nil {
			run.turnsLeft.Done()
		}
	}
	run.line = nil
	run.idle = append(run.idle, r)
	<-run.slots
	return job{}, false
}
