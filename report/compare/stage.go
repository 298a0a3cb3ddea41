package compare

import (
	"math"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
)

// view is a stage with those of its requests that were judged.
type view struct {
	stage  *report.Stage
	all    []report.Request  // nil: the report does not have them
	judged []*report.Request // due after the warm-up and before the cool-down
}

func newView(s *report.Stage) *view {
	v := &view{stage: s, all: s.Log()}
	from := s.Judgement.WarmUp.Seconds()
	most := s.Judgement.Requests
	if most == 0 { // not judged: GuideLLM's
		most = len(v.all)
	}
	for i := range v.all {
		if r := &v.all[i]; due(r) >= from && len(v.judged) < most {
			v.judged = append(v.judged, r)
		}
	}
	return v
}

// due is when a request was to be sent, in seconds since the stage began: as scheduled, else as sent.
func due(r *report.Request) float64 {
	if !r.Scheduled.IsAbsent() {
		return float64(r.Scheduled)
	}
	return float64(r.Sent)
}

// observations are values in the order in which their requests were due, each with the index of its request.
type observations struct {
	values  []float64
	indices []int
}

func (o *observations) add(r *report.Request, value float64) {
	o.values, o.indices = append(o.values, value), append(o.indices, r.Index)
}

// observe says what the judged requests say of a metric, as the judge of objectives counts: latencies in ms, from the
// time when a request was due; requests that failed have none. The last requests are left out from the first on that
// was still open: of those, only the fast would count.
func (v *view) observe(metric slo.Metric, each []slo.RequestBound) observations {
	var o observations
	for _, r := range v.judged {
		if metric == slo.Goodput {
			if good, known := goodput(r, each); known {
				o.add(r, good)
			}
			continue
		}
		if r.Status == loadgen.Errored.String() {
			continue
		}
		value, known := latency(r, metric)
		switch {
		case known:
			o.add(r, 1e3*value)
		case r.Status != loadgen.Completed.String() && (metric == slo.TTFT || metric == slo.TTFO || metric == slo.E2E):
			return o
		}
	}
	return o
}

// latency is a latency of one request in seconds.
func latency(r *report.Request, metric slo.Metric) (seconds float64, known bool) {
	completed := r.Status == loadgen.Completed.String()
	switch metric {
	case slo.TTFT:
		seconds = float64(r.ScheduledTTFT)
		if r.ScheduledTTFT.IsAbsent() {
			seconds = float64(r.TTFT)
		}
	case slo.TTFO:
		seconds = float64(r.ScheduledTTFO)
	case slo.TPOT:
		if !completed {
			return 0, false
		}
		seconds = float64(r.TPOT)
	case slo.E2E, slo.NTPOT:
		if !completed {
			return 0, false
		}
		seconds = float64(r.End) - due(r)
		if metric == slo.NTPOT {
			if r.OutputTokens < 1 {
				return 0, false
			}
			seconds /= float64(r.OutputTokens)
		}
	}
	return seconds, !math.IsNaN(seconds)
}

// goodput is 1 for a request that met all bounds, 0 for one that missed one.
func goodput(r *report.Request, each []slo.RequestBound) (good float64, known bool) {
	switch r.Status {
	case loadgen.Errored.String():
		return 0, true
	case loadgen.Completed.String():
	default:
		return 0, false
	}
	for _, b := range each {
		seconds, known := latency(r, b.Metric)
		bound := b.Bound.Seconds()
		if known && (seconds > bound || seconds == bound && b.Op == slo.Below) {
			return 0, true
		}
	}
	return 1, true
}

// errors is 1 for every request of the stage that failed, 0 for those that completed.
func (v *view) errors() observations {
	var o observations
	for i := range v.all {
		switch r := &v.all[i]; r.Status {
		case loadgen.Errored.String():
			o.add(r, 1)
		case loadgen.Completed.String():
			o.add(r, 0)
		}
	}
	return o
}

// step is the length of the steps in which output tokens are counted, in seconds.
const step = 0.5

// output is the output tokens a second, in steps of the part of the stage that was judged: those of the requests that
// ended in it.
func (v *view) output() observations {
	from, to := v.stage.Judgement.WarmUp.Seconds(), v.stage.Sending.Seconds()
	first := int(math.Ceil(from / step))
	n := int(to/step) - first
	if n < 1 || v.all == nil {
		return observations{}
	}
	o := observations{make([]float64, n), make([]int, n)}
	for i := range o.indices {
		o.indices[i] = first + i
	}
	for i := range v.all {
		if r := &v.all[i]; r.Status == loadgen.Completed.String() && !r.End.IsAbsent() {
			if k := int(float64(r.End)/step) - first; k >= 0 && k < n {
				o.values[k] += float64(r.OutputTokens) / step
			}
		}
	}
	return o
}

// tokens are the tokens of the requests that completed: of the answers, or of the prompts where they are known.
func (v *view) tokens(answers bool) []float64 {
	var all []float64
	for _, r := range v.judged {
		n := r.OutputTokens
		if !answers {
			n = r.PromptTokens
		}
		if r.Status == loadgen.Completed.String() && n > 0 {
			all = append(all, float64(n))
		}
	}
	return all
}

// sameArrivals says whether the requests of two stages were due at the same times.
func sameArrivals(a, b *view) bool {
	if !a.stage.Load.Kind.Open() || len(a.all) == 0 || len(b.all) == 0 {
		return false
	}
	const close = 1e-3 // seconds
	common, same := 0, 0
	for i, j := 0, 0; i < len(a.all) && j < len(b.all); {
		x, y := &a.all[i], &b.all[j]
		switch {
		case x.Index < y.Index:
			i++
		case x.Index > y.Index:
			j++
		default:
			common++
			if math.Abs(float64(x.Scheduled-y.Scheduled)) < close {
				same++
			}
			i, j = i+1, j+1
		}
	}
	return common > 0 && same == common
}
