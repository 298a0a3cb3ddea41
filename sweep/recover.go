package sweep

import (
	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// Recover makes a stage of what a run that did not live to its end left of it. Where the stage is not whole, what its
// client said of itself is lost, and the client suspect.
func Recover(m *loadgen.Measured, whole bool, objectives []slo.Objective, confidence float64) *Stage {
	l := &Stage{Load: m.Stage.Load, Measured: m, Audit: audit.Check(m)}
	if !whole {
		l.Audit.Doubt("recovered", "the run was killed in this stage, and what the client measured of itself is lost")
	}
	l.Judgement = judge(l, objectives, confidence)
	return l
}
