// Package sweep decides what to try next: the probes, the interpolated rates, whether a leg meets its objectives, and
// whether its client can be believed.
//
//	sweep.go      the order of the legs
//	probe.go      the saturation probe: how many streams, what rate
//	objective.go  objectives: reading "ttft:p95<250ms", judging a leg by them
//	verdict.go    whether the client was fit to be believed
package sweep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// Kind is the kind of load of a leg, named as GuideLLM names its strategies.
type Kind string

// The kinds of load.
const (
	Synchronous Kind = "synchronous" // closed loop, one stream
	Concurrent  Kind = "concurrent"  // closed loop, a fixed number of streams
	Throughput  Kind = "throughput"  // closed loop, more streams than the server can run at once
	ConstantGap Kind = "constant"    // open loop, equal gaps
	PoissonGaps Kind = "poisson"     // open loop, exponential gaps
)

// Open says whether the kind offers load on a schedule.
func (k Kind) Open() bool { return k == ConstantGap || k == PoissonGaps }

// Strategy is the load of one leg.
type Strategy struct {
	Kind    Kind
	Rate    float64 // requests per second, of a profile or a trace its mean; open loops only
	Streams int     // requests in flight; closed loops only
	Seed    int64   // of the arrivals; open loops with random gaps only

	// Arrival refines an open loop's kind: gamma arrivals are of the kind PoissonGaps, bursts of the kind ConstantGap.
	// The zero value is the kind's own.
	Arrival loadgen.Arrival
	// Schedule replaces what kind, rate and seed would give: for rates that change over the leg, and for traces. Name is
	// then the name of the leg.
	Schedule loadgen.Schedule
	Name     string
}

// schedule is when the requests of an open loop are due.
func (s Strategy) schedule() loadgen.Schedule {
	if s.Schedule != nil {
		return s.Schedule
	}
	return loadgen.NewSchedule(s.arrival(), s.Rate, s.Seed)
}

// arrival is the arrival process of an open loop.
func (s Strategy) arrival() loadgen.Arrival {
	switch {
	case s.Arrival.Kind != "":
		return s.Arrival
	case s.Kind == PoissonGaps:
		return loadgen.Arrival{Kind: loadgen.PoissonArrival}
	}
	return loadgen.Arrival{Kind: loadgen.ConstantArrival}
}

// KindOf is the kind under which an arrival process is reported.
func KindOf(a loadgen.Arrival) Kind {
	switch a.Kind {
	case loadgen.PoissonArrival, loadgen.GammaArrival:
		return PoissonGaps
	}
	return ConstantGap
}

// String names a leg in a table: "constant@12.5", "concurrent@8".
func (s Strategy) String() string {
	switch {
	case s.Name != "":
		return s.Name
	case s.Kind.Open():
		return fmt.Sprintf("%s@%.2f", s.arrival(), s.Rate)
	case s.Kind == Synchronous:
		return string(s.Kind)
	default:
		return fmt.Sprintf("%s@%d", s.Kind, s.Streams)
	}
}

// Leg is one leg with what was made of it.
type Leg struct {
	Strategy Strategy
	*loadgen.Leg
	Verdict    Verdict
	Judgements []Judgement // one an objective, in their order
	Engine     *EngineLeg  // what the server's metrics said; nil: not asked
}

// Meets says whether the leg meets all objectives and its client can be believed. A leg without objectives meets them.
func (l *Leg) Meets() bool {
	for _, j := range l.Judgements {
		if !j.Holds {
			return false
		}
	}
	return l.Verdict.Level != Invalid
}

// Warning is something the reader of a result should know; report prints it once.
type Warning struct {
	Leg  int // index of the leg it is about, −1 for the whole run
	Text string
}

// Result is what a run of legs left. Legs that were measured are in it whatever ended the run.
type Result struct {
	Legs     []*Leg
	Warnings []Warning

	SynchronousRate float64   // requests per second of the synchronous leg; sweeps only
	SaturationRate  float64   // requests per second that the probe found the server to sustain; sweeps only
	Rates           []float64 // the interpolated rates; sweeps only
	Probe           Probe

	Knee   *Knee   // what the search found; nil: none was made
	Plain  int     // legs of the plain sweep, which are reported as GuideLLM's are; those after them are the search's. 0: all
	Trials []Trial // the judged open-loop legs, the search's or, without one, all
}

