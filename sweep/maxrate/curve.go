package maxrate

import (
	"math"
	"slices"
	"sort"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/openloop/openloop/internal/num"
)

// The grid of the posterior: rates from 0.03 to 1.6 of the saturation rate, slopes from 2 to 500, both in equal steps
// of their logarithms. Above a floor, slopes are from 0.5 on: what a long request holds up grows with the rate itself.
const (
	rates, lowestRate, highestRate = 500, 0.03, 1.6
	lowestSlope, highestSlope      = 2., 500.
	lowestAboveFloor               = 0.5
	slopeStep, floorSlopeStep      = 0.125, 0.25 // of ln slope; of curves with a floor
)

// floors are the shares of the limit that may miss at any rate, since their requests by themselves take too long: of
// unlike ones, the longest. floored is the prior probability that there is such a floor.
var floors = []float64{0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9}

const floored = 0.02

// shape is a form of the curve: at a logarithm x of the rate the share floor + (1 − floor)·expit(base + slope·(x − θ))
// misses. At θ that is the limit.
type shape struct {
	slope, floor, base float64
	steepness          float64 // ln of the slope of the logit of the share at θ, all misses together
	weight             float64 // ln of its prior probability, beside that of its slope
}

// steeps are shapes without a floor, whose slopes are about a step apart.
func steeps(limit, lowest, highest, step float64) (all []shape) {
	for _, ln := range num.Span(math.Log(lowest), math.Log(highest), int(math.Log(highest/lowest)/step+0.5)+1) {
		all = append(all, shape{slope: math.Exp(ln), base: logit(limit), steepness: ln})
	}
	return all
}

// withFloors are all shapes that a curve may have.
func withFloors(limit float64) []shape {
	all := steeps(limit, lowestSlope, highestSlope, slopeStep)
	for _, part := range floors {
		floor := part * limit
		above := (limit - floor) / (1 - floor) // expit of base
		flatter := (1 - floor) * above * (1 - above) / (limit * (1 - limit))
		for _, s := range steeps(above, lowestAboveFloor, highestSlope, floorSlopeStep) {
			s.floor, s.steepness = floor, s.steepness+math.Log(flatter)
			s.weight = math.Log(floored / (1 - floored) / float64(len(floors)) * floorSlopeStep / slopeStep)
			all = append(all, s)
		}
	}
	return all
}

// share is the share of misses at base + slope·(x − θ).
func (s *shape) share(z float64) float64 { return s.floor + (1-s.floor)*expit(z) }

// posterior is how likely each rate of the grid is to be where the share of misses meets the limit.
type posterior struct {
	grid      []float64 // ln rate
	weights   []float64 // sum 1
	slope     float64   // of the logit of the share of misses, at the estimate; geometric mean
	inflation float64
	chi       float64 // how much the stages disagree …
	informed  int     // … of so many
	effective float64 // independent requests
	phi, dof  float64
}

// quantile is ln rate below which the share q of the weight lies.
func (p *posterior) quantile(q float64) float64 {
	half := (p.grid[1] - p.grid[0]) / 2
	sum := 0.0
	for i, w := range p.weights {
		before := sum
		sum += w
		if sum >= q {
			if i == 0 || w <= 0 {
				return p.grid[i] + half
			}
			return p.grid[i-1] + half + (p.grid[i]-p.grid[i-1])*(q-before)/w
		}
	}
	return p.grid[len(p.grid)-1] + half
}

// above is the weight of the rates from x on, a logarithm.
func (p *posterior) above(x float64) float64 {
	half := (p.grid[1] - p.grid[0]) / 2
	i := sort.SearchFloat64s(p.grid, x-half)
	sum := 0.0
	for _, w := range p.weights[min(i, len(p.weights)):] {
		sum += w
	}
	if i > 0 && i < len(p.grid) { // the part of the cell that x divides
		sum += p.weights[i] * ((p.grid[i]+half-x)/(2*half) - 1)
	}
	return min(max(sum, 0), 1)
}

// blur widens the posterior by an error of ln rate that is normal with a standard deviation.
func (p *posterior) blur(sd float64) {
	step := p.grid[1] - p.grid[0]
	if sd < step/4 {
		return
	}
	reach := int(math.Ceil(4 * sd / step))
	kernel := make([]float64, 2*reach+1)
	sum := 0.0
	for i := range kernel {
		away := float64(i-reach) * step / sd
		kernel[i] = math.Exp(-away * away / 2)
		sum += kernel[i]
	}
	blurred := make([]float64, len(p.weights))
	for i, w := range p.weights {
		for j, v := range kernel {
			blurred[min(max(i+j-reach, 0), len(blurred)-1)] += w * v / sum
		}
	}
	p.weights = blurred
}

// settings are what a posterior rests on beside the stages.
type settings struct {
	limit      float64
	saturation float64
	slopeMean  float64 // prior of ln slope; NaN: from heavy-traffic theory at the estimate
	slopeSD    float64
	slope      float64 // the last pass's, for the constants
	estimate   float64 // ln rate, of the last pass
	left       float64 // share of the variance that the correction left
	prior      func(rho, rate float64) float64
	wander     float64
	shapes     []shape
}

