package sweep

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// bounds is what the probes said about the server, req/s; 0 where unknown.
type bounds struct{ saturation, synchronous float64 }

// step is what to do next: a stage, or the end.
type step struct {
	role  Role
	rate  float64
	ended EndReason
	why   string
}

// point is what the trials at one rate say together.
type point struct {
	rate    float64
	outcome slo.Outcome
	holds   bool          // by observed values, or as decided
	client  bool          // at fault in the last of its trials
	judged  int           // trials whose client was fit
	longest time.Duration // of its trials
	margin  float64       // by which the last trial's observed values keep their bounds: the least of all objectives
	roles   map[Role]int
}

// points sums up trials by rate, rising. The last decided trial at a rate counts: it was run because the one before was
// in doubt.
func points(trials []Trial) []point {
	var all []point
	for _, t := range trials {
		i := slices.IndexFunc(all, func(p point) bool { return p.rate == t.Rate })
		if i < 0 {
			i = len(all)
			all = append(all, point{rate: t.Rate, outcome: slo.Undecided, roles: map[Role]int{}})
		}
		p := &all[i]
		p.roles[t.Role]++
		p.holds = t.ObservedHold
		p.client = t.ClientAtFault
		p.longest = max(p.longest, t.At)
		p.margin = t.margin()
		switch {
		case t.Outcome != slo.Undecided:
			p.outcome = t.Outcome
		case t.ClientAtFault: // says nothing
		case p.outcome == slo.Pass && !t.ObservedHold || p.outcome == slo.Fail && t.ObservedHold:
			p.outcome = slo.Undecided // a confirmation or a recheck that points the other way
		}
		if !t.ClientAtFault {
			p.judged++
		}
	}
	for i := range all {
		switch all[i].outcome {
		case slo.Pass:
			all[i].holds = true
		case slo.Fail:
			all[i].holds = false
		}
	}
	slices.SortFunc(all, func(a, b point) int {
		if a.rate < b.rate {
			return -1
		}
		return 1
	})
	return all
}

// bracket is where the answer lies as the trials stand: by what is decided, and by observed values where that is
// closer.
type bracket struct {
	lo, hi         *point // highest that passes below every failure, lowest that fails; nil: none
	softLo, softHi *point // the same, where undecided stages count by their observed values
	above          *point // a rate that passes above one that fails
	doubt          *point // a rate that passes, or whose observed values hold, above one that fails
}

func bracketOf(points []point) bracket {
	var b bracket
	for i := range points {
		p := &points[i]
		if p.outcome == slo.Fail && b.hi == nil {
			b.hi = p
		}
		if p.outcome == slo.Pass && b.hi != nil {
			b.above = p
		}
		if p.outcome == slo.Pass && b.hi == nil {
			b.lo = p
		}
		if b.hi != nil && p.holds && !p.client {
			b.doubt = p
		}
	}
	for i := range points {
		p := &points[i]
		if b.lo != nil && p.rate < b.lo.rate || b.hi != nil && p.rate > b.hi.rate {
			continue
		}
		if !p.holds {
			b.softHi = p
			break
		}
		b.softLo = p
	}
	return b
}

// The steps of a search outside its bracket.
const (
	firstGuess = 0.75 // of the saturation rate: where latencies are about to grow
	lowering   = 0.6
	raising    = 1.25
	lowerings  = 4 // before the search gives up: to an eighth
	widenings  = 4 // stages beside rates that could not be decided
	stalls     = 2 // times that a stage is run again because its client was not fit

	clearMargin = 0.1 // share of a bound; nearer to it, more time seldom decides
)

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

// next decides what to do, with so many stages left. It is a pure function of what was measured.
func (c SearchConfig) next(trials []Trial, known bounds, left int) step {
	all := points(trials)
	b := bracketOf(all)
	unfit, retry := stalled(trials)
	gate, undecided := c.undecidedGate(trials)
	switch {
	case retry && unfit.Role == AtGate:
		return step{role: AtGate, rate: unfit.Rate} // with the time that a gate is given
	case undecided:
		return step{role: AtGate, rate: gate}
	case left == 1 && b.lo != nil && b.lo.roles[Confirmation] == 0:
		return step{role: Confirmation, rate: b.lo.rate}
	case len(all) == 0:
		return step{role: FirstGuess, rate: first(known)}
	case retry:
		return step{role: Recheck, rate: unfit.Rate}
	case b.doubt != nil && b.hi.judged == 1 && (b.above != nil || b.doubt.rate > b.hi.rate*(1+c.Precision)):
		return step{role: Recheck, rate: b.hi.rate}
	case onlyGates(trials) && known.saturation > 0 && b.open(first(known)):
		return step{role: FirstGuess, rate: first(known)}
	case b.softLo == nil:
		return c.lower(all, b)
	case b.softHi == nil:
		return c.raise(all, b, known)
	case b.softHi.rate/b.softLo.rate > 1+c.Precision*1.0001:
		return step{role: Bisection, rate: between(b.softLo.rate, b.softHi.rate)}
	}
	if rate, ok := c.longer(all, b, trials); ok {
		return step{role: Longer, rate: rate}
	}
	return c.settle(all, b)
}

