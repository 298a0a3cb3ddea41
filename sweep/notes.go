package sweep

import (
	"math"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// crossing estimates where the observed values cross their bounds.
func crossing(b bracket) float64 {
	if b.softLo == nil || b.softHi == nil {
		return 0
	}
	return num.Round(math.Sqrt(b.softLo.rate * b.softHi.rate))
}

// note adds what the reader should know beside the bracket.
func (s *search) note(a *Answer, all []point, b bracket) {
	add := func(format string, args ...any) { a.Notes = append(a.Notes, warning(format, args...)) }
	if b.above != nil {
		add("the server is not monotonic: it fails at %s req/s and passes at %s; "+
			"the answer is the one below the first failure", num.Rate(b.hi.rate), num.Rate(b.above.rate))
	}
	if b.hi != nil && s.bounds.saturation > 0 && b.hi.rate > 1.02*s.bounds.saturation && b.lo != nil &&
		b.lo.rate >= 0.99*s.bounds.saturation {
		add("every rate up to the saturation rate of %s req/s passes; the search went beyond it",
			num.Rate(s.bounds.saturation))
	}
	undecided := []string{}
	for _, p := range all {
		if p.outcome == slo.Undecided && !p.client {
			undecided = append(undecided, num.Rate(p.rate))
		}
	}
	if len(undecided) > 0 {
		add("not decided within the time of a stage: %s req/s", strings.Join(undecided, ", "))
	}
	if len(undecided) > 0 && a.ObservedRate > 0 && a.PassRate > 0 { // else the headline says it
		add("by observed values the limit lies near %s req/s", num.Rate(a.ObservedRate))
	}
	if rate, need := s.leastNeed(); a.PassRate == 0 && need > 0 {
		add("to be shown to pass, %s req/s needs a stage of about %v, if nothing misses its bounds", num.Rate(rate),
			need)
	}
	if b.hi != nil && onlyErrors(s.trials, b.hi.rate) {
		add("at %s req/s it is errors that fail the objectives", num.Rate(b.hi.rate))
	}
	s.noteRepeats(add)
	for i := 1; i < len(s.trials); i++ {
		if t := s.trials[i]; t.Role == Confirmation && t.Outcome == slo.Fail {
			add("%s req/s passed once and failed with another seed: the answer was stepped down", num.Rate(t.Rate))
		} else if t.Role == Confirmation && t.Outcome == slo.Undecided {
			add("the confirming stage at %s req/s was not decided", num.Rate(t.Rate))
		}
	}
}

// leastNeed is the undecided rate that takes the shortest stage to be shown to pass; 0 if there is none.
func (s *search) leastNeed() (rate float64, least time.Duration) {
	for _, t := range s.trials {
		if need := t.needs(s.config.Confidence).Round(time.Minute); need > 0 && (least == 0 || need < least) {
			rate, least = t.Rate, need
		}
	}
	return rate, least
}

// onlyErrors says whether it was failed requests that failed the stages at a rate, and none at a lower one.
func onlyErrors(trials []Trial, rate float64) bool {
	at := false
	for _, t := range trials {
		failed := t.Outcome == slo.Fail && t.OnlyErrors
		if t.Rate < rate && failed {
			return false
		}
		at = at || t.Rate == rate && failed
	}
	return at
}

// noteRepeats compares stages at the same rate: where they differ by more than chance and by more than 10 %, the server
// was not the same.
func (s *search) noteRepeats(add func(string, ...any)) {
	for i, first := range s.trials {
		for _, last := range s.trials[i+1:] {
			if first.Rate != last.Rate {
				continue
			}
			for k, o := range s.plan.Objectives {
				if !o.Comparable() || k >= len(first.Objectives) || k >= len(last.Objectives) {
					continue
				}
				a, b := s.values(first, o), s.values(last, o)
				if d := slo.Drift(a, b); math.Abs(d) > 0.1 {
					add("the server drifts: the median %s at %s req/s went from %s to %s between two stages", o.Metric,
						num.Rate(first.Rate), o.Seen(num.Median(a)), o.Seen(num.Median(b)))
					break
				}
			}
		}
	}
}

// values returns an objective's observations in the measured part of a trial's stage.
func (s *search) values(t Trial, o slo.Objective) []float64 {
	return slo.Values(s.result.Stages[t.Stage].Measured, o, int64(t.WarmUp), int64(t.At))
}
