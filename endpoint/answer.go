package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/openloop/openloop/loadgen/stream"
)

// What is taken of an answer before any load is sent. Whoever sends more is not a server of this API.
const (
	headLimit      = 1 << 20  // status line and headers
	interimLimit   = 20       // answers of status 1xx before the answer
	answerLimit    = 8 << 20  // an answer that is read whole
	trialLimit     = 64 << 20 // a stream
	errorBodyLimit = 64 << 10 // an error response, of which the beginning is shown
)

// How long an answer that is read whole may take.
const (
	modelsTime = 30 * time.Second
	answerTime = time.Minute
)

// limitError says what is longer than it may be.
type limitError struct {
	what string
	most int
}

func (e *limitError) Error() string {
	if e.most < 1<<20 {
		return fmt.Sprintf("%s is longer than %d kB", e.what, e.most>>10)
	}
	return fmt.Sprintf("%s is longer than %d MB", e.what, e.most>>20)
}

// errInterim ends an answer that does not come to its own head.
var errInterim = fmt.Errorf("more than %d interim answers (status 1xx) came, and not the answer itself", interimLimit)

// statusError is a status that HTTP does not have.
type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("the answer has the status %03d: those of HTTP are 100 to 599", int(s))
}

// compressedError is an answer in an encoding.
type compressedError struct {
	encoding string
	asked    bool // by a header of the user's
}

func (c *compressedError) Error() string {
	if c.asked {
		return fmt.Sprintf("the answer is compressed (%s), as the Accept-Encoding that was given asks for: "+
			"openloop does not read that", c.encoding)
	}
	return fmt.Sprintf("the answer is compressed (%s), which openloop did not ask for", c.encoding)
}

// encodingOf is an error where the answer is encoded.
func encodingOf(resp *http.Response) error {
	coding := stream.ContentCoding(resp.Header)
	if coding == "" {
		return nil
	}
	return &compressedError{coding, resp.Request.Header.Get("Accept-Encoding") != ""}
}

// brokenOff is an answer that began and did not come to its end.
type brokenOff struct {
	after string // what had come
	err   error
}

func (b *brokenOff) Error() string {
	return "the answer broke off after " + b.after + ": " + b.err.Error()
}
func (b *brokenOff) Unwrap() error { return b.err }

// readAnswer reads an answer whole.
func readAnswer(ctx context.Context, resp *http.Response) ([]byte, error) {
	if err := encodingOf(resp); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case err != nil:
		return nil, &brokenOff{count(len(body), "byte"), reason(ctx, err)}
	case len(body) > answerLimit:
		return nil, &limitError{"the answer", answerLimit}
	}
	return body, nil
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// readError reads the beginning of an error response; what it holds matters more than that it is whole.
func (e *Endpoint) readError(resp *http.Response) []byte {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, errorBodyLimit))
	if len(body) < errorBodyLimit {
		return body
	}
	// The last half is not shown: a secret that is cut at its end could not be found.
	text := e.Redact(string(body))
	return []byte(text[:len(text)/2])
}

// limitedReader fails once there was more than the limit.
type limitedReader struct {
	io.Reader
	left int
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, &limitError{"the stream of one short request", trialLimit}
	}
	n, err := l.Reader.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// noAnswer is the cause with which the patience for an answer ends.
type noAnswer time.Duration

func (n noAnswer) Error() string { return fmt.Sprintf("no answer within %v", time.Duration(n)) }

// Timeout tells it from other errors.
func (n noAnswer) Timeout() bool { return true }

// errConnecting ends a request whose connection took too long.
var errConnecting = errors.New("connecting took too long")

// reason prefers the reason for which a context ended to the error that this led to.
func reason(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}
