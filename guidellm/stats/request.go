// Package stats is GuideLLM 0.5.0's statistics: it turns the requests of a stage into the metrics of its report
// (Compile), into its scheduler's mean delays (SchedulerMetrics) and into the window that is measured (MeasuredWindow).
// Everything here is a pure function of its arguments: no input or output, no clock, no globals.
//
// The definitions are those of GuideLLM's modules schemas/statistics.py, schemas/request_stats.py and
// benchmark/schemas/generative/{metrics,accumulator}.py, named in the doc comments below, so that a value of an
// openloop report means the same as the value of that name in a published GuideLLM report. Arithmetic is done in the
// order in which GuideLLM and numpy do it, wherever that order can be seen in a result. openloop's own judgements are
// made elsewhere (package slo), by other definitions.
package stats

import "math"

// Status says how a request ended.
type Status uint8

const (
	// Completed requests received their whole answer.
	Completed Status = iota
	// Errored requests failed: a status code, a broken stream, a timeout.
	Errored
	// Cancelled requests were still in flight when the stage ended; a report calls them incomplete.
	Cancelled
)

// None stands for a count that is not known (null in a report).
const None int64 = -1

// Timings are the moments of one request, in seconds since the Unix epoch; NaN where a moment never came.
// Start from NoTimings, not from the zero value, which would put every moment at the epoch.
type Timings struct {
	TargetedStart         float64 // when the schedule wanted the request to start
	Queued                float64 // when it was put into the queue
	Dequeued              float64 // when it was taken out
	ScheduledAt           float64 // when its worker began to wait for the targeted start
	ResolveStart          float64 // when the worker began with it
	RequestStart          float64 // just before the HTTP call
	FirstRequestIteration float64 // first line of the answer, of whatever kind
	FirstTokenIteration   float64 // first line that carried output
	FirstOutputIteration  float64 // of those, the first that was not reasoning alone (schema 2)
	LastTokenIteration    float64 // last line that carried output
	LastRequestIteration  float64 // last line of the answer
	RequestEnd            float64 // when the HTTP call returned
	ResolveEnd            float64 // when the worker was done with it
	Finalized             float64 // when the scheduler heard of it
}

// NoTimings returns timings with every moment undefined.
func NoTimings() Timings {
	n := math.NaN()
	return Timings{n, n, n, n, n, n, n, n, n, n, n, n, n, n}
}

// Usage counts what went into a request or came out of it. A negative count (None) is unknown.
// Start from NoUsage, not from the zero value, which says that zero tokens were counted.
type Usage struct {
	TextTokens     int64
	TextWords      int64
	TextCharacters int64
	// Media is nil when the request carries nothing but text, which keeps a million text requests small.
	Media *Media
}

// NoUsage returns a usage in which nothing is known.
func NoUsage() Usage { return Usage{TextTokens: None, TextWords: None, TextCharacters: None} }

// Media counts the parts of a request that are not text. Negative counts and NaN seconds are unknown.
type Media struct {
	ImageTokens, ImageCount, ImagePixels, ImageBytes int64
	VideoTokens, VideoFrames, VideoBytes             int64
	VideoSeconds                                     float64
	AudioTokens, AudioSamples, AudioBytes            int64
	AudioSeconds                                     float64
}

// TotalTokens is the sum of the tokens of all kinds, or None when that sum is 0
// (request.py, UsageMetrics.total_tokens: "(a or 0) + … or None").
func (u *Usage) TotalTokens() int64 {
	n := known(u.TextTokens)
	if m := u.Media; m != nil {
		n += known(m.ImageTokens) + known(m.VideoTokens) + known(m.AudioTokens)
	}
	if n == 0 {
		return None
	}
	return n
}

// Request is one request as GuideLLM's statistics see it: fixed size and, for text, free of pointers.
type Request struct {
	Timings
	Input, Output     Usage
	RequestIterations int // lines of the answer, blank ones and the end marker included
	TokenIterations   int // lines that carried output
	Status            Status
}

// Start is the moment the request began: the HTTP call's, else the worker's; NaN when neither is known
// (request_stats.py, request_start_time).
func (r *Request) Start() float64 {
	if defined(r.RequestStart) {
		return r.RequestStart
	}
	return r.ResolveStart
}

