package tokens

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"

	"github.com/openloop/openloop/tokens/tokenizer"
)

// Length is a distribution of lengths in tokens, with the meaning that GuideLLM gives its prompt_tokens, _stdev, _min
// and _max: with a standard deviation a normal distribution cut off at both bounds (by default five deviations away,
// and at least 1), without one every length between the bounds alike, and without bounds always Mean.
type Length struct {
	Mean, Stdev, Min, Max int // tokens; 0 is not given
}

// maxTokens bounds a length: what is above it is surely a mistake, and would take memory before that shows.
const maxTokens = 1 << 24

func (l Length) bounds() (low, high int) {
	low, high = l.Min, l.Max
	if low == 0 {
		low = max(1, l.Mean-5*l.Stdev)
	}
	if high == 0 {
		high = l.Mean + 5*l.Stdev
	}
	return low, high
}

// String lists the four numbers.
func (l Length) String() string {
	return fmt.Sprintf("mean %d, stdev %d, min %d, max %d", l.Mean, l.Stdev, l.Min, l.Max)
}

func (l Length) check(what string) error {
	if l.Mean < 0 || l.Stdev < 0 || l.Min < 0 || l.Max < 0 {
		return fmt.Errorf("%s: %s: none may be negative", what, l)
	}
	if max(l.Mean, l.Stdev, l.Min, l.Max) > maxTokens {
		return fmt.Errorf("%s: %s: none may be above %d", what, l, maxTokens)
	}
	if low, high := l.bounds(); l.Mean > 0 && low > high {
		return fmt.Errorf("%s: the least length %d is above the greatest %d (%s)", what, low, high, l)
	}
	return nil
}

// sample draws a length; 0 where no mean is given.
func (l Length) sample(r *rand.Rand) int {
	low, high := l.bounds()
	switch {
	case l.Mean == 0:
		return 0
	case low == high:
		return low
	case l.Stdev == 0:
		return low + r.IntN(high-low+1)
	}
	x := float64(l.Mean) + float64(l.Stdev)*r.NormFloat64()
	return int(math.RoundToEven(max(float64(low), min(float64(high), x))))
}

// PrefixBucket is a group of prefixes that requests share, as GuideLLM's prefix_buckets have it.
type PrefixBucket struct {
	// Weight is the share of the requests, against the other buckets'; 0 is 100.
	Weight int `json:"bucket_weight,omitempty"`
	// Count is how many different prefixes there are; 0 is 1.
	Count int `json:"prefix_count,omitempty"`
	// Tokens is the length of each.
	Tokens int `json:"prefix_tokens"`
}

// String lists the three numbers.
func (b PrefixBucket) String() string {
	return fmt.Sprintf("weight %d, count %d, tokens %d", b.Weight, b.Count, b.Tokens)
}

// SynthConfig says what synthetic prompts look like.
type SynthConfig struct {
	Prompt   Length // of the prompt without its prefix; a Mean is needed
	Output   Length // Mean 0: free
	Prefixes []PrefixBucket
	Sessions *SessionSpec // nil: each prompt stands alone
	Seed     uint64
	// Words is whose tokens are counted; the zero value means the embedded words.
	Words tokenizer.Vocabulary
	// TokensPerWord, where above 0 and other than 1, is how many tokens a word has on average by who counts: lengths
	// are then right on average only.
	TokensPerWord float64
}

// Synth makes prompts of exact lengths. An item is a pure function of the configuration and its index, whoever asks for
// it and in whatever order, and the same in every release on every machine.
type Synth struct {
	cfg      SynthConfig
	first    []string // the first words, in the order of this seed
	prefixes []string
	tokens   []int // of each prefix
	shares   []int // cumulative shares of the prefixes
}

// Streams of random numbers, one a purpose, so that a change in one length leaves the other texts as they were.
const (
	streamLengths = iota
	streamWords
	streamOrder
	streamStart
	streamPrefix
	streamBlock
	streamSession
	streamTurn
	streamAnswer
	streamImages
)

// NewSynth checks the configuration and makes the prefixes.
func NewSynth(cfg SynthConfig) (*Synth, error) {
	if len(cfg.Words.Words) == 0 {
		cfg.Words = tokenizer.EmbeddedWords()
	}
	if err := cfg.Words.Check(); err != nil {
		return nil, err
	}
	if cfg.Prompt.Mean == 0 {
		return nil, errors.New("synthetic prompts need a length: a mean of at least 1 token")
	}
	if err := cfg.Prompt.check("prompt tokens"); err != nil {
		return nil, err
	}
	if err := cfg.Output.check("output tokens"); err != nil {
		return nil, err
	}
	if cfg.Sessions != nil {
		if err := cfg.Sessions.check(); err != nil {
			return nil, err
		}
	}
	cfg.Prefixes = slices.Clone(cfg.Prefixes)
	s := &Synth{cfg: cfg, first: slices.Clone(cfg.Words.First)}
	source := stream(cfg.Seed, streamOrder, 0)
	rand.New(&source).Shuffle(len(s.first), func(i, j int) { s.first[i], s.first[j] = s.first[j], s.first[i] })
	return s, s.makePrefixes()
}

