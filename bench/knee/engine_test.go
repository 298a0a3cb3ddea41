package knee

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
)

// engine is one engine of the grid, with the load and the objectives that it is searched with.
type engine struct {
	name       string
	config     llmsim.Config
	prompt     int     // tokens, the chat template's included
	longs      float64 // share of the requests that have long prompts …
	long       int     // … of so many tokens
	limit      int     // max_tokens of every request
	arrivals   loadgen.Kind
	objectives string
}

// moment is a moment in the life of a server, its engine idle.
type moment struct {
	seed  uint64        // the server's, of output lengths and speed
	time  time.Duration // since the server's start
	index uint64        // how many requests the server has had
}

// alone runs the engine without any client, from a moment on: requests reach it at the schedule's offsets and are
// recorded as a perfect client would record them, in ns since that moment. It returns the records of the first n
// arrivals, all completed.
func (e engine) alone(schedule loadgen.Schedule, n int, from moment) ([]loadgen.Record, error) {
	sim, err := llmsim.NewEngine(e.config)
	if err != nil {
		return nil, err
	}
	speed, err := llmsim.NewSpeed(e.config.Speed, from.seed)
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
			output, _ := e.config.Output.Draw(from.seed, from.index+uint64(next), e.limit)
			prompt := e.promptOf(from.seed, from.index+uint64(next))
			r := &records[next]
			*r = loadgen.Record{Scheduled: at, Started: at, Sent: at, PromptTokens: int32(prompt), OutputTokens: -1,
				AskedPrompt: int32(prompt), AskedOutput: int32(e.limit), Status: loadgen.Incomplete}
			s := &sequences[next]
			s.Prompt, s.Output, s.Tag = prompt, output, r
			if err := sim.Submit(s); err != nil {
				return nil, err
			}
			next++
		}
		step := sim.Step()
		now += int64(speed.Stretch(step.Duration, from.time+time.Duration(now)))
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

// promptOf is the length of a request's prompt, as Draw of its output's.
func (e engine) promptOf(seed, i uint64) int {
	if e.longs > 0 && rand.New(rand.NewPCG(seed^0x10e6, i)).Float64() < e.longs {
		return e.long
	}
	return e.prompt
}

// stage gives the records of a stage of this length at a rate, from a moment on, as a perfect client would make them if
// it waited for all responses: requests due within the length, all completed, in ns since the stage's start.
// slo.Snapshot cuts them off at its end. arrivals is the seed of the arrivals.
func (e engine) stage(rate float64, arrivals int64, length time.Duration, from moment) ([]loadgen.Record, error) {
	schedule := e.schedule(rate, arrivals)
	n := 0
	for offset, ok := schedule.At(0); ok && offset < length; offset, ok = schedule.At(n) {
		n++
	}
	return e.alone(schedule, n, from)
}

// schedule is the arrivals of a rate.
func (e engine) schedule(rate float64, seed int64) loadgen.Schedule {
	if e.arrivals == loadgen.ConstantGap {
		return loadgen.Constant{Rate: rate}
	}
	return loadgen.NewPoisson(rate, seed)
}

// capacity is the rate that the engine sustains, from its parameters and the mean output length.
func (e engine) capacity() float64 {
	sum, n := 0, 20_000
	for i := range n {
		tokens, _ := e.config.Output.Draw(1, uint64(i), e.limit)
		sum += tokens
	}
	mean := (1-e.longs)*float64(e.prompt) + e.longs*float64(e.long)
	return e.config.Capacity(int(mean), sum/n)
}

// unloaded is TTFT and gap of a request that has the engine to itself.
func (e engine) unloaded() (ttft, gap time.Duration) {
	c := e.config
	ttft = time.Duration((float64(c.Base) + float64(c.PerPrefillToken)*float64(e.prompt)) * c.TimeScale)
	gap = time.Duration(float64(c.Base+c.PerSequence) * c.TimeScale)
	return ttft, gap
}

// over is the engine for searches of a given length: a drift reaches its end with the search.
func (e engine) over(search time.Duration) engine {
	e.config.Speed.Drift.Horizon = search
	return e
}

