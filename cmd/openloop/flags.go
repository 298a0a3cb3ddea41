package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
)

// formerFlags are the names that flags had, and that scripts may still use.
var formerFlags = map[string]string{
	"max-legs":            "max-stages",
	"max-seconds-per-leg": "max-seconds-per-stage",
}

// onceFlags must not be given twice: the last one would win without a word, and it decides who is hit by load.
var onceFlags = []string{"target"}

func newFlagSet(name string, stderr io.Writer, intro string) *pflag.FlagSet {
	set := pflag.NewFlagSet(name, pflag.ContinueOnError)
	set.SortFlags = false
	set.SetOutput(stderr)
	set.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if now, ok := formerFlags[name]; ok {
			name = now
		}
		return pflag.NormalizedName(name)
	})
	set.Usage = func() {
		fmt.Fprintf(set.Output(), "%s\n\nflags:\n%s", intro, set.FlagUsagesWrapped(110))
	}
	return set
}

// parse parses the arguments of a command that takes flags alone. Help goes to stdout.
func parse(set *pflag.FlagSet, args []string, stdout io.Writer) error {
	rest, err := parseFiles(set, args, stdout)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		// The shell makes two arguments of --header X-Key: value, and the second one is a secret.
		for _, name := range []string{"header", "api-key"} {
			if flag := set.Lookup(name); flag != nil && flag.Changed {
				return withHint(usageError(
					"unexpected argument beside --%s, not shown since it may be a part of it", name),
					"put the value into quotes: --header 'Name: value'")
			}
		}
		return usageError("unexpected argument %q: every option of \"openloop %s\" is a flag",
			endpoint.RedactUserinfo(rest[0]), set.Name())
	}
	return checkOnce(set, args)
}

// parseFiles parses the arguments of a command that takes file names beside flags, and returns the names. Help goes to
// stdout.
func parseFiles(set *pflag.FlagSet, args []string, stdout io.Writer) ([]string, error) {
	usage := set.Usage
	set.Usage = func() {}
	err := set.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		set.SetOutput(stdout)
		usage()
		return nil, pflag.ErrHelp
	}
	if err != nil {
		// Of -api-key=VALUE, with one dash, pflag repeats the value.
		text := err.Error()
		if strings.HasPrefix(text, "unknown shorthand") {
			text, _, _ = strings.Cut(text, "=")
		}
		return nil, withHint(usageError("%s", text),
			fmt.Sprintf("%q lists the flags", "openloop "+set.Name()+" --help"))
	}
	return set.Args(), nil
}

// checkOnce refuses a second value of the flags that must have one.
func checkOnce(set *pflag.FlagSet, args []string) error {
	for _, name := range onceFlags {
		flag := set.Lookup(name)
		if flag == nil || !flag.Changed {
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
