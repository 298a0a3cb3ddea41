package sweep

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// steadyLeg is a leg of n requests at a rate, each 1 s long, whose TTFT is drawn; the share of them beyond 250 ms is slow.
func steadyLeg(n int, rate, slow float64, seed uint64) *Leg {
	rng := rand.New(rand.NewPCG(seed, 9))
	l := judgedLeg()
	l.Stage.Schedule = loadgen.Constant{Rate: rate}
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
	return &Leg{Leg: l, Verdict: Verdict{Level: Valid}}
}

func TestJudgeLeg(t *testing.T) {
	ttft := []Objective{objective(t, "ttft:p95<250ms")}
	for _, tc := range []struct {
		name  string
		leg   *Leg
		want  Outcome
		leans bool
	}{
		{"well below", steadyLeg(800, 20, 0.01, 1), Passes, true},
		{"well above", steadyLeg(800, 20, 0.2, 2), Fails, false},
		{"too close", steadyLeg(800, 20, 0.048, 5), Inconclusive, true},
		{"too few", steadyLeg(50, 2, 0, 4), Inconclusive, true},
		{"enough of them", steadyLeg(150, 2, 0, 4), Passes, true},
		{"measured for less than ten stays", steadyLeg(300, 60, 0, 4), Inconclusive, true},
	} {
		j := JudgeLeg(tc.leg, ttft, 0)
		if j.Outcome != tc.want || j.Leans != tc.leans || (j.Outcome == Passes) != (len(j.Reasons) == 0) || j.Confidence != 0.95 {
			t.Errorf("%s: %s, leans %v, %v", tc.name, j.Outcome, j.Leans, j.Reasons)
		}
	}
}

