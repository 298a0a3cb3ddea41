package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/charmbracelet/x/ansi"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
	"github.com/openloop/openloop/tokens"
)

var update = flag.Bool("update", false, "write the golden files anew")

const ms = int64(time.Millisecond)

// server says what a made-up server does with a stage's requests.
type server struct {
	ttft, gap int64         // ns, of an idle server; each varies by a fifth
	slow      time.Duration // is added to the TTFT of every tenth request
	fails     int           // every so many requests fail; 0: none
}

// measured makes a stage of 20 s whose requests were answered by a made-up server, with the judgement and the audit
// that a run would have made of it.
func measured(t *testing.T, load loadgen.Load, srv server, objectives []slo.Objective) *sweep.Stage {
	t.Helper()
	const second = int64(time.Second)
	rng := rand.New(rand.NewPCG(7, 11))
	m := &loadgen.Measured{
		Stage:  loadgen.Stage{Load: load, MaxDuration: 20 * time.Second},
		Origin: time.Date(2026, 11, 24, 16, 43, 10, 0, time.UTC), Reason: loadgen.StopDuration,
		Start: 1000, Stopped: 1000 + 20*second, End: 1000 + 21*second,
		Gaps: hdr.New(1000, 3.6e12, 3), TTFT: hdr.New(1000, 3.6e12, 3), ClientDelay: hdr.New(1000, 3.6e12, 3),
		Client: loadgen.ClientStats{Stamps: loadgen.KernelStamps, Procs: 2, CPU: time.Second, Pacer: "clock_nanosleep"},
	}
	schedule := load.Schedule()
	if schedule == nil {
		schedule = loadgen.Constant{Rate: 1.25 * float64(load.Streams)}
	}
	for i := 0; ; i++ {
		at, ok := schedule.At(i)
		if !ok || m.Start+int64(at) >= m.Stopped {
			break
		}
		due := m.Start + int64(at)
		r := loadgen.Record{
			Scheduled: due, Started: due + 50_000, Sent: due + 60_000, PromptTokens: 264, OutputTokens: 128,
			AskedPrompt: 256, AskedOutput: 128,
			CachedTokens: -1, TokenEvents: 128, HTTPStatus: 200, Status: loadgen.Completed,
		}
		ttft := srv.ttft + rng.Int64N(srv.ttft/5)
		if i%10 == 9 {
			ttft += int64(srv.slow)
		}
		gap := srv.gap + rng.Int64N(srv.gap/5)
		r.FirstToken = r.Sent + ttft
		r.LastToken = r.FirstToken + 127*gap
		r.End = r.LastToken + 100_000
		detail := loadgen.Detail{}
		switch {
		case srv.fails > 0 && i%srv.fails == 0:
			r = loadgen.Record{Scheduled: due, Started: r.Started, Sent: r.Sent, End: r.Sent + ms, PromptTokens: -1,
				OutputTokens: -1, AskedPrompt: 256, AskedOutput: 128,
				HTTPStatus: 503, Status: loadgen.Errored, Err: loadgen.ErrStatus}
			detail.Error = "HTTP 503 Service Unavailable: overloaded"
		case r.End > m.End:
			r.End, r.Status, r.OutputTokens = m.Stopped, loadgen.Incomplete, -1
			fallthrough
		default:
			_ = m.TTFT.RecordValue(ttft)
			_ = m.Gaps.RecordValues(gap, 127)
			_ = m.ClientDelay.RecordValue(40_000)
		}
		m.Records, m.Details = append(m.Records, r), append(m.Details, detail)
		m.Offered++
	}
	st := &sweep.Stage{Load: load, Measured: m, Audit: audit.Check(m), Judgement: slo.Judge(m, objectives, 0.95)}
	return st
}

