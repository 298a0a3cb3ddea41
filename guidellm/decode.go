package guidellm

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ReadError says why a report could not be read, and where in it.
type ReadError struct {
	Path string // of the field, "" for the document as a whole
	Err  error
}

func (e *ReadError) Error() string {
	if e.Path == "" {
		return "reading a report: " + e.Err.Error()
	}
	return "reading a report: at " + e.Path + ": " + e.Err.Error()
}

func (e *ReadError) Unwrap() error { return e.Err }

// ReadFile reads a report from a file. See Read.
func ReadFile(name string) (*Report, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening a report: %w", err)
	}
	defer f.Close()
	r, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// Read reads a report, GuideLLM's or openloop's, as JSON or YAML, compressed by gzip or not; which of them it is, it
// sees. Fields that GuideLLM 0.5.0 does not have, and those that it has with a value of another kind, are kept in
// Report.Unknown; those of its fields that could not be read are listed in Report.Missing; see Report.Notes. So a
// report of another version is read as far as it means the same. The error, for a document that is no report, is a
// *ReadError.
func Read(r io.Reader) (*Report, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, &ReadError{Err: err}
		}
		in = bufio.NewReaderSize(z, 64<<10)
	}
	source, err := newTokens(in)
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	report := &Report{}
	d := decoder{tokens: source, fields: map[reflect.Type][]structField{}, report: report}
	first, err := d.next()
	if err == nil && first.kind != beginObject {
		err = errors.New("it holds no object at its top; is it a report?")
	}
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	if err := d.value(first, reflect.ValueOf(report).Elem(), ""); err != nil {
		return nil, err
	}
	// The end is read, too: a cut gzip file shows only there.
	if _, err := source.next(); err == nil {
		return nil, &ReadError{Err: errors.New("something follows the report")}
	} else if !errors.Is(err, io.EOF) {
		return nil, &ReadError{Err: err}
	}
	if slices.Contains(report.Missing, "benchmarks") {
		return nil, &ReadError{Err: errors.New(`it has no list of "benchmarks"; is it a report?`)}
	}
	return report, nil
}

// newTokens sees whether a document is JSON or YAML.
func newTokens(in *bufio.Reader) (tokens, error) {
	for {
		c, err := in.Peek(1)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it is empty")
			}
			return nil, err
		}
		switch c[0] {
		case ' ', '\t', '\r', '\n':
			in.ReadByte()
		case '{':
			return newJSONTokens(in), nil
		default:
			return newYAMLTokens(in)
		}
	}
}

// token is a piece of a document, JSON or YAML alike.
type token struct {
	kind tokenKind
	text string // of a string, key or number
	bool bool
}

type tokenKind uint8

const (
	nullToken tokenKind = iota
	boolToken
	numberToken
	textToken // a string, or the key of an object
	beginObject
	endObject
	beginArray
	endArray
)

func (k tokenKind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "an object", "the end of an object", "a list", "the end of a list"}[k]
}

// tokens yields a document's pieces in order, and io.EOF after the last one.
type tokens interface{ next() (token, error) }

// jsonTokens reads JSON as Python's json.dumps writes it, which includes NaN, Infinity and -Infinity.
type jsonTokens struct{ *json.Decoder }

func newJSONTokens(r io.Reader) jsonTokens {
	d := json.NewDecoder(&quoteNaN{in: bufio.NewReaderSize(r, 64<<10)})
	d.UseNumber()
	return jsonTokens{d}
}

func (j jsonTokens) next() (token, error) {
	t, err := j.Token()
	if err != nil {
		return token{}, err
	}
	switch t := t.(type) {
	case json.Delim:
		switch t {
		case '{':
			return token{kind: beginObject}, nil
		case '}':
			return token{kind: endObject}, nil
		case '[':
			return token{kind: beginArray}, nil
		default:
			return token{kind: endArray}, nil
		}
	case bool:
		return token{kind: boolToken, bool: t}, nil
	case json.Number:
		return token{kind: numberToken, text: t.String()}, nil
	case string:
		if number, ok := strings.CutPrefix(t, quotedNaN); ok {
			return token{kind: numberToken, text: number}, nil
		}
		return token{kind: textToken, text: t}, nil
	default:
		return token{kind: nullToken}, nil
	}
}

// quotedNaN begins the strings that quoteNaN makes; no other string begins so.
const quotedNaN = "\x00number:"

