package maxrate

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/openloop/openloop/slo"
)

// summary is a stage for one objective, as the curve takes it in.
type summary struct {
	x       float64 // ln rate
	n, k    float64 // requests that count, and the misses among them
	shift   float64 // of x: the realised rate instead of the schedule's
	offset  float64 // of the logit: by how much the arrivals were luckier or less lucky than most
	slowest float64 // autocorrelation time of the slowest requests, with its error
	growing bool
	at      float64 // s, when the stage began
	weight  float64 // Stage.weight, but for stages that are too fast
}

func (s *summary) share() float64 { return s.k / s.n }

// informs says whether a stage shows how misses cluster.
func (s *summary) informs(limit float64) bool {
	p := s.share()
	return 0.1*limit < p && p < overShare && 3 <= s.k && s.k < s.n
}

// dispersion is how the misses of all stages cluster.
type dispersion struct {
	phi      float64 // misses that come together on average; at least 1
	dof      float64 // degrees of freedom with which that is known
	plain    float64 // phi without the correction
	left     float64 // share of the variance that the correction left
	clusters float64 // of misses, in the stages that tell
}

// luck is what a correction says of each stage: how lucky its arrivals were, and what is then left unexplained.
type luck struct {
	correction Correction
	// of is what it says of a stage; ok is false if that is nothing.
	of func(i int, slope float64, informs bool) (l stageLuck, ok bool)
}

// stageLuck is the shift and the offset of a stage (summary); and, where the stage informs of how misses cluster, the
// long-run variance of what is then left of its misses, with its degrees of freedom.
type stageLuck struct{ shift, offset, variance, dof float64 }

// longRunVariance is Var·τ of a series: n times the variance of its mean, with its degrees of freedom.
// Sessions are as in Series.
func longRunVariance(series []float64, sessions []int32) (variance, dof float64) {
	n := float64(len(series))
	tau, stderr := slo.AutocorrelationTime(series, sessions)
	window := 3. // 2·lag+1, for the least lag
	if stderr > 0 {
		window = max(window, n/2*(stderr/tau)*(stderr/tau)) // Wolff's error, solved for the window
	}
	return stat.PopVariance(series, nil) * tau, max(n/window, 1)
}

// fewestRequests is below what a stage says nothing of an objective.
const fewestRequests = 5

// summaries sums up the stages for an objective on a share, and pools the dispersion of those that show it: stages with
// a share of misses between a tenth of the limit and a half, and three misses or more.
func (e *estimator) summaries(k int, l luck, slope float64) ([]summary, dispersion) {
	limit := e.Objectives[k].Limit
	var all []summary
	var num, den, plain float64
	d := dispersion{left: 1}
	for i := range e.stages {
		st, series := &e.stages[i], &e.stages[i].Series[k]
		n, misses := series.counts()
		if n < fewestRequests {
			continue
		}
		s := summary{x: math.Log(st.Rate), n: n, k: misses, slowest: series.Slowest, growing: st.Growing,
			at: st.At}
		if misses >= n {
			s.slowest = 1e9
		}
		s.weight = st.weight()
		if e.overInFull && (s.growing || s.share() > overShare) {
			s.weight = 1 // the way up makes a stage too good: one that misses in spite of it is too fast
		}
		var lucky stageLuck
		corrected := false
		if l.of != nil {
			lucky, corrected = l.of(i, slope, s.informs(limit))
			s.shift, s.offset = lucky.shift, lucky.offset
		}
		if p := s.share(); s.informs(limit) {
			variance, dof := e.plainVariance(i, k)
			unbounded := max(variance/(p*(1-p)), 1)
			phi := unbounded
			if spells := e.spells(i, k, phi); spells > 0 {
				phi = max(phi, misses/spells)
			}
			if sessions := series.missing(); sessions > 0 {
				phi, dof = max(phi, misses/sessions), min(dof, sessions)
			}
			weight := n * p * (1 - p)
			plain += weight * phi
			d.clusters += misses / phi
			if corrected {
				phi, dof = phi*max(lucky.variance/(p*(1-p))/unbounded, credit), min(lucky.dof, 3*dof)
			}
			num += weight * phi
			den += weight
			d.dof += dof
		}
		all = append(all, s)
	}
	d.phi = 1
	if den > 0 {
		d.phi, d.plain = num/den, plain/den
		if l.correction == VirtualQueue || l.correction == VirtualBatch { // for the parameters that were fitted
			if d.dof > 3 {
				d.phi *= d.dof / max(d.dof-2, 1)
			} else {
				d.phi *= 2
			}
		}
		d.left = num / plain
		d.dof = min(d.dof, d.clusters)
	} else {
		d.dof = 0
	}
	d.phi = max(d.phi, 1)
	return all, d
}

