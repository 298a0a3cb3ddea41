package sweep

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// oneByOne is a server that takes requests one by one, each for a time; its requests are recorded as a client without
// fault would record them.
func oneByOne(service time.Duration) func(loadgen.Stage, []time.Duration, func(*loadgen.Measured) bool,
) *loadgen.Measured {
	return func(stage loadgen.Stage, looks []time.Duration, stop func(*loadgen.Measured) bool) *loadgen.Measured {
		schedule := stage.Load.Schedule()
		var records []loadgen.Record
		free := int64(0)
		for i := 0; ; i++ {
			at, ok := schedule.At(i)
			if !ok || at >= stage.MaxDuration {
				break
			}
			due := int64(at) + 1
			free = max(free, due) + int64(service)
			records = append(records, loadgen.Record{
				Scheduled: due, Started: due, Sent: due, FirstToken: free, LastToken: free, End: free, TokenEvents: 1,
				OutputTokens: 1, AskedOutput: 1, Status: loadgen.Completed,
			})
		}
		m := &loadgen.Measured{Stage: stage, Records: records, Origin: time.Now(), Reason: loadgen.StopDuration}
		for _, look := range append(looks, stage.MaxDuration) {
			if s := slo.Snapshot(m, records, int64(look)); look == stage.MaxDuration || stop != nil && stop(s) {
				time.Sleep(look)
				return s
			}
		}
		return m
	}
}

// searchOf searches a server that takes requests one by one.
func searchOf(t *testing.T, service time.Duration, objectives string, saturation float64, c SearchConfig) (a *Answer,
	r *Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Simulate: oneByOne(service), Pause: time.Second}
		var err error
		if p.Objectives, err = slo.ParseObjectives(objectives); err != nil {
			t.Fatal(err)
		}
		r = &Result{SaturationRate: saturation}
		if a, err = p.Search(t.Context(), r, c); err != nil {
			t.Fatal(err)
		}
	})
	return a, r
}

func roles(trials []Trial) string {
	var all []string
	for _, t := range trials {
		all = append(all, string(t.Role))
	}
	return strings.Join(all, " ")
}

// The search of servers whose limit is known. A server that takes d for each request at Poisson arrivals has
// exponential waiting times in heavy traffic: P(wait > w) ≈ exp(−2w(1−ρ)/(ρ·d)), Pollaczek and Khinchine.
func TestSearch(t *testing.T) {
	poisson := loadgen.Arrival{Kind: loadgen.PoissonArrival}
	const service = 10 * time.Millisecond
	for _, tc := range []struct {
		name, slo  string
		saturation float64
		config     spec.Search
		lo, hi     float64 // where the estimate lies
		finding    Finding
		ended      EndReason
	}{
		{"poisson", "ttft:p95<100ms", 100, spec.Search{Arrival: poisson, Budget: 20 * time.Minute}, 83, 89, Interval,
			EndPrecision},
		{"a probe that is a third too high", "ttft:p95<100ms", 133,
			spec.Search{Arrival: poisson, Budget: 20 * time.Minute}, 83, 89, Interval, EndPrecision},
		{"a probe that is a third too low", "ttft:p95<100ms", 67,
			spec.Search{Arrival: poisson, Budget: 20 * time.Minute}, 83, 89, Interval, EndPrecision},
		{"several objectives", "ttft:p99<1s e2e:p95<100ms errors<1%", 100,
			spec.Search{Arrival: poisson, Budget: 20 * time.Minute}, 83, 89, Interval, EndPrecision},
		{"a mean", "ttft:mean<40ms", 100, spec.Search{Arrival: poisson, Budget: 20 * time.Minute}, 83, 88.5, Interval,
			EndPrecision},
		{"a maximum", "ttft:max<300ms", 100, spec.Search{Arrival: poisson, Budget: 20 * time.Minute}, 75, 100, Near,
			EndBudget},
		{"errors alone, and none comes", "errors<1%", 100, spec.Search{Arrival: poisson, Budget: time.Minute}, 0, 1000,
			Near, EndBudget},
		{"a step", "ttft:p95<100ms", 100, spec.Search{Budget: 5 * time.Minute}, 97, 103, Interval, EndPrecision},
		{"a short budget", "ttft:p95<100ms", 100, spec.Search{Arrival: poisson, Budget: 15 * time.Second}, 75, 100,
			Near, EndBudget},
		{"nothing holds", "ttft:p95<5ms", 100, spec.Search{Arrival: poisson, Budget: 20 * time.Minute}, 0, 0, None,
			EndNothing},
		{"few stages", "ttft:p95<100ms", 100, spec.Search{Arrival: poisson, Budget: time.Hour, MaxStages: 1}, 0, 200,
			AtLeast, EndStages},
		{"stages that are too short", "ttft:p95<100ms", 100,
			spec.Search{Arrival: poisson, Budget: time.Hour, MaxPerStage: 100 * time.Millisecond}, 0, 0, Unknown,
			EndUndecided},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a, r := searchOf(t, service, tc.slo, tc.saturation, SearchConfig{Search: tc.config})
			t.Logf("%s: %s; %s", a.Headline(), a.Why, roles(a.Trials))
			estimate := float64(a.Estimate)
			if a.Finding != tc.finding || a.Ended != tc.ended ||
				tc.hi > 0 && !(tc.lo <= estimate && estimate <= tc.hi) || tc.hi == 0 && !a.Estimate.IsAbsent() {
				t.Errorf("want %s (%s), between %v and %v", tc.finding, tc.ended, tc.lo, tc.hi)
			}
			if len(a.Trials) != len(r.Stages) || a.Took > tc.config.Budget+time.Duration(len(a.Trials))*time.Second {
				t.Errorf("%d trials of %d stages in %v", len(a.Trials), len(r.Stages), a.Took)
			}
			if a.Ended == EndPrecision && a.halfWidth() > 0.05 {
				t.Errorf("±%.1f %%", 100*a.halfWidth())
			}
			if (a.Finding == Near) != (a.More > 0 && a.Rough) {
				t.Errorf("%s with %v more, rough %v", a.Finding, a.More, a.Rough)
			}
			for _, trial := range a.Trials {
				if trial.Rate > 1.2*tc.hi && tc.hi > 0 && trial.At > 20*time.Second {
					t.Errorf("that %v req/s is too much was seen after %v only", trial.Rate, trial.At)
				}
			}
		})
	}
}

