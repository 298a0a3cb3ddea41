package sweep

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// imitate runs the policy of a search against a server that is only a function of rate and number of stages at that
// rate.
func imitate(c SearchConfig, trials []Trial, known bounds, server func(rate float64, again int) (slo.Outcome, bool),
) ([]Trial, step) {
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
		o, holds := server(n.rate, again)
		trials = append(trials, Trial{Stage: len(trials), Role: n.role, Rate: n.rate,
			StageJudgement: slo.StageJudgement{Outcome: o, ObservedHold: holds}})
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
	type server = func(rate float64, again int) (slo.Outcome, bool)
	// fails between 5 and 7, passes above up to 12
	hole := func(rate float64, _ int) (slo.Outcome, bool) {
		if rate > 5 && rate < 7 || rate > 12 {
			return slo.Fail, false
		}
		return slo.Pass, true
	}
	// a failure by chance: the second stage at the rate passes
	chance := func(rate float64, again int) (slo.Outcome, bool) {
		if rate == 6 && again == 0 {
			return slo.Fail, false
		}
		return sharp(11.8)(rate, again)
	}
	// the same where the rates above were never decided: their observed values are reason enough to try again
	chanceAmongUndecided := func(rate float64, again int) (slo.Outcome, bool) {
		switch {
		case rate == 6 && again == 0:
			return slo.Fail, false
		case rate > 5 && rate < 10:
			return slo.Undecided, true
		}
		return sharp(11.8)(rate, again)
	}
	// a pass by chance: the confirmation fails
	lucky := func(rate float64, again int) (slo.Outcome, bool) {
		if rate > 9 && rate < 10 && again == 0 {
			return slo.Pass, true
		}
		return sharp(9)(rate, again)
	}
	// between 9 and 11 no stage is ever decided; its observed values cross at 10
	fog := func(rate float64, again int) (slo.Outcome, bool) {
		if rate > 9 && rate < 11 {
			return slo.Undecided, rate < 10
		}
		return sharp(10)(rate, again)
	}
	nothing := func(float64, int) (slo.Outcome, bool) { return slo.Undecided, true }

	has := func(trials []Trial, role Role, rate float64) bool {
		return slices.ContainsFunc(trials, func(t Trial) bool { return t.Role == role && t.Rate == rate })
	}
	for _, tc := range []struct {
		name         string
		server       server
		interpolated []float64
		saturation   float64
		stages       int // 0: the default
		ended        EndReason
		lo, hi       float64 // of the bracket, to 6 %
		check        func(trials []Trial, b bracket) string
	}{
		{"after a sweep", sharp(11.8), []float64{2, 4, 6, 8, 10, 12, 14}, 14, 0, EndPrecision, 11.8, 11.9,
			func(trials []Trial, _ bracket) string {
				if trials[7].Role != Bisection || trials[7].Rate < 10 || trials[7].Rate > 12 {
					return "the sweep's stages are not used"
				}
				return ""
			}},
		{"even the lowest fails", sharp(0), []float64{2, 4, 8}, 8, 0, EndNothing, 0, 2 * 0.6 * 0.6 * 0.6 * 0.6, nil},
		{"passes beyond saturation", sharp(30), []float64{2, 6, 10}, 10, 0, EndPrecision, 30, 30,
			func(trials []Trial, _ bracket) string {
				if trials[3].Role != Higher || trials[3].Rate <= 10 {
					return "nothing was tried above saturation"
				}
				return ""
			}},
		{"not monotonic", hole, []float64{2, 4, 6, 8, 10}, 14, 0, EndPrecision, 5, 5,
			func(trials []Trial, b bracket) string {
				if b.above == nil || !has(trials, Recheck, 6) {
					return "the failure below a pass was not tried again"
				}
				return ""
			}},
		{"a failure by chance", chance, []float64{2, 4, 6, 8, 10, 12}, 14, 0, EndPrecision, 11.8, 11.9, nil},
		{"a failure by chance among undecided rates", chanceAmongUndecided, []float64{2, 4, 6, 8, 10, 12}, 14, 0,
			EndPrecision, 11.8, 11.9, nil},
		{"a pass by chance", lucky, []float64{8, 9.9, 10.1}, 14, 0, EndPrecision, 9, 9,
			func(_ []Trial, b bracket) string {
				if b.lo.rate > 9 || b.lo.roles[Confirmation] != 1 {
					return "the answer was not stepped down"
				}
				return ""
			}},
		{"rates that can't be decided", fog, nil, 14, 0, EndUndecided, 8.9, 11.2,
			func(_ []Trial, b bracket) string {
				if b.softLo.rate > 10 || b.softHi.rate < 10 || b.softHi.rate/b.softLo.rate > 1.06 {
					return "the observed values do not cross at 10"
				}
				return ""
			}},
		{"nothing is ever decided", nothing, nil, 14, 5, "", 0, 0, nil},
		{"the last stage that is left confirms", sharp(11.8), nil, 14, 3, "", 10.5, 13.1,
			func(trials []Trial, _ bracket) string {
				if trials[2].Role != Confirmation {
					return "it does not"
				}
				return ""
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var trials []Trial
			for i, rate := range tc.interpolated {
				o, holds := tc.server(rate, 0)
				trials = append(trials, Trial{Stage: i, Role: Interpolated, Rate: rate,
					StageJudgement: slo.StageJudgement{Outcome: o, ObservedHold: holds}})
			}
			trials, end := imitate(SearchConfig{Search: spec.Search{MaxStages: tc.stages}}, trials,
				bounds{saturation: tc.saturation}, tc.server)
			b := bracketOf(points(trials))
			lo, hi := b.rates()
			if end.ended != tc.ended || math.Abs(lo-tc.lo) > 0.06*tc.lo || math.Abs(hi-tc.hi) > 0.06*tc.hi {
				t.Errorf("%q, bracket %.4g to %.4g, want %q, %.4g to %.4g; %s", end.ended, lo, hi, tc.ended, tc.lo,
					tc.hi, roles(trials))
			}
			if tc.check != nil {
				if wrong := tc.check(trials, b); wrong != "" {
					t.Errorf("%s: %s", wrong, roles(trials))
				}
			}
		})
	}
	for _, limit := range []float64{0.37, 1, 7.3, 11.8, 14.2, 180} {
		t.Run(fmt.Sprintf("straight to %v", limit), func(t *testing.T) {
			trials, end := imitate(SearchConfig{}, nil, bounds{saturation: 1.2 * limit, synchronous: limit / 10},
				sharp(limit))
			lo, hi := bracketOf(points(trials)).rates()
			if end.ended != EndPrecision || lo > limit || hi <= limit || hi > 1.05*lo {
				t.Errorf("%q: %v to %v", end.ended, lo, hi)
			}
			if len(trials) > 8 || trials[len(trials)-1].Role != Confirmation {
				t.Errorf("%d stages: %s", len(trials), roles(trials))
			}
		})
	}
}

