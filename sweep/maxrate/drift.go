package maxrate

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// A drift is worth a word from so many stages near the limit, so many standard errors, and so much of the rate on.
const (
	driftStages = 5
	driftErrors = 3
	leastDrift  = 0.03
)

// slopeFreedom is the standard deviation of ln slope around that of the curve, which a drift flattens.
const slopeFreedom = 1.

// drift is by how much the max rate changed from the first stage to the last, as a share, if it did so steadily: a
// further term of the curve, fitted by weighted least squares in several rounds. 0 where it may be chance.
func (e *estimator) drift(k int, r *result) float64 {
	p := &r.posterior
	limit := e.Objectives[k].Limit
	first, last := math.Inf(1), math.Inf(-1)
	var near []*summary
	for i := range r.summaries {
		s := &r.summaries[i]
		first, last = min(first, s.at), max(last, s.at)
		if !s.growing && s.share() >= 0.25*limit && s.share() <= overShare {
			near = append(near, s)
		}
	}
	if len(near) < driftStages || last <= first {
		return 0
	}
	theta, steep, change := p.quantile(0.5), math.Log(p.slope), 0.0
	var inverse mat.Dense
	for range 20 {
		normal, right := mat.NewSymDense(3, nil), mat.NewVecDense(3, nil)
		for _, s := range near {
			slope, when := math.Exp(steep), (s.at-first)/(last-first)-0.5
			away := s.x + s.shift - theta - change*when
			q := expit(min(max(logit(limit)+slope*away+s.offset, -maxLogit), maxLogit))
			weight := s.n * q * (1 - q) / max(p.phi, 1)
			columns := [3]float64{-slope, slope * away, -slope * when}
			for a, va := range columns {
				right.SetVec(a, right.AtVec(a)+weight*va*(s.share()-q)/(q*(1-q)))
				for b := a; b < 3; b++ {
					normal.SetSym(a, b, normal.At(a, b)+weight*va*columns[b])
				}
			}
		}
		normal.SetSym(1, 1, normal.At(1, 1)+1/(slopeFreedom*slopeFreedom))
		right.SetVec(1, right.AtVec(1)-(steep-math.Log(p.slope))/(slopeFreedom*slopeFreedom))
		if inverse.Inverse(normal) != nil {
			return 0
		}
		var by mat.VecDense
		by.MulVec(&inverse, right)
		bound := func(v, most float64) float64 { return min(max(v, -most), most) } // no round goes too far
		theta += bound(by.AtVec(0), 0.05)
		steep += bound(by.AtVec(1), 0.3)
		change += bound(by.AtVec(2), 0.05)
	}
	if se := math.Sqrt(inverse.At(2, 2)); !(math.Abs(change) >= max(driftErrors*se, leastDrift)) {
		return 0
	}
	return math.Expm1(change)
}
