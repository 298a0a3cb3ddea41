package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/spec"
)

// runOption is one option of "guidellm run" 0.8.1 (cli/run.py; those of the scenario: schemas/benchmark/entrypoints.py,
// BenchmarkArgs).
type runOption struct {
	names []string // of its flag, the older ones behind
	field string   // of the scenario's spec; "" for an option of the command alone
	many  bool     // it may be repeated, and is a list in the scenario
	usage string
}

var runOptions = []runOption{
	{[]string{"scenario", "config"}, "", false,
		"JSON or YAML `FILE` of a scenario, a report whose scenario is taken, or rhaiis/NAME for one that GuideLLM " +
			"brings along; other flags go over it"},
	{[]string{"label"}, "", true, "`KEY=VALUE`, a label of the run; repeated for several"},
	{[]string{"backend"}, "backend", false,
		"kind=openai_http,target=http://host:port and model, request_format, api_key, stream, extras, max_tokens, " +
			"verify, http2, timeout_connect; target=sim:PRESET for the simulated engine"},
	{[]string{"profile"}, "profile", false,
		"kind=synchronous, concurrent (streams), throughput (max_concurrency), constant, poisson, async (rate), " +
			"sweep (sweep_size, strategy_type) or replay (time_scale); also warmup, cooldown, rampup_duration"},
	{[]string{"constraint"}, "constraints", true,
		"kind=max_requests, min_requests or max_errors (count); max_duration (seconds); max_error_rate, " +
			"max_global_error_rate (rate) or over_saturation; repeated for several"},
	{[]string{"tokenizer"}, "tokenizer", false,
		"kind=huggingface_auto,model=… where that is a tokenizer.json or its folder (any other: the endpoint's count)"},
	{[]string{"data"}, "data", true,
		"kind=synthetic_text (prompt_tokens, output_tokens, turns, prefix_buckets, …), json_file, csv_file, " +
			"text_file, parquet_file, arrow_file (path), huggingface (source: a local file), in_memory_…, mooncake " +
			"or trace_synthetic (source)"},
	{[]string{"data-column-mapper"}, "data_column_mapper", false,
		"kind=generative_column_mapper with column_mappings: names of columns for text_column, prefix_column, " +
			"prompt_tokens_count_column and output_tokens_count_column"},
	{[]string{"data-preprocessor"}, "data_preprocessors", true, "kind=encode_media, which texts do not need"},
	{[]string{"data-finalizer"}, "data_finalizer", false, "kind=generative"},
	{[]string{"data-loader"}, "data_loader", false, "kind=pytorch with samples and shuffle"},
	{[]string{"seed"}, "seed", false, "kind=static,value=… for arrivals and prompts (default 42)"},
	{[]string{"output"}, "outputs", true,
		"kind=json (schema 2), yaml, csv, html, plot or console, with path; repeated (default json and csv)"},
	{[]string{"metrics"}, "metrics", false, "kind=generative,sample_size=… for prompts and answers that are kept"},
	{[]string{overrideFlag}, "", true,
		"`KEY VALUES`: profile.rate or profile.streams of each benchmark, and values of its constraints, with commas " +
			"between; repeated"},
}

const overrideFlag = "override"

// runSecrets are the flags of "guidellm run" whose values may hold a credential, openloop's own among them.
var runSecrets = []string{"api-key", "header", "backend", "data", "tokenizer", overrideFlag, "metrics"}

// RunFields are the flags of "guidellm run" that "openloop run" does not have, and by which it is told apart from it.
var RunFields = []string{
	"backend", "constraint", "scenario", "output", overrideFlag, "metrics", "data-loader", "data-finalizer",
	"data-preprocessor",
}

// AddRunFlags adds the flags of "guidellm run" 0.8.1 to a flag set. Older names are hidden from the help.
func AddRunFlags(set *pflag.FlagSet) {
	shorts := map[string]string{"scenario": "c", "label": "l"}
	for _, o := range runOptions {
		for i, name := range o.names {
			set.StringArrayP(name, shorts[name], nil, o.usage)
			if i > 0 {
				_ = set.MarkHidden(name)
			}
		}
	}
	for _, o := range []struct{ name, older, usage string }{
		{"disable-console", "disable-console-outputs", "print neither progress nor results"},
		{"disable-console-interactive", "disable-progress", "print no progress"},
	} {
		set.Bool(o.name, false, o.usage)
		set.Bool(o.older, false, o.usage)
		_ = set.MarkHidden(o.older)
	}
}

