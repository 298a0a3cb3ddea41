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
	for _, c := range []struct {
		form string
		open func() (Source, error)
		want []string // bodies; …8 is a text of eight words
	}{
		{"key=value", spec("kind=synthetic_text,prompt_tokens=24,output_tokens=2", 2), []string{head + limited("2") + user("…24"), head + limited("2") + user("…24")}},
		{"json", spec(`{"prompt_tokens":8,"output_tokens":3,"prefix_tokens":5}`, 1), []string{head + limited("3") +
			`"messages":[{"role":"system","content":"…5"},{"role":"user","content":[{"type":"text","text":" …8"}]}]}`}},
		{"yaml", spec(write(t, "d.yaml", "prompt_tokens: 4\noutput_tokens: 2\n"), 1), []string{head + limited("2") + user("…4")}},
		{"jsonl", spec(write(t, "d.jsonl", `{"prompt":"a \"b\"\n","output_tokens_count":2}`), 0), []string{head + limited("2") + user(`a \"b\"\n`)}},
		{"json file", spec(write(t, "d.json", `[{"question":"é"}]`), 0), []string{head + limited("9") + user("é")}},
		{"csv", spec(write(t, "d.csv", "prompt,output_tokens_count\n\"a, b\",3\n"), 0), []string{head + limited("3") + user("a, b")}},
		{"txt.gz", spec(write(t, "d.txt.gz", "one\ntwo"), 0), []string{head + limited("9") + user("one"), head + limited("9") + user("two")}},
		{"parquet", spec(write(t, "d.parquet", string(parquet)), 1), []string{head + limited("5") + user(`one\ntwo`)}},
		{"sharegpt", spec(write(t, "d.json", `[{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"x y"}]}]`), 0), []string{head + limited("2") + user("q")}},
		{"messages", spec(write(t, "d.jsonl", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"x y"}]}`), 0), []string{head + limited("2") + `"messages":[{"role":"user","content":"q"}]}`}},
		{"workload", spec(write(t, "d.jsonl", `{"index":0,"path":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"as it was"}],"max_tokens": 2}}`), 0),
			[]string{`{"messages":[{"role":"user","content":"as it was"}],"max_tokens": 2}`}},
		{"mooncake", trace(write(t, "t.jsonl", `{"timestamp":0,"input_length":6,"output_length":2,"hash_ids":[1]}`)), []string{head + limited("2") + user("…6")}},
		{"azure", trace(write(t, "t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,7,4\n")), []string{head + limited("4") + user("…7")}},
	} {
		t.Run(c.form, func(t *testing.T) {
			r := newReceived(t)
			source, err := c.open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := NewBody(BodyConfig{})
			if err != nil {
				t.Fatal(err)
			}
			ahead := NewAhead(t.Context(), b.Attach(source), AheadConfig{})
			defer ahead.Close()
			for {
				it, err := ahead.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if status, answer, err := r.post(t.Context(), ChatCompletions.Path(), it.Body); err != nil || status != 200 || bytes.Contains(answer, []byte(`"error"`)) {
					t.Fatalf("%d %s %v", status, answer, err)
				}
			}
			if len(r.bodies) != len(c.want) {
				t.Fatalf("received %q", r.bodies)
			}
			for i, want := range c.want {
				if !bodyPattern(want).MatchString(r.bodies[i]) {
					t.Errorf("received %s\nwant     %s", r.bodies[i], want)
				}
			}
		})
	}
}

// bodyPattern matches a body in which …8 stands for a text of eight words.
func bodyPattern(body string) *regexp.Regexp {
	pattern := regexp.MustCompile(`…(\d+)`).ReplaceAllStringFunc(regexp.QuoteMeta(body), func(n string) string {
		k, _ := strconv.Atoi(strings.TrimPrefix(n, "…"))
		return fmt.Sprintf(`[a-z]+( [a-z]+){%d}`, k-1)
	})
	return regexp.MustCompile("^" + pattern + "$")
}

func spec(text string, samples int) func() (Source, error) {
	return func() (Source, error) {
		d, err := OpenData(text, DataConfig{Samples: samples, OutputTokens: 9, Count: func(text string) int { return len(strings.Fields(text)) }})
		if err != nil {
			return nil, err
		}
		return d.Source(), nil
	}
}

func trace(path string) func() (Source, error) {
	return func() (Source, error) {
		t, err := ReadTrace(path, TraceConfig{})
		if err != nil {
			return nil, err
		}
		return t.Source(), nil
	}
}

func TestLearnFromTheSimulator(t *testing.T) {
	r := newReceived(t)
	for _, c := range []struct {
		cfg           LearnConfig
		method        string
		calls, probes int
	}{{LearnConfig{}, "tokenize", 7, 0}, {LearnConfig{NoTokenize: true}, "usage", 10, 10}} {
		l, err := Learn(t.Context(), r.post, c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if l.Method != c.method || l.Error != 0 || l.TokensPerWord != 1 || l.Calls != c.calls || l.Probes != c.probes {
			t.Errorf("%s, error %v, %v tokens a word, %d calls, %d probes", l.Method, l.Error, l.TokensPerWord, l.Calls, l.Probes)
		}
	}
}
