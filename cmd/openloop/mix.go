package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/internal/infile"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// lengthKeys are the flags of prompts that are made up, which data has no use for.
var lengthKeys = []string{"prompt-tokens", "prompt-tokens-stdev", "prompt-tokens-min", "prompt-tokens-max",
	"prefix-tokens", "prefix-count", "turns", "turns-stdev", "turns-min", "turns-max"}

// dataKeys are the flags of data.
var dataKeys = []string{"data", "data-column-mapper", "data-samples", "data-shuffle", "sessions"}

// sessionKeys are the flags of sessions, which a class of single requests has no use for.
var sessionKeys = []string{"turn-tokens", "turn-tokens-stdev", "turn-tokens-min", "turn-tokens-max", "think-time",
	"history"}

// ownKeys are the flags that a class has for itself alone; the other classKeys it has from the command where it does
// not say otherwise, and sharedKeys in any case.
var (
	ownKeys    = []string{"header", "slo"}
	sharedKeys = []string{"request-type", "seed", "prompt-seed"}
)

// classKeys are the flags that a class of a mix may give, beside its name and its weight.
var classKeys = slices.Concat([]string{"model", "header", "slo", "output-tokens", "output-tokens-stdev",
	"output-tokens-min", "output-tokens-max", "images", "image-size", "batch-size", "query-tokens",
	"extra-body", "no-ignore-eos", "tokenizer"}, lengthKeys, dataKeys, sessionKeys)

// addMix adds the flags of mixes.
func (f *specFlags) addMix(set *pflag.FlagSet) {
	set.StringVar(&f.mix, "mix", "",
		"`FILE` of classes of requests that arrive as one load, each with a weight, and with prompts, a model, "+
			"headers and objectives of its own")
}

// parseMix reads --mix, or a --model of several; nil where there is neither.
func (f *specFlags) parseMix() ([]spec.Class, []slo.Objective, error) {
	var entries []map[string]any
	flag := "mix"
	switch several, err := f.severalModels(); {
	case err != nil:
		return nil, nil, err
	case several != nil && f.mix != "":
		return nil, nil, usageError("--model and --mix contradict each other: the classes name their models")
	case several != nil:
		entries, flag = several, "model"
	case f.mix == "":
		return nil, nil, nil
	default:
		if entries, err = readMix(f.mix); err != nil {
			return nil, nil, usageError("--mix: %w", err)
		}
	}
	for _, name := range []string{"trace", "save-workload"} {
		if f.set.Changed(name) {
			return nil, nil, usageError("--%s and --%s can't be combined", flag, name)
		}
	}
	var classes []spec.Class
	var objectives []slo.Objective
	for i, entry := range entries {
		c, own, err := f.class(entry)
		if err != nil {
			return nil, nil, fmt.Errorf("--%s: class %s: %w", flag, nameOfClass(entry, i), err)
		}
		if slices.ContainsFunc(classes, func(of spec.Class) bool { return of.Name == c.Name }) {
			return nil, nil, usageError("--%s: two classes are named %s", flag, c.Name)
		}
		classes, objectives = append(classes, c), append(objectives, own...)
	}
	for _, name := range sessionKeys {
		if f.set.Changed(name) && !slices.ContainsFunc(classes, func(c spec.Class) bool {
			return c.Workload.Sessioned()
		}) {
			return nil, nil, withHint(usageError("--%s: no class is of sessions", name), "turns: 4 makes a class so")
		}
	}
	return classes, objectives, nil
}

// mixHeaders reads the names of the classes of --mix and their headers, for a worker: the rest is the leader's to say.
func (f *specFlags) mixHeaders() (classes []spec.Class, err error) {
	if f.mix == "" {
		return nil, nil
	}
	entries, err := readMix(f.mix)
	if err != nil {
		return nil, usageError("--mix: %w", err)
	}
	for i, entry := range entries {
		c := spec.Class{Name: nameOfClass(entry, i)}
		if value, ok := entry["header"]; ok {
			set := pflag.NewFlagSet("class", pflag.ContinueOnError)
			var own specFlags
			own.addCredentials(set)
			if err := setFlag(set, "header", value); err != nil {
				return nil, usageError("--mix: class %s: header: %w", c.Name, err)
			}
			if c.Headers, err = own.parseHeaders(); err != nil {
				return nil, fmt.Errorf("--mix: class %s: %w", c.Name, err)
			}
		}
		classes = append(classes, c)
	}
	return classes, nil
}

// nameOfClass is what an error calls a class.
func nameOfClass(entry map[string]any, i int) string {
	if name, ok := entry["name"].(string); ok && name != "" {
		return name
	}
	return strconv.Itoa(i + 1)
}

// severalModels are the classes of --model a:0.6,b:0.4; nil for the name of one model.
func (f *specFlags) severalModels() (entries []map[string]any, err error) {
	if !strings.Contains(f.model, ",") {
		return nil, nil
	}
	for part := range strings.SplitSeq(f.model, ",") {
		at := strings.LastIndexByte(part, ':')
		var weight float64
		if at > 0 {
			weight, err = strconv.ParseFloat(part[at+1:], 64)
		}
		if at <= 0 || err != nil {
			return nil, withHint(usageError("--model: %q is not of the form NAME:WEIGHT", part),
				"--model a:0.6,b:0.4 asks for a with 60 % of the requests, for b with 40 %")
		}
		entries = append(entries, map[string]any{"name": className(part[:at]), "weight": weight, "model": part[:at]})
	}
	return entries, nil
}

// className makes the name of a class of the name of a model: what follows its last slash.
func className(model string) string {
	name := model[strings.LastIndexByte(model, '/')+1:]
	return strings.Map(func(r rune) rune {
		if !slo.IsClassName(string(r)) {
			return '-'
		}
		return r
	}, name)
}

