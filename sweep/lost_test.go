package sweep

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// losing is a run that loses a worker after a while.
type losing struct{ loadgen.Running }

func (l losing) Wait() *loadgen.Measured {
	m := l.Running.Wait()
	part := *m
	m.Workers = []loadgen.Worker{{Name: "one", Part: &part, Lost: "it died"}}
	m.Err = errors.New("worker one was lost: it died")
	return m
}

// loses has the plan lose a worker, three seconds into the stages of the given numbers.
func (b *bench) loses(stages ...int) {
	start, n := b.Start, 0
	b.Start = func(ctx context.Context, s loadgen.Stage, h loadgen.Hooks) (loadgen.Running, error) {
		run, err := start(ctx, s, h)
		n++
		for _, i := range stages {
			if err == nil && i == n {
				time.AfterFunc(3*time.Second, func() { run.StopFor(loadgen.StopWorkerLost) })
				return losing{run}, nil
			}
		}
		return run, err
	}
}

// Whatever a stage is for, it is run once more where a worker is lost in it, and no more than once.
func TestLostWorker(t *testing.T) {
	objectives, err := slo.ParseObjectives("ttft:p95<2s")
	if err != nil {
		t.Fatal(err)
	}
	poisson := loadgen.Arrival{Kind: loadgen.PoissonArrival}
	run := func(ctx context.Context, b *bench) (*Result, error) {
		return b.Run(ctx, []loadgen.Load{{Kind: loadgen.ConstantGap, Rate: 5}})
	}
	probe := func(ctx context.Context, b *bench) (*Result, error) {
		return b.Sweep(ctx, spec.Sweep{Size: 2, Arrival: poisson})
	}
	gate := func(ctx context.Context, b *bench) (*Result, error) {
		return b.Decide(ctx, []slo.Gate{{Rate: 5, At: true}}, spec.Decide{Arrival: poisson, Seed: 1,
			Budget: 5 * time.Minute})
	}
	search := func(ctx context.Context, b *bench) (*Result, error) {
		r := &Result{SaturationRate: 12}
		_, err := b.Search(ctx, r, SearchConfig{Search: spec.Search{Arrival: poisson, Budget: time.Minute}})
		return r, err
	}
	for _, tc := range []struct {
		name   string
		how    func(context.Context, *bench) (*Result, error)
		loses  []int
		lost   int // stages in the result that lost a worker
		failed bool
	}{
		{"a stage", run, []int{1}, 1, false},
		{"a stage, twice", run, []int{1, 2}, 2, true},
		{"the probe", probe, []int{2}, 0, false},
		{"the probe, twice", probe, []int{2, 3}, 0, true},
		{"a gate", gate, []int{1}, 1, false},
		{"a gate, twice", gate, []int{1, 2}, 2, true},
		{"a search", search, []int{2}, 1, false},
		{"a search, twice", search, []int{2, 3}, 2, true},
		{"a search, in two stages", search, []int{1, 3}, 2, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, "few-sequences", 64, 32, func(t *testing.T, b *bench) {
				b.Stage.MaxDuration, b.Objectives = 10*time.Second, objectives
				b.loses(tc.loses...)
				r, err := tc.how(t.Context(), b)
				if errors.Is(err, ErrWorkerLost) != tc.failed || err != nil && !tc.failed {
					t.Fatalf("%v", err)
				}
				lost := 0
				for i, s := range r.Stages {
					if s.Reason != loadgen.StopWorkerLost {
						continue
					}
					lost++
					if s.Judgement.Outcome != slo.Undecided || !s.Judgement.ClientAtFault {
						t.Errorf("the stage is %s, %v", s.Judgement.Outcome, s.Judgement.Reasons)
					}
					last := i+1 == len(r.Stages)
					if last && !tc.failed || !last && r.Stages[i+1].Load.Rate != s.Load.Rate {
						t.Errorf("stage %d of %d at %v req/s is not repeated", i+1, len(r.Stages), s.Load.Rate)
					}
				}
				if lost != tc.lost {
					t.Errorf("%d stages lost a worker, of %d", lost, len(r.Stages))
				}
				if len(r.Decided) > 0 && !tc.failed && r.Decided[0].Outcome != slo.Pass {
					t.Error(r.Decided[0])
				}
			})
		})
	}
}
