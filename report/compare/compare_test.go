package compare

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/junit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/race"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

var update = flag.Bool("update", false, "write the golden files")

// compared compares results under the names before, after, after2.
func compared(t *testing.T, o Options, results ...*report.Result) *Comparison {
	t.Helper()
	c, err := Compare(runsOf(results...), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func runsOf(results ...*report.Result) []Run {
	var runs []Run
	for i, r := range results {
		runs = append(runs, Run{[]string{"before", "after", "after2"}[i], r})
	}
	return runs
}

func conditions(t *testing.T, text string) []Condition {
	t.Helper()
	all, err := ParseConditions(text)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// newer is a run that differs from the base in its engine, its times, its max rate and its prefix cache.
func newer(r *report.Result) {
	r.Engine = &enginemetrics.Info{Name: "vLLM", Version: "0.23.0", Config: map[string]string{
		"max_num_batched_tokens": "8192", "max_num_seqs": "256",
	}}
	r.Asked.Labels = map[string]string{"commit": "4f1c2d"}
	r.Stages[1].Engine = &enginemetrics.Window{HitShare: 0.14}
}

func TestGolden(t *testing.T) {
	base := made{seed: 1, arrivals: 42, change: both(searched(10.1, 9.8, 10.4), func(r *report.Result) {
		r.Stages[1].Engine = &enginemetrics.Window{HitShare: 0}
	})}.result()
	better := made{seed: 2, arrivals: 42, slower: 0.8, change: both(searched(12, 11.5, 12.4), newer)}.result()
	third := made{seed: 3, arrivals: 7, change: searched(10.2, 9.6, 10.8)}.result()
	two := compared(t, Options{Noise: -1, FailOn: conditions(t, "ttft:p95>+10% rate<-5% e2e:mean<-1% errors>+0.1%")},
		base, better)
	three := compared(t, Options{Noise: -1}, base, better, third)
	for _, tc := range []struct {
		file  string
		c     *Comparison
		write func(w *bytes.Buffer, c *Comparison) error
	}{
		{"two.txt", two, func(w *bytes.Buffer, c *Comparison) error { return WriteScreen(w, c) }},
		{"two.md", two, func(w *bytes.Buffer, c *Comparison) error { return WriteMarkdown(w, c) }},
		{"two.xml", two, func(w *bytes.Buffer, c *Comparison) error { return WriteJUnit(w, c) }},
		{"two.json", two, func(w *bytes.Buffer, c *Comparison) error { return WriteJSON(w, c) }},
		{"three.txt", three, func(w *bytes.Buffer, c *Comparison) error { return WriteScreen(w, c) }},
		{"three.md", three, func(w *bytes.Buffer, c *Comparison) error { return WriteMarkdown(w, c) }},
	} {
		var b bytes.Buffer
		if err := tc.write(&b, tc.c); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("testdata", tc.file)
		if *update {
			if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s is not what is written now (-update writes it):\n%s", tc.file, b.String())
		}
	}
}

// find is the line of a metric at a stage.
func find(t *testing.T, c *Comparison, stage int, metric string) *Line {
	t.Helper()
	for i := range c.Stages[stage].Lines {
		if l := &c.Stages[stage].Lines[i]; l.Metric == metric {
			return l
		}
	}
	t.Fatalf("no line %s at %s", metric, c.Stages[stage].Title)
	return nil
}

func TestSlowerRunIsWorse(t *testing.T) {
	c := compared(t, Options{Noise: -1}, made{seed: 1, arrivals: 1}.result(),
		made{seed: 2, arrivals: 1, slower: 1.15}.result())
	for _, metric := range []string{"ttft:p50", "tpot:p50", "tpot:p95"} {
		if d := find(t, c, 0, metric).Changes[0]; d.Verdict != Worse || d.Lower < 0 {
			t.Errorf("%s of a server that is 15 %% slower: %+v", metric, d)
		}
	}
	if d := find(t, c, 0, "errors").Changes[0]; d.Verdict != Same {
		t.Errorf("errors of runs without any: %+v", d)
	}
	back := compared(t, Options{Noise: -1}, made{seed: 2, arrivals: 1, slower: 1.15}.result(),
		made{seed: 1, arrivals: 1}.result())
	if d := find(t, back, 0, "tpot:p50").Changes[0]; d.Verdict != Better {
		t.Errorf("TPOT of the other way round: %+v", d)
	}
}

// A run compared with another of the same is to be called different, in any line, in no more than 5 % of cases.
func TestSameAgainstSame(t *testing.T) {
	if race.Enabled {
		t.Skip("a simulation in one goroutine, too slow under the race detector")
	}
	for _, arrivals := range []struct {
		name string
		of   func(i int) int64
	}{
		{"other arrivals", func(i int) int64 { return int64(1000 + 2*i) }},
		{"same arrivals", func(int) int64 { return 3 }},
	} {
		const pairs = 60
		different, lines, raw := 0, 0, 0
		for i := range pairs {
			c := compared(t, Options{Noise: -1}, made{seed: uint64(2 * i), arrivals: 3, seconds: 120}.result(),
				made{seed: uint64(2*i + 1), arrivals: arrivals.of(i), seconds: 120}.result())
			any := false
			for l := range c.lines {
				if d := &l.Changes[0]; d.Verdict != NotTested {
					lines++
					raw += count(d.P < 0.05)
					any = any || d.Verdict != Same
				}
			}
			different += count(any)
		}
		t.Logf("%s: %d of %d comparisons differ; %d of %d lines alone", arrivals.name, different, pairs, raw, lines)
		// At 5 %, 8 or more of 60 come about once in 100.
		if different >= 8 {
			t.Errorf("%s: %d of %d comparisons of the same were called different", arrivals.name, different, pairs)
		}
		if lines == 0 || float64(raw) > 0.08*float64(lines) {
			t.Errorf("%s: %d of %d lines of the same have p < 0.05", arrivals.name, raw, lines)
		}
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// What a burst does to one run it does to another with the same arrivals: the change is known better.
func TestSameArrivalsNarrowTheInterval(t *testing.T) {
	base := made{seed: 1, arrivals: 1}.result()
	width := func(arrivals int64) float64 {
		c := compared(t, Options{Noise: -1}, base, made{seed: 2, arrivals: arrivals}.result())
		if got := c.Stages[1].Paired[0]; got != (arrivals == 1) {
			t.Fatalf("arrivals of seed %d: paired %v", arrivals, got)
		}
		d := find(t, c, 1, "ttft:p50").Changes[0]
		return float64(d.Upper - d.Lower)
	}
	same, other := width(1), width(2)
	if !(same < 0.9*other) {
		t.Errorf("the interval is %.3f wide with the same arrivals, %.3f with others", same, other)
	}
}

func TestRefused(t *testing.T) {
	base := func() *report.Result { return made{seed: 1, arrivals: 1, seconds: 60}.result() }
	for _, tc := range []struct {
		name   string
		change func(r *report.Result)
		o      Options
		want   string // in the error; "" for none
		anyway bool   // Anyway compares them
	}{
		{"the same", func(*report.Result) {}, Options{}, "", false},
		{"another model", func(r *report.Result) { r.Asked.Model = "other" }, Options{}, "", false},
		{"GuideLLM's words", func(r *report.Result) { r.Asked.Workload = `{"output_tokens":128,"prompt_tokens":256}` },
			Options{}, "", false},
		{"other lengths", func(r *report.Result) {
			r.Asked.Workload = "kind=synthetic_text,prompt_tokens=256,output_tokens=64"
		}, Options{}, "workloads differ: 256→128 tokens in before, 256→64 tokens in after", true},
		{"other requests", func(r *report.Result) { r.Asked.Request = "text_completions" }, Options{},
			"kinds of request differ", true},
		{"other arrivals", func(r *report.Result) {
			for i := range r.Stages {
				r.Stages[i].Load.Kind = loadgen.ConstantGap
			}
		}, Options{}, "arrivals differ: poisson in before, constant in after", false},
		{"other rates", func(r *report.Result) {
			for i := range r.Stages {
				r.Stages[i].Load.Rate *= 1.2
			}
		}, Options{}, "no rate in common (8, 12 req/s against 9.6, 14.4 req/s)", false},
		{"no stage", func(r *report.Result) { r.Stages = nil }, Options{}, "after has no stage", false},
		{"a condition on what is not there", func(*report.Result) {}, Options{FailOn: conditions(t, "rate<-5%")},
			"rate<-5% says nothing of before and after: the max rate was not searched in both", false},
	} {
		r := base()
		tc.change(r)
		_, err := Compare(runsOf(base(), r), tc.o)
		var refused *RefusedError
		switch {
		case tc.want == "":
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		case !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.want) || refused.Despite != tc.anyway:
			t.Errorf("%s: %v; want %q", tc.name, err, tc.want)
			continue
		}
		tc.o.Anyway = true
		c, err := Compare(runsOf(base(), r), tc.o)
		if (err == nil) != tc.anyway {
			t.Errorf("%s, anyway: %v", tc.name, err)
		}
		if err == nil && len(c.Warnings) == 0 {
			t.Errorf("%s, anyway: compared without a word", tc.name)
		}
	}
	if _, err := Compare(runsOf(base()), Options{}); err == nil {
		t.Error("one run was compared with itself")
	}
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(r *report.Result)
		want   string
	}{
		{"nothing", func(*report.Result) {}, ""},
		{"prefix cache", func(r *report.Result) { r.Stages[0].Engine = &enginemetrics.Window{HitShare: 0.14} },
			"8 req/s: prefix-cache hits 0 % against 14 %"},
		{"suspect", func(r *report.Result) {
			r.Stages[1].Client = audit.Verdict{Level: audit.Suspect, Reasons: []audit.Reason{{Text: "it was late"}},
				Measurements: r.Stages[1].Client.Measurements}
		}, "12 req/s: client valid against suspect (it was late)"},
		{"cores", func(r *report.Result) {
			for i := range r.Stages {
				r.Stages[i].Client.Measurements.CPULimit = 2
			}
		}, "the clients had 4 and 2 processors"},
		{"unfinished", func(r *report.Result) { r.Stages[0].Requests.Unfinished = 100 },
			"of the requests were unfinished"},
		{"backlog", func(r *report.Result) { r.Stages[0].Judgement.Growth.PValue = 1e-6 },
			"the backlog grew in the new run"},
		{"model", func(r *report.Result) { r.Asked.Model = "other" }, "the models differ"},
		{"answers", func(r *report.Result) {
			log := r.Stages[0].Log()
			for i := range log {
				log[i].OutputTokens = 64
			}
		}, "8 req/s: answers of 128 against 64.0 tokens"},
		{"warm-up", func(r *report.Result) { r.Stages[0].Judgement.WarmUp *= 3 }, "were left out as warm-up"},
	} {
		base := made{seed: 1, arrivals: 1, seconds: 60}.result()
		base.Stages[0].Engine = &enginemetrics.Window{HitShare: 0}
		r := made{seed: 2, arrivals: 1, seconds: 60}.result()
		tc.change(r)
		got := strings.Join(compared(t, Options{Noise: -1}, base, r).Warnings, "\n")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q; want %q", tc.name, got, tc.want)
		}
	}
}

func TestInvalidClientIsNotTested(t *testing.T) {
	r := made{seed: 2, arrivals: 1, slower: 3, seconds: 60, rates: []float64{5}}.result()
	r.Stages[0].Client.Level = audit.Invalid
	c := compared(t, Options{Noise: -1, FailOn: conditions(t, "tpot:p95>+10%")},
		made{seed: 1, arrivals: 1, seconds: 60, rates: []float64{5}}.result(), r)
	if c.Tested[0] != 0 || c.FailOn[0].Outcome != slo.Undecided || c.Failed() {
		t.Errorf("%d lines were tested, %+v", c.Tested[0], c.FailOn)
	}
}

func TestNearRates(t *testing.T) {
	base := made{seed: 1, arrivals: 1, seconds: 60, rates: []float64{5, 10, 10.3}}.result()
	r := made{seed: 2, arrivals: 1, seconds: 60, rates: []float64{5.05, 10.4, 12}}.result()
	c := compared(t, Options{Noise: -1}, base, r)
	if len(c.Stages) != 2 || c.Stages[0].Note != "" || c.Stages[1].Title != "10.3 req/s" || c.Stages[1].Note != "" {
		t.Errorf("matched %+v", c.Stages)
	}
	base.Stages = base.Stages[:2]
	c = compared(t, Options{Noise: -1}, base, r)
	if len(c.Stages) != 2 || c.Stages[1].Note != "the nearest rate: 10.4" {
		t.Errorf("a rate within 5 %%: %+v", c.Stages)
	}
}

func TestMaxRate(t *testing.T) {
	plain := func(r *report.Result) {}
	oneEnd := func(lower, upper float64) func(*report.Result) {
		return func(r *report.Result) {
			searched(math.NaN(), lower, upper)(r)
			if math.IsInf(upper, 1) {
				r.Search.Upper = num.Absent()
			}
		}
	}
	for _, tc := range []struct {
		name      string
		base, new func(*report.Result)
		want      Verdict
		why       string
	}{
		{"higher", searched(10, 9.7, 10.3), searched(12, 11.5, 12.5), Better, ""},
		{"lower", searched(12, 11.5, 12.5), searched(10, 9.7, 10.3), Worse, ""},
		{"the same", searched(10, 9.7, 10.3), searched(10.2, 9.9, 10.5), Same, ""},
		{"beyond the base's end", searched(10, 9.7, 10.3), oneEnd(12, math.Inf(1)), Better, ""},
		{"below the base's end", oneEnd(12, math.Inf(1)), searched(10, 9.7, 10.3), Worse, ""},
		{"perhaps", searched(10, 9.7, 10.3), oneEnd(9, math.Inf(1)), NotTested, "not known well enough"},
		{"no search", searched(10, 9.7, 10.3), plain, NotTested, "not searched in both"},
		{"other objectives", searched(10, 9.7, 10.3), both(searched(10, 9.7, 10.3), func(r *report.Result) {
			r.Asked.Objectives = r.Asked.Objectives[:1]
		}), NotTested, "objectives differ"},
		{"rough", searched(10, 9.7, 10.3), both(searched(10, 9.7, 10.3), func(r *report.Result) {
			r.Search.Rough = true
		}), NotTested, "not decided in both"},
	} {
		c := compared(t, Options{Noise: -1}, made{seed: 1, arrivals: 1, seconds: 60, change: tc.base}.result(),
			made{seed: 2, arrivals: 1, seconds: 60, change: tc.new}.result())
		d := c.MaxRate.Changes[0]
		if d.Verdict != tc.want || d.Why != tc.why {
			t.Errorf("%s: %+v; want %s %q", tc.name, d, tc.want, tc.why)
		}
	}
	c := compared(t, Options{Noise: -1},
		made{seed: 1, arrivals: 1, seconds: 60, change: searched(10, 9.5, 10.5)}.result(),
		made{seed: 2, arrivals: 1, seconds: 60, change: searched(12, 11.4, 12.6)}.result())
	// ±5 % each, in squares: about ±7 %.
	if d := c.MaxRate.Changes[0]; math.Abs(float64(d.Lower)-0.117) > 0.01 || math.Abs(float64(d.Upper)-0.287) > 0.01 {
		t.Errorf("+20 %% of two rates known to 5 %%: %.3f … %.3f", d.Lower, d.Upper)
	}
}

func TestFailOn(t *testing.T) {
	base := made{seed: 1, arrivals: 1, change: searched(10, 9.8, 10.2)}.result()
	for _, tc := range []struct {
		condition string
		new       made
		want      slo.Outcome
	}{
		{"tpot:p95>+10%", made{seed: 2, arrivals: 1, slower: 1.3}, slo.Fail},
		{"tpot:p95>+50%", made{seed: 2, arrivals: 1, slower: 1.3}, slo.Pass},
		{"tpot:p95>+10%", made{seed: 2, arrivals: 1}, slo.Pass},
		{"tpot:p95<-10%", made{seed: 2, arrivals: 1, slower: 0.7}, slo.Fail},
		{"tpot:p50>+29.9%", made{seed: 2, arrivals: 1, slower: 1.295}, slo.Undecided},
		{"rate<-5%", made{seed: 2, arrivals: 1, change: searched(9, 8.8, 9.2)}, slo.Fail},
		{"rate<-5%", made{seed: 2, arrivals: 1, change: searched(10, 9.8, 10.2)}, slo.Pass},
		{"rate<-5%", made{seed: 2, arrivals: 1, change: searched(9.4, 7, 12)}, slo.Undecided},
		{"rate<-5%", made{seed: 2, arrivals: 1, change: searched(math.NaN(), math.NaN(), 8)}, slo.Fail},
		{"rate<-5%", made{seed: 2, arrivals: 1, change: searched(math.NaN(), 11, math.NaN())}, slo.Pass},
		{"errors>+1%", made{seed: 2, arrivals: 1, errors: 20}, slo.Fail},
		{"errors>+1%", made{seed: 2, arrivals: 1}, slo.Pass},
		{"tok/s<-5%", made{seed: 2, arrivals: 1}, slo.Pass},
	} {
		if tc.new.change == nil {
			tc.new.change = searched(10, 9.8, 10.2)
		}
		c := compared(t, Options{Noise: -1, FailOn: conditions(t, tc.condition)}, base, tc.new.result())
		worst := slo.Pass
		for _, f := range c.FailOn {
			if f.Outcome == slo.Fail || worst == slo.Pass {
				worst = f.Outcome
			}
		}
		if worst != tc.want || c.Failed() != (tc.want == slo.Fail) {
			t.Errorf("%s: %s; want %s: %+v", tc.condition, worst, tc.want, c.FailOn)
		}
	}
}

// With several new runs every form says which of them a condition speaks of.
func TestConditionsNameTheirRun(t *testing.T) {
	worse := made{seed: 3, arrivals: 1, seconds: 60, slower: 1.3}.result()
	c := compared(t, Options{Noise: -1, FailOn: conditions(t, "tpot:p95>+10%")},
		made{seed: 1, arrivals: 1, seconds: 60}.result(), made{seed: 2, arrivals: 1, seconds: 60}.result(), worse)
	for _, f := range Formats() {
		if f.Name == "junit" || f.Name == "json" { // which have the run in a field
			continue
		}
		var b bytes.Buffer
		if err := f.Write(&b, c); err != nil {
			t.Fatal(err)
		}
		for _, name := range c.Runs[1:] {
			if !strings.Contains(b.String(), name+": TPOT p95") {
				t.Errorf("%s does not say that a condition speaks of %s", f.Name, name)
			}
		}
	}
}

func TestHolm(t *testing.T) {
	got := holm([]float64{0.01, 0.04, 0.03, 0.005})
	for i, want := range []float64{0.03, 0.06, 0.06, 0.02} {
		if math.Abs(got[i]-want) > 1e-12 {
			t.Errorf("adjusted p %d is %v, want %v", i, got[i], want)
		}
	}
}

func TestObjectivesAndReportsWithoutRequests(t *testing.T) {
	objectives, err := slo.ParseObjectives("e2e:p90<5s goodput:ttft<250ms>=90% ntpot:mean<50ms")
	if err != nil {
		t.Fatal(err)
	}
	base, r := made{seed: 1, arrivals: 1}.result(), made{seed: 2, arrivals: 1}.result()
	base.Asked.Objectives, r.Asked.Objectives = objectives, objectives
	c := compared(t, Options{Noise: -1}, base, r)
	for _, metric := range []string{"e2e:p90", "goodput", "ntpot:mean"} {
		if l := find(t, c, 0, metric); l.Changes[0].Verdict == NotTested {
			t.Errorf("%s: %+v", metric, l.Changes[0])
		}
	}
	for i := range r.Stages {
		r.Stages[i].SetLog(nil)
		r.Stages[i].TTFT = report.Latency{Count: 5, P50: 30, P95: 60, P99: 90}
	}
	c = compared(t, Options{Noise: -1}, base, r)
	if l := find(t, c, 0, "ttft:p95"); l.Figures[1].Value != 60 || l.Changes[0].Why != "requests not in the report" {
		t.Errorf("a report without requests: %+v", l)
	}
}

// What comes from servers and file names must not become Markdown, HTML or XML.
func TestHostileText(t *testing.T) {
	r := made{seed: 2, arrivals: 1, seconds: 60}.result()
	r.Asked.Model = "<script>alert(1)</script>|`x`\x1b[31m"
	c, err := Compare([]Run{{"a|<b>", made{seed: 1, arrivals: 1, seconds: 60}.result()}, {"new\n&", r}},
		Options{Noise: -1})
	if err != nil {
		t.Fatal(err)
	}
	var md, cases, text bytes.Buffer
	if err := errors.Join(WriteMarkdown(&md, c), WriteJUnit(&cases, c), WriteJSON(&text, c)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script", "<b>", "\x1b", "| a|"} {
		if strings.Contains(strings.ReplaceAll(md.String(), `\<`, ""), bad) {
			t.Errorf("the Markdown holds %q", bad)
		}
	}
	var parsed junit.File
	if err := xml.Unmarshal(cases.Bytes(), &parsed); err != nil {
		t.Errorf("the JUnit file is not XML: %v", err)
	}
	var object map[string]any
	if err := json.Unmarshal(text.Bytes(), &object); err != nil {
		t.Errorf("the JSON is not JSON: %v", err)
	}
}
