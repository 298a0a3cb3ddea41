package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// WriteScreen writes openloop's own last screen: the answer, a line a stage, and what the reader should know.
func WriteScreen(w io.Writer, target, model, data string, result *sweep.Result) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", Answer(result))
	fmt.Fprintf(&b, "%s, model %s, %s\n", target, model, data)
	if o := objectivesOf(result); o != "" {
		fmt.Fprintf(&b, "objectives: %s\n", o)
	}
	b.WriteByte('\n')
	writeStages(&b, result)
	writeRemarks(&b, result)
	_, err := io.WriteString(w, b.String())
	return err
}

// Answer is the headline: what the search found, or without one the highest rate among the stages at which all objectives
// held.
func Answer(result *sweep.Result) string {
	if result.Answer != nil {
		return result.Answer.Headline()
	}
	objectives := objectivesOf(result)
	open, unfit, next := 0, 0, (*sweep.Stage)(nil)
	best := result.Best()
	for _, l := range result.Stages {
		if !l.Load.Kind.Open() {
			continue
		}
		open++
		if l.Audit.Level == audit.Invalid {
			unfit++
		}
		if best >= 0 && l.Load.Rate > result.Stages[best].Load.Rate && (next == nil || l.Load.Rate < next.Load.Rate) {
			next = l
		}
	}
	switch {
	case open == 0:
		return "no open-loop stage was run, so no rate can be named at which " + objectives + " holds"
	case best < 0 && unfit > 0:
		return fmt.Sprintf("no answer: on %d of %d open-loop stages the client was not fit to be believed, and no other meets %s", unfit, open, objectives)
	case best < 0:
		return "no rate that was tried meets " + objectives
	}
	answer := fmt.Sprintf("highest rate that met %s: %s req/s", objectives, figure(result.Stages[best].Load.Rate))
	if next == nil {
		return answer + " (the highest that was tried)"
	}
	return answer + fmt.Sprintf(" (%s req/s: %s)", figure(next.Load.Rate), failing(next))
}

// objectivesOf lists the objectives that the stages were judged by.
func objectivesOf(result *sweep.Result) string {
	var texts []string
	if len(result.Stages) > 0 {
		for _, j := range result.Stages[0].Judgement.Objectives {
			texts = append(texts, j.Objective.String())
		}
	}
	return strings.Join(texts, " ")
}

// failing says in a few words why a stage does not count.
func failing(l *sweep.Stage) string {
	var parts []string
	for _, j := range l.Judgement.Objectives {
		if !j.Holds {
			parts = append(parts, fmt.Sprintf("%s is %s", objectiveName(j.Objective), j.Objective.Seen(float64(j.Value))))
		}
	}
	if l.Audit.Level == audit.Invalid {
		parts = append(parts, "the client was not fit to be believed")
	}
	if len(parts) == 0 {
		return "met"
	}
	return strings.Join(parts, ", ")
}

// StageLine is one line about a stage that has just ended.
func StageLine(l *sweep.Stage) string {
	rate := figure(completionRate(l.Measured)) + " req/s done"
	if l.Load.Kind.Open() {
		rate = figure(l.Audit.Measurements.SentRate) + " req/s sent"
	}
	line := fmt.Sprintf("%s: %s, TTFT p50 %s p95 %s ms, ITL p50 %s ms, %d errors",
		l.Load, rate, figure(float64(l.TTFT.ValueAtQuantile(50))/1e6), figure(float64(l.TTFT.ValueAtQuantile(95))/1e6),
		figure(float64(l.Gaps.ValueAtQuantile(50))/1e6), errored(l))
	if l.Load.Kind.Open() {
		line += ": " + outcome(l.Judgement)
	}
	if l.Audit.Level != audit.Valid {
		line += " (client " + string(l.Audit.Level) + ")"
	}
	return line
}

func errored(l *sweep.Stage) int {
	n := 0
	for i := range l.Records {
		if l.Records[i].Status == loadgen.Errored {
			n++
		}
	}
	return n
}

