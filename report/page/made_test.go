package page

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/race"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// engine is a made-up engine that serves so many requests a second.
type engine struct {
	capacity float64 // req/s
	seconds  float64 // of each stage
	failing  float64 // share of requests that fail at its capacity
	seed     uint64
}

// made is the result of a made-up run at some rates.
func (e engine) made(t testing.TB, rates ...float64) *report.Result {
	t.Helper()
	objectives, err := slo.ParseObjectives("ttft:p95<250ms tpot:p95<25ms errors<1%")
	if err != nil {
		t.Fatal(err)
	}
	gate, err := slo.ParseGate("rate>=10")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 11, 24, 16, 43, 10, 0, time.UTC)
	r := &report.Result{
		Schema: report.Schema, Version: "v0.9.0-made", Began: began, Warnings: []sweep.Warning{},
		Command: []string{"openloop", "sweep", "http://vllm:8000", "--slo", "ttft:p95<250ms tpot:p95<25ms errors<1%",
			"--prompt-tokens", "256", "--output-tokens", "128", "--arrival", "poisson"},
		Asked: report.Asked{
			Target: "http://vllm:8000", Model: "Qwen/Qwen2.5-7B-Instruct", Profile: "sweep",
			Workload: "kind=synthetic_text,prompt_tokens=256,output_tokens=128", Objectives: objectives,
			Confidence: 0.95, Seed: 42, Labels: map[string]string{"gpu": "1×L4", "change": "baseline"},
			Cost: &spec.Cost{PerHour: 1.1, Currency: "$"},
		},
		Engine: &enginemetrics.Info{Name: "vLLM", Version: "0.23.0", Config: map[string]string{
			"max_num_seqs": "256", "enable_prefix_caching": "true", "max_num_batched_tokens": "2048"}},
		Probes: &report.Probes{SynchronousRate: 1.25, SaturationRate: e.capacity, Streams: 64},
		Gates:  []sweep.GateOutcome{{Gate: gate, Outcome: slo.Pass, Text: "the max rate is above 10 req/s"}},
	}
	for i, rate := range rates {
		s := e.stage(i, rate, objectives)
		s.Began = began.Add(time.Duration(float64(i) * (e.seconds + 1) * 1e9))
		r.Stages = append(r.Stages, s)
	}
	r.Took = time.Duration(float64(len(rates)) * (e.seconds + 1) * 1e9)
	return r
}

// searched gives a result the answer of a search.
func searched(r *report.Result, estimate, lower, upper float64) *report.Result {
	requests := 0
	for i := range r.Stages {
		requests += r.Stages[i].Judgement.Requests
	}
	r.Search = &sweep.Answer{
		Finding: sweep.Interval, Estimate: num.Value(estimate), Lower: num.Value(lower), Upper: num.Value(upper),
		Confidence: 0.95, Precision: 0.05, Limiting: "tpot:p95", Requests: requests, Stages: len(r.Stages),
		Load: r.Took, Arrivals: "poisson", Client: audit.Valid, Ended: sweep.EndPrecision,
		Why: "the max rate is known to ±5 %", Took: r.Took,
	}
	return r
}

