package sweep

import (
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// judgedAt is a stage at a rate with its outcome.
func judgedAt(rate float64, o slo.Outcome) *Stage {
	j := slo.StageJudgement{
		Outcome: o, Confidence: 0.95, Requests: 400, At: time.Minute, ObservedHold: o == slo.Pass,
		Objectives: make([]slo.Judgement, 1),
	}
	if o != slo.Pass {
		j.Reasons = []string{"ttft:p95: slow"}
	}
	return &Stage{Load: loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate}, Judgement: j}
}

// short is a stage that was too short by so many requests.
func short(rate float64, at time.Duration, has, more int) *Stage {
	s := judgedAt(rate, slo.Undecided)
	s.Judgement.At, s.Judgement.Requests, s.Judgement.ObservedHold = at, has, true
	s.Judgement.Need = &slo.Need{Requests: more, Time: time.Duration(float64(more) / rate * float64(time.Second))}
	return s
}

func TestEvaluate(t *testing.T) {
	closed := &Stage{Load: loadgen.Load{Kind: loadgen.Concurrent, Streams: 8},
		Judgement: judgedAt(0, slo.Pass).Judgement}
	ramp := judgedAt(8, slo.Pass)
	ramp.Load.Profile = loadgen.Profile{{}}
	aimless := judgedAt(8, slo.Pass)
	aimless.Judgement.Objectives = nil
	unfit := judgedAt(6, slo.Undecided)
	unfit.Judgement.ClientAtFault, unfit.Judgement.Reasons = true, []string{"the client is invalid: sent late"}
	close := judgedAt(6, slo.Undecided)
	pass, fail := slo.Pass, slo.Fail
	for _, tc := range []struct {
		name   string
		gate   string
		stages []*Stage
		want   string // the beginning of the line
		need   int
	}{
		{"at the rate", "slo@6", []*Stage{judgedAt(6, pass)},
			"PASS: the objectives hold at 6 req/s (400 requests, 95 % confidence)", 0},
		{"at the rate", "rate>=6", []*Stage{judgedAt(6, pass)}, "PASS: the objectives hold at 6 req/s", 0},
		{"above the rate", "rate>=5", []*Stage{judgedAt(6, pass)}, "PASS: the objectives hold at 6 req/s", 0},
		{"above the rate", "slo@5", []*Stage{judgedAt(6, pass)}, "PASS: the objectives hold at 6 req/s", 0},
		{"fails at the rate", "slo@6", []*Stage{judgedAt(6, fail)}, "FAIL: at 6 req/s ttft:p95: slow", 0},
		{"fails at the rate", "rate>=6", []*Stage{judgedAt(6, fail)}, "FAIL: at 6 req/s ttft:p95: slow", 0},
		{"fails below the rate", "slo@6", []*Stage{judgedAt(4, fail)}, "FAIL: at 4 req/s ttft:p95: slow", 0},
		{"fails below the rate", "rate>=6", []*Stage{judgedAt(4, fail)}, "FAIL: at 4 req/s", 0},
		{"fails above the rate", "slo@6", []*Stage{judgedAt(6, pass), judgedAt(8, fail)},
			"PASS: the objectives hold at 6 req/s", 0},
		{"a pass above a failure", "slo@6", []*Stage{judgedAt(4, fail), judgedAt(6, pass)}, "FAIL: at 4 req/s", 0},
		{"a pass above a failure", "rate>=5", []*Stage{judgedAt(6, pass), judgedAt(4, fail)}, "FAIL: at 4 req/s", 0},
		{"a pass above a failure", "rate>=3", []*Stage{judgedAt(6, pass), judgedAt(4, fail), judgedAt(3, pass)},
			"PASS: the objectives hold at 3 req/s", 0},
		{"failed, then passed", "slo@6", []*Stage{judgedAt(6, fail), judgedAt(6, pass)},
			"PASS: the objectives hold at 6 req/s", 0},
		{"passed, then failed", "slo@6", []*Stage{judgedAt(6, pass), judgedAt(6, fail)}, "FAIL: at 6 req/s", 0},
		{"undecided below a pass", "slo@6", []*Stage{short(6, 2*time.Second, 12, 47), judgedAt(8, pass)},
			"PASS: the objectives hold at 8 req/s", 0},
		{"undecided above a failure", "slo@6", []*Stage{short(6, 2*time.Second, 12, 47), judgedAt(4, fail)},
			"FAIL: at 4 req/s", 0},

		{"too short", "slo@6", []*Stage{short(6, 2*time.Second, 12, 47)},
			"UNDECIDED: 12 of about 59 requests needed; run at least 10s", 47},
		{"too short", "rate>=6", []*Stage{short(6, 2*time.Second, 12, 47)},
			"UNDECIDED: 12 of about 59 requests needed; run at least 10s", 47},
		{"too short, above the rate", "rate>=5", []*Stage{judgedAt(4, pass), short(6, 2*time.Second, 12, 47)},
			"UNDECIDED: at 6 req/s 12 of about 59 requests needed; run at least 10s", 47},
		{"the nearest counts", "slo@5", []*Stage{short(8, time.Second, 8, 90), short(6, 2*time.Second, 12, 47)},
			"UNDECIDED: at 6 req/s 12 of about 59", 47},
		{"the last at the rate counts", "slo@6", []*Stage{short(6, 2*time.Second, 12, 47),
			short(6, 4*time.Second, 24, 35)}, "UNDECIDED: 24 of about 59", 35},
		{"too close to its limit", "slo@6", []*Stage{close}, "UNDECIDED: ttft:p95: slow", 0},
		{"the client's fault", "slo@6", []*Stage{unfit}, "UNDECIDED: the client is invalid: sent late", 0},
		{"only lower rates", "rate>=10", []*Stage{judgedAt(4, pass), judgedAt(6, pass), closed},
			"UNDECIDED: no open-loop stage at or above that rate was run; the highest was at 6 req/s", 0},
		{"only closed loops", "slo@6", []*Stage{closed},
			"UNDECIDED: no open-loop stage at or above 6 req/s was run: " +
				"a closed loop sends as fast as the server answers", 0},
		{"a rate that changes", "slo@6", []*Stage{ramp},
			"UNDECIDED: no open-loop stage at or above 6 req/s was run: a rate that changes", 0},
		{"no objectives", "slo@6", []*Stage{aimless}, "UNDECIDED: there are no objectives to judge by", 0},
		{"no stage", "slo@6", nil, "UNDECIDED: no open-loop stage at or above 6 req/s was run", 0},
	} {
		g, err := slo.ParseGate(tc.gate)
		if err != nil {
			t.Fatal(err)
		}
		plain := &Result{Stages: tc.stages}
		o := Evaluate(g, plain)
		if !strings.HasPrefix(o.String(), "gate "+tc.gate+": "+tc.want) ||
			!strings.HasPrefix(tc.want, string(o.Outcome)+":") {
			t.Errorf("%s: %s\nwant %s", tc.name, o, tc.want)
		}
		if tc.need == 0 != (o.Need == nil) || o.Need != nil && o.Need.Requests != tc.need {
			t.Errorf("%s, %s: needs %+v, want %d", tc.name, tc.gate, o.Need, tc.need)
		}
	}
}

