package tokens

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/fuzztest"
	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

// FuzzParseColumns: a mapping of columns that is taken has known kinds alone, is the same when it is written and read
// again, and finds a prompt in a record or says why it does not.
func FuzzParseColumns(f *testing.F) {
	for _, s := range []string{
		`{"text_column":"question"}`, `{"text_column":["a","b"],"prefix_column":"p"}`,
		`{"output_tokens_count_column":"n"}`,
		`{}`, `null`, ``, ` `, `[]`, `{"text_column":1}`, `{"text_column":null}`, `{"text_column":[null]}`,
		`{"text_column":[]}`,
		`{"image_column":"a"}`, `{"text_column":"0.a"}`, `{"text_column":"a","text_column":"b"}`, `{"a":`,
		`{"text_column":"a"}x`,
	} {
		f.Add(s, `{"a":"x","b":"y","p":"z","n":3,"question":"?"}`)
		f.Add(s, `{"a":[{"role":"user","content":"x"}],"n":"7","b":null}`)
	}
	f.Fuzz(func(t *testing.T, text, row string) {
		columns, err := ParseColumns(text)
		if err != nil {
			return
		}
		for kind, names := range columns {
			if _, known := defaultColumns[kind]; !known {
				t.Fatalf("%q: %q with %q", text, kind, names)
			}
		}
		written, err := json.Marshal(columns)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseColumns(string(written))
		if err != nil || !maps.EqualFunc(columns, again, slices.Equal) {
			t.Fatalf("%q is %v, written as %s and read as %v (%v)", text, columns, written, again, err)
		}
		var fields map[string]json.RawMessage
		if json.Unmarshal([]byte(row), &fields) != nil || len(fields) == 0 {
			return
		}
		r := record{}
		for name, value := range fields {
			r[name] = value
		}
		source := &fileSource{cfg: dataConfig{columns: columns, count: words}}
		it, err := source.item(r)
		nothing := it.PromptText == "" && len(it.Messages) == 0 && it.Body == nil
		if err == nil && (nothing || it.OutputTokens < 0 || it.PromptTokens < 0 ||
			len(it.Messages) > 0 && !json.Valid(it.Messages)) {
			t.Fatalf("%q of %q: %+v", text, row, it)
		}
	})
}

