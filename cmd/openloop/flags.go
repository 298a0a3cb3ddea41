package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
)

// formerFlags are the names that flags had, and that scripts may still use.
var formerFlags = map[string]string{
	"max-legs":            "max-stages",
	"max-seconds-per-leg": "max-seconds-per-stage",
}

// presentName is the name that a flag has today.
func presentName(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	if now, ok := formerFlags[name]; ok {
		name = now
	}
	return pflag.NormalizedName(name)
}

// onceFlags must not be given twice: the last one would win without a word, and it decides who is hit by load.
var onceFlags = []string{"target"}

// secretFlags are those whose values must not be shown.
var secretFlags = []string{"api-key", "header"}

// checkOnce refuses a second value of the flags that must have one.
func checkOnce(set *pflag.FlagSet, args []string) error {
	for _, name := range onceFlags {
		flag := set.Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		if _, several := flag.Value.(pflag.SliceValue); several {
			continue
		}
		count := 0
		for _, arg := range args {
			if arg == "--" {
				break
			}
			if arg == "--"+name || strings.HasPrefix(arg, "--"+name+"=") {
				count++
			}
		}
		if count > 1 {
			return usageError("--%s was given %d times: a run has one", name, count)
		}
	}
	return nil
}

// urlArgument is the check of a command that takes the target as its argument.
func urlArgument(cmd *cobra.Command, args []string) error {
	for i, arg := range args {
		if i > 0 || !isAddress(arg) {
			return unexpectedArgument(cmd, arg)
		}
	}
	if len(args) > 0 && cmd.Flags().Changed("target") {
		return usageError("two targets: one as an argument, and one as --target; a run has one")
	}
	return nil
}

// isAddress says whether an argument is meant as an endpoint, and not as the value of a flag that went astray.
func isAddress(arg string) bool {
	host, port, ok := strings.Cut(arg, ":")
	return strings.Contains(arg, "://") || host+":" == simScheme ||
		ok && host != "" && port != "" && port[0] >= '0' && port[0] <= '9'
}

// unexpectedArgument is an error about an argument that is not a flag.
func unexpectedArgument(cmd *cobra.Command, arg string) error {
	// The shell makes two arguments of --header X-Key: value, and the second one is a secret.
	for _, name := range secretFlags {
		if flag := cmd.Flags().Lookup(name); flag != nil && flag.Changed {
			return withHint(usageError(
				"unexpected argument beside --%s, not shown since it may be a part of it", name),
				"put the value into quotes: --header 'Name: value'")
		}
	}
	return withHint(usageError("unexpected argument %q", endpoint.RedactUserinfo(arg)), helpHint(cmd))
}

// helpHint says where the flags of a command are listed.
func helpHint(cmd *cobra.Command) string {
	return fmt.Sprintf("%q lists the flags", cmd.CommandPath()+" --help")
}

// flagError turns what pflag says about a flag into an error of usage, which shows no secret.
func (p *program) flagError(cmd *cobra.Command, err error) error {
	if !cmd.HasParent() {
		return withHint(usageError("%s", shownFlagError(err)), helpHint(cmd))
	}
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		return withHint(usageError("%s", shownFlagError(err)), unknownFlagHint(cmd, unknown.GetSpecifiedName()))
	}
	return withHint(usageError("%s", shownFlagError(err)), helpHint(cmd))
}

// shownFlagError is the text of pflag's error, without what Go's parsers say.
func shownFlagError(err error) string {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		flag := value.GetFlag()
		given := fmt.Sprintf("--%s %q: ", flag.Name, endpoint.RedactUserinfo(value.GetValue()))
		switch flag.Value.Type() {
		case "int", "int64":
			return given + "it must be a whole number"
		case "float64":
			return given + "it must be a number"
		case "bool":
			return given + "it is on where it is given alone, and off with =false"
		}
		return given + value.Unwrap().Error()
	}
	text := err.Error()
	if strings.HasPrefix(text, "unknown shorthand") { // of -api-key=VALUE, it would repeat the value
		text, _, _ = strings.Cut(text, "=")
	}
	return text
}

// peerFlags are what other load generators call what openloop has too, and how openloop says it.
var peerFlags = map[string]string{
	"url":                  "--target URL, or the URL as an argument",
	"base-url":             "--target URL, or the URL as an argument",
	"u":                    "--target URL, or the URL as an argument",
	"endpoint":             "--target URL, or the URL as an argument",
	"host":                 "--target URL, or the URL as an argument",
	"m":                    "--model",
	"duration":             "--max-seconds",
	"d":                    "--max-seconds",
	"time":                 "--max-seconds",
	"benchmark-duration":   "--max-seconds",
	"concurrency":          "openloop run --profile concurrent --rate N",
	"c":                    "openloop run --profile concurrent --rate N",
	"vus":                  "openloop run --profile concurrent --rate N",
	"users":                "openloop run --profile concurrent --rate N",
	"request-rate":         "openloop run --rate",
	"qps":                  "openloop run --rate",
	"rps":                  "openloop run --rate",
	"rate":                 "openloop run --rate; a sweep finds its rates itself",
	"profile":              "openloop run --profile; a sweep has its own",
	"burstiness":           "--arrival gamma:CV, where CV is 1/√burstiness",
	"num-prompts":          "--max-requests",
	"num-requests":         "--max-requests",
	"request-count":        "--max-requests",
	"n":                    "--max-requests",
	"max-num-requests":     "--max-requests",
	"input-len":            "--prompt-tokens",
	"random-input-len":     "--prompt-tokens",
	"isl":                  "--prompt-tokens",
	"prompt-len":           "--prompt-tokens",
	"output-len":           "--output-tokens",
	"random-output-len":    "--output-tokens",
	"osl":                  "--output-tokens",
	"max-tokens":           "--output-tokens",
	"random-prefix-len":    "--prefix-tokens",
	"prefix-len":           "--prefix-tokens",
	"goodput":              "--slo",
	"threshold":            "--slo and --gate",
	"dataset":              "--data",
	"dataset-path":         "--data",
	"dataset-name":         "--data",
	"input-file":           "--data",
	"ramp-up":              "--rampup",
	"num-warmups":          "--warmup",
	"warmup-request-count": "--warmup",
	"random-seed":          "--seed",
	"endpoint-type":        "--request-type",
	"backend":              "--request-type",
	"result-dir":           "--output-dir",
	"artifact-dir":         "--output-dir",
	"save-result":          "nothing: results are always saved; --output-dir says where",
	"result-filename":      "--outputs FILE",
	"format":               "--outputs; openloop report --format converts afterwards",
	"timeout":              "--request-timeout",
	"token":                "--api-key-file or OPENAI_API_KEY",
	"api-token":            "--api-key-file or OPENAI_API_KEY",
	"k":                    "--insecure",
	"tag":                  "--label",
	"metadata":             "--label",
	"verbose":              "nothing: --quiet is for less",
}

// unknownFlagHint says which flag was meant.
func unknownFlagHint(cmd *cobra.Command, name string) string {
	if peer, ok := peerFlags[name]; ok {
		return "here it is " + peer
	}
	var names []string
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	cmd.Flags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean --%s? %s", near, helpHint(cmd))
	}
	for _, other := range cmd.Root().Commands() {
		if other != cmd && !other.Hidden && other.Flags().Lookup(name) != nil {
			return fmt.Sprintf("openloop %s has --%s; %s", other.Name(), name, helpHint(cmd))
		}
	}
	return helpHint(cmd)
}
