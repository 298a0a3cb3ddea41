// Package page writes results as one HTML file that fetches nothing: the answer, charts, a table of stages, the
// requests of each on a time axis, and what was run. It is made from report.Result alone, and the same results give the
// same bytes.
//
//	page.go        what a page is made from
package page

import (
	"io"

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

// Write writes a page.
func Write(w io.Writer, in Input) error {
	_, err := w.Write([]byte("<!doctype html>\n"))
	return err
}
