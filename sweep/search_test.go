package sweep

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

func objective(t *testing.T, text string) slo.Objective {
	t.Helper()
	all, err := slo.ParseObjectives(text)
	if err != nil || len(all) != 1 {
		t.Fatalf("%q: %v, %v", text, all, err)
	}
	return all[0]
}

// The real search against the real engine; bench/knee does it for more of them.
func TestSearchInVirtualTime(t *testing.T) {
	for _, tc := range []struct {
		name, slo string
		lo, hi    float64
		finding   Finding
	}{
		{"a limit", "ttft:p95<100ms tpot:p95<20ms", 78, 88, Interval}, // 83.2 by brute force on the engine alone
		{"nothing holds", "ttft:p95<7ms", 0, 0, None},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
				objectives, err := slo.ParseObjectives(tc.slo)
				if err != nil {
					t.Fatal(err)
				}
				b.Objectives = objectives
				r := &Result{SaturationRate: 113}
				k, err := b.Search(t.Context(), r, SearchConfig{Search: spec.Search{Budget: 5 * time.Minute}})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s in %v", k.Headline(), k.Took)
				if k.Finding != tc.finding || len(k.Trials) != len(r.Stages) || tc.hi > 0 &&
					!(float64(k.Lower) >= tc.lo && float64(k.Upper) <= tc.hi) {
					t.Errorf("%s: %s", k.Headline(), k.Why)
				}
			})
		})
	}
}

// sendSessions has the plan send sessions of the bench's requests, with think times of 1 s on average. They vary:
// requests that are answered together would come back together after equal ones, in bunches.
func (b *bench) sendSessions(t *testing.T, turns int) {
	single, _, err := b.Source(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b.Sessions = true
	b.Source = func(_ context.Context, stage int) (loadgen.Source, func(), error) {
		random := rand.New(rand.NewPCG(1, uint64(stage)))
		return func(i int) (loadgen.Request, error) {
			r, err := single(i)
			s := &loadgen.Session{}
			for range turns {
				s.Turns = append(s.Turns, loadgen.Turn{Think: time.Duration(random.ExpFloat64() * float64(time.Second)),
					Head: r.Body, Alone: true, PromptTokens: r.PromptTokens, OutputTokens: r.OutputTokens})
			}
			return s.Request(), err
		}, func() {}, nil
	}
}

// A search over sessions has rates of sessions. In its probes nobody thinks, so that they find what the server can do.
func TestSearchOfSessions(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<60ms")}
		b.Stage.MaxDuration = 10 * time.Second
		b.sendSessions(t, 3)
		r, err := b.Sweep(t.Context(), spec.Sweep{Size: 2})
		if err != nil {
			t.Fatal(err)
		}
		sync := r.Stages[0]
		for i, record := range sync.Records[1:] {
			if before := sync.Records[i]; record.Turn > 0 && record.Scheduled > before.End+int64(time.Millisecond) {
				t.Fatalf("a turn of the synchronous stage is due %v after the answer before it",
					time.Duration(record.Scheduled-before.End))
			}
		}
		capacity := b.config.Capacity(64+templateTokens, 8) / 3
		if r.SaturationRate < 0.85*capacity || r.SaturationRate > 1.1*capacity {
			t.Errorf("saturated at %v sessions/s, the capacity is %v", r.SaturationRate, capacity)
		}
		a, err := b.Search(t.Context(), r, SearchConfig{Search: spec.Search{Budget: 5 * time.Minute,
			Arrival: loadgen.Arrival{Kind: loadgen.PoissonArrival}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(a.Headline())
		if a.ArrivalRequests != 3 || a.Finding != Interval || !strings.Contains(a.Headline(), " sessions/s (") ||
			!strings.Contains(a.Headline(), " req/s in sessions of 3.00") {
			t.Errorf("%s: %s", a.Headline(), a.Why)
		}
		if upper := float64(a.Upper); upper > 1.05*capacity {
			t.Errorf("%v sessions/s, the capacity is %v", upper, capacity)
		}
		o := Evaluate(slo.Gate{Rate: 2 * capacity}, &Result{Answer: a})
		if o.Outcome != slo.Fail || !strings.Contains(o.Text, "sessions/s") {
			t.Errorf("twice the capacity: %s", o)
		}
	})
}

// A gate of sessions is decided at a rate of sessions.
func TestDecideSessions(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<200ms")}
		b.sendSessions(t, 4)
		capacity := b.config.Capacity(64+templateTokens, 8) / 4
		r, err := b.Decide(t.Context(), []slo.Gate{{Rate: 0.5 * capacity, At: true}, {Rate: 1.3 * capacity, At: true}},
			spec.Decide{Arrival: loadgen.Arrival{Kind: loadgen.PoissonArrival}, Budget: 5 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if r.Decided[0].Outcome != slo.Pass || r.Decided[1].Outcome != slo.Fail ||
			!strings.Contains(r.Decided[0].Text, "sessions/s") {
			t.Errorf("%v", r.Decided)
		}
		for i, st := range r.Stages {
			if least := 3 * time.Second; st.Judgement.WarmUp < least { // most of three think times
				t.Errorf("stage %d: %v left out at its start, want at least %v", i, st.Judgement.WarmUp, least)
			}
		}
	})
}

// An interrupted search keeps what it found.
func TestSearchInterrupted(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 16, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		k, err := b.Search(ctx, &Result{SaturationRate: 60},
			SearchConfig{Search: spec.Search{NoEarlyStop: true, MaxPerStage: 15 * time.Second}})
		if err == nil || k.Ended != EndInterrupted || len(k.Trials) != 2 {
			t.Errorf("%v: %+v", err, k)
		}
	})
}

