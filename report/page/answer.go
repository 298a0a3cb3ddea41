package page

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// answer is what a result says of the max rate, for readers in a hurry.
type answer struct {
	Sign   string // before the figure: ≥, <, ≈
	Figure string // such as 70.9
	Unit   string
	Label  string // what the figure is
	Margin string // how sure it is
	Means  string // the same as a sentence, for those who never saw one

	Trust   string   // good, care, bad or open: a class of the style sheet
	Verdict string   // the same in words
	Reasons []string // why

	lower, upper float64 // of what is shaded in charts; NaN for none
	estimate     float64
	shaded       string // what the shade is
	rough        bool   // the shade is no interval that could be stated
	stage        int    // index of the stage whose figures stand beside it; −1 for none
}

// The degrees of trust.
const (
	trusted = "good"
	careful = "care"
	useless = "bad"
	pending = "open"
)

func newAnswer(r *report.Result) *answer {
	a := &answer{
		Label: "max rate at SLO", Unit: r.RateUnit(), stage: -1,
		lower: math.NaN(), upper: math.NaN(), estimate: math.NaN(),
	}
	switch {
	case r.Search != nil:
		a.ofSearch(r)
	case len(r.Asked.Objectives) > 0 && len(drawn(r)) > 0:
		a.ofStages(r)
	default:
		a.ofNothing(r)
	}
	a.trust(r)
	return a
}

func percent(confidence float64) string { return num.Exact(100*confidence) + " %" }

// interval writes an interval and how far its ends are from the estimate: what matters of it is how wide it is.
func interval(lower, upper, estimate float64) string {
	return fmt.Sprintf("%s – %s (−%s %% +%s %%)", num.Rate(lower), num.Rate(upper), margin(1-lower/estimate),
		margin(upper/estimate-1))
}

// margin writes a share in percent, with one decimal where that matters.
func margin(share float64) string {
	if share < 0.1 {
		return num.Exact(math.Round(1000*share) / 10)
	}
	return num.Exact(math.Round(100 * share))
}

// mostMore is the longest load that is called a way to a surer answer.
const mostMore = 2 * time.Hour

func (a *answer) ofSearch(r *report.Result) {
	s := r.Search
	estimate, lower, upper := float64(s.Estimate), float64(s.Lower), float64(s.Upper)
	a.estimate = estimate
	two, one := percent(s.Confidence), percent((1+s.Confidence)/2)
	hasLower, hasUpper := !s.Lower.IsAbsent(), !s.Upper.IsAbsent()
	switch s.Finding {
	case sweep.Interval:
		a.lower, a.upper, a.shaded = lower, upper, "max rate "+num.Rate(lower)+" – "+num.Rate(upper)
		switch {
		case !hasLower:
			a.Sign, a.Figure, a.Margin = "<", num.Rate(upper), fmt.Sprintf("estimate %s, %s one-sided",
				num.Rate(estimate), one)
		case !hasUpper:
			a.Sign, a.Figure, a.Margin = "≥", num.Rate(lower), fmt.Sprintf("estimate %s, %s one-sided",
				num.Rate(estimate), one)
		case s.Wide():
			a.Figure = num.Rate(lower) + " – " + num.Rate(upper)
			a.Margin = fmt.Sprintf("%s interval; best estimate %s", two, num.Rate(estimate))
		default:
			a.Figure, a.Margin = num.Rate(estimate), two+" interval "+interval(lower, upper, estimate)
		}
	case sweep.AtLeast:
		a.Sign, a.Figure, a.Margin = "≥", num.Rate(lower), one+" sure; no rate that was tried missed an objective"
		a.lower, a.shaded = lower, "at least "+num.Rate(lower)
		a.estimate = lower
	case sweep.Near:
		a.Sign, a.Figure, a.Margin = "≈", num.Rate(estimate), "UNDECIDED: the margin can't be stated yet"
		if hasLower && hasUpper {
			a.lower, a.upper, a.shaded, a.rough = lower, upper, "undecided", true
		}
	case sweep.None:
		a.Figure, a.Unit, a.Margin = "none", "", "even the lowest rate that was tried misses "+s.Limiting
	default:
		a.Figure, a.Unit, a.Margin = "UNDECIDED", "", s.Why
	}
	a.stage = nearestStage(r, a.estimate)
}

// nearestStage is the open-loop stage whose rate is nearest to one, of those without one the lowest; −1 for none.
func nearestStage(r *report.Result, rate float64) int {
	best, distance := -1, math.Inf(1)
	for _, i := range drawn(r) {
		s := &r.Stages[i]
		if !s.Load.Kind.Open() || s.Judgement.ClientAtFault {
			continue
		}
		d := math.Abs(math.Log(rateOf(s) / rate))
		if math.IsNaN(d) {
			d = rateOf(s)
		}
		if d < distance {
			best, distance = i, d
		}
	}
	return best
}

