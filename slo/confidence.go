package slo

import (
	"math"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// DefaultConfidence is the confidence of outcomes where none is asked for.
const DefaultConfidence = 0.95

// WithDefault is the confidence, DefaultConfidence where none between 0 and 1 is given.
func WithDefault(confidence float64) float64 {
	if confidence <= 0 || confidence >= 1 {
		return DefaultConfidence
	}
	return confidence
}

// passProbability is the probability of seeing at most misses of n if the share of misses were limit: small where the
// true share must lie below. It is the exact binomial test behind Clopper and Pearson's bound (Biometrika 26, 1934),
// and behind MLPerf's early stopping. By the beta distribution it takes real numbers, as effective sample sizes are.
func passProbability(misses, n, limit float64) float64 {
	switch {
	case n <= 0 || limit <= 0 || misses >= n:
		return 1
	case limit >= 1:
		return 0
	}
	return mathext.RegIncBeta(n-misses, misses+1, 1-limit)
}

// failProbability is the probability of seeing at least misses of n if the share of misses were limit.
func failProbability(misses, n, limit float64) float64 {
	switch {
	case n <= 0 || misses <= 0 || limit >= 1:
		return 1
	case limit <= 0:
		return 0
	}
	return mathext.RegIncBeta(misses, n-misses+1, limit)
}

// shareBounds are Clopper and Pearson's one-sided bounds of a share, each with error alpha.
func shareBounds(misses, n, alpha float64) (lower, upper float64) {
	lower, upper = 0, 1
	if n <= 0 {
		return lower, upper
	}
	if misses > 0 {
		lower = mathext.InvRegIncBeta(misses, n-misses+1, alpha)
	}
	if misses < n {
		upper = mathext.InvRegIncBeta(misses+1, n-misses, 1-alpha)
	}
	return lower, upper
}

// studentQuantile is the quantile 1 − alpha of Student's t; +Inf where there are no degrees of freedom.
func studentQuantile(alpha, degrees float64) float64 {
	if !(degrees > 0) {
		return math.Inf(1)
	}
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: degrees}.Quantile(1 - alpha)
}

// studentTail is the probability that Student's t exceeds a value.
func studentTail(t, degrees float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: degrees}.Survival(t)
}
