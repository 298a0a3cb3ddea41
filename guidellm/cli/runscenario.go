package cli

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/guidellm"
)

// scenario is what "guidellm run" was asked for (schemas/benchmark/entrypoints.py, BenchmarkScenario).
type scenario struct {
	metadata   guidellm.Object
	spec       guidellm.Object
	benchmarks []any // objects of paths with values that go over the spec, or nil
	labels     map[string]string

	resultsDir        string
	settings, unknown []string // variables without effect, and ones that GuideLLM does not have
}

// builtInRuns are the scenarios that GuideLLM 0.8.1 brings along (schemas/benchmark/scenarios): by name their data,
// their seconds and their streams.
var builtInRuns = map[string]struct {
	data    string
	seconds int64
	streams string
}{
	"rhaiis/concurrent-100k-1k-equal": {"prompt_tokens=100000,output_tokens=1000", 450, "1,2,5"},
	"rhaiis/concurrent-1k-1k-equal":   {"prompt_tokens=1000,output_tokens=1000", 450, "1,50,100,200,300"},
	"rhaiis/concurrent-1k-1k-multiturn": {
		"prompt_tokens=1000,output_tokens=1000,turns=5,prefix_tokens=512,prefix_count=10", 450, "1,25,50,75,100"},
	"rhaiis/concurrent-2ki-128-equal": {"prompt_tokens=2048,output_tokens=128", 45, "1,50,100,200,300"},
	"rhaiis/concurrent-512-2ki-norm": {"prompt_tokens=512,prompt_tokens_stdev=128,prompt_tokens_min=1," +
		"prompt_tokens_max=1024,output_tokens=2048,output_tokens_stdev=512,output_tokens_min=1,output_tokens_max=4096",
		450, "1,50,100,200,300"},
	"rhaiis/concurrent-8k-1k-equal": {"prompt_tokens=8000,output_tokens=1000", 450, "1,25,50,75,100"},
	"rhaiis/concurrent-8k-800-norm": {"prompt_tokens=8000,prompt_tokens_stdev=8500,prompt_tokens_min=50," +
		"prompt_tokens_max=30000,output_tokens=800,output_tokens_stdev=1500,output_tokens_min=20," +
		"output_tokens_max=8000", 450, "1,50,100,200,300"},
}

// builtInRun is one of them as a scenario.
func builtInRun(name string) (guidellm.Object, error) {
	b := builtInRuns[name]
	data, err := parseArgString("kind=synthetic_text," + b.data)
	if err != nil {
		return nil, err
	}
	benchmarks, err := parseOverrides([]string{"profile.streams=" + b.streams})
	return guidellm.Object{
		{Key: "metadata", Value: guidellm.Object{{Key: "name", Value: strings.TrimPrefix(name, "rhaiis/")}}},
		{Key: "spec", Value: guidellm.Object{
			{Key: "backend", Value: guidellm.Object{{Key: "kind", Value: "openai_http"}}},
			{Key: "profile", Value: guidellm.Object{{Key: "kind", Value: "concurrent"}}},
			{Key: "data", Value: []any{data}},
			{Key: "constraints", Value: []any{
				guidellm.Object{{Key: "kind", Value: "max_duration"}, {Key: "seconds", Value: b.seconds}}}},
		}},
		{Key: "benchmarks", Value: benchmarks},
	}, err
}

// collectScenario reads a scenario, with flags over it and variables under it.
func collectScenario(set *pflag.FlagSet, environ []string) (*scenario, error) {
	texts := func(o runOption) (all []string) {
		for _, name := range o.names {
			given, err := set.GetStringArray(name)
			if err == nil {
				all = append(all, given...)
			}
		}
		return all
	}
	s := &scenario{labels: map[string]string{}}
	file, flags := guidellm.Object{}, guidellm.Object{}
	var overrides, labels []string
	for _, o := range runOptions {
		given := texts(o)
		if len(given) == 0 {
			continue
		}
		if len(given) > 1 && !o.many {
			return nil, fmt.Errorf("--%s was given %d times: it is given once", o.names[0], len(given))
		}
		switch o.names[0] {
		case "scenario":
			var err error
			if file, err = openRunScenario(given[0]); err != nil {
				return nil, fmt.Errorf("--scenario: %w", err)
			}
		case "label":
			labels = given
		case overrideFlag:
			overrides = given
		default:
			values, err := optionValues(o, given)
			if err != nil {
				return nil, err
			}
			if o.many {
				flags = append(flags, guidellm.Member{Key: o.field, Value: values})
			} else {
				flags = append(flags, guidellm.Member{Key: o.field, Value: values[0]})
			}
		}
	}
	environment, err := s.variables(environ)
	if err != nil {
		return nil, err
	}
	all := merge(environment, file)
	if err := s.split(all, flags); err != nil {
		return nil, err
	}
	for _, text := range labels {
		key, value, err := labelOf(text)
		if err != nil {
			return nil, err
		}
		s.labels[key] = value
	}
	if len(overrides) > 0 {
		if s.benchmarks, err = parseOverrides(overrides); err != nil {
			return nil, fmt.Errorf("--override: %w", err)
		}
	}
	return s, nil
}

