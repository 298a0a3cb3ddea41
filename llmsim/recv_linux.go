package llmsim

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stampListener notes for each of its connections when the kernel received what was read last. The engine counts from there:
// how long the server itself takes to wake up and parse a request is then not part of the time that a client is judged by.
type stampListener struct {
	net.Listener
	origin time.Time
}

// stamped wraps a TCP listener; any other is returned as it is.
func stamped(ln net.Listener, origin time.Time) net.Listener {
	if _, ok := ln.(*net.TCPListener); !ok {
		return ln
	}
	return stampListener{ln, origin}
}

func (l stampListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c, nil
	}
	on := false
	err = raw.Control(func(fd uintptr) {
		on = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1) == nil
	})
	if err != nil || !on {
		return c, nil // without the kernel's stamp the server takes its own
	}
	return &stampConn{TCPConn: tcp, raw: raw, origin: l.origin}, nil
}

// stampConn is a TCP connection that reads with recvmsg.
type stampConn struct {
	*net.TCPConn
	raw    syscall.RawConn
	origin time.Time
	last   atomic.Int64 // ns since origin; 0: not known
}

func (c *stampConn) received() int64   { return c.last.Load() }
func (c *stampConn) tcp() *net.TCPConn { return c.TCPConn }

// Read reads as net.TCPConn does.
func (c *stampConn) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var oob [64]byte
	oobn := 0
	waited := c.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, _, err = unix.Recvmsg(int(fd), b, oob[:], 0)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	switch {
	case waited != nil:
		return 0, waited // the deadline passed, or the connection was closed
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError("recvmsg", err)}
	case n == 0:
		return 0, io.EOF
	}
	c.last.Store(c.toOrigin(oob[:oobn]))
	return n, nil
}

// toOrigin finds the kernel's receive time among control messages and puts it on the server's clock.
func (c *stampConn) toOrigin(oob []byte) int64 {
	const header = int(unsafe.Sizeof(unix.Cmsghdr{}))
	for len(oob) >= header {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		size := int(h.Len)
		if size < header || size > len(oob) {
			return 0
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS_NEW && size >= header+16 {
			// struct __kernel_timespec: two 64-bit numbers in the machine's byte order, by CLOCK_REALTIME.
			sec := int64(binary.NativeEndian.Uint64(oob[header:]))
			nsec := int64(binary.NativeEndian.Uint64(oob[header+8:]))
			now := time.Now()
			// Two readings of the same clock a moment apart: a step of the wall clock between them is not to be expected, and
			// where it happens the age is not believed.
			age := now.UnixNano() - (sec*1_000_000_000 + nsec)
			if age < 0 || age > int64(10*time.Second) {
				return 0
			}
			return int64(now.Sub(c.origin)) - age
		}
		oob = oob[min(len(oob), (size+7)&^7):]
	}
	return 0
}
