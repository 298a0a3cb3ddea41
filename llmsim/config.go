package llmsim

import (
	"errors"
	"fmt"
	"time"
)

// Config describes a simulated engine and its server. The zero value is an engine whose steps cost nothing; [ParseSpec]
// and [Preset] give more useful ones.
type Config struct {
	// Name says where the configuration came from: a preset's name, or a whole spec.
	Name string
	// Model is the model name that the server answers to. Default: "llmsim".
	Model string
	// Adapters are names of LoRA adapters of that model, which are listed with it and answer as it does.
	Adapters []string

	// Base is what every step costs, however little it does.
	Base time.Duration
	// PerSequence is what each decoding sequence adds to a step.
	PerSequence time.Duration
	// PerPrefillToken is what each prompt token prefilled in a step adds to it.
	PerPrefillToken time.Duration
	// MaxNumSeqs is the largest number of sequences that run at once. Default 256.
	MaxNumSeqs int
	// MaxNumBatchedTokens is the token budget of one step, decoded and prefilled together. Default 2048.
	MaxNumBatchedTokens int
	// KVCacheTokens is how many tokens the KV cache holds. Default 1,048,576.
	KVCacheTokens int
	// BlockSize is the number of tokens in one KV block. Default 16.
	BlockSize int
	// MaxModelLen is the largest prompt and output together; longer requests are refused with 400. Default: 32,768, or
	// KVCacheTokens where that is less.
	MaxModelLen int

	// Fixed turns the engine off: every request gets its first token TTFT after it was read and a further one every
	// ITL, whatever the load. It is for judging clients.
	Fixed bool
	TTFT  time.Duration // with Fixed: request read to first token
	ITL   time.Duration // with Fixed: token to token

	// Speed says how the engine's speed changes while it runs. The zero value is constant speed; with Fixed it must be
	// that. An [Engine] alone has no clock and leaves it out: who runs one divides its steps by [NewSpeed].
	Speed SpeedProfile

	// TimeScale multiplies every duration above but those of Speed. Default 1.
	TimeScale float64
	// Output is the distribution of output lengths for requests that do not set ignore_eos. The zero value never stops
	// before the request's max_tokens.
	Output OutputLengths
	// Seed seeds the output lengths and the speed. The length of a request depends on Seed and its arrival index alone,
	// the speed on Seed and the time since the server's start.
	Seed uint64
	// TemplateTokens is what the chat template adds to the prompt tokens of a chat request. Default 8, the overhead of
	// Qwen's template around one message; -1 is none.
	TemplateTokens int
	// ReasoningTokens is how many tokens of a chat answer that streams are reasoning: the first ones, never the last.
	ReasoningTokens int
	// ImageTokens is what an image of a chat request adds to its prompt tokens, whatever its size. 0: the model takes
	// no images, and refuses them.
	ImageTokens int
	// CountTokens counts the tokens of a text; it must be deterministic and safe for concurrent use. Default: an
	// estimate that is exact for openloop's synthetic prompts.
	CountTokens func(text string) int
	// PrefixCaching lets prompts that begin as an earlier one did skip that part of their prefill.
	PrefixCaching bool
	// FinishWithLastToken puts the finish reason into the chunk of the last token, as vLLM does, and leaves out the
	// separate finish chunk.
	FinishWithLastToken bool

	// APIKey, where set, is asked of every request under /v1 as a bearer token.
	APIKey string
	// Fault is done to every FaultEvery-th request (1 or less: to every one). A request's own [FaultHeader] goes before
	// it.
	Fault      Fault
	FaultEvery int

	// TruthTokens records the time of every token, not only of the first and the last.
	TruthTokens bool
	// TruthPrompts records which prompts are the same, and how much of each began an earlier one.
	TruthPrompts bool
	// TruthLimit bounds the records kept in memory; when there are more the oldest go. Default 200,000; -1 keeps none.
	TruthLimit int

	// VirtualTime makes the server sleep with time.Sleep alone, as is needed inside a testing/synctest bubble. Without
	// it a Linux server sleeps with clock_nanosleep, which Go's virtual clock does not know.
	VirtualTime bool
}

// DefaultTemplateTokens is the default of [Config.TemplateTokens].
const DefaultTemplateTokens = 8