func (e engine) stage(index int, rate float64, objectives []slo.Objective) report.Stage {
	rng := rand.New(rand.NewPCG(e.seed, uint64(index)))
	load := loadgen.Load{Kind: loadgen.PoissonGaps, Rate: rate, Seed: 42}
	busy := rate / e.capacity
	var log []report.Request
	var ttfts, tpots, delays []float64
	errored, unfinished := 0, 0
	var inFlight float64
	for at := rng.ExpFloat64() / rate; at < e.seconds; at += rng.ExpFloat64() / rate {
		sent := at + 0.0002 + 0.0003*rng.Float64()
		q := report.Request{
			Index: len(log), Scheduled: num.Value(at), Sent: num.Value(sent), SendDelay: num.Value(sent - at),
			FirstToken: num.Absent(), LastToken: num.Absent(), TTFT: num.Absent(), ScheduledTTFT: num.Absent(),
			TPOT: num.Absent(), ITL: num.Absent(), Latency: num.Absent(), PromptTokens: 264, CachedTokens: -1,
			OutputTokens: 128, AskedOutput: 128, Status: "completed", HTTPStatus: 200,
		}
		delays = append(delays, (sent-at)*1e3)
		if rng.Float64() < e.failing*busy*busy {
			q.Status, q.HTTPStatus, q.ErrorKind, q.OutputTokens = "errored", 503, "http status", 0
			q.Error = "HTTP 503 Service Unavailable: overloaded"
			if rng.IntN(4) == 0 {
				q.HTTPStatus, q.ErrorKind, q.Error = 0, "connection reset", "the server closed the connection"
			}
			q.End = num.Value(sent + 0.02 + 0.1*rng.Float64())
			errored++
			log = append(log, q)
			continue
		}
		wait := 0.004 * rng.ExpFloat64() * busy / max(1-busy, 0.05)
		if busy > 1 {
			wait += at * (busy - 1)
		}
		first := sent + 0.030 + 0.008*rng.Float64() + wait
		gap := (0.005 + 0.018*min(busy, 1.2)*min(busy, 1.2)) * (0.9 + 0.2*rng.Float64())
		last := first + 127*gap
		q.FirstToken, q.LastToken, q.End = num.Value(first), num.Value(last), num.Value(last+0.0001)
		q.TTFT, q.ScheduledTTFT = num.Value(first-sent), num.Value(first-at)
		ttfts = append(ttfts, (first-at)*1e3)
		if last > e.seconds+2 {
			q.Status, q.End, q.LastToken = "cancelled", num.Value(e.seconds+2), num.Value(min(last, e.seconds+2))
			unfinished++
		} else {
			q.TPOT, q.ITL, q.Latency = num.Value(gap), num.Value(gap), num.Value(last-sent)
			tpots = append(tpots, gap*1e3)
		}
		inFlight += min(last, e.seconds) - sent
		log = append(log, q)
	}
	done := float64(len(tpots)) / (e.seconds + 1)
	s := report.Stage{
		Name: load.String(), Load: load, Reason: loadgen.StopDuration, Sending: time.Duration(e.seconds * 1e9),
		Rates: report.Rates{Asked: num.Value(rate), Sent: float64(len(log)) / e.seconds, Done: done, Output: 128 * done,
			Tokens: 392 * done},
		InFlight: inFlight / e.seconds,
		Requests: report.Requests{Completed: len(tpots), Errored: errored, Unfinished: unfinished},
		TTFT:     latencyOf(ttfts), TPOT: latencyOf(tpots), ITL: latencyOf(tpots), SendDelay: latencyOf(delays),
		Client: audit.Verdict{Level: audit.Valid, Reasons: []audit.Reason{},
			Measurements: audit.Measurements{Stamps: "kernel", Pacer: "clock_nanosleep", CPULimit: 4}},
	}
	if errored > 0 {
		s.Errors = []report.ErrorCount{
			{Kind: "http status", Text: "HTTP 503 Service Unavailable: overloaded", Count: errored - errored/4},
			{Kind: "connection reset", Text: "the server closed the connection", Count: errored / 4},
		}
	}
	s.Judgement = slo.StageJudgement{Outcome: slo.Pass, Confidence: 0.95, Requests: len(log), EffectiveN: 80,
		Reasons: []string{}}
	for _, o := range objectives {
		j := slo.Judgement{Objective: o, Outcome: slo.Pass, Unit: o.Unit(), Bound: num.Value(o.Bound), EffectiveN: 80}
		j.N = len(log)
		value := 0.0
		switch o.Metric {
		case slo.TTFT:
			value = float64(s.TTFT.P95) * 1e6
		case slo.TPOT:
			value = float64(s.TPOT.P95) * 1e6
		default:
			value = float64(errored) / float64(max(len(log), 1))
		}
		j.Value, j.MissShareLimit = num.Value(value), 0.05
		if value > o.Bound {
			j.Outcome, j.Misses = slo.Fail, len(log)/5
			j.Reason = o.Statistic.String() + " is " + o.Seen(value)
			s.Judgement.Outcome = slo.Fail
			s.Judgement.Reasons = append(s.Judgement.Reasons, o.Name()+": "+j.Reason)
		}
		s.Judgement.Objectives = append(s.Judgement.Objectives, j)
	}
	s.SetLog(log)
	s.Series = report.NewSeries(slices.Values(log), time.Duration((e.seconds+2)*1e9), true)
	s.Engine = e.window(rng, rate, s.InFlight)
	return s
}

// window is what the made-up engine says of itself.
func (e engine) window(rng *rand.Rand, rate, inFlight float64) *enginemetrics.Window {
	none := num.Absent()
	gone := enginemetrics.EngineLatency{Count: none, Mean: none, P50: none, P95: none, P99: none}
	w := &enginemetrics.Window{Preemptions: 0, PrefixHits: 0, PrefixQueries: 1000, HitShare: 0, PromptTokens: 1,
		OutputTokens: 1,
		Drafted:      none, Accepted: none, AcceptShare: none, TTFT: gone, ITL: gone}
	for at := 0.5; at < e.seconds; at++ {
		waiting := max(0, (rate-e.capacity)*at)
		w.Series = append(w.Series, enginemetrics.Sample{
			Seconds: at, Running: num.Value(math.Round(inFlight * (0.9 + 0.2*rng.Float64()))),
			Waiting: num.Value(math.Round(waiting)), KVUsage: num.Value(min(1, 0.02*inFlight*(0.9+0.2*rng.Float64()))),
			PromptRate: none, OutputRate: none, Preemptions: 0,
		})
	}
	last := w.Series[len(w.Series)-1]
	mean := num.Value(inFlight)
	w.Running = enginemetrics.GaugeSummary{Mean: mean, Max: 1.1 * mean, Last: last.Running}
	w.Waiting = enginemetrics.GaugeSummary{Mean: last.Waiting / 2, Max: last.Waiting, Last: last.Waiting}
	w.KVUsage = enginemetrics.GaugeSummary{Mean: last.KVUsage, Max: last.KVUsage, Last: last.KVUsage}
	return w
}

