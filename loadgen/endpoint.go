package loadgen

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/tmaxmax/go-sse"
)

// Endpoint is an OpenAI-compatible API, as it is looked at before any load is sent.
type Endpoint struct {
	Base    string // base URL with the version: http://host:8000/v1
	Header  http.Header
	TLS     *tls.Config
	Proxy   func(*http.Request) (*url.URL, error)
	HTTP2   bool          // speak HTTP/2, as the load will
	Timeout time.Duration // for connecting; 0: 5 s
}

// BaseURL makes the base URL of an endpoint from what people write: with or without /v1, with or without a slash.
func BaseURL(target string) (string, error) {
	if !strings.Contains(target, "://") {
		shown := hideUserinfo(target)
		return "", fmt.Errorf("target %q has no scheme: write http://%s or https://%s", shown, shown, shown)
	}
	u, err := url.Parse(target)
	if err != nil {
		return "", fmt.Errorf("target %q is no URL: %s", hideUserinfo(target), hideUserinfo(errors.Unwrap(err).Error()))
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("target %q has the scheme %q: it must be http or https", u.Redacted(), u.Scheme)
	}
	if u.Hostname() == "" {
		return "", fmt.Errorf("target %q names no host: write http://host:port", hideUserinfo(target))
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("target %q has a query or fragment: give the base URL alone", u.Redacted())
	}
	u.Path = strings.TrimRight(u.Path, "/")
	for _, end := range []string{"/chat/completions", "/completions"} {
		u.Path = strings.TrimSuffix(u.Path, end)
	}
	if !strings.HasSuffix(u.Path, "/v1") {
		u.Path += "/v1"
	}
	return u.String(), nil
}

// EndpointError is what is wrong with an endpoint, with what to do about it.
type EndpointError struct {
	Doing string // what was tried
	Err   error  // what came back
	Hint  string // what to do; "" where nothing better is known than the error
}

