package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// defaultObjectives are judged where --slo names none.
const defaultObjectives = "ttft:p95<250ms tpot:p95<50ms errors<1%"

// longestStage is the longest that can be asked for, 16 weeks and some: what is longer is a slip.
const longestStage = 1e7 * time.Second

// defaultSeed is GuideLLM's.
const defaultSeed = 42

// specFlags are the flags that sweep and run share, as they were given. spec turns them into a spec.Spec.
type specFlags struct {
	program *program
	set     *pflag.FlagSet

	// the endpoint
	target, model              string
	targets                    []string // of which target is the first
	weights                    []int
	mix                        string
	apiKey, apiKeyFile, caFile string
	headers                    []string
	clientCert, clientKey      string
	serverName                 string
	insecure, http2            bool
	connectTimeout             time.Duration
	requestTimeout             time.Duration
	waitReady                  time.Duration
	metricsAddr                string
	serverMetrics              []string

	// the requests
	requestType                string
	promptTokens, outputTokens lengthFlags
	prefixTokens, prefixCount  int
	turns, turnTokens          lengthFlags
	batch, queryTokens         int
	speeds                     bool // a trace is sent at several speeds: no flag
	wholeTalks                 bool
	thinkTime, history         string
	seed, promptSeed           int64
	extraBody                  string
	noIgnoreEOS                bool
	images                     int
	imageSize                  string
	tokenizer                  string
	data                       []string
	dataColumns                string
	dataSamples                int
	dataShuffle                bool
	saveWorkload               string
	trace                      string // of run alone
	traceSpeed                 float64
	traceBlock                 int
	traceUnit                  string

	// the load
	stageTime, rampup, grace         time.Duration
	maxRequests                      int
	warmup, cooldown                 spec.Trim
	maxErrors                        int
	maxErrorRate, maxGlobalErrorRate float64
	maxConcurrency, retries          int

	workers spec.Workers // of sweep, run and gate

	// the result
	objectives, gates   []string
	confidence          float64
	outputDir           string
	overwrite           bool
	outputs             []string
	labels              labelsValue
	cost                costValue
	records             string
	hlog                string
	sampleRequests      int
	allowInvalid, quiet bool
	logReport           bool
	consoleStyle        string
	screenFlags
}

// lengthFlags describe a length in tokens, as GuideLLM's synthetic data does.
type lengthFlags struct {
	mean, stdev, least, most int
}

func (l *lengthFlags) add(set *pflag.FlagSet, name, what string, mean int) {
	set.IntVar(&l.mean, name, mean, what)
	set.IntVar(&l.stdev, name+"-stdev", 0, "standard deviation of --"+name)
	set.IntVar(&l.least, name+"-min", 0, "no length below this (0: no limit)")
	set.IntVar(&l.most, name+"-max", 0, "no length above this (0: no limit)")
}

