package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/internal/schemadoc"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// schemaFile describes the form of a Result in JSON, for programs that read reports.
var schemaFile = filepath.Join("..", "docs", "result.schema.json")

// schema is the JSON Schema of a Result, made from its types.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	number, null := &jsonschema.Schema{Type: "number"}, &jsonschema.Schema{Type: "null"}
	infinite := &jsonschema.Schema{Type: "string", Enum: []any{"+Inf", "-Inf"}}
	m := schemadoc.Maker{
		Root: "..", Module: "github.com/openloop/openloop",
		Types: map[reflect.Type]*jsonschema.Schema{
			reflect.TypeFor[num.Value]():       {AnyOf: []*jsonschema.Schema{number, null, infinite}},
			reflect.TypeFor[slo.Objective]():   {Type: "string"},
			reflect.TypeFor[slo.Gate]():        {Type: "string"},
			reflect.TypeFor[loadgen.Arrival](): {Type: "string"},
		},
		Units: units,
	}
	s, err := m.Strict(reflect.TypeFor[Result]())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ofObjective is the unit of an objective's figures.
const ofObjective = "ns for latencies, a share from 0 to 1 for errors and goodput; the field unit says which"

// units are of the numbers in a result whose unit is neither in their name nor in their comment.
var units = map[string]string{
	"Answer.Estimate":             "requests per second",
	"Answer.Lower":                "requests per second",
	"Answer.Stages":               "stages",
	"Answer.Upper":                "requests per second",
	"Asked.Confidence":            "a share, 0.5 to 1",
	"Cost.PerHour":                "the currency, an hour",
	"EngineLatency.Count":         "observations",
	"EngineLatency.Mean":          "seconds",
	"EngineLatency.P50":           "seconds",
	"EngineLatency.P95":           "seconds",
	"EngineLatency.P99":           "seconds",
	"ErrorCount.Count":            "requests",
	"GaugeSummary.Last":           "that of the gauge",
	"GaugeSummary.Max":            "that of the gauge",
	"GaugeSummary.Mean":           "that of the gauge",
	"Growth.Error":                "requests per second",
	"Growth.Parts":                "parts",
	"Histogram.Bounds":            "seconds",
	"Histogram.Count":             "observations",
	"Histogram.Counts":            "observations",
	"Histogram.Sum":               "seconds",
	"Judgement.Bound":             ofObjective,
	"Latency.Count":               "requests, or gaps for itl",
	"Learned.Checked":             "prompts",
	"Learned.Error":               "a share of the length",
	"Learned.TokensPerWord":       "tokens",
	"LengthCheck.Error":           "a share of the length",
	"LengthCheck.Exact":           "requests",
	"Measurements.CPUPeriods":     "periods",
	"Measurements.CPUThrottled":   "periods",
	"Measurements.DelayedByCap":   "requests",
	"Measurements.FileLimit":      "file descriptors",
	"Measurements.NewConnections": "connections",
	"Measurements.PeakInFlight":   "requests",
	"Measurements.Retries":        "requests",
	"Measurements.SourceWaits":    "requests",
	"Need.Requests":               "requests",
	"ObjectiveFit.Dispersion":     "misses",
	"ObjectiveFit.Estimate":       "requests per second",
	"ObjectiveFit.Lower":          "requests per second",
	"ObjectiveFit.Upper":          "requests per second",
	"Observed.Misses":             "requests, or gaps for itl",
	"Observed.Value":              ofObjective,
	"Observed.ValueFromSent":      ofObjective,
	"Observed.ValueWithoutFailed": ofObjective,
	"Piece.To":                    "requests per second",
	"ProbeStep.Seconds":           "seconds",
	"ProbeStep.Streams":           "streams",
	"Probes.ProbeRate":            "requests per second",
	"Probes.Rates":                "requests per second",
	"Probes.SaturationRate":       "requests per second",
	"Probes.Streams":              "streams",
	"Probes.SynchronousRate":      "requests per second",
	"Rates.Asked":                 "requests per second",
	"Rates.Tokens":                "tokens per second",
	"Rates.Output":                "tokens per second",
	"Rates.Done":                  "requests per second",
	"Rates.Sent":                  "requests per second",
	"Reason.Limit":                "that of value",
	"Requests.Completed":          "requests",
	"Requests.Errored":            "requests",
	"Requests.RateLimited":        "requests",
	"Requests.Unavailable":        "requests",
	"Answers.Asked":               "requests",
	"Group.Done":                  "requests per second",
	"Group.Output":                "tokens per second",
	"Group.Sent":                  "requests per second",
	"Difference.Value":            "milliseconds",
	"Difference.Lower":            "milliseconds",
	"Difference.Upper":            "milliseconds",
	"Answers.Short":               "requests",
	"Result.Schema":               "none; the number of this form",
	"Sample.KVUsage":              "a share of the cache, 0 to 1",
	"Sample.Preemptions":          "preemptions",
	"Sample.Running":              "requests",
	"Sample.Waiting":              "requests",
	"Sessions.Abandoned":          "sessions",
	"Sessions.Done":               "sessions",
	"Sessions.Started":            "sessions",
	"Share.Index":                 "none; a number from 0",
	"Share.Of":                    "shares",
	"StageJudgement.Requests":     "requests",
	"Summary.PromptSeed":          "none",
	"Worker.Requests":             "requests",
	"Turn.Requests":               "requests",
	"Turn.Turn":                   "none; a number from 1",
	"Window.Errors":               "scrapes",
	"Window.KVUsage":              "a share of the cache, 0 to 1",
	"Window.Running":              "requests",
	"Window.Waiting":              "requests",
}

// docs/result.schema.json is made from the types, and a result of every shape fits it.
func TestSchema(t *testing.T) {
	strict := schema(t)
	s := schemadoc.Open(strict)
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "openloop's result, under the key openloop of a report file; schema number 2"
	s.Properties["search_benchmarks"] = &jsonschema.Schema{
		Type: "array", Items: &jsonschema.Schema{Type: "object"},
		Description: "GuideLLM's benchmarks of the search's stages; each has its requests under openloop.requests",
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *update {
		if err := os.WriteFile(schemaFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(text) {
		t.Errorf("%s is not that of the types (go test ./report -update writes it)", schemaFile)
	}
	resolved, err := strict.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*Result{"a sweep": made(t), "a search": searched(t), "hostile": hostile(t)} {
		result, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(result, &value); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
