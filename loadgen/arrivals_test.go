package loadgen

import (
	"math"
	"strings"
	"testing"
	"time"
)

// gapsOf returns the first n gaps of a schedule, the first counted from the start.
func gapsOf(t *testing.T, s Schedule, n int) []float64 {
	t.Helper()
	gaps := make([]float64, n)
	last := time.Duration(0)
	for i := range gaps {
		at, ok := s.At(i)
		if !ok {
			t.Fatalf("no request %d", i)
		}
		if at < last {
			t.Fatalf("request %d at %v, before the one at %v", i, at, last)
		}
		gaps[i] = (at - last).Seconds()
		last = at
	}
	return gaps
}

func moments(v []float64) (mean, cv, correlation float64) {
	n := float64(len(v))
	for _, x := range v {
		mean += x / n
	}
	variance := 0.0
	for i, x := range v {
		variance += (x - mean) * (x - mean) / n
		if i > 0 {
			correlation += (x - mean) * (v[i-1] - mean) / n
		}
	}
	return mean, math.Sqrt(variance) / mean, correlation / variance
}

func TestArrivalMoments(t *testing.T) {
	const rate, n = 40.0, 200_000
	for _, c := range []struct {
		arrival string
		cv      float64
	}{{"poisson", 1}, {"gamma:1", 1}, {"gamma:0.5", 0.5}, {"gamma:2", 2}, {"gamma:3.5", 3.5}, {"constant", 0}} {
		a, err := ParseArrival(c.arrival)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []Schedule{
			NewSchedule(a, rate, 42),
			newProfileSchedule(a, Profile{{rate, rate, 10 * time.Hour}}, 42),
		} {
			mean, cv, correlation := moments(gapsOf(t, s, n))
			// The standard error of the mean is CV/√n; that of the CV grows with the fourth moment, about CV²·2/√n
			// here.
			if e := math.Abs(mean*rate - 1); e > 5*c.cv/math.Sqrt(n)+1e-6 {
				t.Errorf("%s: mean gap %v, want %v", c.arrival, mean, 1/rate)
			}
			if e := math.Abs(cv - c.cv); e > 10*(c.cv+c.cv*c.cv)/math.Sqrt(n)+1e-6 {
				t.Errorf("%s: CV of the gaps %v, want %v", c.arrival, cv, c.cv)
			}
			if c.cv > 0 && math.Abs(correlation) > 5/math.Sqrt(n) {
				t.Errorf("%s: consecutive gaps correlate by %v", c.arrival, correlation)
			}
		}
	}
}

func TestSeedsDiffer(t *testing.T) {
	a := Arrival{Kind: GammaArrival, CV: 2}
	one, again := gapsOf(t, NewSchedule(a, 10, 1), 100), gapsOf(t, NewSchedule(a, 10, 1), 100)
	other := gapsOf(t, NewSchedule(a, 10, 2), 100)
	same := 0
	for i := range one {
		if one[i] != again[i] {
			t.Fatal("the same seed gives other gaps")
		}
		if one[i] == other[i] {
			same++
		}
	}
	if same > 5 {
		t.Errorf("%d of 100 gaps are those of another seed", same)
	}
}

func TestSchedulesArePure(t *testing.T) {
	p := Profile{{5, 20, time.Minute}, {20, 20, time.Hour}}
	for _, s := range []Schedule{
		NewSchedule(Arrival{Kind: GammaArrival, CV: 2}, 10, 1),
		NewSchedule(Arrival{Kind: BurstArrival, Size: 3}, 10, 1),
		newProfileSchedule(Arrival{Kind: PoissonArrival}, p, 1),
	} {
		late, _ := s.At(500)
		early, _ := s.At(3)
		if again, _ := s.At(500); again != late {
			t.Errorf("request 500 at %v and then at %v", late, again)
		}
		if again, _ := s.At(3); again != early {
			t.Errorf("request 3 at %v and then at %v", early, again)
		}
	}
}

