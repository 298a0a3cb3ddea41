// Package peer audits another load generator: it runs its command against the simulated engine, reads the report that
// the command wrote, and lays what the report claims beside what the server saw.
//
//	run.go       the server, the command, its report
//	redact.go    the command without credentials
//	claim.go     what a report claims; guidellm.go, vllm.go and aiperf.go read one format each
//	seen.go      what the server saw: from its own record of every request
//	arrivals.go  whether requests arrived as a Poisson process, evenly, or neither
//	process.go   what the command's processes took
//	compare.go   both side by side
//	write.go     screen, Markdown, page
package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/openloop/openloop/internal/infile"
	"github.com/openloop/openloop/internal/num"
)

// Claim is what a load generator's report says.
type Claim struct {
	Tool   string       `json:"tool"` // with its version where the report says it
	File   string       `json:"file"`
	Stages []StageClaim `json:"stages"`
	format reportFormat
}

// reportFormat ranks the formats: of two reports of one run the one with the higher format says more.
type reportFormat int

const (
	formatRecords reportFormat = iota // AIPerf's requests, one a line
	formatVLLM
	formatAIPerf
	formatGuideLLM
	formatOpenLoop
)

// StageClaim is what a report says of one stage. Numbers that it does not have are absent.
type StageClaim struct {
	Name string `json:"name"`
	// Began and Ended are when requests were sent, by the wall clock; zero where the report does not say.
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"`

	Arrivals string    `json:"arrivals"`   // poisson, constant, or what else the report calls it; "": not said
	Asked    num.Value `json:"asked_rate"` // requests a second
	Rate     num.Value `json:"rate"`       // requests a second, as measured
	RateOf   string    `json:"rate_of"`    // what the rate counts

	Sent      num.Value `json:"sent"` // requests
	Completed num.Value `json:"completed"`
	Errored   num.Value `json:"errored"`

	// Verdict is what the report says of the load generator itself: valid, suspect or invalid; "": nothing.
	Verdict string `json:"verdict,omitempty"`

	TTFT50, TTFT99 num.Value `json:"-"` // ms
	ITLMean, ITL99 num.Value `json:"-"` // ms
	ITLPerRequest  bool      `json:"-"` // its percentiles are of one mean a request, not of the gaps
	PromptTokens   num.Value `json:"-"` // mean of the requests
	OutputTokens   num.Value `json:"-"`
}

func newStage(name string) StageClaim {
	none := num.Absent()
	return StageClaim{
		Name: name, Asked: none, Rate: none, Sent: none, Completed: none, Errored: none, TTFT50: none, TTFT99: none,
		ITLMean: none, ITL99: none, PromptTokens: none, OutputTokens: none,
	}
}

// maxReport bounds a report, in bytes; openloop's own of a long sweep have some 50 MB.
const maxReport = 1 << 30

// errUnknown is the error of a file that is no report that is known.
var errUnknown = errors.New("it is not a report whose format is known: GuideLLM's, vLLM's, AIPerf's or openloop's")

// ReadFile reads a report, in the format that it has.
func ReadFile(name string) (*Claim, error) {
	text, err := infile.ReadAll(name, maxReport)
	if err != nil {
		return nil, err
	}
	claim, err := Read(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	claim.File = name
	return claim, nil
}

// Read reads a report: GuideLLM's (both schemas) and openloop's as JSON or YAML, packed or not, the JSON of "vllm bench
// serve --save-result" and of vllm-bench, AIPerf's profile_export_aiperf.json, and its profile_export.jsonl.
func Read(text []byte) (*Claim, error) {
	var top struct {
		Benchmarks json.RawMessage `json:"benchmarks"`
		Metadata   json.RawMessage `json:"metadata"`
		Metrics    json.RawMessage `json:"metrics"`
		Throughput json.RawMessage `json:"request_throughput"`
		AIPerf     json.RawMessage `json:"aiperf_version"`
	}
	plain := quoteNaN(text)
	// A stream of values: AIPerf's lines are told by their first one.
	if err := json.NewDecoder(bytes.NewReader(plain)).Decode(&top); err != nil {
		if bytes.HasPrefix(text, []byte{0x1f, 0x8b}) || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
			return readGuideLLM(text) // packed, or YAML
		}
		return nil, fmt.Errorf("%w (%w)", errUnknown, err)
	}
	number := len(top.Throughput) > 0 && top.Throughput[0] != '{' && !isNull(top.Throughput)
	switch {
	case top.Benchmarks != nil:
		return readGuideLLM(text)
	case number:
		return readVLLM(plain)
	case top.Metrics != nil && top.Metadata != nil:
		return readAIPerfRecords(plain)
	case top.AIPerf != nil || len(top.Throughput) > 0:
		return readAIPerf(plain)
	}
	return nil, errUnknown
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// quoteNaN makes the numbers that Python writes and JSON does not have null: NaN, Infinity and -Infinity outside
// strings.
func quoteNaN(text []byte) []byte {
	if !bytes.Contains(text, []byte("NaN")) && !bytes.Contains(text, []byte("Infinity")) {
		return text
	}
	out := make([]byte, 0, len(text))
	inside := false
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case inside && c == '\\' && i+1 < len(text):
			out = append(out, c, text[i+1])
			i += 2
			continue
		case c == '"':
			inside = !inside
		case !inside:
			if n := barePythonNumber(text[i:]); n > 0 {
				out, i = append(out, "null"...), i+n
				continue
			}
		}
		out, i = append(out, c), i+1
	}
	return out
}

func barePythonNumber(text []byte) int {
	for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(text, []byte(name)) {
			return len(name)
		}
	}
	return 0
}

// number is a number that may be null, a text such as "inf", or not there; it never fails.
type number struct{ num.Value }

func absent() number { return number{num.Absent()} }

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	n.Value = num.Absent()
	text := string(b)
	if s, err := strconv.Unquote(text); err == nil {
		text = s
	}
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		n.Value = num.Value(v)
	}
	return nil
}

// perRequest is a mean of a total; absent where there was none.
func perRequest(total, requests num.Value) num.Value {
	if !(requests > 0) {
		return num.Absent()
	}
	return total / requests
}

// unixTime is a time given in seconds since the epoch; zero where it is not one of this century.
func unixTime(seconds float64) time.Time {
	if !(seconds > 946_684_800 && seconds < 4e9) {
		return time.Time{}
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9))
}

// quantiles gives the quantiles of values, absent of none; it sorts them.
func quantiles(values []float64, at ...float64) []num.Value {
	slices.Sort(values)
	out := make([]num.Value, len(at))
	for i, q := range at {
		out[i] = num.Absent()
		if len(values) > 0 {
			out[i] = num.Value(num.Quantile(values, q))
		}
	}
	return out
}

func mean(values []float64) num.Value {
	if len(values) == 0 {
		return num.Absent()
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return num.Value(sum / float64(len(values)))
}
