//go:build unix

package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// lock marks a journal as one that is being written, for as long as its file is open; false where another has done so.
// A file system that knows no locks takes it without effect.
func lock(f *os.File) bool {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != unix.EWOULDBLOCK
}