func (l *lengthFlags) length() tokens.Length {
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

func addSpecFlags(set *pflag.FlagSet, p *program) *specFlags {
	f := &specFlags{program: p, set: set}
	if p.specFlags == nil {
		p.specFlags = map[*pflag.FlagSet]*specFlags{}
	}
	p.specFlags[set] = f
	addConfigFlags(set)
	set.StringArrayVar(&f.targets, "target", nil,
		"`URL`: base URL of an OpenAI-compatible endpoint (http://host:8000, with or without /v1), "+
			"unix:///path/to.sock, or sim:PRESET for the simulated engine; repeated, as URL or NAME=URL: the load is "+
			"spread over all of them")
	set.IntSliceVar(&f.weights, "target-weights", nil,
		"`NUMBERS` such as 2,1: how often each of several targets has its turn in a round (default: all alike)")
	set.StringVar(&f.model, "model", "",
		"`NAME`: model to ask for (default: the endpoint's first); a:0.6,b:0.4 for several, each with its share of "+
			"the requests")
	f.addMix(set)
	f.addCredentials(set)
	set.BoolVar(&f.http2, "http2", false,
		"speak HTTP/2 where the endpoint offers it (token times are then taken in user space)")
	set.StringVar(&f.requestType, "request-type", "chat_completions",
		"`KIND`: chat_completions, text_completions, responses, messages, embeddings or rerank")
	timeVar(set, &f.connectTimeout, "connect-timeout", 5*time.Second,
		"limit for DNS, TCP and TLS of a new connection")
	timeVar(set, &f.requestTimeout, "request-timeout", endpoint.DefaultRequestTimeout,
		"limit for one request from its first byte sent to its end (0: none)")
	timeVar(set, &f.waitReady, "wait-ready", 0,
		"wait this long at most until the endpoint answers and lists its models, such as 10m for an engine that "+
			"loads (0: it has to be there)")

	f.promptTokens.add(set, "prompt-tokens", "length of the prompts in tokens", 256)
	f.outputTokens.add(set, "output-tokens", "length of the responses in tokens", 128)
	set.IntVar(&f.prefixTokens, "prefix-tokens", 0, "length of a prefix that prompts share, sent as the system message")
	set.IntVar(&f.prefixCount, "prefix-count", 1, "number of different prefixes")
	f.turns.add(set, "turns", "requests of a session, each with all that was said before it; sessions then arrive in "+
		"the place of requests (0: none)", 0)
	f.turnTokens.add(set, "turn-tokens",
		"length of the prompts of the turns after the first one (0: as --prompt-tokens)", 0)
	set.BoolVar(&f.wholeTalks, "sessions", false,
		"send the conversations of --data whole, each as a session in the place of one request, or the sessions of "+
			"--trace, each turn after the answer before it")
	set.StringVar(&f.thinkTime, "think-time", "0",
		"`TIME` from the end of an answer until the turn after it is due: "+tokens.ThinkForms)
	set.StringVar(&f.history, "history", "recorded",
		"`WHOSE` answers are in the turns after them: recorded (those of --data, else made up, of exactly "+
			"--output-tokens), or real (what the model answered)")
	set.Int64Var(&f.seed, "seed", defaultSeed, "seed of arrivals, and of prompts where it is given")
	set.Int64Var(&f.promptSeed, "prompt-seed", 0,
		"seed of the prompts (default: --seed where that is given, else another in every run, so that no prompt is "+
			"in the server's prefix cache)")
	set.StringVar(&f.extraBody, "extra-body", "", "`JSON`: object of further fields for every request body")
	set.BoolVar(&f.noIgnoreEOS, "no-ignore-eos", false,
		"leave ignore_eos out of the requests: for endpoints that refuse it; responses then end when the model likes")

	set.IntVar(&f.batch, "batch-size", 1, "texts of an embeddings request, or documents of a rerank request")
	set.IntVar(&f.queryTokens, "query-tokens", tokens.DefaultQuery, "tokens of the query of a rerank request")
	set.IntVar(&f.images, "images", 0, "images of each prompt, made up from the seed, none like another (0: none)")
	set.StringVar(&f.imageSize, "image-size", "512x512", "`SIZE` of the images in pixels, WIDTHxHEIGHT")

	set.StringVar(&f.tokenizer, "tokenizer", "auto",
		"`TOKENIZER`: whose tokens prompts are made of: auto (the endpoint's own count), o200k_base, cl100k_base, a "+
			"tokenizer.json, .model (SentencePiece) or .tiktoken file, or none")
	set.StringArrayVar(&f.data, "data", nil,
		"`DATA`: requests to send instead of synthetic ones: a file (jsonl, json, csv, txt, parquet, "+
			"arrow, each also gzipped; one of --save-workload), a folder that Hugging Face's datasets saved, or "+
			"synthetic data as GuideLLM writes it (prompt_tokens=256,output_tokens=128); "+
			"repeated: the records of all files, one file after the other")
	set.StringVar(&f.dataColumns, "data-column-mapper", "",
		"`COLUMNS`: those of --data: text_column=question,output_tokens_count_column=n, or the same as a JSON object")
	set.IntVar(&f.dataSamples, "data-samples", 0, "use this number of records of --data (0: all)")
	set.BoolVar(&f.dataShuffle, "data-shuffle", false, "take the records of --data in random order")
	set.StringVar(&f.saveWorkload, "save-workload", "",
		"write every request that is sent to this `FILE` (JSON lines), for --data to send again")

	timeVar(set, &f.stageTime, "max-seconds", 30*time.Second, "length of a stage (0: no limit by time)")
	set.IntVar(&f.maxRequests, "max-requests", 0, "requests of a stage (0: no limit)")
	set.Var((*trimValue)(&f.warmup), "warmup",
		"part of a stage left out at its start: a share if below 1, else seconds (requests, where --max-requests "+
			"alone limits the stage)")
	set.Var((*trimValue)(&f.cooldown), "cooldown", "part of a stage left out at its end, in the same terms")
	timeVar(set, &f.rampup, "rampup", 0, "time over which the streams of a closed loop begin")
	timeVar(set, &f.grace, "grace", 0,
		"how long requests in flight at the end of a stage may still run before they are cancelled")
	set.IntVar(&f.retries, "retry", 0,
		"send a request that is refused with HTTP 429 or 503 again, after its Retry-After, at most `N` times; the "+
			"wait is part of its latency, and no other arrival is held up (0: never)")
	set.IntVar(&f.maxErrors, "max-errors", 0, "a stage ends at this many errors (0: no limit)")
	set.Float64Var(&f.maxErrorRate, "max-error-rate", 0,
		"a stage ends when this share of its last 30 requests failed (0: no limit)")
	set.Float64Var(&f.maxGlobalErrorRate, "max-global-error-rate", 0,
		"a stage ends when this share of all its requests failed (0: no limit)")
	set.IntVar(&f.maxConcurrency, "max-concurrency", loadgen.DefaultMaxConcurrency,
		"safety limit of requests in flight; arrivals that it delays are counted and reported")

	set.StringArrayVar(&f.objectives, "slo", nil,
		"`OBJECTIVES`: what to judge the stages by (default \""+defaultObjectives+"\"); may be repeated")
	set.StringArrayVar(&f.gates, "gate", nil,
		"`GATE`: exit 3 unless it holds: rate>=N (the objectives hold at N req/s or more), slo@N (they hold at N), "+
			"or speed>=N of a trace; may be repeated")
	set.Float64Var(&f.confidence, "confidence", slo.DefaultConfidence, "confidence with which a stage passes or fails")
	set.StringArrayVar(&f.serverMetrics, "server-metrics", []string{"auto"},
		"`WHERE`: the engine's own Prometheus metrics, read once a second: auto (/metrics of the host of each "+
			"target, if it is there), a URL, or off; repeated: NAME=URL for each of several engines")
	set.StringVarP(&f.outputDir, "output-dir", "o", "",
		"`DIR`: folder for the results (default: a new one in "+runsFolder+", named after the time and the "+
			"model); it is made "+
			"if it does not exist, and must not hold results. s3://BUCKET/PREFIX: uploaded at the end, to a new "+
			"folder there")
	set.BoolVar(&f.overwrite, "overwrite", false, "replace the results of an earlier run in --output-dir")
	set.StringSliceVar(&f.outputs, "outputs", []string{"json", "csv", "html"},
		"`FORMS`: files to write: json (benchmarks.json), csv, html (report.html), yaml, screen "+
			"(benchmarks.txt), markdown, "+
			"junit, guidellm-v2 (GuideLLM 0.8's benchmarks-v2.json), or a file name; .gz after one compresses it "+
			"(json.gz)")
	set.StringVar(&f.records, "records", "",
		"write every request as a line of this `FILE` too: .parquet, .jsonl or .csv")
	set.StringVar(&f.hlog, "hlog", "", "write the latencies as an HdrHistogram log to this `FILE`, too")
	set.BoolVar(&f.logReport, "log-report", false,
		"print the report itself, too, compressed and as text, at the end: for where the log is all that outlives a "+
			"run; openloop report reads it from the log")
	set.Var(&f.labels, "label",
		"your own word about the run, kept in the report: gpu=1xL4, change=chunked-prefill; may be repeated")
	set.Var(&f.cost, "cost",
		"what the endpoint costs an hour, such as 1.10/h or $1.10/h: the result says what a million output tokens cost")
	set.IntVar(&f.sampleRequests, "sample-requests", 20,
		"keep prompt and response of this number of requests of a stage in the report; all requests are listed with "+
			"their times")
	set.BoolVar(&f.allowInvalid, "allow-invalid", false, "exit 0 even where the client was invalid")
	set.StringVar(&f.consoleStyle, "console-style", string(spec.StyleOpenLoop),
		"`STYLE`: what is printed at the end: openloop, or guidellm for GuideLLM's own tables")
	set.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress: warnings, errors and the results alone")
	set.StringVar(&f.metricsAddr, "metrics-addr", "",
		"serve the run's own metrics at this `ADDRESS` while it runs, for Prometheus: :9464")
	f.addScreen(set)
	return f
}

// addCredentials adds the flags by which the endpoint knows this client, and this client the endpoint.
func (f *specFlags) addCredentials(set *pflag.FlagSet) {
	set.StringVar(&f.apiKeyFile, "api-key-file", "", "`FILE`: file that holds the API key, such as a mounted Secret")
	set.StringVar(&f.apiKey, "api-key", "",
		"`KEY`: the API key; better in a file or in OPENAI_API_KEY, where other users can't see it")
	set.StringArrayVar(&f.headers, "header", nil, "`'NAME: VALUE'`: further header; may be repeated")
	set.StringVar(&f.caFile, "ca-file", "",
		"`FILE`: PEM file of certificate authorities to trust instead of the system's")
	set.StringVar(&f.clientCert, "client-cert", "",
		"`FILE`: PEM file of the certificate by which the endpoint knows this client (mutual TLS)")
	set.StringVar(&f.clientKey, "client-key", "",
		"`FILE`: PEM file of its key (default: in the file of --client-cert)")
	set.StringVar(&f.serverName, "server-name", "",
		"`NAME` to ask for in TLS (SNI), and that the endpoint's certificate must have (default: the target's host)")
	set.BoolVar(&f.insecure, "insecure", false, "do not verify the endpoint's TLS certificate")
}

// setTLS sets what of an endpoint's configuration addCredentials has flags for, beside its headers.
func (f *specFlags) setTLS(c *endpoint.Config) error {
	c.CAFile, c.Insecure = f.caFile, f.insecure
	c.ClientCert, c.ClientKey, c.ServerName = f.clientCert, f.clientKey, f.serverName
	if c.ClientKey != "" && c.ClientCert == "" {
		return usageError("--client-key needs --client-cert: the certificate that the key belongs to")
	}
	return nil
}

// note says what was settled without being asked for.
func (f *specFlags) note(format string, args ...any) {
	if !f.quiet {
		writeMessage(f.program.stderr, spec.Progress(f.progress), "note", fmt.Sprintf(format, args...))
	}
}

// screenFlags are the flags about what is shown.
type screenFlags struct {
	progress      string
	noColor, wide bool
}

func (f *screenFlags) addScreen(set *pflag.FlagSet) {
	set.StringVar(&f.progress, "progress", string(spec.AutoProgress),
		"`HOW`: how the run is shown as it goes: screen (drawn in place on a terminal), plain (a line a "+
			"stage, and one every "+
			"10 s), json (the same as JSON lines), or auto")
	f.addEnd(set)
}

// addEnd adds those about the results alone.
func (f *screenFlags) addEnd(set *pflag.FlagSet) {
	set.BoolVar(&f.noColor, "no-color", false, "no colours (also: the variable NO_COLOR)")
	set.BoolVar(&f.wide, "wide", false, "print all columns of the table, which then takes more than 80")
}

// checkProgress says what is wrong with --progress.
func (f *screenFlags) checkProgress() error {
	switch spec.Progress(f.progress) {
	case spec.AutoProgress, spec.ScreenProgress, spec.PlainProgress, spec.JSONProgress:
		return nil
	}
	return usageError("--progress %q: it is auto, screen, plain or json", f.progress)
}

// check says what is wrong with the flags that a spec.Spec has no words for; spec.Validate sees the rest.
func (f *specFlags) check() error {
	switch {
	case f.target == "":
		return withHint(usageError("no target: give the URL of an endpoint, such as http://host:8000"),
			"sim:l4-qwen2.5-0.5b in its place tries openloop without a server")
	case f.apiKey != "" && f.apiKeyFile != "":
		return usageError("--api-key and --api-key-file contradict each other: give one")
	case f.insecure && f.caFile != "":
		return usageError("--insecure and --ca-file contradict each other: with --insecure no certificate is verified")
	case f.stageTime < 0 || f.stageTime > longestStage:
		return usageError("--max-seconds %s: it must be above 0 and at most %s, or 0 for no limit by time",
			shortTime(f.stageTime), shortTime(longestStage))
	case f.stageTime == 0 && f.maxRequests == 0 && f.trace == "":
		return usageError("a stage needs a limit: --max-seconds or --max-requests above 0")
	case f.warmup.Percent < 0 || f.warmup.Value < 0 || f.cooldown.Percent < 0 || f.cooldown.Value < 0:
		return usageError("--warmup and --cooldown can't be negative")
	case f.warmup.Percent+f.cooldown.Percent >= 1:
		return usageError("--warmup %v and --cooldown %v leave nothing of a stage", f.warmup.Percent,
			f.cooldown.Percent)
	case f.maxConcurrency < 1:
		return usageError("--max-concurrency %d: it must be at least 1", f.maxConcurrency)
	case f.prefixTokens < 0 || f.prefixCount < 1:
		return usageError("--prefix-tokens can't be negative, and --prefix-count must be at least 1")
	case f.tokenizer == "":
		return usageError("--tokenizer is empty: it is auto, o200k_base, cl100k_base, none, or a file")
	case len(f.data) == 0 && (f.dataColumns != "" || f.dataSamples != 0 || f.dataShuffle):
		return usageError("--data-column-mapper, --data-samples and --data-shuffle need --data")
	case f.dataSamples < 0:
		return usageError("--data-samples %d: it can't be negative", f.dataSamples)
	case f.consoleStyle != string(spec.StyleOpenLoop) && f.consoleStyle != string(spec.StyleGuideLLM):
		return usageError("--console-style %q: it is openloop or guidellm", f.consoleStyle)
	case f.set.Changed("output-dir") && f.outputDir == "":
		return usageError("--output-dir is empty: name a folder, . for this one")
	case f.overwrite && f.outputDir == "":
		return usageError("--overwrite needs --output-dir: a new folder holds nothing")
	}
	if len(f.data) > 0 {
		for _, name := range []string{"prompt-tokens", "prompt-tokens-stdev", "prompt-tokens-min", "prompt-tokens-max",
			"prefix-tokens", "prefix-count"} {
			if f.set.Changed(name) {
				return usageError("--%s and --data contradict each other: the data has its own prompts", name)
			}
		}
	}
	if err := f.promptTokens.check("prompt-tokens"); err != nil {
		return err
	}
	if err := f.checkProgress(); err != nil {
		return err
	}
	return f.outputTokens.check("output-tokens")
}

// spec turns the flags into what they ask for. args are the arguments that are not flags: the target, or nothing. Its
// plan is the caller's to fill in.
func (f *specFlags) spec(args []string) (spec.Spec, error) {
	f.chooseTarget(args)
	if err := f.check(); err != nil {
		return spec.Spec{}, err
	}
	s := spec.Spec{Confidence: f.confidence}
	var err error
	var own []slo.Objective
	if s.Mix, own, err = f.parseMix(); err != nil {
		return s, err
	}
	if len(own) == 0 || len(f.objectives) > 0 { // else those of the classes are in the place of the default
		if s.Objectives, err = f.parseObjectives(); err != nil {
			return s, err
		}
	}
	if s.Objectives, err = slo.ForClasses(append(s.Objectives, own...), s.Classes()); err != nil {
		return s, usageError("--slo: %w", err)
	}
	for _, text := range f.gates {
		g, err := slo.ParseGate(text)
		if err != nil {
			return s, usageError("--gate: %w", err)
		}
		switch {
		case g.Speed && !f.speeds:
			return s, withHint(usageError("--gate %s is of a search over the speed of a trace", g),
				"openloop sweep --trace FILE --gate "+g.String())
		case !g.Speed && f.speeds:
			return s, withHint(usageError("--gate %s and --trace contradict each other: the search has speeds", g),
				"--gate 'speed>=1.5'")
		}
		s.Gates = append(s.Gates, g)
	}
	if s.Endpoint, err = f.endpoint(); err != nil {
		return s, err
	}
	if s.Targets, err = f.parseTargets(s.Endpoint); err != nil {
		return s, err
	}
	if s.Targets != nil {
		s.Endpoint = s.Targets[0].Endpoint
		s.Endpoint.Target = shownTargets(s.Targets)
	}
	if s.Workload, err = f.workload(); err != nil {
		return s, err
	}
	s.Limits = spec.Limits{
		MaxDuration: f.stageTime, MaxRequests: f.maxRequests,
		MaxErrors: f.maxErrors, MaxErrorRate: f.maxErrorRate, MaxGlobalErrorRate: f.maxGlobalErrorRate,
		Warmup: f.warmup, Cooldown: f.cooldown, Grace: f.grace, RampUp: f.rampup, Retries: f.retries,
	}
	if f.set.Changed("max-concurrency") {
		s.Limits.MaxConcurrency = f.maxConcurrency
	}
	s.Output = spec.Output{
		Dir: f.outputDir, Earlier: spec.RefuseEarlier, Files: f.outputs, Records: f.records, HLog: f.hlog,
		SampleRequests: f.sampleRequests, Style: spec.Style(f.consoleStyle), Quiet: f.quiet,
		AllowInvalid: f.allowInvalid, LogReport: f.logReport, Labels: f.labels, Cost: f.cost.cost,
		Progress: spec.Progress(f.progress), NoColor: f.noColor, Wide: f.wide, MetricsAddr: f.metricsAddr,
		Command: append([]string{"openloop"}, endpoint.RedactCommand(f.program.args, secretFlags)...),
	}
	if s.Workers, err = f.parseWorkers(s.Endpoint); err != nil {
		return s, err
	}
	if err := checkMix(&s); err != nil {
		return s, err
	}
	if f.overwrite {
		s.Output.Earlier = spec.OverwriteEarlier
	}
	if f.program.settings != nil {
		keyFrom := ""
		if f.apiKey == "" && f.apiKeyFile == "" && os.Getenv(keyVariable) != "" {
			keyFrom = keyVariable
		}
		s.Output.Repeat = f.program.settings.repeated(keyFrom)
	}
	return s, nil
}

// chooseTarget takes the target from the argument, or from --target.
func (f *specFlags) chooseTarget(args []string) {
	if len(args) > 0 {
		f.targets = args[:1]
	}
	if len(f.targets) > 0 {
		_, f.target = splitTarget(f.targets[0])
	}
}

// parseObjectives reads --slo.
func (f *specFlags) parseObjectives() ([]slo.Objective, error) {
	texts := f.objectives
	pooling := isPooling(f.requestType)
	switch {
	case len(texts) > 0:
	case pooling:
		texts = []string{poolingObjectives}
	default:
		texts = []string{defaultObjectives}
	}
	var all []slo.Objective
	for _, text := range texts {
		o, err := slo.ParseObjectives(text)
		if err != nil {
			return nil, withHint(usageError("--slo: %w", err),
				"METRIC:PERCENTILE<BOUND, such as 'ttft:p95<250ms tpot:p95<50ms errors<1%', or a preset")
		}
		all = append(all, o...)
	}
	if pooling {
		return all, checkPooling(all)
	}
	return all, nil
}

const simScheme = "sim:"

// endpoint is who is asked.
func (f *specFlags) endpoint() (endpoint.Config, error) {
	c := endpoint.Config{
		Target: f.target, Model: f.oneModel(), HTTP2: f.http2,
		ConnectTimeout: f.connectTimeout, RequestTimeout: f.requestTimeout,
		WaitReady: f.waitReady,
	}
	if err := f.setTLS(&c); err != nil {
		return c, err
	}
	var login endpoint.Secret
	var err error
	if sim, ok := strings.CutPrefix(f.target, simScheme); ok {
		c.Sim = sim
	} else if login, err = setAddress(&c, f.target); err != nil {
		return c, err
	}
	if c.Headers, err = f.parseHeaders(); err != nil {
		return c, err
	}
	c.Authorize(login)
	key, err := f.key()
	if err != nil {
		return c, err
	}
	c.Authorize(key)
	c.Metrics, err = f.parseServerMetrics()
	return c, err
}

// oneModel is the model to ask for, "" where a mix has several.
func (f *specFlags) oneModel() string {
	if strings.Contains(f.model, ",") {
		return ""
	}
	return f.model
}

// setAddress takes the address of a target, as people name it, without the login that may be in it.
func setAddress(c *endpoint.Config, target string) (login endpoint.Secret, err error) {
	if c.Address, login, err = endpoint.ParseBase(target); err != nil {
		return login, usageError("--target: %w", err)
	}
	shown, _, _ := endpoint.ParseAddress(target)
	c.Target = shown.String()
	return login, nil
}

// base is what the flags say that openloop's commands share with GuideLLM's: the rest is GuideLLM's to say.
func (f *specFlags) base() (spec.Spec, error) {
	objectives, err := f.parseObjectives()
	if err != nil {
		return spec.Spec{}, err
	}
	s := spec.Spec{Objectives: objectives, Confidence: f.confidence}
	if s.Endpoint.Headers, err = f.parseHeaders(); err != nil {
		return s, err
	}
	if f.requestType == tokens.Messages.String() {
		s.Endpoint.Headers = withAnthropicVersion(s.Endpoint.Headers)
	}
	if err := f.setTLS(&s.Endpoint); err != nil {
		return s, err
	}
	s.Endpoint.ConnectTimeout, s.Endpoint.RequestTimeout = f.connectTimeout, f.requestTimeout
	s.Endpoint.WaitReady = f.waitReady
	s.Limits.Grace = f.grace
	if f.set.Changed("max-concurrency") {
		s.Limits.MaxConcurrency = f.maxConcurrency
	}
	s.Output.Style, s.Output.AllowInvalid = spec.Style(f.consoleStyle), f.allowInvalid
	s.Output.MetricsAddr = f.metricsAddr
	return s, nil
}

// anthropicVersion is the version of the Messages API that openloop speaks. Anthropic's own endpoint asks for it.
const anthropicVersion = "2023-06-01"

// withAnthropicVersion adds the API's version to the headers, unless it is among them.
func withAnthropicVersion(headers []endpoint.Header) []endpoint.Header {
	const name = "anthropic-version"
	if slices.ContainsFunc(headers, func(h endpoint.Header) bool { return strings.EqualFold(h.Name, name) }) {
		return headers
	}
	return append(headers, endpoint.Header{Name: name, Value: endpoint.NewSecret(anthropicVersion)})
}

// parseHeaders reads --header.
func (f *specFlags) parseHeaders() ([]endpoint.Header, error) {
	var headers []endpoint.Header
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		// The text is not repeated: it may hold a secret.
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return nil, usageError("a --header is not of the form 'Name: value'")
		}
		headers = append(headers, endpoint.Header{Name: name, Value: endpoint.NewSecret(value)})
	}
	return headers, nil
}

