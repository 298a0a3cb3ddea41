package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/endpoint"
)

// printed is the configuration that is in force, as a file that configures the same: with where each value came from,
// and flags at their default as comments.
func (s *settings) printed() string {
	var b strings.Builder
	for _, g := range groupFlags(s.cmd) {
		title := false
		for _, f := range g.flags {
			if slices.Contains(notKeys, f.Name) {
				continue
			}
			if !title {
				fmt.Fprintf(&b, "\n# %s\n", g.title)
				title = true
			}
			s.writeKey(&b, f, true)
		}
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// notRepeated are the flags that say where this run's results went, and nothing of what was run.
var notRepeated = []string{"output-dir", "overwrite"}

// repeatHeading begins a file that openloop wrote: it may be replaced, one that someone wrote may not.
const repeatHeading = "# This repeats the run"

// repeated is a configuration that repeats the run, to be kept with its results.
func (s *settings) repeated(keyFrom string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s --config %s\n", repeatHeading, s.cmd.CommandPath(), configFile)
	fmt.Fprintf(&b, "# openloop %s\n", programVersion())
	b.WriteString("# The results of a repeat go to a folder of its own. Its prompts are others, so that none is " +
		"in the\n# server's prefix cache, unless seed or prompt-seed is set. Files are named as they were: from the\n" +
		"# same folder.\n")
	if keyFrom != "" {
		fmt.Fprintf(&b, "# The key came from %s.\n", keyFrom)
	}
	for _, g := range groupFlags(s.cmd) {
		for _, f := range g.flags {
			if s.from[f.Name] != "" && !slices.Contains(notKeys, f.Name) && !slices.Contains(notRepeated, f.Name) {
				s.writeKey(&b, f, false)
			}
		}
	}
	return b.String()
}

// writeKey writes a flag as a line or lines of a configuration, with where it came from where that is asked for.
// Credentials are left out.
func (s *settings) writeKey(b *strings.Builder, f *pflag.Flag, withFrom bool) {
	from := s.from[f.Name]
	if slices.Contains(secretFlags, f.Name) {
		if from != "" {
			fmt.Fprintf(b, "# %s: left out, from %s\n", f.Name, from)
		}
		return
	}
	value, hidden := configValue(f)
	var text strings.Builder
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(map[string]any{f.Name: value}); err != nil {
		return // texts and lists of them are always YAML
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	if from == "" {
		lines[0], from = "# "+lines[0], "default"
		for i := 1; i < len(lines); i++ {
			lines[i] = "# " + lines[i]
		}
	}
	var comments []string
	if withFrom {
		comments = append(comments, from)
	}
	if hidden {
		comments = append(comments, "credentials left out")
	}
	if len(comments) > 0 {
		lines[0] += "  # " + strings.Join(comments, "; ")
	}
	fmt.Fprintln(b, strings.Join(lines, "\n"))
}

// configValue is a flag's value as a configuration holds it. hidden says that a name and a password in it are left out.
func configValue(f *pflag.Flag) (value any, hidden bool) {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		all := &yaml.Node{Kind: yaml.SequenceNode}
		for _, text := range list.GetSlice() {
			shown, isHidden := withoutLogin(text)
			hidden = hidden || isHidden
			node := plainNode(shown)
			if node.Tag == "" {
				all.Style = yaml.FlowStyle // of numbers, on one line
			}
			all.Content = append(all.Content, node)
		}
		if len(all.Content) == 1 {
			return all.Content[0], hidden
		}
		return all, hidden
	}
	text := f.Value.String()
	if f.Value.Type() == "bool" {
		return text == "true", false
	}
	shown, hidden := withoutLogin(text)
	return plainNode(shown), hidden
}

// withoutLogin leaves name and password out of a text that is a URL.
func withoutLogin(text string) (shown string, hidden bool) {
	if !strings.Contains(text, "://") {
		return text, false
	}
	shown = endpoint.RedactUserinfo(text)
	name, url := splitTarget(text)
	address, login, err := endpoint.ParseAddress(url)
	if err == nil && !login.IsEmpty() && !strings.Contains(text, "?") {
		if shown = address.String(); name != "" {
			shown = name + "=" + shown
		}
	}
	return shown, shown != text
}

// plainNode is a text as YAML, a number without quotes: it is read as it stands.
func plainNode(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		node.Tag = "!!str"
	}
	return node
}
