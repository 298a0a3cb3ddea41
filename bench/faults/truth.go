package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openloop/openloop/bench/faults/server"
)

// truthRows are section 1 of the issue: what is measured is what happened.
func truthRows() []row {
	return slices.Concat(outageRows(), tokenlessRows(), usageRows(), retryRows(), otherTruthRows())
}

// outage is a stage of six seconds at 20 requests a second. The server takes its time, so that the client's own delays
// on a busy machine are small beside it.
const outage = "run" + common + " --profile constant --rate 20 --max-seconds 6 --grace 2s" +
	" --slo 'ttft:p95<2s errors<1%'"

var slow = server.Answer{First: 400 * time.Millisecond}.Serve

// blamed are the words for a client that was not fit.
const blamed = `client invalid|client was invalid|inconclusive|not fit to be believed`

// down takes the server down in the middle of the outage's stage.
func down(e *env) {
	if e.Chats(30) {
		e.Server.Down()
		e.Sleep(2 * time.Second)
		if err := e.Server.Open(); err != nil {
			e.wrong("%v", err)
		}
	}
}

// 1.1: an outage of the server is the server's.
func outageRows() []row {
	serversFault := []check{errored(20, 80), level("valid", "suspect"), result("FAIL")}
	return []row{
		{
			point: "1.1", name: "server killed for 2 s of a stage", alone: true,
			server: server.Config{Chat: slow},
			args:   outage, act: down,
			exit: []int{0}, says: []string{`refused|connection lost|reset`}, not: []string{blamed},
			report: serversFault,
		},
		{
			point: "1.1", name: "server killed for 2 s of a gate's stage", alone: true,
			server: server.Config{Chat: slow},
			args:   outage + " --gate slo@20", act: down,
			exit: []int{3}, says: []string{`FAIL|missed|does not hold|failed`}, not: []string{blamed},
			report: serversFault,
		},
		{
			point: "1.1", name: "server killed for 2 s, over HTTP/2", alone: true,
			server: server.Config{HTTP2: &server.HTTP2Fault{First: 400 * time.Millisecond}},
			args:   outage + " --http2", act: down,
			exit: []int{0}, says: []string{`refused|connection lost|reset|EOF`}, not: []string{blamed},
			report: serversFault,
		},
		{
			point: "1.1", name: "listener closed for 2 s, streams go on", alone: true,
			server: server.Config{Chat: slow, Idle: 20 * time.Millisecond},
			args:   outage,
			act: func(e *env) {
				if e.Chats(30) {
					e.Server.Listener().Close()
					e.Sleep(2 * time.Second)
					if err := e.Server.Open(); err != nil {
						e.wrong("%v", err)
					}
				}
			},
			exit: []int{0}, says: []string{`refused`}, not: []string{blamed},
			report: serversFault,
		},
		{
			point: "1.1", name: "connections are reset for 2 s", alone: true,
			server: server.Config{Chat: func(x *server.Exchange) {
				if x.N >= 30 && x.N < 70 {
					x.Reset()
				} else {
					slow(x)
				}
			}},
			args: outage, exit: []int{0}, says: []string{`reset|connection lost`}, not: []string{blamed},
			report: serversFault,
		},
		{
			point: "1.1", name: "connecting times out for 2 s", alone: true,
			server: server.Config{Chat: slow, Idle: 20 * time.Millisecond},
			args:   outage + " --connect-timeout 500ms",
			act: func(e *env) {
				if e.Chats(30) {
					release, err := fillBacklog(e.Server)
					if err != nil {
						e.wrong("%v", err)
						return
					}
					e.Sleep(2 * time.Second)
					release()
				}
			},
			exit: []int{0}, says: []string{`500ms|timeout|timed out|connect`}, not: []string{blamed},
			report: serversFault,
		},
		{
			point: "1.1", name: "a gate holds where nothing happens", alone: true, server: server.Config{Chat: slow},
			args: "run" + common + " --profile constant --rate 20 --max-seconds 8 --slo 'ttft:p95<2s' --gate slo@20",
			exit: []int{0}, report: []check{level("valid", "suspect"), result("PASS")},
		},
		{
			// The limit is set when the connections stand: each new one fails for want of a descriptor here.
			point: "1.1", name: "a local shortage of descriptors is the client's", alone: true,
			server: server.Config{Chat: slow, Idle: 20 * time.Millisecond},
			args:   outage,
			act: func(e *env) {
				if e.Chats(30) {
					limitFiles(e.process.Pid, 3)
					e.Sleep(2 * time.Second)
					limitFiles(e.process.Pid, 20000)
				}
			},
			needs: needsLinux,
			exit:  []int{4}, says: []string{`too many open files|descriptor|open files`},
			report: []check{errored(10, 80), level("invalid")},
		},
	}
}