// key finds the API key, as the value of an Authorization header: the flags go over the environment. It is empty where
// there is none.
func (f *specFlags) key() (endpoint.Secret, error) {
	key, from := os.Getenv(keyVariable), keyVariable
	if f.apiKey != "" {
		key, from = f.apiKey, "--api-key"
	}
	if f.apiKeyFile != "" {
		raw, err := os.ReadFile(f.apiKeyFile)
		if err != nil {
			return endpoint.Secret{}, usageError("--api-key-file: %w", err)
		}
		key, from = string(raw), "the file of --api-key-file"
		if strings.TrimSpace(key) == "" {
			return endpoint.Secret{}, usageError("--api-key-file: %s is empty", f.apiKeyFile)
		}
	}
	key = strings.TrimSpace(key)
	for _, r := range key {
		if r <= ' ' || r >= 0x7f {
			return endpoint.Secret{}, usageError(
				"the key in %s holds a character that no HTTP header may hold (a line break inside it?)", from)
		}
	}
	if key == "" {
		return endpoint.Secret{}, nil
	}
	return endpoint.NewSecret("Bearer " + key), nil
}

// workload is what is sent.
func (f *specFlags) workload() (tokens.Spec, error) {
	w := tokens.Spec{
		Format: tokens.ChatCompletions, Extra: []byte(f.extraBody), NoIgnoreEOS: f.noIgnoreEOS, Tokenizer: f.tokenizer,
		Seed: f.promptsSeed(), SaveTo: f.saveWorkload,
	}
	var err error
	if w.Format, err = tokens.ParseFormat(f.requestType); err != nil {
		return w, usageError("--request-type %q: %v", f.requestType, err)
	}
	if err := f.poolingWorkload(&w); err != nil {
		return w, err
	}
	sessions, err := f.sessions()
	if err != nil {
		return w, err
	}
	if sessions != nil && f.trace != "" && !f.wholeTalks {
		return w, withHint(usageError("--turns and --trace contradict each other: a trace has its own turns"),
			"--sessions sends them")
	}
	if err := f.checkImages(); err != nil {
		return w, err
	}
	switch {
	case f.trace != "":
		w.Trace = &tokens.TraceSpec{
			File: f.trace, Speed: f.traceSpeed, Requests: f.maxRequests,
			BlockTokens: f.traceBlock, TimeUnit: f.traceUnit, Sessions: sessions,
		}
		if f.set.Changed("think-time") {
			w.Trace.Think = &sessions.Think
		}
	case len(f.data) > 0:
		columns, err := tokens.ParseColumns(columnsJSON(f.dataColumns))
		if err != nil {
			return w, usageError("--data-column-mapper: %w", err)
		}
		w.Data = &tokens.DataSpec{Source: f.data[0], Further: f.data[1:], Columns: columns, Samples: f.dataSamples,
			Shuffle: f.dataShuffle, Seed: f.seed, Sessions: sessions}
		if f.set.Changed("output-tokens") {
			w.Data.Output = f.outputTokens.mean
		}
	default:
		w.Synthetic = &tokens.SyntheticSpec{Prompt: f.promptTokens.length(), Output: f.outputTokens.length()}
		w.Synthetic.Sessions = sessions
		if !w.Format.Generates() {
			w.Synthetic.Output = tokens.Length{}
		}
		if w.Synthetic.Images, err = f.imageSpec(); err != nil {
			return w, err
		}
		if f.prefixTokens > 0 {
			w.Synthetic.Prefixes = []tokens.PrefixBucket{{Weight: 100, Count: f.prefixCount, Tokens: f.prefixTokens}}
		}
	}
	return w, nil
}

