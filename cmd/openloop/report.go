package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/atomicfile"
	"github.com/openloop/openloop/internal/infile"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/records"
)

// reportFlags are the flags of openloop report.
type reportFlags struct {
	format    string
	style     string
	output    string
	recompute bool
	recover   bool
	records   string
	hlog      string
	screenFlags
}

func newReport(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report RUN…",
		Short: "print a run's screen again, or convert reports: GuideLLM's and openloop's",
		Long: `openloop report prints or converts reports: openloop's own and GuideLLM 0.5.0's, as JSON or YAML, ` +
			`compressed by gzip or not. Of its own reports it prints the run's own screen again, of GuideLLM's the ` +
			`tables that GuideLLM prints; there the stages of several files stand in one table.`,
		Example: `  openloop report latest
  openloop report benchmarks.json --format csv -o benchmarks.csv
  openloop report guidellm.json.gz --recompute  # the metrics from the requests
  openloop report latest --recover              # of a run that was killed`,
		Args: cobra.ArbitraryArgs,
	}
	var f reportFlags
	f.add(cmd.Flags())
	cmd.RunE = func(_ *cobra.Command, files []string) error { return runReport(f, files, p.stdout, p.stderr) }
	return cmd
}

func (f *reportFlags) add(set *pflag.FlagSet) {
	set.StringVar(&f.format, "format", "",
		"`FORMAT`: screen (a line a stage; summary is the same), html, svg and png (its main chart), markdown, junit, "+
			"console (GuideLLM's tables), json, csv, yaml or guidellm-v2 (default: by the ending of --output, else "+
			"screen for "+
			"openloop's own reports and console for GuideLLM's)")
	set.StringVar(&f.style, "console-style", "", "openloop for --format screen, guidellm for --format console")
	set.StringVarP(&f.output, "output", "o", "", "file to write instead of stdout; an ending .gz compresses it")
	set.BoolVar(&f.recompute, "recompute", false,
		"recompute the metrics from the requests and list those that differ; exit 3 if any does. With --format or "+
			"--output, the report that is written has the recomputed metrics")
	set.StringVar(&f.records, "records", "",
		"write the requests of all reports to this `FILE`, one line each: .parquet, .jsonl or .csv")
	set.StringVar(&f.hlog, "hlog", "", "write their latencies to this `FILE` as an HdrHistogram log")
	set.BoolVar(&f.recover, "recover", false,
		"make the report of a run that was killed, of the "+journalFile+" in its folder")
	f.addEnd(set)
}

func runReport(f reportFlags, files []string, stdout, stderr io.Writer) error {
	if len(files) == 0 {
		return usageError("no report named: openloop report RUN…")
	}
	if err := refuseObjects(files); err != nil {
		return err
	}
	if f.recover {
		if f.recompute || f.format != "" || f.style != "" || f.output != "" || f.records != "" || f.hlog != "" {
			return usageError("--recover writes the files that the run was to write; give other flags afterwards")
		}
		return runRecover(files, f.screenFlags, stdout, stderr)
	}
	return f.run(files, stdout, stderr)
}

// Forms that openloop report knows by name.
const (
	formatConsole = "console" // GuideLLM's tables
	formatJSON    = "json"
	formatScreen  = "screen"
	formatSummary = "summary" // formatScreen by its former name
)

// inFolder is the report in a folder of results, and any other name as it is.
func inFolder(name string) string {
	name = runFolder(name)
	info, err := os.Stat(name)
	if err != nil || !info.IsDir() {
		return name
	}
	for _, file := range []string{"benchmarks.json", "benchmarks.json" + compressedEnding, "benchmarks.yaml"} {
		if exists(filepath.Join(name, file)) {
			return filepath.Join(name, file)
		}
	}
	if exists(filepath.Join(name, latestRun)) { // the folder of the runs' folders
		return inFolder(filepath.Join(name, latestRun))
	}
	return filepath.Join(name, "benchmarks.json")
}

