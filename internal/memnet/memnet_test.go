package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// connect gives both ends of a connection.
func connect(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := Listen()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client, err := l.Dial(t.Context(), "tcp", "anywhere:80")
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

func TestHTTPInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			_, _ = io.Copy(w, r.Body)
		})}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		transport := &http.Transport{DialContext: l.Dial}
		start := time.Now()
		client := &http.Client{Transport: transport}
		resp, err := client.Post("http://anywhere/", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "hello" {
			t.Errorf("%q, %v", body, err)
		}
		if took := time.Since(start); took != time.Hour {
			t.Errorf("the answer took %v of virtual time, want an hour", took)
		}
		transport.CloseIdleConnections()
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func TestDialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := Listen()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Dial(ctx, "", ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody accepts: %v", err)
		}
		l.Close()
		l.Close()
		var op *net.OpError
		_, err := l.Dial(t.Context(), "", "")
		if !errors.As(err, &op) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("the listener is closed: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
	})
}

// The buffer takes pipeSize bytes; then TryWrite takes none, and Write waits until the other end reads.
func TestFullBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect(t)
		type tryWriter interface{ TryWrite([]byte) (int, error) }
		sent := bytes.Repeat([]byte("0123456789abcde\n"), pipeSize/16+100)
		n, err := server.(tryWriter).TryWrite(sent)
		if n != pipeSize || err != nil {
			t.Fatalf("an empty buffer takes %d bytes, %v", n, err)
		}
		if more, err := server.(tryWriter).TryWrite(sent[n:]); more != 0 || err != nil {
			t.Errorf("a full buffer takes %d bytes, %v", more, err)
		}
		wrote := make(chan time.Time, 1)
		go func() {
			if _, err := server.Write(sent[n:]); err != nil {
				t.Error(err)
			}
			wrote <- time.Now()
			server.Close()
		}()
		time.Sleep(time.Minute)
		reading := time.Now()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes arrived, %v; %d were sent", len(got), err, len(sent))
		}
		if at := <-wrote; at.Before(reading) {
			t.Error("Write did not wait for room")
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect(t)
		start := time.Now()
		if err := client.SetDeadline(start.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err := client.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("reading: %v after %v", err, time.Since(start))
		}
		if _, err := client.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing: %v", err)
		}
		// A deadline that is taken away lets both go on.
		if err := client.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := connect(t)
		if _, err := server.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		server.Close()
		if got, err := io.ReadAll(client); string(got) != "last words" || err != nil {
			t.Errorf("what was written before closing: %q, %v", got, err)
		}
		if _, err := client.Write([]byte("x")); err == nil || !strings.Contains(err.Error(), "connection reset") {
			t.Errorf("writing to an end that is closed: %v", err)
		}
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading from an own end that is closed: %v", err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("writing to an own end that is closed: %v", err)
		}
	})
}
