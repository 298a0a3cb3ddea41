package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/layout"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/shell"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// screenWidth is how wide a screen is, in columns.
const screenWidth = 80

// WriteScreen writes what is printed at the end of a run, in 80 columns: the answer, a line a stage, what the reader
// should know, and what was run. It prints nothing that is not in the result.
func WriteScreen(w io.Writer, r *Result) error { return writeScreen(w, r, false) }

// WriteWideScreen is WriteScreen with all columns of the table, which then takes more than 80.
func WriteWideScreen(w io.Writer, r *Result) error { return writeScreen(w, r, true) }

func writeScreen(w io.Writer, r *Result, wide bool) error {
	var b strings.Builder
	b.WriteByte('\n')
	r.writeAnswer(&b)
	b.WriteByte('\n')
	if wide {
		writeTable(&b, r.wideTable())
	} else {
		writeTable(&b, r.table())
	}
	r.writeEndings(&b)
	r.writeSessions(&b)
	r.writeGroups(&b, wide)
	r.writeEngines(&b, wide)
	writeObjectives(&b, r)
	r.writeRemarks(&b)
	r.writeAsked(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// The signs that lines begin with, which say the same without colour: Paint knows them.
const (
	SignGood    = "✔"
	SignBad     = "✘"
	SignUnsure  = "?"
	SignWarning = "!"
)

// SignOf is the sign of an outcome.
func SignOf(o slo.Outcome) string {
	switch o {
	case slo.Pass:
		return SignGood
	case slo.Fail:
		return SignBad
	}
	return SignUnsure
}

// answerSign is the sign of the max rate: whether one is known.
func (r *Result) answerSign() string {
	best, fails := r.Bracket()
	a := r.Search
	switch {
	case a == nil && best != nil, a != nil && a.Finding == sweep.AtLeast,
		a != nil && a.Finding == sweep.Interval && !a.Lower.IsAbsent():
		return SignGood
	case a == nil && fails != nil, a != nil && a.Finding == sweep.None:
		return SignBad
	}
	return SignUnsure
}

// labelled writes a text behind a sign and a label, in as many lines as it takes.
func labelled(b *strings.Builder, sign, label, text string) {
	const column = 18
	head := sign + " " + label + strings.Repeat(" ", max(column-utf8.RuneCountInString(label), 2))
	wrap(b, head, strings.Repeat(" ", column+2), text)
}

// wrap writes a text in lines of at most screenWidth columns, the first of them behind a head, the others indented.
func wrap(b *strings.Builder, head, indent, text string) {
	for _, line := range layout.Wrap(head, indent, text, screenWidth) {
		b.WriteString(line + "\n")
	}
}

// writeAnswer writes the max rate and what it means, the gates, and whether the client can be believed.
func (r *Result) writeAnswer(b *strings.Builder) {
	value, how := r.parts()
	labelled(b, r.answerSign(), "max rate at SLO", value+" ("+how+")")
	if texts := r.atMaxRate(); len(texts) > 0 {
		wrap(b, "  ", "  ", strings.Join(texts, " · "))
	}
	if text := r.BreaksFirst(); text != "" {
		wrap(b, "  breaks first: ", "    ", text)
	}
	for _, g := range r.Gates {
		labelled(b, SignOf(g.Outcome), "gate "+g.Gate.String(), fmt.Sprintf("%s: %s", g.Outcome, g.Text))
	}
	sign, text := r.clientLine()
	labelled(b, sign, "client", text)
}

// atMaxRate is what the max rate means: requests of a day, tokens, requests in flight, cost.
func (r *Result) atMaxRate() []string {
	rate, ok := r.MaxRate()
	if !ok {
		return nil
	}
	day := rate * (24 * time.Hour).Seconds()
	texts := []string{"a day " + num.Thousands(int(num.Round(day))) + " " + string(r.Arriving())}
	if day >= 1e6 {
		texts[0] = "a day " + num.Three(day/1e6) + " M " + string(r.Arriving())
	}
	if tokens, ok := r.OutputAtMaxRate(); ok {
		texts = append(texts, num.Amount(tokens)+" output tokens/s")
	}
	if n := r.inFlightAt(rate); n > 0 {
		texts = append(texts, num.Three(n)+" in flight")
	}
	if amount, ok := r.CostPerMillion(); ok {
		c := r.Asked.Cost
		texts = append(texts, fmt.Sprintf("%s per M output tokens at %s/h", c.Amount(amount), c.Amount(c.PerHour)))
	}
	return texts
}

// inFlightAt is about how many requests are in flight at a rate: between the stages beside it on a straight line,
// beyond them in proportion to the rate. 0: no open-loop stage was run.
func (r *Result) inFlightAt(rate float64) float64 {
	type point struct{ rate, n float64 }
	var points []point
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Load.Kind.Open() && s.Load.Profile == nil && s.Load.Rate > 0 {
			points = append(points, point{s.Load.Rate, s.InFlight})
		}
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.rate, b.rate) })
	for i, p := range points {
		switch {
		case p.rate < rate:
		case i == 0 || p.rate == rate:
			return p.n * rate / p.rate
		default:
			q := points[i-1]
			return q.n + (p.n-q.n)*(rate-q.rate)/(p.rate-q.rate)
		}
	}
	if n := len(points); n > 0 {
		return points[n-1].n * rate / points[n-1].rate
	}
	return 0
}

