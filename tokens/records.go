package tokens

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/openloop/openloop/internal/infile"
)

// RecordError says which record of which file is bad. Line and Record count from 1; in a Parquet or Arrow file the line
// is the row. Record is 0 where the line alone names the record.
type RecordError struct {
	File         string
	Line, Record int
	Err          error
}

// Error implements error.
func (e *RecordError) Error() string {
	return fmt.Sprintf("%s:%s: %v", e.File, place{e.Line, e.Record}, e.Err)
}

// Unwrap returns the reason.
func (e *RecordError) Unwrap() error { return e.Err }

// place is where a record stands in its file.
type place struct {
	line   int
	record int // 0 where each record has lines of its own
}

// String is the line, and the record where that is another number: the records of a JSON array may stand in one line.
func (p place) String() string {
	if p.record == 0 || p.record == p.line {
		return strconv.Itoa(p.line)
	}
	return fmt.Sprintf("%d: record %d", p.line, p.record)
}

func (p place) error(file string, err error) *RecordError {
	return &RecordError{file, p.line, p.record, err}
}

// record is one row of a file by the names of its columns: JSON values as raw JSON, text of the other formats as
// string.
type record map[string]any

// records reads a file from its start to its end, holding one record at a time.
type records struct {
	next  func() (record, place, error) // good until the next is asked for, with its place; io.EOF at the end
	close func() error
}

// dataEndings are those of the names of files of records, each also with .gz.
var dataEndings = []string{".jsonl", ".ndjson", ".json", ".csv", ".txt", ".text", ".parquet", ".arrow"}

// openRecords opens a file by the ending of its name; gzip is recognised by content. gzip of Parquet and Arrow is
// unpacked in memory.
func openRecords(path string) (*records, error) {
	file, err := infile.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := newRecords(path, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	r.close = file.Close
	return r, nil
}

func newRecords(path string, file *os.File) (*records, error) {
	input := bufio.NewReaderSize(file, 1<<16)
	name := strings.ToLower(filepath.Base(path))
	packed := false
	if magic, _ := input.Peek(2); string(magic) == "\x1f\x8b" {
		text, err := infile.Gunzip(input)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		input, packed = bufio.NewReaderSize(text, 1<<16), true
		name = strings.TrimSuffix(name, ".gz")
	}
	if bom, _ := input.Peek(3); string(bom) == "\xef\xbb\xbf" {
		input.Discard(3)
	}
	text := &recordReader{input: input}
	switch ending := filepath.Ext(name); ending {
	case ".jsonl", ".ndjson", ".json":
		return text.records(jsonRecords(path, text)), nil
	case ".csv":
		next, err := csvRecords(path, text)
		return text.records(next), err
	case ".txt", ".text":
		return text.records(textRecords(path, bufio.NewReaderSize(text, 1<<16))), nil
	case ".parquet", ".arrow":
		read := parquetRecords
		if ending == ".arrow" {
			read = arrowRecords
		}
		if packed {
			data, err := io.ReadAll(input)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			next, err := read(path, bytes.NewReader(data), int64(len(data)))
			return &records{next: next}, err
		}
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		next, err := read(path, file, info.Size())
		return &records{next: next}, err
	default:
		return nil, fmt.Errorf("%s: a file ending in %q is not a kind of data that is read; there are .jsonl, .json, "+
			".csv, .txt, .parquet and .arrow, each also with .gz", path, ending)
	}
}

// largestRecord is how much may be read for one record: a line, an object, a row of a table.
const largestRecord = 32 << 20

// recordReader reads a text whose records have a limit.
type recordReader struct {
	input io.Reader
	read  int // since the last record
}

// Read implements io.Reader.
func (r *recordReader) Read(p []byte) (int, error) {
	if r.read > largestRecord {
		return 0, fmt.Errorf("a record that is larger than %d MB, the limit", largestRecord>>20)
	}
	n, err := r.input.Read(p)
	r.read += n
	return n, err
}

// records are the records of a parser that reads from r.
func (r *recordReader) records(next func() (record, place, error)) *records {
	return &records{next: func() (record, place, error) {
		r.read = 0
		return next()
	}}
}

// lineReader remembers where lines start, so that an offset in what was read becomes a line number.
type lineReader struct {
	input  io.Reader
	read   int64
	breaks []int64 // offsets of the line breaks behind the last one asked for
	line   int     // of that one
}

func (l *lineReader) Read(p []byte) (int, error) {
	n, err := l.input.Read(p)
	for i, c := range p[:n] {
		if c == '\n' {
			l.breaks = append(l.breaks, l.read+int64(i))
		}
	}
	l.read += int64(n)
	return n, err
}

// at returns the line of an offset, which must not go backwards.
func (l *lineReader) at(offset int64) int {
	passed := 0
	for passed < len(l.breaks) && l.breaks[passed] < offset {
		passed++
	}
	l.breaks = l.breaks[:copy(l.breaks, l.breaks[passed:])]
	l.line += passed
	return l.line + 1
}

// jsonRecords reads objects that follow each other, as lines or not, and an array of objects.
func jsonRecords(path string, input io.Reader) func() (record, place, error) {
	lines := &lineReader{input: input}
	d := json.NewDecoder(lines)
	started, array, n := false, false, 0
	fields, r := map[string]json.RawMessage{}, record{}
	var other json.RawMessage // which is no object
	return func() (record, place, error) {
		first, at := nextByte(d)
		line := lines.at(at)
		n++
		bad := func(err error) (record, place, error) { return nil, place{}, place{line, n}.error(path, err) }
		if !started {
			started = true
			if array = first == '['; array {
				if _, err := d.Token(); err != nil {
					return bad(err)
				}
				first, at = nextByte(d)
				line = lines.at(at)
			}
		}
		if array && first == ']' {
			return nil, place{}, io.EOF
		}
		isObject := first == '{'
		var err error
		if isObject { // at once, not first as a whole
			clear(fields)
			err = d.Decode(&fields)
		} else {
			err = d.Decode(&other)
		}
		switch {
		case errors.Is(err, io.EOF) && !array:
			return nil, place{}, io.EOF
		case errors.Is(err, io.EOF):
			return bad(errors.New("the JSON array does not end"))
		case err != nil:
			return bad(err)
		}
		if !isObject {
			return bad(fmt.Errorf("want a JSON object, got %.80s", other))
		}
		clear(r)
		for name, value := range fields {
			r[name] = value
		}
		return r, place{line, n}, nil
	}
}

// nextByte returns the first byte of what the decoder reads next and its offset, behind white space and a comma.
func nextByte(d *json.Decoder) (byte, int64) {
	d.More() // fills the buffer
	at := d.InputOffset()
	buffered := d.Buffered()
	var b [1]byte
	for {
		if n, _ := buffered.Read(b[:]); n == 0 {
			return 0, at
		}
		if !strings.ContainsRune(" \t\r\n,", rune(b[0])) {
			return b[0], at
		}
		at++
	}
}

func csvRecords(path string, input io.Reader) (func() (record, place, error), error) {
	r := csv.NewReader(input)
	header, err := r.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("an empty file; want a line of column names")
		}
		return nil, place{line: 1}.error(path, err)
	}
	line := 1 // of the row before
	return func() (record, place, error) {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil, place{}, io.EOF
		}
		if err != nil {
			line++
			var parse *csv.ParseError
			if errors.As(err, &parse) {
				line, err = parse.StartLine, parse.Err
			}
			return nil, place{}, place{line: line}.error(path, err)
		}
		line, _ = r.FieldPos(0)
		fields := make(record, len(row))
		for i, value := range row {
			fields[header[i]] = value
		}
		return fields, place{line: line}, nil
	}, nil
}

