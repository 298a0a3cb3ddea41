package loadgen

import (
	"errors"
	"syscall"
)

// Headroom is how much of something there is, and how much of it was left at the end of a stage. The zero value: not
// known.
type Headroom struct {
	Limit, Left int
}

// localShortage is whether an error says that this machine, not the server, had no room for another connection: no file
// descriptor, no local port, no memory for sockets.
func localShortage(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
