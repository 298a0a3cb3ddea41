// Package estimate says how sure a figure of correlated observations is, and a change between two.
//
//	sample.go  one figure
//	change.go  from one to another
package estimate

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// Kind is how the observations of a sample become one figure.
type Kind string

// The kinds.
const (
	Quantile Kind = "quantile"
	Mean     Kind = "mean"
	Share    Kind = "share" // of observations that are 1 among ones and zeros
)

// Sample is one figure of one stage with what is needed to say how sure it is. Its observations stand in the order in
// which their requests were due, and each may be correlated with those before it.
//
// An interval rests on the effective n, n/τ: τ is the autocorrelation time of the values for a mean, of "lies above the
// quantile" for a quantile. τ is itself an estimate, so that Student's t takes the place of the normal distribution.
// The interval of a quantile lies between the order statistics that the share of observations below it allows
// (R. Woodruff, JASA 47, 1952; E. Korn and B. Graubard, Survey Methodology 24, 1998, for the effective n). It needs
// neither a density nor resampling. Where a sample is too small for an end there is none; a bootstrap would still give
// the greatest value.
type Sample struct {
	Kind      Kind
	Value     float64 // NaN where there are no observations
	N         int     // observations
	Effective float64 // independent observations that they are worth
	Degrees   float64 // of freedom of Effective; +Inf where the observations do not vary
	// Enough says whether the sample is long enough beside the time for which its requests feel one another.
	Enough bool

	q       float64   // Quantile
	sorted  []float64 // Quantile
	sd      float64   // of one observation
	parts   []float64 // what each observation adds to the error of the figure, with a long-run variance of 1
	indices []int     // the request of each observation, rising; nil: not known
}

// NewQuantile is the quantile q, 0 < q < 1, of values in the order of their requests.
func NewQuantile(values []float64, q float64) Sample {
	s := Sample{Kind: Quantile, N: len(values), Value: math.NaN(), q: q}
	if s.N == 0 {
		return s
	}
	s.sorted = slices.Clone(values)
	slices.Sort(s.sorted)
	s.Value = num.Quantile(s.sorted, q)
	s.correlate(indicators(values, s.Value), memoryOf(values, num.Quantile(s.sorted, 0.5)))
	return s
}

// NewMean is the mean of values in the order of their requests.
func NewMean(values []float64) Sample {
	s := Sample{Kind: Mean, N: len(values), Value: math.NaN()}
	if s.N > 0 {
		s.correlate(values, memoryOf(values, num.Median(values)))
	}
	return s
}

// NewShare is the share of ones among zeros and ones, in the order of their requests.
func NewShare(ones []float64) Sample {
	s := NewMean(ones)
	s.Kind = Share
	return s
}

// WithIndices is the sample with the requests of its observations, rising, by which NewChange finds those of two runs
// that belong together.
func (s Sample) WithIndices(indices []int) Sample {
	s.indices = indices
	return s
}

// indicators are 1 for the values above a limit, else 0.
func indicators(values []float64, limit float64) []float64 {
	above := make([]float64, len(values))
	for i, v := range values {
		if v > limit {
			above[i] = 1
		}
	}
	return above
}

// memoryOf is for how many requests a series remembers the load: the longer of the autocorrelation times of the values,
// and of being above their median, which is given. A tail shows less of it than there is: that a request is among the
// slowest is chance for the greatest part, and for the rest the load, which goes on for long.
func memoryOf(values []float64, median float64) float64 {
	ofValues, _ := slo.AutocorrelationTime(values, nil)
	ofMedian, _ := slo.AutocorrelationTime(indicators(values, median), nil)
	return max(ofValues, ofMedian)
}

// The length of a batch and the least length of a sample, in autocorrelation times. bench/compare shows what they do:
// shorter batches miss what is left of the correlation, longer ones are too few; in a sample shorter than the least
// nothing shows how uncertain it is.
const (
	batchLength   = 10
	shortestBatch = 5
	leastLength   = 12
)

