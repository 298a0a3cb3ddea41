package guidellm

import (
	"fmt"
	"runtime"
	"time"

	"github.com/google/uuid"

	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep"
)

// Run is what a report is built from beside the stages: what was asked for, in the words of GuideLLM's arguments.
type Run struct {
	Args    Args   // as GuideLLM's command would have had them; credentials are in none of its fields
	Profile string // synchronous, concurrent, throughput, constant, poisson or sweep
	Rates   []float64
	Streams []int
	Size    int // stages of a sweep

	RequestType string // chat_completions or text_completions
	Stream      bool
	Model       string
	ModelsPath  string
	Timeout     time.Duration // of a request; 0: none
	HTTP2       bool
	Verify      bool // TLS certificates
	// the cap on requests in flight of open-loop stages; 0: loadgen.DefaultMaxConcurrency
	MaxConcurrency int
	OverSaturation *oversaturation.Config // nil: not looked for

	Version string   // openloop's
	Command []string // as it was given, credentials left out
	Outputs []Output // files to be written
	Notes   Object   // what openloop adds about the whole run

	id       uuid.UUID
	compiled map[*loadgen.Measured]*Benchmark // stages that an earlier Build has converted
}

// newUUID returns a random UUID (version 4) as text.
func newUUID() string { return uuid.Must(uuid.NewRandom()).String() }

// Build makes the report of what was measured. Stages that an earlier call with the same Run has seen are not converted
// again.
func Build(run *Run, result *sweep.Result) *Report {
	if run.id == uuid.Nil {
		run.id = uuid.Must(uuid.NewRandom())
		run.compiled = map[*loadgen.Measured]*Benchmark{}
	}
	r := &Report{
		Metadata: Metadata{
			Version: 1, GuideLLMVersion: "0.5.0", PythonVersion: "none (openloop " + run.Version + ")",
			Platform: runtime.GOOS + "-" + runtime.GOARCH,
		},
		Args: run.Args,
	}
	plain := len(result.PlainStages())
	var search []any
	for i, stage := range result.Stages {
		b := run.benchmark(result, i, stage)
		if i < plain {
			r.Benchmarks = append(r.Benchmarks, b)
		} else {
			search = append(search, b)
		}
	}
	notes := buildNotes(run, result)
	if search != nil {
		notes = append(notes, Member{"search", search})
	}
	r.OpenLoop = notes
	return r
}

// benchmark is one stage with all that its own measurement does not tell of it.
func (run *Run) benchmark(result *sweep.Result, index int, stage *sweep.Stage) *Benchmark {
	converted := run.compiled[stage.Measured]
	if converted == nil {
		converted = convertStage(stage.Measured, conversion{
			RunID: run.id, RequestType: run.RequestType, Stream: run.Stream,
			Warmup: transientOf(run.Args.Warmup), Cooldown: transientOf(run.Args.Cooldown),
		})
		run.compiled[stage.Measured] = converted
	}
	b := *converted
	b.Config = buildConfig(run, result, index, stage.Measured)
	b.OpenLoop = stageNotes(stage)
	return &b
}

// buildNotes is what openloop says of the whole run.
func buildNotes(run *Run, result *sweep.Result) Object {
	notes := Object{
		{"version", run.Version},
		{"command", run.Command},
	}
	warnings := []any{}
	for _, w := range result.Warnings {
		warnings = append(warnings, Object{{"stage", int64(w.Stage)}, {"text", w.Text}})
	}
	notes = append(notes, Member{"warnings", warnings})
	if result.SaturationRate > 0 {
		steps := []any{}
		for _, s := range result.Probe.Steps {
			steps = append(steps, Object{
				{"streams", int64(s.Streams)}, {"seconds", s.Seconds}, {"tokens", s.Tokens}, {"first_tokens", s.Firsts},
				{"sustained_rate", s.Rate},
			})
		}
		notes = append(notes, Member{"saturation", Object{
			{"rate", result.SaturationRate}, {"probe_rate", result.Probe.Rate},
			{"streams", int64(result.Probe.Streams)}, {"steps", steps},
		}})
	}
	if result.Answer != nil {
		notes = append(notes, Member{"knee", result.Answer})
	}
	return append(notes, run.Notes...)
}

// stageNotes is what openloop says of one stage.
func stageNotes(stage *sweep.Stage) Object {
	judgements := []any{}
	for _, j := range stage.Judgement.Objectives {
		judgements = append(judgements, j)
	}
	notes := Object{
		{"strategy", stage.Load.String()},
		{"stop_reason", string(stage.Reason)},
		{"objectives", judgements},
		{"client", stage.Audit},
		{"itl_ms", histogram(stage.Gaps.ValueAtQuantile, stage.Gaps.Mean(), stage.Gaps.Max(), stage.Gaps.TotalCount())},
	}
	if stage.Engine != nil {
		notes = append(notes, Member{"engine", stage.Engine})
	}
	return notes
}

// histogram summarises an HDR histogram of nanoseconds in milliseconds.
func histogram(at func(float64) int64, mean float64, most, n int64) Object {
	o := Object{{"count", n}, {"mean", mean / 1e6}}
	for _, q := range []float64{50, 90, 95, 99, 99.9} {
		o = append(o, Member{fmt.Sprintf("p%g", q), float64(at(q)) / 1e6})
	}
	return append(o, Member{"max", float64(most) / 1e6})
}
