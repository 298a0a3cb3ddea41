package main

import (
	"context"
	"io"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

func runSweep(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("sweep", stderr, `openloop sweep probes an endpoint with one stream, finds its saturation, fires open-loop stages
at rates between the two, and searches for the highest rate that meets the objectives. It
prints that rate, and writes GuideLLM 0.5.0's report.

  openloop sweep --target http://localhost:8000 --prompt-tokens 256 --output-tokens 128`)
	f := addLoadFlags(set)
	f.args = args
	size := set.Int("sweep-size", 10, "stages in all: synchronous, throughput, and the open-loop ones between")
	arrivals := set.String("arrival", "constant", "arrivals of the open-loop stages: constant, poisson, gamma:CV (CV of the gaps) or burst:N (N at once)")
	search := sweep.SearchConfig{}
	noSearch := set.Bool("no-search", false, "GuideLLM's plain sweep: no stages after the interpolated ones")
	fast := set.Bool("fast", false, "search straight from the probes: short probes and no interpolated stages")
	set.Float64Var(&search.Precision, "precision", 0.05, "the search ends when the rate that holds and the one that fails lie no further apart than this share")
	set.IntVar(&search.MaxStages, "max-stages", 16, "stages that the search may run")
	set.DurationVar(&search.Budget, "budget", 0, "wall time that the search may take (0: twice that of the stages before it, and at least 3m)")
	perStage := set.Float64("max-seconds-per-stage", 0, "a stage of the search that is not decided by then is inconclusive (0: 1,000 requests, within 30 and 300 s, and up to 600 s where earlier stages showed that it takes more)")
	earlyStop := set.Bool("early-stop", true, "end a stage of the search as soon as its outcome is certain enough")
	if err := parse(set, args, stdout); err != nil {
		return err
	}
	if *size < 2 {
		return usageError("--sweep-size %d: it must be at least 2, for the synchronous and the throughput stage", *size)
	}
	arrival, err := loadgen.ParseArrival(*arrivals)
	if err != nil {
		return usageError("--arrival: %w", err)
	}
	search.Arrival, search.Seed, search.Confidence = arrival, f.seed, f.confidence
	search.Gates, err = f.parseGates()
	if err != nil {
		return err
	}
	search.MaxPerStage, search.NoEarlyStop = time.Duration(*perStage*float64(time.Second)), !*earlyStop
	if err := checkSearch(search, *noSearch, *fast); err != nil {
		return err
	}
	if *fast {
		*size = 2
		if !set.Changed("max-seconds") {
			f.maxSeconds = fastSeconds
		}
	}
	s, err := openSession(ctx, f, stdout, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	s.run.Profile, s.run.Size = "sweep", *size
	s.run.Args.Profile, s.run.Args.Rate = "sweep", []float64{float64(*size)}
	s.watch(*size)
	result, err := s.plan.Sweep(ctx, spec.Sweep{Size: *size, Arrival: arrival, Seed: f.seed})
	if err != nil || *noSearch || len(s.plan.Objectives) == 0 {
		return s.finish(result, err)
	}
	if search.Budget == 0 {
		search.Budget = max(leastBudget, 2*time.Duration(*size)*f.duration())
	}
	if *size > 2 {
		// GuideLLM's sweep has as many benchmarks as it was asked for, at rising rates; the search's stages stand beside them.
		result.Plain = len(result.Stages)
	}
	if stages, likely, most := search.Estimate(result.SynchronousRate, result.SaturationRate); stages > 0 {
		s.say("searching for the highest rate: about %d stages, %v, at most %v", stages, likely.Round(10*time.Second), most.Round(10*time.Second))
	}
	s.watch(0)
	result.Answer, err = s.plan.Search(ctx, result, search)
	return s.finish(result, err)
}

// fastSeconds is the length of the probes of --fast: enough for what they are to find.
const fastSeconds = 10

// leastBudget is time enough to find a knee to 5 % where requests come at ten a second.
const leastBudget = 3 * time.Minute

// checkSearch says what is wrong with the flags of the search.
func checkSearch(c sweep.SearchConfig, noSearch, fast bool) error {
	switch {
	case noSearch && fast:
		return usageError("--no-search and --fast contradict each other: --fast leaves out all but the probes and the search")
	case !(c.Precision > 0 && c.Precision < 1):
		return usageError("--precision %v: it is a share above 0 and below 1, such as 0.05", c.Precision)
	case c.MaxStages < 1:
		return usageError("--max-stages %d: it must be at least 1", c.MaxStages)
	case c.Budget < 0:
		return usageError("--budget %v: it can't be negative", c.Budget)
	case c.MaxPerStage < 0:
		return usageError("--max-seconds-per-stage can't be negative")
	}
	return nil
}
