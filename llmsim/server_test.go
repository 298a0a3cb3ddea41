package llmsim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sse "github.com/tmaxmax/go-sse"

	"github.com/openloop/openloop/internal/memnet"
)

// bubble serves cfg in virtual time on a network in memory. It must be called inside a synctest bubble.
func bubble(t *testing.T, cfg Config) (*Server, *http.Client) {
	t.Helper()
	cfg.VirtualTime = true
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln := memnet.Listen()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	transport := &http.Transport{DialContext: ln.Dial, MaxIdleConnsPerHost: 1 << 16}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s, &http.Client{Transport: transport}
}

// timed is an event and when it came, since the request was sent.
type timed struct {
	at   time.Duration
	data string
}

func post(t *testing.T, c *http.Client, path, body string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://sim"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// events reads a stream to its end through go-sse.
func events(resp *http.Response, start time.Time) (list []timed, err error) {
	defer resp.Body.Close()
	for e, err := range sse.Read(resp.Body, nil) {
		if err != nil {
			return list, err
		}
		list = append(list, timed{time.Since(start), e.Data})
	}
	return list, nil
}

func chatBody(words, output int, more string) string {
	return fmt.Sprintf(`{"messages":[{"role":"user","content":[{"type":"text","text":%q}]}],"max_completion_tokens":%d,"stream":true%s}`,
		strings.TrimSpace(strings.Repeat("word ", words)), output, more)
}

const ignoreEOS = `,"ignore_eos":true`

// The shapes below were recorded from vLLM 0.23.0 with curl; texts, ids and times are put in.
func TestWireIsVLLMs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Model: "Qwen/Qwen2.5-tiny", Fixed: true})
		_, merged := bubble(t, Config{Model: "Qwen/Qwen2.5-tiny", Fixed: true, FinishWithLastToken: true})
		created := fmt.Sprint(time.Now().Unix())
		for _, x := range []struct {
			name, path, body, want string
			client                 *http.Client
		}{
			{"chat", "/v1/chat/completions", `{"model":"Qwen/Qwen2.5-tiny","messages":[{"role":"user","content":"hello there"}],"max_completion_tokens":2,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`,
				`data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}

data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"@"},"logprobs":null,"finish_reason":null,"token_ids":null}]}

data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"@"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]}

data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[],"usage":{"prompt_tokens":10,"total_tokens":12,"completion_tokens":2},"system_fingerprint":"vllm-0.23.0-llmsim"}

data: [DONE]

`, merged},
			{"chat with a finish chunk of its own", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hello there"}],"max_tokens":1,"ignore_eos":true,"stream":true}`,
				`data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}

data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"@"},"logprobs":null,"finish_reason":null,"token_ids":null}]}

data: {"id":"chatcmpl-x","object":"chat.completion.chunk","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]}

data: [DONE]

`, c},
			{"text", "/v1/completions", `{"model":"Qwen/Qwen2.5-tiny","prompt":"hello there","max_tokens":2,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}`,
				`data: {"id":"cmpl-x","object":"text_completion","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"text":"@","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}

data: {"id":"cmpl-x","object":"text_completion","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"text":"@","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}

data: {"id":"cmpl-x","object":"text_completion","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[],"usage":{"prompt_tokens":2,"total_tokens":4,"completion_tokens":2},"system_fingerprint":"vllm-0.23.0-llmsim"}

data: [DONE]

`, merged},
			{"whole chat", "/v1/chat/completions", `{"messages":[{"role":"user","content":"hello there"}],"max_tokens":1,"ignore_eos":true}`,
				`{"id":"chatcmpl-x","object":"chat.completion","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"message":{"role":"assistant","content":"@","refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"routed_experts":null}],"service_tier":null,"system_fingerprint":"vllm-0.23.0-llmsim","usage":{"prompt_tokens":10,"total_tokens":11,"completion_tokens":1,"prompt_tokens_details":null},"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null}`, c},
			{"whole text", "/v1/completions", `{"prompt":["hello there"],"max_tokens":1,"ignore_eos":true}`,
				`{"id":"cmpl-x","object":"text_completion","created":0,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"text":"@","logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null,"routed_experts":null}],"service_tier":null,"system_fingerprint":"vllm-0.23.0-llmsim","usage":{"prompt_tokens":2,"total_tokens":3,"completion_tokens":1,"prompt_tokens_details":null},"kv_transfer_params":null}`, c},
		} {
			resp := post(t, x.client, x.path, x.body, "X-Request-Id", "x")
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: status %d, %v", x.name, resp.StatusCode, err)
			}
			text := strings.ReplaceAll(string(got), `"created":`+created, `"created":0`)
			text = regexp.MustCompile(`"(content|text)":" [a-z]+"`).ReplaceAllString(text, `"$1":"@"`)
			if text != x.want {
				t.Errorf("%s:\n%s\nvLLM's:\n%s", x.name, text, x.want)
			}
		}
	})
}

func TestFixedTimingIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TTFT: 30 * time.Millisecond, ITL: 5 * time.Millisecond, TruthTokens: true})
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 1300 * time.Microsecond)
				start := time.Now()
				list, err := events(post(t, c, "/v1/chat/completions", chatBody(20, 12, ignoreEOS)), start)
				if err != nil || len(list) != 12+3 {
					t.Errorf("%d events, %v", len(list), err)
					return
				}
				for k, e := range list[1:13] { // after the role
					if want := 30*time.Millisecond + time.Duration(k)*5*time.Millisecond; e.at != want {
						t.Errorf("request %d: token %d after %v, not %v", i, k, e.at, want)
					}
				}
			})
		}
		all.Wait()
		synctest.Wait()
		truth := s.Truth()
		if len(truth) != 40 {
			t.Fatalf("%d records", len(truth))
		}
		for _, r := range truth {
			if r.FirstToken-r.Read != int64(30*time.Millisecond) || r.LastToken-r.FirstToken != int64(55*time.Millisecond) ||
				r.DueFirst != r.FirstToken || r.DueLast != r.LastToken || r.OutputTokens != 12 || r.PromptTokens != 28 || r.Outcome != "length" ||
				len(r.Tokens) != 12 || r.Tokens[0] != r.FirstToken || r.Tokens[11] != r.LastToken || r.End < r.LastToken || r.Status != 200 {
				t.Errorf("record %+v", r)
			}
		}
	})
}

