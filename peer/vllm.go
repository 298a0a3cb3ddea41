package peer

import (
	"encoding/json"
	"math"

	"github.com/openloop/openloop/internal/num"
)

// vllmResult is what "vllm bench serve --save-result" and vllm-bench, its client in Rust, write: the same names
// (vllm/benchmarks/serve.py, rust/src/bench/src/output/json.rs). It has no time by the wall clock.
type vllmResult struct {
	Backend     string `json:"backend"`
	NumPrompts  number `json:"num_prompts"`
	RequestRate number `json:"request_rate"` // "inf" for all at once
	Burstiness  number `json:"burstiness"`   // shape of the gamma distribution of gaps; 1 is Poisson
	Completed   number `json:"completed"`
	Failed      number `json:"failed"` // not in versions before 0.11
	Throughput  number `json:"request_throughput"`
	TotalInput  number `json:"total_input_tokens"`
	TotalOutput number `json:"total_output_tokens"`
	TTFT50      number `json:"median_ttft_ms"`
	TTFT99      number `json:"p99_ttft_ms"`
	ITLMean     number `json:"mean_itl_ms"`
	ITL99       number `json:"p99_itl_ms"`
	// SteadyState is there, if only as null, in reports of vllm-bench.
	SteadyState json.RawMessage `json:"steady_state"`
}

func readVLLM(text []byte) (*Claim, error) {
	none := absent()
	r := vllmResult{
		NumPrompts: none, RequestRate: none, Burstiness: none, Completed: none, Failed: none, Throughput: none,
		TotalInput: none, TotalOutput: none, TTFT50: none, TTFT99: none, ITLMean: none, ITL99: none,
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	if r.Completed.IsAbsent() || r.Throughput.IsAbsent() {
		return nil, errUnknown
	}
	c := &Claim{Tool: "vllm bench serve", format: formatVLLM}
	if r.SteadyState != nil {
		c.Tool = "vllm-bench"
	}
	s := newStage("all at once")
	if rate := float64(r.RequestRate.Value); rate > 0 && !math.IsInf(rate, 0) {
		s.Asked, s.Arrivals = r.RequestRate.Value, "poisson"
		if b := r.Burstiness.Value; !b.IsAbsent() && b != 1 {
			s.Arrivals = "gamma, burstiness " + num.Three(float64(b))
		}
		s.Name = s.Arrivals + "@" + num.Rate(rate)
	}
	s.Rate, s.RateOf = r.Throughput.Value, "completed requests, until the last answer"
	s.Completed, s.Errored = r.Completed.Value, r.Failed.Value
	s.Sent = r.NumPrompts.Value
	s.TTFT50, s.TTFT99, s.ITLMean, s.ITL99 = r.TTFT50.Value, r.TTFT99.Value, r.ITLMean.Value, r.ITL99.Value
	s.PromptTokens = perRequest(r.TotalInput.Value, s.Completed)
	s.OutputTokens = perRequest(r.TotalOutput.Value, s.Completed)
	c.Stages = []StageClaim{s}
	return c, nil
}
