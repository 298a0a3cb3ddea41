package sweep

import (
	"errors"
	"fmt"
	"math"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// ErrNoSuchStage means that a gate can't be judged: no stage ran at its rate, and the knee does not decide it.
var ErrNoSuchStage = errors.New("no stage decides it")

// Evaluate says whether the gate is met. "rate>=10" is met by a knee that holds at 10 or above. "slo@10" is met where the
// stages at that rate pass; where none ran there, the knee decides: it holds at every rate up to HoldsAt, and at none from
// FailsAt on. A stage that was inconclusive does not meet a gate.
func Evaluate(g slo.Gate, r *Result) (met bool, why string, err error) {
	holds, fails := 0.0, math.Inf(1)
	if k := r.Knee; k != nil {
		holds = k.HoldsAt
		if k.FailsAt > 0 {
			fails = k.FailsAt
		}
	} else {
		for _, p := range points(trialsOf(r)) {
			switch {
			case p.outcome == slo.Fail:
				fails = min(fails, p.rate)
			case p.outcome == slo.Pass && p.rate < fails:
				holds = p.rate
			}
		}
	}
	if g.At {
		for _, p := range points(trialsOf(r)) {
			if math.Abs(p.rate/g.Rate-1) < 1e-9 {
				return p.outcome == slo.Pass, fmt.Sprintf("at %s req/s the objectives: %s", num.Rate(g.Rate), p.outcome), nil
			}
		}
	}
	switch {
	case holds >= g.Rate*(1-1e-9):
		return true, fmt.Sprintf("the objectives hold at %s req/s", num.Rate(holds)), nil
	case g.Rate >= fails:
		return false, fmt.Sprintf("the objectives fail at %s req/s", num.Rate(fails)), nil
	}
	return false, "", fmt.Errorf("gate %s: %w", g, ErrNoSuchStage)
}

// trialsOf are the judged open-loop stages of a run: the search's, or without one all.
func trialsOf(r *Result) []Trial {
	if r.Knee != nil {
		return r.Knee.Trials
	}
	var trials []Trial
	for i, l := range r.Stages {
		if l.Load.Kind.Open() && len(l.Judgement.Objectives) > 0 {
			trials = append(trials, Trial{i, Interpolated, l.Load.Rate, l.Load.Seed, l.Judgement})
		}
	}
	return trials
}
