package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// chunks are events as servers send them, those of vLLM recorded from 0.23.0.
var chunks = []struct {
	name string
	data string
	want string // as said writes it
	slow bool   // encoding/json has to read it
}{
	{"vLLM chat, role", `{"id":"chatcmpl-9316d40c42ce154f","object":"chat.completion.chunk","created":1795504799,` +
		`"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,` +
		`"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}`,
		`id=chatcmpl-9316d40c42ce154f`, false},
	{"vLLM chat, token", `{"id":"chatcmpl-9316d40c42ce154f","object":"chat.completion.chunk","created":1795504799,` +
		`"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"畋"},"logprobs":null,` +
		`"finish_reason":null,"token_ids":null}]}`,
		`id=chatcmpl-9316d40c42ce154f token text="畋"`, false},
	{"vLLM chat, escaped token", `{"id":"chatcmpl-9316d40c42ce154f","object":"chat.completion.chunk",` +
		`"created":1795504799,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"\tmp"},` +
		`"logprobs":null,"finish_reason":null,"token_ids":null}]}`,
		`id=chatcmpl-9316d40c42ce154f token text="\tmp"`, false},
	{"vLLM chat, last token", `{"id":"chatcmpl-9316d40c42ce154f","object":"chat.completion.chunk",` +
		`"created":1795504799,"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":"iliated"},` +
		`"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]}`,
		`id=chatcmpl-9316d40c42ce154f token text="iliated" finish=1`, false},
	{"vLLM chat, usage", `{"id":"chatcmpl-9316d40c42ce154f","object":"chat.completion.chunk","created":1795504799,` +
		`"model":"Qwen/Qwen2.5-tiny","choices":[],"usage":{"prompt_tokens":9,"total_tokens":13,` +
		`"completion_tokens":4},"system_fingerprint":"vllm-0.23.0-27c17402"}`,
		`id=chatcmpl-9316d40c42ce154f usage=9/4/-1`, false},
	{"vLLM chat, continuous usage and logprobs",
		`{"id":"chatcmpl-8e49c35cdcfac93e","object":"chat.completion.chunk","created":1795504799,` +
			`"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"delta":{"content":" './../"},` +
			`"logprobs":{"content":[{"token":" './../","logprob":-11.931218147277832,` +
			`"bytes":[32,39,46,47,46,46,47],"top_logprobs":[]}]},"finish_reason":null,"token_ids":null}],` +
			`"usage":{"prompt_tokens":9,"total_tokens":10,"completion_tokens":1}}`,
		`id=chatcmpl-8e49c35cdcfac93e token text=" './../" usage=9/1/-1`, false},
	{"vLLM completion, token", `{"id":"cmpl-a299a9d0bf72e79b","object":"text_completion","created":1795504800,` +
		`"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"text":" Pony","logprobs":null,"finish_reason":null,` +
		`"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}`,
		`id=cmpl-a299a9d0bf72e79b token text=" Pony"`, false},
	{"vLLM chat, no stream", `{"id":"chatcmpl-99d3eba10d0d0a2e","object":"chat.completion","created":1795504800,` +
		`"model":"Qwen/Qwen2.5-tiny","choices":[{"index":0,"message":{"role":"assistant","content":"洱ZONE客户提供",` +
		`"refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null},` +
		`"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null,"routed_experts":null}],` +
		`"service_tier":null,"system_fingerprint":"vllm-0.23.0-27c17402",` +
		`"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3,"prompt_tokens_details":null},` +
		`"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null}`,
		`id=chatcmpl-99d3eba10d0d0a2e token text="洱ZONE客户提供" finish=1 usage=9/3/-1`, false},
	{"vLLM, error", `{"error":{"message":"The model ` + "`nope`" + ` does not exist.","type":"NotFoundError",` +
		`"param":"model","code":404}}`,
		`error={"message":"The model ` + "`nope`" + ` does not exist.","type":"NotFoundError",` +
			`"param":"model","code":404}`, false},
	{"vLLM, reasoning", `{"id":"c","choices":[{"index":0,"delta":{"reasoning":"Okay"},"finish_reason":null}]}`,
		`id=c reasoning`, false},
	{"reasoning_content", `{"id":"c","choices":[{"index":0,"delta":{"content":null,"reasoning_content":"Hm\n"}}]}`,
		`id=c reasoning`, false},
	{"both spellings of reasoning, empty", `{"choices":[{"delta":{"reasoning":"","reasoning_content":""}}]}`,
		``, false},
	{"tool call", `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function",` +
		`"function":{"name":"f","arguments":"{\"a\":"}}]},"finish_reason":null}]}`, `token`, false},
	{"tool calls, none", `{"choices":[{"index":0,"delta":{"tool_calls":[]}}]}`, ``, false},
	{"finish by tool calls", `{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`, `finish=3`, false},
	{"finish by stop", `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}`, `finish=2`, false},
	{"LiteLLM, token", `{"id":"chatcmpl-1","created":1,"model":"m","object":"chat.completion.chunk",` +
		`"choices":[{"index":0,"delta":{"content":"Hi","role":"assistant"}}],"stream_options":{"include_usage":true}}`,
		`id=chatcmpl-1 token text="Hi"`, false},
	{"LiteLLM, usage", `{"id":"chatcmpl-1","choices":[{"index":0,"delta":{}}],"usage":{"completion_tokens":4,` +
		`"prompt_tokens":9,"total_tokens":13,"completion_tokens_details":null,` +
		`"prompt_tokens_details":{"audio_tokens":null,"cached_tokens":8}}}`,
		`id=chatcmpl-1 usage=9/4/8`, false},
	{"SGLang, token", `{"id":"0f","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,` +
		`"delta":{"role":null,"content":"Hi","reasoning_content":null,"tool_calls":null},"logprobs":null,` +
		`"finish_reason":null,"matched_stop":null}],"usage":null}`,
		`id=0f token text="Hi"`, false},
	{"TGI, token", `{"object":"chat.completion.chunk","id":"","created":1,"model":"m","system_fingerprint":"3.0.0",` +
		`"choices":[{"index":0,"delta":{"role":"assistant","content":" deep"},"logprobs":null,"finish_reason":null}],` +
		`"usage":null}`,
		`token text=" deep"`, false},
	{"TGI, error", `{"error":"Model is overloaded","error_type":"overloaded"}`, `error="Model is overloaded"`, false},
	{"llama.cpp, end", `{"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":1,"id":"chatcmpl-x",` +
		`"model":"m","system_fingerprint":"b1","object":"chat.completion.chunk","usage":{"completion_tokens":10,` +
		`"prompt_tokens":5,"total_tokens":15},"timings":{"prompt_n":5,"prompt_ms":1.5e1,` +
		`"predicted_per_second":-0.5E+2}}`,
		`id=chatcmpl-x finish=1 usage=5/10/-1`, false},
	{"OpenAI, token", `{"id":"chatcmpl-B","object":"chat.completion.chunk","created":1,"model":"gpt",` +
		`"service_tier":"default","system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":"Hi"},` +
		`"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"x9"}`,
		`id=chatcmpl-B token text="Hi"`, false},
	{"OpenAI, usage", `{"id":"B","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,` +
		`"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
		`"completion_tokens_details":{"reasoning_tokens":0}}}`,
		`id=B usage=19/10/0`, false},

	{"null error is none", `{"error":null,"choices":[{"text":"a"}]}`, `token text="a"`, false},
	{"white space",
		" {\t\"choices\" : [ { \"delta\" : { \"content\" : \"a b\" } } ] , \"usage\" : { \"prompt_tokens\" : 3 } }\r\n",
		`token text="a b" usage=3/-1/-1`, false},
	{"all escapes", `{"choices":[{"text":"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC"}]}`,
		`token text="\"\\/\b\f\n\r\tAé€"`, false},
	{"surrogate pair", `{"choices":[{"text":"\ud83d\ude00!"}]}`, `token text="😀!"`, false},
	{"half a surrogate pair", `{"choices":[{"text":"\ud83d!\ude00"}]}`, `token text="�!�"`, false},
	{"two first halves", `{"choices":[{"text":"\ud83d\ud83d\ude00"}]}`, `token text="�😀"`, false},
	{"first half at the end", `{"choices":[{"text":"x\ud83d"}]}`, `token text="x�"`, false},
	{"empty object", `{}`, ``, false},
	{"empty usage", `{"usage":{}}`, `usage=-1/-1/-1`, false},
	{"usage of nulls", `{"usage":{"prompt_tokens":null,"completion_tokens":null}}`, `usage=-1/-1/-1`, false},
	{"no choices", `{"choices":null}`, ``, false},
	{"no delta", `{"choices":[{"delta":null,"text":null,"finish_reason":null}]}`, ``, false},
	{"id of another kind", `{"id":7,"choices":[{"text":"a"}]}`, `token text="a"`, false},

	{"replacement for bytes that are no UTF-8", "{\"choices\":[{\"text\":\"a\xff\"}]}", "token text=\"a\ufffd\"", true},
	{"escaped field name", `{"choi\u0063es":[{"text":"a"}]}`, `token text="a"`, true},
	{"field given twice", `{"choices":[{"text":"a","text":"b"}]}`, `token text="b"`, true},
	{"two choices: the first counts", `{"choices":[{"text":"a"},{"text":"b"}]}`, `token text="a" others`, true},
	{"two choices in another order", `{"choices":[{"index":1,"text":"b"},{"index":0,"text":"a"}]}`,
		`token text="a" others`, true},
	{"the second choice alone", `{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}`, `others`,
		true},
	{"content in parts", `{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}`,
		`token text="ab"`, true},
	{"thinking in parts", `{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text",` +
		`"text":"a"}]}]}}]}`, `reasoning`, true},
	{"content in no parts", `{"choices":[{"delta":{"content":[]}}]}`, ``, true},
	{"content that is a number", `{"choices":[{"delta":{"content":7}}]}`, ``, true},
	{"aborted", `{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"abort"}]}`, `finish=4`, false},
	{"failed", `{"choices":[{"index":0,"text":"","finish_reason":"error"}]}`, `finish=4`, false},
	{"error object", `{"object":"error","message":"no","code":500}`,
		`error={"object":"error","message":"no","code":500}`, true},
	{"object of another kind", `{"object":"chat.completion.chunk","choices":[{"text":"a"}]}`, `token text="a"`, false},
	{"usage of a string", `{"usage":{"prompt_tokens":3,"completion_tokens":"9"}}`, `usage=3/-1/-1 bad usage`, true},
	{"negative usage", `{"usage":{"prompt_tokens":3,"completion_tokens":-1}}`, `usage=3/-1/-1 bad usage`, true},
	{"usage of a fraction", `{"usage":{"completion_tokens":1.5}}`, `usage=-1/-1/-1 bad usage`, true},
	{"usage beyond all bounds", `{"usage":{"completion_tokens":99999999999}}`, `usage=-1/-1/-1 bad usage`, true},
	{"cached tokens of another kind", `{"usage":{"prompt_tokens":3,"prompt_tokens_details":{"cached_tokens":true}}}`,
		`usage=3/-1/-1 bad usage`, true},
	{"usage that is not an object", `{"usage":1}`, `bad usage`, true},
	{"deep", `{"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"choices":[{"text":"a"}]}`,
		`token text="a"`, true},
	{"field names are matched by case", `{"Choices":[{"text":"a"}],"USAGE":{}}`, ``, false},
}

