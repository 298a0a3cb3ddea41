package stream

import (
	"bytes"
	"unicode/utf8"
)

// scanner walks over the JSON of an event and picks out what delta holds. It checks the grammar of all it passes, and
// gives up (false) at whatever it does not expect: encoding/json then has the word.
type scanner struct {
	b     []byte
	i     int
	depth int
}

const maxDepth = 32

// The fields met so far, to give up at a second one of the same name.
const (
	sawID = 1 << iota
	sawError
	sawUsage
	sawChoices
	sawDelta
	sawMessage
	sawText
	sawFinish
	sawContent
	sawReasoning
	sawReasoningContent
	sawToolCalls
	sawPrompt
	sawOutput
	sawDetails
	sawCached
)

// once notes a field, and is false if it was met before.
func once(seen *int, field int) bool {
	again := *seen&field != 0
	*seen |= field
	return !again
}

func (s *scanner) event(d *Delta) bool {
	seen := 0
	s.space()
	ok := s.object(func(key []byte) bool { return s.topField(key, d, &seen) })
	s.space()
	return ok && s.i == len(s.b)
}

func (s *scanner) topField(key []byte, d *Delta, seen *int) bool {
	switch string(key) {
	case "id":
		if !once(seen, sawID) {
			return false
		}
		if s.peek() != '"' {
			return s.value()
		}
		id, escaped, ok := s.str()
		d.ID = id
		return ok && !escaped && utf8.Valid(id)
	case "error":
		start := s.i
		if !once(seen, sawError) || !s.value() {
			return false
		}
		if raw := s.b[start:s.i]; !bytes.Equal(raw, []byte("null")) {
			d.Error = raw
		}
		return true
	case "object":
		start := s.i
		return s.value() && !bytes.Equal(s.b[start:s.i], []byte(`"error"`))
	case "usage":
		if !once(seen, sawUsage) {
			return false
		}
		if s.peek() != '{' {
			return s.null()
		}
		d.HasUsage = true
		return s.object(func(key []byte) bool { return s.usageField(key, d, seen) })
	case "choices":
		if !once(seen, sawChoices) {
			return false
		}
		if s.peek() != '[' {
			return s.null()
		}
		first := true
		return s.array(func() bool {
			if !first || s.peek() != '{' {
				return false
			}
			first = false
			return s.object(func(key []byte) bool { return s.choiceField(key, d, seen) })
		})
	}
	return s.value()
}

func (s *scanner) choiceField(key []byte, d *Delta, seen *int) bool {
	switch string(key) {
	case "delta", "message":
		// Only one of them, so that the fields inside are met once.
		if !once(seen, sawDelta|sawMessage) {
			return false
		}
		if s.peek() != '{' {
			return s.null()
		}
		return s.object(func(key []byte) bool { return s.deltaField(key, d, seen) })
	case "text":
		if !once(seen, sawText) {
			return false
		}
		if s.peek() != '"' {
			return s.null()
		}
		return s.content(d)
	case "index":
		start := s.i
		return s.value() && len(s.b[start:s.i]) == 1 && s.b[start] == '0'
	case "finish_reason":
		if !once(seen, sawFinish) {
			return false
		}
		if s.peek() != '"' {
			return s.null()
		}
		reason, escaped, ok := s.str()
		d.Finish = finishReason(reason)
		return ok && !escaped
	}
	return s.value()
}

func (s *scanner) deltaField(key []byte, d *Delta, seen *int) bool {
	switch string(key) {
	case "content":
		if !once(seen, sawContent) {
			return false
		}
		if s.peek() != '"' {
			return s.null()
		}
		return s.content(d)
	case "reasoning", "reasoning_content":
		field := sawReasoning
		if len(key) > len("reasoning") {
			field = sawReasoningContent
		}
		if !once(seen, field) {
			return false
		}
		if s.peek() != '"' {
			return s.null()
		}
		text, _, ok := s.str()
		d.Token = d.Token || len(text) > 0
		return ok
	case "tool_calls":
		if !once(seen, sawToolCalls) {
			return false
		}
		if s.peek() != '[' {
			return s.null()
		}
		return s.array(func() bool {
			d.Token, d.Answer = true, true
			return s.value()
		})
	}
	return s.value()
}

