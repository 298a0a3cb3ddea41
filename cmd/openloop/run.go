package main

import (
	"context"
	"io"
	"math"

	"github.com/openloop/openloop/sweep"
)

// throughputStreams is GuideLLM's number of streams for its throughput profile.
const throughputStreams = 512

func runProfile(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("run", stderr, `openloop run runs one profile, at one or more rates, and writes GuideLLM 0.5.0's report.

  openloop run --target http://localhost:8000 --profile poisson --rate 5,10,20
  openloop run --target http://localhost:8000 --profile concurrent --rate 8`)
	f := addLoadFlags(set)
	f.args = args
	profile := set.String("profile", "", "synchronous, concurrent, throughput, constant or poisson")
	rates := set.Float64Slice("rate", nil, "constant, poisson: requests per second; concurrent, throughput: streams; a list runs a leg for each")
	if err := parse(set, args, stdout); err != nil {
		return err
	}
	strategies, err := profileStrategies(*profile, *rates, f)
	if err != nil {
		return err
	}
	s, err := openSession(ctx, f, stdout, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	s.run.Profile, s.run.Args.Profile = *profile, *profile
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

// profileStrategies turns --profile and --rate into legs.
func profileStrategies(profile string, rates []float64, f *loadFlags) ([]sweep.Strategy, error) {
	kind := sweep.Kind(profile)
	switch kind {
	case sweep.Synchronous:
		if len(rates) > 0 {
			return nil, usageError("--profile synchronous takes no --rate: it sends one request after the other")
		}
		return []sweep.Strategy{{Kind: kind, Streams: 1}}, nil
	case sweep.Throughput:
		if len(rates) == 0 {
			rates = []float64{throughputStreams}
		}
	case sweep.Concurrent, sweep.ConstantGap, sweep.PoissonGaps:
		if len(rates) == 0 {
			return nil, usageError("--profile %s needs --rate", profile)
		}
	case "":
		return nil, usageError("no profile: give --profile synchronous, concurrent, throughput, constant or poisson")
	default:
		return nil, usageError("--profile %q: it is synchronous, concurrent, throughput, constant or poisson (\"openloop sweep\" sweeps)", profile)
	}
	most := f.maxConcurrency
	var strategies []sweep.Strategy
	for _, r := range rates {
		if !(r > 0) || math.IsInf(r, 0) {
			return nil, usageError("--rate %v: it must be above 0", r)
		}
		if kind.Open() {
			strategies = append(strategies, sweep.Strategy{Kind: kind, Rate: r, Seed: f.seed})
			continue
		}
		if r != math.Trunc(r) {
			return nil, usageError("--rate %v: a number of streams is whole", r)
		}
		if int(r) > most {
			return nil, usageError("--rate %v: more streams than --max-concurrency %d allows", r, most)
		}
		strategies = append(strategies, sweep.Strategy{Kind: kind, Streams: int(r)})
	}
	return strategies, nil
}
