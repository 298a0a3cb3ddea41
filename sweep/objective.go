package sweep

import (
	"time"

	"github.com/openloop/openloop/loadgen"
)

// Objective is one bound that a leg has to keep: "ttft:p95<250ms".
type Objective struct {
	Text string // as it was written
}

// Judgement is what became of one objective on one leg.
type Judgement struct {
	Objective Objective
	Holds     bool
	Value     time.Duration
}

// Judge judges a leg.
func (o Objective) Judge(l *loadgen.Leg) Judgement { return Judgement{Objective: o} }

// ParseObjectives reads objectives, separated by commas or spaces.
func ParseObjectives(s string) ([]Objective, error) { return nil, nil }
