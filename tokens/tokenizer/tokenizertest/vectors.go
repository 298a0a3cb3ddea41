// Package tokenizertest holds real tokenizers for tests: the vocabularies under testdata/tokens, from which
// make_vectors.py took out what can be worked out again.
package tokenizertest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Path returns where a file of testdata/tokens lies.
func Path(t testing.TB, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		folder := filepath.Join(dir, "testdata", "tokens")
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			return filepath.Join(folder, name)
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no folder above this test holds testdata/tokens")
		}
		dir = up
	}
}

// ReadGzip returns what a compressed file of testdata/tokens holds.
func ReadGzip(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// JSON returns the tokenizer.json of a shell, with its vocabulary and merges put back into it.
func JSON(t testing.TB, shell, merges string) []byte {
	t.Helper()
	text, err := os.ReadFile(Path(t, shell+".shell.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	model := file["model"].(map[string]any)
	asPairs := len(model["merges"].([]any)) > 0
	data := bytes.NewReader(ReadGzip(t, merges+".merges.gz"))
	number := func() int {
		n, err := binary.ReadUvarint(data)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	first, count := number(), number()
	texts := map[int]string{}
	for i, r := range byteCharacters() {
		texts[first+i] = string(r)
	}
	pairs, result, results := make([][2]int, count), 0, make([]int, count)
	parts := map[int][2]int{}
	for i := range pairs {
		pairs[i] = [2]int{number(), number()}
		result += number()
		results[i], parts[result] = result, pairs[i]
	}
	var textOf func(id int) string
	textOf = func(id int) string {
		if _, ok := texts[id]; !ok {
			texts[id] = textOf(parts[id][0]) + textOf(parts[id][1])
		}
		return texts[id]
	}
	list := make([]any, count)
	for i, p := range pairs {
		textOf(results[i])
		if list[i] = textOf(p[0]) + " " + textOf(p[1]); asPairs {
			list[i] = []string{textOf(p[0]), textOf(p[1])}
		}
	}
	vocab := model["vocab"].(map[string]any)
	for id, text := range texts {
		vocab[text] = id
	}
	model["merges"] = list
	out, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// byteCharacters are the characters that stand for the 256 bytes in byte-level files, in the order of their tokens: the
// printable ones of Latin-1, then U+0100 and up for all others (GPT-2's encoder.py).
func byteCharacters() []rune {
	var printable, other []rune
	for b := range rune(256) {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			printable = append(printable, b)
		} else {
			other = append(other, 0x100+rune(len(other)))
		}
	}
	return append(printable, other...)
}