// rates are the two ends of a bracket, 0 where there is none.
func (b bracket) rates() (lo, hi float64) {
	if b.lo != nil {
		lo = b.lo.rate
	}
	if b.hi != nil {
		hi = b.hi.rate
	}
	return lo, hi
}

// Stages that were worth too few independent requests are followed by longer ones, within bounds; an answer that they
// kept from being given is tried again.
func TestStagesGetTheTimeTheyNeed(t *testing.T) {
	objectives, err := slo.ParseObjectives("tpot:p95<60ms")
	if err != nil {
		t.Fatal(err)
	}
	short := func(n float64, at time.Duration) Trial {
		j := slo.Judgement{
			Objective: objectives[0], Outcome: slo.Undecided, EffectiveN: num.Value(n),
			Observed: slo.Observed{Margin: 0.3},
		}
		return Trial{Rate: 14, StageJudgement: slo.StageJudgement{Outcome: slo.Undecided, ObservedHold: true, At: at,
			Objectives: []slo.Judgement{j}}}
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
		"nothing known":      {SearchConfig{}, nil, 100 * time.Second},
		"a stage worth half": {SearchConfig{}, []Trial{short(36, 100*time.Second)}, 250 * time.Second},
		"the neediest counts": {SearchConfig{}, []Trial{short(36, 100*time.Second), short(60, 100*time.Second)},
			250 * time.Second},
		"hopeless": {SearchConfig{}, []Trial{short(2, 100*time.Second)}, longestStage},
		"the user's limit": {SearchConfig{Search: spec.Search{MaxPerStage: time.Minute}},
			[]Trial{short(36, time.Minute)}, time.Minute},
		"a stage that passed": {SearchConfig{}, []Trial{{Rate: 14,
			StageJudgement: slo.StageJudgement{Outcome: slo.Pass, ObservedHold: true,
				At: time.Minute}}}, 100 * time.Second},
		"one that did not hold": {SearchConfig{}, []Trial{func() Trial {
			t := short(3,
				time.Minute)
			t.ObservedHold = false
			return t
		}()}, 100 * time.Second},
	} {
		if got := c.config.perStage(10, c.trials); (got - c.want).Abs() > 2*time.Second {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}

	for role, want := range map[Role]time.Duration{
		FirstGuess: 100 * time.Second, Bisection: 100 * time.Second, Higher: 100 * time.Second,
		Longer: 250 * time.Second, Widening: 250 * time.Second, Confirmation: 250 * time.Second,
	} {
		s := search{plan: &Plan{}, trials: []Trial{short(36, 100*time.Second)}}
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
	if n := (SearchConfig{}).withDefaults().next([]Trial{short(20, 70*time.Second), fails, again},
		bounds{saturation: 15}, 10); n.role == Longer {
		t.Errorf("it is given more time twice: %+v", n)
	}
	undecided := search{plan: &Plan{}, config: SearchConfig{}.withDefaults(),
		trials: []Trial{short(6, time.Minute), short(18, time.Minute), fails}}
	if rate, need := undecided.leastNeed(); rate != 14 || need != 5*time.Minute {
		t.Errorf("the least that is needed: %v at %v req/s, want 5m at 14", need, rate)
	}

	near := short(20, 70*time.Second)
	near.Objectives[0].Margin = 0.02
	lower := short(20, 70*time.Second)
	lower.Rate = 11
	if n := (SearchConfig{}).withDefaults().next([]Trial{lower, near, fails}, bounds{saturation: 15},
		10); n.role != Longer || n.rate != 11 {
		t.Errorf("the higher rate is too near to its bound: %+v, want the lower one", n)
	}
	if n := (SearchConfig{Search: spec.Search{MaxPerStage: 70 * time.Second}}).withDefaults().next([]Trial{short(20,
		70*time.Second), fails}, bounds{saturation: 15}, 10); n.role == Longer {
		t.Errorf("the user's limit is not kept: %+v", n)
	}
}

// A rate that the client can't offer ends the way up.
func TestSearchClientLimit(t *testing.T) {
	c := SearchConfig{}.withDefaults()
	trials := []Trial{
		{Rate: 100, StageJudgement: slo.StageJudgement{Outcome: slo.Pass, ObservedHold: true}},
	}
	for range 1 + stalls {
		trials = append(trials, Trial{Rate: 125, StageJudgement: slo.StageJudgement{Outcome: slo.Undecided,
			ObservedHold: true, ClientAtFault: true}})
	}
	if n := c.next(trials, bounds{}, 9); n.ended != EndClient {
		t.Errorf("%+v", n)
	}
}

func TestBetween(t *testing.T) {
	if m := between(100, 101); m <= 100 || m >= 101 {
		t.Errorf("between 100 and 101: %v", m)
	}
}

func TestEstimate(t *testing.T) {
	stages, likely, most := SearchConfig{Search: spec.Search{MaxPerStage: time.Minute}}.Estimate(10, 14)
	if stages != 5 || most != 5*time.Minute || likely != most/3 {
		t.Errorf("%d stages, %v to %v", stages, likely, most)
	}
	if _, _, most := (SearchConfig{Search: spec.Search{Budget: time.Minute}}).Estimate(10, 14); most != time.Minute {
		t.Errorf("the budget bounds it: %v", most)
	}
}
