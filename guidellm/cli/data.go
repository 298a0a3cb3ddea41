package cli

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/tokens"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// recordEndings are those of the files of records that openloop reads, configEndings those of descriptions of synthetic
// data.
var (
	recordEndings = []string{".jsonl", ".json", ".csv", ".txt", ".text", ".parquet", ".arrow"}
	configEndings = []string{".yaml", ".yml", ".config"}
)

// dataTypes are the kinds of data of --data-args that openloop reads.
var dataTypes = []string{
	"synthetic_text", "json_file", "csv_file", "text_file", "parquet_file", "arrow_file",
	"in_memory_json_str", "huggingface",
}

// readData reads --data and what goes with it.
func (c *Command) readData(a *arguments) error {
	if seed := a.randomSeed; seed.Valid {
		c.Args.RandomSeed = seed.Value
	}
	source, err := dataSource(a.data)
	if err != nil {
		return err
	}
	c.Args.Data = []string{source}
	if n := a.dataSamples; n.Valid {
		c.Args.DataSamples = n.Value
	}
	columns, err := c.readColumns(a.columnMapper.value)
	if err != nil {
		return err
	}
	if sampler := a.dataSampler; sampler.Valid {
		c.Args.DataSampler = sampler.Value
	}
	if err := c.readDataArgs(a.dataArgs); err != nil {
		return err
	}
	if n := a.dataNumWorkers; n.Valid {
		c.Args.DataNumWorkers = n.Null
	}
	if o := a.dataloaderKwargs.Object; o != nil {
		c.Args.DataloaderKwargs = hideTexts(o)
		c.note("--dataloader-kwargs has no effect: openloop has no loader of PyTorch's")
	}
	w := &c.Spec.Workload
	w.Seed = c.promptSeed()
	c.readProcessor(a)

	source = strings.TrimSpace(source)
	synthetic, err := checkSource(source)
	switch {
	case err != nil:
		return fmt.Errorf("--data: %w", err)
	case synthetic != nil:
		w.Synthetic = synthetic
	default:
		w.Data = &tokens.DataSpec{
			Source: source, Columns: columns, Samples: c.samples(),
			Shuffle: c.Args.DataSampler == "shuffle", Seed: c.Args.RandomSeed, GuideLLM: true,
		}
	}
	return nil
}

// samples is how many records are used; 0: all.
func (c *Command) samples() int { return int(max(0, c.Args.DataSamples)) }

// promptSeed is the seed of the prompts. Where none but GuideLLM's default was asked for, no two runs have the same:
// the second would find its prompts in the server's prefix cache, and measure that.
func (c *Command) promptSeed() int64 {
	if seed := c.Args.RandomSeed; seed != guidellm.DefaultArgs().RandomSeed {
		return seed
	}
	return rand.Int64N(1 << 40)
}

// dataSource is the one source that openloop reads.
func dataSource(sources []any) (string, error) {
	switch len(sources) {
	case 0:
		return "", errors.New("no data: give --data 'prompt_tokens=256,output_tokens=128', a file of records, or a " +
			"--scenario (chat, rag)")
	case 1:
	default:
		return "", fmt.Errorf("--data was given %d times: GuideLLM joins the columns of several data sets, "+
			"openloop reads one", len(sources))
	}
	switch v := sources[0].(type) {
	case string:
		return v, nil
	case guidellm.Object:
		text, err := appendJSON(nil, v)
		if err != nil {
			return "", fmt.Errorf("--data: %w", err)
		}
		return string(text), nil
	}
	return "", fmt.Errorf("--data: it is %s: want a text or an object", describe(sources[0]))
}

