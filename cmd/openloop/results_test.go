package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/spec"
)

// With --overwrite, the results of an earlier run stay until this one has saved its own, and then none is left.
func TestOverwrite(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"benchmarks.csv", "benchmarks.txt", "report.html", journalFile, "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("earlier"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	there := func(name string) bool { return exists(filepath.Join(dir, name)) }
	f, err := openResultFiles(spec.Output{Dir: dir, Files: []string{"screen"}, Earlier: spec.OverwriteEarlier})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.begin("m", time.Now()); err != nil {
		t.Fatal(err)
	}
	if there(journalFile) || !there("benchmarks.csv") || !there("report.html") {
		t.Error("before the first stage has ended, the earlier results are to stay, without their journal")
	}
	if err := f.save(&guidellm.Report{}, &report.Result{}, false); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, "benchmarks.txt")); string(text) == "earlier" {
		t.Error("benchmarks.txt is of the earlier run")
	}
	if there("benchmarks.csv") || there("report.html") {
		t.Error("what this run does not write would seem to be of it")
	}
	if !there("notes.txt") {
		t.Error("a file that is not of openloop is gone")
	}
}
