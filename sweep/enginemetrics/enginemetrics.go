// Package enginemetrics reads what an inference engine says of itself at its Prometheus endpoint: vLLM, SGLang and TGI.
package enginemetrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen/stream"
)

// Source reads what the engine says of itself at its Prometheus endpoint. It is safe for concurrent use. No error of it
// holds a value of its headers.
type Source struct {
	Name    string // of the engine, where several are told apart: its target's, or as it was given; "" for none
	Address endpoint.Address
	Headers []endpoint.Header // of every request; credentials, where the endpoint wants them
	// Nil: http.Client's zero value. No redirect is followed: that could take credentials elsewhere.
	Client *http.Client
}

// Scrape is the state of an engine at a moment. Gauges and counters that it does not have are NaN. Where a server runs
// several engines they are added up; of KV-cache use the fullest counts.
type Scrape struct {
	At               time.Time
	Running, Waiting float64 // requests
	KVUsage          float64 // share of the KV cache, 0 to 1
	Preemptions      float64 // since the engine began, as are the following
	PrefixHits       float64 // prompt tokens found in the prefix cache
	PrefixQueries    float64 // prompt tokens looked up
	PromptTokens     float64
	GenerationTokens float64
	Drafted          float64 // tokens that speculative decoding proposed
	Accepted         float64 // of them, those that the model took
	AcceptShare      float64 // the same share as a gauge, 0 to 1, of engines that do not count
	TTFT, ITL        Histogram

	// identity is the same for two scrapes of one process, and of no two others; "" where that is not known.
	identity string
	round    int // of the stage: about the second of it in which it was asked for
}

// ErrNone means that an endpoint answered, with no metric of an engine that is known here.
var ErrNone = errors.New("no metrics of vLLM, SGLang or TGI")

// metricNames are the names of one figure, by engine and by age: vLLM (0.23.0 and its earlier names), SGLang
// (docs/references/production_metrics.md), TGI (its metrics reference). A histogram's name stands for it without
// suffix.
var metricNames = struct {
	running, waiting, kv, preemptions, hits, queries, prompt, generation, ttft, itl []string
	drafted, accepted, acceptShare                                                  []string
}{
	running:     []string{"vllm:num_requests_running", "sglang:num_running_reqs", "tgi_batch_current_size"},
	waiting:     []string{"vllm:num_requests_waiting", "sglang:num_queue_reqs", "tgi_queue_size"},
	kv:          []string{"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"},
	preemptions: []string{"vllm:num_preemptions_total", "sglang:num_retracted_requests_total"},
	hits: []string{"vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total",
		"sglang:cached_tokens_total"},
	queries: []string{"vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total",
		"sglang:prompt_tokens_total"},
	prompt: []string{"vllm:prompt_tokens_total", "sglang:prompt_tokens_total", "tgi_request_input_length_sum"},
	generation: []string{"vllm:generation_tokens_total", "sglang:generation_tokens_total",
		"tgi_request_generated_tokens_sum"},
	ttft: []string{"vllm:time_to_first_token_seconds", "sglang:time_to_first_token_seconds"},
	itl: []string{"vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds",
		"sglang:inter_token_latency_seconds",
		"sglang:time_per_output_token_seconds", "tgi_request_mean_time_per_token_duration"},
	drafted:     []string{"vllm:spec_decode_num_draft_tokens_total"},
	accepted:    []string{"vllm:spec_decode_num_accepted_tokens_total"},
	acceptShare: []string{"sglang:spec_accept_rate"},
}

// identityNames are metrics that say when a process began, or its engine. Python's Prometheus client has the former
// unless it gathers several processes, and vLLM the latter.
var identityNames = []string{
	"process_start_time_seconds", "vllm:prompt_tokens_created", "vllm:generation_tokens_created",
}

// scrapeLimit bounds what is read of an answer, scrapeTime how long it may take.
const (
	scrapeLimit = 16 << 20
	scrapeTime  = 5 * time.Second
)

// Scrape reads the endpoint once. The error is ErrNone where nothing in the answer is of use.
func (m *Source) Scrape(ctx context.Context) (Scrape, error) {
	samples, err := m.samples(ctx)
	if err != nil {
		return Scrape{}, m.explain(err)
	}
	s := readScrape(samples)
	s.At = time.Now()
	if math.IsNaN(s.Running) && math.IsNaN(s.Waiting) && math.IsNaN(s.GenerationTokens) {
		return s, m.explain(ErrNone)
	}
	return s, nil
}

// Series is how many series the endpoint has, a histogram's buckets each counted. An error says why it has none.
func (m *Source) Series(ctx context.Context) (int, error) {
	samples, err := m.samples(ctx)
	if err != nil {
		return 0, m.explain(err)
	}
	return len(samples), nil
}