// TestServerIsTheEngine holds the server in virtual time against the engine alone, fed with the same arrivals.
func TestServerIsTheEngine(t *testing.T) {
	cfg, err := ParseSpec("l4-qwen2.5-0.5b?max_num_seqs=6&output=exponential:30")
	if err != nil {
		t.Fatal(err)
	}
	const requests = 120
	arrivals := make([]time.Duration, requests)
	for i := range arrivals {
		arrivals[i] = time.Duration(i) * 37 * time.Millisecond
	}

	first, last := make([]time.Duration, requests), make([]time.Duration, requests)
	err = replay(cfg, func(i int) (arrival, bool) {
		if i == requests {
			return arrival{}, false
		}
		n, _ := cfg.Output.Draw(0, uint64(i), 200)
		return arrival{arrivals[i], 108, n}, true
	}, func(i int, _ arrival, f, l time.Duration) { first[i], last[i] = f, l })
	if err != nil {
		t.Fatal(err)
	}

	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, cfg)
		start := time.Now()
		var all sync.WaitGroup
		for i := range requests {
			all.Go(func() {
				time.Sleep(arrivals[i])
				list, err := events(post(t, c, "/v1/chat/completions", chatBody(100, 200, "")), start)
				if err != nil || len(list) < 4 {
					t.Errorf("%d events, %v", len(list), err)
					return
				}
				if got := list[1].at; got != first[i] {
					t.Errorf("request %d: first token at %v, the engine's at %v", i, got, first[i])
				}
				if got := list[len(list)-3].at; got != last[i] {
					t.Errorf("request %d: last token at %v, the engine's at %v", i, got, last[i])
				}
			})
		}
		all.Wait()
		synctest.Wait()
		for _, r := range s.Truth() {
			if want, _ := cfg.Output.Draw(0, r.Index, 200); r.OutputTokens != want {
				t.Errorf("request %d: %d tokens, drawn %d", r.Index, r.OutputTokens, want)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	const itl, ttft = 5 * time.Millisecond, 30 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TTFT: ttft, ITL: itl})
		ask := func(fault string) ([]timed, *http.Response, error) {
			start := time.Now()
			resp := post(t, c, "/v1/chat/completions", chatBody(5, 8, ignoreEOS), FaultHeader, fault)
			list, err := events(resp, start)
			return list, resp, err
		}

		if _, resp, _ := ask("status=429,retry-after=1500ms"); resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "2" {
			t.Errorf("status: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
		if _, resp, _ := ask("melt"); resp.StatusCode != 400 {
			t.Errorf("an unknown fault: %d", resp.StatusCode)
		}
		if list, _, err := ask("slow-headers=1s"); err != nil || len(list) != 11 || list[1].at != time.Second+ttft {
			t.Errorf("slow headers: %v, %v", list, err)
		}
		list, _, err := ask("stall=2s@5")
		if err != nil || len(list) != 11 || list[4].at != ttft+3*itl || list[5].at != ttft+4*itl+2*time.Second || list[10].at != list[5].at {
			t.Errorf("stall: %v, %v", list, err)
		}
		if list, _, err := ask("cut@7"); !errors.Is(err, io.ErrUnexpectedEOF) || len(list) != 7 {
			t.Errorf("cut: %d events, error %v", len(list), err)
		}
		if list, _, err := ask("garbage@3"); err != nil || len(list) != 12 || json.Valid([]byte(list[3].data)) {
			t.Errorf("garbage: %v, %v", list, err)
		}
		list, resp, err := ask("error@4")
		if err != nil || resp.StatusCode != 200 || len(list) != 6 ||
			list[4].data != `{"error":{"message":"Internal server error","type":"InternalServerError","param":null,"code":500}}` || list[5].data != "[DONE]" {
			t.Errorf("error event: %v, %v", list, err)
		}
		synctest.Wait()
		var outcomes []string
		for _, r := range s.Truth() {
			outcomes = append(outcomes, fmt.Sprint(r.Outcome, " ", r.Status, " ", r.OutputTokens))
		}
		want := []string{"refused 429 0", "refused 400 0", "length 200 8", "length 200 8", "cut 200 6", "length 200 8", "error 200 3"}
		if !slices.Equal(outcomes, want) {
			t.Errorf("truth %q, want %q", outcomes, want)
		}
	})
}

func TestFaultsOfWholeAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Fixed: true, TTFT: time.Millisecond, ITL: time.Millisecond})
		body := `{"prompt":"a b","max_tokens":4,"ignore_eos":true}`
		resp := post(t, c, "/v1/completions", body, FaultHeader, "error@2")
		if resp.Body.Close(); resp.StatusCode != 500 {
			t.Errorf("error: %d", resp.StatusCode)
		}
		resp = post(t, c, "/v1/completions", body, FaultHeader, "garbage@2")
		data, _ := io.ReadAll(resp.Body)
		if resp.Body.Close(); json.Valid(data) {
			t.Errorf("garbage: %s", data)
		}
		start := time.Now()
		resp = post(t, c, "/v1/completions", body, FaultHeader, "stall=2s@2")
		if resp.Body.Close(); time.Since(start) < 2*time.Second {
			t.Errorf("stall: answer after %v", time.Since(start))
		}
		r, _ := http.NewRequest(http.MethodPost, "http://sim/v1/completions", strings.NewReader(body))
		r.Header.Set(FaultHeader, "cut@2")
		if resp, err := c.Do(r); err == nil {
			resp.Body.Close()
			t.Errorf("cut: status %d", resp.StatusCode)
		}
	})
}

func TestEveryNthFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Fixed: true, Fault: Fault{Status: 503}, FaultEvery: 3})
		var statuses []int
		for range 7 {
			resp := post(t, c, "/v1/completions", `{"prompt":"a","max_tokens":1}`)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			statuses = append(statuses, resp.StatusCode)
		}
		if !slices.Equal(statuses, []int{200, 200, 503, 200, 200, 503, 200}) {
			t.Errorf("statuses %v", statuses)
		}
	})
}

