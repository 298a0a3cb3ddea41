package tokens

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// Workload is what is sent, opened and checked. Its methods are called by one goroutine at a time; the sources that it
// returns by another, while a stage runs.
type Workload struct {
	spec  Spec
	model string
	class uint8 // of a mix, as records have it; 0: there is none
	body  *Body

	words   tokenizer.Vocabulary // of synthetic prompts
	perWord float64              // tokens a word; 1 where lengths are exact
	learned *learned             // what the endpoint counts; nil where it was not asked
	count   func(string) int     // of the records of data; nil: not counted

	synthetic *SyntheticSpec // nil: data or a trace
	data      *dataSource
	found     *dataScan // in the data
	trace     *trace
	going     *ahead // of data and traces: one for all stages, which go on where the last one ended

	saver  *saver
	sent   int // requests handed out in all stages
	handed int // … in this one
}

// autoTokenizer asks the endpoint for its own count. Until it has answered, the embedded words serve.
const autoTokenizer = "auto"

// Open opens what is to be sent to a model, and makes sure that it can be read, before any load. What is wrong with the
// spec is a [SpecError].
func Open(spec Spec, model string) (*Workload, error) {
	if spec.Tokenizer == "" {
		spec.Tokenizer = autoTokenizer
	}
	w := &Workload{spec: spec, model: model, perWord: 1}
	var err error
	w.body, err = NewBody(BodyConfig{
		Format: spec.Format, Model: model, NoStream: spec.NoStream, NoIgnoreEOS: spec.NoIgnoreEOS, Extra: spec.Extra,
	})
	if err != nil {
		return nil, &SpecError{"Extra", err}
	}
	if talks := spec.Data != nil && spec.Data.Sessions != nil; talks && spec.Format != ChatCompletions {
		return nil, &SpecError{"Data", errors.New("sessions are of chat requests")}
	}
	if err := spec.checkBatch(); err != nil {
		return nil, err
	}
	given := 0
	for _, open := range []struct {
		asked bool
		open  func() error
	}{{spec.Synthetic != nil, w.openSynthetic}, {spec.Data != nil, w.openData}, {spec.Trace != nil, w.openTrace}} {
		if !open.asked {
			continue
		}
		if given++; given > 1 {
			break
		}
		if err := open.open(); err != nil {
			return nil, err
		}
	}
	if given != 1 {
		return nil, &SpecError{"Synthetic", errors.New("want one of synthetic prompts, data and a trace")}
	}
	if spec.SaveTo != "" {
		if w.saver, err = newSaver(spec.SaveTo, spec.Format); err != nil {
			return nil, &SpecError{"SaveTo", err}
		}
	}
	return w, nil
}

func (w *Workload) openSynthetic() error {
	if w.spec.Synthetic.Sessions != nil && w.spec.Format != ChatCompletions {
		return &SpecError{"Synthetic", errors.New("sessions are of chat requests")}
	}
	if m := w.spec.Synthetic.Images; m != nil {
		if w.spec.Format != ChatCompletions {
			return &SpecError{"Synthetic.Images", errors.New("images are of chat requests")}
		}
		if w.spec.Synthetic.Sessions != nil {
			return &SpecError{"Synthetic.Images", errors.New("sessions have no images")}
		}
		if w.spec.SaveTo != "" {
			return &SpecError{"Synthetic.Images",
				errors.New("requests with images are not saved: the seed makes them anew")}
		}
		if err := m.check(); err != nil {
			return &SpecError{"Synthetic.Images", err}
		}
	}
	if err := w.chooseWords(); err != nil {
		return err
	}
	w.synthetic = w.spec.Synthetic
	if _, err := w.synth(0); err != nil {
		return &SpecError{"Synthetic", err}
	}
	return nil
}