// said writes what a delta says.
func said(d *Delta) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if len(d.ID) > 0 {
		add("id=%s", d.ID)
	}
	switch {
	case d.Answer:
		add("token")
	case d.Token:
		add("reasoning")
	}
	if d.Content != nil {
		add("text=%q", d.AppendText(nil))
	}
	if d.Finish != NoFinish {
		add("finish=%d", d.Finish)
	}
	if d.HasUsage {
		add("usage=%d/%d/%d", d.Prompt, d.Output, d.Cached)
	}
	if d.BadUsage {
		add("bad usage")
	}
	if d.Others {
		add("others")
	}
	if d.Error != nil {
		add("error=%s", d.Error)
	}
	return strings.Join(parts, " ")
}

// scan reads an event by the scanner alone.
func (d *Delta) scan(data []byte) bool {
	*d = Delta{Prompt: -1, Output: -1, Cached: -1}
	s := scanner{b: data}
	return s.event(d)
}

func TestDelta(t *testing.T) {
	for _, test := range chunks {
		var d Delta
		if err := d.Parse([]byte(test.data)); err != nil {
			t.Errorf("%s: %v", test.name, err)
		} else if got := said(&d); got != test.want {
			t.Errorf("%s: says %s, want %s", test.name, got, test.want)
		}
		if err := d.Decode([]byte(test.data)); err != nil {
			t.Errorf("%s: by encoding/json: %v", test.name, err)
		} else if got := said(&d); got != test.want {
			t.Errorf("%s: by encoding/json says %s, want %s", test.name, got, test.want)
		}
		if fast := d.scan([]byte(test.data)); fast == test.slow {
			t.Errorf("%s: the scanner is sure of it: %v, want %v", test.name, fast, !test.slow)
		}
	}
}

