package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Format is the kind of request that a body is for.
type Format int

// The requests that generate text, three of OpenAI's and Anthropic's, and those that do not.
const (
	ChatCompletions Format = iota // POST /v1/chat/completions
	TextCompletions               // POST /v1/completions
	Responses                     // POST /v1/responses
	Messages                      // POST /v1/messages
	Embeddings                    // POST /v1/embeddings
	Rerank                        // POST /v1/rerank
)

var formats = [...]struct{ name, path, length string }{
	ChatCompletions: {"chat_completions", "/v1/chat/completions", "max_completion_tokens"},
	TextCompletions: {"text_completions", "/v1/completions", "max_tokens"},
	Responses:       {"responses", "/v1/responses", "max_output_tokens"},
	Messages:        {"messages", "/v1/messages", "max_tokens"},
	Embeddings:      {"embeddings", "/v1/embeddings", ""},
	Rerank:          {"rerank", "/v1/rerank", ""},
}

// String is the format's name in flags, files and reports.
func (f Format) String() string { return formats[f].name }

// Path is the format's path under the server's base address.
func (f Format) Path() string { return formats[f].path }

// Generates says whether requests of the format generate text. Of others there is one answer in one piece.
func (f Format) Generates() bool { return formats[f].length != "" }

// FormatNames are the names of all formats.
func FormatNames() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f.name
	}
	return names
}

// ParseFormat is the format of a name.
func ParseFormat(name string) (Format, error) {
	names := FormatNames()
	if i := slices.Index(names, name); i >= 0 {
		return Format(i), nil
	}
	last := len(names) - 1
	return 0, fmt.Errorf("it is %s or %s", strings.Join(names[:last], ", "), names[last])
}

// formatOf is the format of a path.
func formatOf(path string) (Format, bool) {
	for i, f := range formats {
		if f.path == path {
			return Format(i), true
		}
	}
	return 0, false
}

// freeMessages is the max_tokens of a Messages request whose length is left to the model: the API wants one.
const freeMessages = "4096"

// errNotPlain is a conversation that only chat requests are made of.
var errNotPlain = errors.New("its messages hold more than text (tool calls, images or fields of their own), " +
	"which is sent as chat_completions alone")

// plainMessage is a message of text.
type plainMessage struct {
	role  string
	texts []string
	list  bool // its content is a list of parts
}

// plainMessages reads chat messages that hold nothing but text.
func plainMessages(raw []byte) ([]plainMessage, error) {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errNotPlain
	}
	out := make([]plainMessage, 0, len(list))
	for _, fields := range list {
		var m plainMessage
		for name, value := range fields {
			var err error
			switch {
			case name == "role":
				err = json.Unmarshal(value, &m.role)
			case name == "content":
				m.texts, m.list, err = plainContent(value)
			case string(value) != "null":
				err = errNotPlain
			}
			if err != nil {
				return nil, errNotPlain
			}
		}
		switch m.role {
		case "developer":
			m.role = "system"
		case "system", "user", "assistant":
		default:
			return nil, errNotPlain
		}
		out = append(out, m)
	}
	return out, nil
}

func plainContent(raw json.RawMessage) (texts []string, list bool, err error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []string{text}, false, nil
	}
	var parts []struct{ Type, Text string }
	if err := json.Unmarshal(raw, &parts); err != nil {
		return nil, false, err
	}
	for _, p := range parts {
		if p.Type != "text" {
			return nil, false, errNotPlain
		}
		texts = append(texts, p.Text)
	}
	return texts, true, nil
}

// checkMessages says whether requests of the format can be made of chat messages; none is always good.
func (f Format) checkMessages(raw []byte) error {
	switch {
	case len(raw) == 0 || f == ChatCompletions || f == TextCompletions:
		return nil
	case !f.Generates():
		return errors.New("a conversation is not a text to be embedded or ranked")
	}
	_, err := plainMessages(raw)
	return err
}

// plain is an item's messages for the formats that have a form of their own.
func (it *Item) plain() []plainMessage {
	if len(it.Messages) > 0 {
		messages, _ := plainMessages(it.Messages) // checked before any load
		return messages
	}
	var messages []plainMessage
	if it.PrefixText != "" {
		messages = append(messages, plainMessage{role: "system", texts: []string{it.PrefixText}})
	}
	if it.PromptText != "" {
		messages = append(messages, plainMessage{role: "user", texts: []string{it.PromptText}})
	}
	return messages
}

// appendInput appends the input of a Responses request.
func appendInput(dst []byte, it Item) []byte {
	dst = append(dst, '[')
	for i, m := range it.plain() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = m.append(dst, "input_text")
	}
	return append(dst, ']')
}

// append appends the message, its parts as those of a type. An answer's parts are joined: what types they have depends
// on the server.
func (m plainMessage) append(dst []byte, part string) []byte {
	dst = append(append(append(dst, `{"role":"`...), m.role...), `","content":`...)
	if !m.list || m.role == "assistant" {
		return append(appendString(dst, strings.Join(m.texts, "")), '}')
	}
	dst = append(dst, '[')
	for i, text := range m.texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"type":"`...), part...), `","text":`...)
		dst = append(appendString(dst, text), '}')
	}
	return append(dst, "]}"...)
}

// appendAnthropic appends the messages of a Messages request, and behind them what its system field holds: what comes
// from the system is not a message there.
func appendAnthropic(dst []byte, it Item) []byte {
	messages := it.plain()
	var system []string
	only := !slices.ContainsFunc(messages, func(m plainMessage) bool { return m.role != "system" })
	dst = append(dst, '[')
	first := true
	for _, m := range messages {
		if m.role == "system" && !only {
			system = append(system, strings.Join(m.texts, ""))
			continue
		}
		if only { // a request must have a message
			m.role = "user"
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = m.append(dst, "text")
	}
	dst = append(dst, ']')
	if len(system) > 0 {
		dst = appendString(append(dst, `,"system":`...), strings.Join(system, "\n\n"))
	}
	return dst
}
