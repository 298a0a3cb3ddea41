package peer

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/llmsim"
)

// Audit is what came out: what a load generator reported, beside what the server saw of it.
type Audit struct {
	Command []string  `json:"command"` // as it was given, credentials left out
	Engine  string    `json:"engine"`  // that was simulated
	Began   time.Time `json:"began"`

	Tool     string `json:"tool"`                // what wrote the report; "": none was read
	Report   string `json:"report"`              // its file
	NoReport string `json:"no_report,omitempty"` // why none was read

	Stages  []Stage  `json:"stages"`
	Process Process  `json:"process"`
	Lines   []Line   `json:"lines"` // of the whole run
	Notes   []string `json:"notes"`
	// Connections is how many connections were opened in all; Others how many requests belong to no stage, such as a
	// trial or a warm-up.
	Connections int `json:"connections"`
	Others      int `json:"other_requests"`

	// LastLines are the last that the command printed.
	LastLines []string `json:"-"`
}

// Stage is one stage of the load.
type Stage struct {
	Name  string      `json:"name"`
	Claim *StageClaim `json:"claim,omitempty"` // nil where no report was read
	Seen  *Seen       `json:"seen"`
	Lines []Line      `json:"lines"`
}

// Line is one thing that was reported and that happened. Error is reported − happened, in the line's unit.
type Line struct {
	Key      string    `json:"key"` // such as ttft_p50
	Name     string    `json:"name"`
	Unit     string    `json:"unit,omitempty"`
	Reported num.Value `json:"reported"`
	Happened num.Value `json:"happened"`
	Error    num.Value `json:"error"`
	Percent  num.Value `json:"error_percent"` // of what happened; absent where it says nothing
	// In words, where there is no number.
	ReportedText string `json:"reported_text,omitempty"`
	HappenedText string `json:"happened_text,omitempty"`
	Remark       string `json:"remark,omitempty"`
}

// compare fills in the audit's stages and lines.
func (a *Audit) compare(claim *Claim, truth []llmsim.Truth, run *ran) {
	truth = byArrival(truth)
	a.Process = run.process
	if len(truth) > 0 {
		a.Process.First = num.Value(truth[0].Wall.Sub(run.began).Seconds())
	}
	before := map[string]bool{}
	counted := 0
	add := func(c *StageClaim, requests []llmsim.Truth) {
		if len(requests) == 0 && c == nil {
			return
		}
		// A prompt of an earlier stage, or of a trial, was sent before as well.
		for i := range truth {
			if r := &truth[i]; len(requests) == 0 || r.Read >= requests[0].Read {
				break
			} else if r.Prompt != "" {
				before[r.Prompt] = true
			}
		}
		seen := see(requests, before)
		counted += seen.Requests
		name := "all requests"
		if c != nil {
			name = c.Name
		}
		a.Stages = append(a.Stages, Stage{Name: name, Claim: c, Seen: seen, Lines: stageLines(c, seen)})
	}
	switch {
	case claim == nil || len(claim.Stages) == 0:
		add(nil, withoutTrials(truth, nil))
	case len(claim.Stages) == 1:
		add(&claim.Stages[0], withoutTrials(truth, &claim.Stages[0]))
	default:
		for i := range claim.Stages {
			c := &claim.Stages[i]
			add(c, within(truth, c.Began, c.Ended))
		}
	}
	if claim != nil {
		a.Tool, a.Report = claim.Tool, claim.File
	}
	a.Others = max(len(truth)-counted, 0)
	a.costOfTokens(run)
	a.Lines = a.processLines()
	a.note(truth)
}

// costOfTokens is the processor time that a token took the command.
func (a *Audit) costOfTokens(run *ran) {
	tokens, cpu := 0, 0.0
	known := len(a.Stages) > 0
	for i := range a.Stages {
		s := a.Stages[i].Seen
		used := cpuBetween(run.samples, s.Began, s.lastAnswer)
		known = known && !used.IsAbsent()
		tokens, cpu = tokens+s.OutputTotal, cpu+float64(used)
	}
	switch {
	case tokens == 0:
	case known:
		a.Process.CPUToken, a.Process.CPUOfLoad = num.Value(1e6*cpu/float64(tokens)), true
	default:
		a.Process.CPUToken = num.Value(1e6 * float64(a.Process.CPU) / float64(tokens))
	}
}

