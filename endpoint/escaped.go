package endpoint

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"strconv"
	"strings"
	"unicode/utf8"
)

// span is a part of a text.
type span struct{ from, to int }

// layersUndone is how many layers of escaping are undone to look for a secret: it is found under one more.
const layersUndone = 2

// finder looks for secrets, by their first byte.
type finder [256][]string

func newFinder(secrets []string) *finder {
	var f finder
	for _, s := range secrets {
		f[s[0]] = append(f[s[0]], s)
	}
	return &f
}

// spans are the parts of a text that are a secret under one or several layers of escaping: JSON within JSON within a
// URL.
func (f *finder) spans(text string) []span {
	var spans []span
	var look func(layer string, at []int, left int)
	// at says where in text each byte of the layer begins; nil: where it stands.
	look = func(layer string, at []int, left int) {
		escaped := strings.ContainsAny(layer, escapes)
		if escaped || at != nil {
			spans = append(spans, f.spansIn(layer, at)...)
		}
		if !escaped || left == 0 {
			return
		}
		// One kind at a time: a secret may itself hold what looks like an escape of another.
		for kind := range escapeKinds {
			if strings.IndexByte(layer, escapes[kind]) < 0 {
				continue
			}
			next, offsets := unescape(layer, kind)
			if next == layer {
				continue
			}
			if at != nil {
				for i, o := range offsets {
					offsets[i] = at[o]
				}
			}
			look(next, offsets, left-1)
		}
	}
	look(text, nil, layersUndone)
	return spans
}

// escapes are the characters that an escape begins with, in the order of their kinds; the + is a blank in forms.
const escapes = `\%&+`

// escapeKind is a way of escaping.
type escapeKind int

const (
	backslashEscape escapeKind = iota // of JSON and of programs
	percentEscape                     // of URLs
	htmlEscape
	escapeKinds
)

// spansIn are the parts of a text that are a secret inside JSON, a string of a program, a URL or HTML. Which characters
// a writer escapes is up to them: PHP's JSON has \/ for a slash, Python's \u00e9 for an é, Go's \u003c for a <. So each
// character may stand as it is or in any of its forms.
func (f *finder) spansIn(text string, at []int) []span {
	var spans []span
	for i := 0; i < len(text); {
		n := 0
		switch c := text[i]; {
		case strings.IndexByte(escapes, c) < 0:
			n = f.length(text[i:], c)
		case c == '\\' && i > 0 && text[i-1] == '\\':
			// Several backslashes are one run, which was looked at from its start.
		default:
			n = f.escapedStart(text[i:])
		}
		if n > 0 {
			found := span{i, i + n}
			if at != nil {
				found = span{at[i], at[i+n]}
			}
			spans = append(spans, found)
		}
		i += max(n, 1)
	}
	return spans
}

