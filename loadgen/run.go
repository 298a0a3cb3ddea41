package loadgen

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// Runner runs stages against one client's target. The zero value with a Client works.
type Runner struct {
	Client *Client

	// MaxConcurrency is a safety, not a load shape: arrivals beyond it wait, are counted and reported. 0: 10,000.
	MaxConcurrency int

	// Sleep replaces the pacer's precise sleep, for tests in virtual time.
	Sleep func(time.Duration)
}

// DefaultMaxConcurrency is the safety cap of a Runner that names none.
const DefaultMaxConcurrency = 10_000

// shards is the number of histogram sets and token counters that the requests of a stage are spread over.
const shards = 8

// Run is a stage under way.
type Run struct {
	runner   *Runner
	stage    Stage
	hooks    Hooks
	schedule Schedule // of an open loop; nil for a closed one
	clock    *clock
	result   *Measured

	sending    context.Context // ends when no more requests are to be sent
	stopSends  context.CancelCauseFunc
	flights    context.Context // ends when what is in flight is to be cancelled
	endFlights context.CancelFunc
	finished   chan struct{}

	allSent  chan struct{} // closed when a closed loop has no request left to begin
	slots    chan struct{} // the concurrency cap
	requests sync.WaitGroup
	ahead    sync.WaitGroup // connections being opened ahead

	mu      sync.Mutex // guards the following, once a request
	arena   arena
	next    int   // index of the next request
	source  error // why the source ended
	streams []context.CancelFunc
	idle    []*exchange
	begun   bool // the first streams were started
	closed  bool // no stream may be added any more
	errors  errorWindow
	peak    int
	// shortages counts requests that failed for want of a descriptor or a port here.
	shortages int

	inFlight, completed, errored, sent     atomic.Int64
	delayedByCap, newConns, retries, waits atomic.Int64
	gone                                   goneWatch
	shard                                  [shards]shard
}

// shard holds what requests add to while the stage runs. A request touches it without a lock for each token (the
// counter), and once under its lock when it ends.
type shard struct {
	tokens atomic.Int64
	firsts atomic.Int64
	_      [48]byte // the counters of two shards share no cache line
	mu     sync.Mutex
	hists  Measured // its three histograms
}

// Progress is a look at a stage under way.
type Progress struct {
	Elapsed   time.Duration
	Sent      int
	InFlight  int
	Completed int
	Errored   int
	Tokens    int64 // token events so far, those of unfinished requests included
	Firsts    int64 // requests whose first token came
}

// Run runs one stage to its end. An error means that it could not begin; whatever happens later is in the stage.
func (r *Runner) Run(ctx context.Context, s Stage, h Hooks) (*Measured, error) {
	run, err := r.Start(ctx, s, h)
	if err != nil {
		return nil, err
	}
	return run.Wait(), nil
}

// Start begins a stage. The context's end ends it like its time limit: what is in flight is cancelled, and the stage holds
// what was measured.
func (r *Runner) Start(ctx context.Context, s Stage, h Hooks) (*Run, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if r.Client == nil {
		return nil, errors.New("a runner needs a client")
	}
	if h.Source == nil {
		return nil, errors.New("a stage needs a request source")
	}
	before := readUsage()
	limit := r.MaxConcurrency
	if limit <= 0 {
		limit = DefaultMaxConcurrency
	}
	run := &Run{
		runner: r, stage: s, hooks: h, schedule: s.Load.Schedule(), clock: newClock(),
		finished: make(chan struct{}),
		allSent:  make(chan struct{}),
		slots:    make(chan struct{}, limit),
	}
	run.arena.details = s.KeepDetails
	run.result = &Measured{Stage: s, Origin: run.clock.origin}
	for i := range run.shard {
		h := &run.shard[i].hists
		h.Gaps, h.TTFT, h.ClientDelay = newHistogram(), newHistogram(), newHistogram()
	}
	run.sending, run.stopSends = context.WithCancelCause(context.WithoutCancel(ctx))
	run.flights, run.endFlights = context.WithCancel(context.WithoutCancel(ctx))
	run.result.Start = run.clock.now() // nothing that takes time lies between this and the load
	if ctx.Err() != nil {
		run.stop(StopInterrupted, nil)
	}
	if run.schedule == nil {
		run.SetStreams(s.Load.Streams)
	}
	go run.supervise(ctx, before)
	return run, nil
}

