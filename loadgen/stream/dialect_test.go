package stream

import (
	"fmt"
	"testing"
)

// dialectEvents are events as vLLM 0.23.0 sends them, shortened, and as the APIs define those that it does not send.
var dialectEvents = []struct {
	as   Dialect
	data string
	want string
}{
	{Responses, `{"response":{"id":"resp_9","status":"in_progress","error":null,"usage":null},"sequence_number":0,` +
		`"type":"response.created"}`, "id=resp_9"},
	{Responses, `{"response":{"id":"resp_9"},"sequence_number":1,"type":"response.in_progress"}`, ""},
	{Responses, `{"content_index":0,"delta":" f\u00e9.YES","item_id":"80","logprobs":[],"output_index":0,` +
		`"sequence_number":5,"type":"response.output_text.delta"}`, "token text= fé.YES"},
	{Responses, `{"type":"response.output_text.delta","delta":""}`, ""},
	{Responses, `{"type":"response.reasoning_text.delta","delta":"hm"}`, "reasoning"},
	{Responses, `{"type":"response.reasoning_summary_text.delta","delta":"hm"}`, "reasoning"},
	{Responses, `{"type":"response.function_call_arguments.delta","delta":"{\"a\""}`, "token"},
	{Responses, `{"text":".YES","type":"response.output_text.done"}`, ""},
	{Responses, `{"response":{"id":"resp_9","incomplete_details":{"reason":"max_output_tokens"},"status":` +
		`"incomplete","output":[{"type":"message","content":[{"text":"a","type":"output_text"}]}],` +
		`"usage":{"input_tokens":11,"input_tokens_details":{"cached_tokens":8},"output_tokens":4}},` +
		`"type":"response.completed"}`,
		"id=resp_9 finish=1 usage=11,4,8 last"},
	{Responses, `{"response":{"status":"incomplete","incomplete_details":{"reason":"content_filter"}},` +
		`"type":"response.incomplete"}`, "finish=3 last"},
	{Responses, `{"response":{"status":"completed","usage":{"input_tokens":1,"output_tokens":2}},` +
		`"type":"response.completed"}`, "finish=2 usage=1,2,-1 last"},
	{Responses, `{"response":{"status":"failed","error":{"code":"server_error","message":"m"}},` +
		`"type":"response.failed"}`,
		`error={"code":"server_error","message":"m"} last`},
	{Responses, `{"type":"error","code":"c","message":"m"}`, `error={"type":"error","code":"c","message":"m"} last`},
	{Responses, `{"object":"response","id":"r","status":"completed","output":[{"type":"reasoning","content":[]},` +
		`{"type":"message","content":[{"type":"output_text","text":"a b"}]}],` +
		`"usage":{"input_tokens":1,"output_tokens":2}}`,
		"token text=a b id=r finish=2 usage=1,2,-1"},
	{Messages, `{"type":"message_start","message":{"id":"chatcmpl-9","stop_reason":null,"usage":{"input_tokens":11,` +
		`"cache_read_input_tokens":30,"cache_creation_input_tokens":2,"output_tokens":1}}}`,
		"id=chatcmpl-9 usage=43,-1,30"},
	{Messages, `{"type":"content_block_start","content_block":{"type":"text","text":""},"index":0}`, ""},
	{Messages, `{"type":"content_block_delta","delta":{"type":"text_delta","text":"sl\"ider"},"index":0}`,
		`token text=sl"ider`},
	{Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`,
		"reasoning"},
	{Messages, `{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"hm"}}`, ""},
	{Messages, `{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{"}}`, "token"},
	{Messages, `{"type": "ping"}`, ""},
	{Messages, `{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"input_tokens":11,` +
		`"output_tokens":4}}`, "finish=1 usage=11,4,-1"},
	{Messages, `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},` +
		`"usage":{"output_tokens":15}}`, "finish=2 usage=-1,15,-1"},
	{Messages, `{"type":"message_delta","delta":{"stop_reason":"tool_use"}}`, "finish=3"},
	{Messages, `{"type":"message_stop"}`, "last"},
	{Messages, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`,
		`error={"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}} last`},
	{Messages, `{"type":"message","id":"m","content":[{"type":"thinking","thinking":"h"},{"type":"text","text":"a"}],` +
		`"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}}`,
		"token text=a id=m finish=2 usage=3,4,-1"},
}

// inWords is all that a delta says.
func inWords(d *Delta) (s string) {
	add := func(format string, args ...any) {
		if s != "" {
			s += " "
		}
		s += fmt.Sprintf(format, args...)
	}
	switch {
	case d.Answer:
		add("token")
	case d.Token:
		add("reasoning")
	}
	if text := d.AppendText(nil); len(text) > 0 {
		add("text=%s", text)
	}
	if len(d.ID) > 0 {
		add("id=%s", d.ID)
	}
	if d.Finish != NoFinish {
		add("finish=%d", d.Finish)
	}
	if d.HasUsage {
		add("usage=%d,%d,%d", d.Prompt, d.Output, d.Cached)
	}
	if d.BadUsage {
		add("bad usage")
	}
	if d.Error != nil {
		add("error=%s", d.Error)
	}
	if d.Last {
		add("last")
	}
	return s
}

func TestDialects(t *testing.T) {
	for _, e := range dialectEvents {
		var d Delta
		if err := d.DecodeAs(e.as, []byte(e.data)); err != nil || inWords(&d) != e.want {
			t.Errorf("%s says %q, %v; want %q", e.data, inWords(&d), err, e.want)
		}
		if err := d.ParseAs(e.as, []byte(e.data)); err != nil || inWords(&d) != e.want {
			t.Errorf("%s scanned says %q, %v; want %q", e.data, inWords(&d), err, e.want)
		}
	}
}

func TestDialectOf(t *testing.T) {
	for path, want := range map[string]Dialect{
		"/v1/chat/completions": Completions, "/v1/completions": Completions, "/a/v1/responses": Responses,
		"/v1/messages/": Messages, "": Completions, "/messages/v1/completions": Completions,
	} {
		if got := DialectOf(path); got != want {
			t.Errorf("%q is %d, want %d", path, got, want)
		}
	}
}

// TestDialectScans makes sure that token events take the way that allocates nothing.
func TestDialectScans(t *testing.T) {
	for _, e := range dialectEvents {
		var d Delta
		d.Prompt, d.Output, d.Cached = -1, -1, -1
		s := scanner{b: []byte(e.data)}
		if d.DecodeAs(e.as, s.b) != nil || !d.Token || d.Finish != NoFinish {
			continue
		}
		data, tmpl := []byte(e.data), Template{As: e.as}
		if n := testing.AllocsPerRun(20, func() { _ = tmpl.Parse(&d, data) }); n > 0 {
			t.Errorf("%s: %v allocations", e.data, n)
		}
	}
}

// FuzzDialects compares the scanner, and the template, with encoding/json.
func FuzzDialects(f *testing.F) {
	for i, e := range dialectEvents {
		f.Add(e.as == Messages, []byte(e.data), []byte(dialectEvents[(i+1)%len(dialectEvents)].data))
	}
	f.Fuzz(func(t *testing.T, messages bool, first, second []byte) {
		as := Responses
		if messages {
			as = Messages
		}
		tmpl := Template{As: as}
		for _, data := range [][]byte{first, second, first} {
			var fast, slow Delta
			errFast, errSlow := tmpl.Parse(&fast, data), slow.DecodeAs(as, data)
			if (errFast == nil) != (errSlow == nil) || errFast == nil && inWords(&fast) != inWords(&slow) {
				t.Fatalf("%q says %q (%v), by encoding/json %q (%v)",
					data, inWords(&fast), errFast, inWords(&slow), errSlow)
			}
		}
	})
}
