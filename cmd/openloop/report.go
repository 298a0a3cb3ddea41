package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/atomicfile"
	"github.com/openloop/openloop/report"
)

// reportFlags are the flags of openloop report.
type reportFlags struct {
	format    string
	style     string
	output    string
	recompute bool
}

func runReport(_ context.Context, args []string, stdout, stderr io.Writer) error {
	var f reportFlags
	set := newFlagSet("report", stderr,
		`openloop report FILE… prints or converts reports: openloop's own and GuideLLM 0.5.0's, as JSON or
YAML, compressed by gzip or not. Of its own reports it prints the run's own screen again, of
GuideLLM's the tables that GuideLLM prints; there the stages of several files stand in one table.

  openloop report openloop-results/benchmarks.json
  openloop report benchmarks.json --format csv -o benchmarks.csv
  openloop report guidellm.json.gz --recompute     recompute the metrics from the requests, and compare`)
	set.StringVar(&f.format, "format", "",
		"screen (a line a stage; summary is the same), console (GuideLLM's tables), json, csv or yaml (default: by "+
			"the ending of --output, else screen for openloop's own reports and console for GuideLLM's)")
	set.StringVar(&f.style, "console-style", "", "openloop for --format screen, guidellm for --format console")
	set.StringVarP(&f.output, "output", "o", "", "file to write instead of stdout; an ending .gz compresses it")
	set.BoolVar(&f.recompute, "recompute", false,
		"recompute the metrics from the requests and list those that differ; exit 3 if any does. With --format or "+
			"--output, the report that is written has the recomputed metrics")
	files, err := parseFiles(set, args, stdout)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return usageError("no report named: openloop report FILE…")
	}
	return f.run(files, stdout, stderr)
}

// The forms that openloop report writes.
const (
	formatScreen  = "screen"
	formatSummary = "summary" // formatScreen by its former name
	formatConsole = "console"
	formatJSON    = string(guidellm.JSON)
	formatCSV     = string(guidellm.CSV)
	formatYAML    = string(guidellm.YAML)
)

// inFolder is the report in a folder of results, and any other name as it is.
func inFolder(name string) string {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return filepath.Join(name, "benchmarks.json")
	}
	return name
}

// readOwn reads openloop's own results, without the requests behind them; nil where a report has none, or can't be
// read.
func readOwn(names []string) []*report.Result {
	var all []*report.Result
	for _, name := range names {
		file, err := os.Open(inFolder(name))
		if err != nil {
			return nil
		}
		text, err := guidellm.ReadOpenLoop(file)
		file.Close()
		if err != nil {
			return nil
		}
		own, ok, err := report.Read(text)
		if err != nil || !ok {
			return nil
		}
		all = append(all, own)
	}
	return all
}

// readReport reads a report whole. own is openloop's own result in it, nil for none.
func readReport(name string) (file *guidellm.Report, own *report.Result, err error) {
	name = inFolder(name)
	if file, err = guidellm.ReadFile(name); err != nil {
		return nil, nil, err
	}
	if text, ok := file.OpenLoop.(json.RawMessage); ok {
		if own, _, err = report.Read(text); err != nil {
			return nil, nil, fmt.Errorf("%s: openloop's own part: %w", name, err)
		}
	}
	return file, own, nil
}

func (f *reportFlags) run(names []string, stdout, stderr io.Writer) error {
	format, err := f.outputFormat()
	if err != nil {
		return err
	}
	if !f.recompute && (format == "" || format == formatScreen) {
		if own := readOwn(names); own != nil {
			return f.write(stdout, formatScreen, &reports{names: names, own: own})
		}
	}
	if len(names) > 1 && (format == formatJSON || format == formatYAML) {
		return usageError("--format %s takes one report: it is the report itself", format)
	}
	listTo := stdout // of what --recompute found; stderr where the report itself goes to stdout
	if f.format != "" || f.output != "" {
		listTo = stderr
	}
	var all reports
	different := 0
	for _, name := range names {
		file, own, err := readReport(name)
		if err != nil {
			return err
		}
		writeUnknown(stderr, name, file)
		if f.recompute {
			different += writeRecomputed(listTo, name, file)
		}
		all.add(name, file, own)
	}
	if !f.recompute || f.format != "" || f.output != "" {
		if err := f.write(stdout, format, &all); err != nil {
			return err
		}
	}
	if different > 0 {
		return &exitError{exitMissed, fmt.Errorf("%d values differ from those that the requests give", different)}
	}
	return nil
}

// reports are the reports that were named.
type reports struct {
	names []string
	files *guidellm.Report // the stages of all in one
	own   []*report.Result // of each: openloop's own result, or what GuideLLM's report says in its words
	all   bool             // all are openloop's own
}

