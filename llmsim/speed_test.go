package llmsim

import (
	"math"
	"testing"
	"time"
)

func TestParseSpeed(t *testing.T) {
	c, err := ParseSpec("fast?spells=20s:2s-5s:0.5&drift=-0.1:6m&wander=0.05:60s&modes=0.6:30s")
	if err != nil {
		t.Fatal(err)
	}
	want := SpeedProfile{
		Spells: Spells{Every: 20 * time.Second, Min: 2 * time.Second, Max: 5 * time.Second, Speed: 0.5},
		Drift:  Drift{Change: -0.1, Horizon: 6 * time.Minute},
		Wander: Wander{SD: 0.05, Time: time.Minute},
		Modes:  Modes{Speed: 0.6, Dwell: 30 * time.Second},
	}
	if c.Speed != want {
		t.Errorf("read as %+v", c.Speed)
	}
	if got := c.Speed.String(); got != "spells=20s:2s-5s:0.5&drift=-0.1:6m0s&wander=0.05:1m0s&modes=0.6:30s" {
		t.Errorf("written as %s", got)
	}
	if c, err := ParseSpec("fast?spells=20s:3s:0.5"); err != nil || c.Speed.Spells.Min != c.Speed.Spells.Max {
		t.Errorf("spells of one length: %+v, %v", c.Speed, err)
	}
}

func TestNoProfileIsNoSpeed(t *testing.T) {
	s, err := NewSpeed(SpeedProfile{Drift: Drift{Horizon: time.Minute}}, 1)
	if err != nil || s != nil {
		t.Errorf("constant speed makes %v, %v", s, err)
	}
	if s.At(time.Hour) != 1 || s.Stretch(7, time.Hour) != 7 {
		t.Error("a nil speed is not 1")
	}
	if _, err := NewSpeed(SpeedProfile{Modes: Modes{Speed: 0.5}}, 1); err == nil {
		t.Error("modes without a dwell make a speed")
	}
}

// course is the speed every 100 ms.
func course(t *testing.T, p SpeedProfile, seed uint64, length time.Duration) []float64 {
	t.Helper()
	s, err := NewSpeed(p, seed)
	if err != nil {
		t.Fatal(err)
	}
	var v []float64
	for at := time.Duration(0); at < length; at += 100 * time.Millisecond {
		v = append(v, s.At(at))
	}
	return v
}

// runs counts how often a value comes up, as an uninterrupted run, and its share of the time.
func runs(v []float64, value float64) (n int, share float64) {
	for i, x := range v {
		if x == value {
			share += 1 / float64(len(v))
			if i == 0 || v[i-1] != value {
				n++
			}
		} else if x != 1 {
			return -1, x
		}
	}
	return n, share
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s is %.4g, not %.4g ± %.2g", what, got, want, within)
	}
}

func TestSpeed(t *testing.T) {
	const length = 100_000 * time.Second
	n, share := runs(course(t, SpeedProfile{Spells: Spells{20 * time.Second, 2 * time.Second, 5 * time.Second, 0.5}}, 1,
		length), 0.5)
	near(t, "the number of spells", float64(n), 100_000/23.5, 150)
	near(t, "the share of slow time", share, 3.5/23.5, 0.007)

	n, share = runs(course(t, SpeedProfile{Modes: Modes{0.7, 15 * time.Second}}, 1, length), 0.7)
	near(t, "the number of slow times", float64(n), 100_000/30, 150)
	near(t, "the share of the slow mode", share, 0.5, 0.02)

	slow := 0
	for seed := range uint64(200) {
		if course(t, SpeedProfile{Modes: Modes{0.7, 15 * time.Second}}, seed, 1)[0] == 0.7 {
			slow++
		}
	}
	near(t, "of 200 engines, those that begin in the slow mode", float64(slow), 100, 30)

	v := course(t, SpeedProfile{Drift: Drift{-0.1, 100 * time.Second}}, 1, 200*time.Second)
	for i, want := range map[int]float64{0: 1.05, 250: 1.025, 500: 1, 1000: 0.95, 1999: 0.95} {
		near(t, "the drifting speed", v[i], want, 1e-12)
	}

	v = course(t, SpeedProfile{Wander: Wander{0.05, time.Minute}}, 1, length)
	var squares, later float64
	for i := range len(v) - 600 {
		if v[i] != v[i/10*10] {
			t.Fatalf("the wandering speed changes within second %d", i/10)
		}
		squares += math.Log(v[i]) * math.Log(v[i])
		later += math.Log(v[i]) * math.Log(v[i+600])
	}
	near(t, "the standard deviation", math.Sqrt(squares/float64(len(v)-600)), 0.05, 0.003)
	near(t, "what a minute leaves", later/squares, math.Exp(-1), 0.08)
}

// TestSpeedIsOfItsSeed asks for the same course in other steps, and for one part with others added.
func TestSpeedIsOfItsSeed(t *testing.T) {
	p := SpeedProfile{Spells: Spells{20 * time.Second, 2 * time.Second, 5 * time.Second, 0.5},
		Wander: Wander{0.05, time.Minute}, Modes: Modes{0.7, 15 * time.Second}}
	all := course(t, p, 5, time.Hour)
	s, err := NewSpeed(p, 5)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(all); i += 1 + i%977 {
		if v := s.At(time.Duration(i) * 100 * time.Millisecond); v != all[i] {
			t.Fatalf("step %d: %v, in small steps %v", i, v, all[i])
		}
	}
	spells := course(t, SpeedProfile{Spells: p.Spells}, 5, time.Hour)
	wander := course(t, SpeedProfile{Wander: p.Wander}, 5, time.Hour)
	modes := course(t, SpeedProfile{Modes: p.Modes}, 5, time.Hour)
	different := 0
	other := course(t, p, 6, time.Hour)
	for i := range all {
		if all[i] != spells[i]*wander[i]*modes[i] {
			t.Fatalf("step %d: %v is not %v·%v·%v", i, all[i], spells[i], wander[i], modes[i])
		}
		if all[i] != other[i] {
			different++
		}
	}
	if different < len(all)/2 {
		t.Errorf("another seed differs in %d of %d values", different, len(all))
	}
}

// TestSpeedStretchesSteps sees that an engine at half speed takes twice as long.
func TestSpeedStretchesSteps(t *testing.T) {
	cfg, err := Preset("l4-qwen2.5-0.5b")
	if err != nil {
		t.Fatal(err)
	}
	_, _, full := latencies(t, cfg, 264, 100, make([]time.Duration, 1))
	cfg.Speed.Drift = Drift{Change: 1, Horizon: 24 * time.Hour} // 0.5 for the time being
	_, _, half := latencies(t, cfg, 264, 100, make([]time.Duration, 1))
	near(t, "the time at half speed", half.Seconds()/full.Seconds(), 2, 1e-3)
}
