package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"unicode/utf8"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/tokens"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// workload is what is sent: synthetic prompts, the records of a file, or a trace.
type workload struct {
	flags  *loadFlags
	format tokens.Format
	model  string
	body   *tokens.Body

	prompts int64                // seed of the run's prompts
	words   tokenizer.Vocabulary // of synthetic prompts
	perWord float64              // tokens a word; 1 where lengths are exact
	learned *tokens.Learned      // what the endpoint counts; nil where it was not asked
	count   func(string) int     // of the records of data; nil: not counted

	synthetic *tokens.SynthConfig // nil: data or a trace
	data      *dataSource
	trace     *tokens.Trace
	ahead     *tokens.Ahead // of data and traces: one for all stages, which go on where the last one ended

	saved   *os.File
	writer  *tokens.WorkloadWriter
	pending *tokens.Item // handed out last, and perhaps not sent
	handed  int          // items of this stage
	all     int          // items of all stages
}

// readyRequests is how many requests are built before a stage starts.
const readyRequests = 256

// openWorkload opens what is to be sent and makes sure that it can be read, before any load.
func openWorkload(f *loadFlags, format tokens.Format, model string) (*workload, error) {
	w := &workload{flags: f, format: format, model: model, prompts: promptSeed(f), perWord: 1}
	var err error
	w.body, err = tokens.NewBody(tokens.BodyConfig{Format: format, Model: model, NoIgnoreEOS: f.noIgnoreEOS, Extra: []byte(f.extraBody)})
	if err != nil {
		return nil, usageError("--extra-body: %w", err)
	}
	if w.words, err = vocabulary(f.tokenizer); err != nil {
		return nil, usageError("--tokenizer: %w", err)
	}
	switch {
	case f.trace != "":
		err = w.openTrace()
	case f.data != "":
		err = w.openData()
	default:
		cfg := tokens.SynthConfig{Prompt: f.promptTokens.length(), Output: f.outputTokens.length()}
		if f.prefixTokens > 0 {
			cfg.Prefixes = []tokens.PrefixBucket{{Weight: 100, Count: f.prefixCount, Tokens: f.prefixTokens}}
		}
		w.synthetic = &cfg
		if _, err = w.synth(0); err != nil {
			err = usageError("%w", err)
		}
	}
	if err != nil {
		return nil, err
	}
	if f.saveWorkload != "" {
		if w.saved, err = os.Create(f.saveWorkload); err != nil {
			return nil, usageError("--save-workload: %w", err)
		}
		w.writer = tokens.NewWorkloadWriter(w.saved, format)
	}
	return w, nil
}

// vocabulary is the words of which --tokenizer makes prompts. Which words an endpoint counts as one is learnt later; until
// then the embedded ones serve.
func vocabulary(name string) (tokenizer.Vocabulary, error) {
	switch name {
	case "auto", "none", "o200k_base", "cl100k_base":
		return tokenizer.EmbeddedWords(), nil // one token each by both encodings
	}
	t, err := tokenizer.Open(name)
	if err != nil {
		return tokenizer.Vocabulary{}, err
	}
	return tokenizer.Fit(t)
}

// counter counts the tokens of a text where a tokenizer is at hand; nil where only the endpoint could.
func counter(name string) (func(string) int, error) {
	switch name {
	case "auto":
		name = "o200k_base" // an estimate: usage has the endpoint's own count
	case "none":
		return nil, nil
	}
	t, err := tokenizer.Open(name)
	if err != nil {
		return nil, err
	}
	return t.Count, nil
}

func (w *workload) openTrace() error {
	var err error
	w.trace, err = tokens.ReadTrace(w.flags.trace, tokens.TraceConfig{
		Speed: w.flags.traceSpeed, Requests: w.flags.maxRequests, Seed: w.seed(0), Words: w.words,
	})
	if err != nil {
		return usageError("--trace: %w", err)
	}
	return nil
}

