package guidellm

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// WriteJSON writes a report as GuideLLM's json output does, on one line, with floats that Python reads back to the same
// bits. It streams: no more than one request and 64 kB of text are held at a time.
func WriteJSON(w io.Writer, r *Report) error {
	out := &jsonText{w: w, style: pythonStyle}
	if err := encode(out, r); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// sink takes a document piece by piece. Errors are kept until finish.
type sink interface {
	beginObject()
	key(name string)
	endObject()
	beginArray()
	endArray()
	null()
	boolean(bool)
	integer(int64)
	float(float64)
	text(string)
	literal(json.Number) // a number too large for an int64
	finish() error
}

// encode writes a report to a sink, each unknown field after the known ones of its object.
func encode(out sink, r *Report) error {
	e := encoder{sink: out, fields: map[reflect.Type][]structField{}, unknown: map[string]Object{}}
	for _, f := range r.Unknown {
		parent, name := splitPath(f.Path)
		e.unknown[parent] = append(e.unknown[parent], Member{name, f.Value})
	}
	e.value(reflect.ValueOf(r).Elem(), "")
	if e.err != nil {
		return e.err
	}
	return out.finish()
}

// encodeAny writes a value of free form, or one of the schema's structs.
func encodeAny(out sink, v any) error {
	e := encoder{sink: out, fields: map[reflect.Type][]structField{}}
	e.any(v)
	if e.err != nil {
		return e.err
	}
	return out.finish()
}

type encoder struct {
	sink
	fields  map[reflect.Type][]structField
	unknown map[string]Object // by the path of the object that holds them
	err     error             // of a value that cannot be encoded
}

// structField is a field of a schema struct by its json tag.
type structField struct {
	index     int
	name      string
	omitEmpty bool
	list      bool // a nil slice is [], not null
}

func structFields(t reflect.Type) []structField {
	var fields []structField
	for i := range t.NumField() {
		tag := t.Field(i).Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if name != "" && name != "-" {
			fields = append(fields, structField{i, name, options == "omitempty", t.Field(i).Tag.Get("report") == "list"})
		}
	}
	return fields
}

var (
	objectType     = reflect.TypeFor[Object]()
	requestSeqType = reflect.TypeFor[RequestSeq]()
	nullIntType    = reflect.TypeFor[Null[int64]]()
	nullFloatType  = reflect.TypeFor[Null[float64]]()
	nullTextType   = reflect.TypeFor[Null[string]]()
)

func (e *encoder) value(v reflect.Value, path string) {
	switch v.Type() {
	case objectType:
		e.any(v.Interface())
		return
	case requestSeqType:
		e.requests(v.Interface().(RequestSeq), path)
		return
	case nullIntType, nullFloatType, nullTextType:
		if v.Field(1).Bool() {
			e.value(v.Field(0), path)
		} else {
			e.null()
		}
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		e.boolean(v.Bool())
	case reflect.Int, reflect.Int64:
		e.integer(v.Int())
	case reflect.Float64:
		e.float(v.Float())
	case reflect.String:
		e.text(v.String())
	case reflect.Interface:
		e.any(v.Interface())
	case reflect.Pointer:
		if v.IsNil() {
			e.null()
		} else {
			e.value(v.Elem(), path)
		}
	case reflect.Slice, reflect.Array:
		e.beginArray()
		for i := range v.Len() {
			e.value(v.Index(i), e.element(path, i))
		}
		e.endArray()
	case reflect.Struct:
		e.object(v, path)
	default:
		e.err = fmt.Errorf("%s: a %s has no place in a report", path, v.Type())
	}
}

func (e *encoder) object(v reflect.Value, path string) {
	fields, ok := e.fields[v.Type()]
	if !ok {
		fields = structFields(v.Type())
		e.fields[v.Type()] = fields
	}
	e.beginObject()
	unknown := e.unknown[path]
	if len(unknown) > 0 {
		unknown = slices.Clone(unknown)
	}
	for _, f := range fields {
		field := v.Field(f.index)
		if i := slices.IndexFunc(unknown, func(m Member) bool { return m.Key == f.name }); i >= 0 {
			// Known by name, but read with a value of another kind, which goes back into its place.
			e.key(f.name)
			e.any(unknown[i].Value)
			unknown = slices.Delete(unknown, i, i+1)
			continue
		}
		if f.omitEmpty && field.IsZero() {
			continue
		}
		e.key(f.name)
		if field.Kind() == reflect.Slice && field.Type() != objectType && field.IsNil() && !f.list {
			e.null()
		} else {
			e.value(field, e.member(path, f.name))
		}
	}
	for _, m := range unknown {
		e.key(m.Key)
		e.any(m.Value)
	}
	e.endObject()
}

func (e *encoder) requests(seq RequestSeq, path string) {
	e.beginArray()
	if seq != nil {
		i := 0
		for r := range seq {
			e.value(reflect.ValueOf(r).Elem(), e.element(path, i))
			i++
			if e.err != nil {
				break
			}
		}
	}
	e.endArray()
}

func (e *encoder) any(v any) {
	switch v := v.(type) {
	case nil:
		e.null()
	case bool:
		e.boolean(v)
	case int:
		e.integer(int64(v))
	case int64:
		e.integer(v)
	case float64:
		e.float(v)
	case string:
		e.text(v)
	case json.Number:
		e.literal(v)
	case Object: // nil is an empty object
		e.beginObject()
		for _, m := range v {
			e.key(m.Key)
			e.any(m.Value)
		}
		e.endObject()
	case []any:
		e.beginArray()
		for _, item := range v {
			e.any(item)
		}
		e.endArray()
	case *Benchmark: // a stage that stands beside GuideLLM's
		e.value(reflect.ValueOf(v).Elem(), "")
	default:
		if t := reflect.TypeOf(v); t.Kind() == reflect.Struct && t.PkgPath() == objectType.PkgPath() {
			e.value(reflect.ValueOf(v), "")
			return
		}
		e.foreign(v)
	}
}

// foreign writes a value of a type of somebody else's through encoding/json.
func (e *encoder) foreign(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		e.err = fmt.Errorf("a %T under a free key: %w", v, err)
		return
	}
	generic, err := parseAny(text)
	if err != nil {
		e.err = fmt.Errorf("a %T under a free key: %w", v, err)
		return
	}
	e.any(generic)
}

