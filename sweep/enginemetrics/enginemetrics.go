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

	"golang.org/x/time/rate"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/stream"
)

// Source reads what the engine says of itself at its Prometheus endpoint. It is safe for concurrent use. No error of it
// holds a value of its headers.
type Source struct {
	Address endpoint.Address
	Headers []endpoint.Header // of every request; credentials, where the endpoint wants them
	// Nil: http.Client's zero value. No redirect is followed: that could take credentials elsewhere.
	Client *http.Client
	// Seen is told of every scrape of a stage as it is made; nil for none. It must return at once.
	Seen func(Scrape)
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
}

// Histogram is a histogram as Prometheus counts it: of all values so far, how many lie at or below each bound.
type Histogram struct {
	Bounds []float64 `json:"bounds"` // s, rising; the last is +Inf and left out here
	Counts []float64 `json:"counts"` // at or below each bound
	Count  float64   `json:"count"`
	Sum    float64   `json:"sum"` // s
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
	return Scrape{
		Running: find(n.running, add), Waiting: find(n.waiting, add),
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

// since is what was added to a histogram after an earlier scrape of it; empty where the two do not belong together.
func (h Histogram) since(earlier Histogram) Histogram {
	if len(earlier.Bounds) == 0 {
		return h
	}
	if !slices.Equal(h.Bounds, earlier.Bounds) || h.Count < earlier.Count {
		return Histogram{}
	}
	d := Histogram{Bounds: h.Bounds, Counts: slices.Clone(h.Counts), Count: h.Count - earlier.Count,
		Sum: h.Sum - earlier.Sum}
	for i := range d.Counts {
		d.Counts[i] -= earlier.Counts[i]
	}
	return d
}

// Mean is the mean, s; NaN of nothing.
func (h Histogram) Mean() float64 { return h.Sum / h.Count }

// Quantile estimates a quantile (0 < q < 1), s, as Prometheus' histogram_quantile does: linear inside its bucket. A
// value in the last bucket is given as that bucket's lower bound. NaN of nothing.
func (h Histogram) Quantile(q float64) float64 {
	if !(h.Count > 0) || len(h.Bounds) == 0 {
		return math.NaN()
	}
	want := q * h.Count
	below, lower := 0.0, 0.0
	for i, bound := range h.Bounds {
		if h.Counts[i] >= want {
			if h.Counts[i] == below {
				return bound
			}
			return lower + (bound-lower)*(want-below)/(h.Counts[i]-below)
		}
		below, lower = h.Counts[i], bound
	}
	return lower
}

// Window is what the engine said of itself during one stage.
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

// scrapeEvery is how often a stage's engine is asked.
const scrapeEvery = time.Second

// Collector collects scrapes during one stage.
type Collector struct {
	source  *Source
	cancel  context.CancelFunc
	done    chan struct{}
	scrapes []Scrape
	errors  int
	last    error
}

// Collect scrapes now and every second until Finish or Stop is called. A nil *Source collects nothing.
func (m *Source) Collect(ctx context.Context) *Collector {
	if m == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Collector{source: m, cancel: cancel, done: make(chan struct{})}
	w.take(m.Scrape(ctx)) // before the stage begins, so that its counters begin here
	go func() {
		defer close(w.done)
		tick := time.NewTicker(scrapeEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s, err := m.Scrape(ctx)
				if ctx.Err() == nil {
					w.take(s, err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return w
}

func (w *Collector) take(s Scrape, err error) {
	if err != nil {
		w.errors++
		w.last = err
		return
	}
	w.scrapes = append(w.scrapes, s)
	if w.source.Seen != nil {
		w.source.Seen(s)
	}
}

// Stop ends the scrapes.
func (w *Collector) Stop() {
	if w != nil {
		w.cancel()
		<-w.done
	}
}

// Finish scrapes a last time and sums up what came during a stage; nil where nothing was collected.
func (w *Collector) Finish(ctx context.Context, l *loadgen.Measured) *Window {
	if w == nil {
		return nil
	}
	w.Stop()
	if ctx.Err() == nil { // an interrupted run must not wait for the server
		w.take(w.source.Scrape(ctx))
	}
	e := summarize(w.scrapes, l.Wall(l.Start))
	if l.Sessions.Started > 0 { // a turn is to find the ones before it in the cache
		e.Contaminated = false
	}
	e.Errors = w.errors
	if w.last != nil {
		e.Error = w.last.Error()
	}
	return e
}

// summarize turns scrapes into the record of a stage.
func summarize(scrapes []Scrape, start time.Time) *Window {
	nan := num.Value(math.NaN())
	e := &Window{Preemptions: nan, PrefixHits: nan, PrefixQueries: nan, HitShare: nan, PromptTokens: nan,
		OutputTokens: nan, Drafted: nan, Accepted: nan, AcceptShare: nan, Series: []Sample{}}
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

// pollsPerSecond bounds how often the engine is asked whether it has drained.
const pollsPerSecond = 4

// Drained waits until the engine runs nothing and has nothing waiting, at most for limit. It reports whether it came to
// that: others may be using the server.
func (m *Source) Drained(ctx context.Context, limit time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	polls := rate.NewLimiter(pollsPerSecond, 1)
	for {
		s, err := m.Scrape(ctx)
		switch {
		case ctx.Err() == context.DeadlineExceeded:
			return false, nil
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			return false, err
		case nonNaN(s.Running, 0) == 0 && nonNaN(s.Waiting, 0) == 0:
			return true, nil
		}
		if err := polls.Wait(ctx); err != nil { // the limit would pass first
			return false, context.Cause(ctx)
		}
	}
}
