package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
)

// readPlan reads --profile and --rate.
func (c *Command) readPlan(a *arguments, getenv func(string) string) error {
	if a.profile.Valid {
		c.Args.Profile = a.profile.Value
	}
	c.Args.Rate = a.rate
	p := &c.Spec.Plan
	*p = spec.Plan{Profile: c.Args.Profile}
	if p.Profile == "async" { // constant by another name
		p.Profile = string(loadgen.ConstantGap)
	}
	if p.Profile == "sweep" {
		size, err := sweepSize(a.rate, getenv("GUIDELLM__DEFAULT_SWEEP_NUMBER"))
		p.Sweep = &spec.Sweep{Size: size, Seed: c.Args.RandomSeed}
		return err
	}
	var err error
	if p.Stages, err = c.stages(loadgen.Kind(p.Profile), a.rate); err != nil {
		return err
	}
	most := c.Spec.Limits.MaxConcurrency
	for _, stage := range p.Stages {
		if most > 0 && stage.Streams > most {
			return fmt.Errorf("--rate %d: more streams than --max-concurrency %d allows", stage.Streams, most)
		}
	}
	return nil
}

// sweepSize is how many stages a sweep has: the rate, else the setting, else GuideLLM's 10.
func sweepSize(rates []float64, setting string) (int, error) {
	size := 10
	switch {
	case len(rates) > 0:
		size = int(min(rates[0], math.MaxInt32))
	case setting != "":
		n, err := strconv.Atoi(strings.TrimSpace(setting))
		if err != nil {
			return 0, fmt.Errorf("GUIDELLM__DEFAULT_SWEEP_NUMBER %q: it is not a whole number", setting)
		}
		size = n
	}
	if size < 2 {
		return 0, fmt.Errorf("--rate %d: for a sweep it is the number of stages, at least 2", size)
	}
	return size, nil
}

// stages are the stages of a profile that is not a sweep.
func (c *Command) stages(kind loadgen.Kind, rates []float64) ([]loadgen.Load, error) {
	if kind == loadgen.Synchronous {
		if len(rates) > 0 {
			return nil, errors.New("--profile synchronous takes no --rate: it sends one request after the other")
		}
		return []loadgen.Load{{Kind: kind, Streams: 1}}, nil
	}
	if len(rates) == 0 {
		return nil, fmt.Errorf("--profile %s needs --rate", c.Args.Profile)
	}
	if kind == loadgen.Throughput {
		rates = rates[:1]
		if rates[0] != math.Trunc(rates[0]) {
			return nil, fmt.Errorf("--rate %v: a number of streams is whole", rates[0])
		}
	}
	var stages []loadgen.Load
	for _, rate := range rates {
		switch {
		case kind.Open():
			stages = append(stages, loadgen.Load{Kind: kind, Rate: rate, Seed: c.Args.RandomSeed})
		case rate < 1:
			return nil, fmt.Errorf("--rate %v: at least one stream is needed", rate)
		default:
			stages = append(stages, loadgen.Load{Kind: kind, Streams: int(min(rate, math.MaxInt32))})
		}
	}
	return stages, nil
}
