package enginemetrics

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/llmsim"
)

// Answers of engines, shortened: vLLM 0.23.0 (recorded), SGLang and TGI (by their documentation).
const (
	vllmInfoMetrics = `# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{_block_size_resolved="True",block_size="128",cache_dtype="auto",` +
		`enable_prefix_caching="True",engine="0",gpu_memory_utilization="0.92",hash_block_size="None",` +
		`kv_cache_dtype_skip_layers="[]",kv_cache_memory_bytes="2147483648",num_gpu_blocks="16384",` +
		`num_gpu_blocks_override="None",sliding_window="None"} 1.0
vllm:num_requests_running{engine="0",model_name="m"} 0.0
`
	vllmServerInfo = `{"vllm_config":{"model_config":{"model":"/root/model","dtype":"torch.float32",` +
		`"quantization":null,` +
		`"max_model_len":2048,"hf_token":"hf_canary"},"scheduler_config":{"max_num_seqs":256,` +
		`"max_num_batched_tokens":2048,"enable_chunked_prefill":true},"parallel_config":{"tensor_parallel_size":1}},` +
		`"vllm_env":{"VLLM_API_KEY":"env-canary"}}`
	sglangServerInfo = `{"model_path":"qwen/qwen2.5-0.5b-instruct","tokenizer_path":"/data/tok","host":"0.0.0.0",` +
		`"port":30000,"api_key":"key-canary","admin_api_key":"admin-canary","ssl_keyfile":"/etc/key-canary",` +
		`"max_running_requests":128,"disable_radix_cache":false,"chunked_prefill_size":8192,"context_length":null,` +
		`"json_model_override_args":"{\"api_key\": \"override-canary\"}","mem_fraction_static":0.88,"tp_size":1,` +
		`"extra":"sk-value-canary","max_total_num_tokens":400000,"random_seed":42,"version":"0.5.9",` +
		`"internal_states":[{"admin_api_key":"nested-canary","last_gen_throughput":2048.5}]}`
	tgiInfo = `{"model_id":"bigscience/bloom-560m","model_sha":"e985a6","model_dtype":"torch.float16",` +
		`"max_concurrent_requests":128,"max_input_tokens":1024,"max_total_tokens":2048,` +
		`"max_batch_total_tokens":32000,` +
		`"docker_label":null,"version":"3.0.1"}`
)

func TestAsk(t *testing.T) {
	const key = "request-key-canary-77"
	for _, tc := range []struct {
		name    string
		answers map[string]string
		models  []endpoint.Model
		want    *Info
		running int
		context int
		caching string
	}{
		{"vLLM", map[string]string{"/metrics": vllmInfoMetrics, "/version": `{"version":"0.23.0"}`},
			[]endpoint.Model{{ID: "m", Owner: "vllm", Context: 32768}, {ID: "lora", Parent: "m", Context: 1}},
			&Info{"vLLM", "0.23.0", map[string]string{"block_size": "128", "cache_dtype": "auto",
				"enable_prefix_caching": "True", "gpu_memory_utilization": "0.92", "num_gpu_blocks": "16384",
				"kv_cache_memory_bytes": "2147483648", "max_model_len": "32768"}}, 0, 32768, "on"},
		{"vLLM that tells more", map[string]string{"/version": `{"version":"0.23.0"}`, "/server_info": vllmServerInfo},
			[]endpoint.Model{{ID: "m", Owner: "vllm"}},
			&Info{"vLLM", "0.23.0", map[string]string{"max_num_seqs": "256", "max_num_batched_tokens": "2048",
				"enable_chunked_prefill": "true", "tensor_parallel_size": "1", "dtype": "torch.float32",
				"max_model_len": "2048"}}, 256, 2048, ""},
		{"SGLang", map[string]string{"/get_server_info": sglangServerInfo},
			[]endpoint.Model{{ID: "m", Owner: "sglang", Context: 4096}},
			&Info{"SGLang", "0.5.9", map[string]string{"model_path": "qwen/qwen2.5-0.5b-instruct",
				"max_running_requests": "128", "disable_radix_cache": "false", "chunked_prefill_size": "8192",
				"mem_fraction_static": "0.88", "tp_size": "1", "max_total_num_tokens": "400000",
				"max_model_len": "4096"}}, 128, 4096, "on"},
		{"SGLang, found by asking", map[string]string{"/get_server_info": `{"model_path":"q","version":"0.5.9"}`}, nil,
			&Info{"SGLang", "0.5.9", map[string]string{"model_path": "q"}}, 0, 0, ""},
		{"TGI", map[string]string{"/info": tgiInfo}, nil,
			&Info{"TGI", "3.0.1", map[string]string{"model_id": "bigscience/bloom-560m", "model_sha": "e985a6",
				"model_dtype": "torch.float16", "max_concurrent_requests": "128", "max_input_tokens": "1024",
				"max_total_tokens": "2048", "max_batch_total_tokens": "32000"}}, 0, 2048, ""},
		{"a program of no kind that is known", map[string]string{"/version": `{"gitVersion":"v1"}`, "/info": `{"a":1}`,
			"/get_server_info": `[]`}, []endpoint.Model{{ID: "m", Owner: "me"}}, nil, 0, 0, ""},
		{"nothing but pages", map[string]string{"/version": "<html>", "/info": "<html>"}, nil, nil, 0, 0, ""},
		{"a version that is a program for terminals, and repeats the key",
			map[string]string{"/version": `{"version":"1\u001b[2J` + key + `"}`}, nil,
			&Info{"", "1\ufffd[2J[redacted]", map[string]string{}}, 0, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Authorization"); got != "Bearer "+key {
					t.Errorf("%s was asked with %q", r.URL, got)
				}
				answer, ok := tc.answers[r.URL.Path]
				if !ok {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write([]byte(answer))
			}))
			defer server.Close()
			asker := askerOf(t, server.URL, key)
			asker.Models, asker.Model = tc.models, "m"
			got := asker.Ask(t.Context())
			if (got == nil) != (tc.want == nil) {
				t.Fatalf("got %+v, want %+v", got, tc.want)
			}
			if text, _ := json.Marshal(got); strings.Contains(string(text), "canary") {
				t.Errorf("a secret: %s", text)
			}
			if got == nil {
				return
			}
			if got.Name != tc.want.Name || got.Version != tc.want.Version || !maps.Equal(got.Config, tc.want.Config) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			caching := ""
			if on, known := got.PrefixCaching(); known && on {
				caching = "on"
			}
			if got.MaxRunning() != tc.running || got.MaxContext() != tc.context || caching != tc.caching {
				t.Errorf("runs %d, context %d, caching %q", got.MaxRunning(), got.MaxContext(), caching)
			}
		})
	}
}

