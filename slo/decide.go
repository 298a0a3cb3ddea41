package slo

import (
	"fmt"
	"math"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Outcome is what is known of a stage, or of one objective on it, at the stated confidence.
type Outcome string

// The outcomes.
const (
	Pass      Outcome = "PASS"
	Fail      Outcome = "FAIL"
	Undecided Outcome = "UNDECIDED"
)

// Judgement is what became of one objective on one stage: what was observed, and how sure that is. Figures are in the
// unit of the objective's bound.
type Judgement struct {
	Objective Objective `json:"objective"` // in its canonical form
	Outcome   Outcome   `json:"outcome"`
	Reason    string    `json:"reason,omitempty"` // why it does not pass
	Unit      string    `json:"unit"`             // of the figures: ns or share
	Bound     num.Value `json:"bound"`
	Observed

	// EffectiveN is how many independent requests the observations are worth.
	EffectiveN num.Value `json:"effective_n"`
	// MissShareLower and MissShareUpper are one-sided confidence bounds of the share of misses, at the error that
	// failing and passing may have; absent for means and maxima, which no share decides. MissShareLimit is the share
	// that is allowed.
	MissShareLower num.Value `json:"miss_share_lower"`
	MissShareUpper num.Value `json:"miss_share_upper"`
	MissShareLimit num.Value `json:"miss_share_limit"`

	// Need is about how much more of the same would decide an undecided objective; absent where no amount is known to.
	Need *Need `json:"need,omitempty"`

	sample sample
}

// alphas are the errors that a judgement may have: passing what should fail, and failing what should pass.
type alphas struct{ pass, fail float64 }

// sample is what a decision rests on.
type sample struct {
	share       float64 // of misses
	requests    int     // that were observed
	tau, stderr float64 // their autocorrelation time
	deviation   float64 // standard deviation; means only
}

// forPassing and forFailing are effective sample sizes. What is not known of the autocorrelation time counts against a
// stage that is to pass, as what is not known of the latencies does.
func (e sample) forPassing() float64 { return float64(e.requests) / (e.tau + e.stderr) }
func (e sample) forFailing() float64 { return float64(e.requests) / e.tau }

func newJudgement(o Objective) Judgement {
	none := num.Absent()
	j := Judgement{
		Objective: o, Unit: o.Unit(), Bound: num.Value(o.Bound), EffectiveN: 0,
		MissShareLower: none, MissShareUpper: none, MissShareLimit: none,
	}
	if o.Statistic.Kind == Quantile || o.Statistic.Kind == Share {
		j.MissShareLimit = num.Value(o.missLimit())
	}
	return j
}

// judgeRequests judges an objective other than itl by the requests that were due in a part of a stage.
func (o Objective) judgeRequests(s *loadgen.Measured, from, to int64, work *autocorrelation, alpha alphas) Judgement {
	j := newJudgement(o)
	obs := o.window(s, from, to)
	j.Observed = o.observed(s, obs)
	if j.N == 0 {
		j.decideNothing()
		return j
	}
	values := make([]float64, len(obs))
	misses := make([]float64, len(obs))
	sessions := make([]int32, len(obs))
	for i := range obs {
		sessions[i] = obs[i].session
		values[i], misses[i] = obs[i].value, indicator(obs[i].miss)
	}
	e := sample{share: float64(j.Misses) / float64(j.N), requests: j.N}
	if o.Statistic.Kind == Mean {
		e.tau, e.stderr = work.time(values, sessions)
	} else {
		e.tau, e.stderr = work.clustering(values, misses, sessions, o.missLimit(), o.Bound)
	}
	j.decide(e, values, alpha)
	return j
}

// decideNothing is the outcome where no request says anything.
func (j *Judgement) decideNothing() {
	if j.Holds {
		j.Outcome = Pass // responses of one token have no gaps
		return
	}
	j.Outcome, j.Reason = Undecided, "no request has shown anything yet"
}

// decide gives the outcome.
func (j *Judgement) decide(e sample, values []float64, alpha alphas) {
	j.EffectiveN = 0
	if e.requests > 0 {
		j.EffectiveN = num.Value(e.forPassing())
	}
	j.sample = e
	switch j.Objective.Statistic.Kind {
	case Mean:
		j.decideMean(values, alpha)
	case Max:
		j.decideMax()
	default:
		j.decideShare(alpha)
	}
}

// fewest is the number of observations below which none can fail a stage, however many of them miss: so few come close
// together, and any one disturbance makes all of them late.
const fewest = 20

// decideShare decides by the binomial bounds of the share of misses.
func (j *Judgement) decideShare(alpha alphas) {
	e, limit := j.sample, j.Objective.missLimit()
	n, nFail := 0.0, 0.0
	if e.requests > 0 {
		n, nFail = e.forPassing(), e.forFailing()
	}
	lower, _ := shareBounds(e.share*nFail, nFail, alpha.fail)
	_, upper := shareBounds(e.share*n, n, alpha.pass)
	j.MissShareLower, j.MissShareUpper = num.Value(lower), num.Value(upper)
	switch {
	case j.N >= fewest && failProbability(e.share*nFail, nFail, limit) < alpha.fail:
		j.Outcome, j.Reason = Fail, j.seen()
	case passProbability(e.share*n, n, limit) <= alpha.pass:
		j.Outcome = Pass
	case j.Misses == 0 && (j.Objective.Metric == Errors || limit == 0):
		// That less than 1 % fails could be shown by 300 requests without a failure; no one asks that of a stage where
		// there was none, and nothing at all could show that a share is zero. The bound of the share stands beside it.
		j.Outcome = Pass
	default:
		j.Outcome = Undecided
		j.Reason = fmt.Sprintf("%s; worth %.0f independent requests, too few to tell", j.seen(), n)
	}
}

// decideMean decides by Student's t on the effective sample size.
func (j *Judgement) decideMean(values []float64, alpha alphas) {
	e, mean, bound := &j.sample, float64(j.Value), j.Objective.Bound
	if math.IsInf(mean, 0) {
		j.Outcome, j.Reason = Fail, j.seen()
		return
	}
	squares := 0.0
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	e.deviation = math.Sqrt(squares / float64(max(len(values), 1)))
	j.Reason = fmt.Sprintf("the mean of %s is %s ± %s",
		num.Thousands(j.N), j.Objective.Seen(mean), j.Objective.Seen(e.meanError(e.forPassing())))
	switch {
	case mean-studentQuantile(alpha.fail, e.forFailing()-1)*e.meanError(e.forFailing()) > bound:
		j.Outcome = Fail
	case mean+studentQuantile(alpha.pass, e.forPassing()-1)*e.meanError(e.forPassing()) < bound:
		j.Outcome, j.Reason = Pass, ""
	default:
		j.Outcome = Undecided
	}
}

// meanError is the standard error of a mean of so many independent requests.
func (e sample) meanError(n float64) float64 { return e.deviation / math.Sqrt(max(n-1, 1e-9)) }

// decideMax decides by what was seen: no number of requests could show that none will ever take longer.
func (j *Judgement) decideMax() {
	if j.Holds {
		j.Outcome = Pass
		return
	}
	j.Outcome, j.Reason = Fail, j.seen()
}

// seen says in words what was observed and is against the objective.
func (j *Judgement) seen() string {
	o := j.Objective
	n, what := num.Thousands(j.N), ""
	if o.Metric == ITL {
		what = " gaps"
	}
	value := fmt.Sprintf("the %s is %s", o.Statistic, o.Seen(float64(j.ValueWithoutFailed)))
	if o.Metric == Goodput {
		value = o.Seen(float64(j.ValueWithoutFailed)) + " are good"
	}
	missed := fmt.Sprintf("%.3g %% of %s%s", 100*j.sample.share, n, what)
	limit := fmt.Sprintf("(limit %.3g %%)", 100*o.missLimit())
	switch {
	case o.Metric == Errors:
		return missed + " failed " + limit
	case j.Failed == j.N:
		return fmt.Sprintf("all %s%s failed, which count as misses", n, what)
	case j.onlyFailed(o):
		return fmt.Sprintf("%s of %s%s failed, which count as misses; of the others %s", num.Thousands(j.Failed), n,
			what, value)
	case o.Metric == Goodput:
		missed += " missed a bound " + limit
	case o.Statistic.Kind == Quantile:
		missed = fmt.Sprintf("%s is %s: %s missed %s %s", o.Statistic, o.Seen(float64(j.Value)), missed,
			o.Format(o.Bound), limit)
	case math.IsInf(float64(j.Value), 0):
		return fmt.Sprintf("%s of %s%s failed; of the others %s", num.Thousands(j.Failed), n, what, value)
	default:
		return fmt.Sprintf("the %s of %s%s is %s", o.Statistic, n, what, o.Seen(float64(j.Value)))
	}
	if j.Failed > 0 {
		missed += fmt.Sprintf(", %s of them failed", num.Thousands(j.Failed))
	}
	return missed
}
