package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/tokens"
)

// defaultObjectives are judged where --slo names none.
const defaultObjectives = "ttft:p95<250ms tpot:p95<50ms errors<1%"

// What is printed at the end of a run.
const (
	styleOpenLoop = "openloop"
	styleGuideLLM = "guidellm"
	styleNone     = "none"
)

// defaultSeed is GuideLLM's.
const defaultSeed = 42

// loadFlags are the flags that sweep and run share.
type loadFlags struct {
	set  *pflag.FlagSet
	args []string // as given

	// the endpoint
	target         string
	model          string
	apiKey         string
	apiKeyFile     string
	headers        []string
	caFile         string
	insecure       bool
	http2          bool
	requestType    string
	connectTimeout time.Duration
	requestTimeout time.Duration

	// the requests
	promptTokens, outputTokens lengthFlags
	prefixTokens, prefixCount  int
	seed, promptSeed           int64
	extraBody                  string
	noIgnoreEOS                bool
	tokenizer                  string
	data                       string
	dataColumns                string
	dataSamples                int
	dataShuffle                bool
	saveWorkload               string
	trace                      string // of run alone
	traceSpeed                 float64
	traceWhole                 bool // the stage is as long as the trace

	// the load
	maxSeconds         float64
	maxRequests        int
	warmup, cooldown   float64
	rampup             time.Duration
	grace              time.Duration
	maxErrors          int
	maxErrorRate       float64
	maxGlobalErrorRate float64
	maxConcurrency     int

	// the result
	objectives     []string
	gates          []string
	confidence     float64
	serverMetrics  string
	outputDir      string
	outputs        []string
	sampleRequests int
	allowInvalid   bool
	consoleStyle   string
	quiet          bool
}

// lengthFlags describe a length in tokens, as GuideLLM's synthetic data does.
type lengthFlags struct {
	mean, stdev, least, most int
}

func (l *lengthFlags) add(set *pflag.FlagSet, name, what string, mean int) {
	set.IntVar(&l.mean, name, mean, what)
	set.IntVar(&l.stdev, name+"-stdev", 0, "its standard deviation")
	set.IntVar(&l.least, name+"-min", 0, "its least value (0: none)")
	set.IntVar(&l.most, name+"-max", 0, "its greatest value (0: none)")
}

func (l lengthFlags) length() tokens.Length {
	return tokens.Length{Mean: l.mean, Stdev: l.stdev, Min: l.least, Max: l.most}
}

// check says what is wrong with a length.
func (l *lengthFlags) check(name string) error {
	switch {
	case l.mean < 1:
		return usageError("--%s is %d: it must be at least 1", name, l.mean)
	case l.stdev < 0 || l.least < 0 || l.most < 0:
		return usageError("--%s-stdev, -min and -max can't be negative", name)
	case l.most > 0 && l.least > l.most:
		return usageError("--%s-min %d is above --%s-max %d", name, l.least, name, l.most)
	}
	return nil
}

// formerFlags are the names that flags had, and that scripts may still use.
var formerFlags = map[string]string{
	"max-legs":            "max-stages",
	"max-seconds-per-leg": "max-seconds-per-stage",
}

func newFlagSet(name string, stderr io.Writer, intro string) *pflag.FlagSet {
	set := pflag.NewFlagSet(name, pflag.ContinueOnError)
	set.SortFlags = false
	set.SetOutput(stderr)
	set.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if now, ok := formerFlags[name]; ok {
			name = now
		}
		return pflag.NormalizedName(name)
	})
	set.Usage = func() {
		fmt.Fprintf(set.Output(), "%s\n\nflags:\n%s", intro, set.FlagUsagesWrapped(110))
	}
	return set
}

// parse parses the arguments of a command that takes flags alone. Help goes to stdout.
func parse(set *pflag.FlagSet, args []string, stdout io.Writer) error {
	for _, a := range args {
		if a == "--" {
			break
		}
		if a == "--help" || a == "-h" {
			set.SetOutput(stdout)
		}
	}
	usage := set.Usage
	set.Usage = func() {}
	if err := set.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			set.Usage = usage
			set.Usage()
			return pflag.ErrHelp
		}
		return usageError("%w (\"openloop %s --help\" lists the flags)", err, set.Name())
	}
	if set.NArg() > 0 {
		return usageError("unexpected argument %q: every option of \"openloop %s\" is a flag", endpoint.RedactUserinfo(set.Arg(0)), set.Name())
	}
	return nil
}

