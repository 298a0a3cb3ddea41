package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/internal/atomicfile"
	"github.com/openloop/openloop/peer"
)

// auditFlags are the flags of openloop audit.
type auditFlags struct {
	engineFlags
	report, format string
	output         []string
	quiet          bool
}

func newAudit(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit [flags] -- COMMAND…",
		Short: "run another load generator against the simulated engine; print what it reports beside what happened",
		Long: `openloop audit starts the simulated engine, runs the command against it, reads the report that it ` +
			`wrote (GuideLLM's, that of vllm bench serve or of vllm-bench, AIPerf's, or openloop's), and prints what ` +
			`it claims beside what the server saw.` + "\n\n" +
			`In the command, {target} becomes the server's base URL without /v1, {host} and {port} its parts, ` +
			`{model} the model's name, {dir} an empty folder for its report. OPENAI_BASE_URL and OPENAI_API_KEY are ` +
			`set where they are not.`,
		Example: `  openloop audit -- guidellm benchmark run --target {target} --rate 50 \
    --profile constant --data prompt_tokens=256,output_tokens=128 \
    --max-seconds 20 --output-dir {dir} --outputs report.json
  openloop audit -o audit.html -- vllm bench serve --base-url {target} \
    --model {model} --tokenizer Qwen/Qwen2.5-0.5B --dataset-name random \
    --request-rate 50 --num-prompts 1000 --save-result --result-dir {dir}
  openloop audit -- openloop run {target} --rate 50 --max-seconds 20 \
    --output-dir {dir}/run`,
		Args:        cobra.ArbitraryArgs,
		Annotations: endsWith("ending the command; once more to quit at once"),
	}
	var f auditFlags
	f.add(cmd.Flags())
	cmd.Flags().SetInterspersed(false) // the command's own flags are not openloop's
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args, p.stdout, p.stderr) }
	return cmd
}

func (f *auditFlags) add(set *pflag.FlagSet) {
	f.engineFlags.add(set, "fixed?ttft=30ms&itl=5ms",
		`what is simulated, as of "openloop simulate": by default fixed times at any load, so that every error is `+
			"the client's")
	set.StringVar(&f.report, "report", "",
		"file or pattern of the command's report (default: looked for among the files that it wrote in {dir}, in the "+
			"working directory, and where its arguments lead to)")
	set.StringVar(&f.format, "format", "", "of stdout: "+strings.Join(peer.Formats(), ", ")+" (default: screen)")
	set.StringArrayVarP(&f.output, "output", "o", nil,
		"file to write too, in the format of its ending: .html, .md, .json, .txt; may be given more than once")
	set.BoolVarP(&f.quiet, "quiet", "q", false, "don't show what the command prints")
}

// options are what is to be audited. It refuses what would only fail after the load.
func (f *auditFlags) options(command []string) (o peer.Options, err error) {
	if len(command) == 0 {
		return o, withHint(usageError("no command given"), "openloop audit -- COMMAND…, with {target} in it")
	}
	if f.format == "" {
		f.format = "screen"
	}
	if err := (&peer.Audit{}).Write(io.Discard, f.format); err != nil {
		return o, usageError("--format: %w", err)
	}
	for _, name := range f.output {
		if peer.FormatOf(name) == "" {
			return o, usageError("--output %s: the ending says no format: .html, .md, .json or .txt", name)
		}
	}
	config, err := f.config()
	if err != nil {
		return o, err
	}
	return peer.Options{Command: command, Engine: config, Report: f.report, Prefix: "  | "}, nil
}

func (f *auditFlags) run(ctx context.Context, command []string, stdout, stderr io.Writer) error {
	o, err := f.options(command)
	if err != nil {
		return err
	}
	if o.Dir, err = os.MkdirTemp("", "openloop-audit-"); err != nil {
		return err
	}
	if !f.quiet {
		o.Output = stderr
	}
	audit, err := peer.Run(ctx, o)
	if errors.Is(err, peer.ErrNotStarted) {
		_ = os.Remove(o.Dir) // nothing was written there
		return withHint(&exitError{exitUsage, err}, "is it installed, and in the PATH?")
	}
	if audit == nil {
		return err
	}
	f.keepOrRemove(audit, o.Dir, stderr)
	failed := audit.Process.Exit != 0 && err == nil
	if failed && f.quiet {
		for _, line := range audit.LastLines {
			fmt.Fprintln(stderr, o.Prefix+line)
		}
	}
	if !f.quiet {
		fmt.Fprintln(stderr)
	}
	if werr := f.write(audit, stdout); werr != nil {
		return errors.Join(err, werr)
	}
	if failed {
		return fmt.Errorf("the command failed: exit code %d", audit.Process.Exit)
	}
	return err
}

// keepOrRemove leaves the folder that {dir} stands for where the command used it.
func (f *auditFlags) keepOrRemove(audit *peer.Audit, dir string, stderr io.Writer) {
	if os.Remove(dir) != nil && audit.Report == "" {
		fmt.Fprintf(stderr, "openloop: what the command wrote is in %s\n", dir)
	}
}

func (f *auditFlags) write(audit *peer.Audit, stdout io.Writer) error {
	for _, name := range f.output {
		err := atomicfile.Write(name, func(w io.Writer) error { return audit.Write(w, peer.FormatOf(name)) })
		if err != nil {
			return err
		}
	}
	if f.format != "screen" {
		stdout = forData(stdout)
	}
	return audit.Write(stdout, f.format)
}
