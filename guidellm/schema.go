// Package guidellm is GuideLLM 0.5.0 alone: its report field by field, reading it (Read, ReadOpenLoop), writing it as
// JSON, YAML, CSV and console tables (Write, WriteFile, WriteConsole), making it of what openloop measured (Build), and
// making its metrics once more from its requests (Recompute). Beside it stand its statistics (stats), its detection of
// a server that does not keep up (oversaturation), and the comparison of its reports with openloop's (parity).
//
// The types below are the schema, their fields in the order in which GuideLLM writes them. What openloop adds stands
// under the key "openloop" of the report, of a benchmark and of a request; GuideLLM's loader passes over it.
package guidellm

import (
	"encoding/json"
	"iter"
	"math"
	"slices"

	"github.com/openloop/openloop/guidellm/stats"
)

// Null is a value that a report may hold as null. The zero value is null.
type Null[T any] struct {
	Value T
	Valid bool
}

// Some returns a Null that holds a value.
func Some[T any](v T) Null[T] { return Null[T]{v, true} }

// Object is a JSON object of free form that keeps the order of its keys, to be written. Values are nil, bool, int64,
// float64 (written with a point, so that Python reads a float), string, []any, Object, json.RawMessage, or anything
// that encoding/json can encode.
type Object []Member

// Member is one key of an Object.
type Member struct {
	Key   string
	Value any
}

// Get returns the value of a key, nil where the object has no such key.
func (o Object) Get(key string) any {
	for _, m := range o {
		if m.Key == key {
			return m.Value
		}
	}
	return nil
}

// Text returns the string under a key, "" where there is none.
func (o Object) Text(key string) string {
	s, _ := o.Get(key).(string)
	return s
}

// MarshalJSON implements json.Marshaler.
func (o Object) MarshalJSON() ([]byte, error) { return marshalFree(o) }

// Report is a whole report (benchmark/schemas/generative/report.py). What it has of free form (fields of type any, here
// and below) is a json.RawMessage in a report that was read, nil for null, and may be anything that Object may hold in
// one that is written. DecodeFree reads either.
type Report struct {
	Metadata Metadata `json:"metadata"`
	Args     Args     `json:"args"`
	// OpenLoop stands before the benchmarks, so that a reader of it alone need not pass over them.
	OpenLoop   any          `json:"openloop,omitempty"`
	Benchmarks []*Benchmark `json:"benchmarks" report:"list"`

	// Scenario is the config of schema 2, where a run of "guidellm run" has one. It is not written in schema 1.
	Scenario Object `json:"-"`

	// Unknown are the fields that were read and that GuideLLM 0.5.0 does not have. They are written back in their
	// object.
	Unknown []Field `json:"-"`
	// Missing are the paths of the fields that GuideLLM 0.5.0 has and that were not there to be read.
	Missing []string `json:"-"`
}

// Field is a field of a report by its path, such as benchmarks[0].config.seed.
type Field struct {
	Path  string
	Value json.RawMessage

	object, name string // the path's two parts; a name may have a dot in it
}

// Metadata says what wrote a report.
type Metadata struct {
	Version         int64  `json:"version"` // of the schema: 1
	GuideLLMVersion string `json:"guidellm_version"`
	PythonVersion   string `json:"python_version"`
	Platform        string `json:"platform"`
}

// Args are the arguments of the command that made a report (generative/entrypoints.py, BenchmarkGenerativeTextArgs).
// Start from DefaultArgs.
type Args struct {
	Target                string        `json:"target"`
	Data                  []string      `json:"data" report:"list"`
	Profile               string        `json:"profile"`
	Rate                  []float64     `json:"rate"`
	Backend               string        `json:"backend"`
	BackendKwargs         any           `json:"backend_kwargs"`
	Model                 Null[string]  `json:"model"`
	Processor             Null[string]  `json:"processor"`
	ProcessorArgs         any           `json:"processor_args"`
	DataArgs              any           `json:"data_args"` // list of objects
	DataSamples           int64         `json:"data_samples"`
	DataColumnMapper      any           `json:"data_column_mapper"`
	DataRequestFormatter  any           `json:"data_request_formatter"`
	DataCollator          any           `json:"data_collator"`
	DataSampler           any           `json:"data_sampler"`
	DataNumWorkers        Null[int64]   `json:"data_num_workers"`
	DataloaderKwargs      any           `json:"dataloader_kwargs"`
	RandomSeed            int64         `json:"random_seed"`
	Outputs               []string      `json:"outputs" report:"list"`
	OutputDir             string        `json:"output_dir"`
	SampleRequests        Null[int64]   `json:"sample_requests"`
	Warmup                any           `json:"warmup"` // number or object
	Cooldown              any           `json:"cooldown"`
	Rampup                float64       `json:"rampup"` // seconds
	PreferResponseMetrics bool          `json:"prefer_response_metrics"`
	MaxSeconds            any           `json:"max_seconds"` // int or float
	MaxRequests           Null[int64]   `json:"max_requests"`
	MaxErrors             Null[int64]   `json:"max_errors"`
	MaxErrorRate          Null[float64] `json:"max_error_rate"`
	MaxGlobalErrorRate    Null[float64] `json:"max_global_error_rate"`
	OverSaturation        any           `json:"over_saturation"`
}

