package maxrate

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/stat"

	"github.com/openloop/openloop/internal/num"
)

// model is a simple server that is fed with the arrivals that were sent. What a request finds in it says how lucky the
// request was: a control variate (Lavenberg and Welch, Management Science 27, 1981). Where a model is a poor one of the
// server it explains little, and is not used.
type model struct {
	correction Correction
	// run works out for each arrival what it finds: a figure with which the probability of a miss grows. Tokens below 0
	// stand for the mean. Capacity is in req/s.
	run func(e *estimator, k int, arrivals, tokens []float64, capacity, mean float64, found []float64)
	// rates are the logarithms of rates over the capacity, rising, for which the long run is found, from so many
	// requests.
	rates    []float64
	requests int
}

var (
	queue = model{VirtualQueue, runQueue, num.Span(-0.6, -0.02, 16), 40_000}
	batch = model{VirtualBatch, runBatch, num.Span(-1.6, -0.05, 10), 25_000}
)

// tokensAlways is what a request costs beside its output, as a share of the mean output.
const tokensAlways = 0.2

// work is a request's work in mean requests.
func work(tokens, mean float64) float64 {
	if tokens <= 0 {
		tokens = mean
	}
	return (tokens/mean + tokensAlways) / (1 + tokensAlways)
}

// runQueue is a queue before one server: Lindley's recursion (Proc. Camb. Phil. Soc. 48, 1952). An arrival finds its
// length, in mean requests.
func runQueue(_ *estimator, _ int, arrivals, tokens []float64, capacity, mean float64, found []float64) {
	length, last := 0.0, 0.0
	for i, at := range arrivals {
		if i > 0 {
			length = max(length-(at-last)*capacity, 0)
		}
		last = at
		found[i] = length
		length += work(tokens[i], mean)
	}
}

// twin is a model fitted to an objective's misses.
type twin struct {
	model
	capacity      float64   // req/s
	a, b          float64   // logit of a miss = a + b · what the request found
	grid, longRun []float64 // ln rates, and the share of misses that the model has there in the long run
	likelihood    float64   // its logarithm
	known         []float64 // output lengths that were seen
	mean          float64   // of them
}

// fitBins is how finely what requests found is told apart where the fit sums over more requests than that.
const fitBins = 4096

// fitTwin fits a model: its capacity between 0.85 and 1.4 of the saturation rate, and how the probability of a miss
// grows with what a request finds. nil where there are fewer than five misses or hits.
func (e *estimator) fitTwin(k int, m model) *twin {
	var known []float64
	var misses []float64
	e.eachSeries(k, func(_ int, st *Stage) {
		for _, t := range st.Tokens {
			if t > 0 {
				known = append(known, t)
			}
		}
		misses = append(misses, st.Series[k].Miss...)
	})
	if total := floats.Sum(misses); len(known) == 0 || total < 5 || total > float64(len(misses))-5 {
		return nil
	}
	mean := stat.Mean(known, nil)
	best := (*twin)(nil)
	maximise(func(x float64) float64 {
		t := e.twinOf(k, m, math.Exp(x)*e.Saturation, mean, misses)
		if t == nil {
			return math.Inf(-1)
		}
		if best == nil || t.likelihood > best.likelihood {
			best = t
		}
		return t.likelihood
	}, []float64{0.85, 0.9, 0.95, 1, 1.05, 1.1, 1.2, 1.4})
	if best == nil || best.b <= 0 {
		return nil
	}
	best.known, best.mean = known, mean
	return best
}

// eachSeries calls f with the stages that say something of an objective.
func (e *estimator) eachSeries(k int, f func(i int, st *Stage)) {
	for i := range e.stages {
		if s := &e.stages[i].Series[k]; s.N == 0 && len(s.Miss) > 10 {
			f(i, &e.stages[i])
		}
	}
}

// found is what the requests of a stage that count find in a model. The slice is used again.
func (e *estimator) found(k int, m model, st *Stage, capacity, mean float64) []float64 {
	if len(e.scratch) < len(st.Arrivals) {
		e.scratch = make([]float64, 2*len(st.Arrivals))
	}
	all := e.scratch[:len(st.Arrivals)]
	m.run(e, k, st.Arrivals, st.Tokens, capacity, mean, all)
	for j, i := range st.Series[k].Index { // Index rises, so nothing is overwritten before it is read
		all[j] = all[i]
	}
	return all[:len(st.Series[k].Index)]
}

