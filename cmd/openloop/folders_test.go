package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestFileName(t *testing.T) {
	for model, want := range map[string]string{
		"Qwen/Qwen2.5-7B-Instruct": "qwen2.5-7b-instruct", "/models/llama 3/": "llama-3", "..": "model", "": "model",
		`C:\models\x`: "x", "a\x1b[31m": "a--31m", "größe": "gr--e", ".hidden-": "hidden",
	} {
		if got := fileName(model); got != want {
			t.Errorf("%q is %q, want %q", model, got, want)
		}
	}
}

// A run has a folder that no other has, and the name latest leads to the last one.
func TestRunFolders(t *testing.T) {
	t.Chdir(t.TempDir())
	now := time.Date(2026, 11, 24, 16, 43, 10, 0, time.Local)
	for _, want := range []string{"2026-11-24T1643-m", "2026-11-24T1643-m-2", "2026-11-24T1643-m-3"} {
		got, err := newRunFolder(runsFolder, runName("org/M", now))
		if err != nil || got != filepath.Join(runsFolder, want) {
			t.Fatalf("%s, %v; want %s", got, err, want)
		}
		here, err := os.Stat(got)
		if err != nil {
			t.Fatal(err)
		}
		latest, err := os.Stat(runFolder(latestRun))
		if err != nil || !os.SameFile(here, latest) {
			t.Errorf("latest leads to %s, want %s (%v)", runFolder(latestRun), got, err)
		}
	}

	// Where there are no links, a file holds the name.
	link := filepath.Join(runsFolder, latestRun)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(link, []byte("2026-11-24T1643-m-2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := runFolder(latestRun), filepath.Join(runsFolder, "2026-11-24T1643-m-2"); got != want {
		t.Errorf("latest leads to %s, want %s", got, want)
	}

	// A folder of someone's own of that name is left alone, and is what its name means.
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(link, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pointTo(link, "other"); err != nil || runFolder(link) != link {
		t.Errorf("%s, %v", runFolder(link), err)
	}
}

func TestCheckFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{dir, filepath.Join(dir, "new"), filepath.Join(dir, "new", "below")} {
		if err := checkFolder(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{file, filepath.Join(file, "below")} {
		if err := checkFolder(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("it leaves %v (%v)", left, err)
	}
}
