package parity

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openloop/openloop/guidellm"
)

var update = flag.Bool("update", false, "write the golden files")

// recordings are GuideLLM 0.5.0's, read once.
var recordings sync.Map

// recording returns one of the recordings, a copy that may be changed.
func recording(t *testing.T, name string) *guidellm.Report {
	t.Helper()
	once, _ := recordings.LoadOrStore(name, sync.OnceValues(func() (*guidellm.Report, error) {
		return guidellm.ReadFile(filepath.Join("../../testdata/golden", name, "report.json.gz"))
	}))
	read, err := once.(func() (*guidellm.Report, error))()
	if err != nil {
		t.Fatal(err)
	}
	r := *read
	r.Benchmarks = slices.Clone(r.Benchmarks)
	for i, b := range r.Benchmarks {
		stage := *b
		for _, seq := range []*guidellm.RequestSeq{&stage.Requests.Successful, &stage.Requests.Errored,
			&stage.Requests.Incomplete} {
			list := slices.Clone(seq.List())
			for k, request := range list {
				changed := *request
				list[k] = &changed
			}
			*seq = guidellm.RequestSeq(slices.Values(list))
		}
		r.Benchmarks[i] = &stage
	}
	return &r
}

// each calls f for every request of a stage.
func each(b *guidellm.Benchmark, f func(*guidellm.Request)) {
	for _, seq := range []guidellm.RequestSeq{b.Requests.Successful, b.Requests.Errored, b.Requests.Incomplete} {
		for r := range seq {
			f(r)
		}
	}
}

func row(t *testing.T, l *Stage, metric string) *Row {
	t.Helper()
	i := slices.IndexFunc(l.Rows, func(r Row) bool { return strings.HasPrefix(r.Metric, metric) })
	if i < 0 {
		t.Fatalf("%s has no row %q", l.Name, metric)
	}
	return &l.Rows[i]
}

