package sweep

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// Decide runs the rate of each gate, in turn, until it is shown whether the objectives hold there in the long run, or
// its time is over. It looks at the stage as it runs. That the rate is too high is seen by the judge of stages; that
// it is low enough, where it clearly is: with two thirds of the misses that the objectives allow at most. What is not
// clear at the end of the time is for the estimate to decide, as in a search: whether the max rate lies above the
// gate's.
// When it returns an error, the result still holds what was measured.
func (p *Plan) Decide(ctx context.Context, gates []slo.Gate, c spec.Decide) (*Result, error) {
	r := &Result{}
	if err := p.Learn(ctx); err != nil {
		return r, err
	}
	for i, g := range gates {
		load := loadgen.Load{Kind: loadgen.KindOf(c.Arrival), Rate: g.Rate, Arrival: c.Arrival,
			Seed: c.Seed + int64(i)*(stalls+1)} // decide counts on from there
		o, err := p.decide(ctx, r, g, load, c.Budget)
		r.Decided = append(r.Decided, o)
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// decide decides one gate. A stage whose client was not fit, or whose own records do not bear out what the last look at
// it saw, is followed by another one of other arrivals, with what is left of the time and of the error.
func (p *Plan) decide(ctx context.Context, r *Result, g slo.Gate, load loadgen.Load, left time.Duration) (
	GateOutcome, error,
) {
	whole := 1 - slo.WithDefault(p.Confidence)
	alpha := whole
	o := GateOutcome{Gate: g, Outcome: slo.Undecided, Text: "no stage was run"}
	for tries, lost := 0, false; ; tries++ {
		stage := p.Stage
		stage.Load = load
		stage.Load.Seed += int64(tries)
		stage.MaxDuration, stage.Cooldown = left, 0
		w := newWatch(p.Objectives, 0, 0, 0, stage)
		w.interim = newInterim(p.firstInterim(load.Rate), stage.Warmup, left, alpha, whole)
		w.looks = w.interim.at
		w.settle = func(st *Stage) {
			o = p.outcome(g, st, w.interim)
			if j := &st.Judgement; j.Outcome != o.Outcome { // the estimate knows more than the stage alone does
				j.Outcome, j.Need = o.Outcome, o.Need
				if j.Reasons = []string{}; o.Outcome != slo.Pass {
					j.Reasons = []string{o.Text}
				}
			}
		}
		st, err := p.stageIn(ctx, r, stage, AtGate, w)
		if st == nil {
			return o, err
		}
		left -= time.Duration(st.Stopped-st.Start) + p.Pause
		if !st.Judgement.ClientAtFault { // else what the looks saw is thrown away, whatever it was
			alpha -= w.interim.spent()
		}
		if err == nil && lost && st.Reason == loadgen.StopWorkerLost {
			err = lostTwice(st.Measured)
		}
		lost = st.Reason == loadgen.StopWorkerLost
		again := o.Outcome == slo.Undecided && (st.Judgement.ClientAtFault || w.interim.stopped)
		if err != nil || !again || tries >= stalls || left < stage.Warmup+p.firstInterim(load.Rate) ||
			!lost && st.Reason != loadgen.StopAsked && st.Reason != loadgen.StopDuration {
			return o, err
		}
	}
}

// outcome is what a stage at a gate's rate says of it.
func (p *Plan) outcome(g slo.Gate, st *Stage, i *interim) GateOutcome {
	j := &st.Judgement
	o := GateOutcome{Gate: g, Outcome: j.Outcome}
	seen := &Result{Stages: []*Stage{st}}
	switch {
	case j.ClientAtFault:
		o.Text = j.Reasons[len(j.Reasons)-1]
		return o
	case j.Outcome == slo.Fail:
		return Evaluate(g, seen)
	case i.stopped && j.Outcome == slo.Pass && !clearlyLow(j):
		o.Outcome, o.Need = slo.Undecided, twiceAsLong(j)
		o.Text = fmt.Sprintf("after %v the objectives hold at %s %s, but not clearly", j.At.Round(time.Second),
			num.Rate(g.Rate), seen.unit())
		return o
	case i.stopped:
		return Evaluate(g, seen)
	}
	config := SearchConfig{Search: spec.Search{Arrival: st.Load.Arrival}, Confidence: p.Confidence}.withDefaults()
	config.talk = p.talk
	s := search{plan: p, result: seen, config: config}
	s.evidence = newEvidence(p.Objectives, config, 0)
	s.take(0, st, step{role: AtGate, rate: st.Load.Rate})
	if s.estimate == nil { // there is nothing to estimate by
		return Evaluate(g, seen)
	}
	if j.Outcome == slo.Pass && s.estimate.Above(g.Rate) >= likely { // by both, each more than likely
		return Evaluate(g, seen)
	}
	o = s.answer().decide(g, i.alphas[len(i.alphas)-1])
	if o.Outcome == slo.Undecided {
		o.Text = fmt.Sprintf("after %v it is not decided whether the max rate is above %s %s (it is with %.0f %%)",
			j.At.Round(time.Second), num.Rate(g.Rate), seen.unit(), 100*s.estimate.Above(g.Rate))
		o.Need = j.Need
		if j.Outcome == slo.Pass { // of which the estimate is not sure yet
			o.Need = twiceAsLong(j)
		}
	}
	return o
}

// twiceAsLong is what a stage needs of which it is not known what it needs.
func twiceAsLong(j *slo.StageJudgement) *slo.Need { return &slo.Need{Requests: j.Requests, Time: j.At} }

// likely is how sure the estimate has to be where the judge of stages says the same: of a server that was never slow,
// it takes many minutes to be surer, for it may be slow yet.
const likely = 0.9

// interim is the plan of the looks at a stage that ends once it is clear. Each look may be wrong with a part of the
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
	overran bool // so did the stage at the last look: see overrun
}

// The looks at a stage that ends once it is decided.
const (
	interimEvery = 1.5 // how much later each look is than the one before
	atTheEnd     = 0.5 // share of the error that is kept for the end
	// A stage is first looked at after this time and this many requests.
	firstInterimTime     = 10 * time.Second
	firstInterimRequests = 60
	// Of the misses that the objectives allow, a rate that is clearly low enough has no more than this share.
	lowShare = 2.0 / 3
	// It passes after this time at the soonest: a server that is slow in spells, every twenty seconds or so, may show
	// none of them before.
	firstPass = time.Minute
)

// firstInterim is when a stage of a rate is first looked at, beside its warm-up.
func (p *Plan) firstInterim(rate float64) time.Duration {
	return max(firstInterimTime, seconds(firstInterimRequests/rate/p.talk.perArrival()), 2*p.talk.length)
}

// newInterim plans the looks at a stage, the first of which is so long after its warm-up: alpha is the error that all
// of them together may have, and whole that of the outcome, of which earlier stages may have used some.
func newInterim(first, warmup, length time.Duration, alpha, whole float64) *interim {
	i := &interim{error: whole}
	for t := first; warmup+t < length*9/10; t = time.Duration(float64(t) * interimEvery) {
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

// look looks at a stage under way, and says whether it is clear.
func (i *interim) look(s *loadgen.Measured, objectives []slo.Objective, gaps slo.GapCount) bool {
	j := slo.JudgeAt(s, objectives, gaps, i.alphas[min(i.looked, len(i.alphas)-1)])
	i.looked++
	twice := i.overran
	i.overran = overrun(&j)
	i.stopped = j.Outcome == slo.Fail || twice && i.overran || clearlyLow(&j)
	return i.stopped
}

// clearlyLow says whether a rate is clearly low enough: the stage passes, has no more than two thirds of the misses
// that the objectives allow, and was long enough to have seen that a server is slow now and then.
func clearlyLow(j *slo.StageJudgement) bool {
	return j.At >= firstPass && passes(j, lowShare)
}

// judge judges the stage at its end, with the error of the look that ended it.
func (i *interim) judge(s *Stage, objectives []slo.Objective) slo.StageJudgement {
	alpha := i.alphas[len(i.alphas)-1]
	if i.stopped {
		alpha = i.alphas[i.looked-1]
	}
	j := judge(s, objectives, 1-alpha)
	j.Confidence = 1 - i.error
	if i.stopped && i.overran && overrun(&j) && j.Outcome == slo.Undecided && !j.ClientAtFault {
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

// DecideTime says how long Decide takes for a rate that meets the objectives without a miss; 0 where that is longer
// than the budget, or not known.
func (p *Plan) DecideTime(g slo.Gate, c spec.Decide) time.Duration {
	alpha := 1 - slo.WithDefault(p.Confidence)
	i := newInterim(p.firstInterim(g.Rate), p.Stage.Warmup, c.Budget, alpha, alpha)
	for n, t := range i.at {
		if t < firstPass {
			continue
		}
		most := 1.0
		for _, o := range p.Objectives {
			if limit, ok := o.MissLimit(); ok && limit > 0 && o.Metric != slo.Errors {
				most = max(most, math.Log(i.alphas[n])/math.Log1p(-lowShare*limit))
			}
		}
		// What is not known of the autocorrelation makes it a third more, and the stage's own warm-up is a tenth of it.
		if (t-p.Stage.Warmup-p.talk.length).Seconds()*g.Rate*p.talk.perArrival() >= 1.5*most {
			return t
		}
	}
	return 0
}

// DecidesAfter says how long Decide takes for a rate that is far too high.
func (p *Plan) DecidesAfter(rate float64) time.Duration {
	return p.Stage.Warmup + time.Duration(float64(p.firstInterim(rate))*interimEvery)
}
