package sweep

import "testing"

// A leg whose client was unfit is run again, twice at most; a search ends only where the client stays unfit.
func TestUnfitClientIsTriedAgain(t *testing.T) {
	trial := func(rate float64, role Role, client bool, o Outcome) Trial {
		return Trial{Rate: rate, Role: role, LegJudgement: LegJudgement{Outcome: o, Leans: o == Passes, Client: client}}
	}
	known := bounds{saturation: 20, synchronous: 1}
	c := SearchConfig{}.withDefaults()
	trials := []Trial{trial(10, FirstGuess, true, Inconclusive)}
	for range hiccups {
		if n := c.next(trials, known, 10); n.role != Recheck || n.rate != 10 {
			t.Fatalf("after %d unfit legs: %+v, want the rate again", len(trials), n)
		}
		trials = append(trials, trial(10, Recheck, true, Inconclusive))
	}
	if n := c.next(trials, known, 10); n.role == Recheck {
		t.Errorf("after %d unfit legs: %+v, want another step", len(trials), n)
	}
	trials[len(trials)-1] = trial(10, Recheck, false, Passes)
	if n := c.next(trials, known, 10); n.role != Higher || n.rate <= 10 {
		t.Errorf("after the leg passed: %+v, want a higher rate", n)
	}
	if n := c.next([]Trial{trial(10, Interpolated, true, Inconclusive)}, known, 10); n.role == Recheck {
		t.Errorf("an interpolated leg is run again: %+v", n)
	}
}
