package slo

import (
	"math"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

const ms = int64(time.Millisecond)

// objective parses one objective.
func objective(t *testing.T, s string) Objective {
	t.Helper()
	os, err := ParseObjectives(s)
	if err != nil || len(os) != 1 {
		t.Fatalf("%q: %v, %v", s, os, err)
	}
	return os[0]
}

// completedRecord is scheduled at and sent late after, gets its first token ttft after that, and tokens at equal gaps.
func completedRecord(at, late, ttft, gap int64, tokens int32) loadgen.Record {
	sent := at + late
	last := sent + ttft + gap*int64(tokens-1)
	return loadgen.Record{
		Scheduled: at, Started: at, Sent: sent, FirstToken: sent + ttft, LastToken: last, End: last,
		TokenEvents:  tokens,
		PromptTokens: -1, OutputTokens: tokens, AskedOutput: tokens, Status: loadgen.Completed,
	}
}

// judgedStage is a stage of 10 s that began at 0.
func judgedStage(records ...loadgen.Record) *loadgen.Measured {
	return &loadgen.Measured{
		Stopped: 10_000 * ms, End: 10_000 * ms, Records: records, Offered: len(records),
		Gaps: hdr.New(1_000, 3_600_000_000_000, 3),
	}
}

func TestJudgeFromSchedule(t *testing.T) {
	l := judgedStage(completedRecord(100*ms, 30*ms, 200*ms, 10*ms, 11))
	for _, tc := range []struct {
		objective       string
		value, fromSent float64 // ms
		holds           bool
	}{
		{"ttft:p95<250ms", 230, 200, true},
		{"ttft:p95<230ms", 230, 200, false},
		{"ttft:p95<=230ms", 230, 200, true},
		{"ttft:mean<210ms", 230, 200, false}, // from the send it would hold
		{"tpot:p95<11ms", 10, 10, true},
		{"e2e:max<400ms", 330, 300, true},
		{"ntpot:p50<29ms", 30, 300.0 / 11, false},
	} {
		j := Observe(l, objective(t, tc.objective))
		if math.Abs(float64(j.Value)-tc.value*1e6) > 1 || math.Abs(float64(j.ValueFromSent)-tc.fromSent*1e6) > 1 ||
			j.Holds != tc.holds || j.N != 1 {
			t.Errorf("%s: %+v", tc.objective, j)
		}
		if (j.Misses == 0) != tc.holds {
			t.Errorf("%s: %d misses", tc.objective, j.Misses)
		}
	}
}

// A quantile keeps its bound exactly when no more than the share 1 − q misses it.
func TestQuantileMatchesMisses(t *testing.T) {
	for _, tc := range []struct {
		n, misses int
		q         string
		holds     bool
	}{
		{20, 1, "p95", true}, {20, 2, "p95", false}, {19, 1, "p95", false}, {100, 5, "p95", true}, {100, 6, "p95",
			false},
		{1000, 1, "p99.9", true}, {1000, 2, "p99.9", false}, {10, 5, "p50", true}, {10, 6, "p50", false},
	} {
		var records []loadgen.Record
		for i := range tc.n {
			ttft := 100 * ms
			if i < tc.misses {
				ttft = 300 * ms
			}
			records = append(records, completedRecord(int64(i)*ms, 0, ttft, ms, 2))
		}
		j := Observe(judgedStage(records...), objective(t, "ttft:"+tc.q+"<250ms"))
		if j.Holds != tc.holds || j.Misses != tc.misses || j.N != tc.n {
			t.Errorf("%d of %d at %s: %+v", tc.misses, tc.n, tc.q, j)
		}
	}
}

func TestJudgeWhatDidNotComplete(t *testing.T) {
	good := completedRecord(1000*ms, 0, 100*ms, 10*ms, 11)
	failed := loadgen.Record{Scheduled: 1000 * ms, Sent: 1000 * ms, FirstToken: 1050 * ms, End: 1100 * ms,
		AskedOutput:  11,
		OutputTokens: -1, Status: loadgen.Errored, Err: loadgen.ErrReset}
	waiting := func(since int64) loadgen.Record {
		return loadgen.Record{Scheduled: since, Sent: since, End: 10_000 * ms, AskedOutput: 11, OutputTokens: -1,
			Status: loadgen.Incomplete}
	}
	generating := func(since, first int64) loadgen.Record {
		r := waiting(since)
		r.FirstToken, r.LastToken, r.TokenEvents = first, first, 1
		return r
	}
	for _, tc := range []struct {
		name      string
		record    loadgen.Record
		objective string
		n, misses int
	}{
		{"failed after its first token", failed, "ttft:p95<250ms", 2, 1},
		{"failed", failed, "tpot:p95<50ms", 2, 1},
		{"failed", failed, "e2e:p95<5s", 2, 1},
		{"failed", failed, "ntpot:p95<5s", 2, 1},
		{"failed", failed, "errors<10%", 2, 1},
		{"failed", failed, "goodput:ttft<250ms>=90%", 2, 1},
		{"waiting for long", waiting(9000 * ms), "ttft:p95<250ms", 2, 1},
		{"waiting for long", waiting(9000 * ms), "goodput:e2e<3s,ttft<250ms>=90%", 2, 1},
		{"waiting for long", waiting(9000 * ms), "errors<10%", 1, 0},
		{"waiting since just now", waiting(9900 * ms), "ttft:p95<250ms", 1, 0},
		{"waiting since just now", waiting(9900 * ms), "e2e:p95<5s", 1, 0},
		{"waiting since just now", waiting(9900 * ms), "goodput:ttft<250ms>=90%", 1, 0},
		{"generating for long", generating(9000*ms, 9100*ms), "ttft:p95<250ms", 2, 0},
		{"generating for long", generating(9000*ms, 9100*ms), "tpot:p95<50ms", 2, 1}, // 10 gaps of 50 ms would be over
		{"generating for long", generating(9000*ms, 9100*ms), "ntpot:p95<50ms", 2, 1},
		{"generating for long", generating(9000*ms, 9100*ms), "goodput:ttft<250ms,tpot<50ms>=90%", 2, 1},
		{"generating since just now", generating(9800*ms, 9900*ms), "tpot:p95<50ms", 1, 0},
		{"generating since just now", generating(9800*ms, 9900*ms), "goodput:ttft<250ms,tpot<50ms>=90%", 1, 0},
		{"generating since just now", generating(9500*ms, 9900*ms), "goodput:ttft<250ms,tpot<50ms>=90%", 2, 1},
		{"never sent", loadgen.Record{Scheduled: 9000 * ms}, "ttft:p95<250ms", 2, 1},
		{"never sent", loadgen.Record{Scheduled: 9900 * ms}, "ttft:p95<250ms", 1, 0},
		{"never sent", loadgen.Record{Scheduled: 9000 * ms}, "errors<1%", 1, 0},
	} {
		j := Observe(judgedStage(good, tc.record), objective(t, tc.objective))
		if j.N != tc.n || j.Misses != tc.misses {
			t.Errorf("%s, %s: %d of %d missed, want %d of %d", tc.name, tc.objective, j.Misses, j.N, tc.misses, tc.n)
		}
	}
	if j := Observe(judgedStage(good, failed), objective(t, "ttft:p95<250ms")); !math.IsInf(float64(j.Value), 1) {
		t.Errorf("p95 falls on a failed request: %v", j.Value)
	}
	if j := Observe(judgedStage(good, failed), objective(t, "ttft:p50<250ms")); float64(j.Value) != 100e6 || !j.Holds {
		t.Errorf("p50 falls on the good one: %+v", j)
	}
}

// Arrivals that a late pacer never got to have no record, but were due.
func TestJudgeArrivalsWithoutRecords(t *testing.T) {
	l := judgedStage(completedRecord(1000*ms, 0, 100*ms, 10*ms, 11))
	l.Stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 1}
	l.Offered = 9
	if j := Observe(l, objective(t, "ttft:p95<250ms")); j.N != 9 || j.Misses != 8 {
		t.Errorf("%d of %d missed, want 8 of 9", j.Misses, j.N)
	}
	if len(l.Records) != 1 {
		t.Errorf("the stage itself now has %d records", len(l.Records))
	}
}

