package llmsim

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// What was received while nobody read bears the time of its arrival, not of the reading.
func TestReceiveStampIsTheKernels(t *testing.T) {
	plainListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin := time.Now()
	ln := stamped(plainListener, origin)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	stamp, ok := server.(receiver)
	if !ok {
		t.Fatalf("the connection is a %T", server)
	}

	before := time.Since(origin)
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	after := time.Since(origin)
	time.Sleep(50 * time.Millisecond)
	buf := make([]byte, 10)
	if n, err := server.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	// The wall clock may be slewed against the monotonic one by a little.
	const slack = time.Millisecond
	if got := time.Duration(stamp.received()); got < before-slack || got > after+slack {
		t.Errorf("written between %v and %v, received %v", before, after, got)
	}

	if err := server.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := server.Read(buf); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %d, %v", n, err)
	}
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if n, err := server.Read(buf); n != 0 || err != io.EOF {
		t.Errorf("after the client closed: %d, %v", n, err)
	}
	server.Close()
	if _, err := server.Read(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
}
