package slo

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The bounds and probabilities are those of the binomial distribution, summed up directly.
func TestBinomial(t *testing.T) {
	atMost := func(k, n int, p float64) float64 {
		sum, term := 0.0, math.Pow(1-p, float64(n))
		for i := 0; i <= k; i++ {
			sum += term
			term *= float64(n-i) / float64(i+1) * p / (1 - p)
		}
		return sum
	}
	for _, tc := range []struct {
		k, n int
		p    float64
	}{{0, 59, 0.05}, {0, 58, 0.05}, {3, 100, 0.05}, {12, 100, 0.05}, {1, 300, 0.01}, {5, 20, 0.5}} {
		if got, want := passProbability(float64(tc.k), float64(tc.n), tc.p), atMost(tc.k, tc.n,
			tc.p); math.Abs(got-want) > 1e-9 {
			t.Errorf("at most %d of %d at %v: %v, want %v", tc.k, tc.n, tc.p, got, want)
		}
		want := 1.0
		if tc.k > 0 {
			want = 1 - atMost(tc.k-1, tc.n, tc.p)
		}
		if got := failProbability(float64(tc.k), float64(tc.n), tc.p); math.Abs(got-want) > 1e-9 {
			t.Errorf("at least %d of %d at %v: %v, want %v", tc.k, tc.n, tc.p, got, want)
		}
	}
	// 59 requests without a miss are the fewest that show p95 at 95 %.
	if passProbability(0, 59, 0.05) > 0.05 || passProbability(0, 58, 0.05) < 0.05 {
		t.Error("59 requests should suffice and 58 not")
	}
	// Clopper and Pearson's interval for 10 of 100 at 95 % two-sided: 0.0490, 0.1762.
	if lower, upper := shareBounds(10, 100, 0.025); math.Abs(lower-0.0490) > 1e-4 || math.Abs(upper-0.1762) > 1e-4 {
		t.Errorf("bounds %v, %v", lower, upper)
	}
	if lower, upper := shareBounds(0, 0, 0.05); lower != 0 || upper != 1 {
		t.Errorf("bounds of nothing %v, %v", lower, upper)
	}
}

// AR(1) with coefficient a has τ = (1+a)/(1−a).
func TestAutocorrelationTime(t *testing.T) {
	for _, a := range []float64{0, 0.5, 0.8, 0.95} {
		rng := rand.New(rand.NewPCG(1, uint64(100*a)))
		x := make([]float64, 40_000)
		v := 0.0
		for i := range x {
			v = a*v + rng.NormFloat64()
			x[i] = v
		}
		tau, stderr := new(autocorrelation).time(x, nil)
		if want := (1 + a) / (1 - a); math.Abs(tau-want) > 3*stderr+0.05*want || stderr > 0.3*want {
			t.Errorf("a = %v: τ = %.2f ± %.2f, want %.2f", a, tau, stderr, want)
		}
	}
	constant := make([]float64, 1000)
	for i := range constant {
		constant[i] = 0.1
	}
	if tau, _ := new(autocorrelation).time(constant, nil); tau != 1 {
		t.Errorf("equal values: τ = %v", tau)
	}
	if tau, _ := new(autocorrelation).time(nil, nil); tau != 1 {
		t.Errorf("no values: τ = %v", tau)
	}
}

func TestDrift(t *testing.T) {
	a, b := make([]float64, 400), make([]float64, 400)
	for i := range a {
		a[i], b[i] = float64(i%40), float64(i%37)
	}
	if d := Drift(a, b); d != 0 {
		t.Errorf("alike: %v", d)
	}
	for i := range b {
		b[i] += 20
	}
	if d := Drift(a, b); d < 0.5 {
		t.Errorf("twice as slow: %v", d)
	}
}
