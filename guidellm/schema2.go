package guidellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"

	"github.com/openloop/openloop/guidellm/stats"
)

// laterReport is a report of schema 2, as GuideLLM 0.8.1 has it (benchmark/schemas/report.py).
type laterReport struct {
	Metadata    Metadata          `json:"metadata"`
	Config      any               `json:"config"`
	OpenLoop    any               `json:"openloop,omitempty"`
	Benchmarks  []*laterBenchmark `json:"benchmarks" report:"list"`
	Conclusions []string          `json:"conclusions" report:"list"` // always empty
}

type laterBenchmark struct {
	Type             string                 `json:"type_"`
	Config           any                    `json:"config"`
	SchedulerState   SchedulerState         `json:"scheduler_state"`
	SchedulerMetrics stats.SchedulerMetrics `json:"scheduler_metrics"`
	Metrics          *stats.LaterMetrics    `json:"metrics"`
	Requests         laterRequests          `json:"requests"`
	Warnings         []string               `json:"warnings" report:"list"` // always empty
	StartTime        float64                `json:"start_time"`
	EndTime          float64                `json:"end_time"`
	Duration         float64                `json:"duration"`
	WarmupDuration   float64                `json:"warmup_duration"`
	CooldownDuration float64                `json:"cooldown_duration"`
	OpenLoop         any                    `json:"openloop,omitempty"`
}

type laterRequests struct {
	Successful []*Request `json:"successful" report:"list"`
	Errored    []*Request `json:"errored" report:"list"`
	Incomplete []*Request `json:"incomplete" report:"list"`
	Total      any        `json:"total"` // always null
}

// laterRequest is one request of schema 2 (schemas/base/request_stats.py).
type laterRequest struct {
	Type                  string        `json:"type_"`
	RequestID             string        `json:"request_id"`
	ResponseID            Null[string]  `json:"response_id"`
	RequestArgs           Null[string]  `json:"request_args"`
	Output                Null[string]  `json:"output"`
	Info                  laterInfo     `json:"info"`
	InputMetrics          laterUsage    `json:"input_metrics"`
	OutputMetrics         laterUsage    `json:"output_metrics"`
	RequestStartTime      Null[float64] `json:"request_start_time"`
	RequestEndTime        Null[float64] `json:"request_end_time"`
	RequestLatency        Null[float64] `json:"request_latency"`
	RequestDispatchDelay  Null[float64] `json:"request_dispatch_delay"`
	TurnPredecessorDelay  Null[float64] `json:"turn_predecessor_delay"`
	TurnSchedulingDelay   Null[float64] `json:"turn_scheduling_delay"`
	ScheduledLatency      Null[float64] `json:"request_scheduled_latency"`
	PromptTokens          Null[int64]   `json:"prompt_tokens"`
	CachedTokens          Null[int64]   `json:"cached_tokens"`
	OutputTokens          Null[int64]   `json:"output_tokens"`
	TotalTokens           Null[int64]   `json:"total_tokens"`
	TimeToFirstTokenMS    Null[float64] `json:"time_to_first_token_ms"`
	TimeToLastRoundTripMS Null[float64] `json:"time_to_last_round_trip_ms"`
	AvgRoundTripTimeMS    Null[float64] `json:"avg_round_trip_time_ms"`
	TimePerOutputTokenMS  Null[float64] `json:"time_per_output_token_ms"`
	InterTokenLatencyMS   Null[float64] `json:"inter_token_latency_ms"`
	TokensPerSecond       Null[float64] `json:"tokens_per_second"`
	OutputTokensPerSecond Null[float64] `json:"output_tokens_per_second"`
	TimeToFirstOutputMS   Null[float64] `json:"time_to_first_output_token_ms"`
	IterTokens            Null[float64] `json:"iter_tokens_per_iteration"`
	OutputTokensPerIter   Null[float64] `json:"output_tokens_per_iteration"`
	OpenLoop              any           `json:"openloop,omitempty"`
}

type laterInfo struct {
	RequestID          string        `json:"request_id"`
	ConversationID     Null[string]  `json:"conversation_id"`
	TurnIndex          int64         `json:"turn_index"`      // from 0
	PrecedingNodes     int64         `json:"preceding_nodes"` // turns before it
	Status             string        `json:"status"`
	SchedulerNodeID    int64         `json:"scheduler_node_id"`
	SchedulerProcessID int64         `json:"scheduler_process_id"`
	SchedulerStartTime float64       `json:"scheduler_start_time"`
	Timings            laterTimings  `json:"timings"`
	Error              Null[string]  `json:"error"`
	StartedAt          Null[float64] `json:"started_at"`
	CompletedAt        Null[float64] `json:"completed_at"`
}

