package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// exchange1 is one request at a time over connections of an http1.
type exchange1 struct {
	transport *http1
	clock     *precise.Clock

	// Its requests are cancelled with this context. It is watched once for all of them: to be told of a context's end,
	// and to want to be told no more, takes longer than the rest of the way from the arrival to the wire.
	ctx     context.Context
	unwatch func() bool
	mu      sync.Mutex
	below   net.Conn // what the request at hand goes over; nil between requests

	out     []byte // the request
	written int    // bytes of it that were handed to the connection
	ready   *conn  // an idle connection that was found for it

	cn         *conn // of the response at hand; nil where there is none
	framing    framing
	untilClose bool // the body ends with the connection
	reusable   bool // the connection may serve another request once the body was read to its end
	answered   bool // bytes of a response were seen
	closed     bool // the server has closed the connection in good order
	draining   bool // LimitDrain was called
	limited    bool // the connection has the deadline that follows from that
	stamp      Stamp

	head  *bufio.Reader // for parsing response heads
	bytes bytes.Reader
}

// NewExchange implements Transport.
func (t *http1) NewExchange(ctx context.Context, clock *precise.Clock) Exchange {
	x := &exchange1{transport: t, clock: clock, ctx: ctx, head: bufio.NewReaderSize(nil, 1024)}
	x.unwatch = context.AfterFunc(ctx, x.cancel)
	return x
}

// Close implements Exchange.
func (x *exchange1) Close() { x.unwatch() }

// longAgo is a deadline that wakes whoever waits on a connection.
var longAgo = time.Unix(1, 0)

// cancel wakes the request at hand from whatever it waits for; its context has ended.
func (x *exchange1) cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.below != nil {
		x.below.SetDeadline(longAgo)
	}
}

// attach puts the request at hand on a connection, which is cancelled if the context ends, or has ended.
func (x *exchange1) attach(below net.Conn) {
	x.mu.Lock()
	x.below = below
	x.mu.Unlock()
	if x.ctx.Err() != nil {
		x.cancel()
	}
}

// detach takes it off again; false if it was cancelled, so that the connection can serve no other request.
func (x *exchange1) detach() bool {
	x.mu.Lock()
	x.below = nil
	x.mu.Unlock()
	return x.ctx.Err() == nil
}

// Encode implements Exchange: it builds what will be written, and looks for an idle connection.
func (x *exchange1) Encode(body []byte) {
	x.out = append(x.out[:0], x.transport.head...)
	x.out = strconv.AppendInt(x.out, int64(len(body)), 10)
	x.out = append(x.out, "\r\n\r\n"...)
	x.out = append(x.out, body...)
	x.ready = x.transport.take()
}

// Release implements Exchange.
func (x *exchange1) Release() {
	if x.ready != nil {
		x.transport.give(x.ready)
		x.ready = nil
	}
}

// RoundTrip implements Exchange.
func (x *exchange1) RoundTrip(s *Sending) (Head, error) {
	cn := x.ready
	x.ready = nil
	if cn == nil {
		cn = x.transport.take() // one may have come free since
	}
	for {
		fresh := cn == nil
		if fresh {
			var err error
			start := x.clock.Now()
			if cn, err = x.transport.open(x.ctx, x.clock); err != nil {
				s.Connecting += max(x.clock.Now()-start, 1)
				return Head{}, &Error{Connecting, err}
			}
			x.transport.opened()
		}
		if cn.connectTime > 0 {
			s.Connecting += cn.connectTime
			s.Opened, s.Ahead = true, !fresh
			cn.connectTime = 0
		}
		if err := x.ctx.Err(); err != nil {
			cn.Close()
			return Head{}, &Error{Connecting, err}
		}
		head, failed := x.send(cn, s)
		if failed == nil {
			return head, nil
		}
		// A server may close an idle connection just as the request sets out on it. Where none of it was received it
		// may be sent again, once, on a new connection; else it may be what the server failed at.
		unread := failed.Step == Writing && x.written == 0 || x.closed && cn.unread()
		again := !fresh && unread && !x.answered && x.ctx.Err() == nil && failed.Step != TimedOut
		x.detach()
		x.cn = nil
		cn.Close()
		if !again {
			return Head{}, failed
		}
		cn = nil
		s.Retried = true
		s.Connecting += max(x.clock.Now()-s.At, 1)
	}
}

// send sends the request over one connection, and reads the head of the response.
func (x *exchange1) send(cn *conn, s *Sending) (Head, *Error) {
	x.cn = cn
	x.answered, x.closed, x.draining, x.limited, x.reusable = false, false, false, false, false
	if t := x.transport.timeout; t > 0 {
		cn.below.SetDeadline(time.Now().Add(t))
	}
	x.attach(cn.below) // only now, so that a cancellation takes precedence over the deadline
	s.At = x.clock.Now()
	n, writeErr := cn.Write(x.out)
	x.written = n
	x.closed = writeErr != nil && closedByPeer(writeErr)
	if writeErr != nil && (errors.Is(writeErr, os.ErrDeadlineExceeded) || !x.readEarlyResponse()) {
		return Head{}, x.failed(Writing, "sending the request", writeErr)
	}
	resp, failed := x.readHead()
	if failed != nil {
		return Head{}, failed
	}
	x.framing = framing{left: resp.ContentLength, done: resp.ContentLength == 0}
	if slices.Contains(resp.TransferEncoding, "chunked") {
		x.framing = framing{chunked: true}
	}
	x.untilClose = !x.framing.chunked && x.framing.left < 0
	x.reusable = writeErr == nil && !resp.Close && resp.StatusCode != http.StatusSwitchingProtocols
	return Head{resp.StatusCode, resp.Header}, nil
}

