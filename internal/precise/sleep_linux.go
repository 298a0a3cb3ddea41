package precise

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Sleeper wakes within some tens of microseconds of an absolute time, by clock_nanosleep(TIMER_ABSTIME). Go's own
// timers wake through epoll_wait, whose time-out counts whole milliseconds (runtime/netpoll_epoll.go), and so up to 1
// ms late.
type Sleeper struct {
	origin time.Time
	zero   int64 // CLOCK_MONOTONIC at the origin, ns
	locked bool
}

// SleepKind says how a Sleeper on its own thread sleeps, for reports.
const SleepKind = "own thread, clock_nanosleep(TIMER_ABSTIME), timer slack 1 ns"

// NewSleeper counts from an origin. It fails where the kernel does not show its monotonic clock.
func NewSleeper(origin time.Time) (*Sleeper, error) {
	// CLOCK_MONOTONIC is what Go's time.Now reads too, but Go does not show its value: the closest pair of readings is
	// taken.
	var ts unix.Timespec
	best, zero := int64(1<<62), int64(0)
	for range 5 {
		before := int64(time.Since(origin))
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			return nil, err
		}
		if width := int64(time.Since(origin)) - before; width < best {
			best, zero = width, ts.Nano()-(before+width/2)
		}
	}
	return &Sleeper{origin: origin, zero: zero}, nil
}

// Lock ties the calling goroutine to its thread until Unlock, so that it need not wait for another one when it wakes.
func (s *Sleeper) Lock() {
	runtime.LockOSThread()
	lowerSlack()
	s.locked = true
}

// Unlock undoes Lock.
func (s *Sleeper) Unlock() {
	s.locked = false
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	runtime.UnlockOSThread()
}

// lowerSlack lets the kernel end this thread's sleeps no later than asked, by default up to 50 µs. Where that is
// refused, the sleeps end so much later: it is no reason to fail.
func lowerSlack() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// Until returns at a time, given in ns since the origin, and never before it.
func (s *Sleeper) Until(t int64) {
	if t <= int64(time.Since(s.origin)) {
		return
	}
	if !s.locked { // perhaps on another thread than the last time; this costs a fifth of a microsecond
		lowerSlack()
	}
	ts := unix.NsecToTimespec(s.zero + t)
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
	if d := t - int64(time.Since(s.origin)); d > 0 {
		time.Sleep(time.Duration(d))
	}
}