type laterTimings struct {
	TargetedStart         Null[float64] `json:"targeted_start"`
	Queued                Null[float64] `json:"queued"`
	Dequeued              Null[float64] `json:"dequeued"`
	ScheduledAt           Null[float64] `json:"scheduled_at"`
	ResolveStart          Null[float64] `json:"resolve_start"`
	RequestStart          Null[float64] `json:"request_start"`
	FirstRequestIteration Null[float64] `json:"first_request_iteration"`
	FirstTokenIteration   Null[float64] `json:"first_token_iteration"`
	FirstOutputIteration  Null[float64] `json:"first_output_token_iteration"`
	LastTokenIteration    Null[float64] `json:"last_token_iteration"`
	LastRequestIteration  Null[float64] `json:"last_request_iteration"`
	RequestIterations     int64         `json:"request_iterations"`
	TokenIterations       int64         `json:"token_iterations"`
	RequestEnd            Null[float64] `json:"request_end"`
	ResolveEnd            Null[float64] `json:"resolve_end"`
	Finalized             Null[float64] `json:"finalized"`
}

type laterUsage struct {
	TextTokens     Null[int64] `json:"text_tokens"`
	CachedTokens   Null[int64] `json:"cached_tokens"`
	TextWords      Null[int64] `json:"text_words"`
	TextCharacters Null[int64] `json:"text_characters"`
	TotalTokens    Null[int64] `json:"total_tokens"`
}

// writeLater writes openloop's report as GuideLLM 0.8.1 has it, schema 2: its figures are made of the requests once
// more, by that version's definitions.
func writeLater(w io.Writer, r *Report) error {
	if r.Metadata.Version != Schema {
		return writeJSON(w, r)
	}
	if !IsOpenLoop(r) && !isOwn(r) {
		return errors.New("the report is GuideLLM's own: in schema 2 openloop writes its own results only")
	}
	out := laterReport{
		Metadata: r.Metadata, Config: laterScenario(r), OpenLoop: r.OpenLoop, Benchmarks: []*laterBenchmark{},
	}
	out.Metadata.Version, out.Metadata.GuideLLMVersion = 2, "0.8.1"
	for i, b := range r.Benchmarks {
		later, err := laterOf(r, b)
		if err != nil {
			return fmt.Errorf("benchmarks[%d]: %w", i, err)
		}
		out.Benchmarks = append(out.Benchmarks, later)
	}
	e := newEncoder(w)
	e.later = true
	e.value(reflect.ValueOf(&out).Elem(), "")
	if err := e.finish(); err != nil {
		return fmt.Errorf("writing the report in schema 2: %w", err)
	}
	return nil
}

// isOwn says whether a report is about to be written by the run that made it.
func isOwn(r *Report) bool {
	_, own := r.OpenLoop.(*ownPart)
	return own
}

func laterOf(r *Report, b *Benchmark) (*laterBenchmark, error) {
	out := &laterBenchmark{
		Type: b.Type, SchedulerState: b.SchedulerState, SchedulerMetrics: b.SchedulerMetrics,
		StartTime: b.StartTime, EndTime: b.EndTime, Duration: b.Duration,
		WarmupDuration: b.WarmupDuration, CooldownDuration: b.CooldownDuration, OpenLoop: b.OpenLoop,
		Config: laterConfig(r, b),
	}
	for _, raw := range []*json.RawMessage{
		&out.SchedulerState.EndQueuingConstraints, &out.SchedulerState.EndProcessingConstraints,
		&out.SchedulerState.SchedulerConstraints,
	} { // the constraint has another name there
		*raw = bytes.Replace(*raw, []byte(`{"max_seconds":`), []byte(`{"max_duration":`), 1)
	}
	var requests []stats.Request
	var turns []int64
	for _, group := range []struct {
		from RequestSeq
		to   *[]*Request
		as   stats.Status
	}{
		{b.Requests.Successful, &out.Requests.Successful, stats.Completed},
		{b.Requests.Incomplete, &out.Requests.Incomplete, stats.Cancelled},
		{b.Requests.Errored, &out.Requests.Errored, stats.Errored},
	} {
		if group.from == nil {
			continue
		}
		for request := range group.from {
			kept := *request // the sequence may use one over and over
			s := kept.Stats()
			notes := notesIn(&kept)
			s.Status, s.FirstOutputIteration = group.as, orNaN(firstOutput(&kept, &notes))
			requests = append(requests, s)
			turns = append(turns, notes.Turn)
			*group.to = append(*group.to, &kept)
		}
	}
	if made := b.SchedulerMetrics.RequestsMade.Total; int64(len(requests)) < made {
		return nil, fmt.Errorf("it holds %d of %d requests, and the figures of schema 2 are made of all",
			len(requests), made)
	}
	window := stats.Window{Start: b.SchedulerMetrics.MeasureStartTime, End: b.SchedulerMetrics.MeasureEndTime}
	first := func(i int) bool { return turns[i] <= 1 }
	out.Metrics = stats.CompileLater(window, requests, b.Config.Load().Open(), first)
	return out, nil
}

