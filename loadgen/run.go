package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/internal/precise"
)

// Runner runs stages against a client's targets. The zero value with a Client works.
type Runner struct {
	Client *Client

	// MaxConcurrency is a safety, not a load shape: arrivals beyond it wait, are counted and reported. 0: 10,000.
	MaxConcurrency int

	// VirtualTime says that the stage runs in virtual time (testing/synctest): the pacer sleeps by Go's timers, and
	// what the real processor did is part of no value.
	VirtualTime bool

	// Sleep replaces the pacer's precise sleep, for tests that hold the pacer up.
	Sleep func(time.Duration)

	sleeper func(origin time.Time) (*precise.Sleeper, error) // for tests; nil: precise.NewSleeper
}

// DefaultMaxConcurrency is the safety cap of a Runner that names none.
const DefaultMaxConcurrency = 10_000

// shards is the number of histogram sets and token counters that the requests of a stage are spread over.
const shards = 8

// Running is a stage under way: on this machine (Run), or on several (package cluster).
type Running interface {
	Stage() Stage                                        // what was asked of it
	Origin() time.Time                                   // of the records' clock, by the wall clock
	Start() int64                                        // when it began, on the records' clock
	Progress() Progress                                  // at any time
	Gaps() *hdr.Histogram                                // see Run.Gaps
	LiveGaps(bounds []int64) (total int64, over []int64) // see Run.LiveGaps
	SetStreams(n int)                                    // closed loops: requests in flight
	Stop()                                               // as its time limit would
	StopFor(reason StopReason)                           // … with a reason of the caller's
	Done() <-chan struct{}                               // closed when it has ended
	Wait() *Measured                                     // until then
}

// Run is a stage under way on this machine.
type Run struct {
	runner   *Runner
	stage    Stage
	hooks    Hooks
	schedule Schedule // of an open loop; nil for a closed one
	clock    *precise.Clock
	result   *Measured

	sending    context.Context // ends when no more requests are to be sent
	stopSends  context.CancelCauseFunc
	flights    context.Context // ends when what is in flight is to be cancelled
	endFlights context.CancelFunc
	finished   chan struct{}

	allSent   chan struct{} // closed when a closed loop has no request left to begin
	slots     chan struct{} // the concurrency cap
	turn      chan struct{} // to ask the source of a closed loop, one stream at a time
	requests  sync.WaitGroup
	turnsLeft sync.WaitGroup // of sessions: under way, or waiting for their time
	turns     *turnPacer
	ahead     sync.WaitGroup // connections being opened ahead

	mu        sync.Mutex // guards the following, once a request
	arena     arena
	next      int // index of the next request
	streams   []context.CancelFunc
	idle      []*reader
	line      []job // of an open loop, due and waiting for a slot: while it is not empty, all slots are taken
	begun     bool  // the first streams were started
	closed    bool  // no stream may be added any more
	errors    ErrorLimits
	peak      int
	shortages int // requests of kind ErrLocal

	sessionCount Sessions

	inFlight, completed, errored, sent     atomic.Int64
	delayedByCap, newConns, retries, waits atomic.Int64
	keptTexts                              atomic.Int64 // bytes
	idleUntil                              atomic.Int64 // when a request was sent, and no other was in flight
	gone                                   goneWatch
	silence                                silence
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

	// Silent is for how long no token has come, while requests were in flight, as far as looks at the stage show.
	Silent time.Duration
}

// silence notices that no token comes, by the looks at a stage: to note the time of each token would cost all of them.
type silence struct {
	mu     sync.Mutex
	tokens int64 // at the look before
	since  int64 // the look at which there were no more than that
}

// look is for how long no token has come. idleUntil is when a request was sent last while no other was in flight.
func (s *silence) look(now, tokens, idleUntil int64, inFlight int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tokens != s.tokens || s.since == 0 {
		s.tokens, s.since = tokens, now
	}
	if inFlight == 0 {
		return 0
	}
	return time.Duration(max(now-max(s.since, idleUntil), 0))
}

// Run runs one stage to its end. An error means that it could not begin; whatever happens later is in the stage.
func (r *Runner) Run(ctx context.Context, s Stage, h Hooks) (*Measured, error) {
	run, err := r.Start(ctx, s, h)
	if err != nil {
		return nil, err
	}
	return run.Wait(), nil
}

