// Package compare lays runs side by side: what differs in what was run, the max rate at SLO, and at each rate that both
// ran the latencies, each with its interval and a test that knows that requests which wait in one queue are not
// independent. It is made of report.Result alone, and pure: results in, a Comparison out, which is written as a screen,
// Markdown, JUnit or JSON.
//
//	compare.go   the Comparison, and how it is made
//	settings.go  what was run: what differs, and what cannot be compared
//	match.go     which stages belong together
//	stage.go     what the requests of a stage say of a metric
//	lines.go     lines of metrics: figures, changes, evidence
//	sample.go    a figure of correlated observations, with its interval
//	change.go    the change from one to another
//	failon.go    conditions on changes: 'ttft:p95>+10%'
//	warnings.go  what else may stand between two runs
//	format.go    the forms in which it is written: screen.go, markdown.go, junit.go, page.go; text.go, their words
package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/estimate"
)

// Schema is the number of the form that Comparison has in JSON. It grows when a field changes its meaning or goes.
const Schema = 1

// confidence is of all intervals, and 1 − confidence the error of all tests.
const confidence = 0.95

// DefaultNoise is by how much two runs of the same may differ beyond what chance within them explains: 1 %.
const DefaultNoise = 0.01

// Run is a run to be compared.
type Run struct {
	Name   string // for people: its folder, or its file
	Result *report.Result
}

// Options say how runs are compared.
type Options struct {
	FailOn []Condition
	// Noise is the relative change up to which two runs count as the same; negative: DefaultNoise. Errors and goodput,
	// which are shares of requests, have none.
	Noise float64
	// Anyway compares runs of different workloads, too.
	Anyway bool
}

// Comparison is what came of comparing runs with the first of them. JSON has absent numbers as null and infinite ones
// as "+Inf" and "-Inf".
type Comparison struct {
	Schema     int       `json:"schema"`
	Runs       []string  `json:"runs"`       // names; the first is the base
	Settings   []Setting `json:"settings"`   // what was run
	Confidence float64   `json:"confidence"` // of all intervals
	Noise      float64   `json:"noise"`      // relative changes up to here count as none
	MaxRate    *Line     `json:"max_rate"`   // null: no run has one
	Stages     []Stage   `json:"stages"`     // that two runs have in common, by rate
	Tested     []int     `json:"tested"`     // lines that were tested at common rates, of each run but the base
	FailOn     []Check   `json:"fail_on"`    // what became of each condition
	Warnings   []string  `json:"warnings"`

	results []*report.Result
}

// Setting is something about what was run.
type Setting struct {
	Name    string   `json:"name"`
	Values  []string `json:"values"` // one a run; "" where it is not known
	Differs bool     `json:"differs"`
}

// Stage is the stages of several runs at one rate.
type Stage struct {
	Title string   `json:"title"` // such as "10 req/s"
	Names []string `json:"names"` // of the stages; "" for a run that has none
	Note  string   `json:"note"`  // where the rates are not quite equal
	Lines []Line   `json:"lines"`
	// Why says why nothing here was tested; "" where something was.
	Why string `json:"why"`
	// Paired says of each run but the base whether its requests were due at the same times.
	Paired []bool `json:"same_arrivals"`
}

// Line is one metric of all runs.
type Line struct {
	Metric  string       `json:"metric"` // "rate", "ttft:p95", "tok/s", "errors"
	Name    string       `json:"name"`   // for people
	Unit    string       `json:"unit"`   // "ms", "req/s", "tok/s", "share"
	Figures []Figure     `json:"figures"`
	Changes []Difference `json:"changes"` // of each run but the base

	higherIsBetter bool
}

// Figure is a metric of one run.
type Figure struct {
	Value num.Value `json:"value"`
	Lower num.Value `json:"lower"` // ends of the interval; infinite where the run is too short for one
	Upper num.Value `json:"upper"`
	N     int       `json:"n"` // observations
	// Effective is how many independent ones they are worth; absent where that is not known.
	Effective num.Value `json:"effective_n"`
	Text      string    `json:"text,omitempty"` // in place of the value, for people

	sample *estimate.Sample
}

// Verdict is what a change says.
type Verdict string

// The verdicts.
const (
	Better    Verdict = "better"
	Worse     Verdict = "worse"
	Same      Verdict = "~"          // tested, and no evidence of a change
	NotTested Verdict = "not tested" // Difference.Why says why
)

// Difference is the change of a metric from the base to a run: a share of the base's value, or the difference of two
// shares.
type Difference struct {
	Change num.Value `json:"change"`
	Lower  num.Value `json:"lower"` // ends of its interval
	Upper  num.Value `json:"upper"`
	P      num.Value `json:"p"` // of the line alone
	// Adjusted is P after S. Holm's correction for all lines of the run, that of the max rate left out, which is tested
	// alone: what the verdict rests on.
	Adjusted num.Value `json:"p_adjusted"`
	Verdict  Verdict   `json:"verdict"`
	Why      string    `json:"why,omitempty"` // it was not tested
	// Correlation is that of the two figures where both runs had the same arrivals.
	Correlation float64 `json:"correlation"`
}

