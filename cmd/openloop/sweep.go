package main

import (
	"context"
	"io"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep"
)

func runSweep(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("sweep", stderr, `openloop sweep probes an endpoint with one stream, finds its saturation, and fires open-loop
legs at rates between the two. It prints the highest rate that meets the objectives, and
writes GuideLLM 0.5.0's report.

  openloop sweep --target http://localhost:8000 --prompt-tokens 256 --output-tokens 128`)
	f := addLoadFlags(set)
	f.args = args
	size := set.Int("sweep-size", 10, "legs in all: synchronous, throughput, and the open-loop ones between")
	arrivals := set.String("arrival", "constant", "arrivals of the open-loop legs: constant, poisson, gamma:CV (CV of the gaps) or burst:N (N at once)")
	if err := parse(set, args, stdout); err != nil {
		return err
	}
	if *size < 2 {
		return usageError("--sweep-size %d: it must be at least 2, for the synchronous and the throughput leg", *size)
	}
	arrival, err := loadgen.ParseArrival(*arrivals)
	if err != nil {
		return usageError("--arrival: %w", err)
	}
	s, err := openSession(ctx, f, stdout, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	s.run.Profile, s.run.Size = "sweep", *size
	s.run.Args.Profile, s.run.Args.Rate = "sweep", []float64{float64(*size)}
	s.watch(*size)
	result, err := s.plan.Sweep(ctx, sweep.SweepConfig{Size: *size, Arrival: arrival, Seed: f.seed})
	return s.finish(result, err)
}
