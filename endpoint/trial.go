package endpoint

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/openloop/openloop/loadgen/stream"
)

// Trial is what one request showed before any load was sent.
type Trial struct {
	Streamed     bool
	Tokens       int           // token events seen
	PromptTokens int           // −1: the server did not say
	OutputTokens int           // −1: the server did not say, or the trial was ended before it could
	TTFT         time.Duration // with a new connection, as net/http saw it
	Ended        bool          // the response was read to its end
}

// followTime is how long a trial follows an answer after its first token.
const followTime = 5 * time.Second

// Try posts one request to a path of the API and follows its answer for a few seconds; patience bounds it as a whole.
// The stream is read by go-sse and encoding/json, and again by the parsers that measure: were they to differ on this
// server's stream, nothing that is measured could be trusted. An error is an *Error.
func (e *Endpoint) Try(ctx context.Context, path string, body []byte, patience time.Duration) (*Trial, error) {
	address := e.config.Address.Join(path)
	doing := "a trial request to POST " + address.String()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, noAnswer(patience))
	defer cancel()
	start := time.Now()
	resp, end, err := e.send(ctx, http.MethodPost, address, body)
	if err != nil {
		return nil, e.explain(doing, reason(ctx, err))
	}
	defer end()
	if resp.StatusCode != http.StatusOK {
		return nil, e.refused(doing, path, resp)
	}
	if err := encodingOf(resp); err != nil {
		return nil, e.explain(doing, err)
	}
	if !strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "text/event-stream") {
		return e.tryWhole(ctx, doing, stream.DialectOf(path), resp)
	}
	as := stream.DialectOf(path)
	r := trialReader{as: as, Trial: Trial{Streamed: true, PromptTokens: -1, OutputTokens: -1}, start: start}
	limited := &limitedReader{io.TeeReader(resp.Body, &r.raw), trialLimit}
	for ev, err := range sse.Read(limited, &sse.ReadConfig{MaxEventSize: stream.MaxEvent}) {
		switch {
		case errors.Is(err, bufio.ErrTooLong):
			return nil, e.explain(doing, &limitError{"an event of the stream", stream.MaxEvent})
		case err != nil:
			return nil, e.explain(doing, &brokenOff{count(r.Tokens, "token"), reason(ctx, err)})
		}
		cause, err := r.event(ev, e.redactor)
		if err != nil {
			return nil, e.fail(doing, cause, err)
		}
		if r.Tokens > 2 && time.Since(start) > r.TTFT+followTime && !r.finished {
			return e.trial(doing, &r)
		}
	}
	r.Ended = true
	switch {
	case r.Tokens == 0 && bytes.HasPrefix(r.raw.Bytes(), []byte("\x1f\x8b")): // RFC 1952
		return nil, e.explain(doing, &compressedError{"gzip", false})
	case r.Tokens == 0:
		return nil, e.fail(doing, CauseNoToken, errors.New("the stream ended without a token"))
	case !r.done && !r.finished:
		err := fmt.Errorf("the stream ended after %s without [DONE] or a finish reason", count(r.Tokens, "token"))
		return nil, e.fail(doing, CauseCutShort, err)
	}
	return e.trial(doing, &r)
}

// trialReader reads a trial's stream by go-sse and encoding/json.
type trialReader struct {
	Trial
	as       stream.Dialect
	start    time.Time
	raw      bytes.Buffer // the stream as it came
	deltas   []stream.Delta
	finished bool // a finish reason was seen
	done     bool // [DONE] was seen
}

// event takes one event; an error says why the trial fails.
func (r *trialReader) event(ev sse.Event, redactor Redactor) (Cause, error) {
	if strings.TrimSpace(ev.Data) == "" { // keeps the connection alive
		return "", nil
	}
	if ev.Data == "[DONE]" {
		r.done = true
		return "", nil
	}
	var d stream.Delta
	if err := d.DecodeAs(r.as, []byte(ev.Data)); err != nil {
		return CauseNotAPI, err
	}
	if d.Error != nil || ev.Type == "error" {
		message := stream.ErrorMessage([]byte(ev.Data), redactor.Redact)
		return CauseStreamError, fmt.Errorf("the stream brought an error: %s", message)
	}
	r.deltas = append(r.deltas, d)
	r.done = r.done || d.Last
	r.finished = r.finished || d.Finish != stream.NoFinish
	if d.Token {
		if r.Tokens++; r.Tokens == 1 {
			r.TTFT = time.Since(r.start)
		}
	}
	if d.HasUsage {
		if d.Prompt >= 0 {
			r.PromptTokens = int(d.Prompt)
		}
		if d.Output >= 0 {
			r.OutputTokens = int(d.Output)
		}
	}
	return "", nil
}

// trial returns what was seen, if the measuring parsers see the same.
func (e *Endpoint) trial(doing string, r *trialReader) (*Trial, error) {
	if err := sameParse(r.as, r.raw.Bytes(), r.deltas, e.redactor); err != nil {
		err = fmt.Errorf("openloop's two readers of streams disagree on this server's, "+
			"so that nothing it measured could be trusted (please report this): %w", err)
		return nil, e.fail(doing, CauseReadersDiffer, err)
	}
	return &r.Trial, nil
}

// tryWhole reads an answer that is not a stream.
func (e *Endpoint) tryWhole(ctx context.Context, doing string, as stream.Dialect, resp *http.Response) (*Trial, error) {
	body, err := readAnswer(ctx, resp)
	if err != nil {
		return nil, e.explain(doing, err)
	}
	var d stream.Delta
	if err := d.DecodeAs(as, body); err != nil || d.Finish == stream.NoFinish {
		kind := "of no Content-Type"
		if given := resp.Header.Get("Content-Type"); given != "" {
			kind = stream.Shorten(e.Redact(given), errorShown)
		}
		err := fmt.Errorf("the answer (%s) is neither a stream nor a completion: %q", kind, e.begin(body))
		return nil, e.fail(doing, CauseNotAPI, err)
	}
	return &Trial{Ended: true, PromptTokens: int(d.Prompt), OutputTokens: int(d.Output)}, nil
}

// sameParse reads a stream by the measuring parsers and compares with what go-sse and encoding/json made of it.
func sameParse(as stream.Dialect, raw []byte, want []stream.Delta, redactor Redactor) error {
	n := 0
	var mismatch error
	s := stream.Splitter{Emit: func(data []byte, _ bool) {
		if stream.IsDone(data) || len(bytes.TrimSpace(data)) == 0 || mismatch != nil || n >= len(want) {
			return
		}
		var d stream.Delta
		w := &want[n]
		n++
		if err := d.ParseAs(as, data); err != nil {
			mismatch = err
		} else if d.Token != w.Token || d.Finish != w.Finish || d.Output != w.Output || d.Prompt != w.Prompt ||
			!bytes.Equal(d.AppendText(nil), w.AppendText(nil)) {
			shown := stream.Shorten(redactor.Redact(string(data)), 200)
			mismatch = fmt.Errorf("event %d is read differently: %q", n, shown)
		}
	}}
	if err := s.Feed(raw); err != nil {
		return err
	}
	if mismatch == nil && n < len(want) {
		mismatch = fmt.Errorf("%d events where %d were expected", n, len(want))
	}
	return mismatch
}
