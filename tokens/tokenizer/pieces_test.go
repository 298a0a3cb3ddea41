package tokenizer

import (
	"encoding/base64"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

// pieceTokenizers are those of make_pieces.py.
var pieceTokenizers = []string{
	"llama2", "llama2-first", "gemma", "bpe-unk", "bert-uncased", "bert-cased", "bert-lower-accents", "t5", "t5-new",
	"xlm-r",
}

func loadPieces(t testing.TB, name string) *huggingFace {
	t.Helper()
	tokenizer, err := parseHuggingFace(name+"/tokenizer.json", tokenizertest.ReadGzip(t, name+".json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// The vectors were made with the Hugging Face library.
func TestVectorsOfPieces(t *testing.T) {
	texts := vectorTexts(t)
	for _, name := range pieceTokenizers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokenizer := loadPieces(t, name)
			different := 0
			for i, want := range vectorIDs(t, name, len(texts)) {
				if i%vectorStride != 0 {
					continue
				}
				if got := tokenizer.Encode(texts[i]); !slices.Equal(got, want) {
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

func TestDecodeOfPieces(t *testing.T) {
	const text = "The harbour, at 5:30 in the morning"
	for name, want := range map[string]string{
		"llama2": " " + text + "\n", "gemma": text + "\n", "llama2-first": " " + text + "\n",
		"t5-new": " " + text, "bert-cased": " The harbour , at 5 : 30 in the morning",
	} {
		tokenizer := loadPieces(t, name)
		if got := tokenizer.Decode(tokenizer.Encode(text + "\n")); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if got, want := tokenizer.Count("a\xffb"), tokenizer.Count("a\uFFFDb"); got != want {
			t.Errorf("%s: broken UTF-8 has %d tokens, want %d", name, got, want)
		}
	}
}

// Texts of words have exactly as many tokens as words by each kind, wherever the words stand, and behind a prefix.
func TestWordsAddUpByPieces(t *testing.T) {
	for _, name := range pieceTokenizers {
		tokenizer := loadPieces(t, name)
		v, err := Fit(tokenizer)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		random := rand.New(rand.NewPCG(1, 2))
		for _, n := range []int{1, 2, 17, 3000} {
			words := []string{v.First[random.IntN(len(v.First))]}
			for len(words) < n {
				words = append(words, v.Words[random.IntN(len(v.Words))])
			}
			if got := tokenizer.Count(strings.Join(words, " ")); got != n {
				t.Errorf("%s: %d words are %d tokens", name, n, got)
			}
		}
	}
}

func TestFitRefusesTokensThatSpanWords(t *testing.T) {
	if _, err := Fit(spanning{}); err == nil || !strings.Contains(err.Error(), "side by side") {
		t.Error(err)
	}
}

// spanning counts a token a word, but three words are two tokens.
type spanning struct{ Tokenizer }

func (spanning) Name() string { return "x" }

func (spanning) Count(text string) int {
	n := len(strings.Fields(text))
	return n - n/3
}

func FuzzPieces(f *testing.F) {
	f.Add([]byte(`{"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁a",-1],["b",-2]]},`+
		`"pre_tokenizer":{"type":"Metaspace","replacement":"▁"}}`), "a ba  b")
	f.Add([]byte(`{"model":{"type":"WordPiece","unk_token":"u","vocab":{"u":0,"a":1,"##b":2}},`+
		`"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"}}`), "Äb, a")
	f.Add([]byte(`{"model":{"type":"BPE","unk_token":"u","fuse_unk":true,"vocab":{"u":0,"a":1,"▁":2,"▁a":3},`+
		`"merges":[["▁","a"]]},"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},`+
		`{"type":"Replace","pattern":{"String":" "},"content":"▁"},{"type":"Strip","strip_left":true}]}}`), "a xx a")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tokenizer, err := parseHuggingFace("f", data)
		if err != nil || len(text) > 1000 {
			return
		}
		tokenizer.Decode(tokenizer.Encode(text))
	})
}

// FuzzCharsmap: no map makes the look-up leave it, and what comes out is UTF-8.
func FuzzCharsmap(f *testing.F) {
	f.Add([]byte("\x08\x00\x00\x00\x00\x04\x00\x00a\x01\x00\x00b\x00"), "abc")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		c, err := readCharsmap(base64.StdEncoding.EncodeToString(data))
		if err != nil {
			return
		}
		c.normalize(valid(text))
	})
}

func BenchmarkEncodePieces(b *testing.B) {
	for _, name := range []string{"llama2", "gemma", "bert-uncased", "t5"} {
		b.Run(name, func(b *testing.B) {
			tokenizer := loadPieces(b, name)
			text := strings.Join(EmbeddedWords().Words, " ")
			text = strings.Repeat(text+" ", 50)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				tokenizer.Count(text)
			}
		})
	}
}
