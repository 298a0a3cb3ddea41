package sweep

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// Nothing that a watch knows is kept after its stage, while the result is.
func TestWatchIsNotKept(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		stage := b.Stage
		stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 40}
		w := newWatch(b.Objectives, 5*time.Second, 20*time.Second, 0.95, stage)
		kept := weak.Make(w)
		r := &Result{}
		l, err := b.stageIn(t.Context(), r, stage, Locate, w)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Records) < 200 || len(w.looks) == 0 || l.Judgement.Outcome != slo.Pass || l.Role != Locate {
			t.Fatalf("%d records, %d looks: %s", len(l.Records), len(w.looks), l.Judgement.Outcome)
		}
		if w.known != nil || w.ended != nil {
			t.Errorf("%d records are kept a second time", len(w.known))
		}
		w = nil
		b.client.Close()
		time.Sleep(time.Minute)
		for range 3 { // what a sync.Pool holds outlives two
			runtime.GC()
		}
		if kept.Value() != nil {
			t.Error("the watch is still held")
		}
		runtime.KeepAlive(r)
	})
}

// What is told in any order stands where it was due, also of arrivals that came at once; the rest is in flight.
func TestWatchEstimate(t *testing.T) {
	const second = int64(time.Second)
	load := loadgen.Load{Kind: loadgen.ConstantGap, Rate: 4,
		Arrival: loadgen.Arrival{Kind: loadgen.BurstArrival, Size: 2}}
	w := newWatch(nil, time.Second, time.Minute, 0.95, loadgen.Stage{Load: load})
	var due []int64
	for i, schedule := 0, load.Schedule(); i < 12; i++ {
		at, _ := schedule.At(i)
		due = append(due, second+int64(at))
	}
	ended := func(i int) {
		w.observe(loadgen.Event{Ended: true, Record: &loadgen.Record{
			Scheduled: due[i], Sent: due[i], FirstToken: due[i] + 5, End: due[i] + 10, AskedOutput: int32(i),
			Status: loadgen.Completed,
		}})
	}
	for _, i := range []int{5, 0, 1, 11} {
		ended(i)
	}
	w.take(second, due[8])
	for _, i := range []int{4, 6} {
		ended(i)
	}
	w.take(second, due[10])
	s := w.estimate(second, due[10], 1)
	if len(s.Records) != 10 {
		t.Fatalf("%d records, want the 10 due by then", len(s.Records))
	}
	for i, r := range s.Records {
		want := loadgen.Completed
		if i == 2 || i == 3 || i > 6 {
			want = loadgen.Incomplete
		}
		if r.Status != want || r.Scheduled != due[i] {
			t.Errorf("request %d: %s, due at %d, want %s at %d", i, r.Status, r.Scheduled, want, due[i])
		}
		if withToken := i != 9; (r.FirstToken > 0) != withToken {
			t.Errorf("request %d has its first token at %d; only the last has none", i, r.FirstToken)
		}
	}
	w.take(second, due[11]+1)
	if w.known[11].Status != loadgen.Completed && w.known[10].Status != loadgen.Completed {
		t.Error("a request that ended before it was looked for is lost")
	}
}

// Turns of sessions are due when nobody knows beforehand: those that were sent count from then on.
func TestWatchEstimateOfSessions(t *testing.T) {
	const second = int64(time.Second)
	load := loadgen.Load{Kind: loadgen.ConstantGap, Rate: 1}
	w := newWatch(nil, time.Second, time.Minute, 0.95, loadgen.Stage{Load: load})
	turn := func(index int, session int32, turn int16, due int64, ended bool) {
		r := &loadgen.Record{Scheduled: due, Began: int64(session) * second, Session: session, Turn: turn, Turns: 3}
		if ended {
			r.Sent, r.FirstToken, r.End, r.Status = due, due+5, due+10, loadgen.Completed
		}
		w.observe(loadgen.Event{Index: index, Ended: ended, Record: r})
	}
	turn(0, 1, 0, second, false)
	turn(1, 2, 0, 2*second, false)
	turn(0, 1, 0, second, true)
	w.take(0, 3*second)
	turn(2, 1, 1, 4*second+7, false)
	turn(2, 1, 1, 4*second+7, true)
	turn(3, 1, 2, 5*second, false)
	w.take(0, 6*second)
	s := w.estimate(0, 6*second, 1)
	want := []struct {
		due     int64
		session int32
		turn    int16
		status  loadgen.Status
		token   bool
	}{
		{second, 1, 0, loadgen.Completed, true}, {2 * second, 2, 0, loadgen.Incomplete, true},
		{4*second + 7, 1, 1, loadgen.Completed, true}, {5 * second, 1, 2, loadgen.Incomplete, false},
	}
	if len(s.Records) != len(want) {
		t.Fatalf("%d records, want %d", len(s.Records), len(want))
	}
	for i, r := range s.Records {
		if c := want[i]; r.Scheduled != c.due || r.Session != c.session || r.Turn != c.turn || r.Status != c.status ||
			(r.FirstToken > 0) != c.token {
			t.Errorf("request %d: %+v, want %+v", i, r, c)
		}
	}
}

// BenchmarkLook is one look at 60,000 requests, as at the end of a minute at 1,000 req/s, with two
// objectives.
func BenchmarkLook(b *testing.B) {
	objectives, err := slo.ParseObjectives("ttft:p95<250ms errors<1%")
	if err != nil {
		b.Fatal(err)
	}
	const n = 60_000
	stage := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: 1000}, MaxDuration: 2 * time.Minute}
	for b.Loop() {
		b.StopTimer()
		w := newWatch(objectives, time.Second, time.Minute, 0.95, stage)
		for i := range n {
			at := int64(i+1) * int64(time.Millisecond)
			w.observe(loadgen.Event{Ended: true, Record: &loadgen.Record{
				Scheduled: at, Sent: at, FirstToken: at + int64(time.Millisecond)*int64(20+i*7919%100),
				LastToken: at + int64(time.Second),
				End:       at + int64(time.Second), TokenEvents: 20, OutputTokens: 20, Status: loadgen.Completed,
			}})
		}
		b.StartTimer()
		at := int64(n) * int64(time.Millisecond)
		w.take(0, at)
		slo.JudgeAt(w.estimate(0, at, 0), objectives, slo.GapCount{Over: make([]int64, 2)}, 0.01)
	}
}
