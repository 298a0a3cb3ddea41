package parity

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/guidellm"
)

// small is a recording cut down to a few stages of a few requests each, as its text.
func small(f *testing.F, name string) []byte {
	f.Helper()
	r, err := guidellm.ReadFile("../../testdata/golden/" + name + "/report.json.gz")
	if err != nil {
		f.Fatal(err)
	}
	r.Benchmarks = r.Benchmarks[:min(2, len(r.Benchmarks))]
	for _, b := range r.Benchmarks {
		all := &b.Requests
		for _, seq := range []*guidellm.RequestSeq{&all.Successful, &all.Errored, &all.Incomplete} {
			list := seq.List()
			*seq = guidellm.RequestSeq(slices.Values(list[:min(2, len(list))]))
		}
	}
	var text bytes.Buffer
	if err := guidellm.Write(&text, guidellm.JSON, r); err != nil {
		f.Fatal(err)
	}
	return text.Bytes()
}

// FuzzCompare: any two reports that are read are compared or refused, a report agrees with itself in all that was
// judged, and every comparison can be written.
func FuzzCompare(f *testing.F) {
	for _, name := range []string{"sweep-constant", "poisson-one-worker", "concurrent-warmup", "constant-errors"} {
		text := small(f, name)
		f.Add(text, text)
		const stages = `[{"load": {"arrival": "constant"},
			"client": {"level": "suspect", "reasons": [{"text": "late"}]}}]`
		own := bytes.Replace(text, []byte(`"benchmarks":`),
			[]byte(`"openloop": {"version": "1", "stages": `+stages+`}, "benchmarks":`), 1)
		f.Add(text, own)
	}
	const stage = `{"config": {"strategy": {"type_": "constant", "rate": 1}}, "openloop": {"stage": `
	for _, n := range []string{"0", "-1", "1", "9223372036854775807", "0.5", `"x"`} {
		f.Add([]byte(`{"benchmarks": [{"config": {"strategy": {"type_": "constant", "rate": 1}}}]}`),
			[]byte(`{"openloop": {"stages": [{"client": {"level": "invalid"}}]}, "benchmarks": [`+stage+n+`}}]}`))
	}
	for _, text := range []string{
		`{"benchmarks": []}`, `{"benchmarks": [{}, {}]}`, `{"args": {"data": ["a=1,b=2"]}, "benchmarks": [{}]}`,
		`{"benchmarks": [{"config": {"strategy": {"type_": "poisson", "rate": NaN, "worker_count": 2}}}]}`,
		`{"benchmarks": [{"config": {"strategy": {"type_": "constant", "rate": -Infinity}}, "duration": 0}]}`,
		`{"benchmarks": [{"requests": {"successful": [{"info": {"status": "completed", "timings": ` +
			`{"targeted_start": 1e308, "request_start": -1e308}}, "request_end_time": 0}]}}]}`,
	} {
		f.Add([]byte(text), []byte(text))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		if len(first)+len(second) > 256<<10 {
			return
		}
		defer time.AfterFunc(20*time.Second, func() { panic("hangs") }).Stop()
		compare := func(a, b []byte) (*Comparison, error) {
			g, err := guidellm.Read(bytes.NewReader(a))
			if err != nil {
				return nil, err
			}
			o, err := guidellm.Read(bytes.NewReader(b))
			if err != nil {
				return nil, err
			}
			c, err := Compare(g, o)
			var refused *refusedError
			if err != nil && (!errors.As(err, &refused) || len(refused.Reasons) == 0) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return c, err
		}
		c, err := compare(first, second)
		if err == nil {
			if err := errors.Join(WriteConsole(io.Discard, c), WriteMarkdown(io.Discard, c)); err != nil {
				t.Fatal(err)
			}
			isOutside := func(s Stage) bool { return !s.Within() }
			if c.Sentence() == "" || c.Agrees() && slices.ContainsFunc(c.Stages, isOutside) {
				t.Fatalf("%q, and a stage is outside", c.Sentence())
			}
		}
		c, err = compare(first, first)
		if err != nil {
			return
		}
		for _, s := range c.Stages {
			for _, row := range s.Rows {
				if row.Verdict == outside && finite(row.GuideLLM) && finite(row.OpenLoop) {
					t.Fatalf("%s of %s: %+v in a comparison of a report with itself", row.Metric, s.Name, row)
				}
			}
		}
	})
}

// FuzzCanonicalData: key=value pairs and the JSON object of the same are the same data.
func FuzzCanonicalData(f *testing.F) {
	for _, s := range []string{
		"prompt_tokens=256,output_tokens=128", "kind=synthetic_text,a=1", "a=", "=", "a=b=c", " a = 1 , b = 2 ",
		"a=1,a=2",
		"file.jsonl", "{}", "{", `{"a":null,"b":{"c":1}}`, "type_=x", "a,b=1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		canonical := canonicalData([]string{text})
		if again := canonicalData([]string{text}); again != canonical {
			t.Fatalf("%q is %q, and %q", text, canonical, again)
		}
		if strings.HasPrefix(strings.TrimSpace(text), "{") || !strings.Contains(text, "=") {
			return
		}
		pairs := map[string]string{}
		for _, pair := range strings.Split(strings.TrimSpace(text), ",") {
			key, value, _ := strings.Cut(pair, "=")
			pairs[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
		object, err := json.Marshal(pairs)
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.ValidString(text) {
			return // JSON has no word for other bytes
		}
		if other := canonicalData([]string{string(object)}); other != canonical {
			t.Fatalf("%q is %q, as %s it is %q", text, canonical, object, other)
		}
	})
}