func TestSearchBudget(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 4, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		began := time.Now()
		k, err := b.Search(t.Context(), &Result{SaturationRate: 20},
			SearchConfig{Search: spec.Search{NoEarlyStop: true, MaxPerStage: 15 * time.Second,
				Budget: 40 * time.Second}})
		if err != nil || k.Ended != EndBudget || time.Since(began) > 42*time.Second {
			t.Errorf("%v after %v: %s", err, time.Since(began), k.Why)
		}
	})
}

// Stages that are too short for any outcome end the search with that reason, and not with the budget.
func TestSearchWithTooShortStages(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 4, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		a, err := b.Search(t.Context(), &Result{SaturationRate: 20},
			SearchConfig{Search: spec.Search{MaxPerStage: time.Second, Budget: 10 * time.Minute}})
		if err != nil || a.Ended != EndUndecided || !strings.Contains(a.Why, "a stage of at most 1s is too short") {
			t.Errorf("%v: %s, %s", err, a.Ended, a.Why)
		}
	})
}

// A search keeps what was asked of its stages, or says that it does not.
func TestSearchKeepsTheLimitsOfStages(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 4, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		b.Stage.Warmup, b.Stage.Cooldown = 2*time.Second, 3*time.Second
		b.Stage.Grace, b.Stage.MaxRequests = 5*time.Second, 300
		r := &Result{SaturationRate: 20}
		a, err := b.Search(t.Context(), r, SearchConfig{Search: spec.Search{MaxStages: 2}})
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range r.Stages {
			s := l.Measured.Stage
			if s.Warmup != 2*time.Second || s.Cooldown != 0 || s.Grace != 5*time.Second || s.MaxRequests != 300 ||
				len(l.Records) > 300 {
				t.Errorf("stage %d: %+v with %d records", i, s, len(l.Records))
			}
			if j := a.Trials[i].StageJudgement; j.WarmUp < 2*time.Second {
				t.Errorf("stage %d: %s %v, warm-up %v", i, j.Outcome, j.Reasons, j.WarmUp)
			}
		}
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Text, "cool-down") {
			t.Errorf("warnings: %v", r.Warnings)
		}
		b.Stage.MaxRequests = 10
		a, err = b.Search(t.Context(), &Result{SaturationRate: 20}, SearchConfig{})
		if err != nil || a.Ended != EndRequests || !strings.Contains(a.Why, "at most 10 requests") {
			t.Errorf("%v: %s, %s", err, a.Ended, a.Why)
		}
	})
}

// Where it can't be known whether the server has drained, the reader is told.
func TestSearchSaysWhereDrainingIsNotKnown(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 4, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		b.Metrics = metricsSource(t, &http.Client{Transport: refuse{}})
		r := &Result{SaturationRate: 20}
		if _, err := b.Search(t.Context(), r, SearchConfig{Search: spec.Search{MaxStages: 2}}); err != nil {
			t.Fatal(err)
		}
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Text,
			"not known whether the server still had requests") {
			t.Errorf("warnings: %v", r.Warnings)
		}
	})
}

// refuse answers no request.
type refuse struct{}

func (refuse) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }

// Closed loops are judged like any stage, and no gate rests on them. One stream alone: how several fall into step, and
// so how many of their requests are independent, depends on the order in which their goroutines run.
func TestRunJudgesClosedLoops(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		b.Confidence = 0.9
		r, err := b.Run(t.Context(), []loadgen.Load{{Kind: loadgen.Concurrent, Streams: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if j := r.Stages[0].Judgement; j.Outcome != slo.Pass || j.Confidence != 0.9 || len(j.Objectives) != 1 {
			t.Errorf("%s %v at %v", j.Outcome, j.Reasons, j.Confidence)
		}
		if o := Evaluate(slo.Gate{Rate: 1}, r); o.Outcome != slo.Undecided || !strings.Contains(o.Text, "closed loop") {
			t.Error(o)
		}
	})
}

// A gate needs no search: what a stage showed decides it, or says how long it would have to be.
func TestGateOfSingleStages(t *testing.T) {
	for _, tc := range []struct {
		gate, slo string
		seconds   int
		outcome   slo.Outcome
	}{
		{"slo@20", "ttft:p95<250ms", 30, slo.Pass}, {"rate>=20", "ttft:p95<250ms", 30, slo.Pass}, {"slo@20",
			"ttft:p95<1ms", 30, slo.Fail},
		{"slo@20", "ttft:p95<250ms", 1, slo.Undecided}, {"rate>=21", "ttft:p95<250ms", 30, slo.Undecided},
	} {
		inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
			b.Objectives = []slo.Objective{objective(t, tc.slo)}
			b.Stage.MaxDuration = time.Duration(tc.seconds) * time.Second
			g, err := slo.ParseGate(tc.gate)
			if err != nil {
				t.Fatal(err)
			}
			r, err := b.Run(t.Context(), []loadgen.Load{{Kind: loadgen.ConstantGap, Rate: 20}})
			if err != nil {
				t.Fatal(err)
			}
			o := Evaluate(g, r)
			if o.Outcome != tc.outcome {
				t.Error(o)
			}
			if tc.seconds > 1 || o.Need == nil {
				return
			}
			b.Stage.MaxDuration += o.Need.Time
			longer, err := b.Run(t.Context(), []loadgen.Load{{Kind: loadgen.ConstantGap, Rate: 20}})
			if err != nil {
				t.Fatal(err)
			}
			if again := Evaluate(g, longer); again.Outcome != slo.Pass {
				t.Errorf("%s\nthen, with %v: %s", o, b.Stage.MaxDuration, again)
			}
		})
	}
}
