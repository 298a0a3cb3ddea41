// Package metrics serves what a run measures while it runs, for Prometheus. Nothing in it lies on the way of a token:
// it is told of each request once it has ended.
package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// Run holds the metrics of one run. Its methods may be called at once by several goroutines.
type Run struct {
	registry *prometheus.Registry

	requests, sent, tokens                 *prometheus.CounterVec
	ttft, tpot, itl, latency, delay        *prometheus.HistogramVec
	asked                                  prometheus.Gauge
	stageInfo, stageOutcome, client, limit *prometheus.GaugeVec

	current atomic.Pointer[loadgen.Running] // the stage or probe under way
	mu      sync.Mutex
	stages  map[loadgen.Running]*stage // those that may still be told of requests
}

// stage are the metrics of one stage, looked up once.
type stage struct {
	name string
	sent prometheus.Counter
	// Of completed, failed and unfinished requests.
	outcomes map[loadgen.Status]*outcome
}

type outcome struct {
	ttft, tpot, itl, latency, delay prometheus.Observer
	tokens                          prometheus.Counter
}

// New makes the metrics of a run; target is without credentials.
func New(version, target, model string) *Run {
	m := &Run{registry: prometheus.NewRegistry(), stages: map[loadgen.Running]*stage{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "openloop_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "openloop_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "openloop_" + name, Help: help,
			NativeHistogramBucketFactor:    1.1,
			NativeHistogramMaxBucketNumber: 160,
			// For whoever reads no native histograms: two buckets an octave, from a millisecond to two minutes.
			Buckets: prometheus.ExponentialBucketsRange(0.001, 128, 35),
		}, []string{"stage", "outcome"})
		m.registry.MustRegister(v)
		return v
	}
	m.requests = counter("requests_total", "Requests that have ended, by outcome and kind of error.", "stage",
		"outcome", "error")
	m.sent = counter("requests_sent_total", "Requests that were sent.", "stage")
	m.tokens = counter("output_tokens_total", "Output tokens of the requests that have ended.", "stage", "outcome")
	m.ttft = histogram("ttft_seconds", "Time from the scheduled time to the first token.")
	m.tpot = histogram("tpot_seconds", "Time per output token after the first, one observation a request.")
	m.itl = histogram("itl_seconds", "Mean gap between the token events of a request.")
	m.latency = histogram("latency_seconds", "Time from the scheduled time to the end of the response.")
	m.delay = histogram("send_delay_seconds", "Time from the scheduled time to the sending.")
	m.stageInfo = gauges("stage_info", "1 for the stage under way, 0 for those before it.", "stage", "index", "kind")
	m.stageOutcome = gauges("stage_outcome", "1 for each stage that was judged, with its outcome.", "stage", "outcome")
	m.client = gauges("client_verdict", "0: the client was valid; 1: suspect; 2: invalid.", "stage")
	m.limit = gauges("max_rate", "Max rate at SLO so far, requests per second: estimate, and interval.", "bound")
	m.asked = prometheus.NewGauge(prometheus.GaugeOpts{Name: "openloop_asked_rate",
		Help: "Requests per second of the stage under way, by its schedule; 0 for closed loops."})
	m.registry.MustRegister(m.asked, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "openloop_in_flight",
		Help: "Requests in flight."}, m.inFlight))
	valid := func(text string) string { return strings.ToValidUTF8(text, "\uFFFD") } // a label must be
	gauges("run_info", "What is measured.", "version", "target", "model").
		WithLabelValues(version, valid(target), valid(model)).Set(1)
	return m
}

// Handler serves the metrics.
func (m *Run) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

func (m *Run) inFlight() float64 {
	if run := m.current.Load(); run != nil {
		return float64((*run).Progress().InFlight)
	}
	return 0
}

// StageStarted takes note of a stage; a probe's index is below 0.
func (m *Run) StageStarted(index int, load loadgen.Load, run loadgen.Running) {
	m.current.Store(&run)
	m.asked.Set(load.Rate)
	if index < 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := m.stageOf(run, load).name
	m.stageInfo.WithLabelValues(name, strconv.Itoa(index), string(load.Kind)).Set(1)
}

