package loadgen

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a server in memory, for stages in virtual time.
type wire struct {
	answer func(w io.Writer, r *http.Request) // an error of its writer ends the connection
	refuse func() error                       // not nil: asked before every connection
	slow   time.Duration                      // what a connection takes to open
	dials  atomic.Int32
	open   *sync.WaitGroup // its connections
}

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	w.dials.Add(1)
	if w.refuse != nil {
		if err := w.refuse(); err != nil {
			return nil, err
		}
	}
	time.Sleep(w.slow)
	c, s := net.Pipe()
	w.open.Go(func() {
		defer s.Close()
		r := bufio.NewReader(s)
		for {
			req := request(r)
			if req == nil {
				return
			}
			e := &errWriter{w: s}
			w.answer(e, req)
			if e.err != nil {
				return
			}
		}
	})
	return c, nil
}

// errWriter remembers the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(p)
	e.err = err
	return n, err
}

// serve answers with n tokens, the first after ttft, the others itl apart, and the end with the last.
func serve(ttft, itl time.Duration, n int) func(w io.Writer, r *http.Request) {
	return func(w io.Writer, r *http.Request) {
		io.WriteString(w, chunkedHead)
		time.Sleep(ttft)
		for i := range n {
			if i > 0 {
				time.Sleep(itl)
			}
			io.WriteString(w, tokenChunk(" t"))
		}
		io.WriteString(w, chunked(fmt.Sprintf(
			`data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":%d}}`+"\n\ndata: [DONE]\n\n", n)))
	}
}

func fixedSource(int) (Request, error) {
	return Request{Body: []byte("{}"), PromptTokens: 5, OutputTokens: 3, PromptWords: 2, PromptChars: 9}, nil
}

// inBubble runs a test in virtual time with a runner for the wire.
func inBubble(t *testing.T, w *wire, test func(t *testing.T, r *Runner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(Target{URL: "http://wire.test/v1/chat/completions", Dial: w.dial})
		if err != nil {
			t.Fatal(err)
		}
		w.open = new(sync.WaitGroup)
		test(t, &Runner{Client: c, VirtualTime: true})
		c.Close()
		w.open.Wait()
	})
}

// run runs a stage and checks what holds of every stage.
func run(t *testing.T, r *Runner, s Stage, h ...Hooks) *Measured {
	t.Helper()
	measured := mustRun(t, r, s, h...)
	checkMeasured(t, measured)
	return measured
}

func checkMeasured(t *testing.T, measured *Measured) {
	t.Helper()
	if !(0 < measured.Start && measured.Start <= measured.Stopped && measured.Stopped <= measured.End) {
		t.Errorf("start %d, stopped %d, end %d", measured.Start, measured.Stopped, measured.End)
	}
	for i := range measured.Records {
		r := &measured.Records[i]
		checkOrder(t, r)
		if r.Scheduled < measured.Start || r.End > measured.End {
			t.Errorf("request %d scheduled at %d, ended at %d, outside of the stage", i, r.Scheduled, r.End)
		}
		if (r.Status == NotSent) != (r.Sent == 0) && r.Err != ErrConnect && r.Err != ErrLocal {
			t.Errorf("request %d: %v, sent at %d", i, r.Status, r.Sent)
		}
		if r.Sent != 0 && r.Sent < r.Scheduled {
			t.Errorf("request %d was sent %d ns early", i, r.Scheduled-r.Sent)
		}
		if r.AskedPrompt != 5 || r.AskedOutput != 3 || r.PromptWords != 2 || r.PromptChars != 9 {
			t.Errorf("request %d: what its source knew is lost: %+v", i, *r)
		}
	}
	if measured.Offered < len(measured.Records) {
		t.Errorf("offered %d, but %d records", measured.Offered, len(measured.Records))
	}
}

// count counts the records of each status.
func count(measured *Measured) (completed, errored, incomplete, notSent int) {
	for _, r := range measured.Records {
		switch r.Status {
		case Completed:
			completed++
		case Errored:
			errored++
		case Incomplete:
			incomplete++
		default:
			notSent++
		}
	}
	return
}

func wantCount(t *testing.T, measured *Measured, completed, errored, incomplete, notSent int) {
	t.Helper()
	c, e, i, n := count(measured)
	if c != completed || e != errored || i != incomplete || n != notSent {
		t.Errorf("%d completed, %d errored, %d incomplete, %d not sent; want %d, %d, %d, %d",
			c, e, i, n, completed, errored, incomplete, notSent)
	}
}

func wantReason(t *testing.T, measured *Measured, reason StopReason, err string) {
	t.Helper()
	if measured.Reason != reason || (measured.Err == nil) != (err == "") ||
		err != "" && !strings.Contains(measured.Err.Error(), err) {
		t.Errorf("ended by %q (%v), want %q (%s)", measured.Reason, measured.Err, reason, err)
	}
}
