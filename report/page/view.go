package page

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/shell"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// view is what the template shows.
type view struct {
	Title         string
	Styles        template.CSS
	Library, Code template.JS
	Data          template.JS
	Comparison    *Comparison
	Base          string // the name of the base run; "" for none
	Runs          []*runView
	Glossary      []pair
	Version       string
}

type pair struct{ Name, Text string }

// runView is one run.
type runView struct {
	Index    int
	Name     string
	Model    string
	On       string // engine and version
	Labels   []pair
	When     string
	Target   string
	Answer   *answer
	Headline string
	Strip    template.HTML
	At       string // the stage whose figures stand beside the answer
	Figures  []figure
	Gates    []gate
	More     []pair // what else the answer says: what breaks first, cost
	Charts   []chartView
	Columns  []column
	Stages   []*stageView
	// Unprinted is how many stages a sheet of paper has no room for.
	Unprinted int
	Warnings  []string
	Facts     []pair
	Config    []pair // of the engine
	Command   string
}

// figure is one of the large figures.
type figure struct {
	Label, Value, Unit string
	Note               string // such as the bound
	Class              string // good, bad or ""
	Share              string // of the bound, in percent, for the bar; "" for none
}

type gate struct{ Name, Outcome, Class, Sign, Text string }

// chartView is a chart with what is said of it in words.
type chartView struct {
	Title, Caption, Empty string
	SVG                   template.HTML
	Table                 Table // the same as figures, for those who do not see it
}

// column is a column of the table of stages.
type column struct {
	Group, Name, Hint string
	Text              bool // words; else figures
	Extra             bool // left out where there is little room
}

// cell is a value of the table of stages.
type cell struct {
	Text  string
	Sort  string // by what it is sorted: a number, or the text itself
	Class string
	Extra bool
	Words bool
}

// stageView is one stage.
type stageView struct {
	Index       int
	Name        string
	Cells       []cell
	Outcome     badge
	Client      badge
	Why         []string
	At          bool // the answer is by it
	Unprinted   bool // there is no room for it on a sheet of paper
	Sent        string
	Bounds      []boundRow
	Sessions    string
	Turns       [][]string
	Groups      []groupTable
	Percentiles chartView
	Endings     []string
	Errors      []report.ErrorCount
	ErrorsLeft  int
	Engine      []pair
	EngineGone  string
	Engines     *groupTable // nil where they have no names
	Timeline    bool
}

type badge struct{ Text, Class, Sign string }

type boundRow struct {
	Objective, Seen, Outcome, Class, Misses string
}

func newView(in Input) (*view, error) {
	if len(in.Runs) == 0 {
		return nil, fmt.Errorf("a page needs at least one result")
	}
	v := &view{
		Styles:  template.CSS(asset("uplot/uPlot.min.css") + "\n" + asset("page.css")),
		Library: template.JS(asset("uplot/uPlot.iife.min.js")), Code: template.JS(asset("page.js")),
		Comparison: in.Comparison, Glossary: glossary, Version: in.Runs[0].Version,
	}
	if in.Base != nil {
		v.Base = cmp.Or(in.BaseName, "the base run")
	}
	for i, r := range in.Runs {
		run := newRunView(r, in.Base)
		run.Index = i
		if i < len(in.Names) {
			run.Name = in.Names[i]
		}
		v.Runs = append(v.Runs, run)
	}
	first := v.Runs[0]
	v.Title = strings.TrimSpace(fmt.Sprintf("%s %s%s %s: %s", first.Answer.Label, first.Answer.Sign,
		first.Answer.Figure, first.Answer.Unit, first.Model))
	var err error
	v.Data, err = newData(in.Runs)
	return v, err
}

// shortModel is a model without its organisation.
func shortModel(model string) string {
	if i := strings.LastIndexByte(strings.TrimRight(model, "/"), '/'); i >= 0 {
		return model[i+1:]
	}
	return model
}

