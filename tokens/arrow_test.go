package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openloop/openloop/internal/fuzztest"
	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

// The samples were made by testdata/tokens/make_arrow.py.
var arrowFiles = []string{"stream.arrow", "zstd.arrow", "lz4.arrow", "file.arrow"}

// Every form of a file has the same rows, whatever form a column has.
func TestArrowForms(t *testing.T) {
	const view = "a longer text, which a view does not hold in itself"
	texts := []any{"first", nil, view, "first"}
	want := map[string][]any{
		"prompt": texts, "large": texts, "view": texts, "binary": texts, "dictionary": texts,
		"output_tokens_count": {"3", "4", nil, "5"},
		"list":                {`["a",null]`, `[]`, nil, `["b"]`},
		"fixed":               {`[1,2]`, `[3,4]`, nil, `[5,6]`},
		"struct":              {`{"a":1}`, `{"b":["x"]}`, nil, `{"a":2,"b":[]}`},
		"true":                {"true", "false", nil, "true"},
		"time":                {"0", "1", nil, "2"},
		"nothing":             {nil, nil, nil, nil},
	}
	for _, name := range arrowFiles {
		rows, err := openRecords(tokenizertest.Path(t, filepath.Join("arrow", name)))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			r, at, err := rows.next()
			if err != nil || at.line != i+1 {
				t.Fatalf("%s: row %d: %v, %v", name, i, at, err)
			}
			if len(r) != len(want) {
				t.Errorf("%s: %d columns, want %d", name, len(r), len(want))
			}
			for column, values := range want {
				got := r[column]
				if raw, ok := got.(json.RawMessage); ok {
					got = string(raw)
				}
				if want := values[i]; got != want {
					t.Errorf("%s: row %d: %s is %v, want %v", name, i, column, got, want)
				}
			}
		}
		if _, _, err := rows.next(); !errors.Is(err, io.EOF) {
			t.Error(name, err)
		}
		if err := rows.close(); err != nil {
			t.Error(err)
		}
	}
}

// A folder has the records of all its shards, one of several splits is read, and a field that a message does not have
// is not sent.
func TestSavedFolder(t *testing.T) {
	saved := tokenizertest.Path(t, "saved")
	items := func(first, n int) (items []Item) {
		for i := range n {
			question := fmt.Sprintf("question %d <é>", first+i)
			it := Item{Index: i, PromptText: question, PromptTokens: 3, OutputTokens: 3,
				Messages: []byte(`[{"role":"user","content":"` + question + `"}]`)}
			if (first+i)%2 == 0 {
				it.fields = []field{{name: "temperature", value: "0.5"}}
			}
			items = append(items, it)
		}
		return items
	}
	for _, c := range []struct {
		folder string
		want   []Item
		note   string
	}{
		{saved, items(0, 3), "of the splits of " + saved + " (test, train) " + saved + "/train is read"},
		{saved + "/train", items(0, 3), ""},
		{saved + "/test", items(10, 2), ""},
	} {
		cfg := dataConfig{count: words}
		d, err := openData(c.folder, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := all(t, d.source); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.folder, got, c.want)
		}
		_ = d.close()
		found, err := scanData(c.folder, cfg)
		if err != nil {
			t.Fatal(err)
		}
		notes, warnings := found.notes(&DataSpec{})
		if len(warnings) > 0 || c.note != "" && !strings.HasPrefix(notes[0], c.note) || found.records != len(c.want) {
			t.Errorf("%s: %d records, %q, %q", c.folder, found.records, notes, warnings)
		}
	}
	spec := &DataSpec{Source: saved, Further: []string{"x.json", saved + "/test"}}
	want := []string{saved + "/train/data-00000-of-00002.arrow", saved + "/train/data-00001-of-00002.arrow", "x.json",
		saved + "/test/data-00000-of-00001.arrow"}
	if got := spec.Files(); !slices.Equal(got, want) {
		t.Error(got)
	}
}

