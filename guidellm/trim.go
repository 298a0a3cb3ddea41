package guidellm

import (
	"math"

	"github.com/openloop/openloop/guidellm/stats"
	"github.com/openloop/openloop/spec"
)

// TrimValue is how GuideLLM's arguments hold a warm-up or cool-down: nil for none, a share below 1, a number of seconds
// or requests from 1, and an Object of percent, value and mode for what a number does not say.
func TrimValue(t spec.Trim) any {
	number := wholeOr(t.Value)
	switch {
	case t.Zero && t.Mode == "":
		return int64(0)
	case t.IsZero() && !t.Zero:
		return nil
	case t.Mode == "" && t.Percent > 0:
		return t.Percent
	case t.Mode == "" && t.Value >= 1:
		return number
	}
	o := Object{}
	if t.Percent > 0 {
		o = append(o, Member{"percent", t.Percent})
	} else {
		o = append(o, Member{"value", number})
	}
	if t.Mode != "" {
		o = append(o, Member{"mode", string(t.Mode)})
	}
	return o
}

// TransientOf is a warm-up or cool-down as the statistics take it.
func TransientOf(t spec.Trim) stats.Transient {
	out := stats.NoTransient()
	switch {
	case t.Percent > 0:
		out.Percent = t.Percent
	case t.Value > 0:
		out.Value = t.Value
	case t.Zero:
		out.Percent = 0
	}
	if t.Mode != "" {
		out.Mode = stats.TransientMode(t.Mode)
	}
	return out
}

// wholeOr is a number as Python would have read it: an int where it is whole.
func wholeOr(v float64) any {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return int64(v)
	}
	return v
}
