package llmsim

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SpecError says why a spec could not be read, and what would be read.
type SpecError struct {
	Spec   string // the whole spec
	Reason string // what is wrong with it
	Hint   string // what to write instead
}

func (e *SpecError) Error() string {
	return fmt.Sprintf("simulated engine %q: %s; %s", e.Spec, e.Reason, e.Hint)
}

// presets are the named configurations. Rates are Capacity(256+8, 128).
func presets() map[string]Config {
	return map[string]Config{
		// In shape what was recorded with vLLM 0.23.0 serving Qwen2.5-0.5B-Instruct on one NVIDIA L4. KV cache: 24
		// layers × 2 KV heads × 64 × 2 bytes, keys and values, is 12 KiB a token; about 18 GB of the card's 24 are free
		// for it.
		"l4-qwen2.5-0.5b": { // 18 req/s
			Model: "Qwen/Qwen2.5-0.5B-Instruct", Base: 5430 * time.Microsecond, PerSequence: 200 * time.Microsecond,
			PerPrefillToken: 100 * time.Microsecond, MaxNumSeqs: 256, MaxNumBatchedTokens: 2048,
			KVCacheTokens: 1_500_000,
		},
		"fixed": {Fixed: true, TTFT: 30 * time.Millisecond, ITL: 5 * time.Millisecond},
		"fast": { // 218 req/s
			Base: 4 * time.Millisecond, PerSequence: 10 * time.Microsecond, PerPrefillToken: 5 * time.Microsecond,
			MaxNumSeqs: 256, MaxNumBatchedTokens: 8192,
		},
		"wide": { // 75 req/s with 512 sequences
			Base: 12 * time.Millisecond, PerSequence: 40 * time.Microsecond, PerPrefillToken: 20 * time.Microsecond,
			MaxNumSeqs: 512, MaxNumBatchedTokens: 8192,
		},
		"few-sequences": { // 2.5 req/s with 4 sequences
			Base: 10 * time.Millisecond, PerSequence: 500 * time.Microsecond, PerPrefillToken: 50 * time.Microsecond,
			MaxNumSeqs: 4, MaxNumBatchedTokens: 2048,
		},
		"slow": { // 0.5 req/s
			Base: 100 * time.Millisecond, PerSequence: 2 * time.Millisecond, PerPrefillToken: 400 * time.Microsecond,
			MaxNumSeqs: 8, MaxNumBatchedTokens: 2048,
		},
		"prefill-bound": { // 8.3 req/s: the step's token budget is what runs out, not the slots
			Base: 50 * time.Millisecond, PerSequence: 20 * time.Microsecond, PerPrefillToken: 300 * time.Microsecond,
			MaxNumSeqs: 256, MaxNumBatchedTokens: 512,
		},
		"small-kv": { // the KV cache is what runs out: about 24 sequences of 256+128 tokens, with preemptions
			Base: 10 * time.Millisecond, PerSequence: 200 * time.Microsecond, PerPrefillToken: 50 * time.Microsecond,
			MaxNumSeqs: 256, MaxNumBatchedTokens: 2048, KVCacheTokens: 8192, MaxModelLen: 4096,
		},
	}
}

// Presets lists the names that [ParseSpec] knows, sorted.
func Presets() []string { return slices.Sorted(maps.Keys(presets())) }

// Preset gives the configuration of that name.
func Preset(name string) (Config, error) {
	c, ok := presets()[name]
	if !ok {
		return Config{}, &SpecError{Spec: name, Reason: fmt.Sprintf("there is no preset %q", name),
			Hint: "presets are " + strings.Join(Presets(), ", ")}
	}
	c.Name = name
	return c, nil
}

