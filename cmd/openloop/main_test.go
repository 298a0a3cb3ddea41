package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/llmsim"
)

func TestMain(m *testing.M) {
	// The scripts mostly wait for load to be sent, so more of them run at once than there are processors.
	if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"openloop":   func() { os.Exit(mainExit(commandLine(os.Args), os.Stdout, os.Stderr)) },
		guideLLMName: func() { os.Exit(mainExit(commandLine(os.Args), os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the real program, as its users do. Servers live in the test, in another process than the program.
func TestScripts(t *testing.T) {
	t.Parallel()
	// Where these tests run under nohup, the program would inherit that SIGHUP is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	data, err := filepath.Abs("../../testdata/tokens")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("OPENAI_API_KEY", "")
			e.Setenv("NO_PROXY", "*")
			e.Setenv("DATA", data)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"llmsim":     startSim,
			"httpserver": startHTTP,
			"moved":      startMoved,
			"tcpserver":  startTCP,
			"unused":     unusedPort,
			"report":     checkReport,
			"exits":      checkExit,
			"decides":    checkDecision,
			"served":     waitServed,
			"failing":    startFailing,
			"s3server":   startStore,
			"hanging":    waitHanging,
			"objects":    checkObjects,
			"killsim":    killSim,
			"terminate":  terminate,
			"truth":      checkTruth,
			"distinct":   checkDistinct,

			"samerequests": checkSameRequests,
			"engines":      checkEngines,
		},
	})
}

// startSim starts a simulated engine and sets $URL: llmsim SPEC [KEY].
func startSim(ts *testscript.TestScript, _ bool, args []string) {
	config, err := llmsim.ParseSpec(args[0])
	ts.Check(err)
	if len(args) > 1 {
		config.APIKey = args[1]
	}
	server, err := llmsim.NewServer(config)
	ts.Check(err)
	ts.Check(server.Start("127.0.0.1:0"))
	ts.Defer(func() { server.Close() })
	ts.Setenv("URL", server.URL())
	ts.Setenv("HOSTPORT", strings.TrimPrefix(server.URL(), "http://"))
	ts.Setenv("SEEN", "0")
	sims.Store(server.URL(), server)
}

// sims are the running engines by their URL.
var sims sync.Map

// killSim ends the engine at $URL as a crash would.
func killSim(ts *testscript.TestScript, _ bool, _ []string) {
	server, _ := sims.Load(ts.Getenv("URL"))
	server.(*llmsim.Server).Close()
}

// terminate sends SIGTERM to the commands in the background.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

// checkTruth checks what the engine at $URL received since the last look, the trial request of each run left out:
// truth prompts=N,N,… outputs=N,N,… models=NAME:N,… count=N. Lengths are listed in the order of arrival.
func checkTruth(ts *testscript.TestScript, _ bool, args []string) {
	value, _ := sims.Load(ts.Getenv("URL"))
	all := value.(*llmsim.Server).Truth()
	seen, _ := strconv.Atoi(ts.Getenv("SEEN"))
	ts.Setenv("SEEN", strconv.Itoa(len(all)))
	got := all[min(seen+1, len(all)):]
	slices.SortFunc(got, func(a, b llmsim.Truth) int { return cmp.Compare(a.Read, b.Read) })
	var prompts, outputs []string
	for _, r := range got {
		prompts = append(prompts, strconv.Itoa(r.PromptTokens-llmsim.DefaultTemplateTokens))
		outputs = append(outputs, strconv.Itoa(r.OutputTokens))
	}
	for _, arg := range args {
		name, want, _ := strings.Cut(arg, "=")
		have := ""
		switch name {
		case "count":
			have = strconv.Itoa(len(got))
		case "prompts":
			have = strings.Join(prompts, ",")
		case "outputs":
			have = strings.Join(outputs, ",")
		case "models": // how many requests named each
			counts := map[string]int{}
			for _, r := range got {
				counts[r.Model]++
			}
			var models []string
			for _, name := range slices.Sorted(maps.Keys(counts)) {
				models = append(models, fmt.Sprintf("%s:%d", name, counts[name]))
			}
			have = strings.Join(models, ",")
		default:
			ts.Fatalf("nothing known of %q", name)
		}
		if have != want {
			ts.Fatalf("the server received %s=%s, want %s", name, have, want)
		}
	}
}

// checkDistinct checks that a saved workload has so many requests, each with messages of its own: distinct FILE N.
func checkDistinct(ts *testscript.TestScript, _ bool, args []string) {
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var sent struct {
			Body struct{ Messages json.RawMessage }
		}
		ts.Check(json.Unmarshal([]byte(line), &sent))
		seen[string(sent.Body.Messages)] = true
		n++
	}
	if want, _ := strconv.Atoi(args[1]); n != want || len(seen) != want {
		ts.Fatalf("%d requests, of which %d differ, want %d", n, len(seen), want)
	}
}

