package enginemetrics

import (
	"math"
	"time"

	"github.com/openloop/openloop/internal/num"
)

// Window is what the engine said of itself during one stage. Of several engines together (Sources), counters are sums
// over those that were read, running and waiting requests those of all at once, and of KV-cache use the fullest counts.
type Window struct {
	Running       GaugeSummary `json:"running"`
	Waiting       GaugeSummary `json:"waiting"`
	KVUsage       GaugeSummary `json:"kv_cache_usage"`
	Preemptions   num.Value    `json:"preemptions"` // during the stage, as are the following
	PrefixHits    num.Value    `json:"prefix_cache_hit_tokens"`
	PrefixQueries num.Value    `json:"prefix_cache_query_tokens"`
	HitShare      num.Value    `json:"prefix_cache_hit_share"`
	PromptTokens  num.Value    `json:"prompt_tokens"`
	OutputTokens  num.Value    `json:"generation_tokens"`

	// Drafted and Accepted are the tokens of speculative decoding, AcceptShare is which share of them the model took;
	// absent where the engine does not speculate, or does not say.
	Drafted     num.Value `json:"speculative_draft_tokens"`
	Accepted    num.Value `json:"speculative_accepted_tokens"`
	AcceptShare num.Value `json:"speculative_accepted_share"`

	TTFT EngineLatency `json:"time_to_first_token_s"`
	ITL  EngineLatency `json:"inter_token_latency_s"`
	// NotMerged says why there are no latencies of several engines together; "" where there are.
	NotMerged string `json:"latencies_not_merged,omitempty"`

	// Contaminated: more than 1 % of the prompt tokens came out of the prefix cache. With synthetic prompts, of which
	// none is like another, that means that the cache held them from an earlier run. Never of sessions, whose turns are
	// to be found there.
	Contaminated bool `json:"contaminated"`

	Series []Sample `json:"series"`
	Errors int      `json:"scrape_errors"`
	Error  string   `json:"scrape_error,omitempty"` // the last one
}

// GaugeSummary sums up a gauge over the scrapes of a stage.
type GaugeSummary struct {
	Mean num.Value `json:"mean"`
	Max  num.Value `json:"max"`
	Last num.Value `json:"last"`
}

// EngineLatency is a latency as the engine measured it, in seconds. Quantiles are known no better than its buckets.
type EngineLatency struct {
	Count     num.Value `json:"count"`
	Mean      num.Value `json:"mean"`
	P50       num.Value `json:"p50"`
	P95       num.Value `json:"p95"`
	P99       num.Value `json:"p99"`
	Histogram Histogram `json:"histogram"`
}

// Sample is one scrape in a stage's time series; counters are rates per second since the sample before.
type Sample struct {
	Seconds    float64   `json:"seconds"` // since the stage's start
	Running    num.Value `json:"running"`
	Waiting    num.Value `json:"waiting"`
	KVUsage    num.Value `json:"kv_cache_usage"`
	PromptRate num.Value `json:"prompt_tokens_per_second"`
	OutputRate num.Value `json:"generation_tokens_per_second"`
	// Preemptions since the sample before.
	Preemptions num.Value `json:"preemptions"`
}

// contaminated is the share of prefix-cache hits above which a stage is marked.
const contaminated = 0.01

// summarize turns scrapes into the record of a stage.
func summarize(scrapes []Scrape, start time.Time) *Window {
	nan := num.Value(math.NaN())
	e := &Window{Preemptions: nan, PrefixHits: nan, PrefixQueries: nan, HitShare: nan, PromptTokens: nan,
		OutputTokens: nan, Drafted: nan, Accepted: nan, AcceptShare: nan, Series: []Sample{},
		TTFT: engineLatency(Histogram{}), ITL: engineLatency(Histogram{})}
	gauge := func(of func(Scrape) float64) GaugeSummary {
		g := GaugeSummary{nan, nan, nan}
		sum, n := 0.0, 0.0
		for _, s := range scrapes {
			v := of(s)
			if math.IsNaN(v) {
				continue
			}
			sum, n = sum+v, n+1
			g.Max = num.Value(max(v, nonNaN(float64(g.Max), v)))
			g.Last = num.Value(v)
		}
		if n > 0 {
			g.Mean = num.Value(sum / n)
		}
		return g
	}
	e.Running = gauge(func(s Scrape) float64 { return s.Running })
	e.Waiting = gauge(func(s Scrape) float64 { return s.Waiting })
	e.KVUsage = gauge(func(s Scrape) float64 { return s.KVUsage })
	e.AcceptShare = gauge(func(s Scrape) float64 { return s.AcceptShare }).Mean
	for i, s := range scrapes {
		sample := Sample{Seconds: s.At.Sub(start).Seconds(), Running: num.Value(s.Running),
			Waiting: num.Value(s.Waiting), KVUsage: num.Value(s.KVUsage), PromptRate: nan, OutputRate: nan,
			Preemptions: nan}
		if i > 0 {
			if d := s.At.Sub(scrapes[i-1].At).Seconds(); d > 0 {
				sample.PromptRate = num.Value((s.PromptTokens - scrapes[i-1].PromptTokens) / d)
				sample.OutputRate = num.Value((s.GenerationTokens - scrapes[i-1].GenerationTokens) / d)
				sample.Preemptions = num.Value(s.Preemptions - scrapes[i-1].Preemptions)
			}
		}
		e.Series = append(e.Series, sample)
	}
	if len(scrapes) < 2 {
		return e
	}
	first, last := scrapes[0], scrapes[len(scrapes)-1]
	e.Preemptions = num.Value(last.Preemptions - first.Preemptions)
	e.PrefixHits = num.Value(last.PrefixHits - first.PrefixHits)
	e.PrefixQueries = num.Value(last.PrefixQueries - first.PrefixQueries)
	e.PromptTokens = num.Value(last.PromptTokens - first.PromptTokens)
	e.OutputTokens = num.Value(last.GenerationTokens - first.GenerationTokens)
	if e.PrefixQueries > 0 {
		e.HitShare = e.PrefixHits / e.PrefixQueries
	}
	e.Contaminated = e.HitShare > contaminated
	e.Drafted, e.Accepted = num.Value(last.Drafted-first.Drafted), num.Value(last.Accepted-first.Accepted)
	if e.Drafted > 0 {
		e.AcceptShare = e.Accepted / e.Drafted
	}
	e.TTFT, e.ITL = engineLatency(last.TTFT.since(first.TTFT)), engineLatency(last.ITL.since(first.ITL))
	return e
}

func nonNaN(v, otherwise float64) float64 {
	if math.IsNaN(v) {
		return otherwise
	}
	return v
}

func engineLatency(h Histogram) EngineLatency {
	return EngineLatency{
		Count: num.Value(h.Count), Mean: num.Value(h.Mean()),
		P50: num.Value(h.Quantile(0.5)), P95: num.Value(h.Quantile(0.95)), P99: num.Value(h.Quantile(0.99)),
		Histogram: h,
	}
}
