// Package server is a small OpenAI-compatible server that misbehaves on demand, down to the bytes. It speaks HTTP/1.1
// by
// hand: a behaviour may write anything at any time, close, reset or stall a connection, and count what it was sent.
//
//	server.go    connections, requests, and what is counted
//	answers.go   answers of the API: good ones, and what is wrong with the others
//	routes.go    when a behaviour applies: to the trial, from the Nth request on, to every Nth
//	http2.go     the same few answers over HTTP/2, by net/http
package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Behaviour answers one request. It may write what it likes. A connection that it did not close serves the next one.
type Behaviour func(x *Exchange)

// Config says how a server behaves. The zero value is a good server.
type Config struct {
	Chat    Behaviour // to completions, streamed or not; nil: Good
	Models  Behaviour // to GET /v1/models; nil: one model
	Metrics Behaviour // to GET /metrics; nil: not found
	Other   Behaviour // to everything else, such as /tokenize; nil: not found

	Accept func(s *Server,
		c net.Conn) bool // on a new connection, before anything is read; true if it has dealt with it
	Idle time.Duration // connections without a request are closed after this time; 0: a minute

	TLS   *tls.Config // nil: none
	HTTP2 *HTTP2Fault // speak HTTP/2 by net/http, and nothing of the above but TLS; see http2.go
}

// Server is a running server. It listens on the loopback.
type Server struct {
	config Config
	addr   string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool // whether no request is under way
	chats    int
	bodies   map[string]int
	headers  []http.Header // of all requests, and of what is not a completion
	paths    []string
	accepted int
	answered int
	closed   bool
	http2    *http.Server
	work     sync.WaitGroup
}

// Start starts a server on a free port.
func Start(c Config) (*Server, error) {
	s := &Server{config: c, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}, bodies: map[string]int{}}
	return s, s.Open()
}

// Addr is host:port.
func (s *Server) Addr() string { return s.addr }

// URL is the base address.
func (s *Server) URL() string {
	if s.config.TLS != nil {
		return "https://" + s.addr
	}
	return "http://" + s.addr
}

// Open listens; again, after Down, on the same port.
func (s *Server) Open() error {
	l, err := net.Listen("tcp", s.addr)
	for until := time.Now().Add(2 * time.Second); err != nil && time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond)
		l, err = net.Listen("tcp", s.addr)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr, s.listener = l.Addr().String(), l
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		s.accept(l)
	}()
	return nil
}

// Down closes the listener and resets all connections, as a killed process does.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.Close()
	for c := range s.conns {
		reset(c)
	}
}

// CloseIdle closes the connections on which no request is under way, and says how many there were.
func (s *Server) CloseIdle() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, idle := range s.conns {
		if idle {
			c.Close()
			delete(s.conns, c)
			n++
		}
	}
	return n
}

// setIdle notes whether no request is under way on a connection.
func (s *Server) setIdle(c net.Conn, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.conns[c]; open {
		s.conns[c] = idle
	}
}

// Listener is what the server listens on.
func (s *Server) Listener() net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener
}

// Close ends the server and waits for its connections.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	h2 := s.http2
	s.mu.Unlock()
	if h2 != nil {
		h2.Close()
	}
	s.Down()
	s.work.Wait()
}

// Chats is how many completions were asked for, the trial included.
func (s *Server) Chats() int { return s.locked(func() int { return s.chats }) }

// Answered is how many completions were answered to their end.
func (s *Server) Answered() int { return s.locked(func() int { return s.answered }) }

// Accepted is how many connections were accepted.
func (s *Server) Accepted() int { return s.locked(func() int { return s.accepted }) }

// Paths lists the paths that were asked for, completions left out, in order.
func (s *Server) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.paths...)
}

// Headers lists the headers of all requests.
func (s *Server) Headers() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]http.Header(nil), s.headers...)
}

// SentTwice is how many completions came more than once: their bodies are the same to the byte. The trial is the first
// request of the load, and does not count.
func (s *Server) SentTwice() int {
	return s.locked(func() int {
		twice := 0
		for _, n := range s.bodies {
			twice += n - 1
		}
		return twice
	})
}

func (s *Server) locked(f func() int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

// note counts a request.
func (s *Server) note(method, path string, header http.Header, body []byte) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, header)
	if !IsChat(method, path) {
		s.paths = append(s.paths, path)
		return -1
	}
	s.chats++
	if s.chats > 1 {
		s.bodies[string(body)]++
	}
	return s.chats - 1
}

// IsChat says whether a completion is asked for.
func IsChat(method, path string) bool {
	return method == http.MethodPost && strings.HasSuffix(path, "/completions")
}

