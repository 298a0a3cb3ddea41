package endpoint

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

const canary = "sk-canary-0123456789abcdefghijklmnopqrstuvwxyz"

// open opens the endpoint of a server, with a bearer key.
func open(t *testing.T, address string, change ...func(*Config)) *Endpoint {
	t.Helper()
	base, _, err := ParseBase(address)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Address: base, Headers: []Header{{"Authorization", NewSecret("Bearer " + canary)}},
		ConnectTimeout: 5 * time.Second}
	for _, f := range change {
		f(&c)
	}
	e, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// answering is a server with one answer to everything.
func answering(t *testing.T, status int, mediaType, body string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", mediaType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

// wantCause checks what an error is said to come from.
func wantCause(t *testing.T, err error, cause Cause, parts ...string) {
	t.Helper()
	var failed *Error
	if !errors.As(err, &failed) || failed.Cause != cause {
		t.Errorf("%v: not an error with the cause %q", err, cause)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestModels(t *testing.T) {
	models := answering(t, 200, "application/json", `{"data":[{"id":"a"},{"id":"b"}]}`)
	ids, err := open(t, models.URL).Models(t.Context())
	if err != nil || fmt.Sprint(ids) != "[a b]" {
		t.Errorf("%v, %v", ids, err)
	}
	for _, test := range []struct {
		status int
		body   string
		cause  Cause
		text   string
	}{
		{404, "", CauseNoModels, "lists no models"},
		{405, "", CauseNoModels, "lists no models"},
		{501, "", CauseNoModels, "lists no models"},
		{200, `{"data":[]}`, CauseNoModels, "lists no models"},
		{200, `<html>`, CauseNotAPI, `not a list of models ("<html>")`},
		{401, `{"error":{"message":"who?"}}`, CauseKeyRejected, "HTTP 401 Unauthorized: who?"},
		{403, "", CauseKeyRejected, "HTTP 403"},
		{503, `{"error":{"message":"loading"}}`, CauseUnavailable, "HTTP 503 Service Unavailable: loading"},
		{502, "", CauseUnavailable, "HTTP 502"},
		{429, "", CauseRateLimited, "HTTP 429"},
		{418, "tea", CauseStatus, "tea"},
	} {
		_, err := open(t, answering(t, test.status, "application/json", test.body).URL).Models(t.Context())
		wantCause(t, err, test.cause, "GET http://127.0.0.1:", "/v1/models: ", test.text)
		if test.cause == CauseNoModels && !errors.Is(err, ErrNoModels) {
			t.Errorf("%v is not ErrNoModels", err)
		}
	}
	_, err = open(t, answering(t, 401, "", "").URL, func(c *Config) { c.Headers = nil }).Models(t.Context())
	wantCause(t, err, CauseUnauthorized)
}

// event is one event of a stream.
func event(data string) string { return "data: " + data + "\n\n" }

const token, finish = `{"choices":[{"delta":{"content":"a"}}]}`, `{"choices":[{"delta":{},"finish_reason":"length"}]}`

func TestTry(t *testing.T) {
	usage := event(`{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}`)
	for _, test := range []struct {
		name, mediaType, body string
		want                  Trial
	}{
		{"a stream", "text/event-stream", event(token) + event(token) + event(finish) + usage + event("[DONE]"),
			Trial{Streamed: true, Tokens: 2, PromptTokens: 7, OutputTokens: 2, Ended: true}},
		{"without usage", "text/event-stream; charset=utf-8", event(token) + event("[DONE]"),
			Trial{Streamed: true, Tokens: 1, PromptTokens: -1, OutputTokens: -1, Ended: true}},
		{"whole", "application/json", `{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],` +
			`"usage":{"prompt_tokens":3,"completion_tokens":1}}`,
			Trial{PromptTokens: 3, OutputTokens: 1, Ended: true}},
	} {
		server := answering(t, 200, test.mediaType, test.body)
		got, err := open(t, server.URL).Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if (got.TTFT > 0) != test.want.Streamed {
			t.Errorf("%s: TTFT %v", test.name, got.TTFT)
		}
		if got.TTFT = 0; *got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, *got, test.want)
		}
	}
	for _, test := range []struct {
		name, mediaType, body string
		cause                 Cause
		text                  string
	}{
		{"no JSON", "text/event-stream", event("oops"), CauseNotAPI, "not a JSON object"},
		{"error object", "text/event-stream", event(`{"error":{"message":"out of memory"}}`), CauseStreamError,
			"brought an error: out of memory"},
		{"error event", "text/event-stream", "event: error\n" + event(`{"message":"died"}`), CauseStreamError, "died"},
		{"no token", "text/event-stream", event(finish) + event("[DONE]"), CauseNoToken, "without a token"},
		{"cut short", "text/event-stream", event(token), CauseCutShort, "without [DONE] or a finish reason"},
		{"a page", "text/html", "<html>hello</html>", CauseNotAPI,
			`neither a stream nor a completion: "<html>hello</html>"`},
	} {
		server := answering(t, 200, test.mediaType, test.body)
		_, err := open(t, server.URL).Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute)
		wantCause(t, err, test.cause, "a trial request to POST http://127.0.0.1:", "/v1/chat/completions: ", test.text)
	}
	_, err := open(t, answering(t, 404, "", "").URL).Try(t.Context(), "/chat/completions", nil, time.Minute)
	wantCause(t, err, CauseNotFound, "HTTP 404")
	server := answering(t, 400, "", `{"error":{"message":"maximum context length"}}`)
	_, err = open(t, server.URL).Try(t.Context(), "/x", nil, time.Minute)
	wantCause(t, err, CauseStatus, "maximum context length")
}

