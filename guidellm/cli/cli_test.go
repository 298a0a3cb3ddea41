package cli

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// read reads a command line and environment, over what openloop's own flags say where they are not given.
func read(args []string, env map[string]string) (*Command, error) {
	set := pflag.NewFlagSet("benchmark run", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	AddFlags(set)
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	base := spec.Spec{Confidence: 0.95}
	base.Endpoint.ConnectTimeout = 5 * time.Second
	base.Limits.MaxConcurrency = 1000
	base.Output.Style = spec.StyleGuideLLM
	return Parse(set, args, func(name string) string { return env[name] }, base)
}

const baseLine = "--target http://h:1 --data prompt_tokens=8,output_tokens=4"

func words(text string) []string { return strings.Fields(text) }

// A command that names nothing but its target and data has GuideLLM's defaults, and asks for a valid spec.
func TestDefaults(t *testing.T) {
	c, err := read(words(baseLine), nil)
	if err != nil {
		t.Fatal(err)
	}
	args := guidellm.DefaultArgs()
	args.Target, args.Data = "http://h:1", []string{"prompt_tokens=8,output_tokens=4"}
	if !reflect.DeepEqual(c.Args, args) {
		t.Errorf("arguments\n%+v, want\n%+v", c.Args, args)
	}
	base, _, err := endpoint.ParseBase("http://h:1/v1")
	if err != nil {
		t.Fatal(err)
	}
	want := spec.Spec{
		Endpoint: endpoint.Config{Target: "http://h:1", Address: base, ConnectTimeout: 5 * time.Second},
		Workload: tokens.Spec{
			Synthetic: &tokens.SyntheticSpec{Prompt: tokens.Length{Mean: 8}, Output: tokens.Length{Mean: 4}},
			Tokenizer: "auto", Seed: c.Spec.Workload.Seed, // random
		},
		Limits:     spec.Limits{MaxDuration: noLimit, MaxConcurrency: 1000},
		Plan:       spec.Plan{Profile: "sweep", Sweep: &spec.Sweep{Size: 10, Seed: 42}},
		Confidence: 0.95,
		Output: spec.Output{
			Dir: ".", Files: []string{"json", "csv"}, SampleRequests: 10, Style: spec.StyleGuideLLM,
			Command: append([]string{"openloop", "benchmark", "run"}, words(baseLine)...),
		},
	}
	if !reflect.DeepEqual(c.Spec, want) {
		t.Errorf("spec\n%+v, want\n%+v", c.Spec, want)
	}
	if err := c.Spec.Validate(); err != nil {
		t.Error(err)
	}
	if c.OverSaturation != nil || c.NoConsole {
		t.Errorf("command %+v", c)
	}
}

func object(pairs ...any) guidellm.Object {
	o := guidellm.Object{}
	for i := 0; i < len(pairs); i += 2 {
		o = append(o, guidellm.Member{Key: pairs[i].(string), Value: pairs[i+1]})
	}
	return o
}

// Each flag of GuideLLM, and what it becomes.
func TestFlags(t *testing.T) {
	dir := t.TempDir()
	tokenizer := filepath.Join(dir, "tokenizer.json")
	if err := os.WriteFile(tokenizer, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	over := oversaturation.Defaults()
	tight := over
	tight.MinSeconds, tight.MinWindowSize, tight.Confidence = 60, 7, 0.9
	for _, test := range []struct {
		args string // after the target and the data; spaces part them
		env  string // NAME=VALUE;NAME=VALUE
		got  func(*Command) any
		want any
	}{
		{"--model m", "",
			func(c *Command) any { return []any{c.Spec.Endpoint.Model, c.Args.Model} }, []any{"m", guidellm.Some("m")}},
		{"--profile synchronous", "", stages, "synchronous"},
		{"--rate-type synchronous", "", stages, "synchronous"},
		{"--profile concurrent --rate 2 --rate 6", "", stages, "concurrent@2 concurrent@6"},
		{"--profile concurrent --rate 2.9,4", "", stages, "concurrent@2 concurrent@4"},
		{"--profile throughput --rate 64,128", "", stages, "throughput@64"},
		{"--profile constant --rate 1,2.5 --rate 4", "", stages, "constant@1.00 constant@2.50 constant@4.00"},
		{"--profile async --rate 3", "", stages, "constant@3.00"},
		{"--profile async --rate 3", "", func(c *Command) any { return c.Args.Profile }, "async"},
		{"--profile poisson --rate 3 --random-seed 7", "",
			func(c *Command) any { return c.Spec.Plan.Stages },
			[]loadgen.Load{{Kind: loadgen.PoissonGaps, Rate: 3, Seed: 7}}},
		{"--profile sweep --rate 5", "",
			func(c *Command) any { return []any{c.Spec.Plan.Sweep.Size, c.Args.Rate} }, []any{5, []float64{5}}},
		{"", "GUIDELLM__DEFAULT_SWEEP_NUMBER=6", func(c *Command) any { return c.Spec.Plan.Sweep.Size }, 6},
		{"--profile constant --rate 2", "GUIDELLM_PROFILE=sweep;GUIDELLM_RATE=9", stages, "constant@2.00"},
		{"", "GUIDELLM_PROFILE=constant;GUIDELLM_RATE=1 2,3", stages, "constant@1.00 constant@2.00 constant@3.00"},
		{"", "GUIDELLM_MAX_SECONDS=12;GUIDELLM_MODEL=e;GUIDELLM_DISABLE_CONSOLE_INTERACTIVE=on", func(c *Command) any {
			return []any{c.Spec.Limits.MaxDuration, c.Spec.Endpoint.Model, c.Spec.Output.Quiet}
		}, []any{12 * time.Second, "e", true}},
		{"--max-seconds 30", "",
			func(c *Command) any { return []any{c.Spec.Limits.MaxDuration, c.Args.MaxSeconds, c.limited} },
			[]any{30 * time.Second, 30.0, true}},
		{"--max-requests 90", "", func(c *Command) any {
			return []any{c.Spec.Limits.MaxRequests, c.Spec.Limits.MaxDuration, c.Args.MaxRequests}
		}, []any{90, time.Duration(0), guidellm.Some[int64](90)}},
		{"--max-errors 3 --max-error-rate 0.2 --max-global-error-rate .1", "", func(c *Command) any {
			return []any{c.Spec.Limits.MaxErrors, c.Spec.Limits.MaxErrorRate, c.Spec.Limits.MaxGlobalErrorRate}
		}, []any{3, 0.2, 0.1}},
		{"--max-seconds 20 --warmup 0.2 --cooldown 3", "",
			trims, []any{4 * time.Second, 3 * time.Second, 0.2, int64(3)}},
		{"--max-seconds 20 --warmup-percent .1 --cooldown-percent 2.5", "",
			trims, []any{2 * time.Second, 2500 * time.Millisecond, 0.1, 2.5}},
		{`--max-seconds 20 --warmup {"percent":0.25} --cooldown mode=duration,value=4`, "", trims,
			[]any{5 * time.Second, 4 * time.Second, object("percent", 0.25), object("mode", "duration", "value", 4.0)}},
		{`--max-seconds 20 --max-requests 9 --warmup {"value":2,"mode":"requests"}`, "",
			trims, []any{time.Duration(0), time.Duration(0), object("value", 2.0, "mode", "requests"), nil}},
		{"--rampup 2.5", "",
			func(c *Command) any { return []any{c.Spec.Limits.RampUp, c.Args.Rampup} },
			[]any{2500 * time.Millisecond, 2.5}},
		{"--sample-requests 20", "",
			func(c *Command) any { return []any{c.Spec.Output.SampleRequests, c.Args.SampleRequests} },
			[]any{20, guidellm.Some[int64](20)}},
		{"--output-sampling 5", "", func(c *Command) any { return c.Spec.Output.SampleRequests }, 5},
		{"--outputs json --outputs a.csv,b.yaml", "",
			func(c *Command) any { return c.Spec.Output.Files }, []string{"json", "a.csv", "b.yaml"}},
		{"--outputs console,json --output-dir out", "",
			func(c *Command) any { return []any{c.Spec.Output.Files, c.Spec.Output.Dir, c.Args.OutputDir} },
			[]any{[]string{"json"}, "out", "out"}},
		{"--output-path " + dir, "",
			func(c *Command) any { return []any{c.Spec.Output.Dir, c.Spec.Output.Files[0]} }, []any{dir, "json"}},
		{"--output-path " + dir + "/r.json", "",
			func(c *Command) any { return []any{c.Spec.Output.Dir, c.Spec.Output.Files} },
			[]any{dir, []string{"r.json"}}},
		{"--disable-console", "",
			func(c *Command) any { return []any{c.Spec.Output.Quiet, c.Spec.Output.Style} },
			[]any{true, spec.StyleNone}},
		{"--disable-console-outputs", "",
			func(c *Command) any { return []any{c.Spec.Output.Quiet, c.Spec.Output.Style} },
			[]any{true, spec.StyleNone}},
		{"--disable-progress", "",
			func(c *Command) any { return []any{c.Spec.Output.Quiet, c.Spec.Output.Style} },
			[]any{true, spec.StyleGuideLLM}},
		{"--request-type text_completions", "",
			func(c *Command) any { return []any{c.Spec.Workload.Format, c.Args.DataRequestFormatter} },
			[]any{tokens.TextCompletions, "text_completions"}},
		{`--request-formatter-kwargs {"stream":false,"max_tokens":9,"extras":` +
			`{"body":{"temperature":0,"b":[1,"x"]},"headers":{"X-K":"v"}}}`, "",
			func(c *Command) any {
				return []any{c.Spec.Workload.NoStream, c.answerTokens, string(c.Spec.Workload.Extra), headers(c)}
			},
			[]any{true, 9, `{"temperature":0,"b":[1,"x"]}`, []string{"X-K: v"}}},
		{`--request-formatter-kwargs {"extras":{"headers":{"X-K":"v"}}}`, "",
			func(c *Command) any { return c.Args.DataRequestFormatter },
			object("extras", object("headers", object("X-K", "[redacted]")))},
		{"--request-type text_completions --request-formatter-kwargs stream=false", "",
			func(c *Command) any { return c.Args.DataRequestFormatter },
			object("request_type", "text_completions", "stream", "false")},
		{"--processor " + dir, "",
			func(c *Command) any { return []any{c.Spec.Workload.Tokenizer, c.Args.Processor} },
			[]any{tokenizer, guidellm.Some(dir)}},
		{"--processor gpt2", "",
			func(c *Command) any { return []any{c.Spec.Workload.Tokenizer, c.Args.Processor} },
			[]any{"auto", guidellm.Some("gpt2")}},
		{`--processor-args {"use_fast":true}`, "",
			func(c *Command) any { return c.Args.ProcessorArgs }, object("use_fast", true)},
		{"--data-samples 12", "",
			func(c *Command) any { return []any{c.samples(), c.Args.DataSamples} }, []any{12, int64(12)}},
		{"--data-samples -1", "",
			func(c *Command) any { return []any{c.samples(), c.Args.DataSamples} }, []any{0, int64(-1)}},
		{"--data-sampler shuffle", "", func(c *Command) any { return c.Args.DataSampler }, "shuffle"},
		{"--data-args type_=synthetic_text", "",
			func(c *Command) any { return c.Args.DataArgs }, []any{object("type_", "synthetic_text")}},
		{"--data-num-workers 4", "", func(c *Command) any { return c.Args.DataNumWorkers }, guidellm.Some[int64](4)},
		{`--dataloader-kwargs {"a":1}`, "",
			func(c *Command) any { return c.Args.DataloaderKwargs }, object("a", int64(1))},
		{"--backend openai_http --backend-kwargs verify=false,http2=true", "",
			func(c *Command) any { return []any{c.Spec.Endpoint.Insecure, c.Spec.Endpoint.HTTP2} }, []any{true, true}},
		{`--backend-type openai_http --backend-args {"verify":true,"timeout":600}`, "", func(c *Command) any {
			return []any{
				c.Spec.Endpoint.Insecure, c.Spec.Endpoint.HTTP2, c.Spec.Endpoint.RequestTimeout,
				strings.Contains(strings.Join(c.Notes, " "), "timeout has no effect"),
			}
		}, []any{false, false, time.Duration(0), true}},
		{`--over-saturation {"enabled":true}`, "", saturation, over},
		{"--over-saturation min_seconds=60,minimum_window_size=7,confidence=0.9", "", saturation, tight},
		{"--detect-saturation", "", saturation, over},
		{"--default-over-saturation", "", saturation, over},
		{`--over-saturation {"enabled":false}`, "", saturation, nil},
		{`--over-saturation {}`, "", saturation, nil},
		{`--over-saturation {"unheard_of":1}`, "", saturation, nil},
		{"--scenario chat", "", func(c *Command) any { return c.Args.Data[0] }, "prompt_tokens=8,output_tokens=4"},
		{"--data-column-mapper generative_column_mapper", "",
			func(c *Command) any { return c.Args.DataColumnMapper }, "generative_column_mapper"},
	} {
		env := map[string]string{}
		for pair := range strings.SplitSeq(test.env, ";") {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		c, err := read(append(words(baseLine), words(test.args)...), env)
		if err != nil {
			t.Errorf("%s %s: %v", test.env, test.args, err)
			continue
		}
		if got := test.got(c); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %s: got %#v, want %#v", test.env, test.args, got, test.want)
		}
	}
}

func stages(c *Command) any {
	var names []string
	for _, load := range c.Spec.Plan.Stages {
		names = append(names, load.String())
	}
	return strings.Join(names, " ")
}

func trims(c *Command) any {
	l := c.Spec.Limits
	return []any{l.Warmup.Duration(l), l.Cooldown.Duration(l), c.Args.Warmup, c.Args.Cooldown}
}

func headers(c *Command) []string {
	var lines []string
	for _, h := range c.Spec.Endpoint.Headers {
		lines = append(lines, h.Name+": "+h.Value.Reveal())
	}
	return lines
}

func saturation(c *Command) any {
	if c.OverSaturation == nil {
		return nil
	}
	return *c.OverSaturation
}

// Every option of "guidellm benchmark run" 0.5.0 is there (its --help), and no other but openloop's own.
func TestOptionsComplete(t *testing.T) {
	text, err := os.ReadFile("../../cmd/openloop/testdata/guidellm-0.5.0-options.txt")
	if err != nil {
		t.Fatal(err)
	}
	set := pflag.NewFlagSet("benchmark run", pflag.ContinueOnError)
	AddFlags(set)
	want := map[string]bool{}
	for _, name := range strings.Fields(string(text)) {
		want[name] = true
		if set.Lookup(strings.TrimPrefix(name, "--")) == nil && name != "-c" && name != "--help" {
			t.Errorf("no flag %s", name)
		}
	}
	if set.ShorthandLookup("c") == nil {
		t.Error("no flag -c")
	}
	for _, o := range options() {
		for _, name := range o.names {
			if !want["--"+name] {
				t.Errorf("GuideLLM has no --%s", name)
			}
		}
	}
	if len(want) < 40 {
		t.Errorf("only %d options in the list: %v", len(want), slices.Sorted(maps.Keys(want)))
	}
}
