package stats

import (
	"runtime"
	"sync"
)

// Window is the measured part of a run, in seconds since the epoch.
type Window struct{ Start, End float64 }

// holds says whether a request counts: it ended at or after the window's start and began at or before its end
// (accumulator.py, GenerativeRequestsAccumulator.get_within_range).
func (w Window) holds(r *Request) bool {
	start, end := r.Start(), r.End()
	if !defined(start) {
		start = end
	}
	return end >= w.Start && start <= w.End
}

// StatusCounts counts requests by how they ended.
type StatusCounts struct {
	Successful int64 `json:"successful"`
	Errored    int64 `json:"errored"`
	Incomplete int64 `json:"incomplete"`
	Total      int64 `json:"total"`
}

// Metrics is the metrics block of one benchmark of a report, its fields in the order GuideLLM writes them
// (metrics.py, GenerativeMetrics). Times are seconds unless the name ends in MS.
type Metrics struct {
	RequestTotals                   StatusCounts       `json:"request_totals"`
	RequestsPerSecond               StatusDistribution `json:"requests_per_second"`
	RequestConcurrency              StatusDistribution `json:"request_concurrency"`
	RequestLatency                  StatusDistribution `json:"request_latency"`
	RequestStreamingIterationsCount StatusDistribution `json:"request_streaming_iterations_count"`
	PromptTokenCount                StatusDistribution `json:"prompt_token_count"`
	OutputTokenCount                StatusDistribution `json:"output_token_count"`
	TotalTokenCount                 StatusDistribution `json:"total_token_count"`
	TimeToFirstTokenMS              StatusDistribution `json:"time_to_first_token_ms"`
	TimePerOutputTokenMS            StatusDistribution `json:"time_per_output_token_ms"`
	InterTokenLatencyMS             StatusDistribution `json:"inter_token_latency_ms"`
	PromptTokensPerSecond           StatusDistribution `json:"prompt_tokens_per_second"`
	OutputTokensPerSecond           StatusDistribution `json:"output_tokens_per_second"`
	TokensPerSecond                 StatusDistribution `json:"tokens_per_second"`
	OutputTokensPerIteration        StatusDistribution `json:"output_tokens_per_iteration"`
	IterTokensPerIteration          StatusDistribution `json:"iter_tokens_per_iteration"`
	Text                            TextMetrics        `json:"text"`
	Image                           ImageMetrics       `json:"image"`
	Video                           VideoMetrics       `json:"video"`
	Audio                           AudioMetrics       `json:"audio"`
}

// TextMetrics are the summaries of what was text.
type TextMetrics struct {
	Tokens     *Summary `json:"tokens"`
	Words      *Summary `json:"words"`
	Characters *Summary `json:"characters"`
}

// ImageMetrics are the summaries of what was images.
type ImageMetrics struct {
	Tokens *Summary `json:"tokens"`
	Images *Summary `json:"images"`
	Pixels *Summary `json:"pixels"`
	Bytes  *Summary `json:"bytes"`
}

// VideoMetrics are the summaries of what was video.
type VideoMetrics struct {
	Tokens  *Summary `json:"tokens"`
	Frames  *Summary `json:"frames"`
	Seconds *Summary `json:"seconds"`
	Bytes   *Summary `json:"bytes"`
}

// AudioMetrics are the summaries of what was audio.
type AudioMetrics struct {
	Tokens  *Summary `json:"tokens"`
	Samples *Summary `json:"samples"`
	Seconds *Summary `json:"seconds"`
	Bytes   *Summary `json:"bytes"`
}

// Summary is one unit of one modality: its amount a request, its rate over time (counted when a request ends) and how
// much of it is in flight, for what went in, what came out, and both. Nil where there was none of it
// (metrics.py, GenerativeMetricsSummary).
type Summary struct {
	Input             *StatusDistribution `json:"input"`
	InputPerSecond    *StatusDistribution `json:"input_per_second"`
	InputConcurrency  *StatusDistribution `json:"input_concurrency"`
	Output            *StatusDistribution `json:"output"`
	OutputPerSecond   *StatusDistribution `json:"output_per_second"`
	OutputConcurrency *StatusDistribution `json:"output_concurrency"`
	Total             *StatusDistribution `json:"total"`
	TotalPerSecond    *StatusDistribution `json:"total_per_second"`
	TotalConcurrency  *StatusDistribution `json:"total_concurrency"`
}