func addLoadFlags(set *pflag.FlagSet) *loadFlags {
	f := &loadFlags{set: set}
	set.StringVar(&f.target, "target", "", "base URL of an OpenAI-compatible endpoint (http://host:8000, with or without /v1), or sim:PRESET for the simulated engine")
	set.StringVar(&f.model, "model", "", "model to ask for (default: the endpoint's first)")
	set.StringVar(&f.apiKeyFile, "api-key-file", "", "file that holds the API key, such as a mounted Secret")
	set.StringVar(&f.apiKey, "api-key", "", "the API key; better in a file or in OPENAI_API_KEY, where other users can't see it")
	set.StringArrayVar(&f.headers, "header", nil, "further header, 'Name: value'; may be repeated")
	set.StringVar(&f.caFile, "ca-file", "", "PEM file of certificate authorities to trust instead of the system's")
	set.BoolVar(&f.insecure, "insecure", false, "do not verify the endpoint's TLS certificate")
	set.BoolVar(&f.http2, "http2", false, "speak HTTP/2 where the endpoint offers it (token times are then taken in user space)")
	set.StringVar(&f.requestType, "request-type", "chat_completions", "chat_completions or text_completions")
	set.DurationVar(&f.connectTimeout, "connect-timeout", 5*time.Second, "limit for DNS, TCP and TLS of a new connection")
	set.DurationVar(&f.requestTimeout, "request-timeout", 0, "limit for one request from its first byte sent to its end (0: none)")

	f.promptTokens.add(set, "prompt-tokens", "length of the prompts in tokens", 256)
	f.outputTokens.add(set, "output-tokens", "length of the answers in tokens", 128)
	set.IntVar(&f.prefixTokens, "prefix-tokens", 0, "length of a prefix that prompts share, sent as the system message")
	set.IntVar(&f.prefixCount, "prefix-count", 1, "number of different prefixes")
	set.Int64Var(&f.seed, "seed", defaultSeed, "seed of arrivals, and of prompts where it is given")
	set.Int64Var(&f.promptSeed, "prompt-seed", 0, "seed of the prompts (default: --seed where that is given, else another in every run, so that no prompt is in the server's prefix cache)")
	set.StringVar(&f.extraBody, "extra-body", "", "JSON object of further fields for every request body")
	set.BoolVar(&f.noIgnoreEOS, "no-ignore-eos", false, "leave ignore_eos out of the requests: for endpoints that refuse it; answers then end when the model likes")

	set.StringVar(&f.tokenizer, "tokenizer", "auto", "whose tokens prompts are made of: auto (the endpoint's own count), o200k_base, cl100k_base, a tokenizer.json or .tiktoken file, or none")
	set.StringVar(&f.data, "data", "", "requests to send instead of synthetic ones: a file (jsonl, json, csv, txt, parquet, each also gzipped; one of --save-workload), or synthetic data as GuideLLM writes it (prompt_tokens=256,output_tokens=128)")
	set.StringVar(&f.dataColumns, "data-column-mapper", "", "columns of --data, as JSON: {\"text_column\": \"question\", \"output_tokens_count_column\": \"n\"}")
	set.IntVar(&f.dataSamples, "data-samples", 0, "use so many records of --data (0: all)")
	set.BoolVar(&f.dataShuffle, "data-shuffle", false, "take the records of --data in random order")
	set.StringVar(&f.saveWorkload, "save-workload", "", "write every request that is sent to this file (JSON lines), for --data to send again")

	set.Float64Var(&f.maxSeconds, "max-seconds", 30, "length of a stage in seconds")
	set.IntVar(&f.maxRequests, "max-requests", 0, "requests of a stage (0: no limit)")
	set.Float64Var(&f.warmup, "warmup", 0, "part of a stage left out at its start: a share if below 1, else seconds (requests, where --max-requests alone limits the stage)")
	set.Float64Var(&f.cooldown, "cooldown", 0, "part of a stage left out at its end, likewise")
	set.DurationVar(&f.rampup, "rampup", 0, "time over which the streams of a closed loop begin")
	set.DurationVar(&f.grace, "grace", 0, "how long requests in flight at the end of a stage may still run before they are cancelled")
	set.IntVar(&f.maxErrors, "max-errors", 0, "a stage ends at this many errors (0: no limit)")
	set.Float64Var(&f.maxErrorRate, "max-error-rate", 0, "a stage ends when this share of its last 30 requests failed (0: no limit)")
	set.Float64Var(&f.maxGlobalErrorRate, "max-global-error-rate", 0, "a stage ends when this share of all its requests failed (0: no limit)")
	set.IntVar(&f.maxConcurrency, "max-concurrency", loadgen.DefaultMaxConcurrency, "safety limit of requests in flight; arrivals that it delays are counted and reported")

	set.StringArrayVar(&f.objectives, "slo", nil, "objectives to judge the stages by (default \""+defaultObjectives+"\"); may be repeated")
	set.StringArrayVar(&f.gates, "gate", nil, "exit 3 unless it holds: rate>=N (the objectives hold at N req/s or more) or slo@N (they hold at N); may be repeated")
	set.Float64Var(&f.confidence, "confidence", slo.DefaultConfidence, "confidence with which a stage passes or fails")
	set.StringVar(&f.serverMetrics, "server-metrics", "auto", "the engine's own Prometheus metrics, read once a second: auto (/metrics of the target's host, if it is there), a URL, or off")
	set.StringVar(&f.outputDir, "output-dir", "openloop-results", "folder for the results; it is made if it does not exist")
	set.StringSliceVar(&f.outputs, "outputs", []string{"json", "csv"}, "files to write: json (benchmarks.json), csv (benchmarks.csv), yaml (benchmarks.yaml), or a file name")
	set.IntVar(&f.sampleRequests, "sample-requests", 1000, "keep prompt and answer of so many requests of a stage in the report; all requests are listed with their figures")
	set.BoolVar(&f.allowInvalid, "allow-invalid", false, "exit 0 even where the client was not fit to be believed")
	set.StringVar(&f.consoleStyle, "console-style", styleOpenLoop, "what is printed at the end: openloop, or guidellm for GuideLLM's own tables")
	set.BoolVar(&f.quiet, "quiet", false, "print no progress")
	return f
}

