package main

import (
	"math"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// throughputStreams is GuideLLM's number of streams for its throughput profile.
const throughputStreams = 512

func newRun(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [URL]",
		Short: "run stages of load at given rates, and judge them",
		Example: `  openloop run http://localhost:8000 --rate 5
  openloop run http://localhost:8000 --rate 5,10,20 --slo 'ttft:p95<250ms'
  openloop run http://localhost:8000 --profile concurrent --rate 8`,
	}
	commonFlags(cmd, "target", "rate", "profile", "model", "api-key-file", "slo", "prompt-tokens", "output-tokens",
		"max-seconds", "output-dir")
	f := addRunFlags(cmd.Flags(), p)
	return p.measuring(cmd, f.spec)
}

// runFlags are the flags of openloop run.
type runFlags struct {
	*specFlags
	loadFlags
}

func addRunFlags(set *pflag.FlagSet, p *program) *runFlags {
	f := &runFlags{specFlags: addSpecFlags(set, p)}
	f.addWorkers(set)
	set.StringVar(&f.profile, "profile", "",
		"`PROFILE`: synchronous, concurrent, throughput, constant or poisson (default: poisson, with --rate)")
	set.Var((*ratesValue)(&f.rates), "rate",
		"requests per second, or with --profile concurrent or throughput streams; a list runs a stage "+
			"for each")
	set.StringVar(&f.arrival, "arrival", "",
		"`ARRIVALS`: how requests arrive at --rate, --ramp or --stages: "+loadgen.ArrivalForms+
			"; in place of --profile")
	set.StringVar(&f.ramp, "ramp", "",
		"`FROM..TO`: let the rate change evenly over the stage, from and to requests per second")
	set.StringVar(&f.stages, "stages", "",
		"`STAGES`: let the rate follow a profile: '5rps:60s,20rps:30s,5..20rps:60s'")
	f.addTrace(set)
	set.Float64Var(&f.traceSpeed, "trace-speed", 1, "replay the trace this many times as fast")
	return f
}

// spec turns the flags into what they ask for. args are the arguments that are not flags.
func (f *runFlags) spec(args []string) (spec.Spec, error) {
	loads, err := f.loads(f.specFlags)
	if err != nil {
		return spec.Spec{}, err
	}
	s, err := f.specFlags.spec(args)
	if err != nil {
		return s, err
	}
	s.Plan = spec.Plan{Profile: string(loads[0].Kind), Stages: loads}
	if f.profile == "" && f.arrival == "" && len(f.rates) > 0 {
		f.note("poisson arrivals (--profile constant for even gaps, concurrent for a number of streams)")
	}
	return s, nil
}

// loadFlags are the flags of run that say how requests arrive.
type loadFlags struct {
	profile, arrival, ramp, stages string
	rates                          []float64
}

// loads turns the flags into the loads of the stages. It sets the length of a stage where these flags say it.
func (l loadFlags) loads(f *specFlags) ([]loadgen.Load, error) {
	shapes := 0
	// The sessions of a trace may begin at a rate in place of their own times, which some traces have none of.
	ownTimes := f.trace != "" && !(f.wholeTalks && len(l.rates) > 0)
	for _, given := range []bool{l.ramp != "", l.stages != "", ownTimes, len(l.rates) > 0} {
		if given {
			shapes++
		}
	}
	kind := loadgen.Kind(l.profile)
	switch {
	case f.trace == "" && (f.traceBlock != 0 || f.traceUnit != ""):
		return nil, usageError("--trace-block-tokens and --trace-time-unit need --trace")
	case shapes > 1:
		return nil, usageError("--rate, --ramp, --stages and --trace contradict each other: give one")
	case l.profile != "" && !kind.Open() && (l.arrival != "" || l.ramp != "" || l.stages != "" || f.trace != ""):
		return nil, usageError(
			"--profile %s is a closed loop: --arrival, --ramp, --stages and --trace are for open ones", l.profile)
	case f.trace != "":
		if err := checkTrace(f); err != nil {
			return nil, err
		}
	}
	switch {
	case ownTimes && (l.arrival != "" || l.profile != ""):
		return nil, withHint(usageError("--trace has its own arrivals: leave out --profile and --arrival"),
			"--sessions --rate begins its sessions at a rate")
	case ownTimes:
		return []loadgen.Load{{Kind: loadgen.ConstantGap, Name: loadgen.TraceName}}, nil
	case l.arrival != "" && l.profile != "":
		return nil, usageError("--profile and --arrival contradict each other: --arrival alone makes an open loop")
	}
	var arrival loadgen.Arrival
	if l.arrival != "" {
		var err error
		if arrival, err = loadgen.ParseArrival(l.arrival); err != nil {
			return nil, usageError("--arrival: %w", err)
		}
		kind = loadgen.KindOf(arrival)
	}
	if l.ramp != "" || l.stages != "" {
		return l.curveLoad(f, kind, arrival)
	}
	if kind == "" && len(l.rates) > 0 {
		kind = loadgen.PoissonGaps
	}
	loads, err := l.rateLoads(f, kind)
	for i := range loads {
		loads[i].Arrival = arrival
	}
	return loads, err
}

