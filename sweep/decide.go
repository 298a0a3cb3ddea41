package sweep

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// Decide runs each load, all open loops of one rate, until the objectives are shown to hold or not to hold there, or
// its time is over. A load whose outcome follows from those before it is left out: a rate above one that fails fails,
// too. When it returns an error, the result still holds what was measured.
func (p *Plan) Decide(ctx context.Context, loads []loadgen.Load, c spec.Decide) (*Result, error) {
	r := &Result{}
	for _, load := range loads {
		if outcome, _ := decideGate(slo.Gate{Rate: load.Rate, At: true}, trialsOf(r)); outcome != slo.Undecided {
			continue
		}
		if err := p.decide(ctx, r, load, c); err != nil {
			return r, err
		}
	}
	return r, nil
}

// decide runs one load. A stage whose client was not fit, or whose own records do not bear out what the last look at
// it saw, is followed by another one of other arrivals, with what is left of the time and of the error.
func (p *Plan) decide(ctx context.Context, r *Result, load loadgen.Load, c spec.Decide) error {
	left, alpha := c.Budget, 1-slo.WithDefault(p.Confidence)
	for tries := 0; ; tries++ {
		stage := p.Stage
		stage.Load = load
		stage.Load.Seed += int64(tries)
		stage.MaxDuration, stage.Cooldown = left, 0
		w := newWatch(p.Objectives, 0, 0, 0, stage)
		w.looks, w.interim = nil, newInterim(load.Rate, stage.Warmup, left, alpha, 1-slo.WithDefault(p.Confidence))
		w.looks = w.interim.at
		st, err := p.stageIn(ctx, r, stage, AtGate, w)
		if st == nil || err != nil {
			return err
		}
		took := time.Duration(st.Stopped - st.Start)
		left -= took + p.Pause
		if !st.Judgement.ClientAtFault { // else what the looks saw is thrown away, whatever it was
			alpha -= w.interim.spent()
		}
		again := st.Judgement.Outcome == slo.Undecided && (st.Judgement.ClientAtFault || w.interim.stopped)
		if !again || tries >= stalls || left < stage.Warmup+firstInterim(load.Rate) || st.Reason != loadgen.StopAsked &&
			st.Reason != loadgen.StopDuration {
			return nil
		}
	}
}

// interim is the plan of the looks at a stage that ends once it is decided. Each look may be wrong with a part of the
// error, and the parts make up the whole: whatever the looks have to do with each other, the chance that any of them is
// wrong is no more than the sum of theirs (Bonferroni). Half is kept for the end of the stage, where the close cases
// are decided; the looks before it share the rest. A case that is clear costs little by that, since the requests that
// it takes go with the logarithm of the error.
type interim struct {
	at     []time.Duration // of the looks before the end
	alphas []float64       // the error of each; the last is that of the end
	error  float64         // of the outcome as a whole

	looked  int  // looks so far
	stopped bool // by the last of them
	overran bool // so did the stage at the look before: see overrun
	failed  bool // the stage was stopped for that
}

// The looks at a stage that ends once it is decided.
const (
	interimEvery = 1.5 // how much later each look is than the one before
	atTheEnd     = 0.5 // share of the error that is kept for the end
	// A stage is first looked at after this time and this many requests.
	firstInterimTime     = 10 * time.Second
	firstInterimRequests = 60
)

// firstInterim is when a stage is first looked at, beside its warm-up.
func firstInterim(rate float64) time.Duration {
	return max(firstInterimTime, seconds(firstInterimRequests/rate))
}

// newInterim plans the looks at a stage of a rate: alpha is the error that all of them together may have, and error
// that of the outcome, of which earlier stages may have used some.
func newInterim(rate float64, warmup, length time.Duration, alpha, whole float64) *interim {
	i := &interim{error: whole}
	for t := firstInterim(rate); warmup+t < length*9/10; t = time.Duration(float64(t) * interimEvery) {
		i.at = append(i.at, warmup+t)
	}
	for range i.at {
		i.alphas = append(i.alphas, alpha*(1-atTheEnd)/float64(len(i.at)))
	}
	if len(i.at) == 0 {
		i.alphas = []float64{alpha}
	} else {
		i.alphas = append(i.alphas, alpha*atTheEnd)
	}
	return i
}

// look looks at a stage under way, and says whether it is decided.
func (i *interim) look(s *loadgen.Measured, objectives []slo.Objective, gaps slo.GapCount) bool {
	j := slo.JudgeAt(s, objectives, gaps, i.alphas[min(i.looked, len(i.alphas)-1)])
	i.looked++
	over := overrun(&j)
	i.failed = j.Outcome == slo.Undecided && over && i.overran
	i.stopped = j.Outcome != slo.Undecided || i.failed
	i.overran = over
	return i.stopped
}

// judge judges the stage at its end, with the error of the look that ended it.
func (i *interim) judge(s *Stage, objectives []slo.Objective) slo.StageJudgement {
	alpha := i.alphas[len(i.alphas)-1]
	if i.stopped {
		alpha = i.alphas[i.looked-1]
	}
	j := judge(s, objectives, 1-alpha)
	j.Confidence = 1 - i.error
	if i.failed && j.Outcome == slo.Undecided && !j.ClientAtFault {
		j.Outcome, j.ObservedHold, j.OnlyErrors, j.Need = slo.Fail, false, false, nil
		j.Reasons = []string{fmt.Sprintf("%.0f %% of the arrivals stay in flight, and most requests miss their bound",
			100*float64(j.Growth.Share))}
	}
	return j
}

// spent is the error that the looks so far had.
func (i *interim) spent() float64 {
	sum := 0.0
	for n, alpha := range i.alphas {
		if n < i.looked || !i.stopped {
			sum += alpha
		}
	}
	return sum
}

// DecideTime says how long Decide takes for a rate that meets the objectives without a miss, at the soonest; 0 where
// no time is known to be enough.
func (p *Plan) DecideTime(load loadgen.Load, budget time.Duration) time.Duration {
	alpha := 1 - slo.WithDefault(p.Confidence)
	i := newInterim(load.Rate, p.Stage.Warmup, budget, alpha, alpha)
	at := append(append([]time.Duration{}, i.at...), budget)
	for n, t := range at {
		stage := p.Stage
		stage.Load = load
		none := slo.JudgeAt(&loadgen.Measured{Stage: stage}, p.Objectives,
			slo.GapCount{Over: make([]int64, len(p.Objectives))}, i.alphas[n])
		if none.Need == nil {
			return 0
		}
		if need := p.Stage.Warmup + time.Duration(math.Ceil(none.Need.Time.Seconds()*warmedUp))*time.Second; need <= t {
			return t
		}
	}
	return 0
}

// warmedUp is by what a stage is longer than what counts of it: its own warm-up is a tenth at most.
const warmedUp = 10.0 / 9