// optionValues reads the values of a flag, each an object with a kind.
func optionValues(o runOption, texts []string) ([]any, error) {
	var values []any
	for _, text := range texts {
		v, err := parseConfig(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", o.names[0], err)
		}
		object, ok := v.(guidellm.Object)
		if !ok {
			return nil, fmt.Errorf("--%s: it is %s: want kind=…,key=value,… or a JSON or YAML object", o.names[0],
				describe(v))
		}
		if object.Get("kind") == nil {
			return nil, fmt.Errorf("--%s: it has no kind: want kind=…,key=value,…", o.names[0])
		}
		values = append(values, object)
	}
	return values, nil
}

// openRunScenario opens a scenario: a file, or one that GuideLLM brings along. Of a report it is the one that it holds.
func openRunScenario(name string) (guidellm.Object, error) {
	if _, ok := builtInRuns[name]; ok {
		return builtInRun(name)
	}
	object, err := openObject(name)
	if err != nil {
		return nil, err
	}
	if config, ok := object.Get("config").(guidellm.Object); ok { // a report
		return config, nil
	}
	if object.Get("spec") == nil && (object.Get("target") != nil || object.Get("args") != nil) {
		return nil, fmt.Errorf("%s is a scenario or report of GuideLLM before 0.7, without spec: "+
			"openloop benchmark run takes it", name)
	}
	return object, nil
}

// split takes the parts of a scenario apart. flags go over its spec.
func (s *scenario) split(all, flags guidellm.Object) error {
	top := newSection("scenario", all)
	metadata := newSection("metadata", top.take("metadata"))
	spec := newSection("spec", top.take("spec"))
	benchmarks := top.take("benchmarks")
	for _, part := range []*section{metadata, spec} {
		if part.err != nil {
			return part.err
		}
	}
	if err := top.end(); err != nil {
		return err
	}
	var normal guidellm.Object
	for _, m := range spec.rest { // GuideLLM takes its names with hyphens, too
		m.Key = strings.ReplaceAll(m.Key, "-", "_")
		normal = append(normal, m)
	}
	s.metadata, s.spec = metadata.rest, merge(normal, flags)
	labels := newSection("metadata.labels", metadata.rest.Get("labels"))
	for _, m := range labels.rest {
		text, ok := m.Value.(string)
		if !ok {
			return fmt.Errorf("metadata.labels.%s: it is %s: want a text", m.Key, describe(m.Value))
		}
		s.labels[m.Key] = strings.TrimSpace(text)
	}
	list, ok := benchmarks.([]any)
	if benchmarks != nil && !ok {
		return fmt.Errorf("benchmarks: it is %s: want a list of objects", describe(benchmarks))
	}
	s.benchmarks = list
	return labels.err
}

// parseOverrides reads --override: a path, and its value in each benchmark, with nothing between commas for none.
func parseOverrides(texts []string) ([]any, error) {
	var benchmarks []guidellm.Object
	for _, text := range texts {
		path, values, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want a path and its values: profile.streams 1,2,4", path)
		}
		for i, value := range strings.Split(values, ",") {
			if i > mostIndex {
				return nil, fmt.Errorf("%s: more than %d values", path, mostIndex)
			}
			for len(benchmarks) <= i {
				benchmarks = append(benchmarks, guidellm.Object{})
			}
			value = strings.TrimSpace(value)
			if value == "" && strings.Contains(values, ",") {
				continue
			}
			v, err := parseScalar(value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			benchmarks[i] = append(benchmarks[i], guidellm.Member{Key: path, Value: v})
		}
	}
	list := make([]any, len(benchmarks))
	for i, b := range benchmarks {
		list[i] = b
	}
	return list, nil
}

// mostBenchmarks bounds the benchmarks of a scenario.
const mostBenchmarks = 1000

