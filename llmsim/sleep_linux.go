package llmsim

import (
	"time"

	"golang.org/x/sys/unix"
)

// preciseSleeper sleeps with an absolute clock_nanosleep, to within some ten microseconds. Go's own timers end up in
// epoll_wait, whose timeout is in whole milliseconds.
func preciseSleeper(origin time.Time) sleeper {
	// CLOCK_MONOTONIC is also what Go's time.Now reads, but Go does not show its value: pair the two once.
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return timerSleeper(origin)
	}
	zero := ts.Nano() - int64(time.Since(origin))
	return func(until int64) {
		if until <= int64(time.Since(origin)) {
			return
		}
		// The kernel may end a sleep late by the thread's timer slack, 50 µs by default. The goroutine may be on another
		// thread each time, so it is set each time; it costs a fifth of a microsecond.
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
		ts := unix.NsecToTimespec(zero + until)
		for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
		}
	}
}
