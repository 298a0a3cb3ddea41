package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/openloop/openloop/internal/layout"
)

const helpAllFlag = "help-all"

// wantsAll says whether --help-all was given.
func wantsAll(cmd *cobra.Command) bool {
	f := cmd.Flags().Lookup(helpAllFlag)
	return f != nil && f.Changed && f.Value.String() == "true"
}

// flagGroup is a part of the help of commands with many flags.
type flagGroup struct {
	title string
	flags []string // in the order in which they stand
}

// flagGroups are all parts, for every command that has commonFlags. A command's flag that is in none of them is
// listed under a title of its own; a test sees to it that none is.
var flagGroups = []flagGroup{
	{"Endpoint", []string{"target", "target-weights", "model", "api-key-file", "api-key", "header", "ca-file",
		"client-cert", "client-key", "server-name", "insecure", "http2", "request-type", "connect-timeout",
		"request-timeout", "wait-ready", "server-metrics"}},
	{"Requests", []string{"prompt-tokens", "prompt-tokens-stdev", "prompt-tokens-min", "prompt-tokens-max",
		"output-tokens", "output-tokens-stdev", "output-tokens-min", "output-tokens-max", "prefix-tokens",
		"prefix-count", "turns", "turns-stdev", "turns-min", "turns-max", "turn-tokens", "turn-tokens-stdev",
		"turn-tokens-min", "turn-tokens-max", "sessions", "think-time", "history", "prompt-seed", "extra-body",
		"images", "image-size", "batch-size", "query-tokens",
		"no-ignore-eos", "tokenizer", "mix", "data", "data-column-mapper",
		"data-samples", "data-shuffle", "save-workload"}},
	{"Load", []string{"rate", "profile", "arrival", "ramp", "stages", "trace", "trace-speed", "trace-time-unit",
		"trace-block-tokens", "max-seconds", "max-requests", "warmup", "cooldown", "rampup", "grace",
		"max-concurrency", "retry", "max-errors", "max-error-rate",
		"max-global-error-rate", "seed"}},
	{"Several machines", []string{"workers", "listen", "join", "worker-token-file", "worker-cert", "worker-key",
		"worker-ca", "join-timeout"}},
	{"Objectives and gates", []string{"slo", "gate", "confidence"}},
	{"Sweep and search", []string{"sweep-size", "fast", "no-search", "precision", "budget", "max-stages",
		"max-seconds-per-stage", "early-stop"}},
	{"Results", []string{"output-dir", "overwrite", "outputs", "records", "hlog", "log-report", "sample-requests",
		"label", "cost",
		"console-style", "wide", "json", "allow-invalid"}},
	{"Progress", []string{"quiet", "progress", "no-color", "metrics-addr"}},
	{"Configuration", []string{"config", "print-config", "help-all", "help"}},
}

const commonKey = "common flags"

// commonFlags makes a command one with many flags, of which its help lists these alone.
func commonFlags(cmd *cobra.Command, names ...string) {
	annotate(cmd, commonKey, strings.Join(names, " "))
}

// The help fits into the least width that a terminal has, and is no wider than can be read well.
const (
	leastHelpWidth = 80
	mostHelpWidth  = 110
)

// helpWidth is the width that the help may have where it goes.
func helpWidth(w io.Writer) int {
	f := file(w)
	if f == nil {
		return leastHelpWidth
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return leastHelpWidth
	}
	return min(max(width, leastHelpWidth), mostHelpWidth)
}

// printHelp prints the help of a command: its most used flags, or all of them.
func printHelp(w io.Writer, cmd *cobra.Command, all bool) {
	var b strings.Builder
	width := helpWidth(w)
	text := cmd.Long
	if text == "" {
		text = cmd.CommandPath() + ": " + cmd.Short + "."
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintln(&b, strings.Join(wrap(line, width), "\n"))
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.Trim(cmd.Example, "\n"))
	}
	fmt.Fprintf(&b, "\nusage: %s\n", usageLine(cmd))
	writeCommands(&b, cmd, width)
	writeFlags(&b, cmd, all, width)
	_, _ = io.WriteString(w, b.String()) // there is nobody left to tell
}

// usageLine is a command with what follows it.
func usageLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() && !cmd.Runnable() || !cmd.HasParent() {
		return cmd.CommandPath() + " COMMAND [flags]"
	}
	line := cmd.UseLine()
	if !strings.Contains(line, "[flags]") {
		line += " [flags]"
	}
	return line
}

// writeCommands lists the commands under a command, in their groups.
func writeCommands(b *strings.Builder, cmd *cobra.Command, width int) {
	shown := func(c *cobra.Command) bool { return !c.Hidden && c.Deprecated == "" }
	longest := 0
	for _, c := range cmd.Commands() {
		if shown(c) {
			longest = max(longest, len(c.Name()))
		}
	}
	groups := cmd.Groups()
	if len(groups) == 0 && longest > 0 {
		groups = []*cobra.Group{{Title: "Commands"}}
	}
	for _, g := range groups {
		fmt.Fprintf(b, "\n%s:\n", g.Title)
		for _, c := range cmd.Commands() {
			if shown(c) && c.GroupID == g.ID {
				writeRow(b, "  "+c.Name(), lowerFirst(c.Short), longest+4, width)
			}
		}
	}
}

