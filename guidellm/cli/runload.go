package cli

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
)

// runProfiles are the profiles that openloop takes, refusedProfiles the others with what to do.
var (
	runProfiles = []string{
		"synchronous", "concurrent", "throughput", "constant", "poisson", "async", "sweep", "replay",
	}
	refusedProfiles = map[string]string{
		"goodput": "openloop searches for a rate that meets objectives, not for a number of streams: " +
			"openloop sweep URL --slo 'ttft:p95<250ms'",
		"knee": "give the numbers of streams: kind=concurrent,streams=…; or let openloop find the highest rate: " +
			"openloop sweep URL --slo …",
	}
)

// profile reads the profile (schemas/benchmark/profiles). rates are the rates or streams of all benchmarks.
func (r *runReader) profile(s *section, rates []any) error {
	if len(s.rest) == 0 && s.err == nil {
		return errors.New("no profile: give --profile kind=constant,rate=5, or a --scenario")
	}
	kind := s.kind(runProfiles, refusedProfiles)
	if s.err != nil {
		return s.err
	}
	r.Args.Profile = kind
	p := &r.Spec.Plan
	*p = spec.Plan{Profile: kind}
	load := loadgen.Kind(kind)
	if kind == "async" { // constant by another name
		load, p.Profile, r.Args.Profile = loadgen.ConstantGap, string(loadgen.ConstantGap), string(loadgen.ConstantGap)
	}
	switch kind {
	case "synchronous":
		p.Stages = []loadgen.Load{{Kind: loadgen.Synchronous, Streams: 1}}
	case "concurrent":
		for _, n := range r.rates(s, "streams", rates) {
			p.Stages = append(p.Stages, loadgen.Load{Kind: load, Streams: int(min(n, math.MaxInt32))})
		}
	case "throughput":
		n, given := s.whole("max_concurrency", 1)
		if !given {
			s.failed("max_concurrency", "it is missing: the number of requests in flight, such as 512")
		}
		r.Args.Rate = []float64{float64(n)}
		p.Stages = []loadgen.Load{{Kind: load, Streams: int(min(n, math.MaxInt32))}}
	case "constant", "poisson", "async":
		for _, rate := range r.rates(s, "rate", rates) {
			p.Stages = append(p.Stages, loadgen.Load{Kind: load, Rate: rate, Seed: r.Args.RandomSeed})
		}
		r.readCap(s)
	case "sweep":
		r.readSweep(s)
	case "replay":
		r.readReplay(s)
	}
	if r.replay && kind != "replay" {
		s.failed("kind", "%s: the data is a trace, which kind=replay replays", kind)
	}
	if kind != "replay" {
		r.readRampUp(s, kind)
	}
	if most := r.Spec.Limits.MaxConcurrency; most > 0 {
		for _, stage := range p.Stages {
			if stage.Streams > most {
				s.failed("streams", "%d: more than --max-concurrency %d allows", stage.Streams, most)
			}
		}
	}
	return r.readPhases(s)
}

// rates are the rates or streams of a profile, at least one.
func (r *runReader) rates(s *section, key string, all []any) []float64 {
	s.take(key)
	given := section{path: s.path, rest: guidellm.Object{{Key: key, Value: flatten(all)}}}
	list := given.numbers(key)
	if given.err != nil {
		s.err = errors.Join(s.err, given.err)
	} else if len(list) == 0 {
		s.failed(key, "it is missing: at least one number")
	}
	if key == "streams" {
		for i, n := range list {
			if list[i] = math.Trunc(n); list[i] < 1 {
				s.failed(key, "%v: at least one stream is needed", n)
			}
		}
	}
	r.Args.Rate = list
	return list
}

// flatten makes one list of values that may be lists, also as JSON text.
func flatten(values []any) []any {
	var out []any
	for _, v := range values {
		out = append(out, listOf(fromText(v))...)
	}
	return out
}

// readCap reads the cap on requests in flight of an open loop.
func (r *runReader) readCap(s *section) {
	if n, given := s.count("max_concurrency", 1); given {
		r.Spec.Limits.MaxConcurrency = n
		r.note("profile.max_concurrency %d: what is due when so many requests are in flight waits, and the wait is "+
			"part of its latency from the scheduled time", n)
	}
}

func (r *runReader) readSweep(s *section) {
	size, given := s.whole("sweep_size", 2)
	if !given {
		size = 10
	}
	r.Args.Rate = []float64{float64(size)}
	sweep := &spec.Sweep{Size: int(min(size, math.MaxInt32)), Seed: r.Args.RandomSeed}
	switch kind := s.text("strategy_type"); kind {
	case "", "constant":
	case "poisson":
		sweep.Arrival.Kind = loadgen.PoissonArrival
	default:
		s.failed("strategy_type", "%q: it is constant or poisson", kind)
	}
	r.readCap(s)
	r.Spec.Plan.Sweep = sweep
}

