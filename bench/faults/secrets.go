package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/bench/faults/server"
)

// secretRows are section 2 of the issue: no secret goes where it was not meant to, nothing that others wrote commands
// the terminal, and simulate lets nobody hold its connections. That no output and no file of any row has the key in it,
// nor a character that a terminal obeys, is checked of every row of the campaign (everywhere, in run.go).
func secretRows() []row {
	return slices.Concat(redirectRows(), echoRows(), controlRows(), doorRows())
}

// redirect answers with a redirect.
func redirect(status int, location string) server.Behaviour {
	return server.Whole(status, "text/plain", "moved", "Location: "+location)
}

// The second server's address is known only when it runs; here it stands in a header of the request.
func redirectToSecond(path string) server.Behaviour {
	return func(x *server.Exchange) { redirect(302, x.Header.Get("X-To")+path)(x) }
}

// 2.1: no client follows redirects with credentials, and scraping follows none.
func redirectRows() []row {
	// nothing says that the second server was not asked.
	nothing := func(e *env) string {
		for _, h := range e.Second.Headers() {
			return complaint("no request at the address of the redirect",
				fmt.Sprintf("one with %d headers, key %v, secret %v",
					len(h), h.Get("Authorization") != "", h.Get("X-Secret") != ""))
		}
		return ""
	}
	const headers = " --header 'X-Secret: $KEY' --header 'X-To: "
	scraping := strings.Replace(short, "--server-metrics off", "--server-metrics auto", 1)
	elsewhere := "http://localhost:$PORT2'" // another host than 127.0.0.1
	return []row{
		{
			point: "2.1", name: "scraping is sent to another port", fast: true,
			server: server.Config{Metrics: redirectToSecond("/metrics")},
			args:   scraping + headers + "$URL2'", exit: []int{0}, check: nothing,
		},
		{
			point: "2.1", name: "scraping is sent to another host", fast: true,
			server: server.Config{Metrics: redirectToSecond("/metrics")},
			args:   scraping + headers + elsewhere, exit: []int{0}, check: nothing,
		},
		{
			point: "2.1", name: "scraping of a named address is sent to another port", fast: true,
			server: server.Config{Metrics: redirectByQuery},
			args: strings.Replace(short, "--server-metrics off",
				"--server-metrics http://me:$PASS@$ADDR/metrics?$ADDR2", 1) +
				" --header 'X-Secret: $KEY'",
			exit: []int{2}, says: []string{`server-metrics[^\n]*(302|redirect)`}, check: nothing,
		},
		{
			point: "2.1", name: "the list of models is sent to another port", fast: true,
			server: server.Config{Models: redirectToSecond("/v1/models")},
			args:   short + headers + "$URL2'", exit: []int{2}, says: []string{`redirect|302`}, check: nothing,
		},
		{
			point: "2.1", name: "the trial is sent to another port", fast: true,
			server: server.Config{Chat: func(x *server.Exchange) {
				redirect(307, x.Header.Get("X-To")+"/v1/chat/completions")(x)
			}},
			args: short + headers + "$URL2'", exit: []int{2}, says: []string{`redirect|307`}, check: nothing,
		},
		{
			point: "2.1", name: "the load is sent to another port", fast: true,
			server: server.Config{Chat: server.AfterTrial(func(x *server.Exchange) {
				redirect(307, x.Header.Get("X-To")+"/v1/chat/completions")(x)
			})},
			args: short + headers + "$URL2'", exit: []int{1}, says: []string{`307|redirect`}, check: nothing,
			report: []check{completed(0, 0)},
		},
		{
			point: "2.1", name: "the load over HTTP/2's client is sent to another port", fast: true,
			server: server.Config{Chat: server.AfterTrial(func(x *server.Exchange) {
				redirect(307, x.Header.Get("X-To")+"/v1/chat/completions")(x)
			})},
			args: strings.ReplaceAll(short, "$URL", "http://engine.test:8000") + headers + "$URL2'",
			env:  []string{"HTTP_PROXY=$URL", "http_proxy=$URL"}, exit: []int{1}, says: []string{`307|redirect`},
			check: nothing, report: []check{completed(0, 0)},
		},
		{
			point: "2.1", name: "the token count is sent to another port", fast: true,
			server: server.Config{Other: redirectToSecond("/tokenize"), Chat: growing},
			args:   strings.Replace(short, " --tokenizer none", "", 1) + headers + "$URL2'", check: nothing,
		},
	}
}

