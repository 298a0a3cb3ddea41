//go:build unix

package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// openFileLimit is how many files the process may have open. The Go runtime has already raised the soft limit to the
// hard one.
func openFileLimit() (int, bool) {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	return int(min(l.Cur, math.MaxInt32)), true
}
