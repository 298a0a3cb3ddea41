package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openloop/openloop/loadgen/stream"
)

// What is kept of requests while they are in flight or wait to be written. What goes beyond is passed through and not
// recorded.
const (
	mostBody     = 32 << 20  // bytes of one request, or of one answer that is not a stream
	mostKept     = 512 << 20 // bytes of all
	mostAnswer   = 1 << 20   // bytes of the text of an answer that is a stream
	mostCallsIDs = 256
)

// exchange is one request and its answer. What passes is copied and never held up.
type exchange struct {
	r       *Recorder
	path    string
	from    *connection
	arrived time.Time

	mu      sync.Mutex // what is left of a request's body may pass after the answer has come
	request []byte
	kept    int64
	ended   bool // nothing is kept any more
	tooBig  bool

	status  int
	first   time.Time // token; zero: none, or not a stream
	over    time.Time
	outcome string // as Line.End
	readErr error  // io.EOF where the answer came to its end
	failed  bool   // the endpoint was not reached
	coded   bool   // the answer is compressed
	whole   []byte // an answer that is not a stream
	split   *stream.Splitter
	parse   stream.Template
	said    answered
}

// answered is what an answer says.
type answered struct {
	text                   []byte
	calls                  []string
	events                 int // that carry a token or more
	prompt, output, cached int32
	finish                 stream.Finish
}

// keep counts bytes that are kept, and says whether they may be.
func (e *exchange) keep(n int) bool {
	if e.ended || e.tooBig {
		return false
	}
	e.kept += int64(n)
	if e.r.kept.Add(int64(n)) > mostKept || e.kept > mostBody {
		e.tooBig, e.request, e.whole = true, nil, nil
		return false
	}
	return true
}

// ask copies what passes of a request's body.
func (e *exchange) ask(p []byte) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.keep(len(p)) {
		e.request = append(e.request, p...)
	}
}

// answer takes note of an answer's head, and copies its body as it is read.
func (e *exchange) answer(resp *http.Response) {
	e.status = resp.StatusCode
	e.coded = stream.ContentCoding(resp.Header) != ""
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/event-stream" && !e.coded {
		e.split = &stream.Splitter{Emit: e.event}
	}
	resp.Body = answerTap{resp.Body, e}
}

type answerTap struct {
	io.ReadCloser
	e *exchange
}

// Read implements io.Reader.
func (t answerTap) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.e.read(p[:n], err)
	return n, err
}

func (e *exchange) read(p []byte, err error) {
	if err != nil {
		e.readErr = err
	}
	if e.split != nil {
		if e.split.Feed(p) != nil {
			e.split = nil // what goes on without an end is not understood; it passes all the same
		}
		return
	}
	if e.status/100 != 2 || e.coded || len(p) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.keep(len(p)) {
		e.whole = append(e.whole, p...)
	}
}

// event takes what an event of a stream says.
func (e *exchange) event(data []byte, isError bool) {
	var d stream.Delta
	if isError || stream.IsDone(data) || e.parse.Parse(&d, data) != nil {
		return
	}
	if d.Token && e.first.IsZero() {
		e.first = e.from.answers.at
	}
	e.said.take(&d, data)
}

// take adds what an event says, or a whole answer.
func (a *answered) take(d *stream.Delta, data []byte) {
	if d.Token {
		a.events++
	}
	if len(a.text)+len(d.Content) <= mostAnswer {
		a.text = d.AppendText(a.text)
	}
	if d.HasUsage {
		a.prompt, a.output, a.cached = d.Prompt, d.Output, d.Cached
	}
	if d.Finish != stream.NoFinish {
		a.finish = d.Finish
	}
	if d.Token && len(a.calls) < mostCallsIDs && bytes.Contains(data, []byte(`"tool_calls"`)) {
		a.takeCalls(data)
	}
}

// takeCalls finds the identifiers of tool calls, by which the next turn's messages are known.
func (a *answered) takeCalls(data []byte) {
	type said struct {
		ToolCalls []struct {
			ID string `json:"id"`
		} `json:"tool_calls"`
	}
	var v struct {
		Choices []struct{ Delta, Message said }
	}
	if json.Unmarshal(data, &v) != nil || len(v.Choices) == 0 {
		return
	}
	for _, c := range append(v.Choices[0].Delta.ToolCalls, v.Choices[0].Message.ToolCalls...) {
		if c.ID != "" {
			a.calls = append(a.calls, c.ID)
		}
	}
}

// end ends the copying at a time, and hands what was copied on to be written.
func (e *exchange) end(at time.Time) {
	if at.Before(e.arrived) { // nothing was answered
		at = time.Now()
	}
	e.over, e.outcome = at, e.howEnded()
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	select {
	case e.r.queue <- e:
	default: // the disk is behind
		e.release()
		e.r.lost.Add(1)
	}
}

func (e *exchange) release() { e.r.kept.Add(-e.kept) }

// howEnded says how the request ended, where it did not end well.
func (e *exchange) howEnded() string {
	switch {
	case errors.Is(e.readErr, io.EOF) && e.status > 0:
		return ""
	case e.from.gone.Load():
		return "cancelled"
	case e.failed:
		return "unreachable"
	}
	return "cut"
}

// counters of what was and was not recorded.
type counters struct {
	kept         atomic.Int64 // bytes
	lost, tooBig atomic.Int64 // requests
	unread       atomic.Int64
	written      atomic.Int64
	others       atomic.Int64 // requests of other paths
	upstream     atomic.Int64 // that the endpoint was not reached for
}
