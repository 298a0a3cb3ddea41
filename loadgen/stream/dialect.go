package stream

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Dialect is the form in which a server answers.
type Dialect uint8

// The dialects.
const (
	Completions Dialect = iota // OpenAI's chat and text completions
	Responses                  // OpenAI's Responses API
	Messages                   // Anthropic's Messages API
	Pooling                    // embeddings and rerank: one object, which holds no token
)

// DialectOf is the dialect of what is posted to a path.
func DialectOf(path string) Dialect {
	switch path = strings.TrimRight(path, "/"); path[strings.LastIndexByte(path, '/')+1:] {
	case "responses":
		return Responses
	case "messages":
		return Messages
	case "embeddings", "rerank":
		return Pooling
	}
	return Completions
}

// ParseAs is Parse for an event of any dialect.
func (d *Delta) ParseAs(as Dialect, data []byte) error {
	if as == Completions {
		return d.Parse(data)
	}
	*d = Delta{Prompt: -1, Output: -1, Cached: -1}
	s := scanner{b: data}
	if as == Responses && s.responsesDelta(d) || as == Messages && s.messagesDelta(d) {
		return nil
	}
	return d.DecodeAs(as, data)
}

// DecodeAs is ParseAs by encoding/json alone, which is the definition.
func (d *Delta) DecodeAs(as Dialect, data []byte) error {
	if as == Completions {
		return d.Decode(data)
	}
	*d = Delta{Prompt: -1, Output: -1, Cached: -1}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return fmt.Errorf("an event is not a JSON object: %w", err)
	}
	kind := textOf(top["type"])
	if kind == "error" {
		d.Error, d.Last = data, true
		return nil
	}
	if raw := top["error"]; isValue(raw) {
		d.Error, d.Last = raw, true
		return nil
	}
	switch as {
	case Responses:
		return d.decodeResponses(kind, top, data)
	case Pooling:
		d.decodePooling(top, data)
		return nil
	}
	return d.decodeMessages(kind, top)
}

// decodePooling takes the answer to an embeddings or a rerank request: data or results, one for each text. vLLM counts
// usage.prompt_tokens, Jina's API usage.total_tokens alone, Cohere's none.
func (d *Delta) decodePooling(top map[string]json.RawMessage, data []byte) {
	if textOf(top["object"]) == "error" {
		d.Error = data
		return
	}
	for _, name := range []string{"data", "results"} {
		var list []json.RawMessage
		if json.Unmarshal(top[name], &list) == nil && len(list) > 0 {
			d.Finish, d.Last = FinishStop, true
		}
	}
	if d.ID = []byte(textOf(top["id"])); len(d.ID) == 0 {
		d.ID = nil
	}
	if raw := top["usage"]; isValue(raw) {
		d.decodeUsage(raw)
		var usage struct {
			Total *int32 `json:"total_tokens"`
		}
		if d.Prompt < 0 && json.Unmarshal(raw, &usage) == nil && usage.Total != nil && *usage.Total >= 0 {
			d.Prompt = *usage.Total
		}
	}
	d.Output = 0
}

// part is what kind of token an event brings.
type part uint8

// The parts of an answer.
const (
	noPart        part = iota
	reasoningPart      // what comes before the answer
	otherPart          // the answer's, and not its text: a tool call, a refusal
	textPart           // the answer's text
)

// responsesToken says what an event of the Responses API brings of what the model generated.
func responsesToken(kind []byte) part {
	switch string(kind) {
	case "response.output_text.delta":
		return textPart
	case "response.reasoning_text.delta", "response.reasoning_summary_text.delta":
		return reasoningPart
	case "response.refusal.delta", "response.function_call_arguments.delta", "response.custom_tool_call_input.delta",
		"response.mcp_call_arguments.delta", "response.code_interpreter_call_code.delta":
		return otherPart
	}
	return noPart
}

func (d *Delta) decodeResponses(kind string, top map[string]json.RawMessage, data []byte) error {
	if brings := responsesToken([]byte(kind)); brings != noPart {
		return d.decodeDelta(top["delta"], brings)
	}
	switch kind {
	case "": // an answer in one piece
		if textOf(top["object"]) != "response" {
			return nil
		}
		return d.decodeResponse(top, true)
	case "response.created", "response.completed", "response.incomplete", "response.failed", "response.cancelled":
	default:
		return nil
	}
	var response map[string]json.RawMessage
	if err := json.Unmarshal(top["response"], &response); err != nil {
		return fmt.Errorf("response is not an object: %w", err)
	}
	if d.Last = kind != "response.created"; !d.Last {
		if id := textOf(response["id"]); id != "" {
			d.ID = []byte(id)
		}
		return nil
	}
	if err := d.decodeResponse(response, false); err != nil {
		return err
	}
	if kind == "response.failed" && d.Error == nil {
		d.Error = data
	}
	return nil
}

