package stream

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Finish is why the server stopped generating.
type Finish uint8

// The finish reasons of the OpenAI API that matter to a load generator.
const (
	NoFinish     Finish = iota
	FinishLength        // "length": the asked number of tokens was reached
	FinishStop          // "stop": the model ended by itself
	FinishOther         // any other non-null reason
	FinishFailed        // "abort", "error": the server gave the answer up
)

// Delta is what one event of a completion stream says, or one whole response that is not a stream. Its slices are views
// into what was parsed.
type Delta struct {
	Content  []byte // the text as it stands between the quotes of its JSON string: perhaps escaped, see AppendText
	escaped  bool
	Token    bool // it carries content, reasoning or a tool call
	Answer   bool // of what it carries, something is the answer's: content or a tool call
	Finish   Finish
	HasUsage bool
	BadUsage bool  // usage holds what is not a count of tokens, which is taken as absent
	Prompt   int32 // usage.prompt_tokens, −1 if absent
	Output   int32 // usage.completion_tokens, −1 if absent
	Cached   int32 // usage.prompt_tokens_details.cached_tokens, −1 if absent
	Last     bool  // nothing follows it; of a Completions stream [DONE] says that, see IsDone
	Others   bool  // it holds a choice beside the first (n > 1), of which nothing is taken
	ID       []byte
	Error    []byte // the value of "error", where it is not null; the whole event where "object" is "error"
}

// IsDone says whether an event's data is the end of the stream, "[DONE]".
func IsDone(data []byte) bool { return string(data) == "[DONE]" }

// Parse reads an event: by the scanner, which allocates nothing, and where that is not sure, by encoding/json.
func (d *Delta) Parse(data []byte) error {
	*d = Delta{Prompt: -1, Output: -1, Cached: -1}
	s := scanner{b: data}
	if s.event(d) {
		return nil
	}
	return d.Decode(data)
}

// Template is what the token events of one stream have in common: all but the text. An event that begins and ends like
// the last one, with a well-formed string in between, says the same but for that string. Servers send little else, and
// to compare is five times faster than to scan.
type Template struct {
	prefix []byte // up to the quote that opens the text; empty: none was learned
	suffix []byte // from the quote that closes it
	idAt   int    // where the id lies in prefix
	idLen  int
	As     Dialect // of the stream
}

// Parse reads an event by the template where it fits, else by Delta.Parse, and learns from what that finds.
func (t *Template) Parse(d *Delta, data []byte) error {
	if t.fits(d, data) {
		return nil
	}
	if err := d.ParseAs(t.As, data); err != nil {
		return err
	}
	if t.As == Responses { // its events are numbered: none is like the one before
		return nil
	}
	t.learn(d, data)
	return nil
}

func (t *Template) fits(d *Delta, data []byte) bool {
	if len(t.prefix) == 0 || !bytes.HasPrefix(data, t.prefix) {
		return false
	}
	s := scanner{b: data, i: len(t.prefix) - 1}
	text, escaped, ok := s.str()
	if !ok || len(text) == 0 || !bytes.Equal(data[s.i-1:], t.suffix) || !utf8.Valid(text) {
		return false
	}
	*d = Delta{
		Content: text, escaped: escaped, Token: true, Answer: true, Prompt: -1, Output: -1, Cached: -1,
		ID: data[t.idAt : t.idAt+t.idLen],
	}
	return true
}

// learn takes an event as the template, if it is a token and nothing else, and the scanner read it.
func (t *Template) learn(d *Delta, data []byte) {
	at, ok := within(data, d.Content)
	if !ok || d.Finish != NoFinish || d.HasUsage || d.Error != nil || d.Others || d.Last {
		return
	}
	t.idAt, t.idLen = 0, 0
	if len(d.ID) > 0 {
		idAt, ok := within(data, d.ID)
		if !ok || idAt > at { // an id after the text moves with it
			return
		}
		t.idAt, t.idLen = idAt, len(d.ID)
	}
	t.prefix = append(t.prefix[:0], data[:at]...)
	t.suffix = append(t.suffix[:0], data[at+len(d.Content):]...)
}

// within says where part, a view into data, begins in it; false where it is a copy, as encoding/json makes.
func within(data, part []byte) (at int, ok bool) {
	if len(part) == 0 || len(data) == 0 {
		return 0, false
	}
	at = cap(data) - cap(part)
	return at, at >= 0 && at+len(part) <= len(data) && &data[at] == &part[0]
}

// AppendText appends the event's content to text.
func (d *Delta) AppendText(text []byte) []byte {
	if !d.escaped {
		return append(text, d.Content...)
	}
	return appendUnescaped(text, d.Content)
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
