package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/tokens"
)

// runBenchmark is "openloop benchmark": run (which may be left out, as with GuideLLM) and from-file.
func runBenchmark(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	switch {
	case len(args) == 0 || args[0] == "--help" || args[0] == "-h":
		fmt.Fprint(stdout, `openloop benchmark takes the commands and flags of "guidellm benchmark" 0.5.0.

  openloop benchmark run --help          run a benchmark
  openloop benchmark from-file --help    print or convert a saved report
`)
		return pflag.ErrHelp
	case args[0] == "run":
		return runGuideBenchmark(ctx, args[1:], stdout, stderr)
	case args[0] == "from-file":
		return runFromFile(args[1:], stdout, stderr)
	case strings.HasPrefix(args[0], "-"):
		return runGuideBenchmark(ctx, args, stdout, stderr)
	}
	return usageError("there is no command %q of openloop benchmark; there are run and from-file", args[0])
}

// ownFlags are those of openloop's flags that "benchmark run" has beside GuideLLM's.
var ownFlags = []string{
	"api-key-file", "api-key", "header", "ca-file", "insecure", "connect-timeout", "request-timeout", "grace", "max-concurrency", "slo", "console-style", "allow-invalid",
}

// guideFlags makes the flags of "benchmark run": GuideLLM's, then openloop's own.
func guideFlags(stdout io.Writer) (*pflag.FlagSet, *loadFlags) {
	set := newFlagSet("benchmark run", stdout, `openloop benchmark run takes the flags of "guidellm benchmark run" 0.5.0 and its GUIDELLM_…
environment variables, and writes the same report.

  openloop benchmark run --target http://localhost:8000 --profile constant --rate 5,10 \
    --max-seconds 30 --data 'prompt_tokens=256,output_tokens=128'`)
	addGuideFlags(set)
	others := newFlagSet("benchmark run", stdout, "")
	f := addLoadFlags(others)
	for _, name := range ownFlags {
		flag := others.Lookup(name)
		if flag.Name == "console-style" {
			flag.Usage = "what is printed at the end: guidellm (default) for its tables, or openloop for its own screen"
			flag.DefValue = ""
		}
		set.AddFlag(flag)
	}
	f.consoleStyle = styleGuideLLM
	f.set = set
	return set, f
}

