package loadgen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// Arrivals beyond the cap wait as records: they take neither a goroutine nor a connection, however many they are.
func TestTheCapBoundsGoroutinesAndConnections(t *testing.T) {
	const most = 50
	w := &wire{answer: serve(time.Hour, 0, 1)} // stuck
	inBubble(t, w, func(t *testing.T, r *Runner) {
		r.MaxConcurrency = most
		run, err := r.Start(t.Context(), Stage{Load: constantLoad(2000), MaxDuration: 5 * time.Second},
			Hooks{Source: fixedSource})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4500 * time.Millisecond)
		// A request, its connection's server, and that connection's reader are three; the rest is the runner's and the
		// test's.
		if n := runtime.NumGoroutine(); n > 3*most+50 {
			t.Errorf("%d goroutines", n)
		}
		measured := run.Wait()
		checkMeasured(t, measured)
		wantCount(t, measured, 0, 0, most, 9999-most)
		if n := w.dials.Load(); n > most+1 {
			t.Errorf("%d connections", n)
		}
		if measured.Client.DelayedByCap != 9999-most || measured.Client.PeakInFlight != most ||
			measured.Offered != 9999 {
			t.Errorf("%+v, offered %d", measured.Client, measured.Offered)
		}
		for i, rec := range measured.Records {
			if delayed := rec.Flags&DelayedByCap != 0; delayed != (i >= most) || rec.Started != rec.Scheduled {
				t.Errorf("request %d: delayed by the cap: %v, started %d ns late", i, delayed,
					rec.Started-rec.Scheduled)
			}
		}
	})
}

// Arrivals that wait in line are sent in the order in which they came, each as soon as a slot is free.
func TestTheLineIsServedInOrder(t *testing.T) {
	inBubble(t, &wire{answer: serve(time.Second, 0, 1)}, func(t *testing.T, r *Runner) {
		r.MaxConcurrency = 1
		measured := run(t, r, Stage{Load: constantLoad(10), MaxRequests: 5})
		wantReason(t, measured, StopRequests, "")
		wantCount(t, measured, 5, 0, 0, 0)
		for i, rec := range measured.Records {
			if want := measured.Start + 100*ms + int64(i)*1000*ms; rec.Sent != want {
				t.Errorf("request %d was sent %d ms after the start, want %d", i, (rec.Sent-measured.Start)/ms,
					(want-measured.Start)/ms)
			}
		}
		if measured.Client.NewConnections != 1 || measured.Client.PeakInFlight != 1 {
			t.Errorf("%+v", measured.Client)
		}
	})
}

// What this machine lacks (descriptors, ports) does not say that the server is gone.
func TestLocalShortageIsNotTheServersEnd(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.EADDRNOTAVAIL} {
		w := &wire{answer: serve(time.Millisecond, 0, 1), refuse: func() error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", errno)}
		}}
		inBubble(t, w, func(t *testing.T, r *Runner) {
			measured := run(t, r, Stage{Load: constantLoad(50), MaxDuration: 10 * time.Second})
			wantReason(t, measured, StopDuration, "")
			wantCount(t, measured, 0, 499, 0, 0)
			if measured.Client.LocalFailures != 499 {
				t.Errorf("%v: %d local failures, want 499", errno, measured.Client.LocalFailures)
			}
		})
	}
}

// A slow source of a closed loop holds up no request that is under way, and is asked by one stream at a time.
func TestASlowSourceHoldsUpNoBooking(t *testing.T) {
	var asking atomic.Int32
	source := func(i int) (Request, error) {
		if asking.Add(1) != 1 {
			t.Error("the source is asked by two at once")
		}
		time.Sleep(time.Second)
		asking.Add(-1)
		return fixedSource(i)
	}
	inBubble(t, &wire{answer: serve(100*time.Millisecond, 0, 1)}, func(t *testing.T, r *Runner) {
		stage := Stage{Load: streamsLoad(3), MaxDuration: 10500 * time.Millisecond, Grace: time.Minute}
		run, err := r.Start(t.Context(), stage, Hooks{Source: source})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(1200 * time.Millisecond) // the first request ended at 1,100 ms; the source is asked for the second
		if p := run.Progress(); p.Completed != 1 || p.InFlight != 0 {
			t.Errorf("after 1.2 s: %+v, want one completed", p)
		}
		before := time.Now()
		run.SetStreams(4)
		if d := time.Since(before); d != 0 {
			t.Errorf("SetStreams waited %v for the source", d)
		}
		measured := run.Wait()
		checkMeasured(t, measured)
		// One request a second; the streams that still wait for their turn at the end ask no more.
		if len(measured.Records) < 10 || len(measured.Records) > 11 || measured.End > measured.Stopped+1500*ms {
			t.Errorf("%d requests, ended %d ms after sending", len(measured.Records),
				(measured.End-measured.Stopped)/ms)
		}
	})
}

