package llmsim

import (
	"net"
	"sync/atomic"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// stampListener notes for each of its connections when the kernel received what was read last. The engine counts from
// there: how long the server itself takes to wake up and parse a request is then not part of the time that a client is
// judged by.
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
	stamps, ok := precise.Stamp(tcp)
	if !ok {
		return c, nil // without the kernel's stamp the server takes its own
	}
	return &stampConn{TCPConn: tcp, stamps: stamps, origin: l.origin}, nil
}

// stampConn is a TCP connection whose reads say when the kernel received what they brought.
type stampConn struct {
	*net.TCPConn
	stamps *precise.Conn
	origin time.Time
	last   atomic.Int64 // ns since origin; 0: not known
}

func (c *stampConn) received() int64   { return c.last.Load() }
func (c *stampConn) tcp() *net.TCPConn { return c.TCPConn }

// Read reads as net.TCPConn does.
func (c *stampConn) Read(b []byte) (int, error) {
	n, err := c.stamps.Read(b)
	if n > 0 {
		c.last.Store(c.toOrigin(c.stamps.Received()))
	}
	return n, err
}

// toOrigin puts the kernel's receive time on the server's clock; 0 where it is not known.
func (c *stampConn) toOrigin(stamp int64) int64 {
	if stamp == 0 {
		return 0
	}
	now := time.Now()
	// Two readings of the same clock a moment apart: a step of the wall clock between them is not to be expected, and
	// where it happens the age is not believed.
	age := now.UnixNano() - stamp
	if age < 0 || age > int64(10*time.Second) {
		return 0
	}
	return int64(now.Sub(c.origin)) - age
}
