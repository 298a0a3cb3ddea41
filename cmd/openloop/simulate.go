package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// runSimulate serves the simulated engine until the context ends.
func runSimulate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("simulate", stderr,
		`openloop simulate serves a simulated engine of known capacity behind an OpenAI-compatible API, `+
			`to judge clients by.

  openloop simulate --engine l4-qwen2.5-0.5b --addr 127.0.0.1:8000
  openloop simulate --engine 'fixed?ttft=30ms&itl=5ms' --truth truth.jsonl
  openloop simulate --list

A request's header `+llmsim.FaultHeader+` asks for a fault in its answer, in the notation of --fault.`)
	engine := set.String("engine", "l4-qwen2.5-0.5b",
		"preset, with parameters where wanted: PRESET?KEY=VALUE&KEY=VALUE")
	addr := set.String("addr", "127.0.0.1:8000", "address to listen on; port 0 picks a free one")
	model := set.String("model", "", "model name to answer to (default: the preset's)")
	apiKeyFile := set.String("api-key-file", "",
		"file that holds the bearer key to ask for under /v1 (default: none asked)")
	tokenizer := set.String("tokenizer", "approx",
		"what counts prompt tokens: approx (fast), o200k_base, cl100k_base, or a file such as tokenizer.json")
	truth := set.String("truth", "", "file for the server's own record of every request, as JSON lines")
	truthTokens := set.Bool("truth-tokens", false,
		"record the time of every token there, not only of the first and the last")
	fault := set.String("fault", "",
		"fault to do: status=503, retry-after=2s, slow-headers=1s, stall=2s@5, cut@7, garbage@3, error@4")
	faultEvery := set.Int("fault-every", 1, "do the fault to every Nth request")
	list := set.Bool("list", false, "list the presets with their capacity and end")
	if err := parse(set, args, stdout); err != nil {
		return err
	}
	if *list {
		return listPresets(stdout)
	}

	config, err := llmsim.ParseSpec(*engine)
	if err != nil {
		return usageError("--engine: %w", err)
	}
	if *model != "" {
		config.Model = *model
	}
	config.TruthTokens = config.TruthTokens || *truthTokens
	if set.Changed("fault") {
		if config.Fault, err = llmsim.ParseFault(*fault); err != nil {
			return usageError("--fault: %w", err)
		}
	}
	if set.Changed("fault-every") {
		if *faultEvery < 1 {
			return usageError("--fault-every is %d: it must be at least 1", *faultEvery)
		}
		config.FaultEvery = *faultEvery
	}
	if *apiKeyFile != "" {
		key, err := os.ReadFile(*apiKeyFile)
		if err != nil {
			return usageError("--api-key-file: %w", err)
		}
		if config.APIKey = strings.TrimSpace(string(key)); config.APIKey == "" {
			return usageError("--api-key-file: %s holds no key", *apiKeyFile)
		}
	}
	if config.CountTokens, err = tokenCounter(*tokenizer); err != nil {
		return usageError("--tokenizer: %w", err)
	}

	// The truth goes to its file, not to memory, and a server may run for days.
	config.TruthLimit = -1
	// The engine's loop sleeps in the kernel with its processor in hand; with a single one, handlers would wait for it.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	server, err := llmsim.NewServer(config)
	if err != nil {
		return usageError("--engine: %w", err)
	}
	if *truth != "" {
		f, err := os.Create(*truth)
		if err != nil {
			_ = server.Close() // nothing was served
			return usageError("--truth: %w", err)
		}
		defer f.Close()
		server.WriteTruth(f)
	}
	if err := server.Start(*addr); err != nil {
		_ = server.Close() // nothing was served
		return usageError("--addr: %w", err)
	}
	fmt.Fprintf(stdout, "serving %s as model %s on %s\n", *engine, server.Config().Model, server.URL())
	<-ctx.Done()
	return server.Close()
}

// tokenCounter finds what counts prompt tokens; nil is the simulator's own estimate.
func tokenCounter(name string) (func(string) int, error) {
	if name == "approx" {
		return nil, nil
	}
	t, err := tokenizer.Open(name)
	if err != nil {
		return nil, err
	}
	return t.Count, nil
}

// listPresets prints each preset with what it serves at most of the canonical request.
func listPresets(stdout io.Writer) error {
	const prompt, output = 256, 128
	w := bufio.NewWriter(stdout)
	fmt.Fprintf(w, "%-18s %9s %6s %8s %9s %11s %12s\n",
		"preset", "req/s", "seqs", "batched", "base", "a sequence", "a prompt tok")
	for _, name := range llmsim.Presets() {
		c, err := llmsim.Preset(name)
		if err != nil {
			return err
		}
		if c.Fixed {
			fmt.Fprintf(w, "%-18s %9s   first token after %v, then one every %v, at any load\n",
				name, "any", c.TTFT, c.ITL)
			continue
		}
		fmt.Fprintf(w, "%-18s %9.2f %6d %8d %9v %11v %12v\n", name,
			c.Capacity(prompt+llmsim.DefaultTemplateTokens, output),
			c.MaxNumSeqs, c.MaxNumBatchedTokens, c.Base, c.PerSequence, c.PerPrefillToken)
	}
	fmt.Fprintf(w, "req/s: capacity for %d prompt and %d output tokens\n", prompt, output)
	return w.Flush()
}
