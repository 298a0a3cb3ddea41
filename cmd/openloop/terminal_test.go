package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestForHumans(t *testing.T) {
	for _, test := range []struct {
		writes []string
		want   string
	}{
		{[]string{"a\tb\n", "ü 漢 🙂\n"}, "a\tb\nü 漢 🙂\n"},
		{[]string{"\x1b]0;owned\x07\x1b[2J"}, "�]0;owned��[2J"},
		{[]string{"a\r\x1b[Kb\n"}, "a��[Kb\n"},
		{[]string{"\u009b31m\u202ex\x7f"}, "�31m�x�"},
		{[]string{"\xc2", "\x9b31m"}, "�31m"}, // in two halves
		{[]string{"\xf0\x9f", "\x99", "\x82"}, "🙂"},
		{[]string{"\x9b31m\xff"}, "�31m�"}, // 8-bit, which is not UTF-8
	} {
		var out bytes.Buffer
		w := forHumans(&out)
		for _, text := range test.writes {
			if n, err := io.WriteString(w, text); n != len(text) || err != nil {
				t.Errorf("%q: %d, %v", text, n, err)
			}
		}
		if out.String() != test.want {
			t.Errorf("%q: got %q, want %q", test.writes, out.String(), test.want)
		}
	}
	var out bytes.Buffer
	w := forHumans(&out)
	if forData(w) != io.Writer(&out) || isTerminal(w) {
		t.Error("what is not a terminal is taken for one")
	}
}

// What is written while there is a screen stands above it, in whole lines; the end leaves the screen or erases it.
func TestScreenBelow(t *testing.T) {
	plain := func(line string) string { return line }
	const (
		erase = "\r \x1b[J\r"
		begin = "\x1b[?25l\x1b[?7l\r"
		end   = "\x1b[J\x1b[1A\r\x1b[?7h\x1b[?25h"
		lines = begin + "one �[2J\x1b[K\ntwo\x1b[K" + end
	)
	for _, c := range []struct {
		name string
		do   func(w io.Writer)
		want string
	}{
		{"drawn", func(io.Writer) {}, lines},
		{"a line above, in pieces", func(w io.Writer) {
			fmt.Fprint(w, "war")
			fmt.Fprint(w, "ning\x1b[31m\nmore")
		}, lines + erase + "warning�[31m\n" + lines},
		{"a message that begins with an empty line", func(w io.Writer) { fmt.Fprint(w, "\nending\n") },
			lines + erase + "ending\n" + lines},
		{"erased", func(w io.Writer) {
			endScreen(w, false)
			fmt.Fprint(w, "after\n")
		}, lines + erase + "after\n"},
		{"kept, what was begun after it", func(w io.Writer) {
			fmt.Fprint(w, "begun")
			endScreen(w, true)
			endScreen(w, true)
		}, lines + erase + "one �[2J\ntwo\nbegun"},
	} {
		var out bytes.Buffer
		w := forHumans(&out)
		endScreen(w, true) // there is none yet
		drawScreen(w, []string{"one \x1b[2J", "two"}, plain)
		c.do(w)
		if out.String() != c.want {
			t.Errorf("%s: got %q, want %q", c.name, out.String(), c.want)
		}
	}
}

// Whatever is written, in whatever pieces, nothing comes out that a terminal obeys.
func FuzzForHumans(f *testing.F) {
	f.Add([]byte("a\x1b[31m"), uint8(1))
	f.Add([]byte("\xc2\x9b\xe2\x80\xae"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		var out bytes.Buffer
		w := forHumans(&out)
		for rest := text; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			fmt.Fprintf(w, "%s", rest[:n])
			rest = rest[n:]
		}
		bad := strings.IndexFunc(out.String(), func(r rune) bool {
			return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
		})
		if bad >= 0 || !utf8.Valid(out.Bytes()) {
			t.Errorf("%q became %q", text, out.String())
		}
		whole := string(cleanLines(text))
		if utf8.Valid(text) && out.String() != whole {
			t.Errorf("%q became %q in pieces, and %q as a whole", text, out.String(), whole)
		}
	})
}
