package transport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

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
		{"hex of both cases", chunked, "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
			"01234567890123456789", "", nil},
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

// FuzzFraming: any split gives the same body, and what net/http's chunked reader takes is taken here with the same
// body. The reverse is not asked: bare line feeds and odd extensions are let pass here, and refused there.
func FuzzFraming(f *testing.F) {
	for _, seed := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n", "a\nhello there\n0\n\n", "0\r\n\r\n",
		"1\r\n\r\r\n0\r\n\r\n",
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
		// That reader stops after the last chunk's size line; a trailer and the final blank line may be missing or
		// wrong.
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
