package guidellm

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func readText(t *testing.T, text string) *Report {
	t.Helper()
	r, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func writeText(t *testing.T, r *Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteJSON(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// PyYAML's file of a report and its JSON file are the same report; so is what WriteYAML makes of it.
func TestYAML(t *testing.T) {
	for _, name := range []string{"synthetic-single", "synthetic-strategies"} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join("../testdata/golden", name)
			r := readGolden(t, folder)
			pyYAML, err := ReadFile(filepath.Join(folder, "report.yaml.gz"))
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := WriteYAML(&text, r); err != nil {
				t.Fatal(err)
			}
			own := readText(t, text.String())
			if got, want := writeText(t, own), writeText(t, r); got != want {
				t.Errorf("WriteYAML and Read: differs at byte %d", firstDifference([]byte(got), []byte(want)))
			}
			// PyYAML sorts the keys of free objects.
			got, want := canonical(t, writeText(t, pyYAML)), canonical(t, writeText(t, r))
			if i := firstDifference([]byte(got), []byte(want)); i >= 0 {
				t.Errorf("PyYAML's differs\ngot  %s\nwant %s", clip([]byte(got), i-100), clip([]byte(want), i-100))
			}
		})
	}
}

// canonical is a JSON text with the keys of all objects sorted.
func canonical(t *testing.T, text string) string {
	t.Helper()
	v, err := parseAny([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var sortKeys func(v any)
	sortKeys = func(v any) {
		switch v := v.(type) {
		case Object:
			slices.SortFunc(v, func(a, b Member) int { return strings.Compare(a.Key, b.Key) })
			for _, m := range v {
				sortKeys(m.Value)
			}
		case []any:
			for _, item := range v {
				sortKeys(item)
			}
		}
	}
	sortKeys(v)
	var out strings.Builder
	if err := encodeAny(&jsonText{w: &out, style: pythonStyle}, v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A report of a later GuideLLM: fields added, renamed, gone, and of another kind. What is understood is read, the rest
// is listed, and all of it is written back.
func TestReadLaterVersion(t *testing.T) {
	text := string(gunzip(t, "../testdata/golden/text-completions/report.json.gz"))
	for _, change := range [][2]string{
		{`"version": 1`, `"version": 2`},
		{`"args": {`, `"config": {"spec": {"backend": {"kind": "openai_http"}}}, "args": {`},
		{`"backend": "openai_http"`, `"backend": {"kind": "openai_http", "http2": true}`},
		{`"data": ["kind`, `"data": [{"kind": "synthetic_text"}, "kind`},
		{`"metrics": {"request_totals"`, `"metrics": {"goodput": 0.5, "request_totals"`},
		{`"type_": "synchronous", "worker_count"`, `"kind": "synchronous", "worker_count"`},
		{`"request_type": "text_completions"`, `"reasoning_output": null`},
		{`"error": null`, `"traceback": null, "error": null`},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the recording has no %s", change[0])
		}
		text = strings.ReplaceAll(text, change[0], change[1])
	}
	r := readText(t, text)
	want := []string{
		"field config is unknown or of an unknown kind: kept, but not understood",
		"field args.data is unknown or of an unknown kind: kept, but not understood",
		"field args.backend is unknown or of an unknown kind: kept, but not understood",
		"field benchmarks[].metrics.goodput is unknown or of an unknown kind: kept, but not understood",
		"field benchmarks[].requests.successful[].reasoning_output (12 times) is unknown or of an unknown kind: kept, but not understood",
		"field benchmarks[].requests.successful[].info.traceback (12 times) is unknown or of an unknown kind: kept, but not understood",
		"field args.data is missing: taken for empty",
		"field args.backend is missing: taken for empty",
		"field benchmarks[].requests.successful[].request_type (12 times) is missing: taken for empty",
	}
	if got := r.Notes(); !slices.Equal(got, want) {
		t.Errorf("notes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if out := Recompute(r); len(out.Differences) > 0 || out.Benchmarks[0] == nil {
		t.Errorf("the figures do not come out: %v", out.Differences)
	}
	if name := r.Benchmarks[0].Config.StrategyName(); name != "synchronous" {
		t.Errorf("the strategy is called %q", name)
	}
	again := readText(t, writeText(t, r))
	if !reflect.DeepEqual(sortedFields(again.Unknown), sortedFields(r.Unknown)) {
		t.Errorf("written back: %v\nread: %v", again.Unknown, r.Unknown)
	}
}

func sortedFields(fields []Field) []Field {
	fields = slices.Clone(fields)
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
	return fields
}

// What openloop adds comes back, at each of the three places.
func TestOpenLoopKeys(t *testing.T) {
	r := readGolden(t, "../testdata/golden/text-completions")
	type knee struct {
		Rate float64 `json:"rate"`
	}
	requests := r.Benchmarks[0].Requests.Successful.List()
	requests[0].OpenLoop = Object{{"lateness", 0.5}}
	r.Benchmarks[0].OpenLoop = []any{int64(1), "x", nil}
	r.OpenLoop = knee{12.5}
	again := readText(t, writeText(t, r))
	if len(again.Notes()) > 0 {
		t.Error(again.Notes())
	}
	if want := (Object{{"rate", 12.5}}); !reflect.DeepEqual(again.OpenLoop, want) {
		t.Errorf("report: %v, want %v", again.OpenLoop, want)
	}
	if !reflect.DeepEqual(again.Benchmarks[0].OpenLoop, r.Benchmarks[0].OpenLoop) {
		t.Errorf("benchmark: %v", again.Benchmarks[0].OpenLoop)
	}
	if got := again.Benchmarks[0].Requests.Successful.List()[0].OpenLoop; !reflect.DeepEqual(got, requests[0].OpenLoop) {
		t.Errorf("request: %v", got)
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "", "it is empty"},
		{"spaces", " \n", "it is empty"},
		{"a list", "[1, 2]", "no object at its top"},
		{"text", "hello", "no object at its top"},
		{"no report", `{"a": 1}`, `no list of "benchmarks"`},
		{"benchmarks of another kind", `{"benchmarks": 5}`, `no list of "benchmarks"`},
		{"a benchmark that is none", `{"benchmarks": [5]}`, `at benchmarks[0]: found a number ("5") where an object belongs`},
		{"cut", `{"benchmarks": [{"type_": "x"`, "unexpected EOF"},
		{"bad JSON", `{"benchmarks": nope}`, "invalid character"},
		{"bad YAML", "benchmarks: [", "neither JSON nor YAML"},
		{"two documents", `{"benchmarks": []} {}`, "something follows"},
		{"nested", `{"benchmarks": [], "x": ` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + "}", "nested more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(tt.text))
			var readError *ReadError
			if !errors.As(err, &readError) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a ReadError with %q", err, tt.want)
			}
		})
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestReadGzip(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, `{"benchmarks": []}`)
	z.Close()
	whole := packed.Bytes()
	if _, err := Read(bytes.NewReader(whole)); err != nil {
		t.Error(err)
	}
	if _, err := Read(bytes.NewReader(whole[:len(whole)-9])); err == nil {
		t.Error("a cut file was read")
	}
}

func TestFloats(t *testing.T) {
	// As Python 3.11 and pydantic 2.12 write them: repr(x), TypeAdapter(float).dump_json(x).
	tests := []struct {
		x            float64
		python, rust string
		yaml         string
	}{
		{0, "0.0", "0.0", "0.0"},
		{math.Copysign(0, -1), "-0.0", "-0.0", "-0.0"},
		{1, "1.0", "1.0", "1.0"},
		{0.1, "0.1", "0.1", "0.1"},
		{1e-4, "0.0001", "0.0001", "0.0001"},
		{1e-5, "1e-05", "0.00001", "1.0e-05"},
		{1.25e-7, "1.25e-07", "1.25e-7", "1.25e-07"},
		{1e15, "1000000000000000.0", "1000000000000000.0", "1000000000000000.0"},
		{1e16, "1e+16", "1e16", "1.0e+16"},
		{1795501839.507391, "1795501839.507391", "1795501839.507391", "1795501839.507391"},
		{5e-324, "5e-324", "5e-324", "5.0e-324"},
		{math.NaN(), "NaN", "null", ".nan"},
		{math.Inf(1), "Infinity", "null", ".inf"},
		{math.Inf(-1), "-Infinity", "null", "-.inf"},
	}
	for _, tt := range tests {
		if got := string(appendPythonFloat(nil, tt.x)); got != tt.python {
			t.Errorf("python: got %s, want %s", got, tt.python)
		}
		if got := string(appendRustFloat(nil, tt.x)); got != tt.rust {
			t.Errorf("rust: got %s, want %s", got, tt.rust)
		}
		if got := yamlFloat(tt.x); got != tt.yaml {
			t.Errorf("yaml: got %s, want %s", got, tt.yaml)
		}
	}
}

// A report with a field gone or of another kind is not valid.
func TestValidate(t *testing.T) {
	text := string(gunzip(t, "../testdata/golden/text-completions/report.json.gz"))
	tests := []struct {
		old, new string
		want     Problem
	}{
		{`"run_index": 0`, `"run_index": "0"`, Problem{"benchmarks[0].config.run_index", "is a string, not int", true}},
		{`"run_index": 0, `, ``, Problem{"benchmarks[0].config.run_index", "is missing", true}},
		{`"python_version": "3.11.7", `, ``, Problem{"metadata.python_version", "is missing", false}},
		{`"type_": "synchronous"`, `"type_": "hasty"`, Problem{"benchmarks[0].config.strategy.type_", `is "hasty", which names no SchedulingStrategy`, true}},
		{`"target": "http`, `"target": null, "x": "http`, Problem{"args.target", "is null, not string", true}},
	}
	for _, tt := range tests {
		changed := strings.Replace(text, tt.old, tt.new, 1)
		if changed == text {
			t.Fatalf("the recording has no %s", tt.old)
		}
		problems, err := Validate(strings.NewReader(changed))
		if err != nil || !slices.Contains(problems, tt.want) {
			t.Errorf("%s: got %v %v, want %v", tt.new, problems, err, tt.want)
		}
	}
}

// The recompute notices a figure that was tampered with and a report that kept only a sample.
func TestRecomputeNotices(t *testing.T) {
	r := readGolden(t, "../testdata/golden/text-completions")
	b := r.Benchmarks[0]
	b.Metrics.RequestLatency.Successful.Mean *= 1 + 1e-8
	b.Metrics.Text.Tokens.Output = nil
	all := b.Requests.Successful.List()
	all[3].TimeToFirstTokenMS.Value += 0.001
	var paths []string
	for _, d := range Recompute(r).Differences {
		paths = append(paths, d.Path)
	}
	want := []string{
		"benchmarks[0].requests.successful[3].time_to_first_token_ms",
		"benchmarks[0].metrics.request_latency.successful.mean",
		"benchmarks[0].metrics.text.tokens.output",
	}
	if !slices.Equal(paths, want) {
		t.Errorf("got %v, want %v", paths, want)
	}

	b.Requests.Successful = RequestSeq(slices.Values(all[:5]))
	out := Recompute(r)
	if out.Benchmarks[0] != nil {
		t.Error("made figures of a sample")
	}
	var reasons []string
	for _, n := range out.NotRebuilt {
		reasons = append(reasons, n.Path+": "+n.Reason)
	}
	if got := strings.Join(reasons, "\n"); !strings.Contains(got, "12 successful, 0 incomplete and 0 errored requests, of which the report kept 5, 0 and 0: a sample") {
		t.Error(got)
	}
}

// Whatever is read without an error is written and read again as the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata": {"version": 1}, "args": {"rate": [1, 2.5]}, "benchmarks": [], "x": NaN}`))
	f.Add([]byte(`{"benchmarks": [{"type_": "generative_benchmark", "requests": {"successful": [{"output": "\u00fc"}]}, "duration": -Infinity}]}`))
	f.Add([]byte("benchmarks:\n- config:\n    strategy: &a {type_: constant, rate: 1.0e-05}\n    profile: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		text := writeText(t, r)
		again, err := Read(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if second := writeText(t, again); second != text {
			t.Errorf("written twice:\n%s\n%s", text, second)
		}
		if err := WriteConsole(io.Discard, r, nil); err != nil {
			t.Error(err)
		}
		if err := WriteCSV(io.Discard, r, nil); err != nil {
			t.Error(err)
		}
		Recompute(r)
	})
}

// A minus may be the last byte that the reader's buffer holds: at whatever place it stands, it is read as it is.
func TestNumbersAcrossTheBuffer(t *testing.T) {
	for pad := 64<<10 - 40; pad < 64<<10+8; pad++ {
		text := `{"openloop":{"pad":"` + strings.Repeat("x", pad) + `","a":-1.5e-05,"b":[-2,NaN,-Infinity,3e-7],"rest":"` + strings.Repeat("y", 70<<10) + `"}}`
		in := &quoteNaN{in: bufio.NewReaderSize(strings.NewReader(text), 64<<10)}
		got, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer("NaN", `"\u0000number:NaN"`, "-Infinity", `"\u0000number:-Infinity"`).Replace(text)
		if string(got) != want {
			t.Fatalf("padded by %d bytes: %q", pad, got[pad-10:pad+70])
		}
	}
}
