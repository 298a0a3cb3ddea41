//go:build !linux

package loadgen

func files() Headroom    { return Headroom{} }
func ports(int) Headroom { return Headroom{} }

// cgroupCPU is known on Linux only.
type cgroupCPU struct {
	limit              float64
	periods, throttled int
}

func readCgroup() cgroupCPU { return cgroupCPU{} }
