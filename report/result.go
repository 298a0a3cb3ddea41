// Package report is what came out of a run. A Result is made from what was measured, stands in the report file under
// the key "openloop", and is read back from there. Its views (Formats) are made from a Result alone, so that they are
// the same live and read back.
//
//	result.go   the types: what the file holds
//	build.go    from what was measured to a Result
//	rates.go    rates of requests and tokens over a stage
//	answer.go   the answer in one sentence
//	latency.go  which statistic of a latency is shown
//	warnings.go what of the answers was not taken as the server gave it
//	breaks.go   what limits the rate, and what the engine says there
//	cost.go     the max rate as a number, and what tokens cost at it
//	requests.go the requests of a stage, one by one
//	series.go   a stage over time
//	format.go   the forms in which a Result can be written
//	sessions.go sessions and their turns
//	groups.go   the requests of a class, or to a target
//	screen.go   what is printed at the end of a run
//	paint.go    its colours, and those of the live screen
//	markdown.go for a pull request or an issue
//	junit.go    for a CI system
package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
	"github.com/openloop/openloop/tokens"
)

// Schema is the number of the form that Result has in JSON. It grows when a field changes its meaning or goes; a new
// field leaves it as it is. docs/result.schema.json describes it.
const Schema = 2

// Result is what came out of a run.
type Result struct {
	Schema  int           `json:"schema"`
	Version string        `json:"version"` // openloop's
	Command []string      `json:"command"` // as it was given, credentials left out
	Began   time.Time     `json:"began"`   // when the first stage began
	Took    time.Duration `json:"took_ns"` // until the last stage ended

	Asked    Asked               `json:"asked"`
	Stages   []Stage             `json:"stages"`           // in the order in which they ran
	Engine   *enginemetrics.Info `json:"engine,omitempty"` // what serves the endpoint; nil: it does not say
	Probes   *Probes             `json:"probes,omitempty"` // sweeps only
	Search   *sweep.Answer       `json:"search,omitempty"` // what the search for the max rate found; nil: none was made
	Gates    []sweep.GateOutcome `json:"gates,omitempty"`
	Workload tokens.Summary      `json:"workload"`
	Warnings []sweep.Warning     `json:"warnings"`

	Engines []Engine `json:"engines,omitempty"` // those whose metrics are read, where they have names
}

// Engine is one of several engines.
type Engine struct {
	Name   string              `json:"name"`   // of its target, or as --server-metrics names it
	Engine *enginemetrics.Info `json:"engine"` // null: it does not say
}

// Asked is what was asked for, as far as a reader of the result wants to know it.
type Asked struct {
	Target   string `json:"target"` // without name and password
	Model    string `json:"model"`
	Profile  string `json:"profile"`  // synchronous, concurrent, throughput, constant, poisson or sweep
	Workload string `json:"workload"` // such as kind=synthetic_text,prompt_tokens=256,output_tokens=128
	// Request is the kind of request, as --request-type names it; "" in files of openloops that did not say.
	Request    string          `json:"request,omitempty"`
	Objectives []slo.Objective `json:"objectives"`
	Confidence float64         `json:"confidence"` // of every outcome, between 0.5 and 1
	Seed       int64           `json:"seed"`       // of the arrivals
	// Labels are the user's own words about the run: what was changed, on which hardware.
	Labels map[string]string `json:"labels,omitempty"`
	Cost   *spec.Cost        `json:"cost,omitempty"` // of the endpoint; nil: not said
}

// SLO is the objectives as one text, in the form of --slo.
func (a *Asked) SLO() string {
	texts := make([]string, len(a.Objectives))
	for i, o := range a.Objectives {
		texts[i] = o.String()
	}
	return strings.Join(texts, " ")
}