func (r *reports) add(name string, file *guidellm.Report, own *report.Result) {
	if r.files == nil {
		r.files, r.all = file, true
	} else {
		r.files.Benchmarks = append(r.files.Benchmarks, file.Benchmarks...)
	}
	if own == nil {
		r.all = false
		own = guidellm.Import(file)
	}
	r.names, r.own = append(r.names, name), append(r.own, own)
}

// outputFormat settles the form from --format, the name of the output file and --console-style; "" where the reports
// decide.
func (f *reportFlags) outputFormat() (string, error) {
	if !slices.Contains([]string{"", "guidellm", "openloop"}, f.style) {
		return "", usageError("--console-style %q: it is guidellm or openloop", f.style)
	}
	format := f.format
	if format == "" {
		switch ending := filepath.Ext(strings.TrimSuffix(f.output, ".gz")); ending {
		case ".json", ".csv", ".yaml":
			format = ending[1:]
		case ".yml":
			format = formatYAML
		case "", ".txt", ".log":
		default:
			return "", withHint(
				usageError("--output %s: its ending names no form that openloop report writes", f.output),
				"say which with --format")
		}
	}
	switch format {
	case formatSummary:
		return formatScreen, nil
	case "", formatConsole:
		switch f.style {
		case "openloop":
			return formatScreen, nil
		case "guidellm":
			return formatConsole, nil
		}
		return format, nil
	case formatScreen, formatJSON, formatCSV, formatYAML:
		return format, nil
	}
	return "", usageError("--format %q: it is screen, console, json, csv or yaml", format)
}

func (f *reportFlags) write(stdout io.Writer, format string, r *reports) error {
	if f.output == "" {
		out := bufio.NewWriterSize(stdout, 1<<16)
		if err := writeReport(out, format, r); err != nil {
			return err
		}
		return out.Flush()
	}
	return atomicfile.Write(f.output, func(w io.Writer) error {
		if !strings.HasSuffix(f.output, ".gz") {
			return writeReport(w, format, r)
		}
		z := gzip.NewWriter(w)
		return errors.Join(writeReport(z, format, r), z.Close())
	})
}

func writeReport(w io.Writer, format string, r *reports) error {
	if format == "" {
		format = formatConsole
		if r.all {
			format = formatScreen
		}
	}
	switch format {
	case formatConsole:
		return guidellm.WriteConsole(w, r.files, time.Local)
	case formatScreen:
		for i, result := range r.own {
			if len(r.own) > 1 {
				fmt.Fprintf(w, "\n== %s\n", r.names[i])
			}
			if err := report.WriteScreen(w, result); err != nil {
				return err
			}
		}
		return nil
	}
	return guidellm.Write(w, guidellm.Format(format), r.files)
}

// writeUnknown lists the fields that this version does not know, and those that it expects and did not find: what a
// later GuideLLM added, renamed or dropped.
func writeUnknown(w io.Writer, name string, r *guidellm.Report) {
	unknown := make([]string, 0, len(r.Unknown))
	for _, f := range r.Unknown {
		unknown = append(unknown, f.Path)
	}
	tellFields(w, name+": not known to GuideLLM 0.5.0, kept where the report is written again", unknown)
	tellFields(w, name+": expected and not there, taken as empty", r.Missing)
}

// tellFields lists fields, those of every element of a list as one.
func tellFields(w io.Writer, title string, paths []string) {
	if len(paths) == 0 {
		return
	}
	fmt.Fprintf(w, "%s:\n", title)
	for _, p := range guidellm.GroupPaths(paths) {
		fmt.Fprintf(w, "  %s\n", p)
	}
}

// mostDifferences is how many values that differ are listed one by one.
const mostDifferences = 50

// writeRecomputed recomputes a report's metrics, puts them in their place where they could be made, and lists those
// that differ. It returns their number.
func writeRecomputed(w io.Writer, name string, r *guidellm.Report) int {
	out := guidellm.Recompute(r)
	differ := len(out.Differences)
	fmt.Fprintf(w, "%s: %d values recomputed from the requests, %d differ\n", name, out.Compared, differ)
	for i, d := range out.Differences {
		if i == mostDifferences {
			fmt.Fprintf(w, "  and %d more\n", differ-i)
			break
		}
		fmt.Fprintf(w, "  %s\n", d)
	}
	paths := map[string][]string{}
	var reasons []string
	for _, n := range out.NotRecomputed {
		if paths[n.Reason] == nil {
			reasons = append(reasons, n.Reason)
		}
		paths[n.Reason] = append(paths[n.Reason], n.Path)
	}
	for _, reason := range reasons {
		fmt.Fprintf(w, "  could not be recomputed: %s: %s\n", strings.Join(guidellm.GroupPaths(paths[reason]), ", "),
			reason)
	}
	for i, m := range out.Benchmarks {
		if m != nil {
			r.Benchmarks[i].Metrics = *m
		}
	}
	return differ
}