// quoteNaN turns the bare words NaN, Infinity and -Infinity, which Python writes and encoding/json refuses, into
// strings that jsonTokens knows.
type quoteNaN struct {
	in       *bufio.Reader
	inString bool
	escaped  bool   // a backslash precedes
	pending  []byte // what stands for a word
}

func (q *quoteNaN) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(q.pending) > 0 {
			n := copy(p, q.pending)
			q.pending = q.pending[n:]
			return n, nil
		}
		if _, err := q.in.Peek(1); err != nil {
			return 0, err
		}
		chunk, _ := q.in.Peek(min(q.in.Buffered(), len(p)))
		n := q.upToWord(chunk)
		if n == 0 {
			word := q.word()
			if word != "" {
				q.in.Discard(len(word))
				q.pending = append(q.pending, `"\u0000number:`+word+`"`...)
				continue
			}
			n = 1                   // a minus, or a letter that has no place here: the parser will say so
			chunk, _ = q.in.Peek(n) // looking for a word may have moved what was peeked at before
		}
		copy(p, chunk[:n])
		q.in.Discard(n)
		return n, nil
	}
}

// upToWord returns how many bytes of a chunk come before what may be a bare word, following strings as it goes.
func (q *quoteNaN) upToWord(chunk []byte) int {
	i := 0
	for i < len(chunk) {
		switch {
		case q.escaped:
			q.escaped = false
			i++
		case q.inString:
			next := bytes.IndexAny(chunk[i:], `"\`)
			if next < 0 {
				return len(chunk)
			}
			i += next
			q.inString = chunk[i] != '"'
			q.escaped = chunk[i] == '\\'
			i++
		default:
			next := bytes.IndexAny(chunk[i:], `"NI-`)
			if next < 0 {
				return len(chunk)
			}
			if i += next; chunk[i] != '"' {
				return i
			}
			q.inString = true
			i++
		}
	}
	return i
}

func (q *quoteNaN) word() string {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if next, _ := q.in.Peek(len(word)); string(next) == word {
			return word
		}
	}
	return ""
}

// yamlTokens are the pieces of a YAML document, which is read as a whole.
type yamlTokens struct {
	all []token
}

func newYAMLTokens(r io.Reader) (*yamlTokens, error) {
	var document yaml.Node
	if err := yaml.NewDecoder(r).Decode(&document); err != nil {
		return nil, fmt.Errorf("it is neither JSON nor YAML: %w", err)
	}
	y := &yamlTokens{}
	if err := y.flatten(&document, 0); err != nil {
		return nil, err
	}
	return y, nil
}

func (y *yamlTokens) next() (token, error) {
	if len(y.all) == 0 {
		return token{}, io.EOF
	}
	t := y.all[0]
	y.all = y.all[1:]
	return t, nil
}

// Limits of a document. PyYAML writes an object that it meets again as an alias; a bomb is made of the same stuff.
const (
	mostDepth      = 500
	mostYAMLTokens = 50_000_000
)

func (y *yamlTokens) flatten(n *yaml.Node, depth int) error {
	if depth > mostDepth || len(y.all) > mostYAMLTokens {
		return fmt.Errorf("line %d: the YAML is nested too deeply or unfolds to too much", n.Line)
	}
	put := func(k tokenKind, text string) { y.all = append(y.all, token{kind: k, text: text}) }
	switch n.Kind {
	case yaml.DocumentNode:
		return y.flatten(n.Content[0], depth+1)
	case yaml.AliasNode:
		return y.flatten(n.Alias, depth+1)
	case yaml.MappingNode, yaml.SequenceNode:
		begin, end := beginArray, endArray
		if n.Kind == yaml.MappingNode {
			begin, end = beginObject, endObject
		}
		put(begin, "")
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				put(textToken, child.Value)
			} else if err := y.flatten(child, depth+1); err != nil {
				return err
			}
		}
		put(end, "")
		return nil
	}
	switch n.ShortTag() {
	case "!!null":
		put(nullToken, "")
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return err
		}
		y.all = append(y.all, token{kind: boolToken, bool: b})
	case "!!int":
		var i int64
		if err := n.Decode(&i); err != nil {
			put(numberToken, n.Value)
		} else {
			put(numberToken, strconv.FormatInt(i, 10))
		}
	case "!!float":
		if strings.Trim(n.Value, "0123456789") == "" { // an integer that no int64 holds
			put(numberToken, n.Value)
			return nil
		}
		var f float64
		if err := n.Decode(&f); err != nil {
			return err
		}
		put(numberToken, string(appendPythonFloat(nil, f)))
	default:
		put(textToken, n.Value)
	}
	return nil
}