// Where an answer is looked for: around three quarters of the saturation rate, with a standard deviation of ln rate.
const (
	placeRate = 0.75
	placeSD   = 0.35
)

// placed is the posterior with a further prior around where an answer is looked for. It is for choosing the next rate.
func (p *posterior) placed(saturation float64) posterior {
	q := *p
	q.weights = make([]float64, len(p.weights))
	sum := 0.0
	for i, x := range p.grid {
		away := (x - math.Log(placeRate*saturation)) / placeSD
		q.weights[i] = p.weights[i] * math.Exp(-away*away/2)
		sum += q.weights[i]
	}
	for i := range q.weights {
		q.weights[i] /= sum
	}
	return q
}

// term is a stage's part of the quasi-log-likelihood, ready to be evaluated over the grid.
type term struct {
	x, offset float64
	share     float64 // of misses, that was seen
	hits      float64 // weight of ln(1−p)
	misses    float64 // weight of ln p
	best      float64 // subtracted
	from, to  float64 // logits of p between which it counts
	over      float64 // how surely the stage was above the rate: a log-likelihood
}

// curve fits the shapes to the stages, in quasi-likelihood: each stage's misses are divided by how many come together
// (Wedderburn, Biometrika 61, 1974). It is done twice where the stages disagree.
func curve(all []summary, d dispersion, set settings) posterior {
	limit := set.limit
	grid := num.Span(math.Log(lowestRate*set.saturation), math.Log(highestRate*set.saturation), rates)
	if math.IsNaN(set.slopeMean) {
		// Waiting times in heavy traffic are near exponential with a mean that goes with 1/(1 − ρ): the slope of the
		// logit is −ln limit · ρ/(1 − ρ).
		rho := min(max(math.Exp(set.estimate)/set.saturation, 0.1), 0.95)
		set.slopeMean = math.Log(1.3 * -math.Log(limit) * rho / (1.05 - rho))
	}
	wandering := limit * (1 - limit) * math.Pow(set.slope*set.wander, 2) // of the variance, for each request
	rhoHat := min(math.Exp(set.estimate)/set.saturation, 1)

	p := posterior{grid: grid, phi: d.phi, dof: d.dof, inflation: 1}
	weigh := func() (theta float64, best shape) {
		p.effective = 0
		terms := make([]term, 0, len(all))
		for i := range all {
			s := &all[i]
			rate := math.Exp(s.x)
			rho := min(rate/set.saturation, 1)
			f := (p.dof*p.phi*math.Pow(min((1.05-rhoHat)/(1.05-rho), 1), 2) +
				priorDof*set.left*set.prior(rho, rate)) / (p.dof + priorDof)
			f = max(f, 1)
			if s.x < set.estimate {
				f = max(f, min(s.slowest, p.phi))
			}
			f = f / max(1-f/s.n, 0.05) / s.weight // the way up to the steady state is worth nothing
			p.effective += s.n / f
			f = f*p.inflation + s.n*wandering
			terms = append(terms, termOf(s, f, limit))
		}
		shapes := slices.DeleteFunc(slices.Clone(set.shapes), func(s shape) bool { return isBelow(terms, s.floor) })
		ll := make([]float64, len(grid)*len(shapes))
		for i := range terms {
			terms[i].add(ll, grid, shapes)
		}
		return p.weigh(ll, shapes, set)
	}
	theta, best := weigh()
	for i := range all {
		s := &all[i]
		share := s.share()
		if share > overShare || share < 0.25*limit || s.growing {
			continue
		}
		q := best.share(best.base + best.slope*(s.x+s.shift-theta) + s.offset)
		pooled := (p.dof*p.phi + priorDof*set.left*set.prior(math.Exp(theta)/set.saturation, math.Exp(theta))) /
			(p.dof + priorDof)
		p.chi += (s.k - s.n*q) * (s.k - s.n*q) / (s.n * q * (1 - q) * (pooled + s.n*wandering))
		p.informed++
	}
	// The stages disagree: the server drifts, or is slow in spells that some stages saw and others did not (as for
	// observers that change, Fründ, Haenel and Wichmann, J. Vision 11, 2011).
	if p.informed > 2 {
		if j := float64(p.informed); (p.chi+2)/j > 1 {
			p.inflation = (p.chi + 2) / j
			if p.chi > (distuv.ChiSquared{K: j - 2}).Quantile(0.9) {
				p.inflation = max(p.inflation, p.chi/(j-2))
				p.dof = min(p.dof, max(j-2-priorDof+1, 0))
			}
			weigh()
		}
	}
	return p
}

