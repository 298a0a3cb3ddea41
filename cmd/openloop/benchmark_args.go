package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/guidellm"
)

// guideForm is how GuideLLM 0.5.0 reads an option.
type guideForm int

const (
	guideText   guideForm = iota
	guideFloats           // repeated, each a list with commas
	guideTexts            // repeated, each a list with commas
	guideData             // repeated, each one text
	guideJSON             // JSON, key=value pairs, or a number
	guideJSONs            // repeated
	guideInt
	guideFloat
	guideSwitch
)

// guideOption is one option of "guidellm benchmark run" (its __main__.py).
type guideOption struct {
	field   string // of its arguments' model; also the end of its environment variable, GUIDELLM_FIELD
	names   []string
	form    guideForm
	choices []string
	usage   string
}

var guideProfiles = []string{"synchronous", "concurrent", "throughput", "async", "sweep", "constant", "poisson"}

func guideOptions() []guideOption {
	return []guideOption{
		{"scenario", []string{"scenario"}, guideText, nil, "built-in scenario (chat, rag), or a JSON or YAML file of arguments, or a report whose arguments are taken; other flags go over it"},
		{"target", []string{"target"}, guideText, nil, "base URL of an OpenAI-compatible endpoint, or sim:PRESET for the simulated engine"},
		{"data", []string{"data"}, guideData, nil, "synthetic data ('prompt_tokens=256,output_tokens=128', JSON, or a file of such) or a file of records (jsonl, json, csv, txt, parquet)"},
		{"profile", []string{"profile", "rate-type"}, guideText, guideProfiles, "synchronous, concurrent, throughput, async, constant, poisson or sweep (default sweep)"},
		{"rate", []string{"rate"}, guideFloats, nil, "sweep: number of stages; concurrent, throughput: streams; async, constant, poisson: requests per second; a list, or repeated"},
		{"backend", []string{"backend", "backend-type"}, guideText, []string{"openai_http"}, "openai_http"},
		{"backend_kwargs", []string{"backend-kwargs", "backend-args"}, guideJSON, nil, "JSON object of settings of the connection: verify, http2, timeout"},
		{"model", []string{"model"}, guideText, nil, "model to ask for (default: the endpoint's first)"},
		{"request_type", []string{"request-type"}, guideText, []string{"text_completions", "chat_completions", "audio_transcriptions", "audio_translations"}, "chat_completions (default) or text_completions"},
		{"request_formatter_kwargs", []string{"request-formatter-kwargs"}, guideJSON, nil, "JSON object: extras (body, headers), stream, max_tokens, max_completion_tokens"},
		{"processor", []string{"processor"}, guideText, nil, "a tokenizer.json or its folder (default, or any other name: the endpoint's own count)"},
		{"processor_args", []string{"processor-args"}, guideJSON, nil, "taken and without effect: a tokenizer.json needs none"},
		{"data_args", []string{"data-args"}, guideJSONs, nil, "JSON object for the data: type_"},
		{"data_samples", []string{"data-samples"}, guideInt, nil, "number of samples of the data (default -1: all)"},
		{"data_column_mapper", []string{"data-column-mapper"}, guideJSON, nil, "JSON object that maps text_column, prefix_column, prompt_tokens_count_column and output_tokens_count_column to names of columns"},
		{"data_sampler", []string{"data-sampler"}, guideText, []string{"shuffle"}, "shuffle"},
		{"data_num_workers", []string{"data-num-workers"}, guideInt, nil, "taken and without effect: requests are built ahead in a goroutine"},
		{"dataloader_kwargs", []string{"dataloader-kwargs"}, guideJSON, nil, "taken and without effect"},
		{"random_seed", []string{"random-seed"}, guideInt, nil, "seed of prompts and arrivals (default 42)"},
		{"output_dir", []string{"output-dir"}, guideText, nil, "folder for the results (default: this one); it is made if it does not exist"},
		{"outputs", []string{"outputs"}, guideTexts, nil, "files to write: json, csv, yaml, html, or file names (default json, csv, html)"},
		{"output_path", []string{"output-path"}, guideText, nil, "file or folder for the results: the older way to say --output-dir and --outputs"},
		{"disable_console", []string{"disable-console", "disable-console-outputs"}, guideSwitch, nil, "print neither progress nor results"},
		{"disable_console_interactive", []string{"disable-console-interactive", "disable-progress"}, guideSwitch, nil, "print no progress"},
		{"warmup", []string{"warmup", "warmup-percent"}, guideJSON, nil, "part left out at a stage's start: a share below 1, seconds or requests, or an object of percent, value and mode"},
		{"cooldown", []string{"cooldown", "cooldown-percent"}, guideJSON, nil, "part left out at a stage's end, likewise"},
		{"rampup", []string{"rampup"}, guideFloat, nil, "seconds over which the streams of a throughput or concurrent stage begin"},
		{"sample_requests", []string{"sample-requests", "output-sampling"}, guideInt, nil, "keep prompt and answer of so many requests of a stage (default 10); all are listed with their figures"},
		{"max_seconds", []string{"max-seconds"}, guideFloat, nil, "length of a stage in seconds (default: no limit)"},
		{"max_requests", []string{"max-requests"}, guideInt, nil, "requests of a stage (default: no limit)"},
		{"max_errors", []string{"max-errors"}, guideInt, nil, "a stage ends at this many errors"},
		{"max_error_rate", []string{"max-error-rate"}, guideFloat, nil, "a stage ends when this share of its last 30 requests failed"},
		{"max_global_error_rate", []string{"max-global-error-rate"}, guideFloat, nil, "a stage ends when this share of all its requests failed"},
		{"over_saturation", []string{"over-saturation"}, guideJSON, nil, "JSON object that turns over-saturation detection on: enabled, min_seconds, max_window_seconds, moe_threshold, …"},
		{"detect_saturation", []string{"detect-saturation", "default-over-saturation"}, guideSwitch, nil, "over-saturation detection with its defaults"},
	}
}

