package sweep

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// Role is why a stage of a search was run.
type Role string

// The roles.
const (
	Interpolated Role = "interpolated" // one of the sweep's own stages
	AtGate       Role = "gate"         // the rate of a gate
	FirstGuess   Role = "first"        // no stage was there to begin with
	Lower        Role = "lower"        // everything failed so far
	Higher       Role = "higher"       // everything passed so far
	Bisection    Role = "bisection"    // between what passes and what fails
	Recheck      Role = "recheck"      // a failure below a rate that passes is tried again
	Longer       Role = "longer"       // a rate that could not be decided is given more time
	Widening     Role = "widening"     // next to a rate that could not be decided
	Confirmation Role = "confirmation" // the answer again, with another seed
)

// Trial is one stage of a search, with its outcome.
type Trial struct {
	Stage int     `json:"stage"` // its index in Result.Stages
	Role  Role    `json:"role"`
	Rate  float64 `json:"rate"` // req/s
	Seed  int64   `json:"seed"` // of its arrivals
	slo.StageJudgement
}

// margin is by what share of its bound the least favourable objective keeps it.
func (t Trial) margin() float64 {
	least := math.Inf(1)
	for _, j := range t.Objectives {
		least = min(least, float64(j.Margin))
	}
	return least
}

// EndReason is why a search ended.
type EndReason string

// The reasons.
const (
	EndPrecision   EndReason = "precision"    // the bracket is narrow enough, and its lower end confirmed
	EndUndecided   EndReason = "undecided"    // the rates inside the bracket can't be decided within a stage's time
	EndNothing     EndReason = "all fail"     // even the lowest rate fails
	EndClient      EndReason = "client"       // the client can't offer higher rates
	EndStages      EndReason = "max stages"   //
	EndBudget      EndReason = "budget"       //
	EndRequests    EndReason = "max requests" // a stage may not have as many requests as its outcome takes
	EndInterrupted EndReason = "interrupted"  //
	EndError       EndReason = "error"        //
)

// Answer is what a search found: the max rate at SLO, as the highest rate that was shown to meet every objective and
// the lowest that was shown to miss one.
type Answer struct {
	PassRate float64 `json:"pass_rate"` // req/s; 0: no rate was found to pass
	FailRate float64 `json:"fail_rate"` // req/s; 0: no rate was found to fail
	// ObservedRate is the rate, req/s, at which the observed values cross their bounds, by the stages next to it; 0
	// where unknown. It has no confidence of its own.
	ObservedRate float64 `json:"observed_rate"`
	Confidence   float64 `json:"confidence"` // of the outcome of each of the two, 0.5 to 1
	Precision    float64 `json:"precision"`  // as asked for: a share
	Confirmed    bool    `json:"confirmed"`  // a second stage at PassRate, with another seed, passed too

	Requests int `json:"requests"` // judged at PassRate and FailRate
	// At PassRate: the fewest that an objective rests on, as independent ones.
	EffectiveN num.Value       `json:"effective_n"`
	Arrivals   string          `json:"arrivals"`   // their process
	Client     audit.Level     `json:"client"`     // the worst verdict at PassRate and FailRate
	Objectives []slo.Judgement `json:"objectives"` // at PassRate

	Ended  EndReason     `json:"ended"`   // why the search ended
	Why    string        `json:"why"`     // the same in a sentence
	Notes  []Warning     `json:"notes"`   // what else the reader should know
	Trials []Trial       `json:"trials"`  // the stages, in the order in which they were run
	Took   time.Duration `json:"took_ns"` // wall time
}

// Headline is the answer in one sentence.
func (a *Answer) Headline() string {
	pass, fail := num.Rate(a.PassRate), num.Rate(a.FailRate)
	known := []string{
		num.Exact(100*a.Confidence) + " % confidence", num.Thousands(a.Requests) + " requests",
		a.Arrivals + " arrivals", "client " + string(a.Client),
	}
	also := func(text string) { known = append([]string{text}, known...) }
	answer := ""
	switch {
	case a.PassRate > 0 && a.FailRate == 0:
		answer = "at least " + pass + " req/s"
		also("no rate failed")
	case a.PassRate > 0 && a.FailRate/a.PassRate > 1+1.5*a.Precision:
		answer = fmt.Sprintf("between %s and %s req/s", pass, fail)
	case a.PassRate > 0:
		answer = pass + " req/s"
		also(fmt.Sprintf("PASS %s, FAIL %s", pass, fail))
	case a.FailRate > 0 && a.Ended == EndNothing:
		answer = "none"
		also("FAIL " + fail)
	case a.FailRate > 0:
		answer = "below " + fail + " req/s"
	case a.Ended == EndNothing:
		answer = "none"
	default:
		answer = "undecided"
	}
	if a.PassRate == 0 && a.Ended != EndNothing && a.ObservedRate > 0 {
		answer += ", by observed values near " + num.Rate(a.ObservedRate)
		if a.FailRate == 0 {
			answer += " req/s"
		}
	}
	return fmt.Sprintf("max rate at SLO: %s (%s)", answer, strings.Join(known, "; "))
}

// answer sums up.
func (s *search) answer() *Answer {
	c := s.config
	a := &Answer{
		Confidence: c.Confidence, Precision: c.Precision, Arrivals: c.Arrival.String(), Client: audit.Valid,
		EffectiveN: num.Absent(),
		Ended:      s.ended, Why: s.why, Trials: s.trials, Notes: []Warning{}, Took: time.Since(s.began),
		Objectives: []slo.Judgement{},
	}
	if a.Trials == nil {
		a.Trials = []Trial{}
	}
	all := points(s.trials)
	b := bracketOf(all)
	if b.lo != nil {
		a.PassRate = b.lo.rate
	}
	if b.hi != nil {
		a.FailRate = b.hi.rate
	}
	a.ObservedRate = crossing(b)
	passes := 0
	for i := range s.trials {
		t := &s.trials[i]
		if b.lo != nil && t.Rate == b.lo.rate {
			if t.Outcome == slo.Pass {
				passes++
			}
			a.Objectives, a.EffectiveN = t.Objectives, t.EffectiveN
		}
		if t.Rate == a.PassRate || t.Rate == a.FailRate || a.PassRate == 0 {
			a.Requests += t.Requests
			if v := s.result.Stages[t.Stage].Audit.Level; v == audit.Invalid || v == audit.Suspect &&
				a.Client == audit.Valid {
				a.Client = v
			}
		}
	}
	a.Confirmed = passes > 1
	s.note(a, all, b)
	return a
}
