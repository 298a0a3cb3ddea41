package main

import (
	"context"
	"io"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
)

// fastSeconds is the length of the probes of --fast: enough for what they are to find.
const fastSeconds = 10

// leastBudget is time enough to find the max rate to 5 % on most servers of some 50 requests a second or more. The
// search ends once it has it.
const leastBudget = 7 * time.Minute

func runSweep(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("sweep", stderr,
		`openloop sweep probes an endpoint with one stream, finds its saturation, runs open-loop stages
at rates between the two, and searches for the highest rate that meets the objectives. It
prints that rate, and writes GuideLLM 0.5.0's report.

  openloop sweep --target http://localhost:8000 --prompt-tokens 256 --output-tokens 128`)
	f := addSpecFlags(set, args)
	size := set.Int("sweep-size", 10, "stages in all: synchronous, throughput, and the open-loop ones between")
	arrivals := set.String("arrival", "constant",
		"arrivals of the open-loop stages: "+loadgen.ArrivalForms)
	search := spec.Search{}
	noSearch := set.Bool("no-search", false, "GuideLLM's plain sweep: no stages after the interpolated ones")
	fast := set.Bool("fast", false, "search straight from the probes: short probes and no interpolated stages")
	set.Float64Var(&search.Precision, "precision", 0.05,
		"the search ends when the max rate is known to this share: the half width of its interval")
	set.IntVar(&search.MaxStages, "max-stages", 24, "stages that the search may run")
	set.DurationVar(&search.Budget, "budget", 0,
		"wall time that the search may take (0: twice that of the stages before it, and at least 7m); it ends earlier "+
			"at --precision")
	perStage := set.Float64("max-seconds-per-stage", 0,
		"longest stage of the search (0: as the search needs it; stages grow with what was run)")
	earlyStop := set.Bool("early-stop", true,
		"end a stage of the search as soon as its rate is clearly too high, or clearly low enough while the search "+
			"still looks for the right place")
	if err := parse(set, args, stdout); err != nil {
		return err
	}
	switch {
	case *noSearch && *fast:
		return usageError(
			"--no-search and --fast contradict each other: --fast leaves out all but the probes and the search")
	case *fast && set.Changed("sweep-size") && *size != 2:
		return usageError("--fast and --sweep-size %d contradict each other: with --fast only the two probes run "+
			"before the search", *size)
	case !(search.Precision > 0):
		return usageError("--precision %v: it is a share above 0 and below 1, such as 0.05", search.Precision)
	case search.MaxStages < 1:
		return usageError("--max-stages %d: it must be at least 1", search.MaxStages)
	}
	if *fast {
		*size = 2
		if !set.Changed("max-seconds") {
			f.maxSeconds = fastSeconds
		}
	}
	s, err := f.spec()
	if err != nil {
		return err
	}
	arrival, err := loadgen.ParseArrival(*arrivals)
	if err != nil {
		return usageError("--arrival: %w", err)
	}
	s.Plan.Profile = "sweep"
	s.Plan.Sweep = &spec.Sweep{Size: *size, Arrival: arrival, Seed: f.seed}
	if !*noSearch && len(s.Objectives) > 0 {
		search.Arrival, search.Seed = arrival, f.seed
		search.MaxPerStage, search.NoEarlyStop = time.Duration(*perStage*float64(time.Second)), !*earlyStop
		if search.Budget == 0 {
			search.Budget = max(leastBudget, 2*time.Duration(*size)*s.Limits.MaxDuration)
		}
		s.Plan.Sweep.Search = &search
	}
	return runSpec(ctx, s, runOptions{}, stdout, stderr)
}
