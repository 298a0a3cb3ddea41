package slo

import (
	"math"
	"slices"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Values returns what an objective observes of the requests that were due from a time to another, in nanoseconds since
// the start of the stage.
func Values(m *loadgen.Measured, o Objective, from, to int64) []float64 {
	obs := o.window(Snapshot(m, m.Records, m.Start+to), m.Start+from, math.MaxInt64)
	values := make([]float64, len(obs))
	for i := range obs {
		values[i] = obs[i].value
	}
	return values
}

// Comparable says whether an objective has a value for each request, so that Drift can compare two stages by it.
func (o Objective) Comparable() bool { return o.Metric.Latency() && o.Metric != ITL }

// Drift is by how much the median changes from one series to another, as a share; 0 where that may be chance. The test
// is Mann and Whitney's (Ann. Math. Stat. 18, 1947) on effective sample sizes, at an error of 0.001.
func Drift(a, b []float64) float64 {
	if len(a) < 20 || len(b) < 20 {
		return 0
	}
	var work autocorrelation
	tauA, errA := work.time(a, nil)
	tauB, errB := work.time(b, nil)
	nA, nB := float64(len(a))/(tauA+errA), float64(len(b))/(tauB+errB)
	sorted := slices.Clone(b)
	slices.Sort(sorted)
	wins := 0.0
	for _, v := range a {
		below, _ := slices.BinarySearch(sorted, v)
		upTo, _ := slices.BinarySearch(sorted, math.Nextafter(v, math.Inf(1)))
		wins += float64(below) + 0.5*float64(upTo-below)
	}
	u := wins / float64(len(a)) / float64(len(b)) // probability that one of a exceeds one of b
	if z := (u - 0.5) / math.Sqrt((nA+nB+1)/(12*nA*nB)); math.Abs(z) < 3.29 {
		return 0
	}
	return num.Median(b)/num.Median(a) - 1
}
