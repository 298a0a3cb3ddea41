package llmsim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// MemoryListener is a network in memory: what dials it is connected to whatever serves it. With it a client and a [Server] run
// inside one testing/synctest bubble, where real sockets would stop the virtual clock from advancing. Make one with
// [NewMemoryListener].
type MemoryListener struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewMemoryListener makes a listener. In a synctest bubble it must be made inside the bubble.
func NewMemoryListener() *MemoryListener {
	return &MemoryListener{accept: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next connection.
func (l *MemoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. Connections stay open.
func (l *MemoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is an address that says so.
func (l *MemoryListener) Addr() net.Addr { return memoryAddr{} }

// Dial connects to the listener. Its shape fits [net/http.Transport.DialContext]; network and address do not matter.
func (l *MemoryListener) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	up, down := newMemoryPipe(), newMemoryPipe()
	client := &memoryConn{in: down, out: up}
	server := &memoryConn{in: up, out: down}
	select {
	case l.accept <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: memoryAddr{}, Err: errors.New("connection refused: the listener is closed")}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: memoryAddr{}, Err: ctx.Err()}
	}
}

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory:0" }

// memoryConn is one end of a connection.
type memoryConn struct{ in, out *memoryPipe }

func (c *memoryConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *memoryConn) Write(b []byte) (int, error) { return c.out.write(b, true) }

// TryWrite writes what there is room for and does not wait.
func (c *memoryConn) TryWrite(b []byte) (int, error) { return c.out.write(b, false) }

func (c *memoryConn) Close() error {
	c.in.closeRead()
	c.out.closeWrite()
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return memoryAddr{} }
func (c *memoryConn) RemoteAddr() net.Addr { return memoryAddr{} }

func (c *memoryConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readDeadline, t)
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeDeadline, t)
	return nil
}

// memoryPipe carries bytes one way. Like a socket buffer it takes up to memoryPipeSize bytes that nobody has read yet.
type memoryPipe struct {
	mu                          sync.Mutex
	changed                     *sync.Cond
	buf                         []byte
	start                       int // buf[start:] is unread
	noMore                      bool
	noReader                    bool
	readDeadline, writeDeadline deadline
}

const memoryPipeSize = 1 << 20

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newMemoryPipe() *memoryPipe {
	p := &memoryPipe{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

func (p *memoryPipe) setDeadline(d *deadline, t time.Time) {
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

func (p *memoryPipe) read(b []byte) (int, error) {
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

func (p *memoryPipe) write(b []byte, wait bool) (written int, err error) {
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
		if room := memoryPipeSize - (len(p.buf) - p.start); room > 0 {
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

func (p *memoryPipe) closeWrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noMore = true
	p.changed.Broadcast()
}

func (p *memoryPipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noReader = true
	p.changed.Broadcast()
}
