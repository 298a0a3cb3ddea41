package slo

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// StageJudgement is what is known of a stage: whether the server meets the objectives under its load, and how that is
// known.
type StageJudgement struct {
	Outcome    Outcome  `json:"outcome"`
	Reasons    []string `json:"reasons"`    // why it does not pass; empty where it does
	Confidence float64  `json:"confidence"` // of the outcome, 0.5 to 1

	At         time.Duration `json:"at_ns"`       // how long the stage had run when its outcome was known
	WarmUp     time.Duration `json:"warm_up_ns"`  // what was left out at its start, the user's warm-up included
	Requests   int           `json:"requests"`    // that were judged: due after the warm-up and before the cool-down
	EffectiveN num.Value     `json:"effective_n"` // the fewest of an objective; absent without objectives
	Objectives []Judgement   `json:"objectives"`  // in the order in which they were given
	Growth     Growth        `json:"backlog"`     // open loops only

	// ObservedHold says that all observed values keep their bounds, of an undecided stage too.
	ObservedHold bool `json:"observed_hold"`
	// OnlyErrors says that it is failed requests, and they alone, that made the outcome what it is.
	OnlyErrors bool `json:"only_errors"`
	// ClientAtFault is set where it was the client that kept the stage from passing: it did not offer the load.
	ClientAtFault bool `json:"client_at_fault"`
	// Need is about how much more of the same would decide an undecided stage; absent where no amount is known to.
	Need *Need `json:"need,omitempty"`
}

// growthAlpha is the share of a test's error that the test for growth is given: latencies tell of a growing backlog
// sooner, except where the objectives are very patient.
const growthAlpha = 0.1

// residencesToPass is for how many mean residence times of a request a stage has to be measured to pass. What happens
// within one is not independent, and a sample that is no longer than a few can't show it.
const residencesToPass = 10

// suspicion is the p-value of growth below which a stage does not pass.
const suspicion = 0.05

// residencesToGrow is for how many mean residence times a stage has to run before its backlog is looked at.
const residencesToGrow = 2

// Judge judges a stage that has ended, once and as a whole. Confidence 0 stands for DefaultConfidence.
func Judge(m *loadgen.Measured, objectives []Objective, confidence float64) StageJudgement {
	confidence = WithDefault(confidence)
	s := snapshot(m, m.AllRecords(), m.Stopped, max(m.Stopped, m.End))
	j := JudgeAt(s, objectives, countGaps(s, objectives), 1-confidence)
	j.Confidence = confidence
	return j
}

// JudgeAt judges a stage as it stood at a moment (see Snapshot), with error alpha for each of the two ways to be wrong.
// It asks nothing about the client. It takes n·log n steps, so that it can be asked while load is sent.
func JudgeAt(s *loadgen.Measured, objectives []Objective, gaps GapCount, alpha float64) StageJudgement {
	j := StageJudgement{
		Outcome: Pass, Reasons: []string{}, At: time.Duration(s.Stopped - s.Start), EffectiveN: num.Absent(),
		Objectives: []Judgement{}, Growth: noGrowth(), ObservedHold: true,
	}
	from, to := measuredWindow(s)
	length := s.Stopped - from
	// To fail it is enough that one thing fails, so they share the error; to pass all have to, so each may have all of
	// it.
	errors := alphas{pass: alpha, fail: alpha / float64(len(objectives)+1)}
	if length <= 0 || !slices.ContainsFunc(s.Records, func(r loadgen.Record) bool { return within(&r, from, to) }) {
		reason := "no request was due"
		if length <= 0 {
			reason = "the warm-up was not over"
		}
		return j.empty(s, objectives, errors, reason)
	}

	residence := meanResidence(s.Records)
	most := 0.5
	if residence > 0 {
		most = longestWarmUp(float64(length), residence)
	}
	series := inFlight(s.Records, from, s.Stopped)
	cut, steady := warmUp(series, most)
	step := time.Duration(length) / inFlightSamples
	settled, whole := settling(s.Records, from, s.Stopped)
	cut = max(cut, int(math.Ceil(settled/float64(step))))
	warm := from + int64(cut)*int64(step)
	j.WarmUp = time.Duration(warm - s.Start)
	for i := range s.Records {
		j.Requests += count(within(&s.Records[i], warm, to))
	}
	rate := float64(j.Requests) / time.Duration(min(s.Stopped, to)-warm).Seconds()
	perSecond := float64(j.Requests) / time.Duration(length).Seconds() // a longer stage has a warm-up too

	var work autocorrelation
	for i, o := range objectives {
		var oj Judgement
		switch o.Metric {
		case ITL:
			oj = o.judgeGaps(s, from, to, gaps.Total, gaps.Over[i], &work, errors)
		case Errors: // a server that fills up answers sooner, and does not fail
			oj = o.judgeRequests(s, from, to, &work, errors)
		default:
			oj = o.judgeRequests(s, warm, to, &work, errors)
		}
		if oj.Outcome == Undecided {
			oj.Need = oj.needs(perSecond, errors)
		}
		j.Objectives = append(j.Objectives, oj)
		if n := oj.EffectiveN; n > 0 && !(j.EffectiveN <= n) {
			j.EffectiveN = n
		}
		j.ObservedHold = j.ObservedHold && oj.Holds
	}
	j.takeObjectives()
	if s.Stage.Load.Kind.Open() { // the backlog of a closed loop is as large as its client makes it
		half := max(cut, len(series)/2)
		began := float64(from-s.Start) + float64(half)*float64(step) // of the part that is looked at for growth
		arrivals := float64(len(s.Records)) / j.At.Seconds()
		j.Growth = growth(series[half:], step, arrivals, growthAllowance(began, residence), residence)
		if began < residencesToGrow*residence {
			j.Growth.PValue = 1 // arrivals that came in a bunch look like growth as long as they are in the server
		}
		j.takeGrowth(growthAlpha*errors.fail, steady, rate)
	}
	if measured := float64(s.Stopped - warm); measured < residencesToPass*residence {
		j.add(Undecided, "measured for %v, while a request is in the server for %v",
			num.RoundDuration(time.Duration(measured)), num.RoundDuration(time.Duration(residence)))
		j.needTime(time.Duration(residencesToPass*residence-measured), rate)
	}
	if !whole {
		j.add(Undecided, "sessions go on for more than half of the stage: it has fewer later turns than a steady state")
		j.needTime(time.Duration(length), rate)
	}
	if j.Outcome != Undecided {
		j.Need = nil
	}
	return j
}