func TestClientGoneFreesTheEngine(t *testing.T) {
	for _, name := range []string{"fixed?ttft=50ms", "slow"} {
		synctest.Test(t, func(t *testing.T) {
			cfg, err := ParseSpec(name)
			if err != nil {
				t.Fatal(err)
			}
			s, c := bubble(t, cfg)
			ctx, cancel := context.WithCancel(context.Background())
			for i := range 12 { // more than slow has slots
				r, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://sim/v1/chat/completions", strings.NewReader(chatBody(5, 100_000%30_000, ignoreEOS)))
				go func() {
					resp, err := c.Do(r)
					if err != nil {
						t.Errorf("request %d: %v", i, err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}()
			}
			time.Sleep(3 * time.Second)
			if s.metrics.running.Load() == 0 {
				t.Error("nothing runs")
			}
			cancel()
			time.Sleep(3 * time.Second)
			if n, w := s.metrics.running.Load(), s.metrics.waiting.Load(); n != 0 || w != 0 {
				t.Errorf("%d running and %d waiting after all clients left", n, w)
			}
			truth := s.Truth()
			if len(truth) != 12 {
				t.Errorf("%d records", len(truth))
			}
			for _, r := range truth {
				if r.Outcome != "abort" {
					t.Errorf("outcome %q", r.Outcome)
				}
			}
		})
	}
}

// A client that does not read fills its buffers; that must not hold up the others, and nothing must be lost.
func TestSlowClientHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TTFT: 10 * time.Millisecond, ITL: time.Millisecond})
		const tokens = 12_000 // some 2.4 MB, of which the network in memory takes 1 MiB
		slow := post(t, c, "/v1/chat/completions", chatBody(5, tokens, ignoreEOS))
		time.Sleep(8 * time.Second)
		start := time.Now()
		list, err := events(post(t, c, "/v1/chat/completions", chatBody(5, 100, ignoreEOS)), start)
		if err != nil || len(list) != 103 || list[1].at != 10*time.Millisecond || list[100].at != 109*time.Millisecond {
			t.Errorf("beside a slow client: %d events, %v", len(list), err)
		}
		time.Sleep(8 * time.Second)
		all, err := events(slow, start)
		if err != nil || len(all) != tokens+3 || all[tokens+2].data != "[DONE]" {
			t.Errorf("the slow client got %d events, %v", len(all), err)
		}
		synctest.Wait()
		for _, r := range s.Truth() {
			if r.OutputTokens != 100 && r.OutputTokens != tokens {
				t.Errorf("record %+v", r)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Model: "m", Fixed: true, MaxModelLen: 100})
		long := strings.Repeat("word ", 98)
		for _, x := range []struct {
			path, body string
			status     int
			want       string // in the answer
		}{
			{"/v1/chat/completions", `{"model":"nope","messages":[{"role":"user","content":"hi"}]}`, 404, `{"error":{"message":"The model ` + "`nope`" + ` does not exist.","type":"NotFoundError","param":"model","code":404}}`},
			{"/v1/chat/completions", `{"model":`, 400, `json_invalid`},
			{"/v1/chat/completions", `{"model":"m"}`, 400, `"type":"Bad Request","param":null,"code":400`},
			{"/v1/chat/completions", `{"messages":[]}`, 400, `Provide at least one message`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"max_tokens":0}`, 400, `"message":"max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)","type":"BadRequestError","param":"max_tokens","code":400`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"max_tokens":5000}`, 400, `max_tokens=5000 cannot be greater than max_model_len=max_total_tokens=100.`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":"` + long + `"}],"max_tokens":3}`, 400, `This model's maximum context length is 100 tokens. However, you requested 3 output tokens`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":"` + long + `"}]}`, 400, `maximum context length`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"max_tokens":3,"min_tokens":7}`, 400, `min_tokens must be less than or equal to max_tokens=3, got 7.`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}}`, 400, "Stream options can only be defined when `stream=True`"},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, `multimodal`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":5}]}`, 400, `content must be`},
			{"/v1/chat/completions", `{"messages":[{"role":"user","content":"hi"}],"n":2}`, 400, `n=2`},
			{"/v1/completions", `{"prompt":"","max_tokens":3}`, 400, `"param":"prompt"`},
			{"/v1/completions", `{"prompt":["a","b"],"max_tokens":3}`, 400, `one prompt`},
			{"/tokenize", `{"model":"nope","prompt":"hi"}`, 404, `NotFoundError`},
			{"/tokenize", `{"x":1}`, 400, `Field required`},
			{"/nope", `{}`, 404, `{"detail":"Not Found"}`},
			{"/v1/models", `{}`, 405, `{"detail":"Method Not Allowed"}`},
		} {
			resp := post(t, c, x.path, x.body)
			data, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != x.status || !strings.Contains(string(data), x.want) || !json.Valid(data) {
				t.Errorf("%s %.60s: %d %s", x.path, x.body, resp.StatusCode, data)
			}
		}
		resp := post(t, c, "/v1/completions", `{"prompt":[1,2,3],"max_tokens":2}`)
		data, _ := io.ReadAll(resp.Body)
		if resp.Body.Close(); !strings.Contains(string(data), `"prompt_tokens":3`) {
			t.Errorf("a prompt of token ids: %s", data)
		}
	})
}

func TestOtherEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Model: "m", Fixed: true, APIKey: "sesame", MaxModelLen: 2048})
		get := func(path, key string) (int, string) {
			r, _ := http.NewRequest(http.MethodGet, "http://sim"+path, nil)
			if key != "" {
				r.Header.Set("Authorization", key)
			}
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			data, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(data)
		}
		for _, x := range []struct {
			path, key string
			status    int
			want      string
		}{
			{"/health", "", 200, ""},
			{"/ping", "", 200, ""},
			{"/version", "", 200, `{"version":"0.23.0"}`},
			{"/v1/models", "", 401, `{"error":"Unauthorized"}`},
			{"/v1/models", "Bearer open", 401, `{"error":"Unauthorized"}`},
			{"/v1/models", "Basic sesame", 401, `{"error":"Unauthorized"}`},
		} {
			if status, body := get(x.path, x.key); status != x.status || body != x.want {
				t.Errorf("%s: %d %q", x.path, status, body)
			}
		}
		if status, body := get("/v1/models", "bearer sesame"); status != 200 || !strings.HasPrefix(body, `{"object":"list","data":[{"id":"m","object":"model"`) || !strings.Contains(body, `"max_model_len":2048`) {
			t.Errorf("models: %d %s", status, body)
		}
		for body, want := range map[string]string{
			`{"model":"m","prompt":"hello there"}`:                                                    `{"count":2,"max_model_len":2048,"tokens":[1000,1001],"token_strs":null}`,
			`{"messages":[{"role":"user","content":""}],"return_token_strs":true}`:                    `{"count":8,"max_model_len":2048,"tokens":[1000,1001,1002,1003,1004,1005,1006,1007],"token_strs":["Ġt0","Ġt1","Ġt2","Ġt3","Ġt4","Ġt5","Ġt6","Ġt7"]}`,
			`{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hello"}]}`: `{"count":16,`,
		} {
			resp := post(t, c, "/tokenize", body)
			data, _ := io.ReadAll(resp.Body)
			if resp.Body.Close(); !strings.HasPrefix(string(data), want) {
				t.Errorf("tokenize %s: %s", body, data)
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Model: `a"b`, Base: 10 * time.Millisecond, MaxNumSeqs: 2, PrefixCaching: true})
		scrape := func() map[string]float64 {
			resp, err := c.Get("http://sim/metrics")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			values, typed := map[string]float64{}, ""
			line := regexp.MustCompile(`^([a-z_:]+)\{engine="0",(?:le="[^"]+",|finished_reason="[a-z]+",)?model_name="a\\"b"\} (\S+)$`)
			for l := range strings.Lines(string(data)) {
				l = strings.TrimSuffix(l, "\n")
				if rest, ok := strings.CutPrefix(l, "# TYPE "); ok {
					typed, _, _ = strings.Cut(rest, " ")
				}
				if strings.HasPrefix(l, "# ") {
					continue
				}
				m := line.FindStringSubmatch(l)
				if m == nil || !strings.HasPrefix(m[1], typed) {
					t.Fatalf("no sample of %s: %s", typed, l)
				}
				v, err := strconv.ParseFloat(m[2], 64)
				if err != nil {
					t.Fatal(err)
				}
				values[m[1]] += v
			}
			return values
		}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				resp := post(t, c, "/v1/chat/completions", chatBody(300, 10, ignoreEOS))
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			})
		}
		time.Sleep(25 * time.Millisecond)
		busy := scrape()
		if busy["vllm:num_requests_running"] != 2 || busy["vllm:num_requests_waiting"] != 1 || !(busy["vllm:kv_cache_usage_perc"] > 0) {
			t.Errorf("while busy: %v", busy)
		}
		all.Wait()
		synctest.Wait()
		idle := scrape()
		for name, want := range map[string]float64{
			"vllm:num_requests_running": 0, "vllm:num_requests_waiting": 0, "vllm:kv_cache_usage_perc": 0, "vllm:prompt_tokens_total": 3 * 308,
			"vllm:generation_tokens_total": 30, "vllm:num_preemptions_total": 0, "vllm:prefix_cache_queries_total": 3 * 308,
			"vllm:time_to_first_token_seconds_count": 3, "vllm:inter_token_latency_seconds_count": 27, "vllm:request_success_total": 3,
		} {
			if got, ok := idle[name]; !ok || got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		if hits := idle["vllm:prefix_cache_hits_total"]; hits < 500 || hits > 2*308 {
			t.Errorf("two prompts of three were seen before, %v tokens hit", hits)
		}
	})
}