func TestBursts(t *testing.T) {
	s := NewSchedule(Arrival{Kind: BurstArrival, Size: 4}, 8, 0)
	for i, want := range []time.Duration{500, 500, 500, 500, 1000, 1000, 1000, 1000, 1500} {
		if at, ok := s.At(i); !ok || at != want*time.Millisecond {
			t.Errorf("request %d at %v, want %v", i, at, want*time.Millisecond)
		}
	}
}

func TestProfiles(t *testing.T) {
	p, err := ParseProfile("5rps:60s, 20rps:30s,5..15rps:20s,0rps:10s,10rps:1s")
	if err != nil {
		t.Fatal(err)
	}
	if n := p.Requests(); n != 300+600+200+0+10 {
		t.Errorf("%v requests", n)
	}
	if d := p.Length(); d != 121*time.Second {
		t.Errorf("it lasts %v", d)
	}
	s := newProfileSchedule(Arrival{}, p, 0)
	for _, c := range []struct {
		i    int
		want time.Duration
	}{
		{0, 200 * time.Millisecond}, {299, 60 * time.Second}, {300, 60*time.Second + 50*time.Millisecond},
		{899, 90 * time.Second},
		{999, 90*time.Second + 12360679775}, // 100 = 5t + t²/4
		{1099, 110 * time.Second}, {1100, 120*time.Second + 100*time.Millisecond}, {1109, 121 * time.Second},
	} {
		at, ok := s.At(c.i)
		if !ok || (at-c.want).Abs() > time.Microsecond {
			t.Errorf("request %d at %v (%v), want %v", c.i, at, ok, c.want)
		}
	}
	if at, ok := s.At(1110); ok {
		t.Errorf("a request at %v, after the profile's end", at)
	}
	ramp, err := ParseRamp("20..0", 10*time.Second)
	if err != nil || ramp.Requests() != 100 {
		t.Errorf("ramp %v, %v", ramp, err)
	}
	if at, ok := newProfileSchedule(Arrival{}, ramp, 0).At(99); !ok || at > 10*time.Second {
		t.Errorf("the last request of a ramp to 0 at %v (%v)", at, ok)
	}
}

func TestArrivalErrors(t *testing.T) {
	for s, want := range map[string]string{
		"uniform": "it is constant, poisson, gamma:CV", "gamma": "write gamma:CV", "gamma:0": "above 0",
		"gamma:x":   "write gamma:CV",
		"gamma:NaN": "above 0", "burst:0": "at least 1", "burst": "write burst:N", "poisson:2": "takes no value",
		"": "it is constant",
	} {
		if _, err := ParseArrival(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", s, err, want)
		}
	}
	for s, want := range map[string]string{
		"5rps": "RATErps:TIME", "5rps:": "no time", "5rps:-1s": "no time", "xrps:1s": "no rate",
		"0rps:10s": "no request", "-1rps:1s": "no rate", "": "RATErps:TIME",
	} {
		if _, err := ParseProfile(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", s, err, want)
		}
	}
	if _, err := ParseRamp("5", time.Second); err == nil {
		t.Error("a ramp of one rate was taken")
	}
}

func FuzzParseProfile(f *testing.F) {
	for _, s := range []string{"5rps:60s,20rps:30s,5rps:60s", "1..20rps:1m", "0..1rps:1ns", "1e3rps:1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseProfile(s)
		if err != nil {
			return
		}
		schedule := newProfileSchedule(Arrival{}, p, 0)
		last := time.Duration(-1)
		for i := range 100 {
			at, ok := schedule.At(i)
			if !ok {
				break
			}
			if at < last || at > p.Length()+time.Microsecond {
				t.Fatalf("%q: request %d at %v, after %v, in a profile of %v", s, i, at, last, p.Length())
			}
			last = at
		}
	})
}

func FuzzParseArrival(f *testing.F) {
	for _, s := range []string{"constant", "gamma:0.5", "burst:8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseArrival(s)
		if err != nil {
			return
		}
		if again, err := ParseArrival(a.String()); err != nil || again != a {
			t.Fatalf("%q is written %q, which is read as %v (%v)", s, a, again, err)
		}
	})
}