// Wait returns the stage once the stage has ended and nothing is in flight.
func (run *Run) Wait() *Measured {
	<-run.finished
	return run.result
}

// Done is closed when the stage has ended.
func (run *Run) Done() <-chan struct{} { return run.finished }

// Stop ends the stage as its time limit would.
func (run *Run) Stop() { run.stop(StopAsked, nil) }

// StopFor is Stop with a reason of the caller's.
func (run *Run) StopFor(reason StopReason) { run.stop(reason, nil) }

// stopped is the cause with which sending ends.
type stopped struct {
	reason StopReason
	err    error
	at     int64
}

func (s stopped) Error() string {
	if s.err != nil {
		return s.err.Error()
	}
	return string(s.reason)
}

func (run *Run) stop(reason StopReason, err error) {
	run.stopSends(stopped{reason, err, run.clock.now()})
}

// Progress may be called at any time.
func (run *Run) Progress() Progress {
	p := Progress{
		Elapsed:   time.Duration(run.clock.now() - run.result.Start),
		Sent:      int(run.sent.Load()),
		InFlight:  int(run.inFlight.Load()),
		Completed: int(run.completed.Load()),
		Errored:   int(run.errored.Load()),
	}
	for i := range run.shard {
		p.Tokens += run.shard[i].tokens.Load()
		p.Firsts += run.shard[i].firsts.Load()
	}
	return p
}

// supervise runs the stage and builds its stage.
func (run *Run) supervise(ctx context.Context, before usage) {
	defer close(run.finished)
	var timer *time.Timer
	if d := run.stage.MaxDuration; d > 0 {
		timer = time.AfterFunc(d-time.Duration(run.clock.now()-run.result.Start), func() { run.stop(StopDuration, nil) })
		defer timer.Stop()
	}
	// What is in flight when sending ends early is cancelled after the grace time; where all requests were sent
	// (StopRequests, StopSchedule) it is waited for. The caller's context has the last word on both.
	interrupted := context.AfterFunc(ctx, func() {
		run.stop(StopInterrupted, nil)
		run.endFlights()
	})
	defer interrupted()
	ended := context.AfterFunc(run.sending, func() {
		if run.stage.Grace == 0 {
			run.endFlights()
			return
		}
		t := time.AfterFunc(run.stage.Grace, run.endFlights)
		context.AfterFunc(run.flights, func() { t.Stop() })
	})
	defer ended()
	stopCalibrating := run.calibrateClock()

	if run.schedule != nil {
		run.pace()
	} else {
		run.closedLoop()
	}
	run.mu.Lock()
	run.closed = true
	run.mu.Unlock()
	run.requests.Wait()
	stopCalibrating()

	l := run.result
	l.End = run.clock.now()
	if run.sending.Err() == nil { // everything was sent, and has ended
		reason := StopRequests
		if run.stage.MaxRequests == 0 || run.next < run.stage.MaxRequests {
			reason = StopSchedule
		}
		run.stop(reason, nil)
	}
	end := context.Cause(run.sending).(stopped)
	l.Reason, l.Err, l.Stopped = end.reason, end.err, min(end.at, l.End)
	if l.Reason == StopDuration {
		l.Stopped = l.Start + int64(run.stage.MaxDuration) // not the moment at which the timer fired
	}
	if l.Reason == StopRequests || l.Reason == StopSchedule {
		l.Stopped = l.End
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	for _, x := range run.idle {
		x.unwatch()
	}
	run.idle = nil
	run.endFlights()
	run.ahead.Wait()
	l.Records, l.Details = run.arena.flatten()
	run.countOffered()
	l.Gaps, l.TTFT, l.ClientDelay = newHistogram(), newHistogram(), newHistogram()
	for i := range run.shard {
		h := &run.shard[i].hists
		l.Gaps.Merge(h.Gaps)
		l.TTFT.Merge(h.TTFT)
		l.ClientDelay.Merge(h.ClientDelay)
	}
	l.Client = readUsage().since(before)
	l.Client.Stamps = run.runner.Client.StampSource()
	l.Client.Pacer = PacerKind
	l.Client.NewConnections = int(run.newConns.Load())
	l.Client.Retries = int(run.retries.Load())
	l.Client.DelayedByCap = int(run.delayedByCap.Load())
	l.Client.SourceWaits = int(run.waits.Load())
	l.Client.PeakInFlight = run.peak
	l.Client.LocalFailures = run.shortages
	l.Client.Files, l.Client.Ports = files(), ports(run.runner.Client.idleConns())
}

// calibrateClock keeps the clock's distance to the wall clock fresh until the function it returns is called.
func (run *Run) calibrateClock() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				run.clock.calibrate()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// coarse is how long before an arrival the pacer leaves the interruptible sleep of a Go timer for the precise one.
const coarse = 3 * time.Millisecond

// lead is how long before an arrival its request gets its goroutine, which builds what is to be written, looks for an idle
// connection, and waits. What is left to do at the moment itself takes a microsecond: on a machine where the server's process
// takes the processor whenever it wakes, the shorter way is the one that is seldom interrupted.
const lead = time.Millisecond

// pace fires the arrivals of an open loop. Those that are overdue are fired at once, none is dropped or moved.
func (run *Run) pace() {
	sleep := func(t int64) { run.runner.Sleep(time.Duration(t - run.clock.now())) }
	if run.runner.Sleep == nil {
		p, err := newPreciseSleeper(run.clock)
		if err != nil {
			run.stop(StopSource, fmt.Errorf("pacer: %w", err))
			return
		}
		defer p.release()
		sleep = p.until
	}
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
		late := run.clock.now() >= due
		req, err := run.hooks.Source(i)
		if err != nil {
			run.stop(StopSource, err)
			return
		}
		if !late && run.clock.now() > due {
			run.waits.Add(1)
		}
		if wait := time.Duration(due-run.clock.now()) - coarse; wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-cancelled:
				return
			}
		}
		if run.clock.now() < due-int64(lead) {
			if run.runner.Client.wantsAhead() {
				run.ahead.Go(func() { run.runner.Client.openAhead(run.flights, run.clock) })
			}
			sleep(due - int64(lead))
		}
		x := run.takeExchange()
		run.requests.Add(1)
		go run.fire(x, req)
		if run.clock.now() < due {
			sleep(due)
		}
		select {
		case <-cancelled:
			x.arrival <- arrival{}
			return
		default:
		}
		run.mu.Lock()
		rec, detail := run.arena.add()
		run.next = i + 1
		run.mu.Unlock()
		rec.about(req, due)
		x.arrival <- arrival{i, rec, detail}
	}
}

