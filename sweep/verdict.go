package sweep

import "github.com/openloop/openloop/loadgen"

// Level says how far the client of a leg can be believed.
type Level string

// The levels.
const (
	Valid   Level = "valid"
	Suspect Level = "suspect"
	Invalid Level = "invalid"
)

// Verdict is whether a leg's client can be believed, with the reasons.
type Verdict struct {
	Level   Level
	Reasons []string
}

// Audit gives the verdict on a leg.
func Audit(l *loadgen.Leg) Verdict { return Verdict{Level: Valid} }
