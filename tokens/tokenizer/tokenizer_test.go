package tokenizer

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

func vectorTexts(t testing.TB) (texts []string) {
	t.Helper()
	if err := json.Unmarshal(tokenizertest.ReadGzip(t, "texts.json.gz"), &texts); err != nil || len(texts) < 2500 {
		t.Fatal(len(texts), err)
	}
	return texts
}

func vectorIDs(t testing.TB, name string, texts int) [][]int {
	t.Helper()
	data := bytes.NewReader(tokenizertest.ReadGzip(t, name+".ids.gz"))
	lists := make([][]int, texts)
	for i := range lists {
		n, err := binary.ReadUvarint(data)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			id, err := binary.ReadUvarint(data)
			if err != nil {
				t.Fatal(err)
			}
			lists[i] = append(lists[i], int(id))
		}
	}
	if data.Len() != 0 {
		t.Fatalf("%s: %d bytes are left", name, data.Len())
	}
	return lists
}

var loadOnce sync.Map // a tokenizer is read once for all tests

func load(t testing.TB, shell, merges string) *huggingFace {
	t.Helper()
	opened, _ := loadOnce.LoadOrStore(shell, sync.OnceValues(func() (*huggingFace, error) {
		return parseHuggingFace(shell+"/tokenizer.json", tokenizertest.JSON(t, shell, merges))
	}))
	tokenizer, err := opened.(func() (*huggingFace, error))()
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

func embedded(t testing.TB, name string) *tiktokenBPE {
	t.Helper()
	opened, _ := loadOnce.LoadOrStore(name, sync.OnceValues(func() (*tiktokenBPE, error) { return openEmbedded(name) }))
	tokenizer, err := opened.(func() (*tiktokenBPE, error))()
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// The vectors were made with the Hugging Face library, those of the encodings with tiktoken itself.
func TestVectors(t *testing.T) {
	texts := vectorTexts(t)
	for _, c := range []struct{ name, merges string }{
		{"qwen2.5", "qwen2.5"}, {"llama3", "llama3"}, {"deepseek3", "deepseek3"},
		{"gpt2", "gpt2"}, {"gpt2-o200k", "gpt2"}, {"gpt2-qwen35", "gpt2"}, {"gpt2-tekken", "gpt2"},
		{"gpt2-prefix-space", "gpt2"}, {"gpt2-digits", "gpt2"}, {"gpt2-digits-prefix-space", "gpt2"},
		{"o200k_base", ""}, {"cl100k_base", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if vectorStride > 1 && c.name != "qwen2.5" && c.name != "gpt2" && c.name != "o200k_base" {
				t.Skip("the race detector takes long to load it, and it runs the same code as the others")
			}
			var tokenizer Tokenizer
			if c.merges != "" {
				tokenizer = load(t, c.name, c.merges)
			} else {
				tokenizer = embedded(t, c.name)
			}
			different := 0
			for i, want := range vectorIDs(t, c.name, len(texts)) {
				if i%vectorStride != 0 {
					continue
				}
				got := tokenizer.Encode(texts[i])
				if !slices.Equal(got, want) {
					if different++; different <= 5 {
						t.Errorf("text %d %.200q\n got %.400q\nwant %.400q", i, texts[i], spell(tokenizer, got),
							spell(tokenizer, want))
					}
				}
			}
			if different > 0 {
				t.Errorf("%d of %d texts differ", different, len(texts))
			}
		})
	}
}

func spell(t Tokenizer, ids []int) (parts []string) {
	for _, id := range ids {
		parts = append(parts, t.Decode([]int{id}))
	}
	return parts
}

func TestDecodeGivesTheTextBack(t *testing.T) {
	for _, tokenizer := range []Tokenizer{load(t, "gpt2", "gpt2"), embedded(t, "cl100k_base")} {
		for i, text := range vectorTexts(t) {
			if i%vectorStride != 0 {
				continue
			}
			if got := tokenizer.Decode(tokenizer.Encode(text)); got != text {
				t.Errorf("%s: %q became %q", tokenizer.Name(), text, got)
			}
		}
		if got := tokenizer.Decode([]int{-1, 1 << 30}); got != "" {
			t.Errorf("unknown identifiers became %q", got)
		}
		if got, want := tokenizer.Count("a\xffb"), tokenizer.Count("a\uFFFDb"); got != want {
			t.Errorf("%s: broken UTF-8 has %d tokens, want %d", tokenizer.Name(), got, want)
		}
	}
}

func TestFitFindsWordsOfOneToken(t *testing.T) {
	tokenizer := load(t, "qwen2.5", "qwen2.5")
	words, err := Fit(tokenizer)
	if err != nil || len(words.Words) < 1500 || len(words.First) < 1500 || words.Ruler != "tokenizer.json" {
		t.Fatal(len(words.Words), len(words.First), words.Ruler, err)
	}
	for _, w := range words.Words {
		if tokenizer.Count(" "+w) != 1 {
			t.Errorf("%q is not one token behind a space", w)
		}
	}
	for _, w := range words.First {
		if tokenizer.Count(w) != 1 || !slices.Contains(words.Words, w) {
			t.Errorf("%q is not one token on its own, or not one behind a space", w)
		}
	}
}

func TestEmbeddedWordsAreOneTokenEach(t *testing.T) {
	words := EmbeddedWords()
	if len(words.Words) != 2048 {
		t.Fatalf("%d words", len(words.Words))
	}
	for _, name := range []string{"o200k_base", "cl100k_base"} {
		fit, err := Fit(embedded(t, name))
		if err != nil || !slices.Equal(fit.Words, words.Words) || !slices.Equal(fit.First, words.Words) {
			t.Errorf("%s: %d words, %d first words, %v", name, len(fit.Words), len(fit.First), err)
		}
	}
}

// An error of a library says what is wrong; which flag helps is known to the program alone.
func TestErrorsNameNoFlag(t *testing.T) {
	few := &VocabularyError{Ruler: "x", Words: 3, First: 1}
	unknown := &UnsupportedError{"dir/tokenizer.json", "model type", `"WordLevel"`}
	for err, want := range map[error]string{
		few: "by x only 3 of the known words are one token (1 at the start of a text, 64 are needed): " +
			"prompts of an exact length cannot be made of them",
		unknown: `dir/tokenizer.json: its model type is "WordLevel", which is not known here: ` +
			`its tokens could only be guessed`,
	} {
		if err.Error() != want {
			t.Errorf("got  %s\nwant %s", err, want)
		}
	}
	if err := (Vocabulary{Ruler: "x", Words: []string{"a"}}).Check(); !errors.As(err, new(*VocabularyError)) {
		t.Error(err)
	}
}

func tiny(t testing.TB, change func(file, model map[string]any)) []byte {
	t.Helper()
	vocab := map[string]any{}
	for r, b := range byteLevelBytes {
		vocab[string(r)] = int(b)
	}
	vocab["ab"] = 256
	model := map[string]any{"type": "BPE", "vocab": vocab, "merges": []any{"a b"}}
	file := map[string]any{"model": model, "pre_tokenizer": map[string]any{"type": "ByteLevel",
		"add_prefix_space": false}}
	change(file, model)
	data, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestUnknownTokenizersAreRefused(t *testing.T) {
	type m = map[string]any
	byteLevel := m{"type": "ByteLevel"}
	for name, change := range map[string]func(file, model m){
		"model type is \"WordLevel\"":        func(_, model m) { model["type"] = "WordLevel" },
		"unk_token is \"\", which is not in": func(_, model m) { model["type"] = "WordPiece" },
		"unk_id is none": func(_, model m) {
			model["type"] = "Unigram"
			model["vocab"] = []any{[]any{"a", -1.5}}
		},
		"ByteLevel, for a model that is not": func(_, model m) {
			model["type"], model["unk_id"] = "Unigram", 0
			model["vocab"] = []any{[]any{"a", -1.5}}
		},
		"vocabulary is without a token for each byte": func(file, model m) {
			model["byte_fallback"] = true
			delete(file, "pre_tokenizer")
		},
		"unk_token is \"<unk>\", which is not in": func(file, model m) {
			model["unk_token"] = "<unk>"
			delete(file, "pre_tokenizer")
		},
		"normalizer is {\"content\":\"\",\"pattern\":{\"Regex\":\"x\"}": func(file, _ m) {
			file["normalizer"] = m{"type": "Replace", "pattern": m{"Regex": "x"}, "content": ""}
		},
		"model type is \"\"":                      func(_, model m) { delete(model, "type") },
		"dropout is 0.1":                          func(_, model m) { model["dropout"] = 0.1 },
		"mark of word parts is \"\" and \"</w>\"": func(_, model m) { model["end_of_word_suffix"] = "</w>" },
		"ByteLevel, for a model":                  func(_, model m) { model["byte_fallback"] = true },
		"no token for the byte 0x20":              func(_, model m) { delete(model["vocab"].(m), "Ġ") },
		"normalizer is {\"type\":\"NFKC\"}":       func(file, _ m) { file["normalizer"] = m{"type": "NFKC"} },
		"normalizer is {\"type\":\"Lowercase\"}": func(file, _ m) {
			file["normalizer"] = m{"type": "Sequence", "normalizers": []any{m{"type": "Lowercase"}}}
		},
		"the step ByteLevel: nothing": func(file, _ m) { delete(file, "pre_tokenizer") },
		"the step ByteLevel: null":    func(file, _ m) { file["pre_tokenizer"] = nil },
		"pre-tokenizer is {\"prepend_scheme\":\"last\"": func(file, _ m) {
			file["pre_tokenizer"] = m{"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}
		},
		"without the step ByteLevel: {\"type\":\"Digits\"": func(file, _ m) {
			file["pre_tokenizer"] = m{"type": "Digits"}
		},
		"goes on after ByteLevel": func(file, _ m) {
			file["pre_tokenizer"] = m{"type": "Sequence", "pretokenizers": []any{byteLevel, byteLevel}}
		},
		"the regular expression \"\\\\d+\"": func(file, _ m) {
			file["pre_tokenizer"] = m{"type": "Split", "pattern": m{"Regex": `\d+`}, "behavior": "Isolated"}
		},
		"\"behavior\":\"Removed\"": func(file, _ m) {
			file["pre_tokenizer"] = m{"type": "Split", "pattern": m{"Regex": `\p{N}{1,3}`}, "behavior": "Removed"}
		},
		"\"pattern\":{\"String\":\"-\"}": func(file, _ m) {
			file["pre_tokenizer"] = m{"type": "Split", "pattern": m{"String": "-"}, "behavior": "Isolated"}
		},
		"one with single_word": func(file, _ m) {
			file["added_tokens"] = []any{m{"id": 300, "content": "<x>",
				"single_word": true}}
		},
	} {
		_, err := parseHuggingFace("dir/tokenizer.json", tiny(t, change))
		var unsupported *UnsupportedError
		if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), name) ||
			!strings.HasPrefix(err.Error(), "dir/tokenizer.json: its") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{
		"is not a tokenizer.json: invalid character": []byte("no JSON"),
		"is not a tokenizer.json: unexpected end":    nil,
		"merge 1 joins \"a\" and \"c\"":              tiny(t, func(_, model m) { model["merges"] = []any{"a c"} }),
		"merge 1 is [\"a\"]; want two tokens":        tiny(t, func(_, model m) { model["merges"] = []any{"a"} }),
		"merges: want":                               tiny(t, func(_, model m) { model["merges"] = 7 }),
		"has the identifier -1":                      tiny(t, func(_, model m) { model["vocab"].(m)["a"] = -1 }),
	} {
		if _, err := parseHuggingFace("x", data); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := openHuggingFace(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestTiktokenFiles(t *testing.T) {
	dir := t.TempDir()
	var file bytes.Buffer
	for b := range 256 {
		fmt.Fprintf(&file, "%s %d\n", base64.StdEncoding.EncodeToString([]byte{byte(b)}), b)
	}
	fmt.Fprintf(&file, "%s 256\n", base64.StdEncoding.EncodeToString([]byte("ab")))
	path := filepath.Join(dir, "my-cl100k_base.tiktoken")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	tokenizer, err := openTiktoken(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := tokenizer.Encode("xabb"); !slices.Equal(got, []int{'x', 256, 'b'}) ||
		tokenizer.Name() != "my-cl100k_base.tiktoken" {
		t.Error(got, tokenizer.Name())
	}
	for name, want := range map[string]string{"unknown.tiktoken": "does not say how text is split",
		"qwen.tiktoken": "no such file", "qwen-gpt2.tiktoken": "contains 2"} {
		if _, err := openTiktoken(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for text, want := range map[string]string{
		"IQ== 0\nnonsense": "2: want a token", "IQ== 0\nIg== 0": "2: the token", "IQ== 0\nIQ== 1": "twice",
		"IQ== x": "1: want", "": "has no token", "IQ== -1": "1: want",
	} {
		if _, err := parseRanks([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOpenTokenizer(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tokenizer.json")
	if err := os.WriteFile(file, tiny(t, func(_, _ map[string]any) {}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"o200k_base": "o200k_base", file: "tokenizer.json",
		dir: "tokenizer.json"} {
		tokenizer, err := Open(name)
		if err != nil || tokenizer.Name() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{"gpt-9": "there are o200k_base, cl100k_base, and files",
		t.TempDir(): "no such file", "tokenizer.go": "want a file that ends in"} {
		if _, err := Open(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The ranks of a .tiktoken file and the merges of the tokenizer.json of the same model are two ways to the same tokens.
func TestTiktokenFileOfQwen(t *testing.T) {
	model := load(t, "qwen2.5", "qwen2.5")
	var file bytes.Buffer
	for rank, text := range model.texts {
		fmt.Fprintf(&file, "%s %d\n", base64.StdEncoding.EncodeToString([]byte(text)), rank)
	}
	path := filepath.Join(t.TempDir(), "qwen.tiktoken")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	tokenizer, err := openTiktoken(path)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for i, text := range vectorTexts(t) {
		if i%vectorStride != 0 || strings.Contains(text, "<|") { // special tokens: text to the one, tokens to the other
			continue
		}
		compared++
		if got, want := tokenizer.Encode(text), model.Encode(text); !slices.Equal(got, want) {
			t.Errorf("text %d %.200q\n got %.400q\nwant %.400q", i, text, spell(tokenizer, got), spell(model, want))
		}
	}
	if compared < 2400/vectorStride {
		t.Errorf("only %d texts were compared", compared)
	}
}

func FuzzRanks(f *testing.F) {
	f.Add([]byte("IQ== 0\nIg== 1\n"))
	f.Add([]byte("IQ== 0 1\n\n \n"))
	f.Fuzz(func(t *testing.T, data []byte) { parseRanks(data) })
}

func FuzzTokenizerJSON(f *testing.F) {
	f.Add(tiny(f, func(_, _ map[string]any) {}), "some ab text")
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{},"merges":[["a","b"]]},`+
		`"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"}]}}`), "")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tokenizer, err := parseHuggingFace("f", data)
		if err != nil {
			return
		}
		tokenizer.Decode(tokenizer.Encode(text))
	})
}

// FuzzSplit: the matchers cover every text, and in whole characters.
func FuzzSplit(f *testing.F) {
	for _, text := range vectorTexts(f)[:60] {
		f.Add(text)
	}
	patterns := map[string]matcher{"gpt2": matchGPT2, "deepseek": matchDeepSeek, "han": matchHanAndKana}
	for _, words := range []class{letter, letter | mark} {
		for _, c := range []contraction{never, leading, trailing} {
			patterns[fmt.Sprint(words, c)] = pattern{words: words, digits: 3, contraction: c, after: newline,
				cased: c == trailing}.match
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = valid(text)
		for name, m := range patterns {
			var pieces []string
			m.split(text, func(p string) { pieces = append(pieces, p) })
			if strings.Join(pieces, "") != text || slices.Contains(pieces, "") {
				t.Fatalf("%s: %q became %q", name, text, pieces)
			}
			for _, p := range pieces {
				if valid(p) != p {
					t.Fatalf("%s: %q was cut inside a character: %q", name, text, p)
				}
			}
		}
	})
}

func BenchmarkEncodeQwen(b *testing.B) {
	tokenizer := load(b, "qwen2.5", "qwen2.5")
	text := strings.Repeat("The harbour lights went out one by one, and nobody on the quay said a word about it. ", 14)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tokenizer.Count(text)
	}
}

func BenchmarkOpenTokenizerJSON(b *testing.B) {
	data := tokenizertest.JSON(b, "qwen2.5", "qwen2.5")
	for b.Loop() {
		if _, err := parseHuggingFace("x", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeO200K(b *testing.B) {
	tokenizer := embedded(b, "o200k_base")
	text := strings.Repeat("The harbour lights went out one by one, and nobody on the quay said a word about it. ", 14)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		tokenizer.Count(text)
	}
}

func BenchmarkLoadO200K(b *testing.B) {
	for b.Loop() {
		if _, err := openEmbedded("o200k_base"); err != nil {
			b.Fatal(err)
		}
	}
}

// valid is a text whose bytes that are not UTF-8 have become U+FFFD.
func valid(s string) string { return string([]rune(s)) }
