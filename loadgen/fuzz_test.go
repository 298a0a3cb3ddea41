package loadgen

import (
	"math"
	"testing"
	"time"
)

// checkProfile checks what holds for every profile that is taken.
func checkProfile(t *testing.T, p Profile) {
	t.Helper()
	if n := p.Requests(); !(n > 0) || math.IsInf(n, 0) || p.Length() <= 0 {
		t.Fatalf("%+v: %v requests in %v", p, n, p.Length())
	}
	for _, a := range []Arrival{
		{}, {Kind: PoissonArrival}, {Kind: BurstArrival, Size: 3}, {Kind: GammaArrival, CV: 2},
	} {
		schedule := newProfileSchedule(a, p, 0)
		last := time.Duration(-1)
		for i := range 50 {
			at, ok := schedule.At(i)
			if !ok {
				break
			}
			if at < last || at < 0 || at > p.Length()+time.Microsecond {
				t.Fatalf("%+v, %v: request %d at %v, after %v, in %v", p, a, i, at, last, p.Length())
			}
			last = at
		}
	}
}

// FuzzParseRamp: a ramp that is taken has a first and a last rate, and requests that lie within its length.
func FuzzParseRamp(f *testing.F) {
	for _, s := range []string{"1..20", "0..5rps", "5..0", "1e6..1e-6", "0..0", "..", "1..2..3", "NaN..1", "-1..5"} {
		f.Add(s, int64(time.Minute))
	}
	f.Add("1..2", int64(1))
	f.Add("1..2", int64(math.MaxInt64))
	f.Add("1..2", int64(0))
	f.Add("1..2", int64(-5))
	f.Fuzz(func(t *testing.T, s string, length int64) {
		if p, err := ParseRamp(s, min(time.Duration(length), math.MaxInt64-time.Second)); err == nil {
			checkProfile(t, p)
		}
	})
}

// FuzzStages: a profile of several pieces that is taken lasts as long as all of them.
func FuzzStages(f *testing.F) {
	for _, s := range []string{
		"5rps:60s,20rps:30s,5..20rps:60s", "0rps:1h,1rps:1ns", "1rps:2562047h,1rps:2562047h", "1e6rps:2562047h",
		" 1 .. 2 rps:1s", "1rps:1s,", "0..1e-300rps:1ns", "1rps:1s,0rps:10s,1rps:1s",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseProfile(s)
		if err != nil {
			return
		}
		for i, piece := range p {
			if piece.Length > p.Length() || piece.From < 0 || piece.To < 0 {
				t.Fatalf("%q: piece %d is %+v, of %v", s, i, piece, p.Length())
			}
		}
		checkProfile(t, p)
	})
}