// checkTrace checks what the flags say of a trace. Without another limit it is sent to its end.
func checkTrace(f *specFlags) error {
	switch {
	case len(f.data) > 0:
		return usageError("--trace and --data contradict each other: a trace has its own requests")
	case f.traceUnit != "" && f.traceUnit != tokens.Milliseconds && f.traceUnit != tokens.Seconds:
		return usageError("--trace-time-unit %q: it is ms or s", f.traceUnit)
	case f.traceBlock < 0:
		return usageError("--trace-block-tokens %d: it can't be negative", f.traceBlock)
	case !(f.traceSpeed > 0):
		return usageError("--trace-speed %v: it must be above 0", f.traceSpeed)
	case !f.set.Changed("max-seconds"):
		f.stageTime = 0 // the trace says how long
	}
	return nil
}

// curveLoad is the load of --ramp or --stages, whose rate changes over the stage.
func (l loadFlags) curveLoad(f *specFlags, kind loadgen.Kind, arrival loadgen.Arrival) ([]loadgen.Load, error) {
	if kind == "" {
		kind = loadgen.KindOf(arrival)
	} else if kind == loadgen.PoissonGaps && arrival.Kind == "" {
		arrival.Kind = loadgen.PoissonArrival
	}
	length := f.stageTime
	var shape loadgen.Profile
	var err error
	name := "stages"
	if l.stages != "" {
		if shape, err = loadgen.ParseProfile(l.stages); err != nil {
			return nil, usageError("--stages: %w", err)
		}
		if f.set.Changed("max-seconds") && length > shape.Length() {
			return nil, usageError("--max-seconds %s is beyond the end of --stages, %v", shortTime(f.stageTime),
				shape.Length())
		}
		if !f.set.Changed("max-seconds") {
			f.stageTime = shape.Length()
		}
	} else {
		if f.stageTime == 0 {
			return nil, usageError("--ramp needs --max-seconds: the rate reaches its end then")
		}
		if shape, err = loadgen.ParseRamp(l.ramp, length); err != nil {
			return nil, usageError("--ramp: %w", err)
		}
		name = "ramp " + l.ramp
	}
	return []loadgen.Load{{
		Kind: kind, Rate: shape.Requests() / shape.Length().Seconds(), Seed: f.seed, Arrival: arrival, Profile: shape,
		Name: name + " " + arrival.String(),
	}}, nil
}

// rateLoads turns --profile and --rate into loads.
func (l loadFlags) rateLoads(f *specFlags, kind loadgen.Kind) ([]loadgen.Load, error) {
	rates := l.rates
	switch kind {
	case loadgen.Synchronous:
		if len(rates) > 0 {
			return nil, usageError("--profile synchronous takes no --rate: it sends one request after the other")
		}
		return []loadgen.Load{{Kind: kind, Streams: 1}}, nil
	case loadgen.Throughput:
		if len(rates) == 0 {
			rates = []float64{throughputStreams}
		}
	case loadgen.Concurrent, loadgen.ConstantGap, loadgen.PoissonGaps:
		if len(rates) == 0 {
			return nil, usageError("--profile %s needs --rate", kind)
		}
	case "":
		return nil, withHint(usageError("no load: give --rate, in requests per second"),
			"--profile synchronous, concurrent or throughput sends without a rate")
	default:
		return nil, usageError("--profile %q: it is synchronous, concurrent, throughput, constant or poisson "+
			"(\"openloop sweep\" sweeps)", kind)
	}
	var loads []loadgen.Load
	for _, r := range rates {
		switch {
		case !(r > 0) || math.IsInf(r, 0):
			return nil, usageError("--rate %v: it must be above 0", r)
		case kind.Open():
			loads = append(loads, loadgen.Load{Kind: kind, Rate: r, Seed: f.seed})
		case r != math.Trunc(r):
			return nil, usageError("--rate %v: a number of streams is whole", r)
		case r > float64(f.maxConcurrency):
			return nil, usageError("--rate %v: more streams than --max-concurrency %d allows", r, f.maxConcurrency)
		default:
			loads = append(loads, loadgen.Load{Kind: kind, Streams: int(r)})
		}
	}
	return loads, nil
}

// addTrace adds the flags that name a trace.
func (f *specFlags) addTrace(set *pflag.FlagSet) {
	set.StringVar(&f.trace, "trace", "",
		"replay a recorded load, each request at its time: a `FILE` of JSON lines as Mooncake's, Bailian's or vLLM's, "+
			"a CSV of the Azure LLM inference traces or BurstGPT, or sessions of agents (WEKA, OpenTelemetry)")
	set.IntVar(&f.traceBlock, "trace-block-tokens", 0,
		"tokens that a hash identifier of the trace stands for, such as 512 or 16 (0: as identifiers and lengths show)")
	set.StringVar(&f.traceUnit, "trace-time-unit", "",
		"`UNIT` of the trace's timestamps: ms or s (default: as the form and the rate show)")
}
