package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/bench/faults/server"
)

// limitRows are section 3 of the issue: everything that comes from outside has a limit, which is named where it is met.
func limitRows() []row { return slices.Concat(sizeRows(), planRows(), messageRows()) }

const (
	eventStream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	closing     = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" // without a length
)

// A limit that is named: a size with its unit.
const sized = `\d+ ?(KiB|MiB|GiB|KB|MB|GB|kB|bytes)`

// 3.1
func sizeRows() []row {
	megabyte := strings.Repeat("x", 1<<20)
	bigToken := "data: " + server.Chunk(1, `{"content":"`+megabyte+`"}`, "", "") + "\n\n"
	endless := server.AfterTrial(server.Forever(closing, bigToken))
	// A few requests at a time, each with its own endless stream: more are only more work.
	few := "run" + common + " --profile concurrent --rate 2 --max-seconds 4 --allow-invalid"
	small := "data: " + server.Chunk(1, `{"content":" w"}`, "", "") + "\n\n"
	trial := func(name string, says string, b server.Behaviour) row {
		return row{point: "3.1", name: name + ", at the trial", server: server.Config{Chat: b}, args: short,
			exit: []int{2}, says: []string{says}, maxMB: 300, within: 75 * time.Second}
	}
	load := func(name string, says string, b server.Behaviour) row {
		return row{point: "3.1", name: name, server: server.Config{Chat: server.AfterTrial(b)},
			args:  "run" + common + " --profile concurrent --rate 1 --max-requests 3 --max-seconds 20 --allow-invalid",
			exit:  []int{1},
			maxMB: 300, report: []check{completed(0, 0), failures(says)}, within: 40 * time.Second}
	}
	head := server.Forever("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
		"X-Filler: "+strings.Repeat("a", 8<<10)+"\r\n")
	longHead := server.Raw("HTTP/1.1 200 OK\r\nX-Filler: " + strings.Repeat("a", 10<<20) + "\r\n\r\n")
	interim := server.Forever("", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 100))
	status := func(code string) server.Behaviour {
		return server.Raw("HTTP/1.1 " + code + " Odd\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n")
	}
	rows := []row{
		{point: "3.1", name: "endless tokens of 1 MB", alone: true, server: server.Config{Chat: endless}, args: few,
			maxMB: 400, exit: []int{0, 1}},
		{point: "3.1", name: "endless tokens of 1 MB, --sample-requests 0", alone: true,
			server: server.Config{Chat: endless}, args: few + " --sample-requests 0", maxMB: 400, exit: []int{0, 1}},
		{point: "3.1", name: "endless tokens of 1 MB, at the trial", alone: true,
			server: server.Config{Chat: server.Forever(closing, bigToken)}, args: short, maxMB: 400, exit: []int{0, 1,
				2}},
		{point: "3.1", name: "endless small tokens", alone: true,
			server: server.Config{Chat: server.AfterTrial(server.Forever(closing, strings.Repeat(small, 500)))},
			args:   few, maxMB: 500, exit: []int{0, 1}},
		{point: "3.1", name: "an answer that is not streamed and never ends", alone: true,
			server: server.Config{Chat: server.AfterTrial(server.Forever(
				"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"a\":\"", megabyte))},
			args: few, maxMB: 500, exit: []int{0, 1}, report: []check{failures(sized)}},
		load("an endless line", sized, server.Forever(closing+"data: ", megabyte)),
		trial("an endless line", sized, server.Forever(closing+"data: ", megabyte)),
		load("an event of endless lines", sized, server.Forever(closing, "data: "+megabyte[:1<<16]+"\n")),
		load("an endless head", `head`+`.*`+sized, head),
		trial("an endless head", `head`+`.*`+sized, head),
		load("a head of 10 MB", `head`+`.*`+sized, longHead),
		trial("a head of 10 MB", `head`+`.*`+sized, longHead),
		load("endless 1xx responses", `1xx|interim|informational|103`, interim),
		trial("endless 1xx responses", `1xx|interim|informational|103`, interim),
		load("an error's endless text", `HTTP 500|500`, server.Forever(
			"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n", megabyte)),
		trial("an error's endless text", `500`, server.Forever(
			"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n", megabyte)),
		load("a chunk of 2^60 bytes", `chunk|short|end|EOF|connection`, server.Raw(strings.TrimSuffix(eventStream,
			"\r\n"),
			"\r\n1000000000000000\r\ndata: x\n\n")),
		{point: "3.1", name: "an endless list of models", args: short, exit: []int{2}, maxMB: 300,
			server: server.Config{Models: server.Forever(
				"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"data\":[",
				`{"id":"m"},`)},
			says: []string{sized}},
		{point: "3.1", name: "endless metrics", exit: []int{0}, maxMB: 400,
			args: strings.Replace(short, "--server-metrics off", "--server-metrics auto", 1),
			server: server.Config{Metrics: server.Forever(
				"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n",
				strings.Repeat("vllm:num_requests_running 1\n", 100))}},
		{point: "3.1", name: "an endless token count", exit: []int{0, 1, 2}, maxMB: 500, within: 75 * time.Second,
			args: strings.Replace(short, " --tokenizer none", "", 1),
			server: server.Config{Chat: growing, Other: server.Forever(
				"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"tokens\":[",
				"1,1,1,1,1,1,1,1,")}},
		{point: "3.1", name: "3 MB of gzip that hold 10 GB of data", make: bomb("data.jsonl.gz", "{\"prompt\": \"",
			"aaaaaaaa"),
			args: data + "$IN/data.jsonl.gz", exit: []int{2}, says: []string{sized,
				`limit|at most|exceed|more than|larger|longer`},
			within: 100 * time.Second},
		{point: "3.1", name: "3 MB of gzip that hold 10 GB of short records",
			make: bomb("data.jsonl.gz", "", "{\"prompt\": \"a\"}\n"), args: data + "$IN/data.jsonl.gz",
			exit: []int{0, 2}, within: 100 * time.Second}, // read as far as it is needed, it may serve
		{point: "3.1", name: "3 MB of gzip that hold 10 GB of a report", make: bomb("report.json.gz",
			`{"metadata": "`, "aaaaaaaa"),
			args: "report $IN/report.json.gz", maxMB: 900, exit: []int{1, 2}, says: []string{sized,
				`limit|at most|exceed|more than|larger|longer`},
			within: 100 * time.Second},
		{point: "3.1", name: "gzip within gzip within gzip", fast: true, make: nested, args: data + "$IN/data.jsonl.gz",
			exit: []int{2}},
		{point: "3.1", name: "a FIFO as data", fast: true, make: fifo, args: data + "$IN/fifo.jsonl", exit: []int{2},
			says: []string{`fifo\.jsonl`, `pipe|FIFO|regular file|not a file`}, within: 5 * time.Second},
		{point: "3.1", name: "a FIFO as a trace", fast: true, make: fifo,
			args: "run --target $URL --tokenizer none --output-dir $OUT --trace $IN/fifo.jsonl", exit: []int{2},
			says: []string{`fifo\.jsonl`, `pipe|FIFO|regular file|not a file`}, within: 5 * time.Second},
		{point: "3.1", name: "a folder as data", fast: true, args: data + "$IN", exit: []int{2},
			within: 5 * time.Second},
		{point: "3.1", name: "an endless device as data", args: data + "/dev/zero", exit: []int{2},
			within: 20 * time.Second},
	}
	for _, code := range []string{"000", "001", "099"} {
		l, t := load("status "+code, code+`|status`, status(code)), trial("status "+code, code+`|status`, status(code))
		l.fast, t.fast = true, true
		rows = append(rows, l, t)
	}
	return rows
}

