package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// BodyConfig says what a request body holds beside the item. Its zero value sends what GuideLLM 0.5.0 sends, without a
// model.
type BodyConfig struct {
	Format Format
	Model  string // left out where empty
	// NoStream asks for the answer in one piece.
	NoStream bool
	// NoIgnoreEOS leaves ignore_eos out, for endpoints that refuse fields they do not know.
	NoIgnoreEOS bool
	// Extra is a JSON object of further fields. They replace fields of the same name, as GuideLLM's extras do; the
	// messages and the prompt cannot be replaced.
	Extra []byte
}

// Body writes request bodies, byte for byte as GuideLLM 0.5.0 writes them: the same fields in the same order, no
// spaces, and text as UTF-8. It may be used by several goroutines.
type Body struct {
	cfg           BodyConfig
	extra         []field
	format        Format
	limited, free template // with and without an output length
}

// template is a body cut at the places that differ between requests.
type template struct {
	parts []part
	fixed int // bytes of all literals
}

// part is a literal followed by what an item puts there.
type part struct {
	literal []byte
	hole    hole
}

type hole int

const (
	holeNone hole = iota
	holeLength
	holeText  // the messages, the prompt, or the texts
	holeQuery // of a rerank request
)

// field is a member of the body's object; its value is a literal or a hole.
type field struct {
	name, value string
	hole        hole
}

// NewBody prepares bodies of one kind. It fails where Extra is not a JSON object, or asks for several answers to one
// request.
func NewBody(cfg BodyConfig) (*Body, error) {
	extra, err := objectFields(cfg.Extra)
	if err != nil {
		return nil, err
	}
	for _, f := range extra {
		if f.name == "n" && f.value != "1" && f.value != "null" {
			return nil, fmt.Errorf("n is %s: the answers to one request would be mixed; openloop measures one, n=1",
				f.value)
		}
	}
	b := &Body{cfg: cfg, extra: extra, format: cfg.Format}
	b.free = newTemplate(cfg, false, extra)
	b.limited = newTemplate(cfg, true, extra)
	return b, nil
}

func newTemplate(cfg BodyConfig, limited bool, extra []field) template {
	var fields []field
	set := func(f field) { // as a Python dict: a known name keeps its place
		for i := range fields {
			if fields[i].name == f.name {
				fields[i] = f
				return
			}
		}
		fields = append(fields, f)
	}
	if cfg.Model != "" {
		set(field{name: "model", value: string(appendString(nil, cfg.Model))})
	}
	generates := cfg.Format.Generates()
	if !cfg.NoStream && generates {
		set(field{name: "stream", value: "true"})
		if cfg.Format == ChatCompletions || cfg.Format == TextCompletions { // the others' streams always end with usage
			set(field{name: "stream_options", value: `{"include_usage":true}`})
		}
	}
	textField := "messages"
	switch cfg.Format {
	case TextCompletions:
		textField = "prompt"
	case Responses:
		textField = "input"
		set(field{name: "store", value: "false"}) // OpenAI keeps answers unless told not to
	case Embeddings:
		textField = "input"
	case Rerank:
		textField = "documents"
	}
	switch {
	case limited && generates:
		set(field{name: formats[cfg.Format].length, hole: holeLength})
		if cfg.Format == ChatCompletions || cfg.Format == TextCompletions {
			set(field{name: "stop", value: "null"})
		}
		if !cfg.NoIgnoreEOS && cfg.Format != Messages { // that API has no such field, and vLLM takes none
			set(field{name: "ignore_eos", value: "true"})
		}
	case cfg.Format == Messages:
		set(field{name: formats[cfg.Format].length, value: freeMessages})
	}
	for _, f := range extra {
		set(f)
	}
	if cfg.Format == Rerank {
		set(field{name: "query", hole: holeQuery})
	}
	set(field{name: textField, hole: holeText})

	t, literal := template{}, []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			literal = append(literal, ',')
		}
		literal = append(append(appendString(literal, f.name), ':'), f.value...)
		if f.hole != holeNone {
			t.parts = append(t.parts, part{literal, f.hole})
			t.fixed += len(literal)
			literal = nil
		}
	}
	t.parts = append(t.parts, part{literal: append(literal, '}')})
	t.fixed += len(literal) + 1
	return t
}