// fillBacklog lets a server accept nothing, and fills the queue of its connections: packets of further ones are
// dropped.
func fillBacklog(s *server.Server) (release func(), err error) {
	s.Listener().Close()
	l, err := net.Listen("tcp", s.Addr())
	if err != nil {
		return nil, err
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); err != nil {
		return nil, err
	}
	var held []net.Conn
	for range 4 {
		if c, err := net.DialTimeout("tcp", s.Addr(), 100*time.Millisecond); err == nil {
			held = append(held, c)
		}
	}
	return func() {
		for _, c := range held {
			c.Close()
		}
		l.Close()
		_ = s.Open() // the row's errors show that it did not
	}, err
}

// 1.2: answers without any token are errors.
func tokenlessRows() []row {
	// All load requests are answered so, the trial well.
	bad := func(name, says string, b server.Behaviour) row {
		return row{
			point: "1.2", name: name, fast: true,
			server: server.Config{Chat: server.AfterTrial(b)},
			args:   short, exit: []int{1}, says: []string{says},
			not:    []string{`highest rate that met [^\n]*: \d`, `max rate at SLO:? +(at least |between )?\d`},
			report: []check{completed(0, 0), errored(1, 20)},
		}
	}
	abort := server.Answer{Tokens: 3, Finish: "abort"}
	failed := server.Answer{Tokens: 3, Finish: "error"}
	rows := []row{
		bad("[DONE] alone", `no token|without (a|any) token|token`, server.Events("[DONE]")),
		bad("role only", `no token|without (a|any) token|token`, server.Answer{None: true, Usage: server.Usage(16,
			8)}.Serve),
		bad("role, usage of 8 tokens and no finish reason", `token`,
			server.Answer{None: true, Usage: server.Usage(16, 8), NoFinish: true}.Serve),
		bad("empty stream", `token|\[DONE\]|finish reason`, server.Events()),
		bad("empty content only", `token`, server.Answer{Delta: func(int) string { return `{"content":""}` }}.Serve),
		bad("finish reason abort", `abort`, abort.Serve),
		bad("finish reason error", `finish.reason.*error|error`, failed.Serve),
		bad(`{"object":"error"} in the stream`, `engine is dead`, server.Events(
			server.Chunk(1, `{"content":" w"}`, "", ""),
			`{"object":"error","message":"the engine is dead","type":"InternalServerError","code":500}`, "[DONE]")),
		bad("[DONE] short of what was asked", `short|of 8|8 tokens|finish reason|\[DONE\]`, server.Answer{
			Tokens: 3, NoFinish: true, NoUsage: true}.Serve),
		bad("a completion without a token, not streamed", `token`, server.JSON(200,
			`{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":""},`+
				`"finish_reason":"stop"}],"usage":{"prompt_tokens":16,"completion_tokens":0,"total_tokens":16}}`)),
	}
	parts := server.Answer{Delta: func(k int) string {
		return fmt.Sprintf(`{"content":[{"type":"text","text":" part%d"}]}`, k)
	}}
	read := []check{completed(20, 20), errored(0, 0), each("8 tokens, a first token and its text",
		func(q request) bool {
			return q.tokens == 8 && q.ttft > 0 && strings.Contains(q.text, "part0 part1")
		})}
	return append(rows,
		row{
			point: "1.2", name: "content as a list of parts is read", fast: true,
			server: server.Config{Chat: server.AfterTrial(parts.Serve)},
			args:   short, exit: []int{0}, report: read,
		},
		row{
			point: "1.2", name: "content as a list of parts is read by the trial too", fast: true,
			server: server.Config{Chat: parts.Serve},
			args:   short, exit: []int{0}, report: read,
		},
		row{
			// Half fail: what is left is good, and the stage fails.
			point: "1.2", name: "every second answer without a token", fast: true,
			server: server.Config{Chat: server.Every(2, server.Events("[DONE]"))},
			args:   short, exit: []int{0, 1}, says: []string{`token`}, not: []string{`objectives met|outcome.*PASS`},
			report: []check{completed(10, 10), errored(10, 10), each("a first token", func(q request) bool {
				return q.ttft > 0
			})},
		},
		row{
			// A model that stops early by itself is no error: it gives its reason.
			point: "1.2", name: "stop after three tokens is no error", fast: true,
			server: server.Config{Chat: server.AfterTrial(server.Answer{Tokens: 3, Finish: "stop"}.Serve)},
			args:   short, exit: []int{0}, report: []check{completed(20, 20), errored(0, 0)},
		},
	)
}

