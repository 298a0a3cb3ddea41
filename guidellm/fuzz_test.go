package guidellm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/internal/fuzztest"
)

// values are what a written report says, bare words such as NaN as texts.
func values(t *testing.T, text string) (v any) {
	t.Helper()
	quoted, err := io.ReadAll(&quoteNaN{in: bufio.NewReader(strings.NewReader(text))})
	if err == nil {
		err = json.Unmarshal(quoted, &v)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// reports are beginnings for the engine to go on from.
var reports = []string{
	`{"metadata": {"version": 1}, "args": {"rate": [1, 2.5]}, "benchmarks": [], "openloop": {"version": "1"}}`,
	`{"openloop": {"a": NaN, "b": [-Infinity, Infinity]}, "benchmarks": []}`, `{"benchmarks": [], "openloop": null}`,
	`{"a": "\"", "b\\": {"openloop": 1}, "c\"": [1, {"d": "}"}], "openloop": {}}`,
	`{"openloop": 1, "openloop": 2, "benchmarks": []}`,
	`{"\u006fpenloop": {}, "benchmarks": [{}]}`, `{}`, `[]`, `{"benchmarks": [], "openloop": {"x": "`,
	` {"openloop" : [ ] }`,
	"benchmarks: []\nopenloop: {a: .nan, b: [1, 2]}\n", "benchmarks: &a []\nopenloop: *a\n",
	"{benchmarks: [], openloop: {a: 1}}",
	"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nbenchmarks: [*c]\n", "? {a: b}\n: c\n", "- 1\n", "!!binary aGk=",
	"1",
	`{"benchmarks": [{"type_": "x", "requests": {"errored": [{"output": "\u00fc"}]}, "duration": NaN}]}`,
	`{"benchmarks": []} x`,
}

// FuzzReadOpenLoop: what is found of openloop's own by skipping the rest is what reading all of it finds.
func FuzzReadOpenLoop(f *testing.F) {
	for _, s := range reports {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzztest.Watch(t)
		own, err := ReadOpenLoop(bytes.NewReader(data))
		if err != nil && own != nil {
			t.Fatalf("%q: both %s and %v", data, own, err)
		}
		if own != nil && !json.Valid(own) {
			t.Fatalf("%q: %q is not JSON", data, own)
		}
		whole, wholeErr := Read(bytes.NewReader(data))
		if wholeErr != nil || bytes.Contains(data, []byte(`\`)) {
			return // what follows is not looked at, and a name with an escape is not the one that is looked for
		}
		if err != nil {
			t.Fatalf("%q: %v, and yet it is a report", data, err)
		}
		want, _ := whole.OpenLoop.(json.RawMessage)
		if bytes.Equal(own, []byte("null")) {
			own = nil
		}
		if string(own) != string(want) {
			t.Fatalf("%q: openloop's own is %q, of the whole report %q", data, own, want)
		}
	})
}

// FuzzReadLayers: a report is the same packed and as YAML, and no small file takes much memory.
func FuzzReadLayers(f *testing.F) {
	for _, s := range reports {
		f.Add([]byte(s), uint16(20))
		f.Add(fuzztest.Gzip(f, []byte(s)), uint16(0xffff))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		if len(data) > 16<<10 {
			return
		}
		fuzztest.Watch(t)
		before := fuzztest.Allocated()
		whole, err := Read(bytes.NewReader(data))
		if used := fuzztest.Allocated() - before; used > 256<<20 {
			t.Fatalf("%d bytes for %q", used, data)
		}
		packed := fuzztest.Gzip(t, data)
		unpacked, packedErr := Read(bytes.NewReader(packed))
		if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
			return // packed once more it is another file
		}
		if (err == nil) != (packedErr == nil) {
			t.Fatalf("%q: %v, packed %v", data, err, packedErr)
		}
		if int(cut) < len(packed) {
			if _, err := Read(bytes.NewReader(packed[:cut])); err == nil {
				t.Fatalf("%q: cut at %d it is taken", data, cut)
			}
		}
		if err != nil {
			return
		}
		text := writeText(t, whole)
		if other := writeText(t, unpacked); other != text {
			t.Fatalf("%q is %s, packed %s", data, text, other)
		}
		var written bytes.Buffer
		if err := writeYAML(&written, whole, writeJSON); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		again, err := Read(&written)
		if err != nil {
			t.Fatalf("%q is written as %s, which can't be read: %v", data, text, err)
		}
		// A number of a field that is not known may be written in another form.
		if other := writeText(t, again); !reflect.DeepEqual(values(t, other), values(t, text)) {
			t.Fatalf("%q is %s, through YAML %s", data, text, other)
		}
	})
}

// FuzzYAML: what is read of a YAML document is what the library makes of it.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"a: 1\nb: [x, 2.5, ~, true, .inf]\n", "a: &a {b: c}\nd: *a\n",
		"a: 0x10\nb: 0o7\nc: 1_000\nd: 1e3\ne: 2001-01-01\n",
		"a: |\n  text\n  more\nb: >\n  folded\n", "\"a\\u00e9\": 'it''s'\n", "<<: &x {a: 1}\nb: *x\n",
		"a: !!str 1\nb: !!int '2'\n",
		"a: !custom x\n", "a:\n- b\n- - c\n", "%YAML 1.1\n---\na: 1\n...\n", "a: yes\nb: No\nc: null\n",
		"-9223372036854775809",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 8<<10 {
			return
		}
		fuzztest.Watch(t)
		before := fuzztest.Allocated()
		text, err := yamlToJSON(data)
		if used := fuzztest.Allocated() - before; used > 64<<20+uint64(2000*len(data)) {
			t.Fatalf("%d bytes for %q", used, data)
		}
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q is read as %s", data, text)
		}
		var want map[string]any
		if yaml.Unmarshal(data, &want) != nil || strings.Contains(string(data), "<<") || bytes.ContainsRune(data, '!') {
			return // duplicate keys, merges and tags are read as they stand
		}
		var got map[string]any
		if json.Unmarshal(text, &got) != nil {
			return
		}
		for key, value := range want {
			switch v := value.(type) {
			case string:
				if strings.ContainsRune(v, '\ufffd') {
					continue
				}
			case bool, nil, map[string]any, []any:
			default:
				continue // numbers and times have several forms
			}
			if reflect.TypeOf(got[key]) != reflect.TypeOf(value) {
				t.Fatalf("%q: %q is %#v, by the library %#v", data, key, got[key], value)
			}
		}
	})
}

// FuzzParseOutputs: an output that is taken has a form and a file of it, and by the file's name it is the same.
func FuzzParseOutputs(f *testing.F) {
	for _, s := range []string{
		"json", " csv ", "a.yaml", "/b/c.yml", "json.csv", "", ".", "..", ".json", "a.html", "console", "a/json",
		"a\x00.json", "yml", ".yml",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		outputs, err := ParseOutputs([]string{name})
		if err != nil {
			return
		}
		o := outputs[0]
		ending := strings.TrimPrefix(filepath.Ext(o.File), ".")
		forms := map[string]Format{"json": JSON, "yaml": YAML, "yml": YAML, "csv": CSV}
		if len(outputs) != 1 || o.File == "" || forms[ending] != o.Format || o.Format == "" {
			t.Fatalf("%q is %+v", name, outputs)
		}
		again, err := ParseOutputs([]string{o.File})
		if err != nil || !slices.Equal(again, outputs) {
			t.Fatalf("%q is %+v, and its file %+v (%v)", name, outputs, again, err)
		}
	})
}