// check says what is wrong with the flags, before anything is tried.
func (f *loadFlags) check() error {
	switch {
	case f.target == "":
		return usageError("no target: give --target http://host:port, or --target sim:l4-qwen2.5-0.5b to try openloop without a server")
	case f.apiKey != "" && f.apiKeyFile != "":
		return usageError("--api-key and --api-key-file contradict each other: give one")
	case f.insecure && f.caFile != "":
		return usageError("--insecure and --ca-file contradict each other: with --insecure no certificate is verified")
	case f.requestType != "chat_completions" && f.requestType != "text_completions":
		return usageError("--request-type %q: it is chat_completions or text_completions", f.requestType)
	case f.connectTimeout <= 0:
		return usageError("--connect-timeout %v: it must be above 0", f.connectTimeout)
	case f.requestTimeout < 0 || f.grace < 0 || f.rampup < 0:
		return usageError("--request-timeout, --grace and --rampup can't be negative")
	case !(f.maxSeconds >= 0) || math.IsInf(f.maxSeconds, 0) || f.maxSeconds > 1e7:
		return usageError("--max-seconds %v: it must be a number of seconds above 0, or 0 for no limit by time", f.maxSeconds)
	case f.maxRequests < 0:
		return usageError("--max-requests %d: it can't be negative", f.maxRequests)
	case f.maxSeconds == 0 && f.maxRequests == 0 && !f.traceWhole:
		return usageError("a stage needs a limit: --max-seconds or --max-requests above 0")
	case !(f.warmup >= 0) || !(f.cooldown >= 0):
		return usageError("--warmup and --cooldown can't be negative")
	case f.warmup < 1 && f.cooldown < 1 && f.warmup+f.cooldown >= 1:
		return usageError("--warmup %v and --cooldown %v leave nothing of a stage", f.warmup, f.cooldown)
	case f.maxErrors < 0:
		return usageError("--max-errors %d: it can't be negative", f.maxErrors)
	case !isShare(f.maxErrorRate) || !isShare(f.maxGlobalErrorRate):
		return usageError("--max-error-rate and --max-global-error-rate are shares between 0 and 1")
	case f.maxConcurrency < 1:
		return usageError("--max-concurrency %d: it must be at least 1", f.maxConcurrency)
	case f.prefixTokens < 0 || f.prefixCount < 1:
		return usageError("--prefix-tokens can't be negative, and --prefix-count must be at least 1")
	case f.tokenizer == "":
		return usageError("--tokenizer is empty: it is auto, o200k_base, cl100k_base, none, or a file")
	case f.data == "" && (f.dataColumns != "" || f.dataSamples != 0 || f.dataShuffle):
		return usageError("--data-column-mapper, --data-samples and --data-shuffle need --data")
	case f.dataSamples < 0:
		return usageError("--data-samples %d: it can't be negative", f.dataSamples)
	case !(f.confidence > 0.5 && f.confidence < 1):
		return usageError("--confidence %v: it must lie between 0.5 and 1, such as 0.95", f.confidence)
	case f.serverMetrics == "":
		return usageError("--server-metrics is empty: it is auto, off, or a URL")
	case f.sampleRequests < 0:
		return usageError("--sample-requests %d: it can't be negative", f.sampleRequests)
	case f.consoleStyle != styleOpenLoop && f.consoleStyle != styleGuideLLM && f.consoleStyle != styleNone:
		return usageError("--console-style %q: it is openloop or guidellm", f.consoleStyle)
	case f.outputDir == "":
		return usageError("--output-dir is empty: name a folder, . for this one")
	}
	if f.data != "" {
		for _, name := range []string{"prompt-tokens", "prompt-tokens-stdev", "prompt-tokens-min", "prompt-tokens-max", "prefix-tokens", "prefix-count"} {
			if f.set.Changed(name) {
				return usageError("--%s and --data contradict each other: the data has its own prompts", name)
			}
		}
	}
	if err := f.promptTokens.check("prompt-tokens"); err != nil {
		return err
	}
	if err := f.outputTokens.check("output-tokens"); err != nil {
		return err
	}
	if trim := f.trim(f.warmup) + f.trim(f.cooldown); f.maxSeconds > 0 && trim >= f.duration() {
		return usageError("--warmup %v and --cooldown %v leave nothing of a stage of %v seconds", f.warmup, f.cooldown, f.maxSeconds)
	}
	_, err := f.header()
	return err
}

