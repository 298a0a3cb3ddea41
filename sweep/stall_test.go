package sweep

import (
	"testing"

	"github.com/openloop/openloop/slo"
)

// A stage whose client was unfit is run again, twice at most; a search ends only where the client stays unfit.
func TestUnfitClientIsTriedAgain(t *testing.T) {
	trial := func(rate float64, role Role, client bool, o slo.Outcome) Trial {
		return Trial{Rate: rate, Role: role, StageJudgement: slo.StageJudgement{Outcome: o,
			ObservedHold: o == slo.Pass, ClientAtFault: client}}
	}
	known := bounds{saturation: 20, synchronous: 1}
	c := SearchConfig{}.withDefaults()
	trials := []Trial{trial(10, FirstGuess, true, slo.Undecided)}
	for range stalls {
		if n := c.next(trials, known, 10); n.role != Recheck || n.rate != 10 {
			t.Fatalf("after %d unfit stages: %+v, want the rate again", len(trials), n)
		}
		trials = append(trials, trial(10, Recheck, true, slo.Undecided))
	}
	if n := c.next(trials, known, 10); n.role == Recheck {
		t.Errorf("after %d unfit stages: %+v, want another step", len(trials), n)
	}
	trials[len(trials)-1] = trial(10, Recheck, false, slo.Pass)
	if n := c.next(trials, known, 10); n.role != Higher || n.rate <= 10 {
		t.Errorf("after the stage passed: %+v, want a higher rate", n)
	}
	if n := c.next([]Trial{trial(10, Interpolated, true, slo.Undecided)}, known, 10); n.role == Recheck {
		t.Errorf("an interpolated stage is run again: %+v", n)
	}
}