// stageOf are the metrics of a stage, made if it has none yet.
func (m *Run) stageOf(run loadgen.Running, load loadgen.Load) *stage {
	if s := m.stages[run]; s != nil {
		return s
	}
	name := load.String()
	s := &stage{name: name, sent: m.sent.WithLabelValues(name), outcomes: map[loadgen.Status]*outcome{}}
	for _, status := range []loadgen.Status{loadgen.Completed, loadgen.Errored, loadgen.Incomplete} {
		text := status.String()
		s.outcomes[status] = &outcome{
			ttft: m.ttft.WithLabelValues(name, text), tpot: m.tpot.WithLabelValues(name, text),
			itl: m.itl.WithLabelValues(name, text), latency: m.latency.WithLabelValues(name, text),
			delay: m.delay.WithLabelValues(name, text), tokens: m.tokens.WithLabelValues(name, text),
		}
	}
	m.stages[run] = s
	return s
}

// Observe is for loadgen.Hooks.Observe, of stages: a probe's requests are not counted. The first ones of a stage may be
// sent before StageStarted is called.
func (m *Run) Observe(e loadgen.Event) {
	m.mu.Lock()
	s := m.stages[e.Run]
	if s == nil {
		s = m.stageOf(e.Run, e.Run.Stage().Load)
	}
	m.mu.Unlock()
	if !e.Ended {
		s.sent.Inc()
		return
	}
	m.observe(s, e.Record)
}

// observe takes in a request that has ended.
func (m *Run) observe(s *stage, r *loadgen.Record) {
	o := s.outcomes[r.Status]
	if o == nil {
		return
	}
	m.requests.WithLabelValues(s.name, r.Status.String(), r.Err.String()).Inc()
	o.delay.Observe(r.SendDelay().Seconds())
	if d, ok := r.ScheduledTTFT(); ok {
		o.ttft.Observe(d.Seconds())
	}
	if r.Status != loadgen.Completed {
		o.tokens.Add(float64(r.TokenEvents))
		return
	}
	o.tokens.Add(float64(r.Tokens()))
	if d, ok := r.TPOT(); ok {
		o.tpot.Observe(d.Seconds())
	}
	if gap := r.MeanGap(); gap > 0 {
		o.itl.Observe(gap / float64(time.Second))
	}
	if d, ok := r.ScheduledLatency(); ok {
		o.latency.Observe(d.Seconds())
	}
}

// StageEnded takes in what came of a stage.
func (m *Run) StageEnded(index int, st *sweep.Stage) {
	m.current.Store(nil)
	m.asked.Set(0)
	name := st.Load.String()
	m.mu.Lock()
	for run, s := range m.stages {
		if s.name == name {
			delete(m.stages, run)
		}
	}
	m.mu.Unlock()
	m.stageInfo.WithLabelValues(name, strconv.Itoa(index), string(st.Load.Kind)).Set(0)
	level := map[audit.Level]float64{audit.Suspect: 1, audit.Invalid: 2}[st.Audit.Level]
	m.client.WithLabelValues(name).Set(level)
	if len(st.Judgement.Objectives) > 0 {
		for _, o := range []slo.Outcome{slo.Pass, slo.Fail, slo.Undecided} {
			m.stageOutcome.DeleteLabelValues(name, string(o)) // a rate may be run again
		}
		m.stageOutcome.WithLabelValues(name, string(st.Judgement.Outcome)).Set(1)
	}
}

// Estimated takes in the max rate so far.
func (m *Run) Estimated(soFar *sweep.Answer) {
	for bound, v := range map[string]num.Value{
		"estimate": soFar.Estimate, "lower": soFar.Lower, "upper": soFar.Upper,
	} {
		if v.IsAbsent() {
			m.limit.DeleteLabelValues(bound)
			continue
		}
		m.limit.WithLabelValues(bound).Set(float64(v))
	}
}
