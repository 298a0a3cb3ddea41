package precise

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn reads with recvmsg, so that the kernel's receive time comes with the bytes. It lies below TLS.
//
// The kernel gives the stamp of the last segment of which the read took the last byte: when a read takes several
// segments, the time at which the last of them arrived.
type Conn struct {
	net.Conn
	raw syscall.RawConn

	stamp int64 // of the last read, as Received returns it

	// Arguments and results of recv, kept here so that a read allocates nothing. Reads of one connection never overlap.
	recv func(fd uintptr) bool
	buf  []byte
	n    int
	err  syscall.Errno
	msg  unix.Msghdr
	iov  unix.Iovec
	oob  [128]byte
}

// Stamp turns the kernel's receive stamps on. ok is false where the connection or the kernel refuses them. Unix sockets
// take the option, and get no stamps: what comes over them is no packet.
func Stamp(c net.Conn) (sc *Conn, ok bool) {
	if _, local := c.(*net.UnixConn); local {
		return nil, false
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, false
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = askForStamps(int(fd))
	})
	if err != nil || refused != nil {
		return nil, false
	}
	sc = &Conn{Conn: c, raw: raw}
	sc.recv = sc.receive
	return sc, true
}

// askForStamps asks for the kernel's software stamps of what a socket receives.
func askForStamps(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW,
		unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE)
}

// Received is when the kernel received what the last read brought, ns since the epoch by CLOCK_REALTIME; 0 if it did
// not say. It is to be called by the goroutine that reads.
func (c *Conn) Received() int64 { return c.stamp }

// receive is one try to read; false asks the poller to wait for more.
func (c *Conn) receive(fd uintptr) bool {
	c.iov.Base = &c.buf[0]
	c.iov.SetLen(len(c.buf))
	c.msg.Iov = &c.iov
	c.msg.Iovlen = 1
	c.msg.Control = &c.oob[0]
	c.msg.SetControllen(len(c.oob))
	for {
		// The descriptor does not block, so the scheduler need not be told of this call.
		n, _, err := syscall.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.msg)), 0)
		if err == syscall.EINTR {
			continue
		}
		c.n, c.err = int(n), err
		return err != syscall.EAGAIN
	}
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.buf = p
	err := c.raw.Read(c.recv)
	c.buf = nil
	if err != nil {
		return 0, err // closed, or past its deadline
	}
	if c.err != 0 {
		return 0, &net.OpError{Op: "read", Net: "tcp", Addr: c.RemoteAddr(), Err: os.NewSyscallError("recvmsg", c.err)}
	}
	if c.n == 0 {
		return 0, io.EOF
	}
	c.stamp = receiveStamp(c.oob[:c.msg.Controllen])
	return c.n, nil
}

// receiveStamp finds SCM_TIMESTAMPING_NEW among the control messages: three times of two 64-bit words, of which the
// first is the software stamp. 0 if there is none.
func receiveStamp(oob []byte) int64 {
	const head = unix.SizeofCmsghdr
	for len(oob) >= head {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		size := int(h.Len)
		if size < head || size > len(oob) {
			return 0
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPING_NEW && size >= head+16 {
			t := (*[2]int64)(unsafe.Pointer(&oob[head]))
			return t[0]*int64(time.Second) + t[1]
		}
		next := (size + 7) &^ 7
		if next > len(oob) {
			return 0
		}
		oob = oob[next:]
	}
	return 0
}

// IdleClosed is IdleClosed of the connection below, without looking for its descriptor again.
func (c *Conn) IdleClosed() bool { return peekClosed(c.raw) }

// IdleClosed looks, without reading or waiting, whether the peer has closed an idle connection or sent what nobody
// asked for; either makes it unfit for the next request.
func IdleClosed(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	return err != nil || peekClosed(raw)
}

func peekClosed(raw syscall.RawConn) bool {
	var b [1]byte
	closed := false
	err := raw.Control(func(fd uintptr) {
		_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b[0])), 1,
			unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		closed = errno != syscall.EAGAIN && errno != syscall.EINTR // bytes, the end, or an error
	})
	return err != nil || closed
}

// HoldStamps keeps the kernel stamping for as long as the returned function is not called. The kernel begins to stamp
// packets some time after the first socket asks for it, and ends with the last: without this, the first reads of a
// client could come without stamps.
func HoldStamps() (release func()) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	// Where this is refused, so it will be on the connections, and the report says where the times come from.
	_ = askForStamps(fd)
	return func() { unix.Close(fd) }
}
