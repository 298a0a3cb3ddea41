// Package tokenizer is whose tokens are counted: tokenizers that are embedded or read from files, and the words of
// which texts of an exact length are made.
//
//	tokenizer.go        Tokenizer, Open; files of tiktoken
//	embedded.go         the encodings that are part of the program
//	huggingface.go      a tokenizer.json: its parts, and byte-level BPE
//	models.go           its other models: SentencePiece's BPE and Unigram, WordPiece
//	sentencepiece.go    a .model file of SentencePiece, by the same models
//	normalize.go        its normalisers
//	bertranges.go       the characters that BERT's steps look for
//	split.go            how a text is cut into pieces before merging, for the regular expressions that are known
//	merge.go            merging the bytes of a piece
//	words.go            Vocabulary: words that are one token each for whoever counts
//	genvocabularies.go  how the files of embedded.go were made
//	genwords.go         how words.txt was made
//
// It knows nothing of prompts, and asks no server.
package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pkoukk/tiktoken-go"
	"golang.org/x/text/unicode/norm"

	"github.com/openloop/openloop/internal/infile"
)

// Tokenizer turns text into tokens and back. Special tokens in the text are treated as the text that they are written
// with, except where a tokenizer.json says what they mean. It may be used by several goroutines.
type Tokenizer interface {
	// Name is that of an encoding, or the base name of a file.
	Name() string
	// Count is how many tokens a text has, without any that a model puts before or after it.
	Count(text string) int
	// Encode returns the identifiers of a text's tokens.
	Encode(text string) []int
	// Decode returns the text of identifiers. Those that do not exist add nothing.
	Decode(tokens []int) string
}

// Open opens what is named: o200k_base or cl100k_base, a tokenizer.json, a .model file of SentencePiece, a directory
// that holds one of the two, or a .tiktoken file. It fails with an [UnsupportedError] where any part of one of the
// first two is not known.
func Open(name string) (Tokenizer, error) {
	if name == "o200k_base" || name == "cl100k_base" {
		return openEmbedded(name)
	}
	if _, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("tokenizer %q: there are o200k_base, cl100k_base, "+
			"and files that end in .json, .model or .tiktoken: %w", name, err)
	}
	name = File(name)
	switch ending := strings.ToLower(filepath.Ext(name)); {
	case ending == ".json":
		return openHuggingFace(name)
	case ending == ".model" || strings.Contains(filepath.Base(name), ".model.v"): // Mistral's have a version behind
		return openSentencePiece(name)
	case ending == ".tiktoken":
		return openTiktoken(name)
	}
	return nil, fmt.Errorf("tokenizer %q: want a file that ends in .json (Hugging Face's tokenizer.json), .model "+
		"(SentencePiece's) or .tiktoken", name)
}

// File is the file that a name stands for: in a model's folder the tokenizer, by the names that models give it.
func File(name string) string {
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return name
	}
	names := []string{"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}
	for _, file := range names {
		if _, err := os.Stat(filepath.Join(name, file)); err == nil {
			return filepath.Join(name, file)
		}
	}
	return filepath.Join(name, names[0])
}

// largestFile is how large a tokenizer's file may be. Those of large vocabularies have 35 MB.
const largestFile = 256 << 20

// The pre-tokenizers of the encodings that are known by name, as tiktoken and the makers of the models publish them.
// They are written for regexp2, whose (?i) does not know that ſ is an s; hence the ſ.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternCL100K = `(?i:'s|'ſ|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}` +
		`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen = `(?i:'s|'ſ|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}` +
		`| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternO200K = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+` +
		`(?i:'s|'ſ|'t|'re|'ve|'m|'ll|'d)?` +
		`|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*` +
		`(?i:'s|'ſ|'t|'re|'ve|'m|'ll|'d)?` +
		`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// tiktokenKinds are the encodings that the name of a .tiktoken file may contain; the file itself does not say.
