package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const canary = "sk-canary-0123456789abcdefghijklmnopqrstuvwxyz"

// completion is a whole stream of server-sent events: a role, the texts, the end, usage, [DONE].
func completion(texts ...string) string {
	var b strings.Builder
	event := func(format string, args ...any) { fmt.Fprintf(&b, "data: "+format+"\n\n", args...) }
	event(`{"id":"cmpl-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`)
	for _, text := range texts {
		event(`{"id":"cmpl-1","choices":[{"index":0,"delta":{"content":%q},"finish_reason":null}]}`, text)
	}
	event(`{"id":"cmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"length"}]}`)
	event(`{"id":"cmpl-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":%d}}`, len(texts))
	event("[DONE]")
	return b.String()
}

// chunked puts each event into a chunk of its own.
func chunked(stream string) string {
	var b strings.Builder
	for _, event := range strings.SplitAfter(stream, "\n\n") {
		if event != "" {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(event), event)
		}
	}
	return b.String() + "0\r\n\r\n"
}

// sized is a response with its body's length in its head.
func sized(status, mediaType, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", status, mediaType, len(body), body)
}

const (
	sseHead     = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
	chunkedHead = sseHead + "Transfer-Encoding: chunked\r\n\r\n"
)

// answer is what one exchange left.
type answer struct {
	Record
	Detail
	gaps []int64
}

// post sends one request.
func post(ctx context.Context, t *testing.T, c *Client, body string) answer {
	t.Helper()
	x := newExchange(ctx, c, newClock())
	var a answer
	x.shard, x.rec, x.detail = &shard{}, &a.Record, &a.Detail
	a.PromptTokens, a.OutputTokens, a.CachedTokens = -1, -1, -1
	a.Body = []byte(body) // texts are kept
	x.prepare(a.Body)
	x.do(a.Body)
	x.unwatch()
	a.gaps = x.gaps
	checkOrder(t, &a.Record)
	return a
}

// checkOrder checks that what happened is stamped in the order in which it happened.
func checkOrder(t *testing.T, r *Record) {
	t.Helper()
	last := int64(0)
	for _, at := range []struct {
		name string
		ns   int64
	}{{"sent", r.Sent}, {"first event", r.FirstEvent}, {"first token", r.FirstToken}, {"last token", r.LastToken}, {"last event", r.LastEvent}, {"end", r.End}} {
		if at.ns == 0 {
			continue
		}
		if at.ns < last {
			t.Errorf("%s at %d ns comes before what went before it, at %d: %+v", at.name, at.ns, last, *r)
		}
		last = at.ns
	}
}

