package stream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// Decode is Parse by encoding/json alone. Field names are matched exactly, and the last of several like fields
// counts. It is the definition: scanner and Decode are fuzzed against each other.
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
	} else if string(top["object"]) == `"error"` { // vLLM's error body, before 0.10
		d.Error = data
	}
	if raw := top["usage"]; isValue(raw) {
		d.decodeUsage(raw)
	}
	if !isValue(top["choices"]) {
		return nil
	}
	var choices []map[string]json.RawMessage
	if err := json.Unmarshal(top["choices"], &choices); err != nil {
		return fmt.Errorf("choices is not a list of objects: %w", err)
	}
	taken := false
	for _, choice := range choices {
		if index := choice["index"]; taken || isValue(index) && string(index) != "0" {
			d.Others = true
			continue
		}
		taken = true
		if err := d.decodeChoice(choice); err != nil {
			return err
		}
	}
	return nil
}

// decodeUsage takes the counts of a usage object. What is not a count is taken as absent: an answer is not worth less
// for a number that its server got wrong.
func (d *Delta) decodeUsage(raw json.RawMessage) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		d.BadUsage = true
		return
	}
	d.HasUsage = true
	d.Prompt = d.count(fields["prompt_tokens"])
	d.Output = d.count(fields["completion_tokens"])
	var details map[string]json.RawMessage
	if raw := fields["prompt_tokens_details"]; isValue(raw) && json.Unmarshal(raw, &details) == nil {
		d.Cached = d.count(details["cached_tokens"])
	}
}

// mostTokens is the largest number that is taken as a count of tokens.
const mostTokens = 1 << 30

// count reads a count of tokens, −1 where there is none.
func (d *Delta) count(raw json.RawMessage) int32 {
	if !isValue(raw) {
		return -1
	}
	n, err := strconv.ParseInt(string(raw), 10, 64) // refuses a string, a fraction and an exponent
	if err != nil || n < 0 || n > mostTokens {
		d.BadUsage = true
		return -1
	}
	return int32(n)
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
			said, thought := decodeText(fields[key])
			d.Token = d.Token || said != "" || thought
			if key == "content" {
				text += said
				d.Answer = d.Answer || said != ""
			}
		}
		var calls []json.RawMessage
		if raw := fields["tool_calls"]; isValue(raw) && json.Unmarshal(raw, &calls) == nil && len(calls) > 0 {
			d.Token, d.Answer = true, true
		}
	}
	if raw := choice["text"]; isValue(raw) {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("text is not a string: %w", err)
		}
		d.Token, d.Answer = d.Token || s != "", d.Answer || s != ""
		text += s
	}
	if text != "" {
		d.Content = []byte(text)
	}
	return nil
}

func isValue(raw json.RawMessage) bool { return len(raw) > 0 && !bytes.Equal(raw, []byte("null")) }

// decodeText reads a content: a string, or a list of parts, of which those with a text count ({"type":"text",
// "text":…}; Mistral's "thinking" holds such a list). thought is whether there was any that is not the answer's.
func decodeText(raw json.RawMessage) (text string, thought bool) {
	if !isValue(raw) || json.Unmarshal(raw, &text) == nil {
		return text, false
	}
	var parts []struct {
		Type     string
		Text     string
		Thinking json.RawMessage
	}
	if json.Unmarshal(raw, &parts) != nil {
		return "", false
	}
	for _, p := range parts {
		text += p.Text
		inner, deeper := decodeText(p.Thinking)
		thought = thought || inner != "" || deeper
	}
	return text, thought
}

func finishReason(reason []byte) Finish {
	switch string(reason) {
	case "length":
		return FinishLength
	case "stop":
		return FinishStop
	case "abort", "aborted", "error": // vLLM, SGLang
		return FinishFailed
	}
	return FinishOther
}
