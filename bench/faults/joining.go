package main

import (
	"crypto/x509"
	"encoding/csv"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/openloop/openloop/bench/faults/server"
)

// joiningRows are of who may join a leader, and what passes between the two.
func joiningRows() []row {
	return slices.Concat(refusedRows(), strangerRows(), wireRows(), searchRows(), sameRows())
}

const (
	tokenVariable = "OPENLOOP_WORKER_TOKEN"
	// A leader of one worker that sends little.
	oneLead = leads + " --workers 1 --profile constant --rate 40 --max-requests 20"
)

// certificates writes the leader's certificate, its key, and the certificate of an authority that has not signed it.
func certificates(e *env) error {
	c := certificate().Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"cert.pem": authority(), "key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"other.pem": authorityOf(selfSigned(time.Now().Add(time.Hour), net.IPv4(127, 0, 0, 1))),
	} {
		if err := os.WriteFile(filepath.Join(e.In, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func refusedRows() []row {
	const (
		soon   = oneLead + " --join-timeout 1500ms"
		secure = " --worker-cert $IN/cert.pem --worker-key $IN/key.pem"
	)
	token := []string{tokenVariable + "=right"}
	noToken := []string{tokenVariable + "="}
	refused := func(says string) hand {
		return hand{args: "--join-timeout 3s", exit: []int{2}, says: []string{says}}
	}
	untrusting := refused(`the leader's certificate is not trusted[^\n]*\n[^\n]*--worker-ca`)
	with := func(h hand, args string, env ...string) hand {
		h.args, h.env = h.args+" "+args, append(h.env, env...)
		return h
	}
	missing := []string{`0 of 1 workers joined within 1\.5s`, `--join-timeout`}
	rows := []row{
		{name: "a worker with another token", args: soon, env: token, exit: []int{2},
			hands: []hand{with(refused(`another token`), "", tokenVariable+"=wrong")},
			says:  append(missing, `a worker at 127\.0\.0\.1 was refused: it has no token`), check: untried},
		{name: "a worker without a token", args: soon, env: token, exit: []int{2},
			hands: []hand{with(refused(`token`), "", noToken...)},
			says:  append(missing, `a worker at 127\.0\.0\.1 was refused: it has no token`), check: untried},
		{name: "a token that the leader does not ask for", args: oneLead, exit: []int{0},
			hands: []hand{with(worker, "", token...)}, report: complete},
		{name: "a token in a file", args: oneLead + " --worker-token-file $IN/token", exit: []int{0},
			files: map[string]string{"token": "  of-a-file\n"},
			hands: []hand{with(worker, "--worker-token-file $IN/token")}, report: complete},
		{name: "an empty file of a token", args: oneLead + " --worker-token-file $IN/token", exit: []int{2},
			files: map[string]string{"token": "\n"}, says: []string{`worker-token-file`, `empty`}, check: unasked},
		{name: "no token for all addresses", args: strings.Replace(oneLead, "$LEAD", "0.0.0.0:0", 1), exit: []int{2},
			says: []string{`--listen`, `token`}, check: unasked},
		{name: "TLS at the leader alone", args: soon + secure, make: certificates, exit: []int{2},
			hands: []hand{untrusting},
			says:  append(missing, `a worker at 127\.0\.0\.1 was refused:[^\n]*TLS`), check: untried},
		{name: "TLS at the worker alone", args: soon, make: certificates, exit: []int{2},
			hands: []hand{with(refused(`does not speak TLS`), "--worker-ca $IN/cert.pem")}, says: missing,
			check: untried},
		{name: "TLS by another authority", args: soon + secure, make: certificates, exit: []int{2},
			hands: []hand{with(untrusting, "--worker-ca $IN/other.pem")}, says: missing, check: untried},
		{name: "TLS by authorities of the system", args: soon + secure, make: certificates, exit: []int{2},
			hands: []hand{with(untrusting, "--worker-ca system")}, says: missing, check: untried},
		{name: "TLS", args: oneLead + secure, make: certificates, env: token, exit: []int{0},
			hands: []hand{{args: "--worker-ca $IN/cert.pem", relay: true, exit: []int{0}}}, report: complete,
			not: []string{`is not one of openloop's`},
			check: func(e *env) string {
				return e.onTheWire("INFO", true) + e.onTheWire("right", false) + e.onTheWire("Authorization", false)
			}},
		{name: "a worker without the API key", args: soon, exit: []int{2},
			hands: []hand{with(refused(`no Authorization header`), "", "OPENAI_API_KEY=")},
			says:  append(missing, `no Authorization header`), check: untried},
		{name: "a worker without a header", args: soon + " --header 'X-Tenant: a'", exit: []int{2},
			hands: []hand{refused(`no X-Tenant header`)}, says: append(missing, `no X-Tenant header`), check: untried},
		{name: "a leader that is not there", args: "worker --join 127.0.0.1:1 --join-timeout 1s", exit: []int{2},
			within: 4 * time.Second, says: []string{`no leader answers at 127\.0\.0\.1:1 within 1s: nothing listens`}},
		{name: "a leader whose name is not known", args: "worker --join leader.invalid:4222 --join-timeout 1s",
			exit: []int{2}, within: 8 * time.Second, says: []string{`no leader answers at leader\.invalid:4222`}},
		{name: "an HTTP server in the place of the leader", args: "worker --join $ADDR --join-timeout 1s",
			exit: []int{2}, within: 4 * time.Second, says: []string{`no leader answers at[^\n]*something else`}},
		{name: "the leader's port is taken", args: strings.Replace(oneLead, "$LEAD", "$ADDR", 1), exit: []int{2},
			says: []string{`--listen`, `in use`}, check: unasked},
		{name: "no worker at all", args: soon, exit: []int{2}, says: missing, check: untried},
		{name: "one worker of two", args: strings.Replace(soon, "--workers 1", "--workers 2", 1), exit: []int{2},
			hands: []hand{{exit: []int{0, 1, 2}}}, says: []string{`1 of 2 workers joined`}, check: untried},
	}
	for i := range rows {
		rows[i].fast = true
	}
	return named(append(rows, row{
		name: "a worker of another version", args: soon, exit: []int{2},
		make: func(e *env) error {
			name, err := otherVersion(e.binary)
			if err == nil {
				err = os.Symlink(name, filepath.Join(e.In, "other"))
			}
			return err
		},
		hands: []hand{{binary: "$IN/other", exit: []int{2}, says: []string{`it is openloop other, and the leader is`}}},
		says:  append(missing, `worker \S+ was refused: it is openloop other, and the leader is`), check: untried,
		within: time.Minute,
	}))
}

func named(rows []row) []row {
	for i := range rows {
		rows[i].point = "workers"
	}
	return rows
}

// otherVersion is a binary that says of itself that it is another version.
var otherVersion = func() func(binary string) (string, error) {
	var once sync.Once
	var name string
	var err error
	return func(binary string) (string, error) {
		once.Do(func() { name, err = buildOther(filepath.Dir(binary)) })
		return name, err
	}
}()

// untried says that the server had the trial request alone.
func untried(e *env) string {
	if n := e.Server.Chats(); n > 1 {
		return complaint("no load", fmt.Sprintf("%d requests", n))
	}
	return ""
}

// onTheWire says whether a text was on the wire between workers and their leader.
func (e *env) onTheWire(text string, wanted bool) string {
	if e.Relay.saw(text) != wanted {
		return complaint(fmt.Sprintf("%q on the wire: %v", text, wanted), !wanted)
	}
	return ""
}

// strangerRows are of others who come to the leader's port.
func strangerRows() []row {
	// Others do something all through the run.
	quiet := func(do func(e *env, c net.Conn)) func(e *env) {
		return func(e *env) {
			if !e.Says(`waiting for`) {
				return
			}
			for range 100 {
				c, err := net.Dial("tcp", e.lead)
				if err != nil {
					e.wrong("%v", err)
					return
				}
				defer c.Close()
				do(e, c)
			}
			e.StartHand(0)
			<-e.ended
		}
	}
	late := hand{exit: []int{0}, late: true}
	rows := []row{
		{name: "100 connections that say nothing", act: quiet(func(*env, net.Conn) {})},
		{name: "HTTP at the leader's port", act: quiet(func(_ *env, c net.Conn) {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: leader\r\n\r\n")
		})},
		{name: "noise at the leader's port", act: quiet(func(_ *env, c net.Conn) {
			noise := make([]byte, 8192)
			for i := range noise {
				noise[i] = byte(i * i * 7)
			}
			_, _ = c.Write(noise)
		})},
		{name: "half a message at the leader's port", act: quiet(func(_ *env, c net.Conn) {
			_, _ = io.WriteString(c, "CONNECT {\"verbose\":false}\r\nPUB openloop.join 5000\r\nabc")
		})},
	}
	for i := range rows {
		rows[i].fast, rows[i].args, rows[i].exit, rows[i].report = true, oneLead, []int{0}, complete
		rows[i].hands = []hand{late}
	}
	return named(append(rows, row{
		name: "messages of another program", fast: true, args: oneLead, exit: []int{0}, report: complete,
		hands: []hand{late},
		act: func(e *env) {
			if !e.Says(`waiting for`) {
				return
			}
			nc, err := nats.Connect("nats://" + e.lead)
			if err != nil {
				e.wrong("%v", err)
				return
			}
			defer nc.Close()
			e.StartHand(0)
			var mu sync.Mutex
			seen := map[string]bool{}
			for _, subject := range []string{"join", "leave", "requests", "worker.x.order", "worker.x.report"} {
				seen["openloop."+subject] = true
			}
			_, err = nc.Subscribe("openloop.>", func(m *nats.Msg) { // those of the real worker, too
				mu.Lock()
				defer mu.Unlock()
				seen[m.Subject] = true
			})
			text := []byte(strings.Repeat("\x07\xff\x80what", 50))
			for err == nil && e.Sleep(20*time.Millisecond) {
				mu.Lock()
				for subject := range seen {
					for _, data := range [][]byte{nil, text, text[:3]} {
						err = errors.Join(err, nc.PublishRequest(subject, "openloop.answers", data))
					}
				}
				mu.Unlock()
			}
			if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
				e.wrong("%v", err)
			}
			if len(seen) < 8 {
				e.wrong("it saw %d subjects alone", len(seen))
			}
		},
	}))
}

// wireRows are of a network that is slow, and of what can be read on it.
func wireRows() []row {
	key := func(e *env) string {
		for _, secret := range []string{apiKey, "canary", "7f3a", "tenant-secret"} {
			if w := e.onTheWire(secret, false); w != "" {
				return w
			}
		}
		return e.onTheWire("Authorization", true) + e.onTheWire("the-token", true)
	}
	suspect := func(least time.Duration) []check {
		return []check{stages(1, 1), level("suspect", "invalid"), warned(`its clock is known to ±`),
			func(r *report) string {
				got := 0.0
				for _, w := range numbers(r.stages[0].raw, "clock_error_ns") {
					got = max(got, w)
				}
				if got < float64(least)*0.9 || got > float64(least)*3 {
					return complaint(fmt.Sprintf("a clock known to ±%v", least), time.Duration(got))
				}
				return ""
			}}
	}
	delayed := func(up, down time.Duration) func(e *env) error {
		return func(e *env) error { e.Relay.delay(up, down); return nil }
	}
	far := hand{relay: true, exit: []int{0}}
	return named([]row{
		{name: "no secret on the wire", fast: true, args: oneLead + " --header 'X-Tenant: tenant-secret-canary'",
			env:   []string{tokenVariable + "=the-token"},
			hands: []hand{{relay: true, args: "--header 'X-Tenant: tenant-secret-canary'", exit: []int{0}}},
			exit:  []int{0}, report: complete, check: key},
		{name: "a network of 5 ms", alone: true, args: twoLead, hands: []hand{worker, far}, exit: []int{0},
			make:   delayed(5*time.Millisecond, 5*time.Millisecond),
			report: append(suspect(5*time.Millisecond), completed(180, 200))},
		{name: "a network that is slow in one direction", alone: true, args: twoLead, hands: []hand{worker, far},
			exit: []int{0}, make: delayed(10*time.Millisecond, 0),
			report: append(suspect(5*time.Millisecond), completed(180, 200))},
		{name: "a network of 300 ms", args: twoLead, hands: []hand{worker, far}, exit: []int{0},
			make: delayed(300*time.Millisecond, 300*time.Millisecond), within: time.Minute,
			report: append(suspect(300*time.Millisecond), completed(180, 200))},
		{name: "prompts of 100000 tokens from the leader", alone: true, within: 2 * time.Minute, maxMB: 1500,
			args: strings.Replace(leads, "--prompt-tokens 16", "--prompt-tokens 100000", 1) +
				" --workers 4 --profile constant --rate 20 --max-seconds 4",
			hands: []hand{worker, worker, worker, worker}, exit: []int{0}, report: []check{completed(70, 80)}},
		{name: "a worker that can't reach the target",
			args: strings.ReplaceAll(twoLead, "$URL", "http://engine.test:8000"), env: []string{"HTTP_PROXY=$URL"},
			hands: []hand{worker, {exit: []int{0}, env: []string{"HTTP_PROXY=http://127.0.0.1:1"}}},
			exit:  []int{0, 1}, says: []string{`worker \S+[^\n]*(refused|connect)`}},
	})
}

// numbers are the values of a key.
func numbers(text, key string) (all []float64) {
	for {
		_, rest, found := strings.Cut(text, `"`+key+`":`)
		if !found {
			return all
		}
		var f float64
		if _, err := fmt.Sscan(rest, &f); err != nil {
			return all
		}
		all, text = append(all, f), rest
	}
}

// searchRows lose a worker while openloop looks for a rate.
func searchRows() []row {
	killed := hand{exit: []int{-1}}
	slow := server.Config{Chat: server.Answer{Gap: 4 * time.Millisecond}.Serve}
	kill := func(expression string, after time.Duration) func(e *env) {
		return func(e *env) {
			if e.Says(expression) && e.Sleep(after) {
				e.SignalHand(1, syscall.SIGKILL)
			}
		}
	}
	const (
		fast  = common + " --listen $LEAD --allow-invalid --workers 2"
		short = " --max-seconds 4 --max-concurrency 8"
	)
	lost := warned(`worker \S+ was lost: its connection was gone`)
	rows := []row{
		{name: "a worker lost in a gate", args: "gate" + fast + " --rate 20 --budget 24s",
			act:  kill(`gate`, 6*time.Second),
			exit: []int{0, 3}, report: []check{stages(2, 4), lost, warned(`"repeated": *true`)}},
		{name: "a worker lost in a search", args: "sweep" + fast + " --fast --budget 24s" + short,
			act: kill(`searching`, 1500*time.Millisecond), exit: []int{0, 1, 3},
			report: []check{stages(4, many), lost, warned(`"repeated": *true`)}},
		{name: "a worker lost in the saturation probe", args: "sweep" + fast + " --fast --budget 12s" + short,
			act: kill(`stage 1/`, 1500*time.Millisecond), exit: []int{0, 1, 3},
			report: []check{stages(3, many), lost}, not: []string{`no tokens came`}},
	}
	for i := range rows {
		r := &rows[i]
		r.dies, r.within, r.server, r.hands = true, 3*time.Minute, slow, []hand{worker, killed}
	}
	return named(rows)
}

// sameRows say that several processes send what one does.
func sameRows() []row {
	const (
		plain = "run --target $URL --tokenizer none --server-metrics off --outputs json --records r.csv" +
			" --allow-invalid --seed 7"
		three = " --output-dir $OUT --workers 3 --listen $LEAD"
	)
	var trace, prompts strings.Builder
	for i := range 60 {
		fmt.Fprintf(&trace, `{"timestamp":%d,"input_length":%d,"output_length":%d}`+"\n", i*i/4, 20+i, 2+i%3)
		fmt.Fprintf(&prompts, `{"prompt": "this is prompt %d", "output_tokens_count": %d}`+"\n", i, 2+i%5)
	}
	files := map[string]string{"trace.jsonl": trace.String(), "prompts.jsonl": prompts.String()}
	const synthetic = " --prompt-tokens 16 --output-tokens 8"
	var rows []row
	for name, plan := range map[string]string{
		"poisson":         synthetic + " --profile poisson --rate 50 --max-seconds 2",
		"max-requests":    synthetic + " --profile constant --rate 50 --max-requests 61",
		"data":            " --data $IN/prompts.jsonl --profile constant --rate 50 --max-requests 60",
		"a trace":         " --trace $IN/trace.jsonl --trace-time-unit ms",
		"concurrent":      synthetic + " --profile concurrent --rate 5 --max-requests 60",
		"synchronous":     synthetic + " --profile synchronous --max-requests 30",
		"warm-up":         synthetic + " --profile poisson --rate 50 --max-seconds 3 --warmup 1 --cooldown 0.5",
		"several rates":   synthetic + " --profile poisson --rate 30,60 --max-seconds 1",
		"fewer than they": synthetic + " --profile constant --rate 50 --max-requests 2",
	} {
		r := row{
			name: "as one process: " + name, args: plain + plan + " --save-workload $DIR/many.jsonl" + three,
			hands: []hand{worker, worker, worker}, files: files, exit: []int{0},
			then: []step{{args: plain + plan + " --save-workload $DIR/one.jsonl --output-dir $DIR/one",
				exit: []int{0}}},
			check: sameLoad,
		}
		rows = append(rows, r)
	}
	rows = append(rows, row{
		name: "as one process: max-errors", hands: []hand{worker, worker, worker},
		args: plain + synthetic + " --profile constant --rate 50 --max-seconds 5 --max-errors 4" + three,
		server: server.Config{Chat: server.AfterTrial(server.Every(5, server.JSON(500,
			`{"error":{"message":"down"}}`)))},
		exit: []int{0, 1}, report: []check{stages(1, 1), warned(`"stop_reason": *"max_errors"`), errored(4, 7),
			completed(12, 60)},
	})
	for i := range rows {
		rows[i].fast = strings.Contains(rows[i].name, "trace") || strings.Contains(rows[i].name, "concurrent")
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return named(rows)
}

// sameLoad compares the requests that several processes sent with those of one.
func sameLoad(e *env) string {
	if a, b := e.read("many.jsonl"), e.read("one.jsonl"); a != b || a == "" {
		return complaint("the same requests to be saved", fmt.Sprintf("%d and %d lines", strings.Count(a, "\n"),
			strings.Count(b, "\n")))
	}
	several, one := e.records("out"), e.records("one")
	if len(several) != len(one) || len(one) < 2 {
		return complaint(fmt.Sprintf("%d requests", len(one)), len(several))
	}
	for _, column := range []string{"stage_name", "index", "scheduled_s", "asked_output_tokens", "status"} {
		at := slices.Index(one[0], column)
		if at < 0 {
			return "no column " + column
		}
		if column == "scheduled_s" && strings.Contains(e.row.args, "--profile concurrent") ||
			column == "scheduled_s" && strings.Contains(e.row.args, "--profile synchronous") {
			continue // streams begin as others end
		}
		for i := range one {
			if a, b := one[i][at], several[i][at]; a != b && !(column == "status" && i > len(one)-20) {
				return complaint(fmt.Sprintf("%s of request %d to be %s", column, i, a), b)
			}
		}
	}
	return ""
}

// records are the lines of the file of all requests.
func (e *env) records(dir string) [][]string {
	lines, err := csv.NewReader(strings.NewReader(e.read(filepath.Join(dir, "r.csv")))).ReadAll()
	if err != nil {
		e.wrong("%s: %v", dir, err)
	}
	return lines
}