// explain says what went wrong, without a credential.
func (m *Source) explain(err error) error {
	redactor := newRedactor(m.Headers, m.Address)
	address := redactor.Redact(endpoint.RedactUserinfo(m.Address.String()))
	if errors.Is(err, ErrNone) {
		return fmt.Errorf("metrics: %s: %w", address, ErrNone)
	}
	_, err = endpoint.Explain(err)
	// A server may repeat what it was sent, so nothing of the error but its text is passed on.
	const shown = 300
	text := stream.Shorten(redactor.Redact(err.Error()), shown)
	return fmt.Errorf("metrics: %s: %s", address, text)
}

// newRedactor looks for the credentials of a request.
func newRedactor(headers []endpoint.Header, address endpoint.Address) endpoint.Redactor {
	secrets := make([]endpoint.Secret, len(headers))
	for i, h := range headers {
		secrets[i] = h.Value
	}
	return endpoint.NewRedactor(append(secrets, address.Query())...)
}

// samples reads the endpoint once.
func (m *Source) samples(ctx context.Context) ([]metricSample, error) {
	text, err := m.get(ctx, "text/plain;version=0.0.4", scrapeTime, scrapeLimit)
	if err != nil {
		return nil, err
	}
	return parseMetrics(bytes.NewReader(text))
}

// get reads an answer whole: of status 200, not compressed, within a time and a number of bytes.
func (m *Source) get(ctx context.Context, accept string, patience time.Duration, limit int) ([]byte, error) {
	var client http.Client
	if m.Client != nil {
		client = *m.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	late := fmt.Errorf("no whole answer within %v", patience)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, late)
	defer cancel()
	failed := func(err error) ([]byte, error) {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		var detail *url.Error // its text begins with the address
		if errors.As(err, &detail) {
			err = detail.Err
		}
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Address.URL(), nil)
	if err != nil {
		return failed(err)
	}
	for _, h := range m.Headers {
		req.Header.Set(h.Name, h.Value.Reveal())
	}
	req.Header.Set("Accept", accept)
	resp, err := client.Do(req)
	if err != nil {
		return failed(err)
	}
	defer resp.Body.Close()
	coding := stream.ContentCoding(resp.Header)
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("HTTP %d: a redirect, which is not followed", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, stream.StatusError(resp.StatusCode, http.Header{}, nil, nil)
	case coding != "":
		return nil, fmt.Errorf("the answer is compressed (%s), which openloop did not ask for", coding)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return failed(err)
	}
	if len(text) > limit {
		return nil, fmt.Errorf("the answer is longer than %d MB", limit>>20)
	}
	return text, nil
}

// readScrape finds the figures among samples.
func readScrape(samples []metricSample) Scrape {
	byName := map[string][]metricSample{}
	for _, s := range samples {
		byName[s.name] = append(byName[s.name], s)
	}
	find := func(names []string, join func(a, b float64) float64) float64 {
		for _, name := range names {
			if all := byName[name]; len(all) > 0 {
				v := all[0].value
				for _, s := range all[1:] {
					v = join(v, s.value)
				}
				return v
			}
		}
		return math.NaN()
	}
	add := func(a, b float64) float64 { return a + b }
	n := &metricNames
	identity := ""
	for _, name := range identityNames {
		for _, s := range byName[name] {
			identity += fmt.Sprintf("%s %v,", name, s.value)
		}
	}
	return Scrape{
		identity: identity,
		Running:  find(n.running, add), Waiting: find(n.waiting, add),
		KVUsage:     find(n.kv, func(a, b float64) float64 { return max(a, b) }),
		Preemptions: find(n.preemptions, add),
		PrefixHits:  find(n.hits, add), PrefixQueries: find(n.queries, add),
		PromptTokens: find(n.prompt, add), GenerationTokens: find(n.generation, add),
		Drafted: find(n.drafted, add), Accepted: find(n.accepted, add), AcceptShare: find(n.acceptShare, math.Min),
		TTFT: readHistogram(byName, n.ttft), ITL: readHistogram(byName, n.itl),
	}
}

// readHistogram adds up the histograms of the first name that there is.
func readHistogram(byName map[string][]metricSample, names []string) Histogram {
	for _, name := range names {
		buckets := byName[name+"_bucket"]
		if len(buckets) == 0 {
			continue
		}
		counts := map[float64]float64{}
		for _, s := range buckets {
			if bound, err := strconv.ParseFloat(s.labels["le"], 64); err == nil {
				counts[bound] += s.value
			}
		}
		h := Histogram{Count: counts[math.Inf(1)]}
		for bound := range counts {
			if !math.IsInf(bound, 1) {
				h.Bounds = append(h.Bounds, bound)
			}
		}
		slices.Sort(h.Bounds)
		for _, bound := range h.Bounds {
			h.Counts = append(h.Counts, counts[bound])
		}
		for _, s := range byName[name+"_sum"] {
			h.Sum += s.value
		}
		return h
	}
	return Histogram{}
}