// ofStages is the answer without a search: what single stages say.
func (a *answer) ofStages(r *report.Result) {
	best, fails := r.Bracket()
	index := func(s *report.Stage) int {
		for i := range r.Stages {
			if &r.Stages[i] == s {
				return i
			}
		}
		return -1
	}
	switch {
	case best != nil && fails != nil:
		a.lower, a.upper = best.Load.Rate, fails.Load.Rate
		a.Figure = num.Rate(a.lower) + " – " + num.Rate(a.upper)
		a.Margin = fmt.Sprintf("PASS at %s, FAIL at %s; nothing was tried between them", num.Rate(a.lower),
			num.Rate(a.upper))
		a.shaded, a.estimate, a.stage = "max rate between", a.lower, index(best)
	case best != nil:
		a.Sign, a.Figure = "≥", num.Rate(best.Load.Rate)
		a.Margin = "PASS at the highest rate that was decided"
		a.lower, a.shaded, a.estimate, a.stage = best.Load.Rate, "at least", best.Load.Rate, index(best)
	case fails != nil:
		a.Sign, a.Figure, a.Margin = "<", num.Rate(fails.Load.Rate), "FAIL at the lowest rate that was decided"
		a.upper, a.stage = fails.Load.Rate, index(fails)
	default:
		a.Figure, a.Unit, a.Margin = "UNDECIDED", "", "no stage was decided"
		a.stage = nearestStage(r, math.NaN())
		if a.stage >= 0 {
			a.Margin = openText(&r.Stages[a.stage])
		}
	}
}

// openText says what would decide a stage, or else why it is not decided.
func openText(s *report.Stage) string {
	j := &s.Judgement
	at := fmt.Sprintf("at %s %s: ", num.Rate(rateOf(s)), s.RateUnit())
	switch {
	case j.Need != nil:
		return at + j.Need.String() + " would decide"
	case len(j.Reasons) > 0:
		return at + j.Reasons[0]
	}
	return at + "nothing was decided"
}

// ofNothing is the headline of a result that can't have an answer: the highest rate of requests that were done.
func (a *answer) ofNothing(r *report.Result) {
	for i := range r.Stages {
		if a.stage < 0 || r.Stages[i].Rates.Done > r.Stages[a.stage].Rates.Done {
			a.stage = i
		}
	}
	a.Label, a.Margin = "highest rate done", "no max rate at SLO: no objectives were given (--slo)"
	if len(r.Asked.Objectives) > 0 {
		a.Margin = "no max rate at SLO: only open loops (constant, poisson) tell it"
	}
	if a.stage < 0 {
		a.Figure, a.Unit, a.Margin = "nothing", "", "no stage was run"
		return
	}
	a.Figure = num.Rate(r.Stages[a.stage].Rates.Done)
}

// lessen lowers the trust; it is never raised again.
func (a *answer) lessen(trust, verdict string) {
	order := []string{trusted, careful, pending, useless}
	if slices.Index(order, trust) > slices.Index(order, a.Trust) {
		a.Trust, a.Verdict = trust, verdict
	}
}

func (a *answer) because(format string, args ...any) {
	a.Reasons = append(a.Reasons, fmt.Sprintf(format, args...))
}

// trust says whether to believe the answer, and why.
func (a *answer) trust(r *report.Result) {
	a.Trust, a.Verdict = trusted, "Trust it"
	a.trustClient(r)
	if a.Figure == "UNDECIDED" || a.Sign == "≈" {
		a.lessen(pending, "UNDECIDED")
		if r.Search == nil && a.stage >= 0 && len(r.Stages[a.stage].Judgement.Reasons) > 0 {
			a.because("%s", r.Stages[a.stage].Judgement.Reasons[0])
		}
	}
	all := len(r.Stages)
	if s := r.Search; s != nil {
		a.because("it rests on %s: %s requests, %s of load", num.Count(s.Stages, "stage"), num.Thousands(s.Requests),
			s.Load.Round(time.Second))
		if s.More > 0 && s.More < mostMore {
			a.because("about %v more load would make it as sure as was asked", s.More.Round(time.Second))
		}
		if s.Finding == sweep.Interval && s.Wide() {
			a.lessen(careful, "Use with care")
			a.because("the interval is wide: its ends are more than 10 %% from the middle")
		}
	} else if len(r.Asked.Objectives) > 0 && a.Figure != "UNDECIDED" && a.Unit != "" {
		a.because("%s at %s confidence; no search was made", num.Count(all, "stage"),
			percent(slo.WithDefault(r.Asked.Confidence)))
	}
	contaminated := 0
	for i := range r.Stages {
		if e := r.Stages[i].Engine; e != nil && e.Contaminated {
			contaminated++
		}
	}
	if contaminated > 0 {
		a.lessen(careful, "Use with care")
		a.because("the server answered from its prefix cache on %s", ofStages(contaminated, all))
	}
	if strings.HasPrefix(r.Asked.Target, "sim:") {
		a.because("it is of a simulated engine, and not of a real server")
	}
}

