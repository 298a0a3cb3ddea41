package main

import (
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// Of a gate's stages it is the last that says what would decide it.
func TestDecidedByTheLastStage(t *testing.T) {
	stage := report.Stage{Load: loadgen.Load{Kind: loadgen.PoissonGaps, Rate: 10}}
	unfit := stage
	unfit.Judgement.ClientAtFault = true
	stage.Judgement.At = 2 * time.Minute
	g := sweep.GateOutcome{Gate: slo.Gate{Rate: 10, At: true}, Need: &slo.Need{Time: time.Minute}}
	for want, stages := range map[string][]report.Stage{"--budget 4m": {unfit, stage}, "not fit": {stage, unfit}} {
		if got := decidedBy(&report.Result{Stages: stages}, g); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
