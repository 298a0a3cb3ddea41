// Package precise is time as the kernel has it: a clock on which its receive stamps lie, a sleep that ends where it was
// asked to, and connections whose reads say when their bytes came. What the operating system does not offer is replaced
// by what Go offers, and the callers can say so.
package precise

import (
	"sync/atomic"
	"time"
)

// Clock turns instants into int64 ns since an origin, by the monotonic clock. It also holds the distance of the wall
// clock, by which the kernel stamps packets. It is safe for concurrent use.
type Clock struct {
	origin time.Time
	// wall − monotonic, ns: a kernel stamp (CLOCK_REALTIME) minus wall is on the scale of Now.
	wall atomic.Int64
}

// NewClock has its origin an instant ago, so that every stamp is greater than 0.
func NewClock() *Clock {
	c := &Clock{origin: time.Now().Add(-time.Microsecond)}
	c.Calibrate()
	return c
}

// Origin is the instant from which the clock counts.
func (c *Clock) Origin() time.Time { return c.origin }

// Now is the time since the origin, ns.
func (c *Clock) Now() int64 { return int64(time.Since(c.origin)) }

// Calibrate measures the distance of the wall clock. The two clocks cannot be read at one instant, so the closest of a
// few brackets is taken; its width (about 0.1 µs) bounds the error. NTP slews both clocks alike, so the distance
// changes only where the wall clock is set; whoever counts on it calibrates again now and then.
func (c *Clock) Calibrate() {
	best, wall := int64(1<<62), int64(0)
	for range 5 {
		before := c.Now()
		at := time.Now().UnixNano()
		after := c.Now()
		if width := after - before; width < best {
			best, wall = width, at-(before+width/2)
		}
	}
	c.wall.Store(wall)
}

// FromWall converts a time in ns since the epoch.
func (c *Clock) FromWall(ns int64) int64 { return ns - c.wall.Load() }

// doubtful is the age from which a kernel stamp is not believed: the wall clock was set since.
const doubtful = 10 * time.Second

// Received puts the kernel's stamp of a read on the clock; read is when the program had the bytes. ok is false where
// the wall clock was set in between: the stamp then lies after the read, or far before it.
func (c *Clock) Received(stamp, read int64) (at int64, ok bool) {
	at = c.FromWall(stamp)
	if at > read {
		if at > read+int64(time.Millisecond) {
			return read, false
		}
		at = read // the error between the two clocks
	}
	if at <= read-int64(doubtful) {
		return read, false
	}
	return at, true
}
