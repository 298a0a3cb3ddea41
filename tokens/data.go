package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/openloop/openloop/tokens/tokenizer"
)

// DataConfig says how data becomes items. Its zero value reads all records in order, with GuideLLM's column names.
type DataConfig struct {
	// Columns maps GuideLLM's column types (text_column, prefix_column, prompt_tokens_count_column,
	// output_tokens_count_column) to names of columns, instead of the default names of all of them. A type that is left out
	// is then not read, as in GuideLLM.
	Columns map[string][]string
	// Samples is how many records are used, 0 or less is all. Fewer in the file are an error, as in GuideLLM.
	Samples int
	// Shuffle reads all records first and gives them in a random order; with Samples a random selection, of which only that
	// many are held in memory.
	Shuffle bool
	Seed    uint64
	// OutputTokens is asked for where a record does not say; 0 is free.
	OutputTokens int
	// Repeat starts again at the end of the data. Such a load finds its own prompts in the server's prefix cache.
	Repeat bool
	// Count counts the tokens of texts whose length the record does not give; nil leaves the lengths unknown. The length of
	// an answer in a conversation is counted by it as well, and becomes the output length.
	Count func(text string) int
	// Words and TokensPerWord are for synthetic data, as in [SynthConfig].
	Words         tokenizer.Vocabulary
	TokensPerWord float64
}

// Data is an open source of items.
type Data struct {
	// Kind is "synthetic", "file" or "workload" (a file that [WorkloadWriter] wrote).
	Kind string
	// Synthetic is what synthetic data looks like, for Kind "synthetic".
	Synthetic SynthConfig
	// Format is the kind of request that a saved workload holds.
	Format Format

	source Source
	close  func() error
}

// Source gives the items in order, io.EOF behind the last. A bad record is a [RecordError]. Only synthetic data is a pure
// function of the index: a file must be asked for 0, 1, 2 and so on, and each call reads one record.
func (d *Data) Source() Source { return d.source }

// Close closes the file.
func (d *Data) Close() error {
	if d.close == nil {
		return nil
	}
	return d.close()
}

// OpenData opens what GuideLLM's --data takes: synthetic data as "kind=synthetic_text,prompt_tokens=256,output_tokens=128", as a
// JSON object or as a configuration file (.json, .yaml, .yml, .config) of the same keys; an array of records as JSON text; or a
// file of records (see [DataConfig]).
func OpenData(spec string, cfg DataConfig) (*Data, error) {
	if spec = strings.TrimSpace(spec); spec == "" {
		return nil, errors.New("no data: want a file, or synthetic data such as prompt_tokens=256,output_tokens=128")
	}
	synthetic, isSynthetic, err := ParseSynthetic(spec)
	if err != nil {
		return nil, err
	}
	if isSynthetic {
		synthetic.Seed, synthetic.Words, synthetic.TokensPerWord = cfg.Seed, cfg.Words, cfg.TokensPerWord
		if synthetic.Output.Mean == 0 {
			synthetic.Output.Mean = cfg.OutputTokens
		}
		s, err := NewSynth(synthetic)
		if err != nil {
			return nil, err
		}
		return &Data{Kind: "synthetic", Synthetic: synthetic, source: limit(s.Source(), cfg.Samples, cfg.Repeat)}, nil
	}
	open := func() (*records, error) { return openRecords(spec) }
	if strings.HasPrefix(spec, "[") {
		open = func() (*records, error) { return &records{next: jsonRecords("data", strings.NewReader(spec))}, nil }
	}
	f := &fileSource{cfg: cfg, name: spec, open: open}
	if strings.HasPrefix(spec, "[") {
		f.name = "data"
	}
	return f.start()
}

// limit ends a source after some samples, or begins it again.
func limit(source Source, samples int, repeat bool) Source {
	if samples <= 0 {
		return source
	}
	return func(i int) (Item, error) {
		if i >= samples && !repeat {
			return Item{}, io.EOF
		}
		it, err := source(i % samples)
		it.Index = i
		return it, err
	}
}