func TestPost(t *testing.T) {
	var path atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path.Store(r.URL.Path + " " + r.Header.Get("Authorization") + " " + r.Header.Get("Content-Type"))
		body, _ := io.ReadAll(r.Body)
		if strings.HasPrefix(string(body), "no") {
			w.WriteHeader(422)
		}
		w.Write(body)
	}))
	defer s.Close()
	e := open(t, s.URL+"/team")
	status, answer, err := e.Post(t.Context(), "/tokenize", []byte("{}"))
	if want := "/team/tokenize Bearer " + canary + " application/json"; err != nil || status != 200 ||
		string(answer) != "{}" || path.Load() != want {
		t.Errorf("%d %q %v, asked %v", status, answer, err, path.Load())
	}
	// An answer that is not what was expected is shown, whatever its status.
	status, answer, err = e.Post(t.Context(), "/tokenize", []byte(canary))
	if err != nil || status != 200 || string(answer) != "[redacted]" {
		t.Errorf("%d %q %v", status, answer, err)
	}
	status, answer, err = e.Post(t.Context(), "/v1/completions", []byte("no "+canary))
	if err != nil || status != 422 || string(answer) != "no [redacted]" {
		t.Errorf("%d %q %v", status, answer, err)
	}
}

func TestCauses(t *testing.T) {
	read := func(c net.Conn) { c.Read(make([]byte, 4096)) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	plain := answering(t, 200, "application/json", `{"data":[{"id":"m"}]}`)
	secure := httptest.NewUnstartedServer(plain.Config.Handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	none := func(*Config) {}
	for _, test := range []struct {
		name, address string
		change        func(*Config)
		cause         Cause
		text          string
	}{
		{"unknown host", "http://no-such-host.invalid", none, CauseUnknownHost,
			`the host "no-such-host.invalid" is not known`},
		{"refused", "http://" + l.Addr().String(), none, CauseRefused, "connection refused"},
		{"not HTTP", "http://" + listen(t, func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n"); read(c) }),
			none, CauseNotHTTP, "not HTTP"},
		{"closed", "http://" + listen(t, read), none, CauseClosed, "closed the connection without an answer"},
		{"no TLS", strings.Replace(plain.URL, "http:", "https:", 1), none, CauseNotTLS, "does not speak TLS"},
		{"no HTTP/2", plain.URL, func(c *Config) { c.HTTP2 = true }, CauseNoHTTP2, "does not speak HTTP/2"},
		{"unknown authority", secure.URL, none, CauseUnknownAuthority, "unknown authority"},
		{"another host's certificate", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1),
			func(c *Config) { c.CAFile = ca }, CauseCertificate, "localhost"},
		{"no handshake", "https://" + listen(t, func(c net.Conn) { io.Copy(io.Discard, c) }),
			func(c *Config) { c.ConnectTimeout = 50 * time.Millisecond }, CauseTimeout, "timeout"},
	} {
		_, err := open(t, test.address, test.change).Models(t.Context())
		wantCause(t, err, test.cause, test.text)
	}
	if ids, err := open(t, secure.URL, func(c *Config) { c.CAFile = ca }).Models(t.Context()); err != nil ||
		len(ids) != 1 {
		t.Errorf("with its own authority: %v, %v", ids, err)
	}
	if ids, err := open(t, secure.URL, func(c *Config) { c.Insecure = true }).Models(t.Context()); err != nil ||
		len(ids) != 1 {
		t.Errorf("not verified: %v, %v", ids, err)
	}
	silent := "http://" + listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	_, err = open(t, silent).Try(t.Context(), "/chat/completions", []byte("{}"), 50*time.Millisecond)
	wantCause(t, err, CauseNoAnswer, "no answer within 50ms")

	base, _, _ := ParseBase(plain.URL)
	empty := filepath.Join(t.TempDir(), "empty")
	os.WriteFile(empty, nil, 0o600)
	for file, text := range map[string]string{empty: "holds no certificate", empty + "-not": "no such file"} {
		_, err := Open(Config{Address: base, CAFile: file})
		wantCause(t, err, CauseCAFile, text)
	}
	if _, err := Open(Config{}); err == nil {
		t.Error("an endpoint without an address")
	}
}

// A redirect to another port or another host is refused and shown; the key does not follow it.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	for _, host := range []string{"127.0.0.1", "localhost"} {
		to := strings.Replace(other.URL, "127.0.0.1", host, 1)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", strings.Replace(to, "://", "://me:hidden-word@", 1)+"/?key="+
				strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			w.WriteHeader(http.StatusTemporaryRedirect)
		}))
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		defer s.Close()
		for _, http2 := range []bool{false, true} { // the load goes by openloop's own client, and by net/http
			e := open(t, s.URL)
			_, errModels := e.Models(t.Context())
			_, errTry := e.Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute)
			for _, err := range []error{errModels, errTry} {
				wantCause(t, err, CauseRedirect, "HTTP 307", "redirects to http://[redacted]@"+host+":",
					"key=[redacted]")
				if strings.Contains(err.Error(), "hidden-word") {
					t.Errorf("%v", err)
				}
			}
			if status, _, err := e.Post(t.Context(), "/tokenize", []byte("{}")); status != 307 || err != nil {
				t.Errorf("%d, %v", status, err)
			}
			target := e.Target("/chat/completions")
			target.HTTP2 = http2
			if details := load(t, target).Details; len(details) != 1 || !strings.Contains(details[0].Error, "307") {
				t.Errorf("HTTP/2 %v: %+v", http2, details)
			}
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests followed the redirect", asked.Load())
	}
}

