package loadgen

import (
	"unicode"
	"unicode/utf8"
)

// countText counts words, split at white space as Python's str.split does, and Unicode code points.
func countText(text []byte) (words, chars int32) {
	return int32(CountWords(text)), int32(utf8.RuneCount(text))
}

// CountWords counts the words of a text as len(text.split()) does in Python, by which GuideLLM counts them.
func CountWords(text []byte) int {
	n, before := 0, true // whether white space comes before
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
		if before && !space {
			n++
		}
		before = space
	}
	return n
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
