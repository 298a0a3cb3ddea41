// Package memnet is a network in memory, for tests that run in a testing/synctest bubble, where real sockets would stop
// the virtual clock from advancing. A [Listener] connects what dials it to what accepts from it. Its connections behave
// as TCP's do: each direction buffers bytes that nobody has read yet, writing waits when the buffer is full, deadlines
// work, and whoever writes to an end that is closed gets an error.
package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Listener is a [net.Listener] whose Dial connects to it. Make one with [Listen].
type Listener struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen makes a listener. In a synctest bubble it must be made inside the bubble.
func Listen() *Listener {
	return &Listener{accept: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next connection. Its error is [net.ErrClosed], after Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. Connections stay open.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is the same address for every listener: "memory:0" of the network "memory".
func (l *Listener) Addr() net.Addr { return addr{} }

// Dial connects to the listener. Its shape fits [net/http.Transport.DialContext]; network and address do not matter. It
// waits until the connection is accepted, and fails when the listener is closed or the context ends.
func (l *Listener) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	up, down := newPipe(), newPipe()
	client := &conn{in: down, out: up}
	server := &conn{in: up, out: down}
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: addr{}, Err: err}
	}
	select {
	case l.accept <- server:
		return client, nil
	case <-l.closed:
		return fail(errors.New("connection refused: the listener is closed"))
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

type addr struct{}

func (addr) Network() string { return "memory" }
func (addr) String() string  { return "memory:0" }

// conn is one end of a connection.
type conn struct{ in, out *pipe }

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b, true) }

// TryWrite writes what there is room for and does not wait: written < len(b) without an error when that is not all. The
// simulated engine writes its tokens with it, as it does to a socket without blocking.
func (c *conn) TryWrite(b []byte) (int, error) { return c.out.write(b, false) }

func (c *conn) Close() error {
	c.in.closeRead()
	c.out.closeWrite()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return addr{} }
func (c *conn) RemoteAddr() net.Addr { return addr{} }

func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readDeadline, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeDeadline, t)
	return nil
}

// pipe carries bytes one way. Like a socket's buffer it holds up to pipeSize bytes that nobody has read yet.
type pipe struct {
	mu                          sync.Mutex
	changed                     *sync.Cond
	buf                         []byte
	start                       int // buf[start:] is unread
	noMore                      bool
	noReader                    bool
	readDeadline, writeDeadline deadline
}

// pipeSize is what one direction buffers, in bytes: about as much as the two socket buffers of a TCP connection.
const pipeSize = 1 << 20

// deadline is when reading or writing fails; the timer wakes whoever waits for it.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newPipe() *pipe {
	p := &pipe{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) setDeadline(d *deadline, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changed.Broadcast()
		})
	}
	p.changed.Broadcast()
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.readDeadline.passed():
			return 0, os.ErrDeadlineExceeded
		case p.noReader:
			return 0, net.ErrClosed
		case p.start < len(p.buf):
			n := copy(b, p.buf[p.start:])
			p.start += n
			if p.start == len(p.buf) {
				p.buf, p.start = p.buf[:0], 0
			}
			p.changed.Broadcast()
			return n, nil
		case p.noMore:
			return 0, io.EOF
		case len(b) == 0:
			return 0, nil
		}
		p.changed.Wait()
	}
}

func (p *pipe) write(b []byte, wait bool) (written int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.noMore:
			return written, net.ErrClosed
		case p.noReader:
			return written, &net.OpError{Op: "write", Net: "memory", Err: errors.New("connection reset by peer")}
		case p.writeDeadline.passed():
			return written, os.ErrDeadlineExceeded
		}
		if room := pipeSize - (len(p.buf) - p.start); room > 0 {
			if p.start > len(p.buf)/2 {
				p.buf, p.start = p.buf[:copy(p.buf, p.buf[p.start:])], 0
			}
			n := min(room, len(b)-written)
			p.buf = append(p.buf, b[written:written+n]...)
			written += n
			p.changed.Broadcast()
		}
		if written == len(b) || !wait {
			return written, nil
		}
		p.changed.Wait()
	}
}

func (p *pipe) closeWrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noMore = true
	p.changed.Broadcast()
}

func (p *pipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noReader = true
	p.changed.Broadcast()
}
