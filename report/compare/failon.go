package compare

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/openloop/openloop/internal/layout"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// Condition is a change at which a comparison fails: "ttft:p95>+10%". Of latencies and rates the change is a share of
// the base's value, of errors and goodput it is in points: "errors>+1%".
type Condition struct {
	Metric string // the key of the line: "ttft:p95", "rate", "tok/s", "errors", "goodput"
	Rise   bool   // it fails where the change is above the threshold, else where it is below
	// Threshold is the change: 0.1 for +10 %, −0.05 for −5 %. Its sign is that of the direction.
	Threshold float64

	latency slo.Metric // "" for what is not a latency
	stat    slo.Statistic
}

// String writes the condition as it is read.
func (f Condition) String() string {
	if f.Rise {
		return f.Metric + ">+" + num.Exact(100*f.Threshold) + "%"
	}
	return f.Metric + "<-" + num.Exact(-100*f.Threshold) + "%"
}

// points says whether changes are differences of shares.
func (f *Condition) points() bool { return f.Metric == keyErrors || f.Metric == string(slo.Goodput) }

// ConditionError says where and why a text is not a list of conditions.
type ConditionError struct {
	Input   string
	Offset  int // in bytes
	Problem string
}

// Error points at the character.
func (e *ConditionError) Error() string {
	return fmt.Sprintf("conditions: %s\n%s", e.Problem, layout.PointAt(e.Input, e.Offset))
}

// ParseConditions reads conditions, separated by commas or spaces. An error is a *ConditionError.
func ParseConditions(s string) ([]Condition, error) {
	var all []Condition
	const between = " \t\n\r,"
	for at := 0; ; {
		for at < len(s) && strings.IndexByte(between, s[at]) >= 0 {
			at++
		}
		if at == len(s) {
			return all, nil
		}
		end := at
		for end < len(s) && strings.IndexByte(between, s[end]) < 0 {
			end++
		}
		f, offset, err := parseCondition(s[at:end])
		if err != nil {
			return nil, &ConditionError{Input: s, Offset: at + offset, Problem: err.Error()}
		}
		if !slices.Contains(all, f) {
			all = append(all, f)
		}
		at = end
	}
}

// parseCondition reads one condition; offset is where it is wrong.
func parseCondition(s string) (f Condition, offset int, err error) {
	op := strings.IndexAny(s, "<>")
	if op < 0 {
		return f, len(s), errors.New("a condition is a metric, < or >, and a change: ttft:p95>+10%, rate<-5%")
	}
	if offset, err := f.parseMetric(strings.ToLower(s[:op])); err != nil {
		return f, offset, err
	}
	f.Rise = s[op] == '>'
	change := s[op+1:]
	switch {
	case f.Rise && !strings.HasPrefix(change, "+"):
		return f, op + 1, fmt.Errorf("a rise is written with a plus: %s>+10%%", f.Metric)
	case !f.Rise && !strings.HasPrefix(change, "-"):
		return f, op + 1, fmt.Errorf("a fall is written with a minus: %s<-5%%", f.Metric)
	case !strings.HasSuffix(change, "%"):
		return f, len(s), errors.New("a change is written in %, that of errors and goodput in points: errors>+1%")
	}
	number := change[1 : len(change)-1]
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || number == "" || strings.Trim(number, "0123456789.") != "" || math.IsInf(v, 0) {
		return f, op + 2, fmt.Errorf("%q is not a number", number)
	}
	if v >= 100 && !f.Rise || v > 100 && f.points() || v > 1e6 {
		return f, op + 2, errors.New("no change can be as large")
	}
	f.Threshold = v / 100
	if !f.Rise {
		f.Threshold = -f.Threshold
	}
	return f, 0, nil
}

// parseMetric reads what is before the comparison.
func (f *Condition) parseMetric(name string) (offset int, err error) {
	f.Metric = name
	switch name {
	case keyRate, keyOutput, keyErrors, string(slo.Goodput):
		return 0, nil
	}
	metric, statistic, _ := strings.Cut(name, ":")
	switch slo.Metric(metric) {
	case slo.TTFT, slo.TTFO, slo.TPOT, slo.NTPOT, slo.E2E:
	case slo.ITL:
		return 0, errors.New("gaps are kept as a histogram, which can't be tested: take tpot, which is their " +
			"mean in a request")
	default:
		return 0, errors.New("a condition is on ttft, ttfo, tpot, ntpot or e2e with a statistic, or on rate, tok/s, " +
			"errors or goodput: ttft:p95>+10%")
	}
	objectives, err := slo.ParseObjectives(metric + ":" + statistic + "<1s")
	if err != nil || len(objectives) != 1 || objectives[0].Statistic.Kind == slo.Max {
		return min(len(metric)+1, len(name)), fmt.Errorf("which statistic of %s? Write for example %s:p95>+10%%",
			metric, metric)
	}
	f.latency, f.stat = objectives[0].Metric, objectives[0].Statistic
	f.Metric = objectives[0].Name()
	return 0, nil
}

