package report

import (
	"math"
	"testing"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// open is an open-loop stage of requests with 128 output tokens each.
func open(rate float64, outcome slo.Outcome) Stage {
	return Stage{
		Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate}, Sending: 10 * time.Second,
		Rates:     Rates{Sent: rate, Done: rate, Output: 128 * rate},
		Judgement: slo.StageJudgement{Outcome: outcome},
	}
}

func TestCostPerMillion(t *testing.T) {
	cost := &spec.Cost{PerHour: 1.10, Currency: "$"}
	stages := []Stage{open(5, slo.Pass), open(10, slo.Pass), open(20, slo.Fail)}
	for name, test := range map[string]struct {
		result Result
		rate   float64 // 0: not known
		cost   float64 // 0: not known
	}{
		"stages alone": {Result{Stages: stages, Asked: Asked{Cost: cost}}, 10, 1.10 / (10 * 128 * 3600) * 1e6},
		"a search": {Result{Stages: stages, Asked: Asked{Cost: cost},
			Search: &sweep.Answer{Finding: sweep.Interval, Estimate: 12, Lower: 11, Upper: 13}},
			12, 1.10 / (12 * 128 * 3600) * 1e6},
		"a lower end": {Result{Stages: stages, Asked: Asked{Cost: cost},
			Search: &sweep.Answer{Finding: sweep.AtLeast, Estimate: 12, Lower: 11, Upper: num.Absent()}},
			11, 1.10 / (11 * 128 * 3600) * 1e6},
		"a search that found none": {Result{Stages: stages, Asked: Asked{Cost: cost},
			Search: &sweep.Answer{Finding: sweep.None, Estimate: num.Absent()}}, 0, 0},
		"no cost":       {Result{Stages: stages}, 10, 0},
		"nothing holds": {Result{Stages: stages[2:], Asked: Asked{Cost: cost}}, 0, 0},
		"a file of an earlier openloop": {Result{Asked: Asked{Cost: cost}, Stages: []Stage{{
			Load: stages[0].Load, Sending: time.Second, Rates: Rates{Sent: 5, Done: 5},
			Judgement: slo.StageJudgement{Outcome: slo.Pass}}}}, 5, 0},
	} {
		rate, ok := test.result.MaxRate()
		if rate != test.rate || ok != (test.rate > 0) {
			t.Errorf("%s: max rate %v, %v; want %v", name, rate, ok, test.rate)
		}
		got, ok := test.result.CostPerMillion()
		if math.Abs(got-test.cost) > 1e-12 || ok != (test.cost > 0) {
			t.Errorf("%s: %v, %v; want %v", name, got, ok, test.cost)
		}
	}
}

// What is in flight at the end of a stage counts with half of its tokens.
func TestOutputAtMaxRateOfRequestsInFlight(t *testing.T) {
	s := open(10, slo.Pass)
	s.Rates.Done, s.Rates.Output = 8, 128*9 // 20 of 100 were in flight, each half done
	r := Result{Stages: []Stage{s}}
	if got, ok := r.OutputAtMaxRate(); !ok || math.Abs(got-1280) > 1e-9 {
		t.Errorf("%v, %v; want 1280 tokens/s", got, ok)
	}
}