// readReplay reads the profile of a trace, whose times are read with it.
func (r *runReader) readReplay(s *section) {
	if !r.replay {
		s.failed("kind", "replay: the data is not a trace: --data kind=mooncake or kind=trace_synthetic")
		return
	}
	scale, given := s.number("time_scale", 0)
	if !given {
		scale = 1
	}
	if speed := 1 / (scale * r.slowDown); speed > 0 && !math.IsInf(speed, 0) {
		r.Spec.Workload.Trace.Speed = speed
	} else {
		s.failed("time_scale", "%v: it must be above 0", scale)
	}
	if turn := s.text("schedule_turn"); turn != "" && turn != "timestamp" && turn != "idle_gap" {
		s.failed("schedule_turn", "%q: it is timestamp or idle_gap", turn)
	}
	s.refuse("a trace has its own times", "rampup_duration")
	r.Spec.Plan.Profile = string(loadgen.ConstantGap)
	r.Spec.Plan.Stages = []loadgen.Load{{Kind: loadgen.ConstantGap, Name: loadgen.TraceName}}
}

func (r *runReader) readRampUp(s *section, kind string) {
	seconds, given := s.number("rampup_duration", 0)
	switch {
	case !given || seconds == 0:
	case kind != "concurrent" && kind != "throughput":
		s.failed("rampup_duration",
			"it is for concurrent and throughput; openloop run URL --ramp 1..10 lets a rate rise")
	case seconds > noLimit.Seconds():
		s.failed("rampup_duration", "%v: it is at most %.0f", seconds, noLimit.Seconds())
	default:
		r.Args.Rampup, r.Spec.Limits.RampUp = seconds, time.Duration(seconds*float64(time.Second))
	}
}

// readPhases reads warmup and cooldown. They are applied by constraints, when it is known what limits a stage.
func (r *runReader) readPhases(s *section) error {
	l := &r.Spec.Limits
	for _, phase := range []struct {
		key  string
		to   *spec.Trim
		echo *any
	}{{"warmup", &l.Warmup, &r.Args.Warmup}, {"cooldown", &l.Cooldown, &r.Args.Cooldown}} {
		value := fromText(s.take(phase.key))
		if o, ok := value.(guidellm.Object); ok { // null is as if it were not there
			kept := guidellm.Object{}
			for _, m := range o {
				if m.Value != nil {
					kept = append(kept, m)
				}
			}
			if value = kept; len(kept) == 0 || len(kept) == 1 && kept[0].Key == "mode" {
				value = nil
			}
		}
		trim, echo, err := readTrim(value)
		if err != nil {
			s.failed(phase.key, "%w", err)
		}
		*phase.to, *phase.echo = trim, echo
	}
	return s.end()
}

// constraintKinds are GuideLLM's constraints (schemas/scheduler/constraints).
var constraintKinds = []string{
	"max_duration", "max_requests", "min_requests", "max_errors", "max_error_rate", "max_global_error_rate",
	"over_saturation",
}

// errorWindow is how many requests the limits of errors look at, as in GuideLLM unless it is told otherwise.
const errorWindow = 30

// constraints reads what ends a stage. Each value may be a list, of the stages in their order; the last one is that of
// all further stages.
func (r *runReader) constraints(value any) error {
	list, ok := value.([]any)
	if value != nil && !ok {
		return fmt.Errorf("constraints: it is %s: want a list", describe(value))
	}
	values := map[string][]float64{}
	for i, item := range list {
		s := newSection(fmt.Sprintf("constraints[%d]", i), item)
		kind := s.kind(constraintKinds, nil)
		if s.err != nil {
			return s.err
		}
		if scope := s.text("stopping_scope"); scope != "" && scope != "current" {
			s.failed("stopping_scope", "%q: openloop ends the stage alone; openloop sweep looks for the highest rate",
				scope)
		}
		switch kind {
		case "max_duration":
			values[kind] = r.limitValues(s, "seconds", noLimit.Seconds())
		case "max_requests", "min_requests", "max_errors":
			values[kind] = r.limitValues(s, "count", math.MaxInt32)
		case "max_error_rate":
			values[kind] = r.limitValues(s, "rate", math.Nextafter(1, 0))
			r.fixed(s, "window")
		case "max_global_error_rate":
			values[kind] = r.limitValues(s, "rate", math.Nextafter(1, 0))
			r.fixed(s, "minimum")
		case "over_saturation":
			r.overSaturation(s)
		}
		if err := s.end(); err != nil {
			return err
		}
	}
	return r.applyLimits(values)
}

// limitValues are the values of a constraint, above 0 and at most most.
func (r *runReader) limitValues(s *section, key string, most float64) []float64 {
	list := s.numbers(key)
	if len(list) == 0 {
		s.failed(key, "it is missing")
	}
	for _, x := range list {
		if x > most {
			s.failed(key, "%v: it is at most %v", x, most)
		}
	}
	return list
}

// fixed refuses another number of requests than the one that openloop looks at.
func (r *runReader) fixed(s *section, key string) {
	if n, given := s.number(key, 0); given && n != errorWindow {
		s.failed(key, "%v: openloop looks at %d requests; leave it out", n, errorWindow)
	}
}