// clientLine is the worst level of the client, and of how many stages.
func (r *Result) clientLine() (sign, text string) {
	counts := map[audit.Level]int{}
	delay, all := num.Absent(), 0
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Repeated {
			continue
		}
		all++
		counts[s.Client.Level]++
		if d := s.SendDelay.P99; !d.IsAbsent() && (delay.IsAbsent() || d > delay) {
			delay = d
		}
	}
	switch invalid, suspect := counts[audit.Invalid], counts[audit.Suspect]; {
	case invalid > 0:
		sign, text = SignBad, "invalid"+ofStages(invalid, all)
		if suspect > 0 {
			text += fmt.Sprintf(", suspect on %d", suspect)
		}
	case suspect > 0:
		sign, text = SignWarning, "suspect"+ofStages(suspect, all)
	case counts[audit.Valid] < all || all == 0:
		return SignUnsure, "not known: the report does not say" // GuideLLM's
	case all == 1:
		sign, text = SignGood, "valid"
	default:
		sign, text = SignGood, fmt.Sprintf("valid on all %d stages", all)
	}
	if !delay.IsAbsent() {
		text += fmt.Sprintf(" (send delay p99 at most %s ms)", cell(delay))
	}
	return sign, text
}

// ofStages says of how many stages something is the case, where there are several.
func ofStages(n, all int) string {
	if all == 1 {
		return ""
	}
	return fmt.Sprintf(" on %d of %d stages", n, all)
}

// Judged says whether the outcome of a stage is shown.
func (s *Stage) Judged() bool { return len(s.Judgement.Objectives) > 0 && !s.Probe }

// outcomeText is the outcome of a stage in the table.
func (s *Stage) outcomeText() string {
	switch {
	case s.Repeated:
		return "repeated"
	case s.Judged():
		return string(s.Judgement.Outcome)
	}
	return "-"
}

// tokensText says which tokens the token rate of the table counts, tokenRate: what is generated, or what is embedded or
// ranked.
func (r *Result) tokensText() string {
	if r.embeds() {
		return "input"
	}
	return "output"
}

func (s *Stage) tokenRate() float64 {
	if s.E2E != nil {
		return s.Rates.Input
	}
	return s.Rates.Output
}

// embeds says whether requests generate no text: embeddings, and rerank.
func (r *Result) embeds() bool {
	return slices.ContainsFunc(r.Stages, func(s Stage) bool { return s.E2E != nil })
}

// Reasons says whether answers began with reasoning, so that the first token and the first of the answer differ.
func (r *Result) Reasons() bool {
	return slices.ContainsFunc(r.Stages, func(s Stage) bool { return s.TTFO != nil })
}

// longestName is how much of a stage's name the narrow table shows.
const longestName = 15

// table is what fits in 80 columns. Rates are in requests a second, latencies in milliseconds; the mark before a name
// says that the client was not valid.
func (r *Result) table() [][]string {
	ttft, _ := ShownStatistic(r.Asked.Objectives, slo.TTFT)
	ttfo, _ := ShownStatistic(r.Asked.Objectives, slo.TTFO)
	tpot, _ := ShownStatistic(r.Asked.Objectives, slo.TPOT)
	e2e, _ := ShownStatistic(r.Asked.Objectives, slo.E2E)
	rows := [][]string{
		{"", "req/s", "", "in", "TTFT", "TTFO", "TPOT", "e2e", r.tokensText(), "", ""},
		{"  stage", "sent", "done", "flight", ttft.String(), ttfo.String(), tpot.String(), e2e.String(), "tok/s",
			"errors", "outcome"},
	}
	reasons := r.Reasons()
	for i := range r.Stages {
		s := &r.Stages[i]
		mark := " "
		if len(s.Client.Reasons) > 0 {
			mark = SignWarning
		}
		inFlight, first, whole := num.Three(s.InFlight), num.Absent(), num.Absent()
		if s.E2E != nil {
			whole = s.At(slo.E2E, e2e)
		}
		if reasons { // there is room for one of the two
			inFlight, first = "-", s.At(slo.TTFO, ttfo)
		}
		rows = append(rows, []string{
			mark + " " + ansi.Truncate(s.Name, longestName, "…"), num.Three(s.Rates.Sent), num.Three(s.Rates.Done),
			inFlight, cell(s.At(slo.TTFT, ttft)), cell(first), cell(s.At(slo.TPOT, tpot)), cell(whole),
			num.Amount(s.tokenRate()), num.Thousands(s.Requests.Errored), s.outcomeText(),
		})
	}
	return used(rows, 2)
}

// wideTable has all columns.
func (r *Result) wideTable() [][]string {
	rows := [][]string{
		{"", "req/s", "", "", "in", "TTFT", "", "", "TTFO", "", "", "TPOT", "", "", "ITL", "", "e2e", "", "",
			r.tokensText(), "", "delay", "", ""},
		{"  stage", "asked", "sent", "done", "flight", "p50", "p95", "p99", "p50", "p95", "p99", "p50",
			"p95", "p99", "p50", "p99", "p50", "p95", "p99", "tok/s", "errors", "p99", "client", "outcome"},
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		none := LatencyOf(nil)
		ttfo, e2e := cmp.Or(s.TTFO, &none), cmp.Or(s.E2E, &none)
		rows = append(rows, []string{
			"  " + s.Name, cell(s.Rates.Asked), num.Three(s.Rates.Sent), num.Three(s.Rates.Done),
			num.Three(s.InFlight), cell(s.TTFT.P50), cell(s.TTFT.P95), cell(s.TTFT.P99),
			cell(ttfo.P50), cell(ttfo.P95), cell(ttfo.P99),
			cell(s.TPOT.P50), cell(s.TPOT.P95), cell(s.TPOT.P99), cell(s.ITL.P50), cell(s.ITL.P99),
			cell(e2e.P50), cell(e2e.P95), cell(e2e.P99), num.Amount(s.tokenRate()),
			num.Thousands(s.Requests.Errored), cell(s.SendDelay.P99),
			string(s.Client.Level), s.outcomeText(),
		})
	}
	return used(rows, 2)
}

