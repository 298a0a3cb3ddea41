// Package sweep decides what to try next: the probes, the interpolated rates, and the search for the max rate at SLO.
//
//	sweep.go   the order of the stages, and what they leave
//	probe.go   the saturation probe: how many streams, what rate
//	judge.go   a stage judged, and whether its client was fit
//	search.go  the search under way: which stage is run, for how long, by what it is stopped
//	config.go  what is asked of a search
//	policy.go  what it does next: a pure function of the stages so far
//	watch.go   a stage looked at while it runs: whether it may end early
//	evidence.go  what stages show, for the estimate (sweep/maxrate)
//	answer.go  what a search found
//	notes.go   what else the reader of the answer should know
//	gate.go    conditions on the answer: what decides them
//	decide.go  stages at the rate of a gate alone, until it is decided
//	recover.go  a stage of a run that was killed
package sweep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// Stage is one stage with what was made of it.
type Stage struct {
	Load loadgen.Load
	*loadgen.Measured
	Audit     audit.Verdict
	Judgement slo.StageJudgement    // by the objectives, at the confidence of the plan or the search
	Engine    *enginemetrics.Window // what the server's metrics said; nil: not asked
	Engines   []enginemetrics.Named // the same of each engine, where they have names
	Role      Role                  // why it was run: Interpolated but for the stages of a search
}

// Warning is something the reader of a result should know; report prints it once.
type Warning struct {
	Stage int    `json:"stage"` // index of the stage it is about, −1 for the whole run
	Text  string `json:"text"`
}

// warning is about the whole run.
func warning(format string, args ...any) Warning {
	return Warning{Stage: -1, Text: fmt.Sprintf(format, args...)}
}

// Result is what a run of stages left. Stages that were measured are in it whatever ended the run.
type Result struct {
	Stages   []*Stage
	Warnings []Warning

	// Of sweeps only, in arrivals a second: requests, or sessions.
	SynchronousRate float64   // of one stream
	SaturationRate  float64   // that the probe found the server to sustain
	Rates           []float64 // the interpolated ones
	Probe           Probe

	Answer  *Answer       // what the search found; nil: none was made
	Decided []GateOutcome // by Decide; nil: it was not asked
	// Stages of the plain sweep, which are reported as GuideLLM's are; those after them are the search's. 0: all.
	Plain int
}

// PlainStages are the stages that are reported as GuideLLM's are.
func (r *Result) PlainStages() []*Stage {
	if r.Plain > 0 {
		return r.Stages[:min(r.Plain, len(r.Stages))]
	}
	return r.Stages
}

// Plan says how the stages of a run are made. Its Stage holds what they share: limits, grace, details.
type Plan struct {
	// Start begins a stage on this machine (OnThisMachine) or on several (package cluster).
	Start func(context.Context, loadgen.Stage, loadgen.Hooks) (loadgen.Running, error)
	// MaxConcurrency is how many requests may be in flight; 0: loadgen.DefaultMaxConcurrency.
	MaxConcurrency int

	// Stage is the template of every stage: limits, warm-up, grace. Its schedule, streams and source are set for each
	// stage.
	Stage loadgen.Stage
	// StageOf is the template of stage i, from 0, in place of Stage; nil: all stages have that. Not of a search.
	StageOf func(i int) loadgen.Stage

	// Source returns the requests of one stage, and what to call when the stage has ended. Stages get requests of their
	// own, so that no stage's prompts are cached from an earlier one.
	Source func(ctx context.Context, stage int) (loadgen.Source, func(), error)

	// Sessions says that the source gives sessions, which arrive in the place of requests: all rates are then of them.
	Sessions bool

	Objectives []slo.Objective
	Confidence float64 // of the judgements; 0: slo.DefaultConfidence

	// Simulate, where set, stands in for Start: the study of the search has stages of engines that it knows, as a
	// client without fault would record them. The stage ends at the first of the looks at which stop says so of the
	// stage as it then stands.
	Simulate func(stage loadgen.Stage, looks []time.Duration, stop func(*loadgen.Measured) bool) *loadgen.Measured

	Metrics *enginemetrics.Sources // scraped during every stage; nil: not at all

	Observe func(loadgen.Event) // told of every request of every stage but the probe's; may be nil

	// Pause lies between two stages, in which the server gets rid of what was cancelled.
	Pause time.Duration

	// StageStarted and StageEnded are told of every stage, to show progress; either may be nil.
	StageStarted func(index int, load loadgen.Load, run loadgen.Running)
	StageEnded   func(index int, l *Stage)
	// Planned is told of the interpolated rates of a sweep once they are known, req/s; may be nil.
	Planned func(rates []float64)
	// Estimated is told of the max rate as the stages of a search so far show it; may be nil.
	Estimated func(soFar *Answer)

	stages int // sources handed out so far: also those of the probe
	talk   conversations
	speed  float64 // of the trace that the next stage sends, over its own; 0: that
}

