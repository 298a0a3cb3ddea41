package main

import "golang.org/x/sys/unix"

// availableMemory is how much memory the machine has, in bytes, and by what; 0 if that is not known.
func availableMemory() (bytes float64, source string) {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, ""
	}
	return float64(n), "hw.memsize"
}
