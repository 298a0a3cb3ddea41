// Package num holds what several packages need of numbers: ranks and medians by one rule, a number that may be infinite
// or absent and survives JSON, and how numbers are written for people.
package num

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Rank is ⌈q·n⌉, from 1 to n: the quantile q of n sorted values is the one of this rank, the smallest that a share q of
// them does not exceed (GuideLLM's rule, without interpolation). A guard keeps 0.95·20 = 19.000000000000004 at 19.
func Rank(q float64, n int) int {
	return min(max(int(math.Ceil(q*float64(n)-1e-9*float64(n))), 1), n)
}

// Quantile is the value of rank Rank(q, n) among sorted values; zero of none.
func Quantile[T cmp.Ordered](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var zero T
		return zero
	}
	return sorted[Rank(q, len(sorted))-1]
}

// Median is the middle of the values, the mean of the two middle ones of an even number; 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Clone(values)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Value is a number that may be infinite (the latency of a request that failed) or absent (not a number). In JSON an
// absent one is null, and the infinite ones are the texts "+Inf" and "-Inf", so that neither is taken for the other.
type Value float64

// Absent is the Value that stands for no value.
func Absent() Value { return Value(math.NaN()) }

// IsAbsent says whether there is no value.
func (v Value) IsAbsent() bool { return math.IsNaN(float64(v)) }

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) {
	switch f := float64(v); {
	case math.IsNaN(f):
		return []byte("null"), nil
	case math.IsInf(f, 1):
		return []byte(`"+Inf"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Inf"`), nil
	}
	return json.Marshal(float64(v))
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *Value) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "null":
		*v = Absent()
		return nil
	case `"+Inf"`:
		*v = Value(math.Inf(1))
		return nil
	case `"-Inf"`:
		*v = Value(math.Inf(-1))
		return nil
	}
	return json.Unmarshal(b, (*float64)(v))
}

// Three writes a number with three significant digits, "-" where it is absent: "0.42", "12.3", "1240".
func Three(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case math.IsInf(v, 0):
		return "∞"
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Exact writes up to ten significant digits, which hides the noise of decimal fractions in binary but loses no
// nanosecond of what is likely to be written.
func Exact(v float64) string {
	return strconv.FormatFloat(Digits(v, 10), 'f', -1, 64)
}

// Round rounds to three significant digits.
func Round(v float64) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-2)
	return math.Round(v/unit) * unit
}

// Digits rounds to n significant digits. What comes out is the float nearest to that decimal number, so that it is
// written with no more digits.
func Digits(v float64, n int) float64 {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', n, 64), 64) // infinities and NaN are read, too
	return rounded
}

// Rate writes a rate in requests per second with three significant digits and no trailing zeros.
func Rate(v float64) string { return Exact(Round(v)) }

// Thousands writes 1420 as "1,420".
func Thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Count writes how many there are of something: "1 stage", "2 stages".
func Count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// Amount writes a number with three significant digits, and from 1,000 on whole: "0.42", "12.3", "1,240".
func Amount(v float64) string {
	if a := math.Abs(v); !(a >= 1000) || a > 1e15 {
		return Three(v)
	}
	return Thousands(int(math.Round(v)))
}

// Duration writes a time in the largest unit that leaves no zero before the point: "250ms", "1.5s", "20us".
func Duration(d time.Duration) string {
	switch abs := d.Abs(); {
	case abs >= time.Second:
		return Exact(d.Seconds()) + "s"
	case abs >= time.Millisecond || d == 0:
		return Exact(float64(d)/1e6) + "ms"
	default:
		return Exact(float64(d)/1e3) + "us"
	}
}

// RoundDuration rounds a duration to three digits, for people.
func RoundDuration(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d.Abs() >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}

// Span returns n values from lo to hi, both included, evenly spaced; of one value, lo.
func Span(lo, hi float64, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = lo
		if n > 1 {
			v[i] = lo + (hi-lo)*float64(i)/float64(n-1)
		}
	}
	if n > 1 {
		v[n-1] = hi
	}
	return v
}
