package compare

import (
	"io"
	"strings"

	"github.com/openloop/openloop/report/page"
)

// WritePage writes the comparison as the page of the new runs, with the base's curves behind theirs.
func WritePage(w io.Writer, c *Comparison) error {
	return page.Write(w, page.Input{
		Runs: c.results[1:], Names: c.Runs[1:], Base: c.results[0], BaseName: c.Runs[0], Comparison: c.forPage(),
	})
}

// forPage is the comparison as text, for the page.
func (c *Comparison) forPage() *page.Comparison {
	var headlines []string
	for k := 1; k < len(c.Runs); k++ {
		headline := c.Headline(k)
		if len(c.Runs) > 2 {
			headline = c.Runs[k] + ": " + headline
		}
		headlines = append(headlines, headline)
	}
	p := &page.Comparison{Summary: strings.Join(headlines, "; ")}
	settings := page.Table{Title: "What differs", Columns: append([]string{""}, c.Runs...)}
	for _, s := range c.Settings {
		if s.Differs {
			settings.Rows = append(settings.Rows, page.Row{Cells: s.row(), Change: page.Differs})
		}
	}
	if settings.Rows != nil {
		p.Tables = append(p.Tables, settings)
	}
	t := c.table()
	for _, bl := range t.blocks {
		title := bl.title
		if title == "" {
			title = "Max rate at SLO"
		}
		out := page.Table{Title: title, Columns: t.head}
		for i, row := range bl.rows {
			out.Rows = append(out.Rows, page.Row{Cells: row, Change: bl.lines[i].forPage()})
		}
		p.Tables = append(p.Tables, out)
	}
	for i := range c.FailOn {
		f := &c.FailOn[i]
		p.Notes = append(p.Notes, string(f.Outcome)+" "+f.Condition+": "+c.TextOf(f))
	}
	p.Notes = append(append(p.Notes, c.Warnings...), c.legend())
	return p
}

// forPage is what a line says of all new runs: worse where one is.
func (l *Line) forPage() page.Change {
	change := page.Change("")
	for i := range l.Changes {
		switch l.Changes[i].Verdict {
		case Worse:
			return page.Worse
		case Better:
			change = page.Better
		case Same:
			if change == "" {
				change = page.Same
			}
		}
	}
	return change
}
