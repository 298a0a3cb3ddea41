package llmsim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// LengthKind names a distribution of output lengths.
type LengthKind string

// The kinds of [OutputLengths].
const (
	LengthMax         LengthKind = ""            // always the request's max_tokens
	LengthFixed       LengthKind = "fixed"       // always Mean
	LengthExponential LengthKind = "exponential" // exponential with mean Mean
	LengthPareto      LengthKind = "pareto"      // Pareto with mean Mean and tail index Shape: heavy-tailed
	LengthLognormal   LengthKind = "lognormal"   // log-normal with mean Mean and log-scale deviation Shape
)

// OutputLengths is the distribution of output lengths, in tokens, of requests that may stop by themselves. A drawn
// length is rounded up to a whole token, so at least 1, and cut off at the request's max_tokens.
type OutputLengths struct {
	Kind  LengthKind
	Mean  float64 // tokens, before rounding and cutting
	Shape float64 // pareto: tail index, above 1 (default 1.5, infinite variance); lognormal: sigma (default 1)
}

// lengthForms is how the distributions are written.
const lengthForms = "max, fixed:N, exponential:MEAN, pareto:MEAN[:ALPHA] or lognormal:MEAN[:SIGMA]"

// ParseOutputLengths reads "max", "fixed:N", "exponential:MEAN", "pareto:MEAN[:ALPHA]" or "lognormal:MEAN[:SIGMA]".
func ParseOutputLengths(text string) (OutputLengths, error) {
	kind, rest, _ := strings.Cut(text, ":")
	if kind == "max" && rest == "" {
		return OutputLengths{}, nil
	}
	if kind == "" {
		// The zero kind is written "max"; left empty it would be taken for that.
		return OutputLengths{}, fmt.Errorf("output lengths %q: no kind: write %s", text, lengthForms)
	}
	mean, shape, hasShape := strings.Cut(rest, ":")
	o := OutputLengths{Kind: LengthKind(kind)}
	var err error
	if o.Mean, err = strconv.ParseFloat(mean, 64); err != nil {
		return OutputLengths{}, fmt.Errorf("output lengths %q: no mean: write %s", text, lengthForms)
	}
	if hasShape {
		if o.Shape, err = strconv.ParseFloat(shape, 64); err != nil {
			return OutputLengths{}, fmt.Errorf("output lengths %q: %q is not a number", text, shape)
		}
	}
	if err := o.validate(); err != nil {
		return OutputLengths{}, err
	}
	return o, nil
}

// String writes the distribution as [ParseOutputLengths] reads it.
func (o OutputLengths) String() string {
	if o.Kind == LengthMax {
		return "max"
	}
	s := string(o.Kind) + ":" + strconv.FormatFloat(o.Mean, 'g', -1, 64)
	if o.Shape != 0 {
		s += ":" + strconv.FormatFloat(o.Shape, 'g', -1, 64)
	}
	return s
}

func (o OutputLengths) validate() error {
	switch o.Kind {
	case LengthMax:
		return nil
	case LengthFixed, LengthExponential, LengthPareto, LengthLognormal:
	default:
		return fmt.Errorf("output lengths: unknown kind %q, known are max, fixed, exponential, pareto and lognormal",
			string(o.Kind))
	}
	if !(o.Mean >= 1 && o.Mean <= 1e9) {
		return fmt.Errorf("output lengths %s: mean %v must lie between 1 and 1e9", o.Kind, o.Mean)
	}
	switch {
	case o.Shape == 0:
	case o.Kind == LengthPareto && !(o.Shape > 1 && o.Shape <= 100):
		return fmt.Errorf(
			"output lengths pareto: tail index %v must be above 1 (else there is no mean) and at most 100", o.Shape)
	case o.Kind == LengthLognormal && !(o.Shape > 0 && o.Shape <= 5):
		return fmt.Errorf("output lengths lognormal: sigma %v must be above 0 and at most 5", o.Shape)
	case o.Kind == LengthFixed || o.Kind == LengthExponential:
		return fmt.Errorf("output lengths %s: takes a mean and nothing more", o.Kind)
	}
	return nil
}

// Draw gives the length of the request with this arrival index, at least 1 and at most limit tokens, and whether the
// sequence ended by itself (finish reason "stop") rather than at the limit ("length"). It is a function of its
// arguments alone.
func (o OutputLengths) Draw(seed, index uint64, limit int) (tokens int, stopped bool) {
	if o.Kind == LengthMax {
		return limit, false
	}
	length := o.Mean
	// A PCG seeded with the pair gives each request its own stream: the order in which handlers run does not matter.
	rng := rand.New(rand.NewPCG(seed, index))
	switch o.Kind {
	case LengthExponential:
		length = rng.ExpFloat64() * o.Mean
	case LengthPareto:
		alpha := o.Shape
		if alpha == 0 {
			alpha = 1.5
		}
		// Mean of a Pareto distribution is xm·α/(α−1); the inverse transform of a uniform is xm·u^(−1/α).
		length = o.Mean * (alpha - 1) / alpha * math.Pow(1-rng.Float64(), -1/alpha)
	case LengthLognormal:
		sigma := o.Shape
		if sigma == 0 {
			sigma = 1
		}
		// Mean of a log-normal distribution is exp(μ+σ²/2).
		length = math.Exp(math.Log(o.Mean) - sigma*sigma/2 + sigma*rng.NormFloat64())
	}
	if length > float64(limit) {
		return limit, false
	}
	return max(1, int(math.Ceil(length))), true
}
