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
	"sync"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// writeJSON writes a report as JSON on one line, its fields in GuideLLM's order, floats with a point or an exponent so
// that Python reads floats. NaN and infinities are strings ("NaN", "-Infinity"), which GuideLLM's loader takes for
// floats and every JSON parser can read. It streams: no more than one request and 64 kB of text are held at a time.
func writeJSON(w io.Writer, r *Report) error {
	e := newEncoder(w)
	if len(r.Unknown) > 0 {
		e.unknown = map[string][]Field{}
		for _, f := range r.Unknown {
			e.unknown[f.object] = append(e.unknown[f.object], f)
		}
	}
	e.value(reflect.ValueOf(r).Elem(), "")
	if err := e.finish(); err != nil {
		return fmt.Errorf("writing the report as JSON: %w", err)
	}
	return nil
}

// marshalFree returns a value of free form as JSON.
func marshalFree(free any) (json.RawMessage, error) {
	e := newEncoder(nil)
	e.free(free)
	return e.buf, e.err
}

// structField is a field of a schema struct by its json tag.
type structField struct {
	index     int
	name      string
	quoted    []byte // the name as a JSON string
	omitEmpty bool
	list      bool // a nil slice is [], not null
}

// fieldsOf has what structFields returned: a struct is asked for once a request, and its tags are not cheap to read.
var fieldsOf sync.Map

func structFields(t reflect.Type) []structField {
	if known, ok := fieldsOf.Load(t); ok {
		return known.([]structField)
	}
	var fields []structField
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields = append(fields, structField{
				i, name, []byte(strconv.Quote(name)), options == "omitempty", t.Field(i).Tag.Get("report") == "list",
			})
		}
	}
	fieldsOf.Store(t, fields)
	return fields
}

type encoder struct {
	w       io.Writer // nil: all of the text stays in buf
	buf     []byte
	unknown map[string][]Field // of Report.Unknown by the path of their object
	later   bool               // requests are written as schema 2 has them
	err     error
}

func newEncoder(w io.Writer) *encoder {
	return &encoder{w: w}
}

const flushAt = 64 << 10

