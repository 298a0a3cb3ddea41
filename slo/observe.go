package slo

import (
	"cmp"
	"math"
	"slices"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Judgement is what became of one objective on one stage. Figures are in the unit of the objective's bound: ns, or a share.
type Judgement struct {
	Objective Objective `json:"objective"`
	Holds     bool      `json:"holds"`

	// Value is the statistic, with latencies counted from the scheduled time; +Inf where it falls on a request that
	// failed; NaN where there was nothing to observe.
	Value num.Value `json:"value"`
	// ValueFromSent is the same with latencies counted from the actual send: GuideLLM's figure. It equals Value for
	// metrics that do not depend on when a request was sent.
	ValueFromSent num.Value `json:"value_from_sent"`
	Bound         num.Value `json:"bound"`
	// Margin is the share of the bound that is left: (bound − value)/bound for latencies and errors, value − bound for
	// goodput. Negative where the objective was missed.
	Margin num.Value `json:"margin"`

	N      int `json:"n"`      // observations: requests, or gaps for itl
	Misses int `json:"misses"` // of them, those that did not keep the bound

	// What the statistical judging adds; zero in a plain judgement.
	Outcome    Outcome   `json:"outcome,omitempty"`
	EffectiveN num.Value `json:"effective_n,omitempty"`
	Lower      num.Value `json:"miss_share_lower,omitempty"` // one-sided confidence bounds of the share of misses
	Upper      num.Value `json:"miss_share_upper,omitempty"`
	Reason     string    `json:"reason,omitempty"`
}

// Outcome is what is known of a stage, or of one objective on it.
type Outcome string

// The outcomes. The zero value stands for a plain judgement.
const (
	Pass      Outcome = "PASS"
	Fail      Outcome = "FAIL"
	Undecided Outcome = "UNDECIDED"
)

// Judge judges the objective by the whole measured part of a stage, as a figure against its bound, without asking how sure
// that is. A request that failed counts as a miss of every latency objective. One still in flight at the end counts as a
// miss if it has already exceeded its bound, and not at all otherwise; but what of it is known counts: a first token that
// came has its TTFT. Arrivals that were due but never sent count as waiting since their scheduled time.
func (o Objective) Judge(l *loadgen.Measured) Judgement {
	j := Judgement{Objective: o, Bound: num.Value(o.Bound)}
	if o.Metric == ITL {
		j.judgeGaps(l)
	} else {
		records := measuredRecords(l)
		obs := make([]observation, 0, len(records))
		for i := range records {
			if ob, counts := o.observe(&records[i], l); counts {
				obs = append(obs, ob)
			}
		}
		j.judgeObservations(obs)
	}
	if j.N == 0 {
		j.Value, j.ValueFromSent = num.Value(math.NaN()), num.Value(math.NaN())
		j.Margin = j.Value
		// One-token answers have no gaps: no gap was too long. Where nothing completed, nothing is shown.
		j.Holds = o.Metric.Latency() && completedAny(l)
		j.Reason = "nothing to observe"
		return j
	}
	j.setMargin()
	return j
}

// judgeObservations fills in what follows from observations of requests.
func (j *Judgement) judgeObservations(obs []observation) {
	j.N = len(obs)
	for _, ob := range obs {
		if ob.miss {
			j.Misses++
		}
	}
	if j.N == 0 {
		return
	}
	o := j.Objective
	if o.Statistic.Kind == Share {
		share, fromSent := float64(j.Misses)/float64(j.N), 0.0
		for _, ob := range obs {
			fromSent += ob.fromSent / float64(j.N)
		}
		if o.Metric == Goodput {
			share, fromSent = 1-share, 1-fromSent
		}
		j.Value, j.ValueFromSent = num.Value(share), num.Value(fromSent)
		return
	}
	j.Value = num.Value(o.Statistic.of(obs, func(ob observation) float64 { return ob.value }))
	j.ValueFromSent = num.Value(o.Statistic.of(obs, func(ob observation) float64 { return ob.fromSent }))
}

// of computes the statistic. A quantile is the smallest value that at least the share Q does not exceed, so that it keeps
// its bound exactly when no more than the share 1 − Q misses it.
func (s Statistic) of(obs []observation, figure func(observation) float64) float64 {
	values := make([]float64, len(obs))
	sum := 0.0
	for i, ob := range obs {
		values[i] = figure(ob)
		sum += values[i]
	}
	switch s.Kind {
	case Mean:
		return sum / float64(len(values))
	case Max:
		return slices.Max(values)
	}
	slices.SortFunc(values, cmp.Compare)
	return values[num.Rank(s.Q, len(values))-1]
}

// observation is what one request says about an objective.
type observation struct {
	scheduled int64
	decided   int64   // when it was known whether this is a miss, ns since the origin
	value     float64 // latency from the scheduled time, ns; shares: 1 for a miss, else 0
	fromSent  float64 // the same from the actual send
	miss      bool
}

// observe says what a request contributes to an objective other than itl; counts is false if that is nothing.
func (o Objective) observe(r *loadgen.Record, l *loadgen.Measured) (ob observation, counts bool) {
	ob.scheduled = r.Scheduled
	switch o.Metric {
	case Errors:
		ob.decided = r.End
		ob.miss = r.Status == loadgen.Errored
		ob.value, ob.fromSent = indicator(ob.miss), indicator(ob.miss)
		return ob, r.Status == loadgen.Errored || r.Status == loadgen.Completed
	case Goodput:
		return o.observeGoodput(r, l)
	}
	m := measure(o.Metric, r, l)
	ob.value, ob.fromSent, ob.decided = m.value, m.fromSent, m.at
	ob.miss = !o.Op.holds(m.value, o.Bound)
	if ob.miss {
		ob.decided = min(ob.decided, m.exceeds(o.Bound))
	}
	return ob, m.state == known || m.state == atLeast && ob.miss
}

// observeGoodput counts a request as good once all its bounds are known to be met, as bad once one is missed.
func (o Objective) observeGoodput(r *loadgen.Record, l *loadgen.Measured) (ob observation, counts bool) {
	ob.scheduled, ob.decided = r.Scheduled, math.MaxInt64
	undecided, missFromSent := false, false
	last := int64(0)
	for _, b := range o.Each {
		m := measure(b.Metric, r, l)
		if m.state != absent && !b.Op.holds(m.value, float64(b.Bound)) {
			ob.miss = true
			ob.decided = min(ob.decided, min(m.at, m.exceeds(float64(b.Bound))))
		}
		missFromSent = missFromSent || m.state != absent && !b.Op.holds(m.fromSent, float64(b.Bound))
		undecided = undecided || m.state == atLeast || m.state == absent && r.Status != loadgen.Completed
		last = max(last, m.at)
	}
	if !ob.miss {
		ob.decided = last
	}
	ob.value, ob.fromSent = indicator(ob.miss), indicator(missFromSent)
	return ob, ob.miss || !undecided
}

func indicator(b bool) float64 {
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
	at              int64   // when it was known, ns since the origin
	origin, tokens  float64 // the figure at time t is (t − origin)/tokens: tells when a bound was exceeded
}

// exceeds tells when the figure had grown beyond a bound.
func (m measurement) exceeds(bound float64) int64 {
	if m.tokens <= 0 {
		return m.at
	}
	return int64(m.origin + bound*m.tokens)
}

// measure returns a latency of one request. What is in flight or was never sent has the least latency that it can still
// have: for figures per token, the tokens asked for are then the divisor, since no more can come.
func measure(metric Metric, r *loadgen.Record, l *loadgen.Measured) measurement {
	m := measurement{at: r.End, origin: float64(r.Scheduled), tokens: 1}
	if m.at == 0 {
		m.at = l.Stopped
	}
	if r.Status == loadgen.Errored {
		m.value, m.fromSent, m.state = math.Inf(1), math.Inf(1), known
		m.tokens = 0
		return m
	}
	sent := r.Sent
	if sent == 0 {
		sent = r.Scheduled // never sent: there is no better figure
	}
	final := r.Status == loadgen.Completed
	end := m.at
	switch metric {
	case TTFT:
		if r.FirstToken > 0 {
			final, end = true, r.FirstToken
			m.at = end
		} else if final {
			return measurement{at: m.at} // an answer without content
		}
	case TPOT:
		m.origin = float64(r.FirstToken)
		tokens := r.Tokens() - 1
		if !final {
			tokens = int(r.AskedOutput) - 1
		} else {
			end = r.LastToken
		}
		if r.FirstToken == 0 || tokens < 1 {
			return measurement{at: m.at}
		}
		m.tokens, sent = float64(tokens), r.FirstToken
	case NTPOT:
		tokens := r.Tokens()
		if !final {
			tokens = int(r.AskedOutput)
		}
		if tokens < 1 {
			return measurement{at: m.at}
		}
		m.tokens = float64(tokens)
	}
	m.value = (float64(end) - m.origin) / m.tokens
	m.fromSent = float64(end-sent) / m.tokens
	m.state = atLeast
	if final {
		m.state = known
	}
	return m
}

// measuredRecords returns the records of a stage that its warm-up and cool-down leave, with one for each arrival that was
// due and never got one.
func measuredRecords(l *loadgen.Measured) []loadgen.Record {
	s := &l.Stage
	from := l.Start + int64(s.Warmup)
	to := int64(math.MaxInt64)
	if s.Cooldown > 0 && s.MaxDuration > 0 {
		to = l.Start + int64(s.MaxDuration-s.Cooldown)
	}
	records := l.AllRecords()
	if s.Warmup == 0 && to == math.MaxInt64 {
		return records
	}
	return slices.DeleteFunc(slices.Clone(records), func(r loadgen.Record) bool {
		end := r.End
		if end == 0 {
			end = l.Stopped
		}
		return end < from || max(r.Sent, r.Scheduled) > to
	})
}

func completedAny(l *loadgen.Measured) bool {
	return slices.ContainsFunc(l.Records, func(r loadgen.Record) bool { return r.Status == loadgen.Completed })
}

// judgeGaps fills in what follows from the gaps between token events. A request that failed counts with the gaps that it
// was asked for and did not deliver, at least one, all missed.
func (j *Judgement) judgeGaps(l *loadgen.Measured) {
	o := j.Objective
	lost := int64(0)
	for _, r := range measuredRecords(l) {
		if r.Status == loadgen.Errored {
			lost += int64(max(r.AskedOutput-1-max(r.TokenEvents-1, 0), 1))
		}
	}
	total, over := lost, lost
	var seen int64
	if l.Gaps != nil {
		seen = l.Gaps.TotalCount()
		total += seen
		for _, bar := range l.Gaps.Distribution() {
			// A histogram's values stand for their whole bucket, 0.1 % wide: the bucket that holds the bound keeps it.
			if bar.Count > 0 && bar.From >= int64(o.Bound) && !l.Gaps.ValuesAreEquivalent(bar.From, int64(o.Bound)) {
				over += bar.Count
			}
		}
	}
	j.N, j.Misses = int(total), int(over)
	if total == 0 {
		return
	}
	value := math.Inf(1)
	switch o.Statistic.Kind {
	case Mean:
		if lost == 0 {
			value = l.Gaps.Mean()
		}
	case Max:
		if lost == 0 {
			value = float64(l.Gaps.Max())
		}
	default:
		if k := int64(num.Rank(o.Statistic.Q, int(total))); k <= seen {
			value = float64(l.Gaps.ValueAtQuantile(100 * float64(k) / float64(seen)))
		}
	}
	if l.Gaps != nil && !math.IsInf(value, 0) && l.Gaps.ValuesAreEquivalent(int64(value), int64(o.Bound)) && o.Op == Below {
		value = min(value, math.Nextafter(o.Bound, 0)) // see above
	}
	j.Value, j.ValueFromSent = num.Value(value), num.Value(value)
}