// lowerFirst begins a sentence of cobra's with a small letter, as openloop's are.
func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// writeFlags lists the flags of a command.
func writeFlags(b *strings.Builder, cmd *cobra.Command, all bool, width int) {
	common, many := cmd.Annotations[commonKey]
	switch {
	case many && !all:
		n := 0
		visitFlags(cmd, func(*pflag.Flag) { n++ })
		fmt.Fprintf(b, "\nThe most used flags (--help-all lists all %d):\n", n)
		writeFlagList(b, findFlags(cmd, strings.Fields(common)), width)
	case many:
		for _, g := range groupFlags(cmd) {
			fmt.Fprintf(b, "\n%s:\n", g.title)
			writeFlagList(b, g.flags, width)
		}
	default:
		var flags []*pflag.Flag
		visitFlags(cmd, func(f *pflag.Flag) {
			if f.Name != helpAllFlag {
				flags = append(flags, f)
			}
		})
		fmt.Fprint(b, "\nFlags:\n")
		writeFlagList(b, flags, width)
	}
	if !cmd.HasParent() {
		fmt.Fprint(b, "\n\"openloop COMMAND --help\" lists the flags of a command.\n")
	}
}

// listedGroup is a group with the flags of a command that are in it.
type listedGroup struct {
	title string
	flags []*pflag.Flag
}

// groupFlags puts the flags of a command into their groups.
func groupFlags(cmd *cobra.Command) []listedGroup {
	var groups []listedGroup
	grouped := map[string]bool{}
	for _, g := range flagGroups {
		if flags := findFlags(cmd, g.flags); len(flags) > 0 {
			groups = append(groups, listedGroup{g.title, flags})
		}
		for _, name := range g.flags {
			grouped[name] = true
		}
	}
	var rest []*pflag.Flag
	visitFlags(cmd, func(f *pflag.Flag) {
		if !grouped[f.Name] {
			rest = append(rest, f)
		}
	})
	if len(rest) > 0 {
		groups = append(groups, listedGroup{"Others", rest})
	}
	return groups
}

// visitFlags visits the flags of a command that its help lists.
func visitFlags(cmd *cobra.Command, visit func(*pflag.Flag)) {
	cmd.InitDefaultHelpFlag()
	var seen []string
	each := func(f *pflag.Flag) {
		if !f.Hidden && !slices.Contains(seen, f.Name) {
			seen = append(seen, f.Name)
			visit(f)
		}
	}
	cmd.LocalFlags().VisitAll(each)
	cmd.InheritedFlags().VisitAll(each)
}

func findFlags(cmd *cobra.Command, names []string) []*pflag.Flag {
	byName := map[string]*pflag.Flag{}
	visitFlags(cmd, func(f *pflag.Flag) { byName[f.Name] = f })
	var flags []*pflag.Flag
	for _, name := range names {
		if f := byName[name]; f != nil {
			flags = append(flags, f)
		}
	}
	return flags
}

// mostLeft is how wide the column of names may be; a longer name has its text on the next line.
const mostLeft = 28

func writeFlagList(b *strings.Builder, flags []*pflag.Flag, width int) {
	left := 0
	for _, f := range flags {
		if n := utf8.RuneCountInString(flagName(f)); n+2 <= mostLeft {
			left = max(left, n+2)
		}
	}
	for _, f := range flags {
		writeRow(b, flagName(f), flagText(f), left, width)
	}
}

// flagName is a flag with the name of its value.
func flagName(f *pflag.Flag) string {
	text := "      --" + f.Name
	if f.Shorthand != "" {
		text = "  -" + f.Shorthand + ", --" + f.Name
	}
	if value := valueName(f); value != "" {
		text += " " + value
	}
	return text
}

// valueNames are those of the types of pflag whose flags name none.
var valueNames = map[string]string{
	"bool": "", "string": "TEXT", "stringArray": "TEXT", "stringSlice": "LIST", "int": "N", "int64": "N",
	"float64": "N", "float64Slice": "N,…", "duration": "TIME",
}

// splitUsage takes apart "`NAME`: what the flag does" and "write to this `FILE`": the name of the value, "" for none,
// and the text.
func splitUsage(f *pflag.Flag) (name, text string) {
	if head, rest, ok := strings.Cut(f.Usage, "`: "); ok && strings.HasPrefix(head, "`") {
		return head[1:], rest
	}
	if strings.Contains(f.Usage, "`") {
		return pflag.UnquoteUsage(f)
	}
	return "", f.Usage
}

// valueName is what a flag's value is called: the word in back quotes in its text, else one for its type.
func valueName(f *pflag.Flag) string {
	if name, _ := splitUsage(f); name != "" {
		return name
	}
	if known, ok := valueNames[f.Value.Type()]; ok {
		return known
	}
	return f.Value.Type()
}

// flagText is what a flag does, and what it is where it is not given.
func flagText(f *pflag.Flag) string {
	_, text := splitUsage(f)
	value := strings.Trim(f.DefValue, "[]")
	if value == "" || value == "0" || value == "false" || value == "0s" || strings.Contains(text, "(default") {
		return text
	}
	return text + " (default " + value + ")"
}

// writeRow writes a name and its text beside it, or below it where the name is too long.
func writeRow(b *strings.Builder, name, text string, left, width int) {
	b.WriteString(name)
	n := utf8.RuneCountInString(name)
	if n+2 > left {
		b.WriteString("\n")
		n = 0
	}
	for i, line := range wrap(text, width-left) {
		if i > 0 {
			n = 0
		}
		fmt.Fprintf(b, "%s%s\n", strings.Repeat(" ", left-n), line)
	}
}

// wrap breaks a text into lines; one that is set in from the left stays as it is.
func wrap(text string, width int) []string {
	if strings.HasPrefix(text, " ") {
		return []string{text}
	}
	return layout.Wrap("", "", text, width)
}