// benchmarkSpecs are the specs of the benchmarks. The first one's values stand in the spec of all, as in GuideLLM.
func (s *scenario) benchmarkSpecs() ([]guidellm.Object, error) {
	if len(s.benchmarks) == 0 {
		return []guidellm.Object{s.spec}, nil
	}
	if len(s.benchmarks) > mostBenchmarks {
		return nil, fmt.Errorf("benchmarks: %d: at most %d", len(s.benchmarks), mostBenchmarks)
	}
	var specs []guidellm.Object
	base := s.spec
	for i, b := range s.benchmarks {
		overrides, ok := b.(guidellm.Object)
		if b != nil && !ok {
			return nil, fmt.Errorf("benchmarks[%d]: it is %s: want an object of paths and values", i, describe(b))
		}
		one := base
		for _, m := range overrides {
			var err error
			if one, err = setPath(one, m.Key, m.Value, true); err != nil {
				return nil, fmt.Errorf("benchmarks[%d]: %w", i, err)
			}
		}
		if i == 0 {
			base = one
		}
		specs = append(specs, one)
	}
	return specs, nil
}

// listFields are the values that may differ between benchmarks (benchmark/entrypoints.py, resolve_to_single_benchmark).
var (
	rateFields  = []string{"rate", "streams"}
	limitFields = []string{"seconds", "count", "rate"}
)

// mergeBenchmarks makes one spec of those of the benchmarks, as GuideLLM does: the values of the constraints become
// lists. rates are the rates or streams of all. What else differs is refused, as by GuideLLM.
func mergeBenchmarks(specs []guidellm.Object) (one guidellm.Object, rates []any, err error) {
	one = specs[0]
	var first []byte
	limits := map[string][]any{}
	for i, spec := range specs {
		rest, path := spec, ""
		take := func(under, field string) {
			object, _ := valueAt(rest, under).(guidellm.Object)
			value := object.Get(field)
			if value == nil || err != nil {
				return
			}
			path = under + "." + field
			rest, err = setPath(rest, path, nil, true)
			if under == "profile" {
				rates = append(rates, listOf(value)...)
			} else {
				limits[path] = append(limits[path], listOf(value)...)
			}
		}
		for _, field := range rateFields {
			take("profile", field)
		}
		list, _ := spec.Get("constraints").([]any)
		for k := range min(len(list), mostIndex+1) {
			for _, field := range limitFields {
				take(fmt.Sprintf("constraints[%d]", k), field)
			}
		}
		if err != nil {
			return nil, nil, err
		}
		text, err := appendJSON(nil, rest)
		if err != nil {
			return nil, nil, fmt.Errorf("benchmarks[%d]: %w", i, err)
		}
		if i > 0 && !bytes.Equal(text, first) {
			return nil, nil,
				fmt.Errorf("benchmarks[%d] changes more than profile.rate, profile.streams and the values "+
					"of constraints, which GuideLLM 0.8.1 does not take either: run it by itself", i)
		}
		first = text
	}
	for path, values := range limits {
		if len(specs) == 1 {
			break
		}
		if one, err = setPath(one, path, values, true); err != nil {
			return nil, nil, err
		}
	}
	return one, rates, nil
}

// valueAt is the value at NAME or NAME[INDEX] of an object; nil where there is none.
func valueAt(o guidellm.Object, path string) any {
	name, index, isList := strings.Cut(path, "[")
	if !isList {
		return o.Get(name)
	}
	list, _ := o.Get(name).([]any)
	var i int
	if _, err := fmt.Sscanf(index, "%d]", &i); err != nil || i >= len(list) {
		return nil
	}
	return list[i]
}

// variablePrefix begins the variables of "guidellm run": GUIDELLM__SPEC__BACKEND__TARGET, and its settings.
const variablePrefix = "GUIDELLM__"

// settingNames are GuideLLM's settings (settings.py) that have no effect here.
var settingNames = []string{
	"DEFAULT_ASYNC_LOOP_SLEEP", "DEFAULT_SWEEP_NUMBER", "MP_CONTEXT_TYPE", "MP_SERIALIZATION", "MP_ENCODING",
	"MP_MESSAGING_OBJECT", "MP_REQUESTS_SEND_BUFFER_SIZE", "MP_POLL_INTERVAL", "MP_MAX_PENDING_BUFFER_PERCENT",
	"MP_MAX_WORKER_BUFFER_PERCENT", "MAX_CONCURRENCY", "MAX_WORKER_PROCESSES", "SCHEDULER_START_DELAY_NON_DISTRIBUTED",
	"CONSTRAINT_ERROR_WINDOW_SIZE", "CONSTRAINT_ERROR_MIN_PROCESSED", "DEFAULT_SYNTHETIC_TOOL_RESPONSE",
	"TABLE_BORDER_CHAR", "TABLE_HEADERS_BORDER_CHAR", "TABLE_COLUMN_SEPARATOR_CHAR",
}