// member and element extend a path; only where there are unknown fields to find by it, since it costs an allocation.
func (e *encoder) member(path, name string) string {
	if len(e.unknown) == 0 {
		return ""
	}
	return memberPath(path, name)
}

func (e *encoder) element(path string, i int) string {
	if len(e.unknown) == 0 {
		return ""
	}
	return elementPath(path, i)
}

func memberPath(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func elementPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func splitPath(path string) (parent, name string) {
	i := strings.LastIndexByte(path, '.')
	return path[:max(i, 0)], path[i+1:]
}

// jsonStyle is how JSON is laid out and how numbers and text are written.
type jsonStyle struct {
	comma, colon string
	appendFloat  func([]byte, float64) []byte
	appendText   func([]byte, string) []byte
}

var (
	// pythonStyle is json.dumps with its defaults.
	pythonStyle = &jsonStyle{", ", ": ", appendPythonFloat, appendASCIIText}
	// pydanticStyle is pydantic's model_dump_json, in which GuideLLM writes some cells of its CSV.
	pydanticStyle = &jsonStyle{",", ":", appendRustFloat, appendUTF8Text}
)

// jsonText is a sink that writes JSON text.
type jsonText struct {
	w     io.Writer
	style *jsonStyle
	buf   []byte
	comma bool // a value precedes in this object or array
	err   error
}

const flushAt = 64 << 10

// next prepares for a value or key: a comma, where one precedes.
func (j *jsonText) next() {
	if j.comma {
		j.buf = append(j.buf, j.style.comma...)
	}
	j.comma = true
	if len(j.buf) >= flushAt {
		j.flush()
	}
}

func (j *jsonText) flush() {
	if j.err == nil {
		_, j.err = j.w.Write(j.buf)
	}
	j.buf = j.buf[:0]
}

func (j *jsonText) finish() error {
	j.flush()
	return j.err
}

func (j *jsonText) open(bracket byte) {
	j.next()
	j.buf = append(j.buf, bracket)
	j.comma = false
}

func (j *jsonText) shut(bracket byte) {
	j.buf = append(j.buf, bracket)
	j.comma = true
}

func (j *jsonText) beginObject() { j.open('{') }
func (j *jsonText) endObject()   { j.shut('}') }
func (j *jsonText) beginArray()  { j.open('[') }
func (j *jsonText) endArray()    { j.shut(']') }

func (j *jsonText) key(name string) {
	j.text(name)
	j.buf = append(j.buf, j.style.colon...)
	j.comma = false
}

func (j *jsonText) null()                 { j.next(); j.buf = append(j.buf, "null"...) }
func (j *jsonText) boolean(b bool)        { j.next(); j.buf = strconv.AppendBool(j.buf, b) }
func (j *jsonText) integer(n int64)       { j.next(); j.buf = strconv.AppendInt(j.buf, n, 10) }
func (j *jsonText) literal(n json.Number) { j.next(); j.buf = append(j.buf, n...) }
func (j *jsonText) float(x float64)       { j.next(); j.buf = j.style.appendFloat(j.buf, x) }
func (j *jsonText) text(s string)         { j.next(); j.buf = j.style.appendText(j.buf, s) }

// appendPythonFloat writes a float as Python's repr does: the fewest digits that read back to it, always with a point
// or an exponent, plain from 1e-4 to below 1e16.
func appendPythonFloat(b []byte, x float64) []byte {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return append(b, "NaN"...)
	case math.IsInf(x, 1):
		return append(b, "Infinity"...)
	case math.IsInf(x, -1):
		return append(b, "-Infinity"...)
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.AppendFloat(b, x, 'e', -1, 64)
	}
	return appendPlainFloat(b, x)
}