// Gates are decided first, the highest of them before the others, and by the max rate that the stages together show.
func TestGatesAreDecidedFirst(t *testing.T) {
	poisson := loadgen.Arrival{Kind: loadgen.PoissonArrival}
	for _, tc := range []struct {
		gates string
		want  string // outcomes
		roles string // of the first stages
	}{
		{"rate>=40", "PASS", "gate"},
		{"slo@40", "PASS", "gate"},
		{"rate>=110", "FAIL", "gate"},
		{"slo@110", "FAIL", "gate"},
		{"rate>=40 rate>=20", "PASS PASS", "gate"}, // the higher one decides both
		{"rate>=120 rate>=30", "FAIL PASS", "gate gate"},
		{"rate>=86", "UNDECIDED", "gate gate gate gate"}, // the max rate is 86
	} {
		var gates []slo.Gate
		for _, text := range strings.Fields(tc.gates) {
			g, err := slo.ParseGate(text)
			if err != nil {
				t.Fatal(err)
			}
			gates = append(gates, g)
		}
		a, r := searchOf(t, 10*time.Millisecond, "ttft:p95<100ms", 100, SearchConfig{
			Search: spec.Search{Arrival: poisson, Budget: 15 * time.Minute}, Gates: gates,
		})
		r.Answer = a
		var outcomes []string
		for _, g := range gates {
			o := Evaluate(g, r)
			t.Log(o)
			outcomes = append(outcomes, string(o.Outcome))
		}
		got := strings.Join(outcomes, " ")
		if all := roles(a.Trials); got != tc.want || !strings.HasPrefix(all, tc.roles) || len(a.Trials) < 2 {
			t.Errorf("%s: %s with %s; want %s with %s …", tc.gates, got, all, tc.want, tc.roles)
		}
	}
}

// A server that meets a gate's objective by 14 times passes it with the first stage of the search, at that rate; one
// that does not fails it at once.
func TestGateSteersTheSearch(t *testing.T) {
	for _, tc := range []struct {
		name, gate, slo string
		outcome         slo.Outcome
		most            time.Duration // that the gate's stage may take
	}{
		{"met by far", "rate>=1.5", "ttft:p95<500ms errors<1%", slo.Pass, 5 * time.Minute},
		{"missed by far", "rate>=1.5", "ttft:p95<20ms errors<1%", slo.Fail, 40 * time.Second},
		{"overload", "slo@12", "ttft:p95<500ms errors<1%", slo.Fail, 90 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, "few-sequences", 256, 128, func(t *testing.T, b *bench) {
				var err error
				if b.Objectives, err = slo.ParseObjectives(tc.slo); err != nil {
					t.Fatal(err)
				}
				gate, err := slo.ParseGate(tc.gate)
				if err != nil {
					t.Fatal(err)
				}
				r := &Result{SaturationRate: 2.52}
				r.Answer, err = b.Search(t.Context(), r, SearchConfig{
					Search: spec.Search{Seed: 1, Budget: 10 * time.Minute},
					Gates:  []slo.Gate{gate},
				})
				if err != nil {
					t.Fatal(err)
				}
				first := r.Answer.Trials[0]
				t.Logf("%s; %v; first stage %v, %s", Evaluate(gate, r), r.Answer.Headline(), first.At, first.Outcome)
				if o := Evaluate(gate, r); o.Outcome != tc.outcome {
					t.Error(o)
				}
				if first.Rate != gate.Rate || first.Role != AtGate || first.At > tc.most {
					t.Errorf("the first stage: %s at %v for %v", first.Role, first.Rate, first.At)
				}
				if last := r.Answer.Trials[len(r.Answer.Trials)-1]; last.Role == AtGate {
					t.Errorf("the search did not go on: %s", roles(r.Answer.Trials))
				}
			})
		})
	}
}
