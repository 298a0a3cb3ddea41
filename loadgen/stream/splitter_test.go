package stream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	sse "github.com/tmaxmax/go-sse"
)

// splitting is what a splitter made of a stream.
type splitting struct {
	events []string // "!" before the data of an event of type error
	rest   string
	lines  int32
}

// split feeds a stream in pieces.
func split(t testing.TB, pieces ...string) splitting {
	t.Helper()
	var got splitting
	var s Splitter
	s.Emit = func(data []byte, isError bool) {
		e := string(data)
		if isError {
			e = "!" + e
		}
		got.events = append(got.events, e)
	}
	for _, piece := range pieces {
		// A buffer of its own, overwritten afterwards, as the connection's is.
		b := []byte(piece)
		if err := s.Feed(b); err != nil {
			t.Fatalf("feed(%q): %v", piece, err)
		}
		for i := range b {
			b[i] = '#'
		}
	}
	got.rest = string(s.Rest())
	got.lines = s.Lines
	return got
}

func TestEventSplitter(t *testing.T) {
	const bom = "\ufeff"
	tests := []struct {
		name   string
		stream string
		events []string
		rest   string
		lines  int32
	}{
		{"nothing", "", nil, "", 0},
		{"one event", "data: a\n\n", []string{"a"}, "", 2},
		{"no space after the colon", "data:a\n\n", []string{"a"}, "", 2},
		{"only one space is taken", "data:  a\n\n", []string{" a"}, "", 2},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"a", "b"}, "", 4},
		{"CR", "data: a\r\rdata: b\r\r", []string{"a", "b"}, "", 4},
		{"all line ends in one", "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\rdata: e\r\r",
			[]string{"a\nb\nc", "d", "e"}, "", 8},
		{"several data lines", "data: a\ndata: b\ndata\ndata: c\n\n", []string{"a\nb\n\nc"}, "", 5},
		{"first data line empty", "data:\ndata: b\n\n", []string{"\nb"}, "", 3},
		{"first data line without a colon", "data\ndata: b\n\n", []string{"\nb"}, "", 3},
		{"empty data after an event", "data: a\n\ndata\n\ndata:\n\n", []string{"a", "", ""}, "", 6},
		{"a comment is no event", ": ping\n\ndata: a\n\n: ping - 2024\n\n", []string{"a"}, "", 6},
		{"a comment inside an event", "data: a\n: ping\ndata: b\n\n", []string{"a\nb"}, "", 4},
		{"unknown fields", "id: 7\nretry: 10\nfoo: bar\ndataset: x\ndata: a\n\n", []string{"a"}, "", 6},
		{"error event", "event: error\ndata: {}\n\ndata: b\n\n", []string{"!{}", "b"}, "", 5},
		{"type after data, no space", "data: x\nevent:error\n\n", []string{"!x"}, "", 3},
		{"the last type counts", "event: error\nevent: message\ndata: x\n\n", []string{"x"}, "", 4},
		{"a type without data is forgotten", "event: error\n\ndata: x\n\n", []string{"x"}, "", 4},
		{"byte order mark", bom + "data: a\n\n", []string{"a"}, "", 2},
		{"byte order mark later is part of the field's name", "data: a\n\n" + bom + "data: b\n\n",
			[]string{"a"}, "", 4},
		{"two byte order marks", bom + bom + "data: a\n\n", nil, "", 2},
		{"blank lines", "\n\r\n\r\n\ndata: a\n\n\n", []string{"a"}, "", 7},
		{"no final blank line", "data: a\n\ndata: [DONE]\n", []string{"a"}, "[DONE]", 3},
		{"no final line end", "data: a\n\ndata: [DONE]", []string{"a"}, "[DONE]", 3},
		{"no final line end after a data line", "data: a\ndata: b", nil, "a\nb", 2},
		{"ends in the middle of CRLF", "data: a\r\n\r", []string{"a"}, "", 2},
		{"a colon in the data", "data: a:b: c\n\n", []string{"a:b: c"}, "", 2},
		{"line of a colon", ":\n:\n\ndata: a\n\n", []string{"a"}, "", 5},
		{"unicode", "data: \U0001F600é\u2028x\n\n", []string{"\U0001F600é\u2028x"}, "", 2},
		{"NUL", "data: \x00\n\n", []string{"\x00"}, "", 2},
	}
	for _, test := range tests {
		check := func(pieces ...string) {
			got := split(t, pieces...)
			if !slices.Equal(got.events, test.events) || got.rest != test.rest || got.lines != test.lines {
				t.Errorf("%s: %q gives events %q, rest %q, %d lines; want %q, %q, %d",
					test.name, pieces, got.events, got.rest, got.lines, test.events, test.rest, test.lines)
			}
		}
		check(test.stream)
		for i := range len(test.stream) + 1 {
			check(test.stream[:i], test.stream[i:])
			for j := i; j <= len(test.stream); j++ {
				check(test.stream[:i], test.stream[i:j], test.stream[j:])
			}
		}
		check(strings.Split(test.stream, "")...)
	}
}

