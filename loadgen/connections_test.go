package loadgen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/loadgen/transport"
)

func TestClosedIdleConnections(t *testing.T) {
	good := chunkedHead + chunked(completion("a"))

	t.Run("closed before the request", func(t *testing.T) {
		gone := make(chan struct{}, 1)
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			io.WriteString(c, good)
			c.Close()
			gone <- struct{}{}
		})
		c := newClient(t, target)
		for range 3 {
			if a := post(t.Context(), t, c, "{}"); a.Status != Completed || a.Flags&NewConnection == 0 {
				t.Fatalf("%v %q, flags %b", a.Status, a.Error, a.Flags)
			}
			<-gone
			time.Sleep(5 * time.Millisecond) // for the FIN
		}
		if n := connections.Load(); n != 3 {
			t.Errorf("%d connections, want 3", n)
		}
	})

	// From here on the second request reaches a connection that is still open, and is closed by it.
	second := func(last string) (Target, *atomic.Int32, *atomic.Int32) {
		var requests atomic.Int32
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			for n := 0; request(r) != nil; n++ {
				requests.Add(1)
				if n == 1 {
					io.WriteString(c, last)
					return
				}
				io.WriteString(c, good)
			}
		})
		return target, connections, &requests
	}
	t.Run("closed after the request was read: not sent again", func(t *testing.T) {
		target, _, requests := second("")
		c := newClient(t, target)
		post(t.Context(), t, c, "{}")
		a := post(t.Context(), t, c, "{}")
		if a.Status != Errored || a.Err != ErrReset || a.Flags&Retried != 0 || requests.Load() != 2 {
			t.Errorf("%v %v %q, flags %b, %d requests", a.Status, a.Err, a.Error, a.Flags, requests.Load())
		}
	})
	for name, part := range map[string]string{
		"a byte": "H", "a head of the 1xx kind": "HTTP/1.1 100 Continue\r\n\r\n", "a head": chunkedHead,
	} {
		t.Run("closed after "+name+": not sent again", func(t *testing.T) {
			target, _, requests := second(part)
			c := newClient(t, target)
			post(t.Context(), t, c, "{}")
			a := post(t.Context(), t, c, "{}")
			if a.Status != Errored || a.Err != ErrReset || a.Flags&Retried != 0 || requests.Load() != 2 {
				t.Errorf("%v %v %q, flags %b, %d requests", a.Status, a.Err, a.Error, a.Flags, requests.Load())
			}
		})
	}
	t.Run("a fresh connection is never tried again", func(t *testing.T) {
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) { request(r) })
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Status != Errored || a.Err != ErrReset || connections.Load() != 1 {
			t.Errorf("%v %v after %d connections", a.Status, a.Err, connections.Load())
		}
	})
	t.Run("unasked bytes make a connection unfit", func(t *testing.T) {
		unasked := make(chan bool, 2) // were written: on the loopback, they are there to be read then
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			for request(r) != nil {
				io.WriteString(c, good)
				io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n")
				unasked <- true
			}
		})
		c := newClient(t, target)
		for range 2 {
			if a := post(t.Context(), t, c, "{}"); a.Status != Completed {
				t.Errorf("%v %q", a.Status, a.Error)
			}
			<-unasked
		}
		if connections.Load() != 2 {
			t.Errorf("%d connections, want 2", connections.Load())
		}
	})
}

// quick fails a test in which something took so long that it must have hung.
func quick(t *testing.T, start time.Time, limit time.Duration) {
	t.Helper()
	if d := time.Since(start); d > limit {
		t.Errorf("took %v, want less than %v", d, limit)
	}
}

