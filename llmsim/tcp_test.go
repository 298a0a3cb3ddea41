package llmsim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// waitUntil waits in real time, ten seconds at most.
func waitUntil(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after ten seconds it is not so that %s", what)
		}
	}
}

// TestRealConnections sends over TCP and looks at what only there can go wrong: reuse of connections, TLS, HTTP/2,
// HTTP/1.0, a foreign listener. Times are only checked to be no earlier than they may be.
func TestRealConnections(t *testing.T) {
	cfg := Config{Fixed: true, TTFT: 2 * time.Millisecond, ITL: 100 * time.Microsecond, TruthTokens: true}
	newServer := func(t *testing.T) *Server {
		s, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		return s
	}
	check := func(t *testing.T, s *Server, c *http.Client, url string, proto int, wantReuse bool) {
		reused := 0
		for i := range 20 {
			trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				if info.Reused {
					reused++
				}
			}}
			r, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), http.MethodPost,
				url+"/v1/chat/completions", strings.NewReader(chatBody(30, 20, ignoreEOS)))
			start := time.Now()
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.ProtoMajor != proto {
				t.Fatalf("spoke %s", resp.Proto)
			}
			list, err := events(resp, start)
			if err != nil || len(list) != 23 || list[22].data != "[DONE]" {
				t.Fatalf("request %d: %d events, %v", i, len(list), err)
			}
			if list[1].at < 2*time.Millisecond {
				t.Errorf("first token after %v", list[1].at)
			}
		}
		if wantReuse && reused != 19 {
			t.Errorf("%d of 19 requests used the connection of the one before", reused)
		}
		// The client may see the end of an answer before the server has filed its record.
		waitUntil(t, "all requests are recorded", func() bool { return len(s.Truth()) == 20 })
		for _, r := range s.Truth() {
			if r.Outcome != "length" || r.OutputTokens != 20 || len(r.Tokens) != 20 || !slices.IsSorted(r.Tokens) ||
				r.FirstToken < r.DueFirst ||
				r.LastToken < r.DueLast ||
				r.End < r.LastToken {
				t.Errorf("record %+v", r)
			}
		}
	}

	t.Run("own listener", func(t *testing.T) {
		s := newServer(t)
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		check(t, s, &http.Client{Transport: &http.Transport{}}, s.URL(), 1, true)
	})
	t.Run("as a handler", func(t *testing.T) {
		s := newServer(t)
		ts := httptest.NewServer(s)
		defer ts.Close()
		check(t, s, ts.Client(), ts.URL, 1, true)
	})
	t.Run("TLS and HTTP/2", func(t *testing.T) {
		s := newServer(t)
		ts := httptest.NewUnstartedServer(s)
		ts.EnableHTTP2 = true
		ts.StartTLS()
		defer ts.Close()
		check(t, s, ts.Client(), ts.URL, 2, true)
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		s := newServer(t)
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := chatBody(5, 4, ignoreEOS)
		fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		data, err := io.ReadAll(conn)
		if err != nil || !bytes.HasSuffix(data, []byte("\n\ndata: [DONE]\n\n")) ||
			bytes.Contains(data, []byte("\r\n\r\n1")) {
			t.Errorf("%s, %v", data, err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		s := newServer(t)
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				for range 3 {
					r, _ := http.NewRequest(http.MethodPost, s.URL()+"/v1/chat/completions",
						strings.NewReader(chatBody(30, 50, ignoreEOS)))
					resp, err := c.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					if list, err := events(resp, time.Now()); err != nil || len(list) != 53 {
						t.Errorf("%d events, %v", len(list), err)
					}
				}
			})
		}
		all.Wait()
	})
	t.Run("stalled reader", func(t *testing.T) {
		cfg := cfg
		cfg.ITL = 10 * time.Microsecond
		s, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		c := &http.Client{
			Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
				if err == nil {
					err = conn.(*net.TCPConn).SetReadBuffer(1 << 17)
				}
				return conn, err
			}},
		}
		r, _ := http.NewRequest(http.MethodPost, s.URL()+"/v1/chat/completions",
			strings.NewReader(chatBody(30, 30_000, ignoreEOS)))
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		// Read nothing until the engine has made all tokens, most of which are beyond what the buffers hold.
		waitUntil(t, "the engine has made all tokens", func() bool { return s.metrics.generated.Load() == 30_000 })
		reading := s.since()
		if list, err := events(resp, time.Now()); err != nil || len(list) != 30_003 {
			t.Errorf("%d events, %v", len(list), err)
		}
		waitUntil(t, "the request is recorded", func() bool { return len(s.Truth()) == 1 })
		truth := s.Truth()[0]
		if truth.OutputTokens != 30_000 || truth.DueLast > reading || truth.LastToken < reading {
			t.Errorf(
				"%d tokens; the last was due at %v, written at %v, and read from %v on: the buffers were never full",
				truth.OutputTokens, time.Duration(truth.DueLast), time.Duration(truth.LastToken),
				time.Duration(reading))
		}
	})
}

func TestCloseCutsWhatRuns(t *testing.T) {
	for _, name := range []string{"fixed?ttft=5ms&itl=1h", "fixed?ttft=1h", "slow", "slow?base=1h"} {
		cfg, err := ParseSpec(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(s.URL()+"/v1/chat/completions", "application/json",
			strings.NewReader(chatBody(5, 1000, ignoreEOS)))
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: the stream ended well", name)
		}
		resp.Body.Close()
		select {
		case err := <-closed:
			if err != nil {
				t.Errorf("%s: close: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: close does not return", name)
		}
	}
}