// objectFields reads the members of a JSON object in their order. Nothing, and null, has none.
func objectFields(object []byte) ([]field, error) {
	if object = bytes.TrimSpace(object); len(object) == 0 || string(object) == "null" {
		return nil, nil
	}
	bad := func(reason string) ([]field, error) {
		return nil, fmt.Errorf(`not a JSON object such as {"temperature":0}: %s: %.80s`, reason, object)
	}
	if object[0] != '{' {
		return bad("it does not start with {")
	}
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return bad(jsonProblem(err))
	}
	var fields []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return bad(jsonProblem(err))
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return bad(fmt.Sprintf("field %q: %s", name, jsonProblem(err)))
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			return bad(fmt.Sprintf("field %q: %s", name, jsonProblem(err)))
		}
		fields = append(fields, field{name: name.(string), value: compact.String()})
	}
	if _, err := d.Token(); err != nil {
		return bad(jsonProblem(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows its end")
	}
	return fields, nil
}

// jsonProblem says in plain words why a text is not JSON.
func jsonProblem(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends too early"
	case errors.As(err, &syntax) && strings.HasPrefix(err.Error(), "unexpected end"):
		return "it ends too early"
	case errors.As(err, &kind):
		return "it is a JSON " + kind.Value
	}
	return err.Error()
}

// Bytes returns the body of an item in one allocation. An item that already has a body keeps it.
func (b *Body) Bytes(it Item) []byte {
	if it.Body != nil {
		return it.Body
	}
	const wrapping = 160 // the messages around the texts, and the length
	own := 0
	for _, f := range it.fields {
		own += len(f.name) + len(f.value) + 4
	}
	texts := own + quotedLen(it.PrefixText) + quotedLen(it.PromptText) + len(it.Messages) + len(it.Images)
	for _, text := range it.Texts {
		texts += quotedLen(text) + 1
	}
	return b.append(make([]byte, 0, b.limited.fixed+wrapping+texts), it)
}

// append appends the body of an item to dst, whether or not the item has one.
func (b *Body) append(dst []byte, it Item) []byte {
	t := &b.limited
	if it.OutputTokens <= 0 {
		t = &b.free
	}
	if len(it.fields) > 0 {
		own := newTemplate(b.cfg, it.OutputTokens > 0, slices.Concat(it.fields, b.extra))
		t = &own
	}
	for _, p := range t.parts {
		dst = append(dst, p.literal...)
		switch {
		case p.hole == holeLength:
			dst = strconv.AppendInt(dst, int64(it.OutputTokens), 10)
		case p.hole == holeText && b.format == TextCompletions:
			dst = append(dst, '"')
			dst = appendEscaped(appendEscaped(dst, it.PrefixText), it.PromptText)
			dst = append(dst, '"')
		case p.hole == holeQuery:
			dst = appendString(dst, it.PromptText)
		case p.hole == holeText && !b.format.Generates():
			dst = appendTexts(dst, it)
		case p.hole == holeText && b.format == Responses:
			dst = appendInput(dst, it)
		case p.hole == holeText && b.format == Messages:
			dst = appendAnthropic(dst, it)
		case p.hole == holeText:
			dst = appendMessages(dst, it)
		}
	}
	return dst
}

// appendTexts appends the texts of an embeddings or a rerank request. An item that has none is one text.
func appendTexts(dst []byte, it Item) []byte {
	texts := it.Texts
	if len(texts) == 0 {
		texts = []string{it.PrefixText + it.PromptText}
	}
	dst = append(dst, '[')
	for i, text := range texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, text)
	}
	return append(dst, ']')
}

func appendMessages(dst []byte, it Item) []byte {
	if len(it.Messages) > 0 {
		return append(dst, it.Messages...)
	}
	dst = append(dst, '[')
	if it.PrefixText != "" {
		dst = appendSystem(dst, it.PrefixText)
		if it.PromptText != "" {
			dst = append(dst, ',')
		}
	}
	if it.PromptText != "" {
		dst = appendUser(dst, it.PromptText, it.Images)
	}
	return append(dst, ']')
}

func appendSystem(dst []byte, text string) []byte {
	dst = append(dst, `{"role":"system","content":`...)
	return append(appendString(dst, text), '}')
}

func appendUser(dst []byte, text string, images []byte) []byte {
	dst = append(dst, `{"role":"user","content":[{"type":"text","text":`...)
	dst = append(append(appendString(dst, text), '}'), images...)
	return append(dst, `]}`...)
}

func appendString(dst []byte, s string) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

// appendEscaped escapes as Python's json.dumps(ensure_ascii=False) does: quotes, backslashes and control characters
// only. Bytes that are not UTF-8 become U+FFFD, so that the body is always JSON.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[from:i]...), "\uFFFD"...)
				from = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[from:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		from = i
	}
	return append(dst, s[from:]...)
}

// quotedLen is at least the length of s as a JSON string.
func quotedLen(s string) int {
	n := len(s) + 2
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			n++
		case c < ' ':
			n += 5
		}
	}
	if !utf8.ValidString(s) {
		n += 2 * len(s)
	}
	return n
}