// A pacer that can't sleep precisely is a reason of its own.
func TestPacerError(t *testing.T) {
	inBubble(t, &wire{answer: serve(time.Millisecond, 0, 1)}, func(t *testing.T, r *Runner) {
		r.VirtualTime = false
		r.sleeper = func(time.Time) (*precise.Sleeper, error) { return nil, syscall.ENOSYS }
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: time.Minute})
		wantReason(t, measured, StopPacer, "sleep precisely")
		if !errors.Is(measured.Err, syscall.ENOSYS) || len(measured.Records) != 0 {
			t.Errorf("%v, %d records", measured.Err, len(measured.Records))
		}
	})
}

// brokenPipe is a connection of which a write fails once the peer says so.
type brokenPipe struct {
	net.Conn
	broken *atomic.Bool
}

func (c brokenPipe) Write(p []byte) (int, error) {
	if c.broken.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// The limit on what follows [DONE] holds for the second try too, when the first failed in the writing.
func TestDrainLimitDoesNotOutliveARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		dials := 0
		dial := func(context.Context, string, string) (net.Conn, error) {
			dials++
			c, s := net.Pipe()
			open := dials == 2
			go func() {
				defer s.Close()
				for r := bufio.NewReader(s); request(r) != nil; {
					stream := chunked(completion("a"))
					if open { // the stream is left open after [DONE]
						stream = strings.TrimSuffix(stream, "0\r\n\r\n")
					}
					io.WriteString(s, chunkedHead+stream)
				}
			}()
			if open {
				return c, nil
			}
			return brokenPipe{c, &broken}, nil
		}
		c, err := NewClient(Target{URL: "http://pipe.test/", Dial: dial})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if a := post(t.Context(), t, c, "{}"); a.Status != Completed {
			t.Fatalf("%v %q", a.Status, a.Error)
		}
		broken.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		a := post(ctx, t, c, "{}")
		if a.Status != Completed || a.Flags&Retried == 0 {
			t.Errorf("%v %q, flags %b", a.Status, a.Error, a.Flags)
		}
		// Once for what might have come as an answer to the first try, once for the open stream.
		if d := time.Since(start); d > 1100*time.Millisecond {
			t.Errorf("the connection was held for %v", d)
		}
	})
}

// A connection that can't be made fails within ConnectTimeout, whatever speaks over it.
func TestConnectTimeoutThroughNetHTTP(t *testing.T) {
	blackHole := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	silent := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, s := net.Pipe()
		go func() { io.Copy(io.Discard, s); s.Close() }()
		return c, nil
	}
	for name, target := range map[string]Target{
		"HTTP/2":                                {URL: "http://hole.test/", HTTP2: true, Dial: blackHole},
		"HTTP/2, TLS":                           {URL: "https://hole.test/", HTTP2: true, Dial: blackHole},
		"HTTP/2, no handshake":                  {URL: "https://hole.test/", HTTP2: true, Dial: silent},
		"proxy":                                 {URL: "http://hole.test/", Proxy: proxyURL, Dial: blackHole},
		"proxy that does not answer to CONNECT": {URL: "https://hole.test/", Proxy: proxyURL, Dial: silent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				target.ConnectTimeout = 2 * time.Second
				c, err := NewClient(target)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				a := post(ctx, t, c, "{}")
				if a.Status != Errored || a.Err != ErrConnect || a.Sent != 0 ||
					!strings.Contains(a.Error, "within 2s") && !strings.Contains(a.Error, "timeout") {
					t.Errorf("%v %v %q, sent %d", a.Status, a.Err, a.Error, a.Sent)
				}
				if d := time.Since(start); d != 2*time.Second {
					t.Errorf("failed after %v, want 2 s", d)
				}
			})
		})
	}
}

// LiveGaps counts as the histogram does, and while requests end.
func TestLiveGaps(t *testing.T) {
	inBubble(t, &wire{answer: serve(10*time.Millisecond, 20*time.Millisecond, 5)}, func(t *testing.T, r *Runner) {
		run, err := r.Start(t.Context(), Stage{Load: constantLoad(100), MaxDuration: time.Second, Grace: time.Minute},
			Hooks{Source: fixedSource})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(501 * time.Millisecond)
		// Each request takes 90 ms; those sent at 10 … 410 ms have ended.
		total, over := run.LiveGaps([]int64{19 * ms, 20 * ms, 21 * ms})
		if total != 41*4 || fmt.Sprint(over) != "[164 0 0]" {
			t.Errorf("%d gaps, over the bounds %v", total, over)
		}
		if total, over := run.LiveGaps(nil); total != 41*4 || len(over) != 0 {
			t.Errorf("%d gaps, %v", total, over)
		}
		run.Wait()
	})
}

// A redirect is an error: nothing is sent to where it points.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var asked atomic.Int32
	for _, http2 := range []bool{false, true} {
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			if request(r) != nil {
				asked.Add(1)
				io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")
			}
		})
		asked.Store(0)
		if http2 { // through net/http, to a proxy that answers itself
			target.Proxy = mustURL(strings.TrimSuffix(target.URL, "/v1/chat/completions"))
			target.URL = "http://elsewhere.test/"
		}
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Err != ErrStatus || a.HTTPStatus != http.StatusFound || asked.Load() != 1 {
			t.Errorf("%v %q after %d requests", a.Err, a.Error, asked.Load())
		}
	}
}