// maximise looks for the maximum of a function of ln x: on a grid, then by golden section beside its best point.
func maximise(f func(x float64) float64, grid []float64) {
	top, at := math.Inf(-1), 0
	for i, x := range grid {
		if v := f(math.Log(x)); v > top {
			top, at = v, i
		}
	}
	const golden = 0.618
	lo, hi := math.Log(grid[max(at-1, 0)]), math.Log(grid[min(at+1, len(grid)-1)])
	x1, x2 := hi-golden*(hi-lo), lo+golden*(hi-lo)
	f1, f2 := f(x1), f(x2)
	for range 6 {
		if f1 > f2 {
			hi, x2, f2 = x2, x1, f1
			x1 = hi - golden*(hi-lo)
			f1 = f(x1)
		} else {
			lo, x1, f1 = x1, x2, f2
			x2 = lo + golden*(hi-lo)
			f2 = f(x2)
		}
	}
}

// twinOf is the model of a capacity, fitted; nil where all requests find the same. Requests are counted by what they
// found, in narrow bins; misses are theirs, in the same order.
func (e *estimator) twinOf(k int, m model, capacity, mean float64, misses []float64) *twin {
	values := make([]float64, 0, len(misses))
	e.eachSeries(k, func(_ int, st *Stage) {
		values = append(values, e.found(k, m, st, capacity, mean)...)
	})
	low, high, deviation := slices.Min(values), slices.Max(values), stat.PopStdDev(values, nil)
	if !(deviation > 0) {
		return nil
	}
	var bins []bin
	if len(values) <= fitBins {
		for i, v := range values {
			bins = append(bins, bin{1, misses[i], v})
		}
	} else {
		bins = make([]bin, fitBins)
		scale := (fitBins - 1) / (high - low)
		for i, v := range values {
			b := &bins[int((v-low)*scale)]
			b.n++
			b.misses += misses[i]
			b.sum += v
		}
		bins = slices.DeleteFunc(bins, func(b bin) bool { return b.n == 0 })
	}
	for i := range bins {
		bins[i].sum /= bins[i].n * deviation // the mean of the bin, in standard deviations
	}
	a, b, likelihood := logistic(bins, 1e-3)
	return &twin{model: m, capacity: capacity, a: a, b: b / deviation, likelihood: likelihood}
}

// bin is requests that found about the same.
type bin struct{ n, misses, sum float64 }

// logistic fits logit p = a + b·v with b ≥ 0 by Newton's method, with a little ridge on b.
func logistic(bins []bin, ridge float64) (a, b, likelihood float64) {
	n, misses := 0.0, 0.0
	for _, v := range bins {
		n += v.n
		misses += v.misses
	}
	m, table := misses/n, softplusTable()
	a, likelihood = math.Log((m+1e-6)/(1-m+1e-6)), -1e300
	for range 40 {
		g0, g1, h00, h01, h11 := 0.0, -ridge*b, 1e-9, 0.0, ridge
		l := -0.5 * ridge * b * b
		for _, v := range bins {
			z := min(max(a+b*v.sum, -maxLogit), maxLogit)
			p := expit(z)
			w, r := v.n*p*(1-p), v.misses-v.n*p
			g0 += r
			g1 += r * v.sum
			h00 += w
			h01 += w * v.sum
			h11 += w * v.sum * v.sum
			l += z*v.misses - v.n*softplus(table, z)
		}
		det := h00*h11 - h01*h01
		if det <= 1e-12 {
			break
		}
		da, db := (h11*g0-h01*g1)/det, (h00*g1-h01*g0)/det
		step := 1.0
		if most := max(math.Abs(da), math.Abs(db)); most > 2 {
			step = 2 / most
		}
		a += step * da
		b = max(b+step*db, 0)
		converged := math.Abs(l-likelihood) < 1e-6*math.Abs(l)
		likelihood = l
		if converged {
			break
		}
	}
	return a, b, likelihood
}

// miss is the probability of a miss of a request that finds v.
func (t *twin) miss(v float64) float64 { return expit(min(max(t.a+t.b*v, -maxLogit), maxLogit)) }

// longRunStart is the share of a long run that is left out at its start.
const longRunStart = 0.1

// unitStream is a long series of arrivals at a rate of 1 and of uniform numbers that draw the lengths. It is the same
// for every estimate.
func unitStream(poisson bool) (arrivals, uniform []float64) {
	if poisson {
		return poissonStream()
	}
	return regularStream()
}

var (
	poissonStream = sync.OnceValues(func() (arrivals, uniform []float64) { return drawStream(true) })
	regularStream = sync.OnceValues(func() (arrivals, uniform []float64) { return drawStream(false) })
)

func drawStream(poisson bool) (arrivals, uniform []float64) {
	arrivals, uniform = make([]float64, queue.requests), make([]float64, queue.requests)
	random := rand.New(rand.NewPCG(1, 2))
	at := 0.0
	for i := range arrivals {
		if poisson {
			at += random.ExpFloat64()
		} else if i > 0 {
			at++
		}
		arrivals[i], uniform[i] = at, random.Float64()
	}
	return arrivals, uniform
}

