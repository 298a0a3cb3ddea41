package sweep

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// GateOutcome is what became of a gate.
type GateOutcome struct {
	Gate    slo.Gate    `json:"gate"`
	Outcome slo.Outcome `json:"outcome"`
	Text    string      `json:"text"`           // why
	Need    *slo.Need   `json:"need,omitempty"` // what would decide an undecided one, where that is known
}

// String is the outcome as one line: "gate slo@6: PASS: …".
func (g GateOutcome) String() string {
	return fmt.Sprintf("gate %s: %s: %s", g.Gate, g.Outcome, g.Text)
}

// Evaluate says whether a gate holds. After a search, its estimate of the max rate decides: it lies above the gate's
// rate, below it, or within what is not known. Without one, single open-loop stages do: one that passes at the gate's
// rate or above makes it PASS; one that fails at its rate or below makes it FAIL. Where both happened, the rates from
// the first failure on do not hold, whatever passed above it.
//
// What Decide decided stands.
func Evaluate(g slo.Gate, r *Result) GateOutcome {
	for _, o := range r.Decided {
		if o.Gate == g {
			return o
		}
	}
	if r.Answer != nil && r.Answer.estimate != nil {
		return r.Answer.gate(g)
	}
	trials := trialsOf(r)
	o := GateOutcome{Gate: g}
	outcome, by := decideGate(g, trials)
	switch o.Outcome = outcome; outcome {
	case slo.Pass:
		o.Text = fmt.Sprintf("the objectives hold at %s %s (%s requests, %s %% confidence)",
			num.Rate(by.Rate), r.unit(), num.Thousands(by.Requests), num.Exact(100*by.Confidence))
	case slo.Fail:
		o.Text = fmt.Sprintf("at %s %s %s", num.Rate(by.Rate), r.unit(), strings.Join(by.Reasons, "; "))
	default:
		o.Text, o.Need = undecidedGate(g, r, trials)
	}
	return o
}

// beside is by what share a stage's rate may differ from that of a gate on this very rate to count for it.
const beside = 0.05

// gate decides a gate by the estimate: the error of each outcome is half of what the confidence leaves.
func (a *Answer) gate(g slo.Gate) GateOutcome { return a.decide(g, (1-a.Confidence)/2) }

// decide decides a gate by the estimate, with this error of each outcome.
func (a *Answer) decide(g slo.Gate, tail float64) GateOutcome {
	o := GateOutcome{Gate: g, Outcome: slo.Undecided}
	at, what, rate := a.Traffic.rateOf(g), "max rate", num.Rate(g.Rate)+" "+a.Unit()
	if g.Speed {
		what, rate = "max speed", num.Three(g.Rate)+"×"
	}
	tried, clearly := !g.At, false
	for _, t := range a.Trials {
		if t.ClientAtFault {
			continue
		}
		tried = tried || math.Abs(t.Rate/at-1) <= beside
		clearly = clearly || t.Rate <= at*(1+sameRate) && t.Outcome == slo.Fail
	}
	above := a.estimate.Above(at)
	if a.estimate.Step {
		above = indicator(at <= a.estimate.Lower) + 0.5*indicator(at > a.estimate.Lower && at <= a.estimate.Upper)
	}
	switch {
	case !tried:
		o.Text = fmt.Sprintf("no stage was run within %s %% of %s", num.Exact(100*beside), rate)
	case above >= 1-tail && a.estimate.Met:
		o.Outcome = slo.Pass
		o.Text = fmt.Sprintf("the %s is above %s (%s %% confidence, %d stages)", what, rate,
			num.Exact(100*(1-tail)), a.Stages)
	case above <= tail && (a.estimate.Stated() || clearly):
		o.Outcome = slo.Fail
		o.Text = fmt.Sprintf("the %s is below %s (%s %% confidence, %d stages; %s)", what, rate,
			num.Exact(100*(1-tail)), a.Stages, a.estimate.Objective)
	default:
		o.Text = fmt.Sprintf("%s is too close to the %s to tell (it is above with %.0f %%)", rate, what,
			100*above)
		if a.More > 0 {
			o.Text += "; about " + about(a.More) + " more would"
			o.Need = &slo.Need{Requests: int(math.Ceil(a.More.Seconds() * at)), Time: a.More}
		}
	}
	return o
}

func indicator(b bool) float64 { return float64(count(b)) }

