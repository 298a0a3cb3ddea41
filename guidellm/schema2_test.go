package guidellm

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/openloop/openloop/guidellm/stats"
)

// TestCompileLater makes the metrics of a report that GuideLLM 0.8.1 wrote once more, and finds each of its values.
func TestCompileLater(t *testing.T) {
	const name = "../testdata/guidellm-0.8.1.json.gz"
	r, err := ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var stored struct {
		Benchmarks []struct {
			Metrics map[string]any `json:"metrics"`
		} `json:"benchmarks"`
	}
	if err := json.NewDecoder(z).Decode(&stored); err != nil {
		t.Fatal(err)
	}
	values := 0
	for i, b := range r.Benchmarks {
		var requests []stats.Request
		for _, request := range b.Requests.Successful.List() {
			requests = append(requests, request.Stats())
		}
		window := stats.Window{Start: b.StartTime, End: b.EndTime}
		made := stats.CompileLater(window, requests, b.Config.Load().Open(), func(int) bool { return true })
		text, err := json.Marshal(made)
		if err != nil {
			t.Fatal(err)
		}
		var computed map[string]any
		if err := json.Unmarshal(text, &computed); err != nil {
			t.Fatal(err)
		}
		values += compareLater(t, stored.Benchmarks[i].Metrics, computed, fmt.Sprintf("benchmarks[%d].metrics", i))
	}
	if values < 4000 {
		t.Errorf("%d values compared: too few", values)
	}
}

// compareLater compares what was computed with what is stored under its names, and counts the numbers.
func compareLater(t *testing.T, stored, computed any, path string) (n int) {
	switch computed := computed.(type) {
	case map[string]any:
		object, ok := stored.(map[string]any)
		if !ok {
			t.Errorf("%s: stored %v, computed an object", path, stored)
			return 0
		}
		for key, value := range computed {
			n += compareLater(t, object[key], value, path+"."+key)
		}
		return n
	case float64:
		if number, ok := stored.(float64); !ok || !sameValue(number, computed) {
			t.Errorf("%s: stored %v, computed %v", path, stored, computed)
		}
		return 1
	}
	if stored != computed {
		t.Errorf("%s: stored %v, computed %v", path, stored, computed)
	}
	return 1
}

func TestLaterOfGuideLLMsOwn(t *testing.T) {
	var out bytes.Buffer
	if err := writeLater(&out, &Report{Metadata: Metadata{Version: Schema}}); err == nil {
		t.Error("a report that is not openloop's was written in schema 2")
	}
}

func TestLaterData(t *testing.T) {
	for _, c := range []struct{ data, kind string }{
		{"prompt_tokens=64,output_tokens=16", "synthetic_text"},
		{"kind=synthetic_text,prompt_tokens=64,output_tokens=16", "synthetic_text"},
		{"prompt_tokens=64,output_tokens=0", "text_file"},
		{"output_tokens=16", "text_file"},
		{"prompts.jsonl", "text_file"},
		{"", "text_file"},
	} {
		if got := laterData([]string{c.data}).Text("kind"); got != c.kind {
			t.Errorf("%q: %s, want %s", c.data, got, c.kind)
		}
	}
}