// used leaves out the columns that hold nothing in any row below so many of titles. Where such a column has the heading
// of a group, the next one takes it over.
func used(rows [][]string, titles int) [][]string {
	for c := len(rows[0]) - 1; c >= 1; c-- {
		empty := true
		for _, row := range rows[titles:] {
			empty = empty && row[c] == "-"
		}
		if !empty {
			continue
		}
		if group := rows[0][c]; group != "" && c+1 < len(rows[0]) && rows[0][c+1] == "" {
			rows[0][c+1] = group
		}
		for i := range rows {
			rows[i] = slices.Delete(rows[i], c, c+1)
		}
	}
	return rows
}

// writeObjectives writes what the stages of a search say of each objective.
func writeObjectives(b *strings.Builder, r *Result) {
	if r.Search == nil || len(r.Search.Objectives) == 0 || r.Search.Finding == sweep.None || r.Search.Step {
		return
	}
	a := r.Search
	rows := [][]string{{"  max rate by", "estimate", num.Exact(100*a.Confidence) + " % interval", "clusters",
		"correction"}}
	for _, o := range a.Objectives {
		interval := end(o.Lower) + " – " + end(o.Upper)
		if a.Rough && o.Objective == a.Limiting {
			interval += " (rough)"
		}
		rows = append(rows, []string{"  " + o.Objective, num.Rate(o.Estimate), interval,
			fmt.Sprintf("%.0f", o.Clusters), string(o.Correction)})
	}
	b.WriteByte('\n')
	writeTable(b, rows)
}

// end is an end of an interval.
func end(v num.Value) string {
	if v.IsAbsent() {
		return "?"
	}
	return num.Rate(float64(v))
}

// words are the columns that stand to the left, as the first does.
var words = []string{"client", "outcome", "correction", "class", "target", "engine"}

// writeTable lays out rows of equal length, under the titles of one of the first two: words to the left, values to the
// right.
func writeTable(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], ansi.StringWidth(text))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, text := range row {
			gap := strings.Repeat(" ", widths[i]-ansi.StringWidth(text))
			switch {
			case i == 0:
				line.WriteString(text + gap)
			case !slices.Contains(words, rows[0][i]) && (len(rows) < 2 || !slices.Contains(words, rows[1][i])):
				line.WriteString("  " + gap + text)
			default:
				line.WriteString("  " + text + gap)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

func cell(v num.Value) string { return num.Three(float64(v)) }

// writeRemarks writes what the reader should know beside the table: why stages did not pass, what the client says of
// itself, errors, warnings, and how the search ended.
func (r *Result) writeRemarks(b *strings.Builder) {
	b.WriteByte('\n')
	add := func(sign, format string, args ...any) { wrap(b, sign+" ", "    ", fmt.Sprintf(format, args...)) }
	if r.embeds() {
		add(" ", "e2e in ms, from the scheduled time")
	} else {
		add(" ", "TTFT and TPOT in ms; TTFT counts from the scheduled time")
	}
	if p := r.Probes; p != nil && p.SaturationRate > 0 {
		add(" ", "the server is saturated at %s %s, from %d streams on: what comes beyond that waits",
			num.Three(p.SaturationRate), r.RateUnit(), p.Streams)
	}
	// The answer of a search rests on all of its stages: why single ones are undecided is not of interest.
	_, lowest := r.Bracket()
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Judged() && !s.Repeated && s.Judgement.Outcome != slo.Pass && (r.Search == nil || s == lowest) {
			shown := *s
			if len(s.Client.Reasons) > 0 { // which are listed below
				shown.Judgement.Reasons = slices.DeleteFunc(slices.Clone(s.Judgement.Reasons),
					func(reason string) bool { return strings.HasPrefix(reason, "the client is ") })
			}
			add(SignOf(s.Judgement.Outcome), "%s: %s", s.Name, why(&shown))
		}
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		for _, reason := range s.Client.Reasons {
			add(SignWarning, "client %s on %s: %s", reason.Level, s.Name, reason.Text)
		}
	}
	explained := len(r.Asked.Objectives) == 0
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Requests.Errored == 0 {
			continue
		}
		text := fmt.Sprintf("%s of %s requests failed on %s: %s", num.Thousands(s.Requests.Errored),
			num.Thousands(s.Requests.ended()), s.Name, mostFrequent(s))
		if !explained {
			text += "; a failed request misses every objective on latency"
			explained = true
		}
		add(SignWarning, "%s", text)
	}
	for _, w := range r.Warnings {
		add(SignWarning, "%s", w.Text)
	}
	if k := r.Search; k != nil {
		add(" ", "search: %s (%v)", k.Why, k.Took.Round(time.Second))
		for _, note := range k.Notes {
			add(" ", "%s", note.Text)
		}
	}
}

