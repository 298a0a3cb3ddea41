package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// WriteScreen writes what is printed at the end of a run: the answer, a line a stage, and what the reader should know.
// It prints nothing that is not in the result.
func WriteScreen(w io.Writer, r *Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n", r.Answer())
	for _, g := range r.Gates {
		fmt.Fprintln(&b, g)
	}
	fmt.Fprintf(&b, "\n%s, model %s, %s\n", r.Asked.Target, r.Asked.Model, r.Asked.Workload)
	if len(r.Asked.Objectives) > 0 {
		var texts []string
		for _, o := range r.Asked.Objectives {
			texts = append(texts, o.String())
		}
		fmt.Fprintf(&b, "objectives: %s (%s %% confidence)\n", strings.Join(texts, " "),
			num.Exact(100*r.Asked.Confidence))
	}
	b.WriteByte('\n')
	writeStages(&b, r)
	writeObjectives(&b, r)
	writeRemarks(&b, r)
	_, err := io.WriteString(w, b.String())
	return err
}

// StageLine is one line about a stage that has just ended.
func StageLine(s *Stage) string {
	rate := num.Three(s.Rates.Done) + " req/s done"
	if s.Load.Kind.Open() {
		rate = num.Three(s.Rates.Sent) + " req/s sent"
	}
	line := fmt.Sprintf("%s: %s, TTFT p50 %s p95 %s ms, ITL p50 %s ms, %d errors",
		s.Name, rate, cell(s.TTFT.P50), cell(s.TTFT.P95),
		cell(s.ITL.P50), s.Requests.Errored)
	if s.Judged() {
		line += ", " + string(s.Judgement.Outcome)
		if len(s.Judgement.Reasons) > 0 {
			line += " (" + s.Judgement.Reasons[0] + ")"
		}
	}
	if len(s.Client.Reasons) > 0 {
		line += fmt.Sprintf(" (client %s: %s)", s.Client.Level, s.Client.Reasons[0].Text)
	}
	return line
}

// Judged says whether the outcome of a stage is shown.
func (s *Stage) Judged() bool { return len(s.Judgement.Objectives) > 0 && !s.Probe }

// writeStages writes the table: names to the left, values to the right. Rates are in requests a second, latencies in
// milliseconds.
func writeStages(b *strings.Builder, r *Result) {
	rows := [][]string{
		{"", "req/s", "", "", "in", "TTFT", "", "", "TPOT", "ITL", "", "tokens", "", "delay", "", ""},
		{"stage", "asked", "sent", "done", "flight", "p50", "p95", "p99", "p95", "p50", "p99", "per s", "errors", "p99",
			"client", "outcome"},
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		outcome := "-"
		if s.Judged() {
			outcome = string(s.Judgement.Outcome)
		}
		rows = append(rows, []string{
			s.Name, cell(s.Rates.Asked), num.Three(s.Rates.Sent), num.Three(s.Rates.Done), num.Three(s.InFlight),
			cell(s.TTFT.P50), cell(s.TTFT.P95), cell(s.TTFT.P99), cell(s.TPOT.P95), cell(s.ITL.P50), cell(s.ITL.P99),
			num.Three(s.Rates.Tokens), fmt.Sprint(s.Requests.Errored), cell(s.SendDelay.P99), string(s.Client.Level),
			outcome,
		})
	}
	writeTable(b, rows, 2)
}

// writeObjectives writes what the stages of a search say of each objective.
func writeObjectives(b *strings.Builder, r *Result) {
	if r.Search == nil || len(r.Search.Objectives) == 0 || r.Search.Finding == sweep.None || r.Search.Step {
		return
	}
	a := r.Search
	rows := [][]string{{"max rate by", "estimate", num.Exact(100*a.Confidence) + " % interval", "clusters of misses",
		"correction for arrivals"}}
	for _, o := range a.Objectives {
		interval := end(o.Lower) + " – " + end(o.Upper)
		if a.Rough && o.Objective == a.Limiting {
			interval += " (rough)"
		}
		rows = append(rows, []string{o.Objective, num.Rate(o.Estimate), interval, fmt.Sprintf("%.0f", o.Clusters),
			string(o.Correction)})
	}
	b.WriteByte('\n')
	writeTable(b, rows, 1)
}

// end is an end of an interval.
func end(v num.Value) string {
	if v.IsAbsent() {
		return "?"
	}
	return num.Rate(float64(v))
}

// writeTable lays out rows of equal length: the first column and the last words to the left, the others to the right.
func writeTable(b *strings.Builder, rows [][]string, words int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for _, row := range rows {
		line := fmt.Sprintf("%-*s", widths[0], row[0])
		for i := 1; i < len(row); i++ {
			if i < len(row)-words {
				line += fmt.Sprintf("  %*s", widths[i], row[i])
			} else {
				line += fmt.Sprintf("  %-*s", widths[i], row[i])
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func cell(v num.Value) string { return num.Three(float64(v)) }

// writeRemarks writes what the reader should know beside the table: why stages did not pass, what the client says of
// itself, errors, warnings, and how the search ended.
func writeRemarks(b *strings.Builder, r *Result) {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("TTFT, TPOT, ITL and send delay in ms; TTFT counts from the scheduled time")
	if p := r.Probes; p != nil && p.SaturationRate > 0 {
		add("saturation: %s req/s sustained, with %d streams or more (from the rate of tokens)",
			num.Three(p.SaturationRate), p.Streams)
	}
	// The answer of a search rests on all of its stages: why single ones are undecided is not of interest.
	_, lowest := r.bracket()
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Judged() && s.Judgement.Outcome != slo.Pass && (r.Search == nil || s == lowest) {
			add("%s: %s", s.Name, why(s))
		}
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		for _, reason := range s.Client.Reasons {
			add("client %s on %s: %s", reason.Level, s.Name, reason.Text)
		}
		if s.Requests.Errored > 0 {
			add("%d errors on %s: %s", s.Requests.Errored, s.Name, mostFrequent(s))
		}
	}
	for _, w := range r.Warnings {
		lines = append(lines, w.Text)
	}
	if k := r.Search; k != nil {
		add("search: %s (%v)", k.Why, k.Took.Round(time.Second))
		for _, note := range k.Notes {
			lines = append(lines, note.Text)
		}
	}
	fmt.Fprintf(b, "\n%s\n", strings.Join(lines, "\n"))
}

// mostFrequent names the most frequent error of a stage and how many others there were.
func mostFrequent(s *Stage) string {
	if len(s.Errors) == 0 {
		return "of no known kind"
	}
	first := s.Errors[0]
	if others := s.Requests.Errored - first.Count; others > 0 {
		return fmt.Sprintf("%s (%d), and %d others", first.Text, first.Count, others)
	}
	return first.Text
}
