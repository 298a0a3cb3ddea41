package sweep

import (
	"context"
	"fmt"
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
	p.warnOfLimits(r, c)
	s := search{plan: p, result: r, config: c, began: time.Now()}
	s.bounds = bounds{saturation: r.SaturationRate, synchronous: r.SynchronousRate}
	for i, l := range r.Stages {
		if !steadyLoad(l.Load) || l.Load.Arrival != c.Arrival {
			continue
		}
		if l.Judgement.Confidence != c.Confidence {
			l.Judgement = judge(l, p.Objectives, c.Confidence)
		}
		s.trials = append(s.trials, Trial{i, Interpolated, l.Load.Rate, l.Load.Seed, l.Judgement})
	}
	var err error
	for {
		n := c.next(s.trials, s.bounds, c.MaxStages-s.stages)
		if n.ended != "" {
			s.ended, s.why = n.ended, n.why
			break
		}
		if s.stages >= c.MaxStages {
			s.ended, s.why = EndStages, fmt.Sprintf("%d stages were run", s.stages)
			break
		}
		limit, ok := s.limit(n)
		if !ok && n.role == AtGate { // no room for a stage at its rate; one at another rate may still decide it
			c.Gates = slices.DeleteFunc(slices.Clone(c.Gates), func(g slo.Gate) bool { return g.Rate == n.rate })
			continue
		}
		if !ok {
			s.ended, s.why = EndBudget, fmt.Sprintf("the budget of %v has no room for another stage", c.Budget)
			if most := c.MaxPerStage; most > 0 && most.Seconds()*n.rate < fewestRequests {
				s.ended, s.why = EndUndecided,
					fmt.Sprintf("a stage of at most %v is too short at %s req/s: at least %d requests are needed",
						most, num.Rate(n.rate), fewestRequests)
			}
			if most := p.Stage.MaxRequests; most > 0 && float64(most)-n.rate*p.Stage.Warmup.Seconds() < fewestRequests {
				s.ended, s.why = EndRequests,
					fmt.Sprintf("stages of at most %d requests are too small: at least %d after the warm-up are needed",
						most, fewestRequests)
			}
			break
		}
		if err = s.try(ctx, n, limit); err != nil {
			s.ended, s.why = EndError, err.Error()
			if ctx.Err() != nil {
				s.ended, s.why = EndInterrupted, "the run was interrupted"
			}
			break
		}
	}
	return s.answer(), err
}

// search is a search under way.
type search struct {
	plan   *Plan
	result *Result
	config SearchConfig
	bounds bounds
	trials []Trial
	stages int // that the search ran
	began  time.Time
	ended  EndReason
	why    string
}

// limit is how long the next stage may take; ok is false if the budget has no room for a stage of use.
func (s *search) limit(n step) (d time.Duration, ok bool) {
	switch n.role {
	case AtGate:
		d = s.config.forGate(n.rate, s.trials)
	case Longer, Widening, Confirmation:
		d = s.config.perStage(n.rate, s.trials)
	default: // on the way to the bracket a short stage is enough
		d = s.config.perStage(n.rate, nil)
	}
	d += s.plan.Stage.Warmup // nothing of it is judged
	if most := s.plan.Stage.MaxRequests; most > 0 {
		d = min(d, time.Duration(float64(most)/n.rate*float64(time.Second)))
	}
	if s.config.Budget > 0 {
		d = min(d, s.config.Budget-time.Since(s.began))
	} else if s.plan.Stage.MaxRequests == 0 {
		return d, true
	}
	return d, (d-s.plan.Stage.Warmup).Seconds()*n.rate >= fewestRequests
}

// fewestRequests is below what no stage is begun: fewer can't show that 95 % of them hold.
const fewestRequests = 60

// warnOfLimits says which limits of the plan's stages the stages of a search do not keep, or hardly can.
func (p *Plan) warnOfLimits(r *Result, c SearchConfig) {
	if p.Stage.Cooldown > 0 {
		r.warn("the search's stages have no cool-down: each ends when its outcome is known")
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
		s.result.warn("before the stage at %s req/s it was not known whether the server still had requests: %v",
			num.Rate(rate), err)
	case !drained:
		s.result.warn("before the stage at %s req/s the server still had requests after %v: it may serve others too",
			num.Rate(rate), s.config.Drain)
	}
	return nil
}

// try runs one stage.
func (s *search) try(ctx context.Context, n step, limit time.Duration) error {
	if err := s.drain(ctx, n.rate); err != nil {
		return err
	}
	s.stages++
	load := loadgen.Load{Kind: loadgen.KindOf(s.config.Arrival), Rate: n.rate, Seed: s.config.Seed + int64(s.stages),
		Arrival: s.config.Arrival}
	stage := s.plan.Stage
	stage.Load = load
	stage.MaxDuration, stage.Cooldown = limit, 0
	first := stage.Warmup + max(time.Second, time.Duration(20/n.rate*float64(time.Second)))
	if s.config.NoEarlyStop {
		first = limit
	}
	w := newWatch(s.plan.Objectives, first, limit, s.config.Confidence, stage)
	l, err := s.plan.stageIn(ctx, s.result, stage, n.role, w)
	if l != nil {
		s.trials = append(s.trials, Trial{len(s.result.Stages) - 1, n.role, n.rate, load.Seed, l.Judgement})
	}
	return err
}
