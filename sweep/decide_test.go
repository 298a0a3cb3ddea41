package sweep

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// Gates of a server that takes 10 ms for each request, one by one: at Poisson arrivals its max rate is about 86 req/s
// (see TestSearch). bench/knee has gates of many more servers, near their max rates.
func TestDecide(t *testing.T) {
	poisson := loadgen.Arrival{Kind: loadgen.PoissonArrival}
	for _, tc := range []struct {
		name    string
		rates   []float64
		budget  time.Duration
		want    string // outcomes
		stages  int
		shorter time.Duration // than this it takes
	}{
		{"far below", []float64{40}, 5 * time.Minute, "PASS", 1, 90 * time.Second},
		{"far above", []float64{200}, 5 * time.Minute, "FAIL", 1, 30 * time.Second},
		{"above", []float64{95}, 5 * time.Minute, "FAIL", 1, 2 * time.Minute},
		{"at the limit", []float64{86}, 20 * time.Second, "UNDECIDED", 1, 25 * time.Second},
		{"too short for a PASS", []float64{40}, 5 * time.Second, "UNDECIDED", 1, 10 * time.Second},
		{"too short for the estimate", []float64{40}, 12 * time.Second, "UNDECIDED", 1, 15 * time.Second},
		{"several", []float64{40, 200}, 5 * time.Minute, "PASS FAIL", 2, 2 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &Plan{Simulate: oneByOne(10 * time.Millisecond), Pause: time.Second}
				var err error
				if p.Objectives, err = slo.ParseObjectives("ttft:p95<100ms errors<1%"); err != nil {
					t.Fatal(err)
				}
				var gates []slo.Gate
				for _, rate := range tc.rates {
					gates = append(gates, slo.Gate{Rate: rate, At: true})
				}
				var told []slo.Outcome // as each stage ended
				p.StageEnded = func(_ int, st *Stage) { told = append(told, st.Judgement.Outcome) }
				began := time.Now()
				r, err := p.Decide(t.Context(), gates, spec.Decide{Arrival: poisson, Seed: 7, Budget: tc.budget})
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				var outcomes []string
				for i, g := range gates {
					o := Evaluate(g, r)
					outcomes = append(outcomes, string(o.Outcome))
					t.Logf("%s (%v)", o, took)
					if o.Text == "" {
						t.Errorf("%s is not explained", o)
					}
					j := r.Stages[min(i, len(r.Stages)-1)].Judgement
					if j.Outcome != o.Outcome || j.Confidence != 0.95 {
						t.Errorf("the stage is %s with %v", j.Outcome, j.Confidence)
					}
					if told[i] != o.Outcome {
						t.Errorf("the stage was %s when it ended, and is %s", told[i], o.Outcome)
					}
				}
				if got := strings.Join(outcomes, " "); got != tc.want || len(r.Stages) != tc.stages ||
					took > tc.shorter {
					t.Errorf("%s after %d stages and %v", got, len(r.Stages), took)
				}
				if far := p.DecideTime(gates[0], spec.Decide{Arrival: poisson, Budget: tc.budget}); tc.want == "PASS" &&
					took > 2*far {
					t.Errorf("%v were foreseen", far)
				}
			})
		})
	}
}

// The errors of all looks together are no more than that of the outcome, however long a stage may be.
func TestInterimErrorsAddUp(t *testing.T) {
	for _, rate := range []float64{0.5, 10, 1000} {
		for _, length := range []time.Duration{time.Second, time.Minute, 5 * time.Minute, 24 * time.Hour} {
			i := newInterim(new(Plan).firstInterim(rate), 3*time.Second, length, 0.04, 0.05)
			if sum := i.spent(); math.Abs(sum-0.04) > 1e-12 {
				t.Errorf("%v req/s, %v: %v", rate, length, sum)
			}
			if len(i.alphas) != len(i.at)+1 || len(i.at) > 0 && (i.at[len(i.at)-1] >= length ||
				i.alphas[len(i.at)] != 0.02) {
				t.Errorf("%v req/s, %v: %v, %v", rate, length, i.at, i.alphas)
			}
			if i.looked, i.stopped = 2, true; len(i.at) > 2 && i.spent() != i.alphas[0]+i.alphas[1] {
				t.Errorf("%v req/s, %v: %v after two looks", rate, length, i.spent())
			}
		}
	}
}