// load sends one request as a stage would.
func load(t *testing.T, target loadgen.Target) *loadgen.Measured {
	t.Helper()
	client, err := loadgen.NewClient(target)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	measured, err := (&loadgen.Runner{Client: client}).Run(context.Background(),
		loadgen.Stage{
			Load:        loadgen.Load{Kind: loadgen.Synchronous, Streams: 1},
			MaxRequests: 1, KeepDetails: true, KeepTexts: 1,
		},
		loadgen.Hooks{Source: func(int) (loadgen.Request, error) {
			return loadgen.Request{Body: []byte("{}")}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return measured
}

// A server that repeats the key, wherever, gets it into no error, no list of models and no detail of a request.
func TestEchoedKeysAreNotShown(t *testing.T) {
	const second = `gate"way!token`
	key := "Bearer " + canary
	long := strings.Repeat("padding ", 36)
	echo := func(w http.ResponseWriter, r *http.Request) (auth string) {
		io.Copy(io.Discard, r.Body)
		return r.Header.Get("Authorization") + " " + r.Header.Get("X-Gate")
	}
	for name, handler := range map[string]http.HandlerFunc{
		"error body": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, fmt.Sprintf(`{"error":{"message":%q}}`, long+echo(w, r)), http.StatusUnauthorized)
		},
		"plain error body": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, long+"0123 "+echo(w, r), http.StatusForbidden)
		},
		"header": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", echo(w, r))
			w.WriteHeader(503)
		},
		"content type": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", echo(w, r))
			io.WriteString(w, "what "+echo(w, r))
		},
		"stream": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, event(fmt.Sprintf(`{"error":{"message":%q}}`, "no "+echo(w, r))))
		},
		"usage": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, event(fmt.Sprintf(`{"usage":%q}`, echo(w, r))))
		},
		"id and text": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			text := echo(w, r)
			io.WriteString(w, event(fmt.Sprintf(`{"id":%q,"choices":[{"delta":{"content":%q}}]}`, text, text))+
				event("[DONE]"))
		},
		"models": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"data":[{"id":%q}]}`, "model of "+echo(w, r))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(handler)
			defer s.Close()
			e := open(t, s.URL, func(c *Config) { c.Headers = append(c.Headers, Header{"X-Gate", NewSecret(second)}) })
			var shown []string
			ids, err := e.Models(t.Context())
			shown = append(shown, fmt.Sprint(ids), fmt.Sprint(err))
			if name == "models" && fmt.Sprint(ids) != "[model of [redacted] [redacted]]" {
				t.Errorf("%v", ids)
			}
			for err := err; err != nil; err = errors.Unwrap(err) { // nor further down
				shown = append(shown, err.Error())
			}
			_, err = e.Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute)
			for ; err != nil; err = errors.Unwrap(err) {
				shown = append(shown, err.Error())
			}
			status, answer, err := e.Post(t.Context(), "/tokenize", []byte("{}"))
			if shown = append(shown, fmt.Sprint(err)); status != 200 {
				shown = append(shown, string(answer))
			}
			measured := load(t, e.Target("/chat/completions"))
			if len(measured.Details) != 1 {
				t.Fatalf("%d details", len(measured.Details))
			}
			d := measured.Details[0]
			shown = append(shown, d.Error, d.Output, d.ResponseID)
			for _, text := range shown {
				if strings.Contains(text, canary[:12]) || strings.Contains(text, "way!token") ||
					strings.Contains(text, key) {
					t.Errorf("shown: %s", text)
				}
			}
		})
	}
}

func TestTarget(t *testing.T) {
	e := open(t, "https://me:pw@host:8000/x", func(c *Config) { c.HTTP2, c.RequestTimeout = true, time.Minute })
	target := e.Target("/chat/completions")
	if target.URL != "https://host:8000/x/v1/chat/completions" || !target.HTTP2 ||
		target.RequestTimeout != time.Minute || target.Proxy != nil ||
		target.Header.Get("Authorization") != "Bearer "+canary || target.Redact("key "+canary) != "key [redacted]" {
		t.Errorf("%+v", target)
	}
	e.Header().Set("Authorization", "other")
	if e.Header().Get("Authorization") != "Bearer "+canary || e.Base().String() != "https://host:8000/x/v1" {
		t.Error("the endpoint was changed")
	}
}

// A proxy's password is a secret too.
func TestProxyPassword(t *testing.T) {
	base, _, _ := ParseBase("http://somewhere.test")
	e, err := Open(Config{Address: base})
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := http.NewRequest("GET", "http://me:"+canary+"@127.0.0.1:1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	var secrets []Secret
	e.setProxy(proxy.URL, &secrets)
	e.redactor = NewRedactor(secrets...)
	if got := e.Redact("no " + canary); got != "no [redacted]" || e.Target("/x").Proxy != proxy.URL {
		t.Errorf("%q", got)
	}
	_, err = e.Models(t.Context())
	wantCause(t, err, CauseProxy,
		"through the proxy http://127.0.0.1:1: the proxy can't be reached: connection refused")
	if strings.Contains(err.Error(), canary) {
		t.Errorf("%v", err)
	}
}

// The limit for connecting holds for a proxy's answer too.
func TestProxyThatDoesNotAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, scheme := range []string{"http", "https"} {
		e := open(t, "https://host.invalid", func(c *Config) { c.ConnectTimeout = 50 * time.Millisecond })
		e.setProxy(&url.URL{Scheme: scheme, Host: l.Addr().String()}, new([]Secret))
		begin := time.Now()
		_, err := e.Models(t.Context())
		wantCause(t, err, CauseProxy, "through the proxy "+scheme+"://"+l.Addr().String())
		if took := time.Since(begin); took > modelsTime/2 {
			t.Errorf("%s: it took %v", scheme, took)
		}
	}
}