func isShare(v float64) bool { return v >= 0 && v <= 1 }

func (f *loadFlags) duration() time.Duration {
	return time.Duration(f.maxSeconds * float64(time.Second))
}

// trim is a warmup or cooldown in time, 0 where it counts requests.
func (f *loadFlags) trim(v float64) time.Duration {
	switch {
	case f.maxSeconds == 0:
		return 0
	case v < 1:
		return time.Duration(v * f.maxSeconds * float64(time.Second))
	default:
		return time.Duration(v * float64(time.Second))
	}
}

// stage is the template of the stages.
func (f *loadFlags) stage() loadgen.Stage {
	return loadgen.Stage{
		Load:        loadgen.Load{RampUp: f.rampup},
		MaxDuration: f.duration(), MaxRequests: f.maxRequests,
		MaxErrors: f.maxErrors, MaxErrorRate: f.maxErrorRate, MaxGlobalErrorRate: f.maxGlobalErrorRate,
		Grace: f.grace, Warmup: f.trim(f.warmup), Cooldown: f.trim(f.cooldown),
		KeepDetails: true, KeepTexts: f.sampleRequests,
	}
}

// parseObjectives reads --slo.
func (f *loadFlags) parseObjectives() ([]slo.Objective, error) {
	texts := f.objectives
	if len(texts) == 0 {
		texts = []string{defaultObjectives}
	}
	var all []slo.Objective
	for _, text := range texts {
		o, err := slo.ParseObjectives(text)
		if err != nil {
			return nil, usageError("--slo: %w", err)
		}
		all = append(all, o...)
	}
	return all, nil
}

// parseGates reads --gate.
func (f *loadFlags) parseGates() ([]slo.Gate, error) {
	var all []slo.Gate
	for _, text := range f.gates {
		g, err := slo.ParseGate(text)
		if err != nil {
			return nil, usageError("--gate: %w", err)
		}
		all = append(all, g)
	}
	return all, nil
}

// header makes the headers of every request from --header and the API key.
func (f *loadFlags) header() (http.Header, error) {
	h := http.Header{}
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		// The text is not repeated: it may hold a secret.
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return nil, usageError("a --header is not of the form 'Name: value'")
		}
		h.Add(name, value)
	}
	key, err := f.key()
	if err != nil {
		return nil, err
	}
	// A name and a password in the target become a header, and are in the target no more.
	if u, err := url.Parse(f.target); err == nil && u.User != nil && !f.isSim() {
		if password, ok := u.User.Password(); ok && h.Get("Authorization") == "" {
			r := http.Request{Header: h}
			r.SetBasicAuth(u.User.Username(), password)
		}
	}
	if key != "" && h.Get("Authorization") == "" {
		h.Set("Authorization", "Bearer "+key)
	}
	return h, nil
}

// key finds the API key: the flags go over the environment.
func (f *loadFlags) key() (string, error) {
	key, from := os.Getenv("OPENAI_API_KEY"), "OPENAI_API_KEY"
	if f.apiKey != "" {
		key, from = f.apiKey, "--api-key"
	}
	if f.apiKeyFile != "" {
		raw, err := os.ReadFile(f.apiKeyFile)
		if err != nil {
			return "", usageError("--api-key-file: %w", err)
		}
		key, from = string(raw), "the file of --api-key-file"
		if strings.TrimSpace(key) == "" {
			return "", usageError("--api-key-file: %s is empty", f.apiKeyFile)
		}
	}
	key = strings.TrimSpace(key)
	for _, r := range key {
		if r <= ' ' || r >= 0x7f {
			return "", usageError("the key in %s holds a character that no HTTP header may hold (a line break inside it?)", from)
		}
	}
	return key, nil
}
