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

	"github.com/spf13/cobra"
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

// program is what the commands share: where they write, and the command line.
type program struct {
	stdout, stderr io.Writer
	args           []string  // as they were given, the commands' names first
	settings       *settings // of the command that is run; nil where it takes no configuration
	specFlags      map[*pflag.FlagSet]*specFlags
}

// endsWith is what a command that has something to save or to close says to the first signal; any other is ended by it
// at once.
func endsWith(text string) map[string]string { return map[string]string{endingKey: text} }

const endingKey = "ending"

// annotate adds to what a command says of itself.
func annotate(cmd *cobra.Command, key, text string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[key] = text
}

// root makes the program's commands. One that is added here gets the rest from finishCommand: help, signals, and errors
// of usage.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "openloop",
		Short: "find the highest request rate at which an LLM serving endpoint still meets its latency objectives",
		Example: `  openloop sweep http://localhost:8000 --slo 'ttft:p95<250ms tpot:p95<50ms'
  openloop sweep sim:l4-qwen2.5-0.5b   # no server needed: a simulated engine
  openloop run http://localhost:8000 --rate 5`,
		Version: programVersion(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			printHelp(p.stderr, cmd, false)
			return usageError("no command given")
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddGroup(
		&cobra.Group{ID: groupMeasure, Title: "Measure"},
		&cobra.Group{ID: groupResults, Title: "Results"},
		&cobra.Group{ID: groupGuideLLM, Title: "GuideLLM"},
		&cobra.Group{ID: groupOther, Title: "Other"},
	)
	addTo := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	addTo(groupMeasure, newCheck(p), newSweep(p), newRun(p), newGate(p), newWorker(p))
	addTo(groupResults, newReport(p), newCompare(p), newArchive(p))
	addTo(groupGuideLLM, newBenchmark(p), newGuideLLM(p), newParity(p))
	addTo(groupOther, newRecord(p), newAudit(p), newSimulate(p), newVersion(p))
	for _, more := range moreCommands {
		addTo(groupOther, more(p))
	}

	root.PersistentFlags().Bool(helpAllFlag, false, "list all flags, in groups")
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetVersionTemplate("openloop {{.Version}}\n")
	root.SetGlobalNormalizationFunc(presentName)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { printHelp(p.stdout, cmd, wantsAll(cmd)) })
	root.SetUsageFunc(func(cmd *cobra.Command) error { printHelp(p.stderr, cmd, false); return nil })
	root.SetFlagErrorFunc(p.flagError)
	root.SetHelpCommand(newHelp(p))
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	p.finishCommand(root)
	return root
}

// moreCommands are those that a build adds by its tags: man.go.
var moreCommands []func(*program) *cobra.Command

// Groups of commands in the help.
const (
	groupMeasure  = "measure"
	groupResults  = "results"
	groupGuideLLM = "guidellm"
	groupOther    = "other"
)

// finishCommand gives a command and those under it what all have.
func (p *program) finishCommand(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false
	p.completeFlags(cmd)
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case wantsAll(cmd):
			return pflag.ErrHelp
		case check == nil && len(args) > 0:
			return unexpectedArgument(cmd, args[0])
		case check != nil:
			if err := check(cmd, args); err != nil {
				return asUsage(err)
			}
		}
		if err := checkOnce(cmd.Flags(), p.args); err != nil {
			return err
		}
		return p.configure(cmd, args)
	}
	if run := cmd.RunE; run != nil {
		ending := cmd.Annotations[endingKey]
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if wanted, _ := cmd.Flags().GetBool(printConfigFlag); wanted && p.settings != nil {
				_, err := io.WriteString(p.stdout, p.settings.printed())
				return err
			}
			if ending != "" {
				ctx, stop := withSignals(cmd.Context(), p.stderr, ending)
				defer stop()
				cmd.SetContext(ctx)
			}
			return run(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		p.finishCommand(c)
	}
}

// asUsage makes any error one of usage.
func asUsage(err error) error {
	var coded *exitError
	if errors.As(err, &coded) {
		return err
	}
	return &exitError{exitUsage, err}
}

func main() {
	os.Exit(mainExit(commandLine(os.Args), os.Stdout, os.Stderr))
}

// mainExit runs the program and returns its exit code.
func mainExit(args []string, stdout, stderr io.Writer) int {
	log.SetOutput(io.Discard) // net/http logs what it returns as errors too
	cobra.EnableCommandSorting = false
	stdout, stderr = forHumans(stdout), forHumans(stderr)
	err := (&program{stdout: stdout, stderr: stderr, args: args}).run()
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
	words := &lastWords{}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, lastWordsKey{}, words))
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
				if text := words.text.Load(); text != nil && *text != "" {
					fmt.Fprintf(stderr, "openloop: %s\n", *text)
				}
				os.Exit(128 + int(number))
			}
			cancel(interrupted{number})
			fmt.Fprintf(stderr, "\nopenloop: %s\n", ending)
		}
	}()
	return ctx, func() { signal.Stop(signals); signal.Reset(syscall.SIGPIPE); close(signals); cancel(nil) }
}

// run runs the command that the arguments name.
func (p *program) run() error {
	root := p.root()
	if err := unknownCommand(root, p.args); err != nil {
		return err
	}
	root.SetArgs(p.args)
	return root.ExecuteContext(context.Background())
}

// unknownCommand is an error if the first argument is not one of a command's, and not a flag.
func unknownCommand(parent *cobra.Command, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.HasPrefix(args[0], "__complete") {
		return nil
	}
	var names []string
	for _, c := range parent.Commands() {
		if c.Name() == args[0] || c.HasAlias(args[0]) {
			return nil
		}
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	err := usageError("there is no command %q", strings.TrimPrefix(parent.CommandPath()+" ", "openloop ")+args[0])
	if name := nearest(args[0], names); name != "" {
		return withHint(err, fmt.Sprintf("did you mean %q?", parent.CommandPath()+" "+name))
	}
	return withHint(err, "the commands are "+strings.Join(names, ", "))
}

func newVersion(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "print the version",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.stdout, "openloop", programVersion())
			return err
		},
	}
}

// newHelp is "openloop help COMMAND…".
func newHelp(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "print the help of a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.Root()
			for i := range args {
				if err := unknownCommand(at, args[i:]); err != nil {
					return err
				}
				next, _, err := at.Find(args[i : i+1])
				if err != nil {
					return asUsage(err)
				}
				at = next
			}
			printHelp(p.stdout, at, false)
			return nil
		},
	}
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