// within says whether a request was due in a part of a stage.
func within(r *loadgen.Record, from, to int64) bool { return r.Scheduled >= from && r.Scheduled <= to }

// empty is the judgement of a stage in which nothing could be judged.
func (j StageJudgement) empty(s *loadgen.Measured, objectives []Objective, errors alphas,
	reason string) StageJudgement {
	j.WarmUp = min(j.At, s.Stage.Warmup)
	j.ObservedHold = false
	for _, o := range objectives {
		oj := newJudgement(o)
		oj.Observed = o.nothing(s)
		oj.Outcome, oj.Reason = Undecided, reason
		oj.Need = oj.needs(s.Stage.Load.Rate, errors)
		j.Objectives = append(j.Objectives, oj)
	}
	j.takeObjectives()
	j.Outcome, j.Reasons = Undecided, []string{reason}
	return j
}

// takeObjectives takes in the outcomes of the objectives: errors first, since they may be what the others suffer from.
func (j *StageJudgement) takeObjectives() {
	unknown := false
	for _, errors := range []bool{true, false} {
		for i := range j.Objectives {
			oj := &j.Objectives[i]
			if (oj.Objective.Metric == Errors) != errors {
				continue
			}
			j.add(oj.Outcome, "%s: %s", oj.Objective.Name(), oj.Reason)
			if oj.Outcome == Undecided {
				unknown = unknown || oj.Need == nil
				j.Need = longer(j.Need, oj.Need)
			}
		}
	}
	if unknown {
		j.Need = nil
	}
	j.OnlyErrors = j.Outcome != Pass
	for i := range j.Objectives {
		oj := &j.Objectives[i]
		byErrors := oj.Objective.Metric == Errors && oj.Failed > 0 || oj.onlyFailed(oj.Objective)
		j.OnlyErrors = j.OnlyErrors && (oj.Outcome != j.Outcome || byErrors)
	}
}

// takeGrowth takes in how the backlog developed.
func (j *StageJudgement) takeGrowth(failAlpha float64, steady bool, perSecond float64) {
	switch g := &j.Growth; {
	case g.PValue < failAlpha:
		j.add(Fail, "the backlog grows by %.2g req/s, %.0f %% of the arrivals", float64(g.Slope), 100*float64(g.Share))
		j.ObservedHold, j.OnlyErrors = false, false
	case g.PValue < suspicion:
		j.add(Undecided, "the backlog seems to grow, by %.0f %% of the arrivals", 100*float64(g.Share))
		j.ObservedHold = false
	case !steady && !(g.Share < g.Limit):
		j.add(Undecided, "the requests in flight have not become steady")
	default:
		return
	}
	j.needTime(j.At, perSecond) // as long again tells a trend from a wave, mostly
}

// needTime takes in that an undecided stage would have to go on for a time.
func (j *StageJudgement) needTime(d time.Duration, perSecond float64) {
	if j.Outcome != Undecided {
		return
	}
	j.OnlyErrors = false
	alreadyUnknown := j.Need == nil && slices.ContainsFunc(j.Objectives,
		func(o Judgement) bool { return o.Outcome == Undecided })
	if !alreadyUnknown {
		j.Need = longer(j.Need, &Need{Requests: int(math.Ceil(d.Seconds() * perSecond)), Time: d})
	}
}

// add takes one part's outcome: one that fails decides, then one that is undecided. The reasons are those of what
// decided.
func (j *StageJudgement) add(o Outcome, format string, args ...any) {
	switch {
	case o == Pass || o == Undecided && j.Outcome == Fail:
		return
	case o == Fail && j.Outcome != Fail:
		j.Reasons = nil
	}
	j.Reasons = append(j.Reasons, fmt.Sprintf(format, args...))
	j.Outcome = o
}
