package main

import (
	"testing"

	"github.com/openloop/openloop/internal/race"
)

// TestStudy is a small part of the study: intervals hold the true change about as often as they say, runs of the same
// are called different in no more than 5 % of cases, and a run that is 10 % slower is found once it is long enough.
func TestStudy(t *testing.T) {
	if race.Enabled {
		t.Skip("a simulation in one goroutine, too slow under the race detector")
	}
	const pairs = 200
	s := study{pairs: pairs, sizes: []int{500}}
	for i, src := range sources() {
		for _, name := range []string{"AR(1) 0.8", "M/G/1 at 0.5", "M/G/1 at 0.5, same arrivals"} {
			if src.name != name {
				continue
			}
			for _, n := range s.sizes {
				for _, r := range s.run(src, n, uint64(i)) {
					t.Log(r.String())
					// The study's 95 to 98 % are 91 to 100 % of so few pairs.
					if c := r.share(r.covered); c < 91 {
						t.Errorf("%s, n=%d, %s: %.1f %% of the intervals hold the true change", name, n, r.statistic, c)
					}
					if d := r.share(r.different); d > 8.5 {
						t.Errorf("%s, n=%d, %s: %.1f %% of the pairs of the same differ", name, n, r.statistic, d)
					}
				}
			}
		}
	}
}

// A change of 10 % is found in runs that are long enough, and the longer the surer.
func TestPower(t *testing.T) {
	if race.Enabled {
		t.Skip("a simulation in one goroutine, too slow under the race detector")
	}
	s := study{pairs: 40}
	src := sources()[1] // AR(1) 0.5
	for _, tc := range []struct {
		n    int
		p50  float64 // at least, in percent
		most float64
	}{{500, 0, 60}, {4000, 60, 100}} {
		r := s.run(src, tc.n, 1)[0]
		t.Log(r.String())
		if f := r.share(r.found); f < tc.p50 || f > tc.most {
			t.Errorf("n=%d: +10 %% of the median is found in %.0f %% of the pairs", tc.n, f)
		}
	}
}
