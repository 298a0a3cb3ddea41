package cli

import (
	"strings"

	"github.com/spf13/pflag"
)

// profiles are GuideLLM's names for how load is applied.
var profiles = []string{"synchronous", "concurrent", "throughput", "async", "sweep", "constant", "poisson"}

// requestTypes are GuideLLM's names for what is asked; openloop sends the first two.
var requestTypes = []string{"text_completions", "chat_completions", "audio_transcriptions", "audio_translations"}

// arguments are GuideLLM's (generative/entrypoints.py, BenchmarkGenerativeTextArgs), as they were given.
type arguments struct {
	target, model, profile, backend, processor, dataSampler, outputDir textArg

	data    dataArg
	rate    numbersArg
	outputs textsArg

	backendKwargs, processorArgs, dataloaderKwargs, overSaturation settingsArg

	dataArgs                                         listArg
	columnMapper, requestFormatter, warmup, cooldown anyArg

	dataSamples, dataNumWorkers, randomSeed, sampleRequests, maxRequests, maxErrors wholeArg

	rampup, maxSeconds, maxErrorRate, maxGlobalErrorRate numberArg

	noConsole, noProgress, preferResponseMetrics switchArg

	// Options of the command alone, which become some of those above.
	scenario, requestType, outputPath textArg
	formatterKwargs                   settingsArg
	detectSaturation                  switchArg
}

func newArguments() *arguments {
	a := &arguments{}
	a.profile.choices = profiles
	a.backend.choices = []string{"openai_http"}
	a.requestType.choices = requestTypes
	a.dataSampler.choices = []string{"shuffle"}
	return a
}

// option is one option of "guidellm benchmark run" (its __main__.py).
type option struct {
	field string   // of GuideLLM's arguments; also the end of its variable, GUIDELLM_FIELD
	names []string // of its flag, the older ones behind; nil where a scenario alone has it
	to    func(*arguments) argument
	usage string
}

// commandOnly are the options that a scenario does not have.
var commandOnly = []string{
	"scenario", "request_type", "request_formatter_kwargs", "output_path", "detect_saturation",
}

// shorthands are the one-letter forms of flags.
var shorthands = map[string]string{"scenario": "c"}

