package guidellm

import (
	"bytes"
	"encoding/json"
	"runtime"

	"github.com/google/uuid"

	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// ExportConfig is what GuideLLM's report of a run says beside what was measured.
type ExportConfig struct {
	Args           Args      // as GuideLLM's command would have had them; credentials are in none of its fields
	Spec           spec.Spec // what was asked for
	Model          string    // that was asked for; "" where the endpoint lists none and none was named
	Version        string    // openloop's
	MaxConcurrency int       // the cap on requests in flight of open-loop stages; 0: loadgen.DefaultMaxConcurrency
	OverSaturation *oversaturation.Config
	Scenario       Object // of "guidellm run", for schema 2; credentials are not in it. nil: made of Args
}

// Exporter writes the results of one run as GuideLLM's reports. A run that is saved after every stage keeps its ids,
// and no stage is converted twice.
type Exporter struct {
	ExportConfig
	id        uuid.UUID
	converted map[*loadgen.Measured]*Benchmark
}

// NewExporter prepares for the reports of one run.
func NewExporter(c ExportConfig) *Exporter {
	return &Exporter{ExportConfig: c, id: uuid.Must(uuid.NewRandom()), converted: map[*loadgen.Measured]*Benchmark{}}
}

// newUUID returns a random UUID (version 4) as text.
func newUUID() string { return uuid.Must(uuid.NewRandom()).String() }

// Export makes GuideLLM's report of a result that was made in this process. The result stands in it under "openloop".
// Its benchmarks are GuideLLM's sweep; those of the search stand beside the result.
func (e *Exporter) Export(result *report.Result) *Report {
	r := &Report{
		Metadata: Metadata{
			Version: 1, GuideLLMVersion: "0.5.0", PythonVersion: "none (openloop " + e.Version + ")",
			Platform: runtime.GOOS + "-" + runtime.GOARCH,
		},
		Args: e.Args, Scenario: e.Scenario,
	}
	if rates := e.speedRates(result); len(rates) > 0 {
		r.Args.Profile, r.Args.Rate = string(result.Stages[0].Load.Kind), rates
	}
	own := &ownPart{result: result}
	for i := range result.Stages {
		b := e.benchmark(result, i)
		if result.Stages[i].Search {
			own.search = append(own.search, b)
		} else {
			r.Benchmarks = append(r.Benchmarks, b)
		}
	}
	r.OpenLoop = own
	return r
}

// benchmark is one stage with all that its own measurement does not tell of it.
func (e *Exporter) benchmark(result *report.Result, index int) *Benchmark {
	stage := &result.Stages[index]
	converted := e.converted[stage.Measured]
	if converted == nil {
		limits := e.Spec.Limits
		converted = convertStage(stage.Measured, conversion{
			RunID: e.id, RequestType: requestType(e.Spec.Workload.Format), Stream: !e.Spec.Workload.NoStream,
			Warmup: TransientOf(limits.Warmup), Cooldown: TransientOf(limits.Cooldown),
		})
		e.converted[stage.Measured] = converted
	}
	b := *converted
	b.Config = e.config(result, index)
	if stage.Search {
		b.Requests = Requests{}
		b.OpenLoop = &stageNotes{Stage: int64(index), Requests: tableOf(stage.Measured)}
	} else {
		b.OpenLoop = &stageNotes{Stage: int64(index), NotSent: notSentOf(stage.Measured)}
	}
	return &b
}

// stageNotes is what stands under "openloop" in a benchmark: which of the result's stages it is, and what GuideLLM does
// not list of its requests.
type stageNotes struct {
	Stage    int64         `json:"stage"`
	NotSent  []notSent     `json:"not_sent,omitempty"`
	Requests *requestTable `json:"requests,omitempty"` // of a stage of the search, in place of GuideLLM's lists
}

// ownPart is what stands under "openloop" in a report: the result, and GuideLLM's benchmarks of the search's stages.
type ownPart struct {
	result *report.Result
	search []*Benchmark
}

// MarshalJSON writes the result, and the search's benchmarks as its last member.
func (o *ownPart) MarshalJSON() ([]byte, error) {
	var text bytes.Buffer
	j := json.NewEncoder(&text)
	j.SetEscapeHTML(false) // objectives have a "<" in them
	if err := j.Encode(o.result); err != nil {
		return nil, err
	}
	out := bytes.TrimSpace(text.Bytes())
	if len(o.search) == 0 {
		return out, nil
	}
	search := make([]any, len(o.search))
	for i, b := range o.search {
		search[i] = b
	}
	benchmarks, err := marshalFree(search)
	if err != nil {
		return nil, err
	}
	out = append(out[:len(out)-1], `, "search_benchmarks": `...)
	return append(append(out, benchmarks...), '}'), nil
}

// requestType is GuideLLM's name of a kind of request.
func requestType(f tokens.Format) string {
	return f.String()
}

// ArgsOf says what was asked for in the words of GuideLLM's arguments. No credential is in them.
func ArgsOf(s spec.Spec) Args {
	a := DefaultArgs()
	a.Target = s.Endpoint.Target
	a.Data = []string{s.Describe()}
	a.Profile, a.Rate = s.Plan.Profile, ratesOf(s.Plan)
	if s.Endpoint.Model != "" {
		a.Model = Some(s.Endpoint.Model)
	}
	a.DataRequestFormatter = requestType(s.Workload.Format)
	a.RandomSeed = s.Plan.Seed()
	a.Outputs, a.OutputDir = s.Output.Files, s.Output.Dir
	a.SampleRequests = Some(int64(s.Output.SampleRequests))
	l := s.Limits
	a.Warmup, a.Cooldown = TrimValue(l.Warmup), TrimValue(l.Cooldown)
	a.Rampup = l.RampUp.Seconds()
	if l.MaxDuration > 0 {
		a.MaxSeconds = l.MaxDuration.Seconds()
	}
	if l.MaxRequests > 0 {
		a.MaxRequests = Some(int64(l.MaxRequests))
	}
	if l.MaxErrors > 0 {
		a.MaxErrors = Some(int64(l.MaxErrors))
	}
	if l.MaxErrorRate > 0 {
		a.MaxErrorRate = Some(l.MaxErrorRate)
	}
	if l.MaxGlobalErrorRate > 0 {
		a.MaxGlobalErrorRate = Some(l.MaxGlobalErrorRate)
	}
	return a
}

// meanRate is the rate of an open loop, as GuideLLM's schema has it: above 0, and of a trace or a changing rate the
// mean.
func meanRate(load loadgen.Load) float64 {
	if load.Rate > 0 {
		return load.Rate
	}
	return float64(max(1, len(load.Times))) // a trace of one moment: as within a second
}

// ratesOf is the value of GuideLLM's --rate: rates, streams, or the size of a sweep.
func ratesOf(p spec.Plan) []float64 {
	if p.Sweep != nil {
		return []float64{float64(p.Sweep.Size)}
	}
	var rates []float64
	for _, load := range p.Stages {
		switch {
		case load.Kind == loadgen.Synchronous:
		case load.Kind.Open():
			rates = append(rates, meanRate(load))
		default:
			rates = append(rates, float64(load.Streams))
		}
	}
	return rates
}