// readEarlyResponse reads what came of a response to a request that could not be written, false for nothing: a server
// may answer before it has read everything (413, 401) and close, and its response says more than the error.
func (x *exchange1) readEarlyResponse() bool {
	x.LimitDrain()
	return x.read() == nil
}

// Next implements Exchange.
func (x *exchange1) Next() ([]byte, Stamp, error) {
	for {
		for cn := x.cn; cn.r < cn.w && !x.framing.done; {
			body, used, err := x.framing.next(cn.buf[cn.r:cn.w])
			cn.r += used
			if err != nil {
				return nil, x.stamp, &Error{Parsing, err}
			}
			if len(body) > 0 {
				return body, x.stamp, nil
			}
		}
		if x.framing.done {
			return nil, x.stamp, io.EOF
		}
		if err := x.read(); err != nil {
			if x.untilClose && errors.Is(err, io.EOF) {
				return nil, x.stamp, io.EOF
			}
			return nil, x.stamp, x.failed(Reading, "reading the response", err)
		}
	}
}

// LimitDrain implements Exchange.
func (x *exchange1) LimitDrain() { x.draining = true }

// End implements Exchange.
func (x *exchange1) End() {
	cn := x.cn
	if cn == nil {
		return
	}
	x.cn = nil
	if !x.detach() || !x.reusable || !x.framing.done || cn.r != cn.w {
		cn.Close()
		return
	}
	if x.limited || x.transport.timeout > 0 {
		cn.below.SetDeadline(time.Time{})
	}
	x.transport.give(cn)
}

// failed says how a connection failed: by a time limit, or by its end.
func (x *exchange1) failed(step Step, doing string, err error) *Error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{TimedOut, fmt.Errorf("%s: the time limit of %v is over", doing, x.transport.timeout)}
	case errors.Is(err, io.EOF):
		return &Error{step, fmt.Errorf("%s: the server closed the connection", doing)}
	}
	return &Error{step, fmt.Errorf("%s: %w", doing, err)}
}

// readHead reads up to the end of the response's head, and past heads of the 1xx kind.
func (x *exchange1) readHead() (*http.Response, *Error) {
	cn := x.cn
	interim := 0
	for scanned := 0; ; {
		unread := cn.buf[cn.r:cn.w]
		end := headEnd(unread, scanned)
		if end < 0 {
			if len(unread) >= 5 && !bytes.HasPrefix(unread, []byte("HTTP/")) {
				begin := unread[:min(len(unread), shownOfHead)]
				return nil, &Error{Parsing, fmt.Errorf("not an HTTP response, it begins with %q", begin)}
			}
			if len(unread) > maxHead {
				return nil, &Error{Parsing, fmt.Errorf("the response's head exceeds %d KiB", maxHead>>10)}
			}
			scanned = max(0, len(unread)-3)
			if err := x.read(); err != nil {
				return nil, x.failed(Reading, "waiting for the response", err)
			}
			continue
		}
		x.bytes.Reset(unread[:end])
		x.head.Reset(&x.bytes)
		resp, err := http.ReadResponse(x.head, postRequest)
		if err != nil {
			text := err.Error() // with the whole line that is not understood
			return nil, &Error{Parsing, errors.New("not an HTTP response: " + text[:min(len(text), shownOfHead)])}
		}
		if err := checkStatus(resp.StatusCode); err != nil {
			return nil, &Error{Parsing, err}
		}
		cn.r += end
		scanned = 0
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
		if interim++; interim > maxInterim {
			return nil, &Error{Parsing, fmt.Errorf("more than %d responses of the 1xx kind came, and no final one",
				maxInterim)}
		}
	}
}

// shownOfHead bounds how much of what is not HTTP an error holds. Whoever shows it takes secrets out and shortens it,
// in this order: half of a secret could no longer be found.
const shownOfHead = 4 << 10

// postRequest tells http.ReadResponse what it is that is answered.
var postRequest = &http.Request{Method: http.MethodPost}

// headEnd returns the length of a response's head with its blank line, −1 if that has not come yet.
func headEnd(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		if b[i] != '\n' {
			continue
		}
		rest := b[i+1:]
		if len(rest) > 0 && rest[0] == '\n' {
			return i + 2
		}
		if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return i + 3
		}
	}
	return -1
}

// read reads once from the connection and takes the stamps of what came.
func (x *exchange1) read() error {
	if x.draining && !x.limited {
		x.limited = true
		x.cn.below.SetReadDeadline(time.Now().Add(DrainTime))
		if x.ctx.Err() != nil { // and perhaps has set its deadline before
			x.cancel()
		}
	}
	if err := x.cn.fill(); err != nil {
		x.closed = x.closed || closedByPeer(err)
		return err
	}
	x.answered = true
	now := x.clock.Now()
	x.stamp = Stamp{At: now, Read: now}
	if s := x.cn.stamped; s != nil && s.Received() != 0 {
		x.stamp.At, x.stamp.Kernel = x.clock.Received(s.Received(), now)
	}
	return nil
}
