package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/tokens"
)

// Kinds of data that openloop does without, with what to do (schemas/data/deserializers).
const (
	convertFirst = "convert it to JSON lines, CSV or Parquet first, and name that"
	traceInstead = "openloop run URL --trace FILE --sessions sends it"
)

var (
	runData = []string{
		"synthetic_text", "text_file", "csv_file", "json_file", "parquet_file", "arrow_file", "huggingface", "hf",
		"in_memory_dict", "in_memory_dict_list", "in_memory_item_list", "mooncake", "trace_synthetic",
	}
	refusedData = map[string]string{
		"hdf5_file": convertFirst, "tar_file": convertFirst, "db_file": convertFirst,
		"synthetic_image": "openloop run URL --images 1 --image-size 512x512 sends images",
		"synthetic_video": "openloop sends no video",
		"weka":            traceInstead,
		"otel":            traceInstead,
		"opentelemetry":   traceInstead,
	}
)

func (r *runReader) loader(s *section) error {
	r.samples = -1
	if len(s.rest) == 0 {
		return s.end()
	}
	s.kind([]string{"pytorch"}, nil)
	if n, given := s.whole("samples", -1); given {
		r.samples = n
	}
	r.Args.DataSamples = r.samples
	if on, given := s.truth("shuffle"); given && on {
		r.shuffle, r.Args.DataSampler = true, "shuffle"
	}
	for _, key := range []string{"num_workers", "prefetch_factor"} {
		if _, given := s.whole(key, 0); given {
			r.note("data_loader.%s has no effect: requests are built ahead in a goroutine", key)
		}
	}
	return s.end()
}

func (r *runReader) mapper(s *section) error {
	if len(s.rest) == 0 {
		return s.end()
	}
	s.kind([]string{"generative_column_mapper"}, map[string]string{
		"pooling_column_mapper": "it is for requests of embeddings, which GuideLLM's command line does not reach here",
	})
	columns, err := r.readColumns(s.take("column_mappings"))
	if err != nil {
		s.failed("column_mappings", "%w", &named{"--data-column-mapper: ", "", err})
	}
	r.columns = columns
	return s.end()
}

func (r *runReader) tokenizer(s *section) error {
	a := newArguments()
	if len(s.rest) > 0 {
		s.kind([]string{"huggingface_auto", "hf_auto"}, nil)
		if model := s.text("model"); model != "" {
			a.processor.Null = guidellm.Some(model)
		}
		if o, ok := s.take("load_kwargs").(guidellm.Object); ok && len(o) > 0 {
			r.note("tokenizer.load_kwargs has no effect: a tokenizer.json needs no arguments")
		}
	}
	if err := s.end(); err != nil {
		return err
	}
	before := len(r.Notes)
	r.readProcessor(a)
	for i, note := range r.Notes[before:] {
		r.Notes[before+i] = strings.Replace(note, "--processor ", "tokenizer.model ", 1)
	}
	return nil
}

// preparing reads what is done with the data, of which texts need nothing.
func (r *runReader) preparing(preprocessors any, finalizer *section) error {
	for i, item := range listOf(preprocessors) {
		s := newSection(fmt.Sprintf("data_preprocessors[%d]", i), item)
		const alone = "openloop sends the records as they are"
		s.kind([]string{"encode_media"}, map[string]string{
			"tool_calling_message_extractor": alone, "turn_pivot": alone,
		})
		s.refuse("openloop sends no media of data sets", "audio_kwargs", "image_kwargs", "video_kwargs")
		if err := s.end(); err != nil {
			return err
		}
	}
	if len(finalizer.rest) > 0 {
		finalizer.kind([]string{"generative"}, nil)
		finalizer.text("tool_call_mode") // openloop sends no tools
	}
	return finalizer.end()
}

// data reads what is sent.
func (r *runReader) data(value any) error {
	list, ok := value.([]any)
	switch {
	case value == nil || ok && len(list) == 0:
		return errNoData
	case !ok:
		return fmt.Errorf("data: it is %s: want a list", describe(value))
	case len(list) > 1:
		return fmt.Errorf("data: %d sources: GuideLLM joins their columns; openloop reads one", len(list))
	}
	r.Spec.Workload.Seed = r.promptSeed()
	s := newSection("data[0]", list[0])
	kind := s.kind(runData, refusedData)
	if s.err != nil {
		return s.err
	}
	s.refuse("they are for a Python library; prepare the file first", "load_kwargs")
	switch kind {
	case "synthetic_text":
		return r.synthetic(s)
	case "mooncake", "trace_synthetic":
		return r.trace(s, kind)
	}
	return r.records(s, kind)
}

