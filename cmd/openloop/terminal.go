package main

import (
	"io"
	"os"
	"sync"
	"unicode/utf8"

	"github.com/openloop/openloop/loadgen/stream"
)

// humanWriter is where text for people goes: stdout and stderr. It takes out what a terminal would obey, for names and
// texts come from servers and files; the one escape that openloop has is its own, in rewriteLine. It is safe for
// concurrent use.
type humanWriter struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // the beginning of a character whose end is to come
}

// forHumans makes a writer one for people.
func forHumans(w io.Writer) io.Writer { return &humanWriter{w: w} }

// Write implements io.Writer.
func (h *humanWriter) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := append(h.rest, p...)
	whole := len(text)
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole -= n
			}
			break
		}
	}
	h.rest = append([]byte(nil), text[whole:]...)
	if _, err := h.w.Write(cleanLines(text[:whole])); err != nil {
		return 0, err
	}
	return len(p), nil
}

// cleanLines cleans a text and keeps its line breaks and tabs.
func cleanLines(text []byte) []byte {
	clean := make([]byte, 0, len(text))
	begin := 0
	for i, c := range text {
		if c == '\n' || c == '\t' {
			clean = append(append(clean, stream.Clean(string(text[begin:i]))...), c)
			begin = i + 1
		}
	}
	return append(clean, stream.Clean(string(text[begin:]))...)
}

// rewriteLine writes a text in place of the line that the cursor is on.
func rewriteLine(w io.Writer, text string) {
	if h, ok := w.(*humanWriter); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		w = h.w
	}
	_, _ = w.Write(append([]byte("\r\x1b[K"), cleanLines([]byte(text))...)) // the terminal is gone; the results matter
}

// forData is where data goes as it is: to a file or a pipe. A terminal gets what is for people.
func forData(w io.Writer) io.Writer {
	if h, ok := w.(*humanWriter); ok && !isTerminal(w) {
		return h.w
	}
	return w
}

func isTerminal(w any) bool {
	if h, ok := w.(*humanWriter); ok {
		w = h.w
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