// specKeys are the parameters that a spec may set, each with what reads its value.
func specKeys() map[string]func(*Config, string) error {
	duration := func(field func(*Config) *time.Duration) func(*Config, string) error {
		return func(c *Config, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Errorf("%q is not a duration such as 5.43ms", v)
			}
			*field(c) = d
			return nil
		}
	}
	count := func(field func(*Config) *int) func(*Config, string) error {
		return func(c *Config, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil {
				return fmt.Errorf("%q is not a whole number", v)
			}
			if n == 0 {
				return fmt.Errorf("must not be 0")
			}
			*field(c) = n
			return nil
		}
	}
	boolean := func(field func(*Config) *bool) func(*Config, string) error {
		return func(c *Config, v string) error {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return fmt.Errorf("%q is neither true nor false", v)
			}
			*field(c) = b
			return nil
		}
	}
	return map[string]func(*Config, string) error{
		"base":                   duration(func(c *Config) *time.Duration { return &c.Base }),
		"per_sequence":           duration(func(c *Config) *time.Duration { return &c.PerSequence }),
		"per_prefill_token":      duration(func(c *Config) *time.Duration { return &c.PerPrefillToken }),
		"ttft":                   duration(func(c *Config) *time.Duration { return &c.TTFT }),
		"itl":                    duration(func(c *Config) *time.Duration { return &c.ITL }),
		"max_num_seqs":           count(func(c *Config) *int { return &c.MaxNumSeqs }),
		"max_num_batched_tokens": count(func(c *Config) *int { return &c.MaxNumBatchedTokens }),
		"kv_cache_tokens":        count(func(c *Config) *int { return &c.KVCacheTokens }),
		"block_size":             count(func(c *Config) *int { return &c.BlockSize }),
		"max_model_len":          count(func(c *Config) *int { return &c.MaxModelLen }),
		"template_tokens":        count(func(c *Config) *int { return &c.TemplateTokens }),
		"image_tokens":           count(func(c *Config) *int { return &c.ImageTokens }),
		"reasoning_tokens":       count(func(c *Config) *int { return &c.ReasoningTokens }),
		"truth_limit":            count(func(c *Config) *int { return &c.TruthLimit }),
		"fault_every":            count(func(c *Config) *int { return &c.FaultEvery }),
		"prefix_caching":         boolean(func(c *Config) *bool { return &c.PrefixCaching }),
		"truth_tokens":           boolean(func(c *Config) *bool { return &c.TruthTokens }),
		"finish_with_last_token": boolean(func(c *Config) *bool { return &c.FinishWithLastToken }),
		"time_scale": func(c *Config, v string) error {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil || !(f > 0) {
				return fmt.Errorf("%q is not a positive number", v)
			}
			c.TimeScale = f
			return nil
		},
		"seed": func(c *Config, v string) (err error) {
			if c.Seed, err = strconv.ParseUint(v, 10, 64); err != nil {
				return fmt.Errorf("%q is not a whole number from 0", v)
			}
			return nil
		},
		"model": func(c *Config, v string) error {
			if v == "" {
				return fmt.Errorf("must not be empty")
			}
			c.Model = v
			return nil
		},
		"adapters": func(c *Config, v string) error {
			c.Adapters = strings.Split(v, ",")
			if slices.Contains(c.Adapters, "") {
				return fmt.Errorf("%q: an adapter has no name", v)
			}
			return nil
		},
		"output": func(c *Config, v string) (err error) {
			c.Output, err = ParseOutputLengths(v)
			return err
		},
		"spells": func(c *Config, v string) (err error) {
			c.Speed.Spells, err = parseSpells(v)
			return err
		},
		"drift": func(c *Config, v string) (err error) {
			c.Speed.Drift, err = parseDrift(v)
			return err
		},
		"wander": func(c *Config, v string) (err error) {
			c.Speed.Wander, err = parseWander(v)
			return err
		},
		"modes": func(c *Config, v string) (err error) {
			c.Speed.Modes, err = parseModes(v)
			return err
		},
		"fault": func(c *Config, v string) (err error) {
			c.Fault, err = ParseFault(v)
			return err
		},
	}
}

// ParseSpec reads PRESET or PRESET?KEY=VALUE&KEY=VALUE…, as in "l4-qwen2.5-0.5b?max_num_seqs=64&time_scale=0.1". Values
// are percent-decoded as in a URL. Errors are [*SpecError] and list the presets or keys where one was wrong.
func ParseSpec(spec string) (Config, error) {
	name, query, _ := strings.Cut(spec, "?")
	c, err := Preset(name)
	if err != nil {
		err.(*SpecError).Spec = spec
		return Config{}, err
	}
	c.Name = spec
	values, err := url.ParseQuery(query)
	if err != nil {
		return Config{}, &SpecError{Spec: spec, Reason: fmt.Sprintf("bad parameters: %v", err),
			Hint: "write PRESET?KEY=VALUE&KEY=VALUE"}
	}
	keys := specKeys()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		set, ok := keys[key]
		if !ok {
			return Config{}, &SpecError{Spec: spec, Reason: fmt.Sprintf("there is no parameter %q", key),
				Hint: "parameters are " + strings.Join(slices.Sorted(maps.Keys(keys)), ", ")}
		}
		if n := len(values[key]); n != 1 {
			return Config{}, &SpecError{Spec: spec, Reason: fmt.Sprintf("%s is given %d times", key, n),
				Hint: "give it once"}
		}
		if err := set(&c, values.Get(key)); err != nil {
			return Config{}, &SpecError{Spec: spec, Reason: key + ": " + err.Error(), Hint: "correct the value"}
		}
	}
	// A smaller cache than the preset's takes its length limit along, unless the spec gives one.
	if values.Has("kv_cache_tokens") && !values.Has("max_model_len") {
		if c.MaxModelLen > c.KVCacheTokens-c.BlockSize {
			c.MaxModelLen = 0
		}
	}
	if _, err := c.normalized(); err != nil {
		return Config{}, &SpecError{Spec: spec, Reason: err.Error(), Hint: "correct the value"}
	}
	return c, nil
}