// variables are what the environment says of the scenario: names with __ between them, values texts or JSON.
func (s *scenario) variables(environ []string) (guidellm.Object, error) {
	o := guidellm.Object{}
	environ = slices.Clone(environ)
	slices.Sort(environ) // so that a whole object comes before what goes into it
	for _, entry := range environ {
		variable, text, _ := strings.Cut(entry, "=")
		name, ok := strings.CutPrefix(strings.ToUpper(variable), variablePrefix)
		if !ok {
			if strings.HasPrefix(variable, "GUIDELLM_") {
				s.unknown = append(s.unknown, variable)
			}
			continue
		}
		names := strings.Split(strings.ToLower(name), "__")
		switch {
		case slices.Contains([]string{"spec", "metadata", "benchmarks"}, names[0]):
		case name == "DEFAULT_RESULTS_DIR":
			s.resultsDir = text
			continue
		case slices.Contains(settingNames, name), names[0] == "logging", names[0] == "dataset":
			s.settings = append(s.settings, variable)
			continue
		default:
			s.unknown = append(s.unknown, variable)
			continue
		}
		value := any(text)
		if strings.HasPrefix(strings.TrimSpace(text), "{") || strings.HasPrefix(strings.TrimSpace(text), "[") {
			parsed, err := parseJSON([]byte(text))
			if err != nil {
				return nil, fmt.Errorf("%s: not valid JSON: %w", variable, err)
			}
			value = parsed
		}
		path := strings.Join(names, ".")
		if strings.Contains(path, "[") {
			return nil, fmt.Errorf("%s: %w", variable, errors.New("a list is given as a whole, as JSON"))
		}
		var err error
		if o, err = setPath(o, path, value, true); err != nil {
			return nil, fmt.Errorf("%s: %w", variable, err)
		}
	}
	return o, nil
}

// echo is the scenario as GuideLLM writes it into a report, without credentials.
func (s *scenario) echo(one guidellm.Object) guidellm.Object {
	spec := slices.Clone(one)
	for i, m := range spec {
		o, ok := m.Value.(guidellm.Object)
		switch {
		case ok && m.Key == "backend":
			spec[i].Value = redactBackend(o)
		case ok && m.Key == "profile": // its rates and streams are lists there
			spec[i].Value = listRates(o)
		case ok && m.Key == "tokenizer": // its load_kwargs may have a token
			spec[i].Value = redactLoad(o)
		}
	}
	labels := guidellm.Object{}
	for _, key := range sortedKeys(s.labels) {
		labels = append(labels, guidellm.Member{Key: key, Value: s.labels[key]})
	}
	benchmarks := []any{}
	for _, b := range s.benchmarks {
		o, _ := b.(guidellm.Object)
		benchmarks = append(benchmarks, redactOverrides(o))
	}
	if len(benchmarks) == 0 {
		benchmarks = []any{nil}
	}
	return guidellm.Object{
		{Key: "metadata", Value: merge(s.metadata, guidellm.Object{{Key: "labels", Value: labels}})},
		{Key: "spec", Value: spec}, {Key: "benchmarks", Value: benchmarks},
	}
}

// listRates is a profile with lists of rates and streams.
func listRates(o guidellm.Object) guidellm.Object {
	o = slices.Clone(o)
	for i, m := range o {
		if slices.Contains(rateFields, m.Key) && m.Value != nil {
			o[i].Value = flatten([]any{m.Value})
		}
	}
	return o
}

// redactLoad is a tokenizer without the texts of its arguments.
func redactLoad(o guidellm.Object) guidellm.Object {
	o = slices.Clone(o)
	for i, m := range o {
		if m.Key == "load_kwargs" {
			o[i].Value = hideTexts(m.Value)
		}
	}
	return o
}

// redactOverrides is a benchmark's values without texts of the backend and the tokenizer; nil for none.
func redactOverrides(o guidellm.Object) any {
	if o == nil {
		return nil
	}
	o = slices.Clone(o)
	for i, m := range o {
		if strings.HasPrefix(m.Key, "backend") || strings.HasPrefix(m.Key, "tokenizer") {
			o[i].Value = hideTexts(m.Value)
		}
	}
	return o
}
