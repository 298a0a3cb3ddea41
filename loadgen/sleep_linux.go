package loadgen

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// preciseSleeper wakes within some tens of microseconds of an absolute time. Go's own timers wake through epoll_wait,
// whose time-out counts whole milliseconds (runtime/netpoll_epoll.go), and so up to 1 ms late.
//
// It sleeps on its own thread with clock_nanosleep(TIMER_ABSTIME), the thread's timer slack lowered from 50 µs to 1 ns.
type preciseSleeper struct {
	c *clock
	// monotonic is CLOCK_MONOTONIC at the clock's origin, ns.
	monotonic int64
}

// newPreciseSleeper locks the calling goroutine to its thread until release is called.
func newPreciseSleeper(c *clock) (*preciseSleeper, error) {
	runtime.LockOSThread()
	var ts unix.Timespec
	best, origin := int64(1<<62), int64(0)
	for range 5 {
		before := c.now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			runtime.UnlockOSThread()
			return nil, err
		}
		if width := c.now() - before; width < best {
			best, origin = width, ts.Nano()-(before+width/2)
		}
	}
	// Without the lower slack wakes are some 50 µs later, which the lateness shows; no reason to fail.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return &preciseSleeper{c: c, monotonic: origin}, nil
}

// until returns at stage time t (ns since the origin), never before.
func (s *preciseSleeper) until(t int64) {
	ts := unix.NsecToTimespec(s.monotonic + t)
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
		if err != unix.EINTR {
			break
		}
	}
	if d := t - s.c.now(); d > 0 {
		time.Sleep(time.Duration(d))
	}
}

func (s *preciseSleeper) release() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	runtime.UnlockOSThread()
}

// PacerKind says how the pacer of an open-loop stage sleeps, for the report.
const PacerKind = "own thread, clock_nanosleep(TIMER_ABSTIME), timer slack 1 ns"
