package main

import (
	"context"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/tokens"
)

// modelsPatience is how long a shell that completes --model waits for an endpoint.
const modelsPatience = 2 * time.Second

// flagValues are the values of flags that are one of a few, for completion.
var flagValues = map[string][]string{
	"profile":        {"synchronous", "concurrent", "throughput", "constant", "poisson"},
	"arrival":        {"constant", "poisson", "gamma:", "burst:"},
	"request-type":   tokens.FormatNames(),
	"console-style":  {"openloop", "guidellm"},
	"progress":       {"auto", "screen", "plain", "json"},
	"server-metrics": {"auto", "off", "http://"},
	"slo":            {"ttft:p95<", "tpot:p95<", "itl:p99<", "e2e:p95<", "errors<"},
	"gate":           {"rate>=", "slo@"},
}

// fileFlags are the flags whose value is a file, by the endings that it may have; none for any.
var fileFlags = map[string][]string{
	"config": {"yaml", "yml"}, "api-key-file": nil, "ca-file": {"pem", "crt"},
	"client-cert": {"pem", "crt"}, "client-key": {"pem", "key"},
	"data": {"jsonl", "json", "csv", "txt", "parquet", "gz"}, "trace": {"jsonl", "csv"}, "save-workload": {"jsonl"},
}

// completeFlags says what the values of a command's flags may be.
func (p *program) completeFlags(cmd *cobra.Command) {
	register := func(flag string, complete cobra.CompletionFunc) {
		if cmd.Flags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, complete) // of a flag that is there, once
		}
	}
	for flag, values := range flagValues {
		register(flag, cobra.FixedCompletions(values, openEnded(values)))
	}
	for flag, endings := range fileFlags {
		register(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			if endings == nil {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return endings, cobra.ShellCompDirectiveFilterFileExt
		})
	}
	register("output-dir", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	})
	register("target", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return targets(), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	register("engine", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return llmsim.Presets(), cobra.ShellCompDirectiveNoFileComp
	})
	register("outputs", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return formNames(true), cobra.ShellCompDirectiveNoFileComp
	})
	if cmd.Name() == "report" {
		register("format", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return formNames(false), cobra.ShellCompDirectiveNoFileComp
		})
	}
	if f := p.specFlags[cmd.Flags()]; f != nil {
		register("model", func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.completeModels(cmd, f, args), cobra.ShellCompDirectiveNoFileComp
		})
		cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return targets(), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
	}
}

// openEnded is what a shell does after one of the values: something follows one that ends with a sign.
func openEnded(values []string) cobra.ShellCompDirective {
	for _, v := range values {
		if !unicode.IsLetter(rune(v[len(v)-1])) {
			return cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
	}
	return cobra.ShellCompDirectiveNoFileComp
}

// targets are the beginnings of targets: the simulated engines and the schemes of URLs.
func targets() []string {
	all := []string{"http://", "https://"}
	for _, preset := range llmsim.Presets() {
		all = append(all, simScheme+preset)
	}
	return all
}

// completeModels asks the endpoint that was given so far, by whatever means, for its models.
func (p *program) completeModels(cmd *cobra.Command, f *specFlags, args []string) []string {
	p.stderr = io.Discard // a shell that completes has no room for warnings
	if p.configure(cmd, args) != nil {
		return nil
	}
	if f.chooseTarget(nil); f.target == "" {
		return nil
	}
	if sim, ok := strings.CutPrefix(f.target, simScheme); ok {
		engine, err := llmsim.ParseSpec(sim)
		if err != nil {
			return nil
		}
		return []string{engine.Model}
	}
	config, err := f.endpoint()
	if err != nil {
		return nil
	}
	at, err := endpoint.Open(config)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), modelsPatience)
	defer cancel()
	models, err := at.Models(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, name := range models {
		if !strings.ContainsFunc(name, unicode.IsControl) {
			names = append(names, name)
		}
	}
	return names
}