func (w *workload) openData() error {
	data, err := w.read()
	if err != nil {
		return err
	}
	defer data.Close()
	if data.Kind == "synthetic" {
		w.synthetic = &data.Synthetic
		return nil
	}
	if data.Kind == "workload" && data.Format != w.format {
		return usageError("--data: %s holds requests to %s, and --request-type asks for %s", w.flags.data, data.Format.Path(), w.format.Path())
	}
	w.data = &dataSource{read: w.read}
	return nil
}

// read opens the data at its beginning.
func (w *workload) read() (*tokens.Data, error) {
	f := w.flags
	cfg := tokens.DataConfig{Samples: f.dataSamples, Shuffle: f.dataShuffle, Seed: uint64(f.seed), Words: w.words}
	if f.set.Changed("output-tokens") {
		cfg.OutputTokens = f.outputTokens.mean
	}
	var err error
	if cfg.Columns, err = columnMapper(f.dataColumns); err != nil {
		return nil, usageError("--data-column-mapper: %w", err)
	}
	if w.count == nil {
		if w.count, err = counter(f.tokenizer); err != nil {
			return nil, usageError("--tokenizer: %w", err)
		}
	}
	cfg.Count = w.count
	data, err := tokens.OpenData(f.data, cfg)
	if err != nil {
		return nil, usageError("--data: %w", err)
	}
	return data, nil
}

// dataSource gives the records of data, and begins again at their end: a stage is to last as long as it was asked to. Only
// the goroutine that builds requests calls it.
type dataSource struct {
	read func() (*tokens.Data, error)
	data *tokens.Data
	from int          // index of the first record of this pass
	size atomic.Int64 // records of a pass; 0 until the first has ended
}

func (d *dataSource) next(i int) (tokens.Item, error) {
	if d.data == nil {
		var err error
		if d.data, err = d.read(); err != nil {
			return tokens.Item{}, err
		}
		d.from = i
	}
	it, err := d.data.Source()(i - d.from)
	if !errors.Is(err, io.EOF) || i == d.from {
		it.Index = i
		return it, err
	}
	d.size.CompareAndSwap(0, int64(i))
	d.close()
	return d.next(i)
}

func (d *dataSource) close() {
	if d.data != nil {
		d.data.Close()
		d.data = nil
	}
}

// columnMapper reads --data-column-mapper: a JSON object from GuideLLM's column types to a column or a list of them.
func columnMapper(text string) (map[string][]string, error) {
	if text == "" {
		return nil, nil
	}
	var raw map[string]any
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	columns := map[string][]string{}
	for kind, value := range raw {
		list, isList := value.([]any)
		if !isList {
			list = []any{value}
		}
		for _, v := range list {
			name, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("%s is %v: it must be the name of a column, or a list of names", kind, value)
			}
			columns[kind] = append(columns[kind], name)
		}
	}
	return columns, nil
}

// seed is the seed of one stage's prompts. Each stage has its own, so that none is answered from a cache that an earlier stage
// filled; −1 is the trial's.
func (w *workload) seed(stage int) uint64 { return uint64(w.prompts)*1_000_003 + uint64(stage+1) }

// promptSeed is the seed of the run's prompts. Where none was asked for, no two runs have the same: the second would find its
// prompts in the server's prefix cache, and measure that.
func promptSeed(f *loadFlags) int64 {
	switch {
	case f.set.Changed("prompt-seed"):
		return f.promptSeed
	case f.set.Changed("seed"), f.seed != defaultSeed:
		return f.seed
	}
	return rand.Int64N(1 << 40)
}

func (w *workload) synth(stage int) (*tokens.Synth, error) {
	cfg := *w.synthetic
	cfg.Seed, cfg.Words, cfg.TokensPerWord = w.seed(stage), w.words, w.perWord
	return tokens.NewSynth(cfg)
}

