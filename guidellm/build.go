package guidellm

import (
	"crypto/rand"
	"fmt"
	"iter"
	"math"
	"runtime"
	"strings"
	"time"

	"github.com/openloop/openloop/guidellm/stats"
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

	Version string   // openloop's
	Command []string // as it was given, credentials left out
	Outputs []Output // files to be written
	Notes   Object   // what openloop adds about the whole run

	id       string
	compiled map[*sweep.Stage]*compiled // stages that an earlier Build has compiled
}

// compiled is what takes long to make of a stage, and never changes.
type compiled struct {
	requests []stats.Request
	records  []int
	window   stats.Window
	metrics  *stats.Metrics
}

func (run *Run) compile(stage *sweep.Stage) *compiled {
	if c := run.compiled[stage]; c != nil {
		return c
	}
	c := &compiled{}
	c.requests, c.records = stageRequests(stage.Measured)
	c.window = StageWindow(run, stage.Measured, c.requests)
	c.metrics = stats.Compile(c.window, c.requests)
	if run.compiled == nil {
		run.compiled = map[*sweep.Stage]*compiled{}
	}
	run.compiled[stage] = c
	return c
}

// Build makes the report of what was measured.
func Build(run *Run, result *sweep.Result) *Report {
	if run.id == "" {
		run.id = newUUID()
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
		b := buildStage(run, result, i, stage)
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
			{"rate", result.SaturationRate}, {"probe_rate", result.Probe.Rate}, {"streams", int64(result.Probe.Streams)}, {"steps", steps},
		}})
	}
	if result.Knee != nil {
		notes = append(notes, Member{"knee", result.Knee})
	}
	return append(notes, run.Notes...)
}

func buildStage(run *Run, result *sweep.Result, index int, stage *sweep.Stage) *Benchmark {
	c := run.compile(stage)
	requests, records, window := c.requests, c.records, c.window
	b := &Benchmark{Type: "generative_benchmark"}
	b.Config = buildConfig(run, result, index, stage)
	b.SchedulerState = buildState(stage.Measured)
	b.SchedulerMetrics = stats.SchedulerMetrics{
		StartTime: epoch(stage.Measured, stage.Start), RequestStartTime: epoch(stage.Measured, stage.Start),
		MeasureStartTime: window.Start, MeasureEndTime: window.End,
		RequestEndTime: epoch(stage.Measured, stage.Stopped), EndTime: epoch(stage.Measured, stage.End),
	}
	made := &b.SchedulerMetrics.RequestsMade
	for i := range requests {
		switch requests[i].Status {
		case stats.Completed:
			made.Successful++
		case stats.Errored:
			made.Errored++
		default:
			made.Incomplete++
		}
	}
	made.Total = int64(len(requests))
	b.SchedulerMetrics.CompileDelays(requests)
	b.Metrics = *c.metrics
	b.SetTimes()
	of := func(status stats.Status) RequestSeq {
		return stageSequence(run, stage.Measured, requests, records, status)
	}
	b.Requests = Requests{Successful: of(stats.Completed), Errored: of(stats.Errored), Incomplete: of(stats.Cancelled)}
	b.OpenLoop = stageNotes(stage)
	return b
}

// stageRequests is GuideLLM's view of a stage's requests, and for each the index of its record. Requests that were never sent
// are in neither, as GuideLLM has no record of those that were cancelled before their resolve began.
func stageRequests(l *loadgen.Measured) (requests []stats.Request, records []int) {
	requests = make([]stats.Request, 0, len(l.Records))
	records = make([]int, 0, len(l.Records))
	for i := range l.Records {
		rec := &l.Records[i]
		if rec.Status == loadgen.NotSent {
			continue
		}
		requests = append(requests, statsOf(l, rec))
		records = append(records, i)
	}
	return requests, records
}

