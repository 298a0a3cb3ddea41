package sweep

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep/maxrate"
)

// Role is why a stage of a search was run.
type Role string

// The roles.
const (
	Interpolated Role = "interpolated" // one of the sweep's own stages
	AtGate       Role = "gate"         // the rate of a gate
	Locate       Role = "locate"       // to find out where to look
	Lower        Role = "lower"        // everything missed an objective so far
	Higher       Role = "higher"       // everything met the objectives so far
	Bisect       Role = "bisect"       // between a rate that meets the objectives and one that does not
	Refine       Role = "refine"       // beside the estimate
	Repeat       Role = "repeat"       // the client was not fit
)

// Trial is one stage of a search, with its outcome.
type Trial struct {
	Stage int     `json:"stage"` // its index in Result.Stages
	Role  Role    `json:"role"`
	Rate  float64 `json:"rate"` // arrivals a second
	Seed  int64   `json:"seed"` // of its arrivals
	slo.StageJudgement

	asked     time.Duration // its length, if it did not end early
	residence time.Duration // of its requests in the server, or of its sessions
	over      bool          // it ended early: its rate was clearly too high
}

// EndReason is why a search ended.
type EndReason string

// The reasons.
const (
	EndPrecision   EndReason = "precision"    // the interval is narrow enough
	EndUndecided   EndReason = "undecided"    // stages may not be as long as they have to be
	EndNothing     EndReason = "all fail"     // even the lowest rate misses an objective
	EndClient      EndReason = "client"       // the client can't offer higher rates
	EndStages      EndReason = "max stages"   //
	EndBudget      EndReason = "budget"       //
	EndRequests    EndReason = "max requests" // stages may not have as many requests as it takes
	EndInterrupted EndReason = "interrupted"  //
	EndError       EndReason = "error"        //
)

// Finding is what kind of answer a search has.
type Finding string

// The findings.
const (
	Interval Finding = "interval" // the max rate lies between two ends, at the stated confidence
	AtLeast  Finding = "at least" // only a lower end is known: no rate missed an objective
	Near     Finding = "near"     // an estimate, whose interval can't be stated yet
	None     Finding = "none"     // no rate was found that meets the objectives
	Unknown  Finding = "unknown"  // no stage says anything
)

// Answer is what a search found: the max rate at SLO, from all of its stages together. Rates are of arrivals a second:
// requests, or sessions.
type Answer struct {
	Finding  Finding   `json:"finding"`
	Estimate num.Value `json:"estimate"` // of the max rate; absent where there is none
	// Lower and Upper are the ends of the interval at Confidence; of AtLeast, Lower is right with (1 + Confidence)/2.
	// Absent where there is no such end. Where Rough is set, too few clusters of misses were seen for them to be
	// stated: they may be too narrow.
	Lower      num.Value `json:"lower"`
	Upper      num.Value `json:"upper"`
	Rough      bool      `json:"rough"`
	Confidence float64   `json:"confidence"` // 0.5 to 1
	Precision  float64   `json:"precision"`  // half width of the interval that was asked for: a share

	Limiting string `json:"limiting"` // objective that limits the rate: "ttft:p95"
	// Step says that the interval lies between two stages: with regular arrivals and lengths, the share of misses goes
	// from none to all within it.
	Step       bool           `json:"step"`
	Objectives []ObjectiveFit `json:"objectives"` // what the stages say of each

	Requests int           `json:"requests"` // judged, in the stages that the answer rests on
	Stages   int           `json:"stages"`   // that the answer rests on
	Load     time.Duration `json:"load_ns"`  // of these stages
	Arrivals string        `json:"arrivals"` // their process
	Client   audit.Level   `json:"client"`   // the worst verdict of these stages
	// Traffic is the trace whose speed was varied, so that rates are means of it; absent where rates were.
	Traffic *Traffic `json:"traffic,omitempty"`
	// ArrivalRequests is how many requests an arrival was on average; absent where all are requests that stand alone:
	// rates are then of them. Mixed says that some arrivals are requests that stand alone.
	ArrivalRequests float64 `json:"requests_per_arrival,omitempty"`
	Mixed           bool    `json:"mixed,omitempty"`
	// More is how much longer stages would take for the interval that was asked for; 0 where it is known, or no time
	// is known to be enough.
	More time.Duration `json:"more_ns"`

	Ended  EndReason     `json:"ended"`   // why the search ended
	Why    string        `json:"why"`     // the same in a sentence
	Notes  []Warning     `json:"notes"`   // what else the reader should know
	Trials []Trial       `json:"trials"`  // the stages, in the order in which they were run
	Took   time.Duration `json:"took_ns"` // wall time

	estimate *maxrate.Estimate // for gates; nil where the answer was read from a file
}

