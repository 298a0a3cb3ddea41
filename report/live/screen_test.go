package live

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
)

var update = flag.Bool("update", false, "write the golden files anew")

var at = time.Date(2026, 11, 24, 16, 43, 10, 0, time.UTC)

const ms = float64(time.Millisecond)

// finished makes a stage that has ended.
func finished(load loadgen.Load, ttft, tpot float64, outcome slo.Outcome, client audit.Level) report.Stage {
	s := report.Stage{
		Name: load.String(), Load: load, Probe: !load.Kind.Open(), Sending: 30 * time.Second, InFlight: 15.2,
		Rates: report.Rates{
			Asked: num.Absent(), Sent: load.Rate, Done: max(load.Rate, 1.25), Output: 128 * load.Rate,
		},
		Requests: report.Requests{Completed: 300, Unfinished: 12},
		TTFT:     report.LatencyOf([]float64{ttft * ms, ttft * ms * 1.2}),
		TPOT:     report.LatencyOf([]float64{tpot * ms}),
		ITL:      report.LatencyOf([]float64{tpot * ms * 1.5}), SendDelay: report.LatencyOf([]float64{0.06 * ms}),
		Client: audit.Verdict{Level: client},
	}
	if outcome != "" {
		s.Judgement = slo.StageJudgement{Outcome: outcome, Objectives: make([]slo.Judgement, 1)}
	}
	if outcome == slo.Fail {
		s.Judgement.Reasons = []string{"ttft:p95: p95 is 2.5s: 60 % of 310 missed 250ms (limit 5 %)"}
		s.Requests.Errored = 7
		s.Errors = []report.ErrorCount{{Kind: "http status", Text: "HTTP 503", Count: 7}}
	}
	if client != audit.Valid {
		s.Client.Reasons = []audit.Reason{{Level: client, Text: "1 % of the requests were sent 39ms late or more"}}
	}
	return s
}

func constant(rate float64) loadgen.Load { return loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate} }

// made is a sweep in its fourth stage.
func made(t *testing.T) *State {
	t.Helper()
	objectives, err := slo.ParseObjectives("ttft:p95<250ms tpot:p99<50ms errors<1%")
	if err != nil {
		t.Fatal(err)
	}
	over := func(n int, f func(i int) float64) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = f(i)
		}
		return values
	}
	r := &Running{
		Index: 3, Name: "constant@17.20", Load: constant(17.2), Elapsed: 22400 * time.Millisecond,
		Limit: 60 * time.Second, SentRate: 17.2, DoneRate: 16.9, TokenRate: 2190,
		Progress: loadgen.Progress{Sent: 380, Completed: 349, InFlight: 31},
		TTFT:     report.LatencyOf([]float64{188 * ms}), TPOT: report.LatencyOf([]float64{48 * ms}),
		TTFTNow: report.LatencyOf([]float64{181 * ms}), TPOTNow: report.LatencyOf([]float64{47.5 * ms}),
		SendDelay: report.LatencyOf([]float64{0.1 * ms}), Waiting: 4, KVUsage: 0.62, Client: audit.Valid,
		InFlightOverTime: over(90, func(i int) float64 { return 8 + float64(i)/4 }),
		TTFTOverTime: over(90, func(i int) float64 {
			if i == 0 {
				return math.NaN()
			}
			return 90 + 80*math.Sin(float64(i)/9)
		}),
		TPOTOverTime: over(90, func(i int) float64 { return 40 + float64(i%7) }),
	}
	return &State{
		Head: Head{
			Command: "sweep", Target: "http://vllm:8000", Model: "Qwen/Qwen2.5-7B", Workload: "256→128 tokens",
			Arrivals: "constant", Objectives: objectives, Stages: 10, Search: 10 * time.Minute,
		},
		At: at, Elapsed: 221 * time.Second, Total: 570 * time.Second, AtMost: true,
		Finished: []report.Stage{
			finished(loadgen.Load{Kind: loadgen.Synchronous, Streams: 1}, 36, 5.7, "", audit.Valid),
			finished(constant(6.64), 40, 12.1, slo.Pass, audit.Valid),
			finished(constant(11.9), 43, 21.9, slo.Undecided, audit.Suspect),
		},
		Running: r, Next: 21, SoFar: "at least 6.64 req/s",
	}
}

