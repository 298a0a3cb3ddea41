package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// fedConn is a connection whose server has its answers ready: the next one for every request that is written, in pieces
// of a given size, and then the end.
type fedConn struct {
	net.Conn // nil: whatever else is called fails the test
	answers  []string
	piece    int
	unread   string
	closed   bool
}

func (c *fedConn) Write(p []byte) (int, error) {
	if len(c.answers) > 0 {
		c.unread += c.answers[0]
		c.answers = c.answers[1:]
	}
	return len(p), nil
}

func (c *fedConn) Read(p []byte) (int, error) {
	if c.unread == "" {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.piece)], c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func (c *fedConn) Close() error                     { c.closed = true; return nil }
func (c *fedConn) SetDeadline(time.Time) error      { return nil }
func (c *fedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fedConn) SetWriteDeadline(time.Time) error { return nil }

// readByNetHTTP reads a response as net/http does: past heads of the 1xx kind, of which it counts the bytes and heads.
func readByNetHTTP(response string) (resp *http.Response, body, rest string, interim int, err error) {
	br := bufio.NewReader(strings.NewReader(response))
	for {
		if resp, err = http.ReadResponse(br, postRequest); err != nil {
			return nil, "", "", interim, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode < 100 {
			break
		}
		interim++
	}
	b, err := io.ReadAll(resp.Body)
	left, _ := io.ReadAll(br)
	return resp, string(b), string(left), interim, err
}

// FuzzExchange: whatever a server answers, in whatever pieces, the exchange ends, and what net/http takes of it, it
// takes as the same status, head and body. A connection that it keeps answers the next request with the next answer.
func FuzzExchange(f *testing.F) {
	const next = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter"
	for _, s := range []string{
		next, next + "x",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nuntil the end", "HTTP/1.1 200 OK\n\nbare", "HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + next,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
		"HTTP/1.1 099 Odd\r\n\r\n" + next, "HTTP/1.1 1000 Odd\r\n\r\n", "HTTP/1.1 -20 Odd\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\n c\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab" + next,
		"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n",
		"\r\n\r\n",
		"<html>not HTTP</html>\n\n", "HTTP/", "", "HTTP/1.1 500 Oops\r\nRetry-After: 1\r\n\r\n{\"error\":",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
		"HTTP/1.1 200 OK\r\nX: \x00\xff\r\n\r\n",
	} {
		f.Add([]byte(s), uint16(4096))
		f.Add([]byte(s), uint16(1))
		f.Add([]byte(s), uint16(7))
	}
	f.Fuzz(func(t *testing.T, response []byte, piece uint16) {
		if len(response) > 16<<10 {
			return
		}
		defer time.AfterFunc(20*time.Second, func() { panic("hangs") }).Stop()
		s := string(response)
		var conns []*fedConn
		tr := newTransport(t, Config{
			URL: mustURL("http://h/v1/completions"),
			Dial: func(context.Context, string, string) (net.Conn, error) {
				c := &fedConn{answers: []string{s, next}, piece: max(int(piece), 1)}
				if len(conns) > 0 {
					c.answers = c.answers[1:]
				}
				conns = append(conns, c)
				return c, nil
			},
		})
		x := tr.NewExchange(t.Context(), precise.NewClock())
		defer x.Close()
		exchange := func() (Head, string, error) {
			x.Encode([]byte("{}"))
			head, err := x.RoundTrip(&Sending{})
			if err != nil {
				return head, "", err
			}
			body, _, err := read(x)
			x.End()
			return head, body, err
		}
		head, body, err := exchange()
		var failed *Error
		if err != io.EOF && !errors.As(err, &failed) {
			t.Fatalf("%q: an error of another kind: %v", s, err)
		}
		if failed != nil && len(failed.Error()) > 100+4*shownOfHead { // quoted
			t.Fatalf("%q: an error of %d bytes", s, len(failed.Error()))
		}
		resp, wantBody, rest, interim, wantErr := readByNetHTTP(s)
		// The reverse holds for the head alone: framing takes bare line feeds and odd extensions, see FuzzFraming.
		if resp == nil && err == io.EOF {
			t.Fatalf("%q is taken as %d %q, and net/http says: %v", s, head.Status, body, wantErr)
		}
		const plenty = 5 // heads of the 1xx kind; more may be refused
		if resp != nil && wantErr == nil && checkStatus(resp.StatusCode) == nil && interim <= plenty {
			switch {
			case err != io.EOF:
				t.Fatalf("%q fails with %v; by net/http it is %d %q", s, err, resp.StatusCode, wantBody)
			case head.Status != resp.StatusCode || !reflect.DeepEqual(head.Header, resp.Header) || body != wantBody:
				t.Fatalf("%q is %d %v %q; by net/http %d %v %q",
					s, head.Status, head.Header, body, resp.StatusCode, resp.Header, wantBody)
			case tr.Connections() > 0 && (resp.Close || rest != conns[0].unread):
				t.Fatalf("%q: the connection is kept, though it is to be closed or %q was read of the next", s, rest)
			}
		}
		if conns[0].closed == (tr.Connections() > 0) {
			t.Fatalf("%q: closed %v, and %d kept", s, conns[0].closed, tr.Connections())
		}
		if tr.Connections() > 0 && conns[0].unread != "" {
			return // of a real connection this shows before the next request is written
		}
		if head, body, err = exchange(); err != io.EOF || head.Status != 200 || body != "after" {
			t.Fatalf("%q: the request after it is answered %d %q, %v", s, head.Status, body, err)
		}
		if !bytes.Equal([]byte(s), response) {
			t.Fatal("the answer was changed")
		}
	})
}
