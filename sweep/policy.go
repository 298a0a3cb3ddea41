package sweep

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep/maxrate"
)

// bounds is what the probes said about the server, req/s; 0 where unknown.
type bounds struct{ saturation, synchronous float64 }

// state is what a search knows.
type state struct {
	trials   []Trial
	known    bounds
	estimate *maxrate.Estimate // by the stages whose client was fit; nil: there is none, or nothing to estimate
	spent    time.Duration     // wall time of the search so far
	load     time.Duration     // of it, stages
}

// step is what to do next: a stage, or the end.
type step struct {
	role   Role
	rate   float64
	length time.Duration
	brief  bool // the stage may end early because its rate is clearly low enough, too
	ended  EndReason
	why    string
}

// The steps of a search.
const (
	firstGuess = 0.75 // of the saturation rate: where latencies are about to grow
	lowering   = 0.6
	raising    = 1.2
	doubling   = 2.0 // where no probe said how much the server sustains
	lowerings  = 4   // stages that miss an objective before the search gives up, if none met them
	stalls     = 2   // times that a stage is run again because its client was not fit

	locating   = 3    // stages that may be run to find out where to look
	located    = 0.12 // standard deviation of ln rate below which the search knows
	asideLogit = 0.6  // how far from the estimate the next stages lie: where 3 % and 9 % miss a p95
	asideMost  = 0.1  // the same as a share of the rate, at most
)

// stepPrecision is how much narrower than the precision asked for the interval of a step is to be.
const stepPrecision = 0.8

// The lengths of stages.
const (
	shortest       = 10 * time.Second
	longestLocate  = 15 * time.Second // unless requests are few or long
	shortestRefine = 20 * time.Second
	clustersLong   = 5.0 // times the dispersion, in requests: shorter stages near the limit miss too little
	residencesLong = 12.0
)

// next decides what to do. It is a pure function of what was measured.
func (c SearchConfig) next(s state) step {
	last, retry := stalled(s.trials)
	if retry {
		role := Repeat
		if last.Role == AtGate {
			role = AtGate
		}
		return c.stage(s, step{role: role, rate: last.Rate, length: last.asked})
	}
	if rate, ok := c.undecidedGate(s); ok {
		return c.stage(s, step{role: AtGate, rate: rate, length: c.refining(s, rate)})
	}
	if last.ClientAtFault && last.Role != Interpolated && last.Role != AtGate {
		return step{ended: EndClient, why: fmt.Sprintf("at %s %s the client could not offer the load",
			num.Rate(last.Rate), c.unit())}
	}
	if s.estimate == nil && c.Traffic != nil {
		return c.stage(s, step{role: Locate, rate: c.Traffic.Rate})
	}
	if s.estimate == nil {
		return c.stage(s, step{role: Locate, rate: first(s.known), length: c.locating(s, first(s.known)), brief: true})
	}
	est := s.estimate
	precision := c.Precision
	if est.Step {
		precision *= stepPrecision // halving it once more takes a short stage only
	}
	if est.Stated() && est.Width() <= precision && s.fit() >= 3 {
		return step{ended: EndPrecision,
			why: fmt.Sprintf("the max rate is known to ±%s %%", num.Exact(100*c.Precision))}
	}
	rate, deviation, slope := est.Place()
	lowest, highest := s.ends()
	switch {
	case !est.Met:
		// Below half of the rate of one stream, requests hardly ever meet: a lower rate would be no better.
		if s.count(Lower) >= lowerings || lowest <= s.known.synchronous/2 {
			return step{ended: EndNothing, why: fmt.Sprintf("even %s %s misses %s", num.Rate(lowest), c.unit(),
				est.Objective)}
		}
		rate = num.Round(min(rate, lowering*lowest))
		return c.stage(s, step{role: Lower, rate: rate, length: c.locating(s, rate), brief: true})
	case !est.Missed:
		rate = num.Round(max(rate, raising*highest))
		if c.Traffic != nil { // nothing is known of the server, and a faster stage is a shorter one
			rate = num.Round(doubling * highest)
		}
		return c.stage(s, step{role: Higher, rate: rate, length: c.locating(s, rate), brief: true})
	case est.Between > 0:
		rate = est.Between
		length := c.locating(s, rate)
		for _, t := range s.trials {
			if t.Rate == rate { // again, for longer
				length = max(length, 2*t.asked)
			}
		}
		return c.stage(s, step{role: Bisect, rate: rate, length: length})
	case deviation > located && s.count(Locate) < locating:
		return c.stage(s, step{role: Locate, rate: num.Round(rate), length: c.locating(s, rate), brief: true})
	}
	above, below := asideLogit, -asideLogit
	if est.Clusters < maxrate.FewestClusters { // misses are what is wanting
		above, below = 1.5*asideLogit, 0
	}
	if last.over { // the next is below, whatever the estimate says
		above, below = -asideLogit, -asideLogit
	}
	aside := min(above/slope, asideMost)
	if s.count(Refine)%2 == 1 || aside < 0 {
		aside = max(below/slope, -asideMost)
	}
	rate = num.Round(est.Estimate * math.Exp(aside))
	if last.over {
		rate = min(rate, num.Round(last.Rate*math.Exp(max(-asideLogit/slope, -asideMost))))
	}
	return c.stage(s, step{role: Refine, rate: rate, length: c.refining(s, rate)})
}