func TestScreen(t *testing.T) {
	probing := made(t)
	probing.Finished, probing.Next, probing.SoFar = probing.Finished[:1], 0, ""
	probing.Running = &Running{Index: -1, Load: loadgen.Load{Kind: loadgen.Throughput, Streams: 2}, DoneRate: 12.1,
		SentRate: 14, TokenRate: 1548, Progress: loadgen.Progress{InFlight: 64}, Waiting: num.Absent(),
		KVUsage: num.Absent(), InFlightOverTime: []float64{2, 4, 8, 16, 32, 64}, Client: audit.Valid,
		TTFT: report.LatencyOf(nil), TPOT: report.LatencyOf(nil), SendDelay: report.LatencyOf(nil)}

	searching := made(t)
	searching.Searching, searching.Next, searching.SoFar = true, 0, "17.4 req/s (14.2 – 22.4)"
	for _, rate := range []float64{60, 40, 30, 20, 18, 17, 16, 15, 17.5, 17.2, 17.1, 17.3, 16.9} {
		outcome, client := slo.Fail, audit.Valid
		if rate == 20 {
			client = audit.Invalid
		}
		searching.Finished = append(searching.Finished, finished(constant(rate), 2500, 60, outcome, client))
	}
	p := searching.Running
	p.Index, p.Errored, p.ErrorText = len(searching.Finished), 12, "HTTP 503 Service Unavailable: overloaded, try "+
		"again later, or ask another of the many replicas that there are"
	p.Silent, p.Client = 12*time.Second, audit.Invalid

	between := made(t)
	between.Running, between.Objectives, between.AtMost = nil, nil, false

	for _, c := range []struct {
		name          string
		s             *State
		width, height int
	}{
		{"sweep_80", made(t), 79, 23},
		{"sweep_120", made(t), 119, 39},
		{"sweep_160", made(t), 159, 49},
		{"probe_80", probing, 79, 23},
		{"search_80", searching, 79, 23},
		{"search_160", searching, 159, 49},
		{"between_80", between, 79, 23},
		{"sweep_40", made(t), 40, 12},
	} {
		got := strings.Join(Screen(c.s, c.width, c.height), "\n") + "\n"
		name := filepath.Join("testdata", c.name+".txt")
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
	}
}

