package loadgen

import (
	"unicode"
	"unicode/utf8"
)

// textCount counts a text that comes in pieces: its words, split at white space as Python's str.split does, and its
// Unicode code points. The zero value has seen nothing.
type textCount struct {
	words, chars int32
	inWord       bool // the text so far ends within a word
}

// add counts the next piece, which is valid UTF-8.
func (c *textCount) add(text []byte) {
	n, inWord := countWords(text, c.inWord)
	c.words += int32(n)
	c.chars += int32(utf8.RuneCount(text))
	c.inWord = inWord
}

// CountWords counts the words of a text as len(text.split()) does in Python, by which GuideLLM counts them.
func CountWords(text []byte) int {
	n, _ := countWords(text, false)
	return n
}

// countWords counts the words that begin in a text. inWord is whether what comes before it ends within one, and what it
// returns the same of the text.
func countWords(text []byte, inWord bool) (n int, endsInWord bool) {
	for i := 0; i < len(text); {
		var space bool
		if c := text[i]; c < utf8.RuneSelf {
			space = asciiSpaces[c]
			i++
		} else {
			r, size := utf8.DecodeRune(text[i:])
			space = isPythonSpace(r)
			i += size
		}
		if !inWord && !space {
			n++
		}
		inWord = !space
	}
	return n, inWord
}

// asciiSpaces spares most characters of most texts the questions of isPythonSpace: every prompt is counted.
var asciiSpaces = func() (spaces [utf8.RuneSelf]bool) {
	for c := range spaces {
		spaces[c] = isPythonSpace(rune(c))
	}
	return spaces
}()

// isPythonSpace is str.isspace: Unicode's White_Space, and the four ASCII separators that Python counts besides.
func isPythonSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}
