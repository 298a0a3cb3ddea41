package llmsim

import "time"

// sleeper waits until an instant of the server's clock, in nanoseconds since its origin.
type sleeper func(until int64)

// timerSleeper sleeps with Go's timers: rounded up to a millisecond in real time, exact in virtual time.
func timerSleeper(origin time.Time) sleeper {
	return func(until int64) { time.Sleep(time.Duration(until) - time.Since(origin)) }
}
