package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/loadgen/transport"
)

// Target is one endpoint and how it is reached.
type Target struct {
	// URL is where requests are posted, path included: http://host:8000/v1/chat/completions. A name and a password do
	// not belong in it, but in the header.
	URL    string
	Header http.Header // sent with every request
	TLS    *tls.Config // nil: the system's roots, verified

	// HTTP2 asks for HTTP/2 by ALPN. Requests then go through net/http, as they do where there is a Proxy: the send
	// stamp is the one of net/http's GotConn, and received bytes are stamped when the program has them.
	HTTP2 bool
	Proxy *url.URL // nil: none

	ConnectTimeout time.Duration // for DNS, TCP and TLS together; 0: 5 s
	RequestTimeout time.Duration // from Sent to the end of the response; 0: none

	// Redact takes secrets out of texts that the server made, before they reach a Detail or an error. nil: there are
	// none.
	Redact func(string) string

	// Dial opens connections in place of the network: for tests in memory.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client holds the open connections to its targets. It is safe for concurrent use, and serves any number of stages.
type Client struct {
	routes []route
	// way is which route a request takes, by its class and then its target; empty: the first.
	way [][]uint8
}

// route is a target, and what is sent there with every request.
type route struct {
	transport transport.Transport
	redact    func(string) string
	dialect   stream.Dialect // of its answers
}

// mostRoutes is how many targets a client may have, classes with headers of their own counted for each.
const mostRoutes = 255

// NewClient checks the target and prepares for it. It does not connect. It fails where the URL is not one that can be
// posted to or holds a name or a password, or where a header can't be sent.
func NewClient(t Target) (*Client, error) { return NewClients([]Target{t}, nil) }

// NewClients is NewClient for several targets, among which each request names its own. classes are the same targets as
// the classes of a mix are sent there, with headers of their own: nil for a class that has none.
func NewClients(targets []Target, classes [][]Target) (*Client, error) {
	c := &Client{}
	add := func(t Target) (uint8, error) {
		if len(c.routes) == mostRoutes {
			return 0, fmt.Errorf("more than %d targets, classes with headers of their own counted for each", mostRoutes)
		}
		r, err := newRoute(t)
		if err != nil {
			return 0, err
		}
		c.routes = append(c.routes, r)
		return uint8(len(c.routes) - 1), nil
	}
	addAll := func(targets []Target) (way []uint8, err error) {
		for _, t := range targets {
			at, err := add(t)
			if err != nil {
				c.Close()
				return nil, err
			}
			way = append(way, at)
		}
		return way, nil
	}
	plain, err := addAll(targets)
	if err != nil {
		return nil, err
	}
	c.way = append(c.way, plain) // of requests without a class
	for _, own := range classes {
		way := plain
		if own != nil {
			if way, err = addAll(own); err != nil {
				return nil, err
			}
		}
		c.way = append(c.way, way)
	}
	return c, nil
}

// route is which one a request takes.
func (c *Client) route(r *Request) uint8 { return c.way[r.Class][r.Target] }

// check says what is wrong with a request: its class or its target is not the client's.
func (c *Client) check(r *Request) error {
	if int(r.Class) >= len(c.way) || int(r.Target) >= len(c.way[r.Class]) {
		return fmt.Errorf("a request of class %d to target %d: there is none", r.Class, r.Target)
	}
	return nil
}

// connections is how many are open.
func (c *Client) connections() (n int) {
	for _, r := range c.routes {
		n += r.transport.Connections()
	}
	return n
}

func newRoute(t Target) (r route, err error) {
	u, err := url.Parse(t.URL)
	bad := err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == ""
	switch {
	case bad && strings.Contains(t.URL, "@"), err == nil && u.User != nil:
		// The URL is not shown: what stands before the @ may be a password.
		return r, errors.New("a name and a password belong in a header, not in the target's URL")
	case err != nil:
		var detail *url.Error
		if errors.As(err, &detail) {
			err = detail.Err
		}
		return r, fmt.Errorf("target %q is not a URL: %w", t.URL, err)
	case bad:
		return r, fmt.Errorf("target %q is not of the form http://host:port or https://host", t.URL)
	}
	config := transport.Config{
		URL: u, Header: t.Header.Clone(), TLS: t.TLS, HTTP2: t.HTTP2, Proxy: t.Proxy, Dial: t.Dial,
		ConnectTimeout: t.ConnectTimeout, RequestTimeout: t.RequestTimeout,
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{}).DialContext
	}
	if config.Header == nil {
		config.Header = http.Header{}
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "text/event-stream, application/json", "User-Agent": "openloop",
	} {
		if config.Header.Get(name) == "" {
			config.Header.Set(name, value)
		}
	}
	r.redact, r.dialect = t.Redact, stream.DialectOf(u.Path)
	if r.redact == nil {
		r.redact = func(s string) string { return s }
	}
	r.transport, err = transport.New(config)
	return r, err
}

// Close closes the idle connections.
func (c *Client) Close() {
	for _, r := range c.routes {
		r.transport.Close()
	}
}

// StampSource says where the times of the last connection's bytes came from.
func (c *Client) StampSource() StampSource {
	for _, r := range c.routes {
		if r.transport.KernelStamps() {
			return KernelStamps
		}
	}
	return UserStamps
}

// StampSource says where the times of received bytes come from.
type StampSource string

// The sources.
const (
	KernelStamps StampSource = "kernel (SO_TIMESTAMPING, software receive)"
	UserStamps   StampSource = "user space, right after the read"
)