// Whatever its size, the screen is no larger than the terminal, and the moment is in it as long as there is room.
func TestScreenFits(t *testing.T) {
	s := made(t)
	for width := 1; width <= 170; width++ {
		for _, height := range []int{1, 2, 3, 4, 7, 12, 23, 39, 50} {
			lines := Screen(s, width, height)
			if len(lines) > height || len(lines) == 0 {
				t.Fatalf("%d lines in %d", len(lines), height)
			}
			for _, line := range lines {
				if ansi.StringWidth(line) > width {
					t.Fatalf("%d columns, %d lines: %q is too wide", width, height, line)
				}
			}
			if height >= 4 && !strings.Contains(strings.Join(lines, "\n"), "now") && width >= 4 {
				t.Fatalf("%d columns, %d lines: nothing of now", width, height)
			}
		}
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0:00", 221 * time.Second: "3:41", time.Hour: "1:00:00", 3*time.Hour + 62*time.Second: "3:01:02",
	} {
		if got := clock(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		share float64
		want  string
	}{
		{0, "    "}, {math.NaN(), "    "}, {0.001, "▏   "}, {0.25, "█   "}, {0.6, "██▍ "}, {1, "████"}, {7, "████"},
	} {
		if got := bar(c.share, 4); got != c.want {
			t.Errorf("%v: got %q, want %q", c.share, got, c.want)
		}
	}
	if got := sparkline([]float64{9, 0, 1, 4, 8, math.NaN()}, 5); got != "▁▁▄█ " {
		t.Errorf("got %q", got)
	}
}

func TestLines(t *testing.T) {
	s := made(t)
	failing := finished(constant(60), 2500, 60, slo.Fail, audit.Suspect)
	silent := made(t)
	silent.Searching, silent.Running.Silent, silent.Running.Errored, silent.Running.ErrorText = true, 12*time.Second, 3,
		"HTTP 503"
	embedded := finished(constant(6.64), 48, 12.1, slo.Pass, audit.Valid)
	embedded.TTFT, embedded.TPOT = report.LatencyOf(nil), report.LatencyOf(nil)
	e2e := report.Latency{P95: 90}
	embedded.E2E, embedded.Rates.Output, embedded.Rates.Input = &e2e, 0, 12_800
	probe := made(t)
	probe.Running.Index, probe.Search = -1, 0
	for _, c := range []struct{ got, want string }{
		{s.Line(), "16:43:10 stage 4/10+ 17.2/s 22s ttft95=181ms tpot99=47.5ms in_flight=31 waiting=4 kv=62% " +
			"errors=0 client=valid"},
		{silent.Line(), "16:43:10 search stage 4 17.2/s 22s ttft95=181ms tpot99=47.5ms in_flight=31 waiting=4 kv=62% " +
			"errors=3 client=valid: no token for 12 s, 31 requests in flight: HTTP 503"},
		{probe.Line(), "16:43:10 finding saturation 22s ttft95=181ms tpot99=47.5ms in_flight=31 waiting=4 kv=62% " +
			"errors=0 client=valid"},
		{(&State{}).Line(), ""},
		{s.StageLine(1, &s.Finished[1]), "16:43:10 stage 2/10+ constant@6.64 30s PASS sent=6.64/s done=6.64/s " +
			"ttft95=48.0ms tpot99=12.1ms tok/s=850 in_flight=15.2 errors=0 client=valid"},
		{s.StageLine(3, &failing), "16:43:10 stage 4/10+ constant@60.00 30s FAIL sent=60.0/s done=60.0/s " +
			"ttft95=3000ms tpot99=60.0ms tok/s=7680 in_flight=15.2 errors=7 client=suspect: ttft:p95: p95 is 2.5s: " +
			"60 % of 310 missed 250ms (limit 5 %) (client suspect: 1 % of the requests were sent 39ms late or more)"},
		{s.StageLine(1, &embedded), "16:43:10 stage 2/10+ constant@6.64 30s PASS sent=6.64/s done=6.64/s " +
			"e2e95=90.0ms in_tok/s=12800 in_flight=15.2 errors=0 client=valid"},
		{s.Beginning(), "sweep http://vllm:8000 model Qwen/Qwen2.5-7B 256→128 tokens constant: at most 9:30"},
		{string((&State{}).JSON()), ""},
		{string(s.JSON()), `{"time":"2026-11-24T16:43:10Z","event":"progress","stage":4,"stages":10,"search":false,` +
			`"name":"constant@17.20","run_elapsed_s":221,"run_total_s":570,"elapsed_s":22.4,"limit_s":60,"sent":380,` +
			`"done":349,"errors":0,"in_flight":31,"asked_req_s":17.2,"sent_req_s":17.2,"done_req_s":16.9,` +
			`"output_tokens_s":2190,"ttft_p50_ms":181,"ttft_p95_ms":181,"tpot_p50_ms":47.5,"tpot_p95_ms":47.5,` +
			`"send_delay_p99_ms":0.1,"waiting":4,"kv_cache_usage":0.62,"client":"valid","silent_s":0,` +
			`"max_rate_so_far":"at least 6.64 req/s"}` + "\n"},
		{string(s.StageJSON(3, &failing)), `{"time":"2026-11-24T16:43:10Z","event":"stage","stage":4,"stages":10,` +
			`"search":false,"name":"constant@60.00","run_elapsed_s":221,"run_total_s":570,"elapsed_s":30,` +
			`"limit_s":null,"sent":319,"done":300,"errors":7,"error":"HTTP 503","in_flight":15.2,"asked_req_s":null,` +
			`"sent_req_s":60,"done_req_s":60,"output_tokens_s":7680,"ttft_p50_ms":2500,` +
			`"ttft_p95_ms":3000,"tpot_p50_ms":60,` +
			`"tpot_p95_ms":60,"send_delay_p99_ms":0.06,"waiting":null,"kv_cache_usage":null,"client":"suspect",` +
			`"silent_s":0,"outcome":"FAIL","reasons":["ttft:p95: p95 is 2.5s: 60 % of 310 missed 250ms (limit 5 %)"],` +
			`"max_rate_so_far":"at least 6.64 req/s"}` + "\n"},
		{string(MessageJSON(at, "warning", `a "word"`)), `{"time":"2026-11-24T16:43:10Z","event":"warning",` +
			`"text":"a \"word\""}` + "\n"},
	} {
		if c.got != c.want {
			t.Errorf("got\n%s\nwant\n%s", c.got, c.want)
		}
	}
}

func ExampleTimed() {
	fmt.Println(Timed(at, "max rate so far: 12 req/s"))
	// Output: 16:43:10 max rate so far: 12 req/s
}
