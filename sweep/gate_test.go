package sweep

import (
	"errors"
	"testing"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

func TestGate(t *testing.T) {
	trials := []Trial{
		{Rate: 10, StageJudgement: slo.StageJudgement{Outcome: slo.Pass}},
		{Rate: 12, StageJudgement: slo.StageJudgement{Outcome: slo.Undecided}},
	}
	knee := &Knee{HoldsAt: 11.8, FailsAt: 12.3, Trials: trials}
	var stages []*Stage
	for _, p := range trials {
		p.Objectives = make([]slo.Judgement, 1)
		stages = append(stages, &Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: p.Rate}, Judgement: p.StageJudgement})
	}
	for _, tc := range []struct {
		gate string
		knee *Knee
		met  bool
		err  error
	}{
		{"rate>=10", knee, true, nil}, {"rate >= 11.8", knee, true, nil}, {"rate>=12", knee, false, ErrNoSuchStage}, {"rate>=12.3", knee, false, nil},
		{"slo@10", knee, true, nil}, {"slo@12", knee, false, nil}, {"slo@9", knee, true, nil}, {"slo@13", knee, false, nil},
		{"slo@12.1", knee, false, ErrNoSuchStage}, {"slo@10", nil, true, nil}, {"slo@11", nil, false, ErrNoSuchStage}, {"rate>=1", nil, true, nil}, {"rate>=11", nil, false, ErrNoSuchStage},
	} {
		g, err := slo.ParseGate(tc.gate)
		if err != nil {
			t.Fatal(err)
		}
		if met, why, err := Evaluate(g, &Result{Knee: tc.knee, Stages: stages}); met != tc.met || !errors.Is(err, tc.err) || err == nil && why == "" {
			t.Errorf("%s: %v, %q, %v", tc.gate, met, why, err)
		}
	}
}
