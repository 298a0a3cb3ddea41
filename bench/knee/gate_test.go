package knee

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/internal/race"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

var gates = flag.Bool("gates", false, "decide gates at all engines of -only, -seeds times each: minutes")

// gateRates are the rates at which gates are decided, over the true max rate: beside it, where it is hardest not to be
// wrong, and far from it.
var gateRates = []float64{0.5, 0.8, 0.97, 1.03, 1.2, 2}

// gateTally sums up gates at one rate.
type gateTally struct {
	gates, wrong, right int
	took                []float64 // s, of those decided
}

// TestGateStudy decides gates whose truth is known, and counts how often an outcome is wrong.
func TestGateStudy(t *testing.T) {
	if race.Enabled {
		t.Skip("a simulation in one goroutine, of a minute and more under the race detector")
	}
	engines, n := chosen(), *seeds
	if !*gates {
		var few []engine
		for _, e := range engines {
			if e.name == "many slots, exponential, poisson" || e.name == "l4-like, fixed, poisson" {
				few = append(few, e)
			}
		}
		engines, n = few, 10
	}
	found := make([][]gateTally, len(engines))
	forAll(t, engines, func(t *testing.T, i int, e engine) {
		knee, err := e.trueKnee(bruteForce, 7)
		if err != nil {
			t.Fatal(err)
		}
		found[i] = make([]gateTally, len(gateRates))
		for k, share := range gateRates {
			for seed := range n {
				found[i][k].add(t, e, share*knee, shuffled(2, 1000*i+seed), share < 1)
			}
		}
	})
	all := make([]gateTally, len(gateRates))
	var sum gateTally
	for i, e := range engines {
		for k, share := range gateRates {
			one := &found[i][k]
			if *gates && (*verbose || one.wrong > 0) {
				fmt.Printf("%-45s at %.2f: %s\n", e.name, share, one)
			}
			all[k].merge(one)
			sum.merge(one)
			if one.wrong > n/10+2 {
				t.Errorf("%s at %.2f of its max rate: %d of %d gates are wrong", e.name, share, one.wrong, n)
			}
		}
	}
	for k, share := range gateRates {
		fmt.Printf("gates at %.2f of the max rate: %s\n", share, &all[k])
		if *gates && float64(all[k].wrong) > 0.05*float64(all[k].gates) {
			t.Errorf("at %.2f of the max rate %d of %d gates are wrong", share, all[k].wrong, all[k].gates)
		}
	}
	if sum.right == 0 {
		t.Error("no gate was decided rightly: this test sees nothing")
	}
}

func (g *gateTally) String() string {
	took := 0.0
	if len(g.took) > 0 {
		took = median(g.took)
	}
	return fmt.Sprintf("%4d of %4d right, %3d wrong, %4d undecided; median %.0f s", g.right, g.gates, g.wrong,
		g.gates-g.right-g.wrong, took)
}

func (g *gateTally) merge(o *gateTally) {
	g.gates, g.wrong, g.right = g.gates+o.gates, g.wrong+o.wrong, g.right+o.right
	g.took = slices.Concat(g.took, o.took)
}

// add decides one gate. holds says whether the objectives truly hold at the rate.
func (g *gateTally) add(t *testing.T, e engine, rate float64, seed int64, holds bool) {
	synctest.Test(t, func(t *testing.T) {
		gate := slo.Gate{Rate: rate, At: true}
		asked := spec.Decide{Arrival: e.arrival(), Seed: seed, Budget: 5 * time.Minute}
		for (e.perfectPlan(t, seed)).DecideTime(gate, asked) == 0 {
			asked.Budget *= 2
		}
		plan := e.over(asked.Budget).perfectPlan(t, seed)
		began := time.Now()
		r, err := plan.Decide(t.Context(), []slo.Gate{gate}, asked)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		if took > asked.Budget+time.Minute {
			t.Errorf("%s: it took %v of %v", e.name, took, asked.Budget)
		}
		g.gates++
		switch o := sweep.Evaluate(gate, r); {
		case o.Outcome == slo.Undecided:
			if *verbose {
				fmt.Printf("%s, %.4g req/s, %v: %s\n", e.name, rate, took, o)
			}
			return
		case (o.Outcome == slo.Pass) == holds:
			g.right++
		default:
			g.wrong++
		}
		g.took = append(g.took, took.Seconds())
	})
}
