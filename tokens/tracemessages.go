package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// otelMessage is a message as spans have it: OpenAI's, or the conventions' own with parts.
type otelMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	Parts      []otelPart      `json:"parts"`
	ToolCalls  []otelCall      `json:"tool_calls"`
	ToolCallID string          `json:"tool_call_id"`
}

type otelPart struct {
	Type      string          `json:"type"` // text, tool_call, tool_call_response
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	Content   json.RawMessage `json:"content"`
	Text      json.RawMessage `json:"text"`
	Response  json.RawMessage `json:"response"`
	Result    json.RawMessage `json:"result"`
}

// otelCall is a call of a tool, in OpenAI's form or flat.
type otelCall struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	Function  struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	} `json:"function"`
}

// chatMessage is a message as it is sent.
type chatMessage struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content,omitempty"`
	ToolCalls  []chatToolCall  `json:"tool_calls,omitempty"`
	ToolCallID string          `json:"tool_call_id,omitempty"`
}

type chatToolCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function chatFunction `json:"function"`
}

type chatFunction struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // JSON in a text
}

// otelMessages makes OpenAI's messages of recorded ones, with commas between, and gives all that they say.
func otelMessages(recorded string) (messages []byte, text string, err error) {
	var list []otelMessage
	if err := json.Unmarshal([]byte(recorded), &list); err != nil {
		return nil, "", err
	}
	var said strings.Builder
	for i := range list {
		made, err := list[i].chat(&said)
		if err != nil {
			return nil, "", fmt.Errorf("message %d: %w", i+1, err)
		}
		for _, m := range made {
			raw, err := json.Marshal(m)
			if err != nil {
				return nil, "", err
			}
			if len(messages) > 0 {
				messages = append(messages, ',')
			}
			messages = append(messages, raw...)
		}
	}
	if len(messages) == 0 {
		return nil, "", errors.New("it is an empty list")
	}
	return messages, said.String(), nil
}

// chat makes OpenAI's messages of one: several where it holds the results of several tools.
func (m *otelMessage) chat(said *strings.Builder) ([]chatMessage, error) {
	if m.Role == "" {
		return nil, errors.New("role is missing")
	}
	made := chatMessage{Role: m.Role, ToolCallID: m.ToolCallID}
	if m.Role == "developer" { // which few chat templates know
		made.Role = "system"
	}
	parts := m.Parts
	content := m.Content
	var list []otelPart
	if json.Unmarshal(content, &list) == nil && hasOnlyKnownParts(list) {
		parts, content = append(list, parts...), nil
	}
	var texts []string
	if text, ok := textOf(content); ok {
		texts, content = append(texts, text), nil
	} else {
		said.WriteString("\n" + string(content))
	}
	var results []chatMessage
	for i := range parts {
		switch p := &parts[i]; p.Type {
		case "tool_call":
			m.ToolCalls = append(m.ToolCalls, otelCall{ID: p.ID, Name: p.Name, Arguments: p.Arguments})
		case "tool_call_response":
			result := plainText(p.Result)
			if result == "" {
				result = plainText(p.Response)
			}
			said.WriteString("\n" + result)
			results = append(results, chatMessage{Role: "tool", Content: quoted(result), ToolCallID: p.ID})
		default:
			texts = append(texts, plainText(p.Content)+plainText(p.Text))
		}
	}
	for _, c := range m.ToolCalls {
		call, err := c.chat()
		if err != nil {
			return nil, err
		}
		said.WriteString("\n" + call.Function.Name + call.Function.Arguments)
		made.ToolCalls = append(made.ToolCalls, call)
	}
	text := strings.Join(texts, "")
	said.WriteString("\n" + text)
	switch {
	case len(content) > 0:
		made.Content = content
	case text != "" || len(made.ToolCalls) == 0:
		made.Content = quoted(text)
	}
	if len(results) > 0 && text == "" && len(made.ToolCalls) == 0 && len(content) == 0 {
		return results, nil
	}
	return append(results, made), nil
}

func (c *otelCall) chat() (chatToolCall, error) {
	if c.Function.Name != "" {
		c.Name, c.Arguments = c.Function.Name, c.Function.Arguments
	}
	if c.ID == "" {
		return chatToolCall{}, fmt.Errorf("the call of the tool %.80q has no id, so that nothing can be its result",
			c.Name)
	}
	return chatToolCall{c.ID, "function", chatFunction{c.Name, plainText(c.Arguments)}}, nil
}

// hasOnlyKnownParts says whether parts of a content are of the conventions: other ones, such as images, are sent as
// they are.
func hasOnlyKnownParts(parts []otelPart) bool {
	for _, p := range parts {
		if p.Type != "text" && p.Type != "tool_call" && p.Type != "tool_call_response" {
			return false
		}
	}
	return len(parts) > 0
}

// textOf is a JSON text, or nothing, as a text.
func textOf(raw json.RawMessage) (text string, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return "", true
	}
	return text, json.Unmarshal(raw, &text) == nil
}

// plainText is a JSON value as a text: its own, or as it is written.
func plainText(raw json.RawMessage) string {
	if text, ok := textOf(raw); ok {
		return text
	}
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return ""
	}
	return compact.String()
}

func quoted(text string) json.RawMessage { return appendString(nil, text) }

// readSaid reads what a line of AIPerf's form of Mooncake's traces sends itself: messages, with tools where there are
// any, or a text. Its messages are the whole conversation so far, unless its message_mode says that they add to it.
func (q *traceRequest) readSaid(r record) error {
	if text, ok := r["text_input"].(json.RawMessage); ok && !empty(text) {
		if json.Unmarshal(text, &q.said) != nil || q.said == "" {
			return fmt.Errorf("text_input: %s; want a text", show(text))
		}
		q.messages, q.alone = appendUser(nil, q.said, nil), true
	} else {
		raw, _ := r["messages"].(json.RawMessage)
		var list []map[string]json.RawMessage
		if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
			return fmt.Errorf("messages: %s; want a list of OpenAI's messages", show(r["messages"]))
		}
		for i, m := range list {
			if role, ok := textOf(m["role"]); !ok || role == "" {
				return fmt.Errorf("message %d has no role", i+1)
			}
			q.said += "\n" + plainText(m["content"])
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			return err
		}
		q.messages = compact.Bytes()[1 : compact.Len()-1]
		switch mode := nameIn(r["message_mode"]); mode {
		case "", "history":
			q.alone = true
		case "delta":
		default:
			return fmt.Errorf("message_mode: %.80q; want history or delta", mode)
		}
	}
	for _, name := range []string{"tools", "extra"} {
		raw, ok := r[name].(json.RawMessage)
		if !ok || empty(raw) {
			continue
		}
		if name == "tools" {
			raw = append(append([]byte(`{"tools":`), raw...), '}')
		}
		fields, err := objectFields(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		q.fields = append(q.fields, fields...)
	}
	q.input = guessTokens(q.said)
	if value, ok := r["output_length"]; ok && !empty(value) {
		var err error
		q.output, err = traceLength(r, "output_length")
		return err
	}
	q.free = true
	return nil
}
