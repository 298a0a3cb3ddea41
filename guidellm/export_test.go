package guidellm

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// measured is a stage of four requests: with usage, without, failed, and cut at the end.
func measured(load loadgen.Load) *loadgen.Measured {
	at := func(seconds float64) int64 { return int64(seconds * 1e9) }
	record := func(start, end float64, status loadgen.Status) loadgen.Record {
		return loadgen.Record{
			Scheduled: at(start), Started: at(start + 0.001), Sent: at(start + 0.002), FirstEvent: at(start + 0.1),
			FirstToken: at(start + 0.1), LastToken: at(end), LastEvent: at(end), End: at(end), Status: status,
			Lines: 20, TokenEvents: 8, PromptTokens: 30, OutputTokens: 16, CachedTokens: -1, AskedPrompt: 32,
			AskedOutput: 16, PromptWords: 25, PromptChars: 120, OutputWords: 12, OutputChars: 60, HTTPStatus: 200,
		}
	}
	m := &loadgen.Measured{
		Stage: loadgen.Stage{
			Load: load, MaxDuration: 3 * time.Second, MaxRequests: 100, MaxErrors: 5, MaxErrorRate: 0.5,
			MaxGlobalErrorRate: 0.25,
		},
		Origin: time.Unix(1795501839, 0), Start: at(1), Stopped: at(4), End: at(4.1), Reason: loadgen.StopDuration,
		Records: []loadgen.Record{
			record(1, 1.5, loadgen.Completed), record(1.5, 2, loadgen.Completed), record(2, 2.2, loadgen.Errored),
			record(3.9, 4.1, loadgen.Incomplete), {Scheduled: at(3.99)},
		},
		Offered: 5, Gaps: hdr.New(1000, 3_600_000_000_000, 3),
	}
	m.Records[1].PromptTokens, m.Records[1].OutputTokens = -1, -1
	m.Records[2].Err = loadgen.ErrStatus
	return m
}

func exporter(load loadgen.Load, profile string) *Exporter {
	s := spec.Spec{
		Endpoint: endpoint.Config{Target: "http://server"},
		Workload: tokens.Spec{Synthetic: &tokens.SyntheticSpec{Prompt: tokens.Length{Mean: 32}}},
		Limits:   spec.Limits{MaxDuration: 3 * time.Second, Warmup: spec.TrimOf(0.1)},
		Plan:     spec.Plan{Profile: profile, Stages: []loadgen.Load{load}},
	}
	if profile == "sweep" {
		s.Plan.Stages, s.Plan.Sweep = nil, &spec.Sweep{Size: 5}
	}
	return NewExporter(ExportConfig{
		Args: ArgsOf(s), Spec: s, Model: "m", Version: "1.0", MaxConcurrency: 77,
		OverSaturation: new(oversaturation.Config),
	})
}

// resultOf is a result with a stage for each of what was measured.
func resultOf(all ...*loadgen.Measured) *report.Result {
	r := &report.Result{
		Schema: report.Schema, Version: "1.0",
		Probes: &report.Probes{SynchronousRate: 2, SaturationRate: 9, Rates: []float64{5, 9}},
	}
	for _, m := range all {
		r.Stages = append(r.Stages, report.Stage{Load: m.Stage.Load, Measured: m})
	}
	return r
}

func built(load loadgen.Load, profile string) *Report {
	return exporter(load, profile).Export(resultOf(measured(load)))
}

var everyLoad = map[string]loadgen.Load{
	"synchronous": {Kind: loadgen.Synchronous, Streams: 1},
	"concurrent":  {Kind: loadgen.Concurrent, Streams: 4},
	"throughput":  {Kind: loadgen.Throughput, Streams: 8, RampUp: time.Second},
	"constant":    {Kind: loadgen.ConstantGap, Rate: 10},
	"poisson":     {Kind: loadgen.PoissonGaps, Rate: 10, Seed: 42},
	"sweep":       {Kind: loadgen.ConstantGap, Rate: 10},
}

// What is built has GuideLLM's fields and no other outside of "openloop", each of its kind, and its metrics come out
// of its requests.
func TestBuildHasGuideLLMsFields(t *testing.T) {
	for profile, load := range everyLoad {
		text := writeText(t, built(load, profile))
		problems, err := validate(strings.NewReader(text))
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: %v %v", profile, problems, err)
		}
		r := readText(t, text)
		if len(r.Unknown) > 0 || len(r.Missing) > 0 || !IsOpenLoop(r) {
			t.Errorf("%s: unknown %v, missing %v", profile, r.Unknown, r.Missing)
		}
		if out := Recompute(r); len(out.Differences) > 0 || out.Benchmarks[0] == nil || len(out.NotRecomputed) != 1 {
			t.Errorf("%s: %v, %v", profile, out.Differences, out.NotRecomputed)
		}
		withoutOurs := *r
		withoutOurs.OpenLoop = nil
		for _, b := range withoutOurs.Benchmarks {
			b.OpenLoop = nil
			for _, seq := range []RequestSeq{b.Requests.Successful, b.Requests.Errored, b.Requests.Incomplete} {
				for _, request := range seq.List() {
					request.OpenLoop = nil
				}
			}
		}
		if ours := ourKey.FindString(writeText(t, &withoutOurs)); ours != "" {
			t.Errorf("%s: a key of openloop's stands outside of \"openloop\": %s", profile, ours)
		}
	}
}

