package slo

import (
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/openloop/openloop/internal/num"
)

// autocorrelation computes autocorrelation times. Its room to work in is used again, so it is for one goroutine. The
// zero value works.
type autocorrelation struct {
	deviations []float64
	fft        *fourier.FFT
	dct        *fourier.DCT
	padded     []float64
	spectrum   []complex128
}

// time is the integrated autocorrelation time τ of a series, in observations, with its standard error: the mean of n
// observations is as uncertain as that of n/τ independent ones. The sum over the autocorrelations ends at the first lag
// M ≥ 5·τ(M) (A. Sokal, Monte Carlo Methods in Statistical Mechanics, 1997, section 3); the correction for the bias and
// the error are U. Wolff's (Comput. Phys. Commun. 156, 2004, equations 49 and 42). At least 1: where neighbours repel
// each other, no credit is taken for it. It takes n·log n steps, also where a trend moves M to n/2.
//
// Sessions are those that the observations are of, 0 for one that stands alone; nil where each does. What requests of
// one session have in common is added where they are further apart than M: clusters in two ways, by time and by session
// (A. C. Cameron, J. B. Gelbach and D. L. Miller, J. Bus. Econ. Stat. 29, 2011), with no pair counted twice.
func (a *autocorrelation) time(x []float64, sessions []int32) (tau, stderr float64) {
	n := len(x)
	if n < 3 {
		return 1, 0
	}
	mean := 0.0
	for _, v := range x {
		mean += v
	}
	mean /= float64(n)
	d := a.deviations[:0]
	for _, v := range x {
		d = append(d, v-mean)
	}
	a.deviations = d
	c0 := laggedProduct(d, 0)
	if c0/float64(n) <= 1e-20*mean*mean { // equal values, but for rounding
		return 1, 0
	}
	tau = 1
	var products []float64
	lag := 1
	for ; lag < n/2; lag++ {
		if lag <= directLags {
			tau += 2 * laggedProduct(d, lag) / c0
		} else {
			if products == nil {
				products = a.laggedProducts(d, n/2)
			}
			tau += 2 * products[lag] / c0
		}
		if float64(lag) >= sokalWindow*tau {
			break
		}
	}
	window := float64(2*lag + 1)
	tau = max(tau*(1+window/float64(n)), 1)
	stderr = tau * math.Sqrt(2*window/float64(n))
	alike, pairs := withinSessions(d, sessions, lag)
	together := max(2*alike/c0, 0)
	tau += together
	// Products of independent deviations vary by the square of their variance.
	stderr = math.Hypot(stderr, 2*math.Sqrt(pairs)/float64(n)*(1+together))
	return min(tau, float64(n)), stderr
}

// withinSessions sums the products of deviations of one session that lie more than lag apart, and counts them.
func withinSessions(d []float64, sessions []int32, lag int) (sum, pairs float64) {
	earlier := map[int32][]int32{} // of each session, where it was
	for i, session := range sessions {
		if session == 0 {
			continue
		}
		for _, k := range earlier[session] {
			if i-int(k) > lag {
				sum += d[i] * d[k]
				pairs++
			}
		}
		earlier[session] = append(earlier[session], int32(i))
	}
	return sum, pairs
}

const (
	sokalWindow = 5
	// directLags is how many lags are summed directly before the Fourier transform is worth its cost.
	directLags = 16
)

// laggedProduct is Σ d[i]·d[i−lag].
func laggedProduct(d []float64, lag int) float64 {
	sum := 0.0
	late := d[lag:]
	early := d[:len(late)]
	for i, v := range late {
		sum += v * early[i]
	}
	return sum
}

// laggedProducts is laggedProduct for all lags below the given number, by the Wiener–Khinchin theorem: the inverse
// transform of the power spectrum, padded with zeros so that the series does not meet its own end. The spectrum is real
// and symmetric, so that a cosine transform of half the length is the inverse.
func (a *autocorrelation) laggedProducts(d []float64, lags int) []float64 {
	size := transformSize(len(d) + lags)
	if len(a.padded) != size {
		a.fft, a.dct = fourier.NewFFT(size), fourier.NewDCT(size/2+1)
		a.padded, a.spectrum = make([]float64, size), make([]complex128, size/2+1)
	}
	clear(a.padded[copy(a.padded, d):])
	a.fft.Coefficients(a.spectrum, a.padded)
	power := a.padded[:len(a.spectrum)]
	for i, c := range a.spectrum {
		power[i] = (real(c)*real(c) + imag(c)*imag(c)) / float64(size)
	}
	return a.dct.Transform(power, power)[:lags]
}

// transformSize is an even length of at least n that the transform takes apart into factors of 2 and one of 3, 5 or 15.
func transformSize(n int) int {
	best := 0
	for _, odd := range []int{1, 3, 5, 15} {
		size := 2 * odd
		for size < n {
			size *= 2
		}
		if best == 0 || size < best {
			best = size
		}
	}
	return best
}

// clustering is the autocorrelation time of the misses, with its standard error. The misses of an objective that is
// kept are too few to show how they cluster; then the longest latencies show it, as many as might miss. Where the
// longest of all is far from the bound, only those count that stand out by more than a hundredth of what is left to the
// bound: a hair's breadth between latencies says nothing of it. Where all miss, there are too few that do not; then all
// latencies show it. Sessions are as in time.
func (a *autocorrelation) clustering(values, misses []float64, sessions []int32, limit, bound float64) (tau,
	stderr float64) {
	if slices.Min(misses) == 1 {
		finite := slices.Clone(values)
		for i, v := range finite {
			if math.IsInf(v, 1) {
				finite[i] = float64(24 * time.Hour) // a request that failed: longer than any bound
			}
		}
		return a.time(finite, sessions)
	}
	tau, stderr = a.time(misses, sessions)
	longest := slices.Clone(values)
	threshold := num.Select(longest, num.Rank(1-limit, len(longest)))
	if slices.Max(values) <= far*bound {
		threshold += (bound - threshold) / 100
	}
	for i, v := range values {
		longest[i] = indicator(v > threshold)
	}
	if t, e := a.time(longest, sessions); t > tau {
		return t, e
	}
	return tau, stderr
}

// far is the share of a bound below which all latencies of a stage are far from it.
const far = 0.25

// AutocorrelationTime is the integrated autocorrelation time of a series, in observations, with its standard error: the
// mean of n observations is as uncertain as that of n/tau independent ones. Sessions are those that the observations
// are of, which need not be independent, however far apart: 0 for one that stands alone, nil where each does.
func AutocorrelationTime(series []float64, sessions []int32) (tau, stderr float64) {
	var work autocorrelation
	return work.time(series, sessions)
}
