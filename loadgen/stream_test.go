package loadgen

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
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
	var s eventSplitter
	s.emit = func(data []byte, isError bool) {
		e := string(data)
		if isError {
			e = "!" + e
		}
		got.events = append(got.events, e)
	}
	for _, piece := range pieces {
		// A buffer of its own, overwritten afterwards, as the connection's is.
		b := []byte(piece)
		if err := s.feed(b); err != nil {
			t.Fatalf("feed(%q): %v", piece, err)
		}
		for i := range b {
			b[i] = '#'
		}
	}
	got.rest = string(s.rest())
	got.lines = s.lines
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
		{"all line ends in one", "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\rdata: e\r\r", []string{"a\nb\nc", "d", "e"}, "", 8},
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
		{"byte order mark later is part of the field's name", "data: a\n\n" + bom + "data: b\n\n", []string{"a"}, "", 4},
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
	var s eventSplitter
	s.emit = func(data []byte, isError bool) { events = append(events, fmt.Sprint(string(data), isError)) }
	// Each of these leaves something half done behind.
	for _, stream := range []string{"data: a\n", "event: error\n", "data: b\r", "dat", "\ufeff", "data: c\n\n"} {
		s.reset()
		if err := s.feed([]byte(stream)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"cfalse"}; !slices.Equal(events, want) {
		t.Errorf("events %q, want %q", events, want)
	}
	if s.lines != 2 {
		t.Errorf("%d lines, want the 2 of the last stream", s.lines)
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
		s := eventSplitter{emit: func([]byte, bool) {}}
		fed, err := 0, error(nil)
		for err == nil && fed < 64<<20 {
			err = s.feed(test.piece)
			fed += len(test.piece)
		}
		if !errors.Is(err, errLongEvent) || fed > maxEvent+2<<20 {
			t.Errorf("%s: error %v after %d bytes, want %v soon after %d", test.name, err, fed, errLongEvent, maxEvent)
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
			if got := split(t, pieces...); !slices.Equal(got.events, whole.events) || got.rest != whole.rest || got.lines != whole.lines {
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

// unframe takes a body out of its framing, fed in pieces; left is what follows the body.
func unframe(f framing, pieces ...string) (body, left string, err error) {
	for _, piece := range pieces {
		p := []byte(piece)
		for len(p) > 0 && !f.done {
			b, used, err := f.next(p)
			body += string(b)
			if err != nil {
				return body, "", err
			}
			if used == 0 {
				return body, "", fmt.Errorf("no progress at %q", p)
			}
			p = p[used:]
		}
		left += string(p)
	}
	if !f.done {
		err = io.ErrUnexpectedEOF
	}
	return body, left, err
}

func TestFraming(t *testing.T) {
	chunked := framing{chunked: true}
	tests := []struct {
		name       string
		f          framing
		in         string
		body, left string
		err        error
	}{
		{"length", framing{left: 5}, "hellorest", "hello", "rest", nil},
		{"length, cut", framing{left: 9}, "hello", "hello", "", io.ErrUnexpectedEOF},
		{"until close", framing{left: -1}, "hello", "hello", "", io.ErrUnexpectedEOF},
		{"empty", chunked, "0\r\n\r\nrest", "", "rest", nil},
		{"one chunk", chunked, "5\r\nhello\r\n0\r\n\r\n", "hello", "", nil},
		{"two chunks", chunked, "5\r\nhello\r\nA\r\n 123456789\r\n0\r\n\r\nHTTP", "hello 123456789", "HTTP", nil},
		{"hex of both cases", chunked, "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "", nil},
		{"leading zeros", chunked, "0005\r\nhello\r\n000\r\n\r\n", "hello", "", nil},
		{"extension", chunked, "5;name=\"v\";x\r\nhello\r\n0;y\r\n\r\n", "hello", "", nil},
		{"space after the size", chunked, "5 \r\nhello\r\n0\t\r\n\r\n", "hello", "", nil},
		{"trailers", chunked, "5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\nrest", "hello", "rest", nil},
		{"bare line feeds", chunked, "5\nhello\n0\n\nrest", "hello", "rest", nil},
		{"data that looks like framing", chunked, "7\r\n0\r\n\r\n0\r\r\n0\r\n\r\n", "0\r\n\r\n0\r", "", nil},
		{"cut in the data", chunked, "5\r\nhel", "hel", "", io.ErrUnexpectedEOF},
		{"cut before the last chunk", chunked, "5\r\nhello\r\n", "hello", "", io.ErrUnexpectedEOF},
		{"cut in the trailer", chunked, "5\r\nhello\r\n0\r\n", "hello", "", io.ErrUnexpectedEOF},
		{"no size", chunked, "\r\nhello", "", "", errChunk},
		{"no number", chunked, "xyz\r\n", "", "", errChunk},
		{"negative", chunked, "-1\r\n", "", "", errChunk},
		{"too large a size", chunked, "fffffffffffffffff\r\n", "", "", errChunk},
		{"data longer than its size", chunked, "2\r\nhello\r\n0\r\n\r\n", "he", "", errChunk},
		{"carriage return alone after the size", chunked, "5\rhello", "", "", errChunk},
		{"carriage return alone after the data", chunked, "5\r\nhello\rX", "hello", "", errChunk},
		{"carriage return alone at the end", chunked, "0\r\n\rX", "", "", errChunk},
	}
	for _, test := range tests {
		check := func(pieces ...string) {
			body, left, err := unframe(test.f, pieces...)
			if body != test.body || left != test.left || !errors.Is(err, test.err) {
				t.Errorf("%s: %q gives body %q, left %q, error %v; want %q, %q, %v",
					test.name, pieces, body, left, err, test.body, test.left, test.err)
			}
		}
		check(test.in)
		for i := range len(test.in) + 1 {
			check(test.in[:i], test.in[i:])
		}
		check(strings.Split(test.in, "")...)
	}
}

// FuzzFraming: any split gives the same body, and what net/http's chunked reader takes is taken here with the same body.
// The reverse is not asked: bare line feeds and odd extensions are let pass here, and refused there.
func FuzzFraming(f *testing.F) {
	for _, seed := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", "a\nhello there\n0\n\n", "0\r\n\r\n", "1\r\n\r\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed), uint16(4))
	}
	f.Fuzz(func(t *testing.T, in []byte, at uint16) {
		s := string(in)
		i := min(int(at), len(s))
		body, left, err := unframe(framing{chunked: true}, s)
		body2, left2, err2 := unframe(framing{chunked: true}, s[:i], s[i:])
		if body != body2 || left != left2 || !errors.Is(err2, err) {
			t.Fatalf("%q whole: %q %q %v; split at %d: %q %q %v", s, body, left, err, i, body2, left2, err2)
		}
		want, wantErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in)))
		if wantErr != nil {
			return
		}
		// That reader stops after the last chunk's size line; a trailer and the final blank line may be missing or wrong.
		if body != string(want) {
			t.Fatalf("%q gives %q, %v; by net/http %q", s, body, err, want)
		}
		const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		br := bufio.NewReader(strings.NewReader(head + s))
		resp, respErr := http.ReadResponse(br, nil)
		if respErr != nil {
			t.Fatal(respErr)
		}
		if _, respErr := io.ReadAll(resp.Body); respErr != nil {
			return
		}
		rest, _ := io.ReadAll(br)
		if err != nil || left != string(rest) {
			t.Fatalf("%q: error %v, left %q; by net/http %q", s, err, left, rest)
		}
	})
}