// readOwn reads openloop's own results, without the requests behind them; nil where a report has none, or can't be
// read.
func readOwn(names []string) []*report.Result {
	var all []*report.Result
	for _, name := range names {
		file, err := infile.Open(inFolder(name)) // a pipe could not be read once more
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

// readFile reads a report from a file. That it waits for what is no regular file is said.
func readFile(name string, stderr io.Writer) (*guidellm.Report, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		fmt.Fprintf(stderr, "reading %s, which is %s: this waits for its end\n", name, infile.Kind(info.Mode()))
	}
	r, err := guidellm.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && filepath.Base(name) == "benchmarks.json" && exists(filepath.Dir(name)) {
		err = withHint(err, "a run that was killed leaves "+journalFile+" there: --recover makes its report")
	}
	if err != nil {
		return nil, asUsage(err)
	}
	return r, nil
}

// readReport reads a report whole. own is openloop's own result in it with the requests of its stages, nil for none.
func readReport(name string, stderr io.Writer) (file *guidellm.Report, own *report.Result, err error) {
	name = inFolder(name)
	if file, err = readFile(name, stderr); err != nil {
		return nil, nil, err
	}
	if text, ok := file.OpenLoop.(json.RawMessage); ok {
		if own, _, err = report.Read(text); err != nil {
			return nil, nil, fmt.Errorf("%s: openloop's own part: %w", name, err)
		}
		if own != nil {
			if err := guidellm.GiveRequests(own, file); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return file, own, nil
}

func (f *reportFlags) run(names []string, stdout, stderr io.Writer) error {
	form, err := f.outputFormat()
	if err != nil {
		return err
	}
	if form != nil && form.isView { // a report may be written anew in its place
		if err := refuseOver("output", f.output, names); err != nil {
			return err
		}
	}
	requests, err := requestFiles(f.records, f.hlog)
	if err != nil {
		return err
	}
	for _, to := range requests {
		if err := refuseOver(to.flag, to.file, names); err != nil {
			return err
		}
	}
	requestsAlone := len(requests) > 0 && f.format == "" && f.output == "" && !f.recompute
	if len(requests) == 0 && !f.recompute && (form == nil || form.name == formatScreen) {
		if own := readOwn(names); own != nil {
			return f.write(stdout, findFormat(formatScreen), &reports{names: names, results: own})
		}
	}
	if len(names) > 1 && form != nil && slices.Contains([]string{formatJSON, "yaml", laterName}, form.name) {
		return usageError("--format %s takes one report: it is the report itself", form.name)
	}
	if len(names) > 1 && form != nil && form.single {
		return usageError("--format %s takes one report: such a file is of one run", form.name)
	}
	listTo := stdout // of what --recompute found; stderr where the report itself goes to stdout
	if f.format != "" || f.output != "" {
		listTo = stderr
	}
	var all reports
	different, allOwn := 0, true
	for _, name := range names {
		file, own, err := readReport(name, stderr)
		if err != nil {
			return err
		}
		if !requestsAlone {
			writeUnknown(stderr, name, file)
		}
		if f.recompute {
			if own != nil && form != nil && form.name == formatScreen {
				return usageError("--recompute and --format screen contradict each other for %s: the screen is not "+
					"made from the metrics that are recomputed", name)
			}
			different += writeRecomputed(listTo, name, file)
		}
		if own == nil {
			allOwn, own = false, guidellm.Import(file)
		}
		all.add(name, file, own)
	}
	if err := writeRequests(requests, all.results, stderr); err != nil || requestsAlone {
		return err
	}
	if form == nil {
		form = findFormat(formatConsole)
		if allOwn {
			form = findFormat(formatScreen)
		}
	}
	if !f.recompute || f.format != "" || f.output != "" {
		if err := f.write(stdout, form, &all); err != nil {
			return err
		}
	}
	if different > 0 {
		return &exitError{exitMissed, fmt.Errorf("%d values differ from those that the requests give", different)}
	}
	return nil
}

// refuseOver refuses to write over one of the runs that are read.
func refuseOver(flag, file string, runs []string) error {
	for _, name := range runs {
		if sameFile(file, inFolder(name)) {
			return usageError("--%s: %s is one of the runs that are read; name another file", flag, file)
		}
	}
	return nil
}

// writeRequests writes files of requests.
func writeRequests(files []requestFile, results []*report.Result, stderr io.Writer) error {
	for _, to := range files {
		err := writeFile(to.file, func(w io.Writer) error { return to.write(w, results...) })
		if errors.Is(err, records.ErrNoRequests) {
			return withHint(usageError("--%s: %w", to.flag, err),
				"GuideLLM keeps as many of a stage as its --sample-requests says")
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", to.file, err)
		}
		fmt.Fprintf(stderr, "saved %s\n", to.file)
	}
	return nil
}

// writeFile writes a file whole or not at all, compressed where its name says so.
func writeFile(name string, write func(io.Writer) error) error {
	return atomicfile.Write(name, func(w io.Writer) error {
		if !strings.HasSuffix(name, compressedEnding) {
			return write(w)
		}
		return compress(w, write)
	})
}

// reports are the reports that were named.
type reports struct {
	names   []string
	merged  *guidellm.Report // the stages of all in one
	results []*report.Result // of each: openloop's own result, or what GuideLLM's report says in its words
}

func (r *reports) add(name string, file *guidellm.Report, result *report.Result) {
	if r.merged == nil {
		first := *file
		r.merged = &first
	} else {
		r.merged.Benchmarks = append(slices.Clip(r.merged.Benchmarks), file.Benchmarks...)
	}
	r.names, r.results = append(r.names, name), append(r.results, result)
}

// outputFormat settles the form from --format, the name of the output file and --console-style; nil where the reports
// decide.
func (f *reportFlags) outputFormat() (*format, error) {
	if !slices.Contains([]string{"", "guidellm", "openloop"}, f.style) {
		return nil, usageError("--console-style %q: it is guidellm or openloop", f.style)
	}
	plain := strings.TrimSuffix(f.output, ".gz")
	switch ending := filepath.Ext(plain); {
	case f.format == formatSummary:
		return findFormat(formatScreen), nil
	case f.format == formatConsole && f.style == "openloop":
		return findFormat(formatScreen), nil
	case f.format != "":
		if form := findFormat(f.format); form != nil {
			return form, nil
		}
		return nil, usageError("--format %q: it is %s", f.format, formatNames(false))
	case f.style == "openloop" && (ending == "" || ending == ".txt"):
		return findFormat(formatScreen), nil
	case f.style == "guidellm" && (ending == "" || ending == ".txt"):
		return findFormat(formatConsole), nil
	case ending == "" || ending == ".log" || ending == ".txt":
		return nil, nil
	}
	if form := formatOf(plain); form != nil {
		return form, nil
	}
	return nil, withHint(usageError("--output %s: its ending names no form that openloop report writes", f.output),
		"say which with --format")
}

func (f *reportFlags) write(stdout io.Writer, form *format, r *reports) error {
	if form.name == formatScreen && f.wide {
		wide := *form
		wide.write = func(w io.Writer, _ *guidellm.Report, r *report.Result) error {
			return report.WriteWideScreen(w, r)
		}
		form = &wide
	}
	if f.output == "" && form.name == formatScreen {
		var b strings.Builder
		if err := r.write(&b, form); err != nil {
			return err
		}
		return printPainted(stdout, b.String(), painter(stdout, f.noColor))
	}
	if f.output == "" {
		if form.name != formatScreen && form.name != formatConsole {
			stdout = forData(stdout)
		}
		out := bufio.NewWriterSize(stdout, 1<<16)
		if err := r.write(out, form); err != nil {
			return err
		}
		return out.Flush()
	}
	return writeFile(f.output, func(w io.Writer) error { return r.write(w, form) })
}

// write writes the reports: as one where the form is GuideLLM's, one after the other where it is a view of a result.
func (r *reports) write(w io.Writer, form *format) error {
	if !form.isView {
		return form.write(w, r.merged, nil)
	}
	if form.together != nil && len(r.results) > 1 {
		return form.together(w, r.names, r.results)
	}
	for i, result := range r.results {
		if len(r.results) > 1 {
			title := "\n== %s\n"
			if form.name == "markdown" {
				title = "\n## `%s`\n\n"
			}
			if _, err := fmt.Fprintf(w, title, strings.ReplaceAll(r.names[i], "`", "")); err != nil {
				return err
			}
		}
		if err := form.write(w, nil, result); err != nil {
			return err
		}
	}
	return nil
}

// writeUnknown lists the fields that this version does not know, and those that it expects and did not find: what a
// later GuideLLM added, renamed or dropped.
func writeUnknown(w io.Writer, name string, r *guidellm.Report) {
	unknown := make([]string, 0, len(r.Unknown))
	for _, f := range r.Unknown {
		unknown = append(unknown, f.Path)
	}
	if n := len(unknown); n > 0 && r.Metadata.Version != guidellm.Schema {
		fmt.Fprintf(w, "%s: schema %d, of %s: what it shares with GuideLLM 0.5.0's (schema %d) is read; %d further "+
			"fields are kept where the report is written again\n",
			name, r.Metadata.Version, writerOf(r), guidellm.Schema, n)
		unknown = nil
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

// writeRedefined says which metrics a report of another schema defines in another way.
func writeRedefined(w io.Writer, r *guidellm.Report, redefined []guidellm.Difference) {
	version := r.Metadata.Version
	if version == guidellm.Schema {
		return
	}
	fmt.Fprintf(w, "  the report has schema %d, of %s; its metrics are recomputed as GuideLLM 0.8.1 (schema %d) "+
		"defines them\n", version, writerOf(r), guidellm.LaterSchema)
	if len(redefined) == 0 {
		return
	}
	count := map[string]int{}
	var names []string
	for _, d := range redefined {
		name, _, _ := strings.Cut(d.Path[strings.Index(d.Path, ".metrics.")+len(".metrics."):], ".")
		if count[name]++; count[name] == 1 {
			names = append(names, name)
		}
	}
	fmt.Fprintf(w, "  defined in another way there, which is no error, and not replaced:\n")
	for _, name := range names {
		fmt.Fprintf(w, "    %s (%d values)\n", name, count[name])
	}
}

// writerOf names what wrote a report.
func writerOf(r *guidellm.Report) string {
	if v := r.Metadata.GuideLLMVersion; v != "" {
		return fmt.Sprintf("GuideLLM %.40q", v)
	}
	return "an unknown version"
}

// mostDifferences is how many values that differ are listed one by one.
const mostDifferences = 50

// writeRecomputed recomputes a report's metrics, puts them in their place where they could be made, and lists those
// that differ. It returns their number.
func writeRecomputed(w io.Writer, name string, r *guidellm.Report) int {
	out := guidellm.Recompute(r)
	differ := len(out.Differences)
	fmt.Fprintf(w, "%s: %d values recomputed from the requests, %d differ\n", name, out.Compared,
		differ+len(out.Redefined))
	writeRedefined(w, r, out.Redefined)
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
	if err := out.Apply(r); err != nil {
		fmt.Fprintf(w, "  %v\n", err)
		differ++
	}
	return differ
}