// records reads a file of records, or records in the scenario.
func (r *runReader) records(s *section, kind string) error {
	source := ""
	switch kind {
	case "in_memory_dict", "in_memory_dict_list", "in_memory_item_list":
		source = r.inMemory(s, kind)
	default:
		source = r.sourceFile(s, kind)
	}
	if err := s.end(); err != nil {
		return err
	}
	r.Spec.Workload.Data = &tokens.DataSpec{
		Source: source, Columns: r.columns, Samples: int(max(0, r.samples)), Shuffle: r.shuffle,
		Seed: r.Args.RandomSeed, GuideLLM: true,
	}
	r.Args.Data = []string{source}
	return nil
}

// sourceFile is the file of a source of data. It must be there.
func (r *runReader) sourceFile(s *section, kind string) string {
	var file string
	isHub := kind == "huggingface" || kind == "hf"
	key := "path"
	if isHub {
		key = "source"
		file = s.text(key, "src", "from", "path", "name")
	} else {
		file = s.text(key)
	}
	if s.err != nil {
		return ""
	}
	info, err := os.Stat(file)
	ending := strings.ToLower(filepath.Ext(strings.TrimSuffix(file, ".gz")))
	switch {
	case file == "":
		s.failed(key, "it is missing")
	case err != nil && isHub:
		s.failed(key, "%s is not a file here: openloop downloads no data set; save it as a file of records (Parquet), "+
			"and name that", file)
	case err != nil:
		s.failed(key, "%s: there is no such file", file)
	case info.IsDir() && !isHub:
		s.failed(key, "%s is a folder: name a file", file)
	case !info.IsDir() && !slices.Contains(recordEndings, ending):
		s.failed(key, "%s: openloop tells the form of a file by its ending: %s", file, strings.Join(recordEndings,
			", "))
	}
	return file
}

// inMemory is the records of a scenario as JSON text.
func (r *runReader) inMemory(s *section, kind string) string {
	rows := []any{}
	switch data := s.take("data").(type) {
	case []any:
		if kind == "in_memory_item_list" {
			column := s.text("column_name")
			if column == "" {
				column = "data"
			}
			for _, item := range data {
				rows = append(rows, guidellm.Object{{Key: column, Value: item}})
			}
			break
		}
		rows = data
	case guidellm.Object:
		for _, m := range data {
			for i, item := range listOf(m.Value) {
				if i >= len(rows) {
					rows = append(rows, guidellm.Object{})
				}
				rows[i] = append(rows[i].(guidellm.Object), guidellm.Member{Key: m.Key, Value: item})
			}
		}
	}
	if len(rows) == 0 {
		s.failed("data", "it holds no records")
	}
	text, err := appendJSON(nil, rows)
	if err != nil {
		s.failed("data", "%w", err)
	}
	return string(text)
}