// bomb makes a small gzip of 10 GB: begin, and then the same again and again.
func bomb(name, begin, again string) func(e *env) error {
	return func(e *env) error {
		f, err := os.Create(filepath.Join(e.In, name))
		if err != nil {
			return err
		}
		defer f.Close()
		// The members of a file of gzip follow one another as if they were one.
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(begin)); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		if _, err := f.Write(b.Bytes()); err != nil {
			return err
		}
		const each = 32 << 20
		b.Reset()
		w.Reset(&b)
		if _, err := w.Write(bytes.Repeat([]byte(again), each/len(again))); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		for range 10 << 30 / each {
			if _, err := f.Write(b.Bytes()); err != nil {
				return err
			}
		}
		return f.Close()
	}
}

// nested makes a record that is packed three times.
func nested(e *env) error {
	text := []byte("{\"prompt\": \"a\"}\n")
	for range 3 {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(text); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		text = b.Bytes()
	}
	return os.WriteFile(filepath.Join(e.In, "data.jsonl.gz"), text, 0o666)
}

// fifo makes a pipe with a name that nobody writes to.
func fifo(e *env) error { return exec.Command("mkfifo", filepath.Join(e.In, "fifo.jsonl")).Run() }

// 3.2
func planRows() []row {
	interrupt := func(e *env) {
		if e.Sleep(2 * time.Second) {
			e.Signal(os.Interrupt)
		}
	}
	const plan = "run" + common + " --allow-invalid"
	tooMuch := func(name, args string) row {
		return row{
			point: "3.2", name: name, alone: true, args: plan + args, act: interrupt, within: 15 * time.Second,
			exit: []int{2},
			says: []string{`requests`, sized + `|memory`}, check: func(e *env) string {
				if e.Server.Chats() > 1 {
					return complaint("no load before it is refused", e.Server.Chats())
				}
				return ""
			},
		}
	}
	silence := `silen|no (byte|token|event|data|answer|progress)|nothing (has )?(came|come|heard)|` +
		`without a (token|byte)|` +
		`stall|quiet for|waiting|last (token|byte|event)`
	// It must be said before the end.
	listen := func(e *env) {
		if !e.SaysWithin(20*time.Second, silence) {
			e.wrong("%s", complaint("it to say within 20 s that nothing comes", "nothing"))
		}
		e.Signal(os.Interrupt)
	}
	return []row{
		tooMuch("1e308 requests a second", " --profile constant --rate 1e308 --max-seconds 1"),
		tooMuch("1e308 requests a second, Poisson", " --profile poisson --rate 1e308 --max-seconds 1"),
		tooMuch("1e9 requests a second for 0.05 s", " --profile constant --rate 1e9 --max-seconds 0.05"),
		tooMuch("1e9 requests a second for 0.05 s, Poisson", " --profile poisson --rate 1e9 --max-seconds 0.05"),
		tooMuch("1000 requests a second for a week", " --profile constant --rate 1000 --max-seconds 604800"),
		{
			point: "3.2", name: "a ramp to 1e308 requests a second", fast: true, args: plan +
				" --ramp 1..1e308 --max-seconds 1",
			act: interrupt, within: 10 * time.Second, exit: []int{2},
		},
		{
			point: "3.2", name: "1e9 requests at once", fast: true,
			args: plan + " --arrival burst:1000000000 --rate 1e9 --max-seconds 0.05",
			act:  interrupt, within: 10 * time.Second, exit: []int{2},
		},
		{
			point: "3.2", name: "Ctrl-C ends what a huge rate began", alone: true, args: plan +
				" --profile constant --rate 1e308 --max-seconds 1",
			act: interrupt, within: 10 * time.Second, exit: []int{2, 130},
		},
		{
			point: "3.2", name: "a request has a time limit by default, and it is stated", fast: true,
			args: "run --help-all", exit: []int{0}, says: []string{`--request-timeout.{0,250}\b(10m|10 min|600 ?s)`},
		},
		{
			point: "3.2", name: "the time limit of a request ends a stalled stream", fast: true,
			server: server.Config{Chat: server.AfterTrial(server.Stall(2))},
			args:   plan + " --profile constant --rate 20 --max-requests 5 --request-timeout 1s",
			exit:   []int{1}, says: []string{`1s`}, report: []check{completed(0, 0), errored(5, 5)},
			within: 10 * time.Second,
		},
		{
			point: "3.2", name: "silence of the streams is shown while it lasts",
			server: server.Config{Chat: server.AfterTrial(server.Stall(2))},
			args:   plan + " --profile constant --rate 20 --max-requests 5",
			act:    listen, within: 30 * time.Second, exit: []int{1, 130},
		},
		{
			point: "3.2", name: "silence of all requests is shown while it lasts",
			server: server.Config{Chat: server.AfterTrial(server.Silent)},
			args:   plan + " --profile concurrent --rate 2 --max-requests 5",
			act:    listen, within: 30 * time.Second, exit: []int{1, 130},
		},
	}
}

