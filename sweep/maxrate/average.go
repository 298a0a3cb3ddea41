package maxrate

import (
	"math"

	"gonum.org/v1/gonum/stat"

	"github.com/openloop/openloop/internal/num"
)

// The slopes of objectives on a mean: of ln(mean/bound) over the logarithm of the rate. A mean changes less steeply
// than a share of misses, since every request has a part that does not depend on the load.
const lowestMeanSlope, highestMeanSlope = 0.1, 100.

// mean estimates where the mean of a latency meets its bound: ln(mean/bound) = s·(x − θ), with Gauss's likelihood.
// Means far below the bound say that the rate is lower than the limit, means far above that it is higher: the line is
// straight near the limit alone.
func (e *estimator) mean(k int) result {
	bound := e.Objectives[k].Limit
	r := result{correction: NoCorrection, left: 1}
	type point struct{ x, y, variance, dof float64 }
	var points []point
	dof, informed := 0.0, 0
	for i := range e.stages {
		st, series := &e.stages[i], &e.stages[i].Series[k]
		n := float64(len(series.Miss))
		if n < fewestRequests {
			continue
		}
		mean := stat.Mean(series.Miss, nil)
		p := point{x: math.Log(st.Rate), y: math.Log(mean / bound)}
		if math.IsInf(mean, 1) {
			p.y = farMean
		} else {
			variance, free := longRunVariance(series.Miss, series.Sessions)
			p.variance, p.dof = variance/n/(mean*mean), free
		}
		if st.Growing {
			p.y = farMean
		}
		p.variance = max(p.variance, e.prior(min(st.Rate/e.Saturation, 1), st.Rate)/n*0.1) / st.weight()
		if math.Abs(p.y) < farMean {
			dof += p.dof
			informed++
			r.clusters += p.dof
		}
		points = append(points, p)
	}
	slope, estimate := 2., math.Log(placeRate*e.Saturation)
	for range 3 {
		grid := num.Span(math.Log(lowestRate*e.Saturation), math.Log(highestRate*e.Saturation), rates)
		shapes := steeps(0.5, lowestMeanSlope, highestMeanSlope, slopeStep)
		rho := min(max(math.Exp(estimate)/e.Saturation, 0.1), 0.95)
		set := settings{saturation: e.Saturation, slopeMean: math.Log(0.5 / (1.05 - rho)), slopeSD: 0.9}
		r.posterior = posterior{grid: grid, dof: dof, inflation: 1, phi: 1}
		weigh := func() (float64, shape) {
			ll := make([]float64, len(grid)*len(shapes))
			for _, p := range points {
				v := p.variance*r.inflation + slope*slope*e.wander*e.wander
				addMean(ll, grid, shapes, p.x, p.y, v)
			}
			return r.posterior.weigh(ll, shapes, set)
		}
		theta, best := weigh()
		r.chi, r.informed = 0, informed
		for _, p := range points {
			if math.Abs(p.y) < farMean {
				miss := p.y - best.slope*(p.x-theta)
				r.chi += miss * miss / (p.variance + slope*slope*e.wander*e.wander)
			}
		}
		if informed > 2 && (r.chi+2)/float64(informed) > 1 {
			r.inflation = (r.chi + 2) / float64(informed)
			weigh()
		}
		slope, estimate = r.posterior.slope, r.quantile(0.5)
	}
	return r
}

// farMean is how far ln(mean/bound) may be from 0 for the stage to say more than on which side of the limit it is.
const farMean = math.Ln2

// addMean adds one stage to the log-likelihood.
func addMean(ll, grid []float64, shapes []shape, x, y, variance float64) {
	n := len(grid)
	for j, s := range shapes {
		for i, theta := range grid {
			predicted := s.slope * (x - theta)
			miss := y - predicted
			switch {
			case y >= farMean:
				miss = max(farMean-predicted, 0)
			case y <= -farMean:
				miss = min(y-predicted, 0)
			}
			ll[j*n+i] -= miss * miss / (2 * variance)
		}
	}
}
