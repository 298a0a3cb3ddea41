package sweep

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// imitate runs the policy of a search against a server that is only a function of rate and number of stages at that rate.
func imitate(c SearchConfig, trials []Trial, known bounds, server func(rate float64, again int) (slo.Outcome, bool)) ([]Trial, step) {
	c = c.withDefaults()
	for left := c.MaxStages; ; left-- {
		n := c.next(trials, known, left)
		if n.ended != "" || left == 0 {
			return trials, n
		}
		again := 0
		for _, t := range trials {
			if t.Rate == n.rate {
				again++
			}
		}
		o, leans := server(n.rate, again)
		trials = append(trials, Trial{Stage: len(trials), Role: n.role, Rate: n.rate, StageJudgement: slo.StageJudgement{Outcome: o, Leans: leans}})
	}
}

// sharp is a server that fails above its knee.
func sharp(knee float64) func(float64, int) (slo.Outcome, bool) {
	return func(rate float64, _ int) (slo.Outcome, bool) {
		if rate <= knee {
			return slo.Pass, true
		}
		return slo.Fail, false
	}
}

func roles(trials []Trial) string {
	var all []string
	for _, t := range trials {
		all = append(all, string(t.Role))
	}
	return strings.Join(all, " ")
}

func TestSearchPolicy(t *testing.T) {
	interpolated := func(server func(float64, int) (slo.Outcome, bool), rates ...float64) []Trial {
		var trials []Trial
		for i, rate := range rates {
			o, leans := server(rate, 0)
			trials = append(trials, Trial{Stage: i, Role: Interpolated, Rate: rate, StageJudgement: slo.StageJudgement{Outcome: o, Leans: leans}})
		}
		return trials
	}
	check := func(name string, trials []Trial, end step, ended EndReason, lo, hi float64) bracket {
		t.Helper()
		b := bracketOf(points(trials))
		var gotLo, gotHi float64
		if b.lo != nil {
			gotLo = b.lo.rate
		}
		if b.hi != nil {
			gotHi = b.hi.rate
		}
		if end.ended != ended || math.Abs(gotLo-lo) > 0.06*lo || math.Abs(gotHi-hi) > 0.06*hi {
			t.Errorf("%s: %s, bracket %.4g to %.4g, want %s, %.4g to %.4g; %s", name, end.ended, gotLo, gotHi, ended, lo, hi, roles(trials))
		}
		return b
	}

	for _, knee := range []float64{0.37, 1, 7.3, 11.8, 14.2, 180} {
		trials, end := imitate(SearchConfig{}, nil, bounds{saturation: 1.2 * knee, synchronous: knee / 10}, sharp(knee))
		b := check("straight", trials, end, EndPrecision, knee, knee)
		if b.lo.rate > knee || b.hi.rate <= knee || b.hi.rate > 1.05*b.lo.rate {
			t.Errorf("knee %v: bracket %v to %v", knee, b.lo.rate, b.hi.rate)
		}
		if len(trials) > 8 || trials[len(trials)-1].Role != Confirmation {
			t.Errorf("knee %v: %d stages: %s", knee, len(trials), roles(trials))
		}
	}

	trials, end := imitate(SearchConfig{}, interpolated(sharp(11.8), 2, 4, 6, 8, 10, 12, 14), bounds{saturation: 14}, sharp(11.8))
	check("after a sweep", trials, end, EndPrecision, 11.8, 11.9)
	if trials[7].Role != Bisection || trials[7].Rate < 10 || trials[7].Rate > 12 {
		t.Errorf("a sweep's stages are not used: %v", trials[7])
	}

	trials, end = imitate(SearchConfig{}, interpolated(sharp(0), 2, 4, 8), bounds{saturation: 8}, sharp(0))
	check("even the lowest fails", trials, end, EndNothing, 0, trials[len(trials)-1].Rate)

	trials, end = imitate(SearchConfig{}, interpolated(sharp(30), 2, 6, 10), bounds{saturation: 10}, sharp(30))
	check("passes beyond saturation", trials, end, EndPrecision, 30, 30)
	if trials[3].Role != Higher || trials[3].Rate <= 10 {
		t.Errorf("nothing was tried above saturation: %v", trials[3])
	}

	// slo.Fail between 5 and 7, passes above up to 12.
	hole := func(rate float64, _ int) (slo.Outcome, bool) {
		if rate > 5 && rate < 7 || rate > 12 {
			return slo.Fail, false
		}
		return slo.Pass, true
	}
	trials, end = imitate(SearchConfig{}, interpolated(hole, 2, 4, 6, 8, 10), bounds{saturation: 14}, hole)
	b := check("not monotonic", trials, end, EndPrecision, 5, 5)
	if b.above == nil || !slices.ContainsFunc(trials, func(t Trial) bool { return t.Role == Recheck && t.Rate == 6 }) {
		t.Errorf("the failure below a pass was not tried again: %s", roles(trials))
	}

	// A failure by chance: the second stage at the rate passes.
	chance := func(rate float64, again int) (slo.Outcome, bool) {
		if rate == 6 && again == 0 {
			return slo.Fail, false
		}
		return sharp(11.8)(rate, again)
	}
	trials, end = imitate(SearchConfig{}, interpolated(chance, 2, 4, 6, 8, 10, 12), bounds{saturation: 14}, chance)
	check("a failure by chance", trials, end, EndPrecision, 11.8, 11.9)

	// The same where the rates above were never decided: their plain figures are reason enough to try again.
	undecided := func(rate float64, again int) (slo.Outcome, bool) {
		switch {
		case rate == 6 && again == 0:
			return slo.Fail, false
		case rate > 5 && rate < 10:
			return slo.Undecided, true
		}
		return sharp(11.8)(rate, again)
	}
	trials, end = imitate(SearchConfig{}, interpolated(undecided, 2, 4, 6, 8, 10, 12), bounds{saturation: 14}, undecided)
	check("a failure by chance among undecided rates", trials, end, EndPrecision, 11.8, 11.9)

	// A pass by chance: the confirmation fails, and the answer steps down.
	lucky := func(rate float64, again int) (slo.Outcome, bool) {
		if rate > 9 && rate < 10 && again == 0 {
			return slo.Pass, true
		}
		return sharp(9)(rate, again)
	}
	trials, end = imitate(SearchConfig{}, interpolated(lucky, 8, 9.9, 10.1), bounds{saturation: 14}, lucky)
	b = check("a pass by chance", trials, end, EndPrecision, 9, 9)
	if b.lo.rate > 9 || b.lo.roles[Confirmation] != 1 {
		t.Errorf("the answer was not stepped down: %s", roles(trials))
	}

	// Between 9 and 11 no stage is ever decided; its plain figures cross at 10.
	fog := func(rate float64, again int) (slo.Outcome, bool) {
		if rate > 9 && rate < 11 {
			return slo.Undecided, rate < 10
		}
		return sharp(10)(rate, again)
	}
	trials, end = imitate(SearchConfig{}, nil, bounds{saturation: 14}, fog)
	b = check("fog", trials, end, EndUndecided, 8.9, 11.2)
	if b.softLo.rate > 10 || b.softHi.rate < 10 || b.softHi.rate/b.softLo.rate > 1.06 {
		t.Errorf("plain figures between %v and %v", b.softLo.rate, b.softHi.rate)
	}

	nothing := func(float64, int) (slo.Outcome, bool) { return slo.Undecided, true }
	_, end = imitate(SearchConfig{MaxStages: 5}, nil, bounds{saturation: 14}, nothing)
	if end.ended != "" {
		t.Errorf("nothing is ever decided: %+v", end)
	}

	// The last stage that is left confirms what was found.
	trials, _ = imitate(SearchConfig{MaxStages: 3}, nil, bounds{saturation: 14}, sharp(11.8))
	if trials[2].Role != Confirmation {
		t.Errorf("three stages: %s", roles(trials))
	}
}