func TestJudgeWindow(t *testing.T) {
	l := judgedStage(
		completedRecord(100*ms, 0, 900*ms, 0, 1),
		completedRecord(1000*ms, 0, 900*ms, 0, 1), // due in the warm-up, ends after it
		completedRecord(5000*ms, 0, 100*ms, 0, 1),
		completedRecord(9500*ms, 0, 900*ms, 0, 1), // due in the cool-down
	)
	l.Stage = loadgen.Stage{MaxDuration: 10 * time.Second, Warmup: 1050 * time.Millisecond, Cooldown: time.Second}
	if j := Observe(l, objective(t, "ttft:p95<250ms")); j.N != 1 || j.Misses != 0 {
		t.Errorf("%d of %d missed", j.Misses, j.N)
	}
}

func TestJudgeShares(t *testing.T) {
	slow := completedRecord(1000*ms, 0, 400*ms, 10*ms, 11)
	late := completedRecord(1000*ms, 300*ms, 100*ms, 10*ms, 11) // good from the send, bad from the schedule
	good := completedRecord(1000*ms, 0, 100*ms, 10*ms, 11)
	j := Observe(judgedStage(slow, late, good, good), objective(t, "goodput:ttft<250ms,tpot<50ms>=60%"))
	if j.Value != 0.5 || j.ValueFromSent != 0.75 || j.Holds || math.Abs(float64(j.Margin)+0.1) > 1e-12 {
		t.Errorf("%+v", j)
	}
	if j := Observe(judgedStage(good, slow), objective(t, "errors<1%")); j.Value != 0 || !j.Holds || j.Margin != 1 {
		t.Errorf("%+v", j)
	}
	if j := Observe(judgedStage(good, slow), objective(t, "errors<=0%")); !j.Holds {
		t.Errorf("%+v", j)
	}
}

