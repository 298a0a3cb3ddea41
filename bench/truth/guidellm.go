package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/openloop/openloop/guidellm"
)

// besideGuideLLM are the rows at which GuideLLM is run as well.
var besideGuideLLM = []string{"300", "700"}

// guideLLMProgram is where bench/parity/install.sh puts the pinned GuideLLM; "" if it is not there.
func guideLLMProgram() string {
	cache := cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache"))
	venv := cmp.Or(os.Getenv("GUIDELLM_VENV"), filepath.Join(cache, "guidellm-0.5.0"))
	program := filepath.Join(venv, "bin", "guidellm")
	if _, err := os.Stat(program); err != nil {
		return ""
	}
	return program
}

// runGuideLLM offers the row's load by GuideLLM, to a server of its own, and gives both clients' errors against the
// truth.
func (r *row) runGuideLLM(program string, ours []runResult) (t table, err error) {
	server, err := startServer(r.Engine, false)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	dir, err := os.MkdirTemp("", "openloop-bench-truth")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	tokenizer := filepath.Join(dir, "tokenizer")
	python := filepath.Join(filepath.Dir(program), "python")
	tokenize := exec.Command(python, "bench/parity/tokenizer.py", "tokens/tokenizer/words.txt", tokenizer)
	if out, err := tokenize.CombinedOutput(); err != nil {
		return t, fmt.Errorf("its tokenizer (is this the project's root?): %w: %s", err, out)
	}
	cmd := exec.Command(program, "benchmark", "run", "--target", server.url, "--processor", tokenizer,
		"--data", fmt.Sprintf("kind=synthetic_text,prompt_tokens=256,output_tokens=%d", r.Output),
		"--profile", "constant", "--rate", strconv.FormatFloat(r.Rate, 'g', -1, 64),
		"--max-seconds", strconv.FormatFloat(r.Seconds, 'g', -1, 64),
		"--disable-progress", "--outputs", "guidellm.json", "--output-dir", dir)
	cmd.Env = append(os.Environ(), "HF_HUB_OFFLINE=1", "NO_COLOR=1")
	started := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return t, fmt.Errorf("%w: %s", err, out[max(0, len(out)-2000):])
	}
	took := time.Since(started).Seconds()
	if err := server.stop(); err != nil {
		return t, err
	}
	truth, err := server.measured(r.steady())
	if err != nil {
		return t, err
	}
	rep, err := guidellm.ReadFile(filepath.Join(dir, "guidellm.json"))
	if err != nil {
		return t, err
	}
	if len(rep.Benchmarks) != 1 {
		return t, fmt.Errorf("its report has %d benchmarks", len(rep.Benchmarks))
	}
	m := &rep.Benchmarks[0].Metrics
	theirs := runResult{serverMeasured: truth}
	ttft, itl := m.TimeToFirstTokenMS.Successful, m.InterTokenLatencyMS.Successful
	theirs.TTFT, theirs.ITL = [2]float64{ttft.Median, ttft.Percentiles.P99}, itl.Mean
	theirs.Sent, theirs.Offered = truth.Reached, int(r.Rate*r.Seconds)
	theirs.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	theirs.PeakMB = float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024

	t.title = fmt.Sprintf("%s, beside it one run of GuideLLM 0.5.0 (%.0f s with its start)", r.Name, took)
	t.columns = [2]string{"openloop", "GuideLLM"}
	line := func(name, format string, value func(*runResult) float64) {
		var v []float64
		for i := range ours {
			v = append(v, value(&ours[i]))
		}
		slices.Sort(v)
		median := v[len(v)/2]
		t.lines = append(t.lines, [3]string{name, fmt.Sprintf(format, median), fmt.Sprintf(format, value(&theirs))})
	}
	line("sent (% of asked)", "%.2f", (*runResult).sentPercent)
	line("TTFT p50, error (ms)", "%+.3f", func(r *runResult) float64 { return r.TTFT[0] - r.TrueTTFT[0] })
	line("TTFT p99, error (ms)", "%+.3f", func(r *runResult) float64 { return r.TTFT[1] - r.TrueTTFT[1] })
	line("mean ITL, error (ms)", "%+.3f", func(r *runResult) float64 { return r.ITL - r.TrueITL })
	line("CPU a token (µs; GuideLLM: with start)", "%.2f",
		func(r *runResult) float64 { return 1e6 * r.CPU / float64(max(r.TrueTokens, 1)) })
	line("memory of the largest process (MB)", "%.0f", func(r *runResult) float64 { return r.PeakMB })
	return t, nil
}