func (w *Workload) openTrace() error {
	if err := w.chooseWords(); err != nil {
		return err
	}
	var err error
	if w.trace, err = readTrace(*w.spec.Trace); err != nil {
		return &SpecError{"Trace", err}
	}
	if w.trace.form.said > 0 && w.spec.Format != ChatCompletions {
		return &SpecError{"Trace", fmt.Errorf("%s holds chat messages, which are sent as requests to %s alone",
			w.spec.Trace.File, ChatCompletions.Path())}
	}
	return nil
}

func (w *Workload) openData() error {
	spec := w.spec.Data
	synthetic, isSynthetic, err := ParseSynthetic(spec.Source)
	if err != nil {
		return &SpecError{"Data", err}
	}
	if isSynthetic && len(spec.Further) > 0 {
		return &SpecError{"Data", fmt.Errorf("%s has no end, so that nothing can follow it: want files of records",
			spec.Source)}
	}
	if isSynthetic {
		if err := w.chooseWords(); err != nil {
			return err
		}
		if w.synthetic = &synthetic; synthetic.Output.Mean == 0 {
			synthetic.Output.Mean = spec.Output
		}
		if _, err := w.synth(0); err != nil {
			return &SpecError{"Data", err}
		}
		return nil
	}
	if err := checkColumns(spec.Columns); err != nil {
		return &SpecError{"Data.Columns", err}
	}
	if err := w.chooseCounter(); err != nil {
		return err
	}
	// All records are read once before any load: what can't be sent shows itself.
	if w.found, err = scanData(spec.Source, w.dataConfig()); err != nil {
		return &SpecError{"Data", err}
	}
	if w.found.saved && w.found.format != w.spec.Format {
		return &SpecError{"Data", fmt.Errorf("%s holds requests to %s, but requests to %s are asked for",
			spec.Source, w.found.format.Path(), w.spec.Format.Path())}
	}
	w.data = &dataSource{read: w.read}
	w.data.size.Store(int64(w.found.records))
	return nil
}

// chooseWords finds the words that prompts are made of. Which of them an endpoint counts as one is learnt later.
func (w *Workload) chooseWords() error {
	switch w.spec.Tokenizer {
	case autoTokenizer, "none", "o200k_base", "cl100k_base":
		w.words = tokenizer.EmbeddedWords() // one token each by both encodings
		return nil
	}
	t, err := tokenizer.Open(w.spec.Tokenizer)
	if err == nil {
		w.words, err = tokenizer.Fit(t)
	}
	if err != nil {
		return &SpecError{"Tokenizer", err}
	}
	return nil
}

// chooseCounter finds what counts the texts of records, where a tokenizer is at hand.
func (w *Workload) chooseCounter() error {
	name := w.spec.Tokenizer
	switch name {
	case autoTokenizer:
		name = "o200k_base" // an estimate: usage has the endpoint's own count
	case "none":
		return nil
	}
	t, err := tokenizer.Open(name)
	if err != nil {
		return &SpecError{"Tokenizer", err}
	}
	w.count = t.Count
	return nil
}

// read opens the data at its beginning.
func (w *Workload) read() (*data, error) {
	d, err := openData(w.spec.Data.Source, w.dataConfig())
	if err != nil {
		return nil, &SpecError{"Data", err}
	}
	return d, nil
}

func (w *Workload) dataConfig() dataConfig {
	spec := w.spec.Data
	return dataConfig{
		columns: spec.Columns, samples: spec.Samples, shuffle: spec.Shuffle, seed: uint64(spec.Seed),
		output: spec.Output, count: w.count, guideLLM: spec.GuideLLM, skip: true,
		further: spec.Further, sessions: spec.Sessions, format: w.spec.Format,
	}
}

// trialStage is the stage that the trial's prompt is of.
const trialStage = -1

// seed is the seed of one stage's prompts. Each stage has its own, so that none is answered from a cache that an
// earlier stage filled.
func (w *Workload) seed(stage int) uint64 { return uint64(w.spec.Seed)*1_000_003 + uint64(stage+1) }