func objectives(t *testing.T, text string) []slo.Objective {
	t.Helper()
	o, err := slo.ParseObjectives(text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// made is the result of a made-up sweep without a search, and of a gate on it.
func made(t *testing.T) *Result {
	t.Helper()
	o := objectives(t, "ttft:p95<250ms tpot:p95<20ms errors<1%")
	constant := func(rate float64) loadgen.Load { return loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate} }
	run := &sweep.Result{SynchronousRate: 1.25, SaturationRate: 30, Probe: sweep.Probe{Rate: 29.5, Streams: 64}}
	run.Stages = []*sweep.Stage{
		measured(t, loadgen.Load{Kind: loadgen.Synchronous, Streams: 1}, server{ttft: 30 * ms, gap: 5 * ms}, o),
		measured(t, loadgen.Load{Kind: loadgen.Throughput, Streams: 8}, server{ttft: 900 * ms, gap: 40 * ms}, o),
		measured(t, constant(10), server{ttft: 32 * ms, gap: 6 * ms}, o),
		measured(t, constant(20), server{ttft: 40 * ms, gap: 9 * ms, slow: 600 * time.Millisecond}, o),
		measured(t, constant(30), server{ttft: 45 * ms, gap: 11 * ms, fails: 4}, o),
	}
	run.Warnings = append(run.Warnings, sweep.Warning{Stage: -1, Text: "the server was busy with something else"})
	gate, err := slo.ParseGate("rate>=10")
	if err != nil {
		t.Fatal(err)
	}
	s := spec.Spec{
		Endpoint: endpoint.Config{Target: "http://vllm:8000"},
		Workload: tokens.Spec{Synthetic: &tokens.SyntheticSpec{
			Prompt: tokens.Length{Mean: 256}, Output: tokens.Length{Mean: 128},
		}},
		Objectives: o, Gates: []slo.Gate{gate}, Confidence: 0.95,
		Plan:   spec.Plan{Profile: "sweep", Sweep: &spec.Sweep{Size: 5, Seed: 42}},
		Output: spec.Output{Command: []string{"openloop", "sweep", "--target", "http://vllm:8000"}},
	}
	return New(s, Run{Version: "test", Model: "Qwen/Qwen2.5-0.5B-Instruct", Measured: run})
}

func screen(t *testing.T, r *Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteScreen(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The screen, as people see it: within 80 columns, or with all columns.
func TestScreen(t *testing.T) {
	searched := made(t)
	searched.Search = &sweep.Answer{
		Finding: sweep.Interval, Estimate: 12.3, Lower: 11.8, Upper: 12.9, Confidence: 0.95, Precision: 0.05,
		Limiting: "ttft:p95", Stages: 6, Load: 182 * time.Second, Arrivals: "poisson", Client: audit.Valid,
		Objectives: []sweep.ObjectiveFit{
			{Objective: "ttft:p95", Estimate: 12.3, Lower: 11.8, Upper: 12.9, Clusters: 7.6,
				Correction: "virtual queue"},
			{Objective: "tpot:p95", Estimate: 17.2, Lower: 14.1, Upper: num.Absent(), Correction: "none"},
		},
		Why: "the max rate is known to ±5 %", Took: 190 * time.Second,
		Notes: []sweep.Warning{{Stage: -1, Text: "what else the reader should know"}},
	}
	searched.Asked.Cost = &spec.Cost{PerHour: 1.1, Currency: "$"}
	searched.Asked.Labels = map[string]string{"gpu": "1xL4", "change": "chunked prefill"}
	searched.Engine = &enginemetrics.Info{Name: "vLLM", Version: "0.23.0"}
	searched.Command = []string{"openloop", "sweep", "http://vllm:8000", "--slo",
		"ttft:p95<250ms tpot:p95<20ms errors<1%", "--gate", "rate>=10", "--header", "X-It's: [redacted]"}
	closed := made(t)
	closed.Stages, closed.Asked.Objectives, closed.Gates = closed.Stages[:2], nil, nil
	closed.Stages[1].Client = audit.Verdict{Level: audit.Suspect,
		Reasons: []audit.Reason{{Level: audit.Suspect, Text: "openloop used 93 % of the processor time it may use"}}}
	for _, c := range []struct {
		name string
		r    *Result
		wide bool
	}{
		{"screen.txt", made(t), false}, {"screen_wide.txt", made(t), true}, {"screen_search.txt", searched, false},
		{"screen_closed.txt", closed, false},
	} {
		var b bytes.Buffer
		if err := writeScreen(&b, c.r, c.wide); err != nil {
			t.Fatal(err)
		}
		got, name := b.String(), filepath.Join("testdata", c.name)
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("the screen differs from %s:\n%s", name, got)
		}
		for line := range strings.Lines(got) {
			if ansi.StringWidth(strings.TrimSuffix(line, "\n")) > screenWidth && !c.wide {
				t.Errorf("%s: wider than %d columns: %s", name, screenWidth, line)
			}
		}
	}
}

// Colours take nothing from a text and add nothing to it.
func FuzzPaint(f *testing.F) {
	for _, line := range []string{"✔ max rate at SLO   12.3 req/s (…)", "! PASS, invalid ████ ▁▂", "", "✘ ", "? ✘ FAIL",
		"  stage  sent  done  errors  outcome", "Ctrl-C ends this stage"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if clean := stream.Clean(line); ansi.Strip(Paint(clean)) != ansi.Strip(clean) {
			t.Errorf("%q became %q", clean, ansi.Strip(Paint(clean)))
		}
	})
}

func TestPaint(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"nothing to say", "nothing to say"},
		{"✔ max rate at SLO   12.3 req/s", "\x1b[32m✔\x1b[m max rate at SLO   \x1b[1m12.3 req/s\x1b[m"},
		{"  constant@30  4  FAIL", "  constant@30  4  \x1b[1;31mFAIL\x1b[m"},
		{"▶ 17.2 188 ms ███", "\x1b[36m▶\x1b[m 17.2 188 ms \x1b[36m███\x1b[m"},
		{"3000 ms ████", "3000 ms \x1b[1;31m████\x1b[m"},
		// A chart that is level is not a bar that is full.
		{"23 ████████", "23 \x1b[36m████████\x1b[m"},
	} {
		if got := Paint(c.line); got != c.want {
			t.Errorf("%q became %q, want %q", c.line, got, c.want)
		}
	}
}

