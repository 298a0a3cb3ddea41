package recorder

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
)

// asked is what a request's body says.
type asked struct {
	model     string
	maxTokens int // 0: not said
	stream    bool
	text      []byte    // all of the prompt, as it is compared and counted
	ids       int       // tokens of the prompt, where it is a list of those; 0: it is text
	messages  []message // of a chat; none for a prompt
}

// message is one of a chat, as far as it tells one conversation from another.
type message struct {
	role, text string
	calls      []string // identifiers of the tool calls in it
}

var errNotUnderstood = errors.New("neither messages nor a prompt")

// readBody reads the body of a chat or text completion.
func readBody(body []byte) (a asked, err error) {
	var b struct {
		Model               json.RawMessage `json:"model"`
		Messages            json.RawMessage `json:"messages"`
		Prompt              json.RawMessage `json:"prompt"`
		Tools               json.RawMessage `json:"tools"`
		Stream              json.RawMessage `json:"stream"`
		MaxTokens           json.RawMessage `json:"max_tokens"`
		MaxCompletionTokens json.RawMessage `json:"max_completion_tokens"`
	}
	if err := json.Unmarshal(body, &b); err != nil {
		return a, err
	}
	_ = json.Unmarshal(b.Model, &a.model) // what is not as it should be is the server's to refuse
	a.stream = string(b.Stream) == "true"
	for _, raw := range []json.RawMessage{b.MaxTokens, b.MaxCompletionTokens} {
		if n, err := strconv.Atoi(string(raw)); err == nil && n > 0 {
			a.maxTokens = n
		}
	}
	switch {
	case len(b.Messages) > 0:
		if len(b.Tools) > 0 && string(b.Tools) != "null" {
			a.text = append(append(a.text, b.Tools...), '\n') // templates put them first
		}
		return a, a.readMessages(b.Messages)
	case len(b.Prompt) > 0:
		return a, a.readPrompt(b.Prompt)
	}
	return a, errNotUnderstood
}

func (a *asked) readMessages(raw json.RawMessage) error {
	var list []struct {
		Role      string          `json:"role"`
		Content   json.RawMessage `json:"content"`
		ToolCalls json.RawMessage `json:"tool_calls"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, m := range list {
		text := contentText(m.Content)
		a.text = fmt.Appendf(a.text, "%s\n%s\n", m.Role, text)
		var calls []struct {
			ID string `json:"id"`
		}
		if len(m.ToolCalls) > 0 && json.Unmarshal(m.ToolCalls, &calls) == nil && len(calls) > 0 {
			a.text = append(append(a.text, m.ToolCalls...), '\n')
		}
		said := message{role: m.Role, text: text}
		for _, c := range calls {
			said.calls = append(said.calls, c.ID)
		}
		a.messages = append(a.messages, said)
	}
	if len(a.messages) == 0 {
		return errNotUnderstood
	}
	return nil
}

// imageSeed makes equal images equal texts.
var imageSeed = maphash.MakeSeed()

// contentText is the text of a message: a string, or a list of parts. What is not text, such as an image, is told from
// others by a mark.
func contentText(raw json.RawMessage) (text string) {
	if len(raw) == 0 || json.Unmarshal(raw, &text) == nil {
		return text
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return string(raw)
	}
	var b strings.Builder
	for i, part := range parts {
		var p struct {
			Text *string `json:"text"`
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		if json.Unmarshal(part, &p) == nil && p.Text != nil {
			b.WriteString(*p.Text)
		} else {
			fmt.Fprintf(&b, "[%016x]", maphash.Bytes(imageSeed, part))
		}
	}
	return b.String()
}

// readPrompt reads a prompt: a text, token identifiers, or a list of either.
func (a *asked) readPrompt(raw json.RawMessage) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		a.text = []byte(text)
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for _, one := range list {
		var inner []json.Number
		switch {
		case json.Unmarshal(one, &text) == nil:
			a.text = append(append(a.text, text...), '\n')
		case json.Unmarshal(one, &inner) == nil:
			a.ids += len(inner)
			a.text = append(append(a.text, bytes.TrimSpace(one)...), '\n')
		default:
			a.ids++
			a.text = append(append(a.text, one...), ',')
		}
	}
	if len(list) == 0 {
		return errNotUnderstood
	}
	return nil
}

// chained is the hash of a conversation with one more message. Space around a text does not count: clients cut it.
func (p *prefixes) chained(h uint64, m message) uint64 {
	var text []byte
	for _, s := range append([]string{m.role, strings.TrimSpace(m.text)}, m.calls...) {
		text = append(binary.AppendUvarint(text, uint64(len(s))), s...)
	}
	return p.chain(h, text)
}

// session says to which session and turn a conversation belongs: to the one whose last answer it goes on from, else to
// a new one. A second request that goes on from the same answer begins a session too. answer is what was said to it;
// nil for none, and then what it goes on from may be gone on from again.
func (p *prefixes) session(sessions *int64, messages []message, answer *message) (id int64, turn int) {
	h, from := uint64(0), uint64(0)
	var found mark
	for _, m := range messages {
		h = p.chained(h, m)
		if m.role != "assistant" {
			continue
		}
		if known, ok := p.marks.get(h); ok {
			found, from = known, h
		}
	}
	if found.session == 0 || found.taken {
		*sessions++
		found = mark{session: *sessions}
	} else if answer != nil {
		p.marks.put(from, mark{found.session, found.turn, true})
	}
	turn = found.turn + 1
	if answer != nil {
		p.marks.put(p.chained(h, *answer), mark{session: found.session, turn: turn})
	}
	return found.session, turn
}