// Check is what became of a condition on one line of one run.
type Check struct {
	Condition string `json:"condition"`
	Run       string `json:"run"`
	Stage     string `json:"stage,omitempty"` // "" for the max rate
	// Outcome is FAIL where the change is beyond the threshold and there is evidence that there is a change, PASS where
	// the interval of the change does not reach the threshold, and else UNDECIDED.
	Outcome slo.Outcome `json:"outcome"`
	Change  num.Value   `json:"change"`
	Lower   num.Value   `json:"lower"`
	Upper   num.Value   `json:"upper"`
	P       num.Value   `json:"p_adjusted"` // among the checks of the run
	Text    string      `json:"text"`       // the same in words
}

// check looks at every condition on every line that it speaks of.
func (c *Comparison) check(conditions []Condition) error {
	type place struct {
		condition Condition
		stage     string
		line      *Line
		d         *Difference
	}
	var missing []string
	for k := range len(c.Runs) - 1 {
		var places []place
		for _, f := range conditions {
			before := len(places)
			if f.Metric == keyRate && c.MaxRate != nil && c.MaxRate.Changes[k].Why != notSearched {
				places = append(places, place{f, "", c.MaxRate, &c.MaxRate.Changes[k]})
			}
			for i := range c.Stages {
				s := &c.Stages[i]
				for j := range s.Lines {
					if l := &s.Lines[j]; l.Metric == f.Metric && s.Names[k+1] != "" {
						places = append(places, place{f, s.Title, l, &l.Changes[k]})
					}
				}
			}
			if len(places) == before {
				missing = append(missing, fmt.Sprintf("%s says nothing of %s and %s", f, c.Runs[0], c.Runs[k+1])+
					missingWhy(&f))
			}
		}
		ps := make([]float64, len(places))
		for i, p := range places {
			ps[i] = 1
			if p.d.Verdict != NotTested {
				ps[i] = float64(p.d.P)
			}
		}
		for i, adjusted := range holm(ps) {
			p := places[i]
			c.FailOn = append(c.FailOn, p.condition.judge(c.Runs[k+1], p.stage, p.line, p.d, adjusted))
		}
	}
	if missing != nil {
		return &RefusedError{Reasons: missing}
	}
	return nil
}

func missingWhy(f *Condition) string {
	switch f.Metric {
	case keyRate:
		return ": the max rate was not searched in both"
	case string(slo.Goodput):
		return ": neither has a goodput objective at a common rate"
	}
	return ": they have no rate in common at which it was measured"
}

// judge decides a condition on one line.
func (f *Condition) judge(run, stage string, l *Line, d *Difference, p float64) Check {
	c := Check{Condition: f.String(), Run: run, Stage: stage, Outcome: slo.Undecided, Change: d.Change, Lower: d.Lower,
		Upper: d.Upper, P: six(p)}
	sign := 1.0
	low, high := float64(d.Lower), float64(d.Upper)
	if !f.Rise {
		sign, low, high = -1, -high, -low
	}
	change, threshold := sign*d.least(), sign*f.Threshold
	where := ""
	if stage != "" {
		where = " at " + stage
	}
	what := fmt.Sprintf("%s%s %s", l.Name, where, d.text(l))
	interval := fmt.Sprintf("95 %% interval %s", intervalText(l, d))
	switch {
	case d.Verdict == NotTested:
		c.P = num.Absent()
		c.Text = fmt.Sprintf("%s: %s", strings.TrimSpace(l.Name+where), d.Why)
	case change > threshold && p <= 1-confidence:
		c.Outcome, c.Text = slo.Fail, fmt.Sprintf("%s (%s, %s)", what, interval, pText(p))
	case change > threshold:
		c.Text = fmt.Sprintf("%s, but that may be chance (%s, %s)%s", what, interval, pText(p),
			longer(change, low, 0))
	case high > threshold:
		c.Text = fmt.Sprintf("%s, and %s can't be ruled out (%s)%s", what, changeText(l, num.Value(f.Threshold)),
			interval, longer(change, high, threshold))
	default:
		c.Outcome, c.Text = slo.Pass, fmt.Sprintf("%s (%s)", what, interval)
	}
	return c
}

// longer says about how much longer the runs would have to be for an end of an interval to come to a limit.
func longer(value, end, limit float64) string {
	if math.IsInf(end, 0) || value == limit {
		return ""
	}
	factor := math.Pow((end-value)/(limit-value), 2)
	const most = 100
	if math.IsNaN(factor) || factor <= 1 || factor > most {
		return ""
	}
	return fmt.Sprintf("; runs %s times as long would decide", num.Exact(math.Ceil(2*factor)/2))
}

// TextOf is what became of a condition in words, with the run that it is about where there are several.
func (c *Comparison) TextOf(f *Check) string {
	if len(c.Runs) > 2 {
		return f.Run + ": " + f.Text
	}
	return f.Text
}

// Failed says whether any condition failed.
func (c *Comparison) Failed() bool {
	return slices.ContainsFunc(c.FailOn, func(f Check) bool { return f.Outcome == slo.Fail })
}
