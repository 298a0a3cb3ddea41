package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// A byte-level BPE first splits a text into pieces with a regular expression, and merges inside each piece only. The
// expressions need look-ahead, which package regexp lacks, and there are few of them: each that is known is a matcher
// here, written by hand and tested against the Hugging Face library. One that is not known is refused.

// matcher returns the length in bytes of the match at the start of a text that is not empty; 0 is none.
type matcher func(text string) int

// split passes the pieces of a text on: its matches, and what lies between two matches in one piece.
func (m matcher) split(text string, piece func(string)) {
	gap := 0 // bytes at the start of text that no match covers
	for gap < len(text) {
		n := m(text[gap:])
		if n == 0 {
			_, n = utf8.DecodeRuneInString(text[gap:])
			gap += n
			continue
		}
		if gap > 0 {
			piece(text[:gap])
		}
		piece(text[gap : gap+n])
		text, gap = text[gap+n:], 0
	}
	if gap > 0 {
		piece(text)
	}
}

// knownPattern gives the matcher of a regular expression, which must be written exactly as it is in tokenizer.json
// files.
func knownPattern(regex string) (matcher, bool) {
	const rest = `|\s*[\r\n]+|\s+(?!\S)|\s+`
	const contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	const upper, lower = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	const cased = `[^\r\n\p{L}\p{N}]?` + upper + `*` + lower + `+`
	const capitals = `[^\r\n\p{L}\p{N}]?` + upper + `+` + lower + `*`
	switch regex {
	case patternGPT2:
		return matchGPT2, true
	case contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*` + rest: // Llama 3, cl100k_base
		return pattern{words: letter, digits: 3, contraction: leading, after: newline}.match, true
	case contractions + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*` + rest: // Qwen2, 2.5, 3
		return pattern{words: letter, digits: 1, contraction: leading, after: newline}.match, true
	case contractions + `|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*` + rest: // Qwen3.5
		return pattern{words: letter | mark, digits: 1, contraction: leading, after: newline}.match, true
	case cased + contractions + `?|` + capitals + contractions + `?|\p{N}{1,3}` +
		`| ?[^\s\p{L}\p{N}]+[\r\n/]*` + rest: // o200k_base
		return pattern{
			words: letter, cased: true, digits: 3, contraction: trailing, after: newline | slash,
		}.match, true
	case cased + `|` + capitals + `|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*` + rest: // Mistral's Tekken
		return pattern{words: letter, cased: true, digits: 1, after: newline | slash}.match, true
	case `\p{N}{1,3}`: // this one and the next two: DeepSeek V3
		return func(text string) int { return run(text, number, 3) }, true
	case `[一-龥぀-ゟ゠-ヿ]+`:
		return matchHanAndKana, true
	case "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+" +
		"|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+":
		return matchDeepSeek, true
	}
	return nil, false
}

// class is a set of the properties of a character that the expressions ask for.
type class uint16

const (
	letter    class = 1 << iota // \p{L}
	upperLike                   // \p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}
	lowerLike                   // \p{Ll}\p{Lm}\p{Lo}\p{M}
	mark                        // \p{M}
	number                      // \p{N}
	symbol                      // \p{P}\p{S}
	space                       // \s
	newline                     // \r\n
	slash
)

// asciiClasses spares most characters of most texts the look-up in Unicode's tables.
var asciiClasses = func() (classes [utf8.RuneSelf]class) {
	for c := range classes {
		classes[c] = unicodeClass(rune(c))
	}
	return classes
}()

func unicodeClass(r rune) class {
	switch {
	case unicode.Is(unicode.Ll, r):
		return letter | lowerLike
	case unicode.In(r, unicode.Lu, unicode.Lt):
		return letter | upperLike
	case unicode.IsLetter(r):
		return letter | upperLike | lowerLike
	case unicode.IsMark(r):
		return mark | upperLike | lowerLike
	case unicode.IsNumber(r):
		return number
	case r == '/':
		return symbol | slash
	case unicode.IsPunct(r), unicode.IsSymbol(r):
		return symbol
	case r == '\r', r == '\n':
		return space | newline
	case unicode.IsSpace(r):
		return space
	}
	return 0
}

// next returns the class and the length of the first character; 0 and 0 at the end.
func next(text string) (class, int) {
	if text == "" {
		return 0, 0
	}
	if c := text[0]; c < utf8.RuneSelf {
		return asciiClasses[c], 1
	}
	r, n := utf8.DecodeRuneInString(text)
	return unicodeClass(r), n
}

// run is the length of the longest start of text whose characters are in one of the classes; most bounds their number
// where it is above 0.
func run(text string, in class, most int) int {
	at := 0
	for k := 0; at < len(text) && (most <= 0 || k < most); k++ {
		c, n := next(text[at:])
		if c&in == 0 {
			break
		}
		at += n
	}
	return at
}

// runWithout is the length of the longest start of text whose characters are in none of the classes.
func runWithout(text string, out class) int {
	at := 0
	for at < len(text) {
		c, n := next(text[at:])
		if c&out != 0 {
			break
		}
		at += n
	}
	return at
}

