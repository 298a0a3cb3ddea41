package tokens

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
)

func TestSavedWorkloadsGiveTheSameBytes(t *testing.T) {
	s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 20, Stdev: 5}, Output: Length{Mean: 7},
		Prefixes: []PrefixBucket{{Tokens: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []Format{ChatCompletions, TextCompletions} {
		b, err := NewBody(BodyConfig{Model: "m", Format: format, Extra: []byte(`{"a":"\u00e9 é","x":1.50}`)})
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		w := newSavedWriter(&file, format)
		var want []Item
		for i := range 20 {
			it := s.Item(i)
			it.Body = b.Bytes(it)
			switch i {
			case 3:
				it.Body = []byte("{ \"not\" : \"compact\" }")
			case 4:
				it.Body = []byte("{\"two\":\n1}")
			case 5:
				it.Body = []byte("no JSON \xff\x00")
			case 6:
				it.Body = []byte(" {}")
			}
			saved := ready{index: i, prefixTokens: it.PrefixTokens, promptTokens: it.PromptTokens}
			saved.request = loadgen.Request{Body: it.Body, OutputTokens: int32(it.OutputTokens)}
			if err := w.write(saved); err != nil {
				t.Fatal(err)
			}
			want = append(want, it)
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(file.Bytes(), []byte{'\n'}); lines != 20 {
			t.Errorf("%d lines", lines)
		}
		for _, name := range []string{"w.jsonl", "w.jsonl.gz"} {
			d, err := openData(write(t, name, file.String()), dataConfig{})
			if err != nil {
				t.Fatal(err)
			}
			if !d.saved || d.format != format {
				t.Error(d.saved, d.format)
			}
			other, err := NewBody(BodyConfig{Model: "other"})
			if err != nil {
				t.Fatal(err)
			}
			for i, it := range all(t, d.source) {
				if !bytes.Equal(other.Bytes(it), want[i].Body) || it.OutputTokens != want[i].OutputTokens ||
					it.InputTokens() != want[i].InputTokens() || it.Index != i {
					t.Errorf("item %d\n got %s\nwant %s", i, it.Body, want[i].Body)
				}
			}
		}
	}
	mixed := `{"path":"/v1/completions","body":{}}` + "\n" + `{"path":"/v1/chat/completions","body":{}}`
	d, err := openData(write(t, "w.jsonl", mixed), dataConfig{})
	if err != nil {
		t.Fatal(err)
	}
	source := d.source
	source(0)
	if _, err := source(1); err == nil || !strings.Contains(err.Error(),
		"w.jsonl:2: its path is /v1/chat/completions") {
		t.Error(err)
	}
	w := newSavedWriter(failingWriter{}, ChatCompletions)
	large := ready{request: loadgen.Request{Body: bytes.Repeat([]byte("x"), 1<<17)}}
	if err := errors.Join(w.write(large), w.flush()); err == nil {
		t.Error("a write error is lost")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }
