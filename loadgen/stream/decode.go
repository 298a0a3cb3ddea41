package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Decode is Parse by encoding/json alone. Field names are matched exactly, and the last of several like fields
// counts. It is the
// definition: scanner and Decode are fuzzed against each other.
func (d *Delta) Decode(data []byte) error {
	*d = Delta{Prompt: -1, Output: -1, Cached: -1}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return fmt.Errorf("an event is not a JSON object: %w", err)
	}
	if raw, ok := top["id"]; ok {
		var id string
		if json.Unmarshal(raw, &id) == nil {
			d.ID = []byte(id)
		}
	}
	if raw := top["error"]; isValue(raw) {
		d.Error = raw
	}
	if raw := top["usage"]; isValue(raw) {
		var usage struct {
			Prompt  *json.Number
			Output  *json.Number
			Details struct{ Cached *json.Number }
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("usage is not an object: %w", err)
		}
		var err error
		if usage.Prompt, err = number(fields["prompt_tokens"]); err != nil {
			return fmt.Errorf("usage.prompt_tokens: %w", err)
		}
		if usage.Output, err = number(fields["completion_tokens"]); err != nil {
			return fmt.Errorf("usage.completion_tokens: %w", err)
		}
		var details map[string]json.RawMessage
		if raw := fields["prompt_tokens_details"]; isValue(raw) && json.Unmarshal(raw, &details) == nil {
			if usage.Details.Cached, err = number(details["cached_tokens"]); err != nil {
				return fmt.Errorf("usage.prompt_tokens_details.cached_tokens: %w", err)
			}
		}
		d.HasUsage = true
		for _, f := range []struct {
			to   *int32
			from *json.Number
		}{{&d.Prompt, usage.Prompt}, {&d.Output, usage.Output}, {&d.Cached, usage.Details.Cached}} {
			if f.from == nil {
				continue
			}
			n, err := f.from.Int64()
			if err != nil || n < 0 || n > 1<<30 {
				return fmt.Errorf("usage holds %s, which is not a count of tokens", *f.from)
			}
			*f.to = int32(n)
		}
	}
	if !isValue(top["choices"]) {
		return nil
	}
	var choices []map[string]json.RawMessage
	if err := json.Unmarshal(top["choices"], &choices); err != nil {
		return fmt.Errorf("choices is not a list of objects: %w", err)
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

func (d *Delta) decodeChoice(choice map[string]json.RawMessage) error {
	if raw := choice["finish_reason"]; isValue(raw) {
		var reason string
		if err := json.Unmarshal(raw, &reason); err != nil {
			return fmt.Errorf("finish_reason is not a string: %w", err)
		}
		d.Finish = finishReason([]byte(reason))
	}
	var text string
	for _, name := range []string{"delta", "message"} {
		raw := choice[name]
		if !isValue(raw) {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return fmt.Errorf("%s is not an object: %w", name, err)
		}
		for _, key := range []string{"content", "reasoning_content", "reasoning"} {
			var s string
			if raw := fields[key]; !isValue(raw) || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
				continue // null, or content in parts, which no stream has
			}
			d.Token = d.Token || s != ""
			if key == "content" {
				text += s
			}
		}
		var calls []json.RawMessage
		if raw := fields["tool_calls"]; isValue(raw) && json.Unmarshal(raw, &calls) == nil && len(calls) > 0 {
			d.Token = true
		}
	}
	if raw := choice["text"]; isValue(raw) {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("text is not a string: %w", err)
		}
		d.Token = d.Token || s != ""
		text += s
	}
	if text != "" {
		d.Content = []byte(text)
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

func finishReason(reason []byte) Finish {
	switch string(reason) {
	case "length":
		return FinishLength
	case "stop":
		return FinishStop
	}
	return FinishOther
}