func latencyOf(ms []float64) report.Latency {
	none := num.Absent()
	l := report.Latency{Count: len(ms), Mean: none, P50: none, P90: none, P95: none, P99: none, P999: none, Max: none}
	if len(ms) == 0 {
		return l
	}
	slices.Sort(ms)
	at := func(q float64) num.Value { return num.Value(num.Quantile(ms, q)) }
	l.Mean, l.P50, l.P90, l.P95, l.P99, l.P999, l.Max = at(0.5), at(0.5), at(0.9), at(0.95), at(0.99), at(0.999), at(1)
	return l
}

// examples are results of every kind that a page is made of.
func examples(t testing.TB) map[string]Input {
	l4 := engine{capacity: 14, seconds: 30, seed: 1}
	rates := []float64{1.25, 3.4, 5.5, 7.7, 9.8, 11.9, 14}
	found := searched(l4.made(t, append(slices.Clone(rates), 11.2, 12.4, 11.9, 12.1)...), 11.9, 11.4, 12.3)
	failing := engine{capacity: 14, seconds: 20, failing: 0.2, seed: 2}.made(t, 4, 8, 12, 16)
	failing.Stages[1].Client = audit.Verdict{Level: audit.Suspect, Reasons: []audit.Reason{
		{Check: "send_delay", Level: audit.Suspect, Text: "1 % of the requests were sent 3.1ms late or more"}}}
	failing.Warnings = []sweep.Warning{{Stage: -1, Text: "the server was busy with something else"}}
	failing.Gates[0].Outcome, failing.Gates[0].Text = slo.Fail, "the objectives fail at 4 req/s"
	open := engine{capacity: 14, seconds: 5, seed: 3}.made(t, 6)
	open.Probes, open.Gates = nil, nil
	open.Stages[0].Judgement.Outcome = slo.Undecided
	open.Stages[0].Judgement.Reasons = []string{"tpot:p95: worth 12 independent requests, too few to tell"}
	for i := range open.Stages[0].Judgement.Objectives {
		open.Stages[0].Judgement.Objectives[i].Outcome = slo.Undecided
	}
	open.Stages[0].Judgement.Need = &slo.Need{Requests: 59, Time: 10 * time.Second}
	slower := searched(engine{capacity: 12, seconds: 30, seed: 4}.made(t, rates...), 10.1, 9.8, 10.4)
	slower.Asked.Labels = map[string]string{"gpu": "1×L4", "change": "vLLM 0.22.1"}
	lasting := 95.0 // seconds: 104,579 requests
	if race.Enabled {
		lasting = 5
	}
	// A report may have kept no requests, or a sample of them.
	bare := searched(l4.made(t, rates...), 11.9, 11.4, 12.3)
	for i := range bare.Stages {
		bare.Stages[i].SetLog(nil)
	}
	many := searched(engine{capacity: 1400, seconds: lasting, seed: 5}.made(t, 1100), 1190, 1150, 1230)
	var rising []float64
	for i := range 45 {
		rising = append(rising, 1+0.3*float64(i))
	}
	long := searched(engine{capacity: 14, seconds: 4, seed: 6}.made(t, rising...), 11.9, 11.4, 12.3)
	return map[string]Input{
		"long":   {Runs: []*report.Result{long}},
		"search": {Runs: []*report.Result{found}},
		"sweep":  {Runs: []*report.Result{l4.made(t, rates...)}},
		"errors": {Runs: []*report.Result{failing}},
		"open":   {Runs: []*report.Result{open}},
		"bare":   {Runs: []*report.Result{bare}},
		"many":   {Runs: []*report.Result{many}},
		"comparison": {
			Runs: []*report.Result{found}, Names: []string{"after"}, Base: slower, BaseName: "before",
			Comparison: &Comparison{
				Summary: "after is better: max rate at SLO +18 %, TTFT p95 −52 %, TPOT p95 the same",
				Tables: []Table{
					{Title: "what differs", Columns: []string{"", "before", "after"}, Rows: []Row{
						{Cells: []string{"engine", "vLLM 0.22.1", "vLLM 0.23.0"}, Change: Differs}}},
					{Title: "at 9.8 req/s", Columns: []string{"", "before ± 95 %", "after ± 95 %", "change"},
						Rows: []Row{
							{[]string{"max rate at SLO, req/s", "10.1 ± 3 %", "11.9 ± 4 %", "+18 % (p<0.001)"}, Better},
							{[]string{"TTFT p95, ms", "212 ± 9 %", "101 ± 7 %", "−52.4 % (p<0.001)"}, Better},
							{[]string{"errors", "0/600", "0/600", "~"}, Same},
							{[]string{"send delay p99, ms", "0.5", "0.6", "+20 %"}, Worse},
						}},
				},
				Notes: []string{"prefix-cache hits 0 % against 14 %: the second run was answered from the cache"},
			},
		},
		"several": {Runs: []*report.Result{found, slower}, Names: []string{"after", "before"}},
		"nothing": {Runs: []*report.Result{{Version: "v0.9.0-made"}}},
	}
}
