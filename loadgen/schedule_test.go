package loadgen

import (
	"math"
	"testing"
	"time"
)

func TestConstantIsComputedFromTheIndex(t *testing.T) {
	tests := []struct {
		rate float64
		i    int
		want time.Duration
	}{
		{1, 0, time.Second},
		{1, 9, 10 * time.Second},
		{10, 0, 100 * time.Millisecond},
		{3, 0, 333_333_333},
		{3, 1, 666_666_667},
		{3, 2, time.Second},
		{0.5, 0, 2 * time.Second},
		{300, 299, time.Second},
		{300, 29_999_999, 100_000 * time.Second}, // no drift after 30 million requests
		{7, 6_999_999, 1_000_000 * time.Second},
		{1e6, 0, time.Microsecond},
		{700.5, 1400, 2 * time.Second},
	}
	for _, test := range tests {
		got, ok := Constant{Rate: test.rate}.At(test.i)
		if !ok || got != test.want {
			t.Errorf("Constant{%v}.At(%d) = %v, %v; want %v, true", test.rate, test.i, got, ok, test.want)
		}
	}
}

func TestSchedulesWithoutAnAnswer(t *testing.T) {
	tests := []struct {
		name string
		s    Schedule
		i    int
	}{
		{"constant, rate 0", Constant{}, 0},
		{"constant, negative rate", Constant{Rate: -1}, 0},
		{"constant, rate not a number", Constant{Rate: math.NaN()}, 0},
		{"constant, beyond what a duration holds", Constant{Rate: 1e-9}, 1 << 40},
		{"constant, negative index", Constant{Rate: 1}, -1},
		{"poisson, rate 0", NewPoisson(0, 1), 0},
		{"poisson, rate not a number", NewPoisson(math.NaN(), 1), 0},
		{"poisson, negative index", NewPoisson(1, 1), -1},
		{"poisson, beyond what a duration holds", NewPoisson(1e-30, 1), 5},
	}
	for _, test := range tests {
		if got, ok := test.s.At(test.i); ok {
			t.Errorf("%s: At(%d) = %v, true; want false", test.name, test.i, got)
		}
	}
}

// The arrivals were made with CPython 3.11: sums of random.Random(seed).expovariate(50), the 1st, 2nd, 3rd, 701st and
// 2,000th.
func TestPoissonIsPythons(t *testing.T) {
	at := [5]int{0, 1, 2, 700, 1999}
	tests := []struct {
		seed int64
		want [5]float64
	}{
		{0, [5]float64{0.037212142221304464, 0.0655847252807397, 0.07649898819157155, 14.00658770979604,
			40.65571973592064}},
		{1, [5]float64{0.002885821282190184, 0.04048894659060269, 0.06934832509753594, 13.928919163292655,
			40.21198284396655}},
		{42, [5]float64{0.02040120574549602, 0.0209077825263508, 0.02734026380785011, 14.244540522052818,
			40.650202512173}},
		{-7, [5]float64{0.007826296884696085, 0.011096666024805649, 0.03214657838622419, 13.48630936733695,
			39.27117634591322}},
		{4294967295, [5]float64{0.02017675408447557, 0.024719784021242665, 0.04341736271366191, 13.301643433036116,
			38.97728218125408}},
		{4294967296, [5]float64{0.002398077432316369, 0.013217893989249668, 0.013554233641280415, 13.669978256140942,
			39.91136613024374}},
		{1099511640121, [5]float64{0.007431775584984808, 0.009872712281215789, 0.025126906334809393, 13.520965842526932,
			40.46898930675589}},
		{-1099511627776, [5]float64{0.002188251088042248, 0.024395220938198618, 0.03552055269101083, 14.291794522907415,
			39.50846639311105}},
		{9223372036854775807, [5]float64{0.007614812323066062, 0.027568044610447075, 0.060115423750851944,
			14.377690560995726, 39.763640502167014}},
		{-9223372036854775808, [5]float64{0.016124705024275134, 0.07259879903008779, 0.07814008705884037,
			13.979403628955309, 39.78229251745753}},
	}
	for _, test := range tests {
		p := NewPoisson(50, test.seed)
		for k, i := range at {
			got, ok := p.At(i)
			if want := time.Duration(math.Round(test.want[k] * 1e9)); !ok || got != want {
				t.Errorf("seed %d: At(%d) = %d ns, %v; want %d", test.seed, i, got, ok, want)
			}
			// Before it was rounded to whole nanoseconds it was nearer still.
			if diff := math.Abs(p.sum-test.want[k]) / test.want[k]; diff > 1e-12 {
				t.Errorf("seed %d: arrival %d is %v s, Python's is %v", test.seed, i, p.sum, test.want[k])
			}
		}
	}
}

func TestPoissonIsPure(t *testing.T) {
	const n = 300
	forwards, backwards := NewPoisson(10, 7), NewPoisson(10, 7)
	var want [n]time.Duration
	for i := range n {
		want[i], _ = forwards.At(i)
		if i > 0 && want[i] < want[i-1] {
			t.Fatalf("arrival %d at %v comes before its predecessor at %v", i, want[i], want[i-1])
		}
	}
	for i := n - 1; i >= 0; i-- {
		if got, ok := backwards.At(i); !ok || got != want[i] {
			t.Fatalf("asked backwards At(%d) = %v, %v; want %v", i, got, ok, want[i])
		}
	}
	if again, _ := forwards.At(n - 1); again != want[n-1] {
		t.Errorf("asked again At(%d) = %v, want %v", n-1, again, want[n-1])
	}
}

// The process is fixed by its seed, so these figures are too: they test the law of the gaps, and cannot flake.
func TestPoissonHasExponentialGaps(t *testing.T) {
	const n, rate = 100_000, 40.0
	p := NewPoisson(rate, 42)
	sum, squares, last := 0.0, 0.0, 0.0
	below := 0 // gaps shorter than the median of the law
	for i := range n {
		at, _ := p.At(i)
		gap := at.Seconds() - last
		last = at.Seconds()
		sum += gap
		squares += gap * gap
		if gap < math.Ln2/rate {
			below++
		}
	}
	mean := sum / n
	variance := squares/n - mean*mean
	if math.Abs(mean*rate-1) > 0.01 {
		t.Errorf("mean gap %v s, want %v", mean, 1/rate)
	}
	if math.Abs(variance*rate*rate-1) > 0.02 {
		t.Errorf("variance of gaps %v s², want %v", variance, 1/(rate*rate))
	}
	if share := float64(below) / n; math.Abs(share-0.5) > 0.005 {
		t.Errorf("%v of the gaps lie below the median, want half", share)
	}
}