func TestDeltaRefuses(t *testing.T) {
	for _, data := range []string{
		``, ` `, `{`, `}`, `[]`, `"x"`, `1`, `OK`, `data: {}`, `<html>`,
		`{"choices":[{"text":"a"}]`, `{"choices":[{"text":"a"}]}}`, `{"choices":[{"text":"a}]}`,
		`{"choices":[{"text":"a"},]}`, `{"choices":[{"text":"a",}]}`,
		`{"a":01}`, `{"a":1.}`, `{"a":-}`, `{"a":1e}`, `{"a":.5}`, `{"a":+1}`, `{"a":tru}`, `{"a":nul}`,
		`{'a':1}`, `{a:1}`, `{"a" 1}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"\u123"}`,
		"{\"a\":\"\n\"}", "{\"a\":\"\x00\"}",
		`{"choices":{}}`, `{"choices":[1]}`, `{"choices":"x"}`, `{"choices":[{"text":1}]}`,
		`{"choices":[{"delta":"x"}]}`, `{"choices":[{"finish_reason":1}]}`,
	} {
		var d Delta
		if err := d.Parse([]byte(data)); err == nil {
			t.Errorf("%q says %s, want an error", data, said(&d))
		}
		if d.scan([]byte(data)) {
			t.Errorf("the scanner takes %q", data)
		}
	}
}