func TestEventSplitterIsReusable(t *testing.T) {
	var events []string
	var s Splitter
	s.Emit = func(data []byte, isError bool) { events = append(events, fmt.Sprint(string(data), isError)) }
	// Each of these leaves something half done behind.
	for _, stream := range []string{"data: a\n", "event: error\n", "data: b\r", "dat", "\ufeff", "data: c\n\n"} {
		s.Reset()
		if err := s.Feed([]byte(stream)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"cfalse"}; !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
	if s.Lines != 2 {
		t.Errorf("%d lines, want the 2 of the last stream", s.Lines)
	}
}

func TestEventSplitterBoundsWhatItKeeps(t *testing.T) {
	piece := bytes.Repeat([]byte("x"), 1<<20)
	tests := []struct {
		name  string
		piece []byte
	}{
		{"a line without end", piece},
		{"an event without end", slices.Concat([]byte("data: "), piece, []byte("\n"))},
	}
	for _, test := range tests {
		s := Splitter{Emit: func([]byte, bool) {}}
		fed, err := 0, error(nil)
		for err == nil && fed < 64<<20 {
			err = s.Feed(test.piece)
			fed += len(test.piece)
		}
		if !errors.Is(err, errLongEvent) || fed > MaxEvent+2<<20 {
			t.Errorf("%s: error %v after %d bytes, want %v soon after %d", test.name, err, fed, errLongEvent, MaxEvent)
		}
	}
}

// FuzzEventSplitter: any split gives the same events, and they are those of go-sse.
func FuzzEventSplitter(f *testing.F) {
	for _, seed := range []string{
		"data: a\n\ndata: b\r\n\r\ndata: c\r\r", "\ufeffdata: a\n\n", ": ping\n\nevent: error\ndata: {}\n\n",
		"data\ndata\n\n", "data: x\rdata: y\n\r\n", "id: 1\ndata:\n\n", "\r\r\n\n\rdata:1\n\n\n", "data: [DONE]",
		"event:error\revent:\ndata:  x\n\n", "data: a\n\n\n\ndata: b\n\n",
	} {
		f.Add([]byte(seed), uint16(3), uint16(7))
	}
	f.Fuzz(func(t *testing.T, stream []byte, i, j uint16) {
		if len(stream) > 4096 {
			return
		}
		s := string(stream)
		whole := split(t, s)
		a := min(int(i), len(s))
		b := min(max(a, int(j)), len(s))
		for _, pieces := range [][]string{{s[:a], s[a:b], s[b:]}, strings.Split(s, "")} {
			if len(pieces) > 0 && strings.Join(pieces, "") != s {
				continue // strings.Split replaces invalid UTF-8
			}
			if got := split(t, pieces...); !slices.Equal(got.events, whole.events) || got.rest != whole.rest ||
				got.lines != whole.lines {
				t.Fatalf("%q gives %+v, whole %+v", pieces, got, whole)
			}
		}
		var want []string
		for e, err := range sse.Read(strings.NewReader(s), nil) {
			if err != nil {
				t.Fatalf("go-sse: %v", err)
			}
			if e.Data == "" { // go-sse hands on events without data too
				continue
			}
			if e.Type == "error" {
				e.Data = "!" + e.Data
			}
			want = append(want, e.Data)
		}
		got := slices.DeleteFunc(whole.events, func(e string) bool { return e == "" || e == "!" })
		// Data that is one "!" looks like an empty event of type error.
		want = slices.DeleteFunc(want, func(e string) bool { return e == "!" })
		if !slices.Equal(got, want) {
			t.Fatalf("%q gives %q, by go-sse %q", s, got, want)
		}
	})
}
