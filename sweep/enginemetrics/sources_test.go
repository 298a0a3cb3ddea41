package enginemetrics

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/internal/memnet"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// fakeEngine counts seconds: its counters grow by its rate a second.
type fakeEngine struct {
	running, waiting, kv float64
	rate                 float64 // tokens and preemptions a second
	bound                float64 // of its histograms, s
	slow                 time.Duration
	down                 atomic.Bool
	began                time.Time
	identity             string
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if e.down.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	time.Sleep(e.slow)
	n := e.rate * time.Since(e.began).Truncate(time.Second).Seconds()
	fmt.Fprintf(w, "vllm:num_requests_running %v\nvllm:num_requests_waiting %v\nvllm:kv_cache_usage_perc %v\n",
		e.running, e.waiting, e.kv)
	fmt.Fprintf(w, "vllm:num_preemptions_total %v\nvllm:prefix_cache_hits_total %v\n", n, n/10)
	fmt.Fprintf(w, "vllm:prefix_cache_queries_total %v\nvllm:prompt_tokens_total %v\n", n, n)
	fmt.Fprintf(w, "vllm:generation_tokens_total %v\n%s", 2*n, e.identity)
	for _, name := range []string{"vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds"} {
		fmt.Fprintf(w, "%s_bucket{le=\"%v\"} %v\n%[1]s_bucket{le=\"+Inf\"} %[4]v\n%[1]s_count %[4]v\n%[1]s_sum %[5]v\n",
			name, e.bound, n/2, n, n*e.bound)
	}
}

// serve has engines at http://x/metrics, one for each name.
func serve(t *testing.T, engines map[string]*fakeEngine, names ...string) *Sources {
	t.Helper()
	s := &Sources{}
	for _, name := range names {
		e := engines[name]
		e.began = time.Now()
		wire := memnet.Listen()
		server := &http.Server{Handler: e}
		go server.Serve(wire)
		t.Cleanup(func() { server.Close() })
		m := source(t, "http://"+name+"/metrics")
		m.Name = name
		m.Client = &http.Client{Transport: &http.Transport{DialContext: wire.Dial, DisableKeepAlives: true}}
		s.All = append(s.All, m)
	}
	return s
}

// collect collects for a stage of so many seconds, and tells of each.
func collect(t *testing.T, s *Sources, seconds int, during func(second int)) (*Window, []Named) {
	t.Helper()
	c := s.Collect(t.Context())
	for i := range seconds {
		time.Sleep(time.Second / 2)
		if during != nil {
			during(i)
		}
		time.Sleep(time.Second / 2)
	}
	time.Sleep(time.Millisecond) // between two ticks
	return c.Finish(t.Context(), &loadgen.Measured{})
}

// Of several engines counters are sums, gauges those of all at once, and histograms of the same bounds are merged
// where each request is at one of them.
func TestSeveralEngines(t *testing.T) {
	near := func(v num.Value, want float64) bool { return float64(v) > want-1e-9 && float64(v) < want+1e-9 }
	engines := func() map[string]*fakeEngine {
		return map[string]*fakeEngine{
			"one": {running: 3, waiting: 1, kv: 0.2, rate: 10, bound: 0.1},
			"two": {running: 5, waiting: 7, kv: 0.9, rate: 30, bound: 0.1, slow: 300 * time.Millisecond},
		}
	}
	for name, tc := range map[string]struct {
		apart  bool
		bound  float64 // of the second engine
		merged bool
		why    string
	}{
		"targets":                     {true, 0.1, true, ""},
		"targets of other histograms": {true, 0.2, false, "same histograms"},
		"named":                       {false, 0.1, false, "several of these engines"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := engines()
				all["two"].bound = tc.bound
				s := serve(t, all, "one", "two")
				s.Apart = tc.apart
				var seen []Scrape
				s.Seen = func(s Scrape) { seen = append(seen, s) }
				w, each := collect(t, s, 5, nil)
				if len(each) != 2 || each[0].Name != "one" || !near(each[0].Metrics.PromptTokens, 50) ||
					!near(each[1].Metrics.PromptTokens, 150) || !near(each[1].Metrics.Waiting.Max, 7) {
					t.Errorf("by name: %+v", each)
				}
				if !near(w.PromptTokens, 200) || !near(w.OutputTokens, 400) || !near(w.Preemptions, 200) ||
					!near(w.HitShare, 0.1) || !near(w.Running.Mean, 8) || !near(w.Waiting.Max, 8) ||
					!near(w.KVUsage.Max, 0.9) || !w.Contaminated || len(w.Series) != 6 || w.Errors != 0 {
					t.Errorf("together: %+v", w)
				}
				merged := near(w.TTFT.Count, 200) && near(w.TTFT.P50, 0.1) && near(w.ITL.Count, 200)
				gone := w.TTFT.P95.IsAbsent() && w.TTFT.Count == 0
				if merged != tc.merged || gone == tc.merged || !strings.Contains(w.NotMerged, tc.why) ||
					(tc.why == "") != (w.NotMerged == "") {
					t.Errorf("latencies: %+v, %q", w.TTFT, w.NotMerged)
				}
				if n := len(seen); n < 10 || seen[n-1].Running != 8 || seen[n-1].KVUsage != 0.9 {
					t.Errorf("seen: %+v", seen)
				}
			})
		})
	}
}

