package enginemetrics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/memnet"
	"github.com/openloop/openloop/loadgen"
)

const vllmText = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:prefix_cache_queries_total{engine="0",model_name="m \"x\\y\n, le=\"9\""} 1000.0 1700000000000
vllm:prefix_cache_hits_total{engine="0"} 20
vllm:num_preemptions_total{engine="0"} 7
vllm:prompt_tokens_total{engine="0"} 1.5e+03
vllm:generation_tokens_total 800
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1"} 10
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.2"} 30
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 40
vllm:time_to_first_token_seconds_count{engine="0"} 40
vllm:time_to_first_token_seconds_sum{engine="0"} 8
`

func readText(t *testing.T, text string) Scrape {
	t.Helper()
	samples, err := parseMetrics(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return readScrape(samples)
}

func TestScrapeNames(t *testing.T) {
	s := readText(t, vllmText)
	if s.Running != 7 || s.Waiting != 2 || s.KVUsage != 0.5 || s.PrefixQueries != 1000 || s.PrefixHits != 20 ||
		s.Preemptions != 7 || s.PromptTokens != 1500 || s.GenerationTokens != 800 {
		t.Errorf("vLLM: %+v", s)
	}
	if s.TTFT.Count != 40 || s.TTFT.Sum != 8 || len(s.TTFT.Bounds) != 2 || s.ITL.Count != 0 {
		t.Errorf("vLLM: %+v", s.TTFT)
	}
	s = readText(t,
		"sglang:num_running_reqs{model_name=\"m\"} 5\nsglang:num_queue_reqs 6\nsglang:token_usage 0.28\n"+
			"sglang:prompt_tokens_total 100\nsglang:cached_tokens_total 2\nsglang:generation_tokens_total 9\n")
	if s.Running != 5 || s.Waiting != 6 || s.KVUsage != 0.28 || s.PrefixQueries != 100 || s.PrefixHits != 2 ||
		s.GenerationTokens != 9 || !math.IsNaN(s.Preemptions) || !math.IsNaN(s.Drafted) {
		t.Errorf("SGLang: %+v", s)
	}
	s = readText(t,
		"tgi_batch_current_size 4\ntgi_queue_size 1\ntgi_request_generated_tokens_sum 77\n"+
			"tgi_request_input_length_sum 88\n")
	if s.Running != 4 || s.Waiting != 1 || s.GenerationTokens != 77 || s.PromptTokens != 88 || !math.IsNaN(s.KVUsage) {
		t.Errorf("TGI: %+v", s)
	}
}

func TestParseMetricsErrors(t *testing.T) {
	for _, bad := range []string{"name", "name{", `name{a="b`, `name{a=b} 1`, `name{a="b"}`, "name x", `{a="b"} 1`,
		`name{a="\`} {
		if s, err := parseMetrics(strings.NewReader("ok 1\n" + bad + "\n")); err == nil ||
			!strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v, %v", bad, s, err)
		}
	}
}

func FuzzParseMetrics(f *testing.F) {
	f.Add(vllmText)
	f.Add("a{b=\"c\\\"\"} NaN 5\n# x\n\na +Inf")
	f.Fuzz(func(t *testing.T, text string) {
		samples, err := parseMetrics(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, s := range samples {
			if s.name == "" || strings.ContainsAny(s.name, "{ \t\n") {
				t.Fatalf("%q: name %q", text, s.name)
			}
		}
		summarize([]Scrape{readScrape(samples), readScrape(samples)}, time.Now())
	})
}

func TestHistogram(t *testing.T) {
	h := Histogram{Bounds: []float64{0.1, 0.2, 0.4}, Counts: []float64{10, 30, 30}, Count: 40, Sum: 8}
	for q, want := range map[float64]float64{0.125: 0.05, 0.25: 0.1, 0.5: 0.15, 0.75: 0.2, 0.99: 0.4} {
		if got := h.Quantile(q); math.Abs(got-want) > 1e-12 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN((Histogram{}).Quantile(0.5)) {
		t.Error("a quantile of nothing")
	}
	d := h.since(Histogram{Bounds: h.Bounds, Counts: []float64{10, 10, 10}, Count: 15, Sum: 3})
	if d.Count != 25 || d.Sum != 5 || d.Counts[0] != 0 || d.Counts[1] != 20 {
		t.Errorf("%+v", d)
	}
	if d := h.since(Histogram{Bounds: []float64{1}, Counts: []float64{1}, Count: 1}); d.Count != 0 {
		t.Errorf("other buckets: %+v", d)
	}
	if d := h.since(Histogram{Bounds: h.Bounds, Counts: []float64{90, 90, 90}, Count: 90}); d.Count != 0 {
		t.Errorf("the engine began anew: %+v", d)
	}
}

func TestSummarize(t *testing.T) {
	start := time.Unix(1000, 0)
	first, last := readText(t, vllmText), readText(t, vllmText)
	first.At, last.At = start, start.Add(10*time.Second)
	last.Running, last.Waiting = 11, 0
	last.PrefixQueries += 1000
	last.PrefixHits += 30
	last.GenerationTokens += 500
	last.TTFT.Count += 5
	e := summarize([]Scrape{first, last}, start)
	if e.Running.Mean != 9 || e.Running.Max != 11 || e.Running.Last != 11 || e.HitShare != 0.03 || !e.Contaminated ||
		e.OutputTokens != 500 || e.TTFT.Count != 5 {
		t.Errorf("%+v", e)
	}
	if len(e.Series) != 2 || e.Series[1].Seconds != 10 || e.Series[1].OutputRate != 50 ||
		!math.IsNaN(float64(e.Series[0].OutputRate)) {
		t.Errorf("%+v", e.Series)
	}
	if !e.AcceptShare.IsAbsent() || !e.Drafted.IsAbsent() || e.Series[1].Preemptions != 0 ||
		!e.Series[0].Preemptions.IsAbsent() {
		t.Errorf("%+v", e)
	}
	last.PrefixHits = first.PrefixHits + 10
	if e := summarize([]Scrape{first, last}, start); e.Contaminated {
		t.Error("1 % is not above 1 %")
	}
	const drafts = "vllm:spec_decode_num_draft_tokens_total{engine=\"0\"} %d\n" +
		"vllm:spec_decode_num_accepted_tokens_total{engine=\"0\"} %d\nvllm:num_preemptions_total %d\n"
	first, last = readText(t, fmt.Sprintf(drafts, 100, 50, 2)), readText(t, fmt.Sprintf(drafts, 300, 200, 5))
	first.At, last.At = start, start.Add(time.Second)
	if e := summarize([]Scrape{first, last}, start); e.Drafted != 200 || e.Accepted != 150 || e.AcceptShare != 0.75 ||
		e.Series[1].Preemptions != 3 {
		t.Errorf("speculation: %+v", e)
	}
	gauge := readText(t, "sglang:spec_accept_rate 0.6\n")
	if e := summarize([]Scrape{gauge, gauge}, start); e.AcceptShare != 0.6 {
		t.Errorf("a gauge of speculation: %+v", e)
	}
	if e := summarize(nil, start); !math.IsNaN(float64(e.Running.Mean)) || len(e.Series) != 0 {
		t.Errorf("%+v", e)
	}
}

func TestScrapeErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		part   string
	}{
		{"no endpoint", http.NotFound, "404"},
		{"another program", func(w http.ResponseWriter, _ *http.Request) {
			_,
				_ = w.Write([]byte("go_goroutines 5\n"))
		}, ErrNone.Error()},
		{"no metrics", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "line 1"},
	} {
		server := httptest.NewServer(tc.answer)
		_, err := source(t, server.URL+"/metrics").Scrape(context.Background())
		server.Close()
		if err == nil || !strings.Contains(err.Error(), tc.part) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := source(t, "http://127.0.0.1:1/metrics").Scrape(context.Background()); err == nil {
		t.Error("nobody listens")
	}
}

func source(t *testing.T, address string) *Source {
	t.Helper()
	a, login, err := endpoint.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	m := &Source{Address: a}
	if !login.IsEmpty() {
		m.Headers = []endpoint.Header{{Name: "Authorization", Value: login}}
	}
	return m
}

// Whatever a server answers, no error and no report of a stage holds a credential, and no redirect gets one.
func TestScrapeKeepsSecrets(t *testing.T) {
	const password, encoded = "pw-canary-7", "bWU6cHctY2FuYXJ5LTc=" // me:pw-canary-7
	const token = "tk-canary-9"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with %v", r.Header)
	}))
	defer elsewhere.Close()
	asked := 0
	for name, answer := range map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"redirected to another port": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"redirected to another host": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
		},
		"repeated in the body": func(w http.ResponseWriter, r *http.Request) {
			_, p, _ := r.BasicAuth()
			_, _ = w.Write([]byte("{" + p + " " + r.Header.Get("Authorization")))
		},
		"repeated in the status": func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, p, _ := r.BasicAuth()
				_, _ = conn.Write([]byte("HTTP/1.1 403 no " + p + " and " + r.Header.Get("Authorization") + "\r\n\r\n"))
				_ = conn.Close()
			}
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = conn.Close()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				if user, p, ok := r.BasicAuth(); !ok || user != "me" || p != password {
					t.Errorf("asked with %v", r.Header)
				}
				answer(w, r)
			}))
			defer server.Close()
			m := source(t, strings.Replace(server.URL, "http://", "http://me:"+password+"@", 1)+"/metrics?token="+token)
			_, err := m.Scrape(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			window, _ := (&Sources{All: []*Source{m}}).Collect(t.Context()).Finish(t.Context(), &loadgen.Measured{})
			stored, jsonErr := json.Marshal(window)
			if jsonErr != nil || window.Errors != 2 {
				t.Fatalf("%v, %d errors", jsonErr, window.Errors)
			}
			if strings.Contains(err.Error()+string(stored), token) {
				t.Errorf("the token of the query shows: %v, %s", err, stored)
			}
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err), string(stored),
				fmt.Sprintf("%v %+v %#v", m, *m, m.Headers)} {
				if strings.Contains(text, password) || strings.Contains(text, encoded) {
					t.Errorf("a secret shows: %s", text)
				}
			}
		})
	}
	if asked == 0 {
		t.Error("no server was asked")
	}
}

// What is taken of an answer has limits, which the error names, as it names what else is wrong with an answer.
func TestScrapeHasLimits(t *testing.T) {
	endless := func(w http.ResponseWriter, text string) {
		for r := http.NewResponseController(w); r.Flush() == nil; {
			if _, err := io.WriteString(w, strings.Repeat(text, 1<<12)); err != nil {
				return
			}
		}
	}
	for _, test := range []struct {
		answer http.HandlerFunc
		want   string
	}{
		{func(w http.ResponseWriter, _ *http.Request) { endless(w, "vllm:num_requests_running 1\n") },
			"the answer is longer than 16 MB"},
		{func(w http.ResponseWriter, _ *http.Request) {
			for i := range 200 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("a", 10<<10))
			}
		}, "the head of the answer is longer than 1 MB"},
		{func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Encoding", "br") },
			"the answer is compressed (br), which openloop did not ask for"},
		{func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusMovedPermanently) },
			"HTTP 301: a redirect, which is not followed"},
		{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "HTTP 503 Service Unavailable"},
		{func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a\x1b[31m{ 1\n") }, "text format parsing"},
		{func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }, ErrNone.Error()},
	} {
		server := httptest.NewServer(test.answer)
		defer server.Close()
		a, _, err := endpoint.ParseBase(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		e, err := endpoint.Open(endpoint.Config{Address: a})
		if err != nil {
			t.Fatal(err)
		}
		m := &Source{Address: a.Root("/metrics"), Client: &http.Client{Transport: e.Transport(a)}}
		_, err = m.Scrape(t.Context())
		want := "metrics: " + server.URL + "/metrics: "
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.want) ||
			strings.Contains(err.Error(), "\x1b") {
			t.Errorf("got %v, want %s%s", err, want, test.want)
		}
	}
}

// A server that does not answer is waited for for so long, and the error says how long.
func TestScrapeIsLimitedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := memnet.Listen()
		server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		})}
		go server.Serve(wire)
		defer server.Close()
		m := source(t, "http://x/metrics")
		m.Client = &http.Client{Transport: &http.Transport{DialContext: wire.Dial}}
		begin := time.Now()
		_, err := m.Scrape(t.Context())
		if want := "metrics: http://x/metrics: no whole answer within 5s"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if took := time.Since(begin); took != scrapeTime {
			t.Errorf("it took %v", took)
		}
	})
}

func TestNotDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire := memnet.Listen()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n"))
		})}
		go server.Serve(wire)
		defer server.Close()
		m := source(t, "http://x/metrics")
		m.Client = &http.Client{Transport: &http.Transport{DialContext: wire.Dial, DisableKeepAlives: true}}
		began := time.Now()
		if drained, err := (&Sources{All: []*Source{m}}).Drained(t.Context(), 3*time.Second); drained || err != nil {
			t.Errorf("drained: %v, %v", drained, err)
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("waited for %v", d)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("interrupted")
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if _, err := (&Sources{All: []*Source{m}}).Drained(ctx, time.Minute); !errors.Is(err, cause) {
			t.Errorf("interrupted: %v", err)
		}
	})
}