// What is written and read again is the same result, infinite and absent values told apart: its screen is the same.
func TestRoundTrip(t *testing.T) {
	r := made(t)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, ok, err := Read(text)
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	if a, b := screen(t, r), screen(t, again); a != b {
		t.Errorf("the screen of what was read differs:\n%s\n%s", a, b)
	}
	second, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, second) {
		t.Errorf("written again, the result differs:\n%s\n%s", text, second)
	}
	if !bytes.Contains(text, []byte(`"+Inf"`)) {
		t.Error("the latencies of failed requests are not infinite in the file")
	}
}

// A trace is told from its name where the result was read from a file, which does not hold its times.
func TestTraceReadBack(t *testing.T) {
	live := seen(t, 12, "ttft:p95<250ms", 900e6)
	live.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 12, Times: []time.Duration{0, time.Second},
		Name: loadgen.TraceName}
	read := live
	text, err := json.Marshal(live.Load)
	if err != nil {
		t.Fatal(err)
	}
	read.Load = loadgen.Load{}
	if err := json.Unmarshal(text, &read.Load); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Stage{"live": live, "read": read} {
		r := &Result{Stages: []Stage{s}}
		if got := r.arrivals(); got != "arrivals of the trace" {
			t.Errorf("%s: %q", name, got)
		}
		if got := r.BreaksFirst(); got != "ttft:p95" { // the mean of the trace is no rate at which it broke
			t.Errorf("%s: %q", name, got)
		}
	}
}

// The search of a report of schema 1 had no interval: it is left out, with a word about it; the rest is read.
func TestReadSchema1(t *testing.T) {
	text, err := json.Marshal(made(t))
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Replace(text, []byte(`"schema":2`), []byte(`"schema":1,"search":{"pass_rate":11.8}`), 1)
	r, ok, err := Read(old)
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	shown := screen(t, r)
	if r.Search != nil || len(r.Stages) == 0 || !strings.Contains(shown, "of an earlier openloop") {
		t.Errorf("%+v\n%s", r.Search, shown)
	}
}

func TestReadOthers(t *testing.T) {
	for _, text := range []string{"", "null", "{}", `{"version":"devel","knee":{}}`, "[1]", `{"schema":0}`} {
		if r, ok, err := Read([]byte(text)); ok || err != nil || r != nil {
			t.Errorf("%q is read as a result: %v, %v, %v", text, r, ok, err)
		}
	}
	later := fmt.Sprintf(`{"schema":%d}`, Schema+1)
	if _, ok, err := Read([]byte(later)); !ok || err == nil || !strings.Contains(err.Error(), "later openloop") {
		t.Errorf("a result of a later schema: %v, %v", ok, err)
	}
	if _, ok, err := Read([]byte(`{"schema":1,"stages":"many"}`)); !ok || err == nil {
		t.Errorf("a broken result is not refused: %v, %v", ok, err)
	}
}