// guideShort are the one-letter forms.
var guideShort = map[string]string{"scenario": "c"}

// addGuideFlags adds GuideLLM's options to a flag set. Older names are hidden from the help.
func addGuideFlags(set *pflag.FlagSet) {
	for _, o := range guideOptions() {
		for i, name := range o.names {
			short := ""
			if i == 0 {
				short = guideShort[name]
			}
			switch o.form {
			case guideSwitch:
				set.BoolP(name, short, false, o.usage)
			default:
				set.StringArrayP(name, short, nil, o.usage)
			}
			if i > 0 {
				_ = set.MarkHidden(name)
			}
		}
	}
}

// guideValues are arguments by their field, each nil, bool, int64, float64, string, []any or guidellm.Object.
type guideValues map[string]any

// collectGuide merges a scenario, GUIDELLM_… environment variables and flags, each going over the one before.
func collectGuide(set *pflag.FlagSet, environment func(string) string) (guideValues, error) {
	given := guideValues{}
	for _, o := range guideOptions() {
		texts, from, err := o.texts(set, environment)
		if err != nil {
			return nil, err
		}
		if texts == nil {
			continue
		}
		value, err := o.parse(texts)
		if err != nil {
			return nil, usageError("%s: %w", from, err)
		}
		given[o.field] = value
	}
	if v, ok := given["detect_saturation"]; ok {
		if v == true && given["over_saturation"] == nil {
			given["over_saturation"] = guidellm.Object{{Key: "enabled", Value: true}}
		}
		delete(given, "detect_saturation")
	}
	all := guideValues{}
	if name, ok := given["scenario"].(string); ok {
		scenario, err := readScenario(name)
		if err != nil {
			return nil, usageError("--scenario: %w", err)
		}
		all = scenario
		delete(given, "scenario")
	}
	given.mergeFormatter()
	if err := given.mergeOutputPath(); err != nil {
		return nil, err
	}
	for field, value := range given {
		all[field] = value
	}
	return all, nil
}