// trial is a request to try the endpoint with.
func (w *workload) trial() (tokens.Item, error) {
	if w.synthetic != nil {
		synth, err := w.synth(-1)
		if err != nil {
			return tokens.Item{}, err
		}
		it := synth.Item(0)
		it.Body = w.body.Bytes(it)
		return it, nil
	}
	// Of data and traces, the first request: it is there to be sent, and sent again it tells nothing that a cache could hide.
	source := w.items()
	it, err := source(0)
	if w.data != nil {
		w.data.close()
	}
	if err != nil {
		return it, fmt.Errorf("the first request: %w", err)
	}
	return it, nil
}

// learn finds out which words the endpoint counts as one token each, where it is to say.
func (w *workload) learn(ctx context.Context, e *endpoint.Endpoint, warn func(string, ...any)) error {
	if w.flags.tokenizer != "auto" || w.synthetic == nil && w.trace == nil {
		return nil
	}
	cfg := tokens.LearnConfig{Model: w.model, Format: w.format, Seed: uint64(w.prompts)}
	if w.synthetic != nil {
		cfg.Lengths = []int{w.synthetic.Prompt.Mean}
	}
	learned, err := tokens.Learn(ctx, e.Post, cfg)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		warn("the endpoint does not say how it counts tokens, so prompts have the asked length by o200k_base only: %s", e.Redact(err.Error()))
		return nil
	}
	w.learned, w.words, w.perWord = learned, learned.Words, learned.TokensPerWord
	if w.trace != nil {
		return w.openTrace()
	}
	return nil
}

// begin starts to build the requests of data or a trace.
func (w *workload) begin(ctx context.Context) error {
	if w.ahead == nil {
		w.ahead = tokens.NewAhead(ctx, w.items(), tokens.AheadConfig{})
	}
	return w.ahead.Fill(1)
}

// items gives the requests of data or a trace. Those of a saved workload have their bodies already.
func (w *workload) items() tokens.Source {
	if w.trace != nil {
		return w.body.Attach(w.trace.Source())
	}
	return func(i int) (tokens.Item, error) {
		it, err := w.data.next(i)
		if err == nil && it.Body == nil {
			it.Body = w.body.Bytes(it)
		}
		return it, err
	}
}

// traceStrategy is the stage that replays the trace.
func (w *workload) traceStrategy() loadgen.Load {
	s := loadgen.Load{Kind: loadgen.ConstantGap, Times: w.trace.Offsets(), Name: "trace"}
	if last, ok := w.trace.At(w.trace.Len() - 1); ok && last > 0 {
		s.Rate = float64(w.trace.Len()) / last.Seconds()
	}
	return s
}

// source gives the requests of one stage, built ahead of their time in a goroutine of their own.
func (w *workload) source(ctx context.Context, stage int) (loadgen.Source, func(), error) {
	var ahead *tokens.Ahead
	release := func() {}
	if w.synthetic != nil {
		synth, err := w.synth(stage)
		if err != nil {
			return nil, nil, err
		}
		ahead = tokens.NewAhead(ctx, w.body.Attach(synth.Source()), tokens.AheadConfig{})
		release = ahead.Close
	} else {
		if err := w.begin(context.WithoutCancel(ctx)); err != nil {
			return nil, nil, err
		}
		ahead = w.ahead
	}
	if err := ahead.Fill(readyRequests); err != nil {
		release()
		return nil, nil, err
	}
	w.handed = 0
	return func(int) (loadgen.Request, error) {
		item, err := ahead.Next()
		if err != nil {
			return loadgen.Request{}, err
		}
		w.all++
		if err := w.save(item); err != nil {
			return loadgen.Request{}, err
		}
		asked := int32(item.InputTokens())
		if asked == 0 {
			asked = -1
		}
		return loadgen.Request{
			Body: item.Body, PromptTokens: asked, OutputTokens: int32(item.OutputTokens),
			PromptWords: int32(loadgen.CountWords([]byte(item.PromptText))), PromptChars: int32(utf8.RuneCountInString(item.PromptText)),
		}, nil
	}, release, nil
}