// checkSource reads a description of synthetic data. Of what is none it refuses data sets on a hub and files of other
// kinds, with the reason.
func checkSource(source string) (*tokens.SyntheticSpec, error) {
	isJSON := strings.HasPrefix(source, "[") || strings.HasPrefix(source, "{")
	if strings.Contains(source, "://") && !isJSON {
		return nil, fmt.Errorf("%s is a URL: openloop downloads none; save it as a file of records and name that",
			endpoint.RedactUserinfo(source))
	}
	config, isSynthetic, err := tokens.ParseSynthetic(source)
	if err != nil {
		return nil, err
	}
	if isSynthetic {
		return &tokens.SyntheticSpec{Prompt: config.Prompt, Output: config.Output, Prefixes: config.Prefixes}, nil
	}
	if isJSON {
		return nil, nil
	}
	kinds := strings.Join(recordEndings, ", ")
	ending := strings.ToLower(filepath.Ext(strings.TrimSuffix(source, ".gz")))
	isKnown := slices.Contains(recordEndings, ending) || slices.Contains(configEndings, ending)
	info, err := os.Stat(source)
	switch {
	case err == nil && info.IsDir():
		return nil, nil // opening it says what it lacks
	case err == nil && !isKnown:
		return nil, fmt.Errorf("%s: openloop reads %s, each also compressed by gzip; convert the file first",
			source, kinds)
	case err == nil:
		return nil, nil
	case isKnown:
		return nil, fmt.Errorf("%s: there is no such file", source)
	case source == "":
		return nil, errors.New("it is empty, so that there is no data")
	}
	return nil, fmt.Errorf("%s is neither a file nor a description of synthetic data. If it names a data set on a "+
		"hub: openloop downloads none; save it as a file of records and name that", source)
}

func (c *Command) readDataArgs(list []any) error {
	if len(list) > 1 {
		return fmt.Errorf("--data-args was given %d times for one --data", len(list))
	}
	if len(list) == 0 || list[0] == nil {
		return nil
	}
	settings, ok := list[0].(guidellm.Object)
	if !ok {
		return fmt.Errorf("--data-args: it is %s: want a JSON object or key=value pairs", describe(list[0]))
	}
	echo := slices.Clone(settings)
	for i, m := range settings {
		kind, _ := m.Value.(string)
		switch {
		case m.Key == "type_" && slices.Contains(dataTypes, kind):
		case m.Key == "type_":
			return fmt.Errorf("--data-args: type_ %v: openloop reads %s", m.Value,
				strings.Join(dataTypes, ", "))
		case m.Key == "resolve_split":
			echo[i].Value = hideTexts(m.Value)
		default:
			return fmt.Errorf("--data-args: %q is an argument of a Python library that openloop does without; "+
				"prepare the file of records instead", m.Key)
		}
	}
	c.Args.DataArgs = []any{echo}
	return nil
}

// readColumns reads --data-column-mapper.
func (c *Command) readColumns(value any) (map[string][]string, error) {
	const flag = "--data-column-mapper"
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		if v == c.Args.DataColumnMapper {
			return nil, nil
		}
	case guidellm.Object:
		c.Args.DataColumnMapper = v
		columns := map[string][]string{}
		for _, m := range v {
			names, err := columnNames(m.Key, m.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", flag, err)
			}
			columns[m.Key] = names
		}
		return columns, nil
	}
	return nil, fmt.Errorf("%s: it is %s: want a JSON object of columns", flag, describe(value))
}

func columnNames(kind string, value any) ([]string, error) {
	switch kind {
	case "text_column", "prefix_column", "prompt_tokens_count_column", "output_tokens_count_column":
	case "image_column", "video_column", "audio_column":
		return nil, fmt.Errorf("%s: openloop sends text alone", kind)
	default:
		return nil, fmt.Errorf("%q is not a kind of column; they are text_column, prefix_column, "+
			"prompt_tokens_count_column, output_tokens_count_column", kind)
	}
	names := []string{}
	for _, item := range listOf(value) {
		name, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("%s: want a name or a list of names, not %s", kind, describe(item))
		}
		names = append(names, name)
	}
	if value == nil {
		return nil, fmt.Errorf("%s: want a name or a list of names, not null", kind)
	}
	return names, nil
}

// readProcessor finds a tokenizer where --processor names one.
func (c *Command) readProcessor(a *arguments) {
	w := &c.Spec.Workload
	w.Tokenizer = "auto"
	if name := a.processor.Value; a.processor.Valid {
		path := tokenizer.File(name)
		name = endpoint.RedactUserinfo(name)
		c.Args.Processor = guidellm.Some(name)
		if _, err := os.Stat(path); err == nil {
			w.Tokenizer = path
		} else {
			c.note("--processor %s is not a file here: lengths are made by what the endpoint counts", name)
		}
	}
	if o := a.processorArgs.Object; o != nil {
		c.Args.ProcessorArgs = hideTexts(o)
		c.note("--processor-args has no effect: a tokenizer.json needs no arguments")
	}
}