// waitServed waits until the engine at $URL has answered so many requests in full, trial requests included, or fails
// after a minute: served N.
func waitServed(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	value, _ := sims.Load(ts.Getenv("URL"))
	server := value.(*llmsim.Server)
	done := 0
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		done = 0
		for _, r := range server.Truth() {
			if r.Outcome == "length" || r.Outcome == "stop" {
				done++
			}
		}
		if done >= want {
			return
		}
	}
	ts.Fatalf("the server answered %d requests in a minute, want %d", done, want)
}

// startHTTP starts a server with one answer to everything and sets $URL: httpserver STATUS [CONTENT-TYPE BODY].
func startHTTP(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(args) > 1 {
			w.Header().Set("Content-Type", args[1])
		}
		w.WriteHeader(status)
		if len(args) > 2 {
			// A server that repeats the key that it refuses.
			fmt.Fprint(w, strings.ReplaceAll(args[2], "KEY", r.Header.Get("Authorization")))
		}
	}))
	ts.Defer(server.Close)
	ts.Setenv("URL", server.URL)
	ts.Setenv("HOSTPORT", strings.TrimPrefix(server.URL, "http://"))
}

// startTCP starts a server that speaks no HTTP and sets $URL.
func startTCP(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "220 mail.example ESMTP\r\n")
			time.AfterFunc(time.Second, func() { c.Close() })
		}
	}()
	ts.Setenv("URL", "http://"+l.Addr().String())
}

// unusedPort sets $URL to where nothing listens.
func unusedPort(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("URL", "http://"+l.Addr().String())
	ts.Setenv("HOSTPORT", l.Addr().String())
	l.Close()
}

