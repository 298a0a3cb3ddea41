//go:build !linux

package loadgen

import "net"

// stampedConn exists on Linux alone; elsewhere stamps are taken in user space.
type stampedConn struct {
	net.Conn
	stamp int64
}

func (c *stampedConn) idleClosed() bool { return false }

func newStampedConn(net.Conn) (*stampedConn, bool) { return nil, false }

// idleClosed cannot look without reading here; a closed connection shows itself at the next request, which is then sent
// again on a new one.
func idleClosed(net.Conn) bool { return false }

func holdStamps() (release func()) { return func() {} }
