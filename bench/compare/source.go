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

// metric is a latency of a request of the simulated engine.
type metric func(arrived, first, last time.Duration, tokens int) float64

func ttft(arrived, first, _ time.Duration, _ int) float64 { return float64(first - arrived) }

func tpot(_, first, last time.Duration, tokens int) float64 {
	return float64(last-first) / float64(tokens-1)
}

// engine is a latency of llmsim's engine, alone and without a clock, under Poisson arrivals at a share of its capacity.
func engine(load float64, of metric) func(n int, seed uint64) []float64 {
	return func(n int, seed uint64) []float64 {
		const skip = 1000
		config := llmsim.Config{
			Base: 5430 * time.Microsecond, PerSequence: 200 * time.Microsecond, PerPrefillToken: 100 * time.Microsecond,
			Output: llmsim.OutputLengths{Kind: llmsim.LengthExponential, Mean: 24},
		}
		const prompt, limit = 64, 512
		rate := load * config.Capacity(prompt, 24)
		return run(config, loadgen.NewPoisson(rate, int64(seed)), seed, prompt, limit, n+skip, of)[skip:]
	}
}

// run sends n requests at the times of a schedule to an engine and returns a latency of each.
func run(config llmsim.Config, schedule loadgen.Schedule, seed uint64, prompt, limit, n int, of metric) []float64 {
	sim, err := llmsim.NewEngine(config)
	if err != nil {
		panic(err) // the configurations stand above
	}
	type request struct {
		llmsim.Sequence
		index          int
		arrived, first time.Duration
	}
	values := make([]float64, n)
	arrived, next, done := time.Duration(0), 0, 0
	advance := func() {
		arrived = math.MaxInt64
		if next < n {
			arrived, _ = schedule.At(next)
		}
	}
	advance()
	for now := time.Duration(0); done < n; {
		if !sim.Busy() {
			now = max(now, arrived)
		}
		for arrived <= now && next < n {
			output, _ := config.Output.Draw(seed, uint64(next), limit)
			r := &request{index: next, arrived: arrived}
			r.Prompt, r.Output, r.Tag = prompt, max(output, 2), r
			if err := sim.Submit(&r.Sequence); err != nil {
				panic(err)
			}
			next++
			advance()
		}
		step := sim.Step()
		now += step.Duration
		for _, s := range step.Tokens {
			if r := s.Tag.(*request); r.first == 0 {
				r.first = now
			}
		}
		for _, s := range step.Finished {
			r := s.Tag.(*request)
			values[r.index] = of(r.arrived, r.first, now, s.Output)
			done++
		}
	}
	return values
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