// One objective that fails decides, others may be what they are.
func TestJudgeLegObjectives(t *testing.T) {
	all, err := ParseObjectives("ttft:p95<250ms,tpot:p95<40ms,errors<1%,ttft:mean<200ms,e2e:max<2s")
	if err != nil {
		t.Fatal(err)
	}
	j := JudgeLeg(steadyLeg(800, 20, 0.01, 1), all, 0)
	want := []Outcome{Passes, Fails, Passes, Passes, Passes}
	for i, o := range want {
		if j.Objectives[i].Outcome != o {
			t.Errorf("%s: %s %s", all[i], j.Objectives[i].Outcome, j.Objectives[i].Reason)
		}
	}
	if j.Outcome != Fails || len(j.Reasons) != 1 || !strings.Contains(j.Reasons[0], "tpot") {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
}

// A backlog that grows fails the leg, however patient the objective.
func TestJudgeLegBacklog(t *testing.T) {
	l := judgedLeg()
	l.Stage.Schedule = loadgen.Constant{Rate: 20}
	free := int64(0)
	for i := range 1200 { // served one after the other at 18 a second
		at := int64(i+1) * 50 * ms
		free = max(free, at) + 1000*ms/18
		r := completedRecord(at, 0, free-at-1, 1, 2)
		l.Records = append(l.Records, r)
	}
	l.Offered, l.Stopped, l.End = 1200, 60_000*ms, 70_000*ms
	j := JudgeLeg(&Leg{Leg: l, Verdict: Verdict{Level: Valid}}, []Objective{objective(t, "ttft:p95<60s")}, 0)
	if j.Outcome != Fails || !strings.Contains(strings.Join(j.Reasons, " "), "backlog") {
		t.Errorf("%s: %v, %+v", j.Outcome, j.Reasons, j.Growth)
	}
}

// What the client did not offer, the server can't have failed, and can't have passed.
func TestJudgeLegClient(t *testing.T) {
	ttft := []Objective{objective(t, "ttft:p95<250ms")}
	check := func(name string, l *Leg, part string) {
		t.Helper()
		j := JudgeLeg(l, ttft, 0)
		if j.Outcome != Inconclusive || !j.Client || !strings.Contains(strings.Join(j.Reasons, " "), part) {
			t.Errorf("%s: %s %v %v", name, j.Outcome, j.Client, j.Reasons)
		}
	}
	invalid := steadyLeg(800, 20, 0, 1)
	invalid.Verdict = Verdict{Level: Invalid, Reasons: []Reason{{Level: Invalid, Text: "sent late"}}}
	check("invalid", invalid, "sent late")
	failing := steadyLeg(800, 20, 0.3, 1)
	failing.Verdict.Level = Invalid
	check("invalid and slow", failing, "invalid")
	capped := steadyLeg(800, 20, 0, 1)
	capped.Records[400].Flags |= loadgen.DelayedByCap
	check("delayed by the cap", capped, "cap")
	unsent := steadyLeg(800, 20, 0, 1)
	for i := 300; i < 310; i++ {
		unsent.Records[i].Sent, unsent.Records[i].FirstToken, unsent.Records[i].Status = 0, 0, loadgen.NotSent
	}
	check("not sent", unsent, "789 of 799")
}

// Gaps are judged with the requests as sample size: 1000 gaps of 10 requests are no more than ten observations.
func TestJudgeLegGaps(t *testing.T) {
	itl := []Objective{objective(t, "itl:p95<60ms")}
	for _, tc := range []struct {
		n    int
		over int64
		want Outcome
	}{{800, 0, Passes}, {800, 4000, Fails}, {30, 0, Inconclusive}} {
		l := steadyLeg(tc.n, 2, 0, 1)
		_ = l.Gaps.RecordValues(50*ms, int64(20*tc.n)-tc.over)
		_ = l.Gaps.RecordValues(90*ms, tc.over)
		if j := JudgeLeg(l, itl, 0); j.Outcome != tc.want {
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
	l := judgedLeg(completedRecord(9000*ms, 0, 100*ms, ms, 2), waiting(9100*ms), completedRecord(9700*ms, 0, 100*ms, ms, 2),
		waiting(9800*ms), completedRecord(9850*ms, 0, 100*ms, ms, 2))
	obs := o.window(l, 0)
	if len(obs) != 3 || !obs[1].miss {
		t.Errorf("%+v", obs)
	}
}

// The real search against the real engine; sweep/kneestudy does it for more of them.
func TestSearchInVirtualTime(t *testing.T) {
	for _, tc := range []struct {
		name, slo string
		lo, hi    float64
		ended     EndReason
	}{
		{"a knee", "ttft:p95<100ms tpot:p95<20ms", 78, 88, EndPrecision}, // 83.2 by brute force on the engine alone
		{"nothing holds", "ttft:p95<7ms", 0, 20, EndNothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
				objectives, err := ParseObjectives(tc.slo)
				if err != nil {
					t.Fatal(err)
				}
				b.Objectives = objectives
				r := &Result{SaturationRate: 113}
				k, err := b.Search(t.Context(), r, SearchConfig{MaxPerLeg: 15 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s in %v", k.Headline(), k.Took)
				if k.Ended != tc.ended || k.HoldsAt < tc.lo || k.FailsAt > tc.hi || k.FailsAt == 0 || len(k.Trials) != len(r.Legs) {
					t.Errorf("%s: %s", k.Headline(), k.Why)
				}
				if k.HoldsAt > 0 && !k.Confirmed {
					t.Error("not confirmed")
				}
				for _, trial := range k.Trials {
					if trial.Rate > 1.2*tc.hi && trial.At > 10*time.Second {
						t.Errorf("that %v req/s is too much was seen after %v only", trial.Rate, trial.At)
					}
				}
			})
		})
	}
}

// An interrupted search keeps what it found.
func TestSearchInterrupted(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 16, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		b.Objectives = []Objective{objective(t, "ttft:p95<250ms")}
		k, err := b.Search(ctx, &Result{SaturationRate: 60}, SearchConfig{NoEarlyStop: true, MaxPerLeg: 15 * time.Second})
		if err == nil || k.Ended != EndInterrupted || len(k.Trials) != 2 {
			t.Errorf("%v: %+v", err, k)
		}
	})
}

func TestSearchBudget(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 4, func(t *testing.T, b *bench) {
		b.Objectives = []Objective{objective(t, "ttft:p95<250ms")}
		began := time.Now()
		k, err := b.Search(t.Context(), &Result{SaturationRate: 20}, SearchConfig{NoEarlyStop: true, MaxPerLeg: 15 * time.Second, Budget: 40 * time.Second})
		if err != nil || k.Ended != EndBudget || time.Since(began) > 42*time.Second {
			t.Errorf("%v after %v: %s", err, time.Since(began), k.Why)
		}
	})
}

// A few requests that a disturbance made late together fail no leg.
func TestFewMissesDecideNothing(t *testing.T) {
	ttft := []Objective{objective(t, "ttft:p95<250ms")}
	burst := steadyLeg(fewest-1, 1, 1, 3)
	if j := JudgeLeg(burst, ttft, 0); j.Outcome != Inconclusive || j.Leans {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
	if j := JudgeLeg(steadyLeg(60, 1, 1, 3), ttft, 0); j.Outcome != Fails {
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
