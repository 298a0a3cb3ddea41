//go:build !linux

package loadgen

import "time"

func files() Headroom    { return Headroom{} }
func ports(int) Headroom { return Headroom{} }

// cgroupCPU is known on Linux only.
type cgroupCPU struct {
	limit              float64
	periods, throttled int
	stopped            time.Duration
}

func readCgroup() cgroupCPU { return cgroupCPU{} }