// Start begins a stage. The context's end ends it like its time limit: what is in flight is cancelled, and the stage
// holds what was measured.
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
	before := readProcessUse()
	limit := r.MaxConcurrency
	if limit <= 0 {
		limit = DefaultMaxConcurrency
	}
	run := &Run{
		runner: r, stage: s, hooks: h, schedule: s.Load.Schedule(), clock: precise.NewClock(),
		finished: make(chan struct{}),
		allSent:  make(chan struct{}),
		slots:    make(chan struct{}, limit),
		turn:     make(chan struct{}, 1),
		turns:    newTurnPacer(),
	}
	run.arena.details = s.KeepDetails
	run.result = &Measured{Stage: s, Origin: run.clock.Origin()}
	for i := range run.shard {
		h := &run.shard[i].hists
		h.Gaps, h.TTFT, h.ClientDelay = NewHistogram(), NewHistogram(), NewHistogram()
	}
	run.sending, run.stopSends = context.WithCancelCause(context.WithoutCancel(ctx))
	run.flights, run.endFlights = context.WithCancel(context.WithoutCancel(ctx))
	run.result.Start = run.clock.Now() // nothing that takes time lies between this and the load
	if !h.StartAt.IsZero() {
		run.result.Start = int64(h.StartAt.Sub(run.clock.Origin()))
	}
	if ctx.Err() != nil {
		run.stop(StopInterrupted, nil)
	}
	if run.schedule == nil {
		run.SetStreams(s.Load.Streams)
	}
	go run.supervise(ctx, before)
	return run, nil
}

// Wait returns what was measured once the stage has ended and nothing is in flight.
func (run *Run) Wait() *Measured {
	<-run.finished
	return run.result
}

// Stage is what was asked of the stage under way.
func (run *Run) Stage() Stage { return run.result.Stage }

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
	run.stopSends(stopped{reason, err, run.clock.Now()})
}

// Progress may be called at any time.
func (run *Run) Progress() Progress {
	p := Progress{
		Elapsed:   time.Duration(max(run.clock.Now()-run.result.Start, 0)), // it may begin in a moment
		Sent:      int(run.sent.Load()),
		InFlight:  int(run.inFlight.Load()),
		Completed: int(run.completed.Load()),
		Errored:   int(run.errored.Load()),
	}
	for i := range run.shard {
		p.Tokens += run.shard[i].tokens.Load()
		p.Firsts += run.shard[i].firsts.Load()
	}
	p.Silent = run.silence.look(run.clock.Now(), p.Tokens, run.idleUntil.Load(), p.InFlight)
	return p
}

