package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/openloop/openloop/internal/layout"
	"github.com/openloop/openloop/internal/num"
)

// Widths of the columns, in characters.
const (
	widestName  = 22 // of a run, at the head of its column, and of a setting
	widestValue = 26 // of a setting
	lineWidth   = 90 // of sentences
)

// WriteScreen writes the comparison for a terminal: what differs first, then the max rate, then a table a rate.
func WriteScreen(w io.Writer, c *Comparison) error {
	var b strings.Builder
	c.writeSettings(&b)
	t := c.table()
	t.write(&b)
	c.writeChecks(&b)
	for _, text := range c.Warnings {
		b.WriteString(wrap("! ", text))
	}
	b.WriteString("\n" + wrap("", c.legend()))
	_, err := io.WriteString(w, b.String())
	return err
}

// writeSettings writes what differs, a line each, and what does not in one.
func (c *Comparison) writeSettings(b *strings.Builder) {
	var rows [][]string
	var same []string
	hidden := 0
	for _, s := range c.Settings {
		switch {
		case s.Differs:
			row := append([]string{cut(s.Name, widestName)}, shorten(s.Values, widestValue)...)
			rows = append(rows, append(row, "← differs"))
		case c.named(s.Name):
			same = append(same, s.text())
		default:
			hidden++
		}
	}
	head := []string{""}
	for _, name := range c.Runs {
		head = append(head, cut(name, widestName))
	}
	writeColumns(b, append([][]string{append(head, "")}, rows...), nil)
	if len(rows) == 0 {
		b.WriteString("nothing that the reports know of differs\n")
	}
	if hidden > 0 {
		same = append(same, fmt.Sprintf("%d other settings", hidden))
	}
	if same != nil {
		b.WriteString(wrap("same: ", strings.Join(same, " · ")))
	}
}

// commonSettings are named where they are the same; the others are counted.
var commonSettings = []string{"engine", "model", "workload", "arrivals", "objectives", "client cores"}

func (c *Comparison) named(name string) bool {
	return slices.Contains(commonSettings, name) || strings.HasPrefix(name, "label ")
}

// text is a setting that is the same in all runs.
func (s *Setting) text() string {
	switch s.Name {
	case "client cores":
		return s.Values[0] + " client cores"
	case "engine", "workload", "arrivals", "objectives", "model":
		return s.Values[0]
	}
	return s.Name + " " + s.Values[0]
}

// row is a setting as a row of a table: its name and its values.
func (s *Setting) row() []string {
	cells := []string{s.Name}
	for _, v := range s.Values {
		cells = append(cells, orDash(v))
	}
	return cells
}

// shorten cuts the values of a setting to a width; what they begin with in common goes first.
func shorten(values []string, most int) []string {
	common := []rune(values[0])
	longest := 0
	for _, v := range values {
		runes := []rune(v)
		longest = max(longest, len(runes))
		for i := range common {
			if i >= len(runes) || runes[i] != common[i] {
				common = common[:i]
				break
			}
		}
	}
	drop := min(longest-most+1, len(common))
	short := make([]string, len(values))
	for i, v := range values {
		if drop > 0 && longest > most {
			v = "…" + string([]rune(v)[drop:])
		}
		short[i] = cut(orDash(v), most)
	}
	return short
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}

// table is the lines of a comparison as text, for every form.
type table struct {
	head   []string
	blocks []block
}

// block is the lines of one stage, or the max rate.
type block struct {
	title string // "" for the max rate
	rows  [][]string
	lines []*Line
}

