package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
)

// fastStage is the length of the probes of --fast: enough for what they are to find.
const fastStage = 10 * time.Second

// leastBudget is time enough to find the max rate to 5 % on most servers of some 50 requests a second or more. The
// search ends once it has it.
const leastBudget = 7 * time.Minute

func newSweep(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sweep [URL]",
		Short: "find the highest rate at which the objectives hold: probe, sweep, search",
		Example: `  openloop sweep http://localhost:8000 --slo 'ttft:p95<250ms tpot:p95<50ms'
  openloop sweep http://localhost:8000 --prompt-tokens 1024 --output-tokens 256
  openloop sweep http://localhost:8000 --trace traffic.jsonl   # its speed
  openloop sweep sim:l4-qwen2.5-0.5b   # no server needed: a simulated engine`,
	}
	commonFlags(cmd, "target", "model", "api-key-file", "slo", "gate", "prompt-tokens", "output-tokens", "max-seconds",
		"fast", "output-dir")
	f := addSweepFlags(cmd.Flags(), p)
	return p.measuring(cmd, f.spec)
}

// sweepFlags are the flags of openloop sweep.
type sweepFlags struct {
	*specFlags
	size           int
	arrival        string
	search         spec.Search
	noSearch, fast bool
	perStage       time.Duration
	earlyStop      bool
}

func addSweepFlags(set *pflag.FlagSet, p *program) *sweepFlags {
	f := &sweepFlags{specFlags: addSpecFlags(set, p)}
	f.addWorkers(set)
	f.addTrace(set)
	set.IntVar(&f.size, "sweep-size", 10, "stages in all: synchronous, throughput, and the open-loop ones between")
	set.StringVar(&f.arrival, "arrival", "constant",
		"`ARRIVALS`: how requests arrive in the open-loop stages: "+loadgen.ArrivalForms)
	set.BoolVar(&f.noSearch, "no-search", false, "GuideLLM's plain sweep: no stages after the interpolated ones")
	set.BoolVar(&f.fast, "fast", false, "search straight from the probes: short probes and no interpolated stages")
	set.Float64Var(&f.search.Precision, "precision", 0.05,
		"the search ends when the max rate is known to this share: the half width of its interval")
	set.IntVar(&f.search.MaxStages, "max-stages", 24, "stages that the search may run")
	timeVar(set, &f.search.Budget, "budget", 0,
		"wall time that the search may take (0: twice that of the stages before it, and at least 7m); it ends earlier "+
			"at --precision")
	timeVar(set, &f.perStage, "max-seconds-per-stage", 0,
		"longest stage of the search (0: as the search needs it; stages grow with what was run)")
	set.BoolVar(&f.earlyStop, "early-stop", true,
		"end a stage of the search as soon as its rate is clearly too high, or clearly low enough while the search "+
			"still looks for the right place")
	return f
}

// spec turns the flags into what they ask for. args are the arguments that are not flags.
func (f *sweepFlags) spec(args []string) (spec.Spec, error) {
	switch {
	case f.noSearch && f.fast:
		return spec.Spec{}, usageError(
			"--no-search and --fast contradict each other: --fast leaves out all but the probes and the search")
	case f.fast && f.set.Changed("sweep-size") && f.size != 2:
		return spec.Spec{}, usageError("--fast and --sweep-size %d contradict each other: with --fast only the two "+
			"probes run before the search", f.size)
	case !(f.search.Precision > 0):
		return spec.Spec{}, usageError("--precision %v: it is a share above 0 and below 1, such as 0.05",
			f.search.Precision)
	case f.search.MaxStages < 1:
		return spec.Spec{}, usageError("--max-stages %d: it must be at least 1", f.search.MaxStages)
	}
	if f.trace != "" {
		return f.speedSpec(args)
	}
	if f.traceBlock != 0 || f.traceUnit != "" {
		return spec.Spec{}, usageError("--trace-block-tokens and --trace-time-unit need --trace")
	}
	size := f.size
	if f.fast {
		size = 2
		if !f.set.Changed("max-seconds") {
			f.stageTime = fastStage
		}
	}
	s, err := f.specFlags.spec(args)
	if err != nil {
		return s, err
	}
	arrival, err := loadgen.ParseArrival(f.arrival)
	if err != nil {
		return s, usageError("--arrival: %w", err)
	}
	s.Plan.Profile = "sweep"
	s.Plan.Sweep = &spec.Sweep{Size: size, Arrival: arrival, Seed: f.seed}
	if !f.noSearch && len(s.Objectives) > 0 {
		search := f.search
		search.Arrival, search.Seed = arrival, f.seed
		search.MaxPerStage, search.NoEarlyStop = f.perStage, !f.earlyStop
		if search.Budget == 0 {
			search.Budget = max(leastBudget, 2*time.Duration(size)*s.Limits.MaxDuration)
		}
		s.Plan.Sweep.Search = &search
	}
	return s, nil
}

// speedless are the flags of openloop sweep that a search over the speed of a trace has no use for.
var speedless = []string{"sweep-size", "arrival", "no-search", "fast", "max-seconds-per-stage", "early-stop",
	"workers", "warmup", "cooldown", "data", "mix", "save-workload"}

// speedSpec is spec for --trace: its stages send the same traffic at several speeds.
func (f *sweepFlags) speedSpec(args []string) (spec.Spec, error) {
	for _, name := range speedless {
		if f.set.Changed(name) {
			return spec.Spec{}, withHint(
				usageError("--%s and --trace contradict each other: the search sends it at several speeds", name),
				"--max-seconds and --max-requests take the beginning of a trace, --budget bounds the search")
		}
	}
	f.traceSpeed, f.speeds = 1, true
	if err := checkTrace(f.specFlags); err != nil {
		return spec.Spec{}, err
	}
	s, err := f.specFlags.spec(args)
	switch {
	case err != nil:
		return s, err
	case len(s.Objectives) == 0:
		return s, withHint(usageError("no objectives: the highest speed at which they hold is looked for"),
			"--slo 'ttft:p95<250ms'")
	}
	search := f.search
	search.Speed = true
	if search.Budget == 0 {
		search.Budget = speedBudget
	}
	s.Plan = spec.Plan{Profile: "sweep", Sweep: &spec.Sweep{Size: 2, Seed: f.seed, Search: &search}}
	return s, nil
}

// speedBudget is the time that a search over the speed of a trace has which names none.
const speedBudget = 30 * time.Minute
