package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm/cli"
)

// guideLLMName is the command for GuideLLM's newer command line, and the program's other name: a link of that name in
// the place of GuideLLM's program has its commands.
const guideLLMName = "guidellm"

// setupComplete is what GuideLLM prints before the load. llm-d's harness looks for it, and shows what follows.
const setupComplete = "✔ Setup complete, starting benchmarks..."

// commandLine is what the program was asked for: argv with openloop's own commands for what is spelled as GuideLLM's.
func commandLine(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	args := argv[1:]
	isLink := strings.TrimSuffix(filepath.Base(argv[0]), ".exe") == guideLLMName
	switch {
	case isLink && len(args) > 0 && args[0] == "benchmark":
		return args // of GuideLLM 0.5.0
	case isLink:
		args = append([]string{guideLLMName}, args...)
	case len(args) > 0 && args[0] == "run" && asGuideLLM(args[1:]):
		args = append([]string{guideLLMName}, args...)
	}
	if len(args) > 1 && args[0] == guideLLMName && args[1] == "run" {
		args = cli.JoinOverrides(args)
	}
	return args
}

// asGuideLLM says whether the flags of "run" are those of "guidellm run": one that openloop's own has not, or
// --profile kind=….
func asGuideLLM(args []string) bool {
	for i, arg := range args {
		name, value, joined := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		switch {
		case arg == "--":
			return false
		case !strings.HasPrefix(arg, "--"):
		case slices.Contains(cli.RunFields, name):
			return true
		case name == "profile" && !joined && i+1 < len(args):
			value = args[i+1]
			fallthrough
		case name == "profile":
			if value = strings.TrimSpace(value); strings.HasPrefix(value, "{") || strings.Contains(value, "kind=") {
				return true
			}
		}
	}
	return false
}

// newGuideLLM is "openloop guidellm run", which "openloop run" leads to where its flags are GuideLLM's.
func newGuideLLM(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     guideLLMName,
		Short:   `the command "guidellm run" of 0.8.1: openloop run --backend kind=… --profile kind=…`,
		Args:    func(cmd *cobra.Command, args []string) error { return unknownCommand(cmd, args) },
		Version: programVersion(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			printHelp(p.stderr, cmd, false)
			return usageError("no command given")
		},
	}
	cmd.SetVersionTemplate("openloop {{.Version}}\n")
	run := &cobra.Command{
		Use:   "run",
		Short: `run a benchmark: the flags and the scenarios of "guidellm run" 0.8.1, and its GUIDELLM__… variables`,
		Example: `  openloop run --backend kind=openai_http,target=http://localhost:8000 \
    --profile kind=constant,rate=5 --constraint kind=max_requests,count=50 \
    --data kind=synthetic_text,prompt_tokens=256,output_tokens=128 \
    --output kind=json,path=results.json
  openloop run --scenario scenario.yaml --output kind=json,path=results.json`,
		Annotations: endsWith(endingStage),
	}
	f := addGuideLLMFlags(run.Flags(), p)
	run.RunE = func(cmd *cobra.Command, _ []string) error { return runScenario(cmd.Context(), f, p) }
	cmd.AddCommand(run)
	return cmd
}

// addGuideLLMFlags adds the flags of "guidellm run": GuideLLM's, then openloop's own.
func addGuideLLMFlags(set *pflag.FlagSet, p *program) *specFlags {
	cli.AddRunFlags(set)
	return addOwnFlags(set, p)
}

// setByEnvironment gives openloop's own flags the values of their variables, OPENLOOP_ALLOW_INVALID and so on: who
// calls the program as GuideLLM may be a script that knows no flag of openloop's.
func setByEnvironment(set *pflag.FlagSet) error {
	for _, name := range ownFlags {
		variable := variableOf(name)
		value := os.Getenv(variable)
		if value == "" || set.Changed(name) {
			continue
		}
		if err := set.Set(name, value); err != nil { // the error may show a key
			return usageError("%s: what it is given is not understood", variable)
		}
	}
	return nil
}

// runScenario is "openloop guidellm run".
func runScenario(ctx context.Context, f *specFlags, p *program) error {
	if err := setByEnvironment(f.set); err != nil {
		return err
	}
	base, err := f.base()
	if err != nil {
		return err
	}
	args := slices.Clone(p.args)
	if i := slices.Index(args, "run"); i >= 0 {
		args = args[i+1:]
	}
	c, err := cli.ParseRun(f.set, args, os.Environ(), base)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	key, err := f.key()
	if err != nil {
		return err
	}
	c.Spec.Endpoint.Authorize(key)
	if err := unlessDone(ctx, c.CountRecords); err != nil {
		return refusal(ctx, err)
	}
	o := runOptions{args: &c.Args, scenario: c.Scenario, observe: c.Observe(), overSaturation: c.OverSaturation}
	if !c.NoConsole {
		for _, note := range c.Notes {
			fmt.Fprintf(p.stderr, "note: %s\n", note)
		}
		o.ready = setupComplete
	}
	return runSpec(ctx, c.Spec, o, p.stdout, p.stderr)
}