func (e *EndpointError) Error() string {
	s := e.Doing + ": " + e.Err.Error()
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

func (e *EndpointError) Unwrap() error { return e.Err }

// ErrNoModels means that the endpoint does not list its models; it may still serve them.
var ErrNoModels = errors.New("the endpoint lists no models")

// Models returns the ids of the models that the endpoint serves.
func (e Endpoint) Models(ctx context.Context) ([]string, error) {
	doing := "GET " + redactURL(e.Base) + "/models"
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, done, err := e.send(ctx, http.MethodGet, "/models", nil)
	if err != nil {
		return nil, e.explain(doing, err)
	}
	defer done()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, e.explain(doing, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return nil, &EndpointError{doing, ErrNoModels, ""}
	default:
		return nil, e.refused(doing, resp, body)
	}
	var list struct {
		Data []struct{ ID string }
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, &EndpointError{doing, fmt.Errorf("the answer is no list of models (%.60q)", body),
			"is this the base URL of an OpenAI-compatible API?"}
	}
	var ids []string
	for _, m := range list.Data {
		ids = append(ids, m.ID)
	}
	if len(ids) == 0 {
		return nil, &EndpointError{doing, ErrNoModels, ""}
	}
	return ids, nil
}

// Trial is what one request showed before any load was sent.
type Trial struct {
	Streamed     bool
	Tokens       int           // token events seen
	PromptTokens int           // −1: the server did not say
	OutputTokens int           // −1: the server did not say, or the trial was ended before it could
	TTFT         time.Duration // with a new connection, as net/http saw it
	Ended        bool          // the response was read to its end
}

// trialPatience is how long a trial follows an answer after its first token.
const trialPatience = 5 * time.Second

// Try sends one request and follows its answer for a few seconds. The stream is read by go-sse and encoding/json, and
// again by the parsers that measure: were they to differ on this server's stream, no figure could be trusted.
func (e Endpoint) Try(ctx context.Context, path string, body []byte, patience time.Duration) (*Trial, error) {
	doing := "a trial request to POST " + redactURL(e.Base) + path
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %v", patience))
	defer cancel()
	start := time.Now()
	resp, done, err := e.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return nil, e.explain(doing, cause(ctx, err))
	}
	defer done()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, errBody))
		return nil, e.refused(doing, resp, body)
	}
	t := &Trial{PromptTokens: -1, OutputTokens: -1}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return t, t.whole(doing, resp)
	}
	t.Streamed = true
	var raw bytes.Buffer
	var oracle []delta
	var d delta
	finished, sawDone := false, false
	for ev, err := range sse.Read(io.TeeReader(resp.Body, &raw), &sse.ReadConfig{MaxEventSize: maxEvent}) {
		if err != nil {
			return nil, e.explain(doing, cause(ctx, err))
		}
		if ev.Data == "" {
			continue
		}
		if ev.Data == "[DONE]" {
			sawDone = true
			continue
		}
		if err := d.decode([]byte(ev.Data)); err != nil {
			return nil, &EndpointError{doing, err, "is this an OpenAI-compatible API?"}
		}
		if d.errorJSON != nil || ev.Type == "error" {
			return nil, &EndpointError{doing, fmt.Errorf("the stream brought an error: %s", e.redact(errorMessage([]byte(ev.Data)))), ""}
		}
		oracle = append(oracle, d)
		finished = finished || d.finish != NoFinish
		if d.token {
			if t.Tokens++; t.Tokens == 1 {
				t.TTFT = time.Since(start)
			}
		}
		if d.hasUsage {
			t.PromptTokens, t.OutputTokens = int(d.prompt), int(d.output)
		}
		if t.Tokens > 2 && time.Since(start) > t.TTFT+trialPatience && !finished {
			return t, sameParse(raw.Bytes(), oracle)
		}
	}
	t.Ended = true
	switch {
	case t.Tokens == 0:
		return nil, &EndpointError{doing, errors.New("the stream ended without a token"), ""}
	case !sawDone && !finished:
		return nil, &EndpointError{doing, errors.New("the stream ended without [DONE] or a finish reason"), "something between here and the engine cuts streams short"}
	}
	return t, sameParse(raw.Bytes(), oracle)
}

// whole reads an answer that is no stream.
func (t *Trial) whole(doing string, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return &EndpointError{doing, err, ""}
	}
	var d delta
	if err := d.decode(body); err != nil || d.finish == NoFinish {
		return &EndpointError{doing, fmt.Errorf("the answer (%s) is neither a stream nor a completion: %.60q", resp.Header.Get("Content-Type"), body),
			"is this the base URL of an OpenAI-compatible API?"}
	}
	t.Ended, t.PromptTokens, t.OutputTokens = true, int(d.prompt), int(d.output)
	return nil
}

// sameParse reads a stream by the measuring parsers and compares with what go-sse and encoding/json made of it.
func sameParse(raw []byte, oracle []delta) error {
	n := 0
	var mismatch error
	s := eventSplitter{}
	s.emit = func(data []byte, _ bool) {
		if bytes.Equal(data, done) || mismatch != nil || n >= len(oracle) {
			return
		}
		var d delta
		want := &oracle[n]
		n++
		if err := d.parse(data); err != nil {
			mismatch = err
		} else if d.token != want.token || d.finish != want.finish || d.output != want.output || d.prompt != want.prompt ||
			!bytes.Equal(d.appendText(nil), want.appendText(nil)) {
			mismatch = fmt.Errorf("event %d is read differently: %.200q", n, data)
		}
	}
	if err := s.feed(raw); err != nil {
		return err
	}
	if mismatch == nil && n < len(oracle) {
		mismatch = fmt.Errorf("%d events where %d were expected", n, len(oracle))
	}
	if mismatch != nil {
		return fmt.Errorf("openloop's two readers of streams disagree on this server's, so that its figures could not be trusted (please report this): %w", mismatch)
	}
	return nil
}