// writeStages writes the table: names to the left, figures to the right.
func writeStages(b *strings.Builder, result *sweep.Result) {
	rows := [][]string{
		{"", "offered", "achieved", "in", "TTFT ms", "", "", "ITL ms", "", "tokens", "", "late ms", "", ""},
		{"stage", "req/s", "req/s", "flight", "p50", "p95", "p99", "p50", "p99", "per s", "errors", "p99", "client", "objectives"},
	}
	for _, l := range result.Stages {
		f := &l.Audit.Measurements
		judged := outcome(l.Judgement)
		offered, late := "-", "-"
		achieved := completionRate(l.Measured) // a closed loop's sends follow the answers, but for its first ones
		if l.Load.Kind.Open() {
			achieved = f.SentRate
			offered, late = figure(f.AskedRate), figure(float64(f.SendDelayP99)/1e6)
		}
		ms := func(h *hdr.Histogram, q float64) string {
			if h.TotalCount() == 0 {
				return "-"
			}
			return figure(float64(h.ValueAtQuantile(q)) / 1e6)
		}
		rows = append(rows, []string{
			l.Load.String(), offered, figure(achieved), figure(meanInFlight(l.Measured)),
			ms(l.TTFT, 50), ms(l.TTFT, 95), ms(l.TTFT, 99), ms(l.Gaps, 50), ms(l.Gaps, 99),
			figure(tokenRate(l.Measured)), fmt.Sprint(errored(l)), late, string(l.Audit.Level), judged,
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	last := len(widths) - 1
	for _, row := range rows {
		line := fmt.Sprintf("%-*s", widths[0], row[0])
		for i := 1; i < last-1; i++ {
			line += fmt.Sprintf("  %*s", widths[i], row[i])
		}
		line += fmt.Sprintf("  %-*s  %s", widths[last-1], row[last-1], row[last])
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// outcome is what became of a judged stage, with what decided it where it did not pass.
func outcome(t slo.StageJudgement) string {
	text := string(t.Outcome)
	var decisive []string
	for _, j := range t.Objectives {
		if j.Outcome == t.Outcome && t.Outcome != slo.Pass {
			decisive = append(decisive, fmt.Sprintf("%s %s", objectiveName(j.Objective), j.Objective.Seen(float64(j.Value))))
		}
	}
	switch {
	case len(decisive) > 0 && !t.ClientAtFault:
		text += ": " + strings.Join(decisive, ", ")
	case len(t.Reasons) > 0 && t.Outcome != slo.Pass: // the client, or a growing backlog
		text += ": " + t.Reasons[len(t.Reasons)-1]
	}
	return text
}

// writeRemarks writes what the reader should know: warnings, why clients are not to be believed, errors by kind.
func writeRemarks(b *strings.Builder, result *sweep.Result) {
	var lines []string
	if result.SaturationRate > 0 {
		lines = append(lines, fmt.Sprintf("saturation: %s req/s sustained, with %d streams or more (from the rate of tokens)",
			figure(result.SaturationRate), result.Probe.Streams))
	}
	for _, l := range result.Stages {
		for _, reason := range l.Audit.Reasons {
			lines = append(lines, fmt.Sprintf("client %s on %s: %s", reason.Level, l.Load, reason.Text))
		}
		if n := errored(l); n > 0 {
			lines = append(lines, fmt.Sprintf("%d errors on %s: %s", n, l.Load, errorKinds(l)))
		}
	}
	for _, w := range result.Warnings {
		lines = append(lines, w.Text)
	}
	if k := result.Answer; k != nil {
		lines = append(lines, fmt.Sprintf("search: %s (%v)", k.Why, k.Took.Round(time.Second)))
		for _, note := range k.Notes {
			lines = append(lines, note.Text)
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(lines, "\n"))
	}
}

// errorKinds names the most frequent error of a stage and how many others there were.
func errorKinds(l *sweep.Stage) string {
	counts := map[string]int{}
	for i := range l.Records {
		if l.Records[i].Status != loadgen.Errored {
			continue
		}
		text := l.Records[i].Err.String()
		if l.Details != nil && l.Details[i].Error != "" {
			text = l.Details[i].Error
		}
		counts[text]++
	}
	most, n, all := "", 0, 0
	for text, k := range counts {
		all += k
		if k > n || k == n && text < most {
			most, n = text, k
		}
	}
	if n == all {
		return most
	}
	return fmt.Sprintf("%s (%d), and %d others", most, n, all-n)
}

// objectiveName names an objective without its bound: "ttft:p95".
func objectiveName(o slo.Objective) string {
	if o.Statistic.Kind == slo.Share {
		return string(o.Metric)
	}
	return string(o.Metric) + ":" + o.Statistic.String()
}

// figure writes a number with three significant digits, for people.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