// A report agrees with itself, to the last row of every stage.
func TestAgreesWithItself(t *testing.T) {
	for _, name := range []string{"sweep-constant", "poisson-one-worker", "concurrent-warmup", "max-requests-warmup",
		"prefix-buckets", "text-completions", "sampled"} {
		c, err := Compare(recording(t, name), recording(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !c.Agrees() {
			t.Errorf("%s: %s", name, c.Sentence())
		}
		for _, l := range c.Stages {
			for _, r := range l.Rows {
				if r.Difference() != 0 {
					t.Errorf("%s: %s: %s differs by %v", name, l.Name, r.Metric, r.Difference())
				}
			}
			if len(l.Rows) < 8 {
				t.Errorf("%s: %s has only %d rows", name, l.Name, len(l.Rows))
			}
		}
	}
}

// What is changed in one of two reports, and the row that must say so, and no other row of a verdict.
func TestDifferenceIsFound(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*guidellm.Benchmark)
		metric  string
		outside bool
	}{
		{"an arrival 0.9 µs off", func(b *guidellm.Benchmark) {
			moved := false
			each(b, func(r *guidellm.Request) {
				if !moved {
					r.Info.Timings.TargetedStart.Value += 0.5e-6
					moved = true
				}
			})
		}, "arrivals", false},
		{"an arrival 2 µs off", func(b *guidellm.Benchmark) {
			moved := false
			each(b, func(r *guidellm.Request) {
				if !moved {
					r.Info.Timings.TargetedStart.Value += 2e-6
					moved = true
				}
			})
		}, "arrivals", true},
		{"TTFT 1.9 ms later", func(b *guidellm.Benchmark) {
			each(b,
				func(r *guidellm.Request) { r.TimeToFirstTokenMS.Value += 1.9 })
		}, "TTFT", false},
		{"TTFT 4 ms later", func(b *guidellm.Benchmark) {
			each(b,
				func(r *guidellm.Request) { r.TimeToFirstTokenMS.Value += 4 })
		}, "TTFT", true},
		{"ITL 10 % longer", func(b *guidellm.Benchmark) {
			each(b,
				func(r *guidellm.Request) { r.InterTokenLatencyMS.Value *= 1.1 })
		}, "ITL", true},
		{"TPOT 10 % longer", func(b *guidellm.Benchmark) {
			each(b, func(r *guidellm.Request) { r.TimePerOutputTokenMS.Value *= 1.1 })
		}, "TPOT", true},
		{"latency 10 % longer", func(b *guidellm.Benchmark) {
			each(b,
				func(r *guidellm.Request) { r.RequestLatency.Value *= 1.1 })
		}, "latency", true},
		{"rate 1 % lower", func(b *guidellm.Benchmark) { b.Metrics.RequestsPerSecond.Successful.Mean *= 0.99 },
			"completed", false},
		{"rate 3 % lower", func(b *guidellm.Benchmark) { b.Metrics.RequestsPerSecond.Successful.Mean *= 0.97 },
			"completed", true},
		{"a token less", func(b *guidellm.Benchmark) { b.Metrics.OutputTokenCount.Successful.Mean-- }, "output tokens",
			true},
		{"prompts 5 tokens longer", func(b *guidellm.Benchmark) { b.Metrics.PromptTokenCount.Successful.Median += 5 },
			"prompt tokens", true},
		{"a fifth failed",
			func(b *guidellm.Benchmark) {
				b.Metrics.RequestTotals.Errored = b.Metrics.RequestTotals.Successful / 4
			}, "errors", true},
	} {
		g, o := recording(t, "sweep-constant"), recording(t, "sweep-constant")
		const stage = 4 // constant, 776 requests
		test.change(o.Benchmarks[stage])
		c, err := Compare(g, o)
		if err != nil {
			t.Fatal(err)
		}
		if r := row(t, &c.Stages[stage], test.metric); (r.Verdict == outside) != test.outside {
			t.Errorf("%s: %s is %s: difference %v, tolerance %v", test.name, r.Metric, r.Verdict, r.Difference(),
				r.Tolerance)
		}
		for _, r := range c.Stages[stage].Rows {
			if r.Verdict == outside && !strings.HasPrefix(r.Metric, test.metric) {
				t.Errorf("%s: %s is outside as well", test.name, r.Metric)
			}
		}
		if c.Agrees() == test.outside {
			t.Errorf("%s: agrees is %v", test.name, c.Agrees())
		}
	}
}

// Poisson arrivals: GuideLLM's sum of rounded times may have drifted, but every gap must be the same.
func TestPoissonArrivals(t *testing.T) {
	for _, test := range []struct {
		shift                   func(i int) float64 // of arrival i, s
		gapsWithin, timesWithin bool
	}{
		{func(int) float64 { return 0 }, true, true},
		{func(i int) float64 { return float64(i) * 1e-8 }, true, true},    // 2 µs after 199 arrivals
		{func(i int) float64 { return float64(i) * 1e-7 }, true, false},   // 20 µs
		{func(i int) float64 { return float64(i%2) * 2e-6 }, false, true}, // no drift, other gaps
	} {
		g, o := recording(t, "poisson-one-worker"), recording(t, "poisson-one-worker")
		var requests []*guidellm.Request
		each(o.Benchmarks[1], func(r *guidellm.Request) { requests = append(requests, r) })
		slices.SortFunc(requests, func(a, b *guidellm.Request) int {
			return cmp.Compare(a.Info.Timings.TargetedStart.Value, b.Info.Timings.TargetedStart.Value)
		})
		for i, r := range requests {
			r.Info.Timings.TargetedStart.Value += test.shift(i)
		}
		c, err := Compare(g, o)
		if err != nil {
			t.Fatal(err)
		}
		gaps, times := row(t, &c.Stages[1], "gaps"), row(t, &c.Stages[1], "arrivals")
		if (gaps.Verdict == within) != test.gapsWithin || (times.Verdict == within) != test.timesWithin {
			t.Errorf("gaps %v of %v are %s, arrivals %v of %v are %s", gaps.OpenLoop, gaps.Tolerance, gaps.Verdict,
				times.OpenLoop, times.Tolerance, times.Verdict)
		}
	}
}