// ParseSynthetic reads a description of synthetic data. isSynthetic is false where the text is none, such as the name of a
// data file; a text that is meant as one and is wrong is an error.
func ParseSynthetic(spec string) (cfg SynthConfig, isSynthetic bool, err error) {
	spec = strings.TrimSpace(spec)
	keys := map[string]any{}
	what := "synthetic data"
	info, statErr := os.Stat(spec)
	switch ending := strings.ToLower(filepath.Ext(spec)); {
	case statErr == nil && info.Mode().IsRegular():
		// A data file may end in .json as well: a configuration is one small object that has prompt_tokens.
		if !slices.Contains([]string{".json", ".yaml", ".yml", ".config"}, ending) || info.Size() > 1<<20 {
			return cfg, false, nil
		}
		text, err := os.ReadFile(spec)
		if err != nil {
			return cfg, false, err
		}
		what = spec
		if err := yaml.Unmarshal(text, &keys); err != nil || keys["prompt_tokens"] == nil { // JSON is YAML
			if ending == ".json" {
				return cfg, false, nil
			}
			if err == nil {
				err = errors.New("it has no prompt_tokens")
			}
			return cfg, false, fmt.Errorf("%s: no description of synthetic data: %w", spec, err)
		}
	case strings.HasPrefix(spec, "{"):
		d := json.NewDecoder(strings.NewReader(spec))
		if err := d.Decode(&keys); err != nil {
			return cfg, false, fmt.Errorf("synthetic data as JSON: %w: %.200s", err, spec)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return cfg, false, fmt.Errorf("synthetic data as JSON: something follows the object: %.200s", spec)
		}
	case strings.Contains(spec, "=") && !strings.HasPrefix(spec, "["):
		for part := range strings.SplitSeq(spec, ",") {
			key, value, ok := strings.Cut(part, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if _, twice := keys[key]; !ok || key == "" || twice {
				return cfg, false, fmt.Errorf("synthetic data: %q: want each key once, as in prompt_tokens=256,output_tokens=128", part)
			}
			keys[key] = value
		}
	default:
		return cfg, false, nil
	}
	if cfg, err = syntheticConfig(keys); err != nil {
		return cfg, false, fmt.Errorf("%s: %w", what, err)
	}
	return cfg, true, nil
}

func syntheticConfig(keys map[string]any) (SynthConfig, error) {
	var cfg SynthConfig
	var shared PrefixBucket
	hasShared := false
	numbers := map[string]*int{
		"prompt_tokens": &cfg.Prompt.Mean, "prompt_tokens_stdev": &cfg.Prompt.Stdev, "prompt_tokens_min": &cfg.Prompt.Min, "prompt_tokens_max": &cfg.Prompt.Max,
		"output_tokens": &cfg.Output.Mean, "output_tokens_stdev": &cfg.Output.Stdev, "output_tokens_min": &cfg.Output.Min, "output_tokens_max": &cfg.Output.Max,
		"prefix_tokens": &shared.Tokens, "prefix_count": &shared.Count,
	}
	for key, value := range keys {
		if number, ok := numbers[key]; ok {
			n, err := wholeNumber(value)
			least := 1
			if key == "prefix_tokens" {
				least = 0
			}
			if value == nil { // JSON's null is as if it were not there
				continue
			}
			if err != nil || n < least {
				return cfg, fmt.Errorf("%s is %v; want a whole number of at least %d", key, value, least)
			}
			*number = n
			hasShared = hasShared || strings.HasPrefix(key, "prefix_")
			continue
		}
		switch {
		case key == "kind" || key == "type":
			if value != "synthetic_text" {
				return cfg, fmt.Errorf("%s is %v; only synthetic_text is known", key, value)
			}
		case key == "prefix_buckets" && value != nil:
			text, err := json.Marshal(value)
			if err != nil {
				return cfg, fmt.Errorf("prefix_buckets: %w", err)
			}
			d := json.NewDecoder(bytes.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(&cfg.Prefixes); err != nil {
				return cfg, fmt.Errorf(`prefix_buckets: want [{"bucket_weight":100,"prefix_count":1,"prefix_tokens":16}, …]: %w`, err)
			}
		case key == "prefix_buckets":
		default:
			return cfg, fmt.Errorf("%q is not known; there are kind, prompt_tokens and output_tokens, each with _stdev, _min and _max, "+
				"prefix_tokens, prefix_count and prefix_buckets", key)
		}
	}
	if cfg.Prompt.Mean == 0 {
		return cfg, errors.New("prompt_tokens is missing")
	}
	if hasShared {
		if len(cfg.Prefixes) > 0 {
			return cfg, errors.New("prefix_buckets does not go together with prefix_tokens and prefix_count")
		}
		cfg.Prefixes = []PrefixBucket{shared}
	}
	return cfg, nil
}

// wholeNumber reads a number of JSON, YAML, CSV or a command line.
func wholeNumber(value any) (int, error) {
	switch v := value.(type) {
	case int:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int(v), nil
		}
	case json.RawMessage:
		var n any
		if err := json.Unmarshal(v, &n); err != nil {
			return 0, err
		}
		return wholeNumber(n)
	case string:
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
			return n, nil
		}
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return wholeNumber(f)
		}
	}
	return 0, fmt.Errorf("%v is no whole number", value)
}

