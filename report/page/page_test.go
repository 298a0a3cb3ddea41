package page

import (
	"bytes"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

var keep = flag.String("keep", "", "folder for the pages that the tests make, to be looked at")

func written(t testing.TB, in Input) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, in); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Every page says what it should, is the same each time, and is small.
func TestPages(t *testing.T) {
	for name, in := range examples(t) {
		text := written(t, in)
		if *keep != "" {
			if err := os.WriteFile(filepath.Join(*keep, name+".html"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if text != written(t, in) {
			t.Errorf("%s: two pages of one result differ", name)
		}
		data := text[strings.Index(text, `id="data"`):]
		data = data[:strings.Index(data, "</script>")]
		if rest := len(text) - len(data); rest > 1<<20 {
			t.Errorf("%s: the page takes %d bytes beside its data", name, rest)
		}
		if len(text) > 4<<20 {
			t.Errorf("%s: the page takes %d bytes", name, len(text))
		}
	}
}

func TestWhatPagesSay(t *testing.T) {
	pages := map[string]string{}
	for name, in := range examples(t) {
		pages[name] = written(t, in)
	}
	pages["GuideLLM's"] = written(t, guideLLMs(t))
	for name, want := range map[string][]string{
		"search": {"11.9", "95 % interval 11.4 – 12.3 (−4.2 % +3.4 %)", "Trust it", "client valid on all 11 stages",
			"rate&gt;=10", "Qwen2.5-7B-Instruct", "vLLM 0.23.0", "1×L4", "breaks first", "24 Nov 2026, 16:43 UTC"},
		"errors": {"HTTP 503 Service Unavailable: overloaded", "Use with care", "client suspect on 1 of 4 stages",
			"the server was busy with something else"},
		"open":       {"UNDECIDED", "at 6 req/s: about 59 more requests (10s) would decide"},
		"many":       {`"step":1`, `"of":`},
		"comparison": {"after is better", "base: before", "was answered from the cache", "▲", "▼"},
		"several":    {`id="run-1"`, `href="#run-1"`},
		"GuideLLM's": {"highest rate done", "no objectives were given", "nothing is known of the client", "No timeline",
			"metrics were not read"},
		"long":    {"and 21 stages further from the answer"},
		"nothing": {"no stage was run", "No stage has a TTFT to show."},
	} {
		for _, w := range want {
			if !strings.Contains(html.UnescapeString(pages[name]), html.UnescapeString(w)) {
				t.Errorf("%s does not say %q", name, w)
			}
		}
	}
}

// Nothing that a server, a file or a user wrote becomes markup or code.
func TestHostileText(t *testing.T) {
	const evil = "</script><script>alert(1)</script>\u2028<img src=x onerror=alert(2)>\"'`{{.}}]]>\x00"
	r := searched(engine{capacity: 14, seconds: 3, failing: 0.5, seed: 1}.made(t, 5, 12), 10, 9, 11)
	r.Asked.Model, r.Asked.Target, r.Asked.Workload, r.Version = evil, evil, evil, evil
	r.Asked.Labels = map[string]string{evil: evil}
	r.Command = []string{"openloop", evil}
	r.Engine.Name, r.Engine.Version, r.Engine.Config = evil, evil, map[string]string{evil: evil}
	r.Search.Limiting, r.Search.Why = evil, evil
	r.Warnings = []sweep.Warning{{Stage: -1, Text: evil}}
	r.Gates[0].Text = evil
	for i := range r.Stages {
		s := &r.Stages[i]
		s.Name = evil
		s.Errors = []report.ErrorCount{{Kind: evil, Text: evil, Count: 1}}
		s.Judgement.Reasons = []string{evil}
		s.Client = audit.Verdict{Level: audit.Suspect, Reasons: []audit.Reason{{Text: evil}}}
		s.Engine.Errors, s.Engine.Error = 1, evil
		log := s.Log()
		for k := range log {
			log[k].Status, log[k].Error = "errored", evil
		}
	}
	text := written(t, Input{
		Runs: []*report.Result{r, r}, Names: []string{evil, evil}, Base: r, BaseName: evil,
		Comparison: &Comparison{Summary: evil, Notes: []string{evil}, Tables: []Table{
			{Title: evil, Columns: []string{evil}, Rows: []Row{{[]string{evil}, Change(evil)}}},
		}},
	})
	if n := strings.Count(text, "<script"); n != 3 {
		t.Errorf("%d scripts, want 3", n)
	}
	if n := strings.Count(text, "</script"); n != 3 {
		t.Errorf("%d ends of scripts, want 3", n)
	}
	for _, bad := range []string{"<img", "\u2028", "{{.}}</"} {
		data := text[strings.Index(text, `id="data"`):]
		if bad == "\u2028" { // harmless in HTML, but in a script it ends a line
			text = data[:strings.Index(data, "</script>")]
		}
		if bad != "{{.}}</" && strings.Contains(text, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

// The words under a chart are of the first and the last stage that have a value.
func TestCaption(t *testing.T) {
	r := engine{capacity: 14, seconds: 5, seed: 1}.made(t, 2, 4, 8, 12)
	for _, i := range []int{0, 3} {
		r.Stages[i].TTFT = latencyOf(nil)
		r.Stages[i].Judgement.Objectives[0].Value = num.Absent()
	}
	got := latencyView(r, nil, newAnswer(r), ttft, "Time to first token").Caption
	want := fmt.Sprintf("p95: %s at 4 req/s, %s at 8 req/s.", milliseconds(float64(r.Stages[1].TTFT.P95)),
		milliseconds(float64(r.Stages[2].TTFT.P95)))
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The page shows the value that an objective was judged by, as the screen does.
func TestObservedValue(t *testing.T) {
	r := engine{capacity: 14, seconds: 5, seed: 1}.made(t, 8)
	r.Stages[0].Judgement.Objectives[0].Value = 123.4e6
	figures, _ := figuresOf(r, newAnswer(r))
	if got := figures[1]; got.Label != "TTFT p95" || got.Value != "123" {
		t.Errorf("%s is %s, want 123", got.Label, got.Value)
	}
}

func TestAnswer(t *testing.T) {
	l4 := engine{capacity: 14, seconds: 5, seed: 1}
	for name, c := range map[string]struct {
		change               func(*report.Result)
		sign, figure, margin string
		trust                string
	}{
		"interval": {func(*report.Result) {}, "", "11.9", "95 % interval 11.4 – 12.3 (−4.2 % +3.4 %)", trusted},
		"wide": {func(r *report.Result) { r.Search.Lower, r.Search.Upper = 8, 14 }, "", "8 – 14",
			"95 % interval; best estimate 11.9", careful},
		"no lower end": {func(r *report.Result) { r.Search.Lower = num.Absent() }, "<", "12.3",
			"estimate 11.9, 97.5 % one-sided", careful},
		"no upper end": {func(r *report.Result) { r.Search.Upper = num.Absent() }, "≥", "11.4",
			"estimate 11.9, 97.5 % one-sided", careful},
		"at least": {func(r *report.Result) {
			r.Search.Finding, r.Search.Upper = sweep.AtLeast, num.Absent()
		}, "≥", "11.4",
			"97.5 % sure; no rate that was tried missed an objective", trusted},
		"near": {func(r *report.Result) { r.Search.Finding, r.Search.Rough = sweep.Near, true }, "≈", "11.9",
			"UNDECIDED: the margin can't be stated yet", pending},
		"none": {func(r *report.Result) {
			r.Search.Finding, r.Search.Estimate, r.Search.Lower = sweep.None, num.Absent(), num.Absent()
		}, "", "none", "even the lowest rate that was tried misses tpot:p95", trusted},
		"unknown": {func(r *report.Result) {
			r.Search.Finding, r.Search.Why = sweep.Unknown, "no stage was judged"
		}, "",
			"UNDECIDED", "no stage was judged", pending},
		"invalid client": {func(r *report.Result) {
			r.Search.Client = audit.Invalid
			for i := range r.Stages {
				r.Stages[i].Client.Level = audit.Invalid
			}
		}, "", "11.9", "95 % interval 11.4 – 12.3 (−4.2 % +3.4 %)", useless},
		"invalid on a stage that does not count": {func(r *report.Result) {
			r.Stages[0].Client.Level = audit.Invalid
		}, "",
			"11.9", "95 % interval 11.4 – 12.3 (−4.2 % +3.4 %)", trusted},
		"cached": {func(r *report.Result) { r.Stages[0].Engine.Contaminated = true }, "", "11.9",
			"95 % interval 11.4 – 12.3 (−4.2 % +3.4 %)", careful},
		"no search": {func(r *report.Result) { r.Search = nil }, "", "9.8 – 14",
			"PASS at 9.8, FAIL at 14; nothing was tried between them", trusted},
		"only passes": {func(r *report.Result) { r.Search, r.Stages = nil, r.Stages[:1] }, "≥", "9.8",
			"PASS at the highest rate that was decided", trusted},
		"no objectives": {func(r *report.Result) {
			r.Search, r.Asked.Objectives = nil, nil
			for i := range r.Stages {
				r.Stages[i].Judgement = slo.StageJudgement{}
			}
		}, "", "", "no max rate at SLO: no objectives were given (--slo)", trusted},
		"GuideLLM's": {func(r *report.Result) {
			r.Search, r.Asked.Objectives = nil, nil
			for i := range r.Stages {
				r.Stages[i].Client, r.Stages[i].Judgement = audit.Verdict{}, slo.StageJudgement{}
			}
		}, "", "", "no max rate at SLO: no objectives were given (--slo)", careful},
	} {
		r := searched(l4.made(t, 9.8, 14), 11.9, 11.4, 12.3)
		c.change(r)
		a := newAnswer(r)
		if c.figure != "" && a.Figure != c.figure || a.Sign != c.sign || a.Margin != c.margin || a.Trust != c.trust {
			t.Errorf("%s: %q %q, %q, %s %q", name, a.Sign, a.Figure, a.Margin, a.Trust, a.Reasons)
		}
	}
}

// What the script unpacks is what was packed.
func TestFairShare(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		most  int
		want  int
	}{
		{[]int{10, 20}, 100, 100}, {[]int{10, 200}, 100, 90}, {[]int{100, 100, 10}, 100, 45}, {nil, 100, 100},
		{[]int{1000, 1000}, 1, 1},
	} {
		if got := fairShare(c.sizes, c.most); got != c.want {
			t.Errorf("%v of %d: %d, want %d", c.sizes, c.most, got, c.want)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	in := examples(b)["many"]
	for b.Loop() {
		var out bytes.Buffer
		if err := Write(&out, in); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(out.Len()), "bytes")
	}
}

// Several engines stand in a table, and drawn by name as long as they can be told apart.
func TestEnginesByName(t *testing.T) {
	s := &report.Stage{Engine: &enginemetrics.Window{}}
	for k := range mostEngineLines + 1 {
		w := &enginemetrics.Window{Series: []enginemetrics.Sample{{Seconds: 1, Waiting: num.Value(k)}}}
		s.Engines = append(s.Engines, enginemetrics.Named{Name: fmt.Sprint("engine", k), Metrics: w})
		switch drawn := enginesOf(s); {
		case k > 0 && k < mostEngineLines:
			if len(drawn) != k+1 || drawn[k].Name != fmt.Sprint("engine", k) || drawn[k].Waiting[0] != num.Value(k) {
				t.Errorf("%d engines: %+v", k+1, drawn)
			}
		case drawn != nil:
			t.Errorf("%d engines: %+v", k+1, drawn)
		}
	}
	var v stageView
	v.engine(s)
	if n := len(v.Engines.Rows); n != len(s.Engines)+1 || v.Engines.Rows[1][0] != "engine1" {
		t.Errorf("%+v", v.Engines)
	}
}

// SGLang gives the share of speculated tokens that were accepted as a gauge, and counts none.
func TestSpeculation(t *testing.T) {
	none := num.Absent()
	for text, w := range map[string]enginemetrics.Window{
		"75.0 %": {Drafted: 200, Accepted: 150, AcceptShare: 0.75},
		"0.0 %":  {Drafted: 200, AcceptShare: 0},
		"60.0 %": {Drafted: none, Accepted: none, AcceptShare: 0.6},
		"":       {Drafted: none, Accepted: none, AcceptShare: none},
	} {
		var v stageView
		v.engine(&report.Stage{Engine: &w})
		got := ""
		for _, p := range v.Engine {
			if p.Name == "speculated tokens accepted" {
				got = p.Text
			}
		}
		if got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
	var v stageView
	v.engine(&report.Stage{Engine: &enginemetrics.Window{}}) // of a result from before it was kept
	if slices.ContainsFunc(v.Engine, func(p pair) bool { return strings.HasPrefix(p.Name, "speculated") }) {
		t.Errorf("%v", v.Engine)
	}
}