// RefusedError says why runs can't be compared.
type RefusedError struct {
	Reasons []string
	// Despite says that Options.Anyway would compare them.
	Despite bool
}

// Error lists the reasons.
func (e *RefusedError) Error() string {
	return "these runs can't be compared: " + strings.Join(e.Reasons, "; ")
}

// Compare compares runs with the first of them. The error is a *RefusedError where that would say nothing.
func Compare(runs []Run, o Options) (*Comparison, error) {
	if len(runs) < 2 {
		return nil, &RefusedError{Reasons: []string{"it takes two, the first to compare with"}}
	}
	c := &Comparison{Schema: Schema, Confidence: confidence, Noise: o.Noise, Warnings: []string{}, Stages: []Stage{},
		FailOn: []Check{}}
	if c.Noise < 0 {
		c.Noise = DefaultNoise
	}
	for _, r := range runs {
		c.Runs = append(c.Runs, r.Name)
		c.results = append(c.results, r.Result)
	}
	c.Settings = settingsOf(c.results)
	if err := c.refuse(o.Anyway); err != nil {
		return nil, err
	}
	c.MaxRate = maxRateLine(c.results, c.Noise)
	groups := match(c.results)
	metrics := metricsOf(c.results, o.FailOn)
	for _, g := range groups {
		c.Stages = append(c.Stages, c.stage(g, metrics))
	}
	if err := c.common(groups); err != nil {
		return nil, err
	}
	c.adjust()
	if err := c.check(o.FailOn); err != nil {
		return nil, err
	}
	c.warn(groups)
	return c, nil
}

// common refuses a run that has nothing in common with the base.
func (c *Comparison) common(groups []group) error {
	var reasons []string
	for k := 1; k < len(c.results); k++ {
		in := slices.ContainsFunc(groups, func(g group) bool { return g.views[k] != nil })
		if in || c.MaxRate != nil && c.MaxRate.Changes[k-1].Verdict != NotTested {
			continue
		}
		reason := fmt.Sprintf("%s and %s have no rate in common (%s against %s) and no max rate that could be compared",
			c.Runs[0], c.Runs[k], ratesOf(c.results[0]), ratesOf(c.results[k]))
		if c.MaxRate != nil && c.MaxRate.Changes[k-1].Why != "" {
			reason += " (" + c.MaxRate.Changes[k-1].Why + ")"
		}
		reasons = append(reasons, reason)
	}
	if reasons != nil {
		return &RefusedError{Reasons: reasons}
	}
	return nil
}

// lines yields all lines, the max rate first.
func (c *Comparison) lines(yield func(*Line) bool) {
	if c.MaxRate != nil && !yield(c.MaxRate) {
		return
	}
	for i := range c.Stages {
		for j := range c.Stages[i].Lines {
			if !yield(&c.Stages[i].Lines[j]) {
				return
			}
		}
	}
}

// adjust gives every tested change its p-value among those of its run, and its verdict.
func (c *Comparison) adjust() {
	for k := range len(c.Runs) - 1 {
		var tested []*Difference
		var better []bool
		for l := range c.lines {
			switch d := &l.Changes[k]; {
			case d.Verdict == NotTested:
			case l == c.MaxRate: // the answer, which stands for itself
				d.decide(float64(d.P), l.isBetter(d))
			default:
				tested = append(tested, d)
				better = append(better, l.isBetter(d))
			}
		}
		c.Tested = append(c.Tested, len(tested))
		ps := make([]float64, len(tested))
		for i, d := range tested {
			ps[i] = float64(d.P)
		}
		for i, p := range holm(ps) {
			tested[i].decide(p, better[i])
		}
	}
}

// isBetter says whether a change is for the better, if it is one.
func (l *Line) isBetter(d *Difference) bool { return (d.least() > 0) == l.higherIsBetter }

// least is the change, or where only an end of it is known, the change that there is at least.
func (d *Difference) least() float64 {
	switch {
	case !d.Change.IsAbsent():
		return float64(d.Change)
	case d.Lower > 0:
		return float64(d.Lower)
	case d.Upper < 0:
		return float64(d.Upper)
	}
	return math.NaN()
}

// decide gives a change its verdict, by its p-value among those that are decided with it.
func (d *Difference) decide(p float64, better bool) {
	d.Adjusted = six(p)
	switch {
	case p > 1-confidence:
		d.Verdict = Same
	case better:
		d.Verdict = Better
	default:
		d.Verdict = Worse
	}
}

// holm adjusts p-values so that of all tests whose hypotheses hold, any is rejected at level α in no more than the
// share α of cases, however they depend on one another (S. Holm, Scand. J. Stat. 6, 1979).
func holm(ps []float64) []float64 {
	order := make([]int, len(ps))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case ps[a] < ps[b]:
			return -1
		case ps[a] > ps[b]:
			return 1
		}
		return a - b
	})
	adjusted := make([]float64, len(ps))
	least := 0.0
	for i, k := range order {
		least = max(least, math.Min(1, ps[k]*float64(len(ps)-i)))
		adjusted[k] = least
	}
	return adjusted
}