func notesIn(r *Request) requestNotes {
	switch notes := r.OpenLoop.(type) {
	case *requestNotes:
		return *notes
	case nil:
		return requestNotes{}
	}
	var notes requestNotes
	if DecodeFree(r.OpenLoop, &notes) != nil {
		return requestNotes{}
	}
	return notes
}

// firstOutput is when the first token of the answer itself came; without openloop's notes, the first token.
func firstOutput(r *Request, notes *requestNotes) Null[float64] {
	if r.OpenLoop == nil {
		return r.Info.Timings.FirstTokenIteration
	}
	return float(orNaN(r.Info.Timings.RequestStart) + orNaN(notes.FirstOutput))
}

func laterRequestOf(r *Request) *laterRequest {
	notes, t := notesIn(r), &r.Info.Timings
	s := r.Stats()
	s.CountIterations()
	output := firstOutput(r, &notes)
	s.FirstOutputIteration = orNaN(output)
	out := &laterRequest{
		Type: r.Type, RequestID: r.RequestID, ResponseID: r.ResponseID, RequestArgs: r.RequestArgs, Output: r.Output,
		InputMetrics: laterUsageOf(&r.InputMetrics), OutputMetrics: laterUsageOf(&r.OutputMetrics),
		RequestStartTime: r.RequestStartTime, RequestEndTime: r.RequestEndTime, RequestLatency: r.RequestLatency,
		RequestDispatchDelay: float(orNaN(t.RequestStart) - orNaN(t.TargetedStart)),
		ScheduledLatency:     float(orNaN(t.RequestEnd) - orNaN(t.TargetedStart)),
		PromptTokens:         r.PromptTokens, CachedTokens: notes.CachedTokens, OutputTokens: number(s.OutputTokens()),
		TotalTokens: number(s.TotalTokens()), TimeToFirstTokenMS: r.TimeToFirstTokenMS,
		TimePerOutputTokenMS: float(s.TimePerOutputTokenMS()), InterTokenLatencyMS: float(s.InterTokenLatencyMS()),
		TokensPerSecond: float(s.TokensPerSecond()), OutputTokensPerSecond: float(s.OutputTokensPerSecond()),
		TimeToFirstOutputMS: float(s.TimeToFirstOutputTokenMS()), IterTokens: float(s.IterTokensPerIteration()),
		OutputTokensPerIter: float(s.OutputTokensPerIteration()), OpenLoop: r.OpenLoop,
	}
	out.InputMetrics.CachedTokens = notes.CachedTokens
	out.TurnSchedulingDelay = out.RequestDispatchDelay
	out.TurnPredecessorDelay.Valid = out.RequestDispatchDelay.Valid
	out.Info = laterInfo{
		RequestID: r.Info.RequestID, TurnIndex: max(0, notes.Turn-1), PrecedingNodes: max(0, notes.Turn-1),
		Status: r.Info.Status, SchedulerNodeID: r.Info.SchedulerNodeID, SchedulerProcessID: r.Info.SchedulerProcessID,
		SchedulerStartTime: r.Info.SchedulerStartTime, Error: r.Info.Error,
		StartedAt: r.Info.StartedAt, CompletedAt: r.Info.CompletedAt,
		Timings: laterTimings{
			t.TargetedStart, t.Queued, t.Dequeued, t.ScheduledAt, t.ResolveStart, t.RequestStart,
			t.FirstRequestIteration, t.FirstTokenIteration, output, t.LastTokenIteration,
			t.LastRequestIteration, t.RequestIterations, t.TokenIterations, t.RequestEnd, t.ResolveEnd, t.Finalized,
		},
	}
	if notes.Session > 0 {
		out.Info.ConversationID = Some("session-" + strconv.FormatInt(notes.Session, 10))
	}
	return out
}

func laterUsageOf(u *Usage) laterUsage {
	return laterUsage{
		TextTokens: u.TextTokens, TextWords: u.TextWords, TextCharacters: u.TextCharacters, TotalTokens: u.TotalTokens,
	}
}