// sessions are what --turns or --sessions asks for; nil where neither does.
func (f *specFlags) sessions() (*tokens.SessionSpec, error) {
	sizes := []string{"turns", "turns-stdev", "turns-min", "turns-max", "turn-tokens", "turn-tokens-stdev",
		"turn-tokens-min", "turn-tokens-max"}
	switch {
	case f.wholeTalks && len(f.data) == 0 && f.trace == "":
		return nil, usageError(
			"--sessions needs --data or --trace: whose conversations are sent (--turns makes them up)")
	case len(f.data) > 0:
		for _, name := range sizes {
			if f.set.Changed(name) {
				return nil, withHint(
					usageError("--%s and --data contradict each other: the data has its own turns", name),
					"--sessions sends them")
			}
		}
	}
	if !f.asksForSessions() {
		for _, name := range append(sizes[1:], "think-time", "history") {
			if f.set.Changed(name) && f.mix == "" { // whose classes may have sessions
				return nil, usageError(
					"--%s needs --turns (how many requests a session has), or --sessions with --data", name)
			}
		}
		return nil, nil
	}
	if !f.wholeTalks {
		if err := f.turns.check("turns"); err != nil {
			return nil, err
		}
	}
	if f.turnTokens.mean > 0 {
		if err := f.turnTokens.check("turn-tokens"); err != nil {
			return nil, err
		}
	}
	switch {
	case f.history != "real" && f.history != "recorded":
		return nil, usageError("--history %q: it is real or recorded", f.history)
	case f.requestType != "chat_completions":
		return nil, usageError("--request-type %s: sessions are of chat requests", f.requestType)
	case f.saveWorkload != "":
		return nil, usageError("--save-workload: sessions can't be saved")
	}
	think, err := tokens.ParseThinkTime(f.thinkTime, parseTime)
	if err != nil {
		return nil, withHint(usageError("--think-time: %w", err), "it is "+tokens.ThinkForms)
	}
	return &tokens.SessionSpec{Turns: f.turns.length(), Think: think, Prompt: f.turnTokens.length(),
		Recorded: f.history == "recorded"}, nil
}

// asksForSessions says whether it is sessions that arrive.
func (f *specFlags) asksForSessions() bool { return f.turns.mean != 0 || f.wholeTalks }

// columnsJSON is --data-column-mapper as JSON, which it is, or pairs: text_column=prompt,prefix_column=system.
func columnsJSON(text string) string {
	pairs := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		name, column, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || strings.HasPrefix(name, "{") {
			return text
		}
		pairs[name] = column
	}
	written, err := json.Marshal(pairs)
	if err != nil {
		return text
	}
	return string(written)
}

// promptsSeed is the seed of the run's prompts. Where none was asked for, no two runs have the same: the second would
// find its prompts in the server's prefix cache, and measure that.
func (f *specFlags) promptsSeed() int64 {
	switch {
	case f.set.Changed("prompt-seed"):
		return f.promptSeed
	case f.set.Changed("seed"):
		return f.seed
	}
	return rand.Int64N(1 << 40)
}
