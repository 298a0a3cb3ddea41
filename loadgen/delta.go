package loadgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// delta is what one event of a completion stream says, or one whole response that is no stream.
type delta struct {
	content   []byte // the text as it stands between the quotes of its JSON string: perhaps escaped, see appendText
	escaped   bool
	token     bool // it carries content, reasoning or a tool call
	finish    FinishReason
	hasUsage  bool
	prompt    int32 // usage.prompt_tokens, −1 if absent; likewise the next two
	output    int32 // usage.completion_tokens
	cached    int32 // usage.prompt_tokens_details.cached_tokens
	id        []byte
	errorJSON []byte // the value of "error", where it is not null
}

var done = []byte("[DONE]")

// parse reads an event: by the scanner, which allocates nothing, and where that is not sure, by encoding/json.
func (d *delta) parse(data []byte) error {
	*d = delta{prompt: -1, output: -1, cached: -1}
	s := scanner{b: data}
	if s.event(d) {
		return nil
	}
	return d.decode(data)
}

// template is what the token events of one stream have in common: all but the text. An event that begins and ends like the
// last one, with a well-formed string in between, says the same but for that string. Servers send little else, and to
// compare is five times faster than to scan.
type template struct {
	prefix []byte // up to the quote that opens the text; empty: none was learned
	suffix []byte // from the quote that closes it
	idAt   int    // where the id lies in prefix
	idLen  int
}

// parse reads an event by the template where it fits, else by delta.parse, and learns from what that finds.
func (t *template) parse(d *delta, data []byte) error {
	if t.fits(d, data) {
		return nil
	}
	if err := d.parse(data); err != nil {
		return err
	}
	t.learn(d, data)
	return nil
}

func (t *template) fits(d *delta, data []byte) bool {
	if len(t.prefix) == 0 || !bytes.HasPrefix(data, t.prefix) {
		return false
	}
	s := scanner{b: data, i: len(t.prefix) - 1}
	text, escaped, ok := s.str()
	if !ok || len(text) == 0 || !bytes.Equal(data[s.i-1:], t.suffix) || !utf8.Valid(text) {
		return false
	}
	*d = delta{content: text, escaped: escaped, token: true, prompt: -1, output: -1, cached: -1, id: data[t.idAt : t.idAt+t.idLen]}
	return true
}

// learn takes an event as the template, if it is a token and nothing else, and the scanner read it.
func (t *template) learn(d *delta, data []byte) {
	at, ok := within(data, d.content)
	if !ok || d.finish != NoFinish || d.hasUsage || d.errorJSON != nil {
		return
	}
	t.idAt, t.idLen = 0, 0
	if len(d.id) > 0 {
		idAt, ok := within(data, d.id)
		if !ok || idAt > at { // an id after the text moves with it
			return
		}
		t.idAt, t.idLen = idAt, len(d.id)
	}
	t.prefix = append(t.prefix[:0], data[:at]...)
	t.suffix = append(t.suffix[:0], data[at+len(d.content):]...)
}

// within says where part, a view into data, begins in it; false where it is a copy, as encoding/json makes.
func within(data, part []byte) (at int, ok bool) {
	if len(part) == 0 || len(data) == 0 {
		return 0, false
	}
	at = cap(data) - cap(part)
	return at, at >= 0 && at+len(part) <= len(data) && &data[at] == &part[0]
}

// appendText appends the event's content to text.
func (d *delta) appendText(text []byte) []byte {
	if !d.escaped {
		return append(text, d.content...)
	}
	return appendUnescaped(text, d.content)
}

// decode is the scanner's twin by encoding/json. Field names are matched exactly, and the last of several like fields
// counts. It is the definition: the two are fuzzed against each other.
func (d *delta) decode(data []byte) error {
	*d = delta{prompt: -1, output: -1, cached: -1}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return fmt.Errorf("an event is no JSON object: %w", err)
	}
	if raw, ok := top["id"]; ok {
		var id string
		if json.Unmarshal(raw, &id) == nil {
			d.id = []byte(id)
		}
	}
	if raw := top["error"]; isValue(raw) {
		d.errorJSON = raw
	}
	if raw := top["usage"]; isValue(raw) {
		var usage struct {
			Prompt  *json.Number
			Output  *json.Number
			Details struct{ Cached *json.Number }
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("usage is no object: %w", err)
		}
		var err error
		if usage.Prompt, err = number(fields["prompt_tokens"]); err != nil {
			return fmt.Errorf("usage.prompt_tokens: %w", err)
		}
		if usage.Output, err = number(fields["completion_tokens"]); err != nil {
			return fmt.Errorf("usage.completion_tokens: %w", err)
		}
		var details map[string]json.RawMessage
		if isValue(fields["prompt_tokens_details"]) && json.Unmarshal(fields["prompt_tokens_details"], &details) == nil {
			if usage.Details.Cached, err = number(details["cached_tokens"]); err != nil {
				return fmt.Errorf("usage.prompt_tokens_details.cached_tokens: %w", err)
			}
		}
		d.hasUsage = true
		for _, f := range []struct {
			to   *int32
			from *json.Number
		}{{&d.prompt, usage.Prompt}, {&d.output, usage.Output}, {&d.cached, usage.Details.Cached}} {
			if f.from == nil {
				continue
			}
			n, err := f.from.Int64()
			if err != nil || n < 0 || n > 1<<30 {
				return fmt.Errorf("usage holds %s, which is no count of tokens", *f.from)
			}
			*f.to = int32(n)
		}
	}
	if !isValue(top["choices"]) {
		return nil
	}
	var choices []map[string]json.RawMessage
	if err := json.Unmarshal(top["choices"], &choices); err != nil {
		return fmt.Errorf("choices is no list of objects: %w", err)
	}
	for i, choice := range choices {
		if i > 0 {
			break // only n=1 is ever asked for
		}
		if err := d.decodeChoice(choice); err != nil {
			return err
		}
	}
	return nil
}

