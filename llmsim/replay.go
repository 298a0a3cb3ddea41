package llmsim

import (
	"fmt"
	"time"
)

// Arrival is one request of a [Replay].
type Arrival struct {
	At     time.Duration // since the start; no earlier than the arrival before it
	Prompt int           // tokens, template included
	Output int           // tokens
}

// Replay feeds arrivals to the engine of cfg on the engine's own clock, with no server, client or waiting, and reports each
// request when it is finished: its index, its arrival, and when its first and last token came out, since the start. next
// gives the i-th arrival, or false when there are no more. What a [Server] of the same configuration does in virtual time is
// the same to the nanosecond. It stops at the first request that the KV cache can never hold, with an error that wraps
// [ErrTooLong].
func Replay(cfg Config, next func(i int) (Arrival, bool), done func(i int, a Arrival, first, last time.Duration)) error {
	cfg, err := cfg.normalized()
	if err != nil {
		return err
	}
	if cfg.Fixed {
		for i := 0; ; i++ {
			a, ok := next(i)
			if !ok {
				return nil
			}
			first := a.At + cfg.TTFT
			done(i, a, first, first+time.Duration(max(a.Output, 1)-1)*cfg.ITL)
		}
	}
	e, err := NewEngine(cfg)
	if err != nil {
		return err
	}
	type pending struct {
		seq   Sequence
		index int
		Arrival
		first time.Duration
	}
	var spare []*pending
	index := 0
	arrival, more := next(0)
	for clock := time.Duration(0); more || e.Busy(); {
		if !e.Busy() {
			clock = max(clock, arrival.At)
		}
		for more && arrival.At <= clock {
			p := new(pending)
			if n := len(spare); n > 0 {
				p, spare = spare[n-1], spare[:n-1]
			}
			*p = pending{index: index, Arrival: arrival, seq: Sequence{Prompt: arrival.Prompt, Output: arrival.Output, Tag: p}}
			if err := e.Submit(&p.seq); err != nil {
				return fmt.Errorf("request %d: %w", index, err)
			}
			index++
			arrival, more = next(index)
		}
		step := e.Step()
		clock += step.Duration
		for _, s := range step.Tokens {
			if s.Generated == 1 {
				s.Tag.(*pending).first = clock
			}
		}
		for _, s := range step.Finished {
			p := s.Tag.(*pending)
			done(p.index, p.Arrival, p.first, clock)
			spare = append(spare, p)
		}
	}
	return nil
}
