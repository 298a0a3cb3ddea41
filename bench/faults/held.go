package main

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openloop/openloop/bench/faults/server"
)

// heldRows are what held before the issue, in its first campaign, and is to hold on: counts, the dialects of streams,
// errors by their kind, TLS, and what signals leave.
func heldRows() []row {
	return slices.Concat(dialectRows(), errorRows(), otherHeldRows())
}

// complete is a report of 20 good requests.
var complete = []check{completed(20, 20), errored(0, 0), each("8 tokens and a first token", func(q request) bool {
	return q.tokens == 8 && q.ttft > 0
})}

func dialectRows() []row {
	good := func(name string, a server.Answer) row {
		return row{name: name, server: server.Config{Chat: a.Serve}, args: short, exit: []int{0}, report: complete}
	}
	bytewise := func(x *server.Exchange, event string) {
		for i := range len(event) {
			x.Chunk(event[i : i+1])
		}
	}
	replace := func(old, new string) func(*server.Exchange, string) {
		return func(x *server.Exchange, event string) { x.Chunk(strings.ReplaceAll(event, old, new)) }
	}
	delta := func(text string) func(int) string { return func(int) string { return text } }
	whole := func(x *server.Exchange) { x.Whole(200, "application/json", wholeAnswer) }
	// The stream is made once to be written in another frame.
	framed := func(head string, end string) server.Behaviour {
		return func(x *server.Exchange) {
			var b strings.Builder
			for range 8 {
				fmt.Fprintf(&b, "data: %s\n\n", server.Chunk(x.N, `{"content":" w"}`, "", ""))
			}
			fmt.Fprintf(&b, "data: %s\n\ndata: [DONE]\n\n", server.Chunk(x.N, `{}`, "length", server.Usage(16, 8)))
			x.Write(strings.ReplaceAll(head, "%LEN", fmt.Sprint(b.Len())), b.String(), end)
			if strings.Contains(head, "close") || strings.Contains(head, "HTTP/1.0") {
				x.Close()
			}
		}
	}
	raw := func(name string, b server.Behaviour) row {
		return row{name: name, server: server.Config{Chat: b}, args: short, exit: []int{0}, report: complete}
	}
	rows := []row{
		good("CRLF line ends", server.Answer{Write: replace("\n", "\r\n")}),
		good("CR line ends", server.Answer{Write: replace("\n", "\r")}),
		good("no blank after the colon", server.Answer{Write: replace("data: ", "data:")}),
		good("comments and blank lines", server.Answer{Write: replace("data: ", ": ping\n\n\n\ndata: ")}),
		good("names and numbers of events", server.Answer{Write: replace("data: ",
			"event: message\nid: 7\nretry: 10\ndata: ")}),
		good("JSON over several data lines", server.Answer{Write: replace(`,"object"`, ",\ndata: \"object\"")}),
		good("byte by byte", server.Answer{Tokens: 8, Gap: time.Microsecond, Write: bytewise}),
		good("a byte order mark", server.Answer{NoRole: true, Before: "\ufeff: hello\n\n"}),
		good("reasoning in the place of content", server.Answer{Delta: delta(`{"reasoning_content":" w"}`)}),
		good("reasoning by its newer name", server.Answer{Delta: delta(`{"reasoning":" w"}`)}),
		good("tool calls in the place of content", server.Answer{
			Delta: delta(`{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}`)}),
		good("escaped text", server.Answer{Delta: delta(`{"content":"\u00e4\ud83d\ude00\n\""}`)}),
		good("bad UTF-8", server.Answer{Delta: delta("{\"content\":\"\xff\xfe\xc3(\"}")}),
		good("halves of surrogates", server.Answer{Delta: delta(`{"content":"\ud83d"}`)}),
		good("unknown keys and kinds", server.Answer{Delta: delta(`{"content":" w","x":[1,{"y":null}],"z":1e400}`)}),
		good("usage with every event", server.Answer{Write: func(x *server.Exchange, event string) {
			x.Chunk(strings.Replace(event, `"choices":[{`,
				`"usage":{"prompt_tokens":16,"completion_tokens":8},"choices":[{`, 1))
		}}),
		good("no finish reason, with [DONE] and usage", server.Answer{NoFinish: true}),
		good("no [DONE], with a finish reason", server.Answer{NoDone: true}),
		good("no usage", server.Answer{NoUsage: true}),
		raw("a stream of a stated length",
			framed("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %LEN\r\n\r\n", "")),
		raw("a stream that ends with the connection", framed(closing, "")),
		raw("HTTP/1.0", framed("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", "")),
		raw("100 Continue before the answer",
			framed("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"+
				"Content-Length: %LEN\r\n\r\n", "")),
		raw("headers in odd case", framed("HTTP/1.1 200 OK\r\ncONTENT-tYPE:text/EVENT-stream;charset=utf-8\r\n"+
			"content-LENGTH:  %LEN\r\n\r\n", "")),
		{name: "extensions of chunks and a trailer", args: short, exit: []int{0}, report: complete,
			server: server.Config{Chat: func(x *server.Exchange) {
				x.Stream("Trailer: X-After")
				for range 8 {
					data := "data: " + server.Chunk(x.N, `{"content":" w"}`, "", "") + "\n\n"
					x.Write(fmt.Sprintf("%X;a=b;c\r\n%s\r\n", len(data), data))
				}
				x.Event(server.Chunk(x.N, `{}`, "length", server.Usage(16, 8)))
				x.Event("[DONE]")
				x.Write("0\r\nX-After: yes\r\n\r\n")
			}}},
		{name: "a server that does not stream", server: server.Config{Chat: whole}, args: short, exit: []int{0},
			says: []string{`does not stream`}, report: []check{completed(20, 20), each("8 tokens and no first token",
				func(q request) bool { return q.tokens == 8 && q.ttft == 0 })}},
	}
	for i := range rows {
		rows[i].point, rows[i].fast = "held", true
	}
	return rows
}

