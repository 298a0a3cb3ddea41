package tokens

import (
	"fmt"
	"math"

	"github.com/openloop/openloop/loadgen"
)

// Summary is what a report says of the requests.
type Summary struct {
	Tokenizer  string `json:"tokenizer"`
	PromptSeed int64  `json:"prompt_seed"`

	// Learned is what the endpoint showed of its own count; nil where it was not asked.
	Learned *Learned `json:"learned,omitempty"`

	// Lengths compares the asked lengths with the endpoint's count; nil where neither is known.
	Lengths *LengthCheck `json:"prompts_by_usage,omitempty"`
}

// Learned is what an endpoint showed of how it counts tokens.
type Learned struct {
	Method        string  `json:"method"`          // "tokenize", "tokenize-content" or "usage"
	Words         int     `json:"words"`           // how many words prompts are made of
	TokensPerWord float64 `json:"tokens_per_word"` // 1 where lengths are exact
	Template      int     `json:"template_tokens"` // what the chat template adds to a prompt; −1: not known
	Checked       int     `json:"checked_prompts"` // prompts that were made and counted before the load
	Error         float64 `json:"length_error"`    // greatest difference among them, over the asked length
}

// LengthCheck says how exact the prompts of a run were, by the endpoint's own usage.
type LengthCheck struct {
	Requests int     `json:"requests"`        // requests with a usage
	Exact    int     `json:"exact"`           // of them, those of exactly the asked length and the template
	Template int     `json:"template_tokens"` // what the endpoint adds to each prompt: the most frequent difference
	Error    float64 `json:"error"`           // the greatest difference from that, over the asked length
}

// Notes says before any load what the workload is, as far as its description leaves that open, and warns of what is in
// its file and can't be sent.
func (w *Workload) Notes() (notes, warnings []string) {
	if w.trace != nil {
		return w.trace.notes(*w.spec.Trace), nil
	}
	if w.data != nil {
		return w.found.notes(w.spec.Data)
	}
	return nil, nil
}

// Summary says what was sent in the stages.
func (w *Workload) Summary(stages []*loadgen.Measured) Summary {
	s := Summary{Tokenizer: w.spec.Tokenizer, PromptSeed: w.spec.Seed}
	if l := w.learned; l != nil {
		s.Learned = &Learned{
			Method: l.method, Words: len(l.words.Words), TokensPerWord: l.tokensPerWord,
			Template: l.template, Checked: l.checked, Error: l.error,
		}
	}
	if c := w.lengths(stages); c.Requests > 0 {
		s.Lengths = &c
	}
	return s
}

// Warnings says whether the prompts were as long as asked, and whether the data ran out.
func (w *Workload) Warnings(stages []*loadgen.Measured) []string {
	var out []string
	if w.data != nil {
		if n := w.found.skipped; n > 0 {
			out = append(out, fmt.Sprintf("%d of %d records of the data can't be sent and were left out", n,
				n+w.found.records))
		}
		if size := int(w.data.size.Load()); size > 0 && w.sent > size {
			out = append(out, fmt.Sprintf("the %d records of the data were sent %.1f times over: later requests may "+
				"have been answered from the server's prefix cache", size, float64(w.sent)/float64(size)))
		}
	}
	if c := w.lengths(stages); c.Exact < c.Requests {
		out = append(out, fmt.Sprintf("%d of %d prompts were not as long as asked by the endpoint's own count, "+
			"by up to %.1f %%", c.Requests-c.Exact, c.Requests, 100*c.Error))
	}
	return out
}

// lengths compares the asked lengths of made-up prompts with what the endpoint counted.
func (w *Workload) lengths(stages []*loadgen.Measured) LengthCheck {
	type lengths struct{ asked, counted []int }
	var turns []lengths // the chat template adds as much to every prompt of so many messages
	if w.data == nil && w.spec.Tokenizer != "none" {
		for _, m := range stages {
			for i := range m.Records {
				r := &m.Records[i]
				if r.Class != w.class {
					continue
				}
				for len(turns) <= int(r.Turn) {
					turns = append(turns, lengths{})
				}
				t := &turns[r.Turn]
				t.asked, t.counted = append(t.asked, int(r.AskedPrompt)), append(t.counted, int(r.PromptTokens))
			}
		}
	}
	var all LengthCheck
	for i, t := range turns {
		c := checkLengths(t.asked, t.counted)
		if i == 0 {
			all.Template = c.Template
		}
		all.Requests += c.Requests
		all.Exact += c.Exact
		all.Error = max(all.Error, c.Error)
	}
	return all
}

// checkLengths compares the asked lengths of prompts with usage.prompt_tokens of the same requests; 0 or less in either
// is not known and left out.
func checkLengths(asked, counted []int) LengthCheck {
	var c LengthCheck
	differences := map[int]int{}
	for i, n := range asked {
		if n <= 0 || counted[i] <= 0 {
			continue
		}
		c.Requests++
		d := counted[i] - n
		differences[d]++
		if best := differences[c.Template]; differences[d] > best || differences[d] == best && d < c.Template {
			c.Template = d
		}
	}
	c.Exact = differences[c.Template]
	for i, n := range asked {
		if n > 0 && counted[i] > 0 {
			c.Error = max(c.Error, math.Abs(float64(counted[i]-n-c.Template))/float64(n))
		}
	}
	return c
}
