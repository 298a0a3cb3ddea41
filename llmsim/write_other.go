//go:build !linux

package llmsim

import (
	"errors"

	"golang.org/x/sys/unix"
)

// writeNonblocking does one write on a socket. A full socket buffer is no error: n is then less than len(b).
func writeNonblocking(fd uintptr, b []byte) (n int, err error) {
	for {
		n, err = unix.Write(int(fd), b) // Go's sockets do not block
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		default:
			return max(n, 0), err
		}
	}
}