// correlate fills in how many independent observations the series is worth whose mean makes the figure, and of means
// the figure itself.
func (s *Sample) correlate(series []float64, memory float64) {
	n := float64(len(series))
	mean, variance := moments(series)
	if s.Kind == Mean {
		s.Value = mean
	}
	s.Effective, s.Degrees, s.Enough = n, math.Inf(1), true
	if !(variance > 1e-20*mean*mean) || n < 4 {
		s.Enough = n >= leastLength
		return
	}
	s.Enough = n >= leastLength*memory
	length := math.Floor(min(max(batchLength*memory, shortestBatch), n/2))
	own, _ := slo.AutocorrelationTime(series, nil)
	tau := min(max(batchedTime(series, int(length), mean)/variance, own, 1), n)
	s.Effective = n / tau
	// Of overlapping batches (M. Meketon and B. Schmeiser, Winter Simulation Conference 1984).
	s.Degrees = 1.5 * (n/length - 1)
	s.sd = math.Sqrt(variance)
	s.parts = make([]float64, len(series))
	for i, v := range series {
		s.parts[i] = (v - mean) / (s.sd * math.Sqrt(tau))
	}
}

// moments are the mean and the variance of a series.
func moments(series []float64) (mean, variance float64) {
	n := float64(len(series))
	for _, v := range series {
		mean += v / n
	}
	for _, v := range series {
		variance += (v - mean) * (v - mean) / n
	}
	return mean, variance
}

// batchedTime is n times the variance of the mean of a series, by overlapping batch means.
func batchedTime(series []float64, length int, mean float64) float64 {
	n := len(series)
	sum := 0.0
	for _, v := range series[:length] {
		sum += v - mean
	}
	squares := sum * sum
	for i := length; i < n; i++ {
		sum += series[i] - series[i-length]
		squares += sum * sum
	}
	m := float64(length)
	return float64(n) / (m * float64(n-length) * float64(n-length+1)) * squares
}

// Interval is the two-sided interval at a confidence between 0 and 1. An end is infinite where the sample is too small
// for it, 0 or 1 for a quantile's lower end and a share's ends.
func (s *Sample) Interval(confidence float64) (low, high float64) {
	return s.interval(1-confidence, s.Degrees)
}

// interval is the interval with error alpha, as if the effective n had so many degrees of freedom.
func (s *Sample) interval(alpha, degrees float64) (low, high float64) {
	switch {
	case s.N == 0 || !s.Enough:
		return math.Inf(-1), math.Inf(1)
	case alpha >= 1:
		return s.Value, s.Value
	}
	t := student(alpha/2, degrees)
	if s.Kind == Mean {
		half := t * s.sd / math.Sqrt(s.Effective)
		return s.Value - half, s.Value + half
	}
	ratio := student(alpha/2, math.Inf(1)) / t
	n := s.Effective * ratio * ratio
	if s.Kind == Share {
		return shareInterval(s.Value, n, alpha)
	}
	from, to := shareInterval(s.q, n, alpha)
	return s.at(from), s.at(to)
}

// shareInterval is where a share lies of which n observations show p, by Jeffreys' posterior: in the middle between
// Clopper and Pearson's bounds, which are wider than they have to be, and those that would be too narrow.
func shareInterval(p, n, alpha float64) (low, high float64) {
	low, high = 0, 1
	if p > 0 {
		low = min(mathext.InvRegIncBeta(p*n+0.5, (1-p)*n+0.5, alpha/2), p)
	}
	if p < 1 {
		high = max(mathext.InvRegIncBeta(p*n+0.5, (1-p)*n+0.5, 1-alpha/2), p)
	}
	return low, high
}

// at is the value below which a share of the observations lies, between two of them where it falls there.
func (s *Sample) at(share float64) float64 {
	position := share*float64(s.N) + 0.5
	below := math.Floor(position)
	switch i := int(below); {
	case i < 1:
		return 0
	case i > s.N || i == s.N && position > below:
		return math.Inf(1)
	case i == s.N:
		return s.sorted[s.N-1]
	default:
		return s.sorted[i-1] + (position-below)*(s.sorted[i]-s.sorted[i-1])
	}
}

// student is the quantile 1 − alpha of Student's t.
func student(alpha, degrees float64) float64 {
	const normal = 1e6 // degrees from which on it is the normal distribution's, to six digits
	if degrees > normal {
		return distuv.UnitNormal.Quantile(1 - alpha)
	}
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: max(degrees, 1)}.Quantile(1 - alpha)
}
