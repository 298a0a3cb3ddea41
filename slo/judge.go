package slo

import (
	"fmt"
	"math"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// StageJudgement is what is known of a stage: whether the server meets the objectives at its rate, and how that is known.
type StageJudgement struct {
	Outcome    Outcome  `json:"outcome"`
	Reasons    []string `json:"reasons"`    // why it does not pass; empty where it does
	Confidence float64  `json:"confidence"` // of the outcome, over all looks at the stage

	At         time.Duration `json:"at_ns"`       // how long the stage had run when its outcome was known
	WarmUp     time.Duration `json:"warm_up_ns"`  // what was left out at its start
	Requests   int           `json:"requests"`    // that were measured: due after the warm-up
	EffectiveN num.Value     `json:"effective_n"` // the fewest of an objective; NaN without objectives
	Objectives []Judgement   `json:"objectives"`
	Growth     Growth        `json:"growth"`

	// Leans says which way the plain figures point, of an inconclusive stage too: that all objectives hold.
	Leans bool `json:"leans"`
	// Client is set where it was the client that kept the stage from passing: it could not offer the load.
	Client bool `json:"client,omitempty"`
}

// growthAlpha is the share of a test's error that the test for growth is given: latencies tell of a growing backlog sooner,
// but where the objectives are very patient.
const growthAlpha = 0.1

// staysToPass is for how many mean stays of a request a stage has to be measured to pass. What happens within one stay is
// not independent, and a sample that is no longer than a few can't show it.
const staysToPass = 10

// suspicion is the p-value of growth below which a stage does not pass.
const suspicion = 0.05

// staysToGrow is for how many mean stays a stage has to run before its backlog is looked at, and as long is then looked at.
const staysToGrow = 2

// GapCount is how many gaps between tokens there were, and how many of them beyond the bound of each objective on itl.
type GapCount struct {
	Total int64
	Over  []int64 // parallel to the objectives
}

// Judge judges a stage that has ended, with one look at all of it. Confidence 0 stands for DefaultConfidence.
func Judge(m *loadgen.Measured, objectives []Objective, confidence float64) StageJudgement {
	confidence = WithDefault(confidence)
	s := Snapshot(m, m.AllRecords(), m.Stopped)
	j := JudgeAt(s, objectives, CountGaps(m, objectives), 1-confidence)
	j.Confidence = confidence
	return j
}

// CountGaps counts the gaps of a stage that has ended.
func CountGaps(l *loadgen.Measured, objectives []Objective) GapCount {
	g := GapCount{Over: make([]int64, len(objectives))}
	for i, o := range objectives {
		if o.Metric == ITL {
			j := o.Judge(l)
			g.Total, g.Over[i] = int64(j.N), int64(j.Misses)
		}
	}
	return g
}

// JudgeAt judges a stage as it stood at a moment (see Snapshot), with error alpha for each of the two ways to be wrong. It
// asks nothing about the client.
func JudgeAt(s *loadgen.Measured, objectives []Objective, gaps GapCount, alpha float64) StageJudgement {
	j := StageJudgement{At: time.Duration(s.Stopped - s.Start), EffectiveN: num.Value(math.NaN()), Outcome: Pass, Leans: true}
	if len(s.Records) == 0 || j.At <= 0 {
		j.Outcome, j.Leans = Undecided, false
		j.Reasons = append(j.Reasons, "no request was due")
		return j
	}
	series := inFlight(s.Records, s.Start, s.Stopped)
	stay := meanStay(s.Records)
	most := 0.5
	if stay > 0 {
		most = longestWarmUp(float64(j.At), stay)
	}
	cut, steady := warmUp(series, most)
	step := j.At / inFlightSamples
	j.WarmUp = time.Duration(cut) * step
	from := s.Start + int64(j.WarmUp)
	for i := range s.Records {
		if s.Records[i].Scheduled >= from {
			j.Requests++
		}
	}
	rate := float64(len(s.Records)) / j.At.Seconds()
	half := max(cut, len(series)/2)
	began := float64(half) * float64(step) // of the part that is looked at for growth
	j.Growth = growth(series[half:], step, rate, growthAllowance(began, stay), stay)
	if began < staysToGrow*stay {
		j.Growth.PValue = 1 // arrivals that came in a bunch look like growth as long as they stay
	}

	// To fail it is enough that one thing fails, so they share the error; to pass all have to, so each may have all of it.
	failAlpha := alpha / float64(len(objectives)+1)
	for i, o := range objectives {
		oj := o.judgeWindow(s, from, gaps.Total, gaps.Over[i], alpha, failAlpha)
		j.Objectives = append(j.Objectives, oj)
		if n := oj.EffectiveN; n > 0 && !(j.EffectiveN <= n) {
			j.EffectiveN = n
		}
		j.add(oj.Outcome, "%s: %s", o, oj.Reason)
		j.Leans = j.Leans && oj.Holds
	}
	switch g := &j.Growth; {
	case g.PValue < growthAlpha*failAlpha:
		j.add(Fail, "the backlog grows by %.2g requests a second, %.0f %% of the arrivals", float64(g.Slope), 100*float64(g.Share))
		j.Leans = false
	case g.PValue < suspicion:
		j.add(Undecided, "the backlog seems to grow, by %.0f %% of the arrivals", 100*float64(g.Share))
		j.Leans = false
	case !steady && !(g.Share < g.Limit):
		j.add(Undecided, "the requests in flight have not become steady")
	case float64(s.Stopped-from) < staysToPass*stay:
		j.add(Undecided, "measured for %v, while a request stays for %v", num.RoundDuration(time.Duration(s.Stopped-from)), num.RoundDuration(time.Duration(stay)))
	}
	return j
}

// add takes one part's outcome: one that fails decides, then one that is inconclusive. The reasons are those of what
// decided.
func (j *StageJudgement) add(o Outcome, format string, args ...any) {
	switch {
	case o == Pass || o == Undecided && j.Outcome == Fail:
		return
	case o == Fail && j.Outcome != Fail:
		j.Reasons = nil
	}
	j.Reasons = append(j.Reasons, fmt.Sprintf(format, args...))
	j.Outcome = o
}

// judgeWindow judges one objective by the requests that were due from a moment on.
func (o Objective) judgeWindow(s *loadgen.Measured, from int64, gaps, gapsOver int64, passAlpha, failAlpha float64) Judgement {
	j := Judgement{Objective: o, Bound: num.Value(o.Bound)}
	obs := o.window(s, from)
	if o.Metric == ITL {
		return o.judgeGapWindow(s, from, gaps, gapsOver, passAlpha, failAlpha)
	}
	j.judgeObservations(obs)
	if j.N == 0 {
		return o.nothingIn(s, j)
	}
	j.setMargin()
	values := make([]float64, len(obs))
	misses := make([]float64, len(obs))
	for i, ob := range obs {
		values[i], misses[i] = ob.value, indicator(ob.miss)
	}
	tau, stderr := clustering(values, misses, o.MissLimit())
	if o.Statistic.Kind == Mean {
		tau, stderr = autocorrelationTime(values)
	}
	// What is not known of τ counts against a stage that is to pass, as what is not known of the latencies does.
	n := float64(len(obs)) / (tau + stderr)
	j.EffectiveN = num.Value(n)
	j.decide(sample{share: float64(j.Misses) / float64(len(obs)), n: n, nFail: float64(len(obs)) / tau, values: values}, passAlpha, failAlpha)
	return j
}

// sample is what a decision rests on.
type sample struct {
	share  float64 // of misses
	n      float64 // effective sample size for passing
	nFail  float64 // for failing: larger, without the uncertainty of the autocorrelation time
	values []float64
}

// decide gives the outcome.
func (j *Judgement) decide(s sample, passAlpha, failAlpha float64) {
	switch j.Objective.Statistic.Kind {
	case Mean:
		j.judgeMean(s, passAlpha, failAlpha)
	case Max:
		j.judgeMax()
	default:
		j.judgeShare(s, passAlpha, failAlpha)
	}
}

// setMargin fills in whether the plain figure keeps the bound, and by how much.
func (j *Judgement) setMargin() {
	o, v := j.Objective, float64(j.Value)
	j.Holds = o.Op.holds(v, o.Bound)
	switch {
	case o.Metric == Goodput:
		j.Margin = num.Value(v - o.Bound)
	case o.Bound > 0:
		j.Margin = num.Value((o.Bound - v) / o.Bound)
	default:
		j.Margin = num.Value(-v)
	}
}

// window returns what the requests due from a moment on say. The last ones that were due are left out where the
// objective leaves requests in flight undecided: there, those that were answered would count and those that were not would
// not, which would flatter the server.
func (o Objective) window(s *loadgen.Measured, from int64) []observation {
	type entry struct {
		ob     observation
		counts bool
	}
	var all []entry
	until := int64(math.MaxInt64)
	horizon := o.horizon()
	for i := range s.Records {
		r := &s.Records[i]
		if r.Scheduled < from {
			continue
		}
		ob, counts := o.observe(r, s)
		all = append(all, entry{ob, counts})
		open := r.Status == loadgen.Incomplete || r.Status == loadgen.NotSent
		if !counts && open && horizon > 0 {
			until = min(until, r.Scheduled)
		}
	}
	var obs []observation
	for _, e := range all {
		if e.counts && e.ob.scheduled < until {
			obs = append(obs, e.ob)
		}
	}
	return obs
}

// horizon is how long after it was due a request is decided, whatever comes; 0 where that depends on the request.
func (o Objective) horizon() time.Duration {
	switch o.Metric {
	case TTFT, E2E:
		return time.Duration(o.Bound)
	case Goodput:
		h := time.Duration(0)
		for _, b := range o.Each {
			if b.Metric != TTFT && b.Metric != E2E {
				return 0
			}
			h = max(h, b.Bound)
		}
		return h
	}
	return 0
}

// nothingIn is the judgement where no request says anything.
func (o Objective) nothingIn(s *loadgen.Measured, j Judgement) Judgement {
	nan := num.Value(math.NaN())
	j.Value, j.ValueFromSent, j.Margin, j.EffectiveN = nan, nan, nan, 0
	if o.Metric.Latency() && completedAny(s) {
		j.Holds, j.Outcome = true, Pass // one-token answers have no gaps
		return j
	}
	j.Outcome, j.Reason = Undecided, "no request has shown anything yet"
	return j
}

// fewest is the number of observations below which none can fail a stage, however many of them miss: so few come close
// together, and any one disturbance makes all of them late.
const fewest = 20

// judgeShare decides by the binomial bounds of the share of misses.
func (j *Judgement) judgeShare(s sample, passAlpha, failAlpha float64) {
	o := j.Objective
	limit := o.MissLimit()
	lower, _ := shareBounds(s.share*s.nFail, s.nFail, failAlpha)
	_, upper := shareBounds(s.share*s.n, s.n, passAlpha)
	j.Lower, j.Upper = num.Value(lower), num.Value(upper)
	seen := fmt.Sprintf("%.3g %% of %d missed it, allowed are %.3g %%", 100*s.share, j.N, 100*limit)
	switch {
	case j.N >= fewest && failProbability(s.share*s.nFail, s.nFail, limit) < failAlpha:
		j.Outcome, j.Reason = Fail, seen
	case passProbability(s.share*s.n, s.n, limit) <= passAlpha:
		j.Outcome = Pass
	case j.Misses == 0 && (o.Metric == Errors || limit == 0):
		// That less than 1 % fails could be shown by 300 requests without a failure; no one asks that of a stage where there
		// was none, and nothing at all could show that a share is zero. The bound of the share stands beside it.
		j.Outcome = Pass
	default:
		j.Outcome = Undecided
		j.Reason = fmt.Sprintf("%s; worth %.0f independent ones, too few to tell", seen, s.n)
	}
}

// MissLimit is the greatest share of requests that may miss the bound.
func (o Objective) MissLimit() float64 {
	switch {
	case o.Statistic.Kind == Quantile:
		return 1 - o.Statistic.Q
	case o.Metric == Goodput:
		return 1 - o.Bound
	}
	return o.Bound
}

// judgeMean decides by Student's t on the effective sample size.
func (j *Judgement) judgeMean(s sample, passAlpha, failAlpha float64) {
	o, mean := j.Objective, float64(j.Value)
	if math.IsInf(mean, 0) {
		j.Outcome, j.Reason = Fail, "a request failed, so there is no mean"
		return
	}
	squares := 0.0
	for _, v := range s.values {
		squares += (v - mean) * (v - mean)
	}
	se := func(n float64) float64 { return math.Sqrt(squares / float64(len(s.values)) / max(n-1, 1e-9)) }
	seen := fmt.Sprintf("the mean of %d is %s ± %s", j.N, o.Seen(mean), o.Seen(se(s.n)))
	switch {
	case mean-studentQuantile(failAlpha, s.nFail-1)*se(s.nFail) > o.Bound:
		j.Outcome, j.Reason = Fail, seen
	case mean+studentQuantile(passAlpha, s.n-1)*se(s.n) < o.Bound:
		j.Outcome = Pass
	default:
		j.Outcome, j.Reason = Undecided, seen
	}
}

// judgeMax decides by what was seen: no number of requests could show that none will ever take longer.
func (j *Judgement) judgeMax() {
	if j.Holds {
		j.Outcome = Pass
		return
	}
	j.Outcome, j.Reason = Fail, fmt.Sprintf("the longest took %s", j.Objective.Seen(float64(j.Value)))
}

// judgeGapWindow judges an objective on itl. Gaps are counted as the stage runs, its warm-up included. All gaps of one
// request count as one observation, as if they were long or short together, and requests have the autocorrelation of
// their mean gap: a bound on how much less than independent the gaps are.
func (o Objective) judgeGapWindow(s *loadgen.Measured, from, gaps, over int64, passAlpha, failAlpha float64) Judgement {
	j := Judgement{Objective: o, Bound: num.Value(o.Bound), N: int(gaps), Misses: int(over)}
	if gaps == 0 {
		return o.nothingIn(s, j)
	}
	var means []float64
	for i := range s.Records {
		if m := measure(TPOT, &s.Records[i], s); m.state == known {
			means = append(means, m.value)
		}
	}
	n, nFail := 0.0, 0.0
	if len(means) > 0 {
		tau, stderr := clustering(means, make([]float64, len(means)), o.MissLimit())
		n, nFail = float64(len(means))/(tau+stderr), float64(len(means))/tau
	}
	plain := Judgement{Objective: o}
	plain.judgeGaps(s)
	j.Value, j.ValueFromSent, j.EffectiveN = plain.Value, plain.Value, num.Value(n)
	share := float64(over) / float64(gaps)
	j.setMargin()
	switch o.Statistic.Kind {
	case Quantile:
		j.Holds = share <= o.MissLimit()
	case Max:
		j.Holds = over == 0
	}
	j.decide(sample{share: share, n: n, nFail: nFail, values: means}, passAlpha, failAlpha)
	return j
}
