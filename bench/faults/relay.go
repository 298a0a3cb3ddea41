package main

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// relay is the network between workers and their leader: it hands on what comes, late, or no more.
type relay struct {
	listener net.Listener
	to       string

	mu       sync.Mutex
	change   *sync.Cond // of the following
	conns    map[net.Conn]bool
	standing bool          // nothing is handed on
	closed   bool          // and nobody is let in
	up, down time.Duration // from workers, and to them, everything is so late
	seen     bytes.Buffer  // all that was handed on
}

// newRelay listens for those who want to reach an address.
func newRelay(to string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: l, to: to, conns: map[net.Conn]bool{}}
	r.change = sync.NewCond(&r.mu)
	go r.accept()
	return r, nil
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.join(c)
	}
}

// join hands on between a connection and the address.
func (r *relay) join(c net.Conn) {
	d, err := net.Dial("tcp", r.to)
	if err != nil {
		c.Close()
		return
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		c.Close()
		d.Close()
		return
	}
	r.conns[c], r.conns[d] = true, true
	r.mu.Unlock()
	go r.carry(c, d, &r.up)
	go r.carry(d, c, &r.down)
}

// carry hands on one direction.
func (r *relay) carry(from, to net.Conn, late *time.Duration) {
	type piece struct {
		data []byte
		at   time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer to.Close()
		for p := range pieces {
			r.mu.Lock()
			d := *late
			r.mu.Unlock()
			time.Sleep(time.Until(p.at.Add(d)))
			r.mu.Lock()
			for r.standing && !r.closed {
				r.change.Wait()
			}
			r.seen.Write(p.data)
			r.mu.Unlock()
			if _, err := to.Write(p.data); err != nil {
				from.Close() // the other end is gone: so is this one
			}
		}
	}()
	defer close(pieces)
	for {
		b := make([]byte, 64<<10)
		n, err := from.Read(b)
		if n > 0 {
			pieces <- piece{b[:n], time.Now()}
		}
		if err != nil {
			return
		}
	}
}

// stand stops handing on, and leaves the connections open, or goes on.
func (r *relay) stand(standing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.standing = standing
	r.change.Broadcast()
}

// cut closes the connections, and lets nobody in for some time.
func (r *relay) cut(d time.Duration) {
	r.mu.Lock()
	r.closed = true
	conns := r.conns
	r.conns = map[net.Conn]bool{}
	r.change.Broadcast()
	r.mu.Unlock()
	for c := range conns {
		c.Close()
	}
	time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = false
	})
}

// delay makes everything late.
func (r *relay) delay(up, down time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up, r.down = up, down
}

// saw says whether something was handed on.
func (r *relay) saw(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.seen.Bytes(), []byte(text))
}

func (r *relay) close() {
	if r == nil {
		return
	}
	r.listener.Close()
	r.cut(time.Hour)
}