// spells counts the spells that the misses of a stage came in. Two are apart where more requests between them did not
// miss than miss together on average, and where nothing missed for a time, or for twice as long as lies between two
// misses on average. 0 where that is not known.
func (e *estimator) spells(i, k int, phi float64) float64 {
	st, series := &e.stages[i], &e.stages[i].Series[k]
	if series.N > 0 || e.apart <= 0 {
		return 0
	}
	total, misses := series.counts()
	apart := max(phi, min(e.apart*st.Rate*e.Requests, 2*total/misses))
	n, since := 0.0, math.Inf(1)
	for _, y := range series.Miss {
		if since++; y == 0 {
			continue
		}
		if since > apart {
			n++
		}
		since = 0
	}
	return n
}

// missing is how many sessions the misses are of, each counted by its part of them: (Σm)²/Σm² (L. Kish, Survey
// Sampling, 1965). A few long sessions may have most of them. 0 without sessions.
func (s *Series) missing() float64 {
	if s.N > 0 || !slices.ContainsFunc(s.Sessions, func(of int32) bool { return of > 0 }) {
		return 0
	}
	of, sum, squares := map[int32]float64{}, 0.0, 0.0
	for j, y := range s.Miss {
		sum += y
		if s.Sessions[j] > 0 {
			of[s.Sessions[j]] += y
		} else {
			squares += y * y
		}
	}
	for _, m := range of {
		squares += m * m
	}
	return sum * sum / squares
}

// counts are the requests of a series and the misses among them.
func (s *Series) counts() (n, misses float64) {
	if s.N > 0 {
		return s.N, s.Misses
	}
	for _, y := range s.Miss {
		misses += y
	}
	return float64(len(s.Miss)), misses
}

// plainVariance is the long-run variance of a stage's misses. It is asked for often.
func (e *estimator) plainVariance(i, k int) (variance, dof float64) {
	if v, ok := e.variances[[2]int{i, k}]; ok {
		return v[0], v[1]
	}
	series := &e.stages[i].Series[k]
	if series.N > 0 {
		p := series.Misses / series.N
		variance, dof = p*(1-p)*series.Tau, max(series.N/(10*series.Tau+1), 1)
	} else {
		variance, dof = longRunVariance(series.Miss, series.Sessions)
	}
	e.variances[[2]int{i, k}] = [2]float64{variance, dof}
	return variance, dof
}

// prior is the dispersion that heavy-traffic theory expects at a share of the saturation rate: relaxation goes with
// (1 − ρ)⁻², and a server stalls now and then. The rate is that of arrivals.
func (e *estimator) prior(rho, rate float64) float64 {
	return max(e.clustering/math.Pow(1.03-min(rho, 0.97), 2), e.stall*rate*e.Requests)
}

// clusteringOf is the constant of the prior, 1.5·(c_a² + c_s²): the squared coefficients of variation of the gaps
// between arrivals and of the output lengths (at most 1).
func clusteringOf(stages []Stage, variation float64) float64 {
	n, sum, squares := 0.0, 0.0, 0.0
	for i := range stages {
		for _, t := range stages[i].Tokens {
			if t > 0 {
				n++
				sum += t
				squares += t * t
			}
		}
	}
	lengths := 0.0
	if n > 1 && sum > 0 {
		mean := sum / n
		lengths = min(max(squares/n-mean*mean, 0)/(mean*mean), 1)
	}
	return 1.5 * (min(variation, 10) + lengths)
}

// realisedRate corrects for how many requests a Poisson process happened to send. Its coefficient needs no fit: for
// stages longer than the relaxation, the regression of the share of misses on the realised rate is that of the curve.
func (e *estimator) realisedRate(k int) luck {
	return luck{RealisedRate, func(i int, slope float64, informs bool) (l stageLuck, ok bool) {
		st, series := &e.stages[i], &e.stages[i].Series[k]
		n := len(series.Index)
		if n < fewestRequests || series.N > 0 {
			return l, false
		}
		sent := 0
		for _, at := range st.Arrivals {
			if at >= st.From {
				sent++
			}
		}
		l.shift = math.Log(max(float64(sent), 1) / st.measured() / st.Rate)
		if !informs {
			return l, true
		}
		_, misses := series.counts()
		p, smooth := misses/float64(n), (misses+0.5)/float64(n+1)
		last, total := st.From, st.Arrivals[series.Index[n-1]]-st.From
		residuals := make([]float64, n)
		for j, y := range series.Miss {
			at := st.Arrivals[series.Index[j]]
			gap := (at - last) / (total / float64(n))
			last = at
			residuals[j] = y - p - smooth*(1-smooth)*slope*(1-gap)
		}
		l.variance, l.dof = longRunVariance(residuals, nil)
		return l, true
	}}
}
