package loadgen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen/transport"
)

func streamHandler(texts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Proto", r.Proto)
		for _, event := range strings.SplitAfter(completion(texts...), "\n\n") {
			io.WriteString(w, event)
			w.(http.Flusher).Flush()
		}
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(streamHandler("a", "b"))
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())

	t.Run("a CA of one's own", func(t *testing.T) {
		c := newClient(t, Target{URL: s.URL, TLS: &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}}})
		stamped := 0 // the kernel begins to stamp some time after it is asked to
		for i := 0; i < 3 || i < 1000 && c.StampSource() == KernelStamps && stamped == 0; i++ {
			a := post(t.Context(), t, c, "{}")
			if a.Status != Completed || a.TokenEvents != 2 || a.Flags&NewConnection != 0 != (i == 0) {
				t.Fatalf("request %d: %v %q, flags %b", i, a.Status, a.Error, a.Flags)
			}
			if a.Flags&KernelStamped != 0 {
				stamped++
			}
		}
		if c.StampSource() == KernelStamps && stamped == 0 {
			t.Error("no kernel stamps below TLS")
		}
	})
	t.Run("an unknown CA", func(t *testing.T) {
		a := post(t.Context(), t, newClient(t, Target{URL: s.URL}), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "certificate") || a.Sent != 0 {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
	t.Run("not verified", func(t *testing.T) {
		a := post(t.Context(), t, newClient(t, Target{URL: s.URL, TLS: &tls.Config{InsecureSkipVerify: true}}), "{}")
		if a.Status != Completed {
			t.Errorf("%v %q", a.Status, a.Error)
		}
	})
	t.Run("another host's certificate", func(t *testing.T) {
		target := Target{URL: s.URL, TLS: &tls.Config{RootCAs: roots, ServerName: "other.test"}}
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "other.test") {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
	t.Run("TLS to a server without", func(t *testing.T) {
		plain := httptest.NewServer(streamHandler("a"))
		defer plain.Close()
		a := post(t.Context(), t, newClient(t, Target{URL: strings.Replace(plain.URL, "http:", "https:", 1)}), "{}")
		if a.Status != Errored || a.Err != ErrConnect {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
	t.Run("plain HTTP to a server with TLS", func(t *testing.T) {
		a := post(t.Context(), t, newClient(t, Target{URL: strings.Replace(s.URL, "https:", "http:", 1)}), "{}")
		if a.Status != Errored || a.Err != ErrStatus || a.HTTPStatus != 400 {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
}

func basicAuth(name, password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return r.Header
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	var proto atomic.Value
	var connections atomic.Int32
	inner := streamHandler("a", "b", "c")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto)
		if _, password, _ := r.BasicAuth(); password != "secret" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/open": // kept open after [DONE]
			inner(w, r)
			<-r.Context().Done()
		case "/silent":
			<-r.Context().Done()
		case "/cut":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, completion("a", "b")[:250])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			inner(w, r)
		}
	})
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	plain := httptest.NewUnstartedServer(handler)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	for _, s := range []*httptest.Server{secure, plain} {
		s.Config.ErrorLog = discardLog
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
	}
	secure.StartTLS()
	plain.Start()
	defer secure.Close()
	defer plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())

	for _, s := range []*httptest.Server{secure, plain} {
		target := Target{URL: s.URL, Header: basicAuth("user", "secret"), TLS: &tls.Config{RootCAs: roots}, HTTP2: true}
		c := newClient(t, target)
		connections.Store(0)
		first := post(t.Context(), t, c, "{}")
		var many sync.WaitGroup
		for range 20 {
			many.Go(func() {
				a := post(t.Context(), t, c, "{}")
				if a.Status != Completed || a.TokenEvents != 3 || a.Output != "abc" || a.HTTPStatus != 200 ||
					a.Flags&KernelStamped != 0 || a.Flags&Streamed == 0 {
					t.Errorf("%s: %v %q, %+v", s.URL, a.Status, a.Error, a)
				}
			})
		}
		many.Wait()
		if first.Status != Completed || first.Flags&NewConnection == 0 || first.Connecting <= 0 {
			t.Errorf("%s: first: %v %q, flags %b, connecting %d", s.URL, first.Status, first.Error, first.Flags,
				first.Connecting)
		}
		if p := proto.Load(); p != "HTTP/2.0" || connections.Load() != 1 {
			t.Errorf("%s: %v over %d connections, want HTTP/2.0 over one", s.URL, p, connections.Load())
		}
		if c.StampSource() != UserStamps {
			t.Errorf("stamps by %s", c.StampSource())
		}

		open := target
		open.URL += "/open"
		start := time.Now()
		if a := post(t.Context(), t, newClient(t, open), "{}"); a.Status != Completed ||
			a.End-a.LastEvent > int64(transport.DrainTime)/2 {
			t.Errorf("%s, kept open: %v %q, the end %d ns after the last event",
				s.URL, a.Status, a.Error, a.End-a.LastEvent)
		}
		quick(t, start, 5*time.Second)

		silent := target
		silent.URL += "/silent"
		silent.RequestTimeout = 50 * time.Millisecond
		if a := post(t.Context(), t, newClient(t, silent), "{}"); a.Status != Errored || a.Err != ErrTimeout ||
			!strings.Contains(a.Error, "50ms") {
			t.Errorf("%s, silent: %v %v %q", s.URL, a.Status, a.Err, a.Error)
		}
		silent.RequestTimeout = 0
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if a := post(ctx, t, newClient(t, silent), "{}"); a.Status != Incomplete {
			t.Errorf("%s, cancelled: %v %v %q", s.URL, a.Status, a.Err, a.Error)
		}
		cancel()

		cut := target
		cut.URL += "/cut"
		if a := post(t.Context(), t, newClient(t, cut), "{}"); a.Status != Errored || a.Err != ErrReset ||
			a.TokenEvents != 1 {
			t.Errorf("%s, cut: %v %v %q, %d tokens", s.URL, a.Status, a.Err, a.Error, a.TokenEvents)
		}
		cut.Header = basicAuth("user", "wrong-password")
		if a := post(t.Context(), t, newClient(t, cut), "{}"); a.Status != Errored || a.Err != ErrStatus ||
			a.HTTPStatus != 401 || !strings.Contains(a.Error, "who?") {
			t.Errorf("%s, refused: %v %v %q", s.URL, a.Status, a.Err, a.Error)
		}
	}

	// A server that does not offer HTTP/2 is spoken to by HTTP/1.1.
	old := httptest.NewTLSServer(handler)
	defer old.Close()
	roots.AddCert(old.Certificate())
	a := post(t.Context(), t, newClient(t, Target{
		URL: old.URL, Header: basicAuth("user", "secret"), TLS: &tls.Config{RootCAs: roots}, HTTP2: true,
	}), "{}")
	if p := proto.Load(); a.Status != Completed || p != "HTTP/1.1" {
		t.Errorf("%v %q by %v", a.Status, a.Error, p)
	}
}

func TestProxy(t *testing.T) {
	backend := httptest.NewServer(streamHandler("a", "b"))
	defer backend.Close()
	var seen atomic.Value
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {}, FlushInterval: -1, ErrorLog: discardLog,
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.RequestURI + " " + r.Header.Get("Proxy-Authorization"))
		r.Header.Del("Proxy-Authorization")
		reverse.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	through, err := url.Parse(strings.Replace(proxy.URL, "://", "://user:"+canary+"@", 1))
	if err != nil {
		t.Fatal(err)
	}
	target := Target{URL: backend.URL + "/v1/completions", Proxy: through}
	a := post(t.Context(), t, newClient(t, target), "{}")
	if a.Status != Completed || a.TokenEvents != 2 {
		t.Errorf("%v %q", a.Status, a.Error)
	}
	if s, _ := seen.Load().(string); !strings.HasPrefix(s, target.URL+" Basic ") {
		t.Errorf("the proxy saw %q", s)
	}

	proxy.Close()
	if a := post(t.Context(), t, newClient(t, target), "{}"); a.Status != Errored || a.Err != ErrConnect ||
		strings.Contains(a.Error, canary) {
		t.Errorf("proxy gone: %v %v %q", a.Status, a.Err, a.Error)
	}
}
