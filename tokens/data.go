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
	"sync/atomic"

	"go.yaml.in/yaml/v3"
)

// dataConfig says how the records of a file become items. Its zero value reads all records in order, with GuideLLM's
// column names.
type dataConfig struct {
	columns map[string][]string // as DataSpec.Columns
	samples int                 // use so many records; 0: all
	// shuffle reads all records first and gives them in a random order; with samples a random selection, of which only
	// that many are held in memory.
	shuffle bool
	seed    uint64
	output  int // tokens to ask for where a record does not say; 0 is free
	// count counts the tokens of texts whose length the record does not give; nil leaves the lengths unknown. The
	// length of the last message of a conversation is counted by it as well, and becomes the output length.
	count func(text string) int
	// guideLLM reads the columns that GuideLLM 0.5.0 knows alone: no other names, and no fields of the request.
	guideLLM bool
	// skip leaves out records that can't be sent; else they are errors.
	skip bool
	// further are files, or folders of them, whose records follow.
	further []string
	// sessions sends whole conversations as sessions; nil: each as one request.
	sessions *SessionSpec
	format   Format // of the requests
}

// data is an open file of records.
type data struct {
	saved  bool   // the file is one that a workload was saved to
	format Format // the kind of request that a saved workload holds
	source source // io.EOF behind the last record. A bad record is a [RecordError]. Each call reads one record.
	close  func() error
}

// openData opens a file of records, or an array of records as JSON text.
func openData(spec string, cfg dataConfig) (*data, error) {
	f, err := openSource(spec, cfg)
	if err != nil {
		return nil, err
	}
	return f.start()
}

func openSource(spec string, cfg dataConfig) (*fileSource, error) {
	if spec = strings.TrimSpace(spec); spec == "" {
		return nil, errors.New("no data: want a file, or synthetic data such as prompt_tokens=256,output_tokens=128")
	}
	f := &fileSource{cfg: cfg}
	for _, source := range append([]string{spec}, cfg.further...) {
		if strings.HasPrefix(source, "[") {
			f.further = append(f.further, source)
			continue
		}
		files, note, err := dataFiles(source)
		if err != nil {
			return nil, err
		}
		f.further = append(f.further, files...)
		if note != "" {
			f.notes = append(f.notes, note)
		}
	}
	f.files = len(f.further)
	f.name, f.further = f.further[0], f.further[1:]
	if !strings.HasPrefix(spec, "[") {
		var err error
		f.rows, err = openRecords(f.name)
		return f, err
	}
	f.name = "data"
	f.rows = &records{
		next:  jsonRecords(f.name, strings.NewReader(spec)),
		close: func() error { return nil },
	}
	return f, nil
}

// ParseSynthetic reads a description of synthetic data as GuideLLM's --data takes it: key=value pairs as in
// "kind=synthetic_text,prompt_tokens=256,output_tokens=128", a JSON object, or a configuration file (.json, .yaml,
// .yml, .config) of the same keys. isSynthetic is false where the text is none, such as the name of a data file; a text
// that is meant as one and is wrong is an error.
func ParseSynthetic(spec string) (cfg SyntheticSpec, isSynthetic bool, err error) {
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
			return cfg, false, fmt.Errorf("%s: not a description of synthetic data: %w", spec, err)
		}
	case strings.HasPrefix(spec, "{"):
		d := json.NewDecoder(strings.NewReader(spec))
		if err := d.Decode(&keys); err != nil {
			return cfg, false, fmt.Errorf("synthetic data as JSON: %s: %.200s", jsonProblem(err), spec)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return cfg, false, fmt.Errorf("synthetic data as JSON: something follows the object: %.200s", spec)
		}
	case strings.Contains(spec, "=") && !strings.HasPrefix(spec, "["):
		for part := range strings.SplitSeq(spec, ",") {
			key, value, ok := strings.Cut(part, "=")
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if _, twice := keys[key]; !ok || key == "" || twice {
				const form = "each key once, as in prompt_tokens=256,output_tokens=128"
				return cfg, false, fmt.Errorf("synthetic data: %q: want %s", part, form)
			}
			keys[key] = value
		}
	default:
		return cfg, false, nil
	}
	if cfg, err = syntheticSpec(keys); err != nil {
		return cfg, false, fmt.Errorf("%s: %w", what, err)
	}
	return cfg, true, nil
}

func syntheticSpec(keys map[string]any) (SyntheticSpec, error) {
	var cfg SyntheticSpec
	var shared PrefixBucket
	hasShared := false
	numbers := map[string]*int{
		"prompt_tokens": &cfg.Prompt.Mean, "prompt_tokens_stdev": &cfg.Prompt.Stdev,
		"prompt_tokens_min": &cfg.Prompt.Min, "prompt_tokens_max": &cfg.Prompt.Max,
		"output_tokens": &cfg.Output.Mean, "output_tokens_stdev": &cfg.Output.Stdev,
		"output_tokens_min": &cfg.Output.Min, "output_tokens_max": &cfg.Output.Max,
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
				const form = `[{"bucket_weight":100,"prefix_count":1,"prefix_tokens":16}, …]`
				return cfg, fmt.Errorf("prefix_buckets: want %s: %w", form, err)
			}
		case key == "prefix_buckets":
		default:
			return cfg, fmt.Errorf("%q is not known; there are kind, prompt_tokens and output_tokens, "+
				"each with _stdev, _min and _max, prefix_tokens, prefix_count and prefix_buckets", key)
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
	return 0, fmt.Errorf("%v is not a whole number", value)
}

