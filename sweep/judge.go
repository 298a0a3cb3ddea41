package sweep

import (
	"fmt"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// judge judges a stage by the objectives, and takes in whether its client offered the load.
func judge(l *Stage, objectives []slo.Objective, confidence float64) slo.StageJudgement {
	j := slo.Judge(l.Measured, objectives, confidence)
	judgeClient(&j, l)
	return j
}

// judgeClient takes in whether the client offered the load. What it did not offer, the server can't have failed.
func judgeClient(j *slo.StageJudgement, l *Stage) {
	add := func(format string, args ...any) {
		j.ClientAtFault, j.OnlyErrors, j.Need = true, false, nil
		j.Reasons = append(j.Reasons, fmt.Sprintf(format, args...))
		j.Outcome = slo.Undecided
	}
	if l.Audit.Level == audit.Invalid {
		text := "the client is invalid"
		for _, r := range l.Audit.Reasons {
			if r.Level == audit.Invalid {
				text += ": " + r.Text
				break
			}
		}
		add("%s", text)
		return
	}
	if j.Outcome == slo.Fail {
		return
	}
	due, sent, capped := 0, 0, 0
	edge := l.Stopped - int64(loadgen.EndEdge)
	for _, r := range l.AllRecords() {
		if r.Scheduled >= edge {
			continue
		}
		due++
		if at := r.Offered(); at > 0 && at <= l.Stopped {
			sent++
		}
		if r.Flags&loadgen.DelayedByCap != 0 {
			capped++
		}
	}
	if l.Load.Kind.Open() && float64(sent) < audit.SentSuspect*float64(due) {
		add("only %d of %d arrivals were sent", sent, due)
	}
	if l.Load.Kind.Open() && capped > 0 { // in a closed loop requests wait for a stream
		add("%d arrivals waited for the cap on requests in flight", capped)
	}
}

// failNothing fails a stage in which no request succeeded, whatever else is known of it.
func failNothing(j *slo.StageJudgement, err error) {
	if j.Outcome != slo.Fail {
		j.Outcome, j.ObservedHold, j.Need = slo.Fail, false, nil
		j.Reasons = append(j.Reasons, err.Error())
	}
}
