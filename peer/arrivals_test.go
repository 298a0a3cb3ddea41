package peer

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// at makes n arrival times of gaps in ms.
func at(n int, gap func(i int) float64) []int64 {
	times, now := make([]int64, n), 0.0
	for i := range times {
		now += 1e6 * gap(i)
		times[i] = int64(now)
	}
	return times
}

func TestKindOfArrivals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	exponential := func(int) float64 { return 5 * r.ExpFloat64() }
	drawn := make([]float64, 250)
	for i := range drawn {
		drawn[i] = exponential(0)
	}
	for _, c := range []struct {
		name     string
		times    []int64
		kind     string
		repeats  int
		together bool
	}{
		{"poisson", at(3000, exponential), KindPoisson, 0, false},
		{"constant", at(3000, func(int) float64 { return 5 }), KindEven, 0, false},
		{"constant with jitter", at(3000, func(int) float64 { return 5 + r.NormFloat64()/2 }), KindEven, 0, false},
		{"eight at once", at(3000, func(i int) float64 {
			if i%8 != 0 {
				return 0.01
			}
			return 40 * r.ExpFloat64()
		}), KindBunched, 0, true}, // the gaps within a bunch are no repetition
		{"pairs, evenly spaced", at(3000, func(i int) float64 { return 10 * float64(i%2) }), KindBunched, 2, true},
		{"uniform gaps", at(3000, func(int) float64 { return 10 * r.Float64() }), KindBetween, 0, false},
		{"the same gaps again", at(3000, func(i int) float64 { return drawn[i%250] }), KindPoisson, 250, false},
		{"too few", at(100, exponential), KindUnknown, 0, false},
		{"one", at(1, exponential), KindUnknown, 0, false},
		{"all at once", make([]int64, 500), KindUnknown, 0, false},
	} {
		a := arrivalsOf(c.times)
		if a.Kind() != c.kind || a.RepeatsEvery != c.repeats {
			t.Errorf("%s: %s, repeats every %d; want %s, %d (%+v)", c.name, a.Kind(), a.RepeatsEvery, c.kind, c.repeats,
				a)
		}
		if together := a.Together > a.PoissonTogether+togetherMore; together != c.together {
			t.Errorf("%s: together %v of %v", c.name, a.Together, a.PoissonTogether)
		}
	}
}

// The test must not call a Poisson process something else more often than it says.
func TestPoissonIsRarelyCalledOtherwise(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const runs = 400
	wrong, sum := 0, 0.0
	for range runs {
		a := arrivalsOf(at(1500, func(int) float64 { return 5 * r.ExpFloat64() }))
		sum += float64(a.Dispersion)
		if a.Kind() != KindPoisson || a.RepeatsEvery != 0 {
			wrong++
		}
	}
	// Of 400 at 1 %, ten or more come up once in a hundred seeds.
	if wrong >= 10 {
		t.Errorf("%d of %d Poisson processes were called something else", wrong, runs)
	}
	if m := sum / runs; math.Abs(m-1) > 0.02 {
		t.Errorf("the dispersion of Poisson processes is %.3f on average, want 1", m)
	}
}

func FuzzArrivals(f *testing.F) {
	f.Add([]byte{1, 2, 3, 0, 0, 255})
	f.Fuzz(func(t *testing.T, gaps []byte) {
		times := at(len(gaps), func(i int) float64 { return float64(gaps[i]) })
		if !slices.IsSorted(times) {
			t.Skip()
		}
		a := arrivalsOf(times)
		if p := float64(a.PoissonP); p < 0 || p > 1 {
			t.Errorf("p is %v", p)
		}
		if a.Dispersion < 0 || a.Together < 0 || a.Together > 1 || a.RepeatsEvery < 0 {
			t.Errorf("%+v", a)
		}
	})
}