func setStrategy(b *guidellm.Benchmark, key string, value any) {
	var fields map[string]any
	if err := json.Unmarshal(b.Config.Strategy, &fields); err != nil {
		panic(err)
	}
	fields[key] = value
	b.Config.Strategy, _ = json.Marshal(fields)
}

func TestRefuses(t *testing.T) {
	for _, test := range []struct {
		name, recording string
		change          func(*guidellm.Report)
		want            string
	}{
		{"other lengths", "sweep-constant", func(r *guidellm.Report) {
			r.Args.Data = []string{strings.Replace(r.Args.Data[0], "prompt_tokens=32", "prompt_tokens=33", 1)}
		}, "other data"},
		{"other requests", "sweep-constant",
			func(r *guidellm.Report) { r.Args.DataRequestFormatter = "text_completions" },
			"other requests: chat_completions and text_completions"},
		{"other model", "text-completions", func(r *guidellm.Report) {
			for _, b := range r.Benchmarks {
				b.Config.Backend = json.RawMessage(`{"model": "other"}`)
			}
		}, `other models: "tiny" and "other"`},
		{"other rates", "constant-errors", func(r *guidellm.Report) {
			for _, b := range r.Benchmarks {
				setStrategy(b, "rate", 21.5)
			}
		}, "constant@20: openloop's report has no stage of this load (constant@21.5 has other arrivals)"},
		{"other seed", "poisson-one-worker", func(r *guidellm.Report) {
			for _, b := range r.Benchmarks {
				setStrategy(b, "random_seed", int64(43))
			}
		}, "the seeds are 42 and 43"},
		{"no stages", "sweep-constant", func(r *guidellm.Report) { r.Benchmarks = nil }, "no stage of this load"},
	} {
		o := recording(t, test.recording)
		test.change(o)
		g := recording(t, test.recording)
		g.Args.Model = guidellm.Some("tiny")
		_, err := Compare(g, o)
		var refused *refusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Poisson arrivals of more than one worker are no Poisson arrivals.
func TestRefusesPoissonOfManyWorkers(t *testing.T) {
	g := recording(t, "poisson-one-worker")
	setStrategy(g.Benchmarks[0], "worker_count", int64(10))
	c, err := Compare(g, recording(t, "poisson-one-worker"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.Stages[0].Refused, "10 workers") || len(c.Stages[0].Warnings) != 1 ||
		c.Stages[1].Refused != "" {
		t.Errorf("%+v", c.Stages)
	}
	if compared, within := c.counts(); compared != 1 || within != 1 || !c.Agrees() {
		t.Errorf("%d compared, %d within", compared, within)
	}
}

// GuideLLM sometimes draws a gap before it knows its start: that request is due at the epoch, the others too early.
func TestRefusesArrivalAtTheEpoch(t *testing.T) {
	g := recording(t, "poisson-one-worker")
	g.Benchmarks[0].Requests.Successful.List()[0].Info.Timings.TargetedStart.Value = -0.95
	c, err := Compare(g, recording(t, "poisson-one-worker"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.Stages[0].Refused, "1 of its requests are due at the epoch") || c.Stages[1].Refused != "" ||
		len(c.Stages[0].Warnings) != 1 {
		t.Errorf("%+v", c.Stages)
	}
}

func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*guidellm.Benchmark)
		want   string // "" for none
	}{
		{"healthy", func(*guidellm.Benchmark) {}, ""},
		{"sent less than asked", func(b *guidellm.Benchmark) { setStrategy(b, "rate", 60.0) }, "of the 60 asked for"},
		{"late", func(b *guidellm.Benchmark) { b.SchedulerMetrics.RequestTargetedStartDelayAvg = 2.3 }, "2300 ms late"},
		{"timed out", func(b *guidellm.Benchmark) {
			for i, r := range b.Requests.Errored.List() {
				if i < 2 {
					r.Info.Timings.ResolveEnd = guidellm.Some(r.Info.Timings.RequestStart.Value + 60)
				}
			}
		}, "2 requests ran into its limit of 60 s"},
		{"no first token", func(b *guidellm.Benchmark) {
			for i, r := range b.Requests.Successful.List() {
				if i < 3 {
					r.TimeToFirstTokenMS = guidellm.Null[float64]{}
				}
			}
		}, "at least 3 completed requests without a first token"},
		{"a zero among what was not kept",
			func(b *guidellm.Benchmark) { b.Metrics.TimeToFirstTokenMS.Successful.Min = 0 }, "at least 1 completed"},
	} {
		b := recording(t, "constant-errors").Benchmarks[1]
		// This recording has answers that end before a token, whose TTFT is 0.
		b.Metrics.TimeToFirstTokenMS.Successful.Min = 15
		for _, r := range b.Requests.Successful.List() {
			if !r.TimeToFirstTokenMS.Valid {
				r.TimeToFirstTokenMS = guidellm.Some(20.0)
			}
		}
		test.change(b)
		got := strings.Join(faults(b.Config.Load(), b, viewOf(b)), "\n")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: warnings %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCanonicalData(t *testing.T) {
	same := []string{
		"kind=synthetic_text,prompt_tokens=256,output_tokens=128",
		"prompt_tokens=256, output_tokens=128",
		`{"output_tokens":128,"prompt_tokens":256,"prompt_tokens_stdev":null}`,
		`{"type_":"synthetic_text","prompt_tokens":256,"output_tokens":128}`,
	}
	for _, s := range same[1:] {
		if canonicalData([]string{s}) != canonicalData(same[:1]) {
			t.Errorf("%q is not the same as %q", s, same[0])
		}
	}
	for _, s := range []string{"prompt_tokens=256,output_tokens=129", "prompts.jsonl", `{"prompt_tokens":256}`,
		`{broken`, ""} {
		if canonicalData([]string{s}) == canonicalData(same[:1]) {
			t.Errorf("%q is the same as %q", s, same[0])
		}
	}
}

func TestMedianHalfWidth(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{5}, 0},
		{[]float64{1, 2}, 0.5},
		{[]float64{7, 7, 7, 7}, 0},
		{hundred, (61 - 40) / 2.0}, // between the values at ranks 40 and 61: 50 ± 9.8
	} {
		if got := medianHalfWidth(test.values); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("half width of %d values is %v, want %v", len(test.values), got, test.want)
		}
	}
}

