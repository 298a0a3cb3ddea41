package stats

import (
	"math"
	"testing"
)

func near(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b))
}

func TestSummarize(t *testing.T) {
	tests := []struct {
		name   string
		values []weighted
		want   Distribution // percentiles apart
	}{
		{"no values", nil, Distribution{}},
		{"one value", []weighted{{5, 1}}, Distribution{Mean: 5, Median: 5, Mode: 5, Min: 5, Max: 5, Count: 1,
			TotalSum: 5}},
		{
			// p = ½, ¼, ¼; mean 2·½ + 4·¼ + 8·¼ = 4; variance 4·½ + 0 + 16·¼ = 6
			"equal values merge", []weighted{{8, 1}, {2, 1}, {4, 1}, {2, 1}},
			Distribution{Mean: 4, Median: 2, Mode: 2, Variance: 6, StdDev: math.Sqrt(6), Min: 2, Max: 8, Count: 4,
				TotalSum: 16},
		},
		{
			// p = ¼, ¾; mean 1·¼ + 3·¾ = 2.5; variance 2.25·¼ + 0.25·¾ = 0.75
			"weights", []weighted{{3, 3}, {1, 1}},
			Distribution{Mean: 2.5, Median: 3, Mode: 3, Variance: 0.75, StdDev: math.Sqrt(0.75), Min: 1, Max: 3,
				Count: 4, TotalSum: 10},
		},
		{
			"without weight a value does not exist", []weighted{{0, 0}, {7, 2}, {9, 0}},
			Distribution{Mean: 7, Median: 7, Mode: 7, Min: 7, Max: 7, Count: 2, TotalSum: 14},
		},
		{"no weight at all", []weighted{{1, 0}, {2, 0}}, Distribution{}},
		{
			// Σ weights = 2e-7 says nothing: each value counts the same, and the count rounds to 0.
			"next to no weight", []weighted{{1, 1.5e-7}, {3, 0.5e-7}},
			Distribution{Mean: 2, Median: 1, Mode: 1, Variance: 1, StdDev: 1, Min: 1, Max: 3},
		},
		{"count rounds half to even", []weighted{{1, 2.5}}, Distribution{Mean: 1, Median: 1, Mode: 1, Min: 1, Max: 1,
			Count: 2, TotalSum: 2}},
		{"the first of the most frequent is the mode", []weighted{{3, 2}, {1, 1}, {2, 2}},
			Distribution{Mean: 2.2, Median: 2, Mode: 2, Variance: 0.56, StdDev: math.Sqrt(0.56), Min: 1, Max: 3,
				Count: 5, TotalSum: 11}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := summarize(tt.values)
			got.Percentiles = Percentiles{}
			if !sameDistribution(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// A percentile that the cumulative probability meets exactly is the value at which it does, not the next one.
func TestPercentiles(t *testing.T) {
	quarters := []weighted{{1, 1}, {2, 1}, {3, 1}, {4, 1}}
	want := Percentiles{P001: 1, P01: 1, P05: 1, P10: 1, P25: 1, P50: 2, P75: 3, P90: 4, P95: 4, P99: 4, P999: 4}
	if got := summarize(quarters).Percentiles; got != want {
		t.Errorf("quarters: got %+v, want %+v", got, want)
	}
	// Ten tenths add up, one by one, to 0.1, 0.2, 0.30000000000000004 … 0.7999999999999999, 0.8999999999999999: the
	// ninetieth percentile is the tenth value because the sum falls short of 0.9 in its last bit.
	var tenths []weighted
	for v := 1.0; v <= 10; v++ {
		tenths = append(tenths, weighted{v, 1})
	}
	want = Percentiles{P001: 1, P01: 1, P05: 1, P10: 1, P25: 3, P50: 5, P75: 8, P90: 10, P95: 10, P99: 10, P999: 10}
	if got := summarize(tenths).Percentiles; got != want {
		t.Errorf("tenths: got %+v, want %+v", got, want)
	}
}

// The expected sums were printed by numpy 2.3.5: np.sum(np.array([1/(i+1) for i in range(n)])).hex().
func TestPairwiseSumIsNumpys(t *testing.T) {
	tests := []struct {
		n    int
		want float64
	}{
		{0, 0},
		{1, 0x1.0000000000000p+0},
		{3, 0x1.d555555555555p+0},
		{7, 0x1.4be2be2be2be2p+1},
		{8, 0x1.5be2be2be2be2p+1},
		{9, 0x1.6a1ba1ba1ba1bp+1},
		{100, 0x1.4bfdfe4591243p+2},
		{128, 0x1.5bb8ae9541ca7p+2},
		{129, 0x1.5c37b09149ba9p+2},
		{1000, 0x1.df11f45f4e61ap+2},
		{8191, 0x1.32d173ee79fc9p+3},
		{8193, 0x1.32d373e67a3cap+3},
		{100000, 0x1.82e27a22f3fb2p+3},
	}
	for _, tt := range tests {
		a := make([]float64, tt.n)
		for i := range a {
			a[i] = 1 / float64(i+1)
		}
		if got := pairwiseSum(a); got != tt.want {
			t.Errorf("n = %d: got %x, want %x", tt.n, got, tt.want)
		}
	}
}

func sameDistribution(a, b Distribution) bool {
	p, q := a.Percentiles, b.Percentiles
	for _, pair := range [][2]float64{
		{a.Mean, b.Mean}, {a.Median, b.Median}, {a.Mode, b.Mode}, {a.Variance, b.Variance}, {a.StdDev, b.StdDev},
		{a.Min, b.Min}, {a.Max, b.Max}, {a.TotalSum, b.TotalSum},
		{p.P001, q.P001}, {p.P01, q.P01}, {p.P05, q.P05}, {p.P10, q.P10}, {p.P25, q.P25}, {p.P50, q.P50},
		{p.P75, q.P75}, {p.P90, q.P90}, {p.P95, q.P95}, {p.P99, q.P99}, {p.P999, q.P999},
	} {
		if !near(pair[0], pair[1]) {
			return false
		}
	}
	return a.Count == b.Count
}
