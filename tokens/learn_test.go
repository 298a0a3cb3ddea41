package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/openloop/openloop/tokens/tokenizer"
)

// fakeServer answers as an inference server with the given tokenizer does.
type fakeServer struct {
	count  func(text string) []int
	shape  string // of /tokenize: vllm, sglang, llama.cpp, none, broken
	bos    bool   // /tokenize puts a token in front, whatever it is asked
	status int    // of everything, if not 0
	usage  bool

	mu      sync.Mutex
	prompts []string // that generated
}

const fakeTemplate = 9

func (f *fakeServer) post(_ context.Context, path string, body []byte) (int, []byte, error) {
	var r struct {
		Model     string
		Prompt    *string
		Content   *string
		Special   *bool `json:"add_special"`
		Specials  *bool `json:"add_special_tokens"`
		Max       int   `json:"max_completion_tokens"`
		MaxTokens int   `json:"max_tokens"`
		Stream    bool
		Messages  []struct{ Content []struct{ Text string } }
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return 0, nil, err
	}
	if f.status != 0 {
		return f.status, []byte(`{"error":"as told"}`), nil
	}
	reply := func(v any) (int, []byte, error) {
		b, err := json.Marshal(v)
		return 200, b, err
	}
	if path == "/tokenize" {
		if f.shape == "none" {
			return 404, []byte(`{"detail":"Not Found"}`), nil
		}
		if f.shape == "broken" {
			return 200, []byte(`<html>`), nil
		}
		text, special := r.Prompt, r.Specials
		if f.shape == "llama.cpp" {
			text, special = r.Content, r.Special
			if text == nil {
				return reply(map[string]any{"tokens": []int{}})
			}
		} else if text == nil || r.Model != "m" {
			return 400, []byte(`{"error":"field required: prompt"}`), nil
		}
		ids := f.count(*text)
		if special == nil || *special || f.bos {
			ids = append([]int{-7}, ids...)
		}
		switch f.shape {
		case "vllm":
			return reply(map[string]any{"count": len(ids), "max_model_len": 2048, "tokens": ids, "token_strs": nil})
		case "sglang":
			return reply(map[string]any{"count": []int{len(ids)}, "max_model_len": 2048, "tokens": [][]int{ids}})
		}
		return reply(map[string]any{"tokens": ids})
	}
	if r.Stream || r.Model != "m" || r.Max+r.MaxTokens != 1 {
		return 422, body, nil
	}
	text, extra := "", 1
	if path == "/v1/chat/completions" {
		text, extra = r.Messages[0].Content[0].Text, fakeTemplate
	} else {
		text = *r.Prompt
	}
	f.mu.Lock()
	f.prompts = append(f.prompts, text)
	f.mu.Unlock()
	if !f.usage {
		return reply(map[string]any{"choices": []any{}})
	}
	return reply(map[string]any{"usage": map[string]any{"prompt_tokens": len(f.count(text)) + extra}})
}

