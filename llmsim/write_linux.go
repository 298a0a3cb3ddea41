package llmsim

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// writeNonblocking does one send on a socket. A full socket buffer is no error: n is then less than len(b).
//
// The system call is raw because it never blocks: the scheduler need not be told, and cannot take the processor away
// from the loop in the midst of a burst of tokens, which costs more than the call itself.
func writeNonblocking(fd uintptr, b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		r, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, errno
		}
	}
}