// synth makes the prompts of one stage.
func (w *Workload) synth(stage int) (*Synth, error) {
	cfg := SynthConfig{Seed: w.seed(stage), Words: w.words, TokensPerWord: w.perWord}
	if w.synthetic != nil {
		cfg.Prompt, cfg.Output, cfg.Prefixes = w.synthetic.Prompt, w.synthetic.Output, w.synthetic.Prefixes
		cfg.Sessions = w.synthetic.Sessions
	} else {
		cfg.Prompt = Length{Mean: 1} // not used: a trace has its own lengths
	}
	return NewSynth(cfg)
}

// items gives the items of a stage, without bodies but for those of a saved workload. Data goes on from stage to
// stage; a trace begins anew, with other texts of the same lengths and shared blocks.
func (w *Workload) items(stage int) (source, error) {
	texts, err := w.texts(stage)
	if err != nil || w.spec.Format.Generates() {
		return texts, err
	}
	if w.spec.Format == Rerank && w.data != nil {
		return texts, nil
	}
	if w.spec.Format != Rerank {
		return batches(texts, nil, w.spec.Batch), nil
	}
	query := Length{Mean: w.spec.Query}
	if query.Mean == 0 {
		query.Mean = DefaultQuery
	}
	queries, err := NewSynth(SynthConfig{Seed: w.seed(stage) ^ 0x717565, Words: w.words, TokensPerWord: w.perWord,
		Prompt: query})
	if err != nil {
		return nil, err
	}
	return batches(texts, queries.source(), w.spec.Batch), nil
}

// texts is items, of each text by itself.
func (w *Workload) texts(stage int) (source, error) {
	if w.data != nil {
		return w.data.next, nil
	}
	if w.trace != nil && stage == trialStage {
		stage = 0 // the first request as it will be sent
	}
	s, err := w.synth(stage)
	if err != nil {
		return nil, err
	}
	if w.trace != nil {
		return w.trace.source(s, *w.spec.Trace), nil
	}
	if w.synthetic != nil {
		return withImages(s.source(), w.synthetic.Images, w.seed(stage)), nil
	}
	return s.source(), nil
}

// Trials returns a request to try the endpoint with: a prompt that no stage sends, or the first request of data or a
// trace, which is there to be sent, and sent again tells nothing that a cache could hide.
func (w *Workload) Trials() ([]Item, error) {
	it, err := w.Trial()
	return []Item{it}, err
}

// Trial returns the one request of Trials.
func (w *Workload) Trial() (Item, error) {
	next, err := w.items(trialStage)
	if err != nil {
		return Item{}, err
	}
	it, err := next(0)
	if w.data != nil {
		w.data.close()
	}
	if err != nil {
		return Item{}, fmt.Errorf("the first request: %w", err)
	}
	it.Body = w.body.Bytes(it)
	return it, nil
}

// Learn finds out which words the endpoint counts as one token each, where it is to say. Where it does not, the warning
// says what follows from that, and prompts are made of the embedded words. An error is the cause of ctx's end.
func (w *Workload) Learn(ctx context.Context, post Post) (warning string, err error) {
	if w.spec.Tokenizer != autoTokenizer || w.data != nil {
		return "", nil
	}
	cfg := learnConfig{model: w.model, format: w.spec.Format, seed: uint64(w.spec.Seed)}
	if cfg.format == Rerank { // which counts a text twice: as a query and as a document
		cfg.format = Embeddings
	}
	if w.synthetic != nil {
		cfg.lengths = []int{w.synthetic.Prompt.Mean}
	}
	found, err := learn(ctx, post, cfg)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return fmt.Sprintf("the endpoint does not say how it counts tokens, "+
			"so prompts have the asked length by o200k_base only: %v", err), nil
	}
	w.learned, w.words, w.perWord = found, found.words, found.tokensPerWord
	return "", nil
}

