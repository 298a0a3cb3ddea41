// Package transport carries requests to one server, and brings back the bytes of the responses with the times at which
// they came. What the bytes mean is not its concern.
//
//	http1.go           HTTP/1.1 by hand: the pool of connections, and how they are opened
//	http1_exchange.go  one request over one of them, with its own send stamp and the kernel's receive stamps
//	framing.go         from received bytes to those of the body
//	nethttp.go         the same through net/http, for HTTP/2 and where a proxy stands between
//	dialer.go          what both share: the limits on new connections
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// Config says which server is reached, and how.
type Config struct {
	URL    *url.URL    // where requests are posted, without name and password
	Header http.Header // of every request
	TLS    *tls.Config // for https; nil: the system's roots, verified

	HTTP2 bool     // ask for HTTP/2 by ALPN; without TLS it is spoken at once
	Proxy *url.URL // nil: none

	ConnectTimeout time.Duration // for DNS, TCP and TLS together; above 0
	RequestTimeout time.Duration // from the send stamp to the end of the response; 0: none

	// Dial opens connections.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Transport reaches one server. It is safe for concurrent use.
type Transport interface {
	// NewExchange returns an exchange whose requests are cancelled with the context, and stamped by the clock.
	NewExchange(ctx context.Context, clock *precise.Clock) Exchange

	// WantsConnection asks, before a request is due, whether a connection should be opened for it, so that it need not
	// be late by the time that this takes. If so, OpenConnection must follow.
	WantsConnection() bool
	// OpenConnection opens a connection and lays it among the idle ones. If that fails nothing is lost: the request
	// tries for itself, and says why.
	OpenConnection(ctx context.Context, clock *precise.Clock)

	// Connections counts the connections that are open: those between requests and, where they are shared, all.
	Connections() int
	// KernelStamps is whether the kernel stamps what comes over the connection opened last.
	KernelStamps() bool
	// Close closes the idle connections.
	Close()
}

// Exchange is one request and its response at a time: Encode and then Release, or Encode, RoundTrip, Next until it
// fails or is of no more use, and End. It keeps its buffers for the next request, and is used by one goroutine at a
// time.
type Exchange interface {
	// Encode does what can be done before the request is due. The body must not change until End.
	Encode(body []byte)
	// Release gives back what Encode took, where the request is not to be sent.
	Release()

	// RoundTrip sends the request and reads up to the end of the response's head. What it did is noted in s, also where
	// it fails; the failure is an *Error.
	RoundTrip(s *Sending) (Head, error)
	// Next returns the next bytes of the body and when they came. They are valid until the call after. io.EOF is the
	// body's good end, any other error an *Error; the stamp is then that of what was read last.
	Next() ([]byte, Stamp, error)
	// LimitDrain says that no figure depends on what still comes: it is waited for no longer than DrainTime from the
	// next read on.
	LimitDrain()
	// End ends the request at hand. Its connection serves another one if the response was read to its end.
	End()

	// Close is called where no request follows.
	Close()
}

// Sending is how a request got on its way. Times are ns on the exchange's clock.
type Sending struct {
	At int64 // just before its first byte was written on the chosen connection; 0: never
	// Connecting is how long it took to get a connection, also where there was none to be had: DNS, TCP and TLS, and
	// the attempt on one that proved closed. 0 on one that was open.
	Connecting int64
	Opened     bool // a connection was opened for it
	Ahead      bool // … before it was due: Connecting was not waited for
	Retried    bool // an idle connection proved closed before any of it was received; sent again on another
}

// Head is the part of a response's head that matters here.
type Head struct {
	Status int
	Header http.Header
}

// Stamp is when bytes came, in ns on the exchange's clock.
type Stamp struct {
	At     int64 // by the kernel, else as Read
	Read   int64 // when the program had them
	Kernel bool  // At is the kernel's
}

// DrainTime is how long the rest of a response may take that no figure depends on: what follows [DONE] or an error in
// the stream, the body of an HTTP error. A server that leaves it open is not waited for.
const DrainTime = 500 * time.Millisecond

// Limits on what a server may send before the body. Each is far beyond what a server has a use for.
const (
	maxHead    = 256 << 10 // bytes of a response's head
	maxInterim = 32        // heads of the 1xx kind before it
	maxExtra   = 64 << 10  // bytes of a chunk's extension, and of the trailers
)

// checkStatus refuses what is not an HTTP status (RFC 9110, section 15).
func checkStatus(status int) error {
	if status < 100 {
		return fmt.Errorf("not an HTTP response: its status is %03d", status)
	}
	return nil
}

// closedByPeer says of the error with which a connection ended whether the peer has closed it in good order: its end
// was read, or it came before the reset with which the peer's kernel answers what is sent after it.
func closedByPeer(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) }

// Step is where an exchange failed.
type Step uint8

// The steps.
const (
	Connecting Step = iota // no connection: DNS, TCP or TLS
	Writing                // the request could not be written
	Reading                // the connection ended before the response did
	Parsing                // what came is not HTTP
	TimedOut               // RequestTimeout is over
)

// Error is how an exchange failed.
type Error struct {
	Step Step
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what came back.
func (e *Error) Unwrap() error { return e.Err }

// New returns the transport that a target asks for: net/http for HTTP/2 and proxies, else HTTP/1.1 by hand. It does not
// connect. It fails where a header can't be sent.
func New(c Config) (Transport, error) {
	c.Header = c.Header.Clone()
	if c.Header == nil {
		c.Header = http.Header{}
	}
	host := c.URL.Host
	if begin := strings.IndexByte(host, '%'); begin > 0 && host[0] == '[' { // RFC 6874: a zone is of this machine alone
		host = host[:begin] + host[strings.IndexByte(host, ']'):]
	}
	if h := c.Header.Get("Host"); h != "" {
		host = h
	}
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Connection"} {
		c.Header.Del(name) // the transport's own
	}
	if c.URL.Scheme == "https" {
		c.TLS = c.TLS.Clone()
		if c.TLS == nil {
			c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if c.TLS.ServerName == "" {
			c.TLS.ServerName = c.URL.Hostname()
		}
		c.TLS.NextProtos = nil // what is spoken is decided here
	}
	if c.HTTP2 || c.Proxy != nil {
		return newNetHTTP(c, host), nil
	}
	return newHTTP1(c, host)
}
