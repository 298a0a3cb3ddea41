package endpoint

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/loadgen/transport"
)

// Endpoint is an OpenAI-compatible API, ready to be asked and loaded. It is safe for concurrent use.
type Endpoint struct {
	config   Config
	header   http.Header
	tls      *tls.Config
	proxy    *url.URL // nil: none
	redactor Redactor
}

// Open prepares to ask the endpoint of a configuration: it reads the files of certificates and finds the proxy that the
// environment names. It does not connect. It fails where the address is missing, such a file can't be used, or the
// proxy's address can't be read.
func Open(c Config) (*Endpoint, error) {
	if c.Address.IsZero() {
		return nil, errors.New("the endpoint has no address")
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	e := &Endpoint{
		config: c, header: http.Header{},
	}
	var secrets []Secret
	for _, h := range c.Headers {
		e.header.Add(h.Name, h.Value.Reveal())
		if !harmless(h.Name) {
			secrets = append(secrets, h.Value)
		}
	}
	for _, m := range c.Metrics.Sources {
		secrets = append(secrets, m.Login)
	}
	if err := e.openTLS(); err != nil {
		return nil, err
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &c.Address.url})
	if err == nil && proxy == nil {
		err = badProxy(c.Address, os.Getenv)
	}
	if err != nil {
		doing := "finding the proxy for " + c.Address.url.Host
		return nil, e.fail(doing, CauseProxy, errors.New(hideUserinfo(err.Error())))
	}
	e.setProxy(proxy, &secrets)
	e.redactor = NewRedactor(secrets...)
	return e, nil
}

// setProxy goes through a proxy; its password is one more secret.
func (e *Endpoint) setProxy(proxy *url.URL, secrets *[]Secret) {
	e.proxy = proxy
	if proxy != nil && proxy.User != nil {
		*secrets = append(*secrets, login(proxy.User))
	}
}

// badProxy is an error where a variable of the environment names a proxy in a way that can't be read: net/http then
// goes without it, which is not what was asked for.
func badProxy(to Address, getenv func(string) string) error {
	host := to.url.Hostname()
	if host == "localhost" || net.ParseIP(host).IsLoopback() || getenv("NO_PROXY")+getenv("no_proxy") == "*" {
		return nil
	}
	for _, name := range []string{strings.ToUpper(to.url.Scheme) + "_PROXY", to.url.Scheme + "_proxy"} {
		value := getenv(name)
		if value == "" {
			continue
		}
		u, err := url.Parse(value)
		if err != nil || u.Host == "" { // it may be without a scheme
			u, err = url.Parse("http://" + value)
		}
		if err != nil || u.Host == "" {
			return fmt.Errorf("%s is %q, which is not the address of a proxy", name, hideLogin(value))
		}
		return nil
	}
	return nil
}

// harmless says whether a header holds no credential.
func harmless(name string) bool {
	switch strings.ToLower(name) {
	case "content-type", "accept", "user-agent", "host", "accept-encoding":
		return true
	}
	return false
}

// Base is the base URL of the API.
func (e *Endpoint) Base() Address { return e.config.Address }

// Header returns a copy of the headers of every request, secrets included.
func (e *Endpoint) Header() http.Header { return e.header.Clone() }

// Redact takes the endpoint's secrets out of a text.
func (e *Endpoint) Redact(text string) string { return e.redactor.Redact(text) }

// Transport returns how requests to an address that belongs to the endpoint, such as that of its metrics, are to be
// sent: with its authorities and its proxy and, at the endpoint's own host alone, with the client's certificate and the
// server name. Like all requests of the endpoint they follow no redirect, as long as http.Client.CheckRedirect says so.
func (e *Endpoint) Transport(to Address) *http.Transport {
	t := &http.Transport{TLSClientConfig: e.tlsFor(to), TLSHandshakeTimeout: e.config.ConnectTimeout,
		DialContext:            (&net.Dialer{Timeout: e.config.ConnectTimeout}).DialContext,
		MaxResponseHeaderBytes: headLimit, DisableCompression: true,
	}
	if dial := to.Dial(); dial != nil {
		t.DialContext = dial
		return t
	}
	if e.proxy != nil {
		t.Proxy = http.ProxyURL(e.proxy)
		t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			return proxyRefusal(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
		}
	}
	return t
}

// ErrProxied means that the environment names a proxy for the endpoint, where one can't be used.
var ErrProxied = errors.New("HTTP_PROXY or HTTPS_PROXY names a proxy for this endpoint, which can't be used here; " +
	"name its host in NO_PROXY")