// save writes the item that was handed out before this one: it has been sent by now. Whether the last one of a stage was, the
// stage tells.
func (w *workload) save(item tokens.Item) error {
	if w.writer == nil {
		return nil
	}
	w.handed++
	before := w.pending
	w.pending = &item
	if before == nil {
		return nil
	}
	if err := w.writer.Write(*before); err != nil {
		return fmt.Errorf("--save-workload: %w", err)
	}
	return nil
}

// sent is told how many requests a stage began.
func (w *workload) sent(n int) {
	if w.pending != nil && n >= w.handed {
		_ = w.writer.Write(*w.pending) // the error comes again from Flush
	}
	w.pending = nil
}

// close ends the building and the saving.
func (w *workload) close() error {
	if w.ahead != nil {
		w.ahead.Close()
		w.ahead = nil
	}
	if w.data != nil {
		w.data.close()
	}
	if w.writer == nil {
		return nil
	}
	w.sent(w.handed)
	if err := errors.Join(w.writer.Flush(), w.saved.Close()); err != nil {
		return fmt.Errorf("--save-workload: %w", err)
	}
	w.writer = nil
	return nil
}

// notes is what the report says of the requests.
func (w *workload) notes(result *sweep.Result) guidellm.Object {
	o := guidellm.Object{{Key: "tokenizer", Value: w.flags.tokenizer}, {Key: "prompt_seed", Value: w.prompts}}
	if l := w.learned; l != nil {
		o = append(o,
			guidellm.Member{Key: "method", Value: l.Method}, guidellm.Member{Key: "words", Value: int64(len(l.Words.Words))},
			guidellm.Member{Key: "tokens_per_word", Value: l.TokensPerWord}, guidellm.Member{Key: "template_tokens", Value: int64(l.Template)},
			guidellm.Member{Key: "checked_prompts", Value: int64(l.Checked)}, guidellm.Member{Key: "length_error", Value: l.Error})
	}
	if c := w.lengths(result); c.Requests > 0 {
		o = append(o, guidellm.Member{Key: "prompts_by_usage", Value: guidellm.Object{
			{Key: "requests", Value: int64(c.Requests)}, {Key: "exact", Value: int64(c.Exact)},
			{Key: "template_tokens", Value: int64(c.Template)}, {Key: "error", Value: c.Error},
		}})
	}
	return o
}

// warnings says how the prompts that were sent were counted, and whether the data ran out.
func (w *workload) warnings(result *sweep.Result) []sweep.Warning {
	var out []sweep.Warning
	if w.data != nil {
		if size := int(w.data.size.Load()); size > 0 && w.all > size {
			out = append(out, sweep.Warning{Stage: -1, Text: fmt.Sprintf("the %d records of the data were sent %.1f times over: later requests may have been answered from the server's prefix cache", size, float64(w.all)/float64(size))})
		}
	}
	if c := w.lengths(result); c.Exact < c.Requests {
		out = append(out, sweep.Warning{Stage: -1, Text: fmt.Sprintf("%d of %d prompts were not as long as asked by the endpoint's own count, by up to %.1f %%",
			c.Requests-c.Exact, c.Requests, 100*c.Error)})
	}
	return out
}

// lengths compares the asked lengths of synthetic prompts with what the endpoint counted.
func (w *workload) lengths(result *sweep.Result) tokens.LengthCheck {
	var asked, counted []int
	if w.data == nil && w.flags.tokenizer != "none" {
		for _, l := range result.Stages {
			for i := range l.Records {
				asked = append(asked, int(l.Records[i].AskedPrompt))
				counted = append(counted, int(l.Records[i].PromptTokens))
			}
		}
	}
	return tokens.CheckLengths(asked, counted)
}