// One thing has one value: the percentile that an objective bounds is the one in the table.
func TestObservedValues(t *testing.T) {
	r := made(t)
	for i := range r.Stages {
		s := &r.Stages[i]
		for _, j := range s.Judgement.Objectives {
			got := map[slo.Metric]num.Value{slo.TTFT: s.TTFT.P95, slo.TPOT: s.TPOT.P95}
			want := j.Value
			if j.Failed > 0 {
				want = j.ValueWithoutFailed
			}
			if v, ok := got[j.Objective.Metric]; ok && v != want/1e6 {
				t.Errorf("%s: %s is %v ns in the judgement and %v ms in the table", s.Name, j.Objective, want, v)
			}
		}
		for _, l := range []Latency{s.TTFT, s.TPOT, s.ITL, s.SendDelay} {
			if l.P50 > l.P90 || l.P90 > l.P95 || l.P95 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max {
				t.Errorf("%s: percentiles fall: %+v", s.Name, l)
			}
		}
	}
}

func TestAnswer(t *testing.T) {
	o := objectives(t, "ttft:p95<250ms")
	stage := func(rate float64, outcome slo.Outcome, reasons ...string) Stage {
		return Stage{
			Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate}, Client: audit.Verdict{Level: audit.Valid},
			Judgement: slo.StageJudgement{Outcome: outcome, Reasons: reasons},
		}
	}
	closed := Stage{Load: loadgen.Load{Kind: loadgen.Concurrent, Streams: 4},
		Judgement: slo.StageJudgement{Outcome: slo.Pass}}
	invalid := stage(5, slo.Undecided)
	needing := stage(10, slo.Undecided, "too few to tell")
	needing.Judgement.Need = &slo.Need{Requests: 1200, Time: 80 * time.Second}
	invalid.Client.Level = audit.Invalid
	for _, c := range []struct {
		name   string
		stages []Stage
		want   string
	}{
		{"between", []Stage{stage(10, slo.Pass), stage(15, slo.Fail, "ttft:p95 300ms")},
			"max rate at SLO: between 10 and 15 req/s (PASS at 10; at 15: FAIL, ttft:p95 300ms)"},
		{"at least", []Stage{stage(5, slo.Pass), stage(10, slo.Pass)},
			"max rate at SLO: at least 10 req/s (PASS at 10, the highest rate that was decided)"},
		{"a pass above a failure counts for nothing",
			[]Stage{stage(5, slo.Pass), stage(10, slo.Fail, "slow"), stage(15, slo.Pass)},
			"max rate at SLO: between 5 and 10 req/s (PASS at 5; at 10: FAIL, slow)"},
		{"below", []Stage{stage(10, slo.Fail, "slow")}, "max rate at SLO: below 10 req/s (at 10: FAIL, slow)"},
		{"undecided", []Stage{stage(10, slo.Undecided, "12 of about 59 requests")},
			"max rate at SLO: not decided (at 10 req/s: UNDECIDED, 12 of about 59 requests)"},
		{"undecided, and what would decide it", []Stage{needing}, "max rate at SLO: not decided " +
			"(at 10 req/s: UNDECIDED, too few to tell; about 1,200 more requests (1m20s) would decide)"},
		{"closed loops only", []Stage{closed}, "max rate at SLO: not known (no open-loop stage was run)"},
		{"an invalid client", []Stage{invalid},
			"max rate at SLO: not known (the client was invalid on 1 of 1 open-loop stages)"},
	} {
		r := &Result{Asked: Asked{Objectives: o}, Stages: c.stages}
		if got := r.Answer(); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// What arrives in sessions is counted in sessions.
func TestSessionUnits(t *testing.T) {
	s := &Sessions{Rate: 2}
	s.Started, s.Unfinished = 100, 20
	stage := Stage{
		Load: loadgen.Load{Kind: loadgen.PoissonGaps, Rate: 2}, Sending: 50 * time.Second, Sessions: s,
		Rates:     Rates{Output: 360, Sent: 8, Done: 7},
		Judgement: slo.StageJudgement{Outcome: slo.Pass},
	}
	objectives, err := slo.ParseObjectives("ttft:p95<1s")
	if err != nil {
		t.Fatal(err)
	}
	r := &Result{Stages: []Stage{stage}, Asked: Asked{Objectives: objectives}}
	var b strings.Builder
	if err := WriteScreen(&b, r); err != nil {
		t.Fatal(err)
	}
	// 360 tokens/s over 50 s, from 90 whole sessions: 200 a session.
	for _, want := range []string{"at least 2 sessions/s", "a day 173,000 sessions", "400 output tokens/s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}