// arrival is what a request's goroutine waits for: its moment, and where to write down what happens. Without a record, it is
// not to be sent.
type arrival struct {
	i      int
	rec    *Record
	detail *Detail
}

// fire sends one arrival of an open loop, when it has come.
func (run *Run) fire(x *exchange, req Request) {
	defer run.requests.Done()
	x.prepare(req.Body)
	a := <-x.arrival
	if a.rec == nil {
		run.putBack(x)
		return
	}
	a.rec.Started = run.clock.now()
	if !run.enter(a.rec) {
		run.putBack(x)
		return
	}
	run.send(x, a, req)
	<-run.slots
}

// enter takes a slot of the concurrency cap; false if sending ended before there was one, and the request is NotSent.
func (run *Run) enter(rec *Record) bool {
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

// about notes in a record what is known of its request before it is sent.
func (r *Record) about(req Request, scheduled int64) {
	r.Scheduled = scheduled
	r.PromptTokens, r.OutputTokens, r.CachedTokens = -1, -1, -1
	r.AskedPrompt, r.AskedOutput = req.PromptTokens, req.OutputTokens
	r.PromptWords, r.PromptChars = req.PromptWords, req.PromptChars
}

// send does the exchange, which is prepared, and books its outcome.
func (run *Run) send(x *exchange, a arrival, req Request) {
	rec := a.rec
	if run.flights.Err() != nil {
		run.putBack(x)
		return // NotSent
	}
	if a.detail != nil && a.i < run.stage.KeepTexts {
		a.detail.Body = req.Body
	}
	run.sent.Add(1)
	inFlight := int(run.inFlight.Add(1))
	run.observe(rec, false, inFlight)

	sh := &run.shard[a.i%shards]
	x.shard, x.rec, x.detail = sh, rec, a.detail
	x.do(req.Body)

	run.observe(rec, true, int(run.inFlight.Add(-1)))
	if rec.Flags&NewConnection != 0 {
		run.newConns.Add(1)
	}
	if rec.Flags&Retried != 0 {
		run.retries.Add(1)
	}
	if rec.Status != NotSent && run.measured(rec) {
		sh.mu.Lock()
		if rec.FirstToken > 0 {
			record(sh.hists.TTFT, rec.FirstToken-rec.Sent)
		}
		for _, gap := range x.gaps {
			record(sh.hists.Gaps, gap)
		}
		for _, delay := range x.delays {
			record(sh.hists.ClientDelay, delay)
		}
		sh.mu.Unlock()
	}
	err := x.err
	x.rec, x.detail = nil, nil
	run.book(x, rec, inFlight, err)
}

// takeExchange returns an exchange that is free, the one used last.
func (run *Run) takeExchange() *exchange {
	run.mu.Lock()
	defer run.mu.Unlock()
	n := len(run.idle)
	if n == 0 {
		return newExchange(run.flights, run.runner.Client, run.clock)
	}
	x := run.idle[n-1]
	run.idle = run.idle[:n-1]
	return x
}

// putBack takes back an exchange that was prepared and not used.
func (run *Run) putBack(x *exchange) {
	x.unprepare()
	run.mu.Lock()
	defer run.mu.Unlock()
	run.idle = append(run.idle, x)
}

func (run *Run) observe(rec *Record, ended bool, inFlight int) {
	if run.hooks.Observe != nil {
		run.hooks.Observe(Event{run, rec, ended, time.Duration(run.clock.now() - run.result.Start), inFlight})
	}
}

// measured says whether a request counts for the histograms: the window rule of GuideLLM, as far as its ends are known
// while the stage runs.
func (run *Run) measured(rec *Record) bool {
	s, start := &run.stage, run.result.Start
	if rec.End < start+int64(s.Warmup) {
		return false
	}
	return s.Cooldown == 0 || s.MaxDuration == 0 || rec.Sent <= start+int64(s.MaxDuration-s.Cooldown)
}

// book counts an outcome, applies the limits on errors, and takes the exchange back.
func (run *Run) book(x *exchange, rec *Record, inFlight int, err error) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.idle = append(run.idle, x)
	run.peak = max(run.peak, inFlight)
	switch rec.Status {
	case Completed:
		run.completed.Add(1)
	case Errored:
		run.errored.Add(1)
		if localShortage(err) {
			run.shortages++
		}
	default:
		return
	}
	reason := run.errors.add(rec.Status == Errored, &run.stage)
	gone := run.gone.add(rec)
	if reason != "" {
		run.stop(reason, nil)
	} else if gone {
		run.stop(StopServerGone, fmt.Errorf("no connection for %v: %w", goneAfter, err))
	}
}