// decideGate is what stages say of a gate, and the stage that says so.
func decideGate(g slo.Gate, trials []Trial) (slo.Outcome, Trial) {
	last := map[float64]slo.Outcome{} // of each rate: the last decided stage counts
	for _, t := range trials {
		if t.Outcome != slo.Undecided {
			last[t.Rate] = t.Outcome
		}
	}
	fails, passes := math.Inf(1), 0.0
	for rate, outcome := range last {
		if outcome == slo.Fail {
			fails = min(fails, rate)
		}
	}
	for rate, outcome := range last {
		if outcome == slo.Pass && rate < fails {
			passes = max(passes, rate)
		}
	}
	switch {
	case g.Rate >= fails*(1-sameRate):
		return slo.Fail, lastAt(trials, fails, slo.Fail)
	case passes >= g.Rate*(1-sameRate):
		return slo.Pass, lastAt(trials, passes, slo.Pass)
	}
	return slo.Undecided, Trial{}
}

// sameRate is by what share two rates may differ that were written as the same.
const sameRate = 1e-9

// lastAt is the last stage at a rate with an outcome.
func lastAt(trials []Trial, rate float64, o slo.Outcome) Trial {
	for _, t := range slices.Backward(trials) {
		if t.Rate == rate && t.Outcome == o {
			return t
		}
	}
	return Trial{}
}

// undecidedGate says why a gate is undecided, and what would decide it.
func undecidedGate(g slo.Gate, r *Result, trials []Trial) (text string, need *slo.Need) {
	if len(trials) == 0 {
		return unjudged(g, r), nil
	}
	// The stage that is nearest to deciding it: at the gate's rate, else at the next rate above it.
	nearest := -1
	for i, t := range trials {
		if t.Outcome == slo.Undecided && t.Rate >= g.Rate*(1-sameRate) &&
			(nearest < 0 || t.Rate <= trials[nearest].Rate) {
			nearest = i
		}
	}
	if nearest < 0 {
		highest := slices.MaxFunc(trials, func(a, b Trial) int { return int(math.Copysign(1, a.Rate-b.Rate)) })
		return fmt.Sprintf("no open-loop stage at or above that rate was run; the highest was at %s %s",
			num.Rate(highest.Rate), r.unit()), nil
	}
	t := trials[nearest]
	at := ""
	if t.Rate > g.Rate*(1+sameRate) {
		at = fmt.Sprintf("at %s %s ", num.Rate(t.Rate), r.unit())
	}
	if t.Need == nil || t.ClientAtFault {
		return at + strings.Join(t.Reasons, "; "), nil
	}
	whole := (t.At + t.Need.Time).Seconds()
	return fmt.Sprintf("%s%s of about %s requests needed; run at least %v", at, num.Thousands(t.Requests),
		num.Thousands(t.Requests+t.Need.Requests), time.Duration(math.Ceil(whole))*time.Second), t.Need
}

// unjudged says why no stage of a run says anything about a gate.
func unjudged(g slo.Gate, r *Result) string {
	closed, changing := 0, 0
	for _, s := range r.Stages {
		switch {
		case !s.Load.Kind.Open():
			closed++
		case !s.Load.Steady():
			changing++
		default:
			return "there are no objectives to judge by"
		}
	}
	text := fmt.Sprintf("no open-loop stage at or above %s %s was run", num.Rate(g.Rate), r.unit())
	switch {
	case changing > 0:
		return text + ": a rate that changes over the stage decides none"
	case closed > 0:
		return text + ": a closed loop sends as fast as the server answers, and decides no rate"
	}
	return text
}

// gateTries is how many stages may be run for a gate, each longer than the one before.
const gateTries = 4

// undecidedGate is the highest rate of a gate that more stages may decide: where that passes, the lower ones are
// decided too.
func (c SearchConfig) undecidedGate(s state) (rate float64, ok bool) {
	a := &Answer{Confidence: c.Confidence, Trials: s.trials, Traffic: c.Traffic, estimate: s.estimate}
	for _, g := range c.Gates {
		at, tries := c.Traffic.rateOf(g), 0
		for _, t := range s.trials {
			tries += count(t.Rate == at && t.Role == AtGate)
		}
		if tries >= gateTries || s.estimate != nil && a.gate(g).Outcome != slo.Undecided {
			continue
		}
		if at > rate {
			rate, ok = at, true
		}
	}
	return rate, ok
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
