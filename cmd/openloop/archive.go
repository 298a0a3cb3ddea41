package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// archiveFlags are the flags of openloop archive.
type archiveFlags struct {
	wait time.Duration
}

func newArchive(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "archive FOLDER",
		Short: "write a folder of results to stdout, as a compressed tar file",
		Long: `openloop archive takes results out of a container, whose image holds no other program: it writes a ` +
			`folder to stdout as a tar file compressed by gzip. With --wait it writes nothing, and ends after that ` +
			`time: such a container is there for as long as results are taken out of it.`,
		Example: `  kubectl exec POD -- /openloop archive /results/RUN | tar -xzf -
  openloop archive --wait 10m`,
		Args: cobra.MaximumNArgs(1),
	}
	var f archiveFlags
	timeVar(cmd.Flags(), &f.wait, "wait", 0, "write nothing, and end after this `TIME`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case f.wait > 0 && len(args) > 0:
			return usageError("--wait writes nothing: leave out %s, or --wait", args[0])
		case f.wait > 0:
			return waitUntilEnded(cmd.Context(), f.wait)
		case len(args) == 0:
			return usageError("no folder named: openloop archive FOLDER")
		case canDraw(p.stdout):
			return withHint(usageError("a tar file is not for a terminal"), "lead it into a file: … > results.tar.gz")
		}
		return archive(forData(p.stdout), args[0])
	}
	// Process 1 of a container is not ended by a signal that it does not ask for.
	annotate(cmd, endingKey, "ending")
	return cmd
}

// waitUntilEnded waits for a time, or for a signal.
func waitUntilEnded(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// archive writes a folder as a compressed tar file.
func archive(w io.Writer, folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return usageError("%w", err)
	}
	if !info.IsDir() {
		return usageError("%s is not a folder", folder)
	}
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	if err := errors.Join(t.AddFS(os.DirFS(folder)), t.Close(), z.Close()); err != nil {
		return fmt.Errorf("archiving %s: %w", folder, err)
	}
	return nil
}
