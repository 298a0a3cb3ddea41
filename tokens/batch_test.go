package tokens

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
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

// What records say is sent as it is; tokens of a query count with each document.
func TestPoolingRecords(t *testing.T) {
	for record, want := range map[string]struct {
		format Format
		query  string
		texts  []string
		tokens int
	}{
		`{"query":"q q","documents":["a","b b"]}`:            {Rerank, "q q", []string{"a", "b b"}, 7},
		`{"query":"q","passages":[{"text":"a"}],"texts":[]}`: {Rerank, "q", []string{"a"}, 2},
		`{"query":"q","positive":["a"],"negative":["b"]}`:    {Rerank, "q", []string{"a", "b"}, 4},
		`{"query":"q","positive":[],"negative":["b"]}`:       {Rerank, "q", []string{"b"}, 2},
		`{"query":"q"}`:                          {format: Rerank},
		`{"documents":["a"]}`:                    {format: Rerank},
		`{"query":"q","documents":"a"}`:          {format: Rerank},
		`{"query":"q","documents":[1]}`:          {format: Rerank},
		`{"query":"q","documents":[null]}`:       {format: Rerank},
		`{"query":["q"],"documents":["a"]}`:      {format: Rerank},
		`{"input":["a","b b"]}`:                  {Embeddings, "", []string{"a", "b b"}, 3},
		`{"prefix":"p ","input":["a"]}`:          {Embeddings, "", []string{"p a"}, 2},
		`{"input":["a"],"input_tokens_count":9}`: {Embeddings, "", []string{"a"}, 9},
		`{"input":["a"]} `:                       {format: ChatCompletions},
	} {
		f, err := openSource("["+record+"]", dataConfig{format: want.format,
			count: func(text string) int { return len(strings.Fields(text)) }})
		if err != nil {
			t.Fatal(err)
		}
		it, err := f.next()
		if (err != nil) != (want.texts == nil) || it.PromptText != want.query || !slices.Equal(it.Texts, want.texts) ||
			it.PromptTokens != want.tokens {
			t.Errorf("%s: %+v, %v", record, it, err)
		}
	}
	many := `[{"query":"q","documents":[` + strings.Repeat(`"a",`, MostTexts) + `"a"]}]`
	f, err := openSource(many, dataConfig{format: Rerank})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.next(); err == nil || !strings.Contains(err.Error(), "at most 10000") {
		t.Errorf("too many documents: %v", err)
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
		"batch of data":   {Format: Rerank, Data: &DataSpec{}, Batch: 2},
		"columns of data": {Format: Rerank, Data: &DataSpec{Columns: map[string][]string{"text_column": {"a"}}}},
	} {
		if s.checkBatch() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := Embeddings.checkMessages([]byte(`[{"role":"user","content":"x"}]`)); err == nil {
		t.Error("a conversation is embedded")
	}
}
