package sweep

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Gate is a condition on the answer that a pipeline depends on: "rate>=10" or "slo@10".
type Gate struct {
	Rate float64 // req/s
	At   bool    // "slo@": the objectives hold at this very rate; else: the knee lies no lower
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
		return Gate{}, fmt.Errorf("gate %q: %q is no rate above 0", s, rest)
	}
	g.Rate = rate
	return g, nil
}

// String writes the gate as ParseGate reads it.
func (g Gate) String() string {
	if g.At {
		return "slo@" + number(g.Rate)
	}
	return "rate>=" + number(g.Rate)
}

// ErrNoSuchLeg means that a gate can't be judged: no leg ran at its rate, and the knee does not decide it.
var ErrNoSuchLeg = errors.New("no leg decides it")

// Evaluate says whether the gate is met. "rate>=10" is met by a knee that holds at 10 or above. "slo@10" is met where the
// legs at that rate pass; where none ran there, the knee decides: it holds at every rate up to HoldsAt, and at none from
// FailsAt on. A leg that was inconclusive does not meet a gate. The knee may be nil where only single legs were run.
func (g Gate) Evaluate(k *Knee, legs []Trial) (met bool, why string, err error) {
	if g.At {
		for _, p := range points(legs) {
			if math.Abs(p.rate/g.Rate-1) < 1e-9 {
				return p.outcome == Passes, fmt.Sprintf("at %s req/s the objectives: %s", rateText(g.Rate), p.outcome), nil
			}
		}
	}
	if k == nil {
		return false, "", fmt.Errorf("gate %s: %w", g, ErrNoSuchLeg)
	}
	switch {
	case k.HoldsAt >= g.Rate*(1-1e-9):
		return true, fmt.Sprintf("the objectives hold at %s req/s", rateText(k.HoldsAt)), nil
	case !g.At || k.FailsAt > 0 && g.Rate >= k.FailsAt:
		return false, k.Headline(), nil
	}
	return false, "", fmt.Errorf("gate %s: %w: it lies between %s and %s req/s", g, ErrNoSuchLeg, rateText(k.HoldsAt), rateText(k.FailsAt))
}
