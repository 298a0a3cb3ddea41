package guidellm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decoder fills the schema's structs from JSON text. It walks the structs itself, since it has to say which fields are
// missing, and to keep those that are unknown or of another kind; jsontext does the parsing.
type decoder struct {
	*jsontext.Decoder
	report *Report // takes what is unknown and what is missing; nil where nobody asks
	path   []step  // of the value at hand
}

// step is a part of a path: the name of a field or, where that is "", an index.
type step struct {
	name  string
	index int
}

func newDecoder(r io.Reader) *decoder {
	// A text that a model made may be cut within a character, of which Python's escapes tell the half.
	return &decoder{Decoder: jsontext.NewDecoder(r, jsontext.AllowInvalidUTF8(true))}
}

// at is the path of the value at hand, such as benchmarks[0].config.seed.
func (d *decoder) at() string {
	var path []byte
	for _, s := range d.path {
		switch {
		case s.name == "":
			path = append(strconv.AppendInt(append(path, '['), int64(s.index), 10), ']')
		case len(path) > 0:
			path = append(path, '.')
			fallthrough
		default:
			path = append(path, s.name...)
		}
	}
	return string(path)
}

func (d *decoder) fail(err error) error {
	var read *ReadError
	if errors.As(err, &read) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &ReadError{d.at(), err}
}

// value fills v, which is addressable, from the next value of the text. A value of another kind is a misfit: it is
// returned, and v stays as it is. A misfit and raw values are valid only until the next is read.
func (d *decoder) value(v reflect.Value) (misfit jsontext.Value, err error) {
	kind := d.PeekKind()
	switch to := v.Addr().Interface().(type) {
	case *Null[float64]:
		return readNull(d, kind, to, d.float)
	case *Null[int64]:
		return readNull(d, kind, to, d.integer)
	case *Null[string]:
		return readNull(d, kind, to, d.text)
	case *float64:
		return d.float(kind, to)
	case *int64:
		return d.integer(kind, to)
	case *string:
		return d.text(kind, to)
	case *bool:
		if kind == 't' || kind == 'f' {
			*to = kind == 't'
			return nil, d.skip()
		}
		return d.ReadValue()
	case *json.RawMessage: // an object of free form
		raw, err := d.ReadValue()
		if kind != '{' {
			return raw, err
		}
		*to = bytes.Clone(raw)
		return nil, err
	case *any:
		raw, err := d.ReadValue()
		if kind != 'n' {
			*to = json.RawMessage(bytes.Clone(raw))
		}
		return nil, err
	case *RequestSeq:
		var list []*Request
		misfit, err := d.list(kind, reflect.ValueOf(&list).Elem())
		*to = RequestSeq(slices.Values(list))
		return misfit, err
	case *[]string:
		return d.scalars(to)
	case *[]float64:
		return d.scalars(to)
	case *[][2]float64:
		return d.scalars(to)
	}
	switch v.Kind() {
	case reflect.Struct:
		if kind == '{' {
			return nil, d.object(v)
		}
	case reflect.Pointer:
		switch kind {
		case 'n':
			return nil, d.skip()
		case '{':
			v.Set(reflect.New(v.Type().Elem()))
			return nil, d.object(v.Elem())
		}
	case reflect.Slice:
		return d.list(kind, v)
	}
	return d.ReadValue()
}

func readNull[T any](d *decoder, kind jsontext.Kind, to *Null[T],
	read func(jsontext.Kind, *T) (jsontext.Value, error)) (
	misfit jsontext.Value, err error) {
	if kind == 'n' {
		return nil, d.skip()
	}
	misfit, err = read(kind, &to.Value)
	to.Valid = misfit == nil
	return misfit, err
}

func (d *decoder) skip() error {
	_, err := d.ReadToken()
	return err
}

// Numbers that JSON has no word for, as quoteNaN writes them and as openloop does.
var quotedNumbers = map[string]float64{`"NaN"`: math.NaN(), `"Infinity"`: math.Inf(1), `"-Infinity"`: math.Inf(-1)}

func (d *decoder) float(kind jsontext.Kind, to *float64) (misfit jsontext.Value, err error) {
	raw, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	switch kind {
	case '0':
		x, err := parseFloat(raw)
		*to = x
		return nil, err
	case '"':
		if x, ok := quotedNumbers[string(raw)]; ok {
			*to = x
			return nil, nil
		}
	}
	return raw, nil
}

func parseFloat(raw []byte) (float64, error) {
	x, err := strconv.ParseFloat(string(raw), 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // Python reads 1e999 as infinity, too
	}
	return x, err
}