// PlainLegs are the legs that are reported as GuideLLM's are.
func (r *Result) PlainLegs() []*Leg {
	if r.Plain > 0 {
		return r.Legs[:min(r.Plain, len(r.Legs))]
	}
	return r.Legs
}

// JudgeAll judges the open-loop legs of a run without a search.
func (r *Result) JudgeAll(objectives []Objective, confidence float64) {
	r.Trials = nil
	for i, l := range r.Legs {
		if l.Strategy.Kind.Open() && len(objectives) > 0 {
			r.Trials = append(r.Trials, Trial{i, Interpolated, l.Strategy.Rate, l.Strategy.Seed, JudgeLeg(l, objectives, confidence)})
		}
	}
}

// Best returns the index of the leg with the highest offered rate among the open-loop legs that meet all objectives, −1
// if there is none.
func (r *Result) Best() int {
	best := -1
	for i, l := range r.Legs {
		if l.Strategy.Kind.Open() && l.Meets() && (best < 0 || l.Strategy.Rate > r.Legs[best].Strategy.Rate) {
			best = i
		}
	}
	return best
}

// Plan says how the legs of a run are made. Its Stage holds what they share: limits, grace, details.
type Plan struct {
	Runner *loadgen.Runner

	// Stage is the template of every leg: limits, warm-up, grace. Its schedule, streams and source are set for each leg.
	Stage loadgen.Stage

	// Source returns the requests of one leg, and what to call when the leg has ended. Legs get requests of their own, so
	// that no leg's prompts are cached from an earlier one.
	Source func(ctx context.Context, leg int) (loadgen.Source, func(), error)

	Objectives []Objective

	Metrics *ServerMetrics // scraped during every leg; nil: not at all

	// Pause lies between two legs, in which the server gets rid of what was cancelled.
	Pause time.Duration

	// LegStarted and LegEnded are told of every leg, to show progress; either may be nil.
	LegStarted func(index int, s Strategy, run *loadgen.Run)
	LegEnded   func(index int, l *Leg)

	legs int // sources handed out so far: also those of the probe
}

// Errors that end a run; what was measured is in the result.
var (
	ErrNothingSucceeded = errors.New("no request of the leg succeeded")
	ErrServerGone       = errors.New("the server no longer accepts connections")
)

// Run runs the given legs in order. When it returns an error, the result still holds the legs that were measured.
func (p *Plan) Run(ctx context.Context, strategies []Strategy) (*Result, error) {
	r := &Result{}
	for _, s := range strategies {
		if _, err := p.leg(ctx, r, s); err != nil {
			return r, err
		}
	}
	return r, nil
}

// SweepConfig shapes a sweep.
type SweepConfig struct {
	Size    int             // legs in all: synchronous, throughput and Size − 2 open-loop ones; at least 2
	Arrival loadgen.Arrival // of the open-loop legs
	Seed    int64           // of random arrivals
}

// Sweep runs GuideLLM's sweep with a probe that does not collapse: synchronous, saturation, then rates between the two,
// the last of them the saturation rate itself. When it returns an error, the result still holds what was measured.
func (p *Plan) Sweep(ctx context.Context, c SweepConfig) (*Result, error) {
	r := &Result{}
	sync, err := p.leg(ctx, r, Strategy{Kind: Synchronous, Streams: 1})
	if err != nil {
		return r, err
	}
	w, ok := workOf(sync.Leg)
	if !ok {
		return r, fmt.Errorf("%w (%s): no token came within %v", ErrNothingSucceeded, sync.Strategy, time.Duration(sync.Stopped-sync.Start).Round(time.Millisecond))
	}
	r.SynchronousRate = synchronousRate(sync.Leg, w)
	if err := pause(ctx, p.Pause); err != nil {
		return r, err
	}
	if r.Probe, err = p.probe(ctx, w); err != nil {
		return r, err
	}
	streams := min(2*r.Probe.Streams, p.maxStreams())
	sat, err := p.leg(ctx, r, Strategy{Kind: Throughput, Streams: streams})
	if err != nil {
		return r, err
	}
	r.SaturationRate = p.settleRate(r, saturationRate(sat.Leg, w))
	lo, hi := r.SynchronousRate, r.SaturationRate
	if hi < 1.1*lo {
		r.warn("the server sustains hardly more than one stream gives (%.3g against %.3g req/s): the rates begin at half of that", hi, lo)
		hi = max(lo, hi)
		lo = hi / 2
	}
	r.Rates = linspace(lo, hi, c.Size-1)[1:]
	for i, rate := range r.Rates[:max(0, c.Size-2)] {
		if _, err := p.leg(ctx, r, Strategy{Kind: KindOf(c.Arrival), Rate: rate, Seed: c.Seed, Arrival: c.Arrival}); err != nil {
			return r, fmt.Errorf("leg %d of %d: %w", i+3, c.Size, err)
		}
	}
	return r, nil
}

