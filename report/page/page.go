// Package page writes results as one HTML file that fetches nothing: the answer, charts, a table of stages, the
// requests of each on a time axis, and what was run. It is made from report.Result alone, and the same results give the
// same bytes.
//
//	page.go        what a page is made from
//	view.go        from results to what the template shows
//	answer.go      the max rate, how sure it is, and whether to trust it
//	charts.go      which charts there are
//	chart.go       how a chart is drawn
//	svg.go         … as SVG
//	slide.go       the main chart alone, as SVG and in pixels
//	data.go        what the script is given: series and requests, packed
//	assets         template, style sheet, script; uplot is someone else's
package page

import (
	"bufio"
	"embed"
	"html/template"
	"io"
	"sync"

	"github.com/openloop/openloop/report"
)

// Input is what a page is made from.
type Input struct {
	Runs  []*report.Result // at least one; each has its part of the page
	Names []string         // of the runs, for people: a file or a label; may be shorter than Runs
	// Base is a run that the others are compared with: its curves stand behind theirs. Nil for none.
	Base     *report.Result
	BaseName string
	// Comparison is what was found when Runs were compared with Base; nil for none.
	Comparison *Comparison
}

// Comparison is a comparison of runs as text, ready to be read.
type Comparison struct {
	Summary string // the verdict in a sentence
	Tables  []Table
	Notes   []string // what the reader should know
}

// Table is a table of a comparison. Its first column names the rows.
type Table struct {
	Title   string
	Columns []string
	Rows    []Row
}

// Row is a row of a table, with as many cells as there are columns.
type Row struct {
	Cells  []string
	Change Change
}

// Change is what a row says, for its colour and its sign.
type Change string

// The changes. The zero value is a row that says nothing of the kind.
const (
	Better  Change = "better"
	Worse   Change = "worse"
	Same    Change = "same"    // no evidence of a difference
	Differs Change = "differs" // neither better nor worse, such as a version
)

// Sign stands before the row, so that its colour is not all that says what it means.
func (c Change) Sign() string {
	return map[Change]string{Better: "▲", Worse: "▼", Same: "~", Differs: "≠"}[c]
}

//go:embed assets
var assets embed.FS

// asset is the text of an embedded file.
func asset(name string) string {
	text, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return string(text)
}

// layout is read when the first page is written: most runs of the program write none.
var layout = sync.OnceValue(func() *template.Template {
	return template.Must(template.ParseFS(assets, "assets/page.html"))
})

// Write writes a page.
func Write(w io.Writer, in Input) error {
	v, err := newView(in)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<16)
	if err := layout().Execute(out, v); err != nil {
		return err
	}
	return out.Flush()
}

// WriteOne writes the page of one run.
func WriteOne(w io.Writer, r *report.Result) error { return Write(w, Input{Runs: []*report.Result{r}}) }

// Formats are the forms in which this package writes a result.
func Formats() []report.Format {
	return []report.Format{
		{Name: "html", Ending: "html", Write: WriteOne},
		{Name: "svg", Ending: "svg", Write: WriteSVG},
		{Name: "png", Ending: "png", Write: WritePNG},
	}
}