// integer also takes whole numbers that are written as floats.
func (d *decoder) integer(kind jsontext.Kind, to *int64) (misfit jsontext.Value, err error) {
	raw, err := d.ReadValue()
	if err != nil || kind != '0' {
		return raw, err
	}
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		*to = n
		return nil, nil
	}
	x, err := parseFloat(raw)
	if err != nil || x != math.Trunc(x) || math.Abs(x) >= 1<<63 {
		return raw, nil
	}
	*to = int64(x)
	return nil, nil
}

func (d *decoder) text(kind jsontext.Kind, to *string) (misfit jsontext.Value, err error) {
	raw, err := d.ReadValue()
	if err != nil || kind != '"' {
		return raw, err
	}
	*to, err = unquote(raw)
	return nil, err
}

func unquote(raw []byte) (string, error) {
	var buffer [256]byte
	text, err := jsontext.AppendUnquote(buffer[:0], raw)
	if err != nil && bytes.ContainsRune(text, '\uFFFD') {
		err = nil // what is not UTF-8 was replaced
	}
	return string(text), err
}

// scalars fills a list of strings, of numbers or of pairs of numbers, if that is what it is.
func (d *decoder) scalars(to any) (misfit jsontext.Value, err error) {
	raw, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	if _, isTexts := to.(*[]string); isTexts && raw.Kind() == 'n' {
		return raw, nil // GuideLLM has no such null
	}
	if jsonv2.Unmarshal(raw, to) != nil {
		reflect.ValueOf(to).Elem().SetZero()
		return raw, nil
	}
	return nil, nil
}

// list fills a list of structs, or of pointers to them.
func (d *decoder) list(kind jsontext.Kind, v reflect.Value) (misfit jsontext.Value, err error) {
	if kind != '[' {
		return d.ReadValue()
	}
	if err := d.skip(); err != nil {
		return nil, err
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for i := 0; d.PeekKind() != ']'; i++ {
		d.path = append(d.path, step{index: i})
		v.Grow(1)
		v.SetLen(i + 1)
		misfit, err := d.value(v.Index(i))
		if err == nil && (misfit != nil || v.Index(i).Kind() == reflect.Pointer && v.Index(i).IsNil()) {
			err = fmt.Errorf("found %s where an object belongs", describe(orNull(misfit)))
		}
		if err != nil {
			return nil, d.fail(err)
		}
		d.path = d.path[:len(d.path)-1]
	}
	return nil, d.skip()
}

func orNull(raw jsontext.Value) jsontext.Value {
	if raw == nil {
		return jsontext.Value("null")
	}
	return raw
}

func (d *decoder) object(v reflect.Value) error {
	fields := structFields(v.Type())
	if err := d.skip(); err != nil {
		return err
	}
	seen := uint64(0)
	likely := 0 // fields mostly come in the schema's order
	for d.PeekKind() != '}' {
		key, err := d.ReadValue()
		if err != nil {
			return d.fail(err)
		}
		i := likely
		if i >= len(fields) || string(fields[i].quoted) != string(key) {
			name, err := unquote(key)
			if err != nil {
				return d.fail(err)
			}
			i = slices.IndexFunc(fields, func(f structField) bool { return f.name == name })
			if i < 0 {
				d.path = append(d.path, step{name: name})
				raw, err := d.ReadValue()
				if err != nil {
					return d.fail(err)
				}
				d.unknown(name, raw)
				d.path = d.path[:len(d.path)-1]
				continue
			}
		}
		d.path = append(d.path, step{name: fields[i].name})
		misfit, err := d.value(v.Field(fields[i].index))
		if err != nil {
			return d.fail(err)
		}
		if misfit != nil {
			d.unknown(fields[i].name, misfit)
		} else {
			seen |= 1 << i
			likely = i + 1
		}
		d.path = d.path[:len(d.path)-1]
	}
	if err := d.skip(); err != nil {
		return d.fail(err)
	}
	for i, f := range fields {
		if d.report != nil && seen&(1<<i) == 0 && !f.omitEmpty {
			d.path = append(d.path, step{name: f.name})
			d.report.Missing = append(d.report.Missing, d.at())
			d.path = d.path[:len(d.path)-1]
		}
	}
	return nil
}

// unknown keeps a value, the last step of the path, that the schema has no place for.
func (d *decoder) unknown(name string, raw jsontext.Value) {
	if d.report == nil {
		return
	}
	f := Field{Path: d.at(), Value: json.RawMessage(bytes.Clone(raw)), name: name}
	f.object = strings.TrimSuffix(strings.TrimSuffix(f.Path, name), ".")
	d.report.Unknown = append(d.report.Unknown, f)
}
