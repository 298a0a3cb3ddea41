package stats

import (
	"math"
	"slices"
)

// Percentiles are the eleven quantiles of a report. Quantile q is the first value at which the cumulative probability
// reaches q, without interpolation (statistics.py, Percentiles.from_pdf).
type Percentiles struct {
	P001 float64 `json:"p001"` // 0.1 %
	P01  float64 `json:"p01"`
	P05  float64 `json:"p05"`
	P10  float64 `json:"p10"`
	P25  float64 `json:"p25"`
	P50  float64 `json:"p50"`
	P75  float64 `json:"p75"`
	P90  float64 `json:"p90"`
	P95  float64 `json:"p95"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"` // 99.9 %
}

// Distribution summarises weighted values. All have the unit of the values but Variance (its square), Count
// (observations) and PDF (pairs of value and probability; nil unless a report that was read carries it).
type Distribution struct {
	Mean        float64      `json:"mean"`
	Median      float64      `json:"median"`
	Mode        float64      `json:"mode"`
	Variance    float64      `json:"variance"`
	StdDev      float64      `json:"std_dev"`
	Min         float64      `json:"min"`
	Max         float64      `json:"max"`
	Count       int64        `json:"count"`
	TotalSum    float64      `json:"total_sum"`
	Percentiles Percentiles  `json:"percentiles"`
	PDF         [][2]float64 `json:"pdf"`
}

// StatusDistribution is one metric's distribution by how the requests ended. Total is that of all of them together.
type StatusDistribution struct {
	Successful Distribution `json:"successful"`
	Errored    Distribution `json:"errored"`
	Incomplete Distribution `json:"incomplete"`
	Total      Distribution `json:"total"`
}

// weighted is a value and how much it counts.
type weighted struct{ Value, Weight float64 }

// totalWeightFloor is the total weight below which weights are taken to say nothing and every value counts the same
// (statistics.py: epsilon of from_values).
const totalWeightFloor = 1e-6

// summarize returns the distribution of weighted values, reordering them in place: equal values are merged, values
// without weight dropped, weights normalised to probabilities p; mean = Σ v·p, variance = Σ (v−mean)²·p, mode = the
// first value of the largest p, count = Σ weights rounded half to even, total_sum = mean·count. No values: all zeros
// (statistics.py, DistributionSummary.from_values).
func summarize(values []weighted) Distribution {
	weights := make([]float64, len(values))
	for i, v := range values {
		weights[i] = v.Weight
	}
	return summarizeCounted(values, int64(math.RoundToEven(pairwiseSum(weights))))
}

// summarizeCounted is Summarize with a count that the caller knows better.
func summarizeCounted(values []weighted, count int64) Distribution {
	if len(values) == 0 {
		return Distribution{}
	}
	merged := mergeEqualValues(values)
	v := make([]float64, len(merged))
	p := make([]float64, len(merged))
	for i, m := range merged {
		v[i], p[i] = m.Value, m.Weight
	}
	if total := pairwiseSum(p); total > totalWeightFloor {
		for i := range p {
			p[i] /= total
		}
	} else {
		for i := range p {
			p[i] = 1 / float64(len(p))
		}
	}
	return fromProbabilities(v, p, count)
}

// mergeEqualValues sorts by value, adds up the weights of equal values and drops what has no weight.
func mergeEqualValues(values []weighted) []weighted {
	slices.SortFunc(values, func(a, b weighted) int { return compareDefined(a.Value, b.Value) })
	merged := values[:0]
	for i := 0; i < len(values); {
		sum := weighted{Value: values[i].Value}
		for ; i < len(values) && (values[i].Value == sum.Value || sum.Value != sum.Value); i++ {
			sum.Weight += values[i].Weight
		}
		if sum.Weight > 0 {
			merged = append(merged, sum)
		}
	}
	return merged
}

// fromProbabilities is the distribution of rising, distinct values v with probabilities p that add up to 1
// (statistics.py, DistributionSummary.from_pdf).
func fromProbabilities(v, p []float64, count int64) Distribution {
	if len(v) == 0 {
		return Distribution{Count: count}
	}
	terms := make([]float64, len(v))
	mode := 0
	for i := range v {
		terms[i] = v[i] * p[i]
		if p[i] > p[mode] {
			mode = i
		}
	}
	mean := pairwiseSum(terms)
	for i := range v {
		d := v[i] - mean
		terms[i] = float64(d*d) * p[i]
	}
	variance := pairwiseSum(terms)
	q := percentiles(v, p)
	return Distribution{
		Mean: mean, Median: q.P50, Mode: v[mode], Variance: variance, StdDev: math.Sqrt(variance),
		Min: v[0], Max: v[len(v)-1], Count: count, TotalSum: mean * float64(count), Percentiles: q,
	}
}

// percentiles walks the cumulative sum once; it must be the sequential sum that numpy's cumsum is, since a value's
// probability often meets a percentile exactly and the last bit then decides.
func percentiles(v, p []float64) Percentiles {
	var q Percentiles
	i, cumulative := 0, p[0]
	at := func(level float64) float64 {
		for cumulative < level && i+1 < len(v) {
			i++
			cumulative += p[i]
		}
		return v[i]
	}
	q.P001, q.P01, q.P05, q.P10 = at(0.001), at(0.01), at(0.05), at(0.1)
	q.P25, q.P50, q.P75 = at(0.25), at(0.5), at(0.75)
	q.P90, q.P95, q.P99, q.P999 = at(0.9), at(0.95), at(0.99), at(0.999)
	return q
}

// pairwiseSum adds as numpy's sum does over float64: eight running sums within blocks of up to 128, blocks added in
// pairs (numpy, loops_utils.h: pairwise_sum), so that the result is numpy's to the last bit.
func pairwiseSum(a []float64) float64 {
	n := len(a)
	switch {
	case n < 8:
		sum := 0.0
		for _, x := range a {
			sum += x
		}
		return sum
	case n <= 128:
		var r [8]float64
		copy(r[:], a)
		i := 8
		for ; i+8 <= n; i += 8 {
			for j := range r {
				r[j] += a[i+j]
			}
		}
		sum := ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
		for ; i < n; i++ {
			sum += a[i]
		}
		return sum
	default:
		half := n / 2
		half -= half % 8
		return pairwiseSum(a[:half]) + pairwiseSum(a[half:])
	}
}
