package report

import (
	"math"
	"net/http"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
	"github.com/openloop/openloop/tokens"
)

// Run is what a Result is made from beside the spec.
type Run struct {
	Version  string // openloop's
	Model    string // that was asked for
	Workload tokens.Summary
	Warnings []string // about the whole run, beside those of Measured
	Measured *sweep.Result
	Engine   *enginemetrics.Info // nil: the endpoint does not say
	Engines  []Engine            // those that have a name
}

// New makes the result of a run.
func New(s spec.Spec, run Run) *Result {
	measured := run.Measured
	r := &Result{
		Schema: Schema, Version: run.Version, Command: s.Output.Command,
		Asked: Asked{
			Target: s.Endpoint.Target, Model: run.Model, Profile: s.Plan.Profile, Workload: s.Describe(),
			Request:    requestKind(s.Workload.Format),
			Objectives: s.Objectives, Confidence: slo.WithDefault(s.Confidence), Seed: s.Plan.Seed(),
			Labels: s.Output.Labels, Cost: s.Output.Cost,
		},
		Engine: run.Engine, Engines: run.Engines,
		Search: measured.Answer, Workload: run.Workload, Warnings: []sweep.Warning{}, Stages: []Stage{},
	}
	plain := len(measured.PlainStages())
	for i, st := range measured.Stages {
		stage := NewStage(s.Plan, st)
		stage.Search = i >= plain
		stage.group(s.Classes(), s.TargetNames(), r.Asked.Confidence)
		r.Stages = append(r.Stages, stage)
	}
	markRepeated(r.Stages)
	if n := len(measured.Stages); n > 0 {
		first, last := measured.Stages[0], measured.Stages[n-1]
		r.Began = first.Wall(first.Start)
		r.Took = last.Wall(last.End).Sub(r.Began)
	}
	if search := s.Plan.Search(); s.Plan.Sweep != nil && (search == nil || !search.Speed) {
		p := measured.Probe
		r.Probes = &Probes{
			SynchronousRate: measured.SynchronousRate, SaturationRate: measured.SaturationRate, ProbeRate: p.Rate,
			Streams: p.Streams, Steps: append([]sweep.ProbeStep{}, p.Steps...),
			Rates: append([]float64{}, measured.Rates...),
		}
	}
	for _, g := range s.Gates {
		r.Gates = append(r.Gates, sweep.Evaluate(g, measured))
	}
	r.Warnings = append(r.Warnings, measured.Warnings...)
	r.Warnings = append(r.Warnings, answerWarnings(measured.Stages, s.Workload.NoIgnoreEOS)...)
	for _, text := range run.Warnings {
		r.Warnings = append(r.Warnings, sweep.Warning{Stage: -1, Text: text})
	}
	return r
}

// markRepeated marks the stages of which a worker was lost, and which were run again to their end.
func markRepeated(stages []Stage) {
	whole := map[string]bool{}
	for i := len(stages) - 1; i >= 0; i-- {
		s := &stages[i]
		if s.Reason != loadgen.StopWorkerLost {
			whole[s.Name] = true
		}
		s.Repeated = s.Reason == loadgen.StopWorkerLost && whole[s.Name]
	}
}

// requestKind names a kind of request as GuideLLM does.
func requestKind(f tokens.Format) string {
	return f.String()
}

// NewStage sums up one stage of a plan.
func NewStage(p spec.Plan, st *sweep.Stage) Stage {
	m := st.Measured
	output, tokens := tokenRates(m)
	s := Stage{
		Name: st.Load.String(), Load: st.Load, Probe: p.Sweep != nil && !st.Load.Kind.Open(),
		Reason: m.Reason, Began: m.Wall(m.Start),
		Sending: time.Duration(m.Stopped - m.Start), InFlight: meanInFlight(m), Measured: m,
		Rates:     Rates{Asked: num.Absent(), Done: completionRate(m), Output: output, Tokens: tokens},
		Judgement: st.Judgement, Client: st.Audit, Engine: st.Engine, Engines: st.Engines,
		ITL: ofHistogram(m.Gaps), SendDelay: LatencyOf(nil),
	}
	s.Rates.Sent = sentRate(m)
	var delays []float64
	if st.Load.Kind.Open() {
		s.Rates.Asked = num.Value(st.Load.Rate)
		for i := range m.Records {
			if r := &m.Records[i]; r.Sent > 0 && r.Sent <= m.Stopped {
				delays = append(delays, float64(r.SendDelay()))
			}
		}
		s.SendDelay = LatencyOf(delays)
	}
	s.Requests = countRequests(m)
	s.TTFT, s.TPOT = LatencyOf(st.Judgement.Values(m, slo.TTFT)), LatencyOf(st.Judgement.Values(m, slo.TPOT))
	if slices.ContainsFunc(m.Records, func(r loadgen.Record) bool { return r.FirstOutput > r.FirstToken }) {
		ttfo := LatencyOf(st.Judgement.Values(m, slo.TTFO))
		s.TTFO = &ttfo
	}
	if input, ok := embedded(m); ok {
		e2e := LatencyOf(st.Judgement.Values(m, slo.E2E))
		s.E2E, s.Rates.Input, s.Rates.Tokens = &e2e, input, input
	}
	for _, j := range st.Judgement.Objectives {
		s.observedGaps(j)
	}
	s.Errors, s.RetryAfter, s.Answers = countErrors(m), retryAfterOf(m), answersOf(m)
	s.Retried = retriedOf(m)
	s.Sessions = sessionsOf(m, m.Start+int64(st.Judgement.WarmUp))
	s.Series = seriesOf(m)
	return s
}