// first is the rate at which a search begins that knows of no stage.
func first(known bounds) float64 {
	if known.saturation > 0 {
		return num.Round(firstGuess * known.saturation)
	}
	return num.Round(max(known.synchronous, 1))
}

// onlyGates says whether all stages so far were run for gates: they say little about where else to look.
func onlyGates(trials []Trial) bool {
	return !slices.ContainsFunc(trials, func(t Trial) bool { return t.Role != AtGate })
}

// open says whether a rate lies where nothing is known yet: above all that holds and below all that does not.
func (b bracket) open(rate float64) bool {
	return (b.softLo == nil || rate > b.softLo.rate) && (b.softHi == nil || rate < b.softHi.rate)
}

// longer finds the highest rate that was not decided for want of time alone: its observed values keep their bounds by a
// clear margin, and a stage may now be so much longer that it is likely to show it.
func (c SearchConfig) longer(all []point, b bracket, trials []Trial) (rate float64, ok bool) {
	for _, p := range slices.Backward(all) {
		switch {
		case p.rate >= b.softHi.rate, p.outcome != slo.Undecided, !p.holds, p.client, p.roles[Longer] > 0:
		case b.lo != nil && p.rate <= b.lo.rate*(1+c.Precision):
		case p.margin >= clearMargin && float64(c.perStage(p.rate, trials)) > 1.5*float64(p.longest):
			return p.rate, true
		}
	}
	return 0, false
}

// lower tries a lower rate than all that failed.
func (c SearchConfig) lower(all []point, b bracket) step {
	tried := 0
	for _, p := range all {
		tried += min(p.roles[Lower], 1)
	}
	if tried >= lowerings {
		return step{ended: EndNothing, why: fmt.Sprintf("even the lowest rate, %s req/s, fails", num.Rate(all[0].rate))}
	}
	return step{role: Lower, rate: num.Round(lowering * all[0].rate)}
}

// raise tries a higher rate than all that passed.
func (c SearchConfig) raise(all []point, b bracket, known bounds) step {
	highest := all[len(all)-1]
	if highest.client {
		return step{ended: EndClient, why: fmt.Sprintf("at %s req/s the client could not offer the load",
			num.Rate(highest.rate))}
	}
	rate := raising * highest.rate
	if known.saturation > highest.rate*(1+c.Precision) {
		rate = min(rate, 1.05*known.saturation)
	}
	return step{role: Higher, rate: num.Round(rate)}
}

// between is the middle of two rates on a logarithmic scale, rounded if that leaves it between them.
func between(lo, hi float64) float64 {
	mid := math.Sqrt(lo * hi)
	if r := num.Round(mid); r > lo && r < hi {
		return r
	}
	return mid
}

// settle ends a search whose observed values are narrow enough: it finds rates that can be decided beside those that
// can't, and confirms the lower end.
func (c SearchConfig) settle(all []point, b bracket) step {
	widened := 0
	for _, p := range all {
		widened += p.roles[Widening]
	}
	lowest, highest := b.softLo.rate, b.softHi.rate
	for _, p := range all { // the whole stretch of rates that could not be decided
		if p.outcome == slo.Undecided && (b.lo == nil || p.rate > b.lo.rate) && (b.hi == nil || p.rate < b.hi.rate) {
			lowest, highest = min(lowest, p.rate), max(highest, p.rate)
		}
	}
	if widened < widenings && !b.softHi.client {
		switch {
		case b.lo == nil:
			return step{role: Widening, rate: num.Round(lowest / (1 + 2*c.Precision))}
		case b.hi == nil:
			return step{role: Widening, rate: num.Round(highest * (1 + 2*c.Precision))}
		case lowest > b.lo.rate*(1+2*c.Precision):
			return step{role: Widening, rate: between(b.lo.rate, lowest)}
		case b.hi.rate > highest*(1+2*c.Precision):
			return step{role: Widening, rate: between(highest, b.hi.rate)}
		}
	}
	if b.lo != nil && b.lo.roles[Confirmation] == 0 {
		return step{role: Confirmation, rate: b.lo.rate}
	}
	switch {
	case b.lo == nil && b.hi == nil:
		return step{ended: EndUndecided, why: "no stage could be decided within its time"}
	case b.softHi.client:
		return step{ended: EndClient, why: fmt.Sprintf("at %s req/s the client could not offer the load",
			num.Rate(b.softHi.rate))}
	case b.lo == nil || b.hi == nil || b.hi.rate/b.lo.rate > 1+c.Precision*1.0001:
		return step{ended: EndUndecided, why: "the rates in between can't be decided within the time of a stage"}
	}
	return step{ended: EndPrecision, why: fmt.Sprintf("the bracket is narrower than %s %%", num.Exact(100*c.Precision))}
}
