package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/shell"
	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/slo"
)

// WriteMarkdown writes a result for a pull request or an issue: the answer, the gates, a table of the stages, the
// engine, and what else is to be known in parts that are closed at first. No text of the result is taken for markup.
func WriteMarkdown(w io.Writer, r *Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", MarkdownText(r.Answer()))
	if len(r.Gates) > 0 {
		rows := [][]string{{"gate", "outcome", "why"}}
		for _, g := range r.Gates {
			rows = append(rows, []string{g.Gate.String(), outcomeMark(g.Outcome), g.Text})
		}
		markdownTable(&b, rows, 3)
	}
	markdownStages(&b, r)
	for _, t := range r.GroupTables(r.allStages()) {
		rows := append([][]string{append([]string{"stage", t.Of}, GroupHead()...)}, t.Rows...)
		markdownTable(&b, rows, 2)
	}
	for _, text := range r.targetDifferences(r.allStages()) {
		fmt.Fprintf(&b, "- %s\n", MarkdownText(text))
	}
	if rows, notes := r.engineRows(r.allStages()); len(rows) > 0 {
		markdownTable(&b, append([][]string{append([]string{"stage", "engine"}, EngineHead()...)}, rows...), 2)
		for _, text := range notes {
			fmt.Fprintf(&b, "- %s\n", MarkdownText(text))
		}
	}
	for _, line := range r.markdownFacts() {
		fmt.Fprintf(&b, "- %s\n", MarkdownText(line))
	}
	b.WriteByte('\n')
	details(&b, "What the reader should know", r.markdownRemarks())
	r.markdownAsked(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// markdownStages writes the table of the stages. Rates are requests a second.
func markdownStages(b *strings.Builder, r *Result) {
	rows := [][]string{{"outcome", "stage", "client", "req/s asked", "sent", "done", "in flight", "TTFT p50, ms", "p95",
		"p99", "TTFO p95, ms", "TPOT p50, ms", "p95", "e2e p50, ms", "p95", "p99",
		r.tokensText() + " tokens/s", "errors"}}
	for i := range r.Stages {
		s := &r.Stages[i]
		outcome := "–"
		if s.Judged() {
			outcome = outcomeMark(s.Judgement.Outcome)
		}
		none := LatencyOf(nil)
		ttfo, e2e := cmp.Or(s.TTFO, &none), cmp.Or(s.E2E, &none)
		rows = append(rows, []string{
			outcome, s.Name, string(s.Client.Level), cell(s.Rates.Asked), num.Three(s.Rates.Sent),
			num.Three(s.Rates.Done), num.Three(s.InFlight), cell(s.TTFT.P50), cell(s.TTFT.P95), cell(s.TTFT.P99),
			cell(ttfo.P95), cell(s.TPOT.P50), cell(s.TPOT.P95), cell(e2e.P50), cell(e2e.P95), cell(e2e.P99),
			num.Three(s.tokenRate()), num.Thousands(s.Requests.Errored),
		})
	}
	markdownTable(b, used(rows, 1), 3)
}

// markdownFacts are what matters beside the table.
func (r *Result) markdownFacts() []string {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	if text := r.BreaksFirst(); text != "" {
		add("breaks first: %s", text)
	}
	for i := range r.Stages {
		for _, text := range r.Stages[i].Endings() {
			add("%s: %s", r.Stages[i].Name, text)
		}
	}
	if p := r.Probes; p != nil && p.SaturationRate > 0 {
		add("saturation: %s %s sustained, with %d streams or more", num.Three(p.SaturationRate), r.RateUnit(),
			p.Streams)
	}
	if amount, ok := r.CostPerMillion(); ok {
		c := r.Asked.Cost
		add("cost: %s a million output tokens at the max rate, at %s an hour", c.Amount(amount), c.Amount(c.PerHour))
	}
	if text := r.EngineText(); text != "" {
		add("engine: %s", text)
	}
	if len(r.Asked.Objectives) > 0 {
		add("objectives: %s, at %s %% confidence; TTFT counts from the scheduled time", r.Asked.SLO(),
			num.Exact(100*r.Asked.Confidence))
	}
	if r.Asked.Workload != "" {
		add("workload: %s", r.Asked.Workload)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Asked.Labels)) {
		add("%s: %s", key, r.Asked.Labels[key])
	}
	return facts
}

// markdownRemarks are why stages did not pass, what the client says of itself, errors and warnings.
func (r *Result) markdownRemarks() []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for i := range r.Stages {
		s := &r.Stages[i]
		judged := ""
		if s.Judged() && !s.Repeated && s.Judgement.Outcome != slo.Pass {
			judged = why(s)
			add("%s: %s", s.Name, judged)
		}
		for _, reason := range s.Client.Reasons {
			if !strings.Contains(judged, reason.Text) {
				add("%s: client %s: %s", s.Name, reason.Level, reason.Text)
			}
		}
		for _, e := range s.Errors {
			add("%s: %s × %s", s.Name, num.Thousands(e.Count), e.Text)
		}
	}
	for _, w := range r.Warnings {
		lines = append(lines, w.Text)
	}
	if a := r.Search; a != nil {
		add("search: %s (%v)", a.Why, a.Took.Round(time.Second))
		for _, note := range a.Notes {
			lines = append(lines, note.Text)
		}
	}
	return lines
}