// makePrefixes gives each prefix the share of requests that GuideLLM gives it: its bucket's weight over the bucket's
// count, in whole multiples.
func (s *Synth) makePrefixes() error {
	multiple := 1
	for i, b := range s.cfg.Prefixes {
		if b.Weight == 0 {
			b.Weight = 100
		}
		if b.Count == 0 {
			b.Count = 1
		}
		if b.Weight < 0 || b.Count < 0 || b.Tokens < 0 {
			return fmt.Errorf("prefix bucket %d: %s: none may be negative", i, b)
		}
		if b.Weight > 1e6 || b.Count > 1e6 || b.Tokens > maxTokens || b.Count*b.Tokens > maxTokens {
			return fmt.Errorf("prefix bucket %d: %s: too much, prefixes are kept in memory", i, b)
		}
		s.cfg.Prefixes[i] = b
		if multiple = multiple / gcd(multiple, b.Count) * b.Count; multiple > 1e10 {
			return errors.New("prefix buckets: the counts have no common multiple below 1e10; " +
				"want some that share factors")
		}
	}
	total := 0
	for _, b := range s.cfg.Prefixes {
		for range b.Count {
			total += multiple * b.Weight / b.Count
			s.shares = append(s.shares, total)
			s.tokens = append(s.tokens, b.Tokens)
			s.prefixes = append(s.prefixes, s.text(len(s.prefixes), s.words(b.Tokens), streamPrefix, false))
		}
	}
	return nil
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Item returns item i, which depends on i and the configuration alone. It may be called from several goroutines.
func (s *Synth) Item(i int) Item {
	source := stream(s.cfg.Seed, streamLengths, uint64(i))
	r := rand.New(&source)
	it := Item{Index: i, PromptTokens: s.cfg.Prompt.sample(r), OutputTokens: s.cfg.Output.sample(r)}
	if n := len(s.shares); n > 0 {
		at := sort.SearchInts(s.shares, r.IntN(s.shares[n-1])+1)
		it.PrefixText, it.PrefixTokens = s.prefixes[at], s.tokens[at]
	}
	// Behind a prefix a text completion's prompt goes on in the same string: with its space the first word stays one
	// token.
	it.PromptText = s.text(i, s.words(it.PromptTokens), streamWords, it.PrefixText != "")
	s.turns(&it)
	return it
}

// source gives the items without end. It is a pure function of the index.
func (s *Synth) source() source {
	return func(i int) (Item, error) { return s.Item(i), nil }
}

// words is how many words make a text of n tokens.
func (s *Synth) words(n int) int {
	if per := s.cfg.TokensPerWord; per > 0 && per != 1 && n > 0 {
		return max(1, int(math.Round(float64(n)/per)))
	}
	return n
}

// text makes text number i of n words. The first words are the digits of i: as many texts in a row as there are first
// words differ in the first word, and texts that share it differ in the second, or in the third after millions. No two
// share more, so a server's prefix cache finds nothing.
func (s *Synth) text(i, n, kind int, spaced bool) string {
	if n <= 0 {
		return ""
	}
	words, seed := s.cfg.Words.Words, s.cfg.Seed
	first := i % len(s.first)
	second := digit(i/len(s.first), len(words), stream(seed, streamStart, uint64(first)))
	third := digit(i/len(s.first)/len(words), len(words), stream(seed, streamStart, uint64(first)<<32|uint64(second)+1))

	var text strings.Builder
	text.Grow(n*9 + 16)
	if spaced {
		text.WriteByte(' ')
	}
	text.WriteString(s.first[first])
	source := stream(seed, kind, uint64(i))
	for k := 1; k < n; k++ {
		text.WriteByte(' ')
		switch {
		case k == 1:
			text.WriteString(words[second])
		case k == 2:
			text.WriteString(words[third])
		default:
			text.WriteString(words[pick(&source, len(words))])
		}
	}
	return text.String()
}

// digit turns i into one of base words, shifted by a random amount so that the words differ from text to text.
func digit(i, base int, shift rand.PCG) int { return (i + pick(&shift, base)) % base }

// pick draws one of n; its bias is below n/2^32.
func pick(source *rand.PCG, n int) int { return int((source.Uint64() >> 32) * uint64(n) >> 32) }

// stream is the sequence of random numbers of one purpose and index.
func stream(seed uint64, purpose int, i uint64) rand.PCG {
	// Weyl constant of the golden ratio, as in SplitMix64 (Steele, Lea, Flood 2014): neighbouring seeds start far
	// apart.
	return *rand.NewPCG(seed*0x9e3779b97f4a7c15+uint64(purpose), i)
}