// DefaultArgs returns the arguments of a GuideLLM 0.5.0 command that names none. Target and Data have no default.
func DefaultArgs() Args {
	return Args{
		Profile: "sweep", Backend: "openai_http", DataArgs: []any{}, DataSamples: -1,
		DataColumnMapper: "generative_column_mapper", DataRequestFormatter: "chat_completions",
		DataCollator: "generative", DataNumWorkers: Some[int64](1), RandomSeed: 42,
		Outputs: []string{"json", "csv", "html"}, OutputDir: ".", SampleRequests: Some[int64](10),
		PreferResponseMetrics: true,
	}
}

// Benchmark is one stage of a run (generative/benchmark.py). Times are seconds since the epoch, durations seconds.
type Benchmark struct {
	Type             string                 `json:"type_"` // "generative_benchmark"
	Config           Config                 `json:"config"`
	SchedulerState   SchedulerState         `json:"scheduler_state"`
	SchedulerMetrics stats.SchedulerMetrics `json:"scheduler_metrics"`
	Metrics          stats.Metrics          `json:"metrics"`
	Requests         Requests               `json:"requests"`
	StartTime        float64                `json:"start_time"`
	EndTime          float64                `json:"end_time"`
	Duration         float64                `json:"duration"`
	WarmupDuration   float64                `json:"warmup_duration"`
	CooldownDuration float64                `json:"cooldown_duration"`
	OpenLoop         any                    `json:"openloop,omitempty"`
}

// setTimes fills in the five times that GuideLLM derives from the scheduler's (benchmark.py, the computed fields).
func (b *Benchmark) setTimes() {
	m := &b.SchedulerMetrics
	b.StartTime, b.EndTime = m.MeasureStartTime, m.MeasureEndTime
	b.Duration = b.EndTime - b.StartTime
	b.WarmupDuration = m.MeasureStartTime - m.RequestStartTime
	b.CooldownDuration = m.RequestEndTime - m.MeasureEndTime
}

// Config says how a stage was run (benchmark/schemas/base.py, BenchmarkConfig). Its objects differ by version and by
// kind of load, so they are kept as JSON; config.go has the structs that openloop writes into them.
type Config struct {
	ID                    string          `json:"id_"`
	RunID                 string          `json:"run_id"`
	RunIndex              int64           `json:"run_index"`
	Strategy              json.RawMessage `json:"strategy"`
	Constraints           json.RawMessage `json:"constraints"`
	SampleRequests        Null[int64]     `json:"sample_requests"`
	Warmup                Transient       `json:"warmup"`
	Cooldown              Transient       `json:"cooldown"`
	PreferResponseMetrics bool            `json:"prefer_response_metrics"`
	Profile               json.RawMessage `json:"profile"`
	Requests              json.RawMessage `json:"requests"`
	Backend               json.RawMessage `json:"backend"`
	Environment           json.RawMessage `json:"environment"`
}

// Transient is a warmup or cooldown (base.py, TransientPhaseConfig).
type Transient struct {
	Percent Null[float64] `json:"percent"` // share of the run, below 1
	Value   any           `json:"value"`   // seconds or requests, int or float
	Mode    string        `json:"mode"`
}

