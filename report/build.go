package report

import (
	"cmp"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/tokens"
)

// Run is what a Result is made from beside the spec.
type Run struct {
	Version  string // openloop's
	Model    string // that was asked for
	Workload tokens.Summary
	Warnings []string // about the whole run, beside those of Measured
	Measured *sweep.Result
}

// New makes the result of a run.
func New(s spec.Spec, run Run) *Result {
	measured := run.Measured
	r := &Result{
		Schema: Schema, Version: run.Version, Command: s.Output.Command,
		Asked: Asked{
			Target: s.Endpoint.Target, Model: run.Model, Profile: s.Plan.Profile, Workload: s.Workload.Describe(),
			Objectives: s.Objectives, Confidence: slo.WithDefault(s.Confidence), Seed: s.Plan.Seed(),
		},
		Search: measured.Answer, Workload: run.Workload, Warnings: []sweep.Warning{}, Stages: []Stage{},
	}
	plain := len(measured.PlainStages())
	for i, st := range measured.Stages {
		stage := NewStage(s.Plan, st)
		stage.Search = i >= plain
		r.Stages = append(r.Stages, stage)
	}
	if n := len(measured.Stages); n > 0 {
		first, last := measured.Stages[0], measured.Stages[n-1]
		r.Began = first.Wall(first.Start)
		r.Took = last.Wall(last.End).Sub(r.Began)
	}
	if s.Plan.Sweep != nil {
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
	for _, text := range run.Warnings {
		r.Warnings = append(r.Warnings, sweep.Warning{Stage: -1, Text: text})
	}
	return r
}

// NewStage sums up one stage of a plan.
func NewStage(p spec.Plan, st *sweep.Stage) Stage {
	m := st.Measured
	s := Stage{
		Name: st.Load.String(), Load: st.Load, Probe: p.Sweep != nil && !st.Load.Kind.Open(),
		Reason: m.Reason, Began: m.Wall(m.Start),
		Sending: time.Duration(m.Stopped - m.Start), InFlight: meanInFlight(m), Measured: m,
		Rates:     Rates{Asked: num.Absent(), Done: completionRate(m), Tokens: tokenRate(m)},
		Judgement: st.Judgement, Client: st.Audit, Engine: st.Engine,
		ITL: ofHistogram(m.Gaps), SendDelay: latency(nil),
	}
	if s.Sending > 0 {
		sent := 0
		for i := range m.Records {
			if at := m.Records[i].Sent; at > 0 && at <= m.Stopped {
				sent++
			}
		}
		s.Rates.Sent = float64(sent) / s.Sending.Seconds()
	}
	var delays []float64
	if st.Load.Kind.Open() {
		s.Rates.Asked = num.Value(st.Load.Rate)
		for i := range m.Records {
			if r := &m.Records[i]; r.Sent > 0 && r.Sent <= m.Stopped {
				delays = append(delays, float64(r.SendDelay()))
			}
		}
		s.SendDelay = latency(delays)
	}
	from := m.Start + int64(max(st.Judgement.WarmUp, m.Stage.Warmup))
	var ttft, tpot []float64
	for i := range m.Records {
		r := &m.Records[i]
		switch r.Status {
		case loadgen.Completed:
			s.Requests.Completed++
		case loadgen.Errored:
			s.Requests.Errored++
		case loadgen.Incomplete:
			s.Requests.Unfinished++
		default:
			s.Requests.NotSent++
		}
		if r.Scheduled < from || r.Status == loadgen.Errored {
			continue
		}
		if d, ok := r.ScheduledTTFT(); ok {
			ttft = append(ttft, float64(d))
		}
		if d, ok := r.TPOT(); ok && r.Status == loadgen.Completed {
			tpot = append(tpot, float64(d))
		}
	}
	s.TTFT, s.TPOT = latency(ttft), latency(tpot)
	for _, j := range st.Judgement.Objectives {
		s.observed(j)
	}
	s.Errors = countErrors(m)
	return s
}

// observed puts the observed value of an objective in the place of the same percentile.
func (s *Stage) observed(j slo.Judgement) {
	l := map[slo.Metric]*Latency{slo.TTFT: &s.TTFT, slo.TPOT: &s.TPOT, slo.ITL: &s.ITL}[j.Objective.Metric]
	value := float64(j.Value)
	if l == nil || l.Count == 0 || !(value >= 0 && value < 1e18) { // infinite: it falls on a request that failed
		return
	}
	ms := num.Value(value / 1e6)
	switch st := j.Objective.Statistic; {
	case st.Kind == slo.Mean:
		l.Mean = ms
	case st.Kind == slo.Max:
		l.Max = ms
	default:
		for _, p := range []struct {
			q  float64
			to *num.Value
		}{{0.5, &l.P50}, {0.9, &l.P90}, {0.95, &l.P95}, {0.99, &l.P99}, {0.999, &l.P999}} {
			if st.Q == p.q {
				*p.to = ms
			}
		}
	}
}

// latency sums up values in nanoseconds.
func latency(ns []float64) Latency {
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
		return latency(nil)
	}
	at := func(percent float64) num.Value { return num.Value(float64(h.ValueAtQuantile(percent)) / 1e6) }
	return Latency{
		Count: int(h.TotalCount()), Mean: num.Value(h.Mean() / 1e6),
		P50: at(50), P90: at(90), P95: at(95), P99: at(99), P999: at(99.9), Max: num.Value(float64(h.Max()) / 1e6),
	}
}

// mostErrors is how many different errors of a stage are listed.
const mostErrors = 10

// countErrors counts the errors of a stage by their text, the most frequent first.
func countErrors(m *loadgen.Measured) []ErrorCount {
	counts := map[ErrorCount]int{}
	for i := range m.Records {
		if m.Records[i].Status != loadgen.Errored {
			continue
		}
		e := ErrorCount{Kind: m.Records[i].Err.String()}
		e.Text = e.Kind
		if m.Details != nil && m.Details[i].Error != "" {
			e.Text = m.Details[i].Error
		}
		counts[e]++
	}
	all := make([]ErrorCount, 0, len(counts))
	for e, n := range counts {
		e.Count = n
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	return all[:min(len(all), mostErrors)]
}
