package peer

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"math"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/layout"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/shell"
	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/report"
)

// Formats are the forms in which an audit can be written.
func Formats() []string { return []string{"screen", "markdown", "json", "html"} }

// FormatOf is the format of a file's name; "" where its ending says none.
func FormatOf(name string) string {
	return map[string]string{
		".txt": "screen", ".md": "markdown", ".json": "json", ".html": "html", ".htm": "html",
	}[strings.ToLower(filepath.Ext(name))]
}

// Write writes an audit in one of Formats.
func (a *Audit) Write(w io.Writer, format string) error {
	switch format {
	case "screen":
		_, err := io.WriteString(w, a.screen())
		return err
	case "markdown":
		_, err := io.WriteString(w, a.markdown())
		return err
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(a)
	case "html":
		return page.Execute(w, a)
	}
	return fmt.Errorf("an audit has no format %q; it has %s", format, strings.Join(Formats(), ", "))
}

// Texts of a line, as all formats show them.

// ReportedCell is what was reported, for people; "" where nothing was.
func (l *Line) ReportedCell() string { return l.cell(l.Reported, l.ReportedText) }

// HappenedCell is what happened, for people.
func (l *Line) HappenedCell() string { return l.cell(l.Happened, l.HappenedText) }

func (l *Line) cell(v num.Value, text string) string {
	switch f := float64(v); {
	case text != "":
		return stream.Clean(text)
	case l.Unit == "variance/mean" || v.IsAbsent():
		return ""
	case l.whole():
		return num.Thousands(int(math.Round(f)))
	case l.Unit == "s" || l.Unit == "%":
		return num.Three(f)
	default:
		return figure(f)
	}
}

// ErrorCell is the error, for people: in the line's unit, or a share of what happened.
func (l *Line) ErrorCell() string {
	switch {
	case l.Error.IsAbsent() || math.IsInf(float64(l.Error), 0):
		return ""
	case math.Abs(float64(l.Error)) < 0.0005:
		return "0"
	case l.whole():
		return signed(num.Thousands(int(math.Abs(float64(l.Error)))), l.Error)
	case l.Unit == "req/s" && !l.Percent.IsAbsent():
		return signed(num.Three(math.Abs(float64(l.Percent))), l.Error) + " %"
	}
	return signed(figure(math.Abs(float64(l.Error))), l.Error)
}

// whole says whether the line is of whole numbers.
func (l *Line) whole() bool { return l.Unit == "requests" || l.Unit == "connections" }

func signed(text string, v num.Value) string {
	if v < 0 {
		return "−" + text
	}
	return "+" + text
}

// Title is the line's name with its unit.
func (l *Line) Title() string {
	switch l.Unit {
	case "req/s", "variance/mean", "verdict", "tokens", "requests", "connections":
		return l.Name
	}
	return l.Name + ", " + l.Unit
}

// figure writes a number with what of it is worth reading: 0.004, 5.02, 30.4, 831.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return ""
	case a < 0.9995:
		return fmt.Sprintf("%.3f", v)
	case a < 9.995:
		return fmt.Sprintf("%.2f", v)
	case a < 999.5:
		return fmt.Sprintf("%.1f", v)
	}
	return num.Thousands(int(math.Round(v)))
}

// Heading says what was audited, in one line.
func (a *Audit) Heading() string {
	name := a.Tool
	if name == "" && len(a.Command) > 0 {
		name = filepath.Base(a.Command[0])
	}
	return stream.Clean(fmt.Sprintf("%s against %s", name, a.Engine))
}

// Source says where what was reported comes from.
func (a *Audit) Source() string {
	text := "reported: " + a.Report
	if a.Report == "" {
		text = "nothing reported: " + a.NoReport
	}
	return stream.Clean(text)
}

// CommandLine is the command, for people.
func (a *Audit) CommandLine() string { return stream.Clean(shell.Line(a.Command)) }

const (
	screenWidth = 80
	nameWidth   = 26
	cellWidth   = 13
)

func (a *Audit) screen() string {
	var b strings.Builder
	wrapped := func(indent, text string) {
		for _, row := range layout.Wrap(indent, indent, stream.Clean(text), screenWidth) {
			b.WriteString(row + "\n")
		}
	}
	wrapped("", a.Heading())
	wrapped("", a.Source())
	row := func(cells ...string) {
		text := ""
		for i, cell := range cells {
			width := cellWidth
			if i == 0 {
				text = cell + strings.Repeat(" ", max(nameWidth-utf8.RuneCountInString(cell), 1))
				continue
			}
			text += strings.Repeat(" ", max(width-utf8.RuneCountInString(cell), 1)) + cell
		}
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	lines := func(list []Line) {
		for _, l := range shown(list) {
			row(l.Title(), l.ReportedCell(), l.HappenedCell(), l.ErrorCell())
			if l.Remark != "" {
				wrapped("    ", l.Remark)
			}
		}
	}
	for i := range a.Stages {
		s := &a.Stages[i]
		b.WriteByte('\n')
		row(stream.Clean(s.Name), "reported", "happened", "error")
		lines(s.Lines)
	}
	b.WriteByte('\n')
	row("the whole run", "", "happened")
	lines(a.Lines)
	for _, note := range a.Notes {
		wrapped("", "! "+note)
	}
	return b.String()
}

func (a *Audit) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n    %s\n", report.MarkdownText(a.Heading()), a.CommandLine())
	if a.Report == "" {
		fmt.Fprintf(&b, "\n%s\n", report.MarkdownText(a.Source()))
	}
	for i := range a.Stages {
		s := &a.Stages[i]
		fmt.Fprintf(&b, "\n| %s | reported | happened | error | |\n|---|---:|---:|---:|---|\n",
			report.MarkdownText(s.Name))
		for _, l := range shown(s.Lines) {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", l.Title(), report.MarkdownText(l.ReportedCell()),
				report.MarkdownText(l.HappenedCell()), l.ErrorCell(), report.MarkdownText(l.Remark))
		}
	}
	b.WriteString("\n| the whole run | happened | |\n|---|---:|---|\n")
	for _, l := range shown(a.Lines) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", l.Title(), l.HappenedCell(), report.MarkdownText(l.Remark))
	}
	for i, note := range a.Notes {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "- %s\n", report.MarkdownText(note))
	}
	return b.String()
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("audit").Funcs(template.FuncMap{
	"shown": shown, "clean": stream.Clean,
}).Parse(pageText))

// shown are the lines that have something to show.
func shown(list []Line) []*Line {
	var lines []*Line
	for i := range list {
		if l := &list[i]; l.ReportedCell() != "" || l.HappenedCell() != "" {
			lines = append(lines, l)
		}
	}
	return lines
}
