package tokens

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/atomicfile"
)

// saver writes the requests that were sent, so that [Open] gives the same bytes again. It holds back the one that was
// handed out last: whether that was sent shows later. Several processes that send together have fetched more ahead, and
// what they did not send is taken back. The file gets its name at the end, and only if a request was
// sent: until then, what had the name stays.
type saver struct {
	file    *atomicfile.File
	out     *savedWriter
	pending *ready
	handed  int     // requests of this stage
	begins  []int64 // where the last of them begin in the file, oldest first
	failed  bool    // the error was returned, and the file is gone: what fills a disk is not to keep its place
}

func newSaver(path string, format Format) (*saver, error) {
	file, err := atomicfile.Create(path)
	if err != nil {
		return nil, err
	}
	return &saver{file: file, out: newSavedWriter(file, format)}, nil
}

// hand takes a request as it is handed out, and writes the one before it: that has been sent by now.
func (s *saver) hand(r ready) error {
	s.handed++
	before := s.pending
	s.pending = &r
	var err error
	if before != nil {
		err = s.out.write(*before)
	}
	s.begins = append(s.begins, s.out.size)
	if len(s.begins) > 2*mostAhead {
		s.begins = append(s.begins[:0], s.begins[mostAhead:]...)
	}
	if err != nil && !s.failed {
		s.failed = true
		s.file.Abandon()
	}
	return err
}

// mostAhead is how many requests can be taken back, at least: more than any processes fetch ahead.
const mostAhead = 1 << 16

// begin begins a stage.
func (s *saver) begin() { s.handed, s.begins = 0, s.begins[:0] }

// sent is told how many requests a stage began.
func (s *saver) sent(n int) {
	if s.pending != nil && n >= s.handed {
		_ = s.out.write(*s.pending) // the error comes again from flush
	}
	s.pending = nil
	if written := s.handed - 1; written > n && s.handed-n <= len(s.begins) {
		s.out.takeBack(s.file, s.begins[len(s.begins)-(s.handed-n)])
	}
	s.begin()
}

// save gives the file its name, and before that calls keep, for what has the name now. Without a request there is
// nothing to save. The error is none that was returned before.
func (s *saver) save(keep func(name string) error) (saved bool, err error) {
	if s.failed {
		return false, nil
	}
	s.sent(s.handed)
	if err = s.out.flush(); err == nil && s.out.any {
		if err = keep(s.file.Name()); err == nil {
			return true, s.file.Commit()
		}
	}
	s.file.Abandon()
	return false, err
}

// savedWriter writes requests as JSON lines: the index, what is known of the lengths, the path and the body as it was.
type savedWriter struct {
	out  *bufio.Writer
	path string
	line []byte
	any  bool  // a request was written
	size int64 // bytes written
	err  error
}

func newSavedWriter(w io.Writer, format Format) *savedWriter {
	return &savedWriter{out: bufio.NewWriterSize(w, 1<<16), path: format.Path()}
}

// write adds a request. After an error all further calls return that error.
func (w *savedWriter) write(r ready) error {
	if w.err != nil {
		return w.err
	}
	w.any = true
	w.line = w.line[:0]
	for _, n := range []struct {
		name  string
		value int
	}{
		{`{"index":`, r.index}, {`,"prefix_tokens":`, r.prefixTokens}, {`,"prompt_tokens":`, r.promptTokens},
		{`,"output_tokens":`, int(r.request.OutputTokens)},
	} {
		w.line = strconv.AppendInt(append(w.line, n.name...), int64(n.value), 10)
	}
	w.line = append(append(w.line, `,"path":"`...), w.path...)
	if body := r.request.Body; exactInJSON(body) {
		w.line = append(append(w.line, `","body":`...), body...)
	} else {
		packed, err := json.Marshal(body) // base64
		if err != nil {
			w.err = err
			return err
		}
		w.line = append(append(w.line, `","body_base64":`...), packed...)
	}
	n := 0
	n, w.err = w.out.Write(append(w.line, '}', '\n'))
	w.size += int64(n)
	return w.err
}

// exactInJSON says whether a body can stand in a line of JSON and come out of it byte by byte.
func exactInJSON(body []byte) bool {
	return len(body) > 0 && body[0] == '{' && body[len(body)-1] == '}' && !bytes.ContainsRune(body, '\n') &&
		utf8.Valid(body) && json.Valid(body)
}

// takeBack takes back what stands behind a place in the file.
func (w *savedWriter) takeBack(file *atomicfile.File, size int64) {
	if w.flush() == nil {
		w.err, w.size, w.any = file.Truncate(size), size, size > 0
	}
}

// flush writes what is buffered and returns the first error of all writes.
func (w *savedWriter) flush() error {
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

// savedPath is the path that a line was sent to which a savedWriter wrote; false says that the record is another.
func savedPath(r record) (string, bool) {
	quoted, isText := r["path"].(json.RawMessage)
	_, hasBody := r["body"].(json.RawMessage)
	_, hasPacked := r["body_base64"].(json.RawMessage)
	if !isText || hasBody == hasPacked {
		return "", false
	}
	path, err := text(quoted)
	_, known := formatOf(path)
	return path, err == nil && known
}

// savedItem is the item of a line that a savedWriter wrote.
func savedItem(r record) (it Item, err error) {
	if packed, ok := r["body_base64"].(json.RawMessage); !ok {
		it.Body = r["body"].(json.RawMessage)
	} else if err := json.Unmarshal(packed, &it.Body); err != nil {
		return Item{}, fmt.Errorf("body_base64: %w", err)
	}
	if len(it.Body) == 0 {
		return Item{}, errors.New("its body is empty")
	}
	for name, number := range map[string]*int{
		"prefix_tokens": &it.PrefixTokens, "prompt_tokens": &it.PromptTokens, "output_tokens": &it.OutputTokens,
	} {
		if value, given := r[name]; given {
			if *number, err = wholeNumber(value); err != nil || *number < 0 {
				return Item{}, fmt.Errorf("%s: %s; want a whole number", name, show(value))
			}
		}
	}
	return it, nil
}
