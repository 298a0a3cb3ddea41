package report

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Series is a stage over time, in steps of equal length: element i is what happened in [i·Step, (i+1)·Step) seconds
// after the stage began to send, until nothing was in flight any more; the last step may end before its time, and what
// it counts is of the part that was. Latencies are those of the requests whose first token (TTFT, from the scheduled
// time) or whose last token (TPOT) came in the step, those that failed left out, in milliseconds; null where there were
// none. Numbers that are not counts have four significant digits. What the engine said of itself stands in
// Stage.Engine.Series.
type Series struct {
	Step     float64     `json:"step_s"` // 1, or longer where that makes more than 1,800 steps
	Sent     []int       `json:"sent"`   // requests, as are Done and Errors
	Done     []int       `json:"done"`
	Errors   []int       `json:"errors"`
	Tokens   []int       `json:"output_tokens"` // of each request, spread evenly from its first token to its last
	InFlight []float64   `json:"in_flight"`     // requests, mean over the step
	TTFT50   []num.Value `json:"ttft_p50_ms"`
	TTFT95   []num.Value `json:"ttft_p95_ms"`
	TPOT50   []num.Value `json:"tpot_p50_ms"` // of completed requests
	TPOT95   []num.Value `json:"tpot_p95_ms"`
	Delay99  []num.Value `json:"send_delay_p99_ms"` // of the requests sent in the step; null for closed loops
}

// mostSteps is how many steps a series may have.
const mostSteps = 1800

// stepOf is the length of the steps for a stage of some length.
func stepOf(lasted time.Duration) time.Duration {
	for _, seconds := range []time.Duration{1, 2, 5, 10, 15, 30} {
		if step := seconds * time.Second; lasted <= mostSteps*step {
			return step
		}
	}
	return ((lasted-1)/mostSteps + time.Minute).Truncate(time.Minute)
}

// seriesOf is the series of a stage that was just measured.
func seriesOf(m *loadgen.Measured) *Series {
	return NewSeries(eachOf(m), time.Duration(m.End-m.Start), m.Stage.Load.Kind.Open())
}

// NewSeries makes the series of a stage from its requests. lasted is from its begin until nothing was in flight any
// more; send delays are of open loops only. It is nil where the stage took no time.
func NewSeries(requests iter.Seq[Request], lasted time.Duration, open bool) *Series {
	if lasted <= 0 {
		return nil
	}
	step := stepOf(lasted)
	n := int((lasted-1)/step) + 1
	s := &Series{Step: step.Seconds(), Sent: make([]int, n), Done: make([]int, n), Errors: make([]int, n)}
	// The time since the begin in ns; what lies outside of the stage is put at its edge.
	at := func(seconds num.Value) int64 {
		return int64(math.Round(min(max(float64(seconds)*1e9, 0), float64(lasted))))
	}
	index := func(seconds num.Value) int { return min(int(at(seconds)/int64(step)), n-1) }
	inFlight, tokens := newSpread(n, step), newSpread(n, step)
	var ttft, tpot, delay []stepValue
	for q := range requests {
		if !q.Sent.IsAbsent() {
			i := index(q.Sent)
			s.Sent[i]++
			if open && !q.SendDelay.IsAbsent() {
				delay = append(delay, stepValue{int32(i), float32(q.SendDelay)})
			}
			end := int64(lasted)
			if !q.End.IsAbsent() {
				end = at(q.End)
			}
			inFlight.add(at(q.Sent), end, 1)
		}
		if !q.FirstToken.IsAbsent() {
			if q.Status != errored && !q.ScheduledTTFT.IsAbsent() {
				ttft = append(ttft, stepValue{int32(index(q.FirstToken)), float32(q.ScheduledTTFT)})
			}
			first, last := at(q.FirstToken), at(q.FirstToken)
			if !q.LastToken.IsAbsent() {
				last = at(q.LastToken)
			}
			if last > first {
				tokens.add(first, last, float64(q.OutputTokens)/float64(last-first))
			} else {
				tokens.sums[index(q.FirstToken)] += float64(q.OutputTokens)
			}
		}
		switch {
		case q.End.IsAbsent():
		case q.Status == completed:
			s.Done[index(q.End)]++
			if !q.TPOT.IsAbsent() && !q.LastToken.IsAbsent() {
				tpot = append(tpot, stepValue{int32(index(q.LastToken)), float32(q.TPOT)})
			}
		case q.Status == errored:
			s.Errors[index(q.End)]++
		}
	}
	s.Tokens = whole(tokens.done())
	s.InFlight = inFlight.done()
	for i := range s.InFlight {
		length := min(step, lasted-time.Duration(i)*step)
		s.InFlight[i] = fourDigits(s.InFlight[i] / float64(length))
	}
	s.TTFT50, s.TTFT95 = percentile(ttft, n, 0.5), percentile(ttft, n, 0.95)
	s.TPOT50, s.TPOT95 = percentile(tpot, n, 0.5), percentile(tpot, n, 0.95)
	s.Delay99 = percentile(delay, n, 0.99)
	return s
}

// spread sums up over steps what goes on from one moment to another, in a time that does not grow with its length.
type spread struct {
	step  int64
	sums  []float64 // of parts of steps
	rates []float64 // changes, from a step on, of what goes on through whole steps
}

func newSpread(n int, step time.Duration) *spread {
	return &spread{int64(step), make([]float64, n), make([]float64, n+1)}
}

// add adds what goes on from one moment to another, in ns, at a rate per ns.
func (s *spread) add(from, to int64, rate float64) {
	if to <= from {
		return
	}
	first, last := int(from/s.step), int(to/s.step)
	if first == last {
		s.sums[first] += rate * float64(to-from)
		return
	}
	s.sums[first] += rate * float64(int64(first+1)*s.step-from)
	if part := to - int64(last)*s.step; part > 0 {
		s.sums[last] += rate * float64(part)
	}
	s.rates[first+1] += rate
	s.rates[last] -= rate
}

// done returns the sums of the steps.
func (s *spread) done() []float64 {
	rate := 0.0
	for i := range s.sums {
		rate += s.rates[i]
		// A rate that was added and taken away leaves the noise of floats.
		s.sums[i] = max(0, s.sums[i]+rate*float64(s.step))
	}
	return s.sums
}

// whole rounds the values of steps so that no part of their sum is lost.
func whole(values []float64) []int {
	all := make([]int, len(values))
	sum, before := 0.0, 0.0
	for i, v := range values {
		sum += v
		now := math.Round(sum)
		all[i] = int(now - before)
		before = now
	}
	return all
}

// stepValue is a value of a step, in seconds. It is small, since there may be millions.
type stepValue struct {
	step  int32
	value float32
}

// percentile is the quantile q of the values of each of n steps, in ms.
func percentile(values []stepValue, n int, q float64) []num.Value {
	slices.SortFunc(values, func(a, b stepValue) int {
		return cmp.Or(cmp.Compare(a.step, b.step), cmp.Compare(a.value, b.value))
	})
	all := make([]num.Value, n)
	for i := range all {
		end := 0
		for end < len(values) && int(values[end].step) == i {
			end++
		}
		all[i] = num.Absent()
		if end > 0 {
			all[i] = num.Value(fourDigits(float64(values[num.Rank(q, end)-1].value) * 1e3))
		}
		values = values[end:]
	}
	return all
}

// fourDigits rounds to four significant digits: more would be noise at a step's few requests.
func fourDigits(v float64) float64 { return num.Digits(v, 4) }
