package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
)

// plan reads a command line and environment as "benchmark run" does, up to the endpoint.
func plan(args []string, env map[string]string) (*guidePlan, *loadFlags, error) {
	set, f := guideFlags(io.Discard)
	f.args = args
	if err := parse(set, args, io.Discard); err != nil {
		return nil, nil, err
	}
	environment := func(name string) string { return env[name] }
	values, err := collectGuide(set, environment)
	if err != nil {
		return nil, nil, err
	}
	p, err := planGuide(values, environment)
	if err != nil {
		return nil, nil, err
	}
	return p, f, p.apply(f)
}

const guideBase = "--target http://h:1 --data prompt_tokens=8,output_tokens=4"

func words(text string) []string { return strings.Fields(text) }

// A command that names nothing but its target and data has GuideLLM's defaults.
func TestGuideDefaults(t *testing.T) {
	p, f, err := plan(words(guideBase), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := guidellm.DefaultArgs()
	want.Target, want.Data = "http://h:1", []string{"prompt_tokens=8,output_tokens=4"}
	if !reflect.DeepEqual(p.args, want) {
		t.Errorf("arguments\n%+v, want\n%+v", p.args, want)
	}
	if p.strategies != nil || p.sweepSize != 10 {
		t.Errorf("stages %v, sweep of %d, want a sweep of 10", p.strategies, p.sweepSize)
	}
	if p.limited || f.maxSeconds != noLimit || f.maxRequests != 0 || f.sampleRequests != 10 || f.outputDir != "." || f.seed != 42 || f.insecure || f.http2 || p.over != nil {
		t.Errorf("flags %+v", f)
	}
	if len(f.outputs) < 2 || f.outputs[0] != "json" || f.outputs[1] != "csv" {
		t.Errorf("outputs %q", f.outputs)
	}
	if f.tokenizer != "auto" || f.consoleStyle != styleGuideLLM || f.quiet {
		t.Errorf("tokenizer %q, console %q, quiet %v", f.tokenizer, f.consoleStyle, f.quiet)
	}
}

// Each flag of GuideLLM, and what it becomes.
func TestGuideFlags(t *testing.T) {
	dir := t.TempDir()
	tokenizer := filepath.Join(dir, "tokenizer.json")
	if err := os.WriteFile(tokenizer, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	object := func(pairs ...any) guidellm.Object {
		o := guidellm.Object{}
		for i := 0; i < len(pairs); i += 2 {
			o = append(o, guidellm.Member{Key: pairs[i].(string), Value: pairs[i+1]})
		}
		return o
	}
	over := oversaturation.Defaults()
	tight := over
	tight.MinSeconds, tight.MinWindowSize, tight.Confidence = 60, 7, 0.9
	for _, test := range []struct {
		args string // after the target and the data; spaces part them
		env  string // NAME=VALUE;NAME=VALUE
		got  func(*guidePlan, *loadFlags) any
		want any
	}{
		{"--model m", "", func(p *guidePlan, f *loadFlags) any { return []any{f.model, p.args.Model} }, []any{"m", guidellm.Some("m")}},
		{"--profile synchronous", "", stages, "synchronous"},
		{"--rate-type synchronous", "", stages, "synchronous"},
		{"--profile concurrent --rate 2 --rate 6", "", stages, "concurrent@2 concurrent@6"},
		{"--profile concurrent --rate 2.9,4", "", stages, "concurrent@2 concurrent@4"},
		{"--profile throughput --rate 64,128", "", stages, "throughput@64"},
		{"--profile constant --rate 1,2.5 --rate 4", "", stages, "constant@1.00 constant@2.50 constant@4.00"},
		{"--profile async --rate 3", "", stages, "constant@3.00"},
		{"--profile async --rate 3", "", func(p *guidePlan, _ *loadFlags) any { return p.args.Profile }, "async"},
		{"--profile poisson --rate 3 --random-seed 7", "", func(p *guidePlan, _ *loadFlags) any { return p.strategies }, []loadgen.Load{{Kind: loadgen.PoissonGaps, Rate: 3, Seed: 7}}},
		{"--profile sweep --rate 5", "", func(p *guidePlan, _ *loadFlags) any { return []any{p.sweepSize, p.args.Rate} }, []any{5, []float64{5}}},
		{"", "GUIDELLM__DEFAULT_SWEEP_NUMBER=6", func(p *guidePlan, _ *loadFlags) any { return p.sweepSize }, 6},
		{"--profile constant --rate 2", "GUIDELLM_PROFILE=sweep;GUIDELLM_RATE=9", stages, "constant@2.00"},
		{"", "GUIDELLM_PROFILE=constant;GUIDELLM_RATE=1 2,3", stages, "constant@1.00 constant@2.00 constant@3.00"},
		{"", "GUIDELLM_MAX_SECONDS=12;GUIDELLM_MODEL=e;GUIDELLM_DISABLE_CONSOLE_INTERACTIVE=true", func(_ *guidePlan, f *loadFlags) any { return []any{f.maxSeconds, f.model, f.quiet} }, []any{12.0, "e", true}},
		{"--max-seconds 30", "", func(p *guidePlan, f *loadFlags) any { return []any{f.maxSeconds, p.args.MaxSeconds, p.limited} }, []any{30.0, 30.0, true}},
		{"--max-requests 90", "", func(p *guidePlan, f *loadFlags) any { return []any{f.maxRequests, f.maxSeconds, p.args.MaxRequests} }, []any{90, 0.0, guidellm.Some[int64](90)}},
		{"--max-errors 3 --max-error-rate 0.2 --max-global-error-rate .1", "", func(_ *guidePlan, f *loadFlags) any {
			return []any{f.maxErrors, f.maxErrorRate, f.maxGlobalErrorRate}
		}, []any{3, 0.2, 0.1}},
		{"--max-seconds 20 --warmup 0.2 --cooldown 3", "", transients, []any{4.0, 3.0, 0.2, int64(3)}},
		{"--max-seconds 20 --warmup-percent .1 --cooldown-percent 2.5", "", transients, []any{2.0, 2.5, 0.1, 2.5}},
		{`--max-seconds 20 --warmup {"percent":0.25} --cooldown mode=duration,value=4`, "", transients,
			[]any{5.0, 4.0, object("percent", 0.25), object("mode", "duration", "value", 4.0)}},
		{`--max-seconds 20 --max-requests 9 --warmup {"value":2,"mode":"requests"}`, "", transients, []any{0.0, 0.0, object("value", 2.0, "mode", "requests"), nil}},
		{"--rampup 2.5", "", func(p *guidePlan, f *loadFlags) any { return []any{f.rampup, p.args.Rampup} }, []any{2500 * time.Millisecond, 2.5}},
		{"--sample-requests 20", "", func(p *guidePlan, f *loadFlags) any { return []any{f.sampleRequests, p.args.SampleRequests} }, []any{20, guidellm.Some[int64](20)}},
		{"--output-sampling 5", "", func(_ *guidePlan, f *loadFlags) any { return f.sampleRequests }, 5},
		{"--outputs json --outputs a.csv,b.yaml", "", func(_ *guidePlan, f *loadFlags) any { return f.outputs }, []string{"json", "a.csv", "b.yaml"}},
		{"--outputs console,json --output-dir out", "", func(p *guidePlan, f *loadFlags) any { return []any{f.outputs, f.outputDir, p.args.OutputDir} }, []any{[]string{"json"}, "out", "out"}},
		{"--output-path " + dir, "", func(_ *guidePlan, f *loadFlags) any { return []any{f.outputDir, f.outputs[0]} }, []any{dir, "json"}},
		{"--output-path " + dir + "/r.json", "", func(_ *guidePlan, f *loadFlags) any { return []any{f.outputDir, f.outputs} }, []any{dir, []string{"r.json"}}},
		{"--disable-console", "", func(_ *guidePlan, f *loadFlags) any { return []any{f.quiet, f.consoleStyle} }, []any{true, styleNone}},
		{"--disable-console-outputs", "", func(_ *guidePlan, f *loadFlags) any { return []any{f.quiet, f.consoleStyle} }, []any{true, styleNone}},
		{"--disable-progress", "", func(_ *guidePlan, f *loadFlags) any { return []any{f.quiet, f.consoleStyle} }, []any{true, styleGuideLLM}},
		{"--disable-console-interactive --console-style openloop", "", func(_ *guidePlan, f *loadFlags) any { return []any{f.quiet, f.consoleStyle} }, []any{true, styleOpenLoop}},
		{"--request-type text_completions", "", func(p *guidePlan, f *loadFlags) any { return []any{f.requestType, p.args.DataRequestFormatter} }, []any{"text_completions", "text_completions"}},
		{`--request-formatter-kwargs {"stream":false,"max_tokens":9,"extras":{"body":{"temperature":0,"b":[1,"x"]},"headers":{"X-K":"v"}}}`, "",
			func(p *guidePlan, f *loadFlags) any { return []any{p.noStream, p.freeLength, f.extraBody, f.headers} },
			[]any{true, 9, `{"temperature":0,"b":[1,"x"]}`, []string{"X-K: v"}}},
		{`--request-formatter-kwargs {"extras":{"headers":{"X-K":"v"}}}`, "", func(p *guidePlan, _ *loadFlags) any { return p.args.DataRequestFormatter },
			object("extras", object("headers", object("X-K", "[redacted]")))},
		{"--request-type text_completions --request-formatter-kwargs stream=false", "", func(p *guidePlan, _ *loadFlags) any { return p.args.DataRequestFormatter },
			object("request_type", "text_completions", "stream", "false")},
		{"--processor " + dir, "", func(p *guidePlan, f *loadFlags) any { return []any{f.tokenizer, p.args.Processor} }, []any{tokenizer, guidellm.Some(dir)}},
		{"--processor gpt2", "", func(p *guidePlan, f *loadFlags) any { return []any{f.tokenizer, p.args.Processor} }, []any{"auto", guidellm.Some("gpt2")}},
		{`--processor-args {"use_fast":true}`, "", func(p *guidePlan, _ *loadFlags) any { return p.args.ProcessorArgs }, object("use_fast", true)},
		{"--data-samples 12", "", func(p *guidePlan, f *loadFlags) any { return []any{f.dataSamples, p.args.DataSamples} }, []any{12, int64(12)}},
		{"--data-samples -1", "", func(p *guidePlan, f *loadFlags) any { return []any{f.dataSamples, p.args.DataSamples} }, []any{0, int64(-1)}},
		{"--data-sampler shuffle", "", func(_ *guidePlan, f *loadFlags) any { return f.dataShuffle }, true},
		{`--data-column-mapper {"text_column":["q","c"],"output_tokens_count_column":"n"}`, "", func(_ *guidePlan, f *loadFlags) any { return f.dataColumns },
			`{"output_tokens_count_column":["n"],"text_column":["q","c"]}`},
		{"--data-args type_=synthetic_text", "", func(p *guidePlan, _ *loadFlags) any { return p.args.DataArgs }, []any{object("type_", "synthetic_text")}},
		{"--data-num-workers 4", "", func(p *guidePlan, _ *loadFlags) any { return p.args.DataNumWorkers }, guidellm.Some[int64](4)},
		{`--dataloader-kwargs {"a":1}`, "", func(p *guidePlan, _ *loadFlags) any { return p.args.DataloaderKwargs }, object("a", int64(1))},
		{"--backend openai_http --backend-kwargs verify=false,http2=true", "", func(_ *guidePlan, f *loadFlags) any { return []any{f.insecure, f.http2} }, []any{true, true}},
		{`--backend-type openai_http --backend-args {"verify":true,"timeout":600}`, "", func(p *guidePlan, f *loadFlags) any {
			return []any{f.insecure, f.http2, f.requestTimeout, strings.Contains(strings.Join(p.notes, " "), "timeout has no effect")}
		}, []any{false, false, time.Duration(0), true}},
		{`--over-saturation {"enabled":true}`, "", saturation, over},
		{"--over-saturation min_seconds=60,minimum_window_size=7,confidence=0.9", "", saturation, tight},
		{"--detect-saturation", "", saturation, over},
		{"--default-over-saturation", "", saturation, over},
		{`--over-saturation {"enabled":false}`, "", saturation, nil},
		{`--over-saturation {}`, "", saturation, nil},
		{`--over-saturation {"unheard_of":1}`, "", saturation, nil},
		{"--scenario chat", "", func(p *guidePlan, _ *loadFlags) any { return p.data }, "prompt_tokens=8,output_tokens=4"},
		{"--data-column-mapper generative_column_mapper", "", func(p *guidePlan, _ *loadFlags) any { return p.args.DataColumnMapper }, "generative_column_mapper"},
		{"--api-key-file k --allow-invalid --slo ttft:p95<1s --max-concurrency 9", "", func(_ *guidePlan, f *loadFlags) any {
			return []any{f.apiKeyFile, f.allowInvalid, f.objectives, f.maxConcurrency}
		}, []any{"k", true, []string{"ttft:p95<1s"}, 9}},
	} {
		env := map[string]string{}
		for _, pair := range strings.Split(test.env, ";") {
			name, value, _ := strings.Cut(pair, "=")
			env[name] = value
		}
		p, f, err := plan(append(words(guideBase), words(test.args)...), env)
		if err != nil {
			t.Errorf("%s %s: %v", test.env, test.args, err)
			continue
		}
		if got := test.got(p, f); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %s: got %#v, want %#v", test.env, test.args, got, test.want)
		}
	}
}

func stages(p *guidePlan, _ *loadFlags) any {
	var names []string
	for _, s := range p.strategies {
		names = append(names, s.String())
	}
	return strings.Join(names, " ")
}

func transients(p *guidePlan, f *loadFlags) any {
	return []any{p.trim(p.args.Warmup, f.maxSeconds), p.trim(p.args.Cooldown, f.maxSeconds), p.args.Warmup, p.args.Cooldown}
}

func saturation(p *guidePlan, _ *loadFlags) any {
	if p.over == nil {
		return nil
	}
	return *p.over
}

// Scenarios: the built-in ones, files, and a report's arguments; what is given beside them goes over them.
func TestGuideScenarios(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"s.json":   `{"target":"http://s:2","data":["prompt_tokens=3,output_tokens=2"],"profile":"constant","rate":7,"max-seconds":9,"request-type":"text_completions","unknown":1}`,
		"s.yaml":   "target: http://s:2\ndata: [{prompt_tokens: 3, output_tokens: 2}]\nprofile: constant\nrate: [7]\nmax_seconds: 9\nrequest_type: text_completions\nsample_requests: null\n",
		"r.json":   `{"args":{"target":"http://s:2","data":["prompt_tokens=3,output_tokens=2"],"profile":"constant","rate":[7.0],"max_seconds":9.0,"data_request_formatter":"text_completions"},"benchmarks":[]}`,
		"list.yml": "- a\n",
		"s.toml":   "",
		"bad.json": "{",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"s.json", "s.yaml", "r.json"} {
		p, f, err := plan([]string{"-c", filepath.Join(dir, name), "--max-seconds", "11"}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := fmt.Sprint(f.target, " ", stages(p, f), " ", f.maxSeconds, " ", f.requestType, " ", f.data)
		want := "http://s:2 constant@7.00 11 text_completions prompt_tokens=3,output_tokens=2"
		if name == "s.yaml" {
			want = `http://s:2 constant@7.00 11 text_completions {"prompt_tokens":3,"output_tokens":2}`
			if p.args.SampleRequests.Valid || f.sampleRequests < 1e6 {
				t.Errorf("%s: a null keeps all texts, not %d", name, f.sampleRequests)
			}
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"chat":      "prompt_tokens=512,prompt_tokens_stdev=128,prompt_tokens_min=1,prompt_tokens_max=1024,output_tokens=256,output_tokens_stdev=64,output_tokens_min=1,output_tokens_max=1024",
		"rag.json":  "prompt_tokens=4096,prompt_tokens_stdev=512,prompt_tokens_min=2048,prompt_tokens_max=6144,output_tokens=512,output_tokens_stdev=128,output_tokens_min=1,output_tokens_max=1024",
		"chat.json": guideScenarios["chat"],
	} {
		p, f, err := plan([]string{"--scenario", name, "--target", "http://h:1"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if f.data != want || p.args.Profile != "sweep" || p.sweepSize != 10 {
			t.Errorf("%s: %s of %q", name, p.args.Profile, f.data)
		}
	}
	for _, name := range []string{"list.yml", "s.toml", "bad.json", "nothing"} {
		if _, _, err := plan([]string{"-c", filepath.Join(dir, name), "--target", "http://h:1"}, nil); err == nil || !strings.Contains(err.Error(), "--scenario") {
			t.Errorf("%s: %v, want an error of --scenario", name, err)
		}
	}
}

// What openloop can't do, or GuideLLM would not take, is refused by name before anything is tried.
func TestGuideRefusals(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"--request-type audio_translations":                              "openloop sends text alone, no audio",
		"--request-type images":                                          "it is one of text_completions",
		"--profile ramp --rate 3":                                        "it is one of synchronous",
		"--profile constant":                                             "--profile constant needs --rate",
		"--profile concurrent":                                           "--profile concurrent needs --rate",
		"--profile throughput":                                           "--profile throughput needs --rate",
		"--profile synchronous --rate 1":                                 "takes no --rate",
		"--profile constant --rate 0":                                    "must be a number above 0",
		"--profile constant --rate x":                                    "is not a number",
		"--profile concurrent --rate 0.5":                                "at least one stream",
		"--profile throughput --rate 1.5":                                "whole",
		"--rate 1":                                                       "at least 2",
		"--backend python":                                               "it is one of openai_http",
		"--backend-kwargs a=1":                                           `"a" is no setting`,
		"--backend-kwargs {":                                             "not valid JSON",
		"--backend-kwargs 5":                                             "want a JSON object or key=value pairs",
		"--backend-kwargs verify=maybe":                                  "verify is true or false",
		"--backend-kwargs timeout=-1":                                    "above 0",
		`--backend-kwargs {"response_handlers":{}}`:                      "Python classes",
		`--backend-kwargs {"api_routes":{"chat_completions":"x"}}`:       "v1/chat/completions",
		`--request-formatter-kwargs {"encode_kwargs":{"image":{}}}`:      "text alone",
		`--request-formatter-kwargs {"extras":{"files":{"a":1}}}`:        "body and to the headers only",
		`--request-formatter-kwargs {"extras":{"headers":{"a":"b\nc"}}}`: "one line",
		`--request-formatter-kwargs {"max_tokens":0}`:                    "above 0",
		`--request-formatter-kwargs {"what":0}`:                          `"what" is no setting`,
		"--data more.jsonl":                                              "--data was given 2 times",
		"--data-args a=1":                                                "a Python library",
		"--data-args type_=huggingface_dataset":                          "openloop reads synthetic_text",
		`--data-column-mapper {"image_column":"i"}`:                      "text alone",
		`--data-column-mapper {"name":"i"}`:                              "no kind of column",
		`--data-column-mapper {"text_column":3}`:                         "want a name or a list",
		"--data-sampler random":                                          "it is one of shuffle",
		"--data-samples x":                                               "not a whole number",
		"--outputs pdf":                                                  "--outputs",
		"--output-path a.json --output-dir b":                            "contradict",
		"--max-seconds 0":                                                "above 0",
		"--max-seconds -1":                                               "above 0",
		"--max-requests 0":                                               "at least 1",
		"--max-errors 0":                                                 "at least 1",
		"--max-error-rate 1":                                             "between 0 and 1",
		"--max-global-error-rate 0":                                      "between 0 and 1",
		"--rampup -1":                                                    "can't be negative",
		"--warmup -0.1":                                                  "can't be negative",
		"--warmup soon":                                                  "a number, or an object",
		`--warmup {"percent":1.5}`:                                       "a percent is below 1",
		`--warmup {"mode":"never"}`:                                      "mode never",
		`--warmup {"length":3}`:                                          `"length" is not known`,
		"--max-seconds 10 --warmup 0.5 --cooldown 0.5":                   "leave nothing",
		"--max-seconds 10 --warmup 8 --cooldown 3":                       "leave nothing",
		`--over-saturation {"confidence":2}`:                             "at most 1",
		`--over-saturation {"min_seconds":"x"}`:                          "min_seconds x",
		"--over-saturation true":                                         "want a JSON object",
		"--no-such-flag":                                                 "unknown flag",
		"more":                                                           "unexpected argument",
	} {
		_, _, err := plan(append(words(guideBase), strings.Split(args, " ")...), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	for data, want := range map[string]string{
		"openai/gsm8k":                    "openloop downloads none",
		"nothing.jsonl":                   "there is no such file",
		dir:                               "is a folder",
		"prompt_tokens=x,output_tokens=4": "--data",
		"":                                "no data",
	} {
		_, _, err := plan([]string{"--target", "http://h:1", "--data", data}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("data %q: %v, want %q", data, err, want)
		}
	}
	if _, _, err := plan([]string{"--data", "prompt_tokens=8,output_tokens=4"}, nil); err == nil || !strings.Contains(err.Error(), "no target") {
		t.Errorf("no target: %v", err)
	}
	if _, _, err := plan([]string{"--target", "http://h:1"}, nil); err == nil || !strings.Contains(err.Error(), "no data") {
		t.Errorf("no data: %v", err)
	}
}

// Every option of "guidellm benchmark run" 0.5.0 is there (its --help), and no other but openloop's own.
func TestGuideOptionsComplete(t *testing.T) {
	text, err := os.ReadFile("testdata/guidellm-0.5.0-options.txt")
	if err != nil {
		t.Fatal(err)
	}
	set, _ := guideFlags(io.Discard)
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
	for _, o := range guideOptions() {
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

// Keys that travel in settings are in no command of a report.
func TestSafeGuideCommand(t *testing.T) {
	got := strings.Join(safeGuideCommand(words(`--target t --api-key s3cret --request-formatter-kwargs={"a":"s3cret"} --backend-kwargs s3cret --header X:s3cret --rate 3`)), " ")
	if strings.Contains(got, "s3cret") || !strings.HasSuffix(got, "--rate 3") {
		t.Error(got)
	}
}

func FuzzParseGuideJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,null,true,"x"]}`, "a=1,b=2", "0.5", "", "{", "{}}", "=", ",=,", `{"a":1}{"b":2}`, "word"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseGuideJSON(text)
		if err != nil {
			return
		}
		if o, ok := v.(guidellm.Object); ok {
			if _, err := jsonText(o); err != nil {
				t.Errorf("%q is read as %v, which can't be written: %v", text, o, err)
			}
		}
	})
}