// redirectByQuery sends to the host that the query names.
func redirectByQuery(x *server.Exchange) {
	redirect(302, "http://"+x.Query+"/metrics")(x)
}

// growing is a good answer whose usage grows with the prompt, as learning its words needs it.
func growing(x *server.Exchange) {
	server.Answer{Prompt: 8 + strings.Count(string(x.Body), " ")}.Serve(x)
}

// echoes are the ways in which a server may write the key that it was sent.
var echoes = []struct {
	name  string
	write func(key string) string
}{
	{"as it is", func(k string) string { return k }},
	{`with \/`, func(k string) string { return strings.ReplaceAll(k, "/", `\/`) }},
	{`with \u00`, func(k string) string { return strings.ReplaceAll(k, "a", `\u0061`) }},
}

// encodedLogin is in the header that name and password become.
var encodedLogin = base64.StdEncoding.EncodeToString([]byte("me:" + password))

// 2.2: what a server repeats of the key reaches no screen and no file.
func echoRows() []row {
	forms := strings.Replace(short, "--outputs json", "--outputs json,csv,yaml", 1) + " --sample-requests 1000"
	key := apiKey
	// at answers the trial so, and later requests too.
	at := func(name string, exit int, b server.Behaviour) row {
		return row{point: "2.2", name: "the key in " + name, fast: true, server: server.Config{Chat: b}, args: forms,
			exit: []int{exit}, not: []string{`7f3a`, `9b1c`}}
	}
	later := func(name string, exit int, b server.Behaviour) row {
		r := at(name, exit, server.AfterTrial(b))
		r.exit = []int{exit}
		return r
	}
	message := func(text string) string { return `{"error":{"message":"wrong key ` + text + `","type":"auth"}}` }
	var rows []row
	for _, e := range echoes {
		name, write := e.name, e.write
		rows = append(rows,
			at("an error at the trial, "+name, 2, server.JSON(401, message(write(key)))),
			later("an error status, "+name, 1, server.JSON(500, message(write(key)))),
			later("an error in the stream, "+name, 1, server.Events(server.Chunk(1, `{"content":"a"}`, "", ""),
				message(write(key)), "[DONE]")),
		)
	}
	split := server.Answer{Delta: func(k int) string {
		parts := []string{key[:7], key[7:12], key[12:], " w"}
		return `{"content":"` + parts[min(k, 3)] + `"}`
	}}
	reasoning := server.Answer{Delta: func(k int) string {
		return `{"reasoning_content":"` + strings.ReplaceAll(key, "/", `\/`) + `"}`
	}}
	rows = append(rows,
		at("a text of status 200 at the trial", 2, server.Whole(200, "text/plain", "you sent "+key+", I saw")),
		at("JSON of status 200 at the trial", 2, server.JSON(200, `{"detail":"you sent `+strings.ReplaceAll(key, "/",
			`\/`)+`"}`)),
		at("a text of status 500 at the trial", 2, server.Whole(500, "text/plain", "you sent "+key)),
		at("Location at the trial", 2, redirect(302, "http://elsewhere.test/?key="+key)),
		at("Location at the trial, percent-encoded", 2, redirect(302, "http://elsewhere.test/?key="+
			strings.ReplaceAll(key, "/", "%2F"))),
		at("Content-Type at the trial", 2, server.Whole(200, `text/plain; key="`+key+`"`, "hello")),
		at("the reason of the status at the trial", 2, server.Raw("HTTP/1.1 403 no "+key+
			"\r\nContent-Length: 2\r\n\r\nno")),
		at("what is no HTTP at the trial", 2, server.Raw("ERR "+key+" is wrong\r\n\r\n")),
		at("an event that is no JSON at the trial", 2, server.Events(`{"choices":[{"delta":{"content":"`+key)),
		later("Content-Type", 1, server.Whole(200, `text/plain; key="`+key+`"`, "hello")),
		later("a text of status 200", 1, server.Whole(200, "text/plain", "you sent "+key)),
		later("Location", 1, redirect(302, "http://elsewhere.test/?key="+key)),
		later("the reason of the status", 1, server.Raw("HTTP/1.1 403 no "+key+"\r\nContent-Length: 2\r\n\r\nno")),
		later("what is no HTTP", 1, server.Raw("ERR "+key+" is wrong\r\n\r\n")),
		later("a chunk's length", 1, server.Raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n"+key+"\r\n")),
		later("an event that is no JSON", 1, server.Events(`{"choices":[{"delta":{"content":"`+key)),
		later("the response's text", 0, server.Answer{Delta: func(int) string {
			return `{"content":"` + key +
				`"}`
		}}.Serve),
		later("the response's text, split over events", 0, split.Serve),
		later("the reasoning", 0, reasoning.Serve),
		later("the response's id", 0, func(x *server.Exchange) {
			x.Stream()
			id := `{"id":"` + key +
				`","choices":[{"index":0,"delta":{"content":" w"},"finish_reason":"length"}],"usage":`
			x.Event(id + server.Usage(16, 1) + "}")
			x.Event("[DONE]")
			x.End()
		}),
	)
	finish := later("a finish reason", 0, server.Answer{Finish: key}.Serve)
	finish.exit = []int{0, 1} // one that is not known may be refused
	rows = append(rows, finish)
	model := func(name, id string) row {
		return row{point: "2.2", name: "the key in a model's id, " + name, fast: true,
			server: server.Config{Models: server.JSON(200, `{"data":[{"id":"m-`+id+`"}]}`)},
			args:   forms, exit: []int{0, 2}, not: []string{`7f3a`, `9b1c`}}
	}
	learning := strings.Replace(forms, " --tokenizer none", "", 1)
	const login = "http://me:$PASS@$ADDR"
	guidellm := " --profile constant --rate 40 --max-requests 10 --data prompt_tokens=16,output_tokens=4" +
		" --output-dir $OUT" +
		" --outputs json,csv,yaml --allow-invalid --processor none"
	return append(rows,
		model("as it is", key), model(`with \/`, strings.ReplaceAll(key, "/", `\/`)),
		row{point: "2.2", name: "the key in two models' ids, and another is asked for", fast: true,
			server: server.Config{Models: server.JSON(200, server.ModelList("a-"+key, "b-"+key))},
			args:   forms + " --model c", exit: []int{2}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in a text of status 200 for the models", fast: true,
			server: server.Config{Models: server.Whole(200, "text/plain", "you sent "+key)},
			args:   forms, exit: []int{2}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in an error for the models", fast: true,
			server: server.Config{Models: server.JSON(403, message(strings.ReplaceAll(key, "/", `\/`)))},
			args:   forms, exit: []int{2}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in Location of the models", fast: true,
			server: server.Config{Models: redirect(301, "/elsewhere/"+key)},
			args:   forms, exit: []int{2}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in the tokenizer's warning", fast: true,
			server: server.Config{Other: server.JSON(500, message(strings.ReplaceAll(key, "/", `\/`))),
				Chat: func(x *server.Exchange) {
					if _, stream := x.Asked(); stream {
						server.Good(x)
					} else {
						server.JSON(400, message(strings.ReplaceAll(key, "/", `\/`)))(x)
					}
				}},
			args: learning, exit: []int{0, 2}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in the address of metrics that are not there", fast: true,
			args: strings.Replace(forms, "--server-metrics off", "--server-metrics "+login+"/metrics", 1),
			exit: []int{2}, says: []string{`server-metrics`}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key with a / in the address of metrics", fast: true,
			args: strings.Replace(forms, "--server-metrics off", "--server-metrics http://me:$KEY@$ADDR/metrics", 1),
			exit: []int{2}, says: []string{`server-metrics`}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key with a / in the target of benchmark run", fast: true,
			args: "benchmark run --target http://me:$KEY@$ADDR" + guidellm, exit: []int{2}, not: []string{`7f3a`,
				`9b1c`}},
		row{point: "2.2", name: "the key in the address of metrics that can't be reached", fast: true,
			args: strings.Replace(forms, "--server-metrics off",
				"--server-metrics http://me:$PASS@127.0.0.1:1/metrics", 1),
			exit: []int{2}, says: []string{`server-metrics`}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in the address of metrics that are there", fast: true,
			server: server.Config{Metrics: server.Whole(200, "text/plain", "vllm:num_requests_running 1\n")},
			args:   strings.Replace(forms, "--server-metrics off", "--server-metrics "+login+"/metrics", 1),
			exit:   []int{0}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in the address of metrics, which repeat it", fast: true,
			server: server.Config{Metrics: func(x *server.Exchange) {
				server.Whole(500, "text/plain", "no: "+key+" "+x.Header.Get("Authorization"))(x)
			}},
			args: strings.Replace(forms, "--server-metrics off", "--server-metrics "+login+"/metrics", 1),
			exit: []int{2}, not: []string{`7f3a`, `9b1c`, encodedLogin}},
		row{point: "2.2", name: "the key in the target of benchmark run", fast: true,
			args: "benchmark run --target " + login + guidellm, exit: []int{0}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in the target of benchmark run, by variable", fast: true,
			args: "benchmark run" + guidellm, env: []string{"GUIDELLM_TARGET=" + login},
			exit: []int{0}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in a target of benchmark run that can't be reached", fast: true,
			args: "benchmark run --target http://me:$PASS@127.0.0.1:1" + guidellm, exit: []int{2},
			not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the key in a target of benchmark run that is no address, by variable", fast: true,
			args: "benchmark run" + guidellm, env: []string{"GUIDELLM_TARGET=me:$PASS@$ADDR"},
			exit: []int{2}, not: []string{`7f3a`, `9b1c`}},
		row{point: "2.2", name: "the password in the target, repeated as it came", fast: true,
			server: server.Config{Chat: func(x *server.Exchange) {
				server.JSON(401, message(x.Header.Get("Authorization")))(x)
			}},
			args: strings.Replace(short, "--target $URL", "--target "+login, 1), env: []string{"OPENAI_API_KEY="},
			exit: []int{2}, not: []string{`7f3a`, `9b1c`, encodedLogin}},
		row{point: "2.2", name: "the key in a further header, repeated", fast: true,
			server: server.Config{Chat: func(x *server.Exchange) {
				server.JSON(401, message(strings.ReplaceAll(x.Header.Get("X-Secret"), "/", `\/`)))(x)
			}},
			args: short + " --header 'X-Secret: other-canary/55'", exit: []int{2}, not: []string{`canary`}},
		row{point: "2.2", name: "the key from a file, repeated", fast: true,
			server: server.Config{Chat: func(x *server.Exchange) {
				server.JSON(401, message(x.Header.Get("Authorization")))(x)
			}},
			files: map[string]string{"key": "file-canary/66\n"},
			args:  short + " --api-key-file $IN/key", env: []string{"OPENAI_API_KEY="},
			exit: []int{2}, not: []string{`canary`, `/66`}},
		row{point: "2.2", name: "the password of a proxy that refuses it, repeated", fast: true,
			server: server.Config{Models: func(x *server.Exchange) {
				server.Whole(407, "text/plain", "not "+x.Header.Get("Proxy-Authorization")+" "+password)(x)
			}},
			args: strings.ReplaceAll(short, "$URL", "http://engine.test:8000"),
			env:  []string{"HTTP_PROXY=http://me:$PASS@$ADDR", "http_proxy=http://me:$PASS@$ADDR"},
			exit: []int{2}, says: []string{`proxy`},
			not: []string{`7f3a`, `9b1c`, encodedLogin}},
	)
}

// Texts that do something to a terminal: clear the screen, set the title, an 8-bit CSI, turn the direction of text.
const (
	escapes     = "\x1b[2J\x1b]0;owned\x07\u009b31m\u202edrow\r"
	escapesJSON = `\u001b[2J\u001b]0;owned\u0007\u009b31m\u202edrow\r`
)

// 2.3, first sentence: what is checked is checked of every row.
func controlRows() []row {
	tty := func(name string, exit int, c server.Config) row {
		return row{point: "2.3", name: "control characters in " + name, fast: true, server: c, args: short,
			exit: []int{exit}}
	}
	chat := func(name string, exit int, b server.Behaviour) row { return tty(name, exit, server.Config{Chat: b}) }
	message := `{"error":{"message":"no ` + escapesJSON + `"}}`
	rows := []row{
		chat("an error at the trial", 2, server.JSON(400, message)),
		chat("a text at the trial", 2, server.Whole(500, "text/plain", "no "+escapes)),
		chat("a text of status 200 at the trial", 2, server.Whole(200, "text/plain", "no "+escapes)),
		chat("the reason of the status at the trial", 2, server.Raw("HTTP/1.1 500 no "+strings.Trim(escapes, "\r")+
			"\r\nContent-Length: 0\r\n\r\n")),
		chat("what is no HTTP at the trial", 2, server.Raw("no "+escapes+"\r\n\r\n")),
		chat("Location at the trial", 2, redirect(302, "http://a.test/"+strings.Trim(escapes, "\r"))),
		chat("Content-Type at the trial", 2, server.Whole(200, "text/"+strings.Trim(escapes, "\r"), "x")),
		chat("an error of the load", 1, server.AfterTrial(server.JSON(500, message))),
		chat("an error in the stream", 1, server.AfterTrial(server.Events(server.Chunk(1, `{"content":"a"}`, "", ""),
			message, "[DONE]"))),
		chat("an event that is no JSON", 1, server.AfterTrial(server.Events("{"+strings.Trim(escapes, "\r")))),
		chat("what is no HTTP, of the load", 1, server.AfterTrial(server.Raw("no "+escapes+"\r\n\r\n"))),
		tty("the list of models", 2, server.Config{Models: server.Whole(200, "text/plain", escapes)}),
	}
	return append(rows,
		row{
			point: "2.3", name: "control characters in a model's id", fast: true, args: short, exit: []int{0, 2},
			server: server.Config{Models: server.JSON(200, `{"data":[{"id":"m`+escapesJSON+`"}]}`)},
		},
		row{
			point: "2.3", name: "control characters in a file of data", fast: true,
			files: map[string]string{"data.jsonl": `{"prompt": "a", "` + escapes + `}` + "\n"},
			args:  data + "$IN/data.jsonl", exit: []int{2},
		},
		row{
			point: "2.3", name: "control characters in a report", fast: true, args: short, exit: []int{0},
			then: []step{{before: edit(`"model": ?"m"`, `"model": "m`+escapesJSON+`"`),
				args: "report $OUT/benchmarks.json", exit: []int{0, 1, 2}},
				{args: "report $OUT/benchmarks.json --format console", exit: []int{0, 1, 2}}},
		},
		row{
			point: "2.3", name: "control characters in a file that is no report", fast: true,
			files: map[string]string{"report.json": `{"benchmarks": "` + escapes + `"}`},
			args:  "report $IN/report.json", exit: []int{1, 2},
		},
		row{
			point: "2.3", name: "control characters in the name of a file", fast: true,
			args: data + "$IN/no" + strings.Trim(escapes, "\r") + ".jsonl", exit: []int{2},
		},
	)
}

// 2.3, the others.
func doorRows() []row {
	simulate := "simulate --engine few-sequences --addr 127.0.0.1:0"
	return []row{
		{
			point: "2.3", name: "simulate closes 300 half-sent headers",
			args: simulate, within: 90 * time.Second, exit: []int{0, 130},
			act: holdSimulate(300, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Le", 45*time.Second),
		},
		{
			point: "2.3", name: "simulate closes half-sent bodies",
			args: simulate, within: 100 * time.Second, exit: []int{0, 130},
			act: holdSimulate(100, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"mo",
				80*time.Second),
		},
		{
			point: "2.3", name: "simulate refuses a header of 20 MB", fast: true,
			args: simulate, exit: []int{0, 130},
			act: func(e *env) {
				defer e.Signal(os.Interrupt)
				addr, ok := simulated(e)
				if !ok {
					return
				}
				c, err := net.Dial("tcp", addr)
				if err != nil {
					e.wrong("%v", err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				sent := 0
				if _, err = io.WriteString(c, "GET /v1/models HTTP/1.1\r\nHost: x\r\nX-A: "); err == nil {
					line := bytes.Repeat([]byte("a"), 1<<20)
					for ; sent < 20 && err == nil; sent++ {
						_, err = c.Write(line)
					}
				}
				if sent == 20 {
					e.wrong("it took a header of 20 MB")
				}
			},
		},
		{
			point: "2.3", name: "a token before the host is refused", fast: true,
			args: strings.Replace(short, "$URL", "http://$KEY@$ADDR", 1), exit: []int{2},
			says: []string{`name and (a )?password|user|credential|token|password`}, check: unasked,
		},
		{
			point: "2.3", name: "a short token before the host is refused", fast: true,
			args: strings.Replace(short, "$URL", "http://hf_canary@$ADDR", 1), exit: []int{2},
			says: []string{`name and (a )?password|user|credential|token|password`}, check: unasked,
		},
		{
			point: "2.3", name: "a password that is badly escaped is refused", fast: true,
			args: strings.Replace(short, "$URL", "http://me:canary%zz@$ADDR", 1), exit: []int{2},
			says: []string{`escape|password|user|credential|is not a URL`}, check: unasked,
		},
		{
			point: "2.3", name: "a token before the host of metrics is refused", fast: true,
			server: server.Config{Metrics: server.Whole(200, "text/plain", "vllm:num_requests_running 1\n")},
			args: strings.Replace(short, "--server-metrics off", "--server-metrics http://hf_canary@$ADDR/metrics",
				1),
			exit: []int{2}, says: []string{`server-metrics`},
		},
	}
}

// unasked says that the server got no completion.
func unasked(e *env) string {
	if n := e.Server.Chats(); n > 0 {
		return complaint("no request before it is refused", n)
	}
	return ""
}

// simulated waits for simulate to say where it listens.
func simulated(e *env) (addr string, ok bool) {
	if !e.Says(`http://127\.0\.0\.1:\d+`) {
		e.wrong("simulate did not start")
		return "", false
	}
	_, after, _ := strings.Cut(e.read("stdout"), "http://")
	addr = strings.TrimSpace(after)
	return addr, true
}

// holdSimulate opens connections that send a part of a request, and expects them to be closed in some time, while
// others
// are served.
func holdSimulate(n int, part string, within time.Duration) func(e *env) {
	return func(e *env) {
		defer e.Signal(os.Interrupt)
		addr, ok := simulated(e)
		if !ok {
			return
		}
		closed := make(chan bool, n)
		for range n {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				e.wrong("%v", err)
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(within))
				_, err := io.WriteString(c, part)
				if err == nil {
					_, err = io.Copy(io.Discard, c)
				}
				closed <- !isTimeout(err)
			}()
		}
		resp, err := http.Get("http://" + addr + "/v1/models")
		if err != nil {
			e.wrong("another client: %v", err)
		} else {
			resp.Body.Close()
		}
		open := 0
		for range n {
			if !<-closed {
				open++
			}
		}
		if open > 0 {
			e.wrong("%s", complaint(fmt.Sprintf("the connections to be closed within %v", within),
				fmt.Sprintf("%d of %d still open", open, n)))
		}
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}