// stage bounds a stage's length by what the search may still take, and ends the search where nothing of use fits in.
func (c SearchConfig) stage(s state, n step) step {
	why := func(end EndReason, format string, args ...any) step {
		n.ended, n.why = end, fmt.Sprintf(format, args...)
		return n
	}
	if ran := s.run(); ran >= c.MaxStages {
		verb := "were"
		if ran == 1 {
			verb = "was"
		}
		return why(EndStages, "%s %s run", num.Count(ran, "stage"), verb)
	}
	if c.Traffic != nil {
		n.brief, n.length = false, c.Traffic.length(n.rate)
		if c.Budget > 0 && s.spent+n.length > c.Budget {
			return why(EndBudget, "the budget of %v has no room for the trace at %s× once more", c.Budget,
				num.Three(n.rate/c.Traffic.Rate))
		}
		return n
	}
	bounded := func(most time.Duration) { n.length = min(n.length, most) }
	if c.MaxPerStage > 0 {
		if bounded(c.MaxPerStage); n.requests() < fewestRequests {
			return why(EndUndecided, "a stage of at most %v is too short at %s %s: at least %d arrivals are needed",
				c.MaxPerStage, num.Rate(n.rate), c.unit(), fewestRequests)
		}
	}
	if c.maxRequests > 0 {
		bounded(seconds(float64(c.maxRequests)/n.rate/c.talk.perArrival()) - c.warmup)
		if n.requests() < fewestRequests {
			return why(EndRequests,
				"stages of at most %d requests are too small: at least %d after the warm-up are needed", c.maxRequests,
				fewestRequests)
		}
	}
	if c.Budget > 0 {
		left := c.Budget - s.spent - c.warmup
		if n.role == Refine && left < n.length*8/5 { // a rest is of no use by itself
			n.length = left
		}
		if bounded(left); n.requests() < fewestRequests {
			return why(EndBudget, "the budget of %v has no room for another stage", c.Budget)
		}
	}
	return n
}

// requests are how many a stage sends.
func (n step) requests() float64 { return n.length.Seconds() * n.rate }

// fewestRequests is below what no stage is begun.
const fewestRequests = 20

// locating is how long a stage is that is to find out where to look.
func (c SearchConfig) locating(s state, rate float64) time.Duration {
	d := max(shortest, min(c.Budget/10, longestLocate), seconds(30/rate))
	return max(d, c.atMost(2, 6*max(s.residence(), c.talk.length)))
}

// refining is how long a stage near the estimate is: a third of the load so far, so that stages grow. Many short ones
// would not do: they begin with an empty server, and miss too little.
func (c SearchConfig) refining(s state, rate float64) time.Duration {
	d := max(shortestRefine, s.load/3, c.Budget/8, seconds(60/rate))
	phi := 1.0
	if s.estimate != nil {
		phi = s.estimate.Dispersion
	}
	needed := max(seconds(clustersLong*phi/rate/c.talk.perArrival()), seconds(residencesLong*s.residence().Seconds()))
	return max(d, c.atMost(2, needed))
}

