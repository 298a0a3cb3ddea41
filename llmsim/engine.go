package llmsim

import (
	"errors"
	"fmt"
	"time"
)

// ErrTooLong is wrapped by [Engine.Submit] for a sequence that the KV cache could never hold, even alone.
var ErrTooLong = errors.New("sequence does not fit the KV cache")

// Sequence is one request inside an [Engine]. The caller fills Prompt, Output, Cached and Tag, submits it, and must not
// change it until the engine reports it finished or has aborted it; afterwards it may be submitted again, so that a
// long study allocates nothing.
type Sequence struct {
	Prompt int // prompt tokens; less than 1 counts as 1
	Output int // output tokens after which the sequence is finished; less than 1 counts as 1
	Cached int // leading prompt tokens found in a prefix cache: they cost no prefill. At most Prompt-1 are used.
	Tag    any // the caller's own; the engine does not look at it

	Generated   int // output tokens so far
	Preemptions int // times the sequence lost its KV blocks and had to be recomputed

	computed int // tokens whose KV entries exist
	prefill  int // tokens to compute before the next output token: the prompt, once preempted also the output so far
	blocks   int // KV blocks held
	state    sequenceState
}

type sequenceState uint8

const (
	stateNew sequenceState = iota
	stateWaiting
	stateRunning
	stateDone
)

// Step is what one engine step did. Its slices belong to the engine and are valid until the next call of [Engine.Step].
type Step struct {
	Duration time.Duration // what the step costs, at speed 1
	Decoding int           // sequences that decoded one token
	Prefill  int           // prompt tokens prefilled, recomputation after preemption included
	// Tokens lists the sequences that have one more output token at the end of the step, in scheduling order.
	Tokens []*Sequence
	// Finished lists those of Tokens whose token was their last. They hold neither a slot nor KV blocks any more.
	Finished []*Sequence
	// Preempted lists the sequences that lost their KV blocks when the step began.
	Preempted []*Sequence
}

// Engine is a continuous-batching scheduler as a pure step machine: [Engine.Submit] adds a sequence, [Engine.Step] does
// one step and says what it cost. It follows vLLM's V1 scheduler (vllm/v1/core/sched/scheduler.py, 0.23.0, policy
// FCFS):
//
//   - Running sequences are served first, in the order of their admission: one token for a decoding sequence, as much
//     of its prompt as the step's token budget allows for one still in prefill (chunked prefill).
//   - Then waiting sequences are admitted first come, first served, while a slot, budget and KV blocks for the whole
//     prompt are free. The head of the queue blocks those behind it. Nobody is admitted in a step that preempted.
//   - When a running sequence needs a KV block and none is free, the sequence admitted last is preempted: it loses its
//     blocks, goes back to the head of the queue, and later prefills its prompt and its output so far again.
//   - The first output token comes out of the step in which the prefill completes.
//
// A step costs Base + PerSequence·(decoding sequences) + PerPrefillToken·(tokens prefilled), at speed 1. An Engine is
// not safe for concurrent use. Make one with [NewEngine].
type Engine struct {
	base, perSequence, perPrefill float64 // ns
	maxSeqs, maxTokens            int
	blockSize, totalBlocks        int

	running []*Sequence
	waiting ring[*Sequence] // first come, first served; the preempted go back to the front
	free    int             // KV blocks

	step Step
}

// NewEngine makes an idle engine from the engine's part of cfg: the costs (times TimeScale), MaxNumSeqs,
// MaxNumBatchedTokens, KVCacheTokens and BlockSize.
func NewEngine(cfg Config) (*Engine, error) {
	cfg, err := cfg.normalized()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		base:        float64(cfg.Base),
		perSequence: float64(cfg.PerSequence),
		perPrefill:  float64(cfg.PerPrefillToken),
		maxSeqs:     cfg.MaxNumSeqs,
		maxTokens:   cfg.MaxNumBatchedTokens,
		blockSize:   cfg.BlockSize,
		totalBlocks: cfg.KVCacheTokens / cfg.BlockSize,
	}
	e.free = e.totalBlocks
	return e, nil
}

// Submit puts a sequence at the end of the waiting queue. The error wraps [ErrTooLong] when the KV cache cannot hold
// the sequence even alone.
func (e *Engine) Submit(s *Sequence) error {
	s.Prompt = max(s.Prompt, 1)
	s.Output = max(s.Output, 1)
	// The last output token is never fed back, so it needs no KV entry.
	if need := e.blocksFor(s.Prompt + s.Output - 1); need > e.totalBlocks {
		return fmt.Errorf("%w: %d prompt and %d output tokens need %d blocks of %d tokens, the cache has %d: "+
			"raise kv_cache_tokens or ask for fewer tokens",
			ErrTooLong, s.Prompt, s.Output, need, e.blockSize, e.totalBlocks)
	}
	s.Generated, s.Preemptions, s.computed, s.blocks = 0, 0, 0, 0
	s.prefill = s.Prompt
	s.state = stateWaiting
	e.waiting.pushBack(s)
	return nil
}

