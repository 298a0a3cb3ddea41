package tokenizer

import (
	"bytes"
	"compress/gzip"
	"maps"
	"testing"

	loader "github.com/pkoukk/tiktoken-go-loader"
)

// The vocabularies in the program are those of the module that they were made from.
func TestEmbeddedVocabularies(t *testing.T) {
	for _, name := range []string{"o200k_base", "cl100k_base"} {
		want, err := loader.NewOfflineLoader().LoadTiktokenBpe(name + ".tiktoken")
		if err != nil {
			t.Fatal(err)
		}
		packed, err := vocabularies.ReadFile("vocabularies/" + name + ".gz")
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpackRanks(packed)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s has %d tokens, and is not the %d of the module: run go generate", name, len(got), len(want))
		}
	}
}

func TestUnpackRanks(t *testing.T) {
	for _, c := range []struct {
		name, data string
		want       map[string]int // nil: refused
	}{
		{"two tokens", "\x00\x00\x00\x02\x01\x02abc", map[string]int{"a": 0, "bc": 1}},
		{"no count", "\x00\x00", nil},
		{"fewer lengths than counted", "\x00\x00\x00\x03\x01", nil},
		{"a token cut short", "\x00\x00\x00\x01\x04abc", nil},
		{"bytes after the last", "\x00\x00\x00\x01\x01ab", nil},
		{"a token twice", "\x00\x00\x00\x02\x01\x01aa", nil},
	} {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write([]byte(c.data)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := unpackRanks(packed.Bytes())
		if (err == nil) != (c.want != nil) || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
	if _, err := unpackRanks([]byte("not compressed")); err == nil {
		t.Error("what is not compressed is taken")
	}
}