func (a *Audit) processLines() []Line {
	p := &a.Process
	cpu := line("cpu_token", "processor time a token", "µs", num.Absent(), p.CPUToken)
	if p.CPUOfLoad {
		cpu.Remark = fmt.Sprintf("while load was sent; %s s over its whole run of %s s", num.Three(float64(p.CPU)),
			num.Three(p.Took))
	} else {
		cpu.Remark = "over its whole run, with start-up and report"
	}
	memory := line("memory", "memory at most", "MB", num.Absent(), p.Memory)
	if p.Processes > 1 {
		memory.Remark = fmt.Sprintf("in %d processes", p.Processes)
	}
	first := line("first_request", "first request after", "s", num.Absent(), p.First)
	connections := line("connections_opened", "connections opened", "connections", num.Absent(),
		num.Value(a.Connections))
	return []Line{cpu, memory, first, connections}
}

// note says what concerns the run as a whole.
func (a *Audit) note(truth []llmsim.Truth) {
	note := func(format string, args ...any) { a.Notes = append(a.Notes, fmt.Sprintf(format, args...)) }
	if len(truth) == 0 {
		note("no request reached the server: does the command contain {target} (or {target}/v1)?")
		return
	}
	if a.Others > 0 {
		note("%d more requests, before or after, are not counted: trials, warm-up, or what the report leaves out",
			a.Others)
	}
	late := 0.0
	for i := range a.Stages {
		if v := float64(a.Stages[i].Seen.ServerLate); v > late {
			late = v
		}
	}
	if late > lateServer {
		note("the server itself wrote first tokens up to %s ms late (p99): this machine is busy. That is in what "+
			"happened, and not held against the command", num.Three(late))
	}
}

// The limits of what is remarked upon.
const (
	lateServer   = 1    // ms
	rateMargin   = 0.02 // share
	timeMargin   = 0.05 // share
	timeLeast    = 0.5  // ms
	lengthMargin = 0.02 // share
	repeatMargin = 0.01 // share of prompts
	togetherMore = 0.05 // share of requests beyond those of a Poisson process
)

func line(key, name, unit string, reported, happened num.Value) Line {
	l := Line{Key: key, Name: name, Unit: unit, Reported: reported, Happened: happened}
	l.Error = reported - happened
	l.Percent = num.Absent()
	if happened > 0 {
		l.Percent = 100 * l.Error / happened
	}
	return l
}

// off says whether the error is more than a share of what happened, and than so much.
func (l *Line) off(share, least float64) bool {
	return math.Abs(float64(l.Error)) > max(share*math.Abs(float64(l.Happened)), least)
}

// Large says whether the error is one to speak of.
func (l *Line) Large() bool {
	switch {
	case l.Key == "arrivals":
		return strings.HasPrefix(l.HappenedText, notClaimed)
	case l.Unit == "ms":
		return l.off(timeMargin, timeLeast)
	case l.Unit == "tokens":
		return l.off(lengthMargin, 0.5)
	}
	return l.off(rateMargin, 0)
}

// notClaimed begins the text of arrivals that are not what the report says.
const notClaimed = "not: "

// stageLines are the lines of a stage; c is nil where there is no report.
func stageLines(c *StageClaim, s *Seen) []Line {
	if c == nil {
		none := newStage("")
		c = &none
	}
	rate := line("rate", "requests a second", "req/s", c.Rate, s.Arrivals.Rate)
	var remarks []string
	if c.Asked > 0 && s.Arrivals.Rate > 0 {
		margin := rateMargin
		if !strings.HasPrefix(c.Arrivals, KindEven) { // a random process has another rate each time
			margin = max(margin, 3/math.Sqrt(float64(s.Requests)))
		}
		if part := float64(s.Arrivals.Rate / c.Asked); math.Abs(part-1) > margin {
			remarks = append(remarks, fmt.Sprintf("%s were asked for: it sent %.0f %% of them",
				num.Rate(float64(c.Asked)), 100*part))
		}
	}
	// The ends of a stage are worth one request and a half, whatever the rate is made of.
	if rate.off(max(rateMargin, 1.5/float64(max(s.Requests, 1))), 0) {
		remarks = append(remarks, "its report counts "+c.RateOf)
	}
	rate.Remark = strings.Join(remarks, "; ")

	sent := line("sent", "requests sent", "requests", c.Sent, num.Value(s.Requests))
	completed := line("completed", "requests completed", "requests", c.Completed, num.Value(s.Completed))
	failed := line("failed", "requests failed", "requests", c.Errored, num.Value(s.Failed))
	if s.Abandoned > 0 {
		completed.Remark = fmt.Sprintf("it broke off %d more before their end", s.Abandoned)
	}

	lines := []Line{rate, sent, completed, failed, arrivalsLine(c, s)}
	ms := func(key, name string, reported, happened num.Value) {
		lines = append(lines, line(key, name, "ms", reported, happened))
	}
	ms("ttft_p50", "TTFT p50", c.TTFT50, s.TTFT50)
	ms("ttft_p99", "TTFT p99", c.TTFT99, s.TTFT99)
	itl, itl99, kind := s.ITLMean, s.ITL99, "ITL p99"
	if c.ITLPerRequest {
		itl, itl99, kind = s.RequestITL, s.Request99, "ITL p99 (of requests)"
	}
	ms("itl_mean", "ITL mean", c.ITLMean, itl)
	ms("itl_p99", kind, c.ITL99, itl99)
	if s.Unstreamed > 0 {
		lines[len(lines)-1].Remark = fmt.Sprintf("%d answers were not streamed, and have no TTFT", s.Unstreamed)
	}
	lines = append(lines, lengthLines(c, s)...)
	if c.Verdict != "" {
		none := num.Absent()
		lines = append(lines, Line{
			Key: "verdict", Name: "the client by its report", Unit: "verdict", Reported: none, Happened: none,
			Error: none, Percent: none, ReportedText: c.Verdict,
		})
	}
	return lines
}