// decodeDelta takes what an event brings.
func (d *Delta) decodeDelta(raw json.RawMessage, brings part) error {
	if !isValue(raw) {
		return nil
	}
	var said string
	if err := json.Unmarshal(raw, &said); err != nil {
		return fmt.Errorf("delta is not a string: %w", err)
	}
	d.tokenText([]byte(said), false, brings)
	return nil
}

// decodeResponse takes a response object. Its output is counted where no events brought it.
func (d *Delta) decodeResponse(response map[string]json.RawMessage, whole bool) error {
	if id := textOf(response["id"]); id != "" {
		d.ID = []byte(id)
	}
	if raw := response["error"]; isValue(raw) {
		d.Error = raw
		return nil
	}
	// vLLM ends a stream with response.completed also where the status is another.
	switch status := textOf(response["status"]); status {
	case "completed":
		d.Finish = FinishStop
	case "incomplete":
		d.Finish = FinishOther
		var details map[string]json.RawMessage
		if json.Unmarshal(response["incomplete_details"], &details) == nil &&
			textOf(details["reason"]) == "max_output_tokens" {
			d.Finish = FinishLength
		}
	case "failed", "cancelled":
		d.Finish = FinishFailed
	}
	d.decodeInputUsage(response["usage"], false)
	if !whole || !isValue(response["output"]) {
		return nil
	}
	var items []struct {
		Type    string
		Content []struct{ Type, Text string }
	}
	if err := json.Unmarshal(response["output"], &items); err != nil {
		return fmt.Errorf("output is not a list of items: %w", err)
	}
	for _, item := range items {
		d.Answer = d.Answer || item.Type == "function_call"
		d.Token = d.Token || d.Answer || item.Type == "reasoning" && len(item.Content) > 0
		for _, part := range item.Content {
			if part.Type == "output_text" && part.Text != "" {
				d.Content, d.Token, d.Answer = append(d.Content, part.Text...), true, true
			}
		}
	}
	return nil
}

func (d *Delta) decodeMessages(kind string, top map[string]json.RawMessage) error {
	var object map[string]json.RawMessage
	inner := func(name string) error {
		if err := json.Unmarshal(top[name], &object); err != nil {
			return fmt.Errorf("%s is not an object: %w", name, err)
		}
		return nil
	}
	switch kind {
	case "content_block_delta":
		if err := inner("delta"); err != nil {
			return err
		}
		switch textOf(object["type"]) {
		case "text_delta":
			return d.decodeDelta(object["text"], textPart)
		case "thinking_delta":
			return d.decodeDelta(object["thinking"], reasoningPart)
		case "input_json_delta":
			return d.decodeDelta(object["partial_json"], otherPart)
		}
	case "message_start":
		if err := inner("message"); err != nil {
			return err
		}
		if id := textOf(object["id"]); id != "" {
			d.ID = []byte(id)
		}
		d.decodeInputUsage(object["usage"], true)
		d.Output = -1 // what was generated when the first event was made
	case "message_delta":
		if err := inner("delta"); err != nil {
			return err
		}
		d.Finish = stopReason(object["stop_reason"])
		d.decodeInputUsage(top["usage"], true)
	case "message_stop":
		d.Last = true
	case "message": // an answer in one piece
		if id := textOf(top["id"]); id != "" {
			d.ID = []byte(id)
		}
		d.Finish = stopReason(top["stop_reason"])
		d.decodeInputUsage(top["usage"], true)
		var blocks []struct{ Type, Text, Thinking string }
		if err := json.Unmarshal(top["content"], &blocks); err != nil {
			return fmt.Errorf("content is not a list of blocks: %w", err)
		}
		for _, b := range blocks {
			d.Answer = d.Answer || b.Text != "" || b.Type == "tool_use"
			d.Token = d.Token || d.Answer || b.Thinking != ""
			d.Content = append(d.Content, b.Text...)
		}
	}
	return nil
}

