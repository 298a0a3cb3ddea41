package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// engineFlags are the flags that say what is simulated: those of openloop simulate and openloop audit.
type engineFlags struct {
	set                             *pflag.FlagSet
	engine, model, tokenizer, fault string
	faultEvery                      int
}

func (f *engineFlags) add(set *pflag.FlagSet, engine, usage string) {
	f.set = set
	set.StringVar(&f.engine, "engine", engine, usage)
	set.StringVar(&f.model, "model", "", "model name to answer to (default: the engine's)")
	set.StringVar(&f.tokenizer, "tokenizer", "approx",
		"what counts prompt tokens: approx (fast), o200k_base, cl100k_base, or a file such as tokenizer.json")
	set.StringVar(&f.fault, "fault", "",
		"fault to do: status=503, retry-after=2s, slow-headers=1s, stall=2s@5, cut@7, garbage@3, error@4")
	set.IntVar(&f.faultEvery, "fault-every", 1, "do the fault to every Nth request")
}

// config is what they ask for; what is not given is as --engine has it.
func (f *engineFlags) config() (llmsim.Config, error) {
	config, err := llmsim.ParseSpec(f.engine)
	if err != nil {
		return config, usageError("--engine: %w", err)
	}
	if f.model != "" {
		config.Model = f.model
	}
	if f.set.Changed("fault") {
		if config.Fault, err = llmsim.ParseFault(f.fault); err != nil {
			return config, usageError("--fault: %w", err)
		}
	}
	if f.set.Changed("fault-every") {
		if f.faultEvery < 1 {
			return config, usageError("--fault-every is %d: it must be at least 1", f.faultEvery)
		}
		config.FaultEvery = f.faultEvery
	}
	if config.CountTokens, err = tokenCounter(f.tokenizer); err != nil {
		return config, usageError("--tokenizer: %w", err)
	}
	return config, nil
}

// simulateFlags are the flags of openloop simulate.
type simulateFlags struct {
	engineFlags
	addr, apiKeyFile, truth string
	truthTokens, list       bool
	replicas                int
}

func newSimulate(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "serve the simulated engine behind an OpenAI-compatible API",
		Long: `openloop simulate serves a simulated engine of known capacity behind an OpenAI-compatible API, ` +
			`to judge clients by. A request's header ` + llmsim.FaultHeader + ` asks for a fault in its answer, in ` +
			`the notation of --fault.`,
		Example: `  openloop simulate --engine l4-qwen2.5-0.5b --addr 127.0.0.1:8000
  openloop simulate --engine 'fixed?ttft=30ms&itl=5ms' --truth truth.jsonl
  openloop simulate --list`,
		Annotations: endsWith(closingServer),
	}
	var f simulateFlags
	f.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.list {
			return listPresets(p.stdout)
		}
		return f.run(cmd.Context(), p.stdout)
	}
	return cmd
}

func (f *simulateFlags) add(set *pflag.FlagSet) {
	f.engineFlags.add(set, "l4-qwen2.5-0.5b", "preset, with parameters where wanted: PRESET?KEY=VALUE&KEY=VALUE")
	set.StringVar(&f.addr, "addr", "127.0.0.1:8000", "address to listen on; port 0 picks a free one")
	set.IntVar(&f.replicas, "replicas", 1,
		"number of engines to serve, each for itself, at ports that follow that of --addr; with --truth, the record "+
			"of the second goes to a file with .2 in its name, and so on")
	set.StringVar(&f.apiKeyFile, "api-key-file", "",
		"file that holds the bearer key to ask for under /v1 (default: none asked)")
	set.StringVar(&f.truth, "truth", "", "file for the server's own record of every request, as JSON lines")
	set.BoolVar(&f.truthTokens, "truth-tokens", false,
		"record the time of every token there, not only of the first and the last")
	set.BoolVar(&f.list, "list", false, "list the presets with their capacity and end")
}

// run serves the simulated engine until the context ends.
func (f *simulateFlags) run(ctx context.Context, stdout io.Writer) error {
	config, err := f.config()
	if err != nil {
		return err
	}
	config.TruthTokens = config.TruthTokens || f.truthTokens
	if f.apiKeyFile != "" {
		key, err := os.ReadFile(f.apiKeyFile)
		if err != nil {
			return usageError("--api-key-file: %w", err)
		}
		if config.APIKey = strings.TrimSpace(string(key)); config.APIKey == "" {
			return usageError("--api-key-file: %s holds no key", f.apiKeyFile)
		}
	}

	// The truth goes to its file, not to memory, and a server may run for days.
	config.TruthLimit = -1
	// The engine's loop sleeps in the kernel with its processor in hand; with a single one, handlers would wait for it.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	if f.replicas < 1 || f.replicas > mostTargets {
		return usageError("--replicas %d: it is from 1 to %d", f.replicas, mostTargets)
	}
	for i := range f.replicas {
		server, closeTruth, err := f.serve(config, i)
		if err != nil {
			return err
		}
		defer closeTruth()
		defer server.Close()
		fmt.Fprintf(stdout, "serving %s as model %s on %s\n", f.engine, server.Config().Model, server.URL())
	}
	<-ctx.Done()
	return nil
}

// serve starts one of several engines.
func (f *simulateFlags) serve(config llmsim.Config, i int) (server *llmsim.Server, closeTruth func(), err error) {
	addr, truth := f.addr, f.truth
	if i > 0 {
		host, port, err := net.SplitHostPort(f.addr)
		n, notNumber := strconv.Atoi(port)
		if err != nil || notNumber != nil {
			return nil, nil, usageError("--addr %s: --replicas needs a number as its port", f.addr)
		}
		if n > 0 {
			n += i
		}
		addr = net.JoinHostPort(host, strconv.Itoa(n))
		if ext := filepath.Ext(truth); truth != "" {
			truth = fmt.Sprintf("%s.%d%s", strings.TrimSuffix(truth, ext), i+1, ext)
		}
	}
	if server, err = llmsim.NewServer(config); err != nil {
		return nil, nil, usageError("--engine: %w", err)
	}
	closeTruth = func() {}
	if truth != "" {
		file, err := os.Create(truth)
		if err != nil {
			_ = server.Close() // nothing was served
			return nil, nil, usageError("--truth: %w", err)
		}
		closeTruth = func() { file.Close() }
		server.WriteTruth(file)
	}
	if err := server.Start(addr); err != nil {
		_ = server.Close() // nothing was served
		closeTruth()
		return nil, nil, usageError("--addr: %w", err)
	}
	return server, closeTruth, nil
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
