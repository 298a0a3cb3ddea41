package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A run that is killed leaves a journal, of which its report is made. The journal is copied while the run lives: it is
// what a SIGKILL at that moment would have left.
func TestRecover(t *testing.T) {
	live, dead := t.TempDir(), t.TempDir()
	ended := make(chan int, 1)
	go func() {
		var out bytes.Buffer
		ended <- mainExit([]string{"run", "--target", "sim:fixed?ttft=5ms&itl=1ms", "--profile", "constant", "--rate",
			"20", "--max-seconds", "6", "--prompt-tokens", "8", "--output-tokens", "4", "--slo", "ttft:p95<1s",
			"--header", "X-Secret: canary-in-a-header", "--allow-invalid", "--output-dir", live, "--outputs", "json"},
			&out, &out)
	}()
	var copied []byte
	for len(copied) < 4000 { // some seconds' worth
		select {
		case code := <-ended:
			t.Fatalf("the run ended with %d before its journal held anything", code)
		case <-time.After(20 * time.Millisecond):
		}
		copied, _ = os.ReadFile(filepath.Join(live, journalFile))
	}
	var out, errs bytes.Buffer
	if code := mainExit([]string{"report", live, "--recover"}, &out, &errs); code != exitUsage ||
		!strings.Contains(errs.String(), "still going") {
		t.Errorf("of a run that lives: exit %d, %s", code, errs.String())
	}
	if bytes.Contains(copied, []byte("canary")) {
		t.Error("the journal holds a secret")
	}
	copied = append(copied, "half a frame"...)
	if err := os.WriteFile(filepath.Join(dead, journalFile), copied, 0o644); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	errs.Reset()
	if code := mainExit([]string{"report", dead, "--recover"}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, part := range []string{"constant@20.00 was killed", "recovered from the records", "suspect",
		"llmsim 0.23.0"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the screen lacks %q:\n%s", part, out.String())
		}
	}
	if !strings.Contains(errs.String(), "spoilt") {
		t.Errorf("nothing is said of the spoilt end: %s", errs.String())
	}
	text, err := os.ReadFile(filepath.Join(dead, "benchmarks.json"))
	if err != nil || !json.Valid(text) {
		t.Errorf("%v, %d bytes", err, len(text))
	}
	if exists(filepath.Join(dead, journalFile)) {
		t.Error("the journal is left")
	}
	if code := mainExit([]string{"report", dead, "--recompute"}, &out, &errs); code != 0 {
		t.Errorf("the recovered report does not agree with its requests: exit %d, %s", code, out.String())
	}
	if code := <-ended; code != 0 || exists(filepath.Join(live, journalFile)) {
		t.Errorf("the run ended with %d, its journal is left: %v", code, exists(filepath.Join(live, journalFile)))
	}
}

func TestRecoverRefuses(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{dir}, {dir, dir}, {other}, {dir, "--format", "csv"}} {
		var out, errs bytes.Buffer
		if code := mainExit(append([]string{"report", "--recover"}, args...), &out, &errs); code != exitUsage {
			t.Errorf("%v: exit %d, %s", args, code, errs.String())
		}
	}
}
