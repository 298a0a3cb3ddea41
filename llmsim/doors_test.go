package llmsim

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/internal/memnet"
)

// inMemory serves a fixed engine in memory, and returns what dials it. It must be called inside a synctest bubble.
func inMemory(t *testing.T, cfg Config) func() net.Conn {
	t.Helper()
	cfg.VirtualTime, cfg.Fixed = true, true
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	wire := memnet.Listen()
	go func() { _ = s.Serve(wire) }()
	t.Cleanup(func() {
		s.Close()
		time.Sleep(time.Second) // net/http lingers before it closes a connection whose request it did not read whole
	})
	return func() net.Conn {
		c, err := wire.Dial(t.Context(), "tcp", "sim")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// closedAfter is how long the server keeps a connection, and what it writes before it closes it.
func closedAfter(t *testing.T, c net.Conn) (time.Duration, string) {
	t.Helper()
	begin := time.Now()
	if err := c.SetReadDeadline(begin.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("the connection is still open after %v: %v", time.Since(begin), err)
	}
	return time.Since(begin), string(text)
}

// Clients that begin a request and do not end it, or send none, do not keep their connections.
func TestHalfRequestsAreClosed(t *testing.T) {
	const length = "Content-Type: application/json\r\nContent-Length: 100\r\n"
	for _, test := range []struct {
		name, send string
		key        string
		limit      time.Duration
		answer     string
	}{
		{"nothing", "", "", headTime, ""},
		{"half a head", "POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\n", "", headTime, ""},
		{"half a body", "POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\n" + length + "\r\n{", "", bodyTime,
			"the body was not there within 30s"},
		{"half a body for the tokenizer", "POST /tokenize HTTP/1.1\r\nHost: sim\r\n" + length + "\r\n{", "", bodyTime,
			"the body was not there within 30s"},
		{"half a body without a key", "POST /v1/completions HTTP/1.1\r\nHost: sim\r\n" + length + "\r\n{", "key",
			bodyTime, "401 Unauthorized"},
		{"half a body that nothing reads", "POST /nowhere HTTP/1.1\r\nHost: sim\r\n" + length + "\r\n{", "", bodyTime,
			"404 Not Found"},
		{"no further request", "GET /health HTTP/1.1\r\nHost: sim\r\n\r\n", "", idleTime, "200 OK"},
		{"a long head", "GET /health HTTP/1.1\r\nX: " + strings.Repeat("a", 2*headBytes) + "\r\n\r\n", "", time.Second,
			"431 Request Header Fields Too Large"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial := inMemory(t, Config{APIKey: test.key})
				conns := make([]net.Conn, 300)
				for i := range conns {
					conns[i] = dial()
					go func() { _, _ = io.WriteString(conns[i], test.send) }()
				}
				begin := time.Now()
				for _, c := range conns {
					if _, text := closedAfter(t, c); !strings.Contains(text, test.answer) {
						t.Fatalf("the answer is %q, want %q in it", text, test.answer)
					}
				}
				if took := time.Since(begin); took > test.limit+time.Second {
					t.Errorf("they were closed after %v, want %v", took, test.limit)
				}
			})
		})
	}
}

// A connection may be idle for long, and an answer may take longer than any request may.
func TestLimitsSpareWhoIsSlowForAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := inMemory(t, Config{TTFT: 5 * bodyTime, ITL: bodyTime})
		c := dial()
		r := bufio.NewReader(c)
		body := chatBody(1, 3, ignoreEOS)
		for range 2 {
			fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\n"+
				"%s: slow-headers=%v\r\nContent-Length: %d\r\n\r\n%s", FaultHeader, 2*bodyTime, len(body), body)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(text), "[DONE]") {
				t.Fatalf("%d %q, %v", resp.StatusCode, text, err)
			}
			time.Sleep(idleTime - time.Second)
		}
	})
}

// A body that is too long is refused as such, whether its length was announced or not.
func TestLongBodiesAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := inMemory(t, Config{})
		for _, announced := range []bool{true, false} {
			c := dial()
			const head = "POST /v1/completions HTTP/1.1\r\nHost: sim\r\nContent-Type: application/json\r\n"
			go func() {
				if announced {
					fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n", head, maxBody+1)
					return
				}
				fmt.Fprintf(c, "%sTransfer-Encoding: chunked\r\n\r\n", head)
				chunk := "100000\r\n" + strings.Repeat(" ", 1<<20) + "\r\n"
				for range maxBody>>20 + 2 {
					if _, err := io.WriteString(c, chunk); err != nil {
						return
					}
				}
			}()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			text := make([]byte, 200)
			n, _ := io.ReadFull(resp.Body, text)
			tooLong := strings.Contains(string(text[:n]), "has more than")
			if resp.StatusCode != http.StatusRequestEntityTooLarge || !tooLong {
				t.Errorf("announced %v: %d %q", announced, resp.StatusCode, text[:n])
			}
		}
	})
}
