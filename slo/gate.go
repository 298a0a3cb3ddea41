package slo

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/openloop/openloop/internal/num"
)

// Gate is a condition that a pipeline depends on: "rate>=10" (the max rate at SLO is no lower) or "slo@10" (the
// objectives hold at this very rate).
type Gate struct {
	Rate float64 // req/s
	At   bool    // "slo@"
}

// ParseGate reads a gate.
func ParseGate(s string) (Gate, error) {
	text := strings.ReplaceAll(s, " ", "")
	var g Gate
	rest, ok := strings.CutPrefix(text, "rate>=")
	if !ok {
		if rest, g.At = strings.CutPrefix(text, "slo@"); !g.At {
			return Gate{}, fmt.Errorf("gate %q: it is rate>=N or slo@N, N in requests per second", s)
		}
	}
	rate, err := strconv.ParseFloat(rest, 64)
	if err != nil || !(rate > 0) || math.IsInf(rate, 0) {
		return Gate{}, fmt.Errorf("gate %q: %q is not a rate above 0", s, rest)
	}
	g.Rate = rate
	return g, nil
}

// String writes the gate as ParseGate reads it.
func (g Gate) String() string {
	if g.At {
		return "slo@" + num.Exact(g.Rate)
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