// Stage is what came out of one stage.
type Stage struct {
	Name    string             `json:"name"` // such as constant@12.50
	Load    loadgen.Load       `json:"load"`
	Reason  loadgen.StopReason `json:"stop_reason"`
	Began   time.Time          `json:"began"`
	Sending time.Duration      `json:"sending_ns"` // how long requests were sent

	Rates    Rates        `json:"rates"`
	InFlight float64      `json:"in_flight_mean"` // requests
	Requests Requests     `json:"requests"`
	Errors   []ErrorCount `json:"errors,omitempty"` // by what went wrong, the most frequent first

	RetryAfter *RetryAfter `json:"retry_after,omitempty"` // of refusals; nil where none said when to come back
	Answers    *Answers    `json:"answers,omitempty"`     // how they ended; nil where there are none
	Retried    *Retried    `json:"retried,omitempty"`     // nil where none was sent again

	Sessions *Sessions `json:"sessions,omitempty"` // nil where requests stand alone

	Classes []Group `json:"classes,omitempty"` // of the mix; nil where there is none
	Targets []Group `json:"targets,omitempty"` // nil where there is one

	// TTFT and TPOT are over the requests that were judged, those that failed left out; TTFT counts from the scheduled
	// time. A percentile that an objective bounds is the objective's observed value: no latency has two values.
	TTFT Latency `json:"ttft"`
	TPOT Latency `json:"tpot"`
	// TTFO is to the first token of the answer itself, from the scheduled time: content or a tool call, no reasoning.
	// nil where it is the TTFT, since no request began with reasoning.
	TTFO *Latency `json:"ttfo,omitempty"`
	// E2E is of whole requests, from the scheduled time; absent where text is generated.
	E2E *Latency `json:"e2e,omitempty"`
	// ITL is over every gap between two token events of the stage.
	ITL Latency `json:"itl"`
	// SendDelay is sent − scheduled; open loops only.
	SendDelay Latency `json:"send_delay"`

	Judgement slo.StageJudgement `json:"judgement"` // by the objectives
	Client    audit.Verdict      `json:"client"`    // whether the load generator added to what it measured
	// Engine is what the engine said of itself, of several all together; Engines of each that has a name.
	Engine  *enginemetrics.Window `json:"engine,omitempty"`
	Engines []enginemetrics.Named `json:"engines,omitempty"`
	Series  *Series               `json:"series,omitempty"` // the stage over time

	// Measured are the records that all this was made from; nil where the result was read from a file.
	Measured *loadgen.Measured `json:"-"`
	// Probe says whether the stage was run to find rates to try, and not to be judged: a sweep's closed loops.
	Probe bool `json:"probe,omitempty"`
	// Search says whether the stage belongs to the search, and not to GuideLLM's plain sweep.
	Search bool `json:"search,omitempty"`
	// Repeated says that a worker was lost in the stage, and that a later one was run in its place.
	Repeated bool `json:"repeated,omitempty"`

	log []Request // see Log
}

// Rates are in requests or tokens per second, over the time in which requests were sent.
type Rates struct {
	Asked  num.Value `json:"asked"` // by the schedule; null for closed loops
	Sent   float64   `json:"sent"`
	Done   float64   `json:"done"`
	Tokens float64   `json:"tokens"` // output tokens as they came, prompt tokens with the first of them
	// Output are the output tokens alone; 0 in files of openloops that did not tell them apart.
	Output float64 `json:"output_tokens,omitempty"`
	// Input are the tokens of what was embedded or ranked, by the server's count; absent where text is generated.
	Input float64 `json:"input_tokens,omitempty"`
}

// Requests counts the requests of a stage by how they ended.
type Requests struct {
	Completed  int `json:"completed"`
	Errored    int `json:"errored"`
	Unfinished int `json:"unfinished"` // still in flight when the stage ended
	NotSent    int `json:"not_sent"`   // due, but the stage ended before they were sent

	RateLimited int `json:"rate_limited,omitempty"` // of those that failed, the ones refused with HTTP 429
	Unavailable int `json:"unavailable,omitempty"`  // of those that failed, the ones refused with HTTP 503
}

// ErrorCount is how many requests failed with one text.
type ErrorCount struct {
	Kind  string `json:"kind"` // such as "http status"
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// Latency sums up a latency in milliseconds. Values are null where nothing was observed.
type Latency struct {
	Count int       `json:"count"`
	Mean  num.Value `json:"mean_ms"`
	P50   num.Value `json:"p50_ms"`
	P90   num.Value `json:"p90_ms"`
	P95   num.Value `json:"p95_ms"`
	P99   num.Value `json:"p99_ms"`
	P999  num.Value `json:"p99_9_ms"`
	Max   num.Value `json:"max_ms"`
}

// Probes are what the probes of a sweep found. Rates are in arrivals a second: requests, or sessions.
type Probes struct {
	SynchronousRate float64           `json:"synchronous_rate"` // of one stream
	SaturationRate  float64           `json:"saturation_rate"`  // that the server sustains; 0: not found
	ProbeRate       float64           `json:"probe_rate"`       // the same, without the throughput stage
	Streams         int               `json:"streams"`          // the fewest at which the server gave all it has
	Steps           []sweep.ProbeStep `json:"steps"`            // numbers of streams that were tried
	Rates           []float64         `json:"rates"`            // of the open-loop stages between the two probes
}

// Read reads a Result as it stands in a report file under "openloop". ok is false where the text is not of this form: a
// report of GuideLLM's, or of an openloop before it had one.
func Read(text []byte) (r *Result, ok bool, err error) {
	var head struct {
		Schema int `json:"schema"`
	}
	if len(text) == 0 || json.Unmarshal(text, &head) != nil || head.Schema < 1 {
		return nil, false, nil
	}
	if head.Schema > Schema {
		return nil, true, fmt.Errorf("it was written by a later openloop (schema %d; this one reads up to %d)",
			head.Schema, Schema)
	}
	r = &Result{}
	former := false
	if head.Schema < 2 {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(text, &fields); err != nil {
			return nil, true, err
		}
		if _, searched := fields["search"]; searched {
			delete(fields, "search")
			former = true
		}
		if text, err = json.Marshal(fields); err != nil {
			return nil, true, err
		}
	}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, true, err
	}
	if former {
		r.Warnings = append(r.Warnings, sweep.Warning{Stage: -1, Text: "the file is of an earlier openloop, whose " +
			"search had no interval: the answer here is by its single stages"})
	}
	return r, true, nil
}
