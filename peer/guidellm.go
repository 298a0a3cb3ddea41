package peer

import (
	"bytes"
	"encoding/json"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/stats"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
)

// readGuideLLM reads a GuideLLM report of schema 1 (0.5.0) or 2 (since 0.7.0), in which what is read here has the same
// names, or an openloop report, which says more of itself.
func readGuideLLM(text []byte) (*Claim, error) {
	r, err := guidellm.Read(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := &Claim{Tool: "GuideLLM " + r.Metadata.GuideLLMVersion, format: formatGuideLLM}
	for _, b := range r.Benchmarks {
		c.Stages = append(c.Stages, stageOfGuideLLM(b))
	}
	if own, ok := r.OpenLoop.(json.RawMessage); ok && guidellm.IsOpenLoop(r) {
		if err := c.readOpenLoop(own); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func stageOfGuideLLM(b *guidellm.Benchmark) StageClaim {
	load, m := b.Config.Load(), &b.Metrics
	s := newStage(load.String())
	s.Began, s.Ended = unixTime(b.StartTime), unixTime(b.EndTime)
	// Its window may begin after the first requests, which it counts if they end within it.
	for _, list := range []guidellm.RequestSeq{b.Requests.Successful, b.Requests.Errored, b.Requests.Incomplete} {
		for _, q := range list.List() {
			if at := unixTime(q.Info.Timings.RequestStart.Value); !at.IsZero() && at.Before(s.Began) {
				s.Began = at
			}
		}
	}
	s.Arrivals = load.Type
	if load.Open() && load.Rate.Valid {
		s.Asked = num.Value(load.Rate.Value)
	}
	s.Rate, s.RateOf = num.Value(m.RequestsPerSecond.Successful.Mean), "completed requests"
	s.Sent, s.Completed = num.Value(m.RequestTotals.Total), num.Value(m.RequestTotals.Successful)
	s.Errored = num.Value(m.RequestTotals.Errored)
	of := func(d *stats.Distribution, value float64) num.Value {
		if d.Count == 0 {
			return num.Absent()
		}
		return num.Value(value)
	}
	ttft, itl := &m.TimeToFirstTokenMS.Successful, &m.InterTokenLatencyMS.Successful
	s.TTFT50, s.TTFT99 = of(ttft, ttft.Median), of(ttft, ttft.Percentiles.P99)
	s.ITLMean, s.ITL99, s.ITLPerRequest = of(itl, itl.Mean), of(itl, itl.Percentiles.P99), true
	prompt, output := &m.PromptTokenCount.Successful, &m.OutputTokenCount.Successful
	s.PromptTokens, s.OutputTokens = of(prompt, prompt.Mean), of(output, output.Mean)
	return s
}

// readOpenLoop takes from an openloop report what only it says: the rate that was sent, and every gap between tokens.
// TTFT stays the one that counts from the send, as other tools count it; openloop's objectives count from the scheduled
// time.
func (c *Claim) readOpenLoop(own json.RawMessage) error {
	r, ok, err := report.Read(own)
	if err != nil || !ok {
		return err
	}
	c.Tool, c.format = "openloop "+r.Version, formatOpenLoop
	if len(r.Stages) != len(c.Stages) {
		return nil // stages that were left out of one of the two
	}
	for i := range r.Stages {
		from, s := &r.Stages[i], &c.Stages[i]
		s.Began, s.Ended = from.Began, from.Began.Add(from.Sending)
		s.Rate, s.RateOf = num.Value(from.Rates.Sent), "sent requests, over the stage's whole time"
		q := from.Requests
		s.Sent, s.Completed = num.Value(q.Completed+q.Errored+q.Unfinished), num.Value(q.Completed)
		s.Errored = num.Value(q.Errored)
		s.Verdict = string(from.Client.Level)
		s.ITLMean, s.ITL99, s.ITLPerRequest = from.ITL.Mean, from.ITL.P99, false
	}
	return nil
}