// server is a server by hand: every connection is given to serve, and closed after it.
func server(t *testing.T, serve func(c net.Conn, r *bufio.Reader)) (target Target, connections *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	connections = new(atomic.Int32)
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			running.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				serve(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return Target{URL: "http://" + l.Addr().String() + "/v1/chat/completions"}, connections
}

// request reads one request; nil at the end of the connection.
func request(r *bufio.Reader) *http.Request {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	return req
}

func newClient(t *testing.T, target Target) *Client {
	t.Helper()
	c, err := NewClient(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestResponses(t *testing.T) {
	ok := completion("Hel", "lo ", "wörld")
	cut := func(s, at string) string { i := strings.Index(s, at); return s[:i] }
	const helloTokens = 3
	type want struct {
		status Status
		kind   ErrorKind
		http   int16
		tokens int32
		text   string
		output int32  // usage
		error  string // part of the error
		reuse  bool   // the connection serves another request
	}
	fine := want{Completed, NoError, 200, helloTokens, "Hello wörld", 3, "", true}
	closed := fine
	closed.reuse = false
	failed := func(kind ErrorKind, http int16, tokens int32, text, message string) want {
		return want{Errored, kind, http, tokens, text, -1, message, false}
	}
	reusable := func(w want) want { w.reuse = true; return w }

	tests := []struct {
		name     string
		response string
		want     want
	}{
		{"chunked", chunkedHead + chunked(ok), fine},
		{"content length", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", sseHead, len(ok), ok), fine},
		{"until close", sseHead + "\r\n" + ok, closed},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + ok, closed},
		{"HTTP/1.0 with a length", fmt.Sprintf("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", len(ok), ok), closed},
		{"Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(ok), closed},
		{"heads of the 1xx kind", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + chunkedHead + chunked(ok), fine},
		{"bare line feeds", strings.ReplaceAll(chunkedHead, "\r\n", "\n") + chunked(ok), fine},
		{"content type in capitals", "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream ;x=y\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(ok), fine},
		{"CRLF in the stream", chunkedHead + chunked(strings.ReplaceAll(ok, "\n", "\r\n")), fine},
		{"comments and empty events in between", chunkedHead + chunked(strings.ReplaceAll(ok, "\n\n", "\n\n: ping\n\ndata: \n\n")), fine},
		{"a huge header", sseHead + "X-Huge: " + strings.Repeat("h", 100<<10) + "\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(ok), fine},
		{"trailers", chunkedHead + strings.TrimSuffix(chunked(ok), "\r\n") + "X-Trailer: 1\r\n\r\n", fine},
		{"no blank line after [DONE]", chunkedHead + chunked(strings.TrimSuffix(ok, "\n\n")), fine},
		{"no [DONE] but a finish reason", chunkedHead + chunked(cut(ok, "data: [DONE]")), fine},
		{"cut after [DONE], in the framing", cut(chunkedHead+chunked(ok), "\r\n0\r\n\r\n"), closed},
		{"bytes after the response", chunkedHead + chunked(ok) + "HTTP/1.1 500 What\r\n\r\n", closed},

		{"no finish reason, no [DONE]", chunkedHead + chunked(cut(ok, `data: {"id":"cmpl-1","choices":[{"index":0,"delta":{},`)),
			reusable(failed(ErrTruncated, 200, helloTokens, "Hello wörld", "without [DONE]"))},
		{"no finish reason, until close", sseHead + "\r\n" + cut(ok, `data: {"id":"cmpl-1","choices":[{"index":0,"delta":{"content":"w`),
			failed(ErrTruncated, 200, 2, "Hello ", "without [DONE]")},
		{"cut in an event, until close", sseHead + "\r\n" + cut(ok, "wörld"), failed(ErrTruncated, 200, 2, "Hello ", "without [DONE]")},
		{"an empty stream", chunkedHead + "0\r\n\r\n", reusable(failed(ErrTruncated, 200, 0, "", "without [DONE]"))},
		{"an empty stream of a length", sseHead + "Content-Length: 0\r\n\r\n", reusable(failed(ErrTruncated, 200, 0, "", "without [DONE]"))},
		{"cut between chunks", cut(chunkedHead+chunked(ok), `data: {"id":"cmpl-1","choices":[],`), failed(ErrReset, 200, helloTokens, "Hello wörld", "closed the connection")},
		{"cut in a chunk", cut(chunkedHead+chunked(ok), "wörld"), failed(ErrReset, 200, 2, "Hello ", "closed the connection")},
		{"cut short of its length", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", sseHead, len(ok), cut(ok, "wörld")), failed(ErrReset, 200, 2, "Hello ", "closed the connection")},
		{"cut in the head", "HTTP/1.1 200 OK\r\nContent-Ty", failed(ErrReset, 0, 0, "", "closed the connection")},
		{"closed without an answer", "", failed(ErrReset, 0, 0, "", "closed the connection")},

		{"error object in the stream", chunkedHead + chunked("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\ndata: [DONE]\n\n"),
			reusable(failed(ErrServer, 200, 0, "", "out of memory"))},
		{"error object after tokens", chunkedHead + chunked(cut(ok, `data: {"id":"cmpl-1","choices":[{"index":0,"delta":{"content":"w`)+"data: {\"error\":\"engine died\"}\n\n"),
			reusable(failed(ErrServer, 200, 2, "Hello ", "engine died"))},
		{"error event", chunkedHead + chunked("event: error\ndata: {\"message\":\"went wrong\"}\n\n"), reusable(failed(ErrServer, 200, 0, "", "went wrong"))},
		{"error event of plain text", chunkedHead + chunked("event: error\ndata: boom\n\n"), reusable(failed(ErrServer, 200, 0, "", "boom"))},
		{"no JSON in an event", chunkedHead + chunked("data: oops\n\ndata: [DONE]\n\n"), reusable(failed(ErrMalformed, 200, 0, "", "no JSON object"))},
		{"bad framing", chunkedHead + "5\r\ndata:XXXX", failed(ErrMalformed, 200, 0, "", "chunked")},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n", failed(ErrMalformed, 0, 0, "", "SSH-2.0")},
		{"a broken status line", "HTTP/1.1 abc\r\n\r\n", failed(ErrMalformed, 0, 0, "", "no HTTP response")},
		{"a head without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10), failed(ErrMalformed, 0, 0, "", "no HTTP response")},
		{"protocols switched", "HTTP/1.1 101 Switching Protocols\r\n\r\n", failed(ErrStatus, 101, 0, "", "101")},

		{"whole response", sized("200 OK", "application/json", `{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hello wörld"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`),
			want{Completed, NoError, 200, 0, "Hello wörld", 3, "", true}},
		{"whole response, chunked", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
			chunked(`{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hello wörld"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`),
			want{Completed, NoError, 200, 0, "Hello wörld", 3, "", true}},
		{"whole response, no JSON", sized("200 OK", "application/json", `{"id":"c","choices":[{"ind`), reusable(failed(ErrMalformed, 200, 0, "", "neither a stream nor a completion"))},
		{"whole response, no completion", sized("200 OK", "application/json", `{"models":[]}`), reusable(failed(ErrMalformed, 200, 0, "", `{\"models\":[]}`))},
		{"an error with status 200", sized("200 OK", "application/json", `{"error":{"message":"nope!"}}`), reusable(failed(ErrServer, 200, 0, "", "nope!"))},
		{"a web page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", reusable(failed(ErrMalformed, 200, 0, "", "text/html"))},

		{"400 with vLLM's body", sized("400 Bad Request", "application/json", `{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}`), reusable(failed(ErrStatus, 400, 0, "", "HTTP 400 Bad Request: too long"))},
		{"422 with FastAPI's body", sized("422 Unprocessable Entity", "application/json", `{"detail":"no sir"}`), reusable(failed(ErrStatus, 422, 0, "", "no sir"))},
		{"429", "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", reusable(failed(ErrStatus, 429, 0, "", "HTTP 429 Too Many Requests (Retry-After: 7)"))},
		{"500 until close", "HTTP/1.1 500 Internal Server Error\r\n\r\nbroken", failed(ErrStatus, 500, 0, "", "broken")},
		{"503 cut", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nno upstream", failed(ErrStatus, 503, 0, "", "HTTP 503 Service Unavailable: no upstream")},
		{"404 with an endless body", "HTTP/1.1 404 Not Found\r\n\r\n" + strings.Repeat("blah ", 40<<10), failed(ErrStatus, 404, 0, "", "blah blah")},
		{"unknown status", "HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", reusable(failed(ErrStatus, 599, 0, "", "HTTP 599"))},
		{"201", "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", reusable(failed(ErrStatus, 201, 0, "", "201"))},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", reusable(failed(ErrStatus, 204, 0, "", "204"))},
		{"redirect", "HTTP/1.1 307 Temporary Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", reusable(failed(ErrStatus, 307, 0, "", "307"))},
	}
	for _, piece := range []int{1 << 20, 7} {
		for _, test := range tests {
			if piece < 100 && len(test.response) > 10_000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", test.name, piece), func(t *testing.T) {
				t.Parallel()
				target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
					for n := 0; request(r) != nil; n++ {
						for rest := test.response; rest != ""; {
							p := rest[:min(piece, len(rest))]
							rest = rest[len(p):]
							if _, err := io.WriteString(c, p); err != nil {
								return
							}
							if piece < 100 && len(rest)%10 == 0 {
								time.Sleep(10 * time.Microsecond)
							}
						}
						if !test.want.reuse {
							return
						}
					}
				})
				c := newClient(t, target)
				for range 2 {
					a := post(t.Context(), t, c, `{"stream":true}`)
					got := want{a.Status, a.Err, a.HTTPStatus, a.TokenEvents, a.Output, a.OutputTokens, test.want.error, test.want.reuse}
					if got != test.want || !strings.Contains(a.Error, test.want.error) || a.Error != "" && test.want.status == Completed {
						t.Fatalf("got  %+v\nerror %q\nwant %+v", got, a.Error, test.want)
					}
					if a.Sent == 0 || a.End < a.Sent || a.Flags&Retried != 0 {
						t.Errorf("sent %d, end %d, flags %b", a.Sent, a.End, a.Flags)
					}
				}
				if n := connections.Load(); n == 1 != test.want.reuse {
					t.Errorf("%d connections for two requests, want reuse: %v", n, test.want.reuse)
				}
			})
		}
	}
}

func TestWhatARecordHolds(t *testing.T) {
	target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
		for request(r) != nil {
			io.WriteString(c, chunkedHead)
			for _, event := range strings.SplitAfter(completion("a b", " c", "\n", "d"), "\n\n") {
				if event != "" {
					fmt.Fprintf(c, "%x\r\n%s\r\n", len(event), event)
					time.Sleep(2 * time.Millisecond)
				}
			}
			io.WriteString(c, "0\r\n\r\n")
		}
	})
	c := newClient(t, target)
	first := post(t.Context(), t, c, "{}")
	second := post(t.Context(), t, c, "{}")
	if first.Flags&NewConnection == 0 || first.Connecting <= 0 {
		t.Errorf("first: flags %b, connecting %d ns, want a new connection", first.Flags, first.Connecting)
	}
	if second.Flags&NewConnection != 0 || second.Connecting != 0 {
		t.Errorf("second: flags %b, connecting %d ns, want the open connection", second.Flags, second.Connecting)
	}
	for _, a := range []answer{first, second} {
		if a.Output != "a b c\nd" || a.OutputWords != 4 || a.OutputChars != 7 || a.PromptTokens != 7 || a.OutputTokens != 4 || a.CachedTokens != -1 ||
			a.ResponseID != "cmpl-1" || a.Finish != FinishLength || a.TokenEvents != 4 || a.Lines != 16 || a.Flags&(Streamed|FinishedByDone) != Streamed|FinishedByDone {
			t.Errorf("%+v", a)
		}
		if len(a.gaps) != 3 {
			t.Fatalf("%d gaps, want 3", len(a.gaps))
		}
		sum := int64(0)
		for _, gap := range a.gaps {
			sum += gap
		}
		if sum != a.LastToken-a.FirstToken || sum < int64(3*2*time.Millisecond) {
			t.Errorf("gaps sum to %d ns, first to last token is %d; at least 6 ms passed between them", sum, a.LastToken-a.FirstToken)
		}
		if !(a.FirstEvent < a.FirstToken && a.LastToken < a.LastEvent && a.LastEvent < a.End) {
			t.Errorf("the role, the tokens, the usage, [DONE] and the end came at different times, got %+v", a.Record)
		}
	}
}

func TestTheRequestIsWrittenAsAsked(t *testing.T) {
	requests := make(chan *http.Request, 1)
	target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
		requests <- request(r)
		io.WriteString(c, chunkedHead+chunked(completion("a")))
	})
	target.URL = strings.Replace(target.URL, "http://", "http://us%40er:pa%3Ass@", 1) + "?a=b%20c"
	target.Header = http.Header{"X-One": {"1", "2"}, "Host": {"other.example"}, "Content-Length": {"9"}, "Connection": {"close"}, "x-low": {"3"}}
	c := newClient(t, target)
	if a := post(t.Context(), t, c, `{"x":"é"}`); a.Status != Completed {
		t.Fatal(a.Error)
	}
	got := <-requests
	body, _ := io.ReadAll(got.Body)
	user, password, _ := got.BasicAuth()
	if got.Method != "POST" || got.RequestURI != "/v1/chat/completions?a=b%20c" || got.Host != "other.example" || user != "us@er" || password != "pa:ss" ||
		strings.Join(got.Header["X-One"], ",") != "1,2" || got.Header.Get("Content-Type") != "application/json" || got.ContentLength != 10 || got.Close ||
		!strings.Contains(got.Header.Get("Accept"), "text/event-stream") || got.Header.Get("User-Agent") != "openloop" || string(body) != `{"x":"é"}` {
		t.Errorf("got %+v with body %q", got, body)
	}
	if c.target.Header.Get("Host") != "" || target.Header.Get("Content-Length") != "9" {
		t.Error("the caller's headers were changed")
	}
}

func TestClosedIdleConnections(t *testing.T) {
	good := chunkedHead + chunked(completion("a"))

	t.Run("closed before the request", func(t *testing.T) {
		gone := make(chan struct{}, 1)
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			io.WriteString(c, good)
			c.Close()
			gone <- struct{}{}
		})
		c := newClient(t, target)
		for range 3 {
			if a := post(t.Context(), t, c, "{}"); a.Status != Completed || a.Flags&NewConnection == 0 {
				t.Fatalf("%v %q, flags %b", a.Status, a.Error, a.Flags)
			}
			<-gone
			time.Sleep(5 * time.Millisecond) // for the FIN
		}
		if n := connections.Load(); n != 3 {
			t.Errorf("%d connections, want 3", n)
		}
	})

	// From here on the second request reaches a connection that is still open, and is closed by it.
	second := func(last string) (Target, *atomic.Int32, *atomic.Int32) {
		var requests atomic.Int32
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			for n := 0; request(r) != nil; n++ {
				requests.Add(1)
				if n == 1 {
					io.WriteString(c, last)
					return
				}
				io.WriteString(c, good)
			}
		})
		return target, connections, &requests
	}
	t.Run("closed at the request: sent again once", func(t *testing.T) {
		target, connections, requests := second("")
		c := newClient(t, target)
		post(t.Context(), t, c, "{}")
		a := post(t.Context(), t, c, "{}")
		if a.Status != Completed || a.Flags&(Retried|NewConnection) != Retried|NewConnection || a.TokenEvents != 1 {
			t.Errorf("%v %q, flags %b, %d tokens", a.Status, a.Error, a.Flags, a.TokenEvents)
		}
		if connections.Load() != 2 || requests.Load() != 3 {
			t.Errorf("%d connections and %d requests, want 2 and 3", connections.Load(), requests.Load())
		}
	})
	for name, part := range map[string]string{"a byte": "H", "a head of the 1xx kind": "HTTP/1.1 100 Continue\r\n\r\n", "a head": chunkedHead} {
		t.Run("closed after "+name+": not sent again", func(t *testing.T) {
			target, _, requests := second(part)
			c := newClient(t, target)
			post(t.Context(), t, c, "{}")
			a := post(t.Context(), t, c, "{}")
			if a.Status != Errored || a.Err != ErrReset || a.Flags&Retried != 0 || requests.Load() != 2 {
				t.Errorf("%v %v %q, flags %b, %d requests", a.Status, a.Err, a.Error, a.Flags, requests.Load())
			}
		})
	}
	t.Run("never sent a third time", func(t *testing.T) {
		var requests atomic.Int32
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			for request(r) != nil {
				if requests.Add(1) > 2 {
					return
				}
				io.WriteString(c, good)
			}
		})
		c := newClient(t, target)
		// Two connections lie idle.
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { post(t.Context(), t, c, "{}") })
		}
		both.Wait()
		a := post(t.Context(), t, c, "{}")
		if n := requests.Load(); a.Status != Errored || a.Err != ErrReset || a.Flags&Retried == 0 || n != 4 {
			t.Errorf("%v %v, flags %b, %d requests; want an error after one retry (4)", a.Status, a.Err, a.Flags, n)
		}
	})
	t.Run("a fresh connection is never tried again", func(t *testing.T) {
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) { request(r) })
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Status != Errored || a.Err != ErrReset || connections.Load() != 1 {
			t.Errorf("%v %v after %d connections", a.Status, a.Err, connections.Load())
		}
	})
	t.Run("unasked bytes make a connection unfit", func(t *testing.T) {
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			for request(r) != nil {
				io.WriteString(c, good)
				time.Sleep(3 * time.Millisecond)
				io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n")
			}
		})
		c := newClient(t, target)
		for range 2 {
			if a := post(t.Context(), t, c, "{}"); a.Status != Completed {
				t.Errorf("%v %q", a.Status, a.Error)
			}
			time.Sleep(15 * time.Millisecond)
		}
		if connections.Load() != 2 {
			t.Errorf("%d connections, want 2", connections.Load())
		}
	})
}

