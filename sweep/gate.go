package sweep

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
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

// Evaluate says whether a gate holds, by the open-loop stages of a run, whether or not there was a search. A stage that
// passes at the gate's rate or above makes it PASS; one that fails at its rate or below makes it FAIL. Where both
// happened, the rates from the first failure on do not hold, whatever passed above it.
func Evaluate(g slo.Gate, r *Result) GateOutcome {
	trials := trialsOf(r)
	o := GateOutcome{Gate: g}
	outcome, by := decideGate(g, trials)
	switch o.Outcome = outcome; outcome {
	case slo.Pass:
		o.Text = fmt.Sprintf("the objectives hold at %s req/s (%s requests, %s %% confidence)",
			num.Rate(by.Rate), num.Thousands(by.Requests), num.Exact(100*by.Confidence))
	case slo.Fail:
		o.Text = fmt.Sprintf("at %s req/s %s", num.Rate(by.Rate), strings.Join(by.Reasons, "; "))
	default:
		o.Text, o.Need = undecidedGate(g, r, trials)
	}
	return o
}

// decideGate is what stages say of a gate, and the stage that says so.
func decideGate(g slo.Gate, trials []Trial) (slo.Outcome, Trial) {
	b := bracketOf(points(trials))
	switch {
	case b.hi != nil && g.Rate >= b.hi.rate*(1-sameRate):
		return slo.Fail, lastAt(trials, b.hi.rate, slo.Fail)
	case b.lo != nil && b.lo.rate >= g.Rate*(1-sameRate):
		return slo.Pass, lastAt(trials, b.lo.rate, slo.Pass)
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
		return fmt.Sprintf("no open-loop stage at or above that rate was run; the highest was at %s req/s",
			num.Rate(highest.Rate)), nil
	}
	t := trials[nearest]
	at := ""
	if t.Rate > g.Rate*(1+sameRate) {
		at = fmt.Sprintf("at %s req/s ", num.Rate(t.Rate))
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
		case !steadyLoad(s.Load):
			changing++
		default:
			return "there are no objectives to judge by"
		}
	}
	text := fmt.Sprintf("no open-loop stage at or above %s req/s was run", num.Rate(g.Rate))
	switch {
	case changing > 0:
		return text + ": a rate that changes over the stage decides none"
	case closed > 0:
		return text + ": a closed loop sends as fast as the server answers, and decides no rate"
	}
	return text
}

// trialsOf are the judged open-loop stages of a run: the search's, or without one all.
func trialsOf(r *Result) []Trial {
	if r.Answer != nil {
		return r.Answer.Trials
	}
	var trials []Trial
	for i, s := range r.Stages {
		if steadyLoad(s.Load) && len(s.Judgement.Objectives) > 0 {
			trials = append(trials, Trial{i, Interpolated, s.Load.Rate, s.Load.Seed, s.Judgement})
		}
	}
	return trials
}

// steadyLoad says whether a load is an open loop at one rate.
func steadyLoad(l loadgen.Load) bool {
	return l.Kind.Open() && l.Profile == nil && l.Times == nil && l.Rate > 0
}

// gateTries is how many stages may be run for a gate, each with the time that the one before turned out to need.
const gateTries = 3

// undecidedGate is the highest rate of a gate that more stages may decide: where that passes, the lower ones are
// decided too.
func (c SearchConfig) undecidedGate(trials []Trial) (rate float64, ok bool) {
	for _, g := range c.Gates {
		outcome, _ := decideGate(g, trials)
		if outcome == slo.Undecided && g.Rate > rate && c.worthTrying(g.Rate, trials) {
			rate, ok = g.Rate, true
		}
	}
	return rate, ok
}

// worthTrying says whether a further stage at a gate's rate could decide it: it has been tried seldom, and the last
// stage was given less than it is known to need.
func (c SearchConfig) worthTrying(rate float64, trials []Trial) bool {
	tries, last := 0, Trial{}
	for _, t := range trials {
		if t.Rate == rate && t.Role == AtGate && !t.ClientAtFault {
			tries++
			last = t
		}
	}
	switch {
	case tries == 0:
		unfit := 0 // the client was; it is tried again as any stage is, and no more
		for _, t := range trials {
			unfit += count(t.Rate == rate && t.Role == AtGate)
		}
		return unfit == 0
	case tries >= gateTries || last.Need == nil:
		return false
	}
	return c.forGate(rate, trials) > time.Duration(1.2*float64(last.At))
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}
