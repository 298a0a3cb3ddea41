package tokenizer

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:generate sh -c "go run genwords.go DICTIONARY > words.txt"

//go:embed words.txt
var embeddedWords string

// Vocabulary holds the words that texts are made of. A text of n of its words, joined by spaces, has n tokens by the
// tokenizer that the vocabulary belongs to, because each word with the space before it is one token and no token spans
// two. The zero Vocabulary stands for [EmbeddedWords].
type Vocabulary struct {
	// Ruler names who counts: an encoding, a tokenizer file, an endpoint.
	Ruler string
	// Words are one token each with a space before them.
	Words []string
	// First are the words that are one token without it as well, so that a text may start with them. All are in Words
	// too.
	First []string
}

// EmbeddedWords returns 2,048 common English words that are one token each, with and without a space before them, in
// o200k_base and cl100k_base. No tokenizer has to be loaded to use it.
func EmbeddedWords() Vocabulary {
	words := strings.Fields(embeddedWords)
	return Vocabulary{Ruler: "o200k_base", Words: words, First: words}
}

// MinWords is how many words a vocabulary needs at least: with fewer, texts stop being unlike each other early on.
const MinWords = 64

// VocabularyError says that too few words are single tokens for a tokenizer, so that prompts of an exact length cannot
// be made of them.
type VocabularyError struct {
	Ruler        string
	Words, First int // how many words are one token with and without a space before them
}

// Error implements error.
func (e *VocabularyError) Error() string {
	return fmt.Sprintf("by %s only %d of the known words are one token (%d at the start of a text, %d are needed): "+
		"prompts of an exact length cannot be made of them", e.Ruler, e.Words, e.First, MinWords)
}

// Check fails with a [VocabularyError] where there are too few words.
func (v Vocabulary) Check() error {
	if len(v.Words) < MinWords || len(v.First) < MinWords {
		return &VocabularyError{Ruler: v.Ruler, Words: len(v.Words), First: len(v.First)}
	}
	return nil
}

// Fit returns the embedded words that are one token for the tokenizer. It fails with a [VocabularyError] where they are
// too few, or where tokens span words.
func Fit(t Tokenizer) (Vocabulary, error) {
	v := Vocabulary{Ruler: t.Name()}
	// A word stands behind another one here: SentencePiece puts a space of its own in front of a text, so that a text
	// that starts with one has two.
	const before = "the"
	alone := t.Count(before)
	for _, w := range EmbeddedWords().Words {
		if t.Count(before+" "+w) != alone+1 {
			continue
		}
		v.Words = append(v.Words, w)
		if t.Count(w) == 1 {
			v.First = append(v.First, w)
		}
	}
	if err := v.Check(); err != nil {
		return v, err
	}
	// Not every model splits a text into words before it merges: they must add up in any order.
	backwards := slices.Clone(v.Words)
	slices.Reverse(backwards)
	for _, words := range [][]string{v.Words, backwards} {
		text := v.First[0] + " " + strings.Join(words, " ")
		if n := t.Count(text); n != 1+len(words) {
			return v, fmt.Errorf("by %s %d words of one token each are %d tokens side by side: "+
				"prompts of an exact length cannot be made of them", v.Ruler, 1+len(words), n)
		}
	}
	return v, nil
}
