package report

import "github.com/openloop/openloop/internal/num"

// Series is a stage over time, in steps of equal length: element i is what happened in [i·Step, (i+1)·Step) seconds
// after the stage began to send. Latencies are those of the requests whose first token (TTFT, from the scheduled time)
// or whose last token (TPOT) came in the step, in milliseconds; null where there were none. What the engine said of
// itself stands in Stage.Engine.Series.
type Series struct {
	Step     float64     `json:"step_s"`
	Sent     []int       `json:"sent"`
	Done     []int       `json:"done"`
	Errors   []int       `json:"errors"`
	Tokens   []int       `json:"output_tokens"` // of the requests that ended, spread evenly from first to last token
	InFlight []float64   `json:"in_flight"`     // mean over the step
	TTFT50   []num.Value `json:"ttft_p50_ms"`
	TTFT95   []num.Value `json:"ttft_p95_ms"`
	TPOT50   []num.Value `json:"tpot_p50_ms"`
	TPOT95   []num.Value `json:"tpot_p95_ms"`
	Delay99  []num.Value `json:"send_delay_p99_ms"` // of the requests sent in the step
}
