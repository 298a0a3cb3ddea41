package tokenizer

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/openloop/openloop/internal/fuzztest"
	"github.com/openloop/openloop/tokens/tokenizer/tokenizertest"
)

// sentencePieces are the models of make_sentencepiece.py.
var sentencePieces = []string{"sp-llama2", "sp-gemma", "sp-suffix", "sp-t5", "sp-unigram"}

func loadSentencePiece(t testing.TB, name string) *huggingFace {
	t.Helper()
	tokenizer, err := parseSentencePiece(name+".model", tokenizertest.ReadGzip(t, name+".model.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// The vectors were made with SentencePiece's own library.
func TestVectorsOfSentencePiece(t *testing.T) {
	texts := vectorTexts(t)
	for _, name := range sentencePieces {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokenizer := loadSentencePiece(t, name)
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

// Texts of words have exactly as many tokens as words, wherever the words stand.
func TestWordsAddUpBySentencePiece(t *testing.T) {
	for _, name := range sentencePieces {
		tokenizer := loadSentencePiece(t, name)
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

// modelOf writes a .model file of pieces, its other settings by their numbers in the messages 2 and 3.
func modelOf(pieces []piece, trainer, normalizer map[protowire.Number]uint64) []byte {
	var data []byte
	message := func(number protowire.Number, fields []byte) {
		data = protowire.AppendBytes(protowire.AppendTag(data, number, protowire.BytesType), fields)
	}
	for _, p := range pieces {
		var fields []byte
		fields = protowire.AppendString(protowire.AppendTag(fields, 1, protowire.BytesType), p.text)
		fields = protowire.AppendFixed32(protowire.AppendTag(fields, 2, protowire.Fixed32Type),
			math.Float32bits(p.score))
		if p.kind != 0 {
			fields = protowire.AppendVarint(protowire.AppendTag(fields, 3, protowire.VarintType), uint64(p.kind))
		}
		message(1, fields)
	}
	for number, settings := range map[protowire.Number]map[protowire.Number]uint64{2: trainer, 3: normalizer} {
		var fields []byte
		for n, value := range settings {
			fields = protowire.AppendVarint(protowire.AppendTag(fields, n, protowire.VarintType), value)
		}
		message(number, fields)
	}
	return data
}

func TestSentencePieceErrors(t *testing.T) {
	type settings = map[protowire.Number]uint64
	unknown := piece{"<unk>", 0, pieceUnknown}
	ranks := ""
	for b := range 256 {
		ranks += fmt.Sprintf("%s %d\n", base64.StdEncoding.EncodeToString([]byte{byte(b)}), b)
	}
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "it has no pieces"},
		{[]byte("{}"), "is not a model of SentencePiece"},
		{[]byte(ranks), "is tiktoken's, whatever it is called"},
		{modelOf([]piece{{"a", 0, pieceNormal}}, nil, nil), "none of its pieces stands for what is unknown"},
		{modelOf([]piece{unknown, {"u", 0, pieceUnknown}}, nil, nil), "pieces 0 and 1 both stand for"},
		{modelOf([]piece{unknown, {"a", 0, 0}, {"a", 1, 0}}, nil, nil), `piece 2 is "a"`},
		{modelOf([]piece{unknown, {"", 0, 0}}, nil, nil), `piece 1 is ""`},
		{modelOf([]piece{unknown, {"a", 0, 9}}, nil, nil), "piece 1 is of type 9"},
		{modelOf([]piece{unknown}, settings{3: 3}, nil), "model_type is 3"},
		{modelOf([]piece{unknown}, settings{35: 1}, nil), "without a token for each byte"},
		{modelOf([]piece{unknown, {"ab", 0, 0}, {"a", 0, 0}}, settings{3: 2}, nil), `"ab", of which 'b' is no piece`},
		{modelOf([]piece{unknown, {"a", 0, pieceUnused}}, settings{3: 2}, nil), "an unused one in a BPE"},
		{append(modelOf([]piece{unknown}, nil, nil), "\x1a\x03\x12\x01a"...), "precompiled_charsmap: it is cut off"},
	} {
		if _, err := parseSentencePiece("x.model", c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: %v; want %s", c.data, err, c.want)
		}
	}
}

// A folder has one of several names for it, and a tokenizer.json goes first.
func TestSentencePieceInFolder(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"spiece.model", "tokenizer.model"} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, tokenizertest.ReadGzip(t, "sp-t5.model.gz"), 0o600); err != nil {
			t.Fatal(err)
		}
		if tokenizer, err := Open(folder); err != nil || tokenizer.Name() != name {
			t.Error(name, tokenizer, err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "tokenizer.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(folder); err == nil || !strings.Contains(err.Error(), "tokenizer.json") {
		t.Error(err)
	}
}

// FuzzSentencePiece: no file makes the reading or the encoding fail, and all tokens exist.
func FuzzSentencePiece(f *testing.F) {
	pieces := []piece{{"<unk>", 0, pieceUnknown}, {"▁", -1, 0}, {"a", -2, 0}, {"b", -3, 0}, {"▁a", -0.5, 0},
		{"ab", -4, 0}, {"<x>", 0, pieceUserDefined}}
	for kind := range uint64(2) {
		f.Add(modelOf(pieces, map[protowire.Number]uint64{3: kind + 1, 24: 0}, nil), "ab  a<x>b é")
		f.Add(modelOf(pieces, map[protowire.Number]uint64{3: kind + 1, 24: 1},
			map[protowire.Number]uint64{3: 0, 4: 0, 5: 0}), " ab<x> ")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		fuzztest.Watch(t)
		tokenizer, err := parseSentencePiece("f", data)
		if err != nil || len(text) > 1000 {
			return
		}
		for _, id := range tokenizer.Encode(text) {
			if id < 0 || id >= len(tokenizer.texts) {
				t.Fatalf("%q: token %d of %d", text, id, len(tokenizer.texts))
			}
		}
	})
}
