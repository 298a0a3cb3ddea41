package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
)

// source makes two long, stationary series of latencies, each in the order of its requests, of the same server.
type source struct {
	name   string
	make   func(n int, seed uint64) (a, b []float64)
	paired bool // both have the same arrivals

	sorted func() []float64 // a longer one, sorted
}

// truth is the true figure of a source.
func (s *source) truth(st statistic) float64 { return st.true(s.sorted()) }

// longSeries is how many requests the true figures rest on.
const longSeries = 500_000

// independent is a source of two series that have nothing to do with one another.
func independent(name string, of func(n int, seed uint64) []float64) source {
	return source{
		name: name,
		make: func(n int, seed uint64) (a, b []float64) { return of(n, seed), of(n, seed+1) },
		sorted: sync.OnceValue(func() []float64 {
			return slices.Sorted(slices.Values(of(longSeries, 99)))
		}),
	}
}

// autoregressive is a series whose logarithm is an AR(1): each value remembers the one before it by phi.
func autoregressive(phi, sd float64) func(n int, seed uint64) []float64 {
	return func(n int, seed uint64) []float64 {
		r := rand.New(rand.NewPCG(seed, 1))
		values := make([]float64, n)
		g := r.NormFloat64()
		for i := range values {
			g = phi*g + math.Sqrt(1-phi*phi)*r.NormFloat64()
			values[i] = math.Exp(sd * g)
		}
		return values
	}
}

// sameArrivals is two runs of an M/G/1 queue to which the requests come at the same times; what they take differs.
func sameArrivals(load float64) source {
	s := independent(fmt.Sprintf("M/G/1 at %.1f, same arrivals", load), queue(load))
	s.paired = true
	s.make = func(n int, seed uint64) (a, b []float64) {
		return queueOf(load, n, seed, seed+1), queueOf(load, n, seed, seed+2)
	}
	return s
}

// queue is the times in an M/G/1 queue at a load below 1, its service a fixed part and an exponential one, half each.
func queue(load float64) func(n int, seed uint64) []float64 {
	return func(n int, seed uint64) []float64 { return queueOf(load, n, seed, seed+1000) }
}

// queueOf is queue with the seeds of the arrivals and of the service.
func queueOf(load float64, n int, arrivals, service uint64) []float64 {
	gaps, times := rand.New(rand.NewPCG(arrivals, 2)), rand.New(rand.NewPCG(service, 3))
	values := make([]float64, n)
	wait := 0.0
	const skip = 2000 // until the queue has forgotten that it began empty
	for i := -skip; i < n; i++ {
		took := 0.5 + 0.5*times.ExpFloat64()
		if i >= 0 {
			values[i] = wait + took
		}
		wait = max(0, wait+took-gaps.ExpFloat64()/load)
	}
	return values
}

// metric is a latency of a request of the simulated engine, in ns.
type metric func(r *loadgen.Record) float64

func ttft(r *loadgen.Record) float64 { return float64(r.FirstToken - r.Scheduled) }

func tpot(r *loadgen.Record) float64 {
	return float64(r.LastToken-r.FirstToken) / float64(r.OutputTokens-1)
}

// The requests of the simulated engine, in tokens.
const (
	prompt     = 64
	meanOutput = 24
	maxOutput  = 512
)

// engineConfig is an engine like the preset of an L4.
func engineConfig() llmsim.Config {
	return llmsim.Config{
		Base: 5430 * time.Microsecond, PerSequence: 200 * time.Microsecond, PerPrefillToken: 100 * time.Microsecond,
		Output: llmsim.OutputLengths{Kind: llmsim.LengthExponential, Mean: meanOutput},
	}
}

// engine is a latency of llmsim's engine, alone and without a clock, under Poisson arrivals at a share of its capacity.
func engine(load float64, of metric) func(n int, seed uint64) []float64 {
	return func(n int, seed uint64) []float64 {
		const skip = 1000
		config := engineConfig()
		schedule := loadgen.NewPoisson(load*config.Capacity(prompt, meanOutput), int64(seed))
		records := recordsOf(config, schedule, seed, func(_ time.Duration, i int) bool { return i < n+skip })
		values := make([]float64, n)
		for i := range values {
			values[i] = of(&records[i+skip])
		}
		return values
	}
}

// recordsOf sends requests at the times of a schedule to an engine, as long as go on says so of their offset and index,
// and returns their records as a client without fault would make them, in ns since the start.
func recordsOf(config llmsim.Config, schedule loadgen.Schedule, seed uint64,
	goOn func(at time.Duration, i int) bool) []loadgen.Record {
	sim, err := llmsim.NewEngine(config)
	if err != nil {
		panic(err) // the configuration stands above
	}
	type request struct {
		llmsim.Sequence
		record loadgen.Record
	}
	var all []*request
	due, more := schedule.At(0)
	more = more && goOn(due, 0)
	for now, done := int64(0), 0; more || done < len(all); {
		if !sim.Busy() {
			now = max(now, int64(due)+1)
		}
		for more && int64(due) < now {
			output, _ := config.Output.Draw(seed, uint64(len(all)), maxOutput)
			at := int64(due) + 1 // 0 stands for "never" in a record
			r := &request{record: loadgen.Record{
				Scheduled: at, Started: at, Sent: at, PromptTokens: prompt, OutputTokens: int32(max(output, 2)),
				AskedPrompt: prompt, AskedOutput: maxOutput, Status: loadgen.Incomplete,
			}}
			r.Prompt, r.Output, r.Tag = prompt, max(output, 2), r
			if err := sim.Submit(&r.Sequence); err != nil {
				panic(err)
			}
			all = append(all, r)
			if due, more = schedule.At(len(all)); more {
				more = goOn(due, len(all))
			}
		}
		step := sim.Step()
		now += int64(step.Duration)
		for _, s := range step.Tokens {
			r := &s.Tag.(*request).record
			if r.FirstToken == 0 {
				r.FirstToken = now
			}
			r.LastToken = now
			r.TokenEvents++
		}
		for _, s := range step.Finished {
			r := &s.Tag.(*request).record
			r.End, r.Status = now, loadgen.Completed
			done++
		}
	}
	records := make([]loadgen.Record, len(all))
	for i, r := range all {
		records[i] = r.record
	}
	return records
}

// sources are what the study looks at: from independent values to queues in which a burst is felt by hundreds.
func sources() []source {
	return []source{
		independent("independent", autoregressive(0, 0.5)),
		independent("AR(1) 0.5", autoregressive(0.5, 0.5)),
		independent("AR(1) 0.8", autoregressive(0.8, 0.5)),
		independent("AR(1) 0.9", autoregressive(0.9, 0.5)),
		independent("M/G/1 at 0.5", queue(0.5)),
		independent("M/G/1 at 0.7", queue(0.7)),
		independent("M/G/1 at 0.8", queue(0.8)),
		sameArrivals(0.5),
		sameArrivals(0.7),
		independent("engine, TTFT at 0.5", engine(0.5, ttft)),
		independent("engine, TTFT at 0.7", engine(0.7, ttft)),
		independent("engine, TPOT at 0.5", engine(0.5, tpot)),
		independent("engine, TPOT at 0.7", engine(0.7, tpot)),
	}
}
