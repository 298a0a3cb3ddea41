package num

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSelect(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]func(i int) float64{
		"random":  func(int) float64 { return rng.NormFloat64() },
		"few":     func(int) float64 { return float64(rng.IntN(3)) },
		"equal":   func(int) float64 { return 7 },
		"rising":  func(i int) float64 { return float64(i) },
		"falling": func(i int) float64 { return float64(-i) },
		"infinite": func(int) float64 {
			if rng.IntN(2) == 0 {
				return math.Inf(1)
			}
			return rng.Float64()
		},
	}
	for name, value := range kinds {
		for _, n := range []int{1, 2, 3, 10, 1001} {
			values := make([]float64, n)
			for i := range values {
				values[i] = value(i)
			}
			sorted := slices.Sorted(slices.Values(values))
			for _, k := range []int{1, (n + 1) / 2, Rank(0.95, n), n} {
				if got := Select(slices.Clone(values), k); got != sorted[k-1] {
					t.Errorf("%s, rank %d of %d: %v, want %v", name, k, n, got, sorted[k-1])
				}
			}
		}
	}
}