// countOffered counts the arrivals due before sending ended, those included that a late pacer no longer got to.
func (run *Run) countOffered() {
	l := run.result
	l.Offered = run.next
	if run.schedule == nil {
		return
	}
	for run.stage.MaxRequests == 0 || l.Offered < run.stage.MaxRequests {
		offset, ok := run.schedule.At(l.Offered)
		if !ok || l.Start+int64(offset) >= l.Stopped {
			return
		}
		l.Offered++
	}
}

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
	now, first := run.clock.now(), !run.begun
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
		go run.stream(ctx, delay, now+int64(delay))
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
		i, rec, detail, req, ok := run.nextOfStream()
		if !ok {
			return
		}
		rec.about(req, free)
		rec.Started = run.clock.now()
		if !run.enter(rec) {
			return
		}
		x := run.takeExchange()
		x.prepare(req.Body)
		run.send(x, arrival{i, rec, detail}, req)
		<-run.slots
		free = run.clock.now()
		if rec.Err == ErrConnect && !wait(ctx, afterRefusal) {
			return
		}
	}
}

// nextOfStream hands a stream its next request; ok is false if there is none.
func (run *Run) nextOfStream() (i int, rec *Record, detail *Detail, req Request, ok bool) {
	run.mu.Lock()
	defer run.mu.Unlock()
	i = run.next
	if run.stage.MaxRequests > 0 && i >= run.stage.MaxRequests {
		if !run.closed {
			run.closed = true
			close(run.allSent)
			for _, cancel := range run.streams { // those that still wait for their turn in the ramp-up
				cancel()
			}
		}
		return i, nil, nil, req, false
	}
	if run.source != nil {
		return i, nil, nil, req, false
	}
	if req, run.source = run.hooks.Source(i); run.source != nil {
		run.stop(StopSource, run.source)
		return i, nil, nil, req, false
	}
	run.next++
	rec, detail = run.arena.add()
	return i, rec, detail, req, true
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

// arena hands out records that never move.
type arena struct {
	details bool
	slabs   []slab
}

type slab struct {
	records []Record
	details []Detail
}

const slabSize = 1024

func (a *arena) add() (*Record, *Detail) {
	if n := len(a.slabs); n == 0 || len(a.slabs[n-1].records) == slabSize {
		s := slab{records: make([]Record, 0, slabSize)}
		if a.details {
			s.details = make([]Detail, slabSize)
		}
		a.slabs = append(a.slabs, s)
	}
	s := &a.slabs[len(a.slabs)-1]
	i := len(s.records)
	s.records = s.records[:i+1]
	if !a.details {
		return &s.records[i], nil
	}
	return &s.records[i], &s.details[i]
}

// flatten returns all that was handed out, in order; the arena is empty after.
func (a *arena) flatten() ([]Record, []Detail) {
	n := 0
	for _, s := range a.slabs {
		n += len(s.records)
	}
	records := make([]Record, 0, n)
	var details []Detail
	if a.details {
		details = make([]Detail, 0, n)
	}
	for i, s := range a.slabs {
		records = append(records, s.records...)
		if a.details {
			details = append(details, s.details[:len(s.records)]...)
		}
		a.slabs[i] = slab{}
	}
	a.slabs = nil
	return records, details
}

// errorWindow applies the limits on errors, as GuideLLM 0.5.0's constraints define them: rates count once windowSize
// requests have ended.
type errorWindow struct {
	last   [windowSize]bool
	n      int
	failed int // among last
	total  int
}

const windowSize = 30

func (w *errorWindow) add(failed bool, s *Stage) StopReason {
	at := w.n % windowSize
	if w.last[at] {
		w.failed--
	}
	w.last[at] = failed
	w.n++
	if failed {
		w.failed++
		w.total++
	}
	switch {
	case s.MaxErrors > 0 && w.total >= s.MaxErrors:
		return StopErrors
	case w.n < windowSize:
	case s.MaxErrorRate > 0 && float64(w.failed)/windowSize >= s.MaxErrorRate:
		return StopErrorRate
	case s.MaxGlobalErrorRate > 0 && float64(w.total)/float64(w.n) >= s.MaxGlobalErrorRate:
		return StopGlobalErrorRate
	}
	return ""
}

// goneWatch notices that the server is gone: for goneAfter, all requests that ended had failed to connect, and there
// were at least goneCount of them. Going on would measure nothing.
type goneWatch struct {
	count int
	since int64
}

const (
	goneAfter = 3 * time.Second
	goneCount = 5
)

func (g *goneWatch) add(rec *Record) bool {
	if rec.Err != ErrConnect {
		g.count = 0
		return false
	}
	if g.count++; g.count == 1 {
		g.since = rec.End
	}
	return g.count >= goneCount && rec.End-g.since >= int64(goneAfter)
}

// usage is what the process had used at some moment.
type usage struct {
	cpu   time.Duration
	group cgroupCPU
	pause time.Duration
	gcs   int
	sched *metrics.Float64Histogram
}

func readUsage() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	u := usage{cpu: processCPU(), group: readCgroup(), pause: time.Duration(m.PauseTotalNs), gcs: int(m.NumGC)}
	if s[0].Value.Kind() == metrics.KindFloat64Histogram {
		u.sched = s[0].Value.Float64Histogram()
	}
	return u
}

// since returns what was used between two moments.
func (u usage) since(before usage) ClientStats {
	s := ClientStats{
		CPU: u.cpu - before.cpu, Procs: runtime.GOMAXPROCS(0), CPULimit: u.group.limit,
		CPUPeriods: u.group.periods - before.group.periods, CPUThrottled: u.group.throttled - before.group.throttled,
		GCPause: u.pause - before.pause, GCs: u.gcs - before.gcs,
	}
	if u.sched == nil || before.sched == nil || len(u.sched.Counts) != len(before.sched.Counts) {
		return s
	}
	total, sum := uint64(0), uint64(0)
	for i := range u.sched.Counts {
		total += u.sched.Counts[i] - before.sched.Counts[i]
	}
	for i := range u.sched.Counts {
		sum += u.sched.Counts[i] - before.sched.Counts[i]
		if sum > 0 && float64(sum) >= 0.99*float64(total) {
			s.SchedP99 = time.Duration(max(u.sched.Buckets[i], 0) * 1e9) // the bucket's lower bound, −Inf for the first
			break
		}
	}
	return s
}