// 1.3: a usage that can't be is not believed.
func usageRows() (rows []row) {
	for _, u := range []struct{ name, tokens string }{
		{"a thousand million tokens", "1000000000"}, {"no token", "0"}, {"one token", "1"}, {"a negative number", "-5"},
		{"a string", `"8"`}, {"a number beyond 64 bits", "1e30"}, {"a fraction", "8.5"},
	} {
		usage := `{"prompt_tokens":16,"completion_tokens":` + u.tokens + `,"total_tokens":24}`
		rows = append(rows, row{
			point: "1.3", name: "usage says " + u.name, fast: true,
			server: server.Config{Chat: server.AfterTrial(server.Answer{Usage: usage}.Serve)},
			args:   short, exit: []int{0}, says: []string{`usage`},
			report: []check{completed(20, 20), each("8 tokens", func(q request) bool { return q.tokens == 8 }),
				warned(`usage`)},
		})
	}
	return append(rows, row{
		// vLLM sends several tokens in an event when it is behind: that is no contradiction.
		point: "1.3", name: "usage of 8 with 4 events is believed", fast: true,
		server: server.Config{Chat: server.AfterTrial(server.Answer{Tokens: 4, Usage: server.Usage(16, 8)}.Serve)},
		args:   short, exit: []int{0},
		report: []check{completed(20, 20), each("8 tokens", func(q request) bool { return q.tokens == 8 })},
	})
}

// 1.4: a request is sent again only where the server can't have read it.
func retryRows() []row {
	const (
		load   = " --profile constant --rate 20 --max-requests 60 --allow-invalid"
		direct = "run" + common + load
		key    = " --header 'Idempotency-Key: one'"
	)
	// The server is the proxy as well: what the address names is nowhere.
	proxied := strings.ReplaceAll(direct, "$URL", "http://engine.test:8000")
	proxy := []string{"HTTP_PROXY=$URL", "http_proxy=$URL"}
	once := func(e *env) string {
		if n := e.Server.SentTwice(); n > 0 {
			return complaint("no request that the server has read to be sent again", fmt.Sprint(n, " were"))
		}
		return ""
	}
	dropped := func(after time.Duration) server.Config {
		return server.Config{Chat: server.OnReused(6, server.Drop(after))}
	}
	errors := []check{completed(45, 58), errored(2, 15)}
	// While the program stands still its idle connections are closed, and a request falls due: it goes out on one that
	// has just been closed.
	race := func(e *env) {
		for e.Chats(5) && e.Sleep(60*time.Millisecond) {
			e.Signal(syscall.SIGSTOP)
			time.Sleep(20 * time.Millisecond)
			e.Server.CloseIdle()
			time.Sleep(60 * time.Millisecond)
			e.Signal(syscall.SIGCONT)
		}
	}
	clean := []check{completed(59, 60), errored(0, 1)} // one may have been under way
	h2drop := server.Config{HTTP2: &server.HTTP2Fault{DropFrom: 20}}
	h2 := server.Config{HTTP2: &server.HTTP2Fault{}}
	rows := []row{
		{point: "1.4", name: "dropped when read", server: dropped(0), args: direct, report: errors},
		{point: "1.4", name: "dropped 1.5 s after it was read", server: dropped(1500 * time.Millisecond), args: direct,
			report: errors},
		{point: "1.4", name: "reset when read", server: server.Config{Chat: server.OnReused(6, server.Reset(0))},
			args: direct, report: errors},
		{point: "1.4", name: "dropped when read, Idempotency-Key", server: dropped(0), args: direct + key,
			report: errors},
		{point: "1.4", name: "dropped when read, by a proxy", server: dropped(0), args: proxied, env: proxy,
			report: errors},
		{point: "1.4", name: "dropped when read, by a proxy, Idempotency-Key", server: dropped(0), args: proxied + key,
			env: proxy, report: errors},
		{point: "1.4", name: "dropped when read, HTTP/2", server: h2drop, args: direct + " --http2",
			report: []check{completed(10, 50), errored(10, 50)}},
		{point: "1.4", name: "dropped when read, HTTP/2, Idempotency-Key", server: h2drop, args: direct + key +
			" --http2",
			report: []check{completed(10, 50), errored(10, 50)}},
		{point: "1.4", name: "idle connections are closed as requests come", act: race, args: direct, report: clean},
		{point: "1.4", name: "idle connections are closed as requests come, by a proxy", act: race, args: proxied,
			env: proxy, report: clean},
		{point: "1.4", name: "idle connections are closed as requests come, by a proxy, Idempotency-Key", act: race,
			args: proxied + key, env: proxy, report: clean},
		{point: "1.4", name: "idle connections are closed as requests come, HTTP/2", server: h2, act: race,
			args: direct + " --http2", report: clean},
	}
	for i := range rows {
		rows[i].exit, rows[i].check = []int{0, 1}, once
	}
	return append(rows, row{
		// Every connection ends as its second request comes; a new one has its TLS 300 ms later.
		point: "1.4", name: "the time of a retry is not lateness", alone: true,
		server: server.Config{TLS: certificate(), Idle: 20 * time.Millisecond, Chat: slow,
			Accept: func(s *server.Server, _ net.Conn) bool {
				if s.Chats() > 0 {
					time.Sleep(300 * time.Millisecond)
				}
				return false
			}},
		args: "run" + common +
			" --insecure --profile constant --rate 20 --max-requests 60 --slo 'ttft:p95<2s errors<1%'",
		exit: []int{0}, not: []string{blamed},
		report: []check{completed(55, 60), level("valid", "suspect")},
	})
}