// checkExit runs a command and checks its exit code: exits CODE COMMAND ARGS….
func checkExit(ts *testscript.TestScript, _ bool, args []string) {
	if got := exitCode(ts, ts.Exec(args[1], args[2:]...)); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// checkDecision checks the exit code and stderr of a command whose outcome rests on what it measures: decides CODE
// REGEXP COMMAND ARGS…. A gate is undecided where this machine was too busy to be a client, and the command says so on
// stdout. It may then try again, in the same folder, up to five times; every other outcome counts at once.
func checkDecision(ts *testscript.TestScript, _ bool, args []string) {
	invalid := regexp.MustCompile(`(?i)client (is |was )?(invalid|not fit)`)
	want, err := regexp.Compile(args[1])
	ts.Check(err)
	for attempt := 1; ; attempt++ {
		got := exitCode(ts, ts.Exec(args[2], args[3:]...))
		if got == args[0] && want.MatchString(ts.ReadFile("stderr")) {
			return
		}
		if attempt == 5 || !invalid.MatchString(ts.ReadFile("stdout")) {
			ts.Fatalf("attempt %d: exit code %s, want %s, with %q on stderr", attempt, got, args[0], want)
		}
		if i := slices.Index(args, "--output-dir"); i >= 0 {
			ts.Check(os.RemoveAll(ts.MkAbs(args[i+1])))
		}
	}
}

// exitCode is the code that a command ended with.
func exitCode(ts *testscript.TestScript, err error) string {
	if err == nil {
		return "0"
	}
	code, ok := strings.CutPrefix(err.Error(), "exit status ")
	if !ok {
		ts.Fatalf("%v", err)
	}
	return code
}

// checkReport reads a report and checks what it holds: report FILE NAME=VALUE….
func checkReport(ts *testscript.TestScript, _ bool, args []string) {
	r, err := guidellm.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if r.Metadata.Version == guidellm.Schema { // bench/parity/schema2.py checks the fields of schema 2
		if len(r.Missing) > 0 || len(r.Unknown) > 0 {
			ts.Fatalf("missing fields %v, unknown fields %v", r.Missing, r.Unknown)
		}
		checkSchemas(ts, r)
	}
	var kinds []string
	var rates, scheduled []float64
	completed, errored := 0, 0
	for _, b := range r.Benchmarks {
		load := b.Config.Load()
		kinds = append(kinds, load.Type)
		if load.Rate.Valid {
			rates = append(rates, load.Rate.Value)
		}
		completed += len(b.Requests.Successful.List())
		errored += len(b.Requests.Errored.List())
		for q := range b.Requests.Successful {
			scheduled = append(scheduled, q.Info.Timings.TargetedStart.Value)
		}
	}
	for _, arg := range args[1:] {
		name, want, _ := strings.Cut(arg, "=")
		switch name {
		case "kinds":
			if got := strings.Join(kinds, ","); got != want {
				ts.Fatalf("stages %s, want %s", got, want)
			}
		case "rates-any":
			if len(rates) == 0 {
				ts.Fatalf("no open-loop stage")
			}
		case "rates": // rising
			for i := 1; i < len(rates); i++ {
				if rates[i] <= rates[i-1] {
					ts.Fatalf("rates %v do not rise", rates)
				}
			}
		case "completed": // at least
			if n, _ := strconv.Atoi(want); completed < n {
				ts.Fatalf("%d requests completed, want at least %s", completed, want)
			}
		case "errored": // at least
			if n, _ := strconv.Atoi(want); errored < n {
				ts.Fatalf("%d requests failed, want at least %s", errored, want)
			}
		case "scheduled": // when each was due after the first, in seconds, exact to a millisecond
			slices.Sort(scheduled)
			var times []string
			for _, at := range scheduled {
				times = append(times, strconv.FormatFloat(math.Round(1e3*(at-scheduled[0]))/1e3, 'g', -1, 64))
			}
			if got := strings.Join(times, ","); got != want {
				ts.Fatalf("requests were scheduled at %s s, want %s", got, want)
			}
		case "output":
			n, _ := strconv.Atoi(want)
			for _, b := range r.Benchmarks {
				for q := range b.Requests.Successful {
					if q.OutputTokens.Value != int64(n) {
						ts.Fatalf("a completed request has %d output tokens, want %d", q.OutputTokens.Value, n)
					}
				}
			}
		default:
			ts.Fatalf("nothing known of %q", name)
		}
	}
}

// A signal is only waited for where something is saved or closed, and is told the right thing.
func TestEnding(t *testing.T) {
	root := (&program{stdout: io.Discard, stderr: io.Discard}).root()
	for line, want := range map[string]string{
		"": "", "report a.json": "", "parity a b": "", "version": "", "benchmark from-file": "",
		"run": endingStage, "sweep": endingStage, "benchmark run": endingStage, "benchmark --target x": endingStage,
		"simulate": closingServer,
	} {
		cmd, _, err := root.Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if got := cmd.Annotations[endingKey]; got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// checkSchemas says whether openloop's own parts of a report are as docs/*.schema.json describe them.
func checkSchemas(ts *testscript.TestScript, r *guidellm.Report) {
	load := func(name string) *jsonschema.Schema {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		ts.Check(err)
		var s jsonschema.Schema
		ts.Check(json.Unmarshal(text, &s))
		return &s
	}
	fits := func(s *jsonschema.Schema, part any) {
		text, ok := part.(json.RawMessage)
		if !ok {
			ts.Fatalf("a part of openloop's is not there")
		}
		resolved, err := s.Resolve(nil)
		ts.Check(err)
		var value any
		ts.Check(json.Unmarshal(text, &value))
		if err := resolved.Validate(value); err != nil {
			ts.Fatalf("%.300s: %v", text, err)
		}
	}
	fits(load("result.schema.json"), r.OpenLoop)
	notes := load("notes.schema.json")
	for _, b := range r.Benchmarks {
		fits(notes.Defs["benchmark"], b.OpenLoop)
		for _, list := range []guidellm.RequestSeq{b.Requests.Successful, b.Requests.Errored, b.Requests.Incomplete} {
			if all := list.List(); len(all) > 0 {
				fits(notes.Defs["request"], all[0].OpenLoop)
			}
		}
	}
}
