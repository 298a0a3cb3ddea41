// Package maxrate estimates the highest rate at which objectives hold, from all stages of a search together. It is
// pure: numbers in, an interval out. docs/knee.md has the theory in one page.
//
//	maxrate.go     what is asked, what a stage shows, and the answer over all objectives
//	estimator.go   an estimate under way: which correction for the arrivals is used
//	summary.go     from a stage to a few numbers; how much its misses cluster
//	twin.go        the luck of the arrivals: simple servers that are fed with what was sent
//	batch.go       such a server with continuous batching
//	curve.go       the share of misses over the rate: how likely each rate is to be where it meets the limit
//	average.go     objectives on a mean
//	step.go        servers whose share goes from none to all within one step of the rate
//	drift.go       whether the server became faster or slower during the search
//	saturation.go  what the stages say of the saturation rate
package maxrate

import (
	"math"
	"sync"
)

// Kind is what an objective bounds.
type Kind uint8

const (
	Share Kind = iota // a share of the requests may miss a bound: quantiles, errors, goodput
	Mean              // the mean of a latency
)

// Metric is what a request is measured by, as far as the estimator needs to know.
type Metric uint8

// The metrics.
const (
	OtherMetric Metric = iota
	TTFT               // time to the first token
	TPOT               // time per output token
	E2E                // time to the end
)

// Objective is what is asked of a server, as far as the estimator needs to know.
type Objective struct {
	Name   string
	Kind   Kind
	Metric Metric
	Limit  float64 // Share: the share that may miss, 0 to 1. Mean: the bound, in the unit of the values
}

// Arrivals is the kind of an arrival process.
type Arrivals uint8

// The kinds.
const (
	OtherArrivals Arrivals = iota // nothing is known but their variation
	Poisson
	Regular
)

// Stage is what one stage at a steady rate showed.
type Stage struct {
	Rate      float64 // arrivals a second, of the schedule
	At        float64 // s since the first stage's start, when it began
	Length    float64 // s, that it ran
	Gap       float64 // between two tokens of a request where the server was emptiest, s; 0: unknown
	From      float64 // s since its start, from when on its requests count
	Residence float64 // mean time of a request in the server, s
	Growing   bool    // its backlog grew
	// Staying is the share of the arrivals that stayed in flight over its later half, and the standard error of that.
	Staying, StayingError float64
	Done                  float64 // as Rate, of what was completed at the end of the stage; 0: unknown

	Arrivals []float64 // when requests were due, s since the start, rising; those before From too
	Tokens   []float64 // output tokens of each; below 0: not known

	Series []Series // one for each objective
}

// measured is how long its requests count, s.
func (st *Stage) measured() float64 { return st.Length - st.From }

// weight is what a stage counts for, 0 to 1: one of few residence times says little of the steady state.
func (st *Stage) weight() float64 {
	return max(math.Pow(min(st.measured()/max(steadyFor*st.Residence, 1e-9), 1), 2), 0.02)
}

// Series is what the requests of a stage say of one objective, in the order of their arrival.
type Series struct {
	Index []int32   // which arrivals they are
	Miss  []float64 // Share: 1 for a miss, else 0. Mean: the values
	// Values are the values behind the misses, by which a step sees whether the server was the same all the time; nil
	// for shares.
	Values []float64
	// Slowest is the autocorrelation time of the slowest requests with its standard error added, in requests: as many
	// as may miss. A stage without misses shows by it how late requests cluster.
	Slowest float64
	// Sessions are those that the requests are turns of: what they have in common is not chance. 0: it stands
	// alone.
	Sessions []int32

	// N, Misses and Tau sum up a series whose requests are not known one by one (gaps between tokens); N is 0 else.
	N, Misses float64
	Tau       float64
}

// Question is what is asked of the stages.
type Question struct {
	Objectives []Objective
	Saturation float64 // arrivals a second that the server sustains, by the probe; above 0
	// Requests is how many requests an arrival is on average: more than 1 for sessions, of which only the first request
	// is due by the arrival process. 0 stands for 1.
	Requests   float64
	Arrivals   Arrivals
	Variation  float64 // squared coefficient of variation of the gaps between arrivals: 1 for Poisson, 0 for regular
	Confidence float64 // of the interval, such as 0.95
}

