// Command openloop finds the highest request rate at which an LLM serving endpoint still meets its latency objectives.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/internal/atomicfile"
)

// version is set at build time: -ldflags "-X main.version=…".
var version = ""

// Exit codes. 0 is success; 129, 130 and 143 are SIGHUP, SIGINT and SIGTERM.
const (
	exitFailed  = 1 // whatever was measured is saved first
	exitUsage   = 2
	exitMissed  = 3 // a gate was missed, or a comparison that was asked for does not hold
	exitInvalid = 4 // the measurement cannot be believed
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is an error in what was asked for, found before any load was sent.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// hinted is an error with what to do about it, which is printed on a line of its own.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// withHint adds what to do about an error.
func withHint(err error, hint string) error { return &hinted{err, hint} }

// interrupted is the cause with which a signal ends the context.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string {
	return "interrupted by " + map[syscall.Signal]string{
		syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "Ctrl-C", syscall.SIGTERM: "SIGTERM",
	}[i.signal]
}

// What is said to the first Ctrl-C, SIGTERM or SIGHUP.
const (
	endingStage   = "ending the stage and saving what was measured; once more to quit at once"
	closingServer = "closing the server; once more to quit at once"
)

// command is one subcommand.
type command struct {
	name    string
	summary string
	ending  string // said to the first signal; "" where nothing is to be saved or closed, and it ends the program
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

func commands() []command {
	return []command{
		{"sweep", "probe an endpoint, sweep its rates, find the highest that meets the objectives", endingStage,
			runSweep},
		{"run", "run one profile: synchronous, concurrent, throughput, constant or poisson", endingStage, runProfile},
		{"benchmark", "the same under GuideLLM 0.5.0's own flags: benchmark run, benchmark from-file", endingStage,
			runBenchmark},
		{"report", "print or convert reports, GuideLLM's and openloop's; recompute their metrics", "", runReport},
		{"parity", "compare a GuideLLM report with an openloop report of the same load", "", runParity},
		{"simulate", "serve the simulated engine behind an OpenAI-compatible API", closingServer, runSimulate},
		{"version", "print the version", "", runVersion},
	}
}

func main() {
	os.Exit(mainExit(os.Args[1:], os.Stdout, os.Stderr))
}

// mainExit runs the program and returns its exit code.
func mainExit(args []string, stdout, stderr io.Writer) int {
	log.SetOutput(io.Discard) // net/http logs what it returns as errors too
	stdout, stderr = forHumans(stdout), forHumans(stderr)
	ctx := context.Background()
	if ending := endingOf(args); ending != "" {
		var stop func()
		ctx, stop = withSignals(ctx, stderr, ending)
		defer stop()
	}
	err := dispatch(ctx, args, stdout, stderr)
	if err == nil {
		return 0
	}
	printError(stderr, err)
	var signalled interrupted
	var coded *exitError
	switch {
	case errors.As(err, &signalled):
		return 128 + int(signalled.signal)
	case errors.As(err, &coded):
		return coded.code
	}
	return exitFailed
}

// endingOf is what is said to the first signal while a command runs; "" where it ends the program at once.
func endingOf(args []string) string {
	if len(args) > 1 && args[0] == "benchmark" && args[1] == "from-file" {
		return ""
	}
	for _, c := range commands() {
		if len(args) > 0 && c.name == args[0] {
			return c.ending
		}
	}
	return ""
}

// printError says what went wrong, and on a line of its own what to do about it, where that is known.
func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "openloop: %v\n", err)
	if h := hint(err); h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}

// withSignals returns a context that the first SIGINT, SIGTERM or SIGHUP ends. The second ends the program. What nobody
// reads any more, such as the stderr of "2>&1 | head", is an error of the write and ends nothing.
func withSignals(ctx context.Context, stderr io.Writer, ending string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2)
	all := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup has it ignored
		all = append(all, syscall.SIGHUP)
	}
	signal.Notify(signals, all...)
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		for n := 0; ; n++ {
			s, ok := <-signals
			if !ok {
				return
			}
			number := s.(syscall.Signal)
			if n > 0 {
				signal.Reset(all...) // the third ends the program even if its files can't be removed
				atomicfile.RemoveParts()
				endScreen(stderr, true)
				os.Exit(128 + int(number))
			}
			cancel(interrupted{number})
			fmt.Fprintf(stderr, "\nopenloop: %s\n", ending)
		}
	}()
	return ctx, func() { signal.Stop(signals); signal.Reset(syscall.SIGPIPE); close(signals); cancel(nil) }
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		printUsage(stderr)
		return usageError("no command given")
	}
	switch args[0] {
	case "help", "-h", "--help":
		printUsage(stdout)
		return nil
	case "--version":
		return runVersion(ctx, nil, stdout, stderr)
	}
	for _, c := range commands() {
		if c.name == args[0] {
			err := c.run(ctx, args[1:], stdout, stderr)
			if errors.Is(err, pflag.ErrHelp) {
				return nil
			}
			return err
		}
	}
	names := make([]string, 0, 8)
	for _, c := range commands() {
		names = append(names, c.name)
	}
	return usageError("there is no command %q; the commands are %s", args[0], strings.Join(names, ", "))
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, `openloop finds the highest request rate at which an LLM serving endpoint still meets
its latency objectives.

usage: openloop COMMAND [flags]

`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, `
  openloop sweep --target http://localhost:8000 --prompt-tokens 256 --output-tokens 128
  openloop sweep --target sim:l4-qwen2.5-0.5b        no server needed: an engine simulated in the process

"openloop COMMAND --help" lists the flags of a command.
`)
}

func runVersion(_ context.Context, _ []string, stdout, _ io.Writer) error {
	fmt.Fprintln(stdout, "openloop", programVersion())
	return nil
}

// programVersion is the version set at build time, else what the build recorded of the commit.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return "devel-" + revision + modified
}
