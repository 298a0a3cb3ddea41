package tokens

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

// bodies.json holds what GuideLLM 0.5.0's request formatters and httpx make of the same input; make_vectors.py wrote
// it.
func TestBodiesAreGuideLLMs(t *testing.T) {
	data, err := os.ReadFile(tokenizertest.Path(t, "bodies.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Format, Model, Extra, Prefix, Prompt, Body string
		Output                                     int
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) < 60 {
		t.Fatal(len(cases), err)
	}
	for _, c := range cases {
		cfg := BodyConfig{Model: c.Model, Extra: []byte(c.Extra)}
		if c.Format == "text" {
			cfg.Format = TextCompletions
		}
		b, err := NewBody(cfg)
		if err != nil {
			t.Fatal(err)
		}
		it := Item{PrefixText: c.Prefix, PromptText: c.Prompt, OutputTokens: c.Output}
		if got := string(b.Bytes(it)); got != c.Body {
			t.Errorf("%+v\n got %s\nwant %s", c, got, c.Body)
		}
	}
}

func TestBodyOptions(t *testing.T) {
	it, free := Item{PromptText: "hi", OutputTokens: 5}, Item{PromptText: "hi"}
	const user = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`
	const stream = `{"stream":true,"stream_options":{"include_usage":true},`
	for _, c := range []struct {
		cfg  BodyConfig
		it   Item
		want string
	}{
		{BodyConfig{}, it, stream + `"max_completion_tokens":5,"stop":null,"ignore_eos":true,` + user},
		{BodyConfig{NoIgnoreEOS: true}, it, stream + `"max_completion_tokens":5,"stop":null,` + user},
		{BodyConfig{Format: TextCompletions}, it,
			stream + `"max_tokens":5,"stop":null,"ignore_eos":true,"prompt":"hi"}`},
		{BodyConfig{}, free, stream + user},
		{BodyConfig{NoStream: true}, free, `{` + user},
		{BodyConfig{Extra: []byte(` {"messages":1, "top_k" : [1, 2]}`)}, free,
			stream + user[:len(user)-1] + `,"top_k":[1,2]}`},
		{BodyConfig{}, Item{Messages: []byte(`[{"role":"user","content":"x"}]`)},
			stream + `"messages":[{"role":"user","content":"x"}]}`},
		{BodyConfig{}, Item{Body: []byte(`as it was`)}, `as it was`},
	} {
		b, err := NewBody(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.Bytes(c.it)); got != c.want {
			t.Errorf("%+v\n got %s\nwant %s", c.cfg, got, c.want)
		}
	}
	const bad = `not a JSON object such as {"temperature":0}: `
	for extra, want := range map[string]string{
		`[1]`:        bad + `it does not start with {: [1]`,
		`nonsense`:   bad + `it does not start with {: nonsense`,
		`{"a":}`:     bad + `field "a": invalid character '}' looking for beginning of value: {"a":}`,
		`{"a":1} {}`: bad + `something follows its end: {"a":1} {}`,
		`{"a":1`:     bad + `it ends too early: {"a":1`,
		`{"a":`:      bad + `field "a": it ends too early: {"a":`,
		`{"a":[1,`:   bad + `field "a": it ends too early: {"a":[1,`,
		`{`:          bad + `it ends too early: {`,
		`{"a" 1}`:    bad + `field "a": expected colon after object key: {"a" 1}`,
	} {
		if _, err := NewBody(BodyConfig{Extra: []byte(extra)}); err == nil || err.Error() != want {
			t.Errorf("extra %s:\n got %v\nwant %s", extra, err, want)
		}
	}
}

func TestBodyAllocatesOnce(t *testing.T) {
	b, err := NewBody(BodyConfig{Model: "Qwen/Qwen2.5-tiny"})
	if err != nil {
		t.Fatal(err)
	}
	it := Item{PrefixText: strings.Repeat("\"\x01\xff", 500), PromptText: strings.Repeat("word\n", 500),
		OutputTokens: 1 << 40}
	if n := testing.AllocsPerRun(20, func() { b.Bytes(it) }); n != 1 {
		t.Errorf("%v allocations a body", n)
	}
}

func FuzzBody(f *testing.F) {
	f.Add("plain", "a\"b\\\n\x00\xff é 日本 \u2028", `{"temperature":0}`, 3)
	f.Add("", "", "", 0)
	f.Add("x", "y", `{"model":{"a":[1,2,{"b":null}]}}`, -1)
	f.Fuzz(func(t *testing.T, prefix, prompt, extra string, output int) {
		for _, format := range []Format{ChatCompletions, TextCompletions} {
			b, err := NewBody(BodyConfig{Format: format, Model: prompt, Extra: []byte(extra)})
			if err != nil {
				continue
			}
			body := b.Bytes(Item{PrefixText: prefix, PromptText: prompt, OutputTokens: output})
			var got struct {
				Prompt   string
				Messages []struct{ Content json.RawMessage }
			}
			if !utf8.Valid(body) && utf8.ValidString(extra) {
				t.Fatalf("not UTF-8: %q", body)
			}
			if !json.Valid(body) {
				t.Fatalf("not JSON: %s", body)
			}
			if err := json.Unmarshal(body, &got); err != nil {
				continue // an extra field of another type, such as "Prompt"
			}
			if format == TextCompletions && !strings.Contains(strings.ToLower(extra), "prompt") &&
				got.Prompt != valid(prefix)+valid(prompt) {
				t.Fatalf("the prompt %q became %q", prefix+prompt, got.Prompt)
			}
		}
	})
}

// valid is what encoding/json makes of bytes that are not UTF-8.
func valid(s string) string { return string([]rune(s)) }