func (s *scanner) usageField(key []byte, d *Delta, seen *int) bool {
	switch string(key) {
	case "prompt_tokens":
		return once(seen, sawPrompt) && s.count(&d.Prompt)
	case "completion_tokens":
		return once(seen, sawOutput) && s.count(&d.Output)
	case "prompt_tokens_details":
		if !once(seen, sawDetails) {
			return false
		}
		if s.peek() != '{' {
			return s.null()
		}
		return s.object(func(key []byte) bool {
			if string(key) == "cached_tokens" {
				return once(seen, sawCached) && s.count(&d.Cached)
			}
			return s.value()
		})
	}
	return s.value()
}

// content takes the string at hand as the event's text.
func (s *scanner) content(d *Delta) bool {
	text, escaped, ok := s.str()
	if !ok || d.Content != nil || !utf8.Valid(text) {
		return false
	}
	if len(text) > 0 {
		d.Content, d.escaped, d.Token, d.Answer = text, escaped, true, true
	}
	return true
}

// count takes the number at hand: digits, or null.
func (s *scanner) count(to *int32) bool {
	if s.peek() == 'n' {
		return s.null()
	}
	start, n := s.i, int64(0)
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		if n = n*10 + int64(s.b[s.i]-'0'); n > mostTokens {
			return false
		}
		s.i++
	}
	if s.i == start || s.b[start] == '0' && s.i > start+1 {
		return false
	}
	switch s.peek() {
	case ',', '}', ' ', '\t', '\n', '\r':
		*to = int32(n)
		return true
	}
	return false
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek returns the byte at hand, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) take(b byte) bool {
	if s.peek() != b {
		return false
	}
	s.i++
	return true
}

func (s *scanner) null() bool { return s.literal("null") }

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// object walks over an object; field is called with the scanner at each value, and must walk over it.
func (s *scanner) object(field func(key []byte) bool) bool {
	if s.depth++; s.depth > maxDepth || !s.take('{') {
		return false
	}
	s.space()
	for s.peek() != '}' {
		key, escaped, ok := s.str()
		if !ok || escaped {
			return false
		}
		s.space()
		if !s.take(':') {
			return false
		}
		s.space()
		if !field(key) {
			return false
		}
		s.space()
		if s.take(',') {
			s.space()
			if s.peek() != '"' {
				return false
			}
		} else if s.peek() != '}' {
			return false
		}
	}
	s.i++
	s.depth--
	return true
}

// array walks over an array; element is called with the scanner at each value, and must walk over it.
func (s *scanner) array(element func() bool) bool {
	if s.depth++; s.depth > maxDepth || !s.take('[') {
		return false
	}
	s.space()
	for s.peek() != ']' {
		if !element() {
			return false
		}
		s.space()
		if s.take(',') {
			s.space()
			if s.peek() == ']' {
				return false
			}
		} else if s.peek() != ']' {
			return false
		}
	}
	s.i++
	s.depth--
	return true
}

// value walks over any value.
func (s *scanner) value() bool {
	switch b := s.peek(); b {
	case '"':
		_, _, ok := s.str()
		return ok
	case '{':
		return s.object(s.anyField)
	case '[':
		return s.array(s.value)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.null()
	default:
		return s.number()
	}
}

func (s *scanner) anyField([]byte) bool { return s.value() }

// number walks over a number (RFC 8259, section 6).
func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// str walks over a string and returns what stands between its quotes.
func (s *scanner) str() (text []byte, escaped, ok bool) {
	if !s.take('"') {
		return nil, false, false
	}
	start := s.i
	for s.i < len(s.b) {
		switch b := s.b[s.i]; {
		case b == '"':
			s.i++
			return s.b[start : s.i-1], escaped, true
		case b == '\\':
			escaped = true
			if s.i++; s.i == len(s.b) {
				return nil, false, false
			}
			switch s.b[s.i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if len(s.b)-s.i < 5 || hex4(s.b[s.i+1:]) < 0 {
					return nil, false, false
				}
				s.i += 4
			default:
				return nil, false, false
			}
		case b < ' ':
			return nil, false, false
		}
		s.i++
	}
	return nil, false, false
}

// hex4 returns the value of four hexadecimal digits, −1 if they are not.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	r := rune(0)
	for _, c := range b[:4] {
		d := hexDigit(c)
		if d < 0 {
			return -1
		}
		r = r<<4 | rune(d)
	}
	return r
}

func hexDigit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