// embedded is the rate of the tokens that were embedded or ranked, a second; ok is false where text was generated, or
// nothing completed.
func embedded(m *loadgen.Measured) (rate float64, ok bool) {
	tokens := 0.0
	for i := range m.Records {
		r := &m.Records[i]
		if r.FirstToken > 0 {
			return 0, false
		}
		if r.Status == loadgen.Completed && r.OutputTokens == 0 {
			ok = true
			if r.End <= m.Stopped {
				tokens += float64(max(r.PromptTokens, 0))
			}
		}
	}
	return tokens / (float64(m.Stopped-m.Start) / 1e9), ok
}

// countRequests counts the requests of a stage by how they ended.
func countRequests(m *loadgen.Measured) Requests {
	var n Requests
	for i := range m.Records {
		switch m.Records[i].Status {
		case loadgen.Completed:
			n.Completed++
		case loadgen.Errored:
			n.Errored++
			switch m.Records[i].HTTPStatus {
			case http.StatusTooManyRequests:
				n.RateLimited++
			case http.StatusServiceUnavailable:
				n.Unavailable++
			}
		case loadgen.Incomplete:
			n.Unfinished++
		default:
			n.NotSent++
		}
	}
	return n
}

// observedGaps puts the observed value of an objective on ITL in the place of the same statistic: a rank may fall on
// the next bucket of the histogram.
func (s *Stage) observedGaps(j slo.Judgement) {
	value := float64(j.Value)
	if j.Objective.Metric != slo.ITL || j.Failed > 0 || s.ITL.Count == 0 || math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	if to := s.ITL.statistic(j.Objective.Statistic); to != nil {
		*to = num.Value(value / 1e6)
	}
}

// statistic is where a statistic stands in a latency, nil for one that it does not have.
func (l *Latency) statistic(of slo.Statistic) *num.Value {
	switch of.Kind {
	case slo.Mean:
		return &l.Mean
	case slo.Max:
		return &l.Max
	}
	switch of.Q {
	case 0.5:
		return &l.P50
	case 0.9:
		return &l.P90
	case 0.95:
		return &l.P95
	case 0.99:
		return &l.P99
	case 0.999:
		return &l.P999
	}
	return nil
}

// LatencyOf sums up values in nanoseconds, which it sorts.
func LatencyOf(ns []float64) Latency {
	none := num.Absent()
	l := Latency{len(ns), none, none, none, none, none, none, none}
	if len(ns) == 0 {
		return l
	}
	slices.Sort(ns)
	sum := 0.0
	for _, v := range ns {
		sum += v
	}
	at := func(q float64) num.Value { return num.Value(num.Quantile(ns, q) / 1e6) }
	l.Mean = num.Value(sum / float64(len(ns)) / 1e6)
	l.P50, l.P90, l.P95, l.P99, l.P999, l.Max = at(0.5), at(0.9), at(0.95), at(0.99), at(0.999), at(1)
	return l
}

// ofHistogram sums up a histogram of nanoseconds.
func ofHistogram(h *hdr.Histogram) Latency {
	if h == nil || h.TotalCount() == 0 {
		return LatencyOf(nil)
	}
	at := func(percent float64) num.Value { return num.Value(float64(h.ValueAtQuantile(percent)) / 1e6) }
	return Latency{
		Count: int(h.TotalCount()), Mean: num.Value(h.Mean() / 1e6),
		P50: at(50), P90: at(90), P95: at(95), P99: at(99), P999: at(99.9), Max: num.Value(float64(h.Max()) / 1e6),
	}
}