func TestJudgeGaps(t *testing.T) {
	stage := func(over int64, records ...loadgen.Record) *loadgen.Measured {
		l := judgedStage(records...)
		_ = l.Gaps.RecordValues(5*ms, 1000-over)
		_ = l.Gaps.RecordValues(80*ms, over)
		return l
	}
	good := completedRecord(1000*ms, 0, 100*ms, 5*ms, 11)
	failed := loadgen.Record{Scheduled: 1, Sent: 1, End: 2, AskedOutput: 21, TokenEvents: 6, Status: loadgen.Errored}
	for _, tc := range []struct {
		objective string
		stage     *loadgen.Measured
		n, misses int
		holds     bool
	}{
		{"itl:p99<50ms", stage(10, good), 1000, 10, true},
		{"itl:p99<50ms", stage(11, good), 1000, 11, false},
		{"itl:p99<50ms", stage(0, good, failed), 1015, 15, false}, // 20 gaps were asked for, 5 came
		{"itl:p95<50ms", stage(0, good, failed), 1015, 15, true},
		{"itl:mean<50ms", stage(0, good), 1000, 0, true},
		{"itl:max<50ms", stage(1, good), 1000, 1, false},
		{"itl:max<50ms", stage(0, good, failed), 1015, 15, false},
		{"itl:p99<80ms", stage(20, good), 1000, 0, true}, // the bound lies in the bucket
		{"itl:p99<5ms", stage(0, good), 1000, 0, true},
		{"itl:p99<4.9ms", stage(0, good), 1000, 1000, false},
	} {
		if j := Observe(tc.stage, objective(t, tc.objective)); j.N != tc.n || j.Misses != tc.misses ||
			j.Holds != tc.holds {
			t.Errorf("%s: %+v", tc.objective, j)
		}
	}
}

func TestJudgeNothing(t *testing.T) {
	if j := Observe(judgedStage(), objective(t, "ttft:p95<250ms")); j.Holds || !math.IsNaN(float64(j.Value)) {
		t.Errorf("an empty stage: %+v", j)
	}
	one := completedRecord(1000*ms, 0, 100*ms, 0, 1)
	if j := Observe(judgedStage(one), objective(t, "tpot:p95<250ms")); !j.Holds || j.N != 0 {
		t.Errorf("one-token answers: %+v", j)
	}
	if j := Observe(judgedStage(one), objective(t, "goodput:ttft<250ms,tpot<1ms>=90%")); !j.Holds || j.N != 1 {
		t.Errorf("one-token answers: %+v", j)
	}
}