func stopReason(raw json.RawMessage) Finish {
	switch textOf(raw) {
	case "":
		return NoFinish
	case "max_tokens":
		return FinishLength
	case "end_turn", "stop_sequence":
		return FinishStop
	}
	return FinishOther
}

// decodeInputUsage takes the counts of a usage that speaks of input_tokens. Those of the Messages API leave out what a
// cache read or wrote, which is part of the prompt.
func (d *Delta) decodeInputUsage(raw json.RawMessage, messages bool) {
	if !isValue(raw) {
		return
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		d.BadUsage = true
		return
	}
	d.HasUsage = true
	d.Prompt, d.Output = d.count(fields["input_tokens"]), d.count(fields["output_tokens"])
	if !messages {
		var details map[string]json.RawMessage
		if raw := fields["input_tokens_details"]; isValue(raw) && json.Unmarshal(raw, &details) == nil {
			d.Cached = d.count(details["cached_tokens"])
		}
		return
	}
	d.Cached = d.count(fields["cache_read_input_tokens"])
	if d.Prompt >= 0 { // each is at most mostTokens, so that two sums stay below what an int32 holds
		sum := int64(d.Prompt) + int64(max(d.Cached, 0)) + int64(max(d.count(fields["cache_creation_input_tokens"]), 0))
		d.Prompt = int32(min(sum, mostTokens))
	}
}

// textOf is a JSON string's text, "" of anything else.
func textOf(raw json.RawMessage) (text string) {
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// The fields of an event of these dialects.
const (
	sawType = 1 << iota
	sawPart
	sawPartType
	sawPartText
	sawPartThinking
	sawPartJSON
)

// plain takes a string without escapes.
func (s *scanner) plain(to *[]byte) bool {
	text, escaped, ok := s.str()
	*to = text
	return ok && !escaped && utf8.Valid(text)
}

// responsesDelta reads a token event of the Responses API; false of any other.
func (s *scanner) responsesDelta(d *Delta) bool {
	var kind, said []byte
	var escaped bool
	seen := 0
	s.space()
	ok := s.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "type":
			return once(&seen, sawType) && s.plain(&kind)
		case "delta":
			if !once(&seen, sawPart) {
				return false
			}
			said, escaped, ok = s.str()
			return ok && utf8.Valid(said)
		case "error":
			return false
		}
		return s.value()
	})
	s.space()
	if !ok || s.i != len(s.b) || seen != sawType|sawPart {
		return false
	}
	brings := responsesToken(kind)
	if brings != noPart {
		d.tokenText(said, escaped, brings)
	}
	return brings != noPart
}

// messagesDelta reads a content_block_delta of the Messages API; false of any other event.
func (s *scanner) messagesDelta(d *Delta) bool {
	var kind, block, said []byte
	var escaped bool
	seen, texts := 0, 0
	take := func(field int) (ok bool) {
		texts++
		if !once(&seen, field) {
			return false
		}
		said, escaped, ok = s.str()
		return ok && utf8.Valid(said)
	}
	s.space()
	ok := s.object(func(key []byte) bool {
		switch string(key) {
		case "type":
			return once(&seen, sawType) && s.plain(&kind)
		case "delta":
			return once(&seen, sawPart) && s.object(func(key []byte) bool {
				switch string(key) {
				case "type":
					return once(&seen, sawPartType) && s.plain(&block)
				case "text":
					return take(sawPartText)
				case "thinking":
					return take(sawPartThinking)
				case "partial_json":
					return take(sawPartJSON)
				}
				return s.value()
			})
		case "error":
			return false
		}
		return s.value()
	})
	s.space()
	if !ok || s.i != len(s.b) || texts != 1 || string(kind) != "content_block_delta" {
		return false
	}
	switch {
	case string(block) == "text_delta" && seen&sawPartText != 0:
		d.tokenText(said, escaped, textPart)
	case string(block) == "thinking_delta" && seen&sawPartThinking != 0:
		d.tokenText(said, escaped, reasoningPart)
	case string(block) == "input_json_delta" && seen&sawPartJSON != 0:
		d.tokenText(said, escaped, otherPart)
	default:
		return false
	}
	return true
}

// tokenText takes what a token event says.
func (d *Delta) tokenText(said []byte, escaped bool, brings part) {
	if len(said) == 0 {
		return
	}
	d.Token, d.Answer = true, brings != reasoningPart
	if brings == textPart {
		d.Content, d.escaped = said, escaped
	}
}
