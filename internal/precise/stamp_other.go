//go:build !linux

package precise

import "net"

// Conn exists on Linux alone; elsewhere the time of a read is taken in user space.
type Conn struct{ net.Conn }

// Stamp is refused here.
func Stamp(net.Conn) (c *Conn, ok bool) { return nil, false }

// Received is not known here.
func (c *Conn) Received() int64 { return 0 }

// IdleClosed cannot look without reading here.
func (c *Conn) IdleClosed() bool { return false }

// IdleClosed cannot look without reading here; a closed connection shows itself at the next request.
func IdleClosed(net.Conn) bool { return false }

// HoldStamps does nothing here.
func HoldStamps() (release func()) { return func() {} }