// SchedulerState is where the scheduler stood at the end (scheduler/schemas.py). Times are seconds since the epoch.
type SchedulerState struct {
	NodeID                   int64           `json:"node_id"`
	NumProcesses             int64           `json:"num_processes"`
	StartTime                float64         `json:"start_time"`
	EndTime                  Null[float64]   `json:"end_time"`
	EndQueuingTime           Null[float64]   `json:"end_queuing_time"`
	EndQueuingConstraints    json.RawMessage `json:"end_queuing_constraints"`
	EndProcessingTime        Null[float64]   `json:"end_processing_time"`
	EndProcessingConstraints json.RawMessage `json:"end_processing_constraints"`
	SchedulerConstraints     json.RawMessage `json:"scheduler_constraints"`
	Progress                 Progress        `json:"progress"`
	CreatedRequests          int64           `json:"created_requests"`
	QueuedRequests           int64           `json:"queued_requests"`
	PendingRequests          int64           `json:"pending_requests"`
	ProcessingRequests       int64           `json:"processing_requests"`
	ProcessedRequests        int64           `json:"processed_requests"`
	SuccessfulRequests       int64           `json:"successful_requests"`
	ErroredRequests          int64           `json:"errored_requests"`
	CancelledRequests        int64           `json:"cancelled_requests"`
}

// Progress is how much of a limit was left (scheduler/schemas.py, SchedulerProgress).
type Progress struct {
	RemainingRequests Null[float64] `json:"remaining_requests"`
	TotalRequests     Null[float64] `json:"total_requests"`
	RemainingDuration Null[float64] `json:"remaining_duration"`
	TotalDuration     Null[float64] `json:"total_duration"`
	StopTime          Null[float64] `json:"stop_time"`
}

// Requests are a stage's requests by how they ended, in the order in which they were done.
type Requests struct {
	Successful RequestSeq `json:"successful"`
	Errored    RequestSeq `json:"errored"`
	Incomplete RequestSeq `json:"incomplete"`
	Total      any        `json:"total"` // always null
}

// RequestSeq yields requests one by one, so that a writer never holds a million of them. What it yields is read before
// the next one is asked for, so a single Request may be used over and over. Nil is empty. Use slices.Values for a list.
type RequestSeq iter.Seq[*Request]

// List returns the requests of a sequence that yields a new Request each time, as those of a report that was read.
func (s RequestSeq) List() []*Request {
	if s == nil {
		return nil
	}
	return slices.Collect(iter.Seq[*Request](s))
}

// Request is one request (schemas/request_stats.py, GenerativeRequestStats). The fields after OutputMetrics follow from
// those before; setStats fills them in.
type Request struct {
	Type                     string        `json:"type_"` // "generative_request_stats"
	RequestID                string        `json:"request_id"`
	RequestType              string        `json:"request_type"` // chat_completions or text_completions
	ResponseID               Null[string]  `json:"response_id"`
	RequestArgs              Null[string]  `json:"request_args"`
	Output                   Null[string]  `json:"output"`
	Info                     Info          `json:"info"`
	InputMetrics             Usage         `json:"input_metrics"`
	OutputMetrics            Usage         `json:"output_metrics"`
	RequestStartTime         Null[float64] `json:"request_start_time"`
	RequestEndTime           Null[float64] `json:"request_end_time"`
	RequestLatency           Null[float64] `json:"request_latency"` // seconds
	PromptTokens             Null[int64]   `json:"prompt_tokens"`
	InputTokens              Null[int64]   `json:"input_tokens"`
	OutputTokens             Null[int64]   `json:"output_tokens"`
	TotalTokens              Null[int64]   `json:"total_tokens"`
	TimeToFirstTokenMS       Null[float64] `json:"time_to_first_token_ms"`
	TimePerOutputTokenMS     Null[float64] `json:"time_per_output_token_ms"`
	InterTokenLatencyMS      Null[float64] `json:"inter_token_latency_ms"`
	TokensPerSecond          Null[float64] `json:"tokens_per_second"`
	OutputTokensPerSecond    Null[float64] `json:"output_tokens_per_second"`
	IterTokensPerIteration   Null[float64] `json:"iter_tokens_per_iteration"`
	OutputTokensPerIteration Null[float64] `json:"output_tokens_per_iteration"`
	OpenLoop                 any           `json:"openloop,omitempty"`
}

// Info is what the scheduler knows of a request (schemas/info.py, RequestInfo).
type Info struct {
	RequestID          string        `json:"request_id"`
	Status             string        `json:"status"` // completed, errored or cancelled
	SchedulerNodeID    int64         `json:"scheduler_node_id"`
	SchedulerProcessID int64         `json:"scheduler_process_id"`
	SchedulerStartTime float64       `json:"scheduler_start_time"`
	Timings            Timings       `json:"timings"`
	Error              Null[string]  `json:"error"`
	StartedAt          Null[float64] `json:"started_at"`
	CompletedAt        Null[float64] `json:"completed_at"`
}