// OnThisMachine is Plan.Start of a runner.
func OnThisMachine(r *loadgen.Runner) func(context.Context, loadgen.Stage, loadgen.Hooks) (loadgen.Running, error) {
	return func(ctx context.Context, s loadgen.Stage, h loadgen.Hooks) (loadgen.Running, error) {
		run, err := r.Start(ctx, s, h)
		if err != nil {
			return nil, err // not a Running that holds no Run
		}
		return run, nil
	}
}

// Errors that end a run; what was measured is in the result.
var (
	ErrNothingSucceeded = errors.New("no request of the stage succeeded")
	ErrServerGone       = errors.New("the server no longer accepts connections")
	ErrWorkerLost       = errors.New("a worker was lost")
)

// Run runs the given stages in order. When it returns an error, the result still holds the stages that were measured.
func (p *Plan) Run(ctx context.Context, loads []loadgen.Load) (*Result, error) {
	r := &Result{}
	for _, s := range loads {
		if _, err := p.stage(ctx, r, s); err != nil {
			return r, err
		}
	}
	return r, nil
}

// Sweep runs GuideLLM's sweep with a probe that does not collapse: synchronous, saturation, then rates between the two,
// the last of them the saturation rate itself. The search is another step. When it returns an error, the result still
// holds what was measured.
func (p *Plan) Sweep(ctx context.Context, c spec.Sweep) (*Result, error) {
	r := &Result{}
	if err := p.Learn(ctx); err != nil {
		return r, err
	}
	sync, err := p.stage(ctx, r, loadgen.Load{Kind: loadgen.Synchronous, Streams: 1})
	if err != nil {
		return r, err
	}
	w, ok := workOf(sync.Measured)
	if !ok {
		if err := nothingSucceeded(sync); err != nil {
			return r, err
		}
		return r, fmt.Errorf("%w (%s): no token came within %v", ErrNothingSucceeded, sync.Load,
			time.Duration(sync.Stopped-sync.Start).Round(time.Millisecond))
	}
	r.SynchronousRate = synchronousRate(sync.Measured, w) / p.talk.perArrival()
	if err := pause(ctx, p.Pause); err != nil {
		return r, err
	}
	if r.Probe, err = p.probe(ctx, w); err != nil {
		return r, err
	}
	streams := min(2*r.Probe.Streams, p.maxStreams())
	sat, err := p.stage(ctx, r, loadgen.Load{Kind: loadgen.Throughput, Streams: streams})
	if err != nil {
		return r, err
	}
	r.SaturationRate = p.settleRate(r, saturationRate(sat.Measured, w)) / p.talk.perArrival()
	lo, hi := r.SynchronousRate, r.SaturationRate
	if hi < 1.1*lo {
		r.warn("the server sustains hardly more than one stream gives (%.3g against %.3g %s): "+
			"the rates begin at half of that", hi, lo, r.unit())
		hi = max(lo, hi)
		lo = hi / 2
	}
	r.Rates = num.Span(lo, hi, c.Size-1)[1:]
	if p.Planned != nil {
		p.Planned(r.Rates[:max(0, c.Size-2)])
	}
	for i, rate := range r.Rates[:max(0, c.Size-2)] {
		if _, err := p.stage(ctx, r, loadgen.Load{Kind: loadgen.KindOf(c.Arrival), Rate: rate, Seed: c.Seed,
			Arrival: c.Arrival}); err != nil {
			return r, fmt.Errorf("stage %d of %d: %w", i+3, c.Size, err)
		}
	}
	return r, nil
}

// stage runs one stage and appends it to the result.
func (p *Plan) stage(ctx context.Context, r *Result, load loadgen.Load) (*Stage, error) {
	stage := p.Stage
	if p.StageOf != nil {
		stage = p.StageOf(len(r.Stages))
	}
	if !load.Kind.Open() && load.RampUp == 0 {
		load.RampUp = stage.Load.RampUp
	}
	stage.Load = load
	l, err := p.stageIn(ctx, r, stage, Interpolated, nil)
	if err == nil && l.Reason == loadgen.StopWorkerLost { // once more, with those that are left
		l, err = p.stageIn(ctx, r, stage, Interpolated, nil)
		if err == nil && l.Reason == loadgen.StopWorkerLost {
			err = lostTwice(l.Measured)
		}
	}
	return l, err
}

// lostTwice ends a run of which a stage lost a worker, and one more when it was run again.
func lostTwice(l *loadgen.Measured) error {
	return fmt.Errorf("%w twice (%s): %w", ErrWorkerLost, l.Stage.Load, l.Err)
}

