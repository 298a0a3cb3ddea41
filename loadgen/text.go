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
	n := 0
	inWord := false
	for len(text) > 0 {
		r, size := rune(text[0]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text)
		}
		space := isPythonSpace(r)
		if !space && !inWord {
			n++
		}
		inWord = !space
		text = text[size:]
	}
	return n
}

// isPythonSpace is str.isspace: Unicode's White_Space, and the four ASCII separators that Python counts besides.
func isPythonSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}
