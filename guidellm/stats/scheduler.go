package stats

import (
	"cmp"
	"math"
	"slices"
)

// SchedulerMetrics says what the scheduler did in the whole run: its moments in seconds since the epoch (−1 where one
// never came), and the mean of each delay in seconds (−1 where no request had it or the mean is 0: GuideLLM writes
// "mean or −1.0") (metrics.py, SchedulerMetrics).
type SchedulerMetrics struct {
	StartTime                    float64      `json:"start_time"`
	RequestStartTime             float64      `json:"request_start_time"`
	MeasureStartTime             float64      `json:"measure_start_time"`
	MeasureEndTime               float64      `json:"measure_end_time"`
	RequestEndTime               float64      `json:"request_end_time"`
	EndTime                      float64      `json:"end_time"`
	RequestsMade                 StatusCounts `json:"requests_made"`
	QueuedTimeAvg                float64      `json:"queued_time_avg"`
	ResolveStartDelayAvg         float64      `json:"resolve_start_delay_avg"`
	ResolveTargetedStartDelayAvg float64      `json:"resolve_targeted_start_delay_avg"`
	RequestStartDelayAvg         float64      `json:"request_start_delay_avg"`
	RequestTargetedStartDelayAvg float64      `json:"request_targeted_start_delay_avg"`
	RequestTimeAvg               float64      `json:"request_time_avg"`
	ResolveEndDelayAvg           float64      `json:"resolve_end_delay_avg"`
	ResolveTimeAvg               float64      `json:"resolve_time_avg"`
	FinalizedDelayAvg            float64      `json:"finalized_delay_avg"`
	ProcessedDelayAvg            float64      `json:"processed_delay_avg"`
}

// CompileDelays fills in the mean delays from all requests of the run, in the measured window or not. The delay
// from finalized to processed is on no request's record and stays −1 (accumulator.py, SchedulerMetricsAccumulator).
func (m *SchedulerMetrics) CompileDelays(requests []Request) {
	mean := func(delay func(*Request) float64) float64 {
		sum, n := 0.0, 0
		for i := range requests {
			if d := delay(&requests[i]); defined(d) {
				sum += d
				n++
			}
		}
		if n == 0 || sum == 0 {
			return -1
		}
		return sum / float64(n)
	}
	m.QueuedTimeAvg = mean(func(r *Request) float64 { return r.Dequeued - r.Queued })
	m.ResolveStartDelayAvg = mean(func(r *Request) float64 { return r.ResolveStart - r.ScheduledAt })
	m.ResolveTargetedStartDelayAvg = mean(func(r *Request) float64 { return r.ResolveStart - r.TargetedStart })
	m.RequestStartDelayAvg = mean(func(r *Request) float64 { return r.RequestStart - r.ResolveStart })
	m.RequestTargetedStartDelayAvg = mean(func(r *Request) float64 { return r.RequestStart - r.TargetedStart })
	m.RequestTimeAvg = mean(func(r *Request) float64 { return r.RequestEnd - r.RequestStart })
	m.ResolveEndDelayAvg = mean(func(r *Request) float64 { return r.ResolveEnd - r.RequestEnd })
	m.ResolveTimeAvg = mean(func(r *Request) float64 { return r.ResolveEnd - r.ResolveStart })
	m.FinalizedDelayAvg = mean(func(r *Request) float64 { return r.Finalized - r.ResolveEnd })
	m.ProcessedDelayAvg = -1
}

// Transient is the part of a run, at its start (warmup) or its end (cooldown), that is not measured
// (benchmark/schemas/base.py, TransientPhaseConfig).
type Transient struct {
	Percent float64 // share of the run, 0 to below 1; NaN: not set
	Value   float64 // seconds or requests, by Mode; NaN: not set
	Mode    TransientMode
}

// TransientMode says what a Transient counts in.
type TransientMode string

const (
	// seconds where the run is limited in time, else requests; the default
	PreferDuration TransientMode = "prefer_duration"
	PreferRequests TransientMode = "prefer_requests" // requests where the run is limited in requests, else seconds
	ByDuration     TransientMode = "duration"
	ByRequests     TransientMode = "requests"
	ByBoth         TransientMode = "both" // seconds and requests: the longer warmup, the longer cooldown
)

