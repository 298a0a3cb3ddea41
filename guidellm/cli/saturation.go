package cli

import (
	"fmt"
	"math"
	"sync"

	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
)

// readSaturation reads --over-saturation. Its keys are those of GuideLLM's OverSaturationConstraintInitializer.
func (c *Command) readSaturation(a *arguments) error {
	settings := a.overSaturation.Object
	if settings == nil {
		return nil
	}
	c.Args.OverSaturation = settings
	config := oversaturation.Defaults()
	known := false
	for _, m := range settings {
		if m.Key == "enabled" {
			on, ok := truthOf(m.Value)
			if !ok {
				return fmt.Errorf("--over-saturation: enabled is true or false, not %s", describe(m.Value))
			}
			config.Enabled, known = on, true
			continue
		}
		x, isNumber := numberOf(m.Value)
		to := map[string]*float64{
			"min_seconds": &config.MinSeconds, "max_window_seconds": &config.MaxWindow,
			"moe_threshold": &config.MOEThreshold, "minimum_ttft": &config.MinTTFT,
			"maximum_window_ratio": &config.MaxWindowRatio, "confidence": &config.Confidence,
		}[m.Key]
		switch {
		case m.Key == "minimum_window_size":
			config.MinWindowSize = int(x)
		case to != nil:
			*to = x
		default:
			c.note("--over-saturation: %q is not a setting and has no effect, as in GuideLLM", m.Key)
			continue
		}
		isShare := m.Key == "maximum_window_ratio" || m.Key == "confidence"
		if !isNumber || !(x >= 0) || isShare && x > 1 || math.IsInf(x, 0) {
			return fmt.Errorf("--over-saturation: %s %v: it can't be negative, and a ratio or a confidence is "+
				"at most 1", m.Key, m.Value)
		}
		known = true
	}
	if known && config.Enabled {
		c.OverSaturation = &config
	}
	return nil
}

// Observe returns the observer of a run that ends every stage at which the server does not keep up, or at its number of
// answers; nil where neither was asked for.
func (c *Command) Observe() func(loadgen.Event) {
	saturated, enough := c.observeSaturation(), c.observeAnswers()
	switch {
	case saturated == nil:
		return enough
	case enough == nil:
		return saturated
	}
	return func(e loadgen.Event) {
		saturated(e)
		enough(e)
	}
}

// observeAnswers ends a stage when so many requests have ended. Unlike loadgen.Stage.MaxRequests, it lets requests be
// sent until then.
func (c *Command) observeAnswers() func(loadgen.Event) {
	if len(c.minRequests) == 0 {
		return nil
	}
	var mu sync.Mutex
	var run loadgen.Running
	stage, ended := -1, 0
	return func(e loadgen.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Run != run {
			run, ended = e.Run, 0
			stage++
		}
		if !e.Ended {
			return
		}
		if ended++; ended >= c.minRequests[min(stage, len(c.minRequests)-1)] {
			e.Run.StopFor(loadgen.StopMinRequests)
		}
	}
}

func (c *Command) observeSaturation() func(loadgen.Event) {
	if c.OverSaturation == nil {
		return nil
	}
	var mu sync.Mutex
	var run loadgen.Running // whose requests the detector follows: stages run one after the other
	var detector *oversaturation.Detector
	return func(e loadgen.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Run != run {
			run, detector = e.Run, oversaturation.New(*c.OverSaturation)
		}
		saturated := false
		switch at := e.At.Seconds(); {
		case !e.Ended:
			saturated = detector.Started(at, e.InFlight)
		case e.Record.Status == loadgen.Completed && e.Record.FirstToken > 0:
			saturated = detector.Finished(at, float64(e.Record.FirstToken-e.Record.Sent)/1e9)
		default:
			saturated = detector.Passed(at)
		}
		if saturated {
			e.Run.StopFor(loadgen.StopOverSaturated)
		}
	}
}
