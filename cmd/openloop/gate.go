package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// gateBudget is the time that a gate has which names none, unless its objectives take longer at its rate.
const gateBudget = 5 * time.Minute

func newGate(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gate [URL]",
		Short: "decide whether the objectives hold at one rate: exit 0 for PASS, 3 for FAIL and UNDECIDED",
		Example: `  openloop gate http://localhost:8000 --slo 'ttft:p95<250ms' --rate 10
  openloop gate http://localhost:8000 --slo chat --rate 10 --budget 10m
  openloop gate sim:l4-qwen2.5-0.5b --rate 5`,
	}
	commonFlags(cmd, "target", "rate", "slo", "budget", "model", "api-key-file", "prompt-tokens", "output-tokens",
		"wait-ready", "output-dir")
	f := addGateFlags(cmd.Flags(), p)
	return p.measuring(cmd, f.spec)
}

// gateFlags are the flags of openloop gate.
type gateFlags struct {
	*specFlags
	rates   ratesValue
	arrival string
	budget  time.Duration
}

func addGateFlags(set *pflag.FlagSet, p *program) *gateFlags {
	f := &gateFlags{specFlags: addSpecFlags(set, p)}
	f.addWorkers(set)
	set.Var(&f.rates, "rate",
		"requests per second at which the objectives are to hold (sessions, with --turns or --sessions); a list "+
			"decides each in turn")
	set.StringVar(&f.arrival, "arrival", "poisson", "`ARRIVALS`: how requests arrive: "+loadgen.ArrivalForms)
	timeVar(set, &f.budget, "budget", 0,
		"longest time for each rate; it ends as soon as it is decided (0: 5m, or more where the objectives take more "+
			"requests)")
	for _, name := range gateless {
		_ = set.MarkHidden(name) // they are there
	}
	return f
}

// gateless are the flags of a stage that a gate's stage does not have: it ends when it is decided.
var gateless = []string{"max-seconds", "max-requests", "cooldown", "rampup", "gate"}

// spec turns the flags into what they ask for. args are the arguments that are not flags.
func (f *gateFlags) spec(args []string) (spec.Spec, error) {
	for _, name := range gateless {
		if f.set.Changed(name) {
			return spec.Spec{}, withHint(
				usageError("--%s is not a flag of openloop gate, whose stage ends when it is decided", name),
				"--rate says what is decided, and --budget how long that may take")
		}
	}
	switch {
	case len(f.rates) == 0:
		return spec.Spec{}, withHint(usageError("no rate: a gate decides one"), "--rate 10")
	case f.budget < 0:
		return spec.Spec{}, usageError("--budget %s: it can't be negative", shortTime(f.budget))
	}
	arrival, err := loadgen.ParseArrival(f.arrival)
	if err != nil {
		return spec.Spec{}, usageError("--arrival: %w", err)
	}
	s, err := f.specFlags.spec(args)
	if err != nil {
		return s, err
	}
	s.Plan = spec.Plan{Profile: string(loadgen.KindOf(arrival)),
		Decide: &spec.Decide{Arrival: arrival, Seed: f.seed, Budget: f.budget}}
	for _, rate := range f.rates {
		if !(rate > 0) || math.IsInf(rate, 0) {
			return s, usageError("--rate %v: it must be above 0", rate)
		}
		load := loadgen.Load{Kind: loadgen.KindOf(arrival), Rate: rate, Seed: f.seed, Arrival: arrival}
		s.Plan.Stages = append(s.Plan.Stages, load)
		s.Gates = append(s.Gates, slo.Gate{Rate: rate, At: true})
	}
	if f.budget == 0 {
		s.Plan.Decide.Budget = gateBudget
		for _, g := range s.Gates {
			s.Plan.Decide.Budget = max(s.Plan.Decide.Budget, budgetFor(s, g))
		}
	}
	s.Limits.MaxDuration = s.Plan.Decide.Budget // at most
	return s, nil
}

// longestBudget is the most that a gate is given by itself.
const longestBudget = 24 * time.Hour

// budgetFor is in what time a gate can pass, at the soonest.
func budgetFor(s spec.Spec, g slo.Gate) time.Duration {
	plan := sweep.Plan{Objectives: s.Objectives, Confidence: s.Confidence, Stage: s.Limits.Stage()}
	c := *s.Plan.Decide
	for c.Budget = gateBudget; c.Budget < longestBudget && plan.DecideTime(g, c) == 0; {
		c.Budget *= 2
	}
	return c.Budget
}

// announceGates says beforehand how long gates may take.
func (s *session) announceGates() {
	decide := *s.spec.Plan.Decide
	for _, g := range s.spec.Gates {
		text := fmt.Sprintf("gate %s: at most %s", g, shortTime(decide.Budget))
		if far := s.plan.DecideTime(g, decide); far > 0 {
			text += fmt.Sprintf("; about %s if the rate is far below the limit, %s if it is far above",
				shortTime(far.Round(time.Second)), shortTime(s.plan.DecidesAfter(g.Rate).Round(time.Second)))
		}
		s.say("%s", text)
	}
	for _, g := range s.spec.Gates {
		if least := budgetFor(s.spec, g); s.plan.DecideTime(g, decide) == 0 && least > decide.Budget {
			s.warn("%s is hardly enough for gate %s to pass, even without a miss: --budget %s would be",
				shortTime(decide.Budget), g, shortTime(least))
		}
	}
}

// finishGates prints the gates of openloop gate as its last lines, and settles with which error it ends.
func (s *session) finishGates(r *report.Result) error {
	var texts, hints []string
	for _, g := range r.Gates {
		if s.spec.Output.Style == spec.StyleOpenLoop {
			fmt.Fprintf(s.stdout, "%s %s\n", report.SignOf(g.Outcome), g)
		}
		switch rate := num.Rate(g.Gate.Rate); g.Outcome {
		case slo.Fail:
			texts = append(texts, fmt.Sprintf("the objectives do not hold at %s %s", rate, r.RateUnit()))
		case slo.Undecided:
			texts = append(texts, fmt.Sprintf("%s %s is not decided", rate, r.RateUnit()))
			hints = append(hints, decidedBy(r, g))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	err := error(&exitError{exitMissed, errors.New(strings.Join(texts, "; "))})
	if len(hints) > 0 {
		err = withHint(err, hints[0])
	}
	return err
}

// decidedBy says what would decide a gate that is not.
func decidedBy(r *report.Result, g sweep.GateOutcome) string {
	for i := range slices.Backward(r.Stages) { // the last one at its rate is what decided
		s := &r.Stages[i]
		if s.Load.Rate != g.Gate.Rate {
			continue
		}
		switch {
		case s.Judgement.ClientAtFault:
			return "the client was not fit: give it more processors, or offer less"
		case g.Need != nil:
			whole := (s.Judgement.At + g.Need.Time) * 11 / 10
			return fmt.Sprintf("--budget %s would decide it, if it goes on as it was",
				shortTime(whole.Round(time.Minute)+time.Minute))
		}
	}
	return "the rate is too close to the limit for more time to tell: try one a few per cent off, or let " +
		"\"openloop sweep\" find the max rate"
}