// trustClient says what the client's verdicts on the stages mean for the answer. A search does without the stages on
// which the client was not fit, so they do not touch its answer.
func (a *answer) trustClient(r *report.Result) {
	levels := map[audit.Level]int{}
	worst := map[audit.Level]string{}
	for i := range r.Stages {
		s := &r.Stages[i]
		levels[s.Client.Level]++
		if _, known := worst[s.Client.Level]; !known && len(s.Client.Reasons) > 0 {
			worst[s.Client.Level] = " (" + s.Name + ": " + s.Client.Reasons[0].Text + ")"
		}
	}
	all := len(r.Stages)
	invalid, suspect := levels[audit.Invalid], levels[audit.Suspect]
	apart := r.Search != nil && r.Search.Client == audit.Valid
	switch {
	case invalid == 0 && suspect == 0 && levels[audit.Valid] == 0:
		a.lessen(careful, "Use with care")
		a.because("nothing is known of the client: the report says nothing about it")
	case invalid == 0 && suspect == 0:
		a.because("client valid on %s", ofStages(all, all))
	case apart && invalid > 0:
		a.because("not touched by it: client invalid on %s%s", ofStages(invalid, all), worst[audit.Invalid])
	case apart:
		a.because("not touched by it: client suspect on %s%s", ofStages(suspect, all), worst[audit.Suspect])
	case invalid > 0:
		if restsOnInvalid(r) {
			a.lessen(useless, "Do not trust it")
		} else {
			a.lessen(careful, "Use with care")
		}
		a.because("client INVALID on %s%s", ofStages(invalid, all), worst[audit.Invalid])
	default:
		a.lessen(careful, "Use with care")
		a.because("client suspect on %s%s", ofStages(suspect, all), worst[audit.Suspect])
	}
	if apart && invalid+suspect > 0 {
		a.Reasons = slices.Insert(a.Reasons, 0, "the client was valid on all stages that the answer rests on")
	}
}

// restsOnInvalid says whether the answer rests on a stage on which the client was invalid. A search does without them.
func restsOnInvalid(r *report.Result) bool {
	if r.Search != nil {
		return r.Search.Client == audit.Invalid
	}
	best, fails := r.Bracket()
	if best == nil && fails == nil {
		return true
	}
	return best != nil && best.Client.Level == audit.Invalid || fails != nil && fails.Client.Level == audit.Invalid
}

func ofStages(n, all int) string {
	if n == all {
		if n == 1 {
			return "its one stage"
		}
		return fmt.Sprintf("all %d stages", n)
	}
	return fmt.Sprintf("%d of %d stages", n, all)
}

// Shaded says whether charts over the rate shade where the max rate lies.
func (a *answer) Shaded() bool { return a.bands() != nil }

// bands is what charts over the rate shade.
func (a *answer) bands() []band {
	switch lower, upper := !math.IsNaN(a.lower), !math.IsNaN(a.upper); {
	case lower && upper:
		return []band{{from: a.lower, to: a.upper, text: a.shaded, open: a.rough}}
	case lower:
		return []band{{from: a.lower, to: math.Inf(1), text: a.shaded, open: true}}
	case upper:
		return []band{{from: 0, to: a.upper, text: "below " + num.Rate(a.upper), open: true}}
	}
	return nil
}

// objectivesText writes the objectives in the words of people: "TTFT p95 < 100 ms, errors < 1%".
func objectivesText(r *report.Result) string {
	var all []string
	for _, o := range r.Asked.Objectives {
		all = append(all, objectiveText(o))
	}
	return strings.Join(all, ", ")
}

func objectiveText(o slo.Objective) string {
	if !o.Metric.Latency() {
		if o.Metric == slo.Errors {
			return fmt.Sprintf("errors %s %s %%", o.Op, num.Exact(100*o.Bound))
		}
		return o.String()
	}
	return fmt.Sprintf("%s %s %s %s ms", strings.ToUpper(string(o.Metric)), o.Statistic, o.Op, num.Exact(o.Bound/1e6))
}
