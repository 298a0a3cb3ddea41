package tokens

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:generate sh -c "go run genwords.go DICTIONARY > words.txt"

//go:embed words.txt
var embeddedWords string

// Vocabulary holds the words that prompts are made of. A text of n of its words, joined by spaces, has n tokens by the
// tokenizer that the vocabulary belongs to, because each word with the space before it is one token and no token spans two.
// The zero Vocabulary stands for [EmbeddedVocabulary].
type Vocabulary struct {
	// Ruler names who counts: an encoding, a tokenizer file, an endpoint.
	Ruler string
	// Words are one token each with a space before them.
	Words []string
	// First are the words that are one token without it as well, so that a text may start with them. All are in Words too.
	First []string
}

// EmbeddedVocabulary returns 2,048 common English words that are one token each, with and without a space before them, in
// o200k_base and cl100k_base. No tokenizer has to be loaded to use it.
func EmbeddedVocabulary() Vocabulary {
	words := strings.Fields(embeddedWords)
	return Vocabulary{Ruler: "o200k_base", Words: words, First: words}
}

// minWords is how many words a vocabulary needs at least: with fewer, prompts stop being unlike each other early on.
const minWords = 64

// VocabularyError says that too few words are single tokens for a tokenizer, so that prompts of an exact length cannot be
// made of them.
type VocabularyError struct {
	Ruler        string
	Words, First int // how many words are one token with and without a space before them
}

// Error implements error.
func (e *VocabularyError) Error() string {
	return fmt.Sprintf("by %s only %d of the known words are one token (%d at the start of a text, %d are needed): "+
		"prompts of an exact length cannot be made; use --tokenizer o200k_base or none, and read the lengths from usage", e.Ruler, e.Words, e.First, minWords)
}

func (v Vocabulary) check() error {
	if len(v.Words) < minWords || len(v.First) < minWords {
		return &VocabularyError{Ruler: v.Ruler, Words: len(v.Words), First: len(v.First)}
	}
	return nil
}