// contractionLen is the length of an English contraction such as 're at the start of text; 0 is none. Where upper case
// counts as well, so does ſ (U+017F), whose upper case is S.
func contractionLen(text string, fold bool) int {
	if len(text) < 2 || text[0] != '\'' {
		return 0
	}
	low := func(i int) byte {
		if i >= len(text) {
			return 0
		}
		if c := text[i]; fold && 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return text[i]
	}
	switch a, b := low(1), low(2); {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return 3
	case fold && len(text) >= 3 && text[1:3] == "ſ":
		return 3
	}
	return 0
}

// spaces matches \s+(?!\S)|\s+: white space up to the end of the text, else all but the last character of it, which
// goes with the word behind it; but at least one.
func spaces(text string) int {
	n := run(text, space, 0)
	if n == 0 || n == len(text) {
		return n
	}
	_, last := utf8.DecodeLastRuneInString(text[:n])
	if n > last {
		return n - last
	}
	return n
}

// newlines matches \s*[\r\n]+: white space up to the last line break in it.
func newlines(text string) int {
	for n := run(text, space, 0); n > 0; n-- {
		if c := text[n-1]; c == '\n' || c == '\r' {
			return n
		}
	}
	return 0
}

func matchGPT2(text string) int {
	if n := contractionLen(text, false); n > 0 {
		return n
	}
	from := 0
	if text[0] == ' ' {
		from = 1
	}
	for _, in := range []class{letter, number} {
		if n := run(text[from:], in, 0); n > 0 {
			return from + n
		}
	}
	if n := runWithout(text[from:], space|letter|number); n > 0 {
		return from + n
	}
	return spaces(text)
}

// pattern is the family of expressions that began with cl100k_base: a word takes one character before it along, digits
// stand in short groups, line breaks belong to the white space or the symbols before them.
type pattern struct {
	words       class // what words are made of, beside being in the range
	cased       bool  // a new word starts at a capital behind small letters
	digits      int   // digits a group
	contraction contraction
	after       class // what symbols take along behind them
}

type contraction int

const (
	never    contraction = iota
	leading              // on their own, before words are looked for
	trailing             // as the end of a word
)

func (p pattern) match(text string) int {
	if p.contraction == leading {
		if n := contractionLen(text, true); n > 0 {
			return n
		}
	}
	if n := p.word(text); n > 0 {
		if p.contraction == trailing {
			n += contractionLen(text[n:], true)
		}
		return n
	}
	if n := run(text, number, p.digits); n > 0 {
		return n
	}
	from := 0
	if text[0] == ' ' {
		from = 1
	}
	if n := runWithout(text[from:], space|number|p.words); n > 0 {
		return from + n + run(text[from+n:], p.after, 0)
	}
	if n := newlines(text); n > 0 {
		return n
	}
	return spaces(text)
}

// word matches a word with at most one character before it that is not a letter, digit or line break.
func (p pattern) word(text string) int {
	before, n := next(text)
	if before&(newline|letter|number) != 0 {
		n = 0
	}
	if !p.cased {
		if m := run(text[n:], p.words, 0); m > 0 {
			return n + m
		}
		return run(text, p.words, 0)
	}
	for _, part := range []func(string) int{casedWord, capitalWord} {
		if m := part(text[n:]); m > 0 {
			return n + m
		}
		if n > 0 {
			if m := part(text); m > 0 {
				return m
			}
		}
	}
	return 0
}

// casedWord matches capitals, if any, and then at least one small letter. Characters without case count as either, so
// the capitals give back what they took until a small letter is found, as a backtracking expression does.
func casedWord(text string) int {
	end := run(text, upperLike, 0)
	if n := run(text[end:], lowerLike, 0); n > 0 {
		return end + n
	}
	for end > 0 {
		_, n := utf8.DecodeLastRuneInString(text[:end])
		if c, _ := next(text[end-n:]); c&lowerLike != 0 {
			return end
		}
		end -= n
	}
	return 0
}

// capitalWord matches at least one capital and then small letters, if any.
func capitalWord(text string) int {
	if n := run(text, upperLike, 0); n > 0 {
		return n + run(text[n:], lowerLike, 0)
	}
	return 0
}

func matchHanAndKana(text string) int {
	for i, r := range text {
		if !(r >= '一' && r <= '龥' || r >= 0x3040 && r <= 0x30ff) {
			return i
		}
	}
	return len(text)
}

func matchDeepSeek(text string) int {
	asciiLetters := func(text string) int {
		for i := range len(text) {
			if c := text[i] | 0x20; c < 'a' || c > 'z' {
				return i
			}
		}
		return len(text)
	}
	c, size := next(text)
	if c&symbol != 0 && size == 1 {
		if n := asciiLetters(text[1:]); n > 0 {
			return 1 + n
		}
	}
	if c&(newline|letter|symbol) == 0 {
		if n := run(text[size:], letter|mark, 0); n > 0 {
			return size + n
		}
	}
	if n := run(text, letter|mark, 0); n > 0 {
		return n
	}
	from := 0
	if text[0] == ' ' {
		from = 1
	}
	if n := run(text[from:], symbol, 0); n > 0 {
		return from + n + run(text[from+n:], newline, 0)
	}
	if n := newlines(text); n > 0 {
		return n
	}
	return spaces(text)
}
