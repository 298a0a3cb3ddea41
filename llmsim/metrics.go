package llmsim

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// metrics are the server's counters. The loop and the handlers write them without locks.
type metrics struct {
	running, waiting                 atomic.Int64
	kvUsage                          atomic.Uint64 // bits of a float64
	prompt, generated                atomic.Uint64
	preemptions                      atomic.Uint64
	prefixQueries, prefixHits        atomic.Uint64
	stop, length, aborted, erroneous atomic.Uint64
	steps                            atomic.Uint64
	maxLate                          atomic.Int64
	ttft, itl                        histogram
	created                          float64 // when the counters began, s since the epoch; no two servers' are the same
}

// histogram counts durations in seconds; bounds are vLLM 0.23.0's.
type histogram struct {
	bounds []float64 // seconds, upper and inclusive
	ns     []int64
	counts []atomic.Uint64 // one more than bounds
	sum    atomic.Int64    // ns
}

func (h *histogram) init(bounds ...float64) {
	h.bounds = bounds
	for _, b := range bounds {
		h.ns = append(h.ns, int64(b*1e9))
	}
	h.counts = make([]atomic.Uint64, len(bounds)+1)
}

func (h *histogram) observe(ns int64) {
	i := 0
	for i < len(h.ns) && ns > h.ns[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(ns)
}

// servers counts the servers of the process.
var servers atomic.Int64

func (m *metrics) init() {
	// Replicas begin at one moment where time stands still, as in tests: they are told apart by some µs.
	m.created = float64(time.Now().UnixMicro()+servers.Add(1)) / 1e6
	m.ttft.init(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
		640, 2560)
	m.itl.init(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
}

func (m *metrics) firstToken(ns int64) { m.ttft.observe(ns) }
func (m *metrics) nextToken(ns int64)  { m.itl.observe(ns) }
func (m *metrics) prefilled(n int)     { m.prompt.Add(uint64(n)) }

func (m *metrics) submitted(s *Sequence) {
	m.prefixQueries.Add(uint64(s.Prompt))
	m.prefixHits.Add(uint64(min(s.Cached, max(s.Prompt-1, 0))))
}

// observe takes the engine's gauges; arrived is how many requests wait for the next step to begin.
func (m *metrics) observe(e *Engine, arrived int) {
	m.running.Store(int64(e.Running()))
	m.waiting.Store(int64(e.Waiting() + arrived))
	m.kvUsage.Store(math.Float64bits(e.KVUsage()))
}

func (m *metrics) stepped(st *Step) {
	m.steps.Add(1)
	m.generated.Add(uint64(len(st.Tokens)))
	m.preemptions.Add(uint64(len(st.Preempted)))
	for _, s := range st.Tokens {
		if s.Generated == 1 {
			m.prompt.Add(uint64(s.Prompt))
		}
	}
}

// late records how late the loop was.
func (m *metrics) late(ns int64) {
	if ns > m.maxLate.Load() {
		m.maxLate.Store(ns)
	}
}

func (m *metrics) finished(st *stream) {
	switch st.truth.Outcome {
	case "stop":
		m.stop.Add(1)
	case "length":
		m.length.Add(1)
	case "error":
		m.erroneous.Add(1)
	default:
		m.aborted.Add(1)
	}
}

// handleMetrics writes Prometheus' text format under vLLM's names.
func (s *Server) handleMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=1.0.0; charset=utf-8")
	var b strings.Builder
	m := &s.metrics
	label := `{engine="0",model_name=` + strconv.Quote(s.cfg.Model)
	one := func(kind, name, help string, value float64) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s%s} %s\n", name, help, name, kind, name, label, number(value))
	}
	fmt.Fprintf(&b, "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig\n"+
		"# TYPE vllm:cache_config_info gauge\n"+
		"vllm:cache_config_info{block_size=\"%d\",cache_dtype=\"auto\",enable_prefix_caching=%q,engine=\"0\","+
		"num_gpu_blocks=\"%d\"} 1.0\n", s.cfg.BlockSize, pythonBool(s.cfg.PrefixCaching),
		s.cfg.KVCacheTokens/s.cfg.BlockSize)
	one("gauge", "vllm:num_requests_running", "Number of requests in model execution batches.",
		float64(m.running.Load()))
	one("gauge", "vllm:num_requests_waiting", "Number of requests waiting to be processed.", float64(m.waiting.Load()))
	one("gauge", "vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.",
		math.Float64frombits(m.kvUsage.Load()))
	one("counter", "vllm:prefix_cache_queries_total", "Prefix cache queries, in terms of number of queried tokens.",
		float64(m.prefixQueries.Load()))
	one("counter", "vllm:prefix_cache_hits_total", "Prefix cache hits, in terms of number of cached tokens.",
		float64(m.prefixHits.Load()))
	one("counter", "vllm:num_preemptions_total", "Cumulative number of preemption from the engine.",
		float64(m.preemptions.Load()))
	one("counter", "vllm:prompt_tokens_total", "Number of prefill tokens processed.", float64(m.prompt.Load()))
	one("gauge", "vllm:prompt_tokens_created", "Number of prefill tokens processed.", m.created)
	one("counter", "vllm:generation_tokens_total", "Number of generation tokens processed.",
		float64(m.generated.Load()))
	one("gauge", "vllm:generation_tokens_created", "Number of generation tokens processed.", m.created)
	b.WriteString("# HELP vllm:request_success_total Count of successfully processed requests.\n" +
		"# TYPE vllm:request_success_total counter\n")
	for _, r := range []struct {
		reason string
		n      *atomic.Uint64
	}{{"stop", &m.stop}, {"length", &m.length}, {"abort", &m.aborted}, {"error", &m.erroneous}} {
		fmt.Fprintf(&b, "vllm:request_success_total{engine=\"0\",finished_reason=%q,model_name=%q} %s\n", r.reason,
			s.cfg.Model, number(float64(r.n.Load())))
	}
	m.ttft.write(&b, "vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", s.cfg.Model)
	m.itl.write(&b, "vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", s.cfg.Model)
	one("counter", "llmsim:engine_steps_total", "Steps that the simulated engine made.", float64(m.steps.Load()))
	one("gauge", "llmsim:max_lateness_seconds", "The longest that the simulator was behind its own schedule.",
		time.Duration(m.maxLate.Load()).Seconds())
	_, _ = io.WriteString(w, b.String()) // the scraper may be gone; there is nobody left to tell
}

func (h *histogram) write(b *strings.Builder, name, help, model string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name)
	total := uint64(0)
	for i := range h.counts {
		total += h.counts[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = number(h.bounds[i])
		}
		fmt.Fprintf(b, "%s_bucket{engine=\"0\",le=%q,model_name=%q} %s\n", name, bound, model, number(float64(total)))
	}
	fmt.Fprintf(b, "%s_count{engine=\"0\",model_name=%q} %s\n", name, model, number(float64(total)))
	fmt.Fprintf(b, "%s_sum{engine=\"0\",model_name=%q} %s\n", name, model, number(float64(h.sum.Load())/1e9))
}

// pythonBool writes a truth value as Python does.
func pythonBool(v bool) string {
	if v {
		return "True"
	}
	return "False"
}

// number writes a float as Prometheus' Python client does: always with a point or an exponent.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(s, ".eIN") {
		s += ".0"
	}
	return s
}
