package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/junit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// searched is a sweep with all that a result can have: a search, gates of every outcome, an engine, labels, a price, an
// invalid client.
func searched(t *testing.T) *Result {
	t.Helper()
	r := made(t)
	r.Search = &sweep.Answer{
		Finding: sweep.Interval, Estimate: 12.3, Lower: 11.8, Upper: 12.9, Confidence: 0.95, Precision: 0.05,
		Limiting: "ttft:p95", Stages: 6, Load: 182 * time.Second, Arrivals: "poisson", Client: audit.Valid,
		Objectives: []sweep.ObjectiveFit{{Objective: "ttft:p95", Estimate: 12.3, Lower: 11.8, Upper: num.Absent()}},
		Why:        "the max rate is known to ±5 %", Took: 190 * time.Second,
	}
	for text, outcome := range map[string]slo.Outcome{"rate>=20": slo.Fail, "slo@12": slo.Undecided} {
		gate, err := slo.ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		g := sweep.GateOutcome{Gate: gate, Outcome: outcome, Text: "12.3 req/s, between 11.8 and 12.9"}
		if outcome == slo.Undecided {
			g.Need = &slo.Need{Requests: 1200, Time: 80 * time.Second}
		}
		r.Gates = append(r.Gates, g)
	}
	if r.Gates[1].Outcome == slo.Undecided { // a map has no order
		r.Gates[1], r.Gates[2] = r.Gates[2], r.Gates[1]
	}
	r.Engine = &enginemetrics.Info{Name: "vLLM", Version: "0.23.0", Config: map[string]string{"max_num_seqs": "256"}}
	r.Asked.Labels = map[string]string{"gpu": "1×L4", "change": "baseline"}
	r.Asked.Cost = &spec.Cost{PerHour: 1.1, Currency: "$"}
	r.Stages[4].Client = audit.Verdict{Level: audit.Invalid, Reasons: []audit.Reason{
		{Check: "send_delay", Level: audit.Invalid, Text: "1 % of the requests were sent 12.3ms late or more"},
	}}
	return r
}

// hostile is a result whose every text tries to be markup.
func hostile(t *testing.T) *Result {
	t.Helper()
	const bad = "</details>]]><script>alert(1)</script>|\n\n# x\x1b[31m\x00\u202e*_`[a](javascript:b) @user " +
		"https://evil"
	r := searched(t)
	r.Asked.Model, r.Asked.Target, r.Asked.Workload, r.Version = bad, bad, bad, bad
	r.Asked.Labels = map[string]string{bad: bad}
	r.Engine = &enginemetrics.Info{Name: bad, Version: bad, Config: map[string]string{bad: bad}}
	r.Command = []string{"openloop", "sweep", bad, "```", ""}
	r.Warnings = append(r.Warnings, sweep.Warning{Stage: -1, Text: bad})
	r.Search.Why, r.Search.Limiting = bad, bad
	for i := range r.Gates {
		r.Gates[i].Text = bad
	}
	for i := range r.Stages {
		s := &r.Stages[i]
		s.Name = bad
		s.Errors = append(s.Errors, ErrorCount{bad, bad, 1})
		s.Client = audit.Verdict{Level: audit.Invalid, Reasons: []audit.Reason{{Check: bad, Level: bad, Text: bad}}}
		s.Judgement.Reasons = []string{bad}
		for k := range s.Judgement.Objectives {
			s.Judgement.Objectives[k].Reason = bad
		}
	}
	return r
}

// What is written for pull requests and for CI systems, as it is read there.
func TestWrittenForms(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"markdown.md": func(w io.Writer) error { return WriteMarkdown(w, searched(t)) },
		"plain.md":    func(w io.Writer) error { return WriteMarkdown(w, made(t)) },
		"hostile.md":  func(w io.Writer) error { return WriteMarkdown(w, hostile(t)) },
		"junit.xml":   func(w io.Writer) error { return WriteJUnit(w, searched(t)) },
		"hostile.xml": func(w io.Writer) error { return WriteJUnit(w, hostile(t)) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		name = filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("what is written differs from %s (go test ./report -update writes it):\n%s", name, got.String())
		}
	}
}

// Whatever a result's texts are, a JUnit file is well-formed and its counts are those of its cases, and a Markdown file
// has only the lines and the tags that were meant.
func TestHostileTexts(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJUnit(&b, hostile(t)); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	var suites junit.File
	if err := xml.Unmarshal(b.Bytes(), &suites); err != nil {
		t.Fatal(err)
	}
	suite, failures, failed := suites.Suites[0], 0, 0
	for _, c := range suite.Cases {
		if c.Failure != nil {
			failures++
		}
		if c.Error != nil {
			failed++
		}
	}
	// Three gates; three objectives and the client of each of three stages.
	if suite.Tests != 15 || suite.Tests != len(suite.Cases) || suite.Failures != failures || suite.Errors != failed ||
		failures == 0 || failed < 4 {
		t.Errorf("%d cases, %d failures and %d errors in %+v", len(suite.Cases), failures, failed, suite)
	}
	b.Reset()
	if err := WriteMarkdown(&b, hostile(t)); err != nil {
		t.Fatal(err)
	}
	shape := func(text string) (lines, tags int) {
		return strings.Count(text, "\n"), strings.Count(text, "<")
	}
	text := b.String()
	fenced := strings.SplitN(text, "````", 3)
	if len(fenced) != 3 {
		t.Fatalf("the command has no fence of its own:\n%s", text)
	}
	if _, tags := shape(fenced[0] + fenced[2]); tags != 8 {
		t.Errorf("%d tags:\n%s", tags, text)
	}
	for _, never := range []string{"\x1b", "\x00", "\u202e", "\n#", "\n\n\n", "https://evil", " @user"} {
		if strings.Contains(fenced[0][1:]+"…"+fenced[2], never) {
			t.Errorf("%q stands in\n%s", never, text)
		}
	}
}

// Empty results have every form, too.
func TestFormsOfNothing(t *testing.T) {
	for _, form := range Formats() {
		var b bytes.Buffer
		if err := form.Write(&b, &Result{}); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v, %q", form.Name, err, b.String())
		}
	}
}
