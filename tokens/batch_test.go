package tokens

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestBatches(t *testing.T) {
	texts := func(i int) (Item, error) {
		if i >= 5 {
			return Item{}, io.EOF
		}
		return Item{Index: i, PromptText: strings.Repeat("w ", i+1), PromptTokens: i + 1}, nil
	}
	queries := func(int) (Item, error) { return Item{PromptText: "what?", PromptTokens: 2}, nil }
	for name, c := range map[string]struct {
		queries source
		lengths []int // of each request, in tokens
	}{
		"embeddings": {nil, []int{3, 7, 5}},
		"rerank":     {queries, []int{7, 11, 7}}, // the query with each document
	} {
		next := batches(texts, c.queries, 2)
		for i, want := range c.lengths {
			it, err := next(i)
			if err != nil || it.PromptTokens != want || it.Index != i {
				t.Errorf("%s %d: %+v, %v, want %d tokens", name, i, it, err, want)
			}
		}
		if _, err := next(3); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v behind the last text", name, err)
		}
	}
}

func TestPoolingBodies(t *testing.T) {
	it := Item{PromptText: "q?", Texts: []string{"a", "b\"c"}}
	for format, want := range map[Format]string{
		Embeddings: `{"model":"m","dimensions":8,"input":["a","b\"c"]}`,
		Rerank:     `{"model":"m","dimensions":8,"query":"q?","documents":["a","b\"c"]}`,
	} {
		b, err := NewBody(BodyConfig{Format: format, Model: "m", Extra: []byte(`{"dimensions":8}`)})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.Bytes(it)); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%v: %s, want %s", format, got, want)
		}
	}
	for name, s := range map[string]Spec{
		"batch of chats":  {Batch: 2},
		"query of inputs": {Format: Embeddings, Query: 3},
		"negative":        {Format: Rerank, Batch: -1},
		"trace":           {Format: Embeddings, Trace: &TraceSpec{}},
		"rerank of data":  {Format: Rerank, Data: &DataSpec{}},
	} {
		if s.checkBatch() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := Embeddings.checkMessages([]byte(`[{"role":"user","content":"x"}]`)); err == nil {
		t.Error("a conversation is embedded")
	}
}
