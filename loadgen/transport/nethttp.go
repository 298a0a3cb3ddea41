package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// netHTTP goes through net/http. Bytes are stamped in user space, right after the read: one connection's reads serve
// many streams.
type netHTTP struct {
	config    Config
	host      string
	dialer    dialer
	transport *http.Transport
	open      atomic.Int64 // connections
}

func newNetHTTP(c Config, host string) *netHTTP {
	t := &netHTTP{config: c, host: host, dialer: newDialer(c)}
	t.transport = &http.Transport{
		DialContext:         t.dial,
		TLSClientConfig:     c.TLS,
		TLSHandshakeTimeout: c.ConnectTimeout,
		MaxIdleConnsPerHost: 1 << 20, // the default of 2 would open a connection for nearly every request
		DisableCompression:  true,

		MaxResponseHeaderBytes: maxHead,
		Protocols:              Protocols(c.URL.Scheme, c.HTTP2, c.Proxy != nil),
	}
	if c.Proxy != nil {
		t.transport.Proxy = http.ProxyURL(c.Proxy)
	}
	// With these headers net/http sends a request again that the server may have read. It knows them by this spelling;
	// names of headers mean the same in any.
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := c.Header[name]; ok {
			delete(c.Header, name)
			c.Header[strings.ToLower(name)] = values
		}
	}
	return t
}

// Protocols is what net/http may speak. Without TLS there is no ALPN to ask by: HTTP/2 is then spoken at once, and
// nothing else.
func Protocols(scheme string, http2, proxied bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!http2 || scheme == "https" || proxied)
	p.SetHTTP2(http2)
	p.SetUnencryptedHTTP2(http2 && scheme == "http" && !proxied)
	return p
}

// dial opens a connection within the connect time limit, and counts it for as long as it is open.
func (t *netHTTP) dial(ctx context.Context, _, address string) (net.Conn, error) {
	c, err := t.dialer.open(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	t.open.Add(1)
	return &countedConn{Conn: c, closed: sync.OnceFunc(func() { t.open.Add(-1) })}, nil
}

// countedConn tells of its end, and what the peer had acknowledged until then.
type countedConn struct {
	net.Conn
	closed  func()
	written atomic.Uint64 // bytes

	mu     sync.Mutex
	ended  bool
	byPeer bool   // … which the peer closed in good order
	acked  uint64 // at its end
	knows  bool   // acked is known
}

// Write implements net.Conn.
func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(uint64(n))
	if err != nil {
		c.end(err)
	}
	return n, err
}

func (c *countedConn) Close() error {
	c.closed()
	c.end(nil)
	return c.Conn.Close()
}

// Read notes the end of the connection before net/http closes it.
func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end(err)
	}
	return n, err
}

// end notes with which error the connection ended; nil: it is closed from here.
func (c *countedConn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.ended, c.byPeer = true, closedByPeer(err)
		c.acked, c.knows = acked(c.Conn)
	}
}

// unread says of a connection that the peer has closed whether it can't have read anything of what was written after
// the first so many bytes: its kernel has acknowledged none of it. (A reset acknowledges nothing, and so says nothing.)
func (c *countedConn) unread(after uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	const syn = 1 // counts as a byte
	return c.byPeer && c.knows && c.acked <= after+syn
}

// countedBelow finds the counted connection below the one that net/http names.
func countedBelow(c net.Conn) *countedConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	counted, _ := c.(*countedConn)
	return counted
}

// WantsConnection implements Transport: net/http opens connections for requests alone.
func (t *netHTTP) WantsConnection() bool { return false }

// OpenConnection implements Transport.
func (t *netHTTP) OpenConnection(context.Context, *precise.Clock) {}

// Connections implements Transport.
func (t *netHTTP) Connections() int { return int(t.open.Load()) }

// KernelStamps implements Transport.
func (t *netHTTP) KernelStamps() bool { return false }

// Close implements Transport.
func (t *netHTTP) Close() { t.transport.CloseIdleConnections() }

// NewExchange implements Transport.
func (t *netHTTP) NewExchange(ctx context.Context, clock *precise.Clock) Exchange {
	return &netExchange{transport: t, ctx: ctx, clock: clock}
}

// netExchange is one request at a time through net/http.
type netExchange struct {
	transport *netHTTP
	ctx       context.Context
	clock     *precise.Clock

	body     []byte
	request  context.Context // of the request at hand
	cancel   context.CancelCauseFunc
	timeout  *time.Timer // RequestTimeout; nil: none
	drain    *time.Timer // DrainTime; nil: not begun
	draining bool
	response *http.Response // nil: none
	stamp    Stamp
	buf      []byte
}

// Encode implements Exchange.
func (x *netExchange) Encode(body []byte) { x.body = body }

// Release implements Exchange.
func (x *netExchange) Release() { x.body = nil }

// Close implements Exchange.
func (x *netExchange) Close() {}