// atMost is a time, but no more than a part of the budget.
func (c SearchConfig) atMost(part time.Duration, d time.Duration) time.Duration {
	if c.Budget > 0 {
		return min(d, c.Budget/part)
	}
	return min(d, longestStage)
}

// longestStage is the most that a stage is given by itself where there is no budget.
const longestStage = 10 * time.Minute

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// residence is how long a request was in the server in the last stage whose client was fit.
func (s state) residence() time.Duration {
	for i := len(s.trials) - 1; i >= 0; i-- {
		if t := &s.trials[i]; !t.ClientAtFault && t.residence > 0 {
			return t.residence
		}
	}
	return 0
}

// count is how many stages were run for a reason, their client's faults left out.
func (s state) count(r Role) int {
	n := 0
	for _, t := range s.trials {
		n += count(t.Role == r && !t.ClientAtFault)
	}
	return n
}

// run is how many stages the search itself ran.
func (s state) run() int {
	n := 0
	for _, t := range s.trials {
		n += count(t.Role != Interpolated)
	}
	return n
}

// fit is how many stages there are whose client was fit.
func (s state) fit() int {
	n := 0
	for _, t := range s.trials {
		n += count(!t.ClientAtFault)
	}
	return n
}

// ends are the lowest and the highest rate of a stage whose client was fit.
func (s state) ends() (lowest, highest float64) {
	lowest = math.Inf(1)
	for _, t := range s.trials {
		if !t.ClientAtFault {
			lowest, highest = min(lowest, t.Rate), max(highest, t.Rate)
		}
	}
	return lowest, highest
}

// stalled says whether the last stage is to be run again: its client was not fit to be believed, which a transient
// stall of a shared machine explains. A client that is out of its reach is unfit each time.
func stalled(trials []Trial) (last Trial, again bool) {
	if len(trials) == 0 {
		return last, false
	}
	last, unfit := trials[len(trials)-1], 0
	for _, t := range trials {
		unfit += count(t.ClientAtFault && t.Rate == last.Rate && t.Role != Interpolated)
	}
	return last, last.ClientAtFault && last.Role != Interpolated && unfit <= stalls
}

// first is the rate at which a search begins that knows of no stage.
func first(known bounds) float64 {
	if known.saturation > 0 {
		return num.Round(firstGuess * known.saturation)
	}
	return num.Round(max(known.synchronous, 1))
}

// A stage is overrun once it has run for a time and more than a share of the arrivals stays in flight, beside most of
// its requests missing an objective.
const (
	overrunAfter = 10 * time.Second
	overrunShare = 0.2
)

// overrun says whether a stage is: a rate far beyond saturation makes every latency longer than the one before, which
// is worth one independent request; there it is the backlog that tells.
func overrun(j *slo.StageJudgement) bool {
	if j.At < overrunAfter || !(float64(j.Growth.Share) > overrunShare) {
		return false
	}
	return slices.ContainsFunc(j.Objectives, func(o slo.Judgement) bool {
		_, ok := o.Objective.MissLimit()
		return ok && 2*o.Misses > o.N && o.N >= fewestRequests
	})
}

// clearCut says whether a stage under way shows enough: its rate is clearly too high, or, where that is asked, clearly
// low enough. A stage of the estimate is never ended because it passes: it would have seen no transient stall yet.
func clearCut(j *slo.StageJudgement, low bool) bool {
	if overrun(j) {
		return true
	}
	if j.Outcome == slo.Fail {
		if j.Growth.PValue < growthSeen {
			return true
		}
		for _, o := range j.Objectives {
			limit, ok := o.Objective.MissLimit()
			if ok && o.N > 0 && float64(o.MissShareLower) > 2*limit && float64(o.Misses) > 0.3*float64(o.N) {
				return true
			}
		}
		return false
	}
	return low && passes(j, 0.5)
}

// passes says whether a stage passes with no more than a share of the misses that its objectives allow.
func passes(j *slo.StageJudgement, share float64) bool {
	if j.Outcome != slo.Pass {
		return false
	}
	for _, o := range j.Objectives {
		limit, ok := o.Objective.MissLimit()
		counts := o.Misses > 0 || o.Objective.Metric != slo.Errors // no error at all is enough
		if ok && counts && float64(o.MissShareUpper) > share*limit {
			return false
		}
	}
	return true
}
