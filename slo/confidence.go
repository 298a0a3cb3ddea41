package slo

import (
	"math"
	"slices"
	"time"

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

// Look is one interim analysis: a moment at which a stage under way is judged, with the error that may be made then.
type Look struct {
	At    time.Duration // since the stage's start
	Alpha float64       // of each of the two errors: passing what should fail, failing what should pass
}

// Looks plans the interim analyses of a stage of at most limit: at least first after its start, each √2 times later
// than the one before. Their errors add up to alpha, so that however they depend on each other, the probability of a
// wrong outcome at any of them is at most alpha (Bonferroni). The share spent until time t is (t/limit)², one of the
// spending functions of Kim and DeMets (Biometrika 74, 1987; the idea is Lan and DeMets', Biometrika 70, 1983): what is
// clear early is clear at a small error too, and most of the error is left for the last analysis.
func Looks(first, limit time.Duration, alpha float64) []Look {
	var all []Look
	for at := float64(limit); at >= float64(first) && len(all) < maxLooks; at /= math.Sqrt2 {
		all = append(all, Look{At: time.Duration(at)})
	}
	if len(all) == 0 {
		all = []Look{{At: limit}}
	}
	slices.Reverse(all)
	spent := 0.0
	for i := range all {
		until := alpha * math.Pow(float64(all[i].At)/float64(limit), 2)
		all[i].Alpha, spent = until-spent, until
	}
	return all
}

const maxLooks = 12

// studentTail is the probability that Student's t exceeds a value.
func studentTail(t, degrees float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: degrees}.Survival(t)
}