// A gate that is interrupted is undecided, and keeps what was measured.
func TestDecideInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		inner := oneByOne(10 * time.Millisecond)
		p := &Plan{Simulate: func(stage loadgen.Stage, _ []time.Duration, _ func(*loadgen.Measured) bool,
		) *loadgen.Measured {
			cancel(stop)
			stage.MaxDuration = 2 * time.Second
			return inner(stage, nil, nil)
		}}
		p.Objectives, _ = slo.ParseObjectives("ttft:p95<100ms")
		gate := slo.Gate{Rate: 40, At: true}
		r, err := p.Decide(ctx, []slo.Gate{gate, {Rate: 50, At: true}}, spec.Decide{Budget: time.Minute})
		if !errors.Is(err, stop) || len(r.Stages) != 1 || len(r.Decided) != 1 {
			t.Errorf("%v, %d stages", err, len(r.Stages))
		}
		if o := Evaluate(gate, r); o.Outcome != slo.Undecided {
			t.Error(o)
		}
	})
}

// A stage that ended as it was clear, and whose own records pass without being so clear, says just that.
func TestPassThatIsNotClear(t *testing.T) {
	gate := slo.Gate{Rate: 40, At: true}
	stage := &Stage{Load: loadgen.Load{Kind: loadgen.PoissonGaps, Rate: 40}, Measured: &loadgen.Measured{}}
	stage.Judgement = slo.StageJudgement{Outcome: slo.Pass, Reasons: []string{}, Requests: 2400, At: time.Minute,
		Objectives: []slo.Judgement{{Objective: objective(t, "ttft:p95<100ms"), Outcome: slo.Pass,
			Observed: slo.Observed{N: 2400, Misses: 80}, MissShareUpper: 0.04}}}
	o := (&Plan{}).outcome(gate, stage, &interim{alphas: []float64{0.025, 0.025}, looked: 1, stopped: true})
	if o.Outcome != slo.Undecided || !strings.Contains(o.Text, "not clearly") || o.Need == nil {
		t.Errorf("%s, it needs %+v", o, o.Need)
	}
}

// No two stages have the same arrivals, however often the client was not fit.
func TestDecideSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := oneByOne(10 * time.Millisecond)
		ran := map[int64]float64{}
		p := &Plan{Objectives: []slo.Objective{objective(t, "ttft:p95<100ms")}}
		p.Simulate = func(stage loadgen.Stage, looks []time.Duration, stop func(*loadgen.Measured) bool,
		) *loadgen.Measured {
			if rate, ok := ran[stage.Load.Seed]; ok {
				t.Errorf("%v req/s has the arrivals of %v req/s", stage.Load.Rate, rate)
			}
			ran[stage.Load.Seed] = stage.Load.Rate
			m := inner(stage, looks, stop)
			m.Records[0].Flags |= loadgen.DelayedByCap
			return m
		}
		gates := []slo.Gate{{Rate: 20, At: true}, {Rate: 30, At: true}}
		poisson := loadgen.Arrival{Kind: loadgen.PoissonArrival}
		r, err := p.Decide(t.Context(), gates, spec.Decide{Arrival: poisson, Seed: 7, Budget: 10 * time.Minute})
		if err != nil || len(r.Stages) != 2*(stalls+1) {
			t.Errorf("%d stages, %v", len(r.Stages), err)
		}
	})
}

// How long a rate takes that is far too high is foreseen, the warm-up included.
func TestDecidesAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Simulate: oneByOne(10 * time.Millisecond)}
		p.Objectives, p.Stage.Warmup = []slo.Objective{objective(t, "ttft:p95<100ms")}, 20*time.Second
		poisson := loadgen.Arrival{Kind: loadgen.PoissonArrival}
		began := time.Now()
		r, err := p.Decide(t.Context(), []slo.Gate{{Rate: 300, At: true}},
			spec.Decide{Arrival: poisson, Seed: 7, Budget: 5 * time.Minute})
		if err != nil || r.Decided[0].Outcome != slo.Fail {
			t.Fatal(r.Decided, err)
		}
		if took, foreseen := time.Since(began), p.DecidesAfter(300); took > foreseen {
			t.Errorf("it took %v; %v were foreseen", took, foreseen)
		}
	})
}
