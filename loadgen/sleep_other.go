//go:build !linux

package loadgen

import "time"

// preciseSleeper falls back to Go's timers.
type preciseSleeper struct{ c *clock }

func newPreciseSleeper(c *clock) (*preciseSleeper, error) { return &preciseSleeper{c: c}, nil }

func (s *preciseSleeper) until(t int64) { time.Sleep(time.Duration(t - s.c.now())) }

func (s *preciseSleeper) release() {}

// PacerKind says how the pacer of an open-loop stage sleeps, for the report.
const PacerKind = "Go timers"
