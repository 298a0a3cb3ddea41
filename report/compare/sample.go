package compare

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
// The interval of a quantile are the order statistics between which the share of observations below it can lie
// (R. Woodruff, JASA 47, 1952; E. Korn and B. Graubard, Survey Methodology 24, 1998, for the effective n). It needs
// neither a density nor resampling. Where a sample is too small for an end it has none; a bootstrap would still give
// the greatest value.
type Sample struct {
	Kind      Kind
	Value     float64 // NaN where there are no observations
	N         int     // observations
	Effective float64 // independent observations that they are worth
	Degrees   float64 // of freedom of Effective; +Inf where the observations do not vary

	q       float64   // Quantile
	sorted  []float64 // Quantile
	sd      float64   // of one observation
	skew    float64   // Mean: of one observation
	parts   []float64 // what each observation adds to the error of the figure, with a long-run variance of 1
	enough bool
	indices []int     // the request of each observation; nil: not known
}

// NewQuantile is the quantile q, 0 < q < 1, of values in the order of their requests.
func NewQuantile(values []float64, q float64) Sample {
	s := Sample{Kind: Quantile, N: len(values), Value: math.NaN(), q: q}
	if s.N == 0 {
		return s
	}
	s.sorted = slices.Sorted(slices.Values(values))
	s.Value = num.Quantile(s.sorted, q)
	above := make([]float64, s.N)
	for i, v := range values {
		if v > s.Value {
			above[i] = 1
		}
	}
	s.correlate(above, slowest(values))
	return s
}

// NewMean is the mean of values in the order of their requests.
func NewMean(values []float64) Sample {
	s := Sample{Kind: Mean, N: len(values), Value: math.NaN()}
	if s.N > 0 {
		s.correlate(values, slowest(values))
	}
	return s
}

// NewShare is the share of ones among zeros and ones, in the order of their requests.
func NewShare(ones []float64) Sample {
	s := NewMean(ones)
	s.Kind = Share
	return s
}

// correlate fills in how many independent observations the series is worth whose mean makes the figure, and of means
// the figure itself.
func (s *Sample) correlate(series []float64, slow float64) {
	n := float64(len(series))
	mean, m2, m3 := 0.0, 0.0, 0.0
	for _, v := range series {
		mean += v / n
	}
	for _, v := range series {
		d := v - mean
		m2 += d * d / n
		m3 += d * d * d / n
	}
	if s.Kind == Mean {
		s.Value = mean
	}
	s.Effective, s.Degrees = n, math.Inf(1)
	if !(m2 > 1e-20*mean*mean) {
		return
	}
	s.enough = n >= enoughFactor*slow
	m := min(max(batchFactor*slow, 5), n/2)
	tau := batchTau(series, int(m), mean, m2)
	if tauMax {
		own, _ := slo.AutocorrelationTime(series)
		tau = max(tau, own)
	}
	tau = min(max(tau, 1), n)
	s.Effective = n / tau
	s.Degrees = 1.5 * (n/m - 1)
	s.sd, s.skew = math.Sqrt(m2), m3/math.Pow(m2, 1.5)
	s.parts = make([]float64, len(series))
	for i, v := range series {
		s.parts[i] = (v - mean) / (s.sd * math.Sqrt(tau))
	}
}

// Interval is the two-sided interval at a confidence between 0 and 1. An end that the sample is too small for is
// infinite; of quantiles and shares, which lie between bounds of their own, the lower one is then 0 and the upper one
// of a share 1.
func (s *Sample) Interval(confidence float64) (low, high float64) {
	return s.interval(1 - confidence)
}

func (s *Sample) interval(alpha float64) (low, high float64) { return s.intervalAt(alpha, s.Degrees) }

func (s *Sample) intervalAt(alpha, degrees float64) (low, high float64) {
	switch {
	case s.N == 0 || math.IsNaN(s.Value):
		return math.Inf(-1), math.Inf(1)
	case !s.enough && s.parts != nil:
		return math.Inf(-1), math.Inf(1)
	case alpha >= 1:
		return s.Value, s.Value
	}
	t := student(alpha/2, degrees)
	if s.Kind == Mean {
		half := t * s.sd / math.Sqrt(s.Effective)
		return s.Value - half, s.Value + half
	}
	z := distuv.UnitNormal.Quantile(1 - alpha/2)
	n := s.Effective * (z / t) * (z / t)
	if s.Kind == Share {
		return shareInterval(s.Value, n, alpha)
	}
	from, to := shareInterval(s.q, n, alpha)
	return s.at(from), s.at(to)
}

// shareInterval is where a share lies of which n observations show p, by the posterior of H. Jeffreys: in the middle
// between the bounds of Clopper and Pearson's, which are wider than they have to be.
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
	case i >= s.N:
		if share == s.q || position <= float64(s.N) {
			return s.sorted[s.N-1]
		}
		return math.Inf(1)
	default:
		return s.sorted[i-1] + (position-below)*(s.sorted[i]-s.sorted[i-1])
	}
}

// student is the quantile 1 − alpha of Student's t.
func student(alpha, degrees float64) float64 {
	if math.IsInf(degrees, 1) || degrees > 1e6 {
		return distuv.UnitNormal.Quantile(1 - alpha)
	}
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: max(degrees, 1)}.Quantile(1 - alpha)
}

var batchFactor = 10.0
var tauMax = true

// Tune is for the study.
var enoughFactor = 20.0
func Tune(f float64, m bool, e float64) { batchFactor = f; tauMax = m ; enoughFactor=e}

func slowest(values []float64) float64 {
	tau, _ := slo.AutocorrelationTime(values)
	med := num.Median(values)
	above := make([]float64, len(values))
	for i, v := range values {
		if v > med {
			above[i] = 1
		}
	}
	t2, _ := slo.AutocorrelationTime(above)
	return max(tau, t2)
}

// batchTau is by overlapping batch means.
func batchTau(series []float64, m int, mean, variance float64) float64 {
	n := len(series)
	m = max(m, 1)
	sum := 0.0
	for _, v := range series[:m] {
		sum += v - mean
	}
	squares := 0.0
	for i := m; ; i++ {
		squares += (sum / float64(m)) * (sum / float64(m))
		if i == n {
			break
		}
		sum += series[i] - series[i-m]
	}
	count := float64(n - m + 1)
	return float64(n) * float64(m) / (float64(n-m) * count) * squares / variance
}