// Timings are the moments of a request in seconds since the epoch (schemas/info.py, RequestTimings).
type Timings struct {
	TargetedStart         Null[float64] `json:"targeted_start"`
	Queued                Null[float64] `json:"queued"`
	Dequeued              Null[float64] `json:"dequeued"`
	ScheduledAt           Null[float64] `json:"scheduled_at"`
	ResolveStart          Null[float64] `json:"resolve_start"`
	RequestStart          Null[float64] `json:"request_start"`
	FirstRequestIteration Null[float64] `json:"first_request_iteration"`
	FirstTokenIteration   Null[float64] `json:"first_token_iteration"`
	LastTokenIteration    Null[float64] `json:"last_token_iteration"`
	LastRequestIteration  Null[float64] `json:"last_request_iteration"`
	RequestIterations     int64         `json:"request_iterations"`
	TokenIterations       int64         `json:"token_iterations"`
	RequestEnd            Null[float64] `json:"request_end"`
	ResolveEnd            Null[float64] `json:"resolve_end"`
	Finalized             Null[float64] `json:"finalized"`
}

// Usage counts what went into or came out of a request (schemas/request.py, UsageMetrics).
type Usage struct {
	TextTokens     Null[int64]   `json:"text_tokens"`
	TextWords      Null[int64]   `json:"text_words"`
	TextCharacters Null[int64]   `json:"text_characters"`
	ImageTokens    Null[int64]   `json:"image_tokens"`
	ImageCount     Null[int64]   `json:"image_count"`
	ImagePixels    Null[int64]   `json:"image_pixels"`
	ImageBytes     Null[int64]   `json:"image_bytes"`
	VideoTokens    Null[int64]   `json:"video_tokens"`
	VideoFrames    Null[int64]   `json:"video_frames"`
	VideoSeconds   Null[float64] `json:"video_seconds"`
	VideoBytes     Null[int64]   `json:"video_bytes"`
	AudioTokens    Null[int64]   `json:"audio_tokens"`
	AudioSamples   Null[int64]   `json:"audio_samples"`
	AudioSeconds   Null[float64] `json:"audio_seconds"`
	AudioBytes     Null[int64]   `json:"audio_bytes"`
	TotalTokens    Null[int64]   `json:"total_tokens"`
}

// setStats fills in all of a request that follows from its statistics: status, timings, usage and the derived values.
func (r *Request) setStats(s *stats.Request) {
	r.Type = "generative_request_stats"
	r.Info.Status = [...]string{stats.Completed: "completed", stats.Errored: "errored",
		stats.Cancelled: "cancelled"}[s.Status]
	t := &s.Timings
	r.Info.Timings = Timings{
		TargetedStart: float(t.TargetedStart), Queued: float(t.Queued), Dequeued: float(t.Dequeued),
		ScheduledAt: float(t.ScheduledAt), ResolveStart: float(t.ResolveStart), RequestStart: float(t.RequestStart),
		FirstRequestIteration: float(t.FirstRequestIteration), FirstTokenIteration: float(t.FirstTokenIteration),
		LastTokenIteration: float(t.LastTokenIteration), LastRequestIteration: float(t.LastRequestIteration),
		RequestIterations: int64(s.RequestIterations), TokenIterations: int64(s.TokenIterations),
		RequestEnd: float(t.RequestEnd), ResolveEnd: float(t.ResolveEnd), Finalized: float(t.Finalized),
	}
	r.Info.StartedAt, r.Info.CompletedAt = float(s.Start()), float(s.End())
	r.InputMetrics, r.OutputMetrics = usageOf(&s.Input), usageOf(&s.Output)
	r.RequestStartTime, r.RequestEndTime, r.RequestLatency = float(s.Start()), float(s.End()), float(s.Latency())
	r.PromptTokens, r.InputTokens = number(s.Input.TextTokens), number(s.InputTokens())
	r.OutputTokens, r.TotalTokens = number(s.OutputTokens()), number(s.TotalTokens())
	r.TimeToFirstTokenMS = float(s.TimeToFirstTokenMS())
	r.TimePerOutputTokenMS = float(s.TimePerOutputTokenMS())
	r.InterTokenLatencyMS = float(s.InterTokenLatencyMS())
	r.TokensPerSecond, r.OutputTokensPerSecond = float(s.TokensPerSecond()), float(s.OutputTokensPerSecond())
	r.IterTokensPerIteration = float(s.IterTokensPerIteration())
	r.OutputTokensPerIteration = float(s.OutputTokensPerIteration())
}