// fileSource reads the records of a file one by one.
type fileSource struct {
	cfg     dataConfig
	name    string
	rows    *records
	files   int      // how many there are
	further []string // files to be read after this one
	notes   []string // what of folders is read
	read    int      // items so far
	talks   int      // sessions so far
	path    string   // that a saved workload was sent to

	found *dataScan       // what a scan has found; nil: this is none
	used  map[string]bool // the columns of this record that are used
}

func (f *fileSource) start() (*data, error) {
	// The first record is read at once: a file that cannot be used is refused before anything is sent.
	first, err := f.next()
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: it holds no records", f.name)
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	d := &data{close: f.close, saved: f.path != ""}
	if format, ok := formatOf(f.path); ok {
		d.format = format
	}
	if f.cfg.shuffle {
		items, err := f.shuffled(first)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		d.source = func(i int) (Item, error) {
			if i >= len(items) {
				return Item{}, io.EOF
			}
			it := items[i]
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

// next returns the next item, io.EOF at the end of the data or of the samples.
func (f *fileSource) next() (Item, error) {
	for {
		it, at, err := f.nextOf()
		var bad *RecordError
		if err == nil || !errors.As(err, &bad) || at == (place{}) || !f.cfg.skip || errors.Is(err, errSaved) {
			return it, err
		}
		if f.found != nil {
			f.found.skip(bad)
		}
	}
}

// open goes on to the next file.
func (f *fileSource) open() error {
	if err := f.close(); err != nil {
		return err
	}
	f.name, f.further = f.further[0], f.further[1:]
	rows, err := openRecords(f.name)
	if err == nil {
		f.rows = rows
	}
	return err
}

// close closes the file that is open.
func (f *fileSource) close() error {
	if f.rows == nil {
		return nil
	}
	err := f.rows.close()
	f.rows = nil
	return err
}

// all names all files.
func (f *fileSource) all() string {
	if f.files > 1 {
		return fmt.Sprintf("%d files", f.files)
	}
	return f.name
}

// nextOf returns the next item. A place beside an error is that of a record that could be read and not be sent.
func (f *fileSource) nextOf() (Item, place, error) {
	// With a shuffle the samples are drawn from all records.
	enough := f.cfg.samples > 0 && f.read == f.cfg.samples && !f.cfg.shuffle
	r, at, err := record(nil), place{}, io.EOF
	if !enough {
		r, at, err = f.rows.next()
	}
	for !enough && errors.Is(err, io.EOF) && len(f.further) > 0 {
		if err = f.open(); err == nil {
			r, at, err = f.rows.next()
		}
	}
	if errors.Is(err, io.EOF) && f.read < f.cfg.samples && f.read > 0 {
		return Item{}, place{}, fmt.Errorf("%s: %d samples are asked for, but it holds %d records",
			f.all(), f.cfg.samples, f.read)
	}
	if err != nil {
		return Item{}, place{}, err
	}
	it, err := f.item(r)
	if err != nil {
		return Item{}, at, at.error(f.name, err)
	}
	f.read++
	return it, at, nil
}

// shuffled reads all records and returns a random selection of them in a random order (reservoir sampling).
func (f *fileSource) shuffled(first Item) ([]Item, error) {
	r := rand.New(rand.NewPCG(f.cfg.seed, 0x5af1e))
	items := []Item{first}
	for n := 2; ; n++ {
		it, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if f.cfg.samples <= 0 || len(items) < f.cfg.samples {
			items = append(items, it)
		} else if k := r.IntN(n); k < len(items) {
			items[k] = it
		}
	}
	r.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return items, nil
}

// dataSource gives the records of data, and begins again at their end: a stage is to last as long as it was asked to.
// Only the goroutine that builds requests calls it.
type dataSource struct {
	read func() (*data, error)
	data *data
	from int          // index of the first record of this pass
	size atomic.Int64 // records of a pass; 0 until the first has ended
}

func (d *dataSource) next(i int) (Item, error) {
	if d.data == nil {
		var err error
		if d.data, err = d.read(); err != nil {
			return Item{}, err
		}
		d.from = i
	}
	it, err := d.data.source(i - d.from)
	if !errors.Is(err, io.EOF) || i == d.from {
		it.Index = i
		return it, err
	}
	d.size.CompareAndSwap(0, int64(i))
	d.close()
	return d.next(i)
}

// close closes the file. What it says is of no use: every record was read, or no more are wanted.
func (d *dataSource) close() {
	if d.data != nil {
		_ = d.data.close()
		d.data = nil
	}
}
