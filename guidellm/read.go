package guidellm

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/openloop/openloop/internal/armor"
	"github.com/openloop/openloop/internal/infile"
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

// Read reads a report, GuideLLM's or openloop's, as JSON or YAML, compressed by gzip or not, or in the log of a run
// (--log-report); which of them it is, it sees. Fields that GuideLLM 0.5.0 does not have, and those that it has with a
// value of another kind, are kept in Report.Unknown; those of its fields that could not be read are listed in
// Report.Missing. So a report of another version is read as far as it means the same. The error, for a document that is
// not a report, is a *ReadError.
func Read(r io.Reader) (*Report, error) {
	in, err := openJSON(r)
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	report := &Report{}
	d := newDecoder(&quoteNaN{in: in})
	d.report = report
	if kind := d.PeekKind(); kind != '{' {
		if _, err := d.ReadToken(); err != nil {
			return nil, &ReadError{Err: err}
		}
		return nil, &ReadError{Err: errors.New("it holds no object at its top; is it a report?")}
	}
	if _, err := d.value(reflect.ValueOf(report).Elem()); err != nil {
		return nil, d.fail(err)
	}
	// The end is read, too: a cut gzip file shows only there.
	if _, err := d.ReadToken(); err == nil {
		return nil, &ReadError{Err: errors.New("something follows the report")}
	} else if !errors.Is(err, io.EOF) {
		return nil, &ReadError{Err: err}
	}
	if slices.Contains(report.Missing, "benchmarks") {
		return nil, &ReadError{Err: errors.New(`it has no list of "benchmarks"; is it a report?`)}
	}
	return report, nil
}

// ReadOpenLoop reads of a report only what stands under its key "openloop", as JSON: nil where it has no such key, as
// GuideLLM's have not. Of all else it sees that the report is whole and has no key twice, so it takes a part of the
// time that Read takes. The error is a *ReadError.
func ReadOpenLoop(r io.Reader) (json.RawMessage, error) {
	in, err := openJSON(r)
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	s := skipper{in: in}
	text, err := s.only("openloop")
	if err != nil {
		return nil, &ReadError{Err: err}
	}
	if text == nil {
		return nil, nil
	}
	d := newDecoder(&quoteNaN{in: bufio.NewReader(bytes.NewReader(text))})
	raw, err := d.ReadValue()
	if err == nil {
		raw = raw.Clone()
		if _, err = d.ReadToken(); errors.Is(err, io.EOF) {
			return json.RawMessage(raw), nil
		} else if err == nil {
			err = errors.New("it is not one value")
		}
	}
	return nil, &ReadError{"openloop", err}
}

// openJSON undoes compression, finds the report in a log, and turns YAML into JSON. It stands before the document's
// first byte then.
func openJSON(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		text, err := infile.Gunzip(in)
		if err != nil {
			return nil, err
		}
		in = bufio.NewReaderSize(text, 64<<10)
	}
	for {
		c, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		if err != nil {
			return nil, err
		}
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		}
		if err := in.UnreadByte(); err != nil {
			return nil, err
		}
		if c == '{' {
			return in, nil
		}
		text, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		if packed, ok := armor.Find(text); ok {
			report, err := infile.Gunzip(bytes.NewReader(packed))
			if err != nil {
				return nil, err
			}
			return bufio.NewReaderSize(report, 64<<10), nil
		}
		text, err = yamlToJSON(text)
		return bufio.NewReader(bytes.NewReader(text)), err
	}
}

var listIndex = regexp.MustCompile(`\[\d+\]`)

// GroupPaths replaces the indices in the paths of fields by [] and makes one of those that then are the same, with how
// often it stood there: "benchmarks[].requests.successful[].output (12 times)".
func GroupPaths(paths []string) []string {
	count := map[string]int{}
	var order []string
	for _, path := range paths {
		pattern := listIndex.ReplaceAllString(path, "[]")
		if count[pattern]++; count[pattern] == 1 {
			order = append(order, pattern)
		}
	}
	for i, pattern := range order {
		if n := count[pattern]; n > 1 {
			order[i] = fmt.Sprintf("%s (%d times)", pattern, n)
		}
	}
	return order
}

// IsOpenLoop says whether openloop wrote a report: it puts its version there.
func IsOpenLoop(r *Report) bool {
	var notes struct {
		Version Null[string] `json:"version"`
	}
	return r.OpenLoop != nil && DecodeFree(r.OpenLoop, &notes) == nil && notes.Version.Valid
}

// DecodeFree reads a value of free form, such as one under a key "openloop", into a struct of fields with json tags: of
// the types that Report is made of, and lists of structs. What the struct does not have, and what it has of another
// kind, is passed over. The error is that of a value that is not JSON, or no object.
func DecodeFree(free any, to any) error {
	raw, err := marshalFree(free)
	if err != nil {
		return err
	}
	d := newDecoder(bytes.NewReader(raw))
	misfit, err := d.value(reflect.ValueOf(to).Elem())
	if err == nil && misfit != nil {
		err = fmt.Errorf("found %s where an object belongs", describe(misfit))
	}
	return err
}

// describe says what kind of value a piece of JSON is, and what it is if it is short.
func describe(raw jsontext.Value) string {
	kind := map[jsontext.Kind]string{
		'n': "null", 't': "a boolean", 'f': "a boolean", '"': "a string", '0': "a number",
		'{': "an object", '[': "a list",
	}[raw.Kind()]
	if text := strings.TrimSpace(string(raw)); len(text) <= 40 && kind != "null" && !strings.ContainsAny(text, "{[") {
		kind += " (" + text + ")"
	}
	return kind
}
