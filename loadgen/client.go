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

// Client holds the open connections to one target. It is safe for concurrent use, and serves any number of stages.
type Client struct {
	transport transport.Transport
	redact    func(string) string
}

// NewClient checks the target and prepares for it. It does not connect. It fails where the URL is not one that can be
// posted to or holds a name or a password, or where a header can't be sent.
func NewClient(t Target) (*Client, error) {
	u, err := url.Parse(t.URL)
	bad := err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == ""
	switch {
	case bad && strings.Contains(t.URL, "@"), err == nil && u.User != nil:
		// The URL is not shown: what stands before the @ may be a password.
		return nil, errors.New("a name and a password belong in a header, not in the target's URL")
	case err != nil:
		var detail *url.Error
		if errors.As(err, &detail) {
			err = detail.Err
		}
		return nil, fmt.Errorf("target %q is not a URL: %w", t.URL, err)
	case bad:
		return nil, fmt.Errorf("target %q is not of the form http://host:port or https://host", t.URL)
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
	c := &Client{redact: t.Redact}
	if c.redact == nil {
		c.redact = func(s string) string { return s }
	}
	if c.transport, err = transport.New(config); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the idle connections.
func (c *Client) Close() { c.transport.Close() }

// StampSource says where the times of the last connection's bytes came from.
func (c *Client) StampSource() StampSource {
	if c.transport.KernelStamps() {
		return KernelStamps
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