// freeze stops the program for 4 s.
func freeze(e *env) {
	if e.Chats(5) && e.Sleep(time.Second) {
		e.Signal(syscall.SIGSTOP)
		time.Sleep(4 * time.Second)
		e.Signal(syscall.SIGCONT)
	}
}

// 1.5 and 1.6.
func otherTruthRows() []row {
	frozen := `frozen|froze|stopped|paused|suspended|heartbeat|did not run|asleep|standstill`
	// The failed ones are many, and quick to the first token and slow to the next.
	quick := func(x *server.Exchange) {
		x.Stream()
		for range 5 {
			x.Event(server.Chunk(x.N, `{"content":" w"}`, "", ""))
			time.Sleep(60 * time.Millisecond)
		}
		x.Reset()
	}
	mixed := server.Config{Chat: func(x *server.Exchange) {
		switch {
		case x.N == 0:
			server.Good(x)
		case x.N%4 == 0:
			time.Sleep(150 * time.Millisecond)
			server.Good(x)
		default:
			quick(x)
		}
	}}
	return []row{
		{
			point: "1.5", name: "frozen for 4 of 8 s, closed loop", alone: true,
			args: "run" + common + " --profile concurrent --rate 2 --max-seconds 8", act: freeze,
			exit: []int{4}, says: []string{frozen}, report: []check{level("invalid")},
		},
		{
			point: "1.5", name: "frozen for 4 of 8 s, one stream", alone: true,
			args: "run" + common + " --profile synchronous --max-seconds 8", act: freeze,
			exit: []int{4}, says: []string{frozen}, report: []check{level("invalid")},
		},
		{
			point: "1.5", name: "frozen for 4 of 8 s, throughput", alone: true,
			args: "run" + common + " --profile throughput --rate 4 --max-seconds 8", act: freeze,
			exit: []int{4}, says: []string{frozen}, report: []check{level("invalid")},
		},
		{
			point: "1.5", name: "frozen for 4 of 8 s, open loop", alone: true,
			args: "run" + common + " --profile constant --rate 20 --max-seconds 8", act: freeze,
			exit: []int{4}, says: []string{frozen}, report: []check{level("invalid")},
		},
		{
			point: "1.5", name: "frozen for 4 of 8 s, bursts", alone: true,
			args: "run" + common + " --arrival burst:5 --rate 5 --max-seconds 8", act: freeze,
			exit: []int{4}, says: []string{frozen}, report: []check{level("invalid")},
		},
		{
			point: "1.6", name: "no success, by status", fast: true,
			server: server.Config{Chat: server.AfterTrial(server.JSON(500, `{"error":{"message":"down"}}`))},
			args:   short, exit: []int{1}, says: []string{`no request [^\n]*succeeded|none [^\n]*succeeded`},
			report: []check{completed(0, 0)},
		},
		{
			point: "1.6", name: "no success, by resets", fast: true,
			server: server.Config{Chat: server.AfterTrial(server.Reset(0))},
			args:   short, exit: []int{1}, says: []string{`no request [^\n]*succeeded|none [^\n]*succeeded`},
			report: []check{completed(0, 0)},
		},
		{
			point: "1.6", name: "no success, for none ended in time",
			server: server.Config{Chat: server.AfterTrial(server.Stall(2))},
			args:   "run" + common + " --profile constant --rate 10 --max-seconds 2 --allow-invalid",
			exit:   []int{1}, says: []string{`no request [^\n]*(succeeded|completed)|none [^\n]*(succeeded|completed)`},
			report: []check{completed(0, 0)},
		},
		{
			point: "1.6", name: "no success, closed loop", fast: true,
			server: server.Config{Chat: server.AfterTrial(server.JSON(500, `{"error":{"message":"down"}}`))},
			args:   "run" + common + " --profile concurrent --rate 2 --max-requests 10 --allow-invalid",
			exit:   []int{1}, says: []string{`no request [^\n]*succeeded|none [^\n]*succeeded`},
			report: []check{completed(0, 0)},
		},
		{
			point: "1.6", name: "TTFT is of completed requests", server: mixed,
			args: "run" + common + " --profile constant --rate 20 --max-requests 40 --allow-invalid",
			exit: []int{0}, says: []string{`(TTFT p50 |ttft95=)1[5-9]\d`},
			report: []check{completed(10, 10), errored(30, 30)},
		},
		{
			point: "1.6", name: "TPOT is of completed requests", server: mixed,
			args: "run" + common + " --profile constant --rate 20 --max-requests 40 --allow-invalid",
			exit: []int{0}, says: []string{`(ITL p50 |tpot95=)([1-9]|1\d)(\.\d+)? ?ms`},
		},
		{
			point: "1.6", name: "progress of nothing is not 0.00", fast: true,
			server: server.Config{Chat: server.AfterTrial(server.JSON(500, `{"error":{"message":"down"}}`))},
			args:   short, not: []string{`(TTFT|ITL)[^\n]*\b0\.00`, `(ttft|tpot)95=0`}, says: []string{`500`},
		},
		{
			point: "1.6", name: "two choices", fast: true,
			server: server.Config{Chat: server.Answer{Tokens: 16, Gap: 10 * time.Millisecond,
				Choices: func(k int) string {
					return fmt.Sprintf(`[{"index":%d,"delta":{"content":" w"},"finish_reason":null}]`, k%2)
				}}.Serve},
			args: short + ` --extra-body '{"n":2}'`,
			exit: []int{0, 2}, says: []string{`\bn\b[^\n]*(2|choice)|choice`},
		},
		{
			point: "1.6", name: "recompute tells Infinity from a number", fast: true,
			args: short, exit: []int{0},
			then: []step{{before: edit(`("time_to_first_token_ms": ?\{"successful": ?\{"mean": ?)[0-9.]+`,
				`${1}Infinity`),
				args: "report $OUT/benchmarks.json --recompute", exit: []int{3},
				says: []string{`time_to_first_token_ms`}}},
		},
		{
			point: "1.6", name: "recompute finds requests missing", fast: true,
			args: short, exit: []int{0},
			then: []step{{before: edit(`("requests": ?\{"successful": ?)\[.*\](, ?"incomplete")`, `$1[]$2`),
				args: "report $OUT/benchmarks.json --recompute", exit: []int{3}, says: []string{`request`}}},
		},
		{
			point: "1.6", name: "a second key benchmarks", fast: true,
			args: short, exit: []int{0},
			then: []step{{before: edit(`^\{`, `{"benchmarks": [], `),
				args: "report $OUT/benchmarks.json", exit: []int{1, 2}, says: []string{`twice|duplicate`}}},
		},
	}
}

// edit replaces what an expression matches first in the report.
func edit(expression, by string) func(e *env) error {
	return func(e *env) error {
		name := filepath.Join(e.Out, "benchmarks.json")
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		match := regexp.MustCompile(`(?s)` + expression)
		at := match.FindSubmatchIndex(b)
		if at == nil {
			return fmt.Errorf("%s has nothing that matches %q", name, expression)
		}
		changed := append([]byte(nil), b[:at[0]]...)
		changed = match.Expand(changed, []byte(by), b, at)
		return os.WriteFile(name, append(changed, b[at[1]:]...), 0o666)
	}
}
