package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/recorder"
	"github.com/openloop/openloop/report/live"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// recordFlags are the flags of openloop record.
type recordFlags struct {
	listen, to, output, tokenizer, caFile string
	texts, insecure                       bool
	block                                 int
	drain                                 time.Duration
}

func newRecord(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "record --to URL --output FILE",
		Short: "pass an endpoint's traffic through and write down its arrivals, lengths and sessions, to be replayed",
		Long: `openloop record is a proxy for an OpenAI-compatible endpoint. It passes everything through as it ` +
			`comes, and writes a line for every chat or text completion: when it came, how long prompt and answer ` +
			`were, which blocks of the prompt it shares with others, its session and turn. The file is a trace: ` +
			`"openloop run --trace FILE" replays it. Texts are written with --texts alone, headers never.`,
		Example: `  openloop record --listen :9000 --to http://vllm:8000 -o traffic.jsonl
  openloop run http://vllm:8000 --trace traffic.jsonl --trace-speed 2`,
		Annotations: endsWith("finishing the requests in flight; once more to quit at once"),
	}
	var f recordFlags
	f.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), p.stdout, p.stderr) }
	return cmd
}

func (f *recordFlags) add(set *pflag.FlagSet) {
	set.StringVar(&f.listen, "listen", "127.0.0.1:9000",
		"`ADDRESS` to listen on; :9000 for all of this machine's; port 0 picks a free one")
	set.StringVar(&f.to, "to", "", "`URL` of the endpoint, with or without /v1")
	set.StringVarP(&f.output, "output", "o", "", "`FILE` to write, which must not exist yet")
	set.BoolVar(&f.texts, "texts", false, "write the bodies of requests and the texts of answers, too")
	set.StringVar(&f.tokenizer, "tokenizer", "o200k_base",
		"what counts tokens where the endpoint does not say how many: o200k_base, cl100k_base, or a file such as "+
			"tokenizer.json")
	set.IntVar(&f.block, "block-tokens", 16,
		"length in tokens of the blocks by which shared beginnings of prompts are told; 512 as in Mooncake's traces")
	set.StringVar(&f.caFile, "ca-file", "", "`FILE`: PEM file of authorities to trust instead of the system's")
	set.BoolVar(&f.insecure, "insecure", false, "don't verify the endpoint's certificate")
	timeVar(set, &f.drain, "drain-timeout", 25*time.Second,
		"how long requests in flight may take once a signal came; what is left is cut")
}

// config is what they ask for.
func (f *recordFlags) config(note func(string)) (c recorder.Config, err error) {
	switch {
	case f.to == "":
		return c, withHint(usageError("no endpoint given"), "openloop record --to http://vllm:8000 -o traffic.jsonl")
	case f.output == "":
		return c, usageError("no file given: --output names it")
	case f.block < 1 || f.block > 1<<16:
		return c, usageError("--block-tokens %d: it must be from 1 to 65536", f.block)
	case f.drain < 0:
		return c, usageError("--drain-timeout: it can't be negative")
	}
	address, login, err := endpoint.ParseBase(f.to)
	if err != nil {
		return c, usageError("--to: %w", err)
	}
	if !login.IsEmpty() {
		return c, usageError("--to has a name and password: a proxy adds none; clients send theirs")
	}
	e, err := endpoint.Open(endpoint.Config{Address: address, CAFile: f.caFile, Insecure: f.insecure})
	if err != nil {
		return c, &exitError{exitUsage, err}
	}
	if err := e.Direct(); err != nil {
		return c, usageError("--to: %w", err)
	}
	counter, err := tokenizer.Open(f.tokenizer)
	if err != nil {
		return c, usageError("--tokenizer: %w", err)
	}
	to, err := url.Parse(strings.TrimSuffix(address.String(), "/v1"))
	if err != nil {
		return c, usageError("--to: %w", err)
	}
	if to.Scheme != "http" && to.Scheme != "https" {
		return c, usageError("--to: a recording needs an http or https URL")
	}
	return recorder.Config{
		To: to, Dial: e.Connect, File: f.output, Texts: f.texts, BlockTokens: f.block, Count: counter.Count, Note: note,
	}, nil
}

// run passes traffic through until the context ends.
func (f *recordFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	config, err := f.config(func(text string) {
		writeMessage(stderr, spec.PlainProgress, "note", live.Timed(time.Now(), text))
	})
	if err != nil {
		return err
	}
	// Counting tokens must not keep the traffic waiting for the only processor.
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return usageError("--listen: %w", err)
	}
	r, err := recorder.New(config)
	if err != nil {
		listener.Close()
		if errors.Is(err, fs.ErrExist) {
			return withHint(usageError("--output: %s exists", f.output), "a recording never overwrites another: "+
				"name a new file")
		}
		return usageError("--output: %w", err)
	}
	fmt.Fprintf(stdout, "recording http://%s to %s in %s\n", listener.Addr(), config.To.Redacted(),
		filepath.Clean(f.output))
	failed := make(chan error, 1)
	go func() { failed <- r.Serve(listener) }()
	var served error
	select {
	case <-ctx.Done():
	case served = <-failed:
	}
	drained, cancel := context.WithTimeout(context.Background(), f.drain)
	defer cancel()
	if r.Shutdown(drained) != nil {
		fmt.Fprintf(stderr, "openloop: requests were still in flight after %v, and were cut\n", f.drain)
	}
	err = r.Close()
	fmt.Fprintln(stdout, r.Summary())
	if err != nil {
		err = fmt.Errorf("the recording is not whole: %w", err)
	}
	return errors.Join(served, err)
}
