package slo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// directTime is autocorrelationTime by its definition: every lag is summed up.
func directTime(x []float64) (tau, stderr float64) {
	n := len(x)
	mean := 0.0
	for _, v := range x {
		mean += v / float64(n)
	}
	covariance := func(lag int) float64 {
		sum := 0.0
		for i := lag; i < n; i++ {
			sum += (x[i] - mean) * (x[i-lag] - mean)
		}
		return sum
	}
	c0 := covariance(0)
	if c0 == 0 {
		return 1, 0
	}
	tau = 1
	lag := 1
	for ; lag < n/2; lag++ {
		tau += 2 * covariance(lag) / c0
		if float64(lag) >= 5*tau {
			break
		}
	}
	window := float64(2*lag + 1)
	tau = min(max(tau*(1+window/float64(n)), 1), float64(n))
	return tau, tau * math.Sqrt(2*window/float64(n))
}

// The transform changes nothing but the time it takes.
func TestAutocorrelationTimeEqualsTheDirectSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{3, 4, 100, 1000, 1001, 6000} {
		for name, value := range map[string]func(i int, before float64) float64{
			"independent": func(int, float64) float64 { return rng.NormFloat64() },
			"clustered":   func(_ int, before float64) float64 { return 0.99*before + rng.NormFloat64() },
			"misses":      func(int, float64) float64 { return indicator(rng.Float64() < 0.05) },
			"trend":       func(i int, _ float64) float64 { return 1e9 + 1e5*float64(i) + 1e6*rng.NormFloat64() },
			"step":        func(i int, _ float64) float64 { return indicator(i > n/3) },
			"wave":        func(i int, _ float64) float64 { return math.Sin(float64(i) / 300) },
		} {
			x := make([]float64, n)
			before := 0.0
			for i := range x {
				before = value(i, before)
				x[i] = before
			}
			tau, stderr := new(autocorrelation).time(x, nil)
			wantTau, wantErr := directTime(x)
			if math.Abs(tau-wantTau) > 1e-9*wantTau || math.Abs(stderr-wantErr) > 1e-9*max(wantErr, 1) {
				t.Errorf("%s of %d: τ = %v ± %v, want %v ± %v", name, n, tau, stderr, wantTau, wantErr)
			}
		}
	}
}

func BenchmarkAutocorrelationTime(b *testing.B) {
	for _, n := range []int{60_000, 300_000} {
		x := make([]float64, n)
		for i := range x {
			x[i] = float64(i)
		}
		b.Run(fmt.Sprintf("trend of %d", n), func(b *testing.B) {
			for b.Loop() {
				new(autocorrelation).time(x, nil)
			}
		})
	}
}

// What the requests of a session have in common makes them fewer, however far apart they are, and no pair counts twice.
func TestAutocorrelationTimeOfSessions(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const sessions, turns = 500, 4
	for name, c := range map[string]struct {
		at   func(session, turn int) int // in the series
		want float64
	}{
		// The turns of sessions lie among those of hundreds of others.
		"far apart": {func(session, turn int) int { return turn*sessions + session }, turns},
		// They follow each other, which the correlation in time has in it.
		"one after the other": {func(session, turn int) int { return session*turns + turn }, turns},
	} {
		x, of := make([]float64, sessions*turns), make([]int32, sessions*turns)
		for s := range sessions {
			value := rng.NormFloat64()
			for k := range turns {
				x[c.at(s, k)], of[c.at(s, k)] = value, int32(s+1)
			}
		}
		tau, stderr := AutocorrelationTime(x, of)
		if math.Abs(tau-c.want) > 0.25*c.want || !(stderr > 0) {
			t.Errorf("%s: τ = %v ± %v, want about %v", name, tau, stderr, c.want)
		}
		for i := range x {
			x[i] = rng.NormFloat64()
		}
		if tau, _ := AutocorrelationTime(x, of); tau > 1.3 {
			t.Errorf("%s, independent: τ = %v", name, tau)
		}
	}
}