// waitUntil waits in real time, ten seconds at most.
func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after ten seconds it is not so that %s", what)
		}
	}
}

// TestRealConnections sends over TCP and looks at what only there can go wrong: reuse of connections, TLS, HTTP/2,
// HTTP/1.0, a foreign listener. Times are only checked to be no earlier than they may be.
func TestRealConnections(t *testing.T) {
	cfg := Config{Fixed: true, TTFT: 2 * time.Millisecond, ITL: 100 * time.Microsecond, TruthTokens: true}
	newServer := func(t *testing.T) *Server {
		s, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return s
	}
	check := func(t *testing.T, s *Server, c *http.Client, url string, proto int, wantReuse bool) {
		reused := 0
		for i := range 20 {
			trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				if info.Reused {
					reused++
				}
			}}
			r, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(chatBody(30, 20, ignoreEOS)))
			start := time.Now()
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.ProtoMajor != proto {
				t.Fatalf("spoke %s", resp.Proto)
			}
			list, err := events(resp, start)
			if err != nil || len(list) != 23 || list[22].data != "[DONE]" {
				t.Fatalf("request %d: %d events, %v", i, len(list), err)
			}
			if list[1].at < 2*time.Millisecond {
				t.Errorf("first token after %v", list[1].at)
			}
		}
		if wantReuse && reused != 19 {
			t.Errorf("%d of 19 requests used the connection of the one before", reused)
		}
		// The client may see the end of an answer before the server has filed its record.
		waitUntil(t, "all requests are recorded", func() bool { return len(s.Truth()) == 20 })
		for _, r := range s.Truth() {
			if r.Outcome != "length" || r.OutputTokens != 20 || len(r.Tokens) != 20 || !slices.IsSorted(r.Tokens) || r.FirstToken < r.DueFirst || r.LastToken < r.DueLast || r.End < r.LastToken {
				t.Errorf("record %+v", r)
			}
		}
	}

	t.Run("own listener", func(t *testing.T) {
		s := newServer(t)
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		check(t, s, &http.Client{Transport: &http.Transport{}}, s.URL(), 1, true)
	})
	t.Run("as a handler", func(t *testing.T) {
		s := newServer(t)
		ts := httptest.NewServer(s)
		defer ts.Close()
		check(t, s, ts.Client(), ts.URL, 1, true)
	})
	t.Run("TLS and HTTP/2", func(t *testing.T) {
		s := newServer(t)
		ts := httptest.NewUnstartedServer(s)
		ts.EnableHTTP2 = true
		ts.StartTLS()
		defer ts.Close()
		check(t, s, ts.Client(), ts.URL, 2, true)
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		s := newServer(t)
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := chatBody(5, 4, ignoreEOS)
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		data, err := io.ReadAll(conn)
		if err != nil || !bytes.HasSuffix(data, []byte("\n\ndata: [DONE]\n\n")) || bytes.Contains(data, []byte("\r\n\r\n1")) {
			t.Errorf("%s, %v", data, err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		s := newServer(t)
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				for range 3 {
					r, _ := http.NewRequest(http.MethodPost, s.URL()+"/v1/chat/completions", strings.NewReader(chatBody(30, 50, ignoreEOS)))
					resp, err := c.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					if list, err := events(resp, time.Now()); err != nil || len(list) != 53 {
						t.Errorf("%d events, %v", len(list), err)
					}
				}
			})
		}
		all.Wait()
	})
	t.Run("stalled reader", func(t *testing.T) {
		cfg := cfg
		cfg.ITL = 10 * time.Microsecond
		s, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil {
				err = conn.(*net.TCPConn).SetReadBuffer(1 << 17)
			}
			return conn, err
		}}}
		r, _ := http.NewRequest(http.MethodPost, s.URL()+"/v1/chat/completions", strings.NewReader(chatBody(30, 30_000, ignoreEOS)))
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		// Read nothing until the engine has made all tokens, most of which are beyond what the buffers hold.
		waitUntil(t, "the engine has made all tokens", func() bool { return s.metrics.generated.Load() == 30_000 })
		reading := s.since()
		if list, err := events(resp, time.Now()); err != nil || len(list) != 30_003 {
			t.Errorf("%d events, %v", len(list), err)
		}
		waitUntil(t, "the request is recorded", func() bool { return len(s.Truth()) == 1 })
		truth := s.Truth()[0]
		if truth.OutputTokens != 30_000 || truth.DueLast > reading || truth.LastToken < reading {
			t.Errorf("%d tokens; the last was due at %v, written at %v, and read from %v on: the buffers were never full",
				truth.OutputTokens, time.Duration(truth.DueLast), time.Duration(truth.LastToken), time.Duration(reading))
		}
	})
}

