package estimate

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/openloop/openloop/slo"
)

// Change is the change from one figure to another: ln(new/base) of latencies and rates, new − base of shares.
//
// Its interval is made of the intervals of the two figures (G. Zou and A. Donner, Stat. Med. 27, 2008): the distances
// from each figure to the ends that matter are added in squares. They need not be symmetric, as those of a percentile
// are not. Where both runs had the same arrivals, what a burst does to one it does to the other, and the correlation of
// the two figures makes the interval narrower.
type Change struct {
	Value       float64 // NaN where a figure is missing
	Correlation float64 // of the two figures, 0 to 1; 0 where the arrivals were not the same

	base, to Sample
	degrees  float64 // of freedom, of both together
}

// NewChange compares two figures of one kind. paired says that the requests of equal indices were due at equal times.
func NewChange(base, to Sample, paired bool) Change {
	c := Change{base: base, to: to, Value: to.Value - base.Value}
	if base.Kind != Share {
		c.Value = math.Log(to.Value / base.Value)
	}
	if paired {
		c.Correlation = correlation(&base, &to)
	}
	c.degrees = c.freedom()
	return c
}

// Interval is the interval of the change at a confidence between 0 and 1; its ends may be infinite.
func (c *Change) Interval(confidence float64) (low, high float64) { return c.interval(1 - confidence) }

func (c *Change) interval(alpha float64) (low, high float64) {
	aLow, aHigh := c.base.interval(alpha, c.degrees)
	bLow, bHigh := c.to.interval(alpha, c.degrees)
	a, b := c.base.Value, c.to.Value
	if c.base.Kind != Share {
		ln := func(v float64) float64 { return math.Log(max(v, 0)) }
		a, b, aLow, aHigh, bLow, bHigh = ln(a), ln(b), ln(aLow), ln(aHigh), ln(bLow), ln(bHigh)
	}
	return c.Value - Joint(b-bLow, aHigh-a, c.Correlation), c.Value + Joint(bHigh-b, a-aLow, c.Correlation)
}

// Joint is the length of the sum of two errors with a correlation between what they are errors of.
func Joint(x, y, correlation float64) float64 {
	if math.IsInf(x, 0) || math.IsInf(y, 0) {
		return math.Inf(1)
	}
	return math.Sqrt(max(x*x+y*y-2*correlation*x*y, 0))
}

// P is the probability of a change as large as the one that was seen, or larger, if there were none beyond noise (in
// the unit of Value, at least 0): the greatest error at which the interval lies beyond it. 1 where nothing is known.
func (c *Change) P(noise float64) float64 {
	if !(math.Abs(c.Value) > noise) {
		return 1
	}
	differs := func(alpha float64) bool {
		low, high := c.interval(alpha)
		return low > noise || high < -noise
	}
	low, high := math.Log(leastP), 0.0
	if differs(leastP) {
		return leastP
	}
	const steps = 25 // to six digits
	for range steps {
		middle := (low + high) / 2
		if differs(math.Exp(middle)) {
			high = middle
		} else {
			low = middle
		}
	}
	return math.Exp(high)
}

// leastP is the smallest p-value that is told from 0.
const leastP = 1e-9

// correlation is the long-run correlation of two figures whose requests had the same arrivals. What is not known of it
// counts against it.
func correlation(a, b *Sample) float64 {
	if a.parts == nil || b.parts == nil || a.indices == nil || b.indices == nil {
		return 0
	}
	var difference []float64
	for i, j := 0, 0; i < len(a.indices) && j < len(b.indices); {
		switch {
		case a.indices[i] < b.indices[j]:
			i++
		case a.indices[i] > b.indices[j]:
			j++
		default:
			difference = append(difference, a.parts[i]-b.parts[j])
			i, j = i+1, j+1
		}
	}
	n := len(difference)
	if n < 2 || n < 9*max(a.N, b.N)/10 {
		return 0
	}
	_, variance := moments(difference)
	tau, stderr := slo.AutocorrelationTime(difference, nil)
	return min(max(1-variance*(tau+stderr)/2, 0), 0.99)
}

// freedom is the degrees of freedom of a sum of two errors, each with its own (B. Welch, Biometrika 34, 1947).
func (c *Change) freedom() float64 {
	square := func(s *Sample) float64 {
		low, high := s.interval(oneSigma, math.Inf(1))
		if s.Kind != Share {
			low, high = math.Log(max(low, 0)), math.Log(max(high, 0))
		}
		return (high - low) * (high - low)
	}
	a, b := square(&c.base), square(&c.to)
	if math.IsInf(a, 0) || math.IsInf(b, 0) || !(a+b > 0) {
		return min(c.base.Degrees, c.to.Degrees)
	}
	return (a + b) * (a + b) / (a*a/c.base.Degrees + b*b/c.to.Degrees)
}

// oneSigma is the error of an interval of one standard deviation to either side.
const oneSigma = 0.317

// NormalP is Change.P of a change of which one interval is known, with the distances down and up to its ends at a
// confidence, as if each side were half of a normal distribution.
func NormalP(value, down, up, noise, confidence float64) float64 {
	distance, end := value-noise, down
	if value < 0 {
		distance, end = -value-noise, up
	}
	if !(distance > 0) {
		return 1
	}
	z := student((1-confidence)/2, math.Inf(1)) * distance / end
	return max(2*distuv.UnitNormal.Survival(z), leastP)
}