func runGuideBenchmark(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set, f := guideFlags(stdout)
	f.args = args
	if err := parse(set, args, stdout); err != nil {
		return err
	}
	values, err := collectGuide(set, os.Getenv)
	if err != nil {
		return err
	}
	p, err := planGuide(values, os.Getenv)
	if err != nil {
		return err
	}
	if err := p.apply(f); err != nil {
		return err
	}
	for _, s := range p.strategies {
		if s.Streams > f.maxConcurrency {
			return usageError("--rate %d: more streams than --max-concurrency %d allows", s.Streams, f.maxConcurrency)
		}
	}
	count, asked, err := p.countRecords()
	if err != nil {
		return err
	}
	if p.freeLength > 0 && count > 0 && p.isFile() {
		if asked > 0 {
			return usageError("--request-formatter-kwargs: %d of the %d records say how long their answer is to be, and the others would take max_tokens: openloop takes one or the other", asked, count)
		}
		f.extraBody, err = p.withLength()
		if err != nil {
			return err
		}
	}
	if count > 0 && (f.maxRequests == 0 || count < f.maxRequests) {
		f.maxRequests = count // the data's end ends the stage, as in GuideLLM
	}
	if !p.noConsole {
		for _, n := range p.notes {
			fmt.Fprintf(stderr, "note: %s\n", n)
		}
		if !p.limited && count == 0 {
			fmt.Fprintln(stderr, "note: neither --max-seconds nor --max-requests is given, so that, as in GuideLLM, the first stage has no end; Ctrl-C ends it and saves what was measured")
		}
	}
	s, err := openSession(ctx, f, stdout, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	if err := p.prepare(s); err != nil {
		return err
	}
	var result *sweep.Result
	if p.strategies == nil {
		s.run.Profile, s.run.Size = "sweep", p.sweepSize
		s.watch(p.sweepSize)
		p.watchSaturation(s)
		result, err = s.plan.Sweep(ctx, sweep.SweepConfig{Size: p.sweepSize, Seed: p.args.RandomSeed})
	} else {
		s.run.Profile = p.args.Profile
		if s.run.Profile == "async" { // constant by another name, and a report names the arrivals
			s.run.Profile = string(loadgen.ConstantGap)
		}
		for _, st := range p.strategies {
			if st.Kind.Open() {
				s.run.Rates = append(s.run.Rates, st.Rate)
			} else {
				s.run.Streams = append(s.run.Streams, st.Streams)
			}
		}
		s.watch(len(p.strategies))
		p.watchSaturation(s)
		result, err = s.plan.Run(ctx, p.strategies)
	}
	return s.finish(result, err)
}

// apply sets openloop's own flags as the plan asks.
func (p *guidePlan) apply(f *loadFlags) error {
	f.target, f.model = p.args.Target, p.args.Model.Value
	f.requestType, f.seed, f.extraBody = p.requestType, p.args.RandomSeed, p.extraBody
	f.insecure = f.insecure || !p.verify
	f.http2 = p.http2
	for _, name := range slices.Sorted(maps.Keys(p.header)) {
		f.headers = append(f.headers, name+": "+p.header.Get(name))
	}
	f.maxSeconds, _ = numberValue(p.args.MaxSeconds)
	f.maxRequests = int(p.args.MaxRequests.Value)
	if !p.limited {
		f.maxSeconds = noLimit
	}
	f.maxErrors = int(p.args.MaxErrors.Value)
	f.maxErrorRate, f.maxGlobalErrorRate = p.args.MaxErrorRate.Value, p.args.MaxGlobalErrorRate.Value
	f.rampup = time.Duration(p.args.Rampup * float64(time.Second))
	f.outputDir, f.outputs, f.sampleRequests = p.outputDir, p.outputs, p.sampleRequests
	f.quiet = p.noProgress
	if p.noConsole {
		f.consoleStyle = styleNone
	}
	if p.limited && f.maxSeconds > 0 {
		warm, cool := p.trim(p.args.Warmup, f.maxSeconds), p.trim(p.args.Cooldown, f.maxSeconds)
		if warm+cool >= f.maxSeconds {
			return usageError("--warmup and --cooldown leave nothing of a stage of %v seconds", f.maxSeconds)
		}
	}
	f.data, f.dataSamples, f.dataShuffle = p.data, p.samples, p.args.DataSampler == "shuffle"
	if p.columns != nil {
		text, err := json.Marshal(p.columns)
		if err != nil {
			return err
		}
		f.dataColumns = string(text)
	}
	if p.processor != "" {
		f.tokenizer = p.processor
	}
	return nil
}

// isFile says whether the data is a file of records.
func (p *guidePlan) isFile() bool {
	_, synthetic, err := tokens.ParseSynthetic(p.data)
	return err == nil && !synthetic
}

// withLength is the further fields of a request with the formatter's limit of the answer, for records that say none.
func (p *guidePlan) withLength() (string, error) {
	field := "max_completion_tokens"
	if p.requestType == "text_completions" {
		field = "max_tokens"
	}
	fields := guidellm.Object{{Key: field, Value: int64(p.freeLength)}}
	if p.extraBody != "" {
		more, err := parseJSONValue([]byte(p.extraBody))
		if err != nil {
			return "", err
		}
		if o, ok := more.(guidellm.Object); ok {
			fields = append(fields, o...)
		}
	}
	return jsonText(fields)
}

// trim is a warmup or cooldown in seconds, 0 where it counts requests.
func (p *guidePlan) trim(v any, seconds float64) float64 {
	percent, value, mode := math.NaN(), math.NaN(), ""
	switch t := v.(type) {
	case int64, float64:
		if x, _ := numberValue(t); x < 1 {
			percent = x
		} else {
			value = x
		}
	case guidellm.Object:
		if x, ok := numberValue(t.Get("percent")); ok {
			percent = x
		}
		if x, ok := numberValue(t.Get("value")); ok {
			value = x
		}
		mode = t.Text("mode")
	}
	switch {
	case mode == "requests" || mode == "prefer_requests" && p.args.MaxRequests.Valid:
		return 0
	case !math.IsNaN(percent):
		return percent * seconds
	case !math.IsNaN(value):
		return value
	}
	return 0
}

// countRecords counts the requests that the data holds, 0 for synthetic data without end. Bad records show themselves
// here, before any load. asked counts those that say how long their answer is to be.
func (p *guidePlan) countRecords() (count, asked int, err error) {
	d, err := tokens.OpenData(p.data, tokens.DataConfig{Columns: p.columns, Samples: p.samples})
	if err != nil {
		return 0, 0, usageError("--data: %w", err)
	}
	defer d.Close()
	if d.Kind == "synthetic" {
		return p.samples, 0, nil
	}
	next := d.Source()
	for n := 0; ; n++ {
		item, err := next(n)
		switch {
		case errors.Is(err, io.EOF) && n == 0:
			return 0, 0, usageError("--data %s holds no record", p.data)
		case errors.Is(err, io.EOF):
			return n, asked, nil
		case err != nil:
			return 0, 0, usageError("--data: %w", err)
		}
		if item.OutputTokens > 0 {
			asked++
		}
	}
}

// prepare sets what the flags of sweep and run have no words for.
func (p *guidePlan) prepare(s *session) error {
	if p.noStream {
		format := tokens.ChatCompletions
		if p.requestType == "text_completions" {
			format = tokens.TextCompletions
		}
		body, err := tokens.NewBody(tokens.BodyConfig{Format: format, Model: s.run.Model, NoStream: true, Extra: []byte(s.flags.extraBody)})
		if err != nil {
			return usageError("--request-formatter-kwargs: extras.body: %w", err)
		}
		s.work.body, s.run.Stream = body, false
	}
	s.run.Args = p.args
	s.run.Command = safeGuideCommand(s.flags.args)
	s.plan.Stage.Warmup, s.plan.Stage.Cooldown = 0, 0
	if p.limited && s.flags.maxSeconds > 0 {
		s.plan.Stage.Warmup = time.Duration(p.trim(p.args.Warmup, s.flags.maxSeconds) * float64(time.Second))
		s.plan.Stage.Cooldown = time.Duration(p.trim(p.args.Cooldown, s.flags.maxSeconds) * float64(time.Second))
	}
	if !p.limited {
		s.run.Args.Warmup, s.run.Args.Cooldown = nil, nil
	}
	s.amend = p.amend
	return nil
}

// watchSaturation ends every stage at which the server does not keep up.
func (p *guidePlan) watchSaturation(s *session) {
	if p.over == nil {
		return
	}
	var mu sync.Mutex
	detectors := map[*loadgen.Run]*oversaturation.Detector{}
	s.plan.Observe = func(e loadgen.Event) {
		mu.Lock()
		defer mu.Unlock()
		d := detectors[e.Run]
		if d == nil {
			clear(detectors) // stages run one after the other
			d = oversaturation.New(*p.over)
			detectors[e.Run] = d
		}
		saturated := false
		switch at := e.At.Seconds(); {
		case !e.Ended:
			saturated = d.Started(at, e.InFlight)
		case e.Record.Status == loadgen.Completed && e.Record.FirstToken > 0:
			saturated = d.Finished(at, float64(e.Record.FirstToken-e.Record.Sent)/1e9)
		default:
			saturated = d.Passed(at)
		}
		if saturated {
			e.Run.StopFor(loadgen.StopOverSaturated)
		}
	}
}

// amend adds to the report what its builder does not know of.
func (p *guidePlan) amend(r *guidellm.Report) {
	if p.over == nil {
		return
	}
	c := p.over
	constraint := guidellm.Object{
		{Key: "type_", Value: "over_saturation"}, {Key: "minimum_duration", Value: c.MinSeconds}, {Key: "minimum_ttft", Value: c.MinTTFT},
		{Key: "maximum_window_seconds", Value: c.MaxWindow}, {Key: "maximum_window_ratio", Value: c.MaxWindowRatio},
		{Key: "minimum_window_size", Value: int64(c.MinWindowSize)}, {Key: "moe_threshold", Value: c.MOEThreshold},
		{Key: "confidence", Value: c.Confidence}, {Key: "enabled", Value: c.Enabled},
	}
	for _, b := range r.Benchmarks {
		b.Config.Constraints = append(b.Config.Constraints, guidellm.Member{Key: "over_saturation", Value: constraint})
	}
}

// safeGuideCommand is the command line without what is secret in it.
func safeGuideCommand(args []string) []string {
	command := []string{"openloop", "benchmark", "run"}
	secret := func(name string) bool {
		return slices.Contains([]string{"--api-key", "--header", "--request-formatter-kwargs", "--backend-kwargs", "--backend-args"}, name)
	}
	hide := false
	for _, arg := range args {
		name, _, joined := strings.Cut(arg, "=")
		switch {
		case hide:
			command, hide = append(command, "[redacted]"), false
		case secret(name) && joined:
			command = append(command, name+"=[redacted]")
		default:
			hide = secret(name)
			command = append(command, arg)
		}
	}
	return command
}

// runFromFile is "guidellm benchmark from-file": print a report, or write it in other forms.
func runFromFile(args []string, stdout, stderr io.Writer) error {
	set := newFlagSet("benchmark from-file", stdout, `openloop benchmark from-file [FILE] prints a report or writes it in other forms, as "guidellm
benchmark from-file" 0.5.0 does (default FILE: benchmarks.json).`)
	outputPath := set.String("output-path", ".", "folder for the files, or a file whose ending is the form")
	formats := set.StringArray("output-formats", nil, "console, json, yaml, csv or a file name; repeated (default console and json)")
	files, err := parseFiles(set, args)
	if err != nil {
		return err
	}
	file := "benchmarks.json"
	switch len(files) {
	case 0:
	case 1:
		file = files[0]
	default:
		return usageError("openloop benchmark from-file takes one report; %d were named", len(files))
	}
	if len(*formats) == 0 {
		*formats = []string{formatConsole, formatJSON}
	}
	dir := *outputPath
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if filepath.Ext(dir) != "" { // a file: it takes the place of the form that it has
			kind := strings.TrimPrefix(filepath.Ext(dir), ".")
			for i, f := range *formats {
				if f == kind {
					(*formats)[i] = filepath.Base(dir)
				}
			}
			dir = filepath.Dir(dir)
		}
	}
	var outputs []guidellm.Output
	console := false
	for _, name := range *formats {
		if name == formatConsole {
			console = true
			continue
		}
		o, err := guidellm.ParseOutputs([]string{name})
		if err != nil {
			return usageError("--output-formats: %w", err)
		}
		outputs = append(outputs, o...)
	}
	r, err := guidellm.ReadFile(file)
	if err != nil {
		return err
	}
	tellUnknown(stderr, file, r)
	if len(outputs) > 0 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, o := range outputs {
		name := filepath.Join(dir, o.File)
		if filepath.IsAbs(o.File) {
			name = o.File
		}
		if err := guidellm.WriteFile(name, o.Format, r); err != nil {
			return fmt.Errorf("saving %s: %w", name, err)
		}
		fmt.Fprintf(stderr, "saved %s\n", name)
	}
	if console {
		return guidellm.WriteConsole(stdout, r, time.Local)
	}
	return nil
}