// appendRustFloat writes a float as the Rust library behind pydantic does: plain from 1e-5 to below 1e16, an exponent
// without sign or leading zero, null where JSON has no number.
func appendRustFloat(b []byte, x float64) []byte {
	switch a := math.Abs(x); {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return append(b, "null"...)
	case a != 0 && (a < 1e-5 || a >= 1e16):
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(x, 'e', -1, 64), "e")
		n, _ := strconv.Atoi(exponent)
		b = append(b, mantissa...)
		b = append(b, 'e')
		return strconv.AppendInt(b, int64(n), 10)
	}
	return appendPlainFloat(b, x)
}

func appendPlainFloat(b []byte, x float64) []byte {
	start := len(b)
	b = strconv.AppendFloat(b, x, 'f', -1, 64)
	for _, c := range b[start:] {
		if c == '.' {
			return b
		}
	}
	return append(b, ".0"...)
}

const hexDigits = "0123456789abcdef"

// appendASCIIText writes a JSON string in ASCII alone, as json.dumps does.
func appendASCIIText(b []byte, s string) []byte { return appendText(b, s, true) }

// appendUTF8Text writes a JSON string with nothing escaped that need not be.
func appendUTF8Text(b []byte, s string) []byte { return appendText(b, s, false) }

func appendText(b []byte, s string, ascii bool) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		plain := i
		for i < len(s) && isPlain(s[i]) {
			i++
		}
		b = append(b, s[plain:i]...)
		if i == len(s) {
			break
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			i += size
			switch {
			case !ascii:
				b = utf8.AppendRune(b, r)
			case r >= 0x10000:
				r -= 0x10000
				b = appendUnicodeEscape(b, 0xd800+r>>10)
				b = appendUnicodeEscape(b, 0xdc00+r&0x3ff)
			default:
				b = appendUnicodeEscape(b, r)
			}
			continue
		}
		i++
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		default:
			if c < ' ' || c == 0x7f && ascii {
				b = appendUnicodeEscape(b, rune(c))
			} else {
				b = append(b, c)
			}
		}
	}
	return append(b, '"')
}

// isPlain says whether a byte stands for itself in any style of JSON.
func isPlain(c byte) bool { return c >= ' ' && c < 0x7f && c != '"' && c != '\\' }

func appendUnicodeEscape(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