// texts are the texts given for an option, nil for none, and where they came from.
func (o *guideOption) texts(set *pflag.FlagSet, environment func(string) string) (texts []string, from string, err error) {
	for _, name := range o.names {
		flag := set.Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		from = "--" + name
		if o.form == guideSwitch {
			texts = append(texts, flag.Value.String())
			continue
		}
		list, err := set.GetStringArray(name)
		if err != nil {
			return nil, from, err
		}
		texts = append(texts, list...)
	}
	if texts != nil {
		if !o.repeated() {
			texts = texts[len(texts)-1:]
		}
		return texts, from, nil
	}
	variable := "GUIDELLM_" + strings.ToUpper(o.field)
	text := environment(variable)
	if text == "" {
		return nil, "", nil
	}
	if o.repeated() { // as click splits it
		return strings.Fields(text), variable, nil
	}
	return []string{text}, variable, nil
}

func (o *guideOption) repeated() bool {
	return o.form == guideFloats || o.form == guideTexts || o.form == guideData || o.form == guideJSONs
}

// parse reads the texts of an option.
func (o *guideOption) parse(texts []string) (any, error) {
	last := texts[len(texts)-1]
	switch o.form {
	case guideText:
		if o.choices != nil && !slices.Contains(o.choices, last) {
			return nil, fmt.Errorf("%q: it is one of %s", last, strings.Join(o.choices, ", "))
		}
		return last, nil
	case guideSwitch:
		switch strings.ToLower(strings.TrimSpace(last)) {
		case "1", "true", "t", "yes", "y", "on":
			return true, nil
		case "0", "false", "f", "no", "n", "off":
			return false, nil
		}
		return nil, fmt.Errorf("%q is neither true nor false", last)
	case guideInt:
		n, err := strconv.ParseInt(strings.TrimSpace(last), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", last)
		}
		return n, nil
	case guideFloat:
		return parseFloatText(last)
	case guideData:
		return anyList(texts), nil
	case guideTexts, guideFloats:
		list := []any{}
		for _, text := range texts {
			for _, item := range strings.Split(text, ",") {
				item = strings.TrimSpace(item)
				if item == "" && strings.Contains(text, ",") {
					continue
				}
				if o.form == guideTexts {
					list = append(list, item)
					continue
				}
				x, err := parseFloatText(item)
				if err != nil {
					return nil, err
				}
				list = append(list, x)
			}
		}
		return list, nil
	case guideJSON:
		return parseGuideJSON(last)
	default:
		list := []any{}
		for _, text := range texts {
			v, err := parseGuideJSON(text)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
}

func anyList(texts []string) []any {
	list := make([]any, len(texts))
	for i, t := range texts {
		list[i] = t
	}
	return list
}

func parseFloatText(text string) (float64, error) {
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || math.IsNaN(x) {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	return x, nil
}

// parseGuideJSON reads JSON, key=value pairs with commas, or a plain number or word (utils/cli.py, parse_json).
func parseGuideJSON(text string) (any, error) {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return nil, nil
	case strings.ContainsAny(text, "{}"):
		v, err := parseJSONValue([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("not valid JSON: %w", err)
		}
		return v, nil
	case strings.Contains(text, "="):
		o := guidellm.Object{}
		for _, pair := range strings.Split(text, ",") {
			key, value, ok := strings.Cut(pair, "=")
			if !ok {
				return nil, fmt.Errorf("%q: want JSON or key=value pairs", text)
			}
			o = append(o, guidellm.Member{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)})
		}
		return o, nil
	}
	if n, err := strconv.ParseInt(trimmed, 10, 64); err == nil {
		return n, nil
	}
	if x, err := strconv.ParseFloat(trimmed, 64); err == nil {
		return x, nil
	}
	return text, nil
}

// parseJSONValue reads one JSON value; objects keep the order of their keys.
func parseJSONValue(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := nextJSON(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the value")
	}
	return v, nil
}

func nextJSON(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return n, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			list := []any{}
			for d.More() {
				v, err := nextJSON(d)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err := d.Token()
			return list, err
		}
		object := guidellm.Object{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := nextJSON(d)
			if err != nil {
				return nil, err
			}
			object = append(object, guidellm.Member{Key: key.(string), Value: v})
		}
		_, err := d.Token()
		return object, err
	}
	return t, nil
}

// The scenarios that GuideLLM 0.5.0 brings along (benchmark/scenarios): sweeps over the lengths of a chat and of
// retrieval-augmented generation.
var guideScenarios = map[string]string{
	"chat": "prompt_tokens=512,prompt_tokens_stdev=128,prompt_tokens_min=1,prompt_tokens_max=1024," +
		"output_tokens=256,output_tokens_stdev=64,output_tokens_min=1,output_tokens_max=1024",
	"rag": "prompt_tokens=4096,prompt_tokens_stdev=512,prompt_tokens_min=2048,prompt_tokens_max=6144," +
		"output_tokens=512,output_tokens_stdev=128,output_tokens_min=1,output_tokens_max=1024",
}

// readScenario reads a scenario: a file, or one of the built-in names.
func readScenario(name string) (guideValues, error) {
	info, err := os.Stat(name)
	if err != nil || info.IsDir() {
		data, ok := guideScenarios[strings.TrimSuffix(name, ".json")]
		if !ok {
			return nil, fmt.Errorf("%q is neither a file nor one of the built-in scenarios chat and rag", name)
		}
		return guideValues{"profile": "sweep", "data": []any{data}}, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var v any
	switch ending := filepath.Ext(name); ending {
	case ".json":
		v, err = parseJSONValue(text)
	case ".yaml", ".yml":
		var node yaml.Node
		if err = yaml.Unmarshal(text, &node); err == nil {
			v, err = yamlValue(&node, 0)
		}
	default:
		return nil, fmt.Errorf("%s: a scenario is a .json, .yaml or .yml file", name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	object, ok := v.(guidellm.Object)
	if !ok {
		return nil, fmt.Errorf("%s holds no object of arguments", name)
	}
	if args, ok := object.Get("args").(guidellm.Object); ok { // a report
		object = args
	}
	values := guideValues{}
	for _, m := range object {
		field := strings.ReplaceAll(m.Key, "-", "_")
		if field == "request_type" {
			field = "data_request_formatter"
		}
		values[field] = m.Value
	}
	return values, nil
}

// yamlValue turns a YAML document into the values of this file.
func yamlValue(n *yaml.Node, depth int) (any, error) {
	if depth > 100 {
		return nil, errors.New("nested more than 100 deep")
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return yamlValue(n.Content[0], depth+1)
	case yaml.AliasNode:
		return yamlValue(n.Alias, depth+1)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			v, err := yamlValue(item, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		object := guidellm.Object{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := yamlValue(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			object = append(object, guidellm.Member{Key: n.Content[i].Value, Value: v})
		}
		return object, nil
	case yaml.ScalarNode:
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case int:
			return int64(v), nil
		case nil, bool, int64, float64, string:
			return v, nil
		}
		return n.Value, nil
	}
	return nil, nil
}

// mergeFormatter joins --request-type and --request-formatter-kwargs into one argument, as GuideLLM's command does.
func (g guideValues) mergeFormatter() {
	kind, hasKind := g["request_type"]
	settings, hasSettings := g["request_formatter_kwargs"].(guidellm.Object)
	delete(g, "request_type")
	delete(g, "request_formatter_kwargs")
	switch {
	case hasKind && hasSettings && len(settings) > 0:
		g["data_request_formatter"] = append(guidellm.Object{{Key: "request_type", Value: kind}}, settings...)
	case hasKind:
		g["data_request_formatter"] = kind
	case hasSettings:
		g["data_request_formatter"] = settings
	}
}

// mergeOutputPath turns --output-path into --output-dir and --outputs.
func (g guideValues) mergeOutputPath() error {
	path, ok := g["output_path"].(string)
	delete(g, "output_path")
	if !ok || path == "" {
		return nil
	}
	if _, ok := g["output_dir"]; ok {
		return usageError("--output-path and --output-dir contradict each other: give one")
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		g["output_dir"] = path
		return nil
	}
	g["output_dir"], g["outputs"] = filepath.Dir(path), []any{filepath.Base(path)}
	return nil
}
