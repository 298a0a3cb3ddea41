package sweep

import (
	"math"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// The signs of an estimate that should be read with care.
const (
	muchDisagreement = 2   // inflation
	flatWidth        = 1.3 // upper/lower of an interval …
	flatShare        = 2   // … over which the share of misses changes by less than this factor, on either side
)

// note adds what the reader should know beside the interval.
func (s *search) note(a *Answer) {
	add := func(format string, args ...any) { a.Notes = append(a.Notes, warning(format, args...)) }
	est := s.estimate
	if est == nil {
		return
	}
	if t := s.config.Traffic; t != nil && t.Requests < fewReplayed {
		add("the trace has %d requests: the answer is that of these, and the interval does not say how much others "+
			"like them would differ", t.Requests)
	}
	if est.Inflation > muchDisagreement && est.Met && est.Missed && !est.Step {
		add("the stages disagree by more than chance (dispersion ×%s): the server drifts or is slow in spells; "+
			"the interval allows for it", num.Three(est.Inflation))
	}
	if est.Drift != 0 && !est.Step {
		change, word := est.Drift, "rose"
		if change < 0 {
			change, word = -change, "fell"
		}
		add("the server drifts: its max rate %s by about %.0f %% during the search; the answer is that of its middle",
			word, 100*change)
	}
	if a.Finding == Interval && a.halfWidth() > math.Sqrt(flatWidth)-1 && !est.Step {
		if below, above, ok := est.Shares(); ok && above < flatShare*below*flatShare {
			add("the share of misses hardly changes with the rate here (%.2g %% at %s, %.2g %% at %s %s): a bound "+
				"nearer to what the server does would be sharper", 100*below, num.Rate(est.Lower), 100*above,
				num.Rate(est.Upper), a.Unit())
		}
	}
	if a.Finding == Interval && a.halfWidth() > s.config.Precision && a.More > 0 {
		add("±%s %% would take about %s more", num.Exact(100*s.config.Precision), about(a.More))
	}
	if est.Step {
		add("from one stage to the next, all miss %s instead of none: the max rate is a step between them; stalls "+
			"that are rarer than the search was long are not in it", est.Objective)
	}
	if s.known.saturation > 0 && a.Finding != None && est.Estimate > 1.02*s.known.saturation {
		add("the max rate lies above the saturation rate that the probe found, %s %s", num.Rate(s.known.saturation),
			a.Unit())
	}
	s.noteOrder(add)
	s.noteRepeats(add)
}

// noteOrder says where a stage passed above one that failed.
func (s *search) noteOrder(add func(string, ...any)) {
	lowest := math.Inf(1)
	for _, t := range s.trials {
		if t.Outcome == slo.Fail {
			lowest = min(lowest, t.Rate)
		}
	}
	highest := 0.0
	for _, t := range s.trials {
		if t.Outcome == slo.Pass && t.Rate > lowest {
			highest = max(highest, t.Rate)
		}
	}
	if highest > lowest*(1+s.config.Precision) {
		add("a stage at %s %s fails and one at %s passes: the server was not the same, or is better at higher rates",
			num.Rate(lowest), s.config.unit(), num.Rate(highest))
	}
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
					add("the server drifts: the median %s at %s %s went from %s to %s between two stages", o.Metric,
						num.Rate(first.Rate), s.config.unit(), o.Seen(num.Median(a)), o.Seen(num.Median(b)))
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
