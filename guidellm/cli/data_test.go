package cli

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/tokens"
)

// writeFile makes a file of records and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file of records becomes data with its columns as a map, and its end the end of a stage.
func TestRecords(t *testing.T) {
	file := writeFile(t, "r.jsonl", `{"q":"one","n":3}`+"\n"+`{"q":"two","n":3}`+"\n")
	free := writeFile(t, "f.jsonl", `{"q":"one"}`+"\n"+`{"q":"two"}`+"\n"+`{"q":"three"}`+"\n")
	mixed := writeFile(t, "m.csv", "prompt,output_tokens_count\none,\ntwo,3\n")
	bad := writeFile(t, "b.jsonl", `{"q":"one"}`+"\n"+`{"q":`+"\n")
	const text = "--data-column-mapper text_column=q "
	columns := `--data-column-mapper {"text_column":["q"],"output_tokens_count_column":"n"} `
	for _, test := range []struct {
		args     string
		requests int
		extra    string
		err      string
	}{
		{"--data " + file + " " + text + "--max-seconds 9", 2, "", ""},
		{"--data " + file + " " + columns + "--max-requests 7", 2, "", ""},
		{"--data " + file + " " + columns + "--max-requests 1", 1, "", ""},
		{"--data " + file + " " + text + "--data-samples 1", 1, "", ""},
		{"--data " + free + " " + text + "--request-formatter-kwargs max_tokens=5", 3,
			`{"max_completion_tokens":5}`, ""},
		{"--data " + free + " " + text + "--request-type text_completions --request-formatter-kwargs " +
			`{"max_completion_tokens":6,"extras":{"body":{"a":1}}}`, 3, `{"max_tokens":6,"a":1}`, ""},
		{"--data prompt_tokens=8,output_tokens=4 --data-samples 5", 5, "", ""},
		{"--data prompt_tokens=8,output_tokens=4 --max-seconds 5", 0, "", ""},
		{`--data [{"prompt":"a"},{"prompt":"b"}]`, 2, "", ""},
		{"--data " + file + " " + columns + "--request-formatter-kwargs max_tokens=5", 0, "",
			"--request-formatter-kwargs: 2 of the 2 records"},
		{"--data " + mixed + " --request-formatter-kwargs max_tokens=5", 0, "",
			"--request-formatter-kwargs: 1 of the 2 records"},
		{"--data " + bad + " " + text, 0, "", "b.jsonl:2"},
		{"--data " + file + " " + text + "--data-samples 3", 0, "", "3 samples are asked for"},
		{"--data prompt_tokens=8,prompt_tokens_min=9,prompt_tokens_max=8,output_tokens=1", 0, "",
			"is above the greatest"},
	} {
		c, err := read(append([]string{"--target", "http://h:1"}, words(test.args)...), nil)
		if err == nil {
			err = c.CountRecords()
		}
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", test.args, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		if got := c.Spec.Limits.MaxRequests; got != test.requests || string(c.Spec.Workload.Extra) != test.extra {
			t.Errorf("%s: %d requests, further fields %s", test.args, got, c.Spec.Workload.Extra)
		}
		endless := strings.Contains(strings.Join(c.Notes, " "), "has no end")
		if endless != (test.requests == 0 && !strings.Contains(test.args, "--max-seconds")) {
			t.Errorf("%s: notes %q", test.args, c.Notes)
		}
		if err := c.Spec.Validate(); err != nil {
			t.Errorf("%s: %v", test.args, err)
		}
	}
	c, err := read(append(words("--target http://h:1 --data-samples 2 --data-sampler shuffle --random-seed 7 "+columns),
		"--data", file), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &tokens.DataSpec{
		Source: file, Samples: 2, Shuffle: true, Seed: 7, GuideLLM: true,
		Columns: map[string][]string{"text_column": {"q"}, "output_tokens_count_column": {"n"}},
	}
	if w := c.Spec.Workload; !reflect.DeepEqual(w.Data, want) || w.Synthetic != nil || w.Seed != 7 {
		t.Errorf("workload %+v, data %+v", w, w.Data)
	}
}

// A stage of synthetic data without a limit has no end, and that is said.
func TestEndless(t *testing.T) {
	c, err := read(words(baseLine), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CountRecords(); err != nil {
		t.Fatal(err)
	}
	d := c.Spec.Limits.MaxDuration
	if d != noLimit || !strings.Contains(strings.Join(c.Notes, " "), "has no end; Ctrl-C ends it") {
		t.Errorf("a stage of %v, notes %q", d, c.Notes)
	}
}

func FuzzParseSettings(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5,null,true,"x"]}`, "a=1,b=2", "0.5", "", "{", "{}}", "=", ",=,", `{"a":1}{"b":2}`, "word",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseSettings(text)
		if err != nil || !utf8.ValidString(text) { // JSON has no word for other bytes
			return
		}
		if o, ok := v.(guidellm.Object); ok {
			written, err := appendJSON(nil, o)
			if err != nil {
				t.Fatalf("%q is read as %v, which can't be written: %v", text, o, err)
			}
			again, err := parseJSON(written)
			if err != nil {
				t.Fatalf("%q is written as %s, which can't be read: %v", text, written, err)
			}
			if more, err := appendJSON(nil, again); err != nil || string(more) != string(written) {
				t.Errorf("%q is written as %s, read again and written as %s (%v)", text, written, more, err)
			}
		}
	})
}
