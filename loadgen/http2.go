package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
)

// useNetHTTP decides whether exchanges go through net/http: for HTTP/2, and where a proxy stands between.
func (c *Client) useNetHTTP(u *url.URL) error {
	proxied := false
	if c.target.Proxy != nil {
		proxy, err := c.target.Proxy(&http.Request{URL: u})
		if err != nil {
			return fmt.Errorf("proxy for %s: %w", u.Host, err)
		}
		proxied = proxy != nil
	}
	if !c.target.HTTP2 && !proxied {
		return nil
	}
	t := &http.Transport{
		Proxy:               c.target.Proxy,
		DialContext:         c.target.Dial,
		TLSClientConfig:     c.tls,
		TLSHandshakeTimeout: c.target.ConnectTimeout,
		MaxIdleConnsPerHost: 1 << 20, // the default of 2 would open a connection for nearly every request
		DisableCompression:  true,
		Protocols:           new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	if c.target.HTTP2 {
		t.Protocols.SetHTTP2(true)
		// Without TLS there is no ALPN to ask by: HTTP/2 is then spoken at once, and nothing else.
		if u.Scheme == "http" && !proxied {
			t.Protocols.SetHTTP1(false)
			t.Protocols.SetUnencryptedHTTP2(true)
		}
	}
	c.viaNet = t
	return nil
}

// doNetHTTP is one exchange through net/http. Bytes are stamped in user space, right after the read: one connection's
// reads serve many streams.
func (x *exchange) doNetHTTP(ctx context.Context, body []byte) {
	c, r := x.client, x.rec
	if t := c.target.RequestTimeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t, os.ErrDeadlineExceeded)
		defer cancel()
	}
	var connectStart int64
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { connectStart = x.clock.now() },
		GotConn: func(info httptrace.GotConnInfo) {
			// The request's first byte is written next, by this goroutine's order.
			r.Sent = x.clock.now()
			if !info.Reused {
				r.Flags |= NewConnection
				r.Connecting = r.Sent - connectStart
			}
		},
	}
	x.bytes.Reset(body)
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, c.target.URL, &x.bytes)
	if err != nil {
		x.fail(ErrSend, err)
		return
	}
	req.Header = c.target.Header
	req.Host = c.host
	resp, err := c.viaNet.RoundTrip(req)
	if err != nil {
		kind := ErrReset
		if r.Sent == 0 {
			kind = ErrConnect
		}
		x.failNet(ctx, kind, err)
		return
	}
	defer resp.Body.Close()
	r.HTTPStatus = int16(resp.StatusCode)
	kind := x.classify(resp)
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		x.user = x.clock.now()
		x.stamp, x.kernel = x.user, false
		if n > 0 && !x.takeBody(kind, buf[:n]) {
			return
		}
		if errors.Is(err, io.EOF) {
			x.endBody(kind, resp)
			return
		}
		if err != nil {
			if !x.done {
				x.failNet(ctx, ErrReset, err)
			}
			return
		}
	}
}

func (x *exchange) failNet(ctx context.Context, kind ErrorKind, err error) {
	if context.Cause(ctx) == os.ErrDeadlineExceeded {
		x.fail(ErrTimeout, fmt.Errorf("the time limit of %v is over", x.client.target.RequestTimeout))
		return
	}
	x.fail(kind, err)
}
