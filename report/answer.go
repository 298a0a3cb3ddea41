package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// Answer is the headline: what the search found, or without one what the stages that were run say of the max rate.
func (r *Result) Answer() string {
	rate, how := r.parts()
	return fmt.Sprintf("max rate at SLO: %s (%s)", rate, how)
}

// parts are the answer's rate, or in a word why there is none, and how it is known.
func (r *Result) parts() (value, how string) {
	if r.Search != nil {
		return r.Search.Parts()
	}
	best, fails := r.Bracket()
	open, invalid := 0, 0
	for i := range r.Stages {
		if s := &r.Stages[i]; s.Load.Kind.Open() && !s.Repeated {
			open++
			if s.Client.Level == audit.Invalid {
				invalid++
			}
		}
	}
	switch {
	case len(r.Asked.Objectives) == 0:
		return "not asked for", "no objectives"
	case open == 0:
		return "not known", "no open-loop stage was run"
	case best != nil && fails != nil:
		return fmt.Sprintf("between %s and %s %s", rate(best), rate(fails), best.RateUnit()),
			fmt.Sprintf("PASS at %s; at %s: %s", rate(best), rate(fails), why(fails))
	case best != nil:
		return fmt.Sprintf("at least %s %s", rate(best), best.RateUnit()),
			fmt.Sprintf("PASS at %s, the highest rate that was decided", rate(best))
	case fails != nil:
		return fmt.Sprintf("below %s %s", rate(fails), fails.RateUnit()),
			fmt.Sprintf("at %s: %s", rate(fails), why(fails))
	case invalid > 0:
		return "not known", fmt.Sprintf("the client was invalid on %d of %d open-loop stages", invalid, open)
	}
	return "not decided", undecided(r.Stages)
}

// SoFar is what the stages so far say of the max rate: "between 11.9 and 21 req/s". It is empty where they say nothing.
func (r *Result) SoFar() string {
	if best, fails := r.Bracket(); best == nil && fails == nil {
		return ""
	}
	value, _ := r.parts()
	return value
}

// Bracket is the open-loop stage with the highest rate that passes below every failure, and the one with the lowest
// rate that fails; nil for none.
func (r *Result) Bracket() (best, fails *Stage) {
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Load.Kind.Open() && s.Judgement.Outcome == slo.Fail && (fails == nil || s.Load.Rate < fails.Load.Rate) {
			fails = s
		}
	}
	limit := math.Inf(1)
	if fails != nil {
		limit = fails.Load.Rate
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Load.Kind.Open() && s.Judgement.Outcome == slo.Pass && s.Load.Rate < limit &&
			(best == nil || s.Load.Rate > best.Load.Rate) {
			best = s
		}
	}
	return best, fails
}

func rate(s *Stage) string { return num.Rate(s.Load.Rate) }

// why says what decided a stage that does not pass, and of an undecided one what would.
func why(s *Stage) string {
	j := &s.Judgement
	if len(j.Reasons) == 0 {
		return string(j.Outcome)
	}
	text := string(j.Outcome) + ", " + strings.Join(j.Reasons, "; ")
	if j.Outcome == slo.Undecided && j.Need != nil {
		text += "; " + j.Need.String() + " would decide"
	}
	return text
}

// undecided says why the first undecided open-loop stage is.
func undecided(stages []Stage) string {
	for i := range stages {
		if s := &stages[i]; s.Load.Kind.Open() && s.Judgement.Outcome == slo.Undecided {
			return "at " + rate(s) + " " + s.RateUnit() + ": " + why(s)
		}
	}
	return "no stage was judged"
}
