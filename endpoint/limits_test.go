package endpoint

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// listen serves every connection in its own way, and returns the address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { serve(c); c.Close() }()
		}
	}()
	return l.Addr().String()
}

// raw is a server that reads each request and then writes what it is given, byte for byte.
func raw(t *testing.T, answer func(io.Writer)) string {
	t.Helper()
	return "http://" + listen(t, func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		answer(c)
	})
}

// endless writes a text until the client has gone.
func endless(w io.Writer, text string) {
	chunk := []byte(strings.Repeat(text, 1+64<<10/len(text)))
	for {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// Whatever a server sends, what is taken of it has a limit, and the error names it; what is odd is called by its name.
func TestAnswersHaveLimits(t *testing.T) {
	const ok, sse = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range 256 {
		z.Write(zeros)
	}
	z.Close()
	encoded := func(encoding string) string {
		return "HTTP/1.1 200 OK\r\nContent-Encoding: " + encoding + "\r\nContent-Length: " +
			fmt.Sprint(bomb.Len()) + "\r\n\r\n" + bomb.String()
	}
	says := func(text string) func(io.Writer) { return func(w io.Writer) { io.WriteString(w, text) } }
	begins := func(head, more string) func(io.Writer) {
		return func(w io.Writer) { io.WriteString(w, head); endless(w, more) }
	}
	for _, test := range []struct {
		name   string
		answer func(io.Writer)
		cause  Cause
		text   string
		trial  bool // of a trial alone
	}{
		{"a long head", begins("HTTP/1.1 200 OK\r\n", "X-A: "+strings.Repeat("a", 1000)+"\r\n"), CauseLimit,
			"the head of the answer is longer than 1 MB", false},
		{"an endless line of a head", begins("HTTP/1.1 200 OK\r\nX-A: ", "a"), CauseLimit,
			"the head of the answer is longer than 1 MB", false},
		{"interim answers", begins("", "HTTP/1.1 103 Early Hints\r\n\r\n"), CauseLimit,
			"more than 20 interim answers (status 1xx)", false},
		{"status 000", says("HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"), CauseBadHTTP,
			"has the status 000", false},
		{"status 099", says("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"), CauseBadHTTP,
			"has the status 099", false},
		{"an endless body", begins(ok, " "), CauseLimit, "the answer is longer than 8 MB", false},
		{"an endless error", begins("HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\n", "e "), CauseStatus, "HTTP 500",
			false},
		{"gzip", says(encoded("gzip")), CauseCompressed, "is compressed (gzip), which openloop did not ask for", false},
		{"br", says(encoded("br")), CauseCompressed, "is compressed (br), which", false},
		{"deflate", says(encoded("deflate")), CauseCompressed, "is compressed (deflate), which", false},
		{"a compressed error", says("HTTP/1.1 401 No\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"),
			CauseKeyRejected, "HTTP 401 Unauthorized: the answer is compressed (gzip)", false},
		{"a cut body", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), CauseCutShort,
			"broke off after 1 byte: the server closed the connection", false},
		{"a bad chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), CauseBadHTTP,
			"broke off after 0 bytes: invalid byte in chunk length", false},
		{"a bad head", says("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), CauseBadHTTP,
			`breaks the rules of HTTP: malformed MIME header: missing colon: "no colon"`, false},
		{"frames of HTTP/2", says("\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x40\x00\x00"),
			CauseHTTP2Only, "speaks HTTP/2 only", false},
		{"HTTP/1.1 not wanted", says("HTTP/1.1 505 No\r\nContent-Length: 0\r\n\r\n"), CauseHTTP2Only, "HTTP 505",
			false},
		{"an endless event", begins(sse+"data: ", "x"), CauseLimit,
			"an event of the stream is longer than 16 MB", true},
		{"endless comments", begins(sse, ": ping\n\n"), CauseLimit, "of one short request is longer than 64 MB", true},
		{"a cut stream", says("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\n" +
			event(token) + event(token)), CauseCutShort, "broke off after 2 tokens: the server closed", true},
		{"a compressed stream", says(strings.Replace(sse, "\r\n", "\r\nContent-Encoding: gzip\r\n", 1)),
			CauseCompressed, "is compressed (gzip)", true},
	} {
		e := open(t, raw(t, test.answer))
		_, err := e.Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute)
		wantCause(t, err, test.cause, test.text)
		if !test.trial {
			_, err = e.Models(t.Context())
			wantCause(t, err, test.cause, test.text)
		}
		if _, _, err = e.Post(t.Context(), "/tokenize", nil); test.cause == CauseLimit && !test.trial {
			wantCause(t, err, test.cause, test.text)
		}
		if t.Failed() {
			t.Fatal(test.name)
		}
	}
	e := open(t, raw(t, says(encoded("gzip"))), func(c *Config) {
		c.Headers = append(c.Headers, Header{"Accept-Encoding", NewSecret("gzip")})
	})
	_, err := e.Models(t.Context())
	wantCause(t, err, CauseCompressed, "as the Accept-Encoding that was given asks for")
}

// The limit on time is named, and how far the answer had come.
func TestAnswersHaveATimeLimit(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
	wait := make(chan struct{})
	t.Cleanup(func() { close(wait) })
	e := open(t, raw(t, func(w io.Writer) { io.WriteString(w, head+event(token)); <-wait }))
	_, err := e.Try(t.Context(), "/chat/completions", []byte("{}"), 100*time.Millisecond)
	wantCause(t, err, CauseNoAnswer, "was not at its end within 100ms: 1 token had come")
}

// What a proxy does is called the proxy's, without its password.
func TestProxyIsNamed(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer refusing.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, test := range []struct{ target, proxy, text string }{
		{"http://host.invalid", "http://" + l.Addr().String(), "the proxy can't be reached: connection refused"},
		{"https://host.invalid", "http://" + l.Addr().String(), "the proxy can't be reached: connection refused"},
		{"http://host.invalid", "socks5://" + l.Addr().String(), "the proxy can't be reached: connection refused"},
		{"http://host.invalid", "http://proxy.invalid:80",
			`the proxy can't be reached: the host "proxy.invalid" is not known`},
		{"http://host.invalid", refusing.URL, "HTTP 407 Proxy Authentication Required"},
		{"https://host.invalid", refusing.URL, "the proxy refuses to connect: HTTP 407 Proxy Authentication Required"},
	} {
		proxy, err := url.Parse(strings.Replace(test.proxy, "://", "://me:"+canary+"@", 1))
		if err != nil {
			t.Fatal(err)
		}
		e := open(t, test.target)
		var secrets []Secret
		e.setProxy(proxy, &secrets)
		_, err = e.Models(t.Context())
		wantCause(t, err, CauseProxy, "through the proxy "+test.proxy+": ", test.text)
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%v", err)
		}
	}
}

