package llmsim

import "math"

// Capacity is the highest rate, in requests per second, that the engine sustains for requests of promptTokens (template
// included) and outputTokens, all slots kept busy, at speed 1: [Config.Speed] is left out. With [Config.Fixed] it is
// +Inf; for an invalid configuration NaN.
//
// In the steady state each request costs the engine
//
//   - its own work: PerSequence for each decoding step, of which it has O−1, and PerPrefillToken for each of its P
//     prompt tokens;
//   - a share of Base. A request needs S slot-steps of the N slots that a step has, P+O−1 tokens of the step's budget
//     B, and H token-steps of the KV cache's K tokens. Whichever is the scarcest decides how many requests share a
//     step.
//
// so that with own = PerSequence·(O−1) + PerPrefillToken·P
//
//	rate = min( 1/(own + Base·max(S/N, (P+O−1)/B)), κ/(own + Base·H/K) )
//
// with S = O−1 + ⌈P/B′⌉ steps, where B′ = B−N+1 is the budget left by decoding neighbours, and H the sum over a
// request's steps of the tokens it holds, rounded up to blocks. κ = 0.93 is what preemption leaves where the KV cache
// is what binds: sequences are computed twice. It has no closed form; for equal lengths the step loop serves between
// 0.89 and 0.96 of the rate without preemption, and less where the lengths vary widely. Everything else is exact in the
// long run: the step loop agrees to within a percent.
func (c Config) Capacity(promptTokens, outputTokens int) float64 {
	c, err := c.normalized()
	if err != nil {
		return math.NaN()
	}
	if c.Fixed {
		return math.Inf(1)
	}
	p, o := float64(max(promptTokens, 1)), float64(max(outputTokens, 1))
	n, b := float64(c.MaxNumSeqs), float64(c.MaxNumBatchedTokens)
	block := float64(c.BlockSize)
	base := float64(c.Base)

	steps := o - 1 + math.Ceil(p/math.Max(1, b-n+1))
	slots := steps / n
	budget := (p + o - 1) / b
	// A sequence holds P tokens in its first step and one more in each further one; the last block is half empty on
	// average.
	held := o*(p+(o-1)/2+(block-1)/2) + (steps-o)*p/2
	kv := held / (math.Floor(float64(c.KVCacheTokens)/block) * block)

	own := float64(c.PerSequence)*(o-1) + float64(c.PerPrefillToken)*p
	scarcest := math.Max(slots, budget)
	rate := 1e9 / (own + base*scarcest)
	if kv > scarcest {
		// Where the cache is but a little too small, preemption is rare: its cost comes in over the first tenth.
		lost := preemptionLoss * math.Min(1, 10*(kv/scarcest-1))
		rate = math.Min(rate, (1-lost)*1e9/(own+base*kv))
	}
	return rate
}

// preemptionLoss is 1 − κ of [Config.Capacity].
const preemptionLoss = 0.07