// markdownAsked writes what was run, so that it can be run again.
func (r *Result) markdownAsked(b *strings.Builder) {
	var lines []string
	add := func(name, text string) {
		if text != "" {
			lines = append(lines, name+": "+text)
		}
	}
	add("target", r.Asked.Target)
	add("model", r.Asked.Model)
	if !r.Began.IsZero() {
		add("began", r.Began.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if r.Took > 0 {
		add("took", r.Took.Round(time.Second).String())
	}
	add("openloop", r.Version)
	if r.Engine != nil {
		for _, key := range slices.Sorted(maps.Keys(r.Engine.Config)) {
			add("engine "+key, r.Engine.Config[key])
		}
	}
	if len(lines) == 0 && len(r.Command) == 0 {
		return
	}
	b.WriteString("<details><summary>What was run</summary>\n\n")
	if len(r.Command) > 0 {
		command := stream.Clean(shell.Line(r.Command))
		fence := "```"
		for strings.Contains(command, fence) {
			fence += "`"
		}
		fmt.Fprintf(b, "%ssh\n%s\n%s\n\n", fence, command, fence)
	}
	for _, line := range lines {
		fmt.Fprintf(b, "- %s\n", MarkdownText(line))
	}
	b.WriteString("\n</details>\n")
}

// details writes lines in a part that is closed at first; nothing where there are none.
func details(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "<details><summary>%s</summary>\n\n", title)
	for _, line := range lines {
		fmt.Fprintf(b, "- %s\n", MarkdownText(line))
	}
	b.WriteString("\n</details>\n\n")
}

// outcomeMark is an outcome with a sign that is seen at once.
func outcomeMark(o slo.Outcome) string {
	switch o {
	case slo.Pass:
		return "✅ " + string(o)
	case slo.Fail:
		return "❌ " + string(o)
	case slo.Undecided:
		return "❔ " + string(o)
	}
	return string(o)
}

// markdownTable writes rows of equal length, the first of them the headings; columns after the first few words are
// numbers, to the right.
func markdownTable(b *strings.Builder, rows [][]string, words int) {
	for i, row := range rows {
		for _, text := range row {
			b.WriteString("| " + MarkdownText(text) + " ")
		}
		b.WriteString("|\n")
		if i > 0 {
			continue
		}
		for k := range row {
			if k < words {
				b.WriteString("| --- ")
			} else {
				b.WriteString("| ---: ")
			}
		}
		b.WriteString("|\n")
	}
	b.WriteByte('\n')
}

// MarkdownText is a text in which nothing is markup, neither Markdown's nor HTML's, and that has one line.
func MarkdownText(text string) string {
	return mention.ReplaceAllString(markup.Replace(strings.TrimSpace(stream.Clean(text))), "&#64;")
}

var markup = strings.NewReplacer(
	"&", "&amp;", "<", "&lt;", ">", "&gt;", `\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`,
	"|", `\|`, "~", `\~`, "#", `\#`, "$", `\$`, "://", "&#58;//",
)

// mention is before a name that would be told of the text.
var mention = regexp.MustCompile(`\B@`)