func options() []option {
	return []option{
		{"scenario", []string{"scenario"}, func(a *arguments) argument { return &a.scenario },
			"built-in scenario (chat, rag), or a JSON or YAML file of arguments, or a report whose arguments are " +
				"taken; other flags go over it"},
		{"target", []string{"target"}, func(a *arguments) argument { return &a.target },
			"base URL of an OpenAI-compatible endpoint, or sim:PRESET for the simulated engine"},
		{"data", []string{"data"}, func(a *arguments) argument { return &a.data },
			"synthetic data ('prompt_tokens=256,output_tokens=128', JSON, or a file of such) or a file of records " +
				"(jsonl, json, csv, txt, parquet)"},
		{"profile", []string{"profile", "rate-type"}, func(a *arguments) argument { return &a.profile },
			"synchronous, concurrent, throughput, async, constant, poisson or sweep (default sweep)"},
		{"rate", []string{"rate"}, func(a *arguments) argument { return &a.rate },
			"sweep: number of stages; concurrent, throughput: streams; async, constant, poisson: requests per second" +
				"; a list, or repeated"},
		{"backend", []string{"backend", "backend-type"}, func(a *arguments) argument { return &a.backend },
			"openai_http"},
		{"backend_kwargs", []string{"backend-kwargs", "backend-args"},
			func(a *arguments) argument { return &a.backendKwargs },
			"JSON object of settings of the connection: verify, http2, timeout"},
		{"model", []string{"model"}, func(a *arguments) argument { return &a.model },
			"model to ask for (default: the endpoint's first)"},
		{"request_type", []string{"request-type"}, func(a *arguments) argument { return &a.requestType },
			"chat_completions (default) or text_completions"},
		{"request_formatter_kwargs", []string{"request-formatter-kwargs"},
			func(a *arguments) argument { return &a.formatterKwargs },
			"JSON object: extras (body, headers), stream, max_tokens, max_completion_tokens"},
		{"processor", []string{"processor"}, func(a *arguments) argument { return &a.processor },
			"a tokenizer.json or its folder (default, or any other name: the endpoint's own count)"},
		{"processor_args", []string{"processor-args"}, func(a *arguments) argument { return &a.processorArgs },
			"taken and without effect: a tokenizer.json needs none"},
		{"data_args", []string{"data-args"}, func(a *arguments) argument { return &a.dataArgs },
			"JSON object for the data: type_"},
		{"data_samples", []string{"data-samples"}, func(a *arguments) argument { return &a.dataSamples },
			"number of samples of the data (default -1: all)"},
		{"data_column_mapper", []string{"data-column-mapper"}, func(a *arguments) argument { return &a.columnMapper },
			"JSON object that maps text_column, prefix_column, prompt_tokens_count_column and " +
				"output_tokens_count_column to names of columns"},
		{"data_sampler", []string{"data-sampler"}, func(a *arguments) argument { return &a.dataSampler }, "shuffle"},
		{"data_num_workers", []string{"data-num-workers"}, func(a *arguments) argument { return &a.dataNumWorkers },
			"taken and without effect: requests are built ahead in a goroutine"},
		{"dataloader_kwargs", []string{"dataloader-kwargs"},
			func(a *arguments) argument { return &a.dataloaderKwargs }, "taken and without effect"},
		{"random_seed", []string{"random-seed"}, func(a *arguments) argument { return &a.randomSeed },
			"seed of prompts and arrivals (default 42)"},
		{"output_dir", []string{"output-dir"}, func(a *arguments) argument { return &a.outputDir },
			"folder for the results (default: this one); it is made if it does not exist"},
		{"outputs", []string{"outputs"}, func(a *arguments) argument { return &a.outputs },
			"files to write: json, csv, yaml, or file names (default json, csv)"},
		{"output_path", []string{"output-path"}, func(a *arguments) argument { return &a.outputPath },
			"file or folder for the results: the older way to say --output-dir and --outputs"},
		{"disable_console", []string{"disable-console", "disable-console-outputs"},
			func(a *arguments) argument { return &a.noConsole }, "print neither progress nor results"},
		{"disable_console_interactive", []string{"disable-console-interactive", "disable-progress"},
			func(a *arguments) argument { return &a.noProgress }, "print no progress"},
		{"warmup", []string{"warmup", "warmup-percent"}, func(a *arguments) argument { return &a.warmup },
			"part left out at a stage's start: a share below 1, seconds or requests, or an object of percent, value " +
				"and mode"},
		{"cooldown", []string{"cooldown", "cooldown-percent"}, func(a *arguments) argument { return &a.cooldown },
			"part left out at a stage's end, likewise"},
		{"rampup", []string{"rampup"}, func(a *arguments) argument { return &a.rampup },
			"seconds over which the streams of a throughput or concurrent stage begin"},
		{"sample_requests", []string{"sample-requests", "output-sampling"},
			func(a *arguments) argument { return &a.sampleRequests },
			"keep prompt and answer of so many requests of a stage (default 10); all are listed with their figures"},
		{"max_seconds", []string{"max-seconds"}, func(a *arguments) argument { return &a.maxSeconds },
			"length of a stage in seconds (default: no limit)"},
		{"max_requests", []string{"max-requests"}, func(a *arguments) argument { return &a.maxRequests },
			"requests of a stage (default: no limit)"},
		{"max_errors", []string{"max-errors"}, func(a *arguments) argument { return &a.maxErrors },
			"a stage ends at this many errors"},
		{"max_error_rate", []string{"max-error-rate"}, func(a *arguments) argument { return &a.maxErrorRate },
			"a stage ends when this share of its last 30 requests failed"},
		{"max_global_error_rate", []string{"max-global-error-rate"},
			func(a *arguments) argument { return &a.maxGlobalErrorRate },
			"a stage ends when this share of all its requests failed"},
		{"over_saturation", []string{"over-saturation"}, func(a *arguments) argument { return &a.overSaturation },
			"JSON object that turns over-saturation detection on: enabled, min_seconds, max_window_seconds, " +
				"moe_threshold, …"},
		{"detect_saturation", []string{"detect-saturation", "default-over-saturation"},
			func(a *arguments) argument { return &a.detectSaturation }, "over-saturation detection with its defaults"},
		{"data_request_formatter", nil, func(a *arguments) argument { return &a.requestFormatter }, ""},
		{"prefer_response_metrics", nil, func(a *arguments) argument { return &a.preferResponseMetrics }, ""},
	}
}

// secretFlags are those of "benchmark run" whose values may hold a credential, openloop's own among them.
var secretFlags = []string{
	"api-key", "header", "backend-kwargs", "backend-args", "request-formatter-kwargs",
	"processor-args", "data-args", "dataloader-kwargs",
}

// AddFlags adds GuideLLM's flags to a flag set. Older names are hidden from the help.
func AddFlags(set *pflag.FlagSet) {
	for _, o := range options() {
		for i, name := range o.names {
			shorthand := ""
			if i == 0 {
				shorthand = shorthands[name]
			}
			if o.isSwitch() {
				set.BoolP(name, shorthand, false, o.usage)
			} else {
				set.StringArrayP(name, shorthand, nil, o.usage)
			}
			if i > 0 {
				_ = set.MarkHidden(name)
			}
		}
	}
}

func (o *option) isSwitch() bool {
	_, ok := o.to(&arguments{}).(*switchArg)
	return ok
}

// isList says whether the option may be repeated: all of its texts count then, not the last alone.
func (o *option) isList() bool {
	switch o.to(&arguments{}).(type) {
	case *numbersArg, *textsArg, *dataArg, *listArg:
		return true
	}
	return false
}

// texts are what flags or else the variable give for an option, nil for nothing, and what gave them.
func (o *option) texts(set *pflag.FlagSet, getenv func(string) string) (texts []string, from string, err error) {
	for _, name := range o.names {
		flag := set.Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		from = "--" + name
		if o.isSwitch() {
			texts = append(texts, flag.Value.String())
			continue
		}
		list, err := set.GetStringArray(name)
		if err != nil {
			return nil, from, err
		}
		texts = append(texts, list...)
	}
	if texts != nil || o.names == nil {
		return texts, from, nil
	}
	variable := "GUIDELLM_" + strings.ToUpper(o.field)
	text := getenv(variable)
	switch {
	case text == "":
		return nil, "", nil
	case o.isList(): // as click splits it
		return strings.Fields(text), variable, nil
	}
	return []string{text}, variable, nil
}
