package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// FuzzConfig: any text is a configuration of texts and lists of texts, each key on a line of it, or an error that names
// a line and shows no value.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{
		"target: sim:fast\nslo: [a, b]", "a: KEY", "api_key: KEY\napi-key: KEY", "label: {a: b}", "- a",
		"a: &x b\nc: *x", "a:", "a: ~", "a: [b, [KEY]]", "a: b: KEY", "a: |\n  KEY\n  b", "<<: {a: b}", "? [a]\n: b",
		"---\na: b\n---\nc: d",
		"\"a\\nb\": c", "a.b: KEY", "", "# only", "a: !!binary KEY", "{", "\t", "max_legs: 3",
	} {
		f.Add(s)
	}
	const canary = "sk-canary-0123456789"
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(text, "KEY", canary)
		y := &yamlParser{lines: map[string]int{}}
		values, err := y.Unmarshal([]byte(text))
		if err != nil {
			if strings.Contains(err.Error(), canary) && !slices.ContainsFunc(y.keys, func(k string) bool {
				return strings.Contains(k, canary)
			}) && !strings.Contains(text, canary+":") {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		for key, value := range values {
			if n := y.lines[key]; n < 1 || n > 1+strings.Count(text, "\n")+strings.Count(text, "\r")+
				strings.Count(text, "\u2028")+strings.Count(text, "\u2029")+strings.Count(text, "\u0085") {
				t.Fatalf("%q: %s is on line %d", text, key, n)
			}
			switch value.(type) {
			case string, []string:
			default:
				t.Fatalf("%q: %s is a %T", text, key, value)
			}
		}
	})
}

// Every flag of the commands that measure stands in a group of the help, and in no more than one.
func TestEveryFlagIsInAGroup(t *testing.T) {
	root := (&program{stdout: io.Discard, stderr: io.Discard}).root()
	grouped := map[string]string{}
	for _, g := range flagGroups {
		for _, name := range g.flags {
			if before := grouped[name]; before != "" {
				t.Errorf("--%s is in %q and in %q", name, before, g.title)
			}
			grouped[name] = g.title
		}
	}
	used := map[string]bool{}
	for _, cmd := range root.Commands() {
		if cmd.Annotations[commonKey] == "" {
			continue
		}
		visitFlags(cmd, func(f *pflag.Flag) {
			used[f.Name] = true
			if grouped[f.Name] == "" {
				t.Errorf("--%s of openloop %s is in no group of the help", f.Name, cmd.Name())
			}
		})
		for _, name := range strings.Fields(cmd.Annotations[commonKey]) {
			if cmd.Flags().Lookup(name) == nil {
				t.Errorf("openloop %s has no --%s, which its help is to list", cmd.Name(), name)
			}
		}
	}
	if !used["target"] {
		t.Error("no command has a --target: this test sees nothing")
	}
}

// What other load generators' flags are here is a flag that there is.
func TestPeerFlags(t *testing.T) {
	root := (&program{stdout: io.Discard, stderr: io.Discard}).root()
	for name, hint := range peerFlags {
		for word := range strings.FieldsSeq(hint) {
			flag, ok := strings.CutPrefix(strings.Trim(word, ";,:"), "--")
			if !ok {
				continue
			}
			found := false
			for _, cmd := range root.Commands() {
				found = found || cmd.Flags().Lookup(flag) != nil
			}
			if !found {
				t.Errorf("%s: there is no --%s", name, flag)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"target", "prompt-tokens", "output-tokens", "seed", "slo", "max-seconds"}
	for typed, want := range map[string]string{
		"traget": "target", "targt": "target", "promt_tokens": "prompt-tokens", "slos": "slo", "max-sec": "max-seconds",
		"TARGET": "target", "zebra": "", "x": "",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// The help of every command, with all flags, fits a terminal of 80 columns, and shows no type of Go's.
func TestHelpFits(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, all := range []bool{false, true} {
			var out strings.Builder
			printHelp(&out, cmd, all)
			for line := range strings.SplitSeq(out.String(), "\n") {
				if utf8.RuneCountInString(line) > leastHelpWidth {
					t.Errorf("%s: %d columns: %s", cmd.CommandPath(), utf8.RuneCountInString(line), line)
				}
				for _, leak := range []string{"float64", "stringArray", "Slice", "`", "duration"} {
					if strings.Contains(line, "--") && strings.Contains(line, leak) {
						t.Errorf("%s: %s", cmd.CommandPath(), line)
					}
				}
			}
		}
		for _, c := range cmd.Commands() {
			if !c.Hidden && c.Name() != "completion" {
				visit(c)
			}
		}
	}
	visit((&program{stdout: io.Discard, stderr: io.Discard}).root())
}