// readMix reads the classes of a file.
func readMix(name string) ([]map[string]any, error) {
	text, err := infile.ReadAll(name, mostConfig)
	if err != nil {
		return nil, err
	}
	var file struct {
		Classes []map[string]any `yaml:"classes"`
	}
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if n := len(file.Classes); n == 0 || n > tokens.MostClasses {
		return nil, fmt.Errorf("%s has %d classes: want 1 to %d, as a list under \"classes\"", name, n,
			tokens.MostClasses)
	}
	return file.Classes, nil
}

// class is what an entry of a mix asks for: the command's own flags, but for those that the entry gives.
func (f *specFlags) class(entry map[string]any) (c spec.Class, objectives []slo.Objective, err error) {
	set := pflag.NewFlagSet("class", pflag.ContinueOnError)
	own := addSpecFlags(set, &program{args: f.program.args, stderr: f.program.stderr})
	given := func(keys []string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { _, ok := entry[k]; return ok })
	}
	f.set.Visit(func(flag *pflag.Flag) {
		name := flag.Name
		_, overridden := entry[name]
		switch {
		case err != nil, overridden, slices.Contains(ownKeys, name), slices.Contains(sessionKeys, name),
			!slices.Contains(classKeys, name) && !slices.Contains(sharedKeys, name),
			given(dataKeys) && slices.Contains(lengthKeys, name), given(lengthKeys) && slices.Contains(dataKeys, name):
			return
		}
		err = inherit(set, flag)
	})
	if err != nil {
		return c, nil, err
	}
	for key, value := range entry {
		switch {
		case key == "name":
			c.Name, _ = value.(string)
		case key == "weight":
			if c.Weight, err = number(value); err != nil {
				return c, nil, usageError("weight: %w", err)
			}
		case !slices.Contains(classKeys, key):
			return c, nil, withHint(usageError("%q is no key of a class", key),
				"the keys are name, weight, "+strings.Join(classKeys, ", "))
		default:
			if err := setFlag(set, key, value); err != nil {
				return c, nil, usageError("%s: %w", key, err)
			}
		}
	}
	switch {
	case !slo.IsClassName(c.Name):
		return c, nil, usageError("name %q: it is letters, digits, -, _ and .", c.Name)
	case !(c.Weight > 0):
		return c, nil, usageError("weight %v: it must be above 0", c.Weight)
	}
	for _, name := range sessionKeys {
		_, overridden := entry[name]
		if flag := f.set.Lookup(name); own.asksForSessions() && !overridden && flag.Changed {
			if err := inherit(set, flag); err != nil {
				return c, nil, err
			}
		}
	}
	own.target = f.target
	if err := own.check(); err != nil {
		return c, nil, err
	}
	if c.Workload, err = own.workload(); err != nil {
		return c, nil, err
	}
	c.Workload.Seed = f.promptsSeed()
	if c.Headers, err = own.parseHeaders(); err != nil {
		return c, nil, err
	}
	if c.Model = own.model; strings.Contains(c.Model, ",") { // the command's list of models
		return c, nil, usageError("model %q: a class has one", c.Model)
	}
	if len(own.objectives) > 0 {
		if objectives, err = own.parseObjectives(); err != nil {
			return c, nil, err
		}
		for i := range objectives {
			o := &objectives[i]
			if o.Class != "" || o.Metric == slo.ITL {
				return c, nil, usageError("slo: %s: an objective of a class is on its own requests, and not on itl", o)
			}
			o.Class, o.Text = c.Name, ""
		}
	}
	return c, objectives, nil
}

// inherit gives a flag of a set the value that it has elsewhere.
func inherit(set *pflag.FlagSet, flag *pflag.Flag) error {
	if from, ok := flag.Value.(pflag.SliceValue); ok {
		for _, text := range from.GetSlice() {
			if err := set.Set(flag.Name, text); err != nil {
				return err
			}
		}
		return nil
	}
	return set.Set(flag.Name, flag.Value.String())
}

// setFlag gives a flag a value of a YAML file.
func setFlag(set *pflag.FlagSet, key string, value any) error {
	values, ok := value.([]any)
	if !ok {
		values = []any{value}
	}
	for _, v := range values {
		if err := set.Set(key, fmt.Sprint(v)); err != nil {
			return err
		}
	}
	return nil
}

func number(value any) (float64, error) {
	switch v := value.(type) {
	case int:
		return float64(v), nil
	case float64:
		return v, nil
	}
	return 0, fmt.Errorf("%v is not a number", value)
}

// checkMix says what a mix can't be combined with.
func checkMix(s *spec.Spec) error {
	if s.Mix == nil {
		return nil
	}
	format := s.Mix[0].Workload.Format
	for _, c := range s.Mix {
		if c.Workload.Format != format {
			return usageError("--mix: all classes have one --request-type")
		}
	}
	return nil
}

// mixOf are the classes as they are opened, with the model of the endpoint where a class names none.
func mixOf(s *spec.Spec, model string) (classes []tokens.Class) {
	for _, c := range s.Mix {
		if c.Model == "" {
			c.Model = model
		}
		classes = append(classes, tokens.Class{Name: c.Name, Weight: c.Weight, Model: c.Model, Spec: c.Workload})
	}
	return classes
}

// withHeaders are headers with others over them.
func withHeaders(headers, over []endpoint.Header) []endpoint.Header {
	all := slices.Clone(headers)
	for _, h := range over {
		all = slices.DeleteFunc(all, func(of endpoint.Header) bool { return strings.EqualFold(of.Name, h.Name) })
	}
	return append(all, over...)
}
