package tokens

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	loadstream "github.com/openloop/openloop/loadgen/stream"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// Post sends a JSON body to a path under the endpoint's root ("/tokenize", "/v1/chat/completions") and returns the
// status and the body of the answer. Whoever provides it adds keys, certificates and time-outs. It is called from
// several goroutines.
type Post func(ctx context.Context, path string, body []byte) (status int, answer []byte, err error)

// learnConfig says whose tokens are asked for.
type learnConfig struct {
	model   string // as in the requests; may be empty where the endpoint allows it
	format  Format // of the probe requests, where there is no /tokenize
	lengths []int  // of the prompts to check what was learnt with; empty is 256
	seed    uint64 // of the run; these prompts are others
}

// learned is what an endpoint was found to count.
type learned struct {
	// words are one token each for the endpoint, or common words where tokensPerWord is not 1.
	words tokenizer.Vocabulary
	// tokensPerWord is 1 where lengths are exact; otherwise how many tokens the endpoint counts for a word on average.
	tokensPerWord float64
	method        string // "tokenize" (vLLM and SGLang), "tokenize-content" (llama.cpp) or "usage" (probe requests)
	// template is how many tokens the chat template adds to a prompt by usage.prompt_tokens; -1 where nothing was sent.
	template int
	// checked is how many prompts were made and counted by the endpoint after learning, error the greatest relative
	// difference between the asked and the counted length among them: 0 where all were exact.
	checked int
	error   float64
	// calls is how many requests were sent, of which probes generated a token.
	calls, probes int
}

// CountError says what an endpoint answered where its token counts were asked for.
type CountError struct {
	Path   string
	Status int
	Answer string // shortened to one line
	Want   string
}

// Error implements error.
func (e *CountError) Error() string {
	answer := e.Answer
	if answer == "" {
		answer = "nothing"
	}
	return fmt.Sprintf("POST %s: status %d, where %s were expected: %s", e.Path, e.Status, e.Want, answer)
}

func countError(path string, status int, answer []byte, want string) error {
	const shown = 300
	return &CountError{path, status, loadstream.Shorten(string(answer), shown), want}
}

// learn finds words that the endpoint counts as one token each, so that prompts of them have an exact length without
// asking again. One call of /tokenize counts all embedded words, each on its own between two line breaks, once with and
// once without a space before it; prompts made of the words found are then counted as a check. Where there is no
// /tokenize, a few one-token requests show the same by their usage, for fewer words.
//
// It fails where the endpoint cannot be reached, refuses the key or counts in neither way.
func learn(ctx context.Context, post Post, cfg learnConfig) (*learned, error) {
	if len(cfg.lengths) == 0 {
		cfg.lengths = []int{256}
	}
	l := &learner{post: post, cfg: cfg, learned: learned{tokensPerWord: 1, template: -1}}
	for _, shape := range []string{"tokenize", "tokenize-content"} {
		found, err := l.learnFromTokenize(ctx, shape)
		if err != nil {
			return nil, err
		}
		if found {
			return &l.learned, nil
		}
	}
	if err := l.learnFromUsage(ctx); err != nil {
		return nil, err
	}
	return &l.learned, nil
}

type learner struct {
	post Post
	cfg  learnConfig
	mu   sync.Mutex // of calls and probes
	learned
}

// check makes prompts of every length and has them counted. The counts are too high by extra.
func (l *learner) check(ctx context.Context, extra int, count func(context.Context, []string) ([]int, error)) error {
	var texts []string
	var lengths []int
	for k, n := range l.cfg.lengths {
		// Another seed than the run's, and no index twice: a probe must leave nothing in a prefix cache that a prompt
		// finds.
		s, err := NewSynth(SynthConfig{
			Prompt: Length{Mean: n}, Seed: ^l.cfg.seed, Words: l.words, TokensPerWord: l.tokensPerWord,
		})
		if err != nil {
			return err
		}
		for i := range 2 {
			texts, lengths = append(texts, s.Item(2*k+i).PromptText), append(lengths, n)
		}
	}
	counts, err := count(ctx, texts)
	if err != nil {
		return err
	}
	for i, n := range counts {
		l.error = max(l.error, math.Abs(float64(n-extra-lengths[i]))/float64(lengths[i]))
	}
	l.checked += len(texts)
	return nil
}

