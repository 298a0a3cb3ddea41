package loadgen

import (
	"sync/atomic"
	"time"
)

// clock turns instants into int64 ns since the origin of a stage, by the monotonic clock. It also holds the distance of
// the wall clock, by which the kernel stamps packets.
type clock struct {
	origin time.Time
	// wall − monotonic, ns: a kernel stamp (CLOCK_REALTIME) minus wall is on the scale of now.
	wall atomic.Int64
}

// newClock has its origin an instant ago, so that every stamp is greater than 0.
func newClock() *clock {
	c := &clock{origin: time.Now().Add(-time.Microsecond)}
	c.calibrate()
	return c
}

func (c *clock) now() int64 { return int64(time.Since(c.origin)) }

// calibrate measures the distance of the wall clock. The two clocks cannot be read at one instant, so the closest of a
// few brackets is taken; its width (about 0.1 µs) bounds the error. NTP slews both clocks alike, so the distance changes only
// where the wall clock is set; a stage calibrates again ten times a second.
func (c *clock) calibrate() {
	best, wall := int64(1<<62), int64(0)
	for range 5 {
		before := c.now()
		at := time.Now().UnixNano()
		after := c.now()
		if width := after - before; width < best {
			best, wall = width, at-(before+width/2)
		}
	}
	c.wall.Store(wall)
}

// fromWall converts a kernel stamp, given in ns since the epoch.
func (c *clock) fromWall(ns int64) int64 { return ns - c.wall.Load() }

// StampSource says where the times of received bytes come from.
type StampSource string

// The sources.
const (
	KernelStamps StampSource = "kernel (SO_TIMESTAMPING, software receive)"
	UserStamps   StampSource = "user space, right after the read"
)
