package report

import (
	"testing"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// seen is a stage at a rate, with what was observed of its objectives, each NAME<BOUND, in nanoseconds or shares.
func seen(t *testing.T, rate float64, text string, values ...float64) Stage {
	t.Helper()
	s := Stage{Load: loadgen.Load{Kind: loadgen.PoissonGaps, Rate: rate}}
	s.Judgement.Outcome = slo.Pass
	for i, o := range objectives(t, text) {
		j := slo.Judgement{Objective: o, Outcome: slo.Pass}
		j.Value, j.Holds = num.Value(values[i]), values[i] < o.Bound
		if !j.Holds {
			j.Outcome, s.Judgement.Outcome = slo.Fail, slo.Fail
		}
		s.Judgement.Objectives = append(s.Judgement.Objectives, j)
	}
	return s
}

// engine puts an engine's figures beside a stage.
func (s Stage) engine(waiting, mostWaiting, running, kv, preemptions float64) Stage {
	s.Engine = &enginemetrics.Window{Preemptions: num.Value(preemptions)}
	s.Engine.Waiting.Mean, s.Engine.Waiting.Max = num.Value(waiting), num.Value(mostWaiting)
	s.Engine.Running.Max, s.Engine.KVUsage.Max = num.Value(running), num.Value(kv)
	return s
}

func TestBreaksFirst(t *testing.T) {
	const slos = "ttft:p95<250ms tpot:p95<50ms errors<1%"
	const ms = 1e6
	nan := float64(num.Absent())
	good := seen(t, 10, slos, 100*ms, 20*ms, 0)
	slow := seen(t, 12.4, slos, 100*ms, 50.9*ms, 0)
	late := seen(t, 12.4, slos, 312*ms, 20*ms, 0)
	far := seen(t, 20, slos, 900*ms, 90*ms, 0).engine(50, 90, 256, 0.99, 12)
	unfit := slow
	unfit.Judgement.ClientAtFault = true
	failing := seen(t, 12, slos, 100*ms, 20*ms, 0.2)
	failing.Errors = []ErrorCount{{Kind: "http status", Text: "HTTP 503: overloaded", Count: 9}}
	growing := seen(t, 12, slos, 100*ms, 20*ms, 0)
	growing.Judgement.Outcome = slo.Fail
	seats := &enginemetrics.Info{Config: map[string]string{"max_num_seqs": "256"}}
	found := func(f sweep.Finding, rate float64, limiting string) *sweep.Answer {
		return &sweep.Answer{Finding: f, Estimate: num.Value(rate), Limiting: limiting}
	}
	for _, tc := range []struct {
		name   string
		stages []Stage
		info   *enginemetrics.Info
		search *sweep.Answer
		want   string
	}{
		{"decode", []Stage{good, slow.engine(0, 0, 31, 0.38, 0), far}, nil, found(sweep.Interval, 11.9, "tpot:p95"),
			"tpot:p95, 50.9 ms at 12.4 req/s: the batch is slow: decode bound (KV 38 %, none waiting)"},
		{"the places are known", []Stage{slow.engine(0, 0, 31, 0.38, 0)}, seats, found(sweep.Near, 11.9, "tpot:p95"),
			"tpot:p95, 50.9 ms at 12.4 req/s: the batch is slow: decode bound " +
				"(KV 38 %, none waiting, 31 of 256 running)"},
		{"prefill", []Stage{good, late.engine(0, 0, 31, 0.38, 0)}, nil, nil,
			"ttft:p95, 312 ms at 12.4 req/s: prefill is slow (KV 38 %, none waiting)"},
		{"a queue for sequences", []Stage{good, late.engine(14, 30, 256, 0.5, 0)}, seats, nil,
			"ttft:p95, 312 ms at 12.4 req/s: requests wait for one of 256 sequences " +
				"(KV 50 %, 14 waiting, 256 of 256 running)"},
		{"a queue of a length that is not known", []Stage{late.engine(14, 30, 256, 0.5, 0)}, nil, nil,
			"ttft:p95, 312 ms at 12.4 req/s: requests wait in the engine's queue (KV 50 %, 14 waiting)"},
		{"some waited, seldom", []Stage{late.engine(0.2, 3, 256, 0.5, 0)}, nil, nil,
			"ttft:p95, 312 ms at 12.4 req/s: prefill is slow (KV 50 %, at most 3 waiting)"},
		{"a full cache", []Stage{late.engine(14, 30, 80, 0.97, 0)}, seats, nil,
			"ttft:p95, 312 ms at 12.4 req/s: the KV cache is full (KV 97 %, 14 waiting, 80 of 256 running)"},
		{"preemptions", []Stage{late.engine(0, 0, 80, 0.9, 1200)}, nil, nil,
			"ttft:p95, 312 ms at 12.4 req/s: the KV cache is full (KV 90 %, none waiting, 1,200 preemptions)"},
		{"no metrics", []Stage{good, slow}, nil, found(sweep.Interval, 11.9, "tpot:p95"),
			"tpot:p95, 50.9 ms at 12.4 req/s"},
		{"metrics without figures", []Stage{slow.engine(nan, nan, nan, nan, nan)}, nil, nil,
			"tpot:p95, 50.9 ms at 12.4 req/s"},
		{"errors", []Stage{good, failing}, nil, nil, "errors, 20 % at 12 req/s: HTTP 503: overloaded"},
		{"a backlog alone", []Stage{good, growing}, nil, nil, "a growing backlog at 12 req/s"},
		{"the client's fault shows nothing", []Stage{good, unfit, far}, nil, found(sweep.Interval, 11.9, "tpot:p95"),
			"tpot:p95, 90 ms at 20 req/s: the KV cache is full (KV 99 %, 50 waiting, 12 preemptions)"},
		{"the misses lie below the estimate only", []Stage{slow}, nil, found(sweep.Interval, 13, "tpot:p95"),
			"tpot:p95, 50.9 ms at 12.4 req/s"},
		{"no stage missed it", []Stage{good}, nil, found(sweep.Near, 13, "tpot:p95"), "tpot:p95"},
		{"nothing was missed", []Stage{good}, nil, found(sweep.AtLeast, 9, "tpot:p95"), ""},
		{"nothing was missed, without a search", []Stage{good}, nil, nil, ""},
		{"no stage", nil, nil, nil, ""},
	} {
		r := &Result{Stages: tc.stages, Engine: tc.info, Search: tc.search}
		if got := r.BreaksFirst(); got != tc.want {
			t.Errorf("%s: %q\nwant %q", tc.name, got, tc.want)
		}
	}
}