// scaled is the engine at another capacity, in requests per second, by the time scale.
func (e engine) scaled(capacity float64) engine {
	e.config.TimeScale = 1
	e.config.TimeScale = e.capacity() / capacity
	return e
}

// shape is a kind of engine.
type shape struct {
	name     string
	config   llmsim.Config
	prompt   int
	capacity float64 // requests per second, by the time scale
	ttft     float64 // bound on p95, in unloaded TTFTs
	tpot     float64 // bound on p95, in unloaded gaps
}

var (
	// Prefill and decode cost alike, as the L4 preset; latency grows long before capacity.
	l4Like = shape{"l4-like", llmsim.Config{Base: 5430 * time.Microsecond, PerSequence: 200 * time.Microsecond,
		PerPrefillToken: 100 * time.Microsecond}, 64, 13, 6, 3}
	// Few slots: requests queue for them.
	fewSlots = shape{"few slots", llmsim.Config{Base: 10 * time.Millisecond, PerSequence: 500 * time.Microsecond,
		PerPrefillToken: 50 * time.Microsecond, MaxNumSeqs: 4}, 64, 0.5, 10, 3}
	// Fast decode, many slots, nothing but the step's base to share.
	manySlots = shape{"many slots", llmsim.Config{Base: 8 * time.Millisecond, PerSequence: 20 * time.Microsecond,
		PerPrefillToken: 20 * time.Microsecond, MaxNumSeqs: 64}, 64, 200, 4, 3}
	// A small token budget: prompts are prefilled in chunks and decoding shares the budget.
	smallBudget = shape{"small budget", llmsim.Config{Base: 6 * time.Millisecond, PerSequence: 100 * time.Microsecond,
		PerPrefillToken: 60 * time.Microsecond, MaxNumSeqs: 32, MaxNumBatchedTokens: 48}, 96, 5, 6, 3}
)

var (
	fixed       = llmsim.OutputLengths{Kind: llmsim.LengthFixed, Mean: 24}
	exponential = llmsim.OutputLengths{Kind: llmsim.LengthExponential, Mean: 24}
	heavyTail   = llmsim.OutputLengths{Kind: llmsim.LengthPareto, Mean: 24, Shape: 1.5}
	lognormal   = llmsim.OutputLengths{Kind: llmsim.LengthLognormal, Mean: 24, Shape: 1}
)

// engine is the shape with these output lengths and arrivals, at the shape's capacity.
func (s shape) engine(output llmsim.OutputLengths, arrivals loadgen.Kind) engine {
	e := engine{config: s.config, prompt: s.prompt, limit: 512, arrivals: arrivals}
	e.config.Output = output
	e = e.scaled(s.capacity)
	e.objectives = e.ttft(s.ttft) + " " + e.tpot(s.tpot)
	return e
}

// at is the shape at another capacity.
func (s shape) at(capacity float64) shape {
	s.capacity = capacity
	return s
}

// ttft is an objective: a bound on the p95 of TTFT, in unloaded TTFTs.
func (e engine) ttft(times float64) string {
	ttft, _ := e.unloaded()
	return fmt.Sprintf("ttft:p95<%dus", time.Duration(times*float64(ttft)).Microseconds())
}

// tpot is an objective: a bound on the p95 of TPOT, in unloaded gaps.
func (e engine) tpot(times float64) string {
	_, gap := e.unloaded()
	return fmt.Sprintf("tpot:p95<%dus", time.Duration(times*float64(gap)).Microseconds())
}

// grid is the engines of the study: four shapes, three distributions of output lengths, two arrival processes, at
// capacities from 0.5 to 200 requests per second.
func grid() []engine {
	lengths := []struct {
		name   string
		output llmsim.OutputLengths
	}{{"fixed", fixed}, {"exponential", exponential}, {"heavy tail", heavyTail}}
	var all []engine
	for _, s := range []shape{l4Like, fewSlots, manySlots, smallBudget} {
		for _, l := range lengths {
			for _, arrivals := range []loadgen.Kind{loadgen.ConstantGap, loadgen.PoissonGaps} {
				e := s.engine(l.output, arrivals)
				e.name = fmt.Sprintf("%s, %s, %s", s.name, l.name, arrivals)
				all = append(all, e)
			}
		}
	}
	return all
}

