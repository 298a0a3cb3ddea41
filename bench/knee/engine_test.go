package knee

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// engine is one engine of the grid, with the load and the objectives that it is searched with.
type engine struct {
	name       string
	config     llmsim.Config
	prompt     int // tokens, the chat template's included
	limit      int // max_tokens of every request
	arrivals   loadgen.Kind
	objectives string
}

// alone runs the engine without any client: requests reach it at the schedule's offsets and are recorded as a perfect
// client would record them. It returns the records of the first n arrivals, all completed.
func (e engine) alone(schedule loadgen.Schedule, n int, seed uint64) ([]loadgen.Record, error) {
	sim, err := llmsim.NewEngine(e.config)
	if err != nil {
		return nil, err
	}
	records := make([]loadgen.Record, n)
	sequences := make([]llmsim.Sequence, n)
	next, done := 0, 0
	due := func() int64 {
		if next == n {
			return 1 << 62
		}
		offset, _ := schedule.At(next)
		return int64(offset) + 1 // 0 means "never" in a record
	}
	at := due()
	for now := int64(0); done < n; {
		if !sim.Busy() {
			now = max(now, at)
		}
		for ; at <= now; at = due() {
			output, _ := e.config.Output.Draw(seed, uint64(next), e.limit)
			r := &records[next]
			*r = loadgen.Record{Scheduled: at, Started: at, Sent: at, PromptTokens: int32(e.prompt), OutputTokens: -1,
				AskedOutput: int32(e.limit), Status: loadgen.Incomplete}
			s := &sequences[next]
			s.Prompt, s.Output, s.Tag = e.prompt, output, r
			if err := sim.Submit(s); err != nil {
				return nil, err
			}
			next++
		}
		step := sim.Step()
		now += int64(step.Duration)
		for _, s := range step.Tokens {
			r := s.Tag.(*loadgen.Record)
			if r.FirstToken == 0 {
				r.FirstToken = now
			}
			r.LastToken = now
			r.TokenEvents++
		}
		for _, s := range step.Finished {
			r := s.Tag.(*loadgen.Record)
			r.End, r.OutputTokens, r.Status = now, int32(s.Output), loadgen.Completed
			done++
		}
	}
	return records, nil
}

// schedule is the arrivals of a rate.
func (e engine) schedule(rate float64, seed int64) loadgen.Schedule {
	if e.arrivals == loadgen.ConstantGap {
		return loadgen.Constant{Rate: rate}
	}
	return loadgen.NewPoisson(rate, seed)
}

// meets says whether the objectives hold in the long run at a rate: over n requests, the first tenth left out.
func (e engine) meets(rate float64, n int, seed uint64) (bool, error) {
	objectives, err := slo.ParseObjectives(e.objectives)
	if err != nil {
		return false, err
	}
	records, err := e.alone(e.schedule(rate, int64(seed)), n, seed)
	if err != nil {
		return false, err
	}
	l := &loadgen.Measured{Records: records[n/10:], Stopped: 1 << 62}
	for _, o := range objectives {
		if !slo.Observe(l, o).Holds {
			return false, nil
		}
	}
	return true, nil
}

// trueKnee is the highest rate at which the objectives hold, to 0.3 %, by brute force on the engine alone.
func (e engine) trueKnee(n int, seed uint64) (float64, error) {
	capacity := e.capacity()
	lo, hi := 0.02*capacity, 1.3*capacity
	ok, err := e.meets(lo, n, seed)
	if err != nil || !ok {
		return 0, fmt.Errorf("%s: even %.3g req/s fails: %w", e.name, lo, err)
	}
	for hi/lo > 1.003 {
		mid := (lo + hi) / 2
		ok, err := e.meets(mid, n, seed)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return (lo + hi) / 2, nil
}

// capacity is the rate that the engine sustains, from its parameters and the mean output length.
func (e engine) capacity() float64 {
	sum, n := 0, 20_000
	for i := range n {
		tokens, _ := e.config.Output.Draw(1, uint64(i), e.limit)
		sum += tokens
	}
	return e.config.Capacity(e.prompt, sum/n)
}

// unloaded is TTFT and gap of a request that has the engine to itself.
func (e engine) unloaded() (ttft, gap time.Duration) {
	c := e.config
	ttft = time.Duration((float64(c.Base) + float64(c.PerPrefillToken)*float64(e.prompt)) * c.TimeScale)
	gap = time.Duration(float64(c.Base+c.PerSequence) * c.TimeScale)
	return ttft, gap
}

// grid is the engines of the study: four shapes, three distributions of output lengths, two arrival processes, at
// capacities from 0.5 to 200 requests per second.
func grid() []engine {
	shapes := []struct {
		name     string
		config   llmsim.Config
		prompt   int
		capacity float64 // requests per second, by the time scale
		ttft     float64 // bound on p95, in unloaded TTFTs
		tpot     float64 // bound on p95, in unloaded gaps
	}{
		// Prefill and decode cost alike, as the L4 preset; latency grows long before capacity.
		{"l4-like", llmsim.Config{Base: 5430 * time.Microsecond, PerSequence: 200 * time.Microsecond,
			PerPrefillToken: 100 * time.Microsecond}, 64, 13, 6, 3},
		// Few slots: requests queue for them.
		{"few slots", llmsim.Config{Base: 10 * time.Millisecond, PerSequence: 500 * time.Microsecond,
			PerPrefillToken: 50 * time.Microsecond, MaxNumSeqs: 4}, 64, 0.5, 10, 3},
		// Fast decode, many slots, nothing but the step's base to share.
		{"many slots", llmsim.Config{Base: 8 * time.Millisecond, PerSequence: 20 * time.Microsecond,
			PerPrefillToken: 20 * time.Microsecond, MaxNumSeqs: 64}, 64, 200, 4, 3},
		// A small token budget: prompts are prefilled in chunks and decoding shares the budget.
		{"small budget", llmsim.Config{Base: 6 * time.Millisecond, PerSequence: 100 * time.Microsecond,
			PerPrefillToken: 60 * time.Microsecond, MaxNumSeqs: 32, MaxNumBatchedTokens: 48}, 96, 5, 6, 3},
	}
	lengths := []struct {
		name   string
		output llmsim.OutputLengths
	}{
		{"fixed", llmsim.OutputLengths{Kind: llmsim.LengthFixed, Mean: 24}},
		{"exponential", llmsim.OutputLengths{Kind: llmsim.LengthExponential, Mean: 24}},
		{"heavy tail", llmsim.OutputLengths{Kind: llmsim.LengthPareto, Mean: 24, Shape: 1.5}},
	}
	var all []engine
	for _, s := range shapes {
		for _, l := range lengths {
			for _, arrivals := range []loadgen.Kind{loadgen.ConstantGap, loadgen.PoissonGaps} {
				e := engine{config: s.config, prompt: s.prompt, limit: 512, arrivals: arrivals}
				e.name = fmt.Sprintf("%s, %s, %s", s.name, l.name, arrivals)
				e.config.Output = l.output
				e.config.TimeScale = 1
				e.config.TimeScale = e.capacity() / s.capacity
				ttft, gap := e.unloaded()
				e.objectives = fmt.Sprintf("ttft:p95<%dus tpot:p95<%dus",
					time.Duration(s.ttft*float64(ttft)).Microseconds(),
					time.Duration(s.tpot*float64(gap)).Microseconds())
				all = append(all, e)
			}
		}
	}
	return all
}

// shuffled gives seeds that share nothing with the seeds of another use.
func shuffled(use, i int) int64 {
	return int64(rand.New(rand.NewPCG(uint64(use), uint64(i))).Int64N(1 << 40))
}