// quick fails a test in which something took so long that it must have hung.
func quick(t *testing.T, start time.Time, limit time.Duration) {
	t.Helper()
	if d := time.Since(start); d > limit {
		t.Errorf("took %v, want less than %v", d, limit)
	}
}

func TestTimeLimits(t *testing.T) {
	t.Parallel()
	silent := func(prefix string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, r *bufio.Reader) {
			request(r)
			io.WriteString(c, prefix)
			r.ReadByte() // until the client goes
		}
	}
	ok := completion("a", "b")

	for name, prefix := range map[string]string{"no head": "", "half a head": "HTTP/1.1 200", "in the stream": chunkedHead + strings.TrimSuffix(chunked(ok[:300]), "0\r\n\r\n")} {
		t.Run("request timeout, "+name, func(t *testing.T) {
			target, _ := server(t, silent(prefix))
			target.RequestTimeout = 60 * time.Millisecond
			start := time.Now()
			a := post(t.Context(), t, newClient(t, target), "{}")
			if a.Status != Errored || a.Err != ErrTimeout || !strings.Contains(a.Error, "60ms") || a.Flags&Retried != 0 {
				t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
			}
			if d := a.End - a.Sent; d < int64(60*time.Millisecond) {
				t.Errorf("ended after %d ns", d)
			}
			quick(t, start, 5*time.Second)
		})
	}
	t.Run("request timeout does not outlive its request", func(t *testing.T) {
		target, connections := server(t, func(c net.Conn, r *bufio.Reader) {
			for n := 0; request(r) != nil; n++ {
				io.WriteString(c, chunkedHead+chunked(ok))
			}
		})
		target.RequestTimeout = 300 * time.Millisecond
		c := newClient(t, target)
		for range 4 {
			if a := post(t.Context(), t, c, "{}"); a.Status != Completed {
				t.Fatalf("%v %q", a.Status, a.Error)
			}
			time.Sleep(120 * time.Millisecond)
		}
		if connections.Load() != 1 {
			t.Errorf("%d connections, want 1", connections.Load())
		}
	})
	for name, prefix := range map[string]string{
		"after [DONE]":            strings.TrimSuffix(chunkedHead+chunked(ok), "0\r\n\r\n"),
		"after [DONE], unchunked": sseHead + "\r\n" + ok,
	} {
		t.Run("kept open "+name, func(t *testing.T) {
			target, _ := server(t, silent(prefix))
			start := time.Now()
			a := post(t.Context(), t, newClient(t, target), "{}")
			if a.Status != Completed || a.TokenEvents != 2 {
				t.Errorf("%v %q, %d tokens", a.Status, a.Error, a.TokenEvents)
			}
			if a.End-a.LastEvent > int64(tailTime)/2 {
				t.Errorf("the wait for the end of the connection was counted: %d ns", a.End-a.LastEvent)
			}
			quick(t, start, 5*time.Second)
		})
	}
	t.Run("comments for ever after [DONE]", func(t *testing.T) {
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			_, err := io.WriteString(c, sseHead+"\r\n"+ok)
			for err == nil {
				time.Sleep(50 * time.Millisecond)
				_, err = io.WriteString(c, ": ping\n\n")
			}
		})
		start := time.Now()
		if a := post(t.Context(), t, newClient(t, target), "{}"); a.Status != Completed {
			t.Errorf("%v %q", a.Status, a.Error)
		}
		quick(t, start, 5*time.Second)
	})
	for name, prefix := range map[string]string{
		"after an error in the stream": chunkedHead + strings.TrimSuffix(chunked("data: {\"error\":\"died\"}\n\n"), "0\r\n\r\n"),
		"in the body of an HTTP error": "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000\r\n\r\ndied",
	} {
		t.Run("kept open "+name, func(t *testing.T) {
			target, _ := server(t, silent(prefix))
			start := time.Now()
			a := post(t.Context(), t, newClient(t, target), "{}")
			if a.Status != Errored || !strings.Contains(a.Error, "died") {
				t.Errorf("%v %q", a.Status, a.Error)
			}
			quick(t, start, 5*time.Second)
		})
	}
	t.Run("connect timeout", func(t *testing.T) {
		target := Target{URL: "http://127.0.0.1:1/", ConnectTimeout: 50 * time.Millisecond,
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }}
		start := time.Now()
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "within 50ms") || a.Sent != 0 {
			t.Errorf("%v %v %q, sent %d", a.Status, a.Err, a.Error, a.Sent)
		}
		quick(t, start, 5*time.Second)
	})
	t.Run("TLS handshake without an answer", func(t *testing.T) {
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
		target.URL = strings.Replace(target.URL, "http://", "https://", 1)
		target.ConnectTimeout = 50 * time.Millisecond
		start := time.Now()
		a := post(t.Context(), t, newClient(t, target), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "within 50ms") {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
		quick(t, start, 5*time.Second)
	})
	t.Run("connection refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		a := post(t.Context(), t, newClient(t, Target{URL: "http://" + l.Addr().String()}), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "refused") {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
}

func TestCancellation(t *testing.T) {
	for name, prefix := range map[string]string{"before the head": "", "in the stream": chunkedHead + strings.TrimSuffix(chunked(completion("a", "b")[:300]), "0\r\n\r\n")} {
		for _, timeout := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprintf("%s, request timeout %v", name, timeout), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
					request(r)
					io.WriteString(c, prefix)
					time.AfterFunc(10*time.Millisecond, cancel)
					r.ReadByte() // the client goes
					close(ended)
				})
				target.RequestTimeout = timeout
				start := time.Now()
				a := post(ctx, t, newClient(t, target), "{}")
				if a.Status != Incomplete || a.Err != NoError || a.Error != "Request was cancelled" || a.Sent == 0 {
					t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
				}
				<-ended
				quick(t, start, 5*time.Second)
			})
		}
	}
	t.Run("before it was sent", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target := Target{URL: "http://127.0.0.1:1/", Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		if a := post(ctx, t, newClient(t, target), "{}"); a.Status != NotSent || a.Sent != 0 {
			t.Errorf("%v %q, sent %d", a.Status, a.Error, a.Sent)
		}
	})
	t.Run("while a large request is being written", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			time.AfterFunc(20*time.Millisecond, cancel)
			<-ctx.Done() // and reads nothing
		})
		start := time.Now()
		a := post(ctx, t, newClient(t, target), strings.Repeat("x", 32<<20))
		if a.Status != Incomplete {
			t.Errorf("%v %q", a.Status, a.Error)
		}
		quick(t, start, 5*time.Second)
	})
	t.Run("what had failed by itself stays failed", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
			request(r)
			io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nno")
			time.AfterFunc(20*time.Millisecond, cancel)
			r.ReadByte()
		})
		if a := post(ctx, t, newClient(t, target), "{}"); a.Status != Errored || a.Err != ErrStatus || a.HTTPStatus != 503 {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
}

