package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/junit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/slo"
)

// WriteJUnit writes a result as JUnit's XML: the run is a suite; every gate is a case of the class "gates", and every
// objective of a stage that was judged is a case of the stage's class, as is whether its client is to be believed. FAIL
// is a failure with its values; UNDECIDED is an error that says what would decide it; an invalid client is an error.
func WriteJUnit(w io.Writer, r *Result) error {
	suite := junit.Suite{Name: stream.Clean("openloop " + r.Asked.Model), Time: junitSeconds(r.Took)}
	if !r.Began.IsZero() {
		suite.Timestamp = r.Began.UTC().Format("2006-01-02T15:04:05")
	}
	property := func(name, value string) {
		if value != "" {
			suite.SetProperty(stream.Clean(name), stream.Clean(value))
		}
	}
	property("answer", r.Answer())
	property("target", r.Asked.Target)
	property("model", r.Asked.Model)
	property("workload", r.Asked.Workload)
	property("command", strings.Join(r.Command, " "))
	property("openloop", r.Version)
	property("engine", r.EngineText())
	for _, key := range slices.Sorted(maps.Keys(r.Asked.Labels)) {
		property("label "+key, r.Asked.Labels[key])
	}
	for _, g := range r.Gates {
		suite.Add(junitCase("gates", g.Gate.String(), 0, g.Outcome, g.Text, g.Need, nil))
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		if !s.Judged() || s.Repeated {
			continue
		}
		class := fmt.Sprintf("stage %d: %s", i+1, s.Name)
		for k := range s.Judgement.Objectives {
			j := &s.Judgement.Objectives[k]
			suite.Add(junitCase(class, j.Objective.String(), s.Sending, j.Outcome, j.Reason, j.Need, junitValues(s, j)))
		}
		suite.Add(junitClient(class, s))
	}
	return junit.Write(w, "", suite)
}

// junitCase is a case by its outcome.
func junitCase(class, name string, took time.Duration, outcome slo.Outcome, why string, need *slo.Need,
	values []string) junit.Case {
	c := junit.Case{Class: stream.Clean(class), Name: stream.Clean(name), Time: junitSeconds(took)}
	if outcome == slo.Pass {
		return c
	}
	if why == "" {
		why = string(outcome)
	}
	if outcome == slo.Undecided && need != nil {
		why += "; " + need.String() + " would decide"
	}
	p := &junit.Problem{Message: stream.Clean(why), Type: stream.Clean(string(outcome))}
	for _, line := range values {
		p.Text += "\n" + stream.Clean(line)
	}
	if p.Text != "" {
		p.Text += "\n"
	}
	if outcome == slo.Fail {
		c.Failure = p
	} else {
		c.Error = p
	}
	return c
}

// junitClient is the case of a stage's client.
func junitClient(class string, stage *Stage) junit.Case {
	c := junit.Case{Class: stream.Clean(class), Name: "client", Time: junitSeconds(stage.Sending)}
	if stage.Client.Level == audit.Invalid {
		var reasons []string
		for _, reason := range stage.Client.Reasons {
			reasons = append(reasons, reason.Text)
		}
		c.Error = &junit.Problem{Message: stream.Clean("the client was invalid: " + strings.Join(reasons, "; ")),
			Type: "client invalid"}
	}
	return c
}

// junitValues are the values behind an outcome, each a line.
func junitValues(s *Stage, j *slo.Judgement) []string {
	seen := func(v num.Value) string { return j.Objective.Seen(float64(v)) }
	lines := []string{
		"bound: " + j.Objective.Format(float64(j.Bound)), "value: " + seen(j.Value),
		"value from sent: " + seen(j.ValueFromSent),
	}
	if !j.ValueWithoutFailed.IsAbsent() {
		lines = append(lines, "value without failed requests: "+seen(j.ValueWithoutFailed))
	}
	lines = append(lines, fmt.Sprintf("observations: %d, misses: %d, failed: %d", j.N, j.Misses, j.Failed))
	if !j.MissShareLimit.IsAbsent() {
		percent := func(v num.Value) string {
			if math.IsNaN(float64(v)) {
				return "?"
			}
			return num.Three(100*float64(v)) + " %"
		}
		lines = append(lines, fmt.Sprintf("share of misses: %s to %s, allowed: %s", percent(j.MissShareLower),
			percent(j.MissShareUpper), percent(j.MissShareLimit)))
	}
	return append(lines, fmt.Sprintf("rate: %s req/s sent, %s done", num.Three(s.Rates.Sent), num.Three(s.Rates.Done)))
}

func junitSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", max(0, d.Seconds())) }
