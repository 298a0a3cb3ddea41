package main

import (
	"context"
	"io"
	"math"

	"github.com/openloop/openloop/loadgen"
)

// throughputStreams is GuideLLM's number of streams for its throughput profile.
const throughputStreams = 512

func runProfile(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("run", stderr, `openloop run runs one profile, at one or more rates, and writes GuideLLM 0.5.0's report.

  openloop run --target http://localhost:8000 --profile poisson --rate 5,10,20
  openloop run --target http://localhost:8000 --profile concurrent --rate 8`)
	f := addLoadFlags(set)
	f.args = args
	o := openFlags{}
	profile := set.String("profile", "", "synchronous, concurrent, throughput, constant or poisson")
	rates := set.Float64Slice("rate", nil, "constant, poisson: requests per second; concurrent, throughput: streams; a list runs a stage for each")
	set.StringVar(&o.arrival, "arrival", "", "arrivals at --rate, --ramp or --stages: constant, poisson, gamma:CV (CV of the gaps) or burst:N (N at once); in place of --profile")
	set.StringVar(&o.ramp, "ramp", "", "let the rate change evenly over the stage: FROM..TO in requests per second")
	set.StringVar(&o.stages, "stages", "", "let the rate follow a profile: '5rps:60s,20rps:30s,5..20rps:60s'")
	set.StringVar(&f.trace, "trace", "", "replay a recorded load, each request at its time: Mooncake JSON lines or an Azure LLM inference CSV")
	set.Float64Var(&f.traceSpeed, "trace-speed", 1, "replay the trace so many times as fast")
	if err := parse(set, args, stdout); err != nil {
		return err
	}
	strategies, err := o.strategies(*profile, *rates, f)
	if err != nil {
		return err
	}
	s, err := openSession(ctx, f, stdout, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	if f.trace != "" {
		strategies = []loadgen.Load{s.work.traceStrategy()}
		if f.traceWhole {
			s.plan.Stage.MaxRequests = s.work.trace.Len()
		}
	}
	s.run.Profile = string(strategies[0].Kind)
	s.run.Args.Profile = s.run.Profile
	if len(*rates) > 0 {
		s.run.Args.Rate = *rates
	}
	for _, st := range strategies {
		if st.Kind.Open() {
			s.run.Rates = append(s.run.Rates, st.Rate)
		} else {
			s.run.Streams = append(s.run.Streams, st.Streams)
		}
	}
	s.watch(len(strategies))
	result, err := s.plan.Run(ctx, strategies)
	return s.finish(result, err)
}

// openFlags are the flags that shape open loops beside their rate.
type openFlags struct {
	arrival, ramp, stages string
}

// strategies turns the flags into stages.
func (o openFlags) strategies(profile string, rates []float64, f *loadFlags) ([]loadgen.Load, error) {
	shapes := 0
	for _, given := range []bool{o.ramp != "", o.stages != "", f.trace != "", len(rates) > 0} {
		if given {
			shapes++
		}
	}
	if shapes > 1 {
		return nil, usageError("--rate, --ramp, --stages and --trace contradict each other: give one")
	}
	kind := loadgen.Kind(profile)
	if profile != "" && !kind.Open() && (o.arrival != "" || o.ramp != "" || o.stages != "" || f.trace != "") {
		return nil, usageError("--profile %s is a closed loop: --arrival, --ramp, --stages and --trace are for open ones", profile)
	}
	if f.trace != "" {
		switch {
		case o.arrival != "" || profile != "":
			return nil, usageError("--trace has its own arrivals: leave out --profile and --arrival")
		case f.data != "":
			return nil, usageError("--trace and --data contradict each other: a trace has its own requests")
		case !(f.traceSpeed > 0):
			return nil, usageError("--trace-speed %v: it must be above 0", f.traceSpeed)
		case !f.set.Changed("max-seconds"):
			f.maxSeconds = 0 // the trace says how long
			if f.maxRequests == 0 {
				f.traceWhole = true
			}
		}
		return []loadgen.Load{{Kind: loadgen.ConstantGap}}, nil // its schedule is read with the trace
	}
	var arrival loadgen.Arrival
	if o.arrival != "" {
		if profile != "" {
			return nil, usageError("--profile and --arrival contradict each other: --arrival alone makes an open loop")
		}
		var err error
		if arrival, err = loadgen.ParseArrival(o.arrival); err != nil {
			return nil, usageError("--arrival: %w", err)
		}
		profile = string(loadgen.KindOf(arrival))
	}
	if o.ramp == "" && o.stages == "" {
		strategies, err := profileStrategies(profile, rates, f)
		for i := range strategies {
			strategies[i].Arrival = arrival
		}
		return strategies, err
	}
	switch kind {
	case loadgen.PoissonGaps:
		arrival.Kind = loadgen.PoissonArrival
	case "":
		kind = loadgen.KindOf(arrival)
	}
	var shape loadgen.Profile
	var err error
	name := "stages"
	if o.stages != "" {
		if shape, err = loadgen.ParseProfile(o.stages); err != nil {
			return nil, usageError("--stages: %w", err)
		}
		if f.set.Changed("max-seconds") && f.duration() > shape.Length() {
			return nil, usageError("--max-seconds %v is beyond the end of --stages, %v", f.maxSeconds, shape.Length())
		}
		if !f.set.Changed("max-seconds") {
			f.maxSeconds = shape.Length().Seconds()
		}
	} else {
		if f.maxSeconds == 0 {
			return nil, usageError("--ramp needs --max-seconds: the rate reaches its end then")
		}
		if shape, err = loadgen.ParseRamp(o.ramp, f.duration()); err != nil {
			return nil, usageError("--ramp: %w", err)
		}
		name = "ramp " + o.ramp
	}
	return []loadgen.Load{{
		Kind: kind, Rate: shape.Requests() / shape.Length().Seconds(), Seed: f.seed, Arrival: arrival,
		Profile: shape, Name: name + " " + arrival.String(),
	}}, nil
}

// profileStrategies turns --profile and --rate into stages.
func profileStrategies(profile string, rates []float64, f *loadFlags) ([]loadgen.Load, error) {
	kind := loadgen.Kind(profile)
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
			return nil, usageError("--profile %s needs --rate", profile)
		}
	case "":
		return nil, usageError("no profile: give --profile synchronous, concurrent, throughput, constant or poisson")
	default:
		return nil, usageError("--profile %q: it is synchronous, concurrent, throughput, constant or poisson (\"openloop sweep\" sweeps)", profile)
	}
	most := f.maxConcurrency
	var strategies []loadgen.Load
	for _, r := range rates {
		if !(r > 0) || math.IsInf(r, 0) {
			return nil, usageError("--rate %v: it must be above 0", r)
		}
		if kind.Open() {
			strategies = append(strategies, loadgen.Load{Kind: kind, Rate: r, Seed: f.seed})
			continue
		}
		if r != math.Trunc(r) {
			return nil, usageError("--rate %v: a number of streams is whole", r)
		}
		if int(r) > most {
			return nil, usageError("--rate %v: more streams than --max-concurrency %d allows", r, most)
		}
		strategies = append(strategies, loadgen.Load{Kind: kind, Streams: int(r)})
	}
	return strategies, nil
}