// stageIn runs one stage by a template of its own. Where a watch is given, it looks at the stage as it runs, may stop
// it, and judges it.
func (p *Plan) stageIn(ctx context.Context, r *Result, stage loadgen.Stage, role Role, w *watch) (*Stage, error) {
	load := stage.Load
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(r.Stages) > 0 {
		if err := pause(ctx, p.Pause); err != nil {
			return nil, err
		}
	}
	if p.Simulate != nil {
		return p.simulate(ctx, r, stage, role, w)
	}
	source, release, err := p.open(ctx, load)
	if err != nil {
		return nil, fmt.Errorf("requests for %s: %w", load, err)
	}
	defer release()
	observe := p.Observe
	if w != nil {
		observe = func(e loadgen.Event) {
			w.observe(e)
			if p.Observe != nil {
				p.Observe(e)
			}
		}
	}
	metrics := p.Metrics.Collect(ctx)
	run, err := p.Start(ctx, stage, loadgen.Hooks{Source: source, Observe: observe})
	if err != nil {
		metrics.Stop()
		return nil, fmt.Errorf("%s: %w", load, err)
	}
	if p.StageStarted != nil {
		p.StageStarted(len(r.Stages), load, run)
	}
	var watching sync.WaitGroup
	if w != nil {
		watching.Go(func() { w.run(run) })
	}
	l := &Stage{Load: load, Role: role, Measured: run.Wait()}
	watching.Wait()
	l.Engine, l.Engines = metrics.Finish(ctx, l.Measured)
	l.Audit = audit.Check(l.Measured)
	for i := range l.Workers {
		l.Workers[i].Part = nil // the audit has what is told of it, and the stage its records
	}
	return l, p.take(ctx, r, l, w)
}

// simulate runs one stage with Simulate.
func (p *Plan) simulate(ctx context.Context, r *Result, stage loadgen.Stage, role Role, w *watch) (*Stage, error) {
	l := &Stage{Load: stage.Load, Role: role, Audit: audit.Verdict{Level: audit.Valid}}
	if w == nil {
		l.Measured = p.Simulate(stage, nil, nil)
	} else {
		l.Measured = p.Simulate(stage, w.looks, func(s *loadgen.Measured) bool {
			return w.enough(s, slo.GapCount{Over: make([]int64, len(w.objectives))})
		})
	}
	return l, p.take(ctx, r, l, w)
}

// take judges a stage that has ended, and appends it to the result.
func (p *Plan) take(ctx context.Context, r *Result, l *Stage, w *watch) error {
	goOn := p.worthGoingOn(ctx, l)
	if w == nil {
		l.Judgement = judge(l, p.Objectives, p.Confidence)
	} else {
		l.Judgement = w.judge(l)
		if errors.Is(goOn, ErrNothingSucceeded) { // that decides the stage, and the next one is at a lower rate
			failNothing(&l.Judgement, goOn)
			goOn = nil
		}
		if w.settle != nil {
			w.settle(l)
		}
	}
	r.Stages = append(r.Stages, l)
	if text := l.contamination(); text != "" {
		r.Warnings = append(r.Warnings, Warning{Stage: len(r.Stages) - 1, Text: text})
	}
	if p.StageEnded != nil {
		p.StageEnded(len(r.Stages)-1, l)
	}
	return goOn
}

// contamination says which engine had prompts of the stage in its prefix cache; "" for none.
func (s *Stage) contamination() string {
	const text = "%s is contaminated: %.0f %% of its prompt tokens came from the %s's prefix cache"
	if s.Engine == nil || !s.Engine.Contaminated {
		return ""
	}
	server, share := "server", s.Engine.HitShare
	if len(s.Engines) > 1 {
		for _, e := range s.Engines {
			if e.Metrics.Contaminated {
				server, share = e.Name, e.Metrics.HitShare
				break
			}
		}
	}
	return fmt.Sprintf(text, s.Load, 100*float64(share), server)
}

// worthGoingOn says why no further stage should be run after this one, nil if there is no reason.
func (p *Plan) worthGoingOn(ctx context.Context, l *Stage) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch l.Reason {
	case loadgen.StopServerGone:
		return fmt.Errorf("%w (%s): %w", ErrServerGone, l.Load, l.Err)
	case loadgen.StopSource, loadgen.StopPacer:
		return fmt.Errorf("%s: %w", l.Load, l.Err)
	case loadgen.StopWorkerLost:
		return nil // the stage is run again
	case loadgen.StopErrors, loadgen.StopErrorRate, loadgen.StopGlobalErrorRate:
		return nil // the stage ended early as asked; the next rate may still be of use
	}
	return nothingSucceeded(l)
}

// nothingSucceeded is not nil where a stage brought nothing: no request completed, and none that ran out of time was
// generating. Long answers at a high load may all be unfinished at the end of a short stage; that is a result.
func nothingSucceeded(l *Stage) error {
	errored, counts, most := 0, map[string]int{}, ""
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
			text := rec.Err.String()
			if l.Details != nil && l.Details[i].Error != "" {
				text = l.Details[i].Error
			}
			if counts[text]++; counts[text] > counts[most] {
				most = text
			}
		}
	}
	err := fmt.Errorf("%w (%s: %d requests, %d errors)", ErrNothingSucceeded, l.Load, len(l.Records), errored)
	if most != "" {
		err = fmt.Errorf("%w: %s", err, most)
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
	r.Warnings = append(r.Warnings, warning(format, args...))
}
