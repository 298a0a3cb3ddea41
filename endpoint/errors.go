package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/openloop/openloop/loadgen/stream"
)

// Error is what is wrong with an endpoint. Its text holds no secret.
type Error struct {
	Doing string // what was tried
	Cause Cause
	Err   error // what came back
}

func (e *Error) Error() string { return e.Doing + ": " + e.Err.Error() }

// Unwrap returns what came back.
func (e *Error) Unwrap() error { return e.Err }

// Cause is the kind of what is wrong, by which whoever knows the user can say what to do.
type Cause string

// The causes. One that is not known is "".
const (
	CauseCAFile           Cause = "file of authorities" // it can't be read, or holds no certificate
	CauseProxy            Cause = "proxy"               // its address can't be read
	CauseUnknownHost      Cause = "unknown host"
	CauseRefused          Cause = "refused"           // nothing listens
	CauseUnreachable      Cause = "unreachable"       // there is no way to the address
	CauseTimeout          Cause = "timeout"           // no answer in time
	CauseUnknownAuthority Cause = "unknown authority" // the certificate's is not trusted
	CauseCertificate      Cause = "certificate"       // it is another host's, or has expired
	CauseNotTLS           Cause = "not TLS"
	CauseNotHTTP          Cause = "not HTTP"
	CauseNoHTTP2          Cause = "no HTTP/2"
	CauseClosed           Cause = "closed" // the connection ended without an answer

	CauseUnauthorized Cause = "unauthorized" // 401 or 403, and no key was sent
	CauseKeyRejected  Cause = "key rejected" // 401 or 403, to the key that was sent
	CauseNotFound     Cause = "not found"    // 404
	CauseRedirect     Cause = "redirect"
	CauseUnavailable  Cause = "unavailable"  // 502, 503, 504: what stands before the engine answers
	CauseRateLimited  Cause = "rate limited" // 429
	CauseStatus       Cause = "status"       // any other status than 200

	CauseNoModels      Cause = "no models" // see ErrNoModels
	CauseNotAPI        Cause = "not the API"
	CauseStreamError   Cause = "error in the stream"
	CauseNoToken       Cause = "no token"       // the stream ended without one
	CauseCutShort      Cause = "cut short"      // the stream ended without [DONE] or a finish reason
	CauseReadersDiffer Cause = "readers differ" // the two parsers of the trial's stream disagree
)

// refused explains a status other than 200.
func (e *Endpoint) refused(doing string, resp *http.Response, body []byte) error {
	cause := CauseStatus
	err := stream.StatusError(resp.StatusCode, resp.Header, body, e.Redact)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		cause = CauseUnauthorized
		if e.header.Get("Authorization") != "" {
			cause = CauseKeyRejected
		}
	case http.StatusNotFound:
		cause = CauseNotFound
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		cause = CauseRedirect
		if location := resp.Header.Get("Location"); location != "" {
			const shown = 300
			location = stream.Shorten(e.Redact(hideUserinfo(location)), shown)
			err = fmt.Errorf("%w: the endpoint redirects to %s", err, location)
		}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		cause = CauseUnavailable
	case http.StatusTooManyRequests:
		cause = CauseRateLimited
	}
	return &Error{doing, cause, e.redactError(err)}
}

// explain finds the cause of an error of the connection.
func (e *Endpoint) explain(doing string, err error) error {
	var cause Cause
	var dns *net.DNSError
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var timeout interface{ Timeout() bool }
	text := err.Error()
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	switch {
	case errors.As(err, &dns) && !dns.IsTimeout:
		cause, err = CauseUnknownHost, fmt.Errorf("the host %q is not known", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		cause, err = CauseRefused, errors.New("connection refused")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		cause = CauseUnreachable
	case errors.As(err, &unknownCA):
		cause = CauseUnknownAuthority
	case errors.As(err, &hostname), errors.As(err, &invalid):
		cause = CauseCertificate
	case e.config.HTTP2 && (ended || strings.Contains(text, "http2:")):
		cause, err = CauseNoHTTP2, errors.New("the server does not speak HTTP/2")
	case errors.As(err, &record), strings.Contains(text, "server gave HTTP response to HTTPS client"):
		cause, err = CauseNotTLS, errors.New("the server does not speak TLS")
	case strings.Contains(text, "malformed HTTP"), strings.Contains(text, "readLoopPeekFailLocked"):
		// The second is what net/http says of bytes that come before the request was sent.
		cause, err = CauseNotHTTP, errors.New("what answered is not HTTP")
	case ended, errors.Is(err, syscall.ECONNRESET):
		cause, err = CauseClosed, errors.New("the server closed the connection without an answer")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		cause = CauseTimeout
	}
	return &Error{doing, cause, e.redactError(err)}
}

// redactError takes secrets out of an error. One without any stays as it is, with all that it wraps.
func (e *Endpoint) redactError(err error) error {
	if text := e.Redact(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}