const wholeAnswer = `{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant",` +
	`"content":" w w w w w w w w"},"finish_reason":"length"}],` +
	`"usage":{"prompt_tokens":16,"completion_tokens":8,"total_tokens":24}}`

// Errors of every fourth request, by their kind.
func errorRows() []row {
	some := func(name, says string, b server.Behaviour) row {
		return row{name: name, server: server.Config{Chat: server.Every(4, b)}, args: short, exit: []int{0},
			says: []string{`5 errors|errors=5`}, report: []check{completed(15, 15), errored(5, 5), failures(says)}}
	}
	begun := func(x *server.Exchange) {
		x.Stream()
		x.Event(server.Chunk(x.N, `{"content":" w"}`, "", ""))
	}
	// At the trial: refused before any load.
	first := func(name string, says string, b server.Behaviour) row {
		return row{name: name + ", at the trial", server: server.Config{Chat: b}, args: short, exit: []int{2},
			says: []string{says}, check: func(e *env) string {
				if n := e.Server.Chats(); n > 1 {
					return complaint("one request", n)
				}
				return ""
			}}
	}
	unauthorized := server.JSON(401, `{"error":{"message":"who are you"}}`)
	limited := server.Whole(429, "application/json", `{"error":{"message":"slow down"}}`, "Retry-After: 7")
	rows := []row{
		some("status 503", `503.*overloaded`, server.JSON(503, `{"error":{"message":"overloaded"}}`)),
		some("status 429 with Retry-After", `429.*slow down`, limited),
		some("status 200 with an error object", `overloaded`, server.JSON(200, `{"error":{"message":"overloaded"}}`)),
		some("an error event", `overloaded`, server.Events(server.Chunk(1, `{"content":" w"}`, "", ""),
			`{"error":{"message":"overloaded","code":500}}`, "[DONE]")),
		some("an event that is no JSON", `JSON|event|invalid|unexpected|string`,
			server.Events(`{"choices":[{"delta":{"con`, "[DONE]")),
		some("a stream that is cut", `closed|EOF|cut|lost|ended`, func(x *server.Exchange) { begun(x); x.Close() }),
		some("a stream that is reset", `reset`, func(x *server.Exchange) {
			begun(x)
			time.Sleep(20 * time.Millisecond)
			x.Reset()
		}),
		some("a stream that ends early in good order", `without \[DONE\]|finish reason`,
			func(x *server.Exchange) { begun(x); x.End() }),
		some("a chunk's length that is none", `chunk`,
			func(x *server.Exchange) { begun(x); x.Write("zz\r\n"); x.Close() }),
		some("what is no HTTP", `HTTP`, server.Raw("SSH-2.0-OpenSSH\r\n\r\n")),
		some("half a head", `closed|EOF|head|ended|HTTP`, server.Raw("HTTP/1.1 200 OK\r\nContent-Ty")),
		first("status 401", `401.*who are you`, unauthorized),
		first("status 404", `404`, server.NotFound),
		first("status 429", `429.*slow down`, limited),
		first("status 503", `503`, server.JSON(503, `{"error":{"message":"overloaded"}}`)),
		first("a page of HTML", `html`, server.Whole(200, "text/html", "<html>hello</html>")),
		first("what is no HTTP", `HTTP`, server.Raw("SSH-2.0-OpenSSH\r\n\r\n")),
		first("a stream without a token", `token`, server.Events("[DONE]")),
		{name: "no model in the list", server: server.Config{Models: server.JSON(200, `{"data":[]}`)}, args: short,
			exit: []int{2}, says: []string{`model`}, check: unasked},
		{name: "a model that is not there", args: short + " --model other", exit: []int{2},
			says:  []string{`other.*serves m`},
			check: unasked},
		{name: "nothing listens", args: strings.Replace(short, "$URL", "http://127.0.0.1:1", 1), exit: []int{2},
			says: []string{`refused`}},
		{name: "a host that is not known", args: strings.Replace(short, "$URL", "http://nowhere.invalid", 1),
			exit: []int{2},
			says: []string{`nowhere\.invalid`}},
	}
	for i := range rows {
		rows[i].point, rows[i].fast = "held", true
	}
	return rows
}

