package llmsim

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// served runs the engine alone with a queue that never empties and gives the rate at which it finishes requests, per
// second of its own time. Requests of equal length run in cohorts, so it measures over whole rounds of all slots.
func served(t *testing.T, cfg Config, prompt int, output func(i int) int, rounds int) (rate float64, preemptions int) {
	t.Helper()
	e, err := NewEngine(cfg)
	if err != nil {
		t.Fatal(err)
	}
	index := 0
	submit := func(s *Sequence) {
		s.Prompt, s.Output = prompt, output(index)
		index++
		if err := e.Submit(s); err != nil {
			t.Fatal(err)
		}
	}
	slots := e.maxSeqs
	for range slots + 8 {
		submit(new(Sequence))
	}
	warmup, requests := 4*slots, rounds*slots
	var clock, start time.Duration
	done := 0
	for done < warmup+requests {
		step := e.Step()
		if step.Duration <= 0 {
			t.Fatalf("a step with %d running and %d waiting cost nothing", e.Running(), e.Waiting())
		}
		clock += step.Duration
		for _, s := range step.Finished {
			if done++; done == warmup {
				start = clock
			}
			if done > warmup {
				preemptions += s.Preemptions
			}
			submit(s)
		}
	}
	return float64(done-warmup) / (clock - start).Seconds(), preemptions
}

func always(n int) func(int) int { return func(int) int { return n } }

func TestCapacityIsWhatTheEngineServes(t *testing.T) {
	type point struct {
		spec           string
		prompt, output int
		within         float64
	}
	var grid []point
	for _, preset := range []string{"l4-qwen2.5-0.5b", "fast", "wide", "few-sequences", "slow", "prefill-bound"} {
		for _, output := range []int{16, 128, 1024} {
			for _, prompt := range []int{32, 256, 2000} {
				within := 0.02
				if preset == "wide" && prompt+output > 2048 {
					within = 0.08 // 512 such sequences do not fit the KV cache, and they run in cohorts
				}
				grid = append(grid, point{preset, prompt, output, within})
			}
		}
	}
	for _, seqs := range []int{1, 4, 32, 512} {
		for _, output := range []int{1, 16, 128, 1024} {
			grid = append(grid, point{fmt.Sprintf("l4-qwen2.5-0.5b?max_num_seqs=%d", seqs), 264, output, 0.02})
		}
	}
	grid = append(grid,
		point{"l4-qwen2.5-0.5b?max_num_batched_tokens=64", 264, 128, 0.02},
		point{"slow?max_num_seqs=2", 8000, 64, 0.05},
		point{"small-kv", 264, 128, 0.05},
		point{"small-kv", 64, 256, 0.05},
		point{"small-kv", 1024, 64, 0.05},
		point{"small-kv?kv_cache_tokens=32768", 264, 512, 0.06},
	)
	for _, p := range grid {
		t.Run(fmt.Sprintf("%s/%d+%d", p.spec, p.prompt, p.output), func(t *testing.T) {
			t.Parallel()
			cfg, err := ParseSpec(p.spec)
			if err != nil {
				t.Fatal(err)
			}
			rounds := max(4, 1000/cfg.MaxNumSeqs)
			if p.within > 0.02 {
				rounds = max(16, rounds) // preemptions take a while to find their pattern
			}
			got, preemptions := served(t, cfg, p.prompt, always(p.output), rounds)
			want := cfg.Capacity(p.prompt, p.output)
			t.Logf("served %.3f, capacity %.3f: %+.2f %%, %.3f preemptions a request", got, want, 100*(want/got-1),
				float64(preemptions)/float64(rounds*cfg.MaxNumSeqs))
			if math.Abs(want/got-1) > p.within {
				t.Errorf("the engine serves %.3f req/s, Capacity says %.3f", got, want)
			}
		})
	}
}
