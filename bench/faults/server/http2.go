package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// HTTP2Fault says what goes wrong over HTTP/2. The zero value is a good server.
type HTTP2Fault struct {
	First    time.Duration // before the first token
	DropFrom int           // from this completion on (the trial is 0), every second one's connection is reset when read
	Only     bool          // refuse HTTP/1.1, as a server that speaks HTTP/2 alone
}

// connKey finds the connection of a request in its context.
type connKey struct{}

// h2conn counts the requests under way on a connection.
type h2conn struct {
	net.Conn
	server *Server
	mu     sync.Mutex
	busy   int
}

func (c *h2conn) hold(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy += n
	c.server.setIdle(c.Conn, c.busy == 0)
}

// serveHTTP2 speaks HTTP/2 by net/http, without TLS at once.
func (s *Server) serveHTTP2(l net.Listener) {
	fault := *s.config.HTTP2
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	protocols.SetHTTP2(true)
	protocols.SetHTTP1(!fault.Only)
	server := &http.Server{
		Protocols: protocols, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: s.config.TLS,
		Handler: http.HandlerFunc(s.answerHTTP2),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	s.mu.Lock()
	s.http2 = server
	s.mu.Unlock()
	l = &h2listener{l, s}
	if s.config.TLS != nil {
		_ = server.ServeTLS(l, "", "") // it ends when the server is closed
	} else {
		_ = server.Serve(l)
	}
}

// h2listener accepts connections that are counted.
type h2listener struct {
	net.Listener
	server *Server
}

func (l *h2listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := l.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	s.conns[c] = false // it stays there until Down: a row has few
	return &h2conn{Conn: c, server: s}, nil
}

func (s *Server) answerHTTP2(w http.ResponseWriter, r *http.Request) {
	conn, fault := r.Context().Value(connKey{}).(*h2conn), s.config.HTTP2
	conn.hold(1)
	defer conn.hold(-1)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	n := s.note(r.Method, r.URL.Path, r.Header, body)
	switch {
	case n < 0 && r.URL.Path == "/v1/models":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, ModelList("m"))
		return
	case n < 0:
		http.NotFound(w, r)
		return
	case fault.DropFrom > 0 && n >= fault.DropFrom && n%2 == 0:
		time.Sleep(50 * time.Millisecond)
		reset(conn.Conn)
		return
	}
	x := Exchange{Server: s, N: n, Body: body}
	tokens, _ := x.Asked()
	w.Header().Set("Content-Type", "text/event-stream")
	event := func(data string) {
		fmt.Fprintf(w, "data: %s\n\n", data)
		_ = http.NewResponseController(w).Flush() // the client may have gone
	}
	time.Sleep(fault.First)
	for range tokens {
		time.Sleep(Gap)
		event(Chunk(n, `{"content":" w"}`, "", ""))
	}
	event(Chunk(n, `{}`, "length", Usage(16, tokens)))
	event("[DONE]")
	s.mu.Lock()
	s.answered++
	s.mu.Unlock()
}
