package slo

import "testing"

func TestParseGate(t *testing.T) {
	for _, bad := range []string{"", "rate", "rate>=", "rate>=0", "rate>=-1", "rate>=x", "rate>10", "slo@", "slo@inf",
		"slo>=3", "rate>=1 2x", "speed>=0", "speed>1"} {
		if g, err := ParseGate(bad); err == nil {
			t.Errorf("%q is read as %v", bad, g)
		}
	}
}

func FuzzParseGate(f *testing.F) {
	f.Add("rate>=10")
	f.Add("slo@1.5")
	f.Add("speed>=1.5")
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
