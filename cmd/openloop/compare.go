package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/internal/atomicfile"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/compare"
	"github.com/openloop/openloop/slo"
)

// compareFlags are the flags of openloop compare.
type compareFlags struct {
	failOn []string
	noise  float64
	anyway bool
	format string
	output string
}

func newCompare(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compare BASE NEW…",
		Short: "lay runs side by side: better, worse or ~, with intervals; --fail-on is an exit code",
		Long: `openloop compare says what changed from the first run to the others: what differs in what was run, ` +
			`the max rate at SLO, and at each rate that both ran the latencies, with 95 % intervals and a test that ` +
			`knows that requests in one queue are not independent. A change without evidence is "~". Runs are ` +
			`folders of results, reports, or latest. It exits 3 if a --fail-on fails, and 2 if the runs can't be ` +
			`compared.`,
		Example: `  openloop compare before/ after/
  openloop compare baseline.json latest --fail-on 'ttft:p95>+10%'
  openloop compare baseline.json latest --format markdown -o comment.md`,
		Args: cobra.ArbitraryArgs,
	}
	var f compareFlags
	set := cmd.Flags()
	set.StringArrayVar(&f.failOn, "fail-on", nil,
		"`CONDITION`: exit 3 where there is evidence of a change beyond it: 'ttft:p95>+10%', 'rate<-5%', 'tok/s<-5%', "+
			"'errors>+1%' (points); repeatable")
	set.Float64Var(&f.noise, "noise", 100*compare.DefaultNoise,
		"changes up to so many `PERCENT` count as none: by how much runs of the same differ here anyway")
	set.BoolVar(&f.anyway, "anyway", false, "compare runs of different workloads or kinds of request, too")
	set.StringVar(&f.format, "format", "", "`FORMAT`: screen, "+strings.Join(compareFormats(), ", ")+
		" (default: by the ending of --output, else screen)")
	set.StringVarP(&f.output, "output", "o", "", "`FILE` to write instead of stdout")
	cmd.RunE = func(_ *cobra.Command, files []string) error { return f.run(files, p.stdout, p.stderr) }
	return cmd
}

// compareFormats are the names of the forms of a comparison, the screen's left out.
func compareFormats() []string {
	var names []string
	for _, f := range compare.Formats() {
		if f.Name != formatScreen {
			names = append(names, f.Name)
		}
	}
	return names
}

func (f *compareFlags) run(names []string, stdout, stderr io.Writer) error {
	if len(names) < 2 {
		return usageError("openloop compare takes two runs or more, the first to compare with; %d were named",
			len(names))
	}
	if err := refuseObjects(names); err != nil {
		return err
	}
	if f.noise < 0 || f.noise >= 100 {
		return usageError("--noise is a change in percent, at least 0 and below 100")
	}
	form, err := f.find()
	if err != nil {
		return err
	}
	if err := refuseOver("output", f.output, names); err != nil {
		return err
	}
	options := compare.Options{Noise: f.noise / 100, Anyway: f.anyway}
	for _, text := range f.failOn {
		conditions, err := compare.ParseConditions(text)
		if err != nil {
			return usageError("--fail-on: %w", err)
		}
		options.FailOn = append(options.FailOn, conditions...)
	}
	var runs []compare.Run
	short := runNames(names)
	for i, name := range names {
		r, err := readRun(name, stderr)
		if err != nil {
			return err
		}
		runs = append(runs, compare.Run{Name: short[i], Result: r})
	}
	c, err := compare.Compare(runs, options)
	var refused *compare.RefusedError
	if errors.As(err, &refused) {
		err = &exitError{exitUsage, err}
		if refused.Despite {
			err = withHint(err, "--anyway compares them all the same")
		}
	}
	if err != nil {
		return err
	}
	write := func(w io.Writer) error { return form.Write(w, c) }
	switch {
	case f.output != "":
		err = atomicfile.Write(f.output, write)
	case form.Name == formatScreen:
		err = write(stdout)
	default:
		err = write(forData(stdout))
	}
	if err != nil {
		return err
	}
	return f.outcome(c, form, stderr)
}

// outcome is the exit code that the conditions ask for. What the form does not show is said on stderr.
func (f *compareFlags) outcome(c *compare.Comparison, form *compare.Format, stderr io.Writer) error {
	shown := form.Name == formatScreen && f.output == ""
	failed := 0
	for i := range c.FailOn {
		check := &c.FailOn[i]
		if check.Outcome == slo.Fail {
			failed++
		}
		if !shown && check.Outcome != slo.Pass {
			fmt.Fprintf(stderr, "%s %s: %s\n", check.Outcome, check.Condition, c.TextOf(check))
		}
	}
	if failed > 0 {
		return &exitError{exitMissed, fmt.Errorf("%d of %d checks of --fail-on failed", failed, len(c.FailOn))}
	}
	return nil
}

// find is the form that was asked for.
func (f *compareFlags) find() (*compare.Format, error) {
	ending := strings.TrimPrefix(filepath.Ext(f.output), ".")
	all := compare.Formats()
	for i := range all {
		if f.format == all[i].Name || f.format == "" && f.output != "" && ending == all[i].Ending {
			return &all[i], nil
		}
	}
	if f.format != "" {
		return nil, usageError("--format %s: openloop compare writes screen, %s", f.format,
			strings.Join(compareFormats(), ", "))
	}
	if f.output != "" && ending != "" {
		return nil, usageError("%s: openloop compare does not know the ending; name the form with --format", f.output)
	}
	return &all[0], nil
}

// readRun reads a run with its requests: openloop's own, or what a report of GuideLLM's says in its words.
func readRun(name string, stderr io.Writer) (*report.Result, error) {
	file, own, err := readReport(name, stderr)
	if err != nil {
		return nil, err
	}
	if own == nil {
		own = guidellm.Import(file)
	}
	return own, nil
}

// runNames are the names of runs for people: the shortest ends of their paths that tell them apart.
func runNames(paths []string) []string {
	parts := make([][]string, len(paths))
	for i, path := range paths {
		path = filepath.ToSlash(filepath.Clean(path))
		path = strings.TrimSuffix(path, "/benchmarks.json")
		parts[i] = strings.Split(strings.TrimSuffix(path, ".json"), "/")
	}
	names := make([]string, len(paths))
	for depth := 1; ; depth++ {
		seen, longest := map[string]int{}, 0
		for i, p := range parts {
			names[i] = strings.Join(p[max(len(p)-depth, 0):], "/")
			seen[names[i]]++
			longest = max(longest, len(p))
		}
		if len(seen) == len(names) {
			return names
		}
		if depth >= longest { // one run several times
			for i, p := range parts {
				names[i] = fmt.Sprintf("%s (%d)", p[len(p)-1], i+1)
			}
			return names
		}
	}
}
