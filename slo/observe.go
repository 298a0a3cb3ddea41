package slo

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Observed is what a stage showed of an objective, without asking how sure that is. Figures are in the unit of the
// objective's bound: ns, or a share.
type Observed struct {
	// Value is the statistic, with latencies counted from the scheduled time; +Inf where it falls on a request that
	// failed; absent where there was nothing to observe.
	Value num.Value `json:"value"`
	// ValueFromSent is the same with latencies counted from the sending: GuideLLM's figure. It equals Value for metrics
	// that do not depend on when a request was sent.
	ValueFromSent num.Value `json:"value_from_sent"`
	// ValueWithoutFailed is the statistic of the requests that did not fail; absent where none failed, or all.
	ValueWithoutFailed num.Value `json:"value_without_failed"`
	// Holds says whether Value keeps the bound.
	Holds bool `json:"holds"`
	// Margin is the share of the bound that is left: (bound − value)/bound for latencies and errors, value − bound for
	// goodput. Negative where the bound is not kept.
	Margin num.Value `json:"margin"`

	N      int `json:"n"`      // observations: requests, or gaps for itl
	Misses int `json:"misses"` // of them, those that did not keep the bound
	Failed int `json:"failed"` // of those, the ones of requests that failed
}

// Observe says what the measured part of a stage shows of an objective, its user's warm-up and cool-down left out. A
// request that failed counts as a miss of every latency objective. One still in flight at the end counts as a miss if
// it has already exceeded its bound, and not at all otherwise; but what of it is known counts: a first token that came
// has its TTFT. Arrivals that were due but never sent count as waiting since their scheduled time.
func Observe(m *loadgen.Measured, o Objective) Observed {
	s := snapshot(m, m.AllRecords(), m.Stopped, max(m.Stopped, m.End))
	from, to := measuredWindow(s)
	if o.Metric == ITL {
		return o.observeGaps(s, from, to)
	}
	return o.observed(s, o.window(s, from, to))
}

// observed sums up observations of requests.
func (o Objective) observed(s *loadgen.Measured, obs []observation) Observed {
	var w Observed
	w.N = len(obs)
	for i := range obs {
		w.Misses += count(obs[i].miss)
		w.Failed += count(obs[i].failed)
	}
	if w.N == 0 {
		return o.nothing(s)
	}
	scratch := make([]float64, 0, len(obs))
	statistic := func(figure func(*observation) float64, counts func(*observation) bool) num.Value {
		scratch = scratch[:0]
		for i := range obs {
			if counts == nil || counts(&obs[i]) {
				scratch = append(scratch, figure(&obs[i]))
			}
		}
		return num.Value(o.statistic(scratch))
	}
	value := func(ob *observation) float64 { return ob.value }
	w.Value = statistic(value, nil)
	w.ValueFromSent = statistic(func(ob *observation) float64 { return ob.fromSent }, nil)
	w.ValueWithoutFailed = num.Absent()
	if w.Failed > 0 && w.Failed < w.N {
		w.ValueWithoutFailed = statistic(value, func(ob *observation) bool { return !ob.failed })
	}
	w.setMargin(o)
	return w
}

// nothing is what a stage shows where no request says anything. Responses of one token have no gaps: no gap was too
// long. Where nothing completed, nothing is shown.
func (o Objective) nothing(s *loadgen.Measured) Observed {
	none := num.Absent()
	completed := slices.ContainsFunc(s.Records, func(r loadgen.Record) bool { return r.Status == loadgen.Completed })
	return Observed{
		Value: none, ValueFromSent: none, ValueWithoutFailed: none, Margin: none,
		Holds: o.Metric.Latency() && completed,
	}
}

// setMargin fills in whether the value keeps the bound, and by how much.
func (w *Observed) setMargin(o Objective) {
	v := float64(w.Value)
	w.Holds = o.Op.holds(v, o.Bound)
	switch {
	case o.Metric == Goodput:
		w.Margin = num.Value(v - o.Bound)
	case o.Bound > 0:
		w.Margin = num.Value((o.Bound - v) / o.Bound)
	default:
		w.Margin = num.Value(-v)
	}
}

