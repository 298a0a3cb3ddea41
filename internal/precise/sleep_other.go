//go:build !linux

package precise

import "time"

// Sleeper sleeps with Go's timers.
type Sleeper struct{ origin time.Time }

// SleepKind says how a Sleeper sleeps, for reports.
const SleepKind = "Go timers"

// NewSleeper counts from an origin.
func NewSleeper(origin time.Time) (*Sleeper, error) { return &Sleeper{origin}, nil }

// Lock does nothing here.
func (s *Sleeper) Lock() {}

// Unlock does nothing here.
func (s *Sleeper) Unlock() {}

// Until returns at a time, given in ns since the origin, and never before it.
func (s *Sleeper) Until(t int64) { time.Sleep(time.Duration(t) - time.Since(s.origin)) }