// The tables of a comparison with every kind of row.
func TestWrite(t *testing.T) {
	g, o := recording(t, "sweep-constant"), recording(t, "sweep-constant")
	each(o.Benchmarks[4], func(r *guidellm.Request) { r.TimeToFirstTokenMS.Value += 4 })
	setStrategy(o.Benchmarks[3], "rate", 180.0)
	o.Benchmarks[2].OpenLoop = json.RawMessage(`{"stage": 1}`)
	o.OpenLoop = json.RawMessage(`{"stages": [{}, {"client": {"level": "suspect", ` +
		`"reasons": [{"text": "requests left late"}]}}]}`)
	o.Args.MaxSeconds = 4.0
	c, err := Compare(g, o)
	if err != nil {
		t.Fatal(err)
	}
	var console, markdown bytes.Buffer
	if err := WriteConsole(&console, c); err != nil {
		t.Fatal(err)
	}
	if err := WriteMarkdown(&markdown, c); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"console.txt": console.Bytes(), "table.md": markdown.Bytes()} {
		name = filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what was written:\n%s", name, got)
		}
	}
}

// A stage of arrivals that GuideLLM does not have is not compared, though it is reported under one of GuideLLM's kinds.
func TestForeignArrivals(t *testing.T) {
	g, o := recording(t, "poisson-one-worker"), recording(t, "poisson-one-worker")
	for i, b := range o.Benchmarks {
		b.OpenLoop = json.RawMessage(fmt.Sprintf(`{"stage": %d}`, i))
	}
	o.OpenLoop = json.RawMessage(`{"stages": [{"load": {"arrival": "gamma:2"}}]}`)
	c, err := Compare(g, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Stages[0].Refused; got != "openloop's arrivals were gamma:2, which GuideLLM does not have" {
		t.Errorf("the first stage: %q", got)
	}
	if got := c.Stages[1].Refused; got != "" {
		t.Errorf("the second stage: %q", got)
	}
}