// ended are the requests that completed or failed.
func (q Requests) ended() int { return q.Completed + q.Errored }

// writeAsked writes what was run.
func (r *Result) writeAsked(b *strings.Builder) {
	b.WriteString("\n  what was run\n")
	add := func(label, text string) {
		if text != "" {
			wrap(b, fmt.Sprintf("  %-9s ", label), strings.Repeat(" ", 12), text)
		}
	}
	writeCommand(b, r.Command)
	engine := r.EngineText()
	if engine != "" {
		engine += " at "
	}
	add("endpoint", engine+r.Asked.Target+", model "+r.Asked.Model)
	add("workload", strings.ReplaceAll(r.Asked.Workload, ",", ", ")+", "+r.arrivals())
	if len(r.Asked.Objectives) > 0 {
		add("SLO", fmt.Sprintf("%s (%s %% confidence)", r.Asked.SLO(), num.Exact(100*r.Asked.Confidence)))
	}
	var labels []string
	for name, value := range r.Asked.Labels {
		labels = append(labels, name+"="+value)
	}
	slices.Sort(labels)
	add("labels", strings.Join(labels, " "))
	add("seeds", fmt.Sprintf("arrivals %d, prompts %d", r.Asked.Seed, r.Workload.PromptSeed))
	requests := 0
	for i := range r.Stages {
		q := r.Stages[i].Requests
		requests += q.ended() + q.Unfinished
	}
	add("when", fmt.Sprintf("%s, %v: %s requests in %s", r.Began.Format("2006-01-02 15:04:05 -0700"),
		r.Took.Round(time.Second), num.Thousands(requests), num.Count(len(r.Stages), "stage")))
	add("workers", r.SentBy())
	add("openloop", r.Version)
}

// SentBy says which processes sent the load, and how well their clocks are known; "" where the program did alone.
func (r *Result) SentBy() string {
	var names []string
	worst := time.Duration(0)
	for i := range r.Stages {
		for _, w := range r.Stages[i].Client.Workers {
			if !slices.Contains(names, w.Name) {
				names = append(names, w.Name)
			}
			worst = max(worst, w.ClockError)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf("%d (%s), clocks known to ±%v or better", len(names), strings.Join(names, ", "),
		num.RoundDuration(worst))
}

// arrivals are the arrival processes of the open-loop stages.
func (r *Result) arrivals() string {
	var all []string
	for i := range r.Stages {
		text := "closed loop"
		if load := r.Stages[i].Load; load.Replays() {
			text = "arrivals of the trace"
		} else if load.Kind.Open() {
			text = load.Arrivals().String() + " arrivals"
		} else if r.Stages[i].Probe {
			continue
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return cmp.Or(strings.Join(all, ", "), "closed loop")
}

// writeCommand writes a command line to be pasted into a shell, in as many lines as it takes.
func writeCommand(b *strings.Builder, command []string) {
	if len(command) == 0 {
		return
	}
	line := "  command   "
	begun := false
	for _, word := range command {
		word = shell.Word(word)
		if begun && ansi.StringWidth(line)+1+ansi.StringWidth(word) > screenWidth-2 {
			b.WriteString(line + " \\\n")
			line, begun = strings.Repeat(" ", 14), false
		}
		if begun {
			line += " "
		}
		line, begun = line+word, true
	}
	b.WriteString(line + "\n")
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
