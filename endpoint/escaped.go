package endpoint

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// replaceEscaped takes a secret out of a text in which it stands inside JSON, a string of a program, a URL or HTML.
// Which characters a writer escapes is up to them: PHP's JSON has \/ for a slash, Python's \u00e9 for an é, Go's \u003c
// for a <. So each character may stand as it is or in any of its forms.
func replaceEscaped(text, secret string) string {
	var b strings.Builder
	kept := 0 // how much of text is in b
	for i := 0; i < len(text); {
		n := escapedLength(text[i:], secret)
		if n == 0 {
			i++
			continue
		}
		b.WriteString(text[kept:i])
		b.WriteString(redacted)
		i += n
		kept = i
	}
	if kept == 0 {
		return text
	}
	b.WriteString(text[kept:])
	return b.String()
}

// escapedLength is how many bytes at the beginning of a text are the secret; 0 where they are not.
func escapedLength(text, secret string) int {
	n := 0
	afterBackslash := false
	for _, char := range secret {
		// Several backslashes are one run, whose length says nothing: JSON inside JSON doubles it.
		if char == '\\' && afterBackslash {
			continue
		}
		afterBackslash = char == '\\'
		m := escapedChar(text[n:], char)
		if m == 0 {
			return 0
		}
		n += m
	}
	return n
}

// htmlNames are the characters that HTML has a name for and a secret may have.
var htmlNames = map[rune]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&quot;", '\'': "&apos;"}

// escapedChar is how many bytes at the beginning of a text are the character; 0 where they are not.
func escapedChar(text string, char rune) int {
	plain := strings.TrimLeft(text, `\`)
	backslashes := len(text) - len(plain)
	switch {
	case backslashes > 0 && isHex(plain, "u", 4, char):
		return backslashes + len("u0000")
	case backslashes > 0 && isHex(plain, "x", 2, char):
		return backslashes + len("x00")
	case backslashes > 0 && char == '\t' && strings.HasPrefix(plain, "t"):
		return backslashes + 1
	case backslashes > 0 && char == '\\':
		return backslashes
	case strings.HasPrefix(text, "%"):
		if n := percentLength(text, char); n > 0 {
			return n
		}
	case strings.HasPrefix(text, "&"):
		if n := htmlLength(text, char); n > 0 {
			return n
		}
	case char == ' ' && strings.HasPrefix(text, "+"): // of a form in a URL
		return 1
	}
	if r, n := utf8.DecodeRuneInString(plain); r == char && n > 0 {
		return backslashes + n
	}
	return 0
}

// isHex says whether a text begins with a letter and the character's number in so many hexadecimal digits.
func isHex(text, letter string, digits int, char rune) bool {
	digitsOf, ok := strings.CutPrefix(text, letter)
	if !ok || len(digitsOf) < digits {
		return false
	}
	n, err := strconv.ParseUint(digitsOf[:digits], 16, 32)
	return err == nil && rune(n) == char
}

// percentLength is the length of the character as a URL has it, a % before each of its bytes; 0 where it is not there.
func percentLength(text string, char rune) int {
	n := 0
	for _, b := range []byte(string(char)) {
		if !isHex(text[n:], "%", 2, rune(b)) {
			return 0
		}
		n += len("%00")
	}
	return n
}

// htmlLength is the length of the character as HTML has it: &lt; or &#60; or &#x3c;. 0 where it is not there.
func htmlLength(text string, char rune) int {
	if name := htmlNames[char]; name != "" && strings.HasPrefix(text, name) {
		return len(name)
	}
	number, ok := strings.CutPrefix(text, "&#")
	number, _, ended := strings.Cut(number, ";")
	if !ok || !ended {
		return 0
	}
	base, digits := 10, number
	if strings.HasPrefix(number, "x") || strings.HasPrefix(number, "X") {
		base, digits = 16, number[1:]
	}
	if n, err := strconv.ParseUint(digits, base, 32); err != nil || rune(n) != char {
		return 0
	}
	return len("&#;") + len(number)
}