func TestLearn(t *testing.T) {
	qwen := openQwen(t)
	exact, err := tokenizer.Fit(qwen)
	if err != nil {
		t.Fatal(err)
	}
	// Three letters a token and one for what is left of a word: hardly any word is one token.
	thirds := func(text string) (ids []int) {
		for i, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' }) {
			for range (len(word) + 2) / 3 {
				ids = append(ids, i+100)
			}
		}
		return append(ids, make([]int, strings.Count(text, "\n"))...)
	}
	// As qwen, but no word is one token without a space before it, as for many small vocabularies.
	noBare := func(text string) (ids []int) {
		for i, line := range strings.Split(text, "\n") {
			if i > 0 {
				ids = append(ids, 198)
			}
			n := qwen.Encode(line)
			if line != "" && line[0] != ' ' {
				n = append(n, -1)
			}
			ids = append(ids, n...)
		}
		return ids
	}
	for _, c := range []struct {
		name   string
		server *fakeServer
		cfg    learnConfig
		method string
		words  int
		error  float64
	}{
		{"vllm", &fakeServer{count: qwen.Encode, shape: "vllm"}, learnConfig{}, "tokenize", len(exact.Words), 0},
		{"sglang", &fakeServer{count: qwen.Encode, shape: "sglang"}, learnConfig{}, "tokenize", len(exact.Words), 0},
		{"sglang that always adds a token", &fakeServer{count: qwen.Encode, shape: "sglang", bos: true}, learnConfig{},
			"tokenize", len(exact.Words), 0},
		{"llama.cpp", &fakeServer{count: qwen.Encode, shape: "llama.cpp"}, learnConfig{}, "tokenize-content",
			len(exact.Words), 0},
		{"identifiers made up", &fakeServer{count: func(text string) []int { return make([]int, words(text)) },
			shape: "vllm"}, learnConfig{}, "tokenize", 2048, 0},
		{"no /tokenize", &fakeServer{count: qwen.Encode, shape: "none", usage: true}, learnConfig{}, "usage",
			probedWords, 0},
		{"no /tokenize, text", &fakeServer{count: qwen.Encode, shape: "none", usage: true},
			learnConfig{format: TextCompletions}, "usage", probedWords, 0},
		{"/tokenize broken", &fakeServer{count: qwen.Encode, shape: "broken", usage: true}, learnConfig{}, "usage",
			probedWords, 0},
		{"few words", &fakeServer{count: thirds, shape: "vllm", usage: true}, learnConfig{}, "usage", probedWords,
			0.08},
		{"no first words", &fakeServer{count: noBare, shape: "none", usage: true}, learnConfig{}, "usage", probedWords,
			0.04},
	} {
		c.cfg.model, c.cfg.lengths, c.cfg.seed = "m", []int{32, 256, 500}, 5
		l, err := learn(t.Context(), c.server.post, c.cfg)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if l.method != c.method || len(l.words.Words) != c.words || l.checked != 6 || l.error > c.error {
			t.Errorf("%s: %s, %d words, error %v in %d", c.name, l.method, len(l.words.Words), l.error, l.checked)
		}
		if (c.error == 0) != (l.error == 0 && l.tokensPerWord == 1) && c.name != "no first words" {
			t.Errorf("%s: error %v, %v tokens a word", c.name, l.error, l.tokensPerWord)
		}
		if want := fakeTemplate; c.method == "usage" && c.cfg.format == ChatCompletions && l.tokensPerWord == 1 &&
			c.error == 0 && l.template != want {
			t.Errorf("%s: template %d, want %d", c.name, l.template, want)
		}
		if l.probes != len(c.server.prompts) || l.calls < l.probes || l.calls > 60 {
			t.Errorf("%s: %d calls, %d probes, %d prompts", c.name, l.calls, l.probes, len(c.server.prompts))
		}
		// What the run sends is exact, and shares no start with what was probed.
		s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 256}, Seed: 5, Words: l.words,
			TokensPerWord: l.tokensPerWord})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for i := range 4 {
			it := s.Item(i)
			if got := len(c.server.count(it.PromptText)); c.error == 0 && got != 256 {
				t.Errorf("%s: prompt %d has %d tokens", c.name, i, got)
			}
			for _, p := range c.server.prompts {
				if words := strings.Fields(it.PromptText)[:4]; strings.HasPrefix(p, strings.Join(words, " ")) {
					t.Errorf("%s: prompt %d starts as the probe %.60q", c.name, i, p)
				}
			}
		}
	}
}

func TestLearnRefuses(t *testing.T) {
	flat := func(string) []int { return []int{1} }
	for _, c := range []struct {
		name   string
		server *fakeServer
		want   string
	}{
		{"no key", &fakeServer{status: 401}, "POST /tokenize: status 401"},
		{"nothing there", &fakeServer{status: 404}, "POST /v1/chat/completions: status 404"},
		{"no usage", &fakeServer{count: flat, shape: "none"}, "where 200 and usage.prompt_tokens were expected"},
		{"constant usage", &fakeServer{count: flat, shape: "none", usage: true}, "does not grow with the prompt"},
	} {
		if _, err := learn(t.Context(), c.server.post, learnConfig{model: "m"}); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	down := errors.New("connection refused")
	_, err := learn(t.Context(), func(context.Context, string, []byte) (int, []byte, error) { return 0, nil, down },
		learnConfig{})
	if !errors.Is(err, down) {
		t.Error(err)
	}
}

func FuzzParseTokenize(f *testing.F) {
	for _, s := range []string{`{"tokens":[1,2],"count":2}`, `{"tokens":[[1]],"count":[1]}`,
		`{"tokens":[{"id":1,"piece":"a"}]}`, `{"tokens":null}`, `[]`, `{"count":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		ids, err := parseTokenize(answer)
		if err != nil && ids != nil {
			t.Fatal("both tokens and an error")
		}
		before, lengths := segments(ids, 2)
		if lengths != nil && (len(lengths) != 2 || before+2+lengths[0]+lengths[1] != len(ids)) {
			t.Fatalf("%v: %d before, %v", ids, before, lengths)
		}
	})
}
