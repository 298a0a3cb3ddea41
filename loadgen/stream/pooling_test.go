package stream

import "testing"

// What servers answer to embeddings and rerank requests: vLLM 0.23.0, Jina's API, Cohere's.
func TestPooling(t *testing.T) {
	for answer, want := range map[string]Delta{
		`{"id":"embd-1","object":"list","data":[{"index":0,"object":"embedding","embedding":[0.1]}],` +
			`"usage":{"prompt_tokens":7,"total_tokens":7,"completion_tokens":0}}`: {Finish: FinishStop, Prompt: 7},
		`{"id":"score-1","results":[{"index":0,"relevance_score":0.5}],"usage":{"total_tokens":9}}`: {
			Finish: FinishStop, Prompt: 9},
		`{"id":"c","results":[{"index":0,"relevance_score":0.5}],"meta":{}}`: {Finish: FinishStop, Prompt: -1},
		`{"object":"list","data":[]}`:                                        {Finish: NoFinish, Prompt: -1},
		`{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}`:  {Finish: NoFinish, Prompt: -1},
	} {
		var d Delta
		if err := d.ParseAs(DialectOf("/v1/embeddings"), []byte(answer)); err != nil {
			t.Errorf("%s: %v", answer, err)
		}
		if d.Finish != want.Finish || d.Prompt != want.Prompt || d.Output != 0 || d.Token {
			t.Errorf("%s: %+v, want finish %v, prompt %v", answer, d, want.Finish, want.Prompt)
		}
	}
	for _, answer := range []string{`{"object":"error","message":"no"}`, `{"error":{"message":"no"}}`} {
		var d Delta
		if err := d.ParseAs(DialectOf("/rerank"), []byte(answer)); err != nil || d.Error == nil {
			t.Errorf("%s: %+v, %v", answer, d, err)
		}
	}
	var d Delta
	if d.ParseAs(Pooling, []byte(`{"data":`)) == nil {
		t.Error("half an answer is taken")
	}
}

func FuzzPooling(f *testing.F) {
	f.Add([]byte(`{"id":"embd-1","object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":7}}`))
	f.Add([]byte(`{"results":[{}],"usage":{"total_tokens":9}}`))
	f.Add([]byte(`{"object":"error","usage":{"prompt_tokens":-1,"total_tokens":1e99},"data":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var d Delta
		if d.ParseAs(Pooling, data) != nil || d.Error != nil {
			return
		}
		if d.Token || d.Output != 0 || d.Prompt < -1 || d.Finish != NoFinish && d.Finish != FinishStop {
			t.Fatalf("%q: %+v", data, d)
		}
	})
}
