package loadgen

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// racingServer answers each request, and closes the connections that lie idle when told to.
type racingServer struct {
	*httptest.Server
	mu       sync.Mutex
	conns    map[net.Conn]bool
	requests int
	dropped  bool // the next request is read, and its connection closed without an answer
}

func newRacingServer(t *testing.T, http2 bool) *racingServer {
	s := &racingServer{conns: map[net.Conn]bool{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		s.requests++
		drop := s.dropped && s.requests > 1
		s.mu.Unlock()
		if drop {
			s.closeAll()
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, completion("a"))
	}))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns[c] = state != http.StateClosed && state != http.StateHijacked
	}
	if http2 {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Config.Protocols.SetHTTP1(true)
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// closeAll closes the connections as a server does whose patience with idle ones is over.
func (s *racingServer) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, open := range s.conns {
		if open {
			c.Close()
		}
	}
}

// hooked is a connection that calls a function before each write.
type hooked struct {
	*net.TCPConn
	before func()
}

func (h *hooked) Write(p []byte) (int, error) {
	h.before()
	return h.TCPConn.Write(p)
}

// A server closes its idle connections at the very moment at which a request sets out: it is sent again, whatever
// speaks over the connection, and the client is not late by it. One that the server has read is not.
func TestIdleRace(t *testing.T) {
	for name, set := range map[string]func(*Target, string){
		"HTTP/1.1": func(*Target, string) {},
		"proxy":    func(target *Target, server string) { target.Proxy, _ = url.Parse(server) },
		"HTTP/2":   func(target *Target, _ string) { target.HTTP2 = true },
		"key": func(target *Target, server string) {
			target.Header.Set("Idempotency-Key", "k")
			target.Proxy, _ = url.Parse(server)
		},
	} {
		for _, dropped := range []bool{false, true} {
			s := newRacingServer(t, name == "HTTP/2")
			s.dropped = dropped
			armed := make(chan struct{}, 1)
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := (&net.Dialer{}).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &hooked{c.(*net.TCPConn), func() {
					select {
					case <-armed:
						s.closeAll()
					default:
					}
				}}, nil
			}
			target := Target{URL: s.URL, Header: http.Header{}, Dial: dial}
			set(&target, s.URL)
			c := newClient(t, target)
			if a := post(t.Context(), t, c, "{}"); a.Status != Completed {
				t.Fatalf("%s: %v %q", name, a.Status, a.Error)
			}
			time.Sleep(20 * time.Millisecond) // for HTTP/2's settings and windows to be settled
			if !dropped {
				armed <- struct{}{}
			}
			a := post(t.Context(), t, c, "{}")
			s.mu.Lock()
			n := s.requests
			s.mu.Unlock()
			switch {
			case dropped && (a.Status != Errored || a.Flags&Retried != 0 || n != 2):
				t.Errorf("%s, read and dropped: %v %q, flags %b, %d requests; want an error and 2 requests",
					name, a.Status, a.Error, a.Flags, n)
			case !dropped && (a.Status != Completed || a.Flags&Retried == 0 || n != 2):
				t.Errorf("%s, closed while idle: %v %v %q, flags %b, %d requests; want another try and 2 requests",
					name, a.Status, a.Err, a.Error, a.Flags, n)
			case !dropped && a.OwnDelay() > a.SendDelay()-time.Duration(a.Connecting):
				t.Errorf("%s: the other try is counted as the client's delay: %v of %v, %d ns for the connection",
					name, a.OwnDelay(), a.SendDelay(), a.Connecting)
			}
		}
	}
}