// Stages that were worth too few independent requests are followed by longer ones, within bounds; an answer that they kept from
// being given is tried again.
func TestStagesGetTheTimeTheyNeed(t *testing.T) {
	objectives, err := slo.ParseObjectives("tpot:p95<60ms")
	if err != nil {
		t.Fatal(err)
	}
	short := func(n float64, at time.Duration) Trial {
		j := slo.Judgement{Objective: objectives[0], Outcome: slo.Undecided, EffectiveN: num.Value(n), Margin: 0.3}
		return Trial{Rate: 14, StageJudgement: slo.StageJudgement{Outcome: slo.Undecided, Leans: true, At: at, Objectives: []slo.Judgement{j}}}
	}
	// ln 0.025/ln 0.95 = 71.9 independent requests without a miss.
	if got, want := short(36, time.Minute).needs(0.95), 150*time.Second; (got - want).Abs() > time.Second {
		t.Errorf("worth 36 of 72: needs %v, want %v", got, want)
	}
	for name, c := range map[string]struct {
		config SearchConfig
		trials []Trial
		want   time.Duration
	}{
		"nothing known":             {SearchConfig{}, nil, 100 * time.Second},
		"a stage worth half":        {SearchConfig{}, []Trial{short(36, 100*time.Second)}, 250 * time.Second},
		"the neediest counts":       {SearchConfig{}, []Trial{short(36, 100*time.Second), short(60, 100*time.Second)}, 250 * time.Second},
		"hopeless":                  {SearchConfig{}, []Trial{short(2, 100*time.Second)}, longestStage},
		"the user's limit":          {SearchConfig{MaxPerStage: time.Minute}, []Trial{short(36, time.Minute)}, time.Minute},
		"a stage that passed":       {SearchConfig{}, []Trial{{Rate: 14, StageJudgement: slo.StageJudgement{Outcome: slo.Pass, Leans: true, At: time.Minute}}}, 100 * time.Second},
		"one that leans to failing": {SearchConfig{}, []Trial{func() Trial { t := short(3, time.Minute); t.Leans = false; return t }()}, 100 * time.Second},
	} {
		if got := c.config.perStage(10, c.trials); (got - c.want).Abs() > 2*time.Second {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}

	for role, want := range map[Role]time.Duration{
		FirstGuess: 100 * time.Second, Bisection: 100 * time.Second, Higher: 100 * time.Second,
		Longer: 250 * time.Second, Widening: 250 * time.Second, Confirmation: 250 * time.Second,
	} {
		s := search{trials: []Trial{short(36, 100*time.Second)}}
		if got, ok := s.limit(step{role: role, rate: 10}); !ok || (got-want).Abs() > 2*time.Second {
			t.Errorf("%s: %v, want %v", role, got, want)
		}
	}

	fails := Trial{Rate: 14.6, StageJudgement: slo.StageJudgement{Outcome: slo.Fail, At: time.Minute}}
	n := SearchConfig{}.withDefaults().next([]Trial{short(20, 70*time.Second), fails}, bounds{saturation: 15}, 10)
	if n.role != Longer || n.rate != 14 {
		t.Errorf("a rate that was worth too little: %+v, want it again with more time", n)
	}
	again := short(60, 4*time.Minute)
	again.Role = Longer
	if n := (SearchConfig{}).withDefaults().next([]Trial{short(20, 70*time.Second), fails, again}, bounds{saturation: 15}, 10); n.role == Longer {
		t.Errorf("it is given more time twice: %+v", n)
	}
	undecided := search{config: SearchConfig{}.withDefaults(), trials: []Trial{short(6, time.Minute), short(18, time.Minute), fails}}
	if rate, need := undecided.leastNeed(); rate != 14 || need != 5*time.Minute {
		t.Errorf("the least that is needed: %v at %v req/s, want 5m at 14", need, rate)
	}

	near := short(20, 70*time.Second)
	near.Objectives[0].Margin = 0.02
	lower := short(20, 70*time.Second)
	lower.Rate = 11
	if n := (SearchConfig{}).withDefaults().next([]Trial{lower, near, fails}, bounds{saturation: 15}, 10); n.role != Longer || n.rate != 11 {
		t.Errorf("the higher rate is too near to its bound: %+v, want the lower one", n)
	}
	if n := (SearchConfig{MaxPerStage: 70 * time.Second}).withDefaults().next([]Trial{short(20, 70*time.Second), fails}, bounds{saturation: 15}, 10); n.role == Longer {
		t.Errorf("the user's limit is not kept: %+v", n)
	}
}

// A rate that the client can't offer ends the way up.
func TestSearchClientLimit(t *testing.T) {
	c := SearchConfig{}.withDefaults()
	trials := []Trial{
		{Rate: 100, StageJudgement: slo.StageJudgement{Outcome: slo.Pass, Leans: true}},
	}
	for range 1 + hiccups {
		trials = append(trials, Trial{Rate: 125, StageJudgement: slo.StageJudgement{Outcome: slo.Undecided, Leans: true, Client: true}})
	}
	if n := c.next(trials, bounds{}, 9); n.ended != EndClient {
		t.Errorf("%+v", n)
	}
}

func TestHeadline(t *testing.T) {
	k := Knee{HoldsAt: 11.8, FailsAt: 12.3, Confidence: 0.95, Precision: 0.05, Requests: 1420, Arrivals: "poisson", Client: audit.Valid, Ended: EndPrecision}
	for _, tc := range []struct {
		change func(*Knee)
		want   string
	}{
		{func(*Knee) {}, "max rate at SLO: 11.8 req/s (holds at 11.8, fails at 12.3; 95 % confidence; 1,420 requests; poisson arrivals; client valid)"},
		{func(k *Knee) { k.FailsAt = 14 }, "max rate at SLO: between 11.8 and 14 req/s (holds at 11.8, fails at 14; 95 % confidence; 1,420 requests; poisson arrivals; client valid)"},
		{func(k *Knee) { k.FailsAt = 0 }, "max rate at SLO: at least 11.8 req/s (holds at 11.8, no rate was found to fail; 95 % confidence; 1,420 requests; poisson arrivals; client valid)"},
		{func(k *Knee) { k.HoldsAt, k.Ended = 0, EndNothing }, "max rate at SLO: none (fails at 12.3; 95 % confidence; 1,420 requests; poisson arrivals; client valid)"},
		{func(k *Knee) { k.HoldsAt, k.Estimate, k.Ended = 0, 11.4, EndBudget }, "max rate at SLO: near 11.4 req/s by the plain figures, but no rate could be shown to hold (fails at 12.3; 95 % confidence; 1,420 requests; poisson arrivals; client valid)"},
		{func(k *Knee) { k.HoldsAt, k.FailsAt, k.Ended, k.Requests = 0, 0, EndBudget, 0 }, "max rate at SLO: not found (95 % confidence; 0 requests; poisson arrivals; client valid)"},
	} {
		c := k
		tc.change(&c)
		if got := c.Headline(); got != tc.want {
			t.Errorf("%s\nwant %s", got, tc.want)
		}
	}
}

func TestBetween(t *testing.T) {
	if m := between(100, 101); m <= 100 || m >= 101 {
		t.Errorf("between 100 and 101: %v", m)
	}
}

func TestEstimate(t *testing.T) {
	stages, likely, most := SearchConfig{MaxPerStage: time.Minute}.Estimate(10, 14)
	if stages != 5 || most != 5*time.Minute || likely != most/3 {
		t.Errorf("%d stages, %v to %v", stages, likely, most)
	}
	if _, _, most := (SearchConfig{Budget: time.Minute}).Estimate(10, 14); most != time.Minute {
		t.Errorf("the budget bounds it: %v", most)
	}
}

func TestDrift(t *testing.T) {
	a, b := make([]float64, 400), make([]float64, 400)
	for i := range a {
		a[i], b[i] = float64(i%40), float64(i%37)
	}
	if d := slo.Drift(a, b); d != 0 {
		t.Errorf("alike: %v", d)
	}
	for i := range b {
		b[i] += 20
	}
	if d := slo.Drift(a, b); d < 0.5 {
		t.Errorf("twice as slow: %v", d)
	}
}

// A knee is written to JSON and read again, with figures that JSON can't hold.
func TestKneeJSON(t *testing.T) {
	ttft := slo.Objective{Metric: slo.TTFT, Statistic: slo.Statistic{Kind: slo.Quantile, Q: 0.95}, Op: slo.Below, Bound: 250e6}
	k := Knee{HoldsAt: 11.8, EffectiveN: num.Value(math.NaN()), Trials: []Trial{{Rate: 12, Role: Bisection, StageJudgement: slo.StageJudgement{
		Outcome: slo.Fail, Objectives: []slo.Judgement{{Objective: ttft, Value: num.Value(math.Inf(1)), Outcome: slo.Fail}},
	}}}}
	b, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var again Knee
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if tr := again.Trials[0]; again.HoldsAt != 11.8 || tr.Outcome != slo.Fail || tr.Objectives[0].Objective.String() != "ttft:p95<250ms" || !strings.Contains(string(b), `"value":"+Inf"`) {
		t.Errorf("%s\n%+v", b, again)
	}
}

func objective(t *testing.T, text string) slo.Objective {
	t.Helper()
	all, err := slo.ParseObjectives(text)
	if err != nil || len(all) != 1 {
		t.Fatalf("%q: %v, %v", text, all, err)
	}
	return all[0]
}

// The real search against the real engine; bench/knee does it for more of them.
func TestSearchInVirtualTime(t *testing.T) {
	for _, tc := range []struct {
		name, slo string
		lo, hi    float64
		ended     EndReason
	}{
		{"a knee", "ttft:p95<100ms tpot:p95<20ms", 78, 88, EndPrecision}, // 83.2 by brute force on the engine alone
		{"nothing holds", "ttft:p95<7ms", 0, 20, EndNothing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, "l4-qwen2.5-0.5b", 64, 8, func(t *testing.T, b *bench) {
				objectives, err := slo.ParseObjectives(tc.slo)
				if err != nil {
					t.Fatal(err)
				}
				b.Objectives = objectives
				r := &Result{SaturationRate: 113}
				k, err := b.Search(t.Context(), r, SearchConfig{MaxPerStage: 15 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s in %v", k.Headline(), k.Took)
				if k.Ended != tc.ended || k.HoldsAt < tc.lo || k.FailsAt > tc.hi || k.FailsAt == 0 || len(k.Trials) != len(r.Stages) {
					t.Errorf("%s: %s", k.Headline(), k.Why)
				}
				if k.HoldsAt > 0 && !k.Confirmed {
					t.Error("not confirmed")
				}
				for _, trial := range k.Trials {
					if trial.Rate > 1.2*tc.hi && trial.At > 10*time.Second {
						t.Errorf("that %v req/s is too much was seen after %v only", trial.Rate, trial.At)
					}
				}
			})
		})
	}
}

// An interrupted search keeps what it found.
func TestSearchInterrupted(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 16, func(t *testing.T, b *bench) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		k, err := b.Search(ctx, &Result{SaturationRate: 60}, SearchConfig{NoEarlyStop: true, MaxPerStage: 15 * time.Second})
		if err == nil || k.Ended != EndInterrupted || len(k.Trials) != 2 {
			t.Errorf("%v: %+v", err, k)
		}
	})
}

func TestSearchBudget(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 4, func(t *testing.T, b *bench) {
		b.Objectives = []slo.Objective{objective(t, "ttft:p95<250ms")}
		began := time.Now()
		k, err := b.Search(t.Context(), &Result{SaturationRate: 20}, SearchConfig{NoEarlyStop: true, MaxPerStage: 15 * time.Second, Budget: 40 * time.Second})
		if err != nil || k.Ended != EndBudget || time.Since(began) > 42*time.Second {
			t.Errorf("%v after %v: %s", err, time.Since(began), k.Why)
		}
	})
}
