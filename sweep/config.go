package sweep

import (
	"math"
	"time"

	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
)

// SearchConfig shapes a search: what was asked of it, at the confidence of every stage's outcome (0:
// slo.DefaultConfidence). The zero value searches with constant arrivals to 5 %. Gates are decided before anything else
// is looked for.
type SearchConfig struct {
	spec.Search
	Confidence float64
	Gates      []slo.Gate
}

func (c SearchConfig) withDefaults() SearchConfig {
	if c.Precision <= 0 {
		c.Precision = 0.05
	}
	c.Confidence = slo.WithDefault(c.Confidence)
	if c.MaxStages <= 0 {
		c.MaxStages = 16
	}
	if c.Drain <= 0 {
		c.Drain = time.Minute
	}
	return c
}

// perStage is the longest that a stage at a rate may take, after what the stages so far showed.
func (c SearchConfig) perStage(rate float64, trials []Trial) time.Duration {
	if c.MaxPerStage > 0 {
		return c.MaxPerStage
	}
	d := time.Duration(1000 / rate * float64(time.Second))
	d = min(max(d, 30*time.Second), 5*time.Minute)
	for i := range trials {
		d = max(d, min(trials[i].needs(slo.WithDefault(c.Confidence)), longestStage))
	}
	return d
}

// longestStage is the most that a stage is given by itself.
const longestStage = 10 * time.Minute

// surplus is by how much more a stage is given than it is thought to need: the next one may have more slow periods.
const surplus = 1.25

// forGate is the longest that a stage which is to decide a gate may take: it is given what earlier ones at its rate
// needed beyond their time, and only the budget bounds that.
func (c SearchConfig) forGate(rate float64, trials []Trial) time.Duration {
	d := c.perStage(rate, trials)
	if c.MaxPerStage > 0 {
		return d
	}
	most := longestStage
	if c.Budget > 0 {
		most = c.Budget
	}
	d = max(d, min(time.Duration(1.5*fewestRequests/rate*float64(time.Second)), most)) // where requests are few
	for _, t := range trials {
		if t.Rate == rate && t.Outcome == slo.Undecided && !t.ClientAtFault && t.Need != nil {
			d = max(d, min(time.Duration(surplus*float64(t.At+t.Need.Time)), most))
		}
	}
	return d
}

// needs is how long a stage would have had to be to pass, if nothing had missed its bounds, where it was too short for
// that: on many servers requests are slow in periods of seconds, and a stage that saw a few of them is worth few
// independent requests. 0 if it was something else that was missing. It is the least that a stage can need;
// StageJudgement.Need is what it needs if as many miss their bounds as did.
func (t Trial) needs(confidence float64) time.Duration {
	if t.Outcome != slo.Undecided || !t.ObservedHold || t.ClientAtFault {
		return 0
	}
	times := 0.0
	for _, j := range t.Objectives {
		n := float64(j.EffectiveN)
		share, ok := j.Objective.MissLimit()
		if ok && j.Outcome == slo.Undecided && n > 0 && share > 0 && share < 1 {
			// So many requests without a miss are enough for the last interim analysis, which has half of the error.
			times = max(times, math.Log((1-confidence)/2)/math.Log1p(-share)/n)
		}
	}
	return time.Duration(surplus * times * float64(t.At))
}

// Estimate says, before a search, how many stages it is likely to take between two rates (req/s; lo may be 0), and how
// long: at most, if no stage stops early, and what is likely, if each takes a third of that. Failing stages take a
// tenth, passing ones about half.
func (c SearchConfig) Estimate(lo, hi float64) (stages int, likely, most time.Duration) {
	c = c.withDefaults()
	// The search begins at firstGuess of the saturation rate, and goes down by lowering if that fails.
	lo = max(lo, lowering*hi)
	bisections := math.Ceil(math.Log2(max(math.Log(hi/lo)/math.Log1p(c.Precision), 1)))
	// One end of the bracket, the confirmation, and the gates.
	stages = min(int(bisections)+2+len(c.Gates), c.MaxStages)
	most = time.Duration(stages) * c.perStage(firstGuess*hi, nil)
	if c.Budget > 0 {
		most = min(most, c.Budget)
	}
	return stages, most / 3, most
}