func TestTimeLimits(t *testing.T) {
	t.Parallel()
	silent := func(prefix string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, r *bufio.Reader) {
			request(r)
			io.WriteString(c, prefix)
			r.ReadByte() // until the client goes
		}
	}
	ok := completion("a", "b")

	for name, prefix := range map[string]string{
		"no head": "", "half a head": "HTTP/1.1 200",
		"in the stream": chunkedHead + strings.TrimSuffix(chunked(ok[:300]), "0\r\n\r\n"),
	} {
		t.Run("request timeout, "+name, func(t *testing.T) {
			target, _ := server(t, silent(prefix))
			target.RequestTimeout = 60 * time.Millisecond
			start := time.Now()
			a := post(t.Context(), t, newClient(t, target), "{}")
			if a.Status != Errored || a.Err != ErrTimeout || !strings.Contains(a.Error, "60ms") ||
				a.Flags&Retried != 0 {
				t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
			}
			if d := a.End - a.Sent; d < int64(60*time.Millisecond) {
				t.Errorf("ended after %d ns", d)
			}
			quick(t, start, 5*time.Second)
		})
	}
	t.Run("request timeout does not outlive its request", func(t *testing.T) {
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			for n := 0; request(r) != nil; n++ {
				io.WriteString(c, chunkedHead+chunked(ok))
			}
		})
		target.RequestTimeout = 300 * time.Millisecond
		c := newClient(t, target)
		for range 4 {
			if a := post(t.Context(), t, c, "{}"); a.Status != Completed {
				t.Fatalf("%v %q", a.Status, a.Error)
			}
			time.Sleep(120 * time.Millisecond)
		}
		if connections.Load() != 1 {
			t.Errorf("%d connections, want 1", connections.Load())
		}
	})
	for name, prefix := range map[string]string{
		"after [DONE]":            strings.TrimSuffix(chunkedHead+chunked(ok), "0\r\n\r\n"),
		"after [DONE], unchunked": sseHead + "\r\n" + ok,
	} {
		t.Run("kept open "+name, func(t *testing.T) {
			target, _ := server(t, silent(prefix))
			start := time.Now()
			a := post(t.Context(), t, newClient(t, target), "{}")
			if a.Status != Completed || a.TokenEvents != 2 {
				t.Errorf("%v %q, %d tokens", a.Status, a.Error, a.TokenEvents)
			}
			if a.End-a.LastEvent > int64(transport.DrainTime)/2 {
				t.Errorf("the wait for the end of the connection was counted: %d ns", a.End-a.LastEvent)
			}
			quick(t, start, 5*time.Second)
		})
	}
	t.Run("comments for ever after [DONE]", func(t *testing.T) {
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			_, err := io.WriteString(c, sseHead+"\r\n"+ok)
			for err == nil {
				time.Sleep(50 * time.Millisecond)
				_, err = io.WriteString(c, ": ping\n\n")
			}
		})
		start := time.Now()
		if a := post(t.Context(), t, newClient(t, target), "{}"); a.Status != Completed {
			t.Errorf("%v %q", a.Status, a.Error)
		}
		quick(t, start, 5*time.Second)
	})
	for name, prefix := range map[string]string{
		"after an error in the stream": chunkedHead +
			strings.TrimSuffix(chunked("data: {\"error\":\"died\"}\n\n"), "0\r\n\r\n"),
		"in the body of an HTTP error": "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000\r\n\r\ndied",
	} {
		t.Run("kept open "+name, func(t *testing.T) {
			target, _ := server(t, silent(prefix))
			start := time.Now()
			a := post(t.Context(), t, newClient(t, target), "{}")
			if a.Status != Errored || !strings.Contains(a.Error, "died") {
				t.Errorf("%v %q", a.Status, a.Error)
			}
			quick(t, start, 5*time.Second)
		})
	}
	t.Run("connect timeout", func(t *testing.T) {
		target := Target{URL: "http://127.0.0.1:1/", ConnectTimeout: 50 * time.Millisecond,
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }}
		start := time.Now()
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "within 50ms") || a.Sent != 0 {
			t.Errorf("%v %v %q, sent %d", a.Status, a.Err, a.Error, a.Sent)
		}
		quick(t, start, 5*time.Second)
	})
	t.Run("TLS handshake without an answer", func(t *testing.T) {
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
		target.URL = strings.Replace(target.URL, "http://", "https://", 1)
		target.ConnectTimeout = 50 * time.Millisecond
		start := time.Now()
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "within 50ms") {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
		quick(t, start, 5*time.Second)
	})
	t.Run("connection refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		a := post(t.Context(), t, newClient(t, Target{URL: "http://" + l.Addr().String()}), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "refused") {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
}