// FuzzExtraBody: what --extra-body says is in every body as it was given, and nothing that it says takes the place of
// the prompt.
func FuzzExtraBody(f *testing.F) {
	for _, s := range []string{
		`{"temperature":0}`, `{"a":{"b":[1,2.5e3,null,true,"x"]}}`, `{"stream":false,"model":"m"}`,
		`{"messages":[],"prompt":1}`,
		`{"a":1,"a":2}`, ` { } `, `null`, ``, `[]`, `{"a":1}{`, `{"a":1} x`, `{"a"`, "{\"\xff\":\"\xff\"}", `{"":""}`,
		`{"<":"\u003c"}`,
		`{"x":12345678901234567890123}`,
		`{"max_tokens":1,"max_completion_tokens":2,"stop":["\n"],"ignore_eos":false}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, extra []byte) {
		fuzztest.Watch(t)
		for _, format := range []Format{ChatCompletions, TextCompletions} {
			b, err := NewBody(BodyConfig{Format: format, Model: "model", Extra: extra})
			if err != nil {
				var choices map[string]json.RawMessage // more than one is refused
				if json.Unmarshal(extra, &choices) == nil && choices != nil && choices["n"] == nil {
					t.Fatalf("%q is refused: %v", extra, err)
				}
				continue
			}
			var given, got map[string]json.RawMessage
			if len(bytes.TrimSpace(extra)) > 0 && json.Unmarshal(extra, &given) != nil {
				t.Fatalf("%q is taken", extra)
			}
			body := b.Bytes(Item{PromptText: "the prompt", OutputTokens: 3})
			if err := json.Unmarshal(body, &got); err != nil || !utf8.Valid(body) && utf8.Valid(extra) {
				t.Fatalf("%q makes %q: %v", extra, body, err)
			}
			text := map[Format]string{ChatCompletions: "messages", TextCompletions: "prompt"}[format]
			if !strings.Contains(string(got[text]), `"the prompt"`) {
				t.Fatalf("%q makes %s", extra, body)
			}
			for name, value := range given {
				var want bytes.Buffer
				if err := json.Compact(&want, value); err != nil {
					t.Fatal(err)
				}
				if name != text && !bytes.Equal(got[name], want.Bytes()) {
					t.Fatalf("%q makes %s: %q is %s", extra, body, name, got[name])
				}
			}
		}
	})
}

// items reads the records of a file, at most so many, and how the reading ended.
func items(t *testing.T, name string, data []byte) (read []Item, end error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openData(path, dataConfig{count: words})
	if err != nil {
		return nil, err
	}
	defer d.close()
	for i := range 200 {
		it, err := d.source(i)
		if err != nil {
			return read, err
		}
		read = append(read, it)
	}
	return read, nil
}

// dataNames are the kinds of files of records.
var dataNames = []string{"a.jsonl", "a.csv", "a.txt", "a.json"}

// FuzzGzipRecords: a packed file has the records of the file itself, and one that is cut or broken ends in an error.
func FuzzGzipRecords(f *testing.F) {
	for _, s := range []string{
		`{"prompt":"x"}` + "\n" + `{"prompt":"y","output_tokens_count":3}`,
		"prompt,output_tokens_count\nx,1\n\"y\nz\",2\n", "a\nb\n",
		`[{"text":"x"},{"text":"y"}]`, "\xef\xbb\xbf{\"prompt\":\"x\"}", "\x1f\x8b\x08", "",
	} {
		for kind := range dataNames {
			f.Add([]byte(s), uint8(kind), uint16(0xffff))
			f.Add([]byte(s), uint8(kind), uint16(20))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, kind uint8, cut uint16) {
		if len(data) > 64<<10 {
			return
		}
		fuzztest.Watch(t)
		name := dataNames[int(kind)%len(dataNames)]
		want, wantErr := items(t, name, data)
		packed := fuzztest.Gzip(t, data)
		got, err := items(t, name+".gz", packed)
		if bytes.HasPrefix(data, []byte("\x1f\x8b")) {
			return // unpacked as a file, and by the text of another gzip otherwise
		}
		if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
			t.Fatalf("%s: %q has %+v (%v), packed %+v (%v)", name, data, want, wantErr, got, err)
		}
		if int(cut) >= len(packed) {
			return
		}
		if got, err := items(t, name+".gz", packed[:cut]); err == nil && len(got) > len(want) {
			t.Fatalf("%s: %q cut at %d has %+v", name, data, cut, got)
		}
	})
}

// FuzzPackedFile: whatever a packed file holds, reading it ends, and takes memory in proportion to what is in it.
func FuzzPackedFile(f *testing.F) {
	plain := fuzztest.Gzip(f, []byte(`{"prompt":"x"}`))
	for _, data := range [][]byte{
		plain, plain[:len(plain)-3], append(slices.Clone(plain), plain...), append(slices.Clone(plain), "rest"...),
		fuzztest.Gzip(f, plain), fuzztest.Gzip(f, bytes.Repeat([]byte("a"), 1<<20)), {0x1f, 0x8b},
		{0x1f, 0x8b, 8, 0xff},
		fuzztest.Gzip(f, []byte("PAR1")),
	} {
		for kind := range dataNames {
			f.Add(data, uint8(kind))
		}
		f.Add(data, uint8(255))
	}
	f.Fuzz(func(t *testing.T, data []byte, kind uint8) {
		if len(data) > 4<<10 { // of which deflate makes at most a thousand times as much
			return
		}
		fuzztest.Watch(t)
		name := "a.parquet.gz"
		if kind != 255 {
			name = dataNames[int(kind)%len(dataNames)] + ".gz"
		}
		before := fuzztest.Allocated()
		_, _ = items(t, name, data)
		if used := fuzztest.Allocated() - before; used > 256<<20 {
			t.Fatalf("%s: %d bytes of %x", name, used, data)
		}
	})
}

// FuzzSyntheticFile: a file that describes synthetic data is read as what it says, whichever of its forms it has.
func FuzzSyntheticFile(f *testing.F) {
	for _, s := range []string{
		"prompt_tokens: 3\noutput_tokens: 2\n", `{"prompt_tokens":3,"output_tokens":2}`, "prompt_tokens: 3.0",
		"prompt_tokens: null",
		"prompt_tokens: 3\nprefix_buckets: [{prefix_count: 2, prefix_tokens: 1}]",
		"prompt_tokens: 1e3\nkind: synthetic_text",
		"prompt_tokens: 3\nprefix_tokens: 0\n", "a: &a [x,x]\nb: &b [*a,*a]\nprompt_tokens: 1", "? [1]\n: 2",
		"prompt_tokens: .inf",
		"prompt_tokens: 0x10", "1: 2\nprompt_tokens: 1", "prompt_tokens: 99999999999999999999", "!!binary x",
		"prompt_tokens: ~",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		fuzztest.Watch(t)
		dir := t.TempDir()
		before := fuzztest.Allocated()
		for _, name := range []string{"a.yaml", "a.json", "a.config"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, is, err := ParseSynthetic(path)
			if err != nil && is {
				t.Fatalf("%s: %q: both synthetic data and %v", name, text, err)
			}
			if !is {
				continue
			}
			described := Spec{Synthetic: &cfg}.Describe()
			again, is, err := ParseSynthetic(described)
			if err != nil || !is || (Spec{Synthetic: &again}).Describe() != described || cfg.Prompt.Mean < 1 {
				t.Fatalf("%s: %q is %s, read again %+v (%v)", name, text, described, again, err)
			}
		}
		if used := fuzztest.Allocated() - before; used > 64<<20+2000*uint64(len(text)) {
			t.Fatalf("%d bytes for %q", used, text)
		}
	})
}

// FuzzLearn: whatever an endpoint answers where its token counts are asked for, learning ends, with words that can
// make prompts or an error.
func FuzzLearn(f *testing.F) {
	usage := func(n string) string { return `{"usage":{"prompt_tokens":` + n + `}}` }
	for _, s := range [][3]string{
		{`{"tokens":[1,2],"count":2}`, usage("8"), usage("9")}, {`{}`, usage("8"), usage("488")},
		{`{}`, usage("1"), usage("2")},
		{`{"tokens":[[1,1,1]]}`, usage("5"), usage("5")}, {``, ``, ``},
		{`{}`, usage("9223372036854775807"), usage("1")},
		{`{}`, usage("1"), usage("9223372036854775807")}, {`{}`, usage("-1"), usage("1")},
		{`null`, usage("1e3"), usage("1")},
	} {
		f.Add(200, s[0], s[1], s[2])
	}
	f.Add(404, "", `{"usage":{"prompt_tokens":1}}`, "")
	f.Fuzz(func(t *testing.T, status int, tokenize, first, later string) {
		if len(tokenize)+len(first)+len(later) > 16<<10 {
			return
		}
		fuzztest.Watch(t)
		calls := 0
		base := ""
		post := func(_ context.Context, path string, body []byte) (int, []byte, error) {
			if path == "/tokenize" {
				return status, []byte(tokenize), nil
			}
			// The first text is a word, which the check of what was learnt may have at its beginning as well.
			if calls++; base == "" {
				base = string(body)
			}
			if string(body) == base {
				return 200, []byte(first), nil
			}
			return 200, []byte(later), nil
		}
		before := fuzztest.Allocated()
		l, err := learn(t.Context(), func(ctx context.Context, path string, body []byte) (int, []byte, error) {
			learnLock <- struct{}{}
			defer func() { <-learnLock }()
			return post(ctx, path, body)
		}, learnConfig{model: "m", lengths: []int{16, 256}})
		if used := fuzztest.Allocated() - before; used > 64<<20 {
			t.Fatalf("%d bytes for %q, %q, %q", used, tokenize, first, later)
		}
		if err != nil {
			return
		}
		if !(l.tokensPerWord > 0) || math.IsInf(l.tokensPerWord, 0) || !(l.error >= 0) || len(l.words.Words) == 0 {
			t.Fatalf("%q, %q, %q: %+v", tokenize, first, later, l)
		}
	})
}

// learnLock lets one probe at a time see the answers.
var learnLock = make(chan struct{}, 1)

// FuzzParquetMemory: no small parquet file takes much memory, whatever it says of the sizes of its parts.
func FuzzParquetMemory(f *testing.F) {
	data, err := os.ReadFile(tokenizertest.Path(f, "records.parquet"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	long := slices.Clone(data)
	copy(long[len(long)-8:], "\x00\x00\x00\x20") // the length of the footer
	f.Add(long)
	f.Add([]byte("PAR1\xff\xff\xff\x3fPAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return
		}
		fuzztest.Watch(t)
		before := fuzztest.Allocated()
		_, _ = items(t, "a.parquet", data)
		if used := fuzztest.Allocated() - before; used > 256<<20 {
			t.Fatalf("%d bytes for %q", used, data)
		}
	})
}