func arrivalsLine(c *StageClaim, s *Seen) Line {
	none := num.Absent()
	a := &s.Arrivals
	l := Line{
		Key: "arrivals", Name: "arrivals", Unit: "variance/mean", Reported: none, Happened: a.Dispersion, Error: none,
		Percent: none, ReportedText: c.Arrivals,
	}
	kind := a.Kind()
	l.HappenedText = kind
	if kind == KindUnknown {
		return l
	}
	claimed := KindPoisson
	var remarks []string
	switch {
	case strings.HasPrefix(c.Arrivals, KindPoisson):
		l.Error = a.Dispersion - 1
	case strings.HasPrefix(c.Arrivals, KindEven):
		claimed, l.Error = KindEven, a.Dispersion
	default:
		claimed = kind // nothing was claimed that could be wrong
	}
	l.HappenedText = fmt.Sprintf("%s, %s", kind, num.Three(float64(a.Dispersion)))
	if kind != claimed {
		want := "1 is Poisson"
		if claimed == KindEven {
			want = "0 is even"
		}
		l.HappenedText = notClaimed + num.Three(float64(a.Dispersion))
		remarks = append(remarks, fmt.Sprintf("%s: variance/mean of counts %s, where %s", described[kind],
			num.Three(float64(a.Dispersion)), want))
	}
	expected := 0.0
	if claimed == KindPoisson {
		expected = float64(a.PoissonTogether)
	}
	if float64(a.Together) > expected+togetherMore {
		process := "a Poisson"
		if claimed == KindEven {
			process = "an even"
		}
		remarks = append(remarks, fmt.Sprintf("%.0f %% arrive within 0.1 ms of the one before (%s process: %.0f %%)",
			100*float64(a.Together), process, 100*expected))
	}
	if a.RepeatsEvery > 0 {
		remarks = append(remarks, fmt.Sprintf("the same gaps come again every %d requests", a.RepeatsEvery))
	}
	l.Remark = strings.Join(remarks, "; ")
	return l
}

var described = map[string]string{
	KindPoisson: "irregular as a Poisson process", KindEven: "evenly spaced", KindBunched: "in bunches",
	KindBetween: "between even and Poisson",
}

// lengthLines are what was sent, in tokens, and whether it had been sent before.
func lengthLines(c *StageClaim, s *Seen) []Line {
	prompt := line("prompt_tokens", "prompt tokens", "tokens", c.PromptTokens, s.PromptTokens)
	output := line("output_tokens", "output tokens", "tokens", c.OutputTokens, s.OutputTokens)
	if prompt.off(lengthMargin, 1) {
		prompt.Remark = "by the server's count, with the chat template"
	}
	if asked := s.AskedOutput; math.Abs(float64(asked-s.OutputTokens)) > lengthMargin*float64(asked) {
		output.Remark = num.Three(float64(asked)) + " were asked for with each request"
	}
	if output.off(lengthMargin, 0.5) {
		output.Remark = "it counts by a tokenizer of its own, where the server reports its count"
		if c.ITLPerRequest {
			output.Remark += "; its ITL divides by that"
		}
	}
	none := num.Absent()
	again := line("repeated_prompts", "prompts sent before", "%", none, 100*s.RepeatedPrompts)
	if s.RepeatedPrompts > repeatMargin || s.RepeatedTokens > repeatMargin {
		again.Remark = fmt.Sprintf("a prefix cache would hold %.0f %% of the prompt tokens",
			100*float64(s.RepeatedTokens))
	}
	connections := line("connections", "connections used", "connections", none, num.Value(s.Connections))
	return []Line{prompt, output, again, connections}
}

// Find is the line of a key; nil where there is none.
func (s *Stage) Find(key string) *Line {
	if i := slices.IndexFunc(s.Lines, func(l Line) bool { return l.Key == key }); i >= 0 {
		return &s.Lines[i]
	}
	return nil
}