// The defaults of [Config]'s other fields, in their units.
const (
	defaultModel               = "llmsim"
	defaultMaxNumSeqs          = 256
	defaultMaxNumBatchedTokens = 2048
	defaultKVCacheTokens       = 1 << 20
	defaultBlockSize           = 16
	defaultMaxModelLen         = 32768
	defaultTruthLimit          = 200_000
)

// normalized fills in defaults and multiplies the durations by TimeScale. The result has TimeScale 1, so that
// normalizing it again changes nothing.
func (c Config) normalized() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	count := func(v *int, name string, def int) {
		switch {
		case *v == 0:
			*v = def
		case *v < 0:
			bad("%s is %d, must be positive", name, *v)
		}
	}
	count(&c.MaxNumSeqs, "max_num_seqs", defaultMaxNumSeqs)
	count(&c.MaxNumBatchedTokens, "max_num_batched_tokens", defaultMaxNumBatchedTokens)
	count(&c.BlockSize, "block_size", defaultBlockSize)
	count(&c.KVCacheTokens, "kv_cache_tokens", defaultKVCacheTokens)
	blocks := max(c.BlockSize, 1)
	count(&c.MaxModelLen, "max_model_len", min(defaultMaxModelLen, max(c.KVCacheTokens/blocks*blocks, 1)))
	if c.KVCacheTokens > 0 && c.BlockSize > c.KVCacheTokens {
		bad("kv_cache_tokens is %d, less than one block of %d tokens", c.KVCacheTokens, c.BlockSize)
	} else if c.BlockSize > 0 && c.MaxModelLen > c.KVCacheTokens/blocks*blocks {
		// vLLM refuses to start here: a request as long as it promises to take could never run.
		bad("max_model_len is %d, more than the KV cache of %d tokens holds", c.MaxModelLen, c.KVCacheTokens)
	}

	if c.TimeScale == 0 {
		c.TimeScale = 1
	}
	if !(c.TimeScale > 0 && c.TimeScale <= 1e6) {
		bad("time_scale is %v, must be above 0 and at most 1e6", c.TimeScale)
		c.TimeScale = 1
	}
	duration := func(v *time.Duration, name string) {
		if *v < 0 || *v > 24*time.Hour {
			bad("%s is %v, must lie between 0 and 24h", name, *v)
			return
		}
		*v = time.Duration(float64(*v)*c.TimeScale + 0.5)
	}
	duration(&c.Base, "base")
	duration(&c.PerSequence, "per_sequence")
	duration(&c.PerPrefillToken, "per_prefill_token")
	duration(&c.TTFT, "ttft")
	duration(&c.ITL, "itl")
	c.TimeScale = 1

	if err := c.Speed.validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Fixed && !c.Speed.Constant() {
		bad("spells, drift, wander and modes need an engine: with fixed timing there is none whose speed could change")
	}
	if err := c.Output.validate(); err != nil {
		errs = append(errs, err)
	}
	if c.Model == "" {
		c.Model = defaultModel
	}
	switch {
	case c.TemplateTokens == 0:
		c.TemplateTokens = DefaultTemplateTokens
	case c.TemplateTokens < -1:
		bad("template_tokens is %d, must be -1 (none) or more", c.TemplateTokens)
	}
	if c.CountTokens == nil {
		c.CountTokens = approxTokens
	}
	switch {
	case c.TruthLimit == 0:
		c.TruthLimit = defaultTruthLimit
	case c.TruthLimit < -1:
		bad("truth_limit is %d, must be -1 (none) or more", c.TruthLimit)
	}
	if c.FaultEvery < 0 {
		bad("fault_every is %d, must not be negative", c.FaultEvery)
	}
	if len(errs) > 0 {
		return c, fmt.Errorf("simulated engine: %w", errors.Join(errs...))
	}
	return c, nil
}

// templateTokens is the chat template's overhead of a normalized configuration.
func (c *Config) templateTokens() int { return max(c.TemplateTokens, 0) }

// approxTokens estimates the tokens of an English text without a tokenizer: a token for every word of up to twelve
// letters, one more for every further six, one for every other character that is not a space. It is deterministic and
// cheap, and no tokenizer agrees with it exactly, but on openloop's own synthetic prompts, words of one token each, it
// is exact.
func approxTokens(text string) int {
	n, word := 0, 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80:
			if word == 0 || word >= 12 && (word-12)%6 == 0 {
				n++
			}
			word++
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
			word = 0
		default:
			n++
			word = 0
		}
	}
	return n
}
