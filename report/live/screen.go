package live

import (
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
)

// Widths from which on more is shown, in columns. The table's floor is 80.
const (
	wide   = 119 // of a terminal of 120: the last column stays free
	wider  = 139
	widest = 160
)

// silentShown is how long no token has to come for it to be said.
const silentShown = 2 * time.Second

// Screen draws a run in lines of at most width columns, at most height of them. They hold no escapes; texts of the
// server are in them as they came.
func Screen(s *State, width, height int) []string {
	width = min(width, widest)
	head := s.heading(width)
	foot := s.footing(width)
	if width >= wide {
		if panes := s.panes(width); len(head)+len(foot)+len(panes)+6 <= height {
			foot = append(panes, foot...)
		}
	}
	table := s.table(width, height-len(head)-len(foot)-2)
	lines := head
	if len(table) > 0 {
		lines = append(append(lines, ""), table...)
	}
	lines = append(append(lines, ""), foot...)
	if over := len(lines) - height; over > 0 { // the head is what is known without looking
		lines = lines[min(over, len(lines)-1):]
	}
	for i := range lines {
		lines[i] = ansi.Truncate(strings.TrimRight(lines[i], " "), width, "…")
	}
	return lines
}

// heading is what is run, by what it is judged, and how long it takes.
func (s *State) heading(width int) []string {
	parts := []string{s.Command, s.Target, path.Base(s.Model), s.Workload, s.Arrivals}
	text := ""
	for _, p := range parts {
		if p != "" {
			text += "  " + p
		}
	}
	lines := []string{between(strings.TrimPrefix(text, "  "), s.times(), width)}
	if len(s.Objectives) > 0 {
		var texts []string
		for _, o := range s.Objectives {
			texts = append(texts, o.String())
		}
		lines = append(lines, "SLO    "+strings.Join(texts, "  "))
	}
	return lines
}

// times says how long the run has taken, and about how long it takes in all.
func (s *State) times() string {
	switch {
	case s.Total <= 0:
		return clock(s.Elapsed)
	case s.AtMost:
		return clock(s.Elapsed) + " of at most " + clock(s.Total)
	}
	return clock(s.Elapsed) + " of ~" + clock(s.Total)
}

// clock writes a time as minutes and seconds, with hours from an hour on.
func clock(d time.Duration) string {
	n := int(d.Round(time.Second).Seconds())
	if n >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", n/3600, n/60%60, n%60)
	}
	return fmt.Sprintf("%d:%02d", n/60, n%60)
}

// row is a stage in the table.
type row struct {
	mark, rate, outcome        string
	ttft, tpot, ttft50, ttft99 num.Value // ms
	itl99, delay99             num.Value // ms
	sent, inFlight, tokens     num.Value
	errors                     int
	empty                      bool // the next stage, of which the rate alone is known
}

// field is a column of the table. The last one is not padded.
type field struct {
	title string
	width int
	cell  func(r *row) string
	bar   func(r *row) string // of barWidth cells, after the value; nil: none
}

const barWidth = 4

// fields are the columns that fit in a width.
func (s *State) fields(width int) []field {
	ttft, tpot := statistics(s.Objectives)
	three := func(of func(r *row) num.Value) func(r *row) string {
		return func(r *row) string { return num.Three(float64(of(r))) }
	}
	latency := func(c column, of func(r *row) num.Value) field {
		f := field{c.title(), 9, func(r *row) string { return milliseconds(of(r)) }, nil}
		if c.bound > 0 {
			f.bar = func(r *row) string { return " " + bar(float64(of(r))/c.bound, barWidth) }
		}
		return f
	}
	fields := []field{{"req/s", 6, func(r *row) string { return r.rate }, nil}}
	add := func(more ...field) { fields = append(fields, more...) }
	if width >= wider {
		add(field{"sent", 5, three(func(r *row) num.Value { return r.sent }), nil})
	}
	if width >= wide {
		add(field{"TTFT p50", 8, three(func(r *row) num.Value { return r.ttft50 }), nil})
	}
	add(latency(ttft, func(r *row) num.Value { return r.ttft }))
	if width >= wide {
		add(field{"p99", 5, three(func(r *row) num.Value { return r.ttft99 }), nil})
	}
	add(latency(tpot, func(r *row) num.Value { return r.tpot }))
	if width >= wide {
		add(field{"ITL p99", 7, three(func(r *row) num.Value { return r.itl99 }), nil},
			field{"delay p99", 9, three(func(r *row) num.Value { return r.delay99 }), nil})
	}
	if width >= wider {
		add(field{"in flight", 9, three(func(r *row) num.Value { return r.inFlight }), nil})
	}
	add(field{"tok/s", 6, func(r *row) string { return num.Amount(float64(r.tokens)) }, nil},
		field{"errors", 6, func(r *row) string { return fmt.Sprint(r.errors) }, nil},
		field{"outcome", 0, func(r *row) string { return r.outcome }, nil})
	return fields
}