// escapedStart is how many bytes at the beginning of a text, which is the beginning of an escape, are a secret.
func (f *finder) escapedStart(text string) int {
	n := f.length(text, text[0])
	char := ""
	switch text[0] {
	case '\\':
		plain := strings.TrimLeft(text, `\`)
		if char, _ = unescapeChar(plain, backslashEscape); char == "" && plain != "" {
			char = plain[:1]
		} else if plain != "" && n == 0 {
			n = f.length(text, plain[0])
		}
	case '%':
		char, _ = unescapeChar(text, percentEscape)
	case '&':
		char, _ = unescapeChar(text, htmlEscape)
	case '+':
		char = " "
	}
	if n == 0 && char != "" {
		n = f.length(text, char[0])
	}
	return n
}

// length is how many bytes at the beginning of a text are a secret that begins with a byte.
func (f *finder) length(text string, first byte) int {
	for _, s := range f[first] {
		if text[0] == s[0] && len(text) > 1 && len(s) > 1 && text[1] != s[1] && s[1] < utf8.RuneSelf &&
			strings.IndexByte(escapes, text[0]) < 0 && strings.IndexByte(escapes, text[1]) < 0 {
			continue // most texts end here
		}
		if n := escapedLength(text, s); n > 0 {
			return n
		}
	}
	return 0
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
		m := escapedChar(text[n:], char)
		if m == 0 && afterBackslash { // the last of the run may belong to the escape that follows
			n--
			m = escapedChar(text[n:], char)
		}
		if m == 0 {
			return 0
		}
		n += m
		afterBackslash = char == '\\'
	}
	return n
}

// escapedChar is how many bytes at the beginning of a text are the character; 0 where they are not.
func escapedChar(text string, char rune) int {
	plain := strings.TrimLeft(text, `\`)
	backslashes := len(text) - len(plain)
	switch {
	case text == "":
		return 0
	case backslashes > 0 && char == '\\':
		if r, n := unescapeChar(plain, backslashEscape); n > 0 && r == string(char) {
			return backslashes + n // \u005c
		}
		return backslashes
	case backslashes > 0:
		if r, n := unescapeChar(plain, backslashEscape); n > 0 && r == string(char) {
			return backslashes + n
		}
	case text[0] == '%':
		n := 0
		for _, b := range []byte(string(char)) { // a % before each of its bytes
			r, m := unescapeChar(text[n:], percentEscape)
			if m == 0 || r[0] != b {
				n = 0
				break
			}
			n += m
		}
		if n > 0 {
			return n
		}
	case text[0] == '&':
		if r, n := unescapeChar(text, htmlEscape); n > 0 && r == string(char) {
			return n
		}
	case char == ' ' && text[0] == '+': // of a form in a URL
		return 1
	}
	if r, n := utf8.DecodeRuneInString(plain); r == char && n > 0 {
		return backslashes + n
	}
	return 0
}

// unescape undoes one layer of escaping of a kind. offsets say where in the text each byte of the result begins, and
// where the text ends.
func unescape(text string, kind escapeKind) (result string, offsets []int) {
	b := make([]byte, 0, len(text))
	offsets = make([]int, 0, len(text)+1)
	for i := 0; i < len(text); {
		char, n := text[i:i+1], 1
		switch isEscape := text[i] == escapes[kind]; {
		case isEscape && kind == backslashEscape && i+1 < len(text):
			if r, m := unescapeChar(text[i+1:], kind); m > 0 {
				char, n = r, 1+m
			} else {
				char, n = text[i+1:i+2], 2 // \/ and \\
			}
		case isEscape:
			if r, m := unescapeChar(text[i:], kind); m > 0 {
				char, n = r, m
			}
		}
		for range len(char) {
			offsets = append(offsets, i)
		}
		b = append(b, char...)
		i += n
	}
	return string(b), append(offsets, len(text))
}

// unescapeChar reads an escape at the beginning of a text, one of a backslash without it: what stands for it, and its
// length. The length is 0 where there is none.
func unescapeChar(text string, kind escapeKind) (string, int) {
	switch kind {
	case backslashEscape:
		return unescapeBackslash(text)
	case percentEscape:
		if n, ok := number(text, 1, 2, 16); ok {
			return string([]byte{byte(n)}), 3
		}
	case htmlEscape:
		// The longest name of a character that may be in a header is &apos; and numbers have zeros before them.
		const longest = 12
		if end := strings.IndexByte(text[:min(len(text), longest)], ';'); end > 0 {
			if char := html.UnescapeString(text[:end+1]); char != text[:end+1] {
				return char, end + 1
			}
		}
	}
	return "", 0
}

// unescapeBackslash reads what stands after a backslash: 't', 'x41', 'u0041', 'u{41}', 'U00000041' or, in octal, '101'.
func unescapeBackslash(text string) (string, int) {
	if text == "" {
		return "", 0
	}
	switch text[0] {
	case 't':
		return "\t", 1
	case 'x':
		if n, ok := number(text, 1, 2, 16); ok {
			return string(rune(n)), 3
		}
	case 'u':
		if n, ok := number(text, 1, 4, 16); ok {
			return string(rune(n)), 5
		}
		if end := strings.IndexByte(text[:min(len(text), len("u{000000}"))], '}'); end > 2 && text[1] == '{' {
			if n, ok := number(text, 2, end-2, 16); ok {
				return string(rune(n)), end + 1
			}
		}
	case 'U':
		if n, ok := number(text, 1, 8, 16); ok {
			return string(rune(n)), 9
		}
	default:
		if n, ok := number(text, 0, 3, 8); ok && n < 0x80 {
			return string(rune(n)), 3
		}
	}
	return "", 0
}

// number reads so many digits of a text.
func number(text string, from, digits, base int) (int64, bool) {
	if len(text) < from+digits {
		return 0, false
	}
	n, err := strconv.ParseUint(text[from:from+digits], base, 31)
	return int64(n), err == nil
}

// encoded are the texts that stand for a secret where it was encoded as a whole, alone or within something longer.
func encoded(secret string) []string {
	all := []string{hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret)))}
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 { // bytes of the same group of three
			text := e.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
			// Left out are the characters that hold bits of what stands before or after.
			all = append(all, text[(8*before+5)/6:8*(before+len(secret))/6])
		}
	}
	return all
}
