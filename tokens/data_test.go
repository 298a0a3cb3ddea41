package tokens

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	data := []byte(text)
	if strings.HasSuffix(name, ".gz") {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(data)
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		data = b.Bytes()
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func all(t testing.TB, source source) (items []Item) {
	t.Helper()
	for i := 0; ; i++ {
		it, err := source(i)
		if errors.Is(err, io.EOF) {
			return items
		}
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, it)
	}
}

// words counts as a tokenizer of words would.
func words(text string) int { return len(strings.Fields(text)) }

func TestDataFiles(t *testing.T) {
	parquet, err := os.ReadFile(tokenizertest.Path(t, "records.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	two := []Item{{PromptText: "one two", OutputTokens: 5}, {Index: 1, PromptText: "drei 😀", OutputTokens: 6}}
	text := []Item{{PromptText: "one two"}, {Index: 1, PromptText: "drei 😀"}}
	for _, c := range []struct {
		name, file string
		cfg        dataConfig
		want       []Item
	}{
		{"a.jsonl", `{"prompt":"one two","output_tokens_count":5}` + "\n\n" +
			`{"prompt":"drei \ud83d\ude00","output_tokens_count":6.0}`, dataConfig{}, two},
		{"a.JSONL.gz", `{"prompt":"one two","output_tokens_count":5}` + "\r\n" +
			`{"prompt":"drei 😀","output_tokens_count":"6"}` + "\r\n", dataConfig{}, two},
		{"a.json", "\xef\xbb\xbf[\n{\"text\":\"one two\",\"output_tokens_count\":5} , {\"text\":\"drei 😀\"," +
			"\"output_tokens_count\":6}]\n", dataConfig{}, two},
		{"a.json", `{"text":"one two"} {"text":"drei 😀"}`, dataConfig{}, text},
		{"a.csv", "Prompt,output_tokens_count\none two,5\n\"drei 😀\",6\n", dataConfig{}, two},
		{"a.csv.gz", "q,n\none two,5\n\"drei 😀\",6\n", dataConfig{columns: map[string][]string{"text_column": {"0.q"},
			"output_tokens_count_column": {"n"}}}, two},
		{"a.txt", "one two\n\n  \ndrei 😀", dataConfig{}, text},
		{"a.txt.gz", "one two\r\ndrei 😀\r\n", dataConfig{output: 9},
			[]Item{{PromptText: "one two", OutputTokens: 9}, {Index: 1, PromptText: "drei 😀", OutputTokens: 9}}},
		{"a.parquet", string(parquet), dataConfig{output: 4},
			[]Item{{PromptText: "one\ntwo", OutputTokens: 5}, {Index: 1, PromptText: "drei 😀", OutputTokens: 4},
				{Index: 2, PromptText: "x", OutputTokens: 7}}},
		{"a.parquet.gz", string(parquet), dataConfig{samples: 1}, []Item{{PromptText: "one\ntwo", OutputTokens: 5}}},
		{"conversations.parquet", string(parquet), dataConfig{samples: 1, count: words,
			columns: map[string][]string{"text_column": {"conversations"}}},
			[]Item{{PromptText: "hi", PromptTokens: 1, OutputTokens: 1}}},
		{"a.jsonl", `{"system_prompt":"be brief","question":"one two","answer":"no","input_tokens_count":7}`,
			dataConfig{count: words}, []Item{{PrefixText: "be brief", PrefixTokens: 2, PromptText: "one two",
				PromptTokens: 7}}},
		{"two-texts.jsonl", `{"a":"one","b":"two\"","c":"sys"}`,
			dataConfig{columns: map[string][]string{"text_column": {"a", "b"}, "prefix_column": {"c"}}},
			[]Item{{PrefixText: "sys", PromptText: `onetwo"`,
				Messages: []byte(`[{"role":"system","content":"sys"},{"role":"user","content":[{"type":"text",` +
					`"text":"one"}]},{"role":"user","content":[{"type":"text","text":"two\""}]}]`)}}},
		{"sharegpt.json", `[{"id":"a","conversations":[{"from":"system","value":"s p"},{"from":"human","value":` +
			`"one two"},{"from":"gpt","value":"x y z"},{"from":"human","value":"more"}]}]`,
			dataConfig{count: words, output: 99}, []Item{{PrefixText: "s p", PrefixTokens: 2, PromptText: "one two",
				PromptTokens: 2, OutputTokens: 3}}},
		{"messages.jsonl", `{"messages":[{"role":"system","content":"s"}, {"role":"user","content":[{"type":"text",` +
			`"text":"one two"}]},{"role":"assistant","content":"a b"},{"role":"user","content":"q"},{"role":` +
			`"assistant","content":"x y z"}]}`,
			dataConfig{count: words}, []Item{{PromptText: "s\none two\na b\nq", PromptTokens: 6, OutputTokens: 3,
				Messages: []byte(`[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":` +
					`"one two"}]},{"role":"assistant","content":"a b"},{"role":"user","content":"q"}]`)}}},
		{"tools.jsonl", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"x"}]},` +
			`{"role":"tool","content":"b"},{"role":"assistant","content":"c d"}]}`,
			dataConfig{count: words}, []Item{{PromptText: "a\n\nb", PromptTokens: 2, OutputTokens: 2,
				Messages: []byte(`[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"x"}]},` +
					`{"role":"tool","content":"b"}]`)}}},
		{"messages.csv", "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"one\"\"}]\"\n",
			dataConfig{output: 3}, []Item{{PromptText: "one", OutputTokens: 3,
				Messages: []byte(`[{"role":"user","content":"one"}]`)}}},
	} {
		d, err := openData(write(t, c.name, c.file), c.cfg)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := all(t, d.source); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
		if err := d.close(); err != nil || d.saved {
			t.Error(c.name, d.saved, err)
		}
	}
}

func TestBadRecordsNameTheirLine(t *testing.T) {
	good := `{"prompt":"x"}` + "\n"
	for _, c := range []struct{ name, file, want string }{
		{"a.jsonl", good + good + `{"prompt":`, "a.jsonl:3: unexpected EOF"},
		{"a.jsonl", good + "\n" + good + `{"prompt" "x"}`, "a.jsonl:4: record 3: invalid character"},
		{"a.jsonl", good + "7\n", "a.jsonl:2: want a JSON object, got 7"},
		{"a.jsonl", good + `{"other":"x","more":1}`, "a.jsonl:2: it has no prompt: none of its columns (more, other)"},
		{"a.jsonl", good + `{"prompt":""}`, "a.jsonl:2: it has no prompt"},
		{"a.jsonl", good + `{"prompt":7}`, "a.jsonl:2: text_column: it is 7; want a text"},
		{"a.jsonl", good + `{"prompt":"x","output_tokens_count":-1}`,
			"a.jsonl:2: output_tokens_count_column: it is -1; want a whole number"},
		{"a.jsonl", good + `{"prompt":"x","output_tokens_count":"many"}`,
			`a.jsonl:2: output_tokens_count_column: it is "many"`},
		{"a.jsonl", good + `{"messages":[]}`, "a.jsonl:2: its conversation is empty"},
		{"a.jsonl", good + `{"messages":[{"role":"assistant","content":"x"}]}`,
			"a.jsonl:2: its conversation has nothing but an answer"},
		{"a.jsonl", good + `{"messages":[{"role":"user"}]}`, "a.jsonl:2: message 1 of its conversation is"},
		{"a.jsonl", good + `{"conversations":[{"from":"gpt","value":"x"}]}`,
			"a.jsonl:2: its conversation has no turn of a human"},
		{"a.json", "[\n" + good + ",\n" + good + ",\n\n  {\"prompt\" }]", "a.json:7: record 3: invalid character"},
		{"a.json", "[" + good + "," + good, "a.json:3: the JSON array does not end"},
		{"a.json", "[\n" + good + ",\n[]]", "a.json:4: record 2: want a JSON object, got []"},
		{"a.csv", "prompt,n\nx,1\n\"two\nlines\",2\nx,1,3\n", "a.csv:5: wrong number of fields"},
		{"a.csv", "prompt,n\nx,1\n\"two\nlines\",2\n,3\n", "a.csv:5: it has no prompt"},
		{"a.csv", "prompt,n\nx,1\nx\"y,1\n", "a.csv:3: bare \""},
	} {
		d, err := openData(write(t, c.name, c.file), dataConfig{})
		if err != nil {
			t.Errorf("%q: %v", c.file, err)
			continue
		}
		for i := 0; err == nil; i++ {
			_, err = d.source(i)
		}
		var bad *RecordError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.file, err, c.want)
		}
		d.close()
	}
}

func TestDataIsRefusedBeforeTheRun(t *testing.T) {
	good := `{"prompt":"x","n":1}`
	for _, c := range []struct {
		name, file string
		cfg        dataConfig
		want       string
	}{
		{"a.jsonl", "", dataConfig{}, "it holds no records"},
		{"a.json", "[]", dataConfig{}, "it holds no records"},
		{"a.csv", "", dataConfig{}, "a.csv:1: an empty file"},
		{"a.txt", "\n \n", dataConfig{}, "it holds no records"},
		{"a.xls", good, dataConfig{}, `ending in ".xls" is not a kind of data that is read`},
		{"a.parquet", good, dataConfig{}, "not a readable parquet file"},
		{"a.parquet.gz", good, dataConfig{}, "not a readable parquet file"},
		{"a.jsonl", "\x1f\x8b broken", dataConfig{}, "a.jsonl: unexpected EOF"},
		{"a.jsonl", `{"x":"y"}`, dataConfig{}, "a.jsonl:1: it has no prompt"},
		{"a.jsonl", good, dataConfig{columns: map[string][]string{"text_column": {"q"}}},
			`it has no column "q" (text_column); it has n, prompt`},
		{"a.jsonl", good, dataConfig{samples: 3, shuffle: true}, "3 samples are asked for, but it holds 1 records"},
	} {
		_, err := openData(write(t, c.name, c.file), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v, want %s", c.name, c.file, err, c.want)
		}
	}
	for spec, want := range map[string]string{"": "no data", "no/such/file.jsonl": "no such file",
		`[{"prompt":1}]`: "data:1: text_column", "[": "data:1:"} {
		if _, err := openData(spec, dataConfig{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", spec, err)
		}
	}
	d, err := openData(write(t, "a.jsonl", good+good), dataConfig{samples: 3})
	if err != nil {
		t.Fatal(err)
	}
	source := d.source
	source(0)
	source(1)
	if _, err := source(2); err == nil || !strings.Contains(err.Error(),
		"3 samples are asked for, but it holds 2 records") {
		t.Error(err)
	}
}

func TestSamplesAndShuffle(t *testing.T) {
	var file strings.Builder
	for i := range 100 {
		fmt.Fprintf(&file, "{\"prompt\":\"p%d\"}\n", i)
	}
	path := write(t, "a.jsonl", file.String())
	prompts := func(cfg dataConfig, most int) (texts []string) {
		d, err := openData(path, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer d.close()
		source := d.source
		for i := range most {
			it, err := source(i)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || it.Index != i {
				t.Fatal(it.Index, err)
			}
			texts = append(texts, it.PromptText)
		}
		return texts
	}
	ordered := prompts(dataConfig{}, 1000)
	if len(ordered) != 100 || ordered[99] != "p99" {
		t.Error(ordered)
	}
	if got := prompts(dataConfig{samples: 10}, 1000); !slices.Equal(got, ordered[:10]) {
		t.Error(got)
	}
	shuffled := prompts(dataConfig{shuffle: true, seed: 1}, 1000)
	again := prompts(dataConfig{shuffle: true, seed: 1}, 1000)
	other := prompts(dataConfig{shuffle: true, seed: 2}, 1000)
	if !slices.Equal(shuffled, again) || slices.Equal(shuffled, other) || slices.Equal(shuffled, ordered) {
		t.Error("not shuffled by the seed")
	}
	slices.Sort(shuffled)
	if slices.Sort(ordered); !slices.Equal(shuffled, ordered) {
		t.Error("the shuffle lost records")
	}
	// Every record is drawn about as often: 10 of 100, 300 times.
	counts := map[string]int{}
	for seed := range uint64(300) {
		sample := prompts(dataConfig{shuffle: true, samples: 10, seed: seed}, 1000)
		if len(slices.Compact(slices.Sorted(slices.Values(sample)))) != 10 {
			t.Fatal(sample)
		}
		for _, p := range sample {
			counts[p]++
		}
	}
	for p, n := range counts {
		if n < 10 || n > 55 || len(counts) != 100 {
			t.Errorf("%s was drawn %d times of 30 expected", p, n)
		}
	}
}

func TestDataBeginsAgainAtItsEnd(t *testing.T) {
	path := write(t, "a.txt", "p0\np1\np2\n")
	for _, cfg := range []dataConfig{{}, {samples: 2}, {shuffle: true, samples: 2}} {
		d := &dataSource{read: func() (*data, error) { return openData(path, cfg) }}
		var texts []string
		size := 3
		if cfg.samples > 0 {
			size = cfg.samples
		}
		for i := range 10 {
			it, err := d.next(i)
			if err != nil || it.Index != i {
				t.Fatal(it.Index, err)
			}
			texts = append(texts, it.PromptText)
			if texts[i%size] != it.PromptText || !cfg.shuffle && it.PromptText != fmt.Sprint("p", i%size) {
				t.Errorf("%+v: record %d is %s", cfg, i, it.PromptText)
			}
		}
		if got := d.size.Load(); got != int64(size) {
			t.Errorf("%+v: %d records, want %d", cfg, got, size)
		}
		d.close()
	}
}

func TestSyntheticSpecs(t *testing.T) {
	want := SyntheticSpec{Prompt: Length{256, 20, 100, 400}, Output: Length{128, 5, 100, 150}}
	buckets := want
	buckets.Prefixes = []PrefixBucket{{75, 2, 16}, {Tokens: 32}}
	shared := want
	shared.Prefixes = []PrefixBucket{{Count: 3, Tokens: 64}}
	const pairs = "prompt_tokens=256,prompt_tokens_stdev=20,prompt_tokens_min=100,prompt_tokens_max=400," +
		"output_tokens=128,output_tokens_stdev=5,output_tokens_min=100,output_tokens_max=150"
	const object = `{"prompt_tokens":256,"prompt_tokens_stdev":20,"prompt_tokens_min":100,"prompt_tokens_max":400,` +
		`"output_tokens":128,"output_tokens_stdev":5,"output_tokens_min":100,"output_tokens_max":150`
	const inYAML = "prompt_tokens: 256\nprompt_tokens_stdev: 20\nprompt_tokens_min: 100\nprompt_tokens_max: 400\n" +
		"output_tokens: 128\noutput_tokens_stdev: 5\noutput_tokens_min: 100\noutput_tokens_max: 150\n"
	for _, c := range []struct {
		spec string
		want SyntheticSpec
	}{
		{"kind=synthetic_text," + pairs, want},
		{pairs + ", prefix_tokens = 64, prefix_count=3", shared},
		{object + "}", want},
		{" " + object + `,"prefix_buckets":[{"bucket_weight":75,"prefix_count":2,"prefix_tokens":16},` +
			`{"prefix_tokens":32}]} `, buckets},
		{write(t, "a.json", object+`,"prefix_tokens":64,"prefix_count":3,"prefix_buckets":null}`), shared},
		{write(t, "a.yaml", inYAML+"prefix_buckets:\n- {bucket_weight: 75, prefix_count: 2, prefix_tokens: 16}\n- "+
			"prefix_tokens: 32\n"), buckets},
		{write(t, "a.config", inYAML), want},
		{"prompt_tokens=32", SyntheticSpec{Prompt: Length{Mean: 32}}},
	} {
		got, is, err := ParseSynthetic(c.spec)
		if err != nil || !is || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v %v\n got %+v\nwant %+v", c.spec, is, err, got, c.want)
		}
	}
	for spec, want := range map[string]string{
		"prompt_tokens=256,prompt_token_stdev=20": `"prompt_token_stdev" is not known`,
		"prompt_tokens=0,output_tokens=1": "prompt_tokens is 0; want a whole number of " +
			"at least 1",
		"prompt_tokens=-5":                       "at least 1",
		"prompt_tokens=1.5":                      "whole number",
		"prompt_tokens=x":                        "whole number",
		"output_tokens=128":                      "prompt_tokens is missing",
		"prompt_tokens=1,prompt_tokens=2":        "each key once",
		"prompt_tokens=1,,":                      "each key once",
		"kind=image,prompt_tokens=1":             "only synthetic_text is known",
		`{"prompt_tokens":256`:                   `synthetic data as JSON: it ends too early: {"prompt_tokens":256`,
		`{"prompt_tokens":256} x`:                "something follows",
		`{"prompt_tokens":1,"prefix_buckets":7}`: "prefix_buckets: want",
		`{"prompt_tokens":1,"prefix_buckets":[{"prefix_tokns":7}]}`:                   "prefix_tokns",
		`{"prompt_tokens":1,"prefix_tokens":3,"prefix_buckets":[{"prefix_count":7}]}`: "does not go together",

		write(t, "bad.yaml", "a: [1"): "not a description of synthetic data",
		write(t, "bad.yaml", "a: 1"):  "it has no prompt_tokens",
	} {
		if _, _, err := ParseSynthetic(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
	for _, spec := range []string{"some/file.jsonl", `[{"prompt":"x"}]`,
		write(t, "records.json", `[{"prompt_tokens":1}]`), write(t, "records.json", `{"prompt":"x"}`),
		write(t, "a=b.jsonl", "x")} {
		if _, is, err := ParseSynthetic(spec); is || err != nil {
			t.Errorf("%s is taken for synthetic data: %v", spec, err)
		}
	}
	d, err := openData(`[{"prompt":"x"},{"prompt":"y"}]`, dataConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if items := all(t, d.source); len(items) != 2 || items[1].PromptText != "y" {
		t.Errorf("%+v", items)
	}
}

// A file larger than any buffer is read as it is needed.
func TestLargeFilesStream(t *testing.T) {
	path := write(t, "a.jsonl", strings.Repeat(`{"prompt":"`+strings.Repeat("word ", 2000)+`"}`+"\n", 1_000)+"broken")
	d, err := openData(path, dataConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	source := d.source
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 1_000 {
		if _, err := source(i); err != nil {
			t.Fatal(err)
		}
		if i == 900 {
			if grown := int64(heap()) - int64(before); grown > 3<<20 {
				t.Errorf("%d bytes are held after most of a file of 10 MB", grown)
			}
		}
	}
	if _, err := source(1_000); err == nil || !strings.Contains(err.Error(), ":1001: invalid character 'b'") {
		t.Error(err)
	}
}

func fuzzRecords(f *testing.F, name string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		found, scanErr := scanData(path, dataConfig{})
		if scanErr == nil {
			found.notes(&DataSpec{})
		}
		d, err := openData(path, dataConfig{count: words, skip: true})
		if err != nil {
			return
		}
		defer d.close()
		b, err := NewBody(BodyConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			it, err := d.source(i)
			if err != nil {
				if scanErr == nil && (err != io.EOF || i != found.records) {
					t.Fatalf("%d records, then %v; the scan found %d", i, err, found.records)
				}
				return
			}
			if it.Body == nil && it.PromptText == "" && len(it.Messages) == 0 || it.OutputTokens < 0 ||
				it.PromptTokens < 0 {
				t.Fatalf("a bad item: %+v", it)
			}
			if it.Body == nil && !json.Valid(b.Bytes(it)) {
				t.Fatalf("a body that is not JSON: %s", b.Bytes(it))
			}
		}
	})
}

func FuzzJSONRecords(f *testing.F) {
	fuzzRecords(f, "a.json", `{"prompt":"x"}`, `[{"text":"x","output_tokens_count":3},{}]`,
		`{"messages":[{"role":"user","content":[{"text":"x"}]}]}`,
		`{"conversations":[{"from":"human","value":"x"},{"from":"gpt","value":"y"}]}`,
		`{"prompt":"x","max_tokens":3,"temperature":0.5,"tools":"[{}]","stop":"a"}{"prompt":"y","n":2}`,
		`{"custom_id":"a","body":{"messages":[{"role":"user","content":"x"}],"seed":null}}`,
		`{"path":"/v1/completions","body":{"a":1}}`, `{"path":"/v1/completions","body_base64":"eA=="}`)
}

func FuzzCSVRecords(f *testing.F) {
	fuzzRecords(f, "a.csv", "prompt,output_tokens_count\nx,1\n\"y\nz\",2\n", "prompt,stop,logprobs\nx,y,true\n",
		"messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"x\"\"}]\"\n")
}

func FuzzTextRecords(f *testing.F) { fuzzRecords(f, "a.txt", "x\ny\r\n\n\x00\xff") }

func FuzzParquetRecords(f *testing.F) {
	data, err := os.ReadFile(tokenizertest.Path(f, "records.parquet"))
	if err != nil {
		f.Fatal(err)
	}
	fuzzRecords(f, "a.parquet", string(data), "PAR1")
}

func FuzzSynthetic(f *testing.F) {
	for _, s := range []string{"prompt_tokens=1,output_tokens=2",
		`{"prompt_tokens":1,"prefix_buckets":[{"prefix_count":2,"prefix_tokens":1}]}`,
		"prefix_count=99999999999,prompt_tokens=1", "a=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		cfg, is, err := ParseSynthetic(spec)
		if err != nil || !is || cfg.Prompt.Mean > 1000 || cfg.Prompt.Max > 1000 || cfg.Prompt.Stdev > 1000 ||
			cfg.Prompt.Min > 1000 || len(cfg.Prefixes) > 10 {
			return
		}
		for _, b := range cfg.Prefixes {
			if b.Count > 10 || b.Tokens > 1000 {
				return
			}
		}
		s, err := NewSynth(SynthConfig{Prompt: cfg.Prompt, Output: cfg.Output, Prefixes: cfg.Prefixes})
		if err != nil {
			return
		}
		// What is described and read again is the same.
		again, is, err := ParseSynthetic(Spec{Synthetic: &cfg}.Describe())
		if err != nil || !is || Spec.Describe(Spec{Synthetic: &again}) != (Spec{Synthetic: &cfg}).Describe() {
			t.Fatalf("%s: described as %s: %v", spec, Spec{Synthetic: &cfg}.Describe(), err)
		}
		if it := s.Item(3); it.PromptTokens != words(it.PromptText) || it.PromptTokens < 1 {
			t.Fatalf("%s: %d tokens: %q", spec, it.PromptTokens, it.PromptText)
		}
	})
}

func BenchmarkJSONRecords(b *testing.B) {
	line := `{"id":7,"prompt":"` + strings.Repeat("some words here ", 70) + `","output_tokens_count":128}` + "\n"
	path := write(b, "a.jsonl", strings.Repeat(line, 1000))
	d := &dataSource{read: func() (*data, error) { return openData(path, dataConfig{}) }}
	defer d.close()
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := d.next(i); err != nil {
			b.Fatal(err)
		}
	}
}

// Short records cost what is done for each of them: gzip holds millions in a few megabytes.
func BenchmarkScanShortRecords(b *testing.B) {
	const records = 100_000
	path := write(b, "a.jsonl", strings.Repeat(`{"prompt": "a"}`+"\n", records))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scanData(path, dataConfig{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
}