// indexNote is the begin of a request's notes.
var indexNote = regexp.MustCompile(`"openloop": \{"index": \d+, `)

var ourKey = regexp.MustCompile(`"openloop[^"]*": .{0,50}`)

const everyProfile = "type_ completed_strategies constraints rampup_duration"

// The objects of a configuration, in GuideLLM's order.
func TestConfigObjects(t *testing.T) {
	for profile, want := range map[string][2]string{
		"synchronous": {
			`{"type_": "synchronous", "worker_count": 1, "max_concurrency": 1}`,
			`[` + everyProfile + ` strategy_types]`,
		},
		"concurrent": {
			`{"type_": "concurrent", "worker_count": 1, "max_concurrency": 4, "streams": 4, "rampup_duration": 0.0}`,
			`[` + everyProfile + ` streams strategy_types]`,
		},
		"throughput": {
			`{"type_": "throughput", "worker_count": 1, "max_concurrency": 8, "rampup_duration": 1.0}`,
			`[` + everyProfile + ` max_concurrency strategy_types]`,
		},
		"constant": {
			`{"type_": "constant", "worker_count": 1, "max_concurrency": 77, "rate": 10.0}`,
			`[` + everyProfile + ` strategy_type rate max_concurrency random_seed strategy_types]`,
		},
		"poisson": {
			`{"type_": "poisson", "worker_count": 1, "max_concurrency": 77, "rate": 10.0, "random_seed": 42}`,
			`[` + everyProfile + ` strategy_type rate max_concurrency random_seed strategy_types]`,
		},
		"sweep": {
			`{"type_": "constant", "worker_count": 1, "max_concurrency": 77, "rate": 10.0}`,
			`[` + everyProfile + ` sweep_size strategy_type max_concurrency random_seed ` +
				`synchronous_rate throughput_rate async_rates measured_rates strategy_types]`,
		},
	} {
		c := built(everyLoad[profile], profile).Benchmarks[0].Config
		if string(c.Strategy) != want[0] {
			t.Errorf("%s: got %s, want %s", profile, c.Strategy, want[0])
		}
		if got := "[" + strings.Join(keys(t, c.Profile), " ") + "]"; got != want[1] {
			t.Errorf("%s: got %s, want %s", profile, got, want[1])
		}
		wantLimits := []string{
			"max_seconds", "max_requests", "max_errors", "max_error_rate", "max_global_error_rate", "over_saturation",
		}
		if got := keys(t, c.Constraints); !slices.Equal(got, wantLimits) {
			t.Errorf("%s: constraints %v", profile, got)
		}
	}
	if s := strategyOf(everyLoad["constant"], 0); s.MaxConcurrency.Value != loadgen.DefaultMaxConcurrency {
		t.Errorf("without a cap of its own: %+v", s)
	}
}

