package transport

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// acked counts the bytes that the peer's kernel has acknowledged since the connection was opened (tcpEStats
// AppHCThruOctetsAcked, RFC 4898). ok is false where that is not known.
func acked(c net.Conn) (n uint64, ok bool) {
	s, isSocket := c.(syscall.Conn)
	if !isSocket {
		return 0, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0, false
	}
	controlErr := raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Bytes_acked
		}
	})
	return n, err == nil && controlErr == nil
}
