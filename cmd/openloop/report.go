package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/atomicfile"
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
	set := newFlagSet("report", stdout, `openloop report FILE… prints or converts reports: GuideLLM 0.5.0's and openloop's own, as JSON or
YAML, compressed by gzip or not. The stages of several files stand in one table.

  openloop report benchmarks.json
  openloop report benchmarks.json --format csv -o benchmarks.csv
  openloop report guidellm.json.gz --recompute     recompute the metrics from the requests, and compare`)
	set.StringVar(&f.format, "format", "", "console, summary, json, csv or yaml (default: by the ending of --output, else console)")
	set.StringVar(&f.style, "console-style", "guidellm", "tables of --format console: guidellm, or openloop for one line a stage (the same as --format summary)")
	set.StringVarP(&f.output, "output", "o", "", "file to write instead of stdout; an ending .gz compresses it")
	set.BoolVar(&f.recompute, "recompute", false, "recompute the metrics from the requests and list those that differ; exit 3 if any does. With --format or --output, the report that is written has the recomputed ones")
	files, err := parseFiles(set, args)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return usageError("no report named: openloop report FILE…")
	}
	return f.run(files, stdout, stderr)
}

// parseFiles parses the arguments of a command that takes file names beside flags. Help goes where the
// set writes its usage.
func parseFiles(set *pflag.FlagSet, args []string) ([]string, error) {
	usage := set.Usage
	set.Usage = func() {}
	err := set.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		usage()
		return nil, pflag.ErrHelp
	}
	if err != nil {
		return nil, usageError("%w (\"openloop %s --help\" lists the flags)", err, set.Name())
	}
	return set.Args(), nil
}

func (f *reportFlags) run(files []string, stdout, stderr io.Writer) error {
	format, err := f.outputFormat()
	if err != nil {
		return err
	}
	if len(files) > 1 && (format == formatJSON || format == formatYAML) {
		return usageError("--format %s takes one report: it is the report itself", format)
	}
	var all *guidellm.Report
	different := 0
	listTo := stdout // of what --recompute found; stderr where the report itself goes to stdout
	if f.format != "" || f.output != "" {
		listTo = stderr
	}
	for _, name := range files {
		r, err := guidellm.ReadFile(name)
		if err != nil {
			return err
		}
		tellUnknown(stderr, name, r)
		if f.recompute {
			n := tellRecomputed(listTo, name, r)
			different += n
		}
		if all == nil {
			all = r
		} else {
			all.Benchmarks = append(all.Benchmarks, r.Benchmarks...)
		}
	}
	if !f.recompute || f.format != "" || f.output != "" {
		if err := f.write(stdout, format, all); err != nil {
			return err
		}
	}
	if different > 0 {
		return &exitError{exitMissed, fmt.Errorf("%d values differ from those that the requests give", different)}
	}
	return nil
}

// The forms that openloop report writes.
const (
	formatConsole = "console"
	formatSummary = "summary"
	formatJSON    = string(guidellm.JSON)
	formatCSV     = string(guidellm.CSV)
	formatYAML    = string(guidellm.YAML)
)

// outputFormat settles the form from --format, the name of the output file and --console-style.
func (f *reportFlags) outputFormat() (string, error) {
	switch f.style {
	case "guidellm", "openloop":
	default:
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
			format = formatConsole
		default:
			return "", usageError("--output %s: its ending names no form that openloop report writes; say which with --format", f.output)
		}
	}
	switch format {
	case formatConsole:
		if f.style == "openloop" {
			return formatSummary, nil
		}
	case formatSummary, formatJSON, formatCSV, formatYAML:
	default:
		return "", usageError("--format %q: it is console, summary, json, csv or yaml", format)
	}
	return format, nil
}

func (f *reportFlags) write(stdout io.Writer, format string, r *guidellm.Report) error {
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

func writeReport(w io.Writer, format string, r *guidellm.Report) error {
	switch format {
	case formatConsole:
		return guidellm.WriteConsole(w, r, time.Local)
	case formatSummary:
		return writeSummary(w, r)
	default:
		return guidellm.Write(w, guidellm.Format(format), r)
	}
}

// writeSummary writes one line a stage, from what every report holds.
func writeSummary(w io.Writer, r *guidellm.Report) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")+"\t") }
	row("", "asked", "completed", "in", "TTFT ms", "", "", "ITL ms", "latency s", "tokens", "requests", "", "")
	row("stage", "req/s", "req/s", "flight", "p50", "p95", "p99", "p50", "p50", "per s", "done", "failed", "cut")
	for _, stage := range r.Benchmarks {
		m := &stage.Metrics
		asked, load := "-", stage.Config.Load()
		if load.Rate.Valid {
			asked = number3(load.Rate.Value)
		}
		ttft := m.TimeToFirstTokenMS.Successful.Percentiles
		row(load.String(), asked, number3(m.RequestsPerSecond.Successful.Mean), number3(m.RequestConcurrency.Total.Mean),
			number3(ttft.P50), number3(ttft.P95), number3(ttft.P99), number3(m.InterTokenLatencyMS.Successful.Median),
			number3(m.RequestLatency.Successful.Median), number3(m.TokensPerSecond.Successful.Mean),
			fmt.Sprint(m.RequestTotals.Successful), fmt.Sprint(m.RequestTotals.Errored), fmt.Sprint(m.RequestTotals.Incomplete))
	}
	t.Flush()
	fmt.Fprintf(&b, "\n%s, %s\n", r.Args.Target, strings.Join(r.Args.Data, " "))
	_, err := w.Write(b.Bytes())
	return err
}

// number3 writes a number with three significant digits.
func number3(x float64) string {
	switch {
	case x >= 99.95 || x <= -99.95:
		return fmt.Sprintf("%.0f", x)
	case x >= 9.995 || x <= -9.995:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.2f", x)
	}
}

// tellUnknown lists the fields that this version does not know, and those that it expects and did not find: what a
// later GuideLLM added, renamed or dropped.
func tellUnknown(w io.Writer, name string, r *guidellm.Report) {
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

// tellRecomputed recomputes a report's metrics, puts them in their place where they could be made, and lists those that
// differ. It returns their number.
func tellRecomputed(w io.Writer, name string, r *guidellm.Report) int {
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
		fmt.Fprintf(w, "  could not be recomputed: %s: %s\n", strings.Join(guidellm.GroupPaths(paths[reason]), ", "), reason)
	}
	for i, m := range out.Benchmarks {
		if m != nil {
			r.Benchmarks[i].Metrics = *m
		}
	}
	return differ
}
