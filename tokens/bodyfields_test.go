package tokens

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// Each column of a record's own request is sent as JSON of its kind, or not at all.
func TestOwnFields(t *testing.T) {
	for record, want := range map[string]string{
		`{"prompt":"x","temperature":0.5,"top_k":3}`: `"temperature":0.5,"top_k":3,`,
		`{"prompt":"x","temperature":"warm"}`:        ``,
		`{"prompt":"x","temperature":"0.5"}`:         `"temperature":0.5,`,
		`{"prompt":"x","temperature":null}`:          ``,
		`{"prompt":"x","stop":"a","seed":1}`:         `"seed":1,"stop":"a",`,
		`{"prompt":"x","stop":[ "a" ]}`:              `"stop":["a"],`,
		`{"prompt":"x","tools":"[{\"a\": 1}]"}`:      `"tools":[{"a":1}],`,
		`{"prompt":"x","tools":"hammer, saw"}`:       ``,
		`{"prompt":"x","guided_json":"{\"a\":1}"}`:   `"guided_json":"{\"a\":1}",`,
		`{"prompt":"x","n":2,"user":"me"}`:           ``,
		`{"prompt":"x","max_tokens":7}`:              `"max_tokens":7,`,
		// A length of its own is asked for exactly, and goes over a bound.
		`{"prompt":"x","output_tokens":7,"max_tokens":9}`: `"max_completion_tokens":7,"stop":null,"ignore_eos":true,`,
		// What every request has otherwise keeps its place.
		`{"prompt":"x","output_tokens":7,"stop":"a","ignore_eos":false}`: `"max_completion_tokens":7,"stop":"a",` +
			`"ignore_eos":false,`,
		// --extra-body goes over the record.
		`{"prompt":"x","min_p":9}`: `"min_p":0.25,`,
		`{"custom_id":"1","body":{"messages":[{"role":"user","content":"x"}],"seed":3}}`: `"seed":3,`,
	} {
		d, err := openData(write(t, "r.jsonl", record), dataConfig{})
		if err != nil {
			t.Fatal(record, err)
		}
		it, err := d.source(0)
		if err != nil {
			t.Fatal(record, err)
		}
		extra := ""
		if strings.Contains(record, "min_p") {
			extra = `{"min_p":0.25}`
		}
		b, err := NewBody(BodyConfig{Extra: []byte(extra)})
		if err != nil {
			t.Fatal(err)
		}
		got, _, _ := strings.Cut(string(b.Bytes(it)), `"messages":`)
		if want := `{"stream":true,"stream_options":{"include_usage":true},` + want; got != want {
			t.Errorf("%s:\n got %s\nwant %s", record, got, want)
		}
	}
}

// GuideLLM's command takes GuideLLM's columns alone.
func TestGuideLLMTakesNoFields(t *testing.T) {
	path := write(t, "r.jsonl", `{"prompt":"x","output_tokens":7,"temperature":1,"source":"y"}`)
	d, err := openData(path, dataConfig{guideLLM: true, output: 3})
	if err != nil {
		t.Fatal(err)
	}
	if it, err := d.source(0); err != nil || it.OutputTokens != 3 || it.fields != nil {
		t.Errorf("%+v %v", it, err)
	}
	w := mustOpen(t, Spec{Data: &DataSpec{Source: path, GuideLLM: true}, Tokenizer: "none"})
	notes, warnings := w.Notes()
	if len(notes) != 1 || notes[0] != "not used of the records: source" || len(warnings) != 1 ||
		!strings.Contains(warnings[0], "output_tokens, temperature (GuideLLM 0.5.0") {
		t.Errorf("%q %q", notes, warnings)
	}
}

// Names of columns come from a file: they are shortened, and hold nothing that a terminal obeys.
func TestNamed(t *testing.T) {
	many := strings.Split(strings.Repeat("x ", 14), " ")[:14]
	if got := named(many); strings.Count(got, "x") != 12 || !strings.HasSuffix(got, " …") {
		t.Error(got)
	}
	if got := named([]string{"a\x1b[2J", "b"}); got != `"a\x1b[2J", b` {
		t.Error(got)
	}
}

// Records that can't be sent are left out; those that can come in their order, and the end is theirs.
func TestSkippedRecords(t *testing.T) {
	path := write(t, "r.json", `[{"conversations":[]},{"prompt":"a"},{"prompt":7},{"prompt":"b"},{"x":1},`+
		`{"prompt":""}]`)
	found, err := scanData(path, dataConfig{})
	if err != nil || found.records != 2 || found.skipped != 4 || len(found.bad) != 3 {
		t.Fatalf("%+v %v", found, err)
	}
	_, warnings := found.notes(&DataSpec{})
	if len(warnings) != 1 || !strings.Contains(warnings[0], "4 of 6 records") ||
		!strings.Contains(warnings[0], "r.json:1: its conversation is empty; ") ||
		!strings.Contains(warnings[0], "r.json:1: record 3: text_column: it is 7") ||
		!strings.HasSuffix(warnings[0], "; and 1 more") {
		t.Errorf("%q", warnings)
	}
	for _, cfg := range []dataConfig{{skip: true}, {skip: true, samples: 2}, {skip: true, shuffle: true}} {
		d, err := openData(path, cfg)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for i := 0; ; i++ {
			it, err := d.source(i)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got += it.PromptText
		}
		if got != "ab" && !(cfg.shuffle && got == "ba") {
			t.Errorf("%+v: %q", cfg, got)
		}
	}
	if _, err := scanData(path, dataConfig{samples: 3}); err == nil ||
		!strings.Contains(err.Error(), "holds 2 records") {
		t.Error(err)
	}
	// A saved workload is sent as it was, or not at all.
	saved := write(t, "s.jsonl", `{"path":"/v1/completions","body":{"a":1}}`+"\n"+
		`{"path":"/v1/chat/completions","body":{"a":1}}`)
	if _, err := scanData(saved, dataConfig{}); err == nil || !strings.Contains(err.Error(), "s.jsonl:2: its path is") {
		t.Error(err)
	}
}

func FuzzBodyValue(f *testing.F) {
	f.Add(`"[1, 2]"`, list)
	f.Add(`0.5`, number|boolean)
	f.Add(`{"a":[null]}`, object|text_)
	f.Fuzz(func(t *testing.T, text string, kinds int) {
		for _, value := range []any{text, json.RawMessage(text)} {
			if got, ok := bodyValue(value, kinds); ok && !json.Valid([]byte(got)) {
				t.Fatalf("%q of %q is not JSON", got, text)
			}
		}
	})
}
