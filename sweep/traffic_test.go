package sweep

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep/maxrate"
)

// traceOf is a trace of n requests, a tenth of a second apart.
func traceOf(n int) loadgen.Load {
	l := loadgen.Load{Kind: loadgen.ConstantGap, Name: loadgen.TraceName}
	for i := range n {
		l.Times = append(l.Times, time.Duration(i)*100*time.Millisecond)
	}
	return l
}

func TestNewTraffic(t *testing.T) {
	for _, c := range []struct {
		n        int
		until    time.Duration
		requests int // 0: too little
		rate     float64
		peak     float64
		length   time.Duration
	}{
		{100, 0, 100, 100 / 9.999, 10, 9999 * time.Millisecond},
		{100, 5 * time.Second, 50, 10, 10, 5 * time.Second},
		{100, time.Second, 0, 0, 0, 0},
		{FewestReplayed - 1, 0, 0, 0, 0, 0},
	} {
		got := NewTraffic(traceOf(c.n), c.until)
		if c.requests == 0 {
			if got != nil {
				t.Errorf("%d until %v: %+v", c.n, c.until, got)
			}
			continue
		}
		if got == nil || got.Requests != c.requests || math.Abs(got.Rate-c.rate) > 1e-9 || got.Peak != c.peak ||
			got.Length != c.length {
			t.Errorf("%d until %v: %+v", c.n, c.until, got)
		}
	}
	atOnce := traceOf(50)
	clear(atOnce.Times)
	if NewTraffic(atOnce, 0) != nil {
		t.Error("a trace whose requests all come at once has no speed")
	}
}

func TestLoadAtSpeed(t *testing.T) {
	l := NewTraffic(traceOf(100), 5*time.Second).load.AtSpeed(2)
	if !l.Replays() || l.Rate != 20 || l.String() != "trace@2x" || l.Times[49] != 2450*time.Millisecond {
		t.Errorf("%v at %v, last %v", l, l.Rate, l.Times[49])
	}
	l.Times = nil // as it is read from a report
	if !l.Replays() || l.Steady() {
		t.Error("a trace at a speed is taken for a steady load")
	}
}

func TestSearchOverSpeedSendsTheWholeTrace(t *testing.T) {
	traffic := NewTraffic(traceOf(100), 5*time.Second)
	c := SearchConfig{Search: spec.Search{Budget: 8 * time.Second}, Traffic: traffic}.withDefaults()
	if n := c.next(state{}); n.rate != traffic.Rate || n.length != traffic.Length || n.brief || n.ended != "" {
		t.Errorf("first: %+v", n)
	}
	trial := Trial{Rate: 10, Role: Locate, StageJudgement: slo.StageJudgement{Outcome: slo.Pass}}
	s := state{trials: []Trial{trial}, spent: 5 * time.Second,
		estimate: &maxrate.Estimate{Answer: maxrate.Answer{Estimate: 12, Lower: 8}}}
	s.estimate.Met = true
	if n := c.next(s); n.rate != 20 || n.length != 2500*time.Millisecond || n.ended != "" {
		t.Errorf("nothing missed: %+v", n)
	}
	if s.spent = 6 * time.Second; c.next(s).ended != EndBudget {
		t.Errorf("beyond the budget: %+v", c.next(s))
	}
}

func TestAnswerSpeed(t *testing.T) {
	a := Answer{Finding: Interval, Estimate: 17, Lower: 16, Upper: 18, Confidence: 0.95}
	if a.Speed() != "" {
		t.Error("a search over rates has a speed")
	}
	a.Traffic = &Traffic{Rate: 10, Peak: 30}
	want := "max speed of your traffic at SLO: 1.70× (1.60× – 1.80×); 17 req/s on average and 51 in its busiest second"
	if got := a.Speed(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !strings.Contains(a.Headline(), want) {
		t.Error(a.Headline())
	}
	a.Finding = AtLeast
	if got := a.Speed(); !strings.HasPrefix(got, "max speed of your traffic at SLO: at least 1.60×; 16 req/s") {
		t.Error(got)
	}
	if a.Finding = None; a.Speed() != "" {
		t.Error(a.Speed())
	}
}

// A gate on a speed is tried first, at the rate that the speed means, and decided by the estimate there.
func TestGateOnSpeed(t *testing.T) {
	traffic := NewTraffic(traceOf(100), 5*time.Second)
	gate := slo.Gate{Rate: 1.5, Speed: true}
	c := SearchConfig{Search: spec.Search{Budget: time.Minute}, Traffic: traffic,
		Gates: []slo.Gate{gate}}.withDefaults()
	if n := c.next(state{}); n.role != AtGate || n.rate != 15 || n.length != traffic.Length*2/3 {
		t.Errorf("first: %+v", n)
	}
	// A step between two speeds says on which side the gate lies.
	for _, c := range []struct {
		lower, upper float64
		want         slo.Outcome
	}{{16, 17, slo.Pass}, {12, 13, slo.Fail}, {14, 16, slo.Undecided}} {
		a := &Answer{Confidence: 0.95, Traffic: traffic, estimate: &maxrate.Estimate{Answer: maxrate.Answer{
			Step: true, Met: true, Lower: c.lower, Upper: c.upper}}}
		o := a.gate(gate)
		if o.Outcome != c.want || !strings.Contains(o.Text, "1.50×") || !strings.Contains(o.Text, "max speed") {
			t.Errorf("a max rate of %v to %v: %s", c.lower, c.upper, o)
		}
	}
}