func askerOf(t *testing.T, url, key string) Asker {
	t.Helper()
	base, _, err := endpoint.ParseBase(url)
	if err != nil {
		t.Fatal(err)
	}
	headers := []endpoint.Header{{Name: "Authorization", Value: endpoint.NewSecret("Bearer " + key)}}
	return Asker{Base: base, Headers: headers, Metrics: &Source{Address: base.Root("/metrics"), Headers: headers}}
}

// No redirect is followed with a key, and what does not answer is not waited for.
func TestAskKeepsToItself(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with %v", r.Header)
	}))
	defer elsewhere.Close()
	stuck := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			<-stuck
			return
		}
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	}))
	defer server.Close()
	defer close(stuck)
	began := time.Now()
	if got := askerOf(t, server.URL, "k").Ask(t.Context()); got != nil {
		t.Errorf("%+v", got)
	}
	if took := time.Since(began); took > 4*infoTime {
		t.Errorf("it took %v", took)
	}
}

func TestAskSimulator(t *testing.T) {
	config, err := llmsim.ParseSpec("l4-qwen2.5-0.5b")
	if err != nil {
		t.Fatal(err)
	}
	server, err := llmsim.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	asker := askerOf(t, server.URL(), "k")
	got := asker.Ask(t.Context())
	c := server.Config()
	if got.String() != "llmsim 0.23.0" || got.MaxRunning() != c.MaxNumSeqs || got.MaxContext() != c.MaxModelLen {
		t.Errorf("%+v", got)
	}
	if on, known := got.PrefixCaching(); !known || on != c.PrefixCaching {
		t.Errorf("prefix caching %v, %v", on, known)
	}
	if n, err := asker.Metrics.Series(t.Context()); err != nil || n < 50 {
		t.Errorf("%d series, %v", n, err)
	}
}

func FuzzInfo(f *testing.F) {
	f.Add(pathVLLM, vllmServerInfo)
	f.Add(pathSGLang, sglangServerInfo)
	f.Add(pathTGI, tgiInfo)
	f.Add(pathVersion, `{"version":"0.23.0"}`)
	f.Fuzz(func(t *testing.T, path, answer string) {
		info := &Info{Config: map[string]string{}}
		info.take(path, []byte(answer), endpoint.Redactor{})
		if len(info.Config) > mostSettings {
			t.Fatalf("%d settings", len(info.Config))
		}
		for name, value := range info.Config {
			if private(name) || strings.ContainsAny(name+value, "\x00\x1b\n") {
				t.Fatalf("%q: %q", name, value)
			}
		}
		info.MaxRunning()
		info.MaxContext()
		info.PrefixCaching()
	})
}
