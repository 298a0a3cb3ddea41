package llmsim

import (
	"fmt"
	"time"
)

// arrival is one request of a replay.
type arrival struct {
	at     time.Duration // since the start; no earlier than the arrival before it
	prompt int           // tokens, template included
	output int           // tokens
}

// replay feeds arrivals to the engine of cfg on the engine's own clock, without a server, a client or any waiting. next
// gives the i-th arrival, or false when there are no more; done is told of each finished request when its first and
// last token came out, since the start. It is the oracle that the server in virtual time is compared with.
func replay(cfg Config, next func(i int) (arrival, bool),
	done func(i int, a arrival, first, last time.Duration)) error {
	e, err := NewEngine(cfg)
	if err != nil {
		return err
	}
	speed, err := NewSpeed(cfg.Speed, cfg.Seed)
	if err != nil {
		return err
	}
	type pending struct {
		seq   Sequence
		index int
		arrival
		first time.Duration
	}
	var spare []*pending
	index := 0
	a, more := next(0)
	for clock := time.Duration(0); more || e.Busy(); {
		if !e.Busy() {
			clock = max(clock, a.at)
		}
		for more && a.at <= clock {
			p := new(pending)
			if n := len(spare); n > 0 {
				p, spare = spare[n-1], spare[:n-1]
			}
			*p = pending{index: index, arrival: a, seq: Sequence{Prompt: a.prompt, Output: a.output, Tag: p}}
			if err := e.Submit(&p.seq); err != nil {
				return fmt.Errorf("request %d: %w", index, err)
			}
			index++
			a, more = next(index)
		}
		step := e.Step()
		clock += speed.Stretch(step.Duration, clock)
		for _, s := range step.Tokens {
			if s.Generated == 1 {
				s.Tag.(*pending).first = clock
			}
		}
		for _, s := range step.Finished {
			p := s.Tag.(*pending)
			done(p.index, p.arrival, p.first, clock)
			spare = append(spare, p)
		}
	}
	return nil
}