// statsOf turns a record into GuideLLM's view of it. The server's token counts go over the request's own; a request that
// did not complete has no output tokens.
func statsOf(l *loadgen.Measured, rec *loadgen.Record) stats.Request {
	at := func(ns int64) float64 {
		if ns == 0 {
			return math.NaN()
		}
		return epoch(l, ns)
	}
	r := stats.Request{
		Timings:           stats.NoTimings(),
		Input:             stats.NoUsage(),
		Output:            stats.NoUsage(),
		RequestIterations: int(rec.Lines),
		TokenIterations:   int(rec.TokenEvents),
	}
	t := &r.Timings
	t.TargetedStart, t.Queued, t.Dequeued, t.ScheduledAt = at(rec.Scheduled), at(rec.Scheduled), at(rec.Started), at(rec.Started)
	t.ResolveStart, t.RequestStart = at(rec.Started), at(rec.Sent)
	t.FirstRequestIteration, t.LastRequestIteration = at(rec.FirstEvent), at(rec.LastEvent)
	t.FirstTokenIteration, t.LastTokenIteration = at(rec.FirstToken), at(rec.LastToken)
	t.ResolveEnd, t.Finalized = at(rec.End), at(rec.End)

	count := func(own, server int32) int64 {
		if server >= 0 {
			return int64(server)
		}
		if own > 0 {
			return int64(own)
		}
		return stats.None
	}
	r.Input.TextTokens = count(rec.AskedPrompt, rec.PromptTokens)
	r.Input.TextWords, r.Input.TextCharacters = int64(rec.PromptWords), int64(rec.PromptChars)
	switch rec.Status {
	case loadgen.Completed:
		r.Status = stats.Completed
		t.RequestEnd = at(rec.End)
		r.Output = stats.Usage{
			TextTokens: count(rec.AskedOutput, rec.OutputTokens),
			TextWords:  int64(rec.OutputWords), TextCharacters: int64(rec.OutputChars),
		}
	case loadgen.Errored:
		r.Status = stats.Errored
	default:
		r.Status = stats.Cancelled
		r.Output.TextWords, r.Output.TextCharacters = int64(rec.OutputWords), int64(rec.OutputChars)
	}
	return r
}

// epoch turns a stage time into seconds since the Unix epoch.
func epoch(l *loadgen.Measured, ns int64) float64 { return float64(l.Origin.UnixNano()+ns) / 1e9 }

// StageWindow is the measured window of a stage, by GuideLLM's rule.
func StageWindow(run *Run, l *loadgen.Measured, requests []stats.Request) stats.Window {
	m := stats.Run{
		Start: epoch(l, l.Start), Stop: epoch(l, l.Stopped), MaxRequests: math.NaN(), MaxSeconds: math.NaN(),
		Warmup: transientOf(run.Args.Warmup), Cooldown: transientOf(run.Args.Cooldown),
	}
	switch l.Reason {
	case loadgen.StopRequests, loadgen.StopSchedule:
		m.Stop = math.NaN()
	}
	if l.Stage.MaxRequests > 0 {
		m.MaxRequests = float64(l.Stage.MaxRequests)
	}
	if l.Stage.MaxDuration > 0 {
		m.MaxSeconds = l.Stage.MaxDuration.Seconds()
	}
	return stats.MeasuredWindow(m, requests)
}

// transientOf reads a warmup or cooldown of the arguments: nil for none, a number, or an Object of percent, value and mode.
func transientOf(v any) stats.Transient {
	switch v := v.(type) {
	case float64:
		return stats.TransientOf(v)
	case int64:
		return stats.TransientOf(float64(v))
	case Object:
		t := stats.NoTransient()
		for _, m := range v {
			x, isNumber := m.Value.(float64)
			if n, ok := m.Value.(int64); ok {
				x, isNumber = float64(n), true
			}
			switch {
			case m.Key == "percent" && isNumber:
				t.Percent = x
			case m.Key == "value" && isNumber:
				t.Value = x
			case m.Key == "mode" && v.Text("mode") != "":
				t.Mode = stats.TransientMode(v.Text("mode"))
			}
		}
		return t
	}
	return stats.NoTransient()
}

// stageSequence yields the requests of one status, in the order of their completion, as the report lists them.
func stageSequence(run *Run, l *loadgen.Measured, requests []stats.Request, records []int, status stats.Status) RequestSeq {
	return RequestSeq(iter.Seq[*Request](func(yield func(*Request) bool) {
		var r Request
		for k := range requests {
			if requests[k].Status != status {
				continue
			}
			i := records[k]
			rec := &l.Records[i]
			r = Request{RequestType: run.RequestType}
			r.SetStats(&requests[k])
			r.RequestID = requestID(run.id, l, i)
			r.Info.RequestID = r.RequestID
			r.Info.SchedulerStartTime = epoch(l, l.Start)
			if l.Details != nil {
				d := &l.Details[i]
				if d.ResponseID != "" {
					r.ResponseID = Some(d.ResponseID)
				}
				if d.Error != "" {
					r.Info.Error = Some(d.Error)
				}
				if d.Body != nil {
					r.RequestArgs = Some(requestArgs(d.Body, run.Stream))
					if status != stats.Errored {
						r.Output = Some(d.Output)
					}
				}
			}
			r.OpenLoop = requestNotes(rec)
			if !yield(&r) {
				return
			}
		}
	}))
}

