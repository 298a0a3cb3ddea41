package tokens

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

// received is a simulated server that keeps the bodies that it was sent.
type received struct {
	server *httptest.Server

	mu     sync.Mutex
	bodies []string
}

func newReceived(t *testing.T) *received {
	t.Helper()
	cfg, err := llmsim.ParseSpec("fast")
	if err != nil {
		t.Fatal(err)
	}
	sim, err := llmsim.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &received{}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		if strings.HasPrefix(q.URL.Path, "/v1/") {
			r.mu.Lock()
			r.bodies = append(r.bodies, string(body))
			r.mu.Unlock()
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		sim.ServeHTTP(w, q)
	}))
	t.Cleanup(func() { r.server.Close(); sim.Close() })
	return r
}

func (r *received) post(ctx context.Context, path string, body []byte) (int, []byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.server.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	answer, err := r.server.Client().Do(q)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}

// Every form of data reaches the server as it should, through all that the run puts it through.
func TestWhatTheServerReceives(t *testing.T) {
	parquet, err := os.ReadFile(tokenizertest.Path(t, "records.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"stream":true,"stream_options":{"include_usage":true},`
	user := func(text string) string {
		return `"messages":[{"role":"user","content":[{"type":"text","text":"` + text + `"}]}]}`
	}
	limited := func(n string) string { return `"max_completion_tokens":` + n + `,"stop":null,"ignore_eos":true,` }
	records := func(file string) Spec { return Spec{Data: &DataSpec{Source: file, Output: 9}, Tokenizer: "none"} }
	counted := func(file string) Spec { return Spec{Data: &DataSpec{Source: file}, Tokenizer: "cl100k_base"} }
	replayed := func(file string) Spec { return Spec{Trace: &TraceSpec{File: file}} }
	body := func(n, text string) string { return head + limited(n) + user(text) }
	for _, c := range []struct {
		form string
		spec Spec
		want []string // bodies; …8 is a text of eight words
	}{
		{"synthetic", Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 24}, Output: Length{Mean: 2}}},
			[]string{body("2", "…24"), body("2", "…24")}},
		{"key=value", records("kind=synthetic_text,prompt_tokens=24"), []string{body("9", "…24"), body("9", "…24")}},
		{"json", records(`{"prompt_tokens":8,"output_tokens":3,"prefix_tokens":5}`), []string{head + limited("3") +
			`"messages":[{"role":"system","content":"…5"},{"role":"user","content":[{"type":"text","text":" …8"}]}]}`}},
		{"yaml", records(write(t, "d.yaml", "prompt_tokens: 4\noutput_tokens: 2\n")), []string{body("2", "…4")}},
		{"jsonl", records(write(t, "d.jsonl", `{"prompt":"a \"b\"\n","output_tokens_count":2}`)),
			[]string{body("2", `a \"b\"\n`), body("2", `a \"b\"\n`)}},
		{"json file", records(write(t, "d.json", `[{"question":"é"}]`)), []string{body("9", "é")}},
		{"csv", records(write(t, "d.csv", "prompt,output_tokens_count\n\"a, b\",3\n")), []string{body("3", "a, b")}},
		{"txt.gz", records(write(t, "d.txt.gz", "one\ntwo")),
			[]string{body("9", "one"), body("9", "two"), body("9", "one")}},
		{"parquet", records(write(t, "d.parquet", string(parquet))), []string{body("5", `one\ntwo`)}},
		{"sharegpt", counted(write(t, "d.json", `[{"conversations":[{"from":"human","value":"q"},{"from":"gpt",`+
			`"value":"x y"}]}]`)),
			[]string{body("2", "q")}},
		{"messages", counted(write(t, "d.jsonl", `{"messages":[{"role":"user","content":"q"},{"role":"assistant",`+
			`"content":"x y"}]}`)),
			[]string{head + limited("2") + `"messages":[{"role":"user","content":"q"}]}`}},
		{"workload", records(write(t, "d.jsonl", `{"index":0,"path":"/v1/chat/completions","body":`+asItWas+`}`)),
			[]string{asItWas}},
		{"mooncake", replayed(write(t, "t.jsonl", `{"timestamp":0,"input_length":6,"output_length":2,"hash_ids":[1]}`)),
			[]string{body("2", "…6"), ""}},
		{"azure", replayed(write(t, "t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,"+
			"7,4\n")),
			[]string{body("4", "…7"), ""}},
	} {
		t.Run(c.form, func(t *testing.T) {
			r := newReceived(t)
			w, err := Open(c.spec, "")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			next, release, err := w.Source(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			for i, want := range c.want {
				request, err := next(i)
				if want == "" && err == io.EOF {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				status, answer, err := r.post(t.Context(), ChatCompletions.Path(), request.Body)
				if err != nil || status != 200 || bytes.Contains(answer, []byte(`"error"`)) {
					t.Fatalf("%d %s %v", status, answer, err)
				}
				if got := r.bodies[len(r.bodies)-1]; !bodyPattern(want).MatchString(got) {
					t.Errorf("received %s\nwant     %s", got, want)
				}
			}
		})
	}
}

const asItWas = `{"messages":[{"role":"user","content":"as it was"}],"max_tokens": 2}`

// bodyPattern matches a body in which …8 stands for a text of eight words.
func bodyPattern(body string) *regexp.Regexp {
	pattern := regexp.MustCompile(`…(\d+)`).ReplaceAllStringFunc(regexp.QuoteMeta(body), func(n string) string {
		k, _ := strconv.Atoi(strings.TrimPrefix(n, "…"))
		return fmt.Sprintf(`[a-z]+( [a-z]+){%d}`, k-1)
	})
	return regexp.MustCompile("^" + pattern + "$")
}

func TestLearnFromTheSimulator(t *testing.T) {
	r := newReceived(t)
	hidden := func(ctx context.Context, path string, body []byte) (int, []byte, error) { // as behind a gateway
		if path == "/tokenize" {
			return http.StatusNotFound, nil, nil
		}
		return r.post(ctx, path, body)
	}
	for _, c := range []struct {
		post          Post
		method        string
		calls, probes int
	}{{r.post, "tokenize", 7, 0}, {hidden, "usage", 12, 10}} {
		l, err := learn(t.Context(), c.post, learnConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if l.method != c.method || l.error != 0 || l.tokensPerWord != 1 || l.calls != c.calls || l.probes != c.probes {
			t.Errorf("%s, error %v, %v tokens a word, %d calls, %d probes",
				l.method, l.error, l.tokensPerWord, l.calls, l.probes)
		}
	}
}