// more is the engines beyond the grid: those whose speed changes, further output lengths, objectives at other
// percentiles. All have Poisson arrivals.
func more() []engine {
	var list []engine
	add := func(name string, e engine, change func(e *engine)) {
		e.name = name
		change(&e)
		list = append(list, e)
	}
	spells := llmsim.Spells{Every: 20 * time.Second, Min: 2 * time.Second, Max: 5 * time.Second, Speed: 0.5}
	many := manySlots.at(100)
	plain := many.engine(exponential, loadgen.PoissonGaps)

	// A seventh of the time is slow, more than the objectives let miss: what must be met is met in spells.
	add("many slots, fixed, spells", many.engine(fixed, loadgen.PoissonGaps), func(e *engine) {
		e.config.Speed.Spells = spells
		e.objectives = e.ttft(20)
	})
	add("l4-like, fixed, spells", l4Like.engine(fixed, loadgen.PoissonGaps), func(e *engine) {
		e.config.Speed.Spells = spells
		e.objectives = e.ttft(10) + " " + e.tpot(3.5)
	})
	add("many slots, exponential, drift", plain, func(e *engine) {
		e.config.Speed.Drift = llmsim.Drift{Change: -0.1, Horizon: 6 * time.Minute}
	})
	add("many slots, exponential, wander", plain, func(e *engine) {
		e.config.Speed.Wander = llmsim.Wander{SD: 0.05, Time: time.Minute}
	})
	add("many slots, exponential, two modes", plain, func(e *engine) {
		e.config.Speed.Modes = llmsim.Modes{Speed: 0.7, Dwell: 15 * time.Second}
	})
	add("l4-like, lognormal", l4Like.engine(lognormal, loadgen.PoissonGaps), func(*engine) {})
	add("many slots, lognormal", many.engine(lognormal, loadgen.PoissonGaps), func(*engine) {})
	for _, p := range []string{"p90", "p99"} {
		add("many slots, exponential, ttft "+p, plain, func(e *engine) {
			e.objectives = strings.Replace(e.ttft(many.ttft), "p95", p, 1)
		})
	}
	add("few slots, exponential, e2e p99", fewSlots.at(20).engine(exponential, loadgen.PoissonGaps), func(e *engine) {
		// 1 % of the outputs are longer than ln 100 times the mean.
		ttft, gap := e.unloaded()
		longest := ttft + time.Duration(math.Log(100)*e.config.Output.Mean*float64(gap))
		e.objectives = fmt.Sprintf("e2e:p99<%dus", (longest * 3 / 2).Microseconds())
	})
	// Of some requests the prompt alone takes longer than the bound: they miss it at any rate.
	for _, share := range []float64{0.02, 0.035} {
		add(fmt.Sprintf("many slots, exponential, %.2g %% long prompts", 100*share), plain, func(e *engine) {
			e.longs, e.long = share, 2000
			*e = e.scaled(100)
			e.objectives = e.ttft(many.ttft)
		})
	}
	// An engine that nobody tuned the search with.
	list = append(list, engine{
		name: "sixteen slots, unknown",
		config: llmsim.Config{Base: 5 * time.Millisecond, PerSequence: 200 * time.Microsecond,
			PerPrefillToken: 40 * time.Microsecond, MaxNumSeqs: 16, TimeScale: 1,
			Output: llmsim.OutputLengths{Kind: llmsim.LengthFixed, Mean: 16}},
		prompt: 64, limit: 512, arrivals: loadgen.PoissonGaps, objectives: "ttft:p95<250ms",
	})
	return list
}

// all is every engine.
func all() []engine { return append(grid(), more()...) }

// shuffled gives seeds that share nothing with the seeds of another use.
func shuffled(use, i int) int64 {
	return int64(rand.New(rand.NewPCG(uint64(use), uint64(i))).Int64N(1 << 40))
}
