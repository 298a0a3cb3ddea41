package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/charmbracelet/colorprofile"
	"golang.org/x/term"

	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/report"
)

// humanWriter is where text for people goes: stdout and stderr. It takes out what a terminal would obey, for names and
// texts come from servers and files; the escapes that openloop has are its own: those of a screen and its colours. It
// is safe for concurrent use.
type humanWriter struct {
	mu   sync.Mutex
	w    io.Writer
	rest []byte // the beginning of a character whose end is to come

	screen []string // lines that stay below all that is written; nil: there are none
	begun  []byte   // while there is a screen: a line whose end is to come
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
	clean := cleanLines(text[:whole])
	if h.screen != nil {
		h.begun = append(h.begun, clean...)
		ended := bytes.LastIndexByte(h.begun, '\n') + 1
		if ended == 0 {
			return len(p), nil
		}
		// An empty line to begin with keeps a message apart from what the terminal echoes, which a screen writes over.
		above := bytes.TrimLeft(h.begun[:ended], "\n")
		clean = h.frame(above)
		h.begun = append([]byte(nil), h.begun[ended:]...)
	}
	if _, err := h.w.Write(clean); err != nil {
		return 0, err
	}
	return len(p), nil
}

// What a screen is drawn with. The cursor waits on its first line, so that all of it is below the cursor and can be
// erased, even when the terminal has become narrower and wrapped its lines.
const (
	// A screen erased from its very first cell on would go into tmux's history; from the second on it does not.
	eraseBelow = "\r \x1b[J\r"
	eraseRight = "\x1b[K"
	beginFrame = "\x1b[?25l\x1b[?7l" // hide the cursor, and do not wrap
	endFrame   = "\x1b[?7h\x1b[?25h"
)

// frame is what draws the screen, and above it what is to stay.
func (h *humanWriter) frame(above []byte) []byte {
	var b bytes.Buffer
	if len(above) > 0 {
		b.WriteString(eraseBelow)
		b.Write(above)
	}
	b.WriteString(beginFrame + "\r")
	for i, line := range h.screen {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(line + eraseRight)
	}
	b.WriteString("\x1b[J")
	if n := len(h.screen) - 1; n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", n)
	}
	b.WriteString("\r" + endFrame)
	return b.Bytes()
}

// drawScreen draws lines below all that is written to a terminal, in place of those that it drew before. paint may add
// colours to a line. What can't be written is not of interest: the terminal is gone, and the results matter.
func drawScreen(w io.Writer, lines []string, paint func(string) string) {
	h, ok := w.(*humanWriter)
	if !ok || len(lines) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.screen = h.screen[:0]
	for _, line := range lines {
		h.screen = append(h.screen, paint(stream.Clean(line)))
	}
	_, _ = h.w.Write(h.frame(nil))
}

// endScreen ends the screen, if there is one: it is erased, or left as it is with the cursor below it.
func endScreen(w io.Writer, keep bool) {
	h, ok := w.(*humanWriter)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.screen == nil {
		return
	}
	text := []byte(eraseBelow)
	if keep {
		for _, line := range h.screen {
			text = append(text, line+"\n"...)
		}
	}
	text = append(text, h.begun...)
	h.screen, h.begun = nil, nil
	_, _ = h.w.Write(text)
}

// printPainted writes lines for people, with colours where paint adds them.
func printPainted(w io.Writer, text string, paint func(string) string) error {
	h, ok := w.(*humanWriter)
	if !ok || paint == nil {
		_, err := io.WriteString(w, text)
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := strings.Split(string(cleanLines([]byte(text))), "\n")
	for i := range lines {
		lines[i] = paint(lines[i])
	}
	_, err := io.WriteString(h.w, strings.Join(lines, "\n"))
	return err
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

// forData is where data goes as it is: to a file or a pipe. A terminal gets what is for people.
func forData(w io.Writer) io.Writer {
	if h, ok := w.(*humanWriter); ok && !isTerminal(w) {
		return h.w
	}
	return w
}

// file is the file that a writer writes to; nil for none.
func file(w any) *os.File {
	if h, ok := w.(*humanWriter); ok {
		w = h.w
	}
	f, _ := w.(*os.File)
	return f
}

func isTerminal(w any) bool {
	f := file(w)
	if f == nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// canDraw says whether a writer is a terminal on which lines can be drawn again.
func canDraw(w any) bool {
	f := file(w)
	if f == nil || !term.IsTerminal(int(f.Fd())) {
		return false
	}
	kind := os.Getenv("TERM")
	return kind != "" && kind != "dumb"
}

// painter is what colours lines for a terminal; nil where it has no colours, or none are wanted.
func painter(w any, none bool) func(string) string {
	f := file(w)
	if f == nil || none || colorprofile.Detect(f, os.Environ()) < colorprofile.ANSI {
		return nil
	}
	return report.Paint
}

// printScreen prints a result for people, with all columns where they are wanted.
func printScreen(w io.Writer, r *report.Result, wide, noColor bool) error {
	var b strings.Builder
	write := report.WriteScreen
	if wide {
		write = report.WriteWideScreen
	}
	if err := write(&b, r); err != nil {
		return err
	}
	return printPainted(w, b.String(), painter(w, noColor))
}