// Direct says whether the endpoint is reached without a proxy: if not, the error is ErrProxied.
func (e *Endpoint) Direct() error {
	if e.proxy != nil {
		return ErrProxied
	}
	return nil
}

// Connect connects to the endpoint, which must be Direct, with TLS where its URL is https, to speak HTTP/1.1.
func (e *Endpoint) Connect(ctx context.Context) (net.Conn, error) {
	t := e.Transport(e.config.Address)
	u := e.config.Address.url
	port := u.Port()
	if port == "" {
		port = u.Scheme // the name of its port
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if u.Scheme != "https" {
		return t.DialContext(ctx, "tcp", address)
	}
	t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: e.config.ConnectTimeout}, Config: t.TLSClientConfig}
	return d.DialContext(ctx, "tcp", address)
}

// Target is where and how load is sent to a path of the API, such as /chat/completions.
func (e *Endpoint) Target(path string) loadgen.Target {
	return loadgen.Target{
		URL: e.config.Address.Join(path).URL(), Dial: e.config.Address.Dial(), Header: e.Header(), Redact: e.Redact,
		TLS: e.tls.Clone(), HTTP2: e.config.HTTP2, Proxy: e.proxy,
		ConnectTimeout: e.config.ConnectTimeout, RequestTimeout: e.config.RequestTimeout,
	}
}

// ErrNoModels means that the endpoint does not list its models; it may still serve them.
var ErrNoModels = errors.New("the endpoint lists no models")

// Models returns the ids of the models that the endpoint serves, without secrets. An error is an *Error.
func (e *Endpoint) Models(ctx context.Context) ([]string, error) {
	list, err := e.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, m := range list.Models {
		ids = append(ids, m.ID)
	}
	return ids, nil
}

// begin is the beginning of an answer, without secrets: they are taken out before it is cut.
func (e *Endpoint) begin(body []byte) string {
	const shown = 60
	return stream.Shorten(e.Redact(string(body)), shown)
}

// Post posts to a path of the endpoint, beside the API's version: /tokenize, or /v1/completions. It returns what came
// back, without secrets. An error is an *Error.
func (e *Endpoint) Post(ctx context.Context, path string, body []byte) (status int, answer []byte, err error) {
	address := e.config.Address
	address.url.Path = strings.TrimSuffix(address.url.Path, "/v1")
	address = address.Join(path)
	doing := "POST " + address.String()
	ctx, cancel := context.WithTimeoutCause(ctx, answerTime, noAnswer(answerTime))
	defer cancel()
	resp, end, err := e.send(ctx, http.MethodPost, address, body)
	if err != nil {
		return 0, nil, e.explain(doing, reason(ctx, err))
	}
	defer end()
	answer, err = readAnswer(ctx, resp)
	if err != nil {
		return 0, nil, e.explain(doing, err)
	}
	return resp.StatusCode, []byte(e.Redact(string(answer))), nil
}

// send sends one request on a connection of its own, and follows no redirect. end closes both.
func (e *Endpoint) send(ctx context.Context, method string, to Address, body []byte) (
	resp *http.Response, end func(), err error,
) {
	return e.sendWith(ctx, method, to, body, e.Header(), nil)
}

// sendWith is send with other headers; dials, where it is not nil, takes down how long connecting took.
func (e *Endpoint) sendWith(ctx context.Context, method string, to Address, body []byte, header http.Header,
	dials *dialTimes,
) (resp *http.Response, end func(), err error) {
	t := e.Transport(to)
	t.DisableKeepAlives = true
	t.Protocols = transport.Protocols(to.url.Scheme, e.config.HTTP2, e.proxy != nil)
	// net/http limits connecting and TLS, each by itself, and not the answer of a proxy.
	ctx, cancel := context.WithCancelCause(ctx)
	connecting := time.AfterFunc(e.config.ConnectTimeout, func() { cancel(errConnecting) })
	defer connecting.Stop()
	interim := 0
	trace := &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connecting.Stop() },
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			if interim++; interim > interimLimit {
				return errInterim
			}
			return nil
		},
	}
	dials.watch(trace)
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, to.URL(),
		bytes.NewReader(body))
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	req.Header = header
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "openloop")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if resp, err = t.RoundTrip(req); err != nil {
		if context.Cause(ctx) == errConnecting {
			err = fmt.Errorf("no connection within %v: %w", e.config.ConnectTimeout, os.ErrDeadlineExceeded)
		}
		cancel(nil)
		return nil, nil, err
	}
	end = func() { resp.Body.Close(); t.CloseIdleConnections(); cancel(nil) }
	if resp.StatusCode < 100 {
		end()
		return nil, nil, statusError(resp.StatusCode)
	}
	return resp, end, nil
}