// onlyFailed says whether it is requests that failed, and they alone, that keep the objective from being met.
func (w *Observed) onlyFailed(o Objective) bool {
	return w.Failed > 0 && !w.ValueWithoutFailed.IsAbsent() && o.Op.holds(float64(w.ValueWithoutFailed), o.Bound)
}

// statistic computes the objective's statistic; it reorders the values. A quantile is the smallest value that at least
// the share Q does not exceed, so that it keeps its bound exactly when no more than the share 1 − Q misses it.
func (o Objective) statistic(values []float64) float64 {
	switch o.Statistic.Kind {
	case Max:
		return slices.Max(values)
	case Quantile:
		return num.Select(values, num.Rank(o.Statistic.Q, len(values)))
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	mean := sum / float64(len(values))
	if o.Metric == Goodput { // its values are misses
		return 1 - mean
	}
	return mean
}

// observation is what one request says about an objective.
type observation struct {
	scheduled int64
	value     float64 // latency from the scheduled time, ns; shares: 1 for a miss, else 0
	fromSent  float64 // the same from the sending
	miss      bool
	failed    bool
	session   int32 // that it is a turn of, from 1; 0: it is by itself
}

// window returns what the requests due in a part of a stage say. The last ones that were due are left out where the
// objective leaves requests in flight undecided: there, those that were answered would count and those that were not
// would not, which would flatter the server. The records are sorted by their scheduled times.
func (o Objective) window(s *loadgen.Measured, from, to int64) []observation {
	obs := make([]observation, 0, len(s.Records))
	until := int64(math.MaxInt64)
	horizon := o.horizon()
	for i := range s.Records {
		r := &s.Records[i]
		if r.Scheduled < from || r.Scheduled > to || !o.about(r) {
			continue
		}
		ob, counts := o.observe(r, s)
		open := r.Status == loadgen.Incomplete || r.Status == loadgen.NotSent
		switch {
		case counts:
			obs = append(obs, ob)
		case open && horizon > 0:
			until = min(until, r.Scheduled)
		}
	}
	return obs[:sort.Search(len(obs), func(i int) bool { return obs[i].scheduled >= until })]
}

// horizon is how long after it was due a request is decided, whatever comes; 0 where that depends on the request.
func (o Objective) horizon() time.Duration {
	switch o.Metric {
	case TTFT, TTFO, E2E:
		return time.Duration(o.Bound)
	case Goodput:
		h := time.Duration(0)
		for _, b := range o.Each {
			if b.Metric != TTFT && b.Metric != TTFO && b.Metric != E2E {
				return 0
			}
			h = max(h, b.Bound)
		}
		return h
	}
	return 0
}

// observe says what a request contributes to an objective other than itl; counts is false if that is nothing.
func (o Objective) observe(r *loadgen.Record, s *loadgen.Measured) (ob observation, counts bool) {
	ob.scheduled = r.Scheduled
	ob.failed = r.Status == loadgen.Errored
	if o.Metric != SessionE2E { // of which each session has one
		ob.session = r.Session
	}
	switch o.Metric {
	case Errors:
		ob.miss = ob.failed
		ob.value, ob.fromSent = indicator(ob.miss), indicator(ob.miss)
		return ob, r.Status == loadgen.Errored || r.Status == loadgen.Completed
	case Goodput:
		return o.observeGoodput(ob, r, s)
	}
	m := measure(o.Metric, r, s)
	ob.value, ob.fromSent = m.value, m.fromSent
	ob.miss = !o.Op.holds(m.value, o.Bound)
	return ob, m.state == known || m.state == atLeast && ob.miss
}

// observeGoodput counts a request as good once all its bounds are known to be met, as bad once one is missed.
func (o Objective) observeGoodput(ob observation, r *loadgen.Record, s *loadgen.Measured) (_ observation, counts bool) {
	undecided, missFromSent := false, false
	for _, b := range o.Each {
		m := measure(b.Metric, r, s)
		ob.miss = ob.miss || m.state != absent && !b.Op.holds(m.value, float64(b.Bound))
		missFromSent = missFromSent || m.state != absent && !b.Op.holds(m.fromSent, float64(b.Bound))
		undecided = undecided || m.state == atLeast || m.state == absent && r.Status != loadgen.Completed
	}
	ob.value, ob.fromSent = indicator(ob.miss), indicator(missFromSent)
	return ob, ob.miss || !undecided
}

func indicator(b bool) float64 { return float64(count(b)) }

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// state is how much is known of a figure of one request.
type state uint8

const (
	absent  state = iota // the request has no such figure, or not yet
	atLeast              // in flight: the figure will be at least this
	known
)

// measurement is one latency of one request.
type measurement struct {
	value, fromSent float64 // ns
	state           state
}

// measure returns a latency of one request. What is in flight or was never sent has the least latency that it can still
// have: for figures per token, the tokens asked for are then the divisor, since no more can come.
func measure(metric Metric, r *loadgen.Record, s *loadgen.Measured) measurement {
	if r.Status == loadgen.Errored {
		if metric == SessionE2E && r.Flags&loadgen.EndsSession == 0 { // another turn's failure ended the session
			return measurement{}
		}
		return measurement{math.Inf(1), math.Inf(1), known}
	}
	end := r.End
	if end == 0 {
		end = s.Stopped
	}
	sent := r.Sent
	if sent == 0 {
		sent = r.Scheduled // never sent: there is no better figure
	}
	origin, divisor := r.Scheduled, 1
	final := r.Status == loadgen.Completed
	switch metric {
	case SessionE2E:
		if r.Session == 0 || final && r.Flags&loadgen.EndsSession == 0 { // another turn says it
			return measurement{}
		}
		origin, sent = r.Began, r.Began
	case TTFT:
		if r.FirstToken > 0 {
			final, end = true, r.FirstToken
		} else if final {
			return measurement{} // a response without content
		}
	case TTFO:
		if r.FirstOutput > 0 {
			final, end = true, r.FirstOutput
		} else if final {
			return measurement{} // a response in one piece, or of reasoning alone
		}
	case TPOT:
		divisor = r.Tokens() - 1
		if !final {
			divisor = int(r.AskedOutput) - 1
		} else {
			end = r.LastToken
		}
		if r.FirstToken == 0 || divisor < 1 {
			return measurement{}
		}
		origin, sent = r.FirstToken, r.FirstToken
	case NTPOT:
		divisor = r.Tokens()
		if !final {
			divisor = int(r.AskedOutput)
		}
		if divisor < 1 {
			return measurement{}
		}
	}
	m := measurement{float64(end-origin) / float64(divisor), float64(end-sent) / float64(divisor), atLeast}
	if final {
		m.state = known
	}
	return m
}

// Values returns the values of single requests, ns, on which the judgement of a latency rests, those of failed requests
// left out. Of a metric that no objective bounds, they are those of the requests that have one.
func (j StageJudgement) Values(m *loadgen.Measured, metric Metric) []float64 {
	o := Objective{Metric: metric, Statistic: Statistic{Kind: Max}, Op: AtMost, Bound: math.MaxFloat64}
	for _, judged := range j.Objectives {
		if judged.Objective.Metric == metric && judged.Objective.of() == "" {
			o = judged.Objective
			break
		}
	}
	s := snapshot(m, m.AllRecords(), m.Stopped, max(m.Stopped, m.End))
	_, to := measuredWindow(s)
	var values []float64
	for _, ob := range o.window(s, m.Start+int64(j.WarmUp), to) {
		if !math.IsInf(ob.value, 1) {
			values = append(values, ob.value)
		}
	}
	return values
}
