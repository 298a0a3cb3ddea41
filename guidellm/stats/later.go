package stats

import (
	"math"
	"slices"
)

// LaterMetrics is the metrics block of one benchmark as GuideLLM 0.8.1 has it, schema 2, its fields in the order in
// which GuideLLM writes them (benchmark/schemas/metrics.py, GenerativeMetrics). What it names and Metrics does not are
// delays in seconds behind the schedule, nil for a load without one, and the times of a websocket, all zero here.
type LaterMetrics struct {
	RequestTotals                   StatusCounts        `json:"request_totals"`
	RequestsPerSecond               StatusDistribution  `json:"requests_per_second"`
	RequestConcurrency              StatusDistribution  `json:"request_concurrency"`
	RequestLatency                  StatusDistribution  `json:"request_latency"`
	RequestDispatchDelay            *StatusDistribution `json:"request_dispatch_delay"`
	RequestScheduledLatency         *StatusDistribution `json:"request_scheduled_latency"`
	TurnPredecessorDelay            *StatusDistribution `json:"turn_predecessor_delay"`
	TurnSchedulingDelay             *StatusDistribution `json:"turn_scheduling_delay"`
	RootDispatchDelay               *Distribution       `json:"root_dispatch_delay"`
	RequestStreamingIterationsCount StatusDistribution  `json:"request_streaming_iterations_count"`
	PromptTokenCount                StatusDistribution  `json:"prompt_token_count"`
	OutputTokenCount                StatusDistribution  `json:"output_token_count"`
	TotalTokenCount                 StatusDistribution  `json:"total_token_count"`
	TimeToFirstTokenMS              StatusDistribution  `json:"time_to_first_token_ms"`
	TimeToFirstOutputTokenMS        StatusDistribution  `json:"time_to_first_output_token_ms"`
	TimePerOutputTokenMS            StatusDistribution  `json:"time_per_output_token_ms"`
	InterTokenLatencyMS             StatusDistribution  `json:"inter_token_latency_ms"`
	TimeToLastRoundTripMS           StatusDistribution  `json:"time_to_last_round_trip_ms"`
	AvgRoundTripTimeMS              StatusDistribution  `json:"avg_round_trip_time_ms"`
	PromptTokensPerSecond           StatusDistribution  `json:"prompt_tokens_per_second"`
	OutputTokensPerSecond           StatusDistribution  `json:"output_tokens_per_second"`
	TokensPerSecond                 StatusDistribution  `json:"tokens_per_second"`
	OutputTokensPerIteration        StatusDistribution  `json:"output_tokens_per_iteration"`
	IterTokensPerIteration          StatusDistribution  `json:"iter_tokens_per_iteration"`
	Text                            TextMetrics         `json:"text"`
	Image                           ImageMetrics        `json:"image"`
	Video                           VideoMetrics        `json:"video"`
	Audio                           AudioMetrics        `json:"audio"`
	ToolCall                        ToolCallMetrics     `json:"tool_call"`
}

// ToolCallMetrics are the summaries of tool calls. openloop counts none, so all of them are empty.
type ToolCallMetrics struct {
	Tokens      *Summary `json:"tokens"`
	MixedTokens *Summary `json:"mixed_tokens"`
	Count       *Summary `json:"count"`
}

