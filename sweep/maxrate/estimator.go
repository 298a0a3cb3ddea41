package maxrate

import (
	"math"
)

// estimator is an estimate under way.
type estimator struct {
	Question
	stages     []Stage
	clustering float64 // constant of the prior of the dispersion
	variances  map[[2]int][2]float64

	// The constants in which the reference differs.
	twinError, wander, stall, apart float64
	overInFull                      bool
	shapes                          func(limit float64) []shape

	gap                       float64 // step of the empty server, s; 0: unknown
	unitArrivals, unitUniform []float64
	scratch                   []float64
}

func newEstimator(q Question, stages []Stage) *estimator {
	if q.Requests == 0 {
		q.Requests = 1
	}
	e := &estimator{
		Question: q, stages: stages, clustering: clusteringOf(stages, q.Variation),
		variances: map[[2]int][2]float64{}, twinError: twinError, wander: wander, stall: stall,
		apart: apart, overInFull: true, shapes: withFloors,
	}
	for i := range stages {
		if g := stages[i].Gap; g > 0 && (e.gap == 0 || g < e.gap) {
			e.gap = g
		}
	}
	e.unitArrivals, e.unitUniform = unitStream(q.Arrivals == Poisson)
	return e
}

// alone is the estimator for one goroutine.
func (e *estimator) alone() *estimator {
	own := *e
	own.variances, own.scratch = map[[2]int][2]float64{}, nil
	return &own
}

// result is what one way of correcting for the arrivals gives.
type result struct {
	posterior
	correction Correction
	left       float64
	clusters   float64
	summaries  []summary
}

// firstSlope is what the slope of the curve is taken to be before there is one.
const firstSlope = 15.

// share estimates where the share of misses of an objective meets its limit: as the stages stand, with the arrivals'
// luck taken out by their realised rate, and by a model of the server. The one that explains most counts, where it
// leaves less than the share 0.8 of the variance.
func (e *estimator) share(k int) result {
	plain := e.fit(k, luck{correction: NoCorrection}, nil, 3, firstSlope, math.Log(placeRate*e.Saturation))
	best := plain
	if e.Arrivals == Poisson && e.Requests == 1 {
		if r := e.fit(k, e.realisedRate(k), nil, 2, plain.slope, plain.quantile(0.5)); r.left < best.left {
			best = r
		}
	}
	if e.Arrivals == OtherArrivals || e.Requests > 1 { // no model knows when the turns of a session are due
		return best
	}
	if t := e.twin(k); t != nil {
		if r := e.fit(k, e.byTwin(k, t), t, 2, plain.slope, plain.quantile(0.5)); r.left < best.left {
			best = r
		}
	}
	return best
}

// mostInBatch is how many requests a virtual batch is tried for: it takes more time than a queue, and where there are
// so many requests, less is to be gained.
const mostInBatch = 60_000

// twin is the model that explains an objective's misses best; nil where none can be fitted.
func (e *estimator) twin(k int) *twin {
	best := e.fitTwin(k, queue)
	requests := 0
	for i := range e.stages {
		requests += len(e.stages[i].Arrivals)
	}
	if e.gap <= 0 || e.Objectives[k].Metric == OtherMetric || requests > mostInBatch {
		return best
	}
	if t := e.fitTwin(k, batch); t != nil && (best == nil || t.likelihood > best.likelihood) {
		best = t
	}
	return best
}

// mostLeft is what a correction may leave of the variance to be used.
const mostLeft = 0.8

// twinLeft is what a model may leave of the variance for its slope to be believed.
const twinLeft = 0.6

// fit fits the curve with a correction, in several passes, since the slope and the estimate enter the constants. Where
// the correction leaves too much, the result has Left +Inf.
func (e *estimator) fit(k int, l luck, t *twin, passes int, slope, estimate float64) result {
	r := result{correction: l.correction}
	for range passes {
		all, d := e.summaries(k, l, slope)
		r.left, r.clusters, r.summaries = d.left, d.clusters, all
		if l.correction != NoCorrection && d.left > mostLeft {
			r.left = math.Inf(1)
			return r
		}
		set := settings{
			limit: e.Objectives[k].Limit, saturation: e.Saturation, slopeMean: math.NaN(), slopeSD: 0.6,
			slope: slope, estimate: estimate, left: d.left, prior: e.prior, wander: e.wander,
			shapes: e.shapes(e.Objectives[k].Limit),
		}
		if e.Arrivals != Poisson {
			set.slopeSD = 0.9
		}
		if t != nil && d.left < twinLeft {
			set.slopeMean, set.slopeSD = math.Log(t.slopeAt(set.limit)), 0.35
		}
		unknown := 0.0
		if t != nil {
			unknown = trust(all, d, set.limit, e.twinError)
		}
		r.posterior = curve(all, d, set)
		r.posterior.blur(unknown / r.posterior.slope)
		slope, estimate = r.posterior.slope, r.posterior.quantile(0.5)
	}
	return r
}
