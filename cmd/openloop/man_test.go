//go:build man

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every command has a man page that names its flags.
func TestManPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	var out, errs strings.Builder
	if code := mainExit([]string{"man", dir}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	page, err := os.ReadFile(filepath.Join(dir, "openloop-sweep.1"))
	if err != nil || !strings.Contains(string(page), "prompt-tokens") || strings.Contains(string(page), "`") {
		t.Errorf("the page of sweep lacks a flag, or has a back quote (%v)", err)
	}
	if code := mainExit([]string{"man"}, &out, &errs); code != exitUsage {
		t.Errorf("without a folder: exit %d", code)
	}
}
