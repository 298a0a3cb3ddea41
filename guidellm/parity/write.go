package parity

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// headings are the columns of the table.
var headings = []string{"stage", "metric", "GuideLLM", "openloop", "difference", "tolerance", "verdict"}

// WriteConsole writes a comparison as a table for a terminal, its last line the verdict.
func WriteConsole(w io.Writer, c *Comparison) error {
	var b strings.Builder
	var marks marks
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(headings, "\t"))
	for i := range c.Stages {
		for k, cells := range c.Stages[i].cells(&marks) {
			if k > 0 {
				cells[0] = ""
			}
			fmt.Fprintln(t, strings.Join(cells, "\t"))
		}
	}
	t.Flush()
	for _, lines := range [][]string{marks.legend(), c.notes()} {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "\n%s\n", strings.Join(lines, "\n"))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", c.Sentence())
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes a comparison as a Markdown table with its notes and its verdict.
func WriteMarkdown(w io.Writer, c *Comparison) error {
	var b strings.Builder
	var marks marks
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(headings)
	b.WriteString("|" + strings.Repeat("---|", len(headings)) + "\n")
	for i := range c.Stages {
		for _, cells := range c.Stages[i].cells(&marks) {
			for k := range cells {
				cells[k] = strings.ReplaceAll(cells[k], "|", `\|`)
			}
			line(cells)
		}
	}
	b.WriteString("\n")
	for _, lines := range [][]string{marks.legend(), c.notes()} {
		for _, n := range lines {
			fmt.Fprintf(&b, "- %s\n", n)
		}
		if len(lines) > 0 {
			b.WriteString("\n")
		}
	}
	fmt.Fprintf(&b, "**%s**\n", c.Sentence())
	_, err := io.WriteString(w, b.String())
	return err
}

// Sentence is the verdict in words.
func (c *Comparison) Sentence() string {
	compared, within := c.counts()
	text := fmt.Sprintf("within tolerance: %d of %d stages compared", within, compared)
	if compared != within {
		text = fmt.Sprintf("outside tolerance: %d of %d stages compared", compared-within, compared)
	}
	if refused := len(c.Stages) - compared; refused > 0 {
		text += fmt.Sprintf("; %d not comparable", refused)
	}
	return text
}

// marks are the reasons of the tolerances, each with a letter in the table and a line under it.
type marks []string

func (m *marks) letter(reason string) string {
	i := slices.Index(*m, reason)
	if i < 0 {
		i = len(*m)
		*m = append(*m, reason)
	}
	return string(rune('a' + i%26))
}

func (m marks) legend() []string {
	var lines []string
	for i, reason := range m {
		lines = append(lines, string(rune('a'+i%26))+": "+reason)
	}
	return lines
}

// cells are the lines of a stage in the table.
func (l *Stage) cells(m *marks) [][]string {
	if l.Refused != "" {
		return [][]string{{l.Name, "not compared", "", "", "", "", ""}}
	}
	var out [][]string
	for i := range l.Rows {
		r := &l.Rows[i]
		tolerance := ""
		if finite(r.Tolerance) {
			tolerance = "± " + number(r.Tolerance) + " " + m.letter(r.Reason)
		}
		name := r.Metric
		if r.Unit != "" {
			name += ", " + r.Unit
		}
		out = append(out, []string{l.Name, name, number(r.GuideLLM), number(r.OpenLoop), r.difference(), tolerance,
			string(r.Verdict)})
	}
	return out
}

func (r *Row) difference() string {
	d := r.Difference()
	switch {
	case !finite(d):
		return ""
	case d == 0:
		return "0"
	case r.GuideLLM == 0:
		return fmt.Sprintf("%+.3g", d)
	}
	return fmt.Sprintf("%+.3g (%+.2g %%)", d, 100*d/math.Abs(r.GuideLLM))
}

// notes are the warnings, and why stages were not compared.
func (c *Comparison) notes() []string {
	var out []string
	for _, w := range c.Warnings {
		out = append(out, "note: "+w)
	}
	for i := range c.Stages {
		if why := c.Stages[i].Refused; why != "" {
			out = append(out, fmt.Sprintf("not compared: %s: %s", c.Stages[i].Name, why))
		}
		for _, w := range c.Stages[i].Warnings {
			out = append(out, fmt.Sprintf("warning: %s: %s", c.Stages[i].Name, w))
		}
	}
	return out
}

// number writes a value with four significant digits.
func number(x float64) string {
	switch a := math.Abs(x); {
	case !finite(x):
		return "–"
	case a >= 1000:
		return fmt.Sprintf("%.0f", x)
	case a == 0:
		return "0"
	}
	return fmt.Sprintf("%.4g", x)
}
