package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/openloop/openloop/guidellm/cli"
	"github.com/openloop/openloop/spec"
)

const benchmarkLine = "--target http://h:1 --data prompt_tokens=8,output_tokens=4 --profile concurrent --rate 2"

func noEnvironment(string) string { return "" }

// parseBenchmark is what "openloop benchmark run" makes of its arguments, up to the endpoint.
func parseBenchmark(args []string) (*cli.Command, error) {
	p := &program{stdout: io.Discard, stderr: io.Discard}
	cmd := &cobra.Command{Use: "run"}
	f := addBenchmarkFlags(cmd.Flags(), p)
	if err := parseLine(p, cmd, args); err != nil {
		return nil, err
	}
	return f.benchmark(args, noEnvironment)
}

// openloop's own flags stand beside GuideLLM's and go into the same spec.
func TestBenchmarkOwnFlags(t *testing.T) {
	args := strings.Fields(strings.Replace(benchmarkLine, "http:", "https:", 1) +
		" --api-key-file KEY --allow-invalid --slo ttft:p95<1s --max-concurrency 9 --header X-Own:h --ca-file ca.pem " +
		"--client-cert c.pem --client-key c.key --connect-timeout 2s --request-timeout 3s --grace 4s " +
		"--console-style openloop --disable-progress")
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("k\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args[slices.Index(args, "KEY")] = key
	c, err := parseBenchmark(args)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Spec
	got := []any{
		s.Endpoint.Headers[1].Value.Reveal(), s.Output.AllowInvalid, len(s.Objectives), s.Limits.MaxConcurrency,
		s.Endpoint.Headers[0].Value.Reveal(), s.Endpoint.CAFile, s.Endpoint.ClientCert + s.Endpoint.ClientKey,
		s.Endpoint.ConnectTimeout, s.Endpoint.RequestTimeout,
		s.Limits.Grace, s.Output.Style, s.Output.Quiet,
	}
	want := []any{
		"Bearer k", true, 1, 9, "h", "ca.pem", "c.pemc.key", 2 * time.Second, 3 * time.Second, 4 * time.Second,
		spec.StyleOpenLoop, true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if c, err = parseBenchmark(strings.Fields(benchmarkLine)); err != nil {
		t.Fatal(err)
	}
	if len(c.Spec.Objectives) != 3 || c.Spec.Output.Style != spec.StyleGuideLLM {
		t.Errorf("without own flags %+v", c.Spec)
	}
}

// What is wrong with a command line is an error of usage.
func TestBenchmarkRefusals(t *testing.T) {
	for more, want := range map[string]string{
		"more":                       "unexpected argument",
		"--no-such-flag":             "unknown flag",
		"--header canary":            "a --header is not of the form",
		"--slo x":                    "--slo",
		"--rate 10":                  "more streams than --max-concurrency 9 allows",
		"--profile constant":         "",
		"--backend-kwargs x=1":       `--backend-kwargs: "x" is not a setting`,
		"--warmup 1 --max-seconds 1": "leave nothing",
	} {
		args := strings.Fields(benchmarkLine + " --max-concurrency 9 " + more)
		_, err := parseBenchmark(args)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", more, err)
			}
			continue
		}
		var coded *exitError
		if !errors.As(err, &coded) || coded.code != exitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q and exit code %d", more, err, want, exitUsage)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v shows a header", more, err)
		}
	}
}
