package slo

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

func TestInFlight(t *testing.T) {
	records := []loadgen.Record{
		{Scheduled: 0, End: 500, Status: loadgen.Completed},
		{Scheduled: 250, End: 1000, Status: loadgen.Incomplete},
		{Scheduled: 500},
	}
	series := inFlight(records, 0, 1000)
	for at, want := range map[int]float64{0: 1, 124: 1, 125: 2, 249: 2, 250: 2, 499: 2} {
		if series[at] != want {
			t.Errorf("at %d: %v in flight, want %v", 2*at, series[at], want)
		}
	}
}

func TestWarmUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	series := make([]float64, inFlightSamples)
	for i := range series {
		series[i] = 20*(1-math.Exp(-float64(i)/20)) + rng.NormFloat64()
	}
	if cut, steady := warmUp(series, 0.5); !steady || cut < 30 || cut > 130 {
		t.Errorf("a start of 20 steps: %d cut, steady %v", cut, steady)
	}
	for i := range series {
		series[i] = float64(i)
	}
	if cut, steady := warmUp(series, 0.5); steady || cut != inFlightSamples/2 {
		t.Errorf("growth without end: %d cut, steady %v", cut, steady)
	}
	if cut, _ := warmUp(series, 0.1); cut != inFlightSamples/10 {
		t.Errorf("at most a tenth: %d cut", cut)
	}
	for i := range series {
		series[i] = 3
	}
	if cut, steady := warmUp(series, 0.5); !steady || cut != 0 {
		t.Errorf("steady from the start: %d cut, steady %v", cut, steady)
	}
}

func TestGrowth(t *testing.T) {
	const residence = 2e9
	rng := rand.New(rand.NewPCG(3, 4))
	level := 0.0
	noise := make([]float64, 250)
	for i := range noise {
		level = 0.8*level + rng.NormFloat64()
		noise[i] = 20 + level
	}
	if g := growth(noise, 100*time.Millisecond, 10, 0.01, residence); g.PValue < 0.05 || g.Parts != 10 {
		t.Errorf("noise grows: %+v", g)
	}
	for i := range noise {
		noise[i] += 0.1 * float64(i) // 1 request a second
	}
	if g := growth(noise, 100*time.Millisecond, 10, 0.01, residence); g.PValue > 0.01 ||
		math.Abs(float64(g.Slope)-1) > 0.2 || math.Abs(float64(g.Share)-0.1) > 0.02 {
		t.Errorf("growth by 10 %% of the arrivals: %+v", g)
	}
	if g := growth(noise, 100*time.Millisecond, 10, 0.2, residence); g.PValue < 0.9 {
		t.Errorf("allowed growth: %+v", g)
	}
	if g := growth(noise, 100*time.Millisecond, 10, 0.01, 20e9); g.PValue != 1 || g.Parts != 1 {
		t.Errorf("hardly more than one residence time: %+v", g)
	}
	if g := growth(noise[:4], time.Second, 10, 0.01, residence); g.PValue != 1 {
		t.Errorf("too short: %+v", g)
	}
}

// A number that goes up and down freely is taken to grow no more often than the test's error says.
func TestGrowthOfRandomWalks(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	wrong := 0
	const walks = 2000
	for range walks {
		walk := make([]float64, 250)
		for i := 1; i < len(walk); i++ {
			walk[i] = walk[i-1] + rng.NormFloat64()
		}
		if growth(walk, 100*time.Millisecond, 10, 0, 1e9).PValue < 0.05 {
			wrong++
		}
	}
	if wrong < walks*3/100 || wrong > walks*7/100 {
		t.Errorf("%d of %d random walks grow", wrong, walks)
	}
}

func TestSnapshot(t *testing.T) {
	full := completedRecord(100, 10, 50, 10, 11) // sent at 110, first token at 160, end at 260
	l := &loadgen.Measured{Records: []loadgen.Record{full}}
	for _, tc := range []struct {
		at     int64
		status loadgen.Status
		first  int64
		n      int
	}{
		{50, 0, 0, 0}, {105, loadgen.NotSent, 0, 1}, {150, loadgen.Incomplete, 0, 1}, {200, loadgen.Incomplete, 160,
			1}, {260, loadgen.Completed, 160, 1}, {900, loadgen.Completed, 160, 1},
	} {
		s := Snapshot(l, l.Records, tc.at)
		if len(s.Records) != tc.n {
			t.Fatalf("at %d: %d records", tc.at, len(s.Records))
		}
		if tc.n == 1 && (s.Records[0].Status != tc.status || s.Records[0].FirstToken != tc.first ||
			s.Records[0].LastToken > tc.at) {
			t.Errorf("at %d: %+v", tc.at, s.Records[0])
		}
	}
	if l.Records[0] != full {
		t.Error("the stage's own record was changed")
	}
}

// A stage of sessions begins with first turns. As long as that matters is left out, and a stage in which it always does
// passes nothing.
func TestSettling(t *testing.T) {
	const second = int64(time.Second)
	stage := func(length, gap int64) *loadgen.Measured {
		m := &loadgen.Measured{Stopped: length, Stage: loadgen.Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap,
			Rate: 10}}}
		for i := range int32(10 * length / second) { // ten sessions a second, of four turns
			began := int64(i) * second / 10
			for turn := range int64(4) {
				r := completedRecord(began+turn*gap, 0, 20*int64(time.Millisecond), 5*int64(time.Millisecond), 8)
				r.Session, r.Began, r.Turn, r.Turns = i+1, began, int16(turn), 4
				m.Records = append(m.Records, r)
			}
		}
		m.Sessions.Started = len(m.Records) / 4
		return Snapshot(m, m.Records, length)
	}
	objectives := []Objective{objective(t, "ttft:p95<100ms")}
	if j := Judge(stage(60*second, 4*second), objectives, 0); j.Outcome != Pass || j.WarmUp < 12*time.Second ||
		j.WarmUp > 13*time.Second {
		t.Errorf("turns up to 12 s after the first: %s %v, %v left out", j.Outcome, j.Reasons, j.WarmUp)
	}
	if j := Judge(stage(60*second, 15*second), objectives, 0); j.Outcome != Undecided || j.Need == nil ||
		!strings.Contains(j.Reasons[0], "sessions go on for more than half of the stage") {
		t.Errorf("turns up to 45 s after the first: %s %v %v", j.Outcome, j.Reasons, j.Need)
	}
}
