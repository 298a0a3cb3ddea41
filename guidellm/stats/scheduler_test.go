package stats

import (
	"math"
	"testing"
)

func TestCompileDelays(t *testing.T) {
	a, b := Request{Timings: NoTimings()}, Request{Timings: NoTimings(), Status: Cancelled}
	a.Queued, a.Dequeued, a.ScheduledAt, a.TargetedStart = 1, 2, 2, 2.5
	a.ResolveStart, a.RequestStart, a.RequestEnd, a.ResolveEnd, a.Finalized = 3, 3.25, 5, 5.5, 6.5
	b.Queued, b.Dequeued, b.ResolveStart, b.ResolveEnd, b.Finalized = 1, 5, 6, 7, 7
	var got SchedulerMetrics
	got.CompileDelays([]Request{a, b})
	want := SchedulerMetrics{
		QueuedTimeAvg: 2.5, ResolveStartDelayAvg: 1, ResolveTargetedStartDelayAvg: 0.5, RequestStartDelayAvg: 0.25,
		RequestTargetedStartDelayAvg: 0.75, RequestTimeAvg: 1.75, ResolveEndDelayAvg: 0.5, ResolveTimeAvg: 1.75,
		FinalizedDelayAvg: 0.5, ProcessedDelayAvg: -1,
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got = SchedulerMetrics{}
	got.CompileDelays(nil)
	if got.QueuedTimeAvg != -1 || got.ResolveTimeAvg != -1 {
		t.Errorf("no requests: %+v", got)
	}
}

func TestMeasuredWindow(t *testing.T) {
	// Ten requests, one a second from 1 on, each 0.5 s long.
	var requests []Request
	for i := range 10 {
		r := Request{Timings: NoTimings()}
		r.ResolveStart, r.RequestStart, r.RequestEnd = float64(i+1), float64(i+1), float64(i+1)+0.5
		requests = append(requests, r)
	}
	transient := func(percent, value float64, mode TransientMode) Transient { return Transient{percent, value, mode} }
	tests := []struct {
		name string
		run  Run
		want Window
	}{
		{"in full, stopped in time", Run{Stop: 11, MaxRequests: nan, MaxSeconds: 11, Warmup: NoTransient(),
			Cooldown: NoTransient()}, Window{0, 11}},
		{"in full, to the last completion", Run{Stop: nan, MaxRequests: 10, MaxSeconds: nan, Warmup: NoTransient(),
			Cooldown: NoTransient()}, Window{0, 10.5}},
		{"a share of the time", Run{Stop: 10, MaxRequests: nan, MaxSeconds: 10, Warmup: TransientOf(0.2),
			Cooldown: TransientOf(0.1)}, Window{2, 9}},
		{"seconds", Run{Stop: 10, MaxRequests: nan, MaxSeconds: 10, Warmup: TransientOf(3), Cooldown: TransientOf(1)},
			Window{3, 9}},
		// Three done with the request from 3 to 3.5; the fourth began at 4, after it and before the fourth completed.
		{"requests", Run{Stop: nan, MaxRequests: 10, MaxSeconds: nan, Warmup: TransientOf(2), Cooldown: TransientOf(3)},
			Window{4, 6.5}},
		{"a share of the requests", Run{Stop: nan, MaxRequests: 10, MaxSeconds: nan, Warmup: TransientOf(0.2),
			Cooldown: TransientOf(0.3)}, Window{4, 6.5}},
		{"seconds are preferred", Run{Stop: 20, MaxRequests: 10, MaxSeconds: 20, Warmup: TransientOf(2),
			Cooldown: TransientOf(3)}, Window{2, 17}},
		{"requests are preferred", Run{Stop: 20, MaxRequests: 10, MaxSeconds: 20,
			Warmup: transient(nan, 2, PreferRequests), Cooldown: transient(nan, 3, PreferRequests)}, Window{4, 6.5}},
		{"both", Run{Stop: 20, MaxRequests: 10, MaxSeconds: 20,
			Warmup: transient(nan, 2, ByBoth), Cooldown: transient(nan, 3, ByBoth)}, Window{4, 6.5}},
		{"by time where there is no limit of time", Run{Stop: nan, MaxRequests: 10, MaxSeconds: nan,
			Warmup: transient(nan, 2, ByDuration), Cooldown: transient(nan, 3, ByDuration)}, Window{0, 10.5}},
		{"never warm", Run{Stop: nan, MaxRequests: 100, MaxSeconds: nan, Warmup: TransientOf(50),
			Cooldown: TransientOf(5)}, Window{0, 10.5}},
		{"the zero mode", Run{Stop: 10, MaxRequests: nan, MaxSeconds: 10, Warmup: transient(nan, 3, ""),
			Cooldown: NoTransient()}, Window{3, 10}},
	}
	for _, tt := range tests {
		if got := MeasuredWindow(tt.run, requests); math.Abs(got.Start-tt.want.Start) > 1e-12 ||
			math.Abs(got.End-tt.want.End) > 1e-12 {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := MeasuredWindow(Run{Start: 5, Stop: nan, MaxRequests: nan, MaxSeconds: nan, Warmup: NoTransient(),
		Cooldown: NoTransient()}, nil); got != (Window{5, 5}) {
		t.Errorf("no requests: %v", got)
	}
}
