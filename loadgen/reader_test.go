package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openloop/openloop/internal/precise"
	"github.com/openloop/openloop/loadgen/stream"
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
	return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		status, mediaType, len(body), body)
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
	r := newReader(ctx, c, precise.NewClock())
	defer r.close()
	var a answer
	r.shard, r.rec, r.detail = &shard{}, &a.Record, &a.Detail
	a.PromptTokens, a.OutputTokens, a.CachedTokens = -1, -1, -1
	a.Body = []byte(body) // texts are kept
	r.encode(&Request{Body: a.Body})
	r.roundTrip()
	a.gaps = r.gaps
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
	}{
		{"sent", r.Sent}, {"first event", r.FirstEvent}, {"first token", r.FirstToken},
		{"last token", r.LastToken}, {"last event", r.LastEvent}, {"end", r.End},
	} {
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
		{"HTTP/1.0 with a length",
			fmt.Sprintf("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s",
				len(ok), ok), closed},
		{"Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n" + chunked(ok), closed},
		{"heads of the 1xx kind", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" +
			chunkedHead + chunked(ok), fine},
		{"bare line feeds", strings.ReplaceAll(chunkedHead, "\r\n", "\n") + chunked(ok), fine},
		{"content type in capitals", "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream ;x=y\r\n" +
			"Transfer-Encoding: chunked\r\n\r\n" + chunked(ok), fine},
		{"CRLF in the stream", chunkedHead + chunked(strings.ReplaceAll(ok, "\n", "\r\n")), fine},
		{"comments and empty events in between", chunkedHead +
			chunked(strings.ReplaceAll(ok, "\n\n", "\n\n: ping\n\ndata: \n\n")), fine},
		{"a huge header", sseHead + "X-Huge: " + strings.Repeat("h", 100<<10) +
			"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(ok), fine},
		{"trailers", chunkedHead + strings.TrimSuffix(chunked(ok), "\r\n") + "X-Trailer: 1\r\n\r\n", fine},
		{"no blank line after [DONE]", chunkedHead + chunked(strings.TrimSuffix(ok, "\n\n")), fine},
		{"no [DONE] but a finish reason", chunkedHead + chunked(cut(ok, "data: [DONE]")), fine},
		{"cut after [DONE], in the framing", cut(chunkedHead+chunked(ok), "\r\n0\r\n\r\n"), closed},
		{"bytes after the response", chunkedHead + chunked(ok) + "HTTP/1.1 500 What\r\n\r\n", closed},

		{"no finish reason, no [DONE]", chunkedHead +
			chunked(cut(ok, `data: {"id":"cmpl-1","choices":[{"index":0,"delta":{},`)),
			reusable(failed(ErrTruncated, 200, helloTokens, "Hello wörld", "without [DONE]"))},
		{"no finish reason, until close", sseHead + "\r\n" +
			cut(ok, `data: {"id":"cmpl-1","choices":[{"index":0,"delta":{"content":"w`),
			failed(ErrTruncated, 200, 2, "Hello ", "without [DONE]")},
		{"cut in an event, until close", sseHead + "\r\n" + cut(ok, "wörld"),
			failed(ErrTruncated, 200, 2, "Hello ", "without [DONE]")},
		{"an empty stream", chunkedHead + "0\r\n\r\n", reusable(failed(ErrTruncated, 200, 0, "", "without [DONE]"))},
		{"an empty stream of a length", sseHead + "Content-Length: 0\r\n\r\n",
			reusable(failed(ErrTruncated, 200, 0, "", "without [DONE]"))},
		{"cut between chunks", cut(chunkedHead+chunked(ok), `data: {"id":"cmpl-1","choices":[],`),
			failed(ErrReset, 200, helloTokens, "Hello wörld", "closed the connection")},
		{"cut in a chunk", cut(chunkedHead+chunked(ok), "wörld"),
			failed(ErrReset, 200, 2, "Hello ", "closed the connection")},
		{"cut short of its length", fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", sseHead, len(ok), cut(ok, "wörld")),
			failed(ErrReset, 200, 2, "Hello ", "closed the connection")},
		{"cut in the head", "HTTP/1.1 200 OK\r\nContent-Ty", failed(ErrReset, 0, 0, "", "closed the connection")},
		{"closed without an answer", "", failed(ErrReset, 0, 0, "", "closed the connection")},

		{"error object in the stream", chunkedHead +
			chunked("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\ndata: [DONE]\n\n"),
			reusable(failed(ErrServer, 200, 0, "", "out of memory"))},
		{"error object after tokens", chunkedHead + chunked(
			cut(ok, `data: {"id":"cmpl-1","choices":[{"index":0,"delta":{"content":"w`)+
				"data: {\"error\":\"engine died\"}\n\n"),
			reusable(failed(ErrServer, 200, 2, "Hello ", "engine died"))},
		{"error event", chunkedHead + chunked("event: error\ndata: {\"message\":\"went wrong\"}\n\n"),
			reusable(failed(ErrServer, 200, 0, "", "went wrong"))},
		{"error event of plain text", chunkedHead + chunked("event: error\ndata: boom\n\n"),
			reusable(failed(ErrServer, 200, 0, "", "boom"))},
		{"no JSON in an event", chunkedHead + chunked("data: oops\n\ndata: [DONE]\n\n"),
			reusable(failed(ErrMalformed, 200, 0, "", "not a JSON object"))},
		{"bad framing", chunkedHead + "5\r\ndata:XXXX", failed(ErrMalformed, 200, 0, "", "chunked")},
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n", failed(ErrMalformed, 0, 0, "", "SSH-2.0")},
		{"a broken status line", "HTTP/1.1 abc\r\n\r\n", failed(ErrMalformed, 0, 0, "", "not an HTTP response")},
		{"a head without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10),
			failed(ErrMalformed, 0, 0, "", "the response's head exceeds 256 KiB")},
		{"a status that is none", "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
			failed(ErrMalformed, 0, 0, "", "its status is 099")},
		{"heads of the 1xx kind without end", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100),
			failed(ErrMalformed, 0, 0, "", "more than 32 responses of the 1xx kind")},
		{"trailers without end", chunkedHead + strings.TrimSuffix(chunked(ok), "\r\n") + "X: " +
			strings.Repeat("x", 100<<10), closed},
		{"a chunk's extension without end", chunkedHead + "5;" + strings.Repeat("x", 100<<10),
			failed(ErrMalformed, 200, 0, "", "exceed 64 KiB")},
		{"compressed", sseHead + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
			reusable(failed(ErrMalformed, 200, 0, "", "compressed (gzip), which was not asked for"))},

		{"[DONE] alone", chunkedHead + chunked("data: [DONE]\n\n"),
			reusable(failed(ErrNoToken, 200, 0, "", "no token"))},
		{"the role alone", chunkedHead + chunked(`data: {"choices":[{"delta":{"role":"assistant","content":""}}]}`+
			"\n\ndata: [DONE]\n\n"), reusable(failed(ErrNoToken, 200, 0, "", "no token"))},
		{"nothing but an end", chunkedHead + chunked(`data: {"choices":[{"delta":{},"finish_reason":"stop"}],`+
			`"usage":{"completion_tokens":8}}`+"\n\ndata: [DONE]\n\n"),
			want{Errored, ErrNoToken, 200, 0, "", 8, "no token", true}},
		{"one token without a text", chunkedHead + chunked(`data: {"choices":[{"delta":{"content":""},`+
			`"finish_reason":"length"}],"usage":{"completion_tokens":1}}`+"\n\ndata: [DONE]\n\n"),
			want{Completed, NoError, 200, 1, "", 1, "", true}},
		{"content in parts", chunkedHead + chunked(`data: {"choices":[{"delta":{"content":[{"type":"text",`+
			`"text":"Hello"}]},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n"),
			want{Completed, NoError, 200, 1, "Hello", -1, "", true}},
		{"given up", chunkedHead + chunked(`data: {"choices":[{"delta":{"content":"Hello"},"finish_reason":"abort"}]}`+
			"\n\ndata: [DONE]\n\n"), reusable(failed(ErrServer, 200, 1, "Hello", "finish_reason abort or error"))},
		{"vLLM's former error", chunkedHead + chunked(`data: {"object":"error","message":"out of memory"}`+
			"\n\ndata: [DONE]\n\n"), reusable(failed(ErrServer, 200, 0, "", "out of memory"))},

		{"protocols switched", "HTTP/1.1 101 Switching Protocols\r\n\r\n", failed(ErrStatus, 101, 0, "", "101")},

		{"whole response", sized("200 OK", "application/json",
			`{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hello wörld"},`+
				`"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`),
			want{Completed, NoError, 200, 0, "Hello wörld", 3, "", true}},
		{"whole response, chunked",
			"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
				chunked(`{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hello wörld"},`+
					`"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`),
			want{Completed, NoError, 200, 0, "Hello wörld", 3, "", true}},
		{"whole response, no JSON", sized("200 OK", "application/json", `{"id":"c","choices":[{"ind`),
			reusable(failed(ErrMalformed, 200, 0, "", "neither a stream nor a completion"))},
		{"whole response, no completion", sized("200 OK", "application/json", `{"models":[]}`),
			reusable(failed(ErrMalformed, 200, 0, "", `{\"models\":[]}`))},
		{"an error with status 200", sized("200 OK", "application/json", `{"error":{"message":"nope!"}}`),
			reusable(failed(ErrServer, 200, 0, "", "nope!"))},
		{"a web page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
			reusable(failed(ErrMalformed, 200, 0, "", "text/html"))},

		{"400 with vLLM's body", sized("400 Bad Request", "application/json",
			`{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}`),
			reusable(failed(ErrStatus, 400, 0, "", "HTTP 400 Bad Request: too long"))},
		{"422 with FastAPI's body", sized("422 Unprocessable Entity", "application/json", `{"detail":"no sir"}`),
			reusable(failed(ErrStatus, 422, 0, "", "no sir"))},
		{"429", "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
			reusable(failed(ErrStatus, 429, 0, "", "HTTP 429 Too Many Requests (Retry-After: 7)"))},
		{"500 until close", "HTTP/1.1 500 Internal Server Error\r\n\r\nbroken",
			failed(ErrStatus, 500, 0, "", "broken")},
		{"503 cut", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1000\r\n\r\nno upstream",
			failed(ErrStatus, 503, 0, "", "HTTP 503 Service Unavailable: no upstream")},
		{"404 with an endless body", "HTTP/1.1 404 Not Found\r\n\r\n" + strings.Repeat("blah ", 40<<10),
			failed(ErrStatus, 404, 0, "", "blah blah")},
		{"unknown status", "HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n",
			reusable(failed(ErrStatus, 599, 0, "", "HTTP 599"))},
		{"201", "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", reusable(failed(ErrStatus, 201, 0, "", "201"))},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", reusable(failed(ErrStatus, 204, 0, "", "204"))},
		{"redirect", "HTTP/1.1 307 Temporary Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n",
			reusable(failed(ErrStatus, 307, 0, "", "307"))},
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
					got := want{a.Status, a.Err, a.HTTPStatus, a.TokenEvents, a.Output, a.OutputTokens,
						test.want.error, test.want.reuse}
					if got != test.want || !strings.Contains(a.Error, test.want.error) ||
						a.Error != "" && test.want.status == Completed {
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
		if a.Output != "a b c\nd" || a.OutputWords != 4 || a.OutputChars != 7 || a.PromptTokens != 7 ||
			a.OutputTokens != 4 || a.CachedTokens != -1 || a.ResponseID != "cmpl-1" ||
			a.Finish != stream.FinishLength || a.TokenEvents != 4 || a.Lines != 16 ||
			a.Flags&(Streamed|FinishedByDone) != Streamed|FinishedByDone {
			t.Errorf("%+v", a)
		}
		if len(a.gaps) != 3 {
			t.Fatalf("%d gaps, want 3", len(a.gaps))
		}
		sum := int64(0)
		for _, gap := range a.gaps {
			sum += gap
		}
		// Where the client was slow to read, several tokens came in one read, with the time of the last of them.
		inTime := a.DelayMax < int64(time.Millisecond)
		if sum != a.LastToken-a.FirstToken || inTime && sum < int64(3*2*time.Millisecond) {
			t.Errorf("gaps sum to %d ns, first to last token is %d; at least 6 ms passed between them", sum,
				a.LastToken-a.FirstToken)
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
	target.URL += "?a=b%20c"
	target.Header = http.Header{
		"X-One": {"1", "2"}, "Host": {"other.example"}, "Content-Length": {"9"},
		"Connection": {"close"}, "x-low": {"3"},
	}
	(&http.Request{Header: target.Header}).SetBasicAuth("us@er", "pa:ss")
	c := newClient(t, target)
	if a := post(t.Context(), t, c, `{"x":"é"}`); a.Status != Completed {
		t.Fatal(a.Error)
	}
	got := <-requests
	body, _ := io.ReadAll(got.Body)
	user, password, _ := got.BasicAuth()
	if got.Method != "POST" || got.RequestURI != "/v1/chat/completions?a=b%20c" || got.Host != "other.example" ||
		user != "us@er" || password != "pa:ss" || strings.Join(got.Header["X-One"], ",") != "1,2" ||
		got.Header.Get("Content-Type") != "application/json" || got.ContentLength != 10 || got.Close ||
		!strings.Contains(got.Header.Get("Accept"), "text/event-stream") ||
		got.Header.Get("User-Agent") != "openloop" || string(body) != `{"x":"é"}` {
		t.Errorf("got %+v with body %q", got, body)
	}
	if target.Header.Get("Host") == "" || target.Header.Get("Content-Length") != "9" || len(target.Header) != 6 {
		t.Error("the caller's headers were changed")
	}
}

// What a usage says is taken where it can be; else the events with content are counted.
func TestUsage(t *testing.T) {
	for _, test := range []struct {
		name           string
		rec            Record
		prompt, output int32
		bad            bool
	}{
		{"as asked",
			Record{AskedOutput: 8, OutputTokens: 8, TokenEvents: 8, AskedPrompt: 5, PromptTokens: 5}, 5, 8, false},
		{"several tokens an event",
			Record{AskedOutput: 8, OutputTokens: 8, TokenEvents: 2, PromptTokens: 5}, 5, 8, false},
		{"characters as events",
			Record{AskedOutput: 8, OutputTokens: 8, TokenEvents: 30, PromptTokens: 5}, 5, 8, false},
		{"more than asked, with a text", Record{AskedOutput: 8, OutputTokens: 40, TokenEvents: 40, OutputChars: 90,
			PromptTokens: 5}, 5, 40, false},
		{"hidden reasoning, nothing asked",
			Record{OutputTokens: 5000, TokenEvents: 8, PromptTokens: 5}, 5, 5000, false},
		{"none", Record{AskedOutput: 8, OutputTokens: -1, TokenEvents: 8, PromptTokens: -1}, -1, -1, false},
		{"a thousand million", Record{AskedOutput: 8, OutputTokens: 1e9, TokenEvents: 8, OutputChars: 30,
			PromptTokens: 5}, 5, -1, true},
		{"a thousand million, nothing asked", Record{OutputTokens: 1e9, TokenEvents: 8, PromptTokens: 5}, 5, -1, true},
		{"zero", Record{AskedOutput: 8, OutputTokens: 0, TokenEvents: 8, PromptTokens: 5}, 5, -1, true},
		{"one for eight", Record{AskedOutput: 8, OutputTokens: 1, TokenEvents: 8, PromptTokens: 5}, 5, -1, true},
		{"no prompt", Record{AskedOutput: 8, OutputTokens: 8, TokenEvents: 8, AskedPrompt: 5}, -1, 8, true},
		{"a prompt beyond all bounds", Record{AskedOutput: 8, OutputTokens: 8, TokenEvents: 8, PromptTokens: 1 << 25},
			-1, 8, true},
		{"of several choices", Record{AskedOutput: 8, OutputTokens: 16, TokenEvents: 8, PromptTokens: 5,
			Flags: OtherChoices}, 5, -1, false},
	} {
		r := reader{rec: &test.rec, tokens: test.rec.TokenEvents > 0}
		r.checkUsage()
		if test.rec.PromptTokens != test.prompt || test.rec.OutputTokens != test.output ||
			(test.rec.Flags&BadUsage != 0) != test.bad {
			t.Errorf("%s: prompt %d, output %d, flags %b; want %d, %d, bad: %v", test.name, test.rec.PromptTokens,
				test.rec.OutputTokens, test.rec.Flags, test.prompt, test.output, test.bad)
		}
	}
}

// An answer that says neither why it ended nor how long it is has to be as long as it was asked to be.
func TestShortAnswer(t *testing.T) {
	for _, test := range []struct {
		name string
		rec  Record
		want ErrorKind
	}{
		{"whole", Record{AskedOutput: 8, TokenEvents: 8, OutputTokens: -1}, NoError},
		{"short", Record{AskedOutput: 8, TokenEvents: 3, OutputTokens: -1}, ErrTruncated},
		{"short, nothing asked", Record{TokenEvents: 3, OutputTokens: -1}, NoError},
		{"short, with a reason",
			Record{AskedOutput: 8, TokenEvents: 3, OutputTokens: -1, Finish: stream.FinishStop}, NoError},
		{"short, with a usage", Record{AskedOutput: 8, TokenEvents: 3, OutputTokens: 8}, NoError},
	} {
		test.rec.Flags |= Streamed
		r := reader{rec: &test.rec, done: true, tokens: true}
		if r.checkAnswer(); r.kind != test.want {
			t.Errorf("%s: %v (%v), want %v", test.name, r.kind, r.err, test.want)
		}
	}
}
