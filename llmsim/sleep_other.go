//go:build !linux

package llmsim

import "time"

// preciseSleeper is as precise as Go's timers are on this system.
func preciseSleeper(origin time.Time) sleeper { return timerSleeper(origin) }
