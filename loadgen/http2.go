package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"time"
)

// useNetHTTP decides whether exchanges go through net/http: for HTTP/2, and where a proxy stands between.
func (c *Client) useNetHTTP(u *url.URL) error {
	proxied := false
	if c.target.Proxy != nil {
		proxy, err := c.target.Proxy(&http.Request{URL: u})
		if err != nil {
			return fmt.Errorf("proxy for %s: %s", u.Host, hideUserinfo(err.Error()))
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
		Protocols:           protocols(u.Scheme, c.target.HTTP2, proxied),
	}
	c.viaNet = t
	return nil
}

// protocols is what may be spoken. Without TLS there is no ALPN to ask by: HTTP/2 is then spoken at once, and nothing else.
func protocols(scheme string, http2, proxied bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!http2 || scheme == "https" || proxied)
	p.SetHTTP2(http2)
	p.SetUnencryptedHTTP2(http2 && scheme == "http" && !proxied)
	return p
}

// doNetHTTP is one exchange through net/http. Bytes are stamped in user space, right after the read: one connection's
// reads serve many streams.
func (x *exchange) doNetHTTP(body []byte) {
	c, r := x.client, x.rec
	ctx, cancel := context.WithCancelCause(x.ctx)
	defer cancel(nil)
	if t := c.target.RequestTimeout; t > 0 {
		timer := time.AfterFunc(t, func() { cancel(os.ErrDeadlineExceeded) })
		defer timer.Stop()
	}
	var connectStart int64
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { connectStart = x.clock.now() },
		GotConn: func(info httptrace.GotConnInfo) {
			if r.Sent != 0 { // net/http sends again what a closed connection did not take
				r.Flags |= Retried
			}
			// The request's first byte is written next.
			r.Sent = x.clock.now()
			if !info.Reused {
				r.Flags |= NewConnection
				r.Connecting = r.Sent - connectStart
			}
		},
	}
	// A reader of its own: net/http may still hold it when the response has long been read.
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, c.target.URL, bytes.NewReader(body))
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
	kind := x.classify(resp)
	if x.buf == nil {
		x.buf = make([]byte, 16<<10)
	}
	for {
		if !x.tail && (x.done || x.err != nil || kind == errorBody) {
			x.tail = true
			timer := time.AfterFunc(tailTime, func() { cancel(nil) })
			defer timer.Stop()
		}
		n, err := resp.Body.Read(x.buf)
		if n > 0 || err == io.EOF {
			x.user = x.clock.now()
			x.stamp, x.kernel = x.user, false
		}
		if n > 0 && !x.takeBody(kind, x.buf[:n]) {
			x.giveUp(kind, resp)
			return
		}
		if err == io.EOF {
			x.endBody(kind, resp)
			return
		}
		if err != nil {
			if !x.giveUp(kind, resp) {
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
