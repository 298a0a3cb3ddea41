package llmsim

import (
	"hash/fnv"
	"hash/maphash"
	"strconv"
	"sync"
)

// prefixSource is the text whose beginning may have been seen before.
type prefixSource struct {
	messages []message
	text     string
}

// name is a hash of the whole text, the same in every process; "" of a prompt of token ids.
func (p *prefixSource) name() string {
	h := fnv.New64a()
	for _, m := range p.messages {
		_, _ = h.Write([]byte(m.Role + "\x00" + m.Content.name() + "\x00")) // a hash does not fail
	}
	if len(p.messages) == 0 {
		if p.text == "" {
			return ""
		}
		_, _ = h.Write([]byte(p.text))
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

// prefixCache remembers the beginnings of prompts, in blocks of text, each identified by a hash of all up to its end.
// It stands for vLLM's block hashes; as the simulator has no tokens, it counts the share of the text.
type prefixCache struct {
	mu   sync.Mutex
	seed maphash.Seed
	seen map[uint64]struct{}
}

const (
	prefixBlock = 64      // bytes: about 16 tokens of English
	prefixLimit = 1 << 18 // blocks remembered; then all are forgotten
)

// lookup gives how many of the request's leading prompt tokens are in the cache, and puts the rest into it.
func (c *prefixCache) lookup(req *request) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) > prefixLimit {
		c.seed, c.seen = maphash.MakeSeed(), make(map[uint64]struct{})
	}
	var h maphash.Hash
	h.SetSeed(c.seed)
	total, hit, in := 0, 0, 0
	missed := false
	feed := func(s string) {
		total += len(s)
		for len(s) > 0 {
			n := min(prefixBlock-in, len(s))
			_, _ = h.WriteString(s[:n]) // a maphash.Hash does not fail
			s, in = s[n:], in+n
			if in < prefixBlock {
				return
			}
			in = 0
			key := h.Sum64()
			if _, ok := c.seen[key]; ok && !missed {
				hit += prefixBlock
			} else {
				missed = true
				c.seen[key] = struct{}{}
			}
		}
	}
	for _, m := range req.prefix.messages {
		feed(m.Role + "\x00")
		feed(m.Content.name() + "\x00")
	}
	feed(req.prefix.text)
	if total == 0 {
		return 0
	}
	return req.promptTokens * hit / total
}
