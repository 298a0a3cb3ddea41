package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/openloop/openloop/internal/num"
)

// tool is a load generator.
type tool struct {
	name    string
	title   string
	install bool   // installScript knows it
	report  string // pattern of its report, in the folder of the run
	env     []string
	command func(l load, folder string) []string

	programs  string // folder, once found
	tokenizer string // folder with the files of the tokenizer that it counts with, once made; "": it takes none
}

// installScript installs a load generator by its name, and prints the folder of its programs.
const installScript = "bench/peers/install.sh"

// tools lists the load generators, each with the command of a load of its own best kind: Poisson where it has it. All
// count tokens by the same tokenizer, which is made of openloop's own list of words, and the server counts by it too.
func tools() []*tool {
	openloop := &tool{
		name: "openloop", title: "openloop", report: "run/benchmarks.json",
	}
	openloop.command = func(l load, folder string) []string {
		return []string{
			openloop.programs, "run", "--target", "{target}", "--profile", "poisson", "--rate", num.Exact(l.rate),
			"--max-seconds", num.Exact(l.seconds), "--prompt-tokens", strconv.Itoa(l.prompt),
			"--output-tokens", strconv.Itoa(l.output), "--allow-invalid", "--output-dir", filepath.Join(folder, "run"),
		}
	}

	offline := []string{"HF_HUB_OFFLINE=1"}
	old := &tool{
		name: "guidellm-0.5.0", title: "GuideLLM 0.5.0", install: true, report: "report.json", env: offline,
	}
	old.command = func(l load, folder string) []string {
		return []string{
			filepath.Join(old.programs, "guidellm"), "benchmark", "run", "--target", "{target}",
			"--processor", old.tokenizer,
			"--data", fmt.Sprintf("kind=synthetic_text,prompt_tokens=%d,output_tokens=%d", l.prompt, l.output),
			"--profile", "poisson", "--rate", num.Exact(l.rate), "--max-seconds", num.Exact(l.seconds),
			"--disable-progress", "--outputs", "report.json", "--output-dir", folder,
		}
	}

	guidellm := &tool{
		name: "guidellm", title: "GuideLLM", install: true, report: "report.json", env: offline,
	}
	guidellm.command = func(l load, folder string) []string {
		return []string{
			filepath.Join(guidellm.programs, "guidellm"), "run", "--backend", "kind=openai_http,target={target}",
			"--tokenizer", "kind=hf_auto,model=" + guidellm.tokenizer,
			"--data", fmt.Sprintf("kind=synthetic_text,prompt_tokens=%d,output_tokens=%d", l.prompt, l.output),
			"--profile", "kind=poisson,rate=" + num.Exact(l.rate),
			"--constraint", "kind=max_duration,seconds=" + num.Exact(l.seconds), "--disable-progress",
			"--output", "kind=json,path=" + filepath.Join(folder, "report.json"),
		}
	}

	aiperf := &tool{
		name: "aiperf", title: "AIPerf", install: true, report: "profile_export_aiperf.json",
	}
	aiperf.command = func(l load, folder string) []string {
		return []string{
			filepath.Join(aiperf.programs, "aiperf"), "profile", "--model", "{model}", "--url", "{target}",
			"--endpoint-type", "chat", "--streaming", "--tokenizer", aiperf.tokenizer, "--use-server-token-count",
			"--request-rate", num.Exact(l.rate), "--arrival-pattern", "poisson",
			"--benchmark-duration", num.Exact(l.seconds), "--synthetic-input-tokens-mean", strconv.Itoa(l.prompt),
			"--output-tokens-mean", strconv.Itoa(l.output), "--extra-inputs", "ignore_eos:true",
			"--artifact-dir", folder, "--ui", "none",
		}
	}

	vllm := &tool{
		name: "vllm", title: "vllm bench serve 0.23.0", install: true, report: "result.json", env: offline,
	}
	vllm.command = func(l load, folder string) []string {
		return []string{
			filepath.Join(vllm.programs, "vllm"), "bench", "serve", "--base-url", "{target}",
			"--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--model", "{model}",
			"--tokenizer", vllm.tokenizer, "--dataset-name", "random", "--random-input-len", strconv.Itoa(l.prompt),
			"--random-output-len", strconv.Itoa(l.output), "--ignore-eos", "--request-rate", num.Exact(l.rate),
			"--num-prompts", strconv.Itoa(l.requests()), "--save-result", "--result-dir", folder,
			"--result-filename", "result.json",
		}
	}
	return []*tool{openloop, old, guidellm, aiperf, vllm}
}

// find finds the tool's programs, and installs them if that is asked for. It says why it is not there, if so.
func (t *tool) find(o *options, install bool) (why string) {
	if !t.install {
		t.programs = o.openloop
		if _, err := os.Stat(t.programs); err != nil {
			return "make build builds it"
		}
		return ""
	}
	args := []string{t.name}
	if !install {
		args = []string{"--find", t.name}
	}
	cmd := exec.Command(installScript, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	switch {
	case err != nil && !install:
		return "not installed: " + installScript + " " + t.name
	case err != nil:
		return "it could not be installed: " + err.Error()
	}
	t.programs = strings.TrimSpace(string(out))
	t.tokenizer = filepath.Join(o.folder, "tokenizer")
	if _, err := os.Stat(t.tokenizer); err == nil {
		return ""
	}
	made, err := exec.Command(filepath.Join(t.programs, "python"), "bench/parity/tokenizer.py",
		"tokens/tokenizer/words.txt", t.tokenizer).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("its tokenizer could not be made: %v: %s", err, made)
	}
	return ""
}