// learnFromTokenize asks /tokenize in one of its shapes. It found nothing where the endpoint does not know the path or
// the shape, or counts in a way that cannot be told apart by words.
func (l *learner) learnFromTokenize(ctx context.Context, shape string) (found bool, err error) {
	words := tokenizer.EmbeddedWords().Words
	var text strings.Builder
	for _, w := range words {
		text.WriteString("\n " + w + "\n" + w)
	}
	ids, err := l.tokenize(ctx, shape, text.String())
	var refused *CountError
	if errors.As(err, &refused) && refused.Status != 401 && refused.Status != 403 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v := tokenizer.Vocabulary{Ruler: l.cfg.model + " (" + shape + ")"}
	count := func(ctx context.Context, texts []string) ([]int, error) {
		return each(texts, func(text string) (int, error) {
			ids, err := l.tokenize(ctx, shape, text)
			return len(ids), err
		})
	}
	before, lengths := segments(ids, 2*len(words))
	if lengths == nil {
		// The identifiers do not show where a word ends, as from a simulated server. Their number still shows whether
		// all words are one token each: no word can be less.
		n, err := count(ctx, []string{
			words[0], words[0] + "\n" + words[1], strings.Join(words, " "), strings.Join(words, "\n"),
		})
		if err != nil {
			return false, err
		}
		before = n[0] - 1
		perBreak := n[1] - n[0] - 1
		if n[2] != before+len(words) || perBreak < 0 || n[3] != before+len(words)+(len(words)-1)*perBreak {
			return false, nil
		}
		v.Words, v.First = words, words
	}
	for i := 0; i < len(lengths); i += 2 {
		if lengths[i] != 1 {
			continue
		}
		v.Words = append(v.Words, words[i/2])
		if lengths[i+1] == 1 {
			v.First = append(v.First, words[i/2])
		}
	}
	if v.Check() != nil {
		return false, nil
	}
	l.words, l.method = v, shape
	return true, l.check(ctx, before, count)
}

// tokenize returns the tokens of a text. An answer that is not understood is a [CountError].
func (l *learner) tokenize(ctx context.Context, shape, text string) ([]int, error) {
	request := map[string]any{"prompt": text, "add_special_tokens": false} // vLLM, SGLang
	if shape == "tokenize-content" {
		request = map[string]any{"content": text, "add_special": false} // llama.cpp
	} else if l.cfg.model != "" {
		request["model"] = l.cfg.model
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	status, answer, err := l.post(ctx, "/tokenize", body)
	l.count(0)
	if err != nil {
		return nil, err
	}
	ids, err := parseTokenize(answer)
	if status != 200 || err != nil || len(ids) == 0 {
		return nil, countError("/tokenize", status, answer, "200 and tokens")
	}
	return ids, nil
}

// parseTokenize reads the answers of the three servers: {"tokens":[1,2],"count":2,…}, without the count, and with both
// in lists of one, as for a list of one prompt.
func parseTokenize(answer []byte) ([]int, error) {
	var a struct{ Tokens, Count json.RawMessage }
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, err
	}
	var ids []int
	if json.Unmarshal(a.Tokens, &ids) != nil {
		var lists [][]int
		if err := json.Unmarshal(a.Tokens, &lists); err != nil {
			return nil, err
		}
		if len(lists) != 1 {
			return nil, fmt.Errorf("%d lists of tokens, want 1", len(lists))
		}
		ids = lists[0]
	}
	var n int
	if json.Unmarshal(a.Count, &n) == nil && n != len(ids) {
		return nil, fmt.Errorf("the count is %d, but there are %d tokens", n, len(ids))
	}
	return ids, nil
}

// segments cuts tokens at the separator, which is the most frequent one, and returns the number of tokens before the
// first and the lengths of the n segments that each follow one; nil where there are not n, or an empty one.
func segments(ids []int, n int) (before int, lengths []int) {
	counts := map[int]int{}
	separator := -1
	for _, id := range ids {
		if counts[id]++; counts[id] > counts[separator] {
			separator = id
		}
	}
	for _, id := range ids {
		switch {
		case id == separator:
			lengths = append(lengths, 0)
		case len(lengths) == 0:
			before++
		default:
			lengths[len(lengths)-1]++
		}
	}
	if len(lengths) != n || slices.Contains(lengths, 0) {
		return 0, nil
	}
	return before, lengths
}

// How many words the probe requests ask about: the most frequent ones, and of those that may start a text fewer, as a
// line break goes with each. All words of a group are one token each when its usage is what that gives; a group with a
// longer word is halved until it is small.
const (
	probedWords, probedFirst = 480, 112
	largestGroup, leastGroup = 120, 8
)

