package server

import (
	"net"
	"time"
)

// AfterTrial answers the trial request well, and all that follow by b.
func AfterTrial(b Behaviour) Behaviour { return From(1, b) }

// From answers well before the nth completion (the trial is 0), and from it on by b.
func From(n int, b Behaviour) Behaviour {
	return func(x *Exchange) {
		if x.N < n {
			Good(x)
		} else {
			b(x)
		}
	}
}

// Every answers every nth completion after the trial by b, the others well.
func Every(n int, b Behaviour) Behaviour {
	return func(x *Exchange) {
		if x.N > 0 && x.N%n == 0 {
			b(x)
		} else {
			Good(x)
		}
	}
}

// OnReused answers every nth completion that comes over a connection which has served one by b, the others well.
func OnReused(n int, b Behaviour) Behaviour {
	return func(x *Exchange) {
		if x.N > 0 && x.OnConn > 0 && x.N%n == 0 {
			b(x)
		} else {
			Good(x)
		}
	}
}

// Once lets the first n requests see b, and the others then.
func Once(n int, b, then Behaviour) Behaviour {
	return func(x *Exchange) {
		if x.N < n {
			b(x)
		} else {
			then(x)
		}
	}
}

// Wait is an Accept that keeps a new connection silent until the client goes.
func Wait(s *Server, c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(time.Hour))
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			return true
		}
	}
}
