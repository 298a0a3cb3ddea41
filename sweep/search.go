package sweep

import (
	"context"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// Search finds the max rate at SLO. It begins with the open-loop stages of the arrivals in the result, and runs further
// ones: first at the rates of the gates, until they are decided. An error ends it; what was found until then is in the
// answer.
func (p *Plan) Search(ctx context.Context, r *Result, c SearchConfig) (*Answer, error) {
	c = c.withDefaults()
	if err := p.Learn(ctx); err != nil {
		return nil, err
	}
	c.warmup, c.maxRequests, c.talk = p.Stage.Warmup, p.Stage.MaxRequests, p.talk
	p.warnOfLimits(r, c)
	s := search{plan: p, result: r, config: c, began: time.Now()}
	s.known = bounds{saturation: r.SaturationRate, synchronous: r.SynchronousRate}
	s.evidence = newEvidence(p.Objectives, c, r.SaturationRate)
	for i, l := range r.Stages {
		if !l.Load.Steady() || l.Load.Arrival != c.Arrival {
			continue
		}
		if l.Judgement.Confidence != c.Confidence {
			l.Judgement = judge(l, p.Objectives, c.Confidence)
		}
		s.take(i, l, step{role: Interpolated, rate: l.Load.Rate})
	}
	var err error
	for {
		s.spent = time.Since(s.began)
		n := c.next(s.state)
		if n.ended != "" && n.role == AtGate { // no room for a stage at its rate; another rate may still decide it
			c.Gates = slices.DeleteFunc(slices.Clone(c.Gates), func(g slo.Gate) bool {
				return c.Traffic.rateOf(g) == n.rate
			})
			continue
		}
		if n.ended != "" {
			s.ended, s.why = n.ended, n.why
			break
		}
		if err = s.try(ctx, n); err != nil {
			s.ended, s.why = EndError, err.Error()
			if ctx.Err() != nil {
				s.ended, s.why = EndInterrupted, "the run was interrupted"
			}
			break
		}
	}
	answer := s.answer()
	s.note(answer)
	return answer, err
}

// search is a search under way.
type search struct {
	state
	plan     *Plan
	result   *Result
	config   SearchConfig
	evidence *evidence
	began    time.Time
	ended    EndReason
	why      string
	lost     bool // a worker was lost in the last stage, and it is run again
}

// take takes in a stage.
func (s *search) take(index int, l *Stage, n step) {
	t := Trial{
		Stage: index, Role: n.role, Rate: n.rate, Seed: l.Load.Seed, StageJudgement: l.Judgement,
		asked: n.length, residence: s.plan.talk.residence(slo.Residence(l.Measured)),
	}
	t.over = clearCut(&t.StageJudgement, false)
	s.trials = append(s.trials, t)
	s.load += time.Duration(l.Stopped - l.Start)
	if !t.ClientAtFault {
		s.evidence.add(l.Measured, &t.StageJudgement, t.residence)
		s.estimate = s.evidence.solve()
	}
}

// warnOfLimits says which limits of the plan's stages the stages of a search do not keep, or hardly can.
func (p *Plan) warnOfLimits(r *Result, c SearchConfig) {
	if p.Stage.Cooldown > 0 {
		r.warn("the search's stages have no cool-down")
	}
	if c.MaxPerStage > 0 && p.Stage.Warmup > 0 {
		r.warn("the search's stages take their warm-up of %v beside the %v that each may take", p.Stage.Warmup,
			c.MaxPerStage)
	}
}

// drain waits until the server has got rid of the stage before, as far as its metrics tell.
func (s *search) drain(ctx context.Context, rate float64) error {
	if s.plan.Metrics == nil || len(s.result.Stages) == 0 {
		return nil
	}
	drained, err := s.plan.Metrics.Drained(ctx, s.config.Drain)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		s.result.warn("before the stage at %s %s it was not known whether the server still had requests: %v",
			num.Rate(rate), s.config.unit(), err)
	case !drained:
		s.result.warn("before the stage at %s %s the server still had requests after %v: it may serve others too",
			num.Rate(rate), s.config.unit(), s.config.Drain)
	}
	return nil
}

// firstLook is when a stage is first looked at, at least; it has sent fewestRequests then.
const firstLook = 3 * time.Second

// try runs one stage.
func (s *search) try(ctx context.Context, n step) error {
	if err := s.drain(ctx, n.rate); err != nil {
		return err
	}
	load := loadgen.Load{Kind: loadgen.KindOf(s.config.Arrival), Rate: n.rate,
		Seed: s.config.Seed + int64(s.run()) + 1, Arrival: s.config.Arrival}
	stage := s.plan.Stage
	if t := s.config.Traffic; t != nil {
		s.plan.speed = n.rate / t.Rate
		load = t.load.AtSpeed(s.plan.speed)
		stage.MaxRequests = 0
	}
	stage.Load = load
	stage.MaxDuration, stage.Cooldown = n.length+stage.Warmup, 0
	look := stage.Warmup + max(firstLook, seconds(fewestRequests/n.rate), 2*s.config.talk.length)
	if s.config.NoEarlyStop || s.config.Traffic != nil { // what a trace begins with is not like the rest of it
		look = stage.MaxDuration
	}
	w := newWatch(s.plan.Objectives, look, stage.MaxDuration, s.config.Confidence, stage)
	w.brief = n.brief
	l, err := s.plan.stageIn(ctx, s.result, stage, n.role, w)
	if l != nil {
		s.take(len(s.result.Stages)-1, l, n)
		if lost := l.Reason == loadgen.StopWorkerLost; lost && s.lost && err == nil {
			err = lostTwice(l.Measured)
		} else {
			s.lost = lost
		}
	}
	if l != nil && s.plan.Estimated != nil {
		s.plan.Estimated(s.answer())
	}
	return err
}