// TestDeltaOnMadeUpEvents sets scanner and encoding/json against each other on events made up of the fields that
// matter, in places where they do and don't belong, a third of them damaged.
func TestDeltaOnMadeUpEvents(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sure := 0
	const n = 30_000
	for range n {
		data := madeUpObject(r, 0)
		if r.IntN(3) == 0 && len(data) > 0 {
			i := r.IntN(len(data))
			data = data[:i] + string(`{}[]",:\\nu0e-. x`[r.IntN(17)]) + data[i+r.IntN(2):]
		}
		var fast, slow Delta
		if !fast.scan([]byte(data)) {
			continue
		}
		sure++
		if err := slow.Decode([]byte(data)); err != nil {
			t.Fatalf("the scanner takes %q, encoding/json says: %v", data, err)
		}
		if got, want := said(&fast), said(&slow); got != want {
			t.Fatalf("%q says %s, by encoding/json %s", data, got, want)
		}
	}
	if sure < n/20 {
		t.Errorf("the scanner was sure of %d of %d events: too few to be a test", sure, n)
	}
}

func madeUpObject(r *rand.Rand, depth int) string {
	keys := []string{"id", "error", "usage", "choices", "delta", "message", "text", "finish_reason", "content",
		"reasoning", "reasoning_content", "tool_calls", "prompt_tokens", "completion_tokens",
		"prompt_tokens_details", "cached_tokens", "index", "object", "x", "", `\u0069d`}
	var fields []string
	for range r.IntN(4) {
		key := keys[r.IntN(len(keys))]
		value := madeUpValue(r, depth)
		// More often than by chance where it belongs.
		if r.IntN(3) > 0 {
			switch depth {
			case 0:
				key = keys[r.IntN(4)]
				if key == "choices" {
					value = "[" + madeUpObject(r, 1) + "]"
				} else if key == "usage" {
					value = madeUpObject(r, 3)
				}
			case 1:
				key = keys[4+r.IntN(4)]
				if key == "delta" || key == "message" {
					value = madeUpObject(r, 2)
				}
			case 2:
				key = keys[8+r.IntN(4)]
			case 3:
				key = keys[12+r.IntN(4)]
			}
		}
		space := []string{"", "", "", " ", "\n\t"}[r.IntN(5)]
		fields = append(fields, space+`"`+key+`"`+space+":"+space+value+space)
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func madeUpValue(r *rand.Rand, depth int) string {
	scalars := []string{"null", "null", "true", "false", "0", "7", "-1", "12.5", "1e3", "1073741824", "1073741825",
		`""`, `"a"`, `"b c"`, `"\n"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d\u0041"`, `"é"`, "\"\xff\"",
		`"length"`, `"stop"`, `"abort"`, `"error"`, `"[DONE]"`, `[]`, `{}`}
	if depth > 3 || r.IntN(4) > 0 {
		return scalars[r.IntN(len(scalars))]
	}
	if r.IntN(2) == 0 {
		return madeUpObject(r, depth+1)
	}
	var elements []string
	for range r.IntN(3) {
		elements = append(elements, madeUpValue(r, depth+1))
	}
	return "[" + strings.Join(elements, ", ") + "]"
}

// FuzzDelta: what the scanner is sure of, encoding/json reads the same.
func FuzzDelta(f *testing.F) {
	for _, c := range chunks {
		f.Add([]byte(c.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		var fast, slow Delta
		if !fast.scan(data) {
			return
		}
		got := said(&fast)
		if !bytes.Equal(data, before) {
			t.Fatalf("%q was changed to %q", before, data)
		}
		if err := slow.Decode(data); err != nil {
			t.Fatalf("the scanner takes %q, encoding/json says: %v", data, err)
		}
		if want := said(&slow); got != want {
			t.Fatalf("%q says %s, by encoding/json %s", data, got, want)
		}
	})
}

// TestTemplate reads every event after every other: what was learned from one must not show in the next.
func TestTemplate(t *testing.T) {
	for _, first := range chunks {
		for _, second := range chunks {
			var tmpl Template
			for _, c := range []struct{ data, want string }{
				{first.data, first.want}, {second.data, second.want}, {first.data, first.want},
			} {
				var d Delta
				if err := tmpl.Parse(&d, []byte(c.data)); err != nil {
					t.Fatalf("%s after %s: %v", second.name, first.name, err)
				}
				if got := said(&d); got != c.want {
					t.Fatalf("%s after %s: %s says %s, want %s", second.name, first.name, c.data, got, c.want)
				}
			}
		}
	}
}

func TestTemplateFits(t *testing.T) {
	event := func(text string) string {
		return `{"id":"c1","choices":[{"index":0,"delta":{"content":"` + text +
			`"},"finish_reason":null}],"usage":null}`
	}
	for _, test := range []struct {
		name, first, second string
		fits                bool
	}{
		{"another text", event("a"), event(" b"), true},
		{"an escaped text", event("a"), event(`\n\"\u20ac`), true},
		{"a text that looks like the end", event("a"), event(`\"},\"finish_reason\":null}`), true},
		{"a completion", `{"choices":[{"text":"a"}]}`, `{"choices":[{"text":"b"}]}`, true},
		{"an empty text", event("a"), event(""), false},
		{"after an empty text", event(""), event("a"), false},
		{"another id", event("a"), strings.Replace(event("b"), "c1", "c2", 1), false},
		{"an end", event("a"), strings.Replace(event("b"), `"finish_reason":null`, `"finish_reason":"stop"`, 1), false},
		{"after an end", strings.Replace(event("a"), `"finish_reason":null`, `"finish_reason":"stop"`, 1),
			strings.Replace(event("b"), `"finish_reason":null`, `"finish_reason":"stop"`, 1), false},
		{"a usage", event("a"), strings.Replace(event("b"), `"usage":null`, `"usage":{}`, 1), false},
		{"after a usage", strings.Replace(event("a"), `"usage":null`, `"usage":{}`, 1),
			strings.Replace(event("b"), `"usage":null`, `"usage":{}`, 1), false},
		{"a broken escape", event("a"), event(`\x`), false},
		{"a bare quote", event("a"), event(`a"b`), false},
		{"a control character", event("a"), event("\n"), false},
		{"no UTF-8", event("a"), event("\xff"), false},
		{"cut short", event("a"), event("b")[:len(event("b"))-1], false},
		{"cut in the text", event("a"), event("b")[:60], false},
		{"an id after the text", `{"choices":[{"text":"a"}],"id":"c1"}`, `{"choices":[{"text":"bb"}],"id":"c1"}`,
			false},
		{"no text", `{"choices":[{"delta":{"reasoning":"a"}}]}`, `{"choices":[{"delta":{"reasoning":"a"}}]}`, false},
		{"read by encoding/json", `{"choices":[{"text":"a","text":"b"}]}`, `{"choices":[{"text":"a","text":"c"}]}`,
			false},
	} {
		var tmpl Template
		var d Delta
		if err := tmpl.Parse(&d, []byte(test.first)); err != nil {
			t.Fatal(err)
		}
		if got := tmpl.fits(&d, []byte(test.second)); got != test.fits {
			t.Errorf("%s: fits: %v, want %v", test.name, got, test.fits)
		} else if got {
			var want Delta
			if err := want.Decode([]byte(test.second)); err != nil || said(&d) != said(&want) {
				t.Errorf("%s: says %s, by encoding/json %s (%v)", test.name, said(&d), said(&want), err)
			}
		}
	}
}

// FuzzTemplate: what is read by the template learned from one event, encoding/json reads the same.
func FuzzTemplate(f *testing.F) {
	for i, c := range chunks {
		f.Add([]byte(c.data), []byte(chunks[(i+1)%len(chunks)].data), " x")
		f.Add([]byte(c.data), []byte(c.data), `\u00e9\"`)
	}
	f.Fuzz(func(t *testing.T, first, second []byte, text string) {
		var tmpl Template
		var d, want Delta
		if tmpl.Parse(&d, first) != nil {
			return
		}
		// The second event as it is, and the first with another text in it.
		events := [][]byte{second}
		if len(tmpl.prefix) > 0 {
			events = append(events, slices.Concat(tmpl.prefix, []byte(text), tmpl.suffix))
		}
		for _, data := range events {
			if !tmpl.fits(&d, data) {
				continue
			}
			if err := want.Decode(data); err != nil {
				t.Fatalf("the template of %q takes %q, encoding/json says: %v", first, data, err)
			}
			if got, want := said(&d), said(&want); got != want {
				t.Fatalf("%q after %q says %s, by encoding/json %s", data, first, got, want)
			}
		}
	})
}