// requestNotes is what openloop knows of a request and GuideLLM has no field for. Times are seconds.
func requestNotes(rec *loadgen.Record) Object {
	o := Object{{"send_lateness", rec.Lateness().Seconds()}}
	if d, ok := rec.ScheduledTTFT(); ok {
		o = append(o, Member{"scheduled_ttft", d.Seconds()})
	}
	if d, ok := rec.ScheduledLatency(); ok {
		o = append(o, Member{"scheduled_latency", d.Seconds()})
	}
	if rec.Connecting > 0 {
		o = append(o, Member{"connecting", float64(rec.Connecting) / 1e9})
	}
	if rec.HTTPStatus != 0 {
		o = append(o, Member{"http_status", int64(rec.HTTPStatus)})
	}
	if rec.Err != loadgen.NoError {
		o = append(o, Member{"error_kind", rec.Err.String()})
	}
	if rec.CachedTokens > 0 {
		o = append(o, Member{"cached_tokens", int64(rec.CachedTokens)})
	}
	for _, f := range []struct {
		flag loadgen.Flags
		name string
	}{{loadgen.Retried, "retried"}, {loadgen.DelayedByCap, "delayed_by_cap"}} {
		if rec.Flags&f.flag != 0 {
			o = append(o, Member{f.name, true})
		}
	}
	return o
}

