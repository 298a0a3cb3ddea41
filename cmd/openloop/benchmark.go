package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/cli"
	"github.com/openloop/openloop/spec"
)

// runBenchmark is "openloop benchmark": run (which may be left out, as with GuideLLM) and from-file.
func runBenchmark(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	switch {
	case len(args) == 0 || args[0] == "--help" || args[0] == "-h":
		fmt.Fprint(stdout, `openloop benchmark takes the commands and flags of "guidellm benchmark" 0.5.0.

  openloop benchmark run --help          run a benchmark
  openloop benchmark from-file --help    print or convert a saved report
`)
		return pflag.ErrHelp
	case args[0] == "run":
		return runGuideLLM(ctx, args[1:], stdout, stderr)
	case args[0] == "from-file":
		return runFromFile(args[1:], stdout, stderr)
	case strings.HasPrefix(args[0], "-"):
		return runGuideLLM(ctx, args, stdout, stderr)
	}
	return usageError("there is no command %q of openloop benchmark; there are run and from-file", args[0])
}

// ownFlags are those of openloop's flags that "benchmark run" has beside GuideLLM's.
var ownFlags = []string{
	"api-key-file", "api-key", "header", "ca-file", "insecure", "connect-timeout", "request-timeout", "grace",
	"max-concurrency", "slo", "console-style", "allow-invalid",
}

const benchmarkIntro = `openloop benchmark run takes the flags of "guidellm benchmark run" 0.5.0 and its GUIDELLM_…
environment variables, and writes the same report.

  openloop benchmark run --target http://localhost:8000 --profile constant --rate 5,10 \
    --max-seconds 30 --data 'prompt_tokens=256,output_tokens=128'`

// benchmarkFlags makes the flags of "benchmark run": GuideLLM's, then openloop's own.
func benchmarkFlags(stdout io.Writer) (*pflag.FlagSet, *specFlags) {
	set := newFlagSet("benchmark run", stdout, benchmarkIntro)
	cli.AddFlags(set)
	others := newFlagSet("benchmark run", stdout, "")
	f := addSpecFlags(others, nil)
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
	return set, f
}

// runGuideLLM is "openloop benchmark run".
func runGuideLLM(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parseBenchmark(args, os.Getenv, stdout)
	if err != nil {
		return err
	}
	if err := unlessDone(ctx, c.CountRecords); err != nil {
		return refusal(ctx, err)
	}
	if !c.NoConsole {
		for _, note := range c.Notes {
			fmt.Fprintf(stderr, "note: %s\n", note)
		}
	}
	o := runOptions{args: &c.Args, observe: c.Observe(), overSaturation: c.OverSaturation}
	return runSpec(ctx, c.Spec, o, stdout, stderr)
}

// parseBenchmark reads the command line of "benchmark run", up to the endpoint.
func parseBenchmark(args []string, getenv func(string) string, stdout io.Writer) (*cli.Command, error) {
	set, f := benchmarkFlags(stdout)
	if err := parse(set, args, stdout); err != nil {
		return nil, err
	}
	base, err := f.base()
	if err != nil {
		return nil, err
	}
	c, err := cli.Parse(set, args, getenv, base)
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

const fromFileIntro = `openloop benchmark from-file [FILE] prints a report or writes it in other forms, as "guidellm
benchmark from-file" 0.5.0 does (default FILE: benchmarks.json).`

// runFromFile is "guidellm benchmark from-file": print a report, or write it in other forms.
func runFromFile(args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("benchmark from-file", stdout, fromFileIntro)
	outputPath := set.String("output-path", ".", "folder for the files, or a file whose ending is the form")
	formats := set.StringArray("output-formats", nil,
		"console, json, yaml, csv or a file name; repeated (default console and json)")
	files, err := parseFiles(set, args, stdout)
	if err != nil {
		return err
	}
	file := "benchmarks.json"
	switch len(files) {
	case 0:
	case 1:
		file = files[0]
	default:
		return usageError("openloop benchmark from-file takes one report; %d were named", len(files))
	}
	if len(*formats) == 0 {
		*formats = []string{formatConsole, formatJSON}
	}
	dir := *outputPath
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if filepath.Ext(dir) != "" { // a file: it takes the place of the form that it has
			kind := strings.TrimPrefix(filepath.Ext(dir), ".")
			for i, f := range *formats {
				if f == kind {
					(*formats)[i] = filepath.Base(dir)
				}
			}
			dir = filepath.Dir(dir)
		}
	}
	var outputs []guidellm.Output
	console := false
	for _, name := range *formats {
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