// trace reads a recorded load (trace_common.py). GuideLLM takes the time stamps of all of them for seconds.
func (r *runReader) trace(s *section, kind string) error {
	source := newSection("data[0].source", s.take("source"))
	if len(source.rest) == 0 && source.err == nil {
		source.err = fmt.Errorf("data[0].source: it is missing: source.kind=json_file,source.path=FILE")
	}
	sourceKind := source.kind([]string{"json_file", "csv_file", "parquet_file", "huggingface", "hf"}, nil)
	if source.err != nil {
		return source.err
	}
	t := &tokens.TraceSpec{File: r.sourceFile(source, sourceKind), TimeUnit: tokens.Seconds}
	source.refuse("they are for a Python library; prepare the file first", "load_kwargs")
	if err := source.end(); err != nil {
		return err
	}
	columns := map[string]string{
		"timestamp_column": "timestamp", "prompt_tokens_column": "input_length",
		"output_tokens_column": "output_length", "hash_ids_column": "hash_ids",
	}
	for _, key := range sortedKeys(columns) {
		if kind == "trace_synthetic" && key == "hash_ids_column" {
			continue
		}
		if name := s.text(key); name != "" && name != columns[key] {
			s.failed(key, "%q: openloop reads %q; name the column so", name, columns[key])
		}
	}
	s.text("duration_column") // is of turns alone
	if kind == "mooncake" {
		t.BlockTokens = 512
		if n, given := s.count("hash_id_block_size", 1); given {
			t.BlockTokens = n
		}
	}
	r.slowDown = 1
	if x, given := s.number("time_scale", 0); given {
		r.slowDown = x
	}
	if n, given := s.whole("copies", 1); given && n != 1 {
		s.failed("copies", "%d: openloop replays the trace once", n)
	}
	s.number("copy_offset", 0) // of the copies
	s.refuse("openloop run URL --trace FILE --sessions sends the sessions of a trace", "conversation_id_column")
	s.refuse("openloop keeps the trace's times; change them in the file", "max_wait", "max_session_wait",
		"min_concurrent_sessions")
	t.Requests = int(max(0, r.samples))
	r.replay, r.Spec.Workload.Trace, r.Args.Data = true, t, []string{t.File}
	return s.end()
}

// synthetic reads a description of synthetic prompts (synthetic.py).
func (r *runReader) synthetic(s *section) error {
	for _, part := range []string{"first_output_tokens", "tool_response_tokens"} {
		why := "openloop asks for as many output tokens in the first turn as in the others; leave it out"
		if part == "tool_response_tokens" {
			why = "openloop sends no tools"
		}
		s.refuse(why, part, part+"_stdev", part+"_min", part+"_max")
	}
	s.refuse("openloop sends no tools", "tool_call_turns", "server_tool_call_turns", "tools")
	s.refuse("openloop sends no sub-agents", "branches")
	r.turns = 1
	if n, given := s.count("turns", 1); given {
		r.turns = n
	}
	think, err := r.thinkTime(s)
	if err != nil {
		return err
	}
	first := r.lengths(s, "first_prompt_tokens")
	rest := guidellm.Object{}
	keys := []string{"prefix_tokens", "prefix_count", "prefix_buckets"}
	for _, name := range []string{"prompt_tokens", "output_tokens"} {
		keys = append(keys, name, name+"_stdev", name+"_min", name+"_max")
	}
	for _, key := range keys {
		if v := s.take(key); v != nil {
			rest = append(rest, guidellm.Member{Key: key, Value: v})
		}
	}
	if err := s.end(); err != nil {
		return err
	}
	text, err := appendJSON(nil, rest)
	if err != nil {
		return fmt.Errorf("data[0]: %w", err)
	}
	made, _, err := tokens.ParseSynthetic(string(text))
	if err != nil {
		return fmt.Errorf("data[0]: %w", err)
	}
	if r.turns > 1 {
		made.Sessions = &tokens.SessionSpec{Turns: tokens.Length{Mean: r.turns}, Think: think}
		if first.Mean > 0 {
			made.Sessions.Prompt, made.Prompt = made.Prompt, first
		}
	}
	r.Spec.Workload.Synthetic = &made
	r.Args.Data = []string{r.Spec.Workload.Describe()}
	return nil
}

func (r *runReader) lengths(s *section, name string) (l tokens.Length) {
	for key, to := range map[string]*int{"": &l.Mean, "_stdev": &l.Stdev, "_min": &l.Min, "_max": &l.Max} {
		if n, given := s.count(name+key, 1); given {
			*to = n
		}
	}
	if l.Mean == 0 && l != (tokens.Length{}) {
		s.failed(name, "it is missing, and its spread is given")
	}
	return l
}

// thinkTime reads the delay between turns.
func (r *runReader) thinkTime(s *section) (tokens.ThinkTime, error) {
	seconds, given := s.number("delay", 0)
	s.refuse("openloop draws no think times around a mean; leave it out, or openloop run URL --turns … "+
		"--think-time 1s..5s", "delay_stdev", "delay_min", "delay_max")
	if !given || s.err != nil {
		return tokens.ThinkTime{}, s.err
	}
	if seconds > 24*3600 {
		s.failed("delay", "%v: it is at most a day", seconds)
	}
	d := time.Duration(seconds * float64(time.Second))
	return tokens.ThinkTime{Least: d, Most: d}, s.err
}