// A server may refuse a request before it has read it all, and close: its answer must not be lost behind "broken pipe".
func TestAnswerBeforeTheRequestIsRead(t *testing.T) {
	target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
		r.ReadByte()
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo long")
		c.(*net.TCPConn).CloseWrite()
		time.Sleep(30 * time.Millisecond)
	})
	a := post(t.Context(), t, newClient(t, target), strings.Repeat("x", 16<<20))
	if a.Status != Errored || a.Err != ErrStatus && a.Err != ErrSend && a.Err != ErrReset {
		t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
	}
	if a.Err == ErrStatus && !strings.Contains(a.Error, "413 Request Entity Too Large: too long") {
		t.Errorf("error %q", a.Error)
	}
}

func streamHandler(texts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Proto", r.Proto)
		for _, event := range strings.SplitAfter(completion(texts...), "\n\n") {
			io.WriteString(w, event)
			w.(http.Flusher).Flush()
		}
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(streamHandler("a", "b"))
	s.Config.ErrorLog = discardLog
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())

	t.Run("a CA of one's own", func(t *testing.T) {
		c := newClient(t, Target{URL: s.URL, TLS: &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}}})
		stamped := 0 // the kernel begins to stamp some time after it is asked to
		for i := 0; i < 3 || i < 1000 && c.StampSource() == KernelStamps && stamped == 0; i++ {
			a := post(t.Context(), t, c, "{}")
			if a.Status != Completed || a.TokenEvents != 2 || a.Flags&NewConnection != 0 != (i == 0) {
				t.Fatalf("request %d: %v %q, flags %b", i, a.Status, a.Error, a.Flags)
			}
			if a.Flags&KernelStamped != 0 {
				stamped++
			}
		}
		if c.StampSource() == KernelStamps && stamped == 0 {
			t.Error("no kernel stamps below TLS")
		}
	})
	t.Run("an unknown CA", func(t *testing.T) {
		a := post(t.Context(), t, newClient(t, Target{URL: s.URL}), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "certificate") || a.Sent != 0 {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
	t.Run("not verified", func(t *testing.T) {
		a := post(t.Context(), t, newClient(t, Target{URL: s.URL, TLS: &tls.Config{InsecureSkipVerify: true}}), "{}")
		if a.Status != Completed {
			t.Errorf("%v %q", a.Status, a.Error)
		}
	})
	t.Run("another host's certificate", func(t *testing.T) {
		a := post(t.Context(), t, newClient(t, Target{URL: s.URL, TLS: &tls.Config{RootCAs: roots, ServerName: "other.test"}}), "{}")
		if a.Status != Errored || a.Err != ErrConnect || !strings.Contains(a.Error, "other.test") {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
	t.Run("TLS to a server without", func(t *testing.T) {
		plain := httptest.NewServer(streamHandler("a"))
		defer plain.Close()
		a := post(t.Context(), t, newClient(t, Target{URL: strings.Replace(plain.URL, "http:", "https:", 1)}), "{}")
		if a.Status != Errored || a.Err != ErrConnect {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
	t.Run("plain HTTP to a server with TLS", func(t *testing.T) {
		a := post(t.Context(), t, newClient(t, Target{URL: strings.Replace(s.URL, "https:", "http:", 1)}), "{}")
		if a.Status != Errored || a.Err != ErrStatus || a.HTTPStatus != 400 {
			t.Errorf("%v %v %q", a.Status, a.Err, a.Error)
		}
	})
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	var proto atomic.Value
	var connections atomic.Int32
	inner := streamHandler("a", "b", "c")
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto)
		if _, password, _ := r.BasicAuth(); password != "secret" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/open": // kept open after [DONE]
			inner(w, r)
			<-r.Context().Done()
		case "/silent":
			<-r.Context().Done()
		case "/cut":
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, completion("a", "b")[:250])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			inner(w, r)
		}
	})
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	plain := httptest.NewUnstartedServer(handler)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	for _, s := range []*httptest.Server{secure, plain} {
		s.Config.ErrorLog = discardLog
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
	}
	secure.StartTLS()
	plain.Start()
	defer secure.Close()
	defer plain.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())

	for _, s := range []*httptest.Server{secure, plain} {
		target := Target{URL: strings.Replace(s.URL, "://", "://user:secret@", 1), TLS: &tls.Config{RootCAs: roots}, HTTP2: true}
		c := newClient(t, target)
		connections.Store(0)
		first := post(t.Context(), t, c, "{}")
		var many sync.WaitGroup
		for range 20 {
			many.Go(func() {
				a := post(t.Context(), t, c, "{}")
				if a.Status != Completed || a.TokenEvents != 3 || a.Output != "abc" || a.HTTPStatus != 200 || a.Flags&KernelStamped != 0 || a.Flags&Streamed == 0 {
					t.Errorf("%s: %v %q, %+v", s.URL, a.Status, a.Error, a)
				}
			})
		}
		many.Wait()
		if first.Status != Completed || first.Flags&NewConnection == 0 || first.Connecting <= 0 {
			t.Errorf("%s: first: %v %q, flags %b, connecting %d", s.URL, first.Status, first.Error, first.Flags, first.Connecting)
		}
		if p := proto.Load(); p != "HTTP/2.0" || connections.Load() != 1 {
			t.Errorf("%s: %v over %d connections, want HTTP/2.0 over one", s.URL, p, connections.Load())
		}
		if c.StampSource() != UserStamps {
			t.Errorf("stamps by %s", c.StampSource())
		}

		open := target
		open.URL += "/open"
		start := time.Now()
		if a := post(t.Context(), t, newClient(t, open), "{}"); a.Status != Completed || a.End-a.LastEvent > int64(tailTime)/2 {
			t.Errorf("%s, kept open: %v %q, the end %d ns after the last event", s.URL, a.Status, a.Error, a.End-a.LastEvent)
		}
		quick(t, start, 5*time.Second)

		silent := target
		silent.URL += "/silent"
		silent.RequestTimeout = 50 * time.Millisecond
		if a := post(t.Context(), t, newClient(t, silent), "{}"); a.Status != Errored || a.Err != ErrTimeout || !strings.Contains(a.Error, "50ms") {
			t.Errorf("%s, silent: %v %v %q", s.URL, a.Status, a.Err, a.Error)
		}
		silent.RequestTimeout = 0
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if a := post(ctx, t, newClient(t, silent), "{}"); a.Status != Incomplete {
			t.Errorf("%s, cancelled: %v %v %q", s.URL, a.Status, a.Err, a.Error)
		}
		cancel()

		cut := target
		cut.URL += "/cut"
		if a := post(t.Context(), t, newClient(t, cut), "{}"); a.Status != Errored || a.Err != ErrReset || a.TokenEvents != 1 {
			t.Errorf("%s, cut: %v %v %q, %d tokens", s.URL, a.Status, a.Err, a.Error, a.TokenEvents)
		}
		cut.URL = strings.Replace(cut.URL, "secret", "wrong-password", 1)
		if a := post(t.Context(), t, newClient(t, cut), "{}"); a.Status != Errored || a.Err != ErrStatus || a.HTTPStatus != 401 || !strings.Contains(a.Error, "who?") {
			t.Errorf("%s, refused: %v %v %q", s.URL, a.Status, a.Err, a.Error)
		}
	}

	// A server that does not offer HTTP/2 is spoken to by HTTP/1.1.
	old := httptest.NewTLSServer(handler)
	defer old.Close()
	roots.AddCert(old.Certificate())
	a := post(t.Context(), t, newClient(t, Target{URL: strings.Replace(old.URL, "://", "://user:secret@", 1), TLS: &tls.Config{RootCAs: roots}, HTTP2: true}), "{}")
	if p := proto.Load(); a.Status != Completed || p != "HTTP/1.1" {
		t.Errorf("%v %q by %v", a.Status, a.Error, p)
	}
}

func TestProxy(t *testing.T) {
	backend := httptest.NewServer(streamHandler("a", "b"))
	defer backend.Close()
	var seen atomic.Value
	reverse := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {}, FlushInterval: -1, ErrorLog: discardLog}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.RequestURI + " " + r.Header.Get("Proxy-Authorization"))
		r.Header.Del("Proxy-Authorization")
		reverse.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	through, err := url.Parse(strings.Replace(proxy.URL, "://", "://user:"+canary+"@", 1))
	if err != nil {
		t.Fatal(err)
	}
	target := Target{URL: backend.URL + "/v1/completions", Proxy: http.ProxyURL(through)}
	a := post(t.Context(), t, newClient(t, target), "{}")
	if a.Status != Completed || a.TokenEvents != 2 {
		t.Errorf("%v %q", a.Status, a.Error)
	}
	if s, _ := seen.Load().(string); !strings.HasPrefix(s, target.URL+" Basic ") {
		t.Errorf("the proxy saw %q", s)
	}

	proxy.Close()
	if a := post(t.Context(), t, newClient(t, target), "{}"); a.Status != Errored || a.Err != ErrConnect || strings.Contains(a.Error, canary) {
		t.Errorf("proxy gone: %v %v %q", a.Status, a.Err, a.Error)
	}
	target.Proxy = func(*http.Request) (*url.URL, error) {
		return nil, fmt.Errorf("invalid proxy address %q", "http://user:"+canary+"@[bad")
	}
	if _, err := NewClient(target); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("error %v", err)
	}
	target.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	if c := newClient(t, target); c.viaNet != nil {
		t.Error("where no proxy stands between, exchanges are made by hand")
	}
}

