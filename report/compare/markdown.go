package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/openloop/openloop/report"
)

// WriteMarkdown writes the comparison as a comment of a pull request: the headline, what became of conditions, what the
// reader should know, and the tables folded away.
func WriteMarkdown(w io.Writer, c *Comparison) error {
	var b strings.Builder
	for k := 1; k < len(c.Runs); k++ {
		name := ""
		if len(c.Runs) > 2 {
			name = " " + report.MarkdownText(c.Runs[k]) + " ·"
		}
		fmt.Fprintf(&b, "**openloop** ·%s %s %s\n\n", name, c.symbol(k), bolden(report.MarkdownText(c.Headline(k))))
	}
	for i := range c.FailOn {
		f := &c.FailOn[i]
		fmt.Fprintf(&b, "- **%s** `%s` %s\n", f.Outcome, f.Condition, report.MarkdownText(c.TextOf(f)))
	}
	for _, text := range c.Warnings {
		fmt.Fprintf(&b, "- ⚠ %s\n", report.MarkdownText(text))
	}
	fmt.Fprintf(&b, "\n<details><summary>%s against %s: what differs, and every rate</summary>\n\n",
		report.MarkdownText(strings.Join(c.Runs[1:], ", ")), report.MarkdownText(c.Runs[0]))
	c.markdownSettings(&b)
	t := c.table()
	for _, bl := range t.blocks {
		if bl.title != "" {
			fmt.Fprintf(&b, "\n**%s**\n", report.MarkdownText(bl.title))
		}
		b.WriteString("\n")
		markdownRow(&b, t.head)
		b.WriteString("|---" + strings.Repeat("|--:", len(t.head)-1) + "|\n")
		for _, row := range bl.rows {
			cells := slices.Clone(row)
			if last := &cells[len(cells)-1]; len(c.Runs) == 2 && strings.HasPrefix(*last, "(") {
				*last = strings.TrimSuffix((*last)[1:], ")")
			}
			markdownRow(&b, cells)
		}
	}
	fmt.Fprintf(&b, "\n%s\n\n</details>\n", report.MarkdownText(c.legend()))
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Comparison) markdownSettings(b *strings.Builder) {
	head := append([]string{""}, c.Runs...)
	wrote := false
	for _, s := range c.Settings {
		if !s.Differs {
			continue
		}
		if !wrote {
			markdownRow(b, head)
			b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
			wrote = true
		}
		markdownRow(b, s.row())
	}
	var same []string
	for i := range c.Settings {
		if s := &c.Settings[i]; !s.Differs && c.named(s.Name) {
			same = append(same, s.text())
		}
	}
	if same != nil {
		fmt.Fprintf(b, "\nSame: %s\n", report.MarkdownText(strings.Join(same, " · ")))
	}
}

func markdownRow(b *strings.Builder, cells []string) {
	b.WriteString("|")
	for _, text := range cells {
		b.WriteString(" " + report.MarkdownText(text) + " |")
	}
	b.WriteString("\n")
}

// bolden makes the first change of a headline bold.
func bolden(text string) string {
	from := strings.Index(text, ", ")
	to := strings.Index(text, ")")
	if from < 0 || to < from+2 || !strings.Contains(text[:from], " at SLO (was ") {
		return text
	}
	return text[:from+2] + "**" + text[from+2:to] + "**" + text[to:]
}