// table lays out the lines: name, base, and for each new run its figure, the change, and with two runs what it rests
// on.
func (c *Comparison) table() *table {
	t := &table{head: []string{""}}
	two := len(c.Runs) == 2
	for k, name := range c.Runs {
		t.head = append(t.head, cut(name, widestName))
		if k > 0 {
			t.head = append(t.head, "change", "")
		}
	}
	add := func(title string, n int, why string, lines []Line) {
		bl := block{title: title}
		for i := range lines {
			l := &lines[i]
			row := []string{l.title(), l.Figures[0].text(l.Unit)}
			for k := 1; k < len(l.Figures); k++ {
				d := &l.Changes[k-1]
				row = append(row, l.Figures[k].text(l.Unit), d.tilde(l))
				if two && why != "" && d.Why == why {
					row = append(row, "(n="+l.ns()+")")
				} else if two {
					row = append(row, "("+d.evidence(l)+l.counts(n)+")")
				} else {
					row = append(row, "("+d.brief()+")")
				}
			}
			bl.rows = append(bl.rows, row)
			bl.lines = append(bl.lines, l)
		}
		t.blocks = append(t.blocks, bl)
	}
	if c.MaxRate != nil {
		add("", -1, "", []Line{*c.MaxRate})
	}
	for i := range c.Stages {
		s := &c.Stages[i]
		title := "at " + s.Title
		if strings.HasSuffix(s.Title, "streams") || strings.HasSuffix(s.Title, "stream") {
			title = s.Title
		}
		n := -1
		if len(s.Lines) > 0 {
			n = s.Lines[0].Figures[0].N
			title += ", n=" + s.Lines[0].ns()
		}
		if !slices.Contains(s.Paired, false) {
			title += ", same arrivals"
		}
		if s.Why != "" {
			title += "; not tested: " + s.Why
		}
		if s.Note != "" {
			title += " (" + s.Note + ")"
		}
		add(title, n, s.Why, s.Lines)
	}
	return t
}

// ns are the observations of all runs: "600+600".
func (l *Line) ns() string {
	var all []string
	for i := range l.Figures {
		if f := &l.Figures[i]; f.Value.IsAbsent() && f.N == 0 {
			all = append(all, "–")
		} else {
			all = append(all, fmt.Sprint(f.N))
		}
	}
	return strings.Join(all, "+")
}

// counts are the observations of a line where they are not those of its table.
func (l *Line) counts(n int) string {
	if l.Figures[0].N == n || l.Metric == keyErrors || l.Metric == keyRate || l.Metric == keyITL99 {
		return ""
	}
	return " n=" + l.ns()
}

// brief is what a change rests on, where there are many columns.
func (d *Difference) brief() string {
	if d.Verdict == NotTested {
		return "not tested"
	}
	return pText(float64(d.Adjusted))
}

func (t *table) write(b *strings.Builder) {
	var rows [][]string
	titles := map[int]string{}
	for _, bl := range t.blocks {
		titles[len(rows)] = bl.title
		rows = append(rows, bl.rows...)
	}
	b.WriteByte('\n')
	writeColumns(b, append([][]string{t.head}, rows...), func(i int) string {
		title, ok := titles[i-1]
		if !ok || title == "" {
			return ""
		}
		return "\n" + title + "\n"
	})
}

// writeColumns lays out rows: names to the left, values to the right, what stands behind changes to the left. before
// gives what to write before a row.
func writeColumns(b *strings.Builder, rows [][]string, before func(row int) string) {
	if len(rows) == 0 {
		return
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], ansi.StringWidth(text))
		}
	}
	for n, row := range rows {
		if before != nil {
			b.WriteString(before(n))
		}
		var line strings.Builder
		for i, text := range row {
			pad := strings.Repeat(" ", widths[i]-ansi.StringWidth(text))
			switch {
			case i == 0:
				line.WriteString(text + pad)
			case strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")") && i == len(row)-1,
				strings.HasPrefix(text, "←"), before == nil:
				line.WriteString("  " + text + pad)
			default:
				line.WriteString("  " + pad + text)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// writeChecks writes what became of the conditions.
func (c *Comparison) writeChecks(b *strings.Builder) {
	if len(c.FailOn) == 0 && len(c.Warnings) == 0 {
		return
	}
	b.WriteByte('\n')
	for i := range c.FailOn {
		f := &c.FailOn[i]
		b.WriteString(wrap(fmt.Sprintf("%-9s %s  ", f.Outcome, f.Condition), c.TextOf(f)))
	}
}

// legend says how the lines are to be read.
func (c *Comparison) legend() string {
	lines := 0
	for _, n := range c.Tested {
		lines = max(lines, n)
	}
	if lines == 0 {
		return "no line could be tested; changes stand in brackets"
	}
	return fmt.Sprintf("~ no evidence of a change beyond %s %%; ± and ranges: 95 %% intervals; p: after Holm's "+
		"correction for the %d lines tested at common rates, so that of runs of the same, no more than 5 in 100 "+
		"differ in any of them; changes in brackets: not tested", num.Exact(100*c.Noise), lines)
}

// wrap breaks a text into lines of at most lineWidth columns, the further ones indented.
func wrap(first, text string) string {
	return strings.Join(layout.Wrap(first, "  ", text, lineWidth), "\n") + "\n"
}