// requestArgs writes a request as GuideLLM does: the Python text of its arguments.
func requestArgs(body []byte, stream bool) string {
	return fmt.Sprintf("{'method': None, 'stream': %s, 'headers': None, 'params': None, 'body': %s, 'files': None}",
		map[bool]string{true: "True", false: "False"}[stream], pythonText(body))
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

// buildConfig says how the stage was run, in GuideLLM's objects.
func buildConfig(run *Run, result *sweep.Result, index int, stage *sweep.Stage) Config {
	a := &run.Args
	return Config{
		ID: newUUID(), RunID: run.id, RunIndex: int64(index),
		Strategy:              strategyObject(&stage.Stage, stage.Load),
		Constraints:           constraintsObject(&stage.Stage),
		SampleRequests:        a.SampleRequests,
		Warmup:                transientObject(a.Warmup),
		Cooldown:              transientObject(a.Cooldown),
		PreferResponseMetrics: true,
		Profile:               profileObject(run, result),
		Requests: Object{
			{"data", pythonList(a.Data)}, {"data_args", "[]"}, {"data_samples", a.DataSamples},
			{"preprocessors", []any{"GenerativeColumnMapper", formatterName(run.RequestType)}},
			{"collator", "GenerativeRequestCollator"}, {"sampler", "None"}, {"num_workers", int64(1)}, {"random_seed", a.RandomSeed},
		},
		Backend:     backendObject(run),
		Environment: environmentObject(),
	}
}

func formatterName(requestType string) string {
	if requestType == "text_completions" {
		return "GenerativeTextCompletionsRequestFormatter"
	}
	return "GenerativeChatCompletionsRequestFormatter"
}

func transientObject(v any) Transient {
	t := transientOf(v)
	o := Transient{Mode: string(t.Mode)}
	if !math.IsNaN(t.Percent) {
		o.Percent = Some(t.Percent)
	}
	if !math.IsNaN(t.Value) {
		o.Value = v
		if object, ok := v.(Object); ok {
			o.Value = object.Get("value")
		}
	}
	return o
}

func strategyObject(stage *loadgen.Stage, s loadgen.Load) Object {
	o := Object{{"type_", string(s.Kind)}, {"worker_count", int64(1)}}
	rampUp := Member{"rampup_duration", s.RampUp.Seconds()}
	switch s.Kind {
	case loadgen.Concurrent:
		return append(o, Member{"max_concurrency", int64(s.Streams)}, Member{"streams", int64(s.Streams)}, rampUp)
	case loadgen.Throughput:
		return append(o, Member{"max_concurrency", int64(s.Streams)}, rampUp)
	case loadgen.ConstantGap:
		return append(o, Member{"max_concurrency", nil}, Member{"rate", s.Rate})
	case loadgen.PoissonGaps:
		return append(o, Member{"max_concurrency", nil}, Member{"rate", s.Rate}, Member{"random_seed", s.Seed})
	}
	return append(o, Member{"max_concurrency", int64(1)})
}

func constraintsObject(s *loadgen.Stage) Object {
	o := Object{}
	if s.MaxDuration > 0 {
		o = append(o, Member{"max_seconds", Object{{"type_", "max_duration"}, {"max_duration", s.MaxDuration.Seconds()}, {"current_index", int64(0)}}})
	}
	if s.MaxRequests > 0 {
		o = append(o, Member{"max_requests", Object{{"type_", "max_number"}, {"max_num", int64(s.MaxRequests)}, {"current_index", int64(0)}}})
	}
	if s.MaxErrors > 0 {
		o = append(o, Member{"max_errors", Object{{"type_", "max_errors"}, {"max_errors", int64(s.MaxErrors)}, {"current_index", int64(0)}}})
	}
	if s.MaxErrorRate > 0 {
		o = append(o, Member{"max_error_rate", Object{{"type_", "max_error_rate"}, {"max_error_rate", s.MaxErrorRate}, {"window_size", int64(30)}, {"error_window", []any{}}, {"current_index", int64(0)}}})
	}
	if s.MaxGlobalErrorRate > 0 {
		o = append(o, Member{"max_global_error_rate", Object{{"type_", "max_global_error_rate"}, {"max_error_rate", s.MaxGlobalErrorRate}, {"min_processed", int64(30)}, {"current_index", int64(0)}}})
	}
	return o
}

func profileObject(run *Run, result *sweep.Result) Object {
	strategies := []any{}
	types := []any{}
	for _, stage := range result.PlainStages() {
		strategies = append(strategies, strategyObject(&stage.Stage, stage.Load))
		types = append(types, string(stage.Load.Kind))
	}
	limits := Object{}
	a := &run.Args
	if a.MaxSeconds != nil {
		limits = append(limits, Member{"max_seconds", a.MaxSeconds})
	}
	if a.MaxRequests.Valid {
		limits = append(limits, Member{"max_requests", a.MaxRequests.Value})
	}
	if a.MaxErrors.Valid {
		limits = append(limits, Member{"max_errors", a.MaxErrors.Value})
	}
	if a.MaxErrorRate.Valid {
		limits = append(limits, Member{"max_error_rate", a.MaxErrorRate.Value})
	}
	if a.MaxGlobalErrorRate.Valid {
		limits = append(limits, Member{"max_global_error_rate", a.MaxGlobalErrorRate.Value})
	}
	o := Object{
		{"type_", run.Profile}, {"completed_strategies", strategies}, {"constraints", limits}, {"rampup_duration", a.Rampup},
	}
	seed := Member{"random_seed", a.RandomSeed}
	switch run.Profile {
	case "sweep":
		kind := string(loadgen.ConstantGap)
		for _, stage := range result.PlainStages() {
			if stage.Load.Kind.Open() {
				kind = string(stage.Load.Kind)
			}
		}
		o = append(o,
			Member{"sweep_size", int64(max(2, run.Size))}, Member{"strategy_type", kind}, Member{"max_concurrency", nil}, seed,
			Member{"synchronous_rate", orMinusOne(result.SynchronousRate)}, Member{"throughput_rate", orMinusOne(result.SaturationRate)},
			Member{"async_rates", []any{}}, Member{"measured_rates", floats(result.Rates)})
	case "constant", "poisson":
		o = append(o, Member{"strategy_type", run.Profile}, Member{"rate", floats(run.Rates)}, Member{"max_concurrency", nil}, seed)
	case "concurrent":
		streams := []any{}
		for _, n := range run.Streams {
			streams = append(streams, int64(n))
		}
		o = append(o, Member{"streams", streams})
	case "throughput":
		var limit any
		if len(run.Streams) > 0 {
			limit = int64(run.Streams[0])
		}
		o = append(o, Member{"max_concurrency", limit})
	}
	return append(o, Member{"strategy_types", types})
}

func orMinusOne(v float64) float64 {
	if v <= 0 {
		return -1
	}
	return v
}

func floats(v []float64) []any {
	out := make([]any, len(v))
	for i, f := range v {
		out[i] = f
	}
	return out
}

func backendObject(run *Run) Object {
	// GuideLLM holds a number here; openloop's default is no limit, which is the largest that it reads back as a number.
	timeout := math.MaxInt32 * 1.0
	if run.Timeout > 0 {
		timeout = run.Timeout.Seconds()
	}
	var model any
	if run.Model != "" {
		model = run.Model
	}
	return Object{
		{"target", run.Args.Target}, {"model", model}, {"timeout", timeout}, {"http2", run.HTTP2},
		{"follow_redirects", false}, {"verify", run.Verify},
		{"openai_paths", Object{
			{"health", "health"}, {"models", "v1/models"}, {"text_completions", "v1/completions"},
			{"chat_completions", "v1/chat/completions"}, {"audio_transcriptions", "v1/audio/transcriptions"},
			{"audio_translations", "v1/audio/translations"},
		}},
		{"validate_backend", Object{{"method", "GET"}, {"url", run.Args.Target + "/v1/models"}}},
	}
}

func environmentObject() Object {
	return Object{
		{"str", "openloop, one process"}, {"type", "NonDistributedEnvironment"}, {"class", "NonDistributedEnvironment"},
		{"module", "guidellm.scheduler.environments"}, {"attributes", Object{{"run_errors", []any{}}}},
	}
}

// buildState is where the scheduler stood at the end of a stage.
func buildState(l *loadgen.Measured) SchedulerState {
	s := SchedulerState{
		NumProcesses: 1, StartTime: epoch(l, l.Start), EndTime: Some(epoch(l, l.End)),
		EndQueuingTime: Some(epoch(l, l.Stopped)), EndProcessingTime: Some(epoch(l, l.Stopped)),
	}
	for i := range l.Records {
		switch l.Records[i].Status {
		case loadgen.Completed:
			s.SuccessfulRequests++
		case loadgen.Errored:
			s.ErroredRequests++
		default:
			s.CancelledRequests++
		}
	}
	s.CreatedRequests = int64(len(l.Records))
	s.ProcessedRequests = s.CreatedRequests
	if d := l.Stage.MaxDuration; d > 0 {
		left := max(0, (time.Duration(l.Stopped-l.Start)-d).Seconds()*-1)
		s.Progress.RemainingDuration, s.Progress.TotalDuration = Some(left), Some(d.Seconds())
	}
	if n := l.Stage.MaxRequests; n > 0 {
		left := max(0, int64(n)-s.SuccessfulRequests-s.ErroredRequests)
		s.Progress.RemainingRequests, s.Progress.TotalRequests = Some(float64(left)), Some(float64(n))
	}
	s.Progress.StopTime = Some(epoch(l, l.Stopped))
	ended := Object{{string(endedBy(l.Reason)), Object{
		{"request_queuing", "stop"}, {"request_processing", "stop_local"},
		{"metadata", Object{{"start_time", s.StartTime}, {"stop_time", epoch(l, l.Stopped)}, {"openloop_reason", string(l.Reason)}}},
		{"progress", s.Progress},
	}}}
	s.EndQueuingConstraints, s.EndProcessingConstraints, s.SchedulerConstraints = ended, ended, ended
	return s
}

// endedBy names the constraint that ended a stage as GuideLLM does.
func endedBy(r loadgen.StopReason) loadgen.StopReason {
	if r == loadgen.StopDuration {
		return "max_seconds"
	}
	return r
}

// requestID derives the id of a request from the run's, so that it need not be kept.
func requestID(run string, l *loadgen.Measured, i int) string {
	h := uint64(14695981039346656037) // FNV-1a over run, stage and index
	mix := func(v uint64) {
		for range 8 {
			h = (h ^ v&0xff) * 1099511628211
			v >>= 8
		}
	}
	for _, c := range []byte(run) {
		mix(uint64(c))
	}
	mix(uint64(l.Origin.UnixNano()))
	mix(uint64(i))
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", uint32(h>>32), uint16(h>>16), h&0xfff, uint64(l.Origin.UnixNano())>>20&0xfff, uint64(i))
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// pythonList is the text of a Python list of strings.
func pythonList(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = pythonQuote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
