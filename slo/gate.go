package slo

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/openloop/openloop/internal/num"
)

// Gate is a condition that a pipeline depends on: "rate>=10" (the max rate at SLO is no lower), "slo@10" (the
// objectives hold at this very rate), or "speed>=1.5" (the max speed of a trace is no lower).
type Gate struct {
	Rate  float64 // arrivals a second; of a speed, times that of the trace
	At    bool    // "slo@"
	Speed bool    // "speed>="
}

// ParseGate reads a gate.
func ParseGate(s string) (Gate, error) {
	text := strings.ReplaceAll(s, " ", "")
	g, what := Gate{}, "rate"
	rest, ok := strings.CutPrefix(text, "rate>=")
	if !ok {
		rest, g.At = strings.CutPrefix(text, "slo@")
	}
	if !ok && !g.At {
		what = "speed"
		if rest, g.Speed = strings.CutPrefix(text, "speed>="); !g.Speed {
			return Gate{}, fmt.Errorf(
				"gate %q: it is rate>=N or slo@N, N in requests per second, or speed>=N of a trace", s)
		}
	}
	rate, err := strconv.ParseFloat(rest, 64)
	if err != nil || !(rate > 0) || math.IsInf(rate, 0) {
		return Gate{}, fmt.Errorf("gate %q: %q is not a %s above 0", s, rest, what)
	}
	g.Rate = rate
	return g, nil
}

// String writes the gate as ParseGate reads it.
func (g Gate) String() string {
	switch {
	case g.At:
		return "slo@" + num.Exact(g.Rate)
	case g.Speed:
		return "speed>=" + num.Exact(g.Rate)
	}
	return "rate>=" + num.Exact(g.Rate)
}

// MarshalText writes the gate as ParseGate reads it.
func (g Gate) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads a gate.
func (g *Gate) UnmarshalText(text []byte) (err error) {
	*g, err = ParseGate(string(text))
	return err
}