// ObjectiveFit is what the stages of a search say of one objective. Rates are as in Answer; docs/knee.md explains the
// rest.
type ObjectiveFit struct {
	Objective    string             `json:"objective"`
	Estimate     float64            `json:"estimate"`
	Lower        num.Value          `json:"lower"`         // absent: no such end
	Upper        num.Value          `json:"upper"`         // absent: no such end
	Clusters     float64            `json:"clusters"`      // independent clusters of misses
	EffectiveN   float64            `json:"effective_n"`   // independent requests
	Dispersion   float64            `json:"dispersion"`    // misses that come together on average
	Slope        float64            `json:"slope"`         // of the logit of the share of misses over ln rate
	Inflation    float64            `json:"inflation"`     // by which the stages disagree beyond chance; 1: not
	Correction   maxrate.Correction `json:"correction"`    // for the luck of the arrivals
	VarianceLeft float64            `json:"variance_left"` // share of the variance that the correction left
}

// wide is the half width from which on the headline leads with the interval.
const wide = 0.1

// Wide says whether the interval is so wide that it tells more than the estimate, or has only one end.
func (a *Answer) Wide() bool { return a.halfWidth() > wide }

// Headline is the answer in one sentence.
func (a *Answer) Headline() string {
	rate, known := a.Parts()
	return fmt.Sprintf("max rate at SLO: %s (%s)", rate, known)
}

// Parts are the answer's rate, such as "12.3 req/s", and how it is known.
func (a *Answer) Parts() (rate, how string) {
	known := []string{fmt.Sprintf("%s, %v", num.Count(a.Stages, "stage"), a.Load.Round(time.Second))}
	if a.Limiting != "" && a.Finding != AtLeast && a.Finding != None {
		known = append(known, "limited by "+a.Limiting)
	}
	known = append(known, a.Arrivals+" arrivals", "client "+string(a.Client))
	also := func(format string, args ...any) { known = append([]string{fmt.Sprintf(format, args...)}, known...) }
	confidence := num.Exact(100*a.Confidence) + " %"
	estimate, lower, upper := num.Rate(float64(a.Estimate)), num.Rate(float64(a.Lower)), num.Rate(float64(a.Upper))
	answer, unit := "", " "+a.Unit()
	switch a.Finding {
	case Interval:
		switch {
		case a.Lower.IsAbsent():
			answer = "below " + upper + unit
			also("estimate %s; %s one-sided", estimate, num.Exact(50*(1+a.Confidence))+" %")
		case a.Upper.IsAbsent():
			answer = "at least " + lower + unit
			also("estimate %s; %s one-sided", estimate, num.Exact(50*(1+a.Confidence))+" %")
		case a.Wide():
			answer = fmt.Sprintf("between %s and %s", lower, upper) + unit
			also("estimate %s; %s interval", estimate, confidence)
		default:
			answer = estimate + unit
			also("%s interval %s – %s", confidence, lower, upper)
		}
	case AtLeast:
		answer = "at least " + lower + unit
		also("%s; no rate missed an objective", num.Exact(50*(1+a.Confidence))+" %")
	case Near:
		answer = "near " + estimate + unit + ", not decided"
		also("%s", a.undecided())
	case None:
		answer = "none"
		lowest := math.Inf(1)
		for _, t := range a.Trials {
			if !t.ClientAtFault {
				lowest = min(lowest, t.Rate)
			}
		}
		also("%s%s, the lowest rate tried, misses %s", num.Rate(lowest), unit, a.Limiting)
	default:
		answer = "not known"
		also("%s", a.Why)
	}
	if text := a.inRequests(); text != "" {
		also("%s", text)
	}
	if text := a.Speed(); text != "" {
		also("%s", text)
	}
	return answer, strings.Join(known, "; ")
}

// SoFar is the answer as it stands while the search goes on, in a few words: "17.4 req/s (14.2 – 22.4)". It is empty
// where nothing is known yet.
func (a *Answer) SoFar() string {
	estimate := num.Rate(float64(a.Estimate)) + " " + a.Unit()
	switch {
	case a.Finding == AtLeast:
		return "at least " + num.Rate(float64(a.Lower)) + " " + a.Unit()
	case a.Finding == Interval && !a.Lower.IsAbsent() && !a.Upper.IsAbsent():
		return fmt.Sprintf("%s (%s – %s)", estimate, num.Rate(float64(a.Lower)), num.Rate(float64(a.Upper)))
	case a.Finding == Interval || a.Finding == Near:
		return "near " + estimate
	}
	return ""
}

// undecided says what is missing for an interval.
func (a *Answer) undecided() string {
	clusters := 0.0
	for _, o := range a.Objectives {
		if o.Objective == a.Limiting {
			clusters = o.Clusters
		}
	}
	var text string
	switch n := math.Floor(clusters); n {
	case 0:
		text = fmt.Sprintf("no stage saw a few misses among many, %.0f spells of them are needed",
			maxrate.FewestClusters)
	case 1:
		text = fmt.Sprintf("the misses came in 1 spell, %.0f are needed", maxrate.FewestClusters)
	default:
		text = fmt.Sprintf("the misses came in %.0f spells, %.0f are needed", n, maxrate.FewestClusters)
	}
	if a.More > 0 {
		text += ": about " + about(a.More) + " more"
	}
	return text
}

