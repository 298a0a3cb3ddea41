package slo

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
)

// steadyStage is a stage of n requests at a rate, each 1 s long, whose TTFT is drawn; the share of them beyond 250 ms is slow.
func steadyStage(n int, rate, slow float64, seed uint64) *loadgen.Measured {
	rng := rand.New(rand.NewPCG(seed, 9))
	l := judgedStage()
	l.Stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate}
	for i := range n {
		at := int64(float64(i+1) / rate * 1e9)
		ttft := 100*ms + rng.Int64N(100*ms)
		if rng.Float64() < slow {
			ttft = 300*ms + rng.Int64N(100*ms)
		}
		l.Records = append(l.Records, completedRecord(at, 0, ttft, 50*ms, 21))
	}
	l.Offered = n
	l.Stopped = int64(float64(n+1)/rate*1e9) - 1
	l.End = l.Stopped + 2000*ms
	return l
}

func TestJudgeStage(t *testing.T) {
	ttft := []Objective{objective(t, "ttft:p95<250ms")}
	for _, tc := range []struct {
		name  string
		stage *loadgen.Measured
		want  Outcome
		leans bool
	}{
		{"well below", steadyStage(800, 20, 0.01, 1), Pass, true},
		{"well above", steadyStage(800, 20, 0.2, 2), Fail, false},
		{"too close", steadyStage(800, 20, 0.048, 5), Undecided, true},
		{"too few", steadyStage(50, 2, 0, 4), Undecided, true},
		{"enough of them", steadyStage(150, 2, 0, 4), Pass, true},
		{"measured for less than ten stays", steadyStage(300, 60, 0, 4), Undecided, true},
	} {
		j := Judge(tc.stage, ttft, 0)
		if j.Outcome != tc.want || j.Leans != tc.leans || (j.Outcome == Pass) != (len(j.Reasons) == 0) || j.Confidence != 0.95 {
			t.Errorf("%s: %s, leans %v, %v", tc.name, j.Outcome, j.Leans, j.Reasons)
		}
	}
}

// One objective that fails decides, others may be what they are.
func TestJudgeStageObjectives(t *testing.T) {
	all, err := ParseObjectives("ttft:p95<250ms,tpot:p95<40ms,errors<1%,ttft:mean<200ms,e2e:max<2s")
	if err != nil {
		t.Fatal(err)
	}
	j := Judge(steadyStage(800, 20, 0.01, 1), all, 0)
	want := []Outcome{Pass, Fail, Pass, Pass, Pass}
	for i, o := range want {
		if j.Objectives[i].Outcome != o {
			t.Errorf("%s: %s %s", all[i], j.Objectives[i].Outcome, j.Objectives[i].Reason)
		}
	}
	if j.Outcome != Fail || len(j.Reasons) != 1 || !strings.Contains(j.Reasons[0], "tpot") {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
}

// A backlog that grows fails the stage, however patient the objective.
func TestJudgeStageBacklog(t *testing.T) {
	l := judgedStage()
	l.Stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 20}
	free := int64(0)
	for i := range 1200 { // served one after the other at 18 a second
		at := int64(i+1) * 50 * ms
		free = max(free, at) + 1000*ms/18
		r := completedRecord(at, 0, free-at-1, 1, 2)
		l.Records = append(l.Records, r)
	}
	l.Offered, l.Stopped, l.End = 1200, 60_000*ms, 70_000*ms
	j := Judge(l, []Objective{objective(t, "ttft:p95<60s")}, 0)
	if j.Outcome != Fail || !strings.Contains(strings.Join(j.Reasons, " "), "backlog") {
		t.Errorf("%s: %v, %+v", j.Outcome, j.Reasons, j.Growth)
	}
}

// Gaps are judged with the requests as sample size: 1000 gaps of 10 requests are no more than ten observations.
func TestJudgeStageGaps(t *testing.T) {
	itl := []Objective{objective(t, "itl:p95<60ms")}
	for _, tc := range []struct {
		n    int
		over int64
		want Outcome
	}{{800, 0, Pass}, {800, 4000, Fail}, {30, 0, Undecided}} {
		l := steadyStage(tc.n, 2, 0, 1)
		_ = l.Gaps.RecordValues(50*ms, int64(20*tc.n)-tc.over)
		_ = l.Gaps.RecordValues(90*ms, tc.over)
		if j := Judge(l, itl, 0); j.Outcome != tc.want {
			t.Errorf("%d requests, %d gaps over: %s %v", tc.n, tc.over, j.Outcome, j.Reasons)
		}
	}
}

// The last requests that were due are left out where one of them is undecided, and only there.
func TestWindowLeavesOutTheUndecided(t *testing.T) {
	o := objective(t, "ttft:p95<250ms")
	waiting := func(at int64) loadgen.Record {
		return loadgen.Record{Scheduled: at, Sent: at, End: 10_000 * ms, Status: loadgen.Incomplete, OutputTokens: -1}
	}
	l := judgedStage(completedRecord(9000*ms, 0, 100*ms, ms, 2), waiting(9100*ms), completedRecord(9700*ms, 0, 100*ms, ms, 2),
		waiting(9800*ms), completedRecord(9850*ms, 0, 100*ms, ms, 2))
	obs := o.window(l, 0)
	if len(obs) != 3 || !obs[1].miss {
		t.Errorf("%+v", obs)
	}
}

// A few requests that a disturbance made late together fail no stage.
func TestFewMissesDecideNothing(t *testing.T) {
	ttft := []Objective{objective(t, "ttft:p95<250ms")}
	burst := steadyStage(fewest-1, 1, 1, 3)
	if j := Judge(burst, ttft, 0); j.Outcome != Undecided || j.Leans {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
	if j := Judge(steadyStage(60, 1, 1, 3), ttft, 0); j.Outcome != Fail {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
	// Latencies that rise and fall slowly are few observations, though all of them miss.
	values, misses := make([]float64, 100), make([]float64, 100)
	for i := range values {
		values[i], misses[i] = float64(i), 1
	}
	if tau, _ := clustering(values, misses, 0.05); tau < 10 {
		t.Errorf("a slow rise: τ = %v", tau)
	}
}
