package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the generated pages anew")

// TestFlagsPage: docs/flags.md lists every flag of every command as the help does.
func TestFlagsPage(t *testing.T) {
	root := (&program{stdout: io.Discard, stderr: io.Discard}).root()
	page := flagsPage(root)
	file := filepath.Join("..", "..", "docs", "flags.md")
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != page {
		t.Errorf("%s is not as the flags are: go test ./cmd/openloop -run FlagsPage -update", file)
	}
}

// flagsPage is docs/flags.md. The flags of the commands that measure stand in one list, since most are all of them's.
func flagsPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Flags\n\nGenerated from the program: `go test ./cmd/openloop -run FlagsPage -update`. " +
		"`openloop COMMAND --help-all` prints the same.\nEvery flag of the commands that measure is a key of a " +
		"[configuration](configuration.md), too.\n")
	var measuring, others []*cobra.Command
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		switch {
		case c.Hidden || c.Name() == "completion" || c.Name() == "help":
			return
		case c.Annotations[commonKey] != "":
			measuring = append(measuring, c)
		case c.HasParent():
			others = append(others, c)
		}
		for _, below := range c.Commands() {
			visit(below)
		}
	}
	visit(root)

	var names []string
	for _, c := range measuring {
		names = append(names, "`"+c.Name()+"`")
	}
	fmt.Fprintf(&b, "\n## %s\n", strings.Join(names, ", "))
	for _, g := range flagGroups {
		var rows []string
		for _, name := range g.flags {
			if row := measuringRow(measuring, name); row != "" {
				rows = append(rows, row)
			}
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n| flag | what it does | default | of |\n|---|---|---|---|\n%s", g.title,
				strings.Join(rows, ""))
		}
	}
	for _, c := range others {
		var rows []string
		visitFlags(c, func(f *pflag.Flag) {
			if f.Name != "help" && f.Name != helpAllFlag {
				text, value := flagCells(f)
				rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", flagCell(f), text, value))
			}
		})
		fmt.Fprintf(&b, "\n## `%s`\n\n%s.\n", usageLine(c), strings.ToUpper(c.Short[:1])+c.Short[1:])
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n| flag | what it does | default |\n|---|---|---|\n%s", strings.Join(rows, ""))
		}
	}
	return b.String()
}

// measuringRow is the line of a flag that commands share. Where one's differs from another's, each has its own.
func measuringRow(commands []*cobra.Command, name string) string {
	var rows []string
	of := map[string][]string{}
	for _, c := range commands {
		for _, f := range findFlags(c, []string{name}) {
			if name == "help" {
				continue
			}
			text, value := flagCells(f)
			row := fmt.Sprintf("| `%s` | %s | %s |", flagCell(f), text, value)
			if of[row] == nil {
				rows = append(rows, row)
			}
			of[row] = append(of[row], c.Name())
		}
	}
	var b strings.Builder
	for _, row := range rows {
		list := strings.Join(of[row], ", ")
		if len(of[row]) == len(commands) {
			list = "all"
		}
		fmt.Fprintf(&b, "%s %s |\n", row, list)
	}
	return b.String()
}

func flagCell(f *pflag.Flag) string { return cell(strings.TrimSpace(flagName(f))) }

// flagCells are the text of a flag, and its default.
func flagCells(f *pflag.Flag) (text, value string) {
	text, value, _ = strings.Cut(flagText(f), " (default ")
	if value != "" {
		value = "`" + strings.TrimSuffix(value, ")") + "`"
	}
	if strings.Contains(value, "; may") || strings.Contains(value, ")") { // it stands within the sentence
		text, value = flagText(f), ""
	}
	return cell(text), cell(value)
}

// cell is a text in a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "\n", " ").Replace(text)
}

// The scripts of completion are ones that their shells can read, as far as the shells are there.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out, errs strings.Builder
		if code := mainExit([]string{"completion", shell}, &out, &errs); code != 0 || out.Len() == 0 {
			t.Errorf("%s: exit %d, %d bytes, %s", shell, code, out.Len(), errs.String())
			continue
		}
		if path, err := exec.LookPath(shell); err == nil && slices.Contains([]string{"bash", "zsh", "fish"}, shell) {
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(out.String())
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s can't read its script: %v, %s", shell, err, said)
			}
		}
	}
}
