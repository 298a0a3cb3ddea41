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
	"time"

	"github.com/openloop/openloop/loadgen/stream"
)

// Error is what is wrong with an endpoint. Its text holds no secret.
type Error struct {
	Doing string // what was tried
	Cause Cause
	Err   error // what came back

	// Moved is the base to which a redirect leads that may be followed: at the same host, and not away from TLS. Zero:
	// there was none.
	Moved Address
}

func (e *Error) Error() string { return e.Doing + ": " + e.Err.Error() }

// Unwrap returns what came back.
func (e *Error) Unwrap() error { return e.Err }

// Cause is the kind of what is wrong, by which whoever knows the user can say what to do.
type Cause string

// The causes. One that is not known is "".
const (
	CauseCAFile           Cause = "file of authorities" // it can't be read, or holds no certificate
	CauseClientFiles      Cause = "client certificate"  // its file or that of its key can't be read or used
	CauseProxy            Cause = "proxy"               // its address can't be read, it can't be reached, or it refuses
	CauseUnknownHost      Cause = "unknown host"
	CauseRefused          Cause = "refused"             // nothing listens
	CauseSocket           Cause = "socket"              // there is no such Unix socket, or it may not be used
	CauseUnreachable      Cause = "unreachable"         // there is no way to the address
	CauseTimeout          Cause = "timeout"             // no connection in time
	CauseNoAnswer         Cause = "no answer"           // there was a connection, and no whole answer in time
	CauseUnknownAuthority Cause = "unknown authority"   // the certificate's is not trusted
	CauseCertificate      Cause = "certificate"         // it is another host's, or has expired
	CauseWantsCertificate Cause = "wants a certificate" // and the client has none
	CauseClientRefused    Cause = "client refused"      // the server does not take the client's certificate
	CauseNotTLS           Cause = "not TLS"
	CauseNotHTTP          Cause = "not HTTP"
	CauseNoHTTP2          Cause = "no HTTP/2"
	CauseBadHTTP          Cause = "bad HTTP"    // the answer breaks the rules of HTTP
	CauseHTTP2Only        Cause = "HTTP/2 only" // and it was asked in HTTP/1.1
	CauseClosed           Cause = "closed"      // the connection ended without an answer
	CauseFiles            Cause = "open files"  // this process may open no more

	CauseUnauthorized Cause = "unauthorized" // 401 or 403, and no key was sent
	CauseKeyRejected  Cause = "key rejected" // 401 or 403, to the key that was sent
	CauseNotFound     Cause = "not found"    // 404
	CauseRedirect     Cause = "redirect"
	CauseUnavailable  Cause = "unavailable"  // 502, 503, 504: what stands before the engine answers
	CauseRateLimited  Cause = "rate limited" // 429
	CauseIgnoreEOS    Cause = "ignore_eos"   // 400 or 422 that names this field of the request
	CauseStatus       Cause = "status"       // any other status than 200

	CauseLimit         Cause = "limit"      // the answer is longer than any should be
	CauseCompressed    Cause = "compressed" // the answer is, and openloop did not ask for that
	CauseNoModels      Cause = "no models"  // see ErrNoModels
	CauseNotAPI        Cause = "not the API"
	CauseStreamError   Cause = "error in the stream"
	CauseNoToken       Cause = "no token"       // the stream ended without one
	CauseCutShort      Cause = "cut short"      // the answer broke off
	CauseReadersDiffer Cause = "readers differ" // the two parsers of the trial's stream disagree
)

// fail makes an error whose text holds neither a secret nor what a terminal would obey. All that this package says of a
// server goes through here.
func (e *Endpoint) fail(doing string, cause Cause, err error) error {
	if e.proxy != nil {
		doing += " through the proxy " + e.proxy.Scheme + "://" + e.proxy.Host
	}
	const shown = 2000
	if text := stream.Shorten(e.Redact(err.Error()), shown); text != err.Error() {
		err = errors.New(text) // nor may what it wraps
	}
	return &Error{Doing: stream.Clean(e.Redact(doing)), Cause: cause, Err: err}
}

// refused explains a status other than 200 to a request for a path below the base.
func (e *Endpoint) refused(doing, path string, resp *http.Response) error {
	cause, moved := CauseStatus, Address{}
	var err error
	if compressed := encodingOf(resp); compressed != nil {
		err = stream.StatusError(resp.StatusCode, resp.Header, nil, e.Redact)
		err = fmt.Errorf("%w: %w", err, compressed)
	} else {
		err = stream.StatusError(resp.StatusCode, resp.Header, e.readError(resp), e.Redact)
	}
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		if strings.Contains(err.Error(), "ignore_eos") {
			cause = CauseIgnoreEOS
		}
		// nginx completes TLS without a certificate, and says so in HTML.
		if resp.TLS != nil && strings.Contains(err.Error(), "SSL certificate") {
			if cause = CauseWantsCertificate; len(e.tls.Certificates) > 0 {
				cause = CauseClientRefused
			}
		}
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
		var text string
		if moved, text = e.moved(path, resp); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		cause = CauseUnavailable
	case http.StatusTooManyRequests:
		cause = CauseRateLimited
	case http.StatusProxyAuthRequired:
		cause = CauseProxy
	case http.StatusHTTPVersionNotSupported, http.StatusUpgradeRequired:
		if !e.config.HTTP2 {
			cause = CauseHTTP2Only
		}
	}
	err = e.fail(doing, cause, err)
	var failed *Error
	if errors.As(err, &failed) {
		failed.Moved = moved
	}
	return err
}

