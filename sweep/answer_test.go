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

// A headline says all that a reader of one line needs.
func TestHeadline(t *testing.T) {
	found := Answer{
		Finding: Interval, Estimate: 89.7, Lower: 86.2, Upper: 92.4, Confidence: 0.95, Precision: 0.05, Stages: 6,
		Load: 182 * time.Second, Limiting: "ttft:p95", Arrivals: "poisson", Client: audit.Valid, Ended: EndPrecision,
		Objectives: []ObjectiveFit{{Objective: "ttft:p95", Clusters: 2.3}},
	}
	const stages, rest = "6 stages, 3m2s; ", "limited by ttft:p95; poisson arrivals; client valid)"
	for _, tc := range []struct {
		change func(*Answer)
		want   string
	}{
		{func(*Answer) {}, "max rate at SLO: 89.7 req/s (95 % interval 86.2 – 92.4; " + stages + rest},
		{func(a *Answer) { a.Lower, a.Upper = 74, 103 },
			"max rate at SLO: between 74 and 103 req/s (estimate 89.7; 95 % interval; " + stages + rest},
		{func(a *Answer) { a.Lower = num.Absent() },
			"max rate at SLO: below 92.4 req/s (estimate 89.7; 97.5 % one-sided; " + stages + rest},
		{func(a *Answer) { a.Upper = num.Absent() },
			"max rate at SLO: at least 86.2 req/s (estimate 89.7; 97.5 % one-sided; " + stages + rest},
		{func(a *Answer) { a.Finding, a.Upper = AtLeast, num.Absent() },
			"max rate at SLO: at least 86.2 req/s (97.5 %; no rate missed an objective; " + stages +
				"poisson arrivals; client valid)"},
		{func(a *Answer) { a.Finding, a.More = Near, 290*time.Second },
			"max rate at SLO: near 89.7 req/s, not decided (the misses came in 2 spells, 4 are needed: " +
				"about 5 min more; " + stages + rest},
		{func(a *Answer) { a.Finding, a.Objectives[0].Clusters = Near, 1.9 },
			"max rate at SLO: near 89.7 req/s, not decided (the misses came in 1 spell, 4 are needed; " + stages +
				rest},
		{func(a *Answer) { a.Finding, a.Trials = None, []Trial{{Rate: 12}, {Rate: 2}, {Rate: 5}} },
			"max rate at SLO: none (2 req/s, the lowest rate tried, misses ttft:p95; " + stages +
				"poisson arrivals; client valid)"},
		{func(a *Answer) {
			a.Finding, a.Why, a.Stages, a.Load = Unknown, "the run was interrupted", 1, time.Second
		},
			"max rate at SLO: not known (the run was interrupted; 1 stage, 1s; " + rest},
	} {
		a := found
		a.Objectives = []ObjectiveFit{found.Objectives[0]}
		tc.change(&a)
		if soFar := a.SoFar(); (soFar == "") != (a.Finding == None || a.Finding == Unknown) ||
			strings.Contains(soFar, "NaN") {
			t.Errorf("%s: so far %q", tc.want, soFar)
		}
		if got := a.Headline(); got != tc.want || len(got) > 180 {
			t.Errorf("%s (%d columns)\nwant %s", got, len(got), tc.want)
		}
	}
}

// An answer is written to JSON and read again, with figures that JSON can't hold.
func TestAnswerJSON(t *testing.T) {
	ttft := slo.Objective{Metric: slo.TTFT, Statistic: slo.Statistic{Kind: slo.Quantile, Q: 0.95}, Op: slo.Below,
		Bound: 250e6}
	a := Answer{
		Finding: AtLeast, Estimate: 12.4, Lower: 11.8, Upper: num.Absent(), Client: audit.Valid, Took: time.Minute,
		Ended: EndPrecision, Objectives: []ObjectiveFit{{Objective: "ttft:p95", Lower: 11.8, Upper: num.Absent()}},
		Notes: []Warning{warning("note")},
		Trials: []Trial{{Rate: 12, Role: Bisect, StageJudgement: slo.StageJudgement{
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
	if !math.IsInf(float64(j.Value), 1) || !j.ValueFromSent.IsAbsent() || !again.Upper.IsAbsent() ||
		again.Trials[0].Need.Time != time.Second {
		t.Errorf("%+v", again)
	}
	if b2, err := json.Marshal(again); err != nil || string(b2) != string(b) {
		t.Errorf("%v\n%s\n%s", err, b, b2)
	}
	for _, key := range []string{`"finding":"at least"`, `"lower":11.8`, `"upper":null`, `"took_ns":`,
		`"effective_n":null`,
		`"value":"+Inf"`, `"notes":[{"stage":-1,"text":"note"}]`} {
		if !strings.Contains(string(b), key) {
			t.Errorf("no %s in %s", key, b)
		}
	}
}