// Post posts to a path beside the API's version, such as /tokenize or /v1/completions, and returns what came back.
func (e Endpoint) Post(ctx context.Context, path string, body []byte) (status int, answer []byte, err error) {
	e.Base = strings.TrimSuffix(e.Base, "/v1")
	doing := "POST " + redactURL(e.Base) + path
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	resp, done, err := e.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return 0, nil, e.explain(doing, cause(ctx, err))
	}
	defer done()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return 0, nil, e.explain(doing, cause(ctx, err))
	}
	return resp.StatusCode, answer, nil
}

// send sends one request on a connection of its own.
func (e Endpoint) send(ctx context.Context, method, path string, body []byte) (*http.Response, func(), error) {
	timeout := e.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	transport := &http.Transport{
		Proxy: e.Proxy, TLSClientConfig: e.TLS.Clone(), DisableKeepAlives: true, DisableCompression: true,
		DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
		TLSHandshakeTimeout: timeout,
	}
	req, err := http.NewRequestWithContext(ctx, method, e.Base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	proxied := false
	if e.Proxy != nil {
		proxy, err := e.Proxy(req)
		proxied = err == nil && proxy != nil
	}
	transport.Protocols = protocols(req.URL.Scheme, e.HTTP2, proxied)
	for name, values := range e.Header {
		req.Header[name] = values
	}
	if host := e.Header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header.Set("User-Agent", "openloop")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	return resp, func() { resp.Body.Close(); transport.CloseIdleConnections() }, nil
}

// cause prefers the reason for which a context ended to the error that this led to.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}

func (e Endpoint) redact(s string) string { return redact(s, secretsOf(e.Header)) }

// redactURL hides the password of a URL.
func redactURL(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return s
}

// refused explains a status other than 200.
func (e Endpoint) refused(doing string, resp *http.Response, body []byte) error {
	err := errors.New(e.redact(statusError(resp, body).Error()))
	hint := ""
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint = "give the endpoint's key with --api-key-file, OPENAI_API_KEY or --api-key"
		if e.Header.Get("Authorization") != "" {
			hint = "the key that was sent is not accepted"
		}
	case http.StatusNotFound:
		hint = "is the base URL right, and the model known?"
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		hint = "the endpoint redirects to " + resp.Header.Get("Location") + ": give that as the target"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		hint = "is the engine behind it up?"
	case http.StatusTooManyRequests:
		hint = "the endpoint limits the rate: its limit would be what is measured"
	}
	return &EndpointError{doing, err, hint}
}

// explain finds what to do about an error of the connection.
func (e Endpoint) explain(doing string, err error) error {
	hint := ""
	var dns *net.DNSError
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var expired x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns):
		err, hint = fmt.Errorf("the host %q is not known", dns.Name), "is the address right, and does this machine's DNS know it?"
	case errors.Is(err, syscall.ECONNREFUSED):
		err, hint = errors.New("connection refused"), "nothing listens there; is the server up, and the port right?"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		hint = "there is no way to that address from here"
	case errors.As(err, &unknownCA):
		hint = "trust its authority with --ca-file, or skip the check with --insecure"
	case errors.As(err, &hostname), errors.As(err, &expired):
		hint = "the certificate does not fit; --insecure skips the check"
	case e.HTTP2 && (strings.Contains(err.Error(), "http2:") || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		err, hint = errors.New("the server does not speak HTTP/2"), "leave out --http2"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		err, hint = errors.New("the server speaks no TLS"), "try http:// in place of https://"
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "readLoopPeekFailLocked"):
		// The second is what net/http says of bytes that come before the request was sent.
		err, hint = errors.New("what answered is no HTTP"), "the server speaks no HTTP there, or only with TLS (try https://)"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		err, hint = errors.New("the server closed the connection without an answer"), "does it speak HTTP?"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		hint = "is it the right host, and is nothing in between dropping packets?"
	}
	if text := e.redact(err.Error()); text != err.Error() {
		err = errors.New(text)
	}
	return &EndpointError{doing, err, hint}
}