var tiktokenKinds = []struct {
	name, pattern string
	nfc           bool // its tokenizer normalises text first
}{
	{"cl100k", patternCL100K, false}, {"gpt2", patternGPT2, false}, {"llama3", patternCL100K, false},
	{"o200k", patternO200K, false}, {"p50k", patternGPT2, false}, {"qwen", patternQwen, true},
	{"r50k", patternGPT2, false},
}

// tiktokenBPE is a byte-level BPE by ranks: an embedded encoding or a .tiktoken file, merged by tiktoken-go.
type tiktokenBPE struct {
	name string
	bpe  *tiktoken.Tiktoken
	nfc  bool
}

// openTiktoken reads a .tiktoken file: lines of a token in base64 and its rank. The file does not hold its
// pre-tokenizer: that is known from the file's name, which must contain one of o200k, cl100k, qwen, llama3, r50k, p50k
// and gpt2.
func openTiktoken(path string) (*tiktokenBPE, error) {
	base := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(filepath.Base(path)))
	var known, matches []string
	var pattern string
	var nfc bool
	for _, kind := range tiktokenKinds {
		known = append(known, kind.name)
		if strings.Contains(base, kind.name) {
			matches = append(matches, kind.name)
			pattern, nfc = kind.pattern, kind.nfc
		}
	}
	if len(matches) != 1 {
		return nil, fmt.Errorf("%s: a .tiktoken file does not say how text is split before merging; its name must "+
			"contain exactly one of %s, and contains %d; the model's tokenizer.json says it",
			path, strings.Join(known, ", "), len(matches))
	}
	data, err := infile.ReadAll(path, largestFile)
	if err != nil {
		return nil, err
	}
	ranks, err := parseRanks(data)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	t, err := newTiktoken(filepath.Base(path), ranks, pattern)
	if err != nil {
		return nil, err
	}
	t.nfc = nfc
	return t, nil
}

// parseRanks reads the lines of a .tiktoken file. Its errors start with the line's number.
func parseRanks(data []byte) (map[string]int, error) {
	ranks := make(map[string]int, bytes.Count(data, []byte{'\n'}))
	seen := make(map[int]bool, len(ranks))
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		token, rank, ok := bytes.Cut(lines.Bytes(), []byte{' '})
		text, err := base64.StdEncoding.DecodeString(string(token))
		number, err2 := strconv.Atoi(string(rank))
		if !ok || err != nil || err2 != nil || len(text) == 0 || number < 0 {
			return nil, fmt.Errorf("%d: want a token in base64 and its rank, got %.80q", n, lines.Text())
		}
		if _, twice := ranks[string(text)]; twice || seen[number] {
			return nil, fmt.Errorf("%d: the token %q or the rank %d appears twice", n, text, number)
		}
		ranks[string(text)], seen[number] = number, true
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%d: %w", len(ranks)+1, err)
	}
	for b := range 256 { // tiktoken-go takes a byte without a rank for rank 0
		if _, ok := ranks[string([]byte{byte(b)})]; !ok {
			return nil, fmt.Errorf("%d: the byte 0x%02x has no token: this is not a byte-level vocabulary",
				len(ranks), b)
		}
	}
	return ranks, nil
}

func newTiktoken(name string, ranks map[string]int, pattern string) (*tiktokenBPE, error) {
	bpe, err := tiktoken.NewCoreBPE(ranks, nil, pattern)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", name, err)
	}
	return &tiktokenBPE{name: name, bpe: tiktoken.NewTiktoken(bpe, nil, nil)}, nil
}

// Name returns the encoding, or the base name of the file.
func (t *tiktokenBPE) Name() string { return t.name }

// Count returns the number of tokens.
func (t *tiktokenBPE) Count(text string) int { return len(t.Encode(text)) }

// Encode returns the ranks of the tokens.
func (t *tiktokenBPE) Encode(text string) []int {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	if t.nfc {
		text = norm.NFC.String(text)
	}
	return t.bpe.EncodeOrdinary(text)
}

// Decode returns the text of the ranks.
func (t *tiktokenBPE) Decode(tokens []int) string { return t.bpe.Decode(tokens) }