// End is the moment the request ended: the HTTP call's, else the worker's; NaN when neither is known
// (request_stats.py, request_end_time).
func (r *Request) End() float64 {
	if defined(r.RequestEnd) {
		return r.RequestEnd
	}
	return r.ResolveEnd
}

// Latency is request_end − request_start in seconds, NaN unless both are known (request_latency).
func (r *Request) Latency() float64 { return r.RequestEnd - r.RequestStart }

// InputTokens is the input's token count over all kinds, or None (input_tokens).
func (r *Request) InputTokens() int64 { return r.Input.TotalTokens() }

// OutputTokens is the output's token count over all kinds, or None (output_tokens).
func (r *Request) OutputTokens() int64 { return r.Output.TotalTokens() }

// TotalTokens is input plus output tokens, or None when neither is known (total_tokens).
func (r *Request) TotalTokens() int64 {
	in, out := r.InputTokens(), r.OutputTokens()
	if in == None && out == None {
		return None
	}
	return known(in) + known(out)
}

// TimeToFirstTokenMS is 1000·(first token line − request start), NaN where undefined (time_to_first_token_ms).
func (r *Request) TimeToFirstTokenMS() float64 {
	return 1000 * (r.FirstTokenIteration - r.RequestStart)
}

// TimeToFirstOutputTokenMS is 1000·(first line of the answer itself − request start), NaN where undefined
// (time_to_first_output_token_ms, of schema 2).
func (r *Request) TimeToFirstOutputTokenMS() float64 {
	return 1000 * (r.FirstOutputIteration - r.RequestStart)
}

// TimePerOutputTokenMS is 1000·(last token line − request start)/output tokens, NaN where undefined; without token
// lines the end of the request takes the last line's place (time_per_output_token_ms).
func (r *Request) TimePerOutputTokenMS() float64 {
	out := r.OutputTokens()
	if out == None {
		return math.NaN()
	}
	last := r.LastTokenIteration
	if !defined(last) || last == 0 {
		last = r.End()
	}
	return 1000 * (last - r.RequestStart) / float64(out)
}

// InterTokenLatencyMS is 1000·(last − first token line)/(output tokens − 1), NaN where undefined or with fewer than
// two tokens (inter_token_latency_ms).
func (r *Request) InterTokenLatencyMS() float64 {
	out := r.OutputTokens()
	if out <= 1 {
		return math.NaN()
	}
	return 1000 * (r.LastTokenIteration - r.FirstTokenIteration) / float64(out-1)
}

// TokensPerSecond is total tokens/latency, NaN where either is unknown or the latency is 0 (tokens_per_second).
func (r *Request) TokensPerSecond() float64 { return perSecond(r.TotalTokens(), r.Latency()) }

// OutputTokensPerSecond is output tokens/latency, NaN where either is unknown or the latency is 0
// (output_tokens_per_second).
func (r *Request) OutputTokensPerSecond() float64 { return perSecond(r.OutputTokens(), r.Latency()) }

// IterTokensPerIteration is (output tokens − 1)/(token lines − 1), NaN unless both are above 1: the first line is
// taken to carry one token (iter_tokens_per_iteration).
func (r *Request) IterTokensPerIteration() float64 {
	out := r.OutputTokens()
	if out <= 1 || r.TokenIterations <= 1 {
		return math.NaN()
	}
	return float64(out-1) / float64(r.TokenIterations-1)
}

// OutputTokensPerIteration is output tokens/token lines, NaN where undefined (output_tokens_per_iteration).
func (r *Request) OutputTokensPerIteration() float64 {
	out := r.OutputTokens()
	if out == None || r.TokenIterations < 1 {
		return math.NaN()
	}
	return float64(out) / float64(r.TokenIterations)
}

func perSecond(tokens int64, latency float64) float64 {
	if tokens == None || latency == 0 {
		return math.NaN()
	}
	return float64(tokens) / latency
}

// defined tells a moment that came from one that never did.
func defined(x float64) bool { return x == x }

// known is Python's "n or 0" for a count.
func known(n int64) int64 {
	if n < 0 {
		return 0
	}
	return n
}

// orZero is Python's "x or 0.0" for a value that may be undefined.
func orZero(x float64) float64 {
	if x != x {
		return 0
	}
	return x
}
