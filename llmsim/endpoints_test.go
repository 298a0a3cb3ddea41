package llmsim

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := bubble(t, Config{Model: "m", Fixed: true, MaxModelLen: 100})
		long := strings.Repeat("word ", 98)
		const chat, hi = "/v1/chat/completions", `"messages":[{"role":"user","content":"hi"}]`
		for _, x := range []struct {
			path, body string
			status     int
			want       string // in the answer
		}{
			{chat, `{"model":"nope",` + hi + `}`, 404, `{"error":{"message":"The model ` + "`nope`" +
				` does not exist.","type":"NotFoundError","param":"model","code":404}}`},
			{chat, `{"model":`, 400, `json_invalid`},
			{chat, `{"model":"m"}`, 400, `"type":"Bad Request","param":null,"code":400`},
			{chat, `{"messages":[]}`, 400, `Provide at least one message`},
			{chat, `{` + hi + `,"max_tokens":0}`, 400, `"message":"max_tokens must be at least 1, got 0. ` +
				`(parameter=max_tokens, value=0)","type":"BadRequestError","param":"max_tokens","code":400`},
			{chat, `{` + hi + `,"max_tokens":5000}`, 400,
				`max_tokens=5000 cannot be greater than max_model_len=max_total_tokens=100.`},
			{chat, `{"messages":[{"role":"user","content":"` + long + `"}],"max_tokens":3}`, 400,
				`This model's maximum context length is 100 tokens. However, you requested 3 output tokens`},
			{chat, `{"messages":[{"role":"user","content":"` + long + `"}]}`, 400, `maximum context length`},
			{chat, `{` + hi + `,"max_tokens":3,"min_tokens":7}`, 400,
				`min_tokens must be less than or equal to max_tokens=3, got 7.`},
			{chat, `{` + hi + `,"stream_options":{"include_usage":true}}`, 400,
				"Stream options can only be defined when `stream=True`"},
			{chat, `{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, `multimodal`},
			{chat, `{"messages":[{"role":"user","content":5}]}`, 400, `content must be`},
			{chat, `{` + hi + `,"n":2}`, 400, `n=2`},
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
		status, body := get("/v1/models", "bearer sesame")
		if status != 200 || !strings.HasPrefix(body, `{"object":"list","data":[{"id":"m","object":"model"`) ||
			!strings.Contains(body, `"max_model_len":2048`) {
			t.Errorf("models: %d %s", status, body)
		}
		for body, want := range map[string]string{
			`{"model":"m","prompt":"hello there"}`: `{"count":2,"max_model_len":2048,` +
				`"tokens":[1000,1001],"token_strs":null}`,
			`{"messages":[{"role":"user","content":""}],"return_token_strs":true}`: `{"count":8,"max_model_len":2048,` +
				`"tokens":[1000,1001,1002,1003,1004,1005,1006,1007],` +
				`"token_strs":["Ġt0","Ġt1","Ġt2","Ġt3","Ġt4","Ġt5","Ġt6","Ġt7"]}`,
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
			line := regexp.MustCompile(
				`^([a-z_:]+)\{engine="0",(?:le="[^"]+",|finished_reason="[a-z]+",)?model_name="a\\"b"\} (\S+)$`)
			for l := range strings.Lines(string(data)) {
				l = strings.TrimSuffix(l, "\n")
				if rest, ok := strings.CutPrefix(l, "# TYPE "); ok {
					typed, _, _ = strings.Cut(rest, " ")
				}
				if strings.HasPrefix(l, "# ") {
					continue
				}
				if typed == "vllm:cache_config_info" {
					want := `{block_size="16",cache_dtype="auto",enable_prefix_caching="True",engine="0",` +
						`num_gpu_blocks="65536"} 1.0`
					if l != typed+want {
						t.Errorf("%s, want %s", l, want)
					}
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
		if busy["vllm:num_requests_running"] != 2 || busy["vllm:num_requests_waiting"] != 1 ||
			!(busy["vllm:kv_cache_usage_perc"] > 0) {
			t.Errorf("while busy: %v", busy)
		}
		all.Wait()
		synctest.Wait()
		idle := scrape()
		for name, want := range map[string]float64{
			"vllm:num_requests_running":              0,
			"vllm:num_requests_waiting":              0,
			"vllm:kv_cache_usage_perc":               0,
			"vllm:prompt_tokens_total":               3 * 308,
			"vllm:generation_tokens_total":           30,
			"vllm:num_preemptions_total":             0,
			"vllm:prefix_cache_queries_total":        3 * 308,
			"vllm:time_to_first_token_seconds_count": 3,
			"vllm:inter_token_latency_seconds_count": 27,
			"vllm:request_success_total":             3,
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