// termOf is a stage's part, its requests divided by f.
func termOf(s *summary, f, limit float64) term {
	share := s.share()
	t := term{x: s.x + s.shift, offset: s.offset, share: share, from: math.Inf(-1), to: math.Inf(1)}
	entropy := func(q float64) float64 {
		if q <= 0 || q >= 1 {
			return 0
		}
		return q*math.Log(q) + (1-q)*math.Log(1-q)
	}
	switch {
	case share > overShare || s.growing:
		// Above saturation the share depends on how long a stage runs: it says that the rate is too high, not by how
		// much.
		q, n := min(share, 0.3), min(s.n/f, 10)
		if s.growing {
			q, n = max(q, 2*limit), min(s.n/f, 15)
		}
		t.misses, t.hits, t.best, t.to = n*q, n*(1-q), n*entropy(q), logit(q)
		if share > overShare {
			t.over = n * (overShare*math.Log(overShare/limit) + (1-overShare)*math.Log((1-overShare)/(1-limit)))
		}
	case share < 0.25*limit:
		// A floor of stray misses does not flatten the curve: only predictions above what was seen count against it.
		t.misses, t.hits = s.k/f, (s.n-s.k)/f
		t.best, t.from = s.n/f*entropy(share), logit(max(share, 1e-9))
	default:
		t.misses, t.hits = s.k/f, (s.n-s.k)/f
	}
	return t
}

// ruledOut is the log-likelihood below which a floor need not be looked at.
const ruledOut = -12

// isBelow says whether some stage had so much fewer misses than a floor that there is none so high.
func isBelow(terms []term, floor float64) bool {
	return floor > 0 && slices.ContainsFunc(terms, func(t term) bool {
		return t.share < floor && t.misses*math.Log(floor)+t.hits*math.Log1p(-floor)-t.best < ruledOut
	})
}

// add adds a term to the log-likelihood of every rate and shape.
func (t *term) add(ll, grid []float64, shapes []shape) {
	n, table := len(grid), softplusTable()
	for j := range shapes {
		s := &shapes[j]
		row := ll[j*n : (j+1)*n]
		start := s.base + s.slope*t.x + t.offset
		if s.floor > 0 {
			t.addFloored(row, grid, s, start)
			continue
		}
		for i, theta := range grid {
			z := min(max(start-s.slope*theta, -30), 30)
			if z < t.from || z > t.to {
				continue
			}
			hit := -softplus(table, z) // ln(1 − p); ln p is z more
			row[i] += t.misses*(hit+z) + t.hits*hit - t.best
		}
	}
}

// addFloored is add for a shape that has a floor.
func (t *term) addFloored(row, grid []float64, s *shape, start float64) {
	table := softplusTable()
	ln, lnRest := math.Log(s.floor), math.Log1p(-s.floor)
	for i, theta := range grid {
		z := min(max(start-s.slope*theta, -30), maxLogit-1+ln)
		// With e = exp z, 1 − p is (1 − floor)/(1 + e) and p is (floor + e)/(1 + e).
		below := softplus(table, z)
		hit, miss := lnRest-below, ln+softplus(table, z-ln)-below
		if odds := miss - hit; odds < t.from || odds > t.to {
			continue
		}
		of := t.misses*miss + t.hits*hit - t.best
		if t.over > 0 && z < s.base { // below the rate the floor is nearly as high as the limit, which proves nothing
			of = min(of, -t.over)
		}
		row[i] += of
	}
}

// weigh leaves the weights of the rates, from the log-likelihood of every rate and shape, which it uses up. It returns
// the best ln rate and shape.
func (p *posterior) weigh(ll []float64, shapes []shape, set settings) (theta float64, best shape) {
	n := len(p.grid)
	top, topPrior := math.Inf(-1), math.Inf(-1)
	prior := make([]float64, len(shapes))
	for j, s := range shapes {
		away := (math.Log(s.slope) - set.slopeMean) / set.slopeSD // theory is of what the rate adds
		prior[j] = s.weight - away*away/2
		for i := range p.grid {
			v := ll[j*n+i]
			top = max(top, v)
			if v+prior[j] > topPrior {
				topPrior, theta, best = v+prior[j], p.grid[i], s
			}
		}
	}
	// Student's form instead of Gauss's: the dispersion is estimated too.
	v := p.dof + priorDof
	saturation := math.Log(set.saturation)
	highest := math.Inf(-1)
	beyond := make([]float64, n)
	for i, theta := range p.grid {
		over := max(theta-saturation-math.Log(1.05), 0) / 0.1
		beyond[i] = over * over / 2
	}
	for j := range shapes {
		row := ll[j*n : (j+1)*n]
		for i := range row {
			row[i] = -(v+1)/2*math.Log1p(2*(top-row[i])/v) + prior[j] - beyond[i]
			highest = max(highest, row[i])
		}
	}
	p.weights = make([]float64, n)
	sum, slope := 0.0, 0.0
	for j := range shapes {
		row := ll[j*n : (j+1)*n]
		for i := range row {
			if row[i] < highest-40 {
				continue
			}
			w := math.Exp(row[i] - highest)
			p.weights[i] += w
			sum += w
			slope += w * shapes[j].steepness
		}
	}
	for i := range p.weights {
		p.weights[i] /= sum
	}
	p.slope = math.Exp(slope / sum)
	return theta, best
}