// One that is not there is named and loses nothing of the others; of one that ends in the middle its own part is kept.
func TestEngineGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engines := map[string]*fakeEngine{"one": {running: 3, rate: 10}, "two": {running: 5, rate: 30}, "dead": {}}
		engines["dead"].down.Store(true)
		s := serve(t, engines, "dead", "one", "two")
		trials := s.Try(t.Context())
		if trials[0].Err == nil || trials[1].Err != nil || trials[1].Same != nil || trials[2].Same != nil {
			t.Errorf("%+v", trials)
		}
		w, each := collect(t, s, 6, func(second int) {
			if second == 3 {
				engines["two"].down.Store(true)
			}
		})
		if d := each[0].Metrics; d.Errors != 8 || !strings.Contains(d.Error, "503") || !d.PromptTokens.IsAbsent() ||
			!d.Running.Mean.IsAbsent() || !d.TTFT.P95.IsAbsent() {
			t.Errorf("dead: %+v", d)
		}
		if each[1].Metrics.PromptTokens != 60 || each[2].Metrics.PromptTokens != 90 || each[2].Metrics.Errors != 4 {
			t.Errorf("the others: %+v, %+v", each[1].Metrics, each[2].Metrics)
		}
		if w.PromptTokens != 150 || w.Running.Max != 8 || w.Running.Mean != 8 || w.Errors != 12 ||
			!strings.HasPrefix(w.Error, "two: ") || len(w.Series) != 4 {
			t.Errorf("together: %+v", w)
		}
		drained, err := s.Drained(t.Context(), time.Second)
		if drained || err == nil || !strings.Contains(err.Error(), "dead: ") || strings.Contains(err.Error(), "one: ") {
			t.Errorf("drained: %v, %v", drained, err)
		}
	})
}

// All have to be drained.
func TestDrainedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engines := map[string]*fakeEngine{"one": {}, "two": {waiting: 1}}
		if drained, err := serve(t, engines, "one", "two").Drained(t.Context(), 3*time.Second); drained || err != nil {
			t.Errorf("with a queue: %v, %v", drained, err)
		}
		if drained, err := serve(t, engines, "one").Drained(t.Context(), 3*time.Second); !drained || err != nil {
			t.Errorf("without: %v, %v", drained, err)
		}
	})
}

// An engine that is reached on two ways is one.
func TestSameEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := "process_start_time_seconds 1.7e+09\n"
		engines := map[string]*fakeEngine{"direct": {identity: id}, "proxied": {identity: id}, "unknown": {},
			"also": {}, "other": {identity: "process_start_time_seconds 5\n"}}
		s := serve(t, engines, "direct", "other", "proxied", "unknown", "also")
		trials := s.Try(t.Context())
		for k, want := range []*Source{nil, nil, s.All[0], nil, nil} {
			if got := trials[k]; got.Same != want || got.Err != nil {
				t.Errorf("%s: %+v", s.All[k].Name, got)
			}
		}
	})
}