func otherHeldRows() []row {
	const steady = "run" + common + " --profile constant --rate 40 --max-seconds 60 --allow-invalid"
	interrupted := func(s os.Signal) func(e *env) {
		return func(e *env) {
			if e.Chats(60) {
				e.Signal(s)
			}
		}
	}
	// Every request that the server answered is in the report.
	same := func(e *env) string {
		r, err := readReport(e.Out + "/benchmarks.json")
		if err != nil {
			return err.Error()
		}
		all := r.sum(func(s stage) int { return s.completed + s.errored + s.unfinished })
		if all != e.Server.Chats()-1 {
			return complaint(fmt.Sprintf("the %d requests that the server got", e.Server.Chats()-1), all)
		}
		return ""
	}
	https := server.Config{TLS: certificate()}
	tlsRows := []row{
		{name: "TLS, an authority that is not known", server: https, args: short, exit: []int{2},
			says: []string{`authority`, `--ca-file`}},
		{name: "TLS, an authority that is given", server: https, files: map[string]string{"ca.pem": authority()},
			args: short + " --ca-file $IN/ca.pem", exit: []int{0}, report: complete},
		{name: "TLS, not verified", server: https, args: short + " --insecure", exit: []int{0},
			says: []string{`warning: --insecure`}, report: complete},
		{name: "TLS, a certificate that has expired", args: short, exit: []int{2}, says: []string{`expired`},
			server: server.Config{TLS: selfSigned(time.Now().Add(-time.Hour), net.IPv4(127, 0, 0, 1))}},
		{name: "TLS, a certificate for another address", args: short + " --ca-file $IN/ca.pem", exit: []int{2},
			files:  map[string]string{"ca.pem": authorityOf(elsewhere)},
			server: server.Config{TLS: elsewhere}, says: []string{`certificate`, `127\.0\.0\.1`}},
		{name: "TLS asked of a server without", args: strings.Replace(short, "$URL", "https://$ADDR", 1),
			exit: []int{2},
			says: []string{`TLS`, `http://`}},
		{name: "no TLS asked of a server with it", server: server.Config{TLS: certificate(),
			HTTP2: &server.HTTP2Fault{}}, args: strings.Replace(short, "$URL", "http://$ADDR", 1),
			exit: []int{2}, says: []string{`https`}},
		{name: "a file of authorities that holds none", server: https, files: map[string]string{"ca.pem": "nothing\n"},
			args: short + " --ca-file $IN/ca.pem", exit: []int{2}, says: []string{`ca\.pem`}},
		{name: "HTTP/2 over TLS", server: server.Config{TLS: certificate(), HTTP2: &server.HTTP2Fault{}},
			args: short + " --insecure --http2", exit: []int{0}, report: complete},
		{name: "HTTP/2 without TLS", server: server.Config{HTTP2: &server.HTTP2Fault{}}, args: short + " --http2",
			exit: []int{0}, report: complete},
		{name: "HTTP/2 asked of a server without", args: short + " --http2", exit: []int{2}, says: []string{`HTTP/2`}},
		{name: "by a proxy", args: strings.ReplaceAll(short, "$URL", "http://engine.test:8000"),
			env: []string{"HTTP_PROXY=$URL", "http_proxy=$URL"}, exit: []int{0}, report: complete},
	}
	for i := range tlsRows {
		tlsRows[i].point, tlsRows[i].fast = "held", true
	}
	rows := []row{
		{name: "counts, open loop", args: short, fast: true, exit: []int{0}, report: complete, check: same},
		{name: "counts, closed loop", fast: true,
			args: "run" + common + " --profile concurrent --rate 3 --max-requests 40 --allow-invalid", exit: []int{0},
			report: []check{completed(40, 40)}, check: same},
		{name: "counts, cut by the stage's end", args: "run" + common +
			" --profile poisson --rate 60 --max-seconds 3 --allow-invalid",
			exit: []int{0}, report: []check{completed(100, 260)}, check: same},
		{name: "counts, with errors of every kind",
			args: "run" + common + " --profile constant --rate 60 --max-requests 150 --allow-invalid",
			exit: []int{0}, check: same, server: server.Config{Chat: func(x *server.Exchange) {
				switch x.N % 5 {
				case 1:
					server.JSON(500, "{}")(x)
				case 2:
					server.Raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
						"Content-Length: 50\r\n\r\ndata")(x)
				case 3:
					server.Events("{")(x)
				default:
					server.Good(x)
				}
			}}, report: []check{completed(60, 60), errored(90, 90)}},
		{name: "SIGINT in the middle of a stage", args: steady, act: interrupted(os.Interrupt), exit: []int{130},
			says: []string{`interrupted`, `saved`}, report: []check{completed(40, 80), stages(1, 1)}},
		{name: "SIGTERM in the middle of a stage", args: steady, act: interrupted(syscall.SIGTERM), exit: []int{143},
			says: []string{`interrupted by SIGTERM`, `saved`}, report: []check{completed(40, 80), stages(1, 1)}},
		{name: "SIGTERM before any load", server: server.Config{Models: server.Silent}, args: steady, exit: []int{143},
			act: func(e *env) {
				if e.Until(func() bool { return len(e.Server.Paths()) > 0 }) {
					e.Signal(syscall.SIGTERM)
				}
			}},
		{name: "the report is whole whenever it is looked at", args: "run" + common +
			" --profile constant --rate 40,45,50,55,60 --max-requests 20 --allow-invalid", exit: []int{0},
			act:    wholeAtAnyTime,
			report: []check{stages(5, 5), completed(100, 100)}},
		{name: "a server that dies for good ends the run", args: "run" + common +
			" --profile constant --rate 20,30 --max-seconds 30 --allow-invalid", exit: []int{1},
			within: 60 * time.Second,
			act: func(e *env) {
				if e.Chats(40) {
					e.Server.Down()
				}
			},
			says:   []string{`no longer accepts connections|no request of the stage succeeded|refused`},
			report: []check{completed(20, 60)}},
		{name: "a request's time limit", server: server.Config{Chat: server.Every(4, server.Stall(1))},
			args: short + " --request-timeout 500ms", exit: []int{0},
			report: []check{completed(15, 15), errored(5, 5), failures(`500ms`)}},
		{name: "what is in flight at the end is unfinished, not failed",
			server: server.Config{Chat: server.Every(4, server.Stall(1))},
			args:   "run" + common + " --profile constant --rate 20 --max-seconds 2 --allow-invalid", exit: []int{0},
			report: []check{completed(20, 40), errored(0, 0)}},
		{name: "a gate that does not", alone: true, args: "run" + common +
			" --profile constant --rate 20 --max-seconds 8" +
			" --slo 'ttft:p95<100ms' --gate slo@20", server: server.Config{Chat: slow}, exit: []int{3},
			not: []string{`client was invalid`}},
	}
	for i := range rows {
		rows[i].point = "held"
	}
	return append(rows, tlsRows...)
}

// elsewhere is a certificate for another address.
var elsewhere = selfSigned(time.Now().Add(time.Hour), net.IPv4(192, 0, 2, 1))

// wholeAtAnyTime reads the report again and again while the program replaces it.
func wholeAtAnyTime(e *env) {
	name := e.Out + "/benchmarks.json"
	end := regexp.MustCompile(`\}\s*$`)
	for e.Sleep(3 * time.Millisecond) {
		if b, err := os.ReadFile(name); err == nil && (len(b) == 0 || !end.Match(b)) {
			e.wrong("a report of %d bytes that is not whole was read", len(b))
			return
		}
	}
}