func (d *delta) decodeChoice(choice map[string]json.RawMessage) error {
	if raw := choice["finish_reason"]; isValue(raw) {
		var reason string
		if err := json.Unmarshal(raw, &reason); err != nil {
			return fmt.Errorf("finish_reason is no string: %w", err)
		}
		d.finish = finishReason([]byte(reason))
	}
	var text string
	for _, name := range []string{"delta", "message"} {
		raw := choice[name]
		if !isValue(raw) {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("%s is no object: %w", name, err)
		}
		for _, key := range []string{"content", "reasoning_content", "reasoning"} {
			var s string
			if raw := fields[key]; !isValue(raw) || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
				continue // null, or content in parts, which no stream has
			}
			d.token = d.token || s != ""
			if key == "content" {
				text += s
			}
		}
		var calls []json.RawMessage
		if raw := fields["tool_calls"]; isValue(raw) && json.Unmarshal(raw, &calls) == nil && len(calls) > 0 {
			d.token = true
		}
	}
	if raw := choice["text"]; isValue(raw) {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("text is no string: %w", err)
		}
		d.token = d.token || s != ""
		text += s
	}
	if text != "" {
		d.content = []byte(text)
	}
	return nil
}

func isValue(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

func number(raw json.RawMessage) (*json.Number, error) {
	if !isValue(raw) {
		return nil, nil
	}
	if raw[0] == '"' { // encoding/json would take a quoted number
		return nil, errors.New("a string where a number was expected")
	}
	var n json.Number
	err := json.Unmarshal(raw, &n)
	return &n, err
}

func finishReason(reason []byte) FinishReason {
	switch string(reason) {
	case "length":
		return FinishLength
	case "stop":
		return FinishStop
	}
	return FinishOther
}

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

func (s *scanner) event(d *delta) bool {
	seen := 0
	s.space()
	ok := s.object(func(key []byte) bool { return s.topField(key, d, &seen) })
	s.space()
	return ok && s.i == len(s.b)
}

func (s *scanner) topField(key []byte, d *delta, seen *int) bool {
	switch string(key) {
	case "id":
		if !once(seen, sawID) {
			return false
		}
		if s.peek() != '"' {
			return s.value()
		}
		id, escaped, ok := s.str()
		d.id = id
		return ok && !escaped && utf8.Valid(id)
	case "error":
		start := s.i
		if !once(seen, sawError) || !s.value() {
			return false
		}
		if raw := s.b[start:s.i]; !bytes.Equal(raw, []byte("null")) {
			d.errorJSON = raw
		}
		return true
	case "usage":
		if !once(seen, sawUsage) {
			return false
		}
		if s.peek() != '{' {
			return s.null()
		}
		d.hasUsage = true
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

func (s *scanner) choiceField(key []byte, d *delta, seen *int) bool {
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
	case "finish_reason":
		if !once(seen, sawFinish) {
			return false
		}
		if s.peek() != '"' {
			return s.null()
		}
		reason, escaped, ok := s.str()
		d.finish = finishReason(reason)
		return ok && !escaped
	}
	return s.value()
}

func (s *scanner) deltaField(key []byte, d *delta, seen *int) bool {
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
		d.token = d.token || len(text) > 0
		return ok
	case "tool_calls":
		if !once(seen, sawToolCalls) {
			return false
		}
		if s.peek() != '[' {
			return s.null()
		}
		return s.array(func() bool {
			d.token = true
			return s.value()
		})
	}
	return s.value()
}

func (s *scanner) usageField(key []byte, d *delta, seen *int) bool {
	switch string(key) {
	case "prompt_tokens":
		return once(seen, sawPrompt) && s.count(&d.prompt)
	case "completion_tokens":
		return once(seen, sawOutput) && s.count(&d.output)
	case "prompt_tokens_details":
		if !once(seen, sawDetails) {
			return false
		}
		if s.peek() != '{' {
			return s.null()
		}
		return s.object(func(key []byte) bool {
			if string(key) == "cached_tokens" {
				return once(seen, sawCached) && s.count(&d.cached)
			}
			return s.value()
		})
	}
	return s.value()
}

// content takes the string at hand as the event's text.
func (s *scanner) content(d *delta) bool {
	text, escaped, ok := s.str()
	if !ok || d.content != nil || !utf8.Valid(text) {
		return false
	}
	if len(text) > 0 {
		d.content, d.escaped, d.token = text, escaped, true
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
		if n = n*10 + int64(s.b[s.i]-'0'); n > 1<<30 {
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

// appendUnescaped appends what a JSON string's text means. The text was walked over by str, so its escapes are whole;
// half a surrogate pair becomes U+FFFD, as in encoding/json.
func appendUnescaped(to, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 >= len(text) {
			return append(to, text...)
		}
		to = append(to, text[:i]...)
		c := text[i+1]
		text = text[i+2:]
		switch c {
		case 'b':
			to = append(to, '\b')
		case 'f':
			to = append(to, '\f')
		case 'n':
			to = append(to, '\n')
		case 'r':
			to = append(to, '\r')
		case 't':
			to = append(to, '\t')
		case 'u':
			r := hex4(text)
			if r < 0 {
				return to
			}
			text = text[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(text) >= 6 && text[0] == '\\' && text[1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(text[2:]))
				}
				if r = pair; pair != utf8.RuneError {
					text = text[6:]
				}
			}
			to = utf8.AppendRune(to, r)
		default: // a quote, a slash or a backslash
			to = append(to, c)
		}
	}
}
