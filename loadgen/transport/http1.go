package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

// http1 speaks HTTP/1.1, one connection for each request in flight, kept for the next.
type http1 struct {
	dialer  dialer
	address string      // host:port to dial
	tls     *tls.Config // nil: none
	head    []byte      // request line and headers, up to the value of Content-Length
	timeout time.Duration

	stamped atomic.Bool // the kernel stamps what comes over the last connection
	release func()      // of precise.HoldStamps

	mu           sync.Mutex
	idle         []*conn // most recently used last
	openingAhead int     // connections being opened ahead of their requests
	refused      bool    // the last one that was to be opened ahead could not be
}

func newHTTP1(c Config, host string) (*http1, error) {
	port := c.URL.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[c.URL.Scheme]
	}
	t := &http1{
		dialer:  newDialer(c),
		address: net.JoinHostPort(c.URL.Hostname(), port),
		timeout: c.RequestTimeout,
	}
	if c.URL.Scheme == "https" {
		t.tls = c.TLS
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", http.MethodPost, c.URL.RequestURI(), host)
	if err := c.Header.Write(&head); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	head.WriteString("Content-Length: ")
	t.head = head.Bytes()
	t.release = precise.HoldStamps()
	return t, nil
}

// Close implements Transport.
func (t *http1) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, cn := range t.idle {
		cn.Close()
	}
	t.idle = nil
	if t.release != nil {
		t.release()
		t.release = nil
	}
}

// KernelStamps implements Transport.
func (t *http1) KernelStamps() bool { return t.stamped.Load() }

// Connections implements Transport.
func (t *http1) Connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.idle)
}

// WantsConnection implements Transport.
func (t *http1) WantsConnection() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused || len(t.idle)+t.openingAhead > 0 {
		return false
	}
	t.openingAhead++
	return true
}

// OpenConnection implements Transport.
func (t *http1) OpenConnection(ctx context.Context, clock *precise.Clock) {
	cn, err := t.open(ctx, clock)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.openingAhead--
	if t.refused = err != nil; err == nil {
		t.idle = append(t.idle, cn)
	}
}

// opened notes that connections can be opened, so that it is worth doing so ahead.
func (t *http1) opened() {
	t.mu.Lock()
	t.refused = false
	t.mu.Unlock()
}

// take returns an idle connection that still looks open, or nil.
func (t *http1) take() *conn {
	for {
		t.mu.Lock()
		n := len(t.idle)
		if n == 0 {
			t.mu.Unlock()
			return nil
		}
		cn := t.idle[n-1]
		t.idle = t.idle[:n-1]
		t.mu.Unlock()
		if cn.r == cn.w && !cn.closed() {
			cn.acked, cn.knowsAcked = acked(cn.below)
			return cn
		}
		cn.Close()
	}
}

func (t *http1) give(cn *conn) {
	t.mu.Lock()
	t.idle = append(t.idle, cn)
	t.mu.Unlock()
}

// open opens a connection: DNS, TCP, TLS.
func (t *http1) open(ctx context.Context, clock *precise.Clock) (*conn, error) {
	start := clock.Now()
	cn := &conn{buf: make([]byte, 4096)}
	var secure func(context.Context, net.Conn) error
	if t.tls != nil {
		secure = func(ctx context.Context, below net.Conn) error {
			cn.stampBelow(below)
			c := tls.Client(cn.Conn, t.tls)
			cn.Conn = c
			return c.HandshakeContext(ctx)
		}
	}
	below, err := t.dialer.open(ctx, t.address, secure)
	if err != nil {
		return nil, err
	}
	if t.tls == nil {
		cn.stampBelow(below)
	}
	t.stamped.Store(cn.stamped != nil)
	cn.connectTime = max(clock.Now()-start, 1)
	return cn, nil
}

// conn is an open HTTP/1.1 connection with what was read of it and not yet used.
type conn struct {
	net.Conn               // TLS or plain
	stamped  *precise.Conn // the connection below, where the kernel stamps its reads; else nil
	below    net.Conn      // what was dialled
	buf      []byte
	r, w     int // buf[r:w] is unread

	connectTime int64 // how long it took to open it, ns, until its first request has taken note

	acked      uint64 // bytes that the server's kernel had acknowledged before the request at hand …
	knowsAcked bool   // … if that is known
}

// unread says of a connection that the server has closed whether it can't have read any of the request at hand: its
// kernel acknowledges what it takes for the server to read. (A reset acknowledges nothing, and so says nothing.)
func (cn *conn) unread() bool {
	n, ok := acked(cn.below)
	return ok && cn.knowsAcked && n == cn.acked
}

// stampBelow takes what was dialled, and turns the kernel's stamps on where they are to be had.
func (cn *conn) stampBelow(below net.Conn) {
	cn.Conn, cn.below = below, below
	if s, ok := precise.Stamp(below); ok {
		cn.Conn, cn.stamped = s, s
	}
}

// fill reads once, into the free part of the buffer, which grows if there is none.
func (cn *conn) fill() error {
	switch {
	case cn.r == cn.w:
		cn.r, cn.w = 0, 0
	case cn.w == len(cn.buf) && cn.r > 0:
		cn.w = copy(cn.buf, cn.buf[cn.r:cn.w])
		cn.r = 0
	}
	if cn.w == len(cn.buf) {
		cn.buf = append(cn.buf, make([]byte, len(cn.buf))...)
	}
	n, err := cn.Read(cn.buf[cn.w:])
	cn.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// closed looks whether the peer has closed an idle connection.
func (cn *conn) closed() bool {
	if cn.stamped != nil {
		return cn.stamped.IdleClosed()
	}
	return precise.IdleClosed(cn.below)
}