// RoundTrip implements Exchange. The send stamp is the one of net/http's GotConn: the request's first byte is written
// next.
func (x *netExchange) RoundTrip(s *Sending) (Head, error) {
	// A server may close an idle connection just as the request sets out on it. Each other one may prove closed too;
	// one that was opened for the request can't.
	const mostAttempts = 8
	for n := 1; ; n++ {
		head, untouched, err := x.attempt(s)
		if err == nil {
			return head, nil
		}
		if !untouched || x.ctx.Err() != nil || n == mostAttempts {
			return Head{}, err
		}
		x.stopTimers()
		s.Retried = true
	}
}

// waited is how long it takes to get an idle connection at most; beyond that, one was waited for: another request was
// opening it, or using it.
const waited = int64(time.Millisecond)

// attempt sends the request once. Where it fails, untouched says that it went over a connection that had served others,
// and that none of it was received.
func (x *netExchange) attempt(s *Sending) (head Head, untouched bool, failed *Error) {
	c := &x.transport.config
	x.request, x.cancel = context.WithCancelCause(x.ctx)
	// A timer that fires as the request ends runs beside End: what it uses is its own.
	cancel, dialer := x.cancel, &x.transport.dialer
	if t := c.RequestTimeout; t > 0 {
		x.timeout = time.AfterFunc(t, func() { cancel(os.ErrDeadlineExceeded) })
	}
	// The time limit for connecting holds for the request too: what it waits for may be the connection of another one,
	// the proxy's answer, or TLS.
	connecting := time.AfterFunc(c.ConnectTimeout, func() { cancel(dialer.tooLate(c.URL.Host, nil)) })
	defer connecting.Stop()
	var start int64
	var used *countedConn // the connection, where it had served others
	var before uint64     // bytes that were written to it before
	firstAt := s.At       // of the attempt before; 0: none
	trace := &httptrace.ClientTrace{
		GetConn: func(string) {
			start = x.clock.Now()
			connecting.Reset(c.ConnectTimeout)
		},
		GotConn: func(info httptrace.GotConnInfo) {
			connecting.Stop()
			if used = nil; info.Reused {
				if used = countedBelow(info.Conn); used != nil {
					before = used.written.Load()
				}
			}
			now := x.clock.Now()
			switch {
			case s.At != 0: // net/http sends again what a closed connection did not take, and so does RoundTrip
				s.Retried = true
				s.Connecting += now - s.At
			case !info.Reused || now-start > waited:
				s.Connecting = now - start
			}
			s.Opened = s.Opened || !info.Reused
			s.At = now
		},
	}
	// A reader of its own: net/http may still hold it when the response has long been read.
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(x.request, trace), http.MethodPost, c.URL.String(),
		bytes.NewReader(x.body))
	if err != nil {
		return Head{}, false, &Error{Writing, err}
	}
	req.Header, req.Host = c.Header, x.transport.host
	if x.response, err = x.transport.transport.RoundTrip(req); err != nil {
		x.response = nil
		if s.At == firstAt { // it got no connection
			if start > 0 {
				s.Connecting += max(x.clock.Now()-start, 1)
			}
			return Head{}, false, x.failed(Connecting, err)
		}
		untouched = used != nil && context.Cause(x.request) == nil && used.unread(before)
		return Head{}, untouched, x.failed(Reading, err)
	}
	if err := checkStatus(x.response.StatusCode); err != nil {
		return Head{}, false, &Error{Parsing, err}
	}
	return Head{x.response.StatusCode, x.response.Header}, false, nil
}

// Next implements Exchange.
func (x *netExchange) Next() ([]byte, Stamp, error) {
	if x.draining && x.drain == nil {
		cancel := x.cancel
		x.drain = time.AfterFunc(DrainTime, func() { cancel(nil) })
	}
	if x.buf == nil {
		x.buf = make([]byte, 16<<10)
	}
	for {
		n, err := x.response.Body.Read(x.buf)
		if n > 0 || err == io.EOF {
			now := x.clock.Now()
			x.stamp = Stamp{At: now, Read: now}
		}
		switch {
		case n > 0: // an error that came with it comes again
			return x.buf[:n], x.stamp, nil
		case err == io.EOF:
			return nil, x.stamp, io.EOF
		case err != nil:
			return nil, x.stamp, x.failed(Reading, err)
		}
	}
}

// LimitDrain implements Exchange.
func (x *netExchange) LimitDrain() { x.draining = true }

// End implements Exchange.
func (x *netExchange) End() {
	x.stopTimers()
	if x.response != nil {
		x.response.Body.Close()
	}
	*x = netExchange{transport: x.transport, ctx: x.ctx, clock: x.clock, buf: x.buf}
}

// stopTimers ends the request's context, and what would.
func (x *netExchange) stopTimers() {
	x.cancel(nil)
	for _, t := range []*time.Timer{x.timeout, x.drain} {
		if t != nil {
			t.Stop()
		}
	}
}

func (x *netExchange) failed(step Step, err error) *Error {
	switch cause := context.Cause(x.request); {
	case errors.Is(cause, os.ErrDeadlineExceeded):
		return &Error{TimedOut, fmt.Errorf("the time limit of %v is over", x.transport.config.RequestTimeout)}
	case step == Connecting && cause != nil && x.ctx.Err() == nil:
		return &Error{Connecting, cause}
	}
	return &Error{step, err}
}
