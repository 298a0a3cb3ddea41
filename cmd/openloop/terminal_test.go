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
	rewriteLine(w, "stage \x1b[31m1")
	if want := "\r\x1b[Kstage �[31m1"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if forData(w) != io.Writer(&out) || isTerminal(w) {
		t.Error("what is not a terminal is taken for one")
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
