package llmsim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// plain is an engine whose step costs can be read off: 1 s base, 1 ms a decoding sequence, 1 µs a prefilled token.
func plain(seqs, budget, kv int) Config {
	return Config{Base: time.Second, PerSequence: time.Millisecond, PerPrefillToken: time.Microsecond,
		MaxNumSeqs: seqs, MaxNumBatchedTokens: budget, KVCacheTokens: kv, BlockSize: 4}
}

// trace runs the engine until it is idle and writes each step as "decoding+prefill: tokens /finished !preempted",
// sequences by their Tag.
func trace(e *Engine) []string {
	names := func(mark string, list []*Sequence) string {
		var b strings.Builder
		for _, s := range list {
			fmt.Fprintf(&b, " %s%v", mark, s.Tag)
		}
		return b.String()
	}
	var lines []string
	for e.Busy() && len(lines) < 1000 {
		st := e.Step()
		want := time.Second + time.Duration(st.Decoding)*time.Millisecond + time.Duration(st.Prefill)*time.Microsecond
		line := fmt.Sprintf("%d+%d:%s%s%s", st.Decoding, st.Prefill, names("", st.Tokens), names("/", st.Finished),
			names("!", st.Preempted))
		if st.Duration != want {
			line += fmt.Sprintf(" COSTS %v NOT %v", st.Duration, want)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestSchedule(t *testing.T) {
	type seq struct {
		name           string
		prompt, output int
		cached         int
	}
	for _, c := range []struct {
		name string
		cfg  Config
		seqs []seq
		want []string
	}{
		{"the first token comes out of the step that completes the prefill", plain(4, 100, 1000),
			[]seq{{"a", 10, 3, 0}},
			[]string{"0+10: a", "1+0: a", "1+0: a /a"}},
		{"a prompt longer than the budget is prefilled in chunks", plain(4, 8, 1000), []seq{{"a", 20, 2, 0}},
			[]string{"0+8:", "0+8:", "0+4: a", "1+0: a /a"}},
		{"decoding goes before prefill", plain(4, 8, 1000), []seq{{"a", 4, 3, 0}, {"b", 10, 1, 0}},
			[]string{"0+8: a", "1+6: a b /b", "1+0: a /a"}},
		{"slots are given first come, first served", plain(2, 100, 1000),
			[]seq{{"a", 5, 2, 0}, {"b", 5, 1, 0}, {"c", 5, 1, 0}, {"d", 5, 1, 0}},
			[]string{"0+10: a b /b", "1+5: a c /a /c", "0+5: d /d"}},
		{"a cached prefix costs no prefill, but for its last token", plain(4, 100, 1000),
			[]seq{{"a", 10, 1, 8}, {"b", 10, 1, 10}},
			[]string{"0+3: a b /a /b"}},
		{"more sequences than budget: the later ones wait for their turn", plain(4, 2, 1000),
			[]seq{{"a", 1, 2, 0}, {"b", 1, 2, 0}, {"c", 1, 1, 0}},
			[]string{"0+2: a b", "2+0: a b /a /b", "0+1: c /c"}},
		{"the head of the queue blocks those behind it while its prompt finds no room", plain(4, 100, 16),
			[]seq{{"a", 8, 3, 0}, {"b", 12, 1, 0}, {"c", 1, 1, 0}},
			[]string{"0+8: a", "1+0: a", "1+0: a /a", "0+13: b c /b /c"}},
		// Six blocks of four: a and b hold two each at first, and take a third at their fifth output token. Then all
		// six are full.
		{"the last admitted is preempted, and recomputed with what it had said", plain(4, 100, 24),
			[]seq{{"a", 8, 9, 0}, {"b", 8, 9, 0}},
			[]string{"0+16: a b", "2+0: a b", "2+0: a b", "2+0: a b", "2+0: a b", "1+0: a !b", "1+0: a", "1+0: a",
				"1+0: a /a", "0+13: b", "1+0: b", "1+0: b", "1+0: b /b"}},
		{"zero lengths count as one", plain(4, 100, 24), []seq{{"a", 0, 0, 0}}, []string{"0+1: a /a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := NewEngine(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range c.seqs {
				seq := &Sequence{Prompt: s.prompt, Output: s.output, Cached: s.cached, Tag: s.name}
				if err := e.Submit(seq); err != nil {
					t.Fatal(err)
				}
			}
			got := trace(e)
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("steps:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
			if e.KVUsage() != 0 {
				t.Errorf("an idle engine holds %.0f %% of its KV cache", 100*e.KVUsage())
			}
		})
	}
}

func TestSubmitRefusesWhatNeverFits(t *testing.T) {
	e, err := NewEngine(plain(4, 100, 16))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Submit(&Sequence{Prompt: 10, Output: 7}); err != nil {
		t.Errorf("16 tokens of KV refused by a cache of 16: %v", err)
	}
	if err := e.Submit(&Sequence{Prompt: 10, Output: 8}); !errors.Is(err, ErrTooLong) {
		t.Errorf("17 tokens of KV taken by a cache of 16: %v", err)
	}
}

func TestIdleStepIsNothing(t *testing.T) {
	e, err := NewEngine(plain(4, 100, 16))
	if err != nil {
		t.Fatal(err)
	}
	if st := e.Step(); st.Duration != 0 || len(st.Tokens) != 0 {
		t.Errorf("an idle engine's step: %+v", st)
	}
}

// TestEngineKeepsItsLimits submits and aborts at random and looks at what must hold in every step.
func TestEngineKeepsItsLimits(t *testing.T) {
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 7))
		cfg := plain(1+rng.IntN(8), 1+rng.IntN(40), 64+rng.IntN(200))
		e, err := NewEngine(cfg)
		if err != nil {
			t.Fatal(err)
		}
		live := map[*Sequence]int{} // tokens seen
		finished, aborted, submitted := 0, 0, 0
		for step := 0; step < 3000 || e.Busy(); step++ {
			if step > 100_000 {
				t.Fatalf("seed %d: the engine does not come to an end: %d running, %d waiting", seed, e.Running(),
					e.Waiting())
			}
			if step < 3000 && rng.IntN(6) == 0 {
				s := &Sequence{Prompt: 1 + rng.IntN(40), Output: 1 + rng.IntN(20), Cached: rng.IntN(10)}
				if err := e.Submit(s); err != nil {
					t.Fatal(err)
				}
				live[s] = 0
				submitted++
			}
			if rng.IntN(50) == 0 {
				for s := range live {
					if !e.Abort(s) {
						t.Fatalf("seed %d: a live sequence was not there to abort", seed)
					}
					delete(live, s)
					aborted++
					break
				}
			}
			busy := e.Busy()
			st := e.Step()
			if busy && st.Decoding+st.Prefill == 0 {
				t.Fatalf("seed %d step %d: busy, and nothing done", seed, step)
			}
			if st.Decoding+st.Prefill > cfg.MaxNumBatchedTokens {
				t.Fatalf("seed %d: %d+%d tokens in a step, budget %d", seed, st.Decoding, st.Prefill,
					cfg.MaxNumBatchedTokens)
			}
			if e.Running() > cfg.MaxNumSeqs || e.KVUsage() < 0 || e.KVUsage() > 1 {
				t.Fatalf("seed %d: %d running of %d, KV %v", seed, e.Running(), cfg.MaxNumSeqs, e.KVUsage())
			}
			if got := e.Running() + e.Waiting() + len(st.Finished); got != len(live) {
				t.Fatalf("seed %d: %d sequences in the engine, %d live", seed, got, len(live))
			}
			for _, s := range st.Tokens {
				if live[s]++; live[s] != s.Generated {
					t.Fatalf("seed %d: %d tokens seen, Generated %d", seed, live[s], s.Generated)
				}
			}
			for _, s := range st.Finished {
				if live[s] != s.Output {
					t.Fatalf("seed %d: finished with %d tokens of %d", seed, live[s], s.Output)
				}
				delete(live, s)
				finished++
			}
		}
		if finished+aborted != submitted || len(live) != 0 || e.KVUsage() != 0 {
			t.Fatalf("seed %d: %d submitted, %d finished, %d aborted, %d left, KV %v", seed, submitted, finished,
				aborted, len(live), e.KVUsage())
		}
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	cfg, err := Preset("small-kv")
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEngine(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := e.Submit(&Sequence{Prompt: 264, Output: 128}); err != nil {
			t.Fatal(err)
		}
	}
	step := func() {
		for _, s := range e.Step().Finished {
			if err := e.Submit(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2000 {
		step()
	}
	if n := testing.AllocsPerRun(2000, step); n != 0 {
		t.Errorf("%v allocations a step", n)
	}
}

// latencies replays arrivals. It gives, per request, the time to the first token and the mean gap between tokens.
func latencies(
	t *testing.T, cfg Config, prompt, output int, arrivals []time.Duration,
) (ttft, itl []time.Duration, end time.Duration) {
	t.Helper()
	ttft, itl = make([]time.Duration, len(arrivals)), make([]time.Duration, len(arrivals))
	err := replay(cfg, func(i int) (arrival, bool) {
		if i == len(arrivals) {
			return arrival{}, false
		}
		return arrival{arrivals[i], prompt, output}, true
	}, func(i int, a arrival, first, last time.Duration) {
		ttft[i], itl[i] = first-a.at, (last-first)/time.Duration(output-1)
		end = max(end, last)
	})
	if err != nil {
		t.Fatal(err)
	}
	return ttft, itl, end
}

func median(v []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

// TestL4Preset holds the preset against what was recorded with vLLM 0.23.0 on an L4, 256 prompt and 128 output tokens.
func TestL4Preset(t *testing.T) {
	cfg, err := Preset("l4-qwen2.5-0.5b")
	if err != nil {
		t.Fatal(err)
	}
	const prompt, output = 256 + DefaultTemplateTokens, 128
	between := func(what string, got, low, high time.Duration) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("%s is %v, recorded between %v and %v", what, got, low, high)
		}
		t.Logf("%s: %v", what, got)
	}

	ttft, itl, end := latencies(t, cfg, prompt, output, make([]time.Duration, 1))
	between("synchronous: TTFT", ttft[0], 28*time.Millisecond, 36*time.Millisecond)
	between("synchronous: ITL", itl[0], 5400*time.Microsecond, 6*time.Millisecond)
	if rate := 1 / end.Seconds(); rate < 1.25 || rate > 1.4 {
		t.Errorf("synchronous: %.3f req/s, recorded 1.25 to 1.4", rate)
	}

	const streams = 512
	ttft, itl, end = latencies(t, cfg, prompt, output, make([]time.Duration, streams))
	between("512 at once: TTFT", median(ttft), 2*time.Second, 30*time.Second)
	between("512 at once: ITL", median(itl), 70*time.Millisecond, 125*time.Millisecond)
	if rate := streams / end.Seconds(); rate < 13.5 || rate > 18.5 {
		t.Errorf("512 at once: %.2f req/s, recorded 13.5 to 18.5", rate)
	}
	if rate := cfg.Capacity(prompt, output); rate < 13.5 || rate > 18.5 {
		t.Errorf("capacity %.2f req/s, recorded 13.5 to 18.5", rate)
	}

	arrivals := make([]time.Duration, 600)
	for i := range arrivals {
		arrivals[i] = time.Duration(i) * time.Second / 12
	}
	ttft, itl, _ = latencies(t, cfg, prompt, output, arrivals)
	between("constant 12 req/s: TTFT", median(ttft), 0, 100*time.Millisecond)
	between("constant 12 req/s: ITL", median(itl), 0, 20*time.Millisecond)
}

func BenchmarkStep(b *testing.B) {
	for _, seqs := range []int{1, 4, 32, 256} {
		b.Run(fmt.Sprint(seqs), func(b *testing.B) {
			cfg, err := ParseSpec(fmt.Sprintf("l4-qwen2.5-0.5b?max_num_seqs=%d", seqs))
			if err != nil {
				b.Fatal(err)
			}
			e, err := NewEngine(cfg)
			if err != nil {
				b.Fatal(err)
			}
			for range seqs + 4 {
				if err := e.Submit(&Sequence{Prompt: 264, Output: 128}); err != nil {
					b.Fatal(err)
				}
			}
			tokens := 0
			b.ReportAllocs()
			for b.Loop() {
				st := e.Step()
				tokens += len(st.Tokens)
				for _, s := range st.Finished {
					if err := e.Submit(s); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(tokens), "ns/token")
		})
	}
}

// BenchmarkReplay is a study's stage: requests at two thirds of the capacity.
func BenchmarkReplay(b *testing.B) {
	cfg, err := Preset("l4-qwen2.5-0.5b")
	if err != nil {
		b.Fatal(err)
	}
	requests := 0
	for b.Loop() {
		err := replay(cfg, func(i int) (arrival, bool) {
			return arrival{time.Duration(i) * time.Second / 12, 264, 128}, i < 20_000
		}, func(int, arrival, time.Duration, time.Duration) { requests++ })
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(requests)/b.Elapsed().Seconds(), "requests/s")
}