// A stage whose client was unfit is run again, twice at most; a search ends only where the client stays unfit.
func TestUnfitClientIsTriedAgain(t *testing.T) {
	trial := func(rate float64, role Role, client bool) Trial {
		return Trial{Rate: rate, Role: role, asked: 20 * time.Second,
			StageJudgement: slo.StageJudgement{Outcome: slo.Undecided, ClientAtFault: client}}
	}
	c := SearchConfig{}.withDefaults()
	s := state{known: bounds{saturation: 20, synchronous: 1}, trials: []Trial{trial(10, Locate, true)}}
	for range stalls {
		if n := c.next(s); n.role != Repeat || n.rate != 10 || n.length != 20*time.Second {
			t.Fatalf("after %d unfit stages: %+v, want the rate again", len(s.trials), n)
		}
		s.trials = append(s.trials, trial(10, Repeat, true))
	}
	if n := c.next(s); n.ended != EndClient || !strings.Contains(n.why, "could not offer the load") {
		t.Errorf("after %d unfit stages: %+v, want the end", len(s.trials), n)
	}
	s.trials = []Trial{trial(10, Interpolated, true)}
	if n := c.next(s); n.role == Repeat {
		t.Errorf("an interpolated stage is run again: %+v", n)
	}
}

// The most that a search needs is said, and an answer without an end is none.
func TestShares(t *testing.T) {
	a, _ := searchOf(t, 10*time.Millisecond, "ttft:p95<100ms", 100, SearchConfig{Search: spec.Search{
		Arrival: loadgen.Arrival{Kind: loadgen.PoissonArrival}, Budget: 10 * time.Minute,
	}})
	below, above, ok := a.estimate.Shares()
	if !ok || !(below < 0.05 && 0.05 < above) {
		t.Errorf("shares %v and %v at the ends", below, above)
	}
	if p := a.estimate.Above(float64(a.Estimate)); math.Abs(p-0.5) > 0.02 {
		t.Errorf("above the estimate with %v", p)
	}
	if p := a.estimate.Above(float64(a.Lower)); math.Abs(p-0.975) > 0.01 {
		t.Errorf("above the lower end with %v", p)
	}
}