// runLong finds the share of misses of the model in the long run, at rates below its capacity, with the lengths that
// were seen.
func (t *twin) runLong(e *estimator, k int) {
	known := slices.Sorted(slices.Values(t.known))
	n := t.requests
	tokens, arrivals, found := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range tokens {
		tokens[i] = known[int(e.unitUniform[i]*float64(len(known)))]
	}
	most := 0.0
	for _, x := range t.rates {
		x += math.Log(t.capacity)
		rate := math.Exp(x)
		for i := range arrivals {
			arrivals[i] = e.unitArrivals[i] / rate
		}
		t.run(e, k, arrivals, tokens, t.capacity, t.mean, found)
		most = max(most, t.share(found[int(longRunStart*float64(n)):]))
		t.grid, t.longRun = append(t.grid, x), append(t.longRun, most)
	}
}

// share is the mean probability of a miss, summed in steps that change its logit by 0.02.
func (t *twin) share(found []float64) float64 {
	low := slices.Min(found)
	step := 50 * max(t.b, 1e-9)
	var bins []bin
	for _, v := range found {
		at := min(int((v-low)*step), 1<<14)
		for at >= len(bins) {
			bins = append(bins, bin{})
		}
		bins[at].n++
		bins[at].sum += v
	}
	sum := 0.0
	for _, b := range bins {
		if b.n > 0 {
			sum += b.n * t.miss(b.sum/b.n)
		}
	}
	return sum / float64(len(found))
}

// slopeAt is the slope of the long run where it crosses the limit.
func (t *twin) slopeAt(limit float64) float64 {
	logits := make([]float64, len(t.longRun))
	for i, p := range t.longRun {
		logits[i] = logit(min(max(p, 1e-6), 1-1e-6))
	}
	x := interpolate(logit(limit), logits, t.grid)
	slope := (interpolate(x+0.02, t.grid, logits) - interpolate(x-0.02, t.grid, logits)) / 0.04
	return min(max(slope, 3), 200)
}

// byTwin is a fitted model as a correction.
func (e *estimator) byTwin(k int, t *twin) luck {
	t.runLong(e, k)
	limit := e.Objectives[k].Limit
	all := make([]*stageLuck, len(e.stages)) // nil for stages of which it says nothing
	e.eachSeries(k, func(i int, st *Stage) {
		x, miss := math.Log(st.Rate), st.Series[k].Miss
		if x >= t.grid[len(t.grid)-1] {
			return
		}
		n := float64(len(miss))
		expected, residuals := 0.0, make([]float64, len(miss)) // by what each request found
		for j, v := range e.found(k, t.model, st, t.capacity, t.mean) {
			h := t.miss(v)
			expected += h / n
			residuals[j] = miss[j] - h
		}
		usual, least := interpolate(x, t.grid, t.longRun), 0.25/n
		l := &stageLuck{offset: min(max(logit(max(expected, least))-logit(max(usual, least)), -3), 3)}
		if s := (summary{n: n, k: floats.Sum(miss)}); s.informs(limit) {
			l.variance, l.dof = longRunVariance(residuals, nil)
		}
		all[i] = l
	})
	return luck{t.correction, func(i int, _ float64, _ bool) (l stageLuck, ok bool) {
		if all[i] == nil {
			return l, false
		}
		return *all[i], true
	}}
}

// twinError is how wrong the long run of a model is taken to be, as a standard deviation of its logit: the server is
// not the model. All stages share that error.
const twinError = 0.3

// trust splits the offsets of the stages, which a model gave, into luck and the model's own error: what they have in
// common, beyond what the luck of so many misses explains, is error. It takes that part off the offsets, and returns
// the standard deviation of what remains unknown of it, in logits.
func trust(all []summary, d dispersion, limit, sd float64) float64 {
	weights, mean := 0.0, 0.0
	for i := range all {
		if s := &all[i]; s.informs(limit) {
			p := s.share()
			weights += s.n * p * (1 - p)
			mean += s.n * p * (1 - p) * s.offset
		}
	}
	if weights == 0 || sd == 0 {
		return 0
	}
	mean /= weights
	luck := (1 - d.left) * d.plain / weights // variance of the pooled logit that the arrivals explain
	for i := range all {
		if all[i].offset != 0 {
			all[i].offset -= mean * sd * sd / (luck + sd*sd)
		}
	}
	return math.Sqrt(luck * sd * sd / (luck + sd*sd))
}

// interpolate is y at x on the lines between points of rising xs; the first or last y beyond them.
func interpolate(x float64, xs, ys []float64) float64 {
	i := sort.SearchFloat64s(xs, x)
	switch {
	case i == 0:
		return ys[0]
	case i == len(xs):
		return ys[i-1]
	case xs[i] == xs[i-1]:
		return ys[i]
	}
	return ys[i-1] + (ys[i]-ys[i-1])*(x-xs[i-1])/(xs[i]-xs[i-1])
}

func logit(p float64) float64 { return math.Log(p / (1 - p)) }
func expit(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
