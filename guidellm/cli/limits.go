package cli

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/spec"
)

// noLimit is the length of a stage without a limit: as long as openloop lets a stage be.
const noLimit = 1e7 * time.Second

// readLimits reads what ends a stage and what is left out of it.
func (c *Command) readLimits(a *arguments) error {
	l, echo := &c.Spec.Limits, &c.Args
	c.limited = a.maxSeconds.Valid || a.maxRequests.Valid
	l.MaxDuration, l.MaxRequests = 0, int(a.maxRequests.Value)
	if seconds := a.maxSeconds.Value; a.maxSeconds.Valid {
		if !(seconds > 0) || seconds > noLimit.Seconds() {
			return fmt.Errorf("--max-seconds %v: it must be above 0 and at most %.0f", seconds, noLimit.Seconds())
		}
		echo.MaxSeconds = a.maxSeconds.given
		l.MaxDuration = time.Duration(seconds * float64(time.Second))
	} else if !c.limited {
		l.MaxDuration = noLimit
	}
	for _, limit := range []struct {
		flag  string
		given wholeArg
	}{{"--max-requests", a.maxRequests}, {"--max-errors", a.maxErrors}} {
		if n := limit.given; n.Valid && n.Value < 1 {
			return fmt.Errorf("%s %d: it must be at least 1", limit.flag, n.Value)
		}
	}
	echo.MaxRequests, echo.MaxErrors = a.maxRequests.Null, a.maxErrors.Null
	l.MaxErrors = int(a.maxErrors.Value)
	for _, limit := range []struct {
		flag  string
		given numberArg
	}{{"--max-error-rate", a.maxErrorRate}, {"--max-global-error-rate", a.maxGlobalErrorRate}} {
		if x := limit.given; x.Valid && !(x.Value > 0 && x.Value < 1) {
			return fmt.Errorf("%s %v: it must lie between 0 and 1", limit.flag, x.Value)
		}
	}
	echo.MaxErrorRate, echo.MaxGlobalErrorRate = a.maxErrorRate.Null, a.maxGlobalErrorRate.Null
	l.MaxErrorRate, l.MaxGlobalErrorRate = a.maxErrorRate.Value, a.maxGlobalErrorRate.Value
	if rampup := a.rampup.Value; rampup < 0 || rampup > noLimit.Seconds() {
		return fmt.Errorf("--rampup %v: it can't be negative, and is at most %.0f", rampup, noLimit.Seconds())
	}
	echo.Rampup, l.RampUp = a.rampup.Value, time.Duration(a.rampup.Value*float64(time.Second))
	return c.readTrims(a)
}

// readTrims reads --warmup and --cooldown.
func (c *Command) readTrims(a *arguments) error {
	l := &c.Spec.Limits
	warmup, warmupEcho, err := readTrim(a.warmup.value)
	if err != nil {
		return fmt.Errorf("--warmup: %w", err)
	}
	cooldown, cooldownEcho, err := readTrim(a.cooldown.value)
	if err != nil {
		return fmt.Errorf("--cooldown: %w", err)
	}
	l.Warmup, l.Cooldown = spec.Trim{}, spec.Trim{}
	if !c.limited {
		if warmupEcho != nil || cooldownEcho != nil {
			c.note("--warmup and --cooldown have no effect on a stage without a limit")
		}
		return nil
	}
	l.Warmup, l.Cooldown = warmup, cooldown
	c.Args.Warmup, c.Args.Cooldown = warmupEcho, cooldownEcho
	if d := l.MaxDuration; d > 0 && l.Warmup.Duration(*l)+l.Cooldown.Duration(*l) >= d {
		return fmt.Errorf("--warmup and --cooldown leave nothing of a stage of %v", d)
	}
	return nil
}

// readTrim reads a warm-up or cool-down as GuideLLM takes it (benchmark/schemas/base.py, TransientPhaseConfig): a
// number, or an object of percent, value and mode. echo is how GuideLLM writes it down.
func readTrim(value any) (trim spec.Trim, echo any, err error) {
	switch v := value.(type) {
	case nil:
		return spec.Trim{}, nil, nil
	case int64, float64:
		x, _ := numberOf(v)
		if !(x >= 0) || math.IsInf(x, 0) {
			return trim, nil, fmt.Errorf("%v: it can't be negative", v)
		}
		trim = spec.TrimOf(x)
		trim.Zero = x == 0
		return trim, v, nil
	case guidellm.Object:
		return readTrimObject(v)
	}
	return trim, nil, fmt.Errorf("it is %s: want a number, or an object of percent, value and mode", describe(value))
}

func readTrimObject(o guidellm.Object) (trim spec.Trim, echo any, err error) {
	out := guidellm.Object{}
	hasPercent := false
	for _, m := range o {
		switch m.Key {
		case "percent", "value":
			if m.Value == nil {
				continue
			}
			x, ok := numberOf(m.Value)
			if !ok || !(x >= 0) || math.IsInf(x, 0) || m.Key == "percent" && x >= 1 {
				return trim, nil, fmt.Errorf("%s %v: it is a number from 0, and a percent is below 1", m.Key, m.Value)
			}
			if m.Key == "percent" {
				trim.Percent, hasPercent = x, true
			} else {
				trim.Value = x
			}
			m.Value = x
		case "mode":
			mode, _ := m.Value.(string)
			trim.Mode = spec.TrimMode(mode)
			if !slices.Contains(trimModes, trim.Mode) {
				return trim, nil, fmt.Errorf(
					"mode %v: it is duration, requests, prefer_duration, prefer_requests or both", m.Value)
			}
		default:
			return trim, nil, fmt.Errorf("%q is not known; an object has percent, value and mode", m.Key)
		}
		out = append(out, m)
	}
	if hasPercent { // it goes before the value, also where it is 0
		trim.Value = 0
	}
	trim.Zero = len(out) > 0 && trim.IsZero()
	return trim, out, nil
}

var trimModes = []spec.TrimMode{
	spec.ByDuration, spec.ByRequests, spec.PreferDuration, spec.PreferRequests, spec.ByBoth,
}
