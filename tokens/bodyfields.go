package tokens

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// outputColumns are further names of a record's output length, asked for exactly: vLLM's custom data sets and AIPerf's.
// GuideLLM 0.5.0 does not know them.
var outputColumns = []string{"output_tokens", "output_length", "output_len"}

// limitFields are those of a request body that bound the length of its answer.
var limitFields = []string{"max_completion_tokens", "max_tokens"}

// The kinds of JSON that a field of a request body may be.
const (
	number = 1 << iota
	boolean
	text_
	list
	object
)

// bodyFields are what a record may say of its own request, each with the kinds of its value: the sampling, the
// structure of the answer, tools, and the bound of its length. The names are those of OpenAI's and vLLM's APIs.
var bodyFields = map[string]int{
	"temperature": number, "top_p": number, "top_k": number, "min_p": number, "typical_p": number,
	"frequency_penalty": number, "presence_penalty": number, "repetition_penalty": number, "length_penalty": number,
	"seed": number, "min_tokens": number, "logprobs": number | boolean, "top_logprobs": number, "logit_bias": object,
	"stop": text_ | list, "stop_token_ids": list, "bad_words": list,
	"ignore_eos": boolean, "include_stop_str_in_output": boolean, "skip_special_tokens": boolean,
	"max_completion_tokens": number, "max_tokens": number,

	"response_format": object, "structured_outputs": object,
	"guided_json": object | text_, "guided_regex": text_, "guided_choice": list, "guided_grammar": text_,

	"tools": list, "tool_choice": text_ | object, "parallel_tool_calls": boolean,

	"reasoning_effort": text_, "verbosity": text_, "chat_template": text_, "chat_template_kwargs": object,
	"add_generation_prompt": boolean, "continue_final_message": boolean, "cache_salt": text_,
}

// otherBodyFields are fields of request bodies that are not taken from records: data sets have columns of these names
// that mean something else, or the answer would be one that is not measured.
var otherBodyFields = []string{
	"n", "best_of", "use_beam_search", "user", "metadata", "priority", "service_tier", "store", "functions",
	"function_call", "suffix", "echo", "modalities", "audio", "prediction", "prompt_cache_key",
}

// isBodyField says whether a column that is not used may be meant for the request.
func isBodyField(name string) bool {
	return bodyFields[name] != 0 || slices.Contains(otherBodyFields, name) || slices.Contains(outputColumns, name)
}

// ownFields are the fields that a record gives its request, in the order of their names. Those that are taken for
// something else, and bounds of the length where the length is known, are none.
func (f *fileSource) ownFields(r record, hasLength bool) (fields []field) {
	var own []string
	for name := range r {
		if bodyFields[name] != 0 && !f.used[name] && !(hasLength && slices.Contains(limitFields, name)) {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	for _, name := range own {
		value, ok := bodyValue(r[name], bodyFields[name])
		if !ok {
			continue
		}
		f.use(name)
		if f.found != nil {
			f.found.taken[name]++
		}
		fields = append(fields, field{name: name, value: value})
	}
	return fields
}

// isBounded says whether the item's own fields bound the length of its answer.
func (it Item) isBounded() bool {
	return slices.ContainsFunc(it.fields, func(f field) bool { return slices.Contains(limitFields, f.name) })
}

// bodyValue is a column's value as JSON; false says that there is none, or none of the kinds. Texts may hold JSON: a
// CSV has nothing else, and data sets keep lists of tools in them.
func bodyValue(value any, kinds int) (string, bool) {
	var raw []byte
	var s string
	switch v := value.(type) {
	case json.RawMessage:
		raw = v
		if json.Unmarshal(v, &s) != nil {
			s = ""
		}
	case string:
		s = v
		if kinds&text_ != 0 {
			raw = appendString(nil, v)
		}
	default:
		return "", false
	}
	for _, candidate := range [][]byte{raw, []byte(s)} {
		var compact bytes.Buffer
		if len(candidate) == 0 || json.Compact(&compact, candidate) != nil || kindOf(compact.Bytes())&kinds == 0 {
			continue
		}
		return compact.String(), true
	}
	return "", false
}

// kindOf is the kind of a value of JSON; 0 for null.
func kindOf(raw []byte) int {
	switch c := raw[0]; {
	case c == '"':
		return text_
	case c == '[':
		return list
	case c == '{':
		return object
	case c == 't' || c == 'f':
		return boolean
	case c == 'n':
		return 0
	}
	return number
}

// batchBody is the request body in a record of OpenAI's batch form; any other record is its own.
func batchBody(r record) record {
	raw, ok := r["body"].(json.RawMessage)
	if _, hasID := r["custom_id"]; !ok || !hasID {
		return r
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return r
	}
	body := make(record, len(fields))
	for name, value := range fields {
		body[name] = value
	}
	return body
}

// named lists names, the first of them where there are many. They come from a file.
func named(names []string) string {
	const most = 12
	more := ""
	if len(names) > most {
		names, more = names[:most], " …"
	}
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = name
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f }) || len(name) > 60 {
			shown[i] = show(name)[len("it is "):]
		}
	}
	return strings.Join(shown, ", ") + more
}