func (s *Server) accept(l net.Listener) {
	if s.config.HTTP2 != nil {
		s.serveHTTP2(l)
		return
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.accepted++
		s.conns[c] = false
		s.mu.Unlock()
		s.work.Add(1)
		go func() {
			defer s.work.Done()
			s.serve(c)
			c.Close()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		}()
	}
}

func (s *Server) serve(c net.Conn) {
	if s.config.Accept != nil && s.config.Accept(s, c) {
		return
	}
	plain := c
	if s.config.TLS != nil {
		c = tls.Server(c, s.config.TLS)
	}
	idle := s.config.Idle
	if idle == 0 {
		idle = time.Minute
	}
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		c.SetReadDeadline(time.Now().Add(idle))
		s.setIdle(plain, n > 0)
		if _, err := r.Peek(1); err != nil {
			return
		}
		s.setIdle(plain, false)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		req, err := http.ReadRequest(r)
		if err != nil {
			fmt.Fprint(c,
				"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n") // it may be gone
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		c.SetReadDeadline(time.Time{})
		x := &Exchange{Server: s, Conn: c, plain: plain, OnConn: n, Method: req.Method, Path: req.URL.Path,
			Query:  req.URL.RawQuery,
			Header: req.Header, Body: body}
		x.N = s.note(x.Method, x.Path, x.Header, body)
		s.behaviour(x)(x)
		if x.ended || x.err != nil {
			return
		}
		if x.N >= 0 {
			s.mu.Lock()
			s.answered++
			s.mu.Unlock()
		}
	}
}

// behaviour finds what answers a request.
func (s *Server) behaviour(x *Exchange) Behaviour {
	choose := func(b, fallback Behaviour) Behaviour {
		if b != nil {
			return b
		}
		return fallback
	}
	switch {
	case x.N >= 0:
		return choose(s.config.Chat, Good)
	case strings.HasSuffix(x.Path, "/models"):
		return choose(s.config.Models, JSON(200, ModelList("m")))
	case x.Path == "/metrics":
		return choose(s.config.Metrics, NotFound)
	}
	return choose(s.config.Other, NotFound)
}

// Exchange is a request with the connection that it came on.
type Exchange struct {
	Server *Server
	Conn   net.Conn
	N      int // completions before it, the trial is 0; −1 for what is not a completion
	OnConn int // requests before it on this connection
	Method string
	Path   string
	Query  string
	Header http.Header
	Body   []byte

	plain net.Conn // below TLS
	ended bool
	err   error // of a write
}

// Write writes bytes as they are. After an error it does nothing.
func (x *Exchange) Write(parts ...string) {
	for _, p := range parts {
		if x.err == nil {
			_, x.err = io.WriteString(x.Conn, p)
		}
	}
}

// Lost says whether the client has gone.
func (x *Exchange) Lost() bool { return x.err != nil }

// Close closes the connection: what was written arrives.
func (x *Exchange) Close() {
	x.ended = true
	x.Conn.Close()
}

// Reset resets the connection.
func (x *Exchange) Reset() {
	x.ended = true
	reset(x.plain)
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // it may be closed
	}
	c.Close()
}

// Hold waits, until the client has closed the connection or the time is over.
func (x *Exchange) Hold(d time.Duration) {
	x.Conn.SetReadDeadline(time.Now().Add(d))
	_, err := x.Conn.Read(make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		x.err = err
		return
	}
	x.Conn.SetReadDeadline(time.Time{})
}

// Asked is what the body asks for.
func (x *Exchange) Asked() (tokens int, stream bool) {
	var b struct {
		Stream    bool `json:"stream"`
		Completed int  `json:"max_completion_tokens"`
		Max       int  `json:"max_tokens"`
	}
	if json.Unmarshal(x.Body, &b) != nil {
		return 1, false
	}
	return max(1, b.Completed, b.Max), b.Stream
}

// Head writes a response's head.
func (x *Exchange) Head(status int, headers ...string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n")
	x.Write(b.String())
}

// Whole writes a response with its length.
func (x *Exchange) Whole(status int, contentType, body string, headers ...string) {
	x.Head(status, append(headers, "Content-Type: "+contentType, fmt.Sprint("Content-Length: ", len(body)))...)
	x.Write(body)
}

// Stream begins a stream of server-sent events, chunked. End ends it.
func (x *Exchange) Stream(headers ...string) {
	x.Head(200, append(headers, "Content-Type: text/event-stream; charset=utf-8", "Transfer-Encoding: chunked")...)
}

// Chunk writes bytes of the body.
func (x *Exchange) Chunk(data string) {
	if data != "" {
		x.Write(fmt.Sprintf("%x\r\n%s\r\n", len(data), data))
	}
}

// Event writes an event of the stream.
func (x *Exchange) Event(data string) { x.Chunk("data: " + data + "\n\n") }

// End ends a chunked body.
func (x *Exchange) End() { x.Write("0\r\n\r\n") }
