package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/slo"
)

// The elements of a JUnit file, as CI systems read them.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Time       string          `xml:"time,attr"` // seconds
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes a result as JUnit's XML: the run is a suite; every gate is a case of the class "gates", and every
// objective of a stage that was judged is a case of the stage's class, as is whether its client is to be believed. FAIL
// is a failure with its values; UNDECIDED is an error that says what would decide it; an invalid client is an error.
func WriteJUnit(w io.Writer, r *Result) error {
	suite := junitSuite{Name: junitText("openloop " + r.Asked.Model), Time: junitSeconds(r.Took)}
	if !r.Began.IsZero() {
		suite.Timestamp = r.Began.UTC().Format("2006-01-02T15:04:05")
	}
	property := func(name, value string) {
		if value != "" {
			suite.Properties = append(suite.Properties, junitProperty{junitText(name), junitText(value)})
		}
	}
	property("answer", r.Answer())
	property("target", r.Asked.Target)
	property("model", r.Asked.Model)
	property("workload", r.Asked.Workload)
	property("command", strings.Join(r.Command, " "))
	property("openloop", r.Version)
	if r.Engine != nil {
		property("engine", strings.TrimSpace(r.Engine.Name+" "+r.Engine.Version))
	}
	for _, key := range slices.Sorted(maps.Keys(r.Asked.Labels)) {
		property("label "+key, r.Asked.Labels[key])
	}
	for _, g := range r.Gates {
		suite.add("gates", g.Gate.String(), 0, g.Outcome, g.Text, g.Need, nil)
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		if !s.Judged() {
			continue
		}
		class := fmt.Sprintf("stage %d: %s", i+1, s.Name)
		for k := range s.Judgement.Objectives {
			j := &s.Judgement.Objectives[k]
			suite.add(class, j.Objective.String(), s.Sending, j.Outcome, j.Reason, j.Need, junitValues(s, j))
		}
		suite.addClient(class, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	out := xml.NewEncoder(w)
	out.Indent("", "  ")
	if err := out.Encode(junitSuites{Suites: []junitSuite{suite}}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// add adds a case by its outcome.
func (s *junitSuite) add(class, name string, took time.Duration, outcome slo.Outcome, why string, need *slo.Need,
	values []string) {
	c := junitCase{Class: junitText(class), Name: junitText(name), Time: junitSeconds(took)}
	s.Tests++
	if outcome != slo.Pass {
		if why == "" {
			why = string(outcome)
		}
		if outcome == slo.Undecided && need != nil {
			why += "; " + need.String() + " would decide"
		}
		p := &junitProblem{Message: junitText(why), Type: junitText(string(outcome))}
		for _, line := range values {
			p.Text += "\n" + junitText(line)
		}
		if p.Text != "" {
			p.Text += "\n"
		}
		if outcome == slo.Fail {
			s.Failures++
			c.Failure = p
		} else {
			s.Errors++
			c.Error = p
		}
	}
	s.Cases = append(s.Cases, c)
}

// addClient adds the case of a stage's client.
func (s *junitSuite) addClient(class string, stage *Stage) {
	c := junitCase{Class: junitText(class), Name: "client", Time: junitSeconds(stage.Sending)}
	s.Tests++
	if stage.Client.Level == audit.Invalid {
		s.Errors++
		var reasons []string
		for _, reason := range stage.Client.Reasons {
			reasons = append(reasons, reason.Text)
		}
		c.Error = &junitProblem{Message: junitText("the client was invalid: " + strings.Join(reasons, "; ")),
			Type: "client invalid"}
	}
	s.Cases = append(s.Cases, c)
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

// junitText is a text as XML can hold it, without what a terminal that shows a CI log would obey.
func junitText(text string) string { return stream.Clean(text) }

func junitSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", max(0, d.Seconds())) }