func TestSplits(t *testing.T) {
	for _, c := range []struct {
		splits []string
		want   string
	}{
		{[]string{"test", "validation", "train"}, "train"}, {[]string{"test_sft", "train_sft"}, "train_sft"},
		{[]string{"test", "dev"}, "dev"}, {[]string{"b", "a"}, "b"},
		{nil, "names no splits"}, {[]string{"train", "../x"}, "can't be the name"}, {[]string{""}, "can't be the name"},
		{[]string{"."}, "can't be the name of a folder"}, {[]string{"a/b"}, "can't be the name"},
	} {
		got, err := chooseSplit("folder", c.splits)
		if got != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %q, %v; want %s", c.splits, got, err, c.want)
		}
	}
}

func TestFolderErrors(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{nil, "is a folder without data: a folder that Hugging Face's datasets saved (save_to_disk) has a state.json"},
		{map[string]string{"b.jsonl": "", "a.parquet": "", "README.md": ""},
			"is a folder of files, which are named one by one (a.parquet, b.jsonl)"},
		{map[string]string{"state.json": "{"}, "state.json: it ends too early"},
		{map[string]string{"state.json": "{}"}, "its state.json names no files of data"},
		{map[string]string{"state.json": `{"_data_files":[{"filename":"../x.arrow"}]}`}, "which is not in it"},
		{map[string]string{"state.json": `{"_data_files":[{"filename":"x.arrow"}]}`}, "x.arrow: no such file"},
		{map[string]string{"state.json": `{"_data_files":[{"filename":"x.arrow"}]}`, "x.arrow": "short"},
			"x.arrow: not a readable Arrow file"},
		{map[string]string{"state.json": `{"_data_files":[{"filename":"x.arrow"}],"_indices_data_files":[{}]}`},
			"save it anew"},
		{map[string]string{"dataset_dict.json": `{"splits":["train"]}`}, "train"},
	} {
		folder := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := openData(folder, dataConfig{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.files, err)
		}
	}
}

// A file that ends in its middle is an error, and so is one that is broken.
func TestBrokenArrow(t *testing.T) {
	for _, name := range arrowFiles {
		whole, err := os.ReadFile(tokenizertest.Path(t, filepath.Join("arrow", name)))
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n < len(whole)-8; n += 61 { // behind that is the mark of the end alone
			if strings.HasPrefix(string(whole[n:]), "\xff\xff\xff\xff") {
				continue // the end of a message: a stream may end there
			}
			path := write(t, "a.arrow", string(whole[:n]))
			rows, err := openRecords(path)
			read := 0
			for ; err == nil; read++ {
				_, _, err = rows.next()
			}
			if errors.Is(err, io.EOF) && read-1 < 4 {
				t.Errorf("%s: cut to %d of %d bytes it has %d rows, and no error", name, n, len(whole), read-1)
			}
		}
	}
}

func FuzzArrowRecords(f *testing.F) {
	var seeds []string
	for _, name := range arrowFiles {
		data, err := os.ReadFile(tokenizertest.Path(f, filepath.Join("arrow", name)))
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, string(data))
	}
	fuzzRecords(f, "a.arrow", append(seeds, "ARROW1\x00\x00")...)
}

// FuzzArrowMemory: no small Arrow file takes much memory, whatever it says of the sizes of its parts.
func FuzzArrowMemory(f *testing.F) {
	for _, name := range arrowFiles {
		data, err := os.ReadFile(tokenizertest.Path(f, filepath.Join("arrow", name)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return
		}
		fuzztest.Watch(t)
		before := fuzztest.Allocated()
		_, _ = items(t, "a.arrow", data)
		if used := fuzztest.Allocated() - before; used > 256<<20 {
			t.Fatalf("%d bytes for %q", used, data)
		}
	})
}

// FuzzFolder: what a folder says of itself names files in it alone.
func FuzzFolder(f *testing.F) {
	f.Add([]byte(`{"_data_files":[{"filename":"data-00000-of-00001.arrow"}],"splits":["train","test"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		folder := t.TempDir()
		for _, name := range []string{"state.json", "dataset_dict.json"} {
			if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
			files, _, err := dataFiles(folder)
			if (err == nil) != (len(files) > 0) {
				t.Fatalf("%q: %q, %v", text, files, err)
			}
			for _, file := range files {
				if inside, err := filepath.Rel(folder, file); err != nil || !filepath.IsLocal(inside) {
					t.Fatalf("%q: %q", text, file)
				}
			}
		}
	})
}
