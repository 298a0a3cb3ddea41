package enginemetrics

import (
	"math"
	"slices"
)

// Histogram is a histogram as Prometheus counts it: of all values so far, how many lie at or below each bound.
type Histogram struct {
	Bounds []float64 `json:"bounds"` // s, rising; the last is +Inf and left out here
	Counts []float64 `json:"counts"` // at or below each bound
	Count  float64   `json:"count"`
	Sum    float64   `json:"sum"` // s
}

// since is what was added to a histogram after an earlier scrape of it; empty where the two do not belong together.
func (h Histogram) since(earlier Histogram) Histogram {
	if len(earlier.Bounds) == 0 {
		return h
	}
	if !slices.Equal(h.Bounds, earlier.Bounds) || h.Count < earlier.Count {
		return Histogram{}
	}
	d := Histogram{Bounds: h.Bounds, Counts: slices.Clone(h.Counts), Count: h.Count - earlier.Count,
		Sum: h.Sum - earlier.Sum}
	for i := range d.Counts {
		d.Counts[i] -= earlier.Counts[i]
	}
	return d
}

// plus adds up two histograms of the same bounds; ok is false where they have others.
func (h Histogram) plus(o Histogram) (sum Histogram, ok bool) {
	if len(h.Bounds) == 0 || !slices.Equal(h.Bounds, o.Bounds) {
		return Histogram{}, false
	}
	sum = Histogram{Bounds: h.Bounds, Counts: slices.Clone(h.Counts), Count: h.Count + o.Count, Sum: h.Sum + o.Sum}
	for i := range sum.Counts {
		sum.Counts[i] += o.Counts[i]
	}
	return sum, true
}

// Mean is the mean, s; NaN of nothing.
func (h Histogram) Mean() float64 { return h.Sum / h.Count }

// Quantile estimates a quantile (0 < q < 1), s, as Prometheus' histogram_quantile does: linear inside its bucket. A
// value in the last bucket is given as that bucket's lower bound. NaN of nothing.
func (h Histogram) Quantile(q float64) float64 {
	if !(h.Count > 0) || len(h.Bounds) == 0 {
		return math.NaN()
	}
	want := q * h.Count
	below, lower := 0.0, 0.0
	for i, bound := range h.Bounds {
		if h.Counts[i] >= want {
			if h.Counts[i] == below {
				return bound
			}
			return lower + (bound-lower)*(want-below)/(h.Counts[i]-below)
		}
		below, lower = h.Counts[i], bound
	}
	return lower
}
