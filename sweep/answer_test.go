package sweep

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// A typical headline is no wider than a terminal of 120 columns, one without an answer a little.
func TestHeadline(t *testing.T) {
	found := Answer{
		PassRate: 11.8, FailRate: 12.3, Confidence: 0.95, Precision: 0.05, Requests: 1420, Arrivals: "poisson",
		Client: audit.Valid, Ended: EndPrecision,
	}
	const known = "95 % confidence; 1,420 requests; poisson arrivals; client valid)"
	for _, tc := range []struct {
		change func(*Answer)
		want   string
	}{
		{func(*Answer) {}, "max rate at SLO: 11.8 req/s (PASS 11.8, FAIL 12.3; " + known},
		{func(a *Answer) { a.FailRate = 14 }, "max rate at SLO: between 11.8 and 14 req/s (" + known},
		{func(a *Answer) { a.FailRate = 0 }, "max rate at SLO: at least 11.8 req/s (no rate failed; " + known},
		{func(a *Answer) { a.PassRate, a.Ended = 0, EndNothing }, "max rate at SLO: none (FAIL 12.3; " + known},
		{func(a *Answer) { a.PassRate, a.Ended = 0, EndBudget }, "max rate at SLO: below 12.3 req/s (" + known},
		{func(a *Answer) { a.PassRate, a.ObservedRate, a.Ended = 0, 11.4, EndBudget },
			"max rate at SLO: below 12.3 req/s, by observed values near 11.4 (" + known},
		{func(a *Answer) { a.PassRate, a.FailRate, a.ObservedRate, a.Ended = 0, 0, 11.4, EndBudget },
			"max rate at SLO: undecided, by observed values near 11.4 req/s (" + known},
		{func(a *Answer) { a.PassRate, a.FailRate, a.Ended = 0, 0, EndBudget }, "max rate at SLO: undecided (" + known},
	} {
		a := found
		tc.change(&a)
		if got := a.Headline(); got != tc.want || len(got) > 130 || a.PassRate > 0 && len(got) > 120 {
			t.Errorf("%s (%d columns)\nwant %s", got, len(got), tc.want)
		}
	}
}

// An answer is written to JSON and read again, with figures that JSON can't hold.
func TestAnswerJSON(t *testing.T) {
	ttft := slo.Objective{Metric: slo.TTFT, Statistic: slo.Statistic{Kind: slo.Quantile, Q: 0.95}, Op: slo.Below,
		Bound: 250e6}
	a := Answer{
		PassRate: 11.8, EffectiveN: num.Absent(), Client: audit.Valid, Took: time.Minute, Ended: EndPrecision,
		Notes: []Warning{warning("note")},
		Trials: []Trial{{Rate: 12, Role: Bisection, StageJudgement: slo.StageJudgement{
			Outcome: slo.Fail, Reasons: []string{"slow"}, At: time.Second, EffectiveN: 3, Need: &slo.Need{Requests: 1,
				Time: time.Second},
			Objectives: []slo.Judgement{{
				Objective: ttft, Outcome: slo.Fail, Unit: "ns", Bound: 250e6, EffectiveN: num.Absent(),
				Observed: slo.Observed{Value: num.Value(math.Inf(1)), ValueFromSent: num.Absent(), N: 7, Misses: 7},
			}},
		}}},
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var again Answer
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	j := again.Trials[0].Objectives[0]
	if !math.IsInf(float64(j.Value), 1) || !j.ValueFromSent.IsAbsent() || !again.EffectiveN.IsAbsent() ||
		again.Trials[0].Need.Time != time.Second {
		t.Errorf("%+v", again)
	}
	if b2, err := json.Marshal(again); err != nil || string(b2) != string(b) {
		t.Errorf("%v\n%s\n%s", err, b, b2)
	}
	for _, key := range []string{`"pass_rate":11.8`, `"fail_rate":0`, `"took_ns":`, `"effective_n":null`,
		`"value":"+Inf"`, `"notes":[{"stage":-1,"text":"note"}]`} {
		if !strings.Contains(string(b), key) {
			t.Errorf("no %s in %s", key, b)
		}
	}
}
