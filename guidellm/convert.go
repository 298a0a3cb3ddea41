package guidellm

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/openloop/openloop/guidellm/stats"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/tokens"
)

// conversion is what convertStage has to know beside what was measured.
type conversion struct {
	RunID            uuid.UUID
	RequestType      string // chat_completions or text_completions
	Stream           bool
	Warmup, Cooldown stats.Transient
}

// convertStage makes GuideLLM's benchmark of one stage: all of it but Config and OpenLoop. Its requests are made one by
// one when they are asked for.
func convertStage(m *loadgen.Measured, c conversion) *Benchmark {
	requests, records := stageRequests(m)
	window := measuredWindow(m, c.Warmup, c.Cooldown, requests)
	b := &Benchmark{
		Type:           "generative_benchmark",
		SchedulerState: schedulerState(m),
		SchedulerMetrics: stats.SchedulerMetrics{
			StartTime: epoch(m, m.Start), RequestStartTime: epoch(m, m.Start),
			MeasureStartTime: window.Start, MeasureEndTime: window.End,
			RequestEndTime: epoch(m, m.Stopped), EndTime: epoch(m, m.End),
		},
		Metrics: *stats.Compile(window, requests),
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
	b.setTimes()
	of := func(status stats.Status) RequestSeq { return stageSequence(m, c, requests, records, status) }
	b.Requests = Requests{Successful: of(stats.Completed), Errored: of(stats.Errored), Incomplete: of(stats.Cancelled)}
	return b
}

// stageRequests is GuideLLM's view of a stage's requests, and for each the index of its record. Requests that were
// never sent are in neither, as GuideLLM has no record of those that were cancelled before their resolve began.
func stageRequests(m *loadgen.Measured) (requests []stats.Request, records []int) {
	requests = make([]stats.Request, 0, len(m.Records))
	records = make([]int, 0, len(m.Records))
	for i := range m.Records {
		rec := &m.Records[i]
		if rec.Status == loadgen.NotSent {
			continue
		}
		requests = append(requests, statsOf(m, rec))
		records = append(records, i)
	}
	return requests, records
}

// statsOf turns a record into GuideLLM's view of it. Of prompts, the server's token count goes over the request's own;
// output tokens are those that came (Record.Tokens), none for a request that did not complete.
func statsOf(m *loadgen.Measured, rec *loadgen.Record) stats.Request {
	at := func(ns int64) float64 {
		if ns == 0 {
			return math.NaN()
		}
		return epoch(m, ns)
	}
	r := stats.Request{
		Timings:           stats.NoTimings(),
		Input:             stats.NoUsage(),
		Output:            stats.NoUsage(),
		RequestIterations: int(rec.Lines),
		TokenIterations:   int(rec.TokenEvents),
	}
	t := &r.Timings
	t.TargetedStart, t.Queued = at(rec.Scheduled), at(rec.Scheduled)
	t.Dequeued, t.ScheduledAt = at(rec.Started), at(rec.Started)
	t.ResolveStart, t.RequestStart = at(rec.Started), at(rec.Sent)
	t.FirstRequestIteration, t.LastRequestIteration = at(rec.FirstEvent), at(rec.LastEvent)
	t.FirstTokenIteration, t.LastTokenIteration = at(rec.FirstToken), at(rec.LastToken)
	t.FirstOutputIteration = at(rec.FirstOutput)
	t.ResolveEnd, t.Finalized = at(rec.End), at(rec.End)

	switch {
	case rec.PromptTokens >= 0:
		r.Input.TextTokens = int64(rec.PromptTokens)
	case rec.AskedPrompt > 0:
		r.Input.TextTokens = int64(rec.AskedPrompt)
	}
	r.Input.TextWords, r.Input.TextCharacters = int64(rec.PromptWords), int64(rec.PromptChars)
	switch rec.Status {
	case loadgen.Completed:
		r.Status = stats.Completed
		t.RequestEnd = at(rec.End)
		r.Output.TextWords, r.Output.TextCharacters = int64(rec.OutputWords), int64(rec.OutputChars)
		if n := rec.Tokens(); n > 0 || rec.OutputTokens >= 0 {
			r.Output.TextTokens = int64(n)
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
func epoch(m *loadgen.Measured, ns int64) float64 { return float64(m.Origin.UnixNano()+ns) / 1e9 }

// measuredWindow is the measured window of a stage, by GuideLLM's rule.
func measuredWindow(m *loadgen.Measured, warmup, cooldown stats.Transient, requests []stats.Request) stats.Window {
	run := stats.Run{
		Start: epoch(m, m.Start), Stop: epoch(m, m.Stopped), MaxRequests: math.NaN(), MaxSeconds: math.NaN(),
		Warmup: warmup, Cooldown: cooldown,
	}
	switch m.Reason {
	case loadgen.StopRequests, loadgen.StopSchedule:
		run.Stop = math.NaN()
	}
	if m.Stage.MaxRequests > 0 {
		run.MaxRequests = float64(m.Stage.MaxRequests)
	}
	if m.Stage.MaxDuration > 0 {
		run.MaxSeconds = m.Stage.MaxDuration.Seconds()
	}
	return stats.MeasuredWindow(run, requests)
}

// stageSequence yields the requests of one status, in the order of their completion, as the report lists them.
func stageSequence(m *loadgen.Measured, c conversion, requests []stats.Request, records []int,
	status stats.Status) RequestSeq {
	return func(yield func(*Request) bool) {
		for k := range requests {
			if requests[k].Status != status {
				continue
			}
			i := records[k]
			r := Request{RequestType: c.RequestType}
			r.setStats(&requests[k])
			r.shorten()
			r.RequestID = requestID(c.RunID, m, i)
			r.Info.RequestID = r.RequestID
			r.Info.SchedulerStartTime = epoch(m, m.Start)
			if m.Details != nil {
				r.setDetail(&m.Details[i], c.Stream, status)
			}
			notes := notesOf(&m.Records[i], i)
			if m.Details != nil {
				notes.RequestID = m.Details[i].RequestID
			}
			r.OpenLoop = notes
			if !yield(&r) {
				return
			}
		}
	}
}

// shorten rounds what follows from a request's times to ten significant digits, which is within Recompute's tolerance
// and finer than the times.
func (r *Request) shorten() {
	for _, x := range []*Null[float64]{
		&r.RequestLatency, &r.TimeToFirstTokenMS, &r.TimePerOutputTokenMS, &r.InterTokenLatencyMS,
		&r.TokensPerSecond, &r.OutputTokensPerSecond, &r.IterTokensPerIteration, &r.OutputTokensPerIteration,
	} {
		x.Value = num.Digits(x.Value, 10)
	}
}

func (r *Request) setDetail(d *loadgen.Detail, stream bool, status stats.Status) {
	if d.ResponseID != "" {
		r.ResponseID = Some(d.ResponseID)
	}
	if d.Error != "" {
		r.Info.Error = Some(d.Error)
	}
	if d.Body != nil {
		r.RequestArgs = Some(requestArgs(tokens.WithoutImages(d.Body), stream))
		if status != stats.Errored {
			r.Output = Some(d.Output)
		}
	}
}

// requestID derives the id of a request from the run's, so that it need not be kept.
func requestID(run uuid.UUID, m *loadgen.Measured, i int) string {
	var name [16]byte
	binary.BigEndian.PutUint64(name[:], uint64(m.Origin.UnixNano()))
	binary.BigEndian.PutUint64(name[8:], uint64(i))
	return uuid.NewSHA1(run, name[:]).String()
}

// requestArgs writes a request as GuideLLM does: the Python text of its arguments.
func requestArgs(body []byte, stream bool) string {
	return fmt.Sprintf("{'method': None, 'stream': %s, 'headers': None, 'params': None, 'body': %s, 'files': None}",
		map[bool]string{true: "True", false: "False"}[stream], pythonText(body))
}

// requestNotes is what openloop knows of a request and GuideLLM has no field for. Times are seconds.
type requestNotes struct {
	Index            Null[int64]   `json:"index,omitempty"` // in the order of the schedule
	SendDelay        float64       `json:"send_delay"`
	ScheduledTTFT    Null[float64] `json:"scheduled_ttft,omitempty"`    // from the scheduled time
	ScheduledLatency Null[float64] `json:"scheduled_latency,omitempty"` // from the scheduled time
	// FirstOutput is from the sending to the first token of the answer itself: content or a tool call, not reasoning.
	FirstOutput Null[float64] `json:"time_to_first_output_token,omitempty"`
	Connecting  float64       `json:"connecting,omitempty"` // DNS, TCP and TLS
	HTTPStatus  int64         `json:"http_status,omitempty"`
	ErrorKind   string        `json:"error_kind,omitempty"`
	AskedOutput int64         `json:"asked_output_tokens,omitempty"`
	// OutputTokens are those of a request that did not complete, where the server counted others than events came.
	OutputTokens Null[int64] `json:"output_tokens,omitempty"`
	// PromptUnknown says that the server gave no count of prompt tokens; GuideLLM's field has what was asked for.
	PromptUnknown bool        `json:"prompt_tokens_unknown,omitempty"`
	CachedTokens  Null[int64] `json:"cached_tokens,omitempty"` // of the prompt, by the server
	Session       int64       `json:"session,omitempty"`       // that it is a turn of, from 1
	Turn          int64       `json:"turn,omitempty"`          // which one, from 1
	Class         int64       `json:"class,omitempty"`         // of the mix, from 1
	Target        int64       `json:"target,omitempty"`        // of several, from 0
	Retried       bool        `json:"retried,omitempty"`
	RequestID     string      `json:"request_id,omitempty"` // by which the log of server or gateway knows it
	Tries         int64       `json:"tries,omitempty"`      // requests sent for it, where more than one
	DelayedByCap  bool        `json:"delayed_by_cap,omitempty"`
}

func notesOf(rec *loadgen.Record, index int) *requestNotes {
	n := &requestNotes{
		Index: Some(int64(index)), SendDelay: rec.SendDelay().Seconds(), Connecting: float64(rec.Connecting) / 1e9,
		HTTPStatus: int64(rec.HTTPStatus), ErrorKind: rec.Err.String(), AskedOutput: int64(rec.AskedOutput),
		PromptUnknown: rec.PromptTokens < 0, Retried: rec.Flags&loadgen.Retried != 0,
		DelayedByCap: rec.Flags&loadgen.DelayedByCap != 0, Class: int64(rec.Class), Target: int64(rec.Target),
	}
	if rec.Tries > 1 {
		n.Tries = int64(rec.Tries)
	}
	if rec.Session > 0 {
		n.Session, n.Turn = int64(rec.Session), int64(rec.Turn)+1
	}
	if rec.CachedTokens >= 0 {
		n.CachedTokens = Some(int64(rec.CachedTokens))
	}
	if d, ok := rec.ScheduledTTFT(); ok {
		n.ScheduledTTFT = Some(d.Seconds())
	}
	if rec.FirstOutput > 0 {
		n.FirstOutput = Some(float64(rec.FirstOutput-rec.Sent) / 1e9)
	}
	if d, ok := rec.ScheduledLatency(); ok {
		n.ScheduledLatency = Some(d.Seconds())
	}
	if rec.Status != loadgen.Completed && rec.Tokens() != int(rec.TokenEvents) {
		n.OutputTokens = Some(int64(rec.Tokens()))
	}
	return n
}

// notSent are the requests that were due and not sent: GuideLLM does not list them. Times are seconds since the stage
// began to send.
type notSent struct {
	Index       int64   `json:"index"`
	Scheduled   float64 `json:"scheduled"`
	AskedOutput int64   `json:"asked_output_tokens,omitempty"`
}

func notSentOf(m *loadgen.Measured) (all []notSent) {
	for i := range m.Records {
		if r := &m.Records[i]; r.Status == loadgen.NotSent {
			all = append(all, notSent{int64(i), float64(r.Scheduled-m.Start) / 1e9, int64(r.AskedOutput)})
		}
	}
	return all
}

// stageEnd is how a constraint ended a stage (scheduler/schemas.py, SchedulerUpdateAction).
type stageEnd struct {
	RequestQueuing    string   `json:"request_queuing"`
	RequestProcessing string   `json:"request_processing"`
	Metadata          any      `json:"metadata"`
	Progress          Progress `json:"progress"`
}

// endMetadata is what GuideLLM's constraints say of the end of a stage, each in its own fields
// (scheduler/constraints/request.py and error.py). Times are seconds since the epoch, durations seconds.
func endMetadata(m *loadgen.Measured, s *SchedulerState) Object {
	stage := &m.Stage
	start, stopped := s.StartTime, epoch(m, m.Stopped)
	ended := s.SuccessfulRequests + s.ErroredRequests
	rate := 0.0
	if ended > 0 {
		rate = float64(s.ErroredRequests) / float64(ended)
	}
	stop := Member{"stop_time", stopped}
	switch m.Reason {
	case loadgen.StopDuration:
		return Object{
			{"max_duration", stage.MaxDuration.Seconds()}, {"elapsed_time", seconds(m.Stopped - m.Start)},
			{"duration_exceeded", true}, {"start_time", start}, {"current_time", stopped},
			{"stop_time", start + stage.MaxDuration.Seconds()},
		}
	case loadgen.StopRequests:
		return Object{
			{"max_number", int64(stage.MaxRequests)}, {"create_exceeded", true},
			{"processed_exceeded", ended >= int64(stage.MaxRequests)}, {"created_requests", s.CreatedRequests},
			{"processed_requests", s.ProcessedRequests},
			{"remaining_requests", max(0, int64(stage.MaxRequests)-s.ProcessedRequests)}, stop,
		}
	case loadgen.StopErrors:
		return Object{
			{"max_errors", int64(stage.MaxErrors)}, {"errors_exceeded", true},
			{"current_errors", s.ErroredRequests}, stop,
		}
	case loadgen.StopErrorRate:
		last := lastEnded(m, errorWindow)
		failed := 0
		for _, status := range last {
			if status == loadgen.Errored {
				failed++
			}
		}
		return Object{
			{"max_error_rate", stage.MaxErrorRate}, {"window_size", int64(errorWindow)},
			{"error_count", int64(failed)}, {"processed_count", s.ProcessedRequests},
			{"current_window_size", int64(len(last))},
			{"current_error_rate", float64(failed) / float64(max(1, len(last)))},
			{"exceeded_min_processed", true}, {"exceeded_error_rate", true}, {"exceeded", true}, stop,
		}
	case loadgen.StopGlobalErrorRate:
		return Object{
			{"max_error_rate", stage.MaxGlobalErrorRate}, {"min_processed", int64(errorWindow)},
			{"processed_requests", s.ProcessedRequests}, {"errored_requests", s.ErroredRequests},
			{"error_rate", rate}, {"exceeded_min_processed", true}, {"exceeded_error_rate", true},
			{"exceeded", true}, stop,
		}
	}
	return Object{{"start_time", start}, stop} // no constraint of GuideLLM's ended it
}

// errorWindow is how many requests GuideLLM's limits of an error rate look at.
const errorWindow = 30

// lastEnded are the outcomes of the last n requests that ended by themselves before the stage stopped.
func lastEnded(m *loadgen.Measured, n int) []loadgen.Status {
	var ended []*loadgen.Record
	for i := range m.Records {
		if r := &m.Records[i]; r.End <= m.Stopped && (r.Status == loadgen.Completed || r.Status == loadgen.Errored) {
			ended = append(ended, r)
		}
	}
	slices.SortStableFunc(ended, func(a, b *loadgen.Record) int { return cmp.Compare(a.End, b.End) })
	var last []loadgen.Status
	for _, r := range ended[max(0, len(ended)-n):] {
		last = append(last, r.Status)
	}
	return last
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }

// schedulerState is where the scheduler stood at the end of a stage.
func schedulerState(m *loadgen.Measured) SchedulerState {
	s := SchedulerState{
		NumProcesses: 1, StartTime: epoch(m, m.Start), EndTime: Some(epoch(m, m.End)),
		EndQueuingTime: Some(epoch(m, m.Stopped)), EndProcessingTime: Some(epoch(m, m.Stopped)),
	}
	for i := range m.Records {
		switch m.Records[i].Status {
		case loadgen.Completed:
			s.SuccessfulRequests++
		case loadgen.Errored:
			s.ErroredRequests++
		default:
			s.CancelledRequests++
		}
	}
	s.CreatedRequests = int64(len(m.Records))
	s.ProcessedRequests = s.CreatedRequests
	if d := m.Stage.MaxDuration; d > 0 {
		left := max(0, (time.Duration(m.Stopped-m.Start)-d).Seconds()*-1)
		s.Progress.RemainingDuration, s.Progress.TotalDuration = Some(left), Some(d.Seconds())
	}
	if n := m.Stage.MaxRequests; n > 0 {
		left := max(0, int64(n)-s.SuccessfulRequests-s.ErroredRequests)
		s.Progress.RemainingRequests, s.Progress.TotalRequests = Some(float64(left)), Some(float64(n))
	}
	s.Progress.StopTime = Some(epoch(m, m.Stopped))
	by := string(m.Reason)
	if m.Reason == loadgen.StopDuration {
		by = "max_seconds" // the constraint's name in GuideLLM
	}
	processing := "stop_local"
	switch m.Reason {
	case loadgen.StopErrors, loadgen.StopErrorRate, loadgen.StopGlobalErrorRate:
		processing = "stop_all"
	}
	ended := objectOf(Object{{by, stageEnd{
		RequestQueuing: "stop", RequestProcessing: processing,
		Metadata: endMetadata(m, &s), Progress: s.Progress,
	}}})
	s.EndQueuingConstraints, s.EndProcessingConstraints, s.SchedulerConstraints = ended, ended, ended
	return s
}