// explain finds the cause of an error of the connection.
func (e *Endpoint) explain(doing string, err error) error {
	cause, explained := Explain(err)
	if e.config.HTTP2 && cause != CauseLimit && cause != CauseCutShort && cause != CauseProxy &&
		(errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "http2:")) {
		cause, explained = CauseNoHTTP2, errors.New("the server does not speak HTTP/2")
	}
	if cause == CauseWantsCertificate && len(e.tls.Certificates) > 0 {
		cause = CauseClientRefused
	}
	if e.proxy != nil && cause == CauseTimeout {
		cause = CauseProxy // it is the proxy that the connection is opened to
	}
	return e.fail(doing, cause, explained)
}

// proxyRefusal is the status with which a proxy refuses to connect to the endpoint.
type proxyRefusal string

func (p proxyRefusal) Error() string { return "the proxy refuses to connect: HTTP " + string(p) }

// Explain says in plain words what an error of net/http came from. Its text may still hold what the server sent.
func Explain(err error) (Cause, error) {
	var broken *brokenOff
	if errors.As(err, &broken) {
		return explainBroken(broken)
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "proxyconnect" || op.Op == "socks connect") {
		_, err = Explain(op.Err)
		return CauseProxy, fmt.Errorf("the proxy can't be reached: %w", err)
	}
	var refusal proxyRefusal
	var late noAnswer
	var limit *limitError
	var status statusError
	var compressed *compressedError
	var dns *net.DNSError
	var unknownCA x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var timeout interface{ Timeout() bool }
	text := err.Error()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case errors.As(err, &refusal):
		return CauseProxy, refusal
	case errors.As(err, &late):
		return CauseNoAnswer, late
	case errors.As(err, &limit):
		return CauseLimit, limit
	case errors.Is(err, errInterim):
		return CauseLimit, errInterim
	case has("server response headers exceeded"), has("header list larger than"):
		return CauseLimit, &limitError{"the head of the answer", headLimit}
	case errors.As(err, &status):
		return CauseBadHTTP, status
	case errors.As(err, &compressed):
		return CauseCompressed, compressed
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return CauseFiles, errors.New("no connection can be opened: the limit of open files is reached")
	case errors.As(err, &dns) && !dns.IsTimeout:
		return CauseUnknownHost, fmt.Errorf("the host %q is not known", dns.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused, errors.New("connection refused")
	case errors.As(err, &op) && op.Net == "unix" && op.Op == "dial":
		return CauseSocket, fmt.Errorf("no connection over the Unix socket: %w", errors.Unwrap(op))
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return CauseUnreachable, err
	case errors.As(err, &unknownCA):
		return CauseUnknownAuthority, err
	case errors.As(err, &hostname), errors.As(err, &invalid):
		return CauseCertificate, err
	case clientRefused(err) != "":
		return CauseWantsCertificate, fmt.Errorf("the server ended TLS with the alert %q", clientRefused(err))
	case has("no application protocol"), has(`malformed HTTP response "\x00\x00`):
		// The first is TLS's, where the two have none in common; in the second a frame of HTTP/2 was read for a head.
		return CauseHTTP2Only, errors.New("the server speaks HTTP/2 only")
	case errors.As(err, &record), has("server gave HTTP response to HTTPS client"):
		return CauseNotTLS, errors.New("the server does not speak TLS")
	case has("malformed HTTP"), has("readLoopPeekFailLocked"):
		// The second is what net/http says of bytes that come before the request was sent.
		return CauseNotHTTP, errors.New("what answered is not HTTP")
	case has(brokenHTTP):
		_, detail, _ := strings.Cut(text, brokenHTTP)
		return CauseBadHTTP, fmt.Errorf("the answer breaks the rules of HTTP: %s", stream.Shorten(detail, errorShown))
	case hasEnded(err):
		return CauseClosed, errors.New("the server closed the connection without an answer")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return CauseTimeout, err
	}
	return "", err
}

// explainBroken says why an answer broke off.
func explainBroken(b *brokenOff) (Cause, error) {
	var late noAnswer
	var limit *limitError
	switch err := b.err; {
	case errors.As(err, &limit):
		return CauseLimit, limit
	case errors.As(err, &late):
		return CauseNoAnswer, fmt.Errorf("the answer was not at its end within %v: %s had come", time.Duration(late),
			b.after)
	case hasEnded(err):
		return CauseCutShort, &brokenOff{b.after, errors.New("the server closed the connection")}
	default:
		return CauseBadHTTP, b
	}
}

// hasEnded says whether an error is the end of the connection.
func hasEnded(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE)
}

// brokenHTTP is what net/http puts before what is wrong with a head.
const brokenHTTP = "HTTP/1.x transport connection broken: "

// errorShown is how many runes are shown of what net/http repeats of a head.
const errorShown = 200
