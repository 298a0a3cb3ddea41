package tokens

import "testing"

func TestBodiesOfOtherAPIs(t *testing.T) {
	chat := []byte(`[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"q"}]},` +
		`{"role":"assistant","content":[{"type":"text","text":"a"}]}]`)
	for _, c := range []struct {
		cfg  BodyConfig
		item Item
		want string
	}{
		{BodyConfig{Format: Responses, Model: "m"}, Item{PrefixText: "s", PromptText: "q\"", OutputTokens: 3},
			`{"model":"m","stream":true,"store":false,"max_output_tokens":3,"ignore_eos":true,` +
				`"input":[{"role":"system","content":"s"},{"role":"user","content":"q\""}]}`},
		{BodyConfig{Format: Responses, NoStream: true, NoIgnoreEOS: true, Extra: []byte(`{"store":true}`)},
			Item{Messages: chat, OutputTokens: 3},
			`{"store":true,"max_output_tokens":3,"input":[{"role":"system","content":"s"},` +
				`{"role":"user","content":[{"type":"input_text","text":"q"}]},{"role":"assistant","content":"a"}]}`},
		{BodyConfig{Format: Messages, Model: "m"}, Item{PrefixText: "s", PromptText: "q", OutputTokens: 3},
			`{"model":"m","stream":true,"max_tokens":3,"messages":[{"role":"user","content":"q"}],"system":"s"}`},
		{BodyConfig{Format: Messages}, Item{Messages: chat},
			`{"stream":true,"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},` +
				`{"role":"assistant","content":"a"}],"system":"s"}`},
		{BodyConfig{Format: Messages}, Item{PrefixText: "s", OutputTokens: 1},
			`{"stream":true,"max_tokens":1,"messages":[{"role":"user","content":"s"}]}`},
	} {
		b, err := NewBody(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.Bytes(c.item)); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}

func TestMessagesOfTextAlone(t *testing.T) {
	for messages, good := range map[string]bool{
		``: true,
		`[{"role":"developer","content":"a"},{"role":"user","content":"b","name":null}]`: true,
		`[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}]`: false,
		`[{"role":"assistant","content":"","tool_calls":[{"id":"x"}]}]`:                  false,
		`[{"role":"tool","content":"a"}]`:                                                false,
		`[{"role":"user","content":3}]`:                                                  false,
	} {
		for _, f := range []Format{Responses, Messages} {
			if err := f.checkMessages([]byte(messages)); (err == nil) != good {
				t.Errorf("%v, %s: %v", f, messages, err)
			}
		}
		if err := ChatCompletions.checkMessages([]byte(messages)); err != nil {
			t.Errorf("chat, %s: %v", messages, err)
		}
	}
}
