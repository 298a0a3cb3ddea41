package llmsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	sse "github.com/tmaxmax/go-sse"
)

// api is which of the APIs a request came by.
type api uint8

const (
	textAPI api = iota
	chatAPI
	responsesAPI // OpenAI's, as vLLM answers it
	messagesAPI  // Anthropic's, as vLLM answers it
	embeddingsAPI
	rerankAPI // Jina's and Cohere's, as vLLM answers it
)

// idPrefixes are those of vLLM's ids: its Messages are chat completions inside.
var idPrefixes = [...]string{textAPI: "cmpl-", chatAPI: "chatcmpl-", responsesAPI: "resp_", messagesAPI: "chatcmpl-",
	embeddingsAPI: "embd-", rerankAPI: "score-"}

// input is the input of a Responses request: a text, or a list of messages.
type input []message

func (in *input) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*in = nil
		if s != "" {
			*in = input{{Role: "user", Content: content{text: s}}}
		}
		return nil
	}
	var list []message
	if err := json.Unmarshal(data, &list); err != nil {
		if errors.Is(err, errNotText) {
			return errNotText
		}
		return errors.New("input must be a string or a list of messages")
	}
	*in = list
	return nil
}

// conversation is what a request of one of these APIs asks about.
func (b *completionBody) conversation(by api) ([]message, *apiError) {
	missing := func(field string) *apiError {
		return invalid("", "{'type': 'missing', 'loc': ('body', '%s'), 'msg': 'Field required'}", field)
	}
	var list []message
	if by == responsesAPI {
		if b.Input == nil {
			return nil, missing("input")
		}
		list = *b.Input
		if b.Instructions != "" {
			list = append([]message{{Role: "system", Content: content{text: b.Instructions}}}, list...)
		}
	} else {
		switch {
		case b.Messages == nil:
			return nil, missing("messages")
		case b.MaxTokens == nil:
			return nil, missing("max_tokens")
		}
		list = *b.Messages
		if b.System.text != "" {
			list = append([]message{{Role: "system", Content: b.System}}, list...)
		}
		b.IgnoreEOS, b.MinTokens = false, 0 // the API has no such fields
	}
	if len(list) == 0 {
		return nil, badRequest("", "Cannot apply chat template to an empty conversation. Provide at least one message.")
	}
	return list, nil
}

// anthropicError is an error of the Messages API.
type anthropicError struct {
	Type  string `json:"type"`
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

func (e *apiError) anthropic() anthropicError {
	b := anthropicError{Type: "error"}
	b.Error.Type, b.Error.Message = e.kind, e.message
	return b
}

// writeFor answers in the form of an API.
func (e *apiError) writeFor(w http.ResponseWriter, by api) {
	if by == messagesAPI {
		writeJSON(w, e.status, e.anthropic())
		return
	}
	e.write(w)
}

// failure is the end of a stream whose request failed inside the engine.
func (t *template) failure(e *apiError) []byte {
	var buf bytes.Buffer
	switch t.api {
	case messagesAPI:
		typedEvent(&buf, "error", e.anthropic())
	case responsesAPI:
		typedEvent(&buf, "error", map[string]any{"type": "error", "code": e.kind, "message": e.message, "param": nil,
			"sequence_number": t.number})
	default:
		jsonEvent(&buf, e.body())
		event(&buf, "[DONE]")
	}
	return buf.Bytes()
}

// typedEvent encodes an event that has a type of its own.
func typedEvent(to *bytes.Buffer, kind string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte(`{"error":` + strconv.Quote(err.Error()) + `}`) // only strings, numbers and null are in there
	}
	m := sse.Message{Type: sse.Type(kind)}
	m.AppendData(string(data))
	_, _ = m.WriteTo(to) // a bytes.Buffer takes everything
}

// answerText is all that a request's answer says.
func answerText(index uint64, tokens int) string {
	var b strings.Builder
	for k := range tokens {
		b.WriteString(tokenText(index, k))
	}
	return b.String()
}

type fields = map[string]any

// anthropicUsage is what vLLM 0.23.0 says: it counts what was cached as input.
func anthropicUsage(input, output int) fields {
	return fields{"input_tokens": input, "output_tokens": output}
}

func stopReasonOf(finish string) string {
	if finish == "length" {
		return "max_tokens"
	}
	return "end_turn"
}

