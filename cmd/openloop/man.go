//go:build man

package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func init() { moreCommands = append(moreCommands, newMan) }

// newMan writes the man pages of all commands: "make man". It is no part of the program as it is released: what turns
// texts into man pages would be in every image.
func newMan(p *program) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "write the man pages of all commands to a folder",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if err := checkFolder(dir); err != nil {
				return usageError("%w", err)
			}
			root := cmd.Root()
			for _, c := range root.Commands() { // the pages of the scripts for four shells would be most of them
				c.Hidden = c.Hidden || c.Name() == "completion"
			}
			withoutBackQuotes(root)
			return writeMan(root, dir)
		},
	}
}

func writeMan(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return doc.GenManTree(root, &doc.GenManHeader{
		Title: "OPENLOOP", Section: "1", Source: "openloop " + programVersion(), Manual: "openloop",
	}, filepath.Clean(dir))
}

// withoutBackQuotes takes the marks of the values' names out of the texts of flags.
func withoutBackQuotes(cmd *cobra.Command) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { _, f.Usage = splitUsage(f) })
	for _, c := range cmd.Commands() {
		withoutBackQuotes(c)
	}
}