// Source gives the requests of one stage, built ahead of their time in a goroutine of their own. The first of them are
// ready when it returns. release lets go of them, and is called when the stage has ended. Data begins again at its end;
// behind the last request of a trace comes io.EOF.
func (w *Workload) Source(ctx context.Context, stage int) (next loadgen.Source, release func(), err error) {
	requests, release := w.going, func() {}
	if requests == nil {
		items, err := w.items(stage)
		if err != nil {
			return nil, nil, err
		}
		build := func(i int) (ready, error) {
			it, err := items(i)
			if err != nil {
				return ready{}, err
			}
			return w.prepare(it), nil
		}
		if w.synthetic != nil || w.trace != nil {
			requests = newAhead(ctx, build, aheadMost)
			release = requests.close
		} else {
			requests = newAhead(context.WithoutCancel(ctx), build, aheadMost)
			w.going = requests
		}
	}
	if err := requests.fill(); err != nil {
		release()
		return nil, nil, err
	}
	w.handed = 0
	if w.saver != nil {
		w.saver.begin()
	}
	return func(int) (loadgen.Request, error) {
		r, err := requests.next()
		if err != nil {
			return loadgen.Request{}, err
		}
		w.sent++
		w.handed++
		if w.saver != nil {
			if err := w.saver.hand(r); err != nil {
				return loadgen.Request{}, &SpecError{"SaveTo", err}
			}
		}
		return r.request, nil
	}, release, nil
}

// prepare makes a request of an item. The texts are in the body, and not kept beside it.
func (w *Workload) prepare(it Item) ready {
	if it.whole {
		return ready{request: w.body.session(it).Request(), index: it.Index, prefixTokens: it.PrefixTokens,
			promptTokens: it.PromptTokens}
	}
	asked := int32(it.InputTokens())
	if asked == 0 {
		asked = -1 // not known
	}
	return ready{
		request: loadgen.Request{
			Body: w.body.Bytes(it), PromptTokens: asked, OutputTokens: int32(it.OutputTokens),
			PromptWords: int32(loadgen.CountWords([]byte(it.words()))),
			PromptChars: int32(utf8.RuneCountInString(it.words())),
		},
		index: it.Index, prefixTokens: it.PrefixTokens, promptTokens: it.PromptTokens,
	}
}

// TraceLoad is the stage that replays the trace; the zero Load where there is none.
func (w *Workload) TraceLoad() loadgen.Load {
	if w.trace == nil {
		return loadgen.Load{}
	}
	l := loadgen.Load{Kind: loadgen.ConstantGap, Times: w.trace.offsets(), Name: loadgen.TraceName}
	if last := l.Times[len(l.Times)-1]; last > 0 {
		l.Rate = float64(len(l.Times)) / last.Seconds()
	}
	return l
}

// Records is how many requests the data or the trace holds, 0 for synthetic prompts without end, and how many of them
// say how long their output is to be. Records that can't be sent do not count.
func (w *Workload) Records() (count, withOutput int) {
	switch {
	case w.trace != nil:
		return len(w.trace.requests), len(w.trace.requests)
	case w.data != nil:
		return w.found.records, w.found.withOutput
	case w.spec.Data != nil:
		return w.spec.Data.Samples, 0
	}
	return 0, 0
}

// Sent is told how many requests a stage began, after its end: those are saved.
func (w *Workload) Sent(n int) {
	w.sent -= max(0, w.handed-n) // those were fetched ahead
	w.handed = 0
	if w.saver != nil {
		w.saver.sent(n)
	}
}

// Save gives the file of Spec.SaveTo its name, if a request was sent, and before that calls keep, for what has that
// name now. Until then it is untouched.
func (w *Workload) Save(keep func(name string) error) (saved bool, err error) {
	if w.saver == nil {
		return false, nil
	}
	saved, err = w.saver.save(keep)
	if w.saver = nil; err != nil {
		return false, &SpecError{"SaveTo", err}
	}
	return saved, nil
}

// Close ends the building; what was not saved is not. It may be called again.
func (w *Workload) Close() {
	if w.going != nil {
		w.going.close()
		w.going = nil
	}
	if w.data != nil {
		w.data.close()
	}
	if w.saver != nil {
		w.saver.file.Abandon()
		w.saver = nil
	}
}
