package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// otelSpan is a span of an OpenTelemetry trace, by the names that inference-perf reads. Calls of a model have the
// attributes of the conventions for generative AI (gen_ai.…).
type otelSpan struct {
	ID         string                     `json:"span_id"`
	Parent     string                     `json:"parent_span_id"`
	Name       string                     `json:"name"`
	Start      string                     `json:"start_time"`
	End        string                     `json:"end_time"`
	Attributes map[string]json.RawMessage `json:"attributes"`
	Status     struct {
		Code json.RawMessage `json:"code"`
	} `json:"status"`
}

// text is an attribute that is a text, or JSON.
func (s *otelSpan) text(names ...string) string {
	for _, name := range names {
		raw, ok := s.Attributes[name]
		if !ok || string(raw) == "null" {
			continue
		}
		var text string
		if json.Unmarshal(raw, &text) == nil {
			return text
		}
		return string(raw)
	}
	return ""
}

// tokens is an attribute that is a number of tokens; 0 where there is none.
func (s *otelSpan) tokens(names ...string) int {
	for _, name := range names {
		if n, err := wholeNumber(s.Attributes[name]); err == nil && n > 0 && n <= maxTokens {
			return n
		}
	}
	return 0
}

// isCall says whether a span is a call of a model that was answered. Other spans are agents and tools.
func (s *otelSpan) isCall() bool {
	code := strings.Trim(string(s.Status.Code), `"`)
	failed := code == "2" || strings.HasSuffix(code, "ERROR")
	return (s.text("gen_ai.operation.name") == "chat" || strings.HasPrefix(s.Name, "chat ")) && !failed &&
		s.text("gen_ai.input.messages") != ""
}

func (s *otelSpan) stretch() (of span, err error) {
	if of.from, err = otelTime(s.Start); err != nil {
		return of, fmt.Errorf("start_time: %w", err)
	}
	if s.End == "" {
		of.to = of.from
	} else if of.to, err = otelTime(s.End); err != nil {
		return of, fmt.Errorf("end_time: %w", err)
	}
	of.to = max(of.from, of.to)
	return of, nil
}

func otelTime(text string) (time.Duration, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00",
		"2006-01-02 15:04:05"} {
		if at, err := time.Parse(layout, text); err == nil && at.Year() > 1900 && at.Year() < 2200 {
			return time.Duration(at.UnixNano()), nil
		}
	}
	return 0, fmt.Errorf("%.80q; want a time such as 2026-02-25T10:00:00.5Z", text)
}

// readOTel reads one trace as a session. Spans that stand there twice are taken once.
func readOTel(r record) (traceRequest, error) {
	var spans []otelSpan
	if raw, _ := r["spans"].(json.RawMessage); json.Unmarshal(raw, &spans) != nil {
		return traceRequest{}, fmt.Errorf("spans: %s; want a list of spans", show(r["spans"]))
	}
	byID := map[string]*otelSpan{}
	stretches := map[string]*span{}
	var calls []call
	once := map[string]bool{}
	for i := range spans {
		s := &spans[i]
		of, err := s.stretch()
		if err != nil {
			return traceRequest{}, fmt.Errorf("span %d: %w", i+1, err)
		}
		if s.ID != "" {
			byID[s.ID], stretches[s.ID] = s, &of
		}
	}
	for i := range spans {
		s := &spans[i]
		if !s.isCall() {
			continue
		}
		attributes, _ := json.Marshal(s.Attributes) // in the order of their names
		if key := s.Start + "|" + s.End + "|" + string(attributes); once[key] {
			continue
		} else {
			once[key] = true
		}
		of, _ := s.stretch()
		c := call{span: of, think: noThink}
		for parent, depth := byID[s.Parent], 0; parent != nil; parent, depth = byID[parent.Parent], depth+1 {
			if depth > 100 {
				return traceRequest{}, fmt.Errorf("span %d: its parents have no end", i+1)
			}
			c.agents = append([]*span{stretches[parent.ID]}, c.agents...)
		}
		var err error
		if c.turn, err = s.request(); err != nil {
			return traceRequest{}, fmt.Errorf("span %d: %w", i+1, err)
		}
		calls = append(calls, c)
	}
	if len(calls) == 0 {
		return traceRequest{}, errors.New("none of its spans is an answered call of a model, with " +
			"gen_ai.input.messages")
	}
	return sessionOf(calls)
}

// request is the request of a call, as it was recorded, its history in it.
func (s *otelSpan) request() (q traceRequest, err error) {
	q.alone = true
	messages, text, err := otelMessages(s.text("gen_ai.input.messages"))
	if err != nil {
		return q, fmt.Errorf("gen_ai.input.messages: %w", err)
	}
	q.messages, q.said = messages, text
	if q.input = s.tokens("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"); q.input == 0 {
		q.input = guessTokens(text)
	}
	q.output = s.tokens("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
	if q.output == 0 {
		answer := s.text("gen_ai.output.text", "gen_ai.completion", "gen_ai.output")
		if answer == "" {
			_, answer, _ = otelMessages(s.text("gen_ai.output.messages"))
		}
		q.guessed = answer != ""
		if q.guessed {
			q.output = guessTokens(answer)
		} else {
			q.output = s.tokens("gen_ai.request.max_tokens")
		}
	}
	q.free = q.output == 0
	if tools := s.text("gen_ai.tool.definitions"); tools != "" {
		if q.fields, err = otelTools(tools); err != nil {
			return q, fmt.Errorf("gen_ai.tool.definitions: %w", err)
		}
	}
	return q, nil
}

// guessTokens is how many tokens a text has, where nothing counts them: one for four characters.
func guessTokens(text string) int { return max(1, (len(text)+3)/4) }

// otelTools are definitions of tools as a field of a request.
func otelTools(text string) ([]field, error) {
	var tools []map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &tools); err != nil {
		return nil, err
	}
	if len(tools) == 0 {
		return nil, nil
	}
	made := []byte{'['}
	for i, tool := range tools {
		if tool["function"] == nil { // the conventions' own form
			function := map[string]json.RawMessage{}
			for _, name := range []string{"name", "description", "parameters"} {
				if value := tool[name]; value != nil {
					function[name] = value
				}
			}
			raw, err := json.Marshal(function)
			if err != nil {
				return nil, err
			}
			tool = map[string]json.RawMessage{"type": json.RawMessage(`"function"`), "function": raw}
		}
		raw, err := json.Marshal(tool)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			made = append(made, ',')
		}
		made = append(made, raw...)
	}
	return []field{{name: "tools", value: string(append(made, ']'))}}, nil
}
