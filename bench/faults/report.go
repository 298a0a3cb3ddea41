package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// report is what the rows look at of a benchmarks.json, whichever version of openloop wrote it.
type report struct {
	raw      string
	warnings string // openloop's
	stages   []stage
}

type stage struct {
	completed, errored, unfinished int
	level                          string // of the client: valid, suspect, invalid
	outcome                        string // PASS, FAIL or UNDECIDED
	requests                       []request
	raw                            string // of the stage in the key openloop
}

// request is a completed or failed request.
type request struct {
	ok                       bool
	err                      string
	tokens                   float64 // output tokens
	text                     string
	ttft, itl, tpot, latency float64 // ms; 0: none
}

// check looks at a report: "" or what is wrong.
type check func(r *report) string

func readReport(name string) (*report, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	type listed struct {
		Output string
		Info   struct{ Error string }
		Tokens *float64 `json:"output_tokens"`
		TTFT   *float64 `json:"time_to_first_token_ms"`
		ITL    *float64 `json:"inter_token_latency_ms"`
		TPOT   *float64 `json:"time_per_output_token_ms"`
		Took   *float64 `json:"request_latency"`
	}
	var file struct {
		Openloop struct {
			Stages   []json.RawMessage
			Warnings json.RawMessage
		}
		// Each with its requests, and before schema 2 with what openloop says of it.
		Benchmarks []struct {
			Requests struct{ Successful, Errored, Incomplete []listed }
			Openloop json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%s is not JSON: %w", name, err)
	}
	r := &report{raw: string(b), warnings: string(file.Openloop.Warnings)}
	for i, bm := range file.Benchmarks {
		s := stage{completed: len(bm.Requests.Successful), errored: len(bm.Requests.Errored),
			unfinished: len(bm.Requests.Incomplete), raw: string(bm.Openloop)}
		if i < len(file.Openloop.Stages) {
			s.raw = string(file.Openloop.Stages[i])
		}
		var own struct {
			Client     struct{ Level string }
			Judgement  struct{ Outcome string }
			Objectives []struct{ Holds bool }
		}
		if err := json.Unmarshal([]byte(s.raw), &own); err != nil {
			return nil, fmt.Errorf("stage %d: %w", i, err)
		}
		s.level, s.outcome = own.Client.Level, own.Judgement.Outcome
		if s.outcome == "" && len(own.Objectives) > 0 {
			s.outcome = "PASS"
			for _, o := range own.Objectives {
				if !o.Holds {
					s.outcome = "FAIL"
				}
			}
			if s.level == "invalid" {
				s.outcome = "UNDECIDED"
			}
		}
		for ok, list := range map[bool][]listed{true: bm.Requests.Successful, false: bm.Requests.Errored} {
			value := func(p *float64) float64 {
				if p == nil {
					return 0
				}
				return *p
			}
			for _, l := range list {
				s.requests = append(s.requests, request{ok: ok, err: l.Info.Error, tokens: value(l.Tokens),
					text: l.Output,
					ttft: value(l.TTFT), itl: value(l.ITL), tpot: value(l.TPOT), latency: 1000 * value(l.Took)})
			}
		}
		r.stages = append(r.stages, s)
	}
	return r, nil
}

// sum adds up something of all stages.
func (r *report) sum(f func(stage) int) (n int) {
	for _, s := range r.stages {
		n += f(s)
	}
	return n
}

const many = 1 << 30

func between(what string, n, least, most int) string {
	if n >= least && n <= most {
		return ""
	}
	want := fmt.Sprint(least)
	switch {
	case most == many:
		want = fmt.Sprintf("%d or more", least)
	case most != least:
		want = fmt.Sprintf("%d to %d", least, most)
	}
	return complaint(want+" "+what, n)
}

// completed is the number of requests that succeeded, of all stages.
func completed(least, most int) check {
	return func(r *report) string {
		return between("completed requests", r.sum(func(s stage) int { return s.completed }), least, most)
	}
}

// errored is the number of requests that failed.
func errored(least, most int) check {
	return func(r *report) string {
		w := between("failed requests", r.sum(func(s stage) int { return s.errored }), least, most)
		if w != "" {
			w += r.errors()
		}
		return w
	}
}

// errors lists the errors of a report, each once.
func (r *report) errors() string {
	count := map[string]int{}
	for _, s := range r.stages {
		for _, q := range s.requests {
			if !q.ok {
				count[q.err]++
			}
		}
	}
	var b strings.Builder
	for text, n := range count {
		fmt.Fprintf(&b, "\n%d times: %.200s", n, text)
	}
	return b.String()
}

// level is what the client is called on every stage.
func level(any ...string) check {
	return func(r *report) string {
		for _, s := range r.stages {
			if !slices.Contains(any, s.level) {
				return complaint("the client to be "+strings.Join(any, " or "), s.level)
			}
		}
		return ""
	}
}

// result is the outcome of every stage.
func result(any ...string) check {
	return func(r *report) string {
		for _, s := range r.stages {
			if !slices.Contains(any, s.outcome) {
				return complaint("the stage's outcome to be "+strings.Join(any, " or "), s.outcome)
			}
		}
		return ""
	}
}

// stages is the number of stages.
func stages(least, most int) check {
	return func(r *report) string { return between("stages", len(r.stages), least, most) }
}

// warned is an expression that a warning of the report matches, or what it says of a stage.
func warned(expression string) check {
	return func(r *report) string {
		all := r.warnings
		for _, s := range r.stages {
			all += s.raw
		}
		if regexp.MustCompile(`(?is)` + expression).MatchString(all) {
			return ""
		}
		return complaint(fmt.Sprintf("a warning of %q", expression), "the warnings "+r.warnings)
	}
}

// failures says that an error of a request matches.
func failures(expression string) check {
	return func(r *report) string {
		if regexp.MustCompile(`(?i)` + expression).MatchString(r.errors()) {
			return ""
		}
		return complaint(fmt.Sprintf("a request to fail with %q", expression), "these errors"+r.errors())
	}
}

// each looks at every completed request.
func each(what string, right func(q request) bool) check {
	return func(r *report) string {
		for _, s := range r.stages {
			for _, q := range s.requests {
				if q.ok && !right(q) {
					return complaint("of every completed request "+what, fmt.Sprintf("%.300v", fmt.Sprintf("%+v", q)))
				}
			}
		}
		return ""
	}
}