// buildMessages encodes the events of an answer by the Messages API.
func buildMessages(req *request, id, model, finish string, output int) template {
	t := template{api: messagesAPI}
	var buf bytes.Buffer
	typedEvent(&buf, "message_start", fields{"type": "message_start", "message": fields{
		"id": id, "content": []any{}, "model": model, "stop_reason": nil, "stop_sequence": nil,
		"usage": anthropicUsage(req.promptTokens, 0)}})
	typedEvent(&buf, "content_block_start", fields{"type": "content_block_start", "index": 0,
		"content_block": fields{"type": "text", "text": ""}})
	t.role = bytes.Clone(buf.Bytes())
	buf.Reset()
	typedEvent(&buf, "content_block_delta", fields{"type": "content_block_delta", "index": 0,
		"delta": fields{"type": "text_delta", "text": mark}})
	t.prefix, t.suffix = cutAtMark(bytes.Clone(buf.Bytes()))
	buf.Reset()
	typedEvent(&buf, "content_block_stop", fields{"type": "content_block_stop", "index": 0})
	typedEvent(&buf, "message_delta", fields{"type": "message_delta",
		"delta": fields{"stop_reason": stopReasonOf(finish)}, "usage": anthropicUsage(req.promptTokens, output)})
	typedEvent(&buf, "message_stop", fields{"type": "message_stop"})
	t.tail = buf.Bytes()
	return t
}

// responseObject is an answer of the Responses API; output 0 is one that has just begun.
func responseObject(id, model string, created int64, finish, said string, req *request, output int) fields {
	o := fields{"id": id, "object": "response", "created_at": created, "model": model, "error": nil,
		"incomplete_details": nil, "max_output_tokens": req.maxTokens, "output": []any{}, "status": "in_progress",
		"usage": nil}
	if finish == "" {
		return o
	}
	cached := 0
	if req.cached != nil {
		cached = req.cached.CachedTokens
	}
	o["status"] = "completed"
	if finish == "length" {
		o["status"], o["incomplete_details"] = "incomplete", fields{"reason": "max_output_tokens"}
	}
	o["output"] = []any{fields{"id": "msg_" + id, "type": "message", "role": "assistant", "status": "completed",
		"content": []any{fields{"type": "output_text", "text": said, "annotations": []any{}}}}}
	o["usage"] = fields{"input_tokens": req.promptTokens, "input_tokens_details": fields{"cached_tokens": cached},
		"output_tokens": output, "output_tokens_details": fields{"reasoning_tokens": 0},
		"total_tokens": req.promptTokens + output}
	return o
}

// buildResponses encodes the events of an answer by the Responses API. As vLLM does, the last is response.completed,
// also where the answer reached its length: its status says that.
func buildResponses(req *request, id, model string, created int64, finish string, index uint64, output int) template {
	t := template{api: responsesAPI}
	var buf bytes.Buffer
	number := 0
	item := "item_" + id
	add := func(kind string, v fields) {
		v["type"], v["sequence_number"] = kind, number
		typedEvent(&buf, kind, v)
		number++
	}
	begun := responseObject(id, model, created, "", "", req, 0)
	add("response.created", fields{"response": begun})
	add("response.in_progress", fields{"response": begun})
	add("response.output_item.added", fields{"output_index": 0, "item": fields{"id": item, "type": "message",
		"role": "assistant", "status": "in_progress", "content": []any{}}})
	add("response.content_part.added", fields{"item_id": item, "output_index": 0, "content_index": 0,
		"part": fields{"type": "output_text", "text": "", "annotations": []any{}}})
	t.role = bytes.Clone(buf.Bytes())
	t.number = number

	// The fields stand by their names' order, so that the number comes behind the text.
	buf.Reset()
	add("response.output_text.delta", fields{"item_id": item, "output_index": 0, "content_index": 0, "delta": mark,
		"logprobs": []any{}})
	t.prefix, t.suffix = cutAtMark(bytes.Clone(buf.Bytes()))
	const field = `"sequence_number":`
	at := bytes.LastIndex(t.suffix, []byte(field)) + len(field)
	t.suffix, t.after = t.suffix[:at:at], t.suffix[at+len(strconv.Itoa(t.number)):]

	buf.Reset()
	number = t.number + output
	said := answerText(index, output)
	part := fields{"type": "output_text", "text": said, "annotations": []any{}}
	add("response.output_text.done", fields{"item_id": item, "output_index": 0, "content_index": 0, "text": said})
	add("response.content_part.done", fields{"item_id": item, "output_index": 0, "content_index": 0, "part": part})
	add("response.output_item.done", fields{"output_index": 0, "item": fields{"id": item, "type": "message",
		"role": "assistant", "status": "completed", "content": []any{part}}})
	add("response.completed", fields{"response": responseObject(id, model, created, finish, said, req, output)})
	t.tail = buf.Bytes()
	return t
}

// wholeOther builds the answer of these APIs to a request that does not stream.
func (st *stream) wholeOther(said string) any {
	t, model := st.truth, st.server.cfg.Model
	if st.req.api == responsesAPI {
		return responseObject(t.ID, model, t.Wall.Unix(), st.finish, said, st.req, t.OutputTokens)
	}
	return fields{"id": t.ID, "type": "message", "role": "assistant", "model": model,
		"content":     []any{fields{"type": "text", "text": said}},
		"stop_reason": stopReasonOf(st.finish), "stop_sequence": nil,
		"usage": anthropicUsage(t.PromptTokens, t.OutputTokens)}
}
