package compare

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// valueText is a number of a unit without the unit: three digits, thousands apart.
func valueText(v float64, unit string) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case unit == "share":
		return num.Exact(num.Round(100*v)) + " %"
	case v >= 1000:
		return num.Amount(v)
	case sweep.IsRate(unit):
		return num.Rate(v)
	}
	return num.Three(v)
}

// text is a figure for people: "38.8 ± 2 %".
func (f *Figure) text(unit string) string {
	switch {
	case f.Text != "":
		return f.Text
	case f.Value.IsAbsent():
		return "–"
	case f.Lower.IsAbsent() && f.Upper.IsAbsent():
		return valueText(float64(f.Value), unit)
	}
	return valueText(float64(f.Value), unit) + " " + f.margin(unit)
}

// margin is the wider side of a figure's interval, as a share of it; of shares in points.
func (f *Figure) margin(unit string) string {
	half := math.Max(float64(f.Upper-f.Value), float64(f.Value-f.Lower))
	if unit != "share" {
		half /= float64(f.Value)
	}
	if math.IsInf(half, 0) || math.IsNaN(half) {
		return "± ∞"
	}
	return "± " + twoDigits(100*half) + " %"
}

// twoDigits writes a number with two digits at most, and none behind the point from 10 on.
func twoDigits(v float64) string {
	if math.Abs(v) >= 10 {
		return fmt.Sprintf("%.0f", v)
	}
	return num.Exact(math.Round(v*10) / 10)
}

// signed writes a number with its sign, a true minus for negative ones.
func signed(v float64, digits string) string {
	text := strings.TrimPrefix(digits, "-")
	if v < 0 && strings.Trim(text, "0. %pts") != "" {
		return "−" + text
	}
	return "+" + text
}

// changeText is a change: "−52.4 %", "+1.2 points".
func changeText(l *Line, v num.Value) string {
	f := 100 * float64(v)
	switch {
	case math.IsNaN(f):
		return "–"
	case math.IsInf(f, 0):
		return signed(f, "∞ %")
	}
	digits := fmt.Sprintf("%.1f", math.Abs(f))
	if math.Abs(f) >= 99.95 {
		digits = fmt.Sprintf("%.0f", math.Abs(f))
	}
	if l.Unit == "share" {
		return signed(f, digits+" pts")
	}
	return signed(f, digits+" %")
}

// shortChange is an end of a change's interval.
func shortChange(v num.Value) string {
	f := 100 * float64(v)
	switch {
	case math.IsNaN(f):
		return "?"
	case math.IsInf(f, 0):
		return signed(f, "∞")
	}
	return signed(f, twoDigits(math.Abs(f)))
}

// intervalText is the interval of a change: "−58 … −45 %".
func intervalText(l *Line, d *Difference) string {
	unit := " %"
	if l.Unit == "share" {
		unit = " pts"
	}
	return shortChange(d.Lower) + " … " + shortChange(d.Upper) + unit
}

// pText is a p-value: "p<0.001", "p=0.31".
func pText(p float64) string {
	switch {
	case math.IsNaN(p):
		return "p=–"
	case p < 0.001:
		return "p<0.001"
	case p < 0.01:
		return fmt.Sprintf("p=%.3f", p)
	}
	return fmt.Sprintf("p=%.2f", p)
}

// tilde is what stands for a change: its number where there is evidence for it.
func (d *Difference) tilde(l *Line) string {
	switch d.Verdict {
	case Same:
		return "~"
	case NotTested:
		if d.Change.IsAbsent() {
			return "–"
		}
		return "(" + changeText(l, d.Change) + ")"
	}
	return d.text(l)
}

// text is a change for people: "+12.3 %", or where only an end of it is known, "≥ +12.3 %".
func (d *Difference) text(l *Line) string {
	text := changeText(l, num.Value(d.least()))
	switch {
	case !d.Change.IsAbsent():
		return text
	case d.Lower > 0:
		return "≥ " + text
	case d.Upper < 0:
		return "≤ " + text
	}
	return text
}

// evidence is what a change rests on.
func (d *Difference) evidence(l *Line) string {
	if d.Verdict == NotTested {
		return "not tested: " + d.Why
	}
	return intervalText(l, d) + ", " + pText(float64(d.Adjusted))
}

// title is the name of a line with its unit.
func (l *Line) title() string {
	if l.Unit == "share" {
		return l.Name
	}
	return l.Name + ", " + l.Unit
}

// cut shortens a text to a number of columns, at its end.
func cut(text string, most int) string { return ansi.Truncate(text, most, "…") }

// Headline is the comparison in a sentence for each new run.
func (c *Comparison) Headline(k int) string {
	var parts []string
	if l := c.MaxRate; l != nil {
		value := func(f *Figure) string { return cmp.Or(f.Text, valueText(float64(f.Value), l.Unit)) }
		d := &l.Changes[k-1]
		change := ", " + d.tilde(l)
		if d.Verdict == NotTested {
			change = "; " + d.Why
		}
		parts = append(parts, fmt.Sprintf("%s %s at SLO (was %s%s)", value(&l.Figures[k]), l.Unit,
			value(&l.Figures[0]), change))
	}
	return strings.Join(append(parts, c.highlights(k)...), " · ")
}

// highlights are the 95th percentiles at the highest rate in common, and how many lines changed.
func (c *Comparison) highlights(k int) []string {
	var parts []string
	for i := len(c.Stages) - 1; i >= 0 && parts == nil; i-- {
		s := &c.Stages[i]
		for j := range s.Lines {
			l := &s.Lines[j]
			if d := &l.Changes[k-1]; d.Verdict != NotTested && (l.Metric == "ttft:p95" || l.Metric == "tpot:p95") {
				text := l.Name + " " + d.tilde(l)
				if d.Verdict != Same {
					text = fmt.Sprintf("%s %s %s (%s)", l.Name, valueText(float64(l.Figures[k].Value), l.Unit), l.Unit,
						changeText(l, d.Change))
				}
				parts = append(parts, text+" at "+s.Title)
			}
		}
	}
	counts := c.verdicts(k)
	switch tested := counts[Better] + counts[Worse] + counts[Same]; {
	case tested == 0:
		return append(parts, "no line could be tested")
	case counts[Same] == tested:
		return append(parts, fmt.Sprintf("no evidence of a change in %d lines", tested))
	}
	return append(parts, fmt.Sprintf("%d better, %d worse, %d ~", counts[Better], counts[Worse], counts[Same]))
}

// verdicts counts the verdicts on the lines of a new run.
func (c *Comparison) verdicts(k int) map[Verdict]int {
	counts := map[Verdict]int{}
	for l := range c.lines {
		counts[l.Changes[k-1].Verdict]++
	}
	return counts
}

// symbol sums up a new run: by its conditions where there are any, else by whether lines are better or worse.
func (c *Comparison) symbol(k int) string {
	failed, undecided := false, false
	for i := range c.FailOn {
		if c.FailOn[i].Run == c.Runs[k] {
			failed = failed || c.FailOn[i].Outcome == slo.Fail
			undecided = undecided || c.FailOn[i].Outcome == slo.Undecided
		}
	}
	switch {
	case failed:
		return report.SignBad
	case undecided:
		return report.SignUnsure
	}
	counts := c.verdicts(k)
	if len(c.FailOn) > 0 || counts[Worse] == 0 {
		return report.SignGood
	}
	if counts[Better] == 0 {
		return report.SignBad
	}
	return "±"
}