// learnFromUsage does with one-token requests what /tokenize does in one call. A text's usage is the template's
// constant, then one or more tokens a word: where it is exactly one a word on top of a text that is known, all words
// are one token.
func (l *learner) learnFromUsage(ctx context.Context) error {
	words := tokenizer.EmbeddedWords().Words
	l.method, l.words = "usage", tokenizer.Vocabulary{Ruler: l.cfg.model + " (usage)"}
	known := words[0]
	base, err := l.probe(ctx, []string{known})
	if err != nil {
		return err
	}
	l.template = base[0] - 1
	spaced, tokens, err := l.singles(ctx, words[:probedWords], base[0], 1, known+" ", " ")
	if err != nil {
		return err
	}
	if tokens <= 0 {
		return fmt.Errorf("the endpoint's usage.prompt_tokens does not grow with the prompt (it stays at %d): "+
			"its lengths cannot be learnt", base[0])
	}
	l.words.Words = spaced
	if len(spaced) < probedFirst {
		// Most words are longer for this tokenizer: lengths can be right on average only.
		l.tokensPerWord = float64(tokens) / probedWords
		l.words.Words, l.words.First = words[:probedWords], words[:probedWords]
		return l.check(ctx, l.template, l.probe)
	}
	// Behind a line break a word stands without a space, as at the start of a message.
	l.words.First, _, err = l.singles(ctx, spaced[:probedFirst], base[0], 2, known+"\n", "\n")
	if err != nil {
		return err
	}
	if len(l.words.First) < tokenizer.MinWords {
		l.words.First = spaced // the check shows what this costs: at most a token or two
		return l.check(ctx, l.template, l.probe)
	}
	alone, err := l.probe(ctx, l.words.First[len(l.words.First)-1:]) // the known word may have been two tokens
	if err != nil {
		return err
	}
	l.template = alone[0] - 1
	return l.check(ctx, l.template, l.probe)
}

// singles returns those of the words that the endpoint counts as one token each in a text of the start and the words
// with the separator between them. base is the usage of the start, perWord what a word and its separator add; tokens is
// what all words added.
func (l *learner) singles(ctx context.Context, words []string, base, perWord int, start, separator string) (
	single []string, tokens int, err error) {
	groups := slices.Collect(slices.Chunk(words, largestGroup))
	for round := 0; len(groups) > 0; round++ {
		texts := make([]string, len(groups))
		for i, g := range groups {
			texts[i] = start + strings.Join(g, separator)
		}
		usage, err := l.probe(ctx, texts)
		if err != nil {
			return nil, 0, err
		}
		var halves [][]string
		for i, g := range groups {
			if round == 0 {
				tokens += usage[i] - base
			}
			switch {
			case usage[i]-base == perWord*len(g):
				single = append(single, g...)
			case len(g) > leastGroup:
				halves = append(halves, g[:len(g)/2], g[len(g)/2:])
			}
		}
		groups = halves
		if round == 1 && len(single) == 0 {
			break // hardly any word is one token: do not ask about each
		}
	}
	return single, tokens, nil
}

// probe returns usage.prompt_tokens of each text from requests that generate one token.
func (l *learner) probe(ctx context.Context, texts []string) ([]int, error) {
	b, err := NewBody(BodyConfig{Format: l.cfg.format, Model: l.cfg.model, NoStream: true, NoIgnoreEOS: true})
	if err != nil {
		return nil, err
	}
	path := l.cfg.format.Path()
	return each(texts, func(text string) (int, error) {
		status, answer, err := l.post(ctx, path, b.Bytes(Item{PromptText: text, OutputTokens: 1}))
		l.count(1)
		if err != nil {
			return 0, err
		}
		var a struct {
			Usage struct {
				PromptTokens int `json:"prompt_tokens"`
				InputTokens  int `json:"input_tokens"` // of Responses and Messages
			}
		}
		err = json.Unmarshal(answer, &a)
		tokens := max(a.Usage.PromptTokens, a.Usage.InputTokens)
		if status != 200 || err != nil || tokens <= 0 {
			return 0, countError(path, status, answer, "200 and usage.prompt_tokens")
		}
		return tokens, nil
	})
}

func (l *learner) count(probes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	l.probes += probes
}

// each calls f for each text, eight at a time, and returns the first error.
func each(texts []string, f func(string) (int, error)) ([]int, error) {
	results, errs := make([]int, len(texts)), make([]error, len(texts))
	places := make(chan struct{}, 8)
	var wg sync.WaitGroup
	for i, text := range texts {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			results[i], errs[i] = f(text)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return results, nil
}