func newRunView(r, base *report.Result) *runView {
	a := newAnswer(r)
	v := &runView{
		Model: cmp.Or(shortModel(r.Asked.Model), "model not named"), Target: r.Asked.Target, Answer: a,
		Headline: r.Answer(), Command: shell.Line(r.Command), Columns: columnsOf(),
	}
	v.On = r.EngineText()
	if e := r.Engine; e != nil {
		for _, k := range slices.Sorted(maps.Keys(e.Config)) {
			v.Config = append(v.Config, pair{k, e.Config[k]})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(r.Asked.Labels)) {
		v.Labels = append(v.Labels, pair{k, r.Asked.Labels[k]})
	}
	began := r.Began
	if began.IsZero() && len(r.Stages) > 0 {
		began = r.Stages[0].Began
	}
	if !began.IsZero() && began.Unix() != 0 {
		v.When = began.UTC().Format("2 Jan 2006, 15:04 UTC")
	}
	if took := r.Took.Round(time.Second); took > 0 {
		v.When = strings.TrimPrefix(v.When+", took "+took.String(), ", ")
	}
	a.Means = meaning(r, a)
	if strip := stripOf(r, a); strip != "" {
		v.Strip = template.HTML(strip)
	}
	v.Figures, v.At = figuresOf(r, a)
	for _, g := range r.Gates {
		b := outcomeBadge(g.Outcome)
		v.Gates = append(v.Gates, gate{g.Gate.String(), b.Text, b.Class, b.Sign, g.Text})
	}
	v.More = moreOf(r)
	v.Charts = chartsOf(r, base, a)
	for i := range r.Stages {
		v.Stages = append(v.Stages, newStageView(r, i, a))
	}
	v.Unprinted = leaveOut(r, a, v.Stages)
	for _, w := range r.Warnings {
		v.Warnings = append(v.Warnings, w.Text)
	}
	if r.Search != nil {
		for _, n := range r.Search.Notes {
			v.Warnings = append(v.Warnings, n.Text)
		}
	}
	v.Facts = factsOf(r)
	return v
}

// mostPrinted is how many stages there is room for on a sheet of paper.
const mostPrinted = 24

// leaveOut marks the stages that are not printed, where there are too many: those furthest from the answer.
func leaveOut(r *report.Result, a *answer, all []*stageView) int {
	if len(all) <= mostPrinted {
		return 0
	}
	center := 0.0
	if a.stage >= 0 {
		center = rateOf(&r.Stages[a.stage])
	}
	byDistance := slices.Clone(all)
	slices.SortStableFunc(byDistance, func(x, y *stageView) int {
		return cmp.Compare(math.Abs(rateOf(&r.Stages[x.Index])-center), math.Abs(rateOf(&r.Stages[y.Index])-center))
	})
	for _, s := range byDistance[mostPrinted:] {
		s.Unprinted = true
	}
	return len(all) - mostPrinted
}

// meaning says what the answer is to somebody who never saw one.
func meaning(r *report.Result, a *answer) string {
	bounds := objectivesText(r)
	switch {
	case len(r.Asked.Objectives) == 0 || a.Unit == "" && a.Figure != "none":
		return ""
	case a.Label != "max rate at SLO":
		return ""
	case a.Figure == "none":
		return "No rate that was tried keeps all objectives: " + bounds + "."
	case a.Sign == "<":
		return fmt.Sprintf("At %s requests a second the endpoint no longer keeps its objectives: %s.", a.Figure, bounds)
	case a.Sign == "≥":
		return fmt.Sprintf("At %s requests a second the endpoint still keeps its objectives (%s); its limit is higher.",
			a.Figure, bounds)
	}
	if s := r.Search; s != nil && s.Finding == sweep.Interval {
		return fmt.Sprintf("The highest request rate at which the endpoint keeps its objectives: %s. Plan with the "+
			"lower end, %s.", bounds, num.Rate(float64(s.Lower)))
	}
	about := ""
	if a.Sign != "" {
		about = "about "
	}
	return fmt.Sprintf("Up to %s%s requests a second, the endpoint keeps its objectives: %s.", about, a.Figure, bounds)
}

// moreOf is what else there is to say of the answer, each a short text with its name.
func moreOf(r *report.Result) []pair {
	var all []pair
	if b := r.BreaksFirst(); b != "" {
		all = append(all, pair{"breaks first", b})
	}
	rate, known := r.MaxRate()
	if !known {
		return all
	}
	text := fmt.Sprintf("%s %s", manyText(rate*86400), r.Arriving())
	if tokens, ok := r.OutputAtMaxRate(); ok {
		text += fmt.Sprintf(", %s output tokens", manyText(tokens*86400))
	}
	all = append(all, pair{fmt.Sprintf("a day at %s %s", num.Rate(rate), r.RateUnit()), text})
	if amount, ok := r.CostPerMillion(); ok {
		c := r.Asked.Cost
		all = append(all, pair{"cost", fmt.Sprintf("%s a million output tokens, at %s an hour", c.Amount(amount),
			c.Amount(c.PerHour))})
	}
	return all
}

// manyText writes large numbers for people: 1.03 million.
func manyText(v float64) string {
	for _, u := range []struct {
		from float64
		name string
	}{{1e12, " trillion"}, {1e9, " billion"}, {1e6, " million"}} {
		if v >= u.from {
			return num.Three(v/u.from) + u.name
		}
	}
	return num.Amount(v)
}

// figuresOf are the large figures, those of the stage nearest to the answer, and the name of that stage.
func figuresOf(r *report.Result, a *answer) ([]figure, string) {
	if a.stage < 0 {
		return nil, ""
	}
	s := &r.Stages[a.stage]
	at := fmt.Sprintf("measured at %s %s", num.Rate(rateOf(s)), s.RateUnit())
	switch {
	case !s.Load.Kind.Open():
		at = "measured on " + s.Name
	case r.Search != nil && !math.IsNaN(a.estimate):
		at += ", the stage nearest to the max rate"
	}
	tokens := figure{Label: "output", Value: num.Amount(outputOf(s)), Unit: "tok/s"}
	if s.Rates.Output == 0 && s.Rates.Tokens > 0 {
		tokens.Label, tokens.Note = "tokens", "prompts too: the file does not tell them apart"
	}
	all := []figure{tokens}
	seen := map[string]bool{}
	for _, of := range []metric{ttft, tpot} {
		key, o := counts(r, of.of), objectiveOn(r, of.of)
		value := float64(s.At(of.of, key))
		f := figure{Label: of.name + " " + key.String(), Value: num.Three(value), Unit: "ms"}
		if math.IsNaN(value) {
			f.Value, f.Unit, f.Note = "–", "", "nothing was observed"
		}
		if o != nil {
			seen[o.Name()] = true
			f.bound(value, o.Bound/1e6, o.Op, "ms")
			f.undecided(s, *o)
		}
		all = append(all, f)
	}
	for _, j := range s.Judgement.Objectives {
		o := j.Objective
		if seen[o.Name()] {
			continue
		}
		seen[o.Name()] = true
		f := figure{Label: strings.ReplaceAll(o.Name(), ":", " ")}
		if o.Metric.Latency() {
			f.Label = strings.ToUpper(string(o.Metric)) + " " + o.Statistic.String()
			f.Value, f.Unit = num.Three(float64(j.Value)/1e6), "ms"
			f.bound(float64(j.Value)/1e6, o.Bound/1e6, o.Op, "ms")
		} else {
			f.Value, f.Unit = num.Exact(num.Round(100*float64(j.Value))), "%"
			f.bound(100*float64(j.Value), 100*o.Bound, o.Op, "%")
		}
		if j.Value.IsAbsent() {
			f.Value, f.Unit = "–", ""
		}
		f.undecided(s, o)
		all = append(all, f)
	}
	return all, at
}

// bound says how the figure stands to its objective.
func (f *figure) bound(value, bound float64, op slo.Op, unit string) {
	f.Note = fmt.Sprintf("SLO %s %s %s", op, num.Exact(bound), unit)
	if math.IsNaN(value) || op == slo.Above || op == slo.AtLeast {
		return
	}
	f.Class = trusted
	if value > bound || math.IsInf(value, 0) {
		f.Class = useless
	}
	share := 100.0
	if bound > 0 {
		share = min(100*value/bound, 100)
	}
	f.Share = fmt.Sprintf("%.0f", share)
}

// undecided marks a figure whose objective is not decided: its value alone does not show that the objective holds.
func (f *figure) undecided(s *report.Stage, o slo.Objective) {
	for _, j := range s.Judgement.Objectives {
		if j.Objective.Name() == o.Name() && j.Outcome == slo.Undecided {
			f.Class, f.Note = pending, f.Note+": UNDECIDED, "+num.Thousands(j.N)+" requests"
		}
	}
}

func outcomeBadge(o slo.Outcome) badge {
	switch o {
	case slo.Pass:
		return badge{"PASS", "good", "●"}
	case slo.Fail:
		return badge{"FAIL", "bad", "×"}
	case slo.Undecided:
		return badge{"UNDECIDED", "open", "○"}
	}
	return badge{"", "", ""}
}

func clientBadge(l audit.Level) badge {
	switch l {
	case audit.Valid:
		return badge{"valid", "good", "✔"}
	case audit.Suspect:
		return badge{"suspect", "care", "!"}
	case audit.Invalid:
		return badge{"invalid", "bad", "✖"}
	}
	return badge{"not known", "", ""}
}

func columnsOf() []column {
	return []column{
		{"", "stage", "the load of the stage", true, false},
		{"requests/s", "asked", "requests a second, by the schedule", false, true},
		{"requests/s", "sent", "requests a second, on the wire", false, false},
		{"requests/s", "done", "requests a second, completed", false, true},
		{"", "in flight", "requests in flight, mean", false, true},
		{"TTFT, ms", "p50", "time to first token from the scheduled time, median", false, true},
		{"TTFT, ms", "p95", "time to first token from the scheduled time, 95th percentile", false, false},
		{"TTFT, ms", "p99", "time to first token from the scheduled time, 99th percentile", false, true},
		{"TPOT, ms", "p95", "time per output token after the first, 95th percentile", false, false},
		{"ITL, ms", "p99", "gap between two tokens, 99th percentile", false, true},
		{"", "tok/s", "output tokens a second", false, false},
		{"", "errors", "failed requests", false, false},
		{"delay, ms", "p99", "send delay: sent − scheduled, 99th percentile", false, true},
		{"", "client", "whether the load generator added to what it measured", true, false},
		{"", "outcome", "whether the objectives hold", true, false},
	}
}

// cellsOf are the values of a stage in the order of columnsOf.
func cellsOf(s *report.Stage, outcome, client badge) []cell {
	value := func(v float64) cell { return cell{Text: num.Three(v), Sort: sortKey(v)} }
	order := sortKey(rateOf(s))
	if !s.Load.Kind.Open() { // closed loops stand before the open ones
		order = sortKey(rateOf(s) - 1e9)
	}
	all := []cell{
		{Text: s.Name, Sort: order},
		value(float64(s.Rates.Asked)), value(s.Rates.Sent), value(s.Rates.Done), value(s.InFlight),
		value(float64(s.TTFT.P50)), value(float64(s.TTFT.P95)), value(float64(s.TTFT.P99)),
		value(float64(s.TPOT.P95)), value(float64(s.ITL.P99)),
		{Text: num.Amount(outputOf(s)), Sort: sortKey(outputOf(s))},
		{Text: num.Thousands(s.Requests.Errored), Sort: sortKey(float64(s.Requests.Errored))},
		value(float64(s.SendDelay.P99)),
		{Text: strings.TrimSpace(client.Sign + " " + client.Text), Sort: client.Text, Class: client.Class},
		{Text: strings.TrimSpace(outcome.Sign + " " + outcome.Text), Sort: outcome.Text, Class: outcome.Class},
	}
	if s.Requests.Errored > 0 {
		all[11].Class = "bad"
	}
	for i, c := range columnsOf() {
		all[i].Extra, all[i].Words = c.Extra, c.Text
	}
	return all
}

func sortKey(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return num.Exact(min(max(v, -1e12), 1e12))
}

func newStageView(r *report.Result, i int, a *answer) *stageView {
	s := &r.Stages[i]
	v := &stageView{Index: i, Name: s.Name, Client: clientBadge(s.Client.Level), At: i == a.stage}
	if s.Judged() {
		v.Outcome = outcomeBadge(s.Judgement.Outcome)
		v.Why = append(v.Why, s.Judgement.Reasons...)
		if n := s.Judgement.Need; n != nil && s.Judgement.Outcome == slo.Undecided {
			v.Why = append(v.Why, n.String()+" would decide")
		}
	}
	if s.Probe {
		v.Why = append(v.Why, "run to find rates to try, and not judged")
	}
	for _, reason := range s.Client.Reasons {
		v.Why = append(v.Why, fmt.Sprintf("client %s: %s", reason.Level, reason.Text))
	}
	v.Cells = cellsOf(s, v.Outcome, v.Client)
	q := s.Requests
	v.Sent = fmt.Sprintf("%s requests completed, %s failed, %s unfinished", num.Thousands(q.Completed),
		num.Thousands(q.Errored), num.Thousands(q.Unfinished))
	if q.NotSent > 0 {
		v.Sent += fmt.Sprintf(", %s not sent", num.Thousands(q.NotSent))
	}
	if s.Sending > 0 {
		v.Sent += fmt.Sprintf("; sent over %s s", num.Three(s.Sending.Seconds()))
	}
	if s.Reason != "" {
		v.Sent += fmt.Sprintf(" (ended: %s)", s.Reason)
	}
	for _, j := range s.Judgement.Objectives {
		v.Bounds = append(v.Bounds, boundOf(j))
	}
	v.Sessions, v.Turns = sessionsOf(s.Sessions)
	v.Groups = groupsOf(s, r.Asked.Confidence)
	v.Percentiles = percentilesOf(s)
	v.Endings = s.Endings()
	v.Errors = s.Errors
	v.ErrorsLeft = s.Requests.Errored
	for _, e := range s.Errors {
		v.ErrorsLeft -= e.Count
	}
	v.engine(s)
	v.Timeline = s.Series != nil || len(s.Log()) > 0
	return v
}

func boundOf(j slo.Judgement) boundRow {
	b := outcomeBadge(j.Outcome)
	o := j.Objective
	row := boundRow{Objective: objectiveText(o), Outcome: b.Sign + " " + b.Text, Class: b.Class}
	row.Seen = o.Seen(float64(j.Value))
	if o.Metric.Latency() && !j.Value.IsAbsent() && !math.IsInf(float64(j.Value), 0) {
		row.Seen = milliseconds(float64(j.Value) / 1e6)
	}
	if !j.MissShareLimit.IsAbsent() && j.N > 0 {
		row.Misses = fmt.Sprintf("%s of %s (limit %s %%)", num.Thousands(j.Misses), num.Thousands(j.N),
			num.Exact(num.Round(100*float64(j.MissShareLimit))))
	}
	return row
}

// engine is what the engine said of itself during the stage.
func (v *stageView) engine(s *report.Stage) {
	w := s.Engine
	if w == nil {
		v.EngineGone = "The engine's own metrics were not read."
		return
	}
	add := func(name, text string) { v.Engine = append(v.Engine, pair{name, text}) }
	if !w.Running.Mean.IsAbsent() {
		add("running", fmt.Sprintf("%s on average, at most %s", num.Three(float64(w.Running.Mean)),
			num.Three(float64(w.Running.Max))))
	}
	if !w.Waiting.Mean.IsAbsent() {
		add("waiting", fmt.Sprintf("%s on average, at most %s", num.Three(float64(w.Waiting.Mean)),
			num.Three(float64(w.Waiting.Max))))
	}
	if !w.KVUsage.Mean.IsAbsent() {
		add("KV cache in use", fmt.Sprintf("%.0f %% on average, at most %.0f %%", 100*float64(w.KVUsage.Mean),
			100*float64(w.KVUsage.Max)))
	}
	if !w.Preemptions.IsAbsent() {
		add("preemptions", num.Three(float64(w.Preemptions)))
	}
	if !w.HitShare.IsAbsent() {
		add("prompt tokens from the prefix cache", fmt.Sprintf("%.1f %%", 100*float64(w.HitShare)))
	}
	if !w.TTFT.P95.IsAbsent() {
		add("its own TTFT p95", milliseconds(1e3*float64(w.TTFT.P95)))
	}
	if w.Drafted > 0 || w.AcceptShare > 0 { // some engines do not count drafts; results of before have 0 of both
		add("speculated tokens accepted", fmt.Sprintf("%.1f %%", 100*float64(w.AcceptShare)))
	}
	if rows := s.EngineRows(); len(rows) > 0 {
		v.Engines = &groupTable{Head: report.EngineHead(), Rows: rows, Notes: s.EngineNotes()}
	}
	if w.Errors > 0 && len(s.Engines) < 2 {
		add("scrapes that failed", fmt.Sprintf("%d: %s", w.Errors, w.Error))
	}
	if len(v.Engine) == 0 {
		v.EngineGone = "The engine reported no metrics that openloop knows."
	}
}

// factsOf says what was run.
func factsOf(r *report.Result) []pair {
	var all []pair
	add := func(name, text string) {
		if text != "" {
			all = append(all, pair{name, text})
		}
	}
	add("endpoint", r.Asked.Target)
	add("model", r.Asked.Model)
	add("workload", r.Asked.Workload)
	add("profile", r.Asked.Profile)
	if len(r.Asked.Objectives) > 0 {
		add("objectives", fmt.Sprintf("%s (%s confidence)", r.Asked.SLO(),
			percent(slo.WithDefault(r.Asked.Confidence))))
	}
	add("workers", r.SentBy())
	add("seeds", fmt.Sprintf("arrivals %d, prompts %d", r.Asked.Seed, r.Workload.PromptSeed))
	add("engine", r.EngineText())
	if p := r.Probes; p != nil {
		text := fmt.Sprintf("one stream does %s %s", num.Three(p.SynchronousRate), r.RateUnit())
		if p.SaturationRate > 0 {
			text += fmt.Sprintf("; saturated at %s %s, with %d streams or more", num.Three(p.SaturationRate),
				r.RateUnit(), p.Streams)
		}
		add("probes", text)
	}
	if len(r.Stages) > 0 {
		m := r.Stages[len(r.Stages)-1].Client.Measurements
		var parts []string
		if m.Stamps != "" {
			parts = append(parts, m.Stamps+" stamps")
		}
		if m.Pacer != "" {
			parts = append(parts, "paced by "+m.Pacer)
		}
		if m.CPULimit > 0 {
			parts = append(parts, num.Exact(num.Round(m.CPULimit))+" processors")
		}
		add("client", strings.Join(parts, ", "))
	}
	add("openloop", r.Version)
	return all
}

// chartsOf are the charts of a run.
func chartsOf(r, base *report.Result, a *answer) []chartView {
	ttftChart := latencyView(r, base, a, ttft, "Time to first token")
	tpotChart := latencyView(r, base, a, tpot, "Time per output token")
	c := throughputChart(r, base)
	output := chartView{Title: "Output against latency", SVG: template.HTML(c.svg())}
	output.Caption = "Output tokens a second at each rate, against TTFT and TPOT: up and to the left is better."
	if c.points() == 0 {
		output.Empty = "No stage has a latency to show."
	}
	output.Table = Table{Title: output.Title, Columns: []string{"stage", "output tokens/s", "TTFT, ms", "TPOT, ms"}}
	for _, i := range drawn(r) {
		s := &r.Stages[i]
		output.Table.Rows = append(output.Table.Rows, Row{Cells: []string{
			s.Name, num.Three(outputOf(s)), num.Three(float64(s.At(slo.TTFT, counts(r, slo.TTFT)))),
			num.Three(float64(s.At(slo.TPOT, counts(r, slo.TPOT)))),
		}})
	}
	return []chartView{ttftChart, tpotChart, output}
}

func latencyView(r, base *report.Result, a *answer, of metric, title string) chartView {
	c := latencyChart(r, base, a, of)
	v := chartView{Title: fmt.Sprintf("%s (%s) against rate", title, of.name), SVG: template.HTML(c.svg())}
	if c.points() == 0 {
		v.Empty = "No stage has a " + of.name + " to show."
	}
	key := counts(r, of.of)
	stages := drawn(r)
	v.Table = Table{Title: v.Title, Columns: []string{"stage", "req/s", "p50, ms", key.String() + ", ms", "p99, ms",
		"outcome"}}
	var seen []string
	for _, i := range stages {
		s := &r.Stages[i]
		at := func(statistic slo.Statistic) float64 { return float64(s.At(of.of, statistic)) }
		if v := at(key); !math.IsNaN(v) {
			seen = append(seen, milliseconds(v)+" at "+num.Rate(rateOf(s))+" "+s.RateUnit())
		}
		outcome := ""
		if s.Judged() {
			outcome = string(s.Judgement.Outcome)
		}
		v.Table.Rows = append(v.Table.Rows, Row{Cells: []string{s.Name, num.Rate(rateOf(s)), num.Three(at(p50)),
			num.Three(at(key)), num.Three(at(p99)), outcome}})
	}
	if n := len(seen); n > 2 {
		seen = []string{seen[0], seen[n-1]}
	}
	if len(seen) > 0 {
		v.Caption = key.String() + ": " + strings.Join(seen, ", ") + "."
	}
	return v
}

func percentilesOf(s *report.Stage) chartView {
	c := percentileChart(s)
	v := chartView{Title: "Percentiles", SVG: template.HTML(c.svg())}
	v.Caption = "Each step to the right is ten times rarer."
	if c.points() == 0 {
		v.Empty = "No latency was observed."
	}
	v.Table = Table{Title: "Percentiles of " + s.Name + ", ms",
		Columns: []string{"latency", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"}}
	for _, of := range []struct {
		name string
		l    *report.Latency
	}{{"TTFT", &s.TTFT}, {"TTFO", s.TTFO}, {"TPOT", &s.TPOT}, {"ITL", &s.ITL}, {"e2e", s.E2E},
		{"send delay", &s.SendDelay}} {
		if of.l == nil {
			continue
		}
		row := Row{Cells: []string{of.name}}
		for _, x := range []num.Value{of.l.Mean, of.l.P50, of.l.P90, of.l.P95, of.l.P99, of.l.P999, of.l.Max} {
			row.Cells = append(row.Cells, num.Three(float64(x)))
		}
		v.Table.Rows = append(v.Table.Rows, row)
	}
	return v
}

// stripOf shows the rates that were tried on a line, with the interval: how well the answer is bracketed. It is empty
// where no stage was judged.
func stripOf(r *report.Result, a *answer) string {
	const width, left, right, line, height = 560.0, 12.0, 548.0, 20.0, 42.0
	var marks []mark
	most := 0.0
	for _, i := range drawn(r) {
		s := &r.Stages[i]
		if !s.Load.Kind.Open() || !s.Judged() {
			continue
		}
		m := marked(r, i, point{rateOf(s), 0}, fmt.Sprintf("%s %s", num.Rate(rateOf(s)), s.RateUnit()))
		marks = append(marks, m)
		most = max(most, m.x)
	}
	if len(marks) == 0 || math.IsInf(most, 0) {
		return ""
	}
	x := axis{from: 0, to: most * 1.05}
	place := func(v float64) float64 { return left + x.place(v)*(right-left) }
	p := &svgPen{}
	fmt.Fprintf(&p.b, `<svg class="strip" viewBox="0 0 %s %s" role="img" aria-label="%s">`,
		number(width), number(height),
		template.HTMLEscapeString(fmt.Sprintf("rates that were tried, from 0 to %s requests a second", num.Rate(most))))
	for _, b := range a.bands() {
		from, to := place(b.from), place(min(b.to, x.to))
		if to-from < 4 {
			from, to = (from+to)/2-2, (from+to)/2+2
		}
		s := style{fill: shade}
		if b.open {
			s.opacity = 0.45
		}
		p.rect(from, 4, to-from, line+8, s)
	}
	p.path([]point{{left, line}, {right, line}}, style{stroke: quiet, width: 1})
	for _, t := range x.marksOf(8) {
		p.path([]point{{place(t.at), line}, {place(t.at), line + 8}}, style{stroke: quiet, width: 1})
		p.text(point{place(t.at), height - 4}, middle, 12, false, quiet, t.text)
	}
	if !math.IsNaN(a.estimate) && a.estimate <= x.to {
		p.path([]point{{place(a.estimate), 4}, {place(a.estimate), line + 8}}, style{stroke: ink, width: 2})
	}
	c := &chart{x: axis{from: 0, to: 1}, y: axis{from: 0, to: 1}}
	for _, m := range marks {
		m.point = point{place(m.x), line}
		c.drawMark(p, frame{c: c, left: 0, right: 1, bottom: 0, top: 1}, &m)
	}
	p.b.WriteString("</svg>")
	return p.b.String()
}

// glossary is what the words of the page mean.
var glossary = []pair{
	{"max rate at SLO", "the highest request rate at which the endpoint still keeps its objectives (SLO): the answer"},
	{"interval", "where the max rate lies, with the confidence that stands beside it; the narrower, the surer"},
	{"stage", "a period of load at one rate, and what was measured in it"},
	{"PASS, FAIL, UNDECIDED", "outcome of the objectives on a stage; UNDECIDED: too few requests to tell"},
	{"client valid, suspect, invalid", "whether the load generator itself added to what it measured"},
	{"TTFT", "time to first token: from the scheduled time of a request until its first token came"},
	{"TTFO", "time to first output token: until the first token of the answer itself, after any reasoning"},
	{"TPOT", "time per output token: (last − first token) / (output tokens − 1), one value a request"},
	{"ITL", "gap between two consecutive tokens, each gap one value"},
	{"p50, p95, p99", "half of the requests, 95 % and 99 % of them were this fast or faster"},
	{"asked, sent, done", "requests a second: by the schedule, on the wire, completed"},
	{"send delay", "how much later than scheduled a request was sent"},
	{"unfinished", "still in flight when the stage ended"},
	{"open loop", "requests are sent on a schedule that does not wait for the server, as independent users do"},
	{"closed loop", "a fixed number of requests in flight: the next one waits for an answer"},
	{"saturation", "the most requests a second that the server did, however many it had to do"},
}

// groupTable are the requests of a stage by class or by target.
type groupTable struct {
	Title, Of string
	Head      []string
	Rows      [][]string
	Notes     []string
}

func groupsOf(s *report.Stage, confidence float64) (tables []groupTable) {
	for _, t := range []struct {
		title, of string
		groups    []report.Group
	}{{"Classes", "class", s.Classes}, {"Targets", "target", s.Targets}} {
		if len(t.groups) == 0 {
			continue
		}
		table := groupTable{Title: t.title, Of: t.of, Head: report.GroupHead()}
		for k := range t.groups {
			table.Rows = append(table.Rows, append([]string{t.groups[k].Name}, report.GroupRow(&t.groups[k])...))
		}
		if t.of == "target" {
			table.Notes = s.TargetDifferences(confidence)
		}
		tables = append(tables, table)
	}
	return tables
}

// sessionsOf says what became of a stage's sessions, as a whole and by turn.
func sessionsOf(s *report.Sessions) (text string, turns [][]string) {
	if s == nil {
		return "", nil
	}
	text = fmt.Sprintf("%s sessions a second; %s done, %s abandoned, %s unfinished", num.Three(s.Rate),
		num.Thousands(s.Done), num.Thousands(s.Abandoned), num.Thousands(s.Unfinished))
	if !s.E2E.P95.IsAbsent() {
		text += fmt.Sprintf("; a whole one took %s s at the 95th percentile", num.Three(float64(s.E2E.P95)/1e3))
	}
	for i := range s.Turns {
		t := &s.Turns[i]
		turns = append(turns, append([]string{fmt.Sprint(t.Turn), num.Thousands(t.Requests),
			num.Three(float64(t.TTFT.P50)), num.Three(float64(t.TTFT.P95))}, t.Lengths()...))
	}
	return text + ".", turns
}
