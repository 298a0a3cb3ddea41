package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openloop/openloop/guidellm"
)

// Parity lays GuideLLM's report and openloop's side by side, in whatever order they are named, and nothing else.
func TestParityOfWhat(t *testing.T) {
	theirs := filepath.Join("../../testdata/golden/text-completions", "report.json.gz")
	r, err := guidellm.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	r.OpenLoop = guidellm.Object{{Key: "version", Value: "1"}}
	ours := filepath.Join(t.TempDir(), "benchmarks.json")
	if err := guidellm.WriteFile(ours, guidellm.JSON, r); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		files  []string
		code   int // of the exit
		stdout string
		want   string // on stderr, or the error
	}{
		{[]string{theirs, ours}, 0, "within tolerance: 1 of 1", ""},
		{[]string{ours, theirs}, 0, "within tolerance: 1 of 1", "taken the other way round"},
		{[]string{ours, ours}, exitUsage, "", "openloop compare is for two of openloop's"},
		{[]string{theirs, theirs}, exitUsage, "", "neither report is openloop's"},
		{[]string{theirs}, exitUsage, "", "1 were named"},
	} {
		var stdout, stderr strings.Builder
		err := runParity(test.files, "", &stdout, &stderr)
		code := 0
		if err != nil {
			var exit *exitError
			if !errors.As(err, &exit) {
				t.Fatal(err)
			}
			code = exit.code
			stderr.WriteString(err.Error())
		}
		if code != test.code || !strings.Contains(stdout.String(), test.stdout) ||
			!strings.Contains(stderr.String(), test.want) {
			t.Errorf("%v: exit %d, %s, %s; want %d, %s", test.files, code, stdout.String(), stderr.String(), test.code,
				test.want)
		}
	}
}
