package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/parity"
	"github.com/openloop/openloop/internal/atomicfile"
)

func newParity(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "parity GUIDELLM.json OPENLOOP.json",
		Short: "lay a GuideLLM report and an openloop report of the same load side by side",
		Long: `openloop parity lays two reports of one load side by side: every value with its difference, what is ` +
			`tolerated and why. It exits 0 if all are within their tolerances, 3 if not, and 2 if the two can't be ` +
			`compared.`,
		Example: `  openloop parity guidellm.json openloop.json --markdown parity.md`,
		Args:    cobra.ArbitraryArgs,
	}
	markdown := cmd.Flags().String("markdown", "", "also write the table to this `FILE`, as Markdown")
	cmd.RunE = func(_ *cobra.Command, files []string) error { return runParity(files, *markdown, p.stdout, p.stderr) }
	return cmd
}

func runParity(files []string, markdown string, stdout, stderr io.Writer) error {
	if len(files) != 2 {
		return usageError("openloop parity takes two reports, GuideLLM's and openloop's; %d were named", len(files))
	}
	var reports [2]*guidellm.Report
	var err error
	for i, name := range files {
		if reports[i], err = readFile(name, stderr); err != nil {
			return err
		}
		writeUnknown(stderr, name, reports[i])
	}
	switch own := [2]bool{guidellm.IsOpenLoop(reports[0]), guidellm.IsOpenLoop(reports[1])}; own {
	case [2]bool{true, true}:
		return usageError("two openloop reports: parity compares GuideLLM's with openloop's; " +
			"openloop compare is for two of openloop's")
	case [2]bool{false, false}:
		return usageError("neither report is openloop's: parity compares GuideLLM's with openloop's")
	case [2]bool{true, false}:
		fmt.Fprintf(stderr, "%s is openloop's report and %s GuideLLM's: taken the other way round\n",
			files[0], files[1])
		reports[0], reports[1] = reports[1], reports[0]
	}
	c, err := parity.Compare(reports[0], reports[1])
	if err != nil {
		return usageError("%w", err)
	}
	if err := parity.WriteConsole(stdout, c); err != nil {
		return err
	}
	if markdown != "" {
		write := func(w io.Writer) error { return parity.WriteMarkdown(w, c) }
		if err := atomicfile.Write(markdown, write); err != nil {
			return err
		}
	}
	if !c.Agrees() {
		return &exitError{exitMissed, fmt.Errorf("%s", c.Sentence())}
	}
	return nil
}
