package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/cli"
	"github.com/openloop/openloop/spec"
)

// newBenchmark is "openloop benchmark": run (which may be left out, as with GuideLLM) and from-file.
func newBenchmark(p *program) *cobra.Command {
	cmd := newBenchmarkRun(p, "benchmark")
	cmd.Short = `the commands and flags of "guidellm benchmark" 0.5.0`
	cmd.Args = func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) }
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(p.args) == 1 {
			return pflag.ErrHelp
		}
		return run(cmd, args)
	}
	cmd.AddCommand(newBenchmarkRun(p, "run"), newFromFile(p))
	return cmd
}

// ownFlags are those of openloop's flags that "benchmark run" has beside GuideLLM's.
var ownFlags = []string{
	"api-key-file", "api-key", "header", "ca-file", "client-cert", "client-key", "server-name", "insecure",
	"connect-timeout", "request-timeout", "wait-ready", "grace", "max-concurrency", "slo", "console-style",
	"allow-invalid", "metrics-addr",
}

func newBenchmarkRun(p *program, name string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name,
		Short: `run a benchmark: the flags of "guidellm benchmark run" 0.5.0, and its GUIDELLM_… variables`,
		Example: `  openloop benchmark run --target http://localhost:8000 --profile constant \
    --rate 5,10 --max-seconds 30 --data 'prompt_tokens=256,output_tokens=128'`,
		Annotations: endsWith(endingStage),
	}
	f := addBenchmarkFlags(cmd.Flags(), p)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runGuideLLM(cmd.Context(), f, p) }
	return cmd
}

// addBenchmarkFlags adds the flags of "benchmark run": GuideLLM's, then openloop's own.
func addBenchmarkFlags(set *pflag.FlagSet, p *program) *specFlags {
	cli.AddFlags(set)
	return addOwnFlags(set, p)
}

// addOwnFlags adds openloop's own flags to a command of GuideLLM's.
func addOwnFlags(set *pflag.FlagSet, p *program) *specFlags {
	others := pflag.NewFlagSet("", pflag.ContinueOnError)
	f := addSpecFlags(others, p)
	for _, name := range ownFlags {
		flag := others.Lookup(name)
		if flag.Name == "console-style" {
			flag.Usage = "what is printed at the end: guidellm (default) for its tables, or openloop for its own screen"
			flag.DefValue = ""
		}
		set.AddFlag(flag)
	}
	f.consoleStyle = string(spec.StyleGuideLLM)
	f.set = set
	return f
}

// runGuideLLM is "openloop benchmark run".
func runGuideLLM(ctx context.Context, f *specFlags, p *program) error {
	c, err := f.benchmark(p.args[min(1, len(p.args)):], os.Getenv)
	if err != nil {
		return err
	}
	if err := unlessDone(ctx, c.CountRecords); err != nil {
		return refusal(ctx, err)
	}
	if !c.NoConsole {
		for _, note := range c.Notes {
			fmt.Fprintf(p.stderr, "note: %s\n", note)
		}
	}
	o := runOptions{args: &c.Args, observe: c.Observe(), overSaturation: c.OverSaturation}
	return runSpec(ctx, c.Spec, o, p.stdout, p.stderr)
}

// benchmark turns the flags of "benchmark run" into what they ask for, up to the endpoint. args are what follows
// "benchmark".
func (f *specFlags) benchmark(args []string, getenv func(string) string) (*cli.Command, error) {
	base, err := f.base()
	if err != nil {
		return nil, err
	}
	if len(args) > 0 && args[0] == "run" {
		args = args[1:]
	}
	c, err := cli.Parse(f.set, args, getenv, base)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	key, err := f.key()
	if err != nil {
		return nil, err
	}
	c.Spec.Endpoint.Authorize(key)
	return c, nil
}

// newFromFile is "openloop benchmark from-file".
func newFromFile(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "from-file [FILE]",
		Short: `print a report (default benchmarks.json) or write it in other forms, as "guidellm benchmark from-file"`,
		Args:  cobra.ArbitraryArgs,
		Example: `  openloop benchmark from-file benchmarks.json --output-formats console
  openloop benchmark from-file benchmarks.json --output-formats csv`,
	}
	outputPath := cmd.Flags().String("output-path", ".", "folder for the files, or a file whose ending is the form")
	formats := cmd.Flags().StringArray("output-formats", nil,
		"console, json, yaml, csv or a file name; repeated (default console and json)")
	cmd.RunE = func(_ *cobra.Command, files []string) error {
		return runFromFile(files, *outputPath, *formats, p.stdout, p.stderr)
	}
	return cmd
}

// runFromFile is "guidellm benchmark from-file": print a report, or write it in other forms.
func runFromFile(files []string, dir string, formats []string, stdout, stderr io.Writer) error {
	file := "benchmarks.json"
	switch len(files) {
	case 0:
	case 1:
		file = files[0]
	default:
		return usageError("openloop benchmark from-file takes one report; %d were named", len(files))
	}
	if len(formats) == 0 {
		formats = []string{formatConsole, formatJSON}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if filepath.Ext(dir) != "" { // a file: it takes the place of the form that it has
			kind := strings.TrimPrefix(filepath.Ext(dir), ".")
			for i, f := range formats {
				if f == kind {
					formats[i] = filepath.Base(dir)
				}
			}
			dir = filepath.Dir(dir)
		}
	}
	var outputs []guidellm.Output
	console := false
	for _, name := range formats {
		if name == formatConsole {
			console = true
			continue
		}
		o, err := guidellm.ParseOutputs([]string{name})
		if err != nil {
			return usageError("--output-formats: %w", err)
		}
		outputs = append(outputs, o...)
	}
	r, err := readFile(file, stderr)
	if err != nil {
		return err
	}
	writeUnknown(stderr, file, r)
	if len(outputs) > 0 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	results := &resultFiles{
		dir:  dir,
		own:  map[string]bool{absolute(file): true}, // which may be written as it was read
		kept: func(old, now string) { fmt.Fprintf(stderr, "kept %s of an earlier run as %s\n", old, now) },
	}
	for _, o := range outputs {
		name := results.place(o.File)
		write := func(w io.Writer) error { return guidellm.Write(w, o.Format, r) }
		if err := results.write(name, write); err != nil {
			return fmt.Errorf("saving %s: %w", name, err)
		}
		fmt.Fprintf(stderr, "saved %s\n", name)
	}
	if console {
		return guidellm.WriteConsole(stdout, r, time.Local)
	}
	return nil
}
