package report

import (
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// Latencies are those of requests that completed, or got that far before the stage's end: a request that failed has
// none, how many tokens it may have had.
func TestFailedRequestsHaveNoLatency(t *testing.T) {
	objectives, err := slo.ParseObjectives("errors<1%")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    []slo.Objective
	}{{"without objectives on them", objectives}, {"with", mustParse(t, "ttft:p95<250ms tpot:p95<50ms")}} {
		st := measured(t, loadgen.Load{Kind: loadgen.ConstantGap, Rate: 5}, server{ttft: 20 * ms, gap: ms}, c.o)
		for i := range st.Records {
			switch r := &st.Records[i]; i % 4 {
			case 0: // cut after a long stall
				r.Status, r.Err = loadgen.Errored, loadgen.ErrTruncated
				r.FirstToken, r.LastToken = r.Sent+900*ms, r.Sent+5000*ms
			case 1:
				r.Status = loadgen.Incomplete
			}
		}
		s := NewStage(spec.Plan{}, st)
		if want := len(st.Records) * 3 / 4; s.TTFT.Count != want || !(float64(s.TTFT.Max) < 30) {
			t.Errorf("%s: %d have a TTFT, up to %v ms; want %d, up to 30", c.name, s.TTFT.Count, s.TTFT.Max, want)
		}
		if want := len(st.Records) / 2; s.TPOT.Count != want || !(float64(s.TPOT.Max) < 2) {
			t.Errorf("%s: %d have a TPOT, up to %v ms; want %d, up to 2", c.name, s.TPOT.Count, s.TPOT.Max, want)
		}
	}
}

func mustParse(t *testing.T, text string) []slo.Objective {
	t.Helper()
	o, err := slo.ParseObjectives(text)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// What there is nothing of is no number.
func TestScreenOfNothing(t *testing.T) {
	for name, change := range map[string]func(*loadgen.Measured){
		"no requests": func(m *loadgen.Measured) { m.Records, m.Details = nil, nil },
		"all failed": func(m *loadgen.Measured) {
			for i := range m.Records {
				m.Records[i] = loadgen.Record{Scheduled: m.Records[i].Scheduled, Sent: m.Records[i].Sent,
					End: m.Records[i].Sent + ms, Status: loadgen.Errored, Err: loadgen.ErrStatus}
			}
		},
		"ended before it began": func(m *loadgen.Measured) {
			m.Records, m.Details, m.Stopped, m.End = nil, nil, m.Start, m.Start
		},
	} {
		st := measured(t, loadgen.Load{Kind: loadgen.ConstantGap, Rate: 5}, server{ttft: 20 * ms, gap: ms}, nil)
		change(st.Measured)
		st.Gaps.Reset()
		s := NewStage(spec.Plan{}, st)
		shown := screen(t, &Result{Stages: []Stage{s}})
		if !s.TTFT.P50.IsAbsent() || !s.ITL.P50.IsAbsent() || strings.Contains(shown, "NaN") ||
			strings.Contains(shown, "TTFT   TPOT") {
			t.Errorf("%s: %s", name, shown)
		}
	}
}
