package tokens

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"unicode/utf8"
)

// WorkloadWriter writes the bodies that were sent, so that [OpenData] gives the same bytes again: JSON lines of the item's
// index, what is known of its lengths, the path of the request and the body as it was. It may be used by several goroutines.
type WorkloadWriter struct {
	mu   sync.Mutex
	out  *bufio.Writer
	path string
	line []byte
	err  error
}

// NewWorkloadWriter writes to w, which the caller closes after [WorkloadWriter.Flush].
func NewWorkloadWriter(w io.Writer, format Format) *WorkloadWriter {
	return &WorkloadWriter{out: bufio.NewWriterSize(w, 1<<16), path: format.Path()}
}

// Write adds an item that has a body. After an error all further calls return that error.
func (w *WorkloadWriter) Write(it Item) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.line = w.line[:0]
	for _, n := range []struct {
		name  string
		value int
	}{{`{"index":`, it.Index}, {`,"prefix_tokens":`, it.PrefixTokens}, {`,"prompt_tokens":`, it.PromptTokens}, {`,"output_tokens":`, it.OutputTokens}} {
		w.line = strconv.AppendInt(append(w.line, n.name...), int64(n.value), 10)
	}
	w.line = append(append(w.line, `,"path":"`...), w.path...)
	if exactInJSON(it.Body) {
		w.line = append(append(w.line, `","body":`...), it.Body...)
	} else {
		packed, err := json.Marshal(it.Body) // base64
		if err != nil {
			w.err = err
			return err
		}
		w.line = append(append(w.line, `","body_base64":`...), packed...)
	}
	_, w.err = w.out.Write(append(w.line, '}', '\n'))
	return w.err
}

// exactInJSON says whether a body can stand in a line of JSON and come out of it byte by byte.
func exactInJSON(body []byte) bool {
	return len(body) > 0 && body[0] == '{' && body[len(body)-1] == '}' && !bytes.ContainsRune(body, '\n') && utf8.Valid(body) && json.Valid(body)
}

// Flush writes what is buffered and returns the first error of all writes.
func (w *WorkloadWriter) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}

// workloadItem is the item of a line that a WorkloadWriter wrote, and the path that it was sent to; no path says that the
// record is another.
func workloadItem(r record) (it Item, path string, err error) {
	quoted, isText := r["path"].(json.RawMessage)
	body, hasBody := r["body"].(json.RawMessage)
	packed, hasPacked := r["body_base64"].(json.RawMessage)
	if !isText || hasBody == hasPacked || json.Unmarshal(quoted, &path) != nil || path != ChatCompletions.Path() && path != TextCompletions.Path() {
		return Item{}, "", nil
	}
	if it.Body = body; hasPacked {
		if err := json.Unmarshal(packed, &it.Body); err != nil {
			return Item{}, "", fmt.Errorf("body_base64: %w", err)
		}
	}
	if len(it.Body) == 0 {
		return Item{}, "", errors.New("its body is empty")
	}
	for name, number := range map[string]*int{"prefix_tokens": &it.PrefixTokens, "prompt_tokens": &it.PromptTokens, "output_tokens": &it.OutputTokens} {
		if value, given := r[name]; given {
			if *number, err = wholeNumber(value); err != nil || *number < 0 {
				return Item{}, "", fmt.Errorf("%s: %s; want a whole number", name, show(value))
			}
		}
	}
	return it, path, nil
}