// The constants of the method, found by simulation (bench/results/knee.md).
const (
	credit    = 0.25 // no correction for the arrivals is credited with more than 1 − credit of the variance
	priorDof  = 3.   // what the prior of the dispersion is worth, in degrees of freedom
	stall     = 3.   // s; servers are taken to stall for so long now and then, until the stages show otherwise
	wander    = 0.03 // the server's speed differs by so much from stage to stage, at least
	apart     = 1.   // s without a miss that set two spells of misses apart, at least
	overShare = 0.5  // above this share a stage says only that its rate is too high
	steadyFor = 10.  // mean residence times that a stage has to be measured for to count in full

	// FewestClusters is how many independent clusters of misses an interval needs. With fewer, how misses cluster is
	// not known, and with it the width of the interval.
	FewestClusters = 4.
)

// Correction is what was done about the luck of the arrivals.
type Correction string

// The corrections.
const (
	NoCorrection Correction = "none"
	RealisedRate Correction = "realised rate" // of a stage's Poisson arrivals
	VirtualQueue Correction = "virtual queue" // fed with the arrivals that were sent
	VirtualBatch Correction = "virtual batch" // the same for a server with continuous batching
)

// Answer is what the stages say of one objective, or of all together. Rates are of arrivals a second.
type Answer struct {
	Objective string
	Estimate  float64 // median of the posterior
	Lower     float64 // end of the interval; 0: none
	Upper     float64 // +Inf: none

	Clusters   float64 // independent clusters of misses
	Effective  float64 // independent requests that the stages are worth
	Slope      float64 // of the logit of the share of misses over the logarithm of the rate, at the estimate
	Dispersion float64 // misses that come together on average
	Inflation  float64 // by which the stages disagree more than chance explains; 1: they don't
	Correction Correction
	Left       float64 // share of the variance that the correction left; 1: no correction

	Met    bool // some stage's observed value kept the bound
	Missed bool // some stage's did not, or its backlog grew
	Step   bool // the interval lies between two stages (step.go)

	posterior posterior
	drift     float64
}

// Stated says whether the interval may be stated: it rests on enough clusters of misses, or is that of a step.
func (a *Answer) Stated() bool { return a.Step || a.Clusters >= FewestClusters }

// Width is the half width of the interval as a share of the rate: √(upper/lower) − 1; +Inf where an end is missing.
func (a *Answer) Width() float64 {
	if a.Lower <= 0 || math.IsInf(a.Upper, 1) {
		return math.Inf(1)
	}
	return math.Sqrt(a.Upper/a.Lower) - 1
}

// Estimate is what the stages say of all objectives together.
type Estimate struct {
	Answer              // the limiting objective's, with the ends of the interval over all objectives
	All        []Answer // in the order of the objectives
	Limiting   int      // which of them has the lowest estimate
	Saturation float64  // arrivals a second, after what the stages showed
	Informed   float64  // s, of the stages near the estimate: those with a share of misses near the limit
	// Between is the rate to try next where no stage tells more than on which side of the limit it is, as with regular
	// arrivals and lengths; 0 elsewhere.
	Between float64
	// Drift is by how much the max rate changed over the search, as a share, if it did so steadily; 0 where that may be
	// chance, or is not known.
	Drift float64

	limit float64 // share that may miss the limiting objective; 0 for means
}

// endWeight is the weight in the last cell of the grid beyond which the interval has no such end: it lies outside.
const endWeight = 0.025