func (e *encoder) flush() {
	if e.w == nil {
		return
	}
	if e.err == nil {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

func (e *encoder) finish() error {
	e.flush()
	return e.err
}

func (e *encoder) null() { e.buf = append(e.buf, "null"...) }

func (e *encoder) text(s string) {
	e.buf, _ = jsontext.AppendQuote(e.buf, s) // the error tells of bytes that are not UTF-8, which it has replaced
}

// raw writes JSON as it is, nil as an empty object.
func (e *encoder) raw(text json.RawMessage) {
	if text == nil {
		text = json.RawMessage("{}")
	}
	e.buf = append(e.buf, text...)
}

// value writes v, which is addressable. The path is "" unless there are unknown fields to be found by it.
func (e *encoder) value(v reflect.Value, path string) {
	switch from := v.Addr().Interface().(type) {
	case *Null[float64]:
		if from.Valid {
			e.buf = appendFloat(e.buf, from.Value)
		} else {
			e.null()
		}
	case *Null[int64]:
		if from.Valid {
			e.buf = strconv.AppendInt(e.buf, from.Value, 10)
		} else {
			e.null()
		}
	case *Null[string]:
		if from.Valid {
			e.text(from.Value)
		} else {
			e.null()
		}
	case *float64:
		e.buf = appendFloat(e.buf, *from)
	case *int64:
		e.buf = strconv.AppendInt(e.buf, *from, 10)
	case *string:
		e.text(*from)
	case *bool:
		e.buf = strconv.AppendBool(e.buf, *from)
	case *json.RawMessage:
		e.raw(*from)
	case *any:
		e.free(*from)
	case *RequestSeq:
		e.requests(*from, path)
	default:
		switch v.Kind() {
		case reflect.Struct:
			e.object(v, path)
		case reflect.Pointer:
			if v.IsNil() {
				e.null()
			} else {
				e.value(v.Elem(), path)
			}
		case reflect.Slice, reflect.Array:
			e.buf = append(e.buf, '[')
			for i := range v.Len() {
				e.comma(i)
				e.value(v.Index(i), e.element(path, i))
			}
			e.buf = append(e.buf, ']')
		default:
			e.err = fmt.Errorf("%s: a %s has no place in a report", path, v.Type())
		}
	}
}

// comma goes before every element but the first.
func (e *encoder) comma(i int) {
	if i > 0 {
		e.buf = append(e.buf, ", "...)
	}
}

func (e *encoder) key(quoted []byte) {
	if e.buf[len(e.buf)-1] != '{' {
		e.buf = append(e.buf, ", "...)
	}
	e.buf = append(append(e.buf, quoted...), ": "...)
}

func (e *encoder) object(v reflect.Value, path string) {
	if e.later && v.Type() == requestKind {
		v = reflect.ValueOf(laterRequestOf(v.Addr().Interface().(*Request))).Elem()
	}
	fields := structFields(v.Type())
	// The unknown fields of this object; one with a known name was read with a value of another kind.
	unknown := e.unknown[path]
	e.buf = append(e.buf, '{')
	for i := range fields {
		f := &fields[i]
		field := v.Field(f.index)
		if f.omitEmpty && field.IsZero() {
			continue
		}
		if slices.ContainsFunc(unknown, func(u Field) bool { return u.name == f.name }) {
			continue
		}
		e.key(f.quoted)
		if field.Kind() == reflect.Slice && field.Type() != rawType && field.IsNil() && !f.list {
			e.null()
		} else {
			e.value(field, e.member(path, f.name))
		}
	}
	for _, u := range unknown {
		quoted, _ := jsontext.AppendQuote(nil, u.name)
		e.key(quoted)
		e.buf = append(e.buf, u.Value...)
	}
	e.buf = append(e.buf, '}')
}

var (
	rawType     = reflect.TypeFor[json.RawMessage]()
	requestKind = reflect.TypeFor[Request]()
)

func (e *encoder) requests(seq RequestSeq, path string) {
	e.buf = append(e.buf, '[')
	i := 0
	if seq != nil {
		for r := range seq {
			if len(e.buf) >= flushAt {
				e.flush()
			}
			e.comma(i)
			e.value(reflect.ValueOf(r).Elem(), e.element(path, i))
			if i++; e.err != nil {
				break
			}
		}
	}
	e.buf = append(e.buf, ']')
}

// free writes a value of free form.
func (e *encoder) free(v any) {
	switch v := v.(type) {
	case nil:
		e.null()
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case int:
		e.buf = strconv.AppendInt(e.buf, int64(v), 10)
	case int64:
		e.buf = strconv.AppendInt(e.buf, v, 10)
	case float64:
		e.buf = appendFloat(e.buf, v)
	case string:
		e.text(v)
	case json.RawMessage:
		e.raw(v)
	case *ownPart:
		text, err := v.MarshalJSON()
		if err != nil && e.err == nil {
			e.err = err
		}
		e.buf = append(e.buf, text...)
	case Object:
		e.buf = append(e.buf, '{')
		for i, m := range v {
			e.comma(i)
			e.text(m.Key)
			e.buf = append(e.buf, ": "...)
			e.free(m.Value)
		}
		e.buf = append(e.buf, '}')
	case []any:
		e.buf = append(e.buf, '[')
		for i, item := range v {
			e.comma(i)
			e.free(item)
		}
		e.buf = append(e.buf, ']')
	default:
		if of := reflect.ValueOf(v); reflect.Indirect(of).Kind() == reflect.Struct &&
			reflect.Indirect(of).Type().PkgPath() == packagePath {
			if of.Kind() == reflect.Struct {
				of = reflect.New(of.Type())
				of.Elem().Set(reflect.ValueOf(v))
			}
			all := e.unknown // they are not of this value
			e.unknown = nil
			e.value(of.Elem(), "")
			e.unknown = all
			return
		}
		text, err := json.Marshal(v)
		if err == nil {
			err = (*jsontext.Value)(&text).Format(asPython)
		}
		if err != nil {
			e.err = fmt.Errorf("a %T in a report: %w", v, err)
		}
		e.buf = append(e.buf, text...)
	}
}

// asPython lays JSON out as json.dumps does, so that what looks for a text in a report finds it in openloop's, too.
var asPython = jsonv2.JoinOptions(
	jsontext.SpaceAfterComma(true), jsontext.SpaceAfterColon(true), jsontext.PreserveRawStrings(true))

var packagePath = reflect.TypeFor[Report]().PkgPath()

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

// appendFloat writes a float as JSON with the fewest digits that read back to it, always with a point or an exponent:
// Python's repr, but for those numbers that JSON does not have.
func appendFloat(b []byte, x float64) []byte {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return append(b, `"NaN"`...)
	case math.IsInf(x, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(x, -1):
		return append(b, `"-Infinity"`...)
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.AppendFloat(b, x, 'e', -1, 64)
	}
	start := len(b)
	b = strconv.AppendFloat(b, x, 'f', -1, 64)
	for _, c := range b[start:] {
		if c == '.' {
			return b
		}
	}
	return append(b, ".0"...)
}

func formatFloat(x float64) string { return strings.Trim(string(appendFloat(nil, x)), `"`) }