// table is a line a stage, the oldest left out where there is no room for all.
func (s *State) table(width, height int) []string {
	rows := s.rows(width >= wide)
	if len(rows) == 0 || height < 2 {
		return nil
	}
	fields := s.fields(width)
	title := " "
	for _, f := range fields {
		title += "  " + cellText(f.title, f)
		if f.bar != nil {
			title += strings.Repeat(" ", 1+barWidth)
		}
	}
	lines := []string{title}
	room := height - 1
	if left := len(rows) - room; left > 0 {
		left = min(left+1, len(rows)-1)
		lines = append(lines, fmt.Sprintf("  … %d earlier stages", left))
		if room < 2 {
			lines = lines[:1]
		}
		rows = rows[left:]
	}
	for i := range rows {
		r := &rows[i]
		line := pad(r.mark, 1)
		for _, f := range fields {
			text := f.cell(r)
			if r.empty && f.title != "req/s" && f.title != "outcome" {
				text = ""
			}
			line += "  " + cellText(text, f)
			if f.bar != nil {
				line += f.bar(r)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// cellText pads a cell: values stand to the right.
func cellText(text string, f field) string {
	return strings.Repeat(" ", max(f.width-ansi.StringWidth(text), 0)) + text
}

// rows are the stages that have ended, the one under way, and the next where it is known.
func (s *State) rows(reasons bool) []row {
	ttft, tpot := statistics(s.Objectives)
	var rows []row
	for i := range s.Finished {
		st := &s.Finished[i]
		r := row{
			rate: num.Three(st.Rates.Done), outcome: outcome(st, reasons), errors: st.Requests.Errored,
			ttft: st.At(slo.TTFT, ttft.statistic), tpot: st.At(slo.TPOT, tpot.statistic),
			ttft50: st.TTFT.P50, ttft99: st.TTFT.P99, itl99: st.ITL.P99, delay99: st.SendDelay.P99,
			sent: num.Value(st.Rates.Sent), inFlight: num.Value(st.InFlight), tokens: num.Value(st.Rates.Output),
		}
		if st.Load.Kind.Open() {
			r.rate = num.Three(st.Load.Rate)
		}
		if st.Client.Level != audit.Valid {
			r.mark = "!"
		}
		rows = append(rows, r)
	}
	if p := s.Running; p != nil {
		r := row{
			mark: "▶", rate: "", outcome: p.far(s.Searching), errors: p.Errored, ttft: p.TTFT.At(ttft.statistic),
			tpot: p.TPOT.At(tpot.statistic), ttft50: p.TTFT.P50, ttft99: p.TTFT.P99, itl99: num.Absent(),
			delay99: p.SendDelay.P99, sent: num.Value(p.SentRate), inFlight: num.Value(p.InFlight),
			tokens: num.Value(p.TokenRate),
		}
		switch {
		case p.Load.Kind.Open():
			r.rate = num.Three(p.Load.Rate)
		case p.DoneRate > 0:
			r.rate = num.Three(p.DoneRate)
		}
		rows = append(rows, r)
	}
	if s.Next > 0 {
		none := num.Absent()
		rows = append(rows, row{rate: num.Three(s.Next), outcome: "next", empty: true, ttft: none, tpot: none})
	}
	return rows
}

// outcome is what became of a stage, in a few words; with the first of its reasons where there is room.
func outcome(s *report.Stage, reasons bool) string {
	text := "done"
	switch {
	case s.Load.Kind == loadgen.Synchronous || s.Load.Streams == 1:
		text = "one stream"
	case !s.Load.Kind.Open():
		text = fmt.Sprintf("%d streams", s.Load.Streams)
	}
	switch {
	case s.Client.Level == audit.Invalid:
		return "client invalid"
	case s.Judged() && reasons && len(s.Judgement.Reasons) > 0:
		return string(s.Judgement.Outcome) + ", " + s.Judgement.Reasons[0]
	case s.Judged():
		return string(s.Judgement.Outcome)
	}
	return text
}

// far says how far a stage is: "22 of 60 s". One of the search may end earlier.
func (r *Running) far(early bool) string {
	if r.Index < 0 {
		return "finding saturation"
	}
	seconds := math.Floor(r.Elapsed.Seconds())
	switch {
	case r.Limit > 0 && early:
		return fmt.Sprintf("%.0f of ~%.0f s", min(seconds, r.Limit.Seconds()), r.Limit.Seconds())
	case r.Limit > 0:
		return fmt.Sprintf("%.0f of %.0f s", min(seconds, r.Limit.Seconds()), r.Limit.Seconds())
	case r.MaxRequests > 0:
		return fmt.Sprintf("%s of %s sent", num.Thousands(r.Sent), num.Thousands(r.MaxRequests))
	}
	return fmt.Sprintf("%.0f s", seconds)
}

// footing is the moment, and what is known so far.
func (s *State) footing(width int) []string {
	var lines []string
	if r := s.Running; r != nil {
		lines = r.now(s, width)
	} else {
		lines = append(lines, "now    between two stages")
	}
	if s.SoFar != "" {
		label := "so far max rate at SLO "
		if s.Searching {
			label = "so far, searching: max rate at SLO "
		}
		lines = append(lines, label+s.SoFar)
	}
	if r := s.Running; r != nil {
		if r.Errored > 0 {
			lines = append(lines, fmt.Sprintf("errors %s: %s", num.Thousands(r.Errored), r.ErrorText))
		}
		if r.Silent >= silentShown {
			lines = append(lines, silence(r))
		}
	}
	return append(lines, "Ctrl-C ends this stage and saves; twice: quit")
}

// silence says for how long no token has come.
func silence(r *Running) string {
	return fmt.Sprintf("no token for %.0f s, %d requests in flight", r.Silent.Seconds(), r.InFlight)
}

// now are the lines about the last seconds.
func (r *Running) now(s *State, width int) []string {
	spark := 8
	if width >= wide {
		spark = 20
	}
	ttft, tpot := statistics(s.Objectives)
	flow := []string{num.Three(r.SentRate) + " sent/s", num.Three(r.DoneRate) + " done/s",
		fmt.Sprintf("in flight %d %s", r.InFlight, pad(sparkline(r.InFlightOverTime, spark), spark)),
		"client " + string(r.Client)}
	over := func(c column, now report.Latency, values []float64) string {
		return fmt.Sprintf("%s %s %s", c.title(), milliseconds(now.At(c.statistic)),
			pad(sparkline(values, spark), spark))
	}
	latencies := []string{over(ttft, r.TTFTNow, r.TTFTOverTime), over(tpot, r.TPOTNow, r.TPOTOverTime)}
	if r.Index < 0 { // the probe's requests are not looked at one by one
		latencies = []string{num.Amount(r.TokenRate) + " tokens/s"}
	}
	if !r.Waiting.IsAbsent() {
		latencies = append(latencies, fmt.Sprintf("waiting %.0f", float64(r.Waiting)))
	}
	if !r.KVUsage.IsAbsent() {
		latencies = append(latencies, fmt.Sprintf("KV %.0f %%", 100*float64(r.KVUsage)))
	}
	return []string{"now    " + strings.Join(flow, "  "), "       " + strings.Join(latencies, "  ")}
}

// panes are the stage under way over time, two side by side.
func (s *State) panes(width int) []string {
	r := s.Running
	if r == nil || len(r.InFlightOverTime) < 2 || r.Index < 0 {
		return nil
	}
	const rows, gap = 5, 4
	ttft, _ := statistics(s.Objectives)
	inner := (width - gap) / 2
	left := pane(ttft.title()+", ms", r.TTFTOverTime, inner, rows, num.Three)
	whole := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	right := pane("in flight", r.InFlightOverTime, inner, rows, whole)
	var lines []string
	for i := range min(len(left), len(right)) {
		lines = append(lines, left[i]+strings.Repeat(" ", gap)+right[i])
	}
	return append(lines, "")
}

// pad fills a text up to a width.
func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-ansi.StringWidth(text), 0))
}

// between puts one text at the left end of a line and another at its right end; the left one gives way.
func between(left, right string, width int) string {
	room := max(width-ansi.StringWidth(right)-2, 0)
	return pad(ansi.Truncate(left, room, "…"), room) + "  " + right
}
