package llmsim

import (
	"net"
	"syscall"
)

// connKey is the context key under which a request finds its connection.
type connKey struct{}

// tryWriter is a connection in memory that takes what it has room for and never waits.
type tryWriter interface {
	TryWrite(b []byte) (n int, err error)
}

// receiver is a connection that knows when the kernel received what was last read from it.
type receiver interface {
	received() int64 // ns since the server's origin; 0: not known
	tcp() *net.TCPConn
}

// directConn writes to a connection without ever waiting, so that one goroutine can serve all connections.
type directConn struct {
	conn     net.Conn
	raw      syscall.RawConn
	mem      tryWriter
	receiver receiver // may be nil
	number   uint64   // from 1, in the order of their acceptance

	// attempt is made once per connection, for a new closure per write would be an allocation per token.
	attempt func(fd uintptr) bool
	buf     []byte
	n       int
	err     error
}

func newDirectConn(c net.Conn) *directConn {
	d := &directConn{conn: c}
	if mem, ok := c.(tryWriter); ok {
		d.mem = mem
		return d
	}
	if stamp, ok := c.(receiver); ok {
		d.receiver = stamp
		c = stamp.tcp()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return d
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return d
	}
	d.raw = raw
	d.attempt = func(fd uintptr) bool {
		d.n, d.err = writeNonblocking(fd, d.buf)
		return true
	}
	return d
}

// usable reports whether tryWrite works on this kind of connection.
func (d *directConn) usable() bool { return d.raw != nil || d.mem != nil }

// tryWrite writes what the connection takes at once; n < len(b) with no error when that is not all.
func (d *directConn) tryWrite(b []byte) (n int, err error) {
	if d.mem != nil {
		return d.mem.TryWrite(b)
	}
	d.buf = b
	if err := d.raw.Write(d.attempt); err != nil {
		return 0, err // the connection is closed
	}
	d.buf = nil
	return d.n, d.err
}

// writeAll writes everything, waiting where it must.
func (d *directConn) writeAll(b []byte) error {
	_, err := d.conn.Write(b)
	return err
}