// about is a time to the minute, or to ten seconds below two minutes.
func about(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%.0f s", math.Ceil(d.Seconds()/10)*10)
	}
	if d < 2*time.Hour {
		return fmt.Sprintf("%.0f min", math.Ceil(d.Minutes()))
	}
	return fmt.Sprintf("%.0f h", math.Ceil(d.Hours()))
}

func (a *Answer) halfWidth() float64 {
	if a.Lower.IsAbsent() || a.Upper.IsAbsent() {
		return math.Inf(1)
	}
	return math.Sqrt(float64(a.Upper/a.Lower)) - 1
}

// answer sums up.
func (s *search) answer() *Answer {
	c := s.config
	a := &Answer{
		Finding: Unknown, Estimate: num.Absent(), Lower: num.Absent(), Upper: num.Absent(),
		Confidence: c.Confidence, Precision: c.Precision, Arrivals: c.Arrival.String(), Client: audit.Valid,
		Traffic:    c.Traffic,
		Objectives: []ObjectiveFit{}, Trials: append([]Trial{}, s.trials...), Notes: []Warning{},
		Ended: s.ended, Why: s.why, Took: time.Since(s.began), estimate: s.estimate,
	}
	for i := range s.trials {
		t := &s.trials[i]
		if t.ClientAtFault {
			continue
		}
		st := s.result.Stages[t.Stage]
		a.Stages++
		a.Requests += t.Requests
		a.Load += time.Duration(st.Stopped - st.Start)
		if v := st.Audit.Level; v == audit.Suspect {
			a.Client = v
		}
	}
	if c.Traffic != nil {
		a.Arrivals = "recorded"
	}
	if a.ArrivalRequests = c.talk.requests; a.ArrivalRequests > 0 && s.evidence.arrivals > 0 {
		a.ArrivalRequests = s.evidence.perArrival()
	}
	a.Mixed = c.talk.mixed
	if a.Stages == 0 && len(s.trials) > 0 {
		a.Client = audit.Invalid
	}
	if est := s.estimate; est != nil {
		a.take(est)
		a.More = s.more(est)
	}
	return a
}

// end is an end of an interval; absent where there is none.
func end(rate float64) num.Value {
	if rate <= 0 || math.IsInf(rate, 0) {
		return num.Absent()
	}
	return num.Value(rate)
}

// take takes in the estimate.
func (a *Answer) take(est *maxrate.Estimate) {
	a.Estimate, a.Lower, a.Upper = num.Value(est.Estimate), end(est.Lower), end(est.Upper)
	a.Limiting, a.Step = est.Objective, est.Step
	for _, o := range est.All {
		a.Objectives = append(a.Objectives, ObjectiveFit{
			Objective: o.Objective, Estimate: o.Estimate, Lower: end(o.Lower), Upper: end(o.Upper),
			Clusters: o.Clusters, EffectiveN: o.Effective, Dispersion: o.Dispersion, Slope: o.Slope,
			Inflation: o.Inflation, Correction: o.Correction, VarianceLeft: o.Left,
		})
	}
	switch {
	case !est.Met:
		a.Finding, a.Estimate, a.Lower = None, num.Absent(), num.Absent()
	case !est.Missed && !a.Lower.IsAbsent():
		a.Finding = AtLeast
	case est.Stated():
		a.Finding = Interval
	default:
		a.Finding, a.Rough = Near, true
	}
}

// more is about how much longer stages near the limit would take for the interval that was asked for, if what comes is
// like what came: the square of the width goes with the time, and so does the number of clusters.
func (s *search) more(est *maxrate.Estimate) time.Duration {
	if est.Step || !est.Met || !est.Missed || est.Stated() && est.Width() <= s.config.Precision {
		return 0
	}
	near := est.Informed
	if near <= 0 {
		near = s.load.Seconds()
	}
	factor := maxrate.FewestClusters / max(est.Clusters, 0.5)
	if w := est.Width(); !math.IsInf(w, 1) {
		factor = max(factor, math.Pow(math.Log1p(w)/math.Log1p(s.config.Precision), 2))
	}
	return max(seconds(near*(factor-1)), 0)
}

// trialsOf are the judged open-loop stages of a run without a search.
func trialsOf(r *Result) []Trial {
	var trials []Trial
	for i, s := range r.Stages {
		if s.Load.Steady() && len(s.Judgement.Objectives) > 0 {
			trials = append(trials, Trial{
				Stage: i, Role: Interpolated, Rate: s.Load.Rate, Seed: s.Load.Seed, StageJudgement: s.Judgement,
			})
		}
	}
	return trials
}