// Solve estimates the max rate from the stages, of which there is at least one. The interval has the confidence asked
// for: its lower end is wrong only if the limiting objective's is, so each objective's has the whole error of one side;
// its upper end is the least of several, which share the error.
func Solve(q Question, stages []Stage) Estimate {
	q.Saturation = saturationOf(q.Saturation, stages)
	e := newEstimator(q, stages)
	tail := (1 - q.Confidence) / 2
	est := Estimate{Saturation: q.Saturation}
	est.All = make([]Answer, len(q.Objectives))
	var all sync.WaitGroup
	for k := range q.Objectives {
		all.Go(func() { est.All[k] = e.alone().answer(k, tail, tail/float64(len(q.Objectives))) })
	}
	all.Wait()
	for k := range est.All {
		if est.All[k].Estimate < est.All[est.Limiting].Estimate {
			est.Limiting = k
		}
	}
	est.Answer = est.All[est.Limiting]
	est.Drift = est.All[est.Limiting].drift
	for k := range est.All {
		est.Lower, est.Upper = min(est.Lower, est.All[k].Lower), min(est.Upper, est.All[k].Upper)
		est.Met = est.Met && est.All[k].Met
		est.Missed = est.Missed || est.All[k].Missed
	}
	if q.Objectives[est.Limiting].Kind == Share {
		est.limit = q.Objectives[est.Limiting].Limit
	}
	for i := range stages {
		if e.near(i, est.Limiting) {
			est.Informed += stages[i].Length
		}
	}
	if s, ok := e.step(); ok {
		est.Between = math.Sqrt(s.lower * s.upper)
		if s.upper <= narrow*s.lower && s.resolution > s.upper/s.lower-1 {
			est.Between = s.lower // for longer
		}
		if s.upper <= narrow*s.lower {
			est.Limiting = s.limiting
			est.Answer = est.All[s.limiting]
			unsteady := e.unsteady(s)
			above := unsteady + 2/float64(len(stages[s.above].Arrivals))
			est.Lower, est.Upper = s.lower*(1-min(s.resolution+unsteady, 0.5)), s.upper*(1+above)
			est.Estimate, est.Step, est.Met, est.Missed = math.Sqrt(est.Lower*est.Upper), true, true, true
		}
	}
	return est
}

// answer is what the stages say of one objective, with the errors that the two ends may have.
func (e *estimator) answer(k int, below, above float64) Answer {
	var r result
	drift := 0.0
	if e.Objectives[k].Kind == Mean {
		r = e.mean(k)
	} else {
		r = e.share(k)
		drift = e.drift(k, &r)
	}
	p := &r.posterior
	a := Answer{
		Objective: e.Objectives[k].Name, Estimate: math.Exp(p.quantile(0.5)),
		Lower: math.Exp(p.quantile(below)), Upper: math.Exp(p.quantile(1 - above)),
		Clusters: r.clusters, Effective: p.effective, Slope: p.slope, Dispersion: p.phi, Inflation: p.inflation,
		Correction: r.correction, Left: r.left, posterior: r.posterior,
		drift: drift,
	}
	for i := range e.stages {
		missed, known := e.missed(i, k)
		a.Met = a.Met || known && !missed
		a.Missed = a.Missed || known && missed
	}
	if p.weights[0] > endWeight || !a.Met {
		a.Lower = 0
	}
	if p.weights[len(p.weights)-1] > endWeight || !a.Missed {
		a.Upper = math.Inf(1)
	}
	return a
}

// missed says whether a stage's observed value does not keep an objective's bound.
func (e *estimator) missed(i, k int) (missed, known bool) {
	st, o := &e.stages[i], &e.Objectives[k]
	n, sum := st.Series[k].counts()
	if n < fewestRequests {
		return false, false
	}
	return st.Growing || sum/n > o.Limit, true
}

// near says whether a stage's share of misses is near an objective's limit.
func (e *estimator) near(i, k int) bool {
	n, misses := e.stages[i].Series[k].counts()
	limit := e.Objectives[k].Limit
	return n >= fewestRequests && !e.stages[i].Growing && misses/n >= 0.25*limit && misses/n <= overShare
}

// Shares are the shares of misses of the limiting objective that the curve has at the ends of the interval; ok is false
// where an end is missing, or the objective is none on a share.
func (e *Estimate) Shares() (below, above float64, ok bool) {
	if math.IsInf(e.Width(), 1) || e.limit <= 0 {
		return 0, 0, false
	}
	at := func(rate float64) float64 { return expit(logit(e.limit) + e.Slope*math.Log(rate/e.Estimate)) }
	return at(e.Lower), at(e.Upper), true
}

// Above is the probability that the max rate is at least a rate, by all stages and objectives.
func (e *Estimate) Above(rate float64) float64 {
	least := 1.0
	for k := range e.All {
		least = min(least, e.All[k].posterior.above(math.Log(rate)))
	}
	return least
}

// Place is where to look next: the limiting objective's rate with a further prior around three quarters of the
// saturation rate, which the answer does not use, the standard deviation of its logarithm, and the slope there.
func (e *Estimate) Place() (rate, deviation, slope float64) {
	rate = math.Inf(1)
	for k := range e.All {
		p := e.All[k].posterior.placed(e.Saturation)
		if r := math.Exp(p.quantile(0.5)); r < rate {
			rate, deviation, slope = r, (p.quantile(0.84)-p.quantile(0.16))/2, p.slope
		}
	}
	return rate, deviation, slope
}