// JoinOverrides makes one argument of the two that follow --override, as pflag wants it.
func JoinOverrides(args []string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		key, given := strings.CutPrefix(args[i], "--"+overrideFlag+"=")
		switch {
		case args[i] == "--":
			return append(out, args[i:]...)
		case args[i] == "--"+overrideFlag && i+2 < len(args):
			out = append(out, args[i], args[i+1]+"="+args[i+2])
			i += 2
		case given && i+1 < len(args) && !strings.Contains(key, "="):
			out = append(out, args[i]+"="+args[i+1])
			i++
		default:
			out = append(out, args[i])
		}
	}
	return out
}

// ParseRun reads the command line of "guidellm run" 0.8.1, which set has parsed, with the scenario that it names and
// the variables of the environment (all of it: KEY=VALUE). base is what openloop's own flags say.
func ParseRun(set *pflag.FlagSet, args, environ []string, base spec.Spec) (*Command, error) {
	s, err := collectScenario(set, environ)
	if err != nil {
		return nil, err
	}
	specs, err := s.benchmarkSpecs()
	if err != nil {
		return nil, err
	}
	c := &Command{
		Spec: base, Args: guidellm.DefaultArgs(), limits: [2]string{"constraint max_duration", "max_requests"},
		lengthName: "backend.max_tokens",
	}
	c.Spec.Endpoint.Headers = slices.Clone(base.Endpoint.Headers)
	off := func(name, older string) bool {
		a, _ := set.GetBool(name)
		b, _ := set.GetBool(older)
		return a || b
	}
	c.NoConsole = off("disable-console", "disable-console-outputs")
	c.Spec.Output.Quiet = base.Output.Quiet || c.NoConsole || off("disable-console-interactive", "disable-progress")
	if err := c.readRun(s, specs); err != nil {
		return nil, err
	}
	c.Spec.Endpoint.Authorize(c.login)
	safe := endpoint.RedactCommand(args, runSecrets)
	c.Spec.Output.Command = append([]string{"openloop", "guidellm", "run"}, safe...)
	return c, nil
}

// readRun reads the scenario, whose benchmarks differ in nothing but rates, streams and values of constraints.
func (c *Command) readRun(s *scenario, specs []guidellm.Object) error {
	one, rates, err := mergeBenchmarks(specs)
	if err != nil {
		return err
	}
	all := newSection("spec", one)
	take := func(key string) *section { return newSection(key, all.take(key)) }
	backend, profile := take("backend"), take("profile")
	constraints := all.take("constraints")
	r := runReader{Command: c, s: s}
	for _, read := range []func() error{
		func() error { return r.seed(take("seed")) },
		func() error { return r.backend(backend) },
		func() error { return r.loader(take("data_loader")) },
		func() error { return r.mapper(take("data_column_mapper")) },
		func() error { return r.tokenizer(take("tokenizer")) },
		func() error { return r.data(all.take("data")) },
		func() error { return r.preparing(all.take("data_preprocessors"), take("data_finalizer")) },
		func() error { return r.profile(profile, rates) },
		func() error { return r.constraints(constraints) },
		func() error { return r.outputs(all.take("outputs")) },
		func() error { return r.metrics(take("metrics")) },
		all.end,
	} {
		if err := read(); err != nil {
			return err
		}
	}
	if s.resultsDir != "" {
		c.Spec.Output.Dir = s.resultsDir
	}
	c.Spec.Output.Labels = s.labels
	c.Scenario = s.echo(specs[0])
	c.noteRunSettings(s)
	return nil
}

// runReader reads the parts of a scenario into a command. What one part says and a later one needs stands here.
type runReader struct {
	*Command
	s *scenario

	samples  int64
	shuffle  bool
	columns  map[string][]string
	turns    int     // of a synthetic session; 1 where requests stand alone
	replay   bool    // the data is a trace
	slowDown float64 // of a trace, by its data
}

var errNoData = errors.New("no data: give --data kind=synthetic_text,prompt_tokens=256,output_tokens=128, a file of " +
	"records, or a --scenario")

func (r *runReader) seed(s *section) error {
	if len(s.rest) == 0 {
		return s.end()
	}
	s.kind([]string{"static"}, nil)
	if v := s.take("value"); v != nil {
		n, ok := numberOf(v)
		if !ok || n != float64(int64(n)) {
			s.failed("value", "it is %s: want a whole number", describe(v))
		}
		r.Args.RandomSeed = int64(n)
	}
	return s.end()
}

// noteRunSettings tells of GuideLLM's own settings in the environment, most of which are about its worker processes.
func (c *Command) noteRunSettings(s *scenario) {
	for _, name := range s.settings {
		c.note("%s has no effect: it is a setting of GuideLLM's own processes", name)
	}
	for _, name := range s.unknown {
		c.note("%s is not a variable of GuideLLM 0.8.1, and has no effect", name)
	}
}

// labelOf splits a --label.
func labelOf(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return "", "", fmt.Errorf("--label %q: want KEY=VALUE", text)
	}
	return key, value, nil
}