// No credential may come back out of a server's answer, however it is wrapped.
func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("padding ", 35) // so that the limit on an error's length falls into the key
	answers := map[string]string{
		"bearer":             `{"error":{"message":"Incorrect API key provided: ` + canary + `."}}`,
		"whole header":       `{"detail":"Bearer ` + canary + ` is not known"}`,
		"cut by length":      `{"message":"` + long + `0123456789 ` + canary + `"}`,
		"cut by length, raw": long + "0123456789 " + canary + " and more",
		"JSON escapes":       `{"message":"key \u0073k` + canary[2:] + `"}`,
		"other header":       `{"message":"token tok-` + canary + ` expired"}`,
		"basic":              `{"message":"password ` + "pw-" + canary + ` is wrong"}`,
	}
	for name, body := range answers {
		for _, response := range []string{
			fmt.Sprintf("HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
			fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
			chunkedHead + chunked("event: error\ndata: "+body+"\n\n"),
			chunkedHead + chunked("data: {\"error\":"+fmt.Sprintf("%q", body)+"}\n\n"),
			chunkedHead + chunked("data: "+body+"\n\n"),
			chunkedHead + chunked(completion(canary, " ", canary)),
			body,
			"HTTP/1.1 " + body + "\r\n\r\n",
			"HTTP/1.1 200 " + canary + "\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
			"HTTP/1.1 503 No\r\nRetry-After: " + canary + "\r\nContent-Length: 0\r\n\r\n",
		} {
			target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
				request(r)
				io.WriteString(c, response)
			})
			target.Header = http.Header{"Authorization": {"Bearer " + canary}, "X-Token": {"tok-" + canary}}
			target.URL = strings.Replace(target.URL, "://", "://user:pw-"+canary+"@", 1)
			a := post(t.Context(), t, newClient(t, target), "{}")
			if text := a.Error + a.Output; strings.Contains(text, canary[:8]) {
				t.Errorf("%s: %q gives %q", name, response, text)
			}
			if a.Status == Errored && a.Error == "" {
				t.Errorf("%s: %q gives an error without words", name, response)
			}
		}
	}
	for _, bad := range []string{"ftp://user:" + canary + "@host/", "http://user:" + canary + "@host:port/", "http://user:" + canary + "/x@host:bad/", "user:" + canary + "@host",
		"http://user:" + canary + "@", "http://user:" + canary + "%zz@host/", "://" + canary + "@x"} {
		if _, err := NewClient(Target{URL: bad}); err == nil {
			t.Errorf("%q is taken for a target", bad)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%v", err)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""}, {"  a \n\t b ", "a b"}, {"0123456789", "0123456789"}, {"0123 5678901", "0123 …"}, {"0123456789 1", "0123456789…"},
		{"012345678901", "…"}, {"éééé éééééé", "éééé ééééé…"}, {"a\xffb", "a\ufffdb"}, {"{\"key\":\"sk-1234\"}", "{\"key\":\"…"},
	} {
		if got := shorten(test.in, 10); got != test.want {
			t.Errorf("shorten(%q) = %q, want %q", test.in, got, test.want)
		}
	}
}

