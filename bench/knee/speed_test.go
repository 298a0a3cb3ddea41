package knee

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// speedSearch is a search of an engine over the speed of a trace, with a perfect client: Poisson arrivals of a length,
// at a rate that is below the limit or above it, as the seed has it.
func (e engine) speedSearch(t *testing.T, seed int64, knee float64, length, budget time.Duration) (a *sweep.Answer) {
	luck := rand.New(rand.NewPCG(uint64(seed), 98)).Float64()
	rate := knee * (0.4 + luck)
	load := loadgen.Load{Kind: loadgen.ConstantGap, Name: loadgen.TraceName}
	schedule := loadgen.NewPoisson(rate, seed)
	for i := 0; ; i++ {
		at, _ := schedule.At(i)
		if at >= length {
			break
		}
		load.Times = append(load.Times, at)
	}
	traffic := sweep.NewTraffic(load, length)
	synctest.Test(t, func(t *testing.T) {
		objectives, err := slo.ParseObjectives(e.objectives)
		if err != nil {
			t.Fatal(err)
		}
		began, served := time.Now(), uint64(0)
		plan := &sweep.Plan{Objectives: objectives, Pause: time.Second}
		plan.Simulate = func(stage loadgen.Stage, _ []time.Duration, _ func(*loadgen.Measured) bool) *loadgen.Measured {
			from := moment{seed: uint64(seed), time: time.Since(began), index: served}
			records, err := e.alone(stage.Load.Schedule(), len(stage.Load.Times), from)
			if err != nil {
				t.Fatal(err)
			}
			m := &loadgen.Measured{Stage: stage, Records: records, Origin: time.Now(), Reason: loadgen.StopDuration}
			m = slo.Snapshot(m, records, int64(stage.MaxDuration))
			served += uint64(len(records))
			time.Sleep(stage.MaxDuration)
			return m
		}
		a, err = plan.Search(t.Context(), &sweep.Result{}, sweep.SearchConfig{
			Search: spec.Search{Budget: budget, Speed: true}, Traffic: traffic,
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return a
}

// TestSpeedStudy compares the max rates that searches over the speed of Poisson traces find with the true one of all
// Poisson arrivals. A trace has its own luck, which the interval does not know of.
func TestSpeedStudy(t *testing.T) {
	engines, n := chosen(), *seeds
	engines = slices.DeleteFunc(engines, func(e engine) bool { return e.arrivals != loadgen.PoissonGaps })
	if !*perfect {
		engines, n = engines[:1], 2
	}
	for _, e := range engines {
		knee, err := e.trueKnee(bruteForce, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []time.Duration{time.Minute, 5 * time.Minute} {
			var sum tally
			for seed := range int64(n) {
				sum.add(e.speedSearch(t, seed, knee, length, 10*length), knee)
			}
			t.Logf("| %s | %.3g | %v |%s", e.name, knee, length, sum.cells())
			if sum.answered < n {
				t.Errorf("%s: %d of %d searches have an answer", e.name, sum.answered, n)
			}
		}
	}
}