// Compile makes the metrics block of the requests that the window holds. The requests are not changed; their order
// matters to no value beyond its last digits. It uses as many cores as the process has
// (metrics.py, GenerativeMetrics.compile).
func Compile(w Window, requests []Request) *Metrics {
	var g byStatus
	for i := range requests {
		if r := &requests[i]; w.holds(r) {
			g[r.Status] = append(g[r.Status], r)
		}
	}
	m := &Metrics{RequestTotals: StatusCounts{
		Successful: int64(len(g[Completed])), Errored: int64(len(g[Errored])), Incomplete: int64(len(g[Cancelled])),
	}}
	m.RequestTotals.Total = m.RequestTotals.Successful + m.RequestTotals.Errored + m.RequestTotals.Incomplete

	var blocks []func()
	perRequest := func(to *StatusDistribution, value func(*Request) weighted) {
		blocks = append(blocks, func() {
			*to = distributions(g, func(r *Request, add func(weighted)) { add(value(r)) }, summarize)
		})
	}
	// The token rates take longest and go first, so that the others fill the cores beside them.
	blocks = append(blocks, func() {
		rates := compileTokenRates(g, nil)
		m.PromptTokensPerSecond, m.OutputTokensPerSecond, m.TokensPerSecond = rates.prompt, rates.output, rates.total
	})
	blocks = append(blocks, func() {
		m.RequestsPerSecond = distributions(g,
			func(r *Request, add func(event)) { add(event{r.End(), 1}) },
			func(events []event) Distribution { return ratesWithin(w, events) })
	}, func() {
		m.RequestConcurrency = distributions(g,
			func(r *Request, add func(interval)) {
				if defined(r.Start()) && defined(r.End()) {
					add(interval{r.Start(), r.End(), 1})
				}
			},
			func(intervals []interval) Distribution { return levelsWithin(w, intervals) })
	})
	perRequest(&m.RequestLatency, func(r *Request) weighted { return weighted{orZero(r.Latency()), 1} })
	perRequest(&m.RequestStreamingIterationsCount,
		func(r *Request) weighted { return weighted{float64(r.RequestIterations), 1} })
	perRequest(&m.PromptTokenCount, func(r *Request) weighted {
		return weighted{float64(known(r.Input.TextTokens)),
			1}
	})
	perRequest(&m.OutputTokenCount, func(r *Request) weighted { return weighted{float64(known(r.OutputTokens())), 1} })
	perRequest(&m.TotalTokenCount, func(r *Request) weighted { return weighted{float64(known(r.TotalTokens())), 1} })
	perRequest(&m.TimeToFirstTokenMS, func(r *Request) weighted { return weighted{orZero(r.TimeToFirstTokenMS()), 1} })
	perRequest(&m.TimePerOutputTokenMS, func(r *Request) weighted {
		return weighted{orZero(r.TimePerOutputTokenMS()), float64(known(r.OutputTokens()))}
	})
	perRequest(&m.InterTokenLatencyMS, func(r *Request) weighted {
		return weighted{orZero(r.InterTokenLatencyMS()), float64(max(r.OutputTokens(), 1) - 1)}
	})
	blocks = append(blocks, func() {
		m.OutputTokensPerIteration = distributions(g, func(r *Request, add func(weighted)) {
			t := outputTrain(r)
			add(weighted{t.head, 1})
			if t.n > 1 {
				add(weighted{t.tail, float64(t.n - 1)})
			}
		}, summarize)
	}, func() {
		m.IterTokensPerIteration = distributions(g, func(r *Request, add func(weighted)) {
			if t := outputTrain(r); t.n > 1 {
				add(weighted{t.tail, float64(t.n - 1)})
			}
		}, summarize)
	})
	for _, s := range m.summaries() {
		blocks = append(blocks, func() { *s.to = compileSummary(g, s.count) })
	}
	runAll(blocks)
	return m
}

// runAll runs the functions on as many goroutines as there are cores, in the order given.
func runAll(blocks []func()) {
	next := make(chan func())
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(blocks)) {
		workers.Go(func() {
			for block := range next {
				block()
			}
		})
	}
	for _, block := range blocks {
		next <- block
	}
	close(next)
	workers.Wait()
}

const statuses = 3

// byStatus holds the requests of each Status.
type byStatus = [statuses][]*Request

// soleStatus returns the one status that has items; where none has, any will do.
func soleStatus[S any](g [statuses][]S) (Status, bool) {
	sole, filled := Completed, 0
	for status, items := range g {
		if len(items) > 0 {
			sole = Status(status)
			filled++
		}
	}
	return sole, filled <= 1
}

func (d *StatusDistribution) of(s Status) *Distribution {
	switch s {
	case Errored:
		return &d.Errored
	case Cancelled:
		return &d.Incomplete
	default:
		return &d.Successful
	}
}

// distributions gathers what each request has to say, status by status, and summarises each status and all of them
// together (statistics.py, StatusDistributionSummary). summarize may reorder what it is given.
func distributions[S, T any](g [statuses][]S, gather func(S, func(T)),
	summarize func([]T) Distribution) StatusDistribution {
	var d StatusDistribution
	var total []T
	sole, single := soleStatus(g)
	if !single {
		total = make([]T, 0, len(g[Completed])+len(g[Errored])+len(g[Cancelled]))
	}
	for _, status := range []Status{Completed, Cancelled, Errored} { // GuideLLM's order
		items := make([]T, 0, len(g[status]))
		for _, request := range g[status] {
			gather(request, func(item T) { items = append(items, item) })
		}
		if !single {
			total = append(total, items...)
		}
		*d.of(status) = summarize(items)
	}
	if single {
		d.Total = *d.of(sole)
	} else {
		d.Total = summarize(total)
	}
	return d
}