func TestErrorMessage(t *testing.T) {
	for _, test := range []struct{ body, want string }{
		{`{"error":{"message":"a"}}`, "a"}, {`{"error":"a"}`, "a"}, {`{"message":"a"}`, "a"}, {`{"detail":"a"}`, "a"}, {`{"error":{"code":7}}`, `{"code":7}`},
		{`{"detail":[{"loc":["body"],"msg":"x"}]}`, `[{"loc":["body"],"msg":"x"}]`}, {`{"object":"error","message":"old vLLM"}`, "old vLLM"},
		{`{"x":1}`, `{"x":1}`}, {`<h1>502  Bad
Gateway</h1>`, "<h1>502 Bad Gateway</h1>"}, {``, ``}, {`null`, `null`},
	} {
		if got := errorMessage([]byte(test.body)); got != test.want {
			t.Errorf("errorMessage(%q) = %q, want %q", test.body, got, test.want)
		}
	}
}

// One client's connections are used by any number of goroutines.
func TestManyAtOnce(t *testing.T) {
	s := httptest.NewServer(streamHandler("a", "b", "c"))
	defer s.Close()
	c := newClient(t, Target{URL: s.URL})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 5 {
				if a := post(t.Context(), t, c, "{}"); a.Status != Completed || a.Output != "abc" || a.OutputTokens != 3 {
					t.Errorf("%v %q: %+v", a.Status, a.Error, a)
				}
			}
		})
	}
	all.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n == 0 || n > 50 {
		t.Errorf("%d idle connections after 50 goroutines", n)
	}
}

var errNoDial = errors.New("no dialling here")

func TestNewClientRefuses(t *testing.T) {
	for _, target := range []string{"", "host:80", "http://", "http:///path", "https://:443", "ftp://host", "http://host:port", "http://ho st"} {
		if _, err := NewClient(Target{URL: target}); err == nil {
			t.Errorf("%q is taken for a target", target)
		}
	}
	for target, address := range map[string]string{"http://host": "host:80", "https://host/": "host:443", "http://host:8000/v1": "host:8000", "http://[::1]:8000": "[::1]:8000", "https://[::1]": "[::1]:443"} {
		var dialled string
		c := newClient(t, Target{URL: target, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = address
			return nil, errNoDial
		}})
		if a := post(t.Context(), t, c, "{}"); a.Err != ErrConnect || dialled != address {
			t.Errorf("%s: dialled %q, want %q (%v)", target, dialled, address, a.Error)
		}
	}
}