func (r *runReader) overSaturation(s *section) {
	if mode := s.text("mode"); mode != "" && mode != "enforce" {
		s.failed("mode", "%q: openloop ends the stage (enforce), or does not look for it", mode)
	}
	c := oversaturation.Defaults()
	c.Enabled = true
	for _, setting := range []struct {
		key  string
		to   *float64
		most float64
	}{
		{"min_seconds", &c.MinSeconds, math.Inf(1)}, {"max_window_seconds", &c.MaxWindow, math.Inf(1)},
		{"moe_threshold", &c.MOEThreshold, math.Inf(1)}, {"minimum_ttft", &c.MinTTFT, math.Inf(1)},
		{"maximum_window_ratio", &c.MaxWindowRatio, 1}, {"confidence", &c.Confidence, 1},
	} {
		if x, given := s.number(setting.key, 0); given {
			if *setting.to = x; x > setting.most {
				s.failed(setting.key, "%v: it is at most %v", x, setting.most)
			}
		}
	}
	if n, given := s.count("minimum_window_size", 0); given {
		c.MinWindowSize = n
	}
	r.OverSaturation = &c
	r.Args.OverSaturation = guidellm.Object{{Key: "enabled", Value: true}}
}

// applyLimits gives each stage its limits. Those of the spec are the widest.
func (r *runReader) applyLimits(values map[string][]float64) error {
	stages := 1
	for _, list := range values {
		stages = max(stages, len(list))
	}
	base := r.Spec.Limits
	var all []spec.Limits
	for i := range stages {
		of := func(kind string) float64 {
			list := values[kind]
			if len(list) == 0 {
				return 0
			}
			return list[min(i, len(list)-1)]
		}
		l := base
		l.MaxDuration = time.Duration(of("max_duration") * float64(time.Second))
		l.MaxRequests, l.MaxErrors = r.sessionsOf(of("max_requests")), int(math.Ceil(of("max_errors")))
		l.MaxErrorRate, l.MaxGlobalErrorRate = of("max_error_rate"), of("max_global_error_rate")
		if n := of("min_requests"); n > 0 {
			r.minRequests = append(r.minRequests, int(math.Ceil(n)))
		}
		r.limited = l.MaxDuration > 0 || l.MaxRequests > 0
		if r.replay { // the trace ends it
			r.limited = true
		} else if !r.limited {
			l.MaxDuration, l.Warmup, l.Cooldown = noLimit, spec.Trim{}, spec.Trim{}
		}
		if d := l.MaxDuration; d > 0 && l.Warmup.Duration(l)+l.Cooldown.Duration(l) >= d {
			return fmt.Errorf("profile.warmup and profile.cooldown leave nothing of a stage of %v", d)
		}
		all = append(all, l)
	}
	widest := &r.Spec.Limits
	*widest = all[0]
	for _, l := range all[1:] {
		widest.MaxDuration = max(widest.MaxDuration, l.MaxDuration)
		widest.MaxRequests = max(widest.MaxRequests, l.MaxRequests)
	}
	if len(all) > 1 {
		r.Spec.Plan.Limits = all
	}
	if !r.limited && (base.Warmup != spec.Trim{} || base.Cooldown != spec.Trim{}) {
		r.note("profile.warmup and profile.cooldown have no effect on a stage without a limit")
	}
	r.echoLimits(widest)
	r.limited = r.limited || r.minRequests != nil
	return nil
}

// sessionsOf is a number of requests as openloop counts them: what stands alone, or whole sessions.
func (r *runReader) sessionsOf(requests float64) int {
	n := int(math.Ceil(requests))
	if r.turns <= 1 || n == 0 {
		return n
	}
	sessions := (n + r.turns - 1) / r.turns
	if sessions*r.turns != n {
		r.note("max_requests %d: openloop counts whole sessions of %d turns, so %d requests", n, r.turns,
			sessions*r.turns)
	}
	return sessions
}

func (r *runReader) echoLimits(l *spec.Limits) {
	a := &r.Args
	if l.MaxDuration > 0 && l.MaxDuration < noLimit {
		a.MaxSeconds = l.MaxDuration.Seconds()
	}
	for _, limit := range []struct {
		n  int
		to *guidellm.Null[int64]
	}{{l.MaxRequests, &a.MaxRequests}, {l.MaxErrors, &a.MaxErrors}} {
		if limit.n > 0 {
			*limit.to = guidellm.Some(int64(limit.n))
		}
	}
	for _, limit := range []struct {
		x  float64
		to *guidellm.Null[float64]
	}{{l.MaxErrorRate, &a.MaxErrorRate}, {l.MaxGlobalErrorRate, &a.MaxGlobalErrorRate}} {
		if limit.x > 0 {
			*limit.to = guidellm.Some(limit.x)
		}
	}
	a.Warmup, a.Cooldown = guidellm.TrimValue(l.Warmup), guidellm.TrimValue(l.Cooldown)
}

// orList is names in words, for people.
func orList(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