// NoTransient returns the transient of a run that is measured in full.
func NoTransient() Transient { return Transient{math.NaN(), math.NaN(), PreferDuration} }

// TransientOf reads a plain number as GuideLLM does: below 1 a share, else seconds or requests
// (TransientPhaseConfig.create_from_value).
func TransientOf(number float64) Transient {
	t := NoTransient()
	if number < 1 {
		t.Percent = number
	} else {
		t.Value = number
	}
	return t
}

// limits returns the transient in seconds and in requests, NaN where it does not apply. maxRequests and maxSeconds
// are NaN where the run has no such limit (TransientPhaseConfig.compute_limits).
func (t Transient) limits(maxRequests, maxSeconds float64) (seconds, requests float64) {
	of := func(limit float64) float64 {
		switch {
		case !defined(limit):
			return limit
		case defined(t.Percent):
			return t.Percent * limit
		default:
			return t.Value
		}
	}
	seconds, requests = math.NaN(), math.NaN()
	if t.Mode != ByRequests {
		seconds = of(maxSeconds)
	}
	if t.Mode != ByDuration {
		requests = math.Trunc(of(maxRequests))
	}
	switch {
	case t.Mode == PreferRequests && defined(requests):
		seconds = math.NaN()
	case (t.Mode == PreferDuration || t.Mode == "") && defined(seconds):
		requests = math.NaN()
	}
	return seconds, requests
}

// Run is what the measured window of a run is made from. Times are in seconds since the epoch.
type Run struct {
	Start       float64 // when the scheduler started
	Stop        float64 // when its time limit stopped it; NaN: it ended by itself
	MaxRequests float64 // its limits; NaN: none
	MaxSeconds  float64
	Warmup      Transient
	Cooldown    Transient
}

// MeasuredWindow returns the part of the run that is measured: from its start, or the end of the warmup, to its stop
// (else the last completion), or the begin of the cooldown. A warmup or cooldown by requests that the run never
// reached leaves its end of the window where it was
// (TransientPhaseConfig.compute_transition_time; accumulator.py, GenerativeBenchmarkTimings.update_estimate).
func MeasuredWindow(run Run, requests []Request) Window {
	done := make([]*Request, 0, len(requests))
	for i := range requests {
		if defined(requests[i].End()) {
			done = append(done, &requests[i])
		}
	}
	slices.SortStableFunc(done, func(a, b *Request) int { return cmp.Compare(a.End(), b.End()) })

	w := Window{run.Start, run.Stop}
	if !defined(w.End) {
		w.End = run.Start
		if len(done) > 0 {
			w.End = done[len(done)-1].End()
		}
	}
	seconds, count := run.Warmup.limits(run.MaxRequests, run.MaxSeconds)
	if !defined(count) {
		if defined(seconds) {
			w.Start = run.Start + seconds
		}
	} else if start, ok := warmedUp(done, int(count)); ok {
		w.Start = start
		if defined(seconds) {
			w.Start = math.Max(start, run.Start+seconds)
		}
	}
	seconds, count = run.Cooldown.limits(run.MaxRequests, run.MaxSeconds)
	coolFrom := run.Start + run.MaxSeconds - seconds
	if !defined(count) {
		if defined(seconds) {
			w.End = coolFrom
		}
	} else if last := int(run.MaxRequests-count) - 2; last >= 0 && last < len(done) {
		// The request that leaves count + 1 to come is the last one before the cooldown.
		w.End = done[last].End()
		if defined(seconds) {
			w.End = math.Min(w.End, coolFrom)
		}
	}
	return w
}

// warmedUp returns when a warmup of n requests ends: when the request that is n + 1 in order of completion began or,
// if others began between its completion and the next one's, when the last of those did. GuideLLM intends the first
// and does the second, since every update moves the mark while n + 1 requests are done.
func warmedUp(done []*Request, n int) (start float64, ok bool) {
	if n < 0 || n >= len(done) {
		return 0, false
	}
	from, to := done[n].End(), math.Inf(1)
	if n+1 < len(done) {
		to = done[n+1].End()
	}
	start = done[n].Start()
	for _, r := range done {
		if r.ResolveStart > from && r.ResolveStart < to {
			start = math.Max(start, r.ResolveStart)
		}
	}
	return start, true
}
