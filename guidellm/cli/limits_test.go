package cli

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/stats"
	"github.com/openloop/openloop/spec"
)

// Every way in which GuideLLM lets a warm-up be said.
func TestReadTrim(t *testing.T) {
	timed := spec.Limits{MaxDuration: 20 * time.Second}
	both := spec.Limits{MaxDuration: 20 * time.Second, MaxRequests: 10}
	for _, test := range []struct {
		value       any
		want        spec.Trim
		timed, both time.Duration
	}{
		{nil, spec.Trim{}, 0, 0},
		{0.0, spec.Trim{Zero: true}, 0, 0},
		{0.25, spec.Trim{Percent: 0.25}, 5 * time.Second, 5 * time.Second},
		{int64(3), spec.Trim{Value: 3}, 3 * time.Second, 3 * time.Second},
		{2.5, spec.Trim{Value: 2.5}, 2500 * time.Millisecond, 2500 * time.Millisecond},
		{object("percent", 0.25), spec.Trim{Percent: 0.25}, 5 * time.Second, 5 * time.Second},
		{object("percent", nil, "value", "4"), spec.Trim{Value: 4}, 4 * time.Second, 4 * time.Second},
		{object("value", int64(4), "percent", 0.1), spec.Trim{Percent: 0.1}, 2 * time.Second, 2 * time.Second},
		{object("value", int64(4), "percent", 0.0), spec.Trim{Zero: true}, 0, 0},
		{object("value", int64(4), "mode", "requests"), spec.Trim{Value: 4, Mode: spec.ByRequests}, 0, 0},
		{object("value", int64(4), "mode", "prefer_requests"), spec.Trim{Value: 4, Mode: spec.PreferRequests},
			4 * time.Second, 0},
		{object("value", int64(4), "mode", "both"), spec.Trim{Value: 4, Mode: spec.ByBoth},
			4 * time.Second, 4 * time.Second},
	} {
		trim, _, err := readTrim(test.value)
		if err != nil || trim != test.want || trim.Duration(timed) != test.timed || trim.Duration(both) != test.both {
			t.Errorf("%v: got %+v (%v), %v of %+v, %v of %+v",
				test.value, trim, err, trim.Duration(timed), timed, trim.Duration(both), both)
		}
	}
}

// What the arguments of a report hold of a warm-up is read as that warm-up again.
func TestTrimValue(t *testing.T) {
	for _, trim := range []spec.Trim{
		{}, {Percent: 0.25}, {Value: 3}, {Value: 2.5}, {Value: 0.5}, {Percent: 0.1, Mode: spec.ByRequests},
		{Value: 4, Mode: spec.PreferDuration}, {Value: 0.5, Mode: spec.ByBoth},
	} {
		value := guidellm.TrimValue(trim)
		if again, _, err := readTrim(value); err != nil || again != trim {
			t.Errorf("%+v is held as %v and read as %+v (%v)", trim, value, again, err)
		}
	}
	for value, want := range map[any]spec.Trim{
		nil: {}, 0.25: {Percent: 0.25}, int64(3): {Value: 3}, 2.5: {Value: 2.5},
	} {
		if got := guidellm.TrimValue(want); got != value {
			t.Errorf("%+v is held as %v, want %v", want, got, value)
		}
	}
	whole := guidellm.TransientOf(spec.Trim{})
	if !math.IsNaN(whole.Percent) || !math.IsNaN(whole.Value) || whole.Mode != stats.PreferDuration {
		t.Errorf("nothing is left out, and yet %+v", whole)
	}
	for _, x := range []float64{0, 0.25, 1, 3.5} {
		trim, _, err := readTrim(x)
		if err != nil {
			t.Fatal(err)
		}
		got, want := guidellm.TransientOf(trim), stats.TransientOf(x)
		if fmt.Sprint(got) != fmt.Sprint(want) { // NaN is not equal to itself
			t.Errorf("%v: got %+v, want %+v", x, got, want)
		}
	}
}

// Over-saturation is looked for, and stands in the report, where that was asked for.
func TestOverSaturation(t *testing.T) {
	c, err := read(append(words(baseLine), "--over-saturation", "min_seconds=1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o := c.OverSaturation; o == nil || o.MinSeconds != 1 || !o.Enabled || c.Observe() == nil {
		t.Errorf("asked for, and yet %+v", o)
	}
	if c, err = read(words(baseLine), nil); err != nil {
		t.Fatal(err)
	}
	if c.OverSaturation != nil || c.Observe() != nil {
		t.Errorf("not asked for, and yet %+v", c.OverSaturation)
	}
}