// Stats returns the request as the statistics see it: status, timings and usage; the derived values are not read.
func (r *Request) Stats() stats.Request {
	t := &r.Info.Timings
	s := stats.Request{
		Timings: stats.Timings{
			TargetedStart: orNaN(t.TargetedStart), Queued: orNaN(t.Queued), Dequeued: orNaN(t.Dequeued),
			ScheduledAt: orNaN(t.ScheduledAt), ResolveStart: orNaN(t.ResolveStart), RequestStart: orNaN(t.RequestStart),
			FirstRequestIteration: orNaN(t.FirstRequestIteration), FirstTokenIteration: orNaN(t.FirstTokenIteration),
			FirstOutputIteration: orNaN(t.FirstTokenIteration), // schema 1 does not tell them apart
			LastTokenIteration:   orNaN(t.LastTokenIteration), LastRequestIteration: orNaN(t.LastRequestIteration),
			RequestEnd: orNaN(t.RequestEnd), ResolveEnd: orNaN(t.ResolveEnd), Finalized: orNaN(t.Finalized),
		},
		RequestIterations: int(t.RequestIterations), TokenIterations: int(t.TokenIterations),
		Input: r.InputMetrics.stats(), Output: r.OutputMetrics.stats(),
	}
	switch r.Info.Status {
	case "errored":
		s.Status = stats.Errored
	case "cancelled":
		s.Status = stats.Cancelled
	}
	return s
}

func usageOf(u *stats.Usage) Usage {
	out := Usage{
		TextTokens: number(u.TextTokens), TextWords: number(u.TextWords), TextCharacters: number(u.TextCharacters),
		TotalTokens: number(u.TotalTokens()),
	}
	if m := u.Media; m != nil {
		out.ImageTokens, out.ImageCount = number(m.ImageTokens), number(m.ImageCount)
		out.ImagePixels, out.ImageBytes = number(m.ImagePixels), number(m.ImageBytes)
		out.VideoTokens, out.VideoFrames = number(m.VideoTokens), number(m.VideoFrames)
		out.VideoSeconds, out.VideoBytes = float(m.VideoSeconds), number(m.VideoBytes)
		out.AudioTokens, out.AudioSamples = number(m.AudioTokens), number(m.AudioSamples)
		out.AudioSeconds, out.AudioBytes = float(m.AudioSeconds), number(m.AudioBytes)
	}
	return out
}

func (u *Usage) stats() stats.Usage {
	out := stats.Usage{TextTokens: orNone(u.TextTokens), TextWords: orNone(u.TextWords),
		TextCharacters: orNone(u.TextCharacters)}
	m := stats.Media{
		ImageTokens: orNone(u.ImageTokens), ImageCount: orNone(u.ImageCount),
		ImagePixels: orNone(u.ImagePixels), ImageBytes: orNone(u.ImageBytes),
		VideoTokens: orNone(u.VideoTokens), VideoFrames: orNone(u.VideoFrames),
		VideoSeconds: orNaN(u.VideoSeconds), VideoBytes: orNone(u.VideoBytes),
		AudioTokens: orNone(u.AudioTokens), AudioSamples: orNone(u.AudioSamples),
		AudioSeconds: orNaN(u.AudioSeconds), AudioBytes: orNone(u.AudioBytes),
	}
	if u.ImageTokens.Valid || u.ImageCount.Valid || u.ImagePixels.Valid || u.ImageBytes.Valid ||
		u.VideoTokens.Valid || u.VideoFrames.Valid || u.VideoSeconds.Valid || u.VideoBytes.Valid ||
		u.AudioTokens.Valid || u.AudioSamples.Valid || u.AudioSeconds.Valid || u.AudioBytes.Valid {
		out.Media = &m
	}
	return out
}

// float is null for NaN, which is how stats says that a value is undefined.
func float(x float64) Null[float64] { return Null[float64]{x, !math.IsNaN(x)} }

// number is null for None.
func number(n int64) Null[int64] { return Null[int64]{n, n >= 0} }

func orNaN(x Null[float64]) float64 {
	if !x.Valid {
		return math.NaN()
	}
	return x.Value
}

func orNone(n Null[int64]) int64 {
	if !n.Valid {
		return stats.None
	}
	return n.Value
}