// supervise runs the stage and gathers what it leaves.
func (run *Run) supervise(ctx context.Context, before processUse) {
	defer close(run.finished)
	var timer *time.Timer
	if d := run.stage.MaxDuration; d > 0 {
		elapsed := time.Duration(run.clock.Now() - run.result.Start)
		timer = time.AfterFunc(d-elapsed, func() { run.stop(StopDuration, nil) })
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
	heart, stopHeart := run.startHeart()

	if run.schedule != nil {
		run.pace()
	} else {
		run.closedLoop()
	}
	run.endSessions()
	run.mu.Lock()
	run.closed = true
	run.mu.Unlock()
	run.requests.Wait()
	stopHeart()

	l := run.result
	l.End = run.clock.Now()
	if run.sending.Err() == nil { // everything was sent, and has ended
		reason := StopRequests
		if run.stage.MaxRequests == 0 || run.next < run.stage.MaxRequests {
			reason = StopSchedule
		}
		run.stop(reason, nil)
	}
	end := context.Cause(run.sending).(stopped)
	l.End = max(l.End, l.Start) // one that was stopped before it began
	l.Reason, l.Err, l.Stopped = end.reason, end.err, max(min(end.at, l.End), l.Start)
	if l.Reason == StopDuration {
		l.Stopped = l.Start + int64(run.stage.MaxDuration) // not the moment at which the timer fired
	}
	if l.Reason == StopRequests || l.Reason == StopSchedule {
		l.Stopped = l.End
	}
	run.mu.Lock()
	defer run.mu.Unlock()
	for _, r := range run.idle {
		r.close()
	}
	run.idle = nil
	run.endFlights()
	run.ahead.Wait()
	l.Records, l.Details = run.arena.flatten()
	l.Sessions = run.sessionCount
	run.countOffered()
	l.SortRecords()
	l.Gaps, l.TTFT, l.ClientDelay = NewHistogram(), NewHistogram(), NewHistogram()
	for i := range run.shard {
		h := &run.shard[i].hists
		l.Gaps.Merge(h.Gaps)
		l.TTFT.Merge(h.TTFT)
		l.ClientDelay.Merge(h.ClientDelay)
	}
	l.Client = readProcessUse().since(before)
	if run.runner.VirtualTime {
		l.Client.CPU, l.Client.SchedP99 = 0, 0
	}
	l.Client.Stamps = run.runner.Client.StampSource()
	l.Client.Pacer = precise.SleepKind
	l.Client.NewConnections = int(run.newConns.Load())
	l.Client.Retries = int(run.retries.Load())
	l.Client.DelayedByCap = int(run.delayedByCap.Load())
	l.Client.SourceWaits = int(run.waits.Load())
	l.Client.PeakInFlight = run.peak
	l.Client.LocalFailures = run.shortages
	l.Client.Frozen, l.Client.FrozenMax = heart.frozen, heart.longest
	l.Client.Files, l.Client.Ports = files(), ports(run.runner.Client.connections())
}

// noteRequest notes in a record what is known of its request before it is sent.
func (r *Record) noteRequest(req Request, scheduled int64) {
	r.Scheduled = scheduled
	r.PromptTokens, r.OutputTokens, r.CachedTokens = -1, -1, -1
	r.AskedPrompt, r.AskedOutput = req.PromptTokens, req.OutputTokens
	r.PromptWords, r.PromptChars = req.PromptWords, req.PromptChars
	r.Class, r.Target = req.Class, req.Target
}

// send sends a request that the reader's exchange has encoded, and books its outcome.
func (run *Run) send(r *reader, a job) {
	rec := a.rec
	if run.flights.Err() != nil {
		r.exchange.Release()
		return // NotSent
	}
	if a.detail != nil && a.i < run.stage.KeepTexts {
		a.detail.Body = a.req.Body
	}
	run.sent.Add(1)
	inFlight := int(run.inFlight.Add(1))
	if inFlight == 1 {
		run.idleUntil.Store(run.clock.Now())
	}
	run.observe(a, false, inFlight)

	sh := &run.shard[a.i%shards]
	r.shard, r.rec, r.detail = sh, rec, a.detail
	r.keptTexts, r.forNext = &run.keptTexts, a.session.wantsText(a.turn)
	r.roundTrip()
	if run.stage.Retries > 0 {
		run.retry(r, a)
	}
	r.rec, r.detail = nil, nil
	a.session.ended(rec)

	run.observe(a, true, int(run.inFlight.Add(-1)))
	if rec.Flags&NewConnection != 0 {
		run.newConns.Add(1)
	}
	if rec.Flags&Retried != 0 {
		run.retries.Add(1)
	}
	if run.stage.measures(run.result.Start, rec) {
		sh.add(rec, r.gaps, r.delays)
	}
	run.book(rec, inFlight, r.err)
}

// add takes a request that has ended into the histograms.
func (sh *shard) add(rec *Record, gaps, delays []int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if rec.FirstToken > 0 {
		record(sh.hists.TTFT, rec.FirstToken-rec.Sent)
	}
	for _, gap := range gaps {
		record(sh.hists.Gaps, gap)
	}
	for _, delay := range delays {
		record(sh.hists.ClientDelay, delay)
	}
}

func (run *Run) observe(a job, ended bool, inFlight int) {
	if run.hooks.Observe != nil {
		at := time.Duration(run.clock.Now() - run.result.Start)
		run.hooks.Observe(Event{run, a.i, a.rec, a.detail, ended, at, inFlight})
	}
}

// measures says whether a request counts for the histograms: it has not failed, and lies in the window by GuideLLM's
// rule, as far as that window's ends are known while the stage runs.
func (s *Stage) measures(start int64, rec *Record) bool {
	if rec.Status != Completed && rec.Status != Incomplete {
		return false
	}
	if rec.End < start+int64(s.Warmup) {
		return false
	}
	return s.Cooldown == 0 || s.MaxDuration == 0 || rec.Sent <= start+int64(s.MaxDuration-s.Cooldown)
}

// book counts an outcome, and applies the limits on errors.
func (run *Run) book(rec *Record, inFlight int, err error) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.peak = max(run.peak, inFlight)
	shortage := rec.Err == ErrLocal
	switch rec.Status {
	case Completed:
		run.completed.Add(1)
	case Errored:
		run.errored.Add(1)
		if shortage {
			run.shortages++
		}
	default:
		return
	}
	reason := run.errors.Add(rec.Status == Errored, &run.stage)
	gone := !shortage && run.gone.add(rec) // what this machine lacks says nothing of the server
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