// fileSource reads the records of a file one by one, again and again where it repeats.
type fileSource struct {
	cfg  DataConfig
	name string
	open func() (*records, error)

	rows *records
	read int    // items of this pass
	path string // that a saved workload was sent to
}

func (f *fileSource) start() (*Data, error) {
	for kind := range f.cfg.Columns {
		if _, ok := defaultColumns[kind]; !ok {
			return nil, fmt.Errorf("column mapping: %q is not known; there are text_column, prefix_column, prompt_tokens_count_column "+
				"and output_tokens_count_column", kind)
		}
	}
	var err error
	if f.rows, err = f.open(); err != nil {
		return nil, err
	}
	d := &Data{Kind: "file", close: f.close}
	// The first record is read at once: a file that cannot be used is refused before anything is sent.
	first, err := f.next()
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: it holds no records", f.name)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.path != "" {
		d.Kind = "workload"
		if f.path == TextCompletions.Path() {
			d.Format = TextCompletions
		}
	}
	if f.cfg.Shuffle {
		items, err := f.shuffled(first)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		d.source = func(i int) (Item, error) {
			if i >= len(items) && !f.cfg.Repeat {
				return Item{}, io.EOF
			}
			it := items[i%len(items)]
			it.Index = i
			return it, nil
		}
		return d, nil
	}
	held := true
	d.source = func(i int) (it Item, err error) {
		if held {
			it, held = first, false
		} else if it, err = f.next(); err != nil {
			return Item{}, err
		}
		it.Index = i
		return it, nil
	}
	return d, nil
}

func (f *fileSource) close() error {
	if f.rows == nil || f.rows.close == nil {
		return nil
	}
	rows := f.rows
	f.rows = nil
	return rows.close()
}

// next returns the next item, io.EOF at the end of the data or of the samples.
func (f *fileSource) next() (Item, error) {
	for {
		if f.rows == nil {
			return Item{}, io.EOF
		}
		// With a shuffle the samples are drawn from all records.
		enough := f.cfg.Samples > 0 && f.read == f.cfg.Samples && !f.cfg.Shuffle
		r, line, err := record(nil), 0, io.EOF
		if !enough {
			r, line, err = f.rows.next()
		}
		if errors.Is(err, io.EOF) {
			if f.read < f.cfg.Samples && f.read > 0 {
				return Item{}, fmt.Errorf("%s: %d samples are asked for, but it holds %d records", f.name, f.cfg.Samples, f.read)
			}
			if !f.cfg.Repeat || f.cfg.Shuffle || f.read == 0 {
				return Item{}, io.EOF
			}
			if err := f.close(); err != nil {
				return Item{}, err
			}
			if f.rows, err = f.open(); err != nil {
				return Item{}, err
			}
			f.read = 0
			continue
		}
		if err != nil {
			return Item{}, err
		}
		f.read++
		it, err := f.item(r)
		if err != nil {
			return Item{}, &RecordError{f.name, line, err}
		}
		return it, nil
	}
}

// shuffled reads all records and returns a random selection of them in a random order (reservoir sampling).
func (f *fileSource) shuffled(first Item) ([]Item, error) {
	r := rand.New(rand.NewPCG(f.cfg.Seed, 0x5af1e))
	items := []Item{first}
	for n := 2; ; n++ {
		it, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if f.cfg.Samples <= 0 || len(items) < f.cfg.Samples {
			items = append(items, it)
		} else if k := r.IntN(n); k < len(items) {
			items[k] = it
		}
	}
	r.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return items, nil
}
