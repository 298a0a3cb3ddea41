package slo

import (
	"math"
	"slices"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

// Of requests in flight at the end, the gap so far counts as TPOT, once there are enough tokens; for TTFT, the last are
// left out from the first on that is not decided.
func TestSeries(t *testing.T) {
	request := func(due, first, last, end int64, events int32, status loadgen.Status) loadgen.Record {
		return loadgen.Record{Scheduled: due * ms, Started: due * ms, Sent: due * ms, FirstToken: first * ms,
			LastToken: last * ms, End: end * ms, TokenEvents: events, OutputTokens: events, AskedOutput: 20,
			Status: status}
	}
	m := &loadgen.Measured{Stopped: 1000 * ms, End: 1000 * ms, Gaps: hdr.New(1, int64(time.Minute), 3)}
	m.Records = []loadgen.Record{
		request(100, 120, 310, 310, 20, loadgen.Completed),   // 10 ms a token
		request(200, 230, 610, 610, 20, loadgen.Completed),   // 20 ms
		request(300, 0, 0, 320, 0, loadgen.Errored),          // infinite
		request(400, 450, 950, 1000, 11, loadgen.Incomplete), // 50 ms so far
		request(900, 910, 970, 1000, 3, loadgen.Incomplete),  // too few tokens to tell
		request(950, 0, 0, 1000, 0, loadgen.Incomplete),
	}
	for _, tc := range []struct {
		objective string
		from      time.Duration
		values    []float64 // ms
		misses    []float64
	}{
		{"tpot:p95<30ms", 0, []float64{10, 20, math.Inf(1), 50}, []float64{0, 0, 1, 1}},
		{"tpot:p95<30ms", 150 * time.Millisecond, []float64{20, math.Inf(1), 50}, []float64{0, 1, 1}},
		{"ttft:p95<40ms", 0, []float64{20, 30, math.Inf(1), 50, 10, 50}, []float64{0, 0, 1, 1, 0, 1}},
		{"ttft:p95<100ms", 0, []float64{20, 30, math.Inf(1), 50, 10}, []float64{0, 0, 1, 0, 0}},
		{"itl:mean<30ms", 0, []float64{10, 20}, []float64{0, 0}},
		{"errors<1%", 0, []float64{0, 0, 1}, []float64{0, 0, 1}},
	} {
		o := objective(t, tc.objective)
		s := o.Series(m, tc.from)
		for i := range s.Values {
			if o.Metric.Latency() {
				s.Values[i] /= float64(ms)
			}
		}
		if !slices.Equal(s.Values, tc.values) || !slices.Equal(s.Misses, tc.misses) ||
			len(s.Scheduled) != len(tc.values) || s.Requests != 0 {
			t.Errorf("%s from %v: %v with misses %v, want %v with %v", tc.objective, tc.from, s.Values, s.Misses,
				tc.values, tc.misses)
		}
	}
	for range 9 {
		m.Gaps.RecordValue(10 * ms)
	}
	m.Gaps.RecordValue(50 * ms)
	// The failed request lost 19 gaps.
	if s := objective(t, "itl:p95<30ms").Series(m, 0); s.Requests != 2 || math.Abs(s.Share-20.0/29) > 1e-9 ||
		len(s.Values) != 0 || s.Clustering < 1 {
		t.Errorf("gaps: %+v", s)
	}
}

// A request that is cut keeps the tokens that it had by then.
func TestSnapshotKeepsTokens(t *testing.T) {
	m := &loadgen.Measured{}
	records := []loadgen.Record{{Scheduled: 100, Sent: 100, FirstToken: 200, LastToken: 1200, End: 1200,
		TokenEvents: 11, OutputTokens: 11, Status: loadgen.Completed}}
	for at, want := range map[int64][3]int64{ // token events, last token, end
		1300: {11, 1200, 1200}, 700: {6, 700, 700}, 750: {6, 700, 750}, 250: {1, 200, 250}, 150: {0, 0, 150},
	} {
		r := Snapshot(m, records, at).Records[0]
		if got := [3]int64{int64(r.TokenEvents), r.LastToken, r.End}; got != want {
			t.Errorf("at %d: %v, want %v", at, got, want)
		}
	}
}
