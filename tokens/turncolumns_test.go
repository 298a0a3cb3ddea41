package tokens

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Rows whose turns have columns of their own become sessions, or their first turn alone.
func TestTurnColumns(t *testing.T) {
	sessions := &SessionSpec{Think: ThinkTime{Least: time.Second, Most: time.Second}}
	turn := func(text string, output int) Turn {
		return Turn{Think: time.Second, PromptText: text, PromptTokens: words(text), OutputTokens: output}
	}
	system := turn("and this", 0)
	system.Messages = []byte(`{"role":"system","content":"now long"},` +
		`{"role":"user","content":[{"type":"text","text":"and this"}]}`)
	system.PromptTokens = 4
	for _, c := range []struct {
		row     string
		columns map[string][]string
		want    Item
	}{
		{`{"prefix":"be brief","prompt_0":"what is it","output_tokens_count_0":5,"prompt_1":"and that"}`,
			nil, Item{PrefixText: "be brief", PrefixTokens: 2, PromptText: "what is it", PromptTokens: 3,
				OutputTokens: 5, whole: true, Turns: []Turn{turn("and that", 0)}}},
		{`{"prompt":"what","prompt_10":"third one","prompt_2":"second","output_tokens_count":5,` +
			`"output_tokens_count-10":7}`, nil, Item{PromptText: "what", PromptTokens: 1, OutputTokens: 5, whole: true,
			Turns: []Turn{turn("second", 0), turn("third one", 7)}}},
		{`{"Questions-1":"a b","Questions-2":null,"Questions-3":"","Questions-4":"c","input_tokens_count_4":9}`, nil,
			Item{PromptText: "a b", PromptTokens: 2, whole: true,
				Turns: []Turn{{Think: time.Second, PromptText: "c", PromptTokens: 9}}}},
		{`{"prompt_0":"what","prompt_1":"and this","system_prompt_1":"now long"}`, nil,
			Item{PromptText: "what", PromptTokens: 1, whole: true, Turns: []Turn{system}}},
		{`{"q_0":"a","q_1":"b c","n_1":"3"}`,
			map[string][]string{"text_column": {"0.q"}, "output_tokens_count_column": {"n"}},
			Item{PromptText: "a", PromptTokens: 1, whole: true, Turns: []Turn{turn("b c", 3)}}},
		// The numbers mean something else.
		{`{"text":"a b","input_2":"c"}`, nil, Item{PromptText: "a b", PromptTokens: 2}},
		{`{"q":"a","q_1":"b"}`, map[string][]string{"text_column": {"q"}}, Item{PromptText: "a", PromptTokens: 1}},
		{`{"q_1":"b"}`, map[string][]string{"text_column": {"q_1"}}, Item{PromptText: "b", PromptTokens: 1}},
	} {
		row := recordOf(t, c.row)
		source := &fileSource{cfg: dataConfig{columns: c.columns, count: words, sessions: sessions}}
		got, err := source.item(row)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", c.row, got, err, c.want)
		}
		alone := &fileSource{cfg: dataConfig{columns: c.columns, count: words}, found: &dataScan{
			unused: map[string]int{}, taken: map[string]int{}}}
		c.want.Turns, c.want.whole = nil, false
		if got, err := alone.item(row); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s, alone:\n got %+v, %v\nwant %+v", c.row, got, err, c.want)
		}
	}
}

func TestTurnColumnErrors(t *testing.T) {
	for _, c := range []struct {
		row      string
		guideLLM bool
		want     string
	}{
		{`{"prompt_0":"a","prompt-0":"b"}`, false, `its columns "prompt-0" and "prompt_0" are both of turn 0`},
		{`{"prompt":"a","prompt_0":"b"}`, false, "are both of turn 0"},
		{`{"prompt_0":"","prompt_1":null}`, false, "all of its columns prompt_0, prompt_1 are empty"},
		{`{"prompt_0":[1]}`, false, "prompt_0: it is [1]; want a text"},
		{`{"prompt_0":"a","output_tokens_count_0":"many"}`, false, "want a whole number of tokens"},
		{`{"prompt_0":"a","prefix_0":{}}`, false, "prefix_0: it is {}"},
		{`{"prompt_0":"a"}`, true, "it has no prompt"}, // GuideLLM 0.5.0 knows no turns
	} {
		source := &fileSource{cfg: dataConfig{guideLLM: c.guideLLM}}
		if _, err := source.item(recordOf(t, c.row)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.row, err, c.want)
		}
	}
}

func recordOf(t testing.TB, row string) record {
	t.Helper()
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(row), &fields); err != nil {
		t.Fatal(err)
	}
	r := record{}
	for name, value := range fields {
		r[name] = value
	}
	return r
}

// FuzzTurnColumns: a row with turns becomes prompts that are not empty and messages that are JSON, or an error.
func FuzzTurnColumns(f *testing.F) {
	f.Add("prompt_0", "prompt_1", "output_tokens_count_1", `"a"`, "3")
	f.Add("prompt", "PROMPTS-12", "prefix_12", `"a\"b"`, `"sys"`)
	f.Add("turn_000000", "turn_1", "input_tokens_count", `null`, `1.0`)
	f.Fuzz(func(t *testing.T, first, second, third, value, other string) {
		if !json.Valid([]byte(value)) || !json.Valid([]byte(other)) {
			return
		}
		source := &fileSource{cfg: dataConfig{count: words, sessions: &SessionSpec{}}}
		it, err := source.item(record{first: json.RawMessage(value), second: json.RawMessage(value),
			third: json.RawMessage(other)})
		if err != nil || it.Body != nil {
			return
		}
		b, err := NewBody(BodyConfig{Model: "model"})
		if err != nil {
			t.Fatal(err)
		}
		for _, turn := range b.session(it).Turns {
			if len(turn.Messages) == 0 || !json.Valid([]byte("["+string(turn.Messages)+"]")) {
				t.Fatalf("%q %q %q: %q", first, second, third, turn.Messages)
			}
		}
	})
}