func TestCancellation(t *testing.T) {
	for name, prefix := range map[string]string{
		"before the head": "",
		"in the stream":   chunkedHead + strings.TrimSuffix(chunked(completion("a", "b")[:300]), "0\r\n\r\n"),
	} {
		for _, timeout := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprintf("%s, request timeout %v", name, timeout), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
					request(r)
					io.WriteString(c, prefix)
					time.AfterFunc(10*time.Millisecond, cancel)
					r.ReadByte() // the client goes
					close(ended)
				})
				target.RequestTimeout = timeout
				start := time.Now()
				a := post(ctx, t, newClient(t, target), "{}")
				if a.Status != Incomplete || a.Err != NoError || a.Error != "Request was cancelled" || a.Sent == 0 {
					t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
				}
				<-ended
				quick(t, start, 5*time.Second)
			})
		}
	}
	t.Run("before it was sent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target := Target{URL: "http://127.0.0.1:1/", Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		if a := post(ctx, t, newClient(t, target), "{}"); a.Status != NotSent || a.Sent != 0 {
			t.Errorf("%v %q, sent %d", a.Status, a.Error, a.Sent)
		}
	})
	t.Run("while a large request is being written", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			time.AfterFunc(20*time.Millisecond, cancel)
			<-ctx.Done() // and reads nothing
		})
		start := time.Now()
		a := post(ctx, t, newClient(t, target), strings.Repeat("x", 32<<20))
		if a.Status != Incomplete {
			t.Errorf("%v %q", a.Status, a.Error)
		}
		quick(t, start, 5*time.Second)
	})
	t.Run("what had failed by itself stays failed", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nno")
			time.AfterFunc(20*time.Millisecond, cancel)
			r.ReadByte()
		})
		if a := post(ctx, t, newClient(t, target), "{}"); a.Status != Errored || a.Err != ErrStatus ||
			a.HTTPStatus != 503 {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
}

// A server may refuse a request before it has read it all, and close: its answer must not be lost behind "broken pipe".
func TestAnswerBeforeTheRequestIsRead(t *testing.T) {
	target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
		r.ReadByte()
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo long")
		c.(*net.TCPConn).CloseWrite()
		time.Sleep(30 * time.Millisecond)
	})
	a := post(t.Context(), t, newClient(t, target), strings.Repeat("x", 16<<20))
	if a.Status != Errored || a.Err != ErrStatus && a.Err != ErrSend && a.Err != ErrReset {
		t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
	}
	if a.Err == ErrStatus && !strings.Contains(a.Error, "413 Request Entity Too Large: too long") {
		t.Errorf("error %q", a.Error)
	}
}

// A name server that does not answer is told from an endpoint that does not.
func TestNoNameServer(t *testing.T) {
	for name, c := range map[string]struct {
		dial func(ctx context.Context, network, address string) (net.Conn, error)
		want string
	}{
		"no name server": {func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			err := &net.DNSError{Err: "i/o timeout", Name: "engine.test", IsTimeout: true}
			return nil, &net.OpError{Op: "dial", Err: err}
		}, "the address of engine.test was not found within 1s: no name server answered"},
		"no answer": {func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
		}, "no connection to engine.test:80 within 1s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, err := NewClient(Target{URL: "http://engine.test/v1", Dial: c.dial, ConnectTimeout: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			m, err := (&Runner{Client: client, VirtualTime: true}).Run(t.Context(),
				Stage{Load: constantLoad(1), MaxRequests: 1, KeepDetails: true}, Hooks{Source: fixedSource})
			if err != nil || m.Records[0].Err != ErrConnect || m.Details[0].Error != c.want {
				t.Errorf("%s: %v, %s", name, err, m.Details[0].Error)
			}
		})
	}
}
