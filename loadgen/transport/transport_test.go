package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/openloop/openloop/internal/precise"
)

func newTransport(t *testing.T, c Config) Transport {
	t.Helper()
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return tr
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// read reads a response to its end.
func read(x Exchange) (string, Stamp, error) {
	var b strings.Builder
	for {
		p, stamp, err := x.Next()
		b.Write(p)
		if err != nil {
			return b.String(), stamp, err
		}
	}
}

// Both transports say the same of the same server.
func TestBothTransports(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Host != "other.test" || r.Header.Get("X-One") != "1" || r.URL.RequestURI() != "/a?b=c" {
			w.WriteHeader(400)
		}
		w.Write(append([]byte("echo "), body...))
	}))
	defer s.Close()
	config := Config{URL: mustURL("http://server.test/a?b=c"),
		Header: http.Header{"X-One": {"1"}, "Host": {"other.test"}},
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
		}}
	proxied := config
	proxied.Proxy = mustURL("http://proxy.test:1") // the server plays the proxy too
	for name, c := range map[string]Config{"http1": config, "net/http": proxied} {
		tr := newTransport(t, c)
		clock := precise.NewClock()
		x := tr.NewExchange(t.Context(), clock)
		for i := range 3 {
			before := clock.Now()
			x.Encode([]byte("body"))
			var sending Sending
			head, err := x.RoundTrip(&sending)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			body, stamp, err := read(x)
			x.End()
			if err != io.EOF || body != "echo body" {
				t.Errorf("%s: %q, %v", name, body, err)
			}
			uri := head.Status == 200 || name == "net/http" // a proxy is asked for the whole URL
			if !uri || sending.Opened != (i == 0) || sending.Opened != (sending.Connecting > 0) || sending.Retried {
				t.Errorf("%s: request %d: status %d, %+v", name, i, head.Status, sending)
			}
			if !(before < sending.At && sending.At <= stamp.At && stamp.At <= stamp.Read && stamp.Read <= clock.Now()) {
				t.Errorf("%s: request %d: sent at %d, read at %+v", name, i, sending.At, stamp)
			}
		}
		if n := tr.Connections(); n != 1 {
			t.Errorf("%s: %d connections are open, want 1", name, n)
		}
		x.Encode(nil)
		x.Release()
		x.Close()
		if n := tr.Connections(); n != 1 {
			t.Errorf("%s: %d connections after a request that was not sent, want 1", name, n)
		}
		tr.Close()
		for deadline := time.Now().Add(5 * time.Second); tr.Connections() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d connections after Close", name, tr.Connections())
			}
		}
	}
}

// New connections are limited per second, whatever speaks over them.
func TestConnectionsAreLimited(t *testing.T) {
	refused := errors.New("refused")
	for _, http2 := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			tr := newTransport(t, Config{URL: mustURL("http://server.test/"), HTTP2: http2,
				Dial: func(context.Context, string, string) (net.Conn, error) { dials++; return nil, refused }})
			limit := rate.NewLimiter(1, 1)
			switch tr := tr.(type) {
			case *http1:
				tr.dialer.limit = limit
			case *netHTTP:
				tr.dialer.limit = limit
			}
			x := tr.NewExchange(t.Context(), precise.NewClock())
			start := time.Now()
			for range 4 {
				x.Encode(nil)
				var failed *Error
				if _, err := x.RoundTrip(new(Sending)); !errors.As(err, &failed) || failed.Step != Connecting ||
					!errors.Is(err, refused) {
					t.Errorf("%v", err)
				}
				x.End()
			}
			if d := time.Since(start); dials != 4 || d != 3*time.Second {
				t.Errorf("HTTP/2 %v: %d connections tried in %v, want 4 in 3 s", http2, dials, d)
			}
		})
	}
}

// The zone of an IPv6 address means something on this machine alone.
func TestHostHasNoZone(t *testing.T) {
	for in, want := range map[string]string{
		"http://[fe80::1%25eth0]:8000/v1": "Host: [fe80::1]:8000\r\n", "http://[::1]:8000/v1": "Host: [::1]:8000\r\n",
		"http://[fe80::1%25eth0]/v1": "Host: [fe80::1]\r\n", "http://host/v1": "Host: host\r\n",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		transport, err := New(Config{URL: u, ConnectTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if head := string(transport.(*http1).head); !strings.Contains(head, want) {
			t.Errorf("%s: %q does not hold %q", in, head, want)
		}
		transport.Close()
	}
}