func TestCloseCutsWhatRuns(t *testing.T) {
	for _, name := range []string{"fixed?ttft=5ms&itl=1h", "fixed?ttft=1h", "slow", "slow?base=1h"} {
		cfg, err := ParseSpec(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(s.URL()+"/v1/chat/completions", "application/json", strings.NewReader(chatBody(5, 1000, ignoreEOS)))
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: the stream ended well", name)
		}
		resp.Body.Close()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("%s: close: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: close does not return", name)
		}
	}
}

func TestTruthFileAndLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := bubble(t, Config{Fixed: true, TruthTokens: true, TruthLimit: 3})
		var file bytes.Buffer
		s.WriteTruth(&file)
		for i := range 5 {
			resp := post(t, c, "/v1/completions", `{"prompt":"a","max_tokens":2,"stream":true}`, "X-Request-Id", fmt.Sprint("r", i))
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		kept := s.Truth()
		if len(kept) != 3 || kept[0].RequestID != "r2" || kept[2].RequestID != "r4" {
			t.Errorf("kept %+v", kept)
		}
		lines := 0
		for scan := bufio.NewScanner(&file); scan.Scan(); lines++ {
			var r Truth
			if err := json.Unmarshal(scan.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if r.RequestID != fmt.Sprint("r", lines) || r.Index != uint64(lines) || r.ID != "cmpl-r"+fmt.Sprint(lines) || len(r.Tokens) != 2 || !r.Stream {
				t.Errorf("line %d: %s", lines, scan.Text())
			}
		}
		if lines != 5 {
			t.Errorf("%d lines", lines)
		}
	})
}

func TestTruthWriteErrorIsReported(t *testing.T) {
	s, err := NewServer(Config{Fixed: true})
	if err != nil {
		t.Fatal(err)
	}
	s.WriteTruth(failingWriter{})
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/completions", strings.NewReader(`{"prompt":"a","max_tokens":1}`)))
	if err := s.Close(); !errors.Is(err, errDisk) {
		t.Errorf("close: %v", err)
	}
}

var errDisk = errors.New("disk full")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errDisk }