// parseAny reads one JSON value into its free form.
func parseAny(text []byte) (any, error) {
	d := decoder{tokens: newJSONTokens(bytes.NewReader(text))}
	t, err := d.next()
	if err != nil {
		return nil, err
	}
	return d.any(t)
}

// decoder fills the schema's structs from tokens.
type decoder struct {
	tokens tokens
	fields map[reflect.Type][]structField
	report *Report
	depth  int // of free values
}

// next returns the next token of a value that is not yet at its end.
func (d *decoder) next() (token, error) {
	t, err := d.tokens.next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

func (d *decoder) fail(path string, t token, wanted string) error {
	got := t.kind.String()
	if t.text != "" {
		got += " (" + strconv.Quote(t.text) + ")"
	}
	return &ReadError{path, fmt.Errorf("found %s where %s belongs", got, wanted)}
}

// value fills v from the token t, which fits it, and those that follow.
func (d *decoder) value(t token, v reflect.Value, path string) error {
	switch v.Type() {
	case requestSeqType:
		return d.requests(t, v, path)
	case nullIntType, nullFloatType, nullTextType:
		if t.kind == nullToken {
			return nil
		}
		v.Field(1).SetBool(true)
		return d.value(t, v.Field(0), path)
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(t.bool)
	case reflect.Int64:
		n, err := wholeNumber(t)
		if err != nil {
			return &ReadError{path, err}
		}
		v.SetInt(n)
	case reflect.Float64:
		x, err := parseFloat(t.text)
		if err != nil {
			return &ReadError{path, err}
		}
		v.SetFloat(x)
	case reflect.String:
		v.SetString(t.text)
	case reflect.Pointer:
		if t.kind == nullToken {
			return nil
		}
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(t, v.Elem(), path)
	case reflect.Struct:
		return d.object(t, v, path)
	case reflect.Slice:
		if v.Type() != objectType {
			return d.slice(t, v, path)
		}
		fallthrough
	default: // of free form
		free, err := d.any(t)
		if err != nil {
			return &ReadError{path, err}
		}
		if free != nil {
			v.Set(reflect.ValueOf(free))
		}
	}
	return nil
}

// slice fills a list of pointers to structs.
func (d *decoder) slice(t token, v reflect.Value, path string) error {
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for {
		t, err := d.next()
		if err != nil {
			return &ReadError{path, err}
		}
		if t.kind == endArray {
			return nil
		}
		i := v.Len()
		if t.kind != beginObject {
			return d.fail(elementPath(path, i), t, "an object")
		}
		v.Grow(1)
		v.SetLen(i + 1)
		if err := d.value(t, v.Index(i), elementPath(path, i)); err != nil {
			return err
		}
	}
}

// fits says whether a value that begins with t can be one of a field's type. Lists of scalars never do, since what they
// hold must be looked at first; setScalars takes them.
func fits(t token, field reflect.Type) bool {
	switch field {
	case objectType:
		return t.kind == beginObject
	case requestSeqType:
		return t.kind == beginArray
	case nullIntType, nullFloatType, nullTextType:
		return t.kind == nullToken || fits(t, field.Field(0).Type)
	}
	switch field.Kind() {
	case reflect.Bool:
		return t.kind == boolToken
	case reflect.Int64:
		_, err := wholeNumber(t)
		return err == nil
	case reflect.Float64:
		return t.kind == numberToken
	case reflect.String:
		return t.kind == textToken
	case reflect.Pointer:
		return t.kind == nullToken || fits(t, field.Elem())
	case reflect.Slice:
		return field.Elem().Kind() == reflect.Pointer && t.kind == beginArray
	case reflect.Struct:
		return t.kind == beginObject
	default:
		return true
	}
}

// setScalars fills a list of strings, of floats or of pairs of floats from its free form, if that is what it is.
func setScalars(v reflect.Value, free any) bool {
	if v.Kind() != reflect.Slice {
		return false
	}
	if free == nil {
		return v.Type().Elem().Kind() != reflect.String // a nil list is written as null, but for those
	}
	items, ok := free.([]any)
	if !ok {
		return false
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if !setScalar(list.Index(i), item) {
			return false
		}
	}
	v.Set(list)
	return true
}

func setScalar(v reflect.Value, free any) bool {
	switch free := free.(type) {
	case string:
		if v.Kind() != reflect.String {
			return false
		}
		v.SetString(free)
	case int64:
		if v.Kind() != reflect.Float64 {
			return false
		}
		v.SetFloat(float64(free))
	case float64:
		if v.Kind() != reflect.Float64 {
			return false
		}
		v.SetFloat(free)
	case []any:
		if v.Kind() != reflect.Array || v.Len() != len(free) {
			return false
		}
		for i, item := range free {
			if !setScalar(v.Index(i), item) {
				return false
			}
		}
	default:
		return false
	}
	return true
}

func (d *decoder) object(t token, v reflect.Value, path string) error {
	fields, ok := d.fields[v.Type()]
	if !ok {
		fields = structFields(v.Type())
		d.fields[v.Type()] = fields
	}
	seen := make([]bool, len(fields))
	likely := 0 // fields mostly come in the schema's order
	for {
		key, err := d.next()
		if err != nil {
			return &ReadError{path, err}
		}
		if key.kind == endObject {
			break
		}
		t, err := d.next()
		if err != nil {
			return &ReadError{memberPath(path, key.text), err}
		}
		i := likely
		if i >= len(fields) || fields[i].name != key.text {
			i = slices.IndexFunc(fields, func(f structField) bool { return f.name == key.text })
		}
		known := i >= 0 && fits(t, v.Type().Field(fields[i].index).Type)
		if !known {
			free, err := d.any(t)
			if err != nil {
				return &ReadError{memberPath(path, key.text), err}
			}
			if i >= 0 && setScalars(v.Field(fields[i].index), free) {
				known = true
			} else {
				d.report.Unknown = append(d.report.Unknown, Field{memberPath(path, key.text), free})
			}
		} else if err := d.value(t, v.Field(fields[i].index), memberPath(path, key.text)); err != nil {
			return err
		}
		if known {
			seen[i] = true
			likely = i + 1
		}
	}
	for i, f := range fields {
		if !seen[i] && !f.omitEmpty {
			d.report.Missing = append(d.report.Missing, memberPath(path, f.name))
		}
	}
	return nil
}

func (d *decoder) requests(t token, v reflect.Value, path string) error {
	var list []*Request
	if err := d.slice(t, reflect.ValueOf(&list).Elem(), path); err != nil {
		return err
	}
	v.Set(reflect.ValueOf(RequestSeq(slices.Values(list))))
	return nil
}

// any reads a value of free form.
func (d *decoder) any(t token) (any, error) {
	d.depth++
	defer func() { d.depth-- }()
	if d.depth > mostDepth {
		return nil, fmt.Errorf("nested more than %d deep", mostDepth)
	}
	switch t.kind {
	case nullToken:
		return nil, nil
	case boolToken:
		return t.bool, nil
	case textToken:
		return t.text, nil
	case numberToken:
		if strings.ContainsAny(t.text, ".eENI") {
			return parseFloat(t.text)
		}
		if n, err := strconv.ParseInt(t.text, 10, 64); err == nil {
			return n, nil
		}
		return json.Number(t.text), nil
	case beginArray:
		list := []any{}
		for {
			t, err := d.next()
			if err != nil || t.kind == endArray {
				return list, err
			}
			item, err := d.any(t)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
	case beginObject:
		object := Object{}
		for {
			key, err := d.next()
			if err != nil || key.kind == endObject {
				return object, err
			}
			t, err := d.next()
			if err != nil {
				return nil, err
			}
			item, err := d.any(t)
			if err != nil {
				return nil, err
			}
			object = append(object, Member{key.text, item})
		}
	}
	return nil, fmt.Errorf("%s out of place", t.kind)
}

func wholeNumber(t token) (int64, error) {
	if t.kind != numberToken {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseInt(t.text, 10, 64)
	if err == nil {
		return n, nil
	}
	x, err := parseFloat(t.text)
	if err == nil && (x != math.Trunc(x) || math.Abs(x) >= 1<<63) {
		err = strconv.ErrSyntax
	}
	return int64(x), err
}

func parseFloat(text string) (float64, error) {
	x, err := strconv.ParseFloat(text, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // Python reads 1e999 as infinity, too
	}
	return x, err
}
