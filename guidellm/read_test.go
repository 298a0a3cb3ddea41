package guidellm

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
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
	if err := writeJSON(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// PyYAML's file of a report and its JSON file are the same report; so is what writeYAML makes of it.
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
			if err := writeYAML(&text, r, writeJSON); err != nil {
				t.Fatal(err)
			}
			own := readText(t, text.String())
			if got, want := writeText(t, own), writeText(t, r); got != want {
				compareJSON(t, got, want)
			}
			// PyYAML sorts the keys of free objects.
			compareJSON(t, sorted(t, writeText(t, pyYAML)), sorted(t, writeText(t, r)))
		})
	}
}

// sorted is a JSON text with the keys of all objects sorted.
func sorted(t *testing.T, text string) string {
	t.Helper()
	v := jsontext.Value(text)
	if err := v.Format(jsontext.ReorderRawObjects(true)); err != nil {
		t.Fatal(err)
	}
	return string(v)
}

// A report of a later GuideLLM: fields added, renamed, gone, and of another kind. What is understood is read, the rest
// is listed, and all of it is written back.
func TestReadLaterVersion(t *testing.T) {
	text := string(gunzip(t, "../testdata/golden/text-completions/report.json.gz"))
	for _, change := range [][2]string{
		{`"version": 1`, `"version": 3`},
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
	var unknown []string
	for _, f := range r.Unknown {
		unknown = append(unknown, f.Path)
	}
	wantUnknown := []string{
		"config",
		"args.data",
		"args.backend",
		"benchmarks[].metrics.goodput",
		"benchmarks[].requests.successful[].reasoning_output (12 times)",
		"benchmarks[].requests.successful[].info.traceback (12 times)",
	}
	wantMissing := []string{
		"args.data", "args.backend", "benchmarks[].requests.successful[].request_type (12 times)",
	}
	if got := GroupPaths(unknown); !slices.Equal(got, wantUnknown) {
		t.Errorf("unknown:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(wantUnknown, "\n"))
	}
	if got := GroupPaths(r.Missing); !slices.Equal(got, wantMissing) {
		t.Errorf("missing:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(wantMissing, "\n"))
	}
	// Its metrics are GuideLLM 0.5.0's: what is defined in another way is no difference.
	if out := Recompute(r); len(out.Differences) > 0 || len(out.Redefined) == 0 || out.Later[0] != nil {
		t.Errorf("differences %v, %d redefined", out.Differences, len(out.Redefined))
	}
	if name := r.Benchmarks[0].Config.Load().Type; name != "synchronous" {
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

// An unknown field keeps its place in its object, whatever its name.
func TestUnknownNames(t *testing.T) {
	text := `{"a.b": 1, "x\"[0]": {"z": NaN}, "metadata": {"version": 1, "c.d": [2]}, "benchmarks": []}`
	r := readText(t, text)
	again := readText(t, writeText(t, r))
	if len(again.Unknown) != 3 || !reflect.DeepEqual(sortedFields(again.Unknown), sortedFields(r.Unknown)) {
		t.Errorf("written back: %v\nread: %v", again.Unknown, r.Unknown)
	}
}

// What openloop adds comes back, at each of the three places.
func TestOpenLoopKeys(t *testing.T) {
	r := readGolden(t, "../testdata/golden/text-completions")
	type knee struct {
		Version string  `json:"version"`
		Rate    float64 `json:"rate"`
	}
	if IsOpenLoop(r) {
		t.Error("GuideLLM's report is taken for openloop's")
	}
	requests := r.Benchmarks[0].Requests.Successful.List()
	requests[0].OpenLoop = &requestNotes{SendDelay: 0.5, Retried: true}
	r.Benchmarks[0].OpenLoop = []any{int64(1), "x", nil}
	r.OpenLoop = knee{"1", 12.5}
	text := writeText(t, r)
	again := readText(t, text)
	if len(again.Unknown) > 0 || !IsOpenLoop(again) || !IsOpenLoop(r) {
		t.Error(again.Unknown)
	}
	request := again.Benchmarks[0].Requests.Successful.List()[0]
	for _, place := range []struct {
		got  any
		want string
	}{
		{again.OpenLoop, `{"version": "1", "rate": 12.5}`},
		{again.Benchmarks[0].OpenLoop, `[1, "x", null]`},
		{request.OpenLoop, `{"send_delay": 0.5, "retried": true}`},
	} {
		if got, ok := place.got.(json.RawMessage); !ok || string(got) != place.want {
			t.Errorf("got %s, want %s", place.got, place.want)
		}
	}
	var notes requestNotes
	if err := DecodeFree(request.OpenLoop, &notes); err != nil || notes.SendDelay != 0.5 || !notes.Retried {
		t.Errorf("%+v %v", notes, err)
	}
	raw, err := ReadOpenLoop(strings.NewReader(text))
	if err != nil || string(raw) != `{"version": "1", "rate": 12.5}` {
		t.Errorf("ReadOpenLoop: %s %v", raw, err)
	}
}

// ReadOpenLoop finds the member wherever it stands, and nothing that looks like it.
func TestReadOpenLoop(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, test := range []struct{ text, want, err string }{
		{`{"benchmarks": [{"openloop": 1}], "a": "\"openloop\":2", "openloop" : {"x": [NaN, "}"]} , "b": 2 } ` + "\n",
			`{"x": ["NaN", "}"]}`, ""},
		{`{"` + long[:1000] + `": "` + long + `\\", "c\"d": -1.5e3, "e": null, "openloop": "` + long + `"}`,
			`"` + long + `"`, ""},
		{`{"a\\": {"b": [[], {}]}, "openloop":5}`, "5", ""},
		{`{"a": 1}`, "", ""},
		{`{}`, "", ""},
		{"a: 1\nopenloop: {b: .nan}\n", `{"b": "NaN"}`, ""},
		{`{"a": [1, 2`, "", "unexpected EOF"},
		{`{"a" 1}`, "", `invalid character '1'`},
		{`{"openloop": {`, "", "unexpected EOF"},
		{`{"openloop": 1, "b"`, "", "unexpected EOF"},
		{`{"openloop": 1, "benchmarks": [{"a": "}`, "", "unexpected EOF"},
		{`{"openloop": 1} {`, "", "something follows"},
		{`{"openloop": 1 2}`, "", "it is not one value"},
		{`{"openloop": 1, "benchmarks": [], "a": {"benchmarks": []}, "benchmarks": []}`, "",
			`duplicate object member name "benchmarks"`},
		{`{"benchmarks": [], "openloop": 1, "\u0062enchmarks": []}`, "", `duplicate object member name "benchmarks"`},
		{`{"openloop": 1, "openloop": 2}`, "", `duplicate object member name "openloop"`},
		{`{"` + long + `": 1}`, "", "a name that is longer than 32 kB, the limit"},
		{``, "", "it is empty"},
		{`[1]`, "", "invalid character '['"},
	} {
		raw, err := ReadOpenLoop(strings.NewReader(test.text))
		if string(raw) != test.want || (err == nil) != (test.err == "") || err != nil &&
			!strings.Contains(err.Error(), test.err) {
			t.Errorf("%.60s: got %.60s %v, want %.60s %s", test.text, raw, err, test.want, test.err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "", "it is empty"},
		{"spaces", " \n", "it is empty"},
		{"a list", "[1, 2]", "no object at its top"},
		{"text", "hello", "no object at its top"},
		{"benchmarks twice", `{"benchmarks": [], "metadata": {}, "benchmarks": []}`,
			`duplicate object member name "benchmarks"`},
		{"a field twice", `{"benchmarks": [{"type_": "a", "type_": "b"}]}`, `at benchmarks[0]: `},
		{"a key that is a number", `{"benchmarks": [], 5: 1}`, "object member name must be a string"},
		{"no report", `{"a": 1}`, `no list of "benchmarks"`},
		{"benchmarks of another kind", `{"benchmarks": 5}`, `no list of "benchmarks"`},
		{"a benchmark that is none", `{"benchmarks": [5]}`,
			`at benchmarks[0]: found a number (5) where an object belongs`},
		{"cut", `{"benchmarks": [{"type_": "x"`, "unexpected EOF"},
		{"bad JSON", `{"benchmarks": nope}`, "invalid character"},
		{"bad YAML", "benchmarks: [", "neither JSON nor YAML"},
		{"two documents", `{"benchmarks": []} {}`, "something follows"},
		{"nested", `{"benchmarks": [], "x": ` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}",
			"exceeded max depth"},
		{"nested YAML", "x: " + strings.Repeat("[", 600) + strings.Repeat("]", 600), "nested too deeply"},
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

// Floats are written with the fewest digits, and so that JSON, Python and YAML 1.1 take them for floats.
func TestFloats(t *testing.T) {
	tests := []struct {
		x          float64
		json, yaml string
	}{
		{0, "0.0", "0.0"},
		{math.Copysign(0, -1), "-0.0", "-0.0"},
		{1, "1.0", "1.0"},
		{0.1, "0.1", "0.1"},
		{1e-4, "0.0001", "0.0001"},
		{1e-5, "1e-05", "1.0e-05"},
		{1.25e-7, "1.25e-07", "1.25e-07"},
		{1e15, "1000000000000000.0", "1000000000000000.0"},
		{1e16, "1e+16", "1.0e+16"},
		{1795501839.507391, "1795501839.507391", "1795501839.507391"},
		{5e-324, "5e-324", "5.0e-324"},
		{math.NaN(), `"NaN"`, ""},
		{math.Inf(1), `"Infinity"`, ""},
		{math.Inf(-1), `"-Infinity"`, ""},
	}
	for _, tt := range tests {
		got := string(appendFloat(nil, tt.x))
		if got != tt.json {
			t.Errorf("got %s, want %s", got, tt.json)
		}
		if tt.yaml != "" && yamlFloat(got) != tt.yaml {
			t.Errorf("YAML: got %s, want %s", yamlFloat(got), tt.yaml)
		}
		r := readText(t, `{"benchmarks": [{"duration": `+got+`}]}`)
		if d := r.Benchmarks[0].Duration; d != tt.x && !math.IsNaN(tt.x) || math.IsNaN(tt.x) != math.IsNaN(d) {
			t.Errorf("%s was read as %v", got, d)
		}
	}
	r := readText(t, `{"benchmarks": [{"duration": NaN, "start_time": -Infinity, "end_time": 1e999}]}`)
	if b := r.Benchmarks[0]; !math.IsNaN(b.Duration) || !math.IsInf(b.StartTime, -1) || !math.IsInf(b.EndTime, 1) {
		t.Errorf("Python's words were read as %v, %v, %v", b.Duration, b.StartTime, b.EndTime)
	}
}

// The recompute notices a value that was tampered with and a report that kept only a sample.
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
		t.Error("made metrics of a sample")
	}
	var reasons []string
	for _, n := range out.NotRecomputed {
		reasons = append(reasons, n.Path+": "+n.Reason)
	}
	if got := strings.Join(reasons, "\n"); !strings.Contains(got,
		"12 successful, 0 incomplete and 0 errored requests, of which the report kept 5, 0 and 0: a sample") {
		t.Error(got)
	}
}

// A report that claims to hold all its requests and does not is different, not sampled: it claims so where
// sample_requests is null or no less than their number, and where openloop wrote it.
func TestRecomputeNoticesMissingRequests(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Report)
		sample bool
	}{
		{"a sample of 10", func(r *Report) { r.Benchmarks[0].Config.SampleRequests = Some[int64](10) }, true},
		{"a sample of as many", func(r *Report) { r.Benchmarks[0].Config.SampleRequests = Some[int64](12) }, false},
		{"no sample", func(r *Report) { r.Benchmarks[0].Config.SampleRequests = Null[int64]{} }, false},
		{"openloop's", func(r *Report) {
			r.Benchmarks[0].Config.SampleRequests = Some[int64](10)
			r.OpenLoop = Object{{"version", "1"}}
		}, false},
	} {
		r := readGolden(t, "../testdata/golden/text-completions")
		test.change(r)
		b := r.Benchmarks[0]
		b.Requests.Successful = RequestSeq(slices.Values(b.Requests.Successful.List()[:11]))
		out := Recompute(r)
		var paths []string
		for _, d := range out.Differences {
			paths = append(paths, d.Path)
		}
		want := []string{
			"benchmarks[0].scheduler_metrics.requests_made.successful",
			"benchmarks[0].scheduler_metrics.requests_made.total",
			"benchmarks[0].metrics.request_totals.successful",
			"benchmarks[0].metrics.request_totals.total",
		}
		if test.sample {
			want = nil
		}
		if !slices.Equal(paths, want) || out.Benchmarks[0] != nil {
			t.Errorf("%s: different %v, want %v", test.name, paths, want)
		}
	}
}

func TestSameValue(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, test := range []struct {
		a, b float64
		want bool
	}{
		{1, 1 + 1e-10, true}, {1, 1 + 1e-8, false}, {0, 0, true}, {0, 1e-300, false}, {nan, nan, true}, {nan, 1, false},
		{inf, inf, true}, {-inf, -inf, true}, {inf, 1, false}, {1, inf, false}, {inf, -inf, false}, {inf, nan, false},
	} {
		if got := sameValue(test.a, test.b); got != test.want {
			t.Errorf("%v and %v: %v", test.a, test.b, got)
		}
	}
}

// Whatever is read without an error is written and read again as the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata": {"version": 1}, "args": {"rate": [1, 2.5]}, "benchmarks": [], "x": NaN}`))
	f.Add([]byte(`{"benchmarks": [{"type_": "x", "requests": {"errored": [{"output": "\u00fc"}]}, "duration": NaN}]}`))
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
		if err := writeCSV(io.Discard, r, nil); err != nil {
			t.Error(err)
		}
		Recompute(r)
	})
}

// A minus may be the last byte that the reader's buffer holds: at whatever place it stands, it is read as it is.
func TestNumbersAcrossTheBuffer(t *testing.T) {
	for pad := 64<<10 - 40; pad < 64<<10+8; pad++ {
		text := `{"openloop":{"pad":"` + strings.Repeat("x",
			pad) + `","a":-1.5e-05,"b":[-2,NaN,-Infinity,3e-7],"rest":"` + strings.Repeat("y", 70<<10) + `"}}`
		in := &quoteNaN{in: bufio.NewReaderSize(strings.NewReader(text), 64<<10)}
		got, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer("NaN", `"NaN"`, "-Infinity", `"-Infinity"`).Replace(text)
		if string(got) != want {
			t.Fatalf("padded by %d bytes: %q", pad, got[pad-10:pad+70])
		}
	}
}
