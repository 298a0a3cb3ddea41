package llmsim

import (
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// sleeper waits until an instant of the server's clock, in nanoseconds since its origin.
type sleeper func(until int64)

// timerSleeper sleeps with Go's timers: rounded up to a millisecond in real time, exact in virtual time.
func timerSleeper(origin time.Time) sleeper {
	return func(until int64) { time.Sleep(time.Duration(until) - time.Since(origin)) }
}

// preciseSleeper sleeps to within some ten microseconds, where the system can.
func preciseSleeper(origin time.Time) sleeper {
	s, err := precise.NewSleeper(origin)
	if err != nil {
		return timerSleeper(origin)
	}
	return s.Until
}