// net/http goes without a proxy whose address it can't read.
func TestBadProxyIsNotDropped(t *testing.T) {
	for _, test := range []struct {
		target string
		env    map[string]string
		want   string
	}{
		{"http://host", map[string]string{"HTTP_PROXY": "http://me:%zz" + canary + "@proxy"},
			`HTTP_PROXY is "http://[redacted]@proxy", which is not the address of a proxy`},
		{"https://host", map[string]string{"https_proxy": "me:%zz" + canary + "@proxy"},
			`https_proxy is "[redacted]@proxy"`},
		{"https://host", map[string]string{"HTTP_PROXY": "http://me:%zz@proxy"}, ""},
		{"http://host", map[string]string{"HTTP_PROXY": "proxy:3128"}, ""},
		{"http://host", map[string]string{"HTTP_PROXY": "http://me:pw@proxy:3128"}, ""},
		{"http://host", map[string]string{"HTTP_PROXY": "http://%zz@proxy", "NO_PROXY": "*"}, ""},
		{"http://127.0.0.1", map[string]string{"HTTP_PROXY": "http://%zz@proxy"}, ""},
		{"http://host", nil, ""},
	} {
		a, _, err := ParseBase(test.target)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := badProxy(a, func(name string) string { return test.env[name] }); err != nil {
			got = err.Error()
		}
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) || strings.Contains(got, canary) {
			t.Errorf("%s with %v: %q, want %q", test.target, test.env, got, test.want)
		}
	}
}

// No text of a server brings what a terminal would obey.
func TestControlCharactersAreTakenOut(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\u009b31m\u202e\x7f"
	body := fmt.Sprintf(`{"error":{"message":%q}}`, "bad")
	body = strings.Replace(body, "bad", `bad\u001b]0;owned\u0007\u001b[2J\u009b31m\u202e\u007f`, 1)
	for _, test := range []struct {
		status          int
		mediaType, body string
	}{
		{500, "application/json", body}, {500, "text/plain", evil}, {200, "text/plain", evil},
		{200, "text/event-stream", event(strings.TrimSpace(body))}, {200, "text/\u009b31m", "{}"},
	} {
		e := open(t, answering(t, test.status, test.mediaType, test.body).URL)
		_, errModels := e.Models(t.Context())
		_, errTry := e.Try(t.Context(), "/chat/completions", []byte("{}"), time.Minute)
		for _, err := range []error{errModels, errTry} {
			if err == nil || strings.ContainsAny(err.Error(), evil[:1]+"\x07\u009b\u202e\x7f") {
				t.Errorf("%d %q: %q", test.status, test.body, err)
			}
		}
	}
}