// textRecords reads a prompt a line; empty lines are none.
func textRecords(path string, input *bufio.Reader) func() (record, place, error) {
	line := 0
	return func() (record, place, error) {
		for {
			text, err := input.ReadString('\n')
			if err != nil && (!errors.Is(err, io.EOF) || text == "") {
				if errors.Is(err, io.EOF) {
					return nil, place{}, io.EOF
				}
				return nil, place{}, place{line: line + 1}.error(path, err)
			}
			line++
			if text = strings.TrimRight(text, "\r\n"); strings.TrimSpace(text) != "" {
				return record{"text": text}, place{line: line}, nil
			}
		}
	}
}

// checkFooter refuses a parquet file whose footer is longer than the file, by its own words: the library would take
// memory for it, up to 4 GB.
func checkFooter(input io.ReaderAt, size int64) error {
	var end [8]byte // the footer's length, and PAR1
	if size < int64(len(end)) {
		return nil // the library says what it is
	}
	if _, err := input.ReadAt(end[:], size-int64(len(end))); err != nil {
		return err
	}
	if footer := int64(binary.LittleEndian.Uint32(end[:])); footer > size-int64(len(end)) {
		return fmt.Errorf("its footer has %d bytes, of %d of the file", footer, size)
	}
	return nil
}

func parquetRecords(path string, input io.ReaderAt, size int64) (next func() (record, place, error), err error) {
	defer func() { // the library panics on some broken files
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: not a readable parquet file: %v", path, p)
		}
	}()
	if err := checkFooter(input, size); err != nil {
		return nil, fmt.Errorf("%s: not a readable parquet file: %w", path, err)
	}
	file, err := parquet.OpenFile(input, size)
	if err != nil {
		return nil, fmt.Errorf("%s: not a readable parquet file: %w", path, err)
	}
	rows := parquet.NewGenericReader[any](file)
	row := 0
	return func() (r record, at place, err error) {
		defer func() {
			if p := recover(); p != nil {
				err = place{line: row}.error(path, fmt.Errorf("a row that cannot be read: %v", p))
			}
		}()
		buffer := make([]any, 1)
		n, err := rows.Read(buffer)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				return nil, place{}, io.EOF
			}
			return nil, place{}, place{line: row + 1}.error(path, err)
		}
		row++
		fields, ok := buffer[0].(map[string]any)
		if !ok {
			return nil, place{}, place{line: row}.error(path, fmt.Errorf("want named columns, got %T", buffer[0]))
		}
		r = make(record, len(fields))
		for name, value := range fields {
			switch v := value.(type) {
			case nil, string:
				r[name] = v
			case []byte:
				r[name] = string(v)
			default: // numbers, and lists such as messages
				raw, err := json.Marshal(v)
				if err != nil {
					return nil, place{}, place{line: row}.error(path, fmt.Errorf("column %q: %w", name, err))
				}
				r[name] = json.RawMessage(raw)
			}
		}
		return r, place{line: row}, nil
	}, nil
}
