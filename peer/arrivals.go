package peer

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/openloop/openloop/internal/num"
)

// Arrivals says how requests arrived at the server.
type Arrivals struct {
	Count int       `json:"count"`
	Rate  num.Value `json:"rate"` // requests a second, from the first arrival to the last
	// Dispersion is the variance over the mean of the number of arrivals in windows of ten expected ones: 1 for a
	// Poisson process, 0 for requests that are evenly spaced, above 1 for those that come in bunches.
	Dispersion num.Value `json:"dispersion"`
	Windows    int       `json:"windows"`
	// PoissonP is how often a Poisson process has a dispersion that is as far from 1, between 0 and 1.
	PoissonP num.Value `json:"poisson_p"`
	// GapCV is the standard deviation of the gaps over their mean: 1 for a Poisson process, 0 for even spacing.
	GapCV num.Value `json:"gap_cv"`
	// Together is the share of requests that arrive within 0.1 ms of the one before; PoissonTogether is what a Poisson
	// process of the same rate has of them.
	Together        num.Value `json:"together"`
	PoissonTogether num.Value `json:"poisson_together"`
	// RepeatsEvery is after how many requests the gaps are the same again; 0: they do not repeat.
	RepeatsEvery int `json:"repeats_every,omitempty"`
}

const (
	expectedInWindow = 10  // arrivals
	fewestWindows    = 20  // below it, a dispersion says little
	togetherWithin   = 1e5 // ns
	significance     = 0.01
	// evenDispersion is the most that requests have that are evenly spaced but for the jitter of a scheduler: their
	// times then stray by less than about one gap.
	evenDispersion = 0.1
	// manyTogether is the share of requests, beyond those of a Poisson process, that arrive together where they come in
	// bunches. A busy machine makes some of any process.
	manyTogether = 0.2
	// smallDeviation from a dispersion of 1 is nothing to speak of, however sure it is.
	smallDeviation = 0.15
	// repeats is the correlation of the gaps with themselves, so many requests later, from which they are called the
	// same; by chance it is some 4/√n.
	repeats     = 0.8
	longestLag  = 4096
	fewestGaps  = 200
	littleGapCV = 0.05 // gaps that hardly differ repeat in any case
)

// arrivalsOf looks at the arrival times of a stage's requests, in ns and rising.
func arrivalsOf(at []int64) Arrivals {
	none := num.Absent()
	a := Arrivals{
		Count: len(at), Rate: none, Dispersion: none, PoissonP: none, GapCV: none, Together: none,
		PoissonTogether: none,
	}
	if len(at) < 2 || at[len(at)-1] == at[0] {
		return a
	}
	span := float64(at[len(at)-1] - at[0])
	meanGap := span / float64(len(at)-1)
	a.Rate = num.Value(1e9 / meanGap)

	gaps := make([]float64, len(at)-1)
	together, squares := 0, 0.0
	for i := range gaps {
		gaps[i] = float64(at[i+1] - at[i])
		squares += (gaps[i] - meanGap) * (gaps[i] - meanGap)
		if gaps[i] <= togetherWithin {
			together++
		}
	}
	sd := math.Sqrt(squares / float64(len(gaps)))
	a.GapCV = num.Value(sd / meanGap)
	a.Together = num.Value(float64(together) / float64(len(gaps)))
	a.PoissonTogether = num.Value(-math.Expm1(-togetherWithin / meanGap))

	if a.Windows = int(span / (expectedInWindow * meanGap)); a.Windows >= fewestWindows {
		counts := make([]float64, a.Windows)
		width := span / float64(a.Windows)
		for _, t := range at[:len(at)-1] { // the last one is the end of the last window
			counts[min(int(float64(t-at[0])/width), a.Windows-1)]++
		}
		m, v := float64(len(at)-1)/float64(a.Windows), 0.0
		for _, c := range counts {
			v += (c - m) * (c - m)
		}
		// Given their number, the counts of a Poisson process are multinomial, and the sum of squares over the mean is
		// that of Pearson's test.
		a.Dispersion = num.Value(v / m / float64(a.Windows-1))
		below := distuv.ChiSquared{K: float64(a.Windows - 1)}.CDF(v / m)
		a.PoissonP = num.Value(min(1, 2*min(below, 1-below)))
	}
	if a.GapCV > littleGapCV {
		a.RepeatsEvery = repetition(gaps, meanGap, sd)
	}
	return a
}

// repetition finds the lag at which gaps repeat themselves; 0 for none.
func repetition(gaps []float64, mean, sd float64) int {
	if len(gaps) < fewestGaps || sd == 0 {
		return 0
	}
	centred := slices.Clone(gaps)
	for i := range centred {
		// One pause of a second would hide everything else.
		centred[i] = max(-3*sd, min(3*sd, centred[i]-mean))
	}
	for lag := 2; lag <= min(longestLag, len(centred)/2); lag++ {
		var both, left, right float64
		for i := range len(centred) - lag {
			x, y := centred[i], centred[i+lag]
			both, left, right = both+x*y, left+x*x, right+y*y
		}
		if both > repeats*math.Sqrt(left*right) && both > 0 {
			return lag
		}
	}
	return 0
}

// Kinds of arrivals, as they are told from the times of the requests.
const (
	KindPoisson = "poisson"
	KindEven    = "constant"
	KindBunched = "bunched"            // more irregular than a Poisson process
	KindBetween = "between"            // more regular than a Poisson process, and not evenly spaced
	KindUnknown = "too few to be told" // windows
)

// Kind says what the arrivals are like.
func (a *Arrivals) Kind() string {
	switch d := a.Dispersion; {
	case d.IsAbsent():
		return KindUnknown
	case a.Together > a.PoissonTogether+manyTogether:
		return KindBunched // a regular sequence of bunches can have any dispersion
	case d < evenDispersion:
		return KindEven
	case math.Abs(float64(d)-1) <= smallDeviation || a.PoissonP >= significance:
		return KindPoisson
	case d > 1:
		return KindBunched
	}
	return KindBetween
}