// Abort takes a sequence out of the engine, wherever it is, and frees what it held. It must not be called between
// reading a [Step] and the end of its use. It reports whether the sequence was in the engine.
func (e *Engine) Abort(s *Sequence) bool {
	switch s.state {
	case stateWaiting:
		e.waiting.remove(s)
	case stateRunning:
		for i, r := range e.running {
			if r == s {
				e.running = append(e.running[:i], e.running[i+1:]...)
				break
			}
		}
		e.free += s.blocks
		s.blocks = 0
	default:
		return false
	}
	s.state = stateDone
	return true
}

// Busy reports whether any sequence is running or waiting.
func (e *Engine) Busy() bool { return len(e.running) > 0 || e.waiting.len() > 0 }

// Running is the number of sequences that hold a slot.
func (e *Engine) Running() int { return len(e.running) }

// Waiting is the length of the waiting queue.
func (e *Engine) Waiting() int { return e.waiting.len() }

// KVUsage is the share of KV blocks in use, from 0 to 1.
func (e *Engine) KVUsage() float64 {
	return float64(e.totalBlocks-e.free) / float64(e.totalBlocks)
}

// Step does one step: it schedules, computes, and hands out tokens. With nothing to do it returns a zero Step. The
// step's tokens exist at its end: a caller on a clock shows them Duration after the step began.
func (e *Engine) Step() *Step {
	st := &e.step
	st.Decoding, st.Prefill = 0, 0
	st.Tokens, st.Finished, st.Preempted = st.Tokens[:0], st.Finished[:0], st.Preempted[:0]

	budget := e.scheduleRunning(e.maxTokens)
	if len(st.Preempted) == 0 {
		e.admit(budget)
	}
	e.finish()

	st.Duration = 0
	if st.Decoding > 0 || st.Prefill > 0 {
		ns := e.base + e.perSequence*float64(st.Decoding) + e.perPrefill*float64(st.Prefill)
		st.Duration = time.Duration(ns + 0.5)
	}
	return st
}

// scheduleRunning serves the sequences that hold a slot and returns the budget they left.
func (e *Engine) scheduleRunning(budget int) int {
	for i := 0; i < len(e.running) && budget > 0; i++ {
		s := e.running[i]
		n := s.prefill - s.computed
		if n > 1 {
			n = min(n, budget)
		}
		if !e.allocate(s, n) {
			return budget // s itself was the last one and is preempted now
		}
		budget -= n
		e.compute(s, n)
	}
	return budget
}

// admit moves sequences from the queue to slots while slots, budget and KV blocks last.
func (e *Engine) admit(budget int) {
	for budget > 0 && e.waiting.len() > 0 && len(e.running) < e.maxSeqs {
		s := e.waiting.front()
		// vLLM admits only what can hold its whole prompt, though the first step may compute but a part of it
		// (scheduler_reserve_full_isl). The blocks are taken chunk by chunk, so the promise is not kept for long.
		if e.blocksFor(s.prefill) > e.free {
			return
		}
		e.waiting.popFront()
		if s.Cached > 0 && s.Preemptions == 0 {
			s.computed = min(s.Cached, s.prefill-1)
		}
		s.state = stateRunning
		e.running = append(e.running, s)
		n := min(s.prefill-s.computed, budget)
		e.grow(s, n)
		budget -= n
		e.compute(s, n)
	}
}

// allocate gets s the KV blocks for n more tokens, preempting the last of the running as often as needed. It reports
// false when s itself had to go.
func (e *Engine) allocate(s *Sequence, n int) bool {
	for !e.grow(s, n) {
		last := e.running[len(e.running)-1]
		e.running = e.running[:len(e.running)-1]
		e.free += last.blocks
		last.blocks = 0
		last.computed = 0
		last.prefill = last.Prompt + last.Generated
		last.Preemptions++
		last.state = stateWaiting
		e.waiting.pushFront(last)
		e.step.Preempted = append(e.step.Preempted, last)
		if last == s {
			return false
		}
	}
	return true
}

// grow takes the blocks that s needs for n more tokens and reports whether there were enough.
func (e *Engine) grow(s *Sequence, n int) bool {
	more := e.blocksFor(s.computed+n) - s.blocks
	if more <= 0 {
		return true
	}
	if more > e.free {
		return false
	}
	e.free -= more
	s.blocks += more
	return true
}

// compute accounts for n tokens of s in this step. When all that precedes the next output token is computed, that token
// is out, and it is the one token to compute in the next step.
func (e *Engine) compute(s *Sequence, n int) {
	if s.Generated > 0 && s.prefill-s.computed == 1 {
		e.step.Decoding++
	} else {
		e.step.Prefill += n
	}
	s.computed += n
	if s.computed < s.prefill {
		return
	}
	s.Generated++
	s.prefill++
	e.step.Tokens = append(e.step.Tokens, s)
	if s.Generated >= s.Output {
		s.state = stateDone
		e.step.Finished = append(e.step.Finished, s)
	}
}

// finish takes the finished sequences from their slots.
func (e *Engine) finish() {
	if len(e.step.Finished) == 0 {
		return
	}
	kept := e.running[:0]
	for _, s := range e.running {
		if s.state != stateDone {
			kept = append(kept, s)
			continue
		}
		e.free += s.blocks
		s.blocks = 0
	}
	clear(e.running[len(kept):])
	e.running = kept
}

func (e *Engine) blocksFor(tokens int) int { return (tokens + e.blockSize - 1) / e.blockSize }