// keys are those of an object, in their order.
func keys(t *testing.T, object json.RawMessage) (names []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// A stage's requests: which are listed, and what is counted for them. Output tokens are the server's count, else the
// events that carried some, as the objectives count them, and not what was asked for.
func TestConvertStage(t *testing.T) {
	b := built(everyLoad["constant"], "constant").Benchmarks[0]
	done, failed, cut := b.Requests.Successful.List(), b.Requests.Errored.List(), b.Requests.Incomplete.List()
	if len(done) != 2 || len(failed) != 1 || len(cut) != 1 {
		t.Fatalf("%d, %d and %d requests", len(done), len(failed), len(cut))
	}
	for i, want := range []struct{ prompt, output int64 }{{30, 16}, {32, 8}} {
		if r := done[i]; r.PromptTokens != Some(want.prompt) || r.OutputTokens != Some(want.output) {
			t.Errorf("request %d: %v and %v tokens, want %+v", i, r.PromptTokens, r.OutputTokens, want)
		}
	}
	if failed[0].OutputTokens.Valid || cut[0].OutputTokens.Valid {
		t.Error("a request that did not complete has output tokens")
	}
	if got := done[0].TimeToFirstTokenMS.Value; got < 97.9 || got > 98.1 {
		t.Errorf("TTFT %v ms, want 98", got)
	}
	ids := map[string]bool{}
	for _, r := range slices.Concat(done, failed, cut) {
		ids[r.RequestID] = true
		if r.RequestID != r.Info.RequestID || len(r.RequestID) != 36 {
			t.Errorf("ids %q and %q", r.RequestID, r.Info.RequestID)
		}
	}
	if len(ids) != 4 || done[0].RequestID != b.Requests.Successful.List()[0].RequestID {
		t.Error("ids are not a request's own, or change")
	}
	if got := keys(t, b.SchedulerState.EndQueuingConstraints); !slices.Equal(got, []string{"max_seconds"}) {
		t.Errorf("ended by %v", got)
	}
	var notes stageNotes
	if err := DecodeFree(b.OpenLoop, &notes); err != nil || notes.Stage != 0 {
		t.Errorf("%+v %v", notes, err)
	}
}

// A run that is saved after every stage keeps its ids, and converts no stage twice.
func TestBuildAgain(t *testing.T) {
	load := everyLoad["constant"]
	e := exporter(load, "constant")
	one, two := measured(load), measured(load)
	first, second := e.Export(resultOf(one)), e.Export(resultOf(one, two))
	if len(second.Benchmarks) != 2 || len(e.converted) != 2 {
		t.Fatalf("%d benchmarks, %d conversions", len(second.Benchmarks), len(e.converted))
	}
	a, b := first.Benchmarks[0], second.Benchmarks[0]
	if a.Config.RunID != b.Config.RunID ||
		a.Requests.Successful.List()[0].RequestID != b.Requests.Successful.List()[0].RequestID {
		t.Error("ids have changed")
	}
}

// The end of a stage is told in the fields that GuideLLM's constraint of that name has, in its order.
func TestStageEnds(t *testing.T) {
	for reason, want := range map[loadgen.StopReason]string{
		loadgen.StopDuration: "max_seconds: max_duration elapsed_time duration_exceeded start_time current_time " +
			"stop_time",
		loadgen.StopRequests: "max_requests: max_number create_exceeded processed_exceeded created_requests " +
			"processed_requests remaining_requests stop_time",
		loadgen.StopErrors: "max_errors: max_errors errors_exceeded current_errors stop_time",
		loadgen.StopErrorRate: "max_error_rate: max_error_rate window_size error_count processed_count " +
			"current_window_size current_error_rate exceeded_min_processed exceeded_error_rate exceeded stop_time",
		loadgen.StopGlobalErrorRate: "max_global_error_rate: max_error_rate min_processed processed_requests " +
			"errored_requests error_rate exceeded_min_processed exceeded_error_rate exceeded stop_time",
		loadgen.StopServerGone: "server_gone: start_time stop_time",
	} {
		m := measured(everyLoad["constant"])
		m.Reason = reason
		state := schedulerState(m)
		var ends map[string]struct {
			RequestProcessing string          `json:"request_processing"`
			Metadata          json.RawMessage `json:"metadata"`
		}
		if err := json.Unmarshal(state.EndQueuingConstraints, &ends); err != nil || len(ends) != 1 {
			t.Fatalf("%s: %v %v", reason, ends, err)
		}
		for name, end := range ends {
			if got := name + ": " + strings.Join(keys(t, end.Metadata), " "); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if byErrors := strings.Contains(name, "error"); byErrors != (end.RequestProcessing == "stop_all") {
				t.Errorf("%s: %s", name, end.RequestProcessing)
			}
			if reason == loadgen.StopErrorRate {
				var window struct {
					Errors int64   `json:"error_count"`
					Size   int64   `json:"current_window_size"`
					Rate   float64 `json:"current_error_rate"`
				}
				if json.Unmarshal(end.Metadata, &window); window.Errors != 1 || window.Size != 3 ||
					window.Rate < 0.33 || window.Rate > 0.34 {
					t.Errorf("%+v", window)
				}
			}
		}
	}
}

// A sweep has as many strategies as benchmarks, also one whose rates a search chose, and its measured rates are
// theirs.
func TestSweepOfASearch(t *testing.T) {
	load := everyLoad["constant"]
	e := exporter(load, "sweep")
	e.Spec.Plan.Sweep.Size = 2
	result := resultOf(measured(everyLoad["synchronous"]), measured(everyLoad["throughput"]), measured(load))
	result.Probes.Rates = nil
	var p struct {
		SweepSize     int64           `json:"sweep_size"`
		StrategyTypes json.RawMessage `json:"strategy_types"`
		MeasuredRates json.RawMessage `json:"measured_rates"`
	}
	if err := json.Unmarshal(e.Export(result).Benchmarks[2].Config.Profile, &p); err != nil {
		t.Fatal(err)
	}
	if p.SweepSize != 3 || string(p.StrategyTypes) != `["synchronous", "throughput", "constant"]` ||
		string(p.MeasuredRates) != `[10.0]` {
		t.Errorf("%d %s %s", p.SweepSize, p.StrategyTypes, p.MeasuredRates)
	}
}
