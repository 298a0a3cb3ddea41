package sweep

import (
	"errors"
	"testing"
)

func TestGate(t *testing.T) {
	knee := &Knee{HoldsAt: 11.8, FailsAt: 12.3}
	legs := []Trial{{Rate: 10, LegJudgement: LegJudgement{Outcome: Passes}}, {Rate: 12, LegJudgement: LegJudgement{Outcome: Inconclusive}}}
	for _, tc := range []struct {
		gate string
		knee *Knee
		met  bool
		err  error
	}{
		{"rate>=10", knee, true, nil}, {"rate >= 11.8", knee, true, nil}, {"rate>=12", knee, false, nil},
		{"slo@10", knee, true, nil}, {"slo@12", knee, false, nil}, {"slo@9", knee, true, nil}, {"slo@13", knee, false, nil},
		{"slo@12.1", knee, false, ErrNoSuchLeg}, {"slo@10", nil, true, nil}, {"slo@11", nil, false, ErrNoSuchLeg}, {"rate>=1", nil, false, ErrNoSuchLeg},
	} {
		g, err := ParseGate(tc.gate)
		if err != nil {
			t.Fatal(err)
		}
		if met, why, err := g.Evaluate(tc.knee, legs); met != tc.met || !errors.Is(err, tc.err) || err == nil && why == "" {
			t.Errorf("%s: %v, %q, %v", tc.gate, met, why, err)
		}
	}
	for _, bad := range []string{"", "rate", "rate>=", "rate>=0", "rate>=-1", "rate>=x", "rate>10", "slo@", "slo@inf", "slo>=3", "rate>=1 2x"} {
		if g, err := ParseGate(bad); err == nil {
			t.Errorf("%q is read as %v", bad, g)
		}
	}
}

func FuzzParseGate(f *testing.F) {
	f.Add("rate>=10")
	f.Add("slo@1.5")
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGate(s)
		if err != nil {
			return
		}
		if !(g.Rate > 0) {
			t.Fatalf("%q: %v", s, g)
		}
	})
}