// leg runs one leg and appends it to the result.
func (p *Plan) leg(ctx context.Context, r *Result, s Strategy) (*Leg, error) {
	return p.legIn(ctx, r, s, p.Stage, nil)
}

// legIn runs one leg by a template of its own. Where watch is given, it runs beside the leg, and should return when the
// run is done; it may stop it.
func (p *Plan) legIn(ctx context.Context, r *Result, s Strategy, stage loadgen.Stage, watch func(*loadgen.Run)) (*Leg, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(r.Legs) > 0 {
		if err := pause(ctx, p.Pause); err != nil {
			return nil, err
		}
	}
	source, release, err := p.Source(ctx, p.legs)
	if err != nil {
		return nil, fmt.Errorf("requests for %s: %w", s, err)
	}
	defer release()
	p.legs++
	stage.Source = source
	if s.Kind.Open() {
		stage.Schedule = s.schedule()
	} else {
		stage.Streams = s.Streams
	}
	metrics := p.Metrics.watch(ctx)
	run, err := p.Runner.Start(ctx, stage)
	if err != nil {
		metrics.stop()
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	if p.LegStarted != nil {
		p.LegStarted(len(r.Legs), s, run)
	}
	var watching sync.WaitGroup
	if watch != nil {
		watching.Go(func() { watch(run) })
	}
	l := &Leg{Strategy: s, Leg: run.Wait()}
	watching.Wait()
	l.Engine = metrics.finish(ctx, p.Metrics, l.Leg)
	if p.Runner.Sleep != nil { // in virtual time, what the real processor did is part of no figure
		l.Client.CPU, l.Client.SchedP99 = 0, 0
	}
	l.Verdict = Audit(l.Leg)
	for _, o := range p.Objectives {
		l.Judgements = append(l.Judgements, o.Judge(l.Leg))
	}
	r.Legs = append(r.Legs, l)
	if l.Engine != nil && l.Engine.Contaminated {
		r.Warnings = append(r.Warnings, Warning{Leg: len(r.Legs) - 1, Text: fmt.Sprintf("%s is contaminated: %.0f %% of its prompt tokens came from the server's prefix cache", s, 100*float64(l.Engine.HitShare))})
	}
	if p.LegEnded != nil {
		p.LegEnded(len(r.Legs)-1, l)
	}
	return l, p.worthGoingOn(ctx, l)
}

// worthGoingOn says why no further leg should be run after this one, nil if there is no reason.
func (p *Plan) worthGoingOn(ctx context.Context, l *Leg) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch l.Reason {
	case loadgen.StopServerGone:
		return fmt.Errorf("%w (%s): %w", ErrServerGone, l.Strategy, l.Err)
	case loadgen.StopSource:
		return fmt.Errorf("%s: %w", l.Strategy, l.Err)
	case loadgen.StopErrors, loadgen.StopErrorRate, loadgen.StopGlobalErrorRate:
		return nil // the leg ended early as asked; the next rate may still be of use
	}
	return nothingSucceeded(l)
}

// nothingSucceeded is not nil where a leg brought nothing: no request completed, and none that ran out of time was
// generating. Long answers at a high load may all be unfinished at the end of a short leg; that is a result.
func nothingSucceeded(l *Leg) error {
	errored, example := 0, ""
	for i := range l.Records {
		rec := &l.Records[i]
		switch rec.Status {
		case loadgen.Completed:
			return nil
		case loadgen.Incomplete:
			if rec.TokenEvents > 0 {
				return nil
			}
		case loadgen.Errored:
			errored++
			if example == "" && l.Details != nil {
				example = l.Details[i].Error
			}
		}
	}
	err := fmt.Errorf("%w (%s: %d requests, %d errors)", ErrNothingSucceeded, l.Strategy, len(l.Records), errored)
	if example != "" {
		err = fmt.Errorf("%w: %s", err, example)
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Result) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, Warning{Leg: -1, Text: fmt.Sprintf(format, args...)})
}