// 3.3
func messageRows() []row {
	at := func(name string, b server.Behaviour, says ...string) row {
		return row{point: "3.3", name: name, fast: true, server: server.Config{Chat: b}, args: short, exit: []int{2},
			says: says,
			not:  []string{`does it speak HTTP`, `only with TLS`, `ended without a token`}}
	}
	encoded := func(name string, body string) server.Behaviour {
		return server.Whole(200, "text/event-stream", body, "Content-Encoding: "+name)
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	fmt.Fprintf(w, "data: %s\n\ndata: [DONE]\n\n", server.Chunk(0, `{"content":" w"}`, "length", ""))
	w.Close()
	// What a server that speaks HTTP/2 alone answers to anything else: its settings, and a farewell.
	settings := "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80" +
		"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	proxied := strings.ReplaceAll(short, "$URL", "http://engine.test:8000")
	cut := func(x *server.Exchange) {
		x.Stream()
		x.Event(server.Chunk(x.N, `{"content":" w"}`, "", ""))
		x.Close()
	}
	return []row{
		{point: "3.3", name: "64 open files", fast: true, args: short,
			shell: `ulimit -n 64; exec "$@"`, exit: []int{2}, says: []string{`open files|descriptors`, `ulimit -n`},
			not: []string{`at most 0`}},
		{point: "3.3", name: "a proxy that refuses connections", fast: true, args: proxied,
			env:  []string{"HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1"},
			exit: []int{2}, says: []string{`proxy[^\n]*127\.0\.0\.1:1|127\.0\.0\.1:1[^\n]*proxy`},
			not: []string{`is the server up`, `is the address right`}},
		{point: "3.3", name: "a proxy that is not known", fast: true, args: proxied,
			env:  []string{"HTTP_PROXY=http://proxy.invalid:3128", "http_proxy=http://proxy.invalid:3128"},
			exit: []int{2}, says: []string{`proxy "?proxy\.invalid|proxy[^\n]*proxy\.invalid`},
			not: []string{`is the server up`, `is the address right`}},
		{point: "3.3", name: "a proxy that refuses to tunnel", fast: true,
			server: server.Config{Other: server.Whole(403, "text/plain", "not through here")},
			args:   strings.ReplaceAll(short, "$URL", "https://engine.test:8000"),
			env:    []string{"HTTPS_PROXY=http://$ADDR", "https_proxy=http://$ADDR"},
			exit:   []int{2}, says: []string{`proxy`, `403|Forbidden`}},
		at("a trial that is cut", cut, `cut|closed|ended|lost`),
		at("a trial that is reset", func(x *server.Exchange) {
			x.Stream()
			x.Event(server.Chunk(x.N, `{"content":" w"}`, "", ""))
			time.Sleep(50 * time.Millisecond)
			x.Reset()
		}, `reset|closed|lost`),
		{point: "3.3", name: "a trial that is dropped", fast: true, server: server.Config{Chat: server.Drop(0)},
			args: short,
			exit: []int{2}, says: []string{`closed`}},
		at("a trial in gzip", encoded("gzip", zipped.String()), `gzip`),
		at("a trial in brotli", encoded("br", "\x0b\x02\x80data: x\x03"), `\bbr\b|brotli`),
		at("a trial in zstd", encoded("zstd", "\x28\xb5\x2f\xfd"), `zstd`),
		at("a server that speaks HTTP/2 alone", server.Raw(settings), `HTTP/2`, `--http2`),
		at("a line of 20 MB at the trial", server.Forever(closing+"data: ", strings.Repeat("x", 1<<20)), sized),
		{point: "3.3", name: "a list of models from a server that speaks HTTP/2 alone", fast: true,
			server: server.Config{Models: server.Raw(settings)}, args: short, exit: []int{2},
			says: []string{`HTTP/2`, `--http2`}},
		{point: "3.3", name: "net/http that speaks HTTP/2 alone", fast: true,
			server: server.Config{HTTP2: &server.HTTP2Fault{Only: true}}, args: short, exit: []int{2},
			says: []string{`--http2`}},
		{point: "3.3", name: "a load in gzip", fast: true,
			server: server.Config{Chat: server.AfterTrial(encoded("gzip", zipped.String()))}, args: short,
			exit:   []int{1},
			report: []check{completed(0, 0), failures(`gzip`)}},
		{point: "3.3", name: "a load in brotli", fast: true,
			server: server.Config{Chat: server.AfterTrial(encoded("br", "\x0b\x02\x80data: x\x03"))}, args: short,
			exit: []int{1}, report: []check{completed(0, 0), failures(`\bbr\b|brotli`)}},
		{point: "3.3", name: "a list of models that never comes", server: server.Config{Models: server.Silent},
			args: short,
			exit: []int{2}, says: []string{`within|time|30s`}, within: 75 * time.Second},
		{point: "3.3", name: "a server that accepts and says nothing", server: server.Config{Accept: server.Wait},
			args: short + " --connect-timeout 1s --request-timeout 1s", exit: []int{2},
			says:   []string{`within|time|30s`},
			within: 75 * time.Second},
		{point: "3.3", name: "a trial that never comes, in a time limit", fast: true,
			server: server.Config{Chat: server.Silent}, args: short + " --request-timeout 1s", exit: []int{2},
			says: []string{`1s`}},
		{point: "3.3", name: "a trial that stalls, in a time limit", fast: true,
			server: server.Config{Chat: server.Stall(1)}, args: short + " --request-timeout 1s", exit: []int{0, 2}},
		{point: "3.3", name: "metrics that never come", server: server.Config{Metrics: server.Silent},
			args: strings.Replace(short, "--server-metrics off", "--server-metrics $URL/metrics", 1),
			exit: []int{2}, says: []string{`server-metrics`, `5s|within|time`}},
		{point: "3.3", name: "a token count that never comes", server: server.Config{Other: server.Silent,
			Chat: growing},
			args: strings.Replace(short, " --tokenizer none", "", 1), exit: []int{0, 2}, says: []string{`tokenize`},
			within: 100 * time.Second},
		{point: "3.3", name: "a record of 10 MB", make: longRecord, args: strings.Replace(data, "requests 20",
			"requests 2", 1) +
			"$IN/data.jsonl", exit: []int{0, 2}},
		{point: "3.3", name: "metrics with a line of 5 MB", fast: true,
			args: strings.Replace(short, "--server-metrics off", "--server-metrics $URL/metrics", 1), exit: []int{2},
			server: server.Config{Metrics: server.Whole(200, "text/plain", strings.Repeat("a", 5<<20))},
			says:   []string{`server-metrics`}},
	}
}

func longRecord(e *env) error {
	text := `{"prompt": "` + strings.Repeat("a ", 5<<20) + "\"}\n"
	return os.WriteFile(filepath.Join(e.In, "data.jsonl"), []byte(text), 0o666)
}