// CompileLater makes the metrics block by GuideLLM 0.8.1's definitions. They are those of Compile, but for these: token
// rates are of the window alone; TTFT counts requests whose first token came at or after the window's start, and ITL
// those whose first token came at or before its end; a request of unknown output tokens has one for each line that
// carried output; what a request does not know is left out of the summaries by modality.
//
// scheduled says that the load has a schedule; first says whether a request is the first of its session.
func CompileLater(w Window, requests []Request, scheduled bool, first func(i int) bool) *LaterMetrics {
	asKnown := requests
	requests = slices.Clone(requests)
	for i := range requests {
		requests[i].CountIterations()
	}
	before := Compile(w, requests)
	m := &LaterMetrics{
		RequestTotals: before.RequestTotals, RequestsPerSecond: before.RequestsPerSecond,
		RequestConcurrency: before.RequestConcurrency, RequestLatency: before.RequestLatency,
		RequestStreamingIterationsCount: before.RequestStreamingIterationsCount,
		PromptTokenCount:                before.PromptTokenCount, OutputTokenCount: before.OutputTokenCount,
		TotalTokenCount: before.TotalTokenCount, TimePerOutputTokenMS: before.TimePerOutputTokenMS,
		OutputTokensPerIteration: before.OutputTokensPerIteration,
		IterTokensPerIteration:   before.IterTokensPerIteration,
		Image:                    before.Image, Video: before.Video, Audio: before.Audio,
		ToolCall: ToolCallMetrics{&Summary{}, &Summary{}, &Summary{}},
	}
	var inside, known, firstToken, firstOutput, afterFirst byStatus
	var root []weighted
	for i := range requests {
		r := &requests[i]
		start, token := r.Start(), r.FirstTokenIteration
		if defined(token) && token >= w.Start && orElse(start, token) <= w.End {
			firstToken[r.Status] = append(firstToken[r.Status], r)
		}
		if output := r.FirstOutputIteration; defined(output) && output >= w.Start && orElse(start, output) <= w.End {
			firstOutput[r.Status] = append(firstOutput[r.Status], r)
		}
		if end := r.End(); end >= w.Start && orElse(token, end) <= w.End {
			afterFirst[r.Status] = append(afterFirst[r.Status], r)
		}
		if !w.holds(r) {
			continue
		}
		inside[r.Status] = append(inside[r.Status], r)
		known[r.Status] = append(known[r.Status], &asKnown[i])
		if delay := r.RequestStart - r.TargetedStart; defined(delay) && first(i) {
			root = append(root, weighted{delay, 1})
		}
	}
	each := func(g byStatus, value func(*Request) weighted) StatusDistribution {
		return distributions(g, func(r *Request, add func(weighted)) {
			if v := value(r); defined(v.Value) {
				add(v)
			}
		}, summarize)
	}
	m.TimeToFirstTokenMS = each(firstToken, func(r *Request) weighted {
		return weighted{orZero(r.TimeToFirstTokenMS()), 1}
	})
	m.TimeToFirstOutputTokenMS = each(firstOutput, func(r *Request) weighted {
		return weighted{orZero(r.TimeToFirstOutputTokenMS()), 1}
	})
	m.InterTokenLatencyMS = each(afterFirst, func(r *Request) weighted {
		return weighted{orZero(r.InterTokenLatencyMS()), float64(max(r.OutputTokens(), 1) - 1)}
	})
	m.TimeToLastRoundTripMS = each(inside, func(*Request) weighted { return weighted{0, 1} })
	m.AvgRoundTripTimeMS = m.TimeToLastRoundTripMS
	rates := compileTokenRates(inside, &w)
	m.PromptTokensPerSecond, m.OutputTokensPerSecond, m.TokensPerSecond = rates.prompt, rates.output, rates.total
	if len(root) > 0 {
		d := summarize(root)
		m.RootDispatchDelay = &d
	}
	if scheduled {
		behind := each(inside, func(r *Request) weighted { return weighted{r.RequestStart - r.TargetedStart, 1} })
		latency := each(inside, func(r *Request) weighted { return weighted{r.RequestEnd - r.TargetedStart, 1} })
		none := each(inside, func(r *Request) weighted { return weighted{0 * (r.RequestStart - r.TargetedStart), 1} })
		m.RequestDispatchDelay, m.RequestScheduledLatency = &behind, &latency
		m.TurnPredecessorDelay, m.TurnSchedulingDelay = &none, &behind
	}
	m.Text.Tokens = summarizeLater(known, func(u *Usage) int64 { return u.TextTokens })
	m.Text.Words = summarizeLater(known, func(u *Usage) int64 { return u.TextWords })
	m.Text.Characters = summarizeLater(known, func(u *Usage) int64 { return u.TextCharacters })
	return m
}

// CountIterations takes each line that carried output for a token where the output tokens are not known
// (request_stats.py of GuideLLM 0.8.1, output_tokens).
func (r *Request) CountIterations() {
	if r.OutputTokens() == None && r.TokenIterations > 0 {
		r.Output.TextTokens = int64(r.TokenIterations)
	}
}

func orElse(x, other float64) float64 {
	if math.IsNaN(x) {
		return other
	}
	return x
}

// summarizeLater is compileSummary where an amount that is not known is no amount, and a direction is nil only where
// no request knows it (metrics.py of GuideLLM 0.8.1, GenerativeMetricsSummary.compile_timed_metrics).
func summarizeLater(g byStatus, amount func(*Usage) int64) *Summary {
	var values [2][statuses][]weighted
	var spans [2][statuses][]interval
	var known [2]bool
	for status, requests := range g {
		for _, r := range requests {
			amounts := [2]int64{amount(&r.Input), amount(&r.Output)}
			start, end := orZero(r.Start()), orZero(r.End())
			if start == 0 || end == 0 || amounts[0] < 0 && amounts[1] < 0 {
				continue
			}
			for i, n := range amounts {
				if n >= 0 {
					values[i][status] = append(values[i][status], weighted{float64(n), 1})
					known[i] = true
				}
				spans[i][status] = append(spans[i][status], interval{start, end, float64(max(n, 0))})
			}
		}
	}
	var s Summary
	if known[0] {
		s.Input, s.InputPerSecond, s.InputConcurrency = laterAmounts(values[0], spans[0])
	}
	if known[1] {
		s.Output, s.OutputPerSecond, s.OutputConcurrency = laterAmounts(values[1], spans[1])
	}
	if known[0] && known[1] {
		for status := range g {
			values[0][status] = append(values[0][status], values[1][status]...)
			spans[0][status] = append(spans[0][status], spans[1][status]...)
		}
		s.Total, s.TotalPerSecond, s.TotalConcurrency = laterAmounts(values[0], spans[0])
	}
	return &s
}

func laterAmounts(values [statuses][]weighted, spans [statuses][]interval) (
	value, perSecond, concurrency *StatusDistribution) {
	all := distributions(values, func(v weighted, add func(weighted)) { add(v) }, summarize)
	rates := distributions(spans, func(a interval, add func(event)) { add(event{a.End, a.Weight}) }, rateDistribution)
	inFlight := distributions(spans, func(a interval, add func(interval)) { add(a) }, levels)
	return &all, &rates, &inFlight
}
