package precise

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tcpPair returns the two ends of a connection over loopback.
func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func stampedPair(t *testing.T) (client *Conn, server *net.TCPConn) {
	t.Helper()
	c, s := tcpPair(t)
	sc, ok := Stamp(c)
	if !ok {
		t.Skip("this kernel stamps no received packets")
	}
	// A first packet, as the first one after the option was set may go without a stamp.
	deadline := time.Now().Add(10 * time.Second)
	for sc.Received() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the kernel takes the option, and gives no stamps")
		}
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	return sc, s
}

// A reader that was busy elsewhere sees its own delay, and the true time of arrival nevertheless. The bounds leave room
// for a machine that is busy itself.
func TestKernelStampsAreTrueWhenTheReaderIsLate(t *testing.T) {
	sc, s := stampedPair(t)
	c := NewClock()
	buf := make([]byte, 100)
	const busy = 200 * time.Millisecond
	last := int64(0)
	for i := range 3 {
		before := c.Now()
		if _, err := s.Write([]byte("token")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(busy)
		if n, err := sc.Read(buf); err != nil || string(buf[:n]) != "token" {
			t.Fatalf("%q, %v", buf[:n], err)
		}
		user, stamp := c.Now(), c.FromWall(sc.Received())
		if stamp < before-int64(time.Millisecond) || stamp > user || stamp <= last {
			t.Errorf("read %d: written at %d, stamped at %d, read at %d; the one before was stamped at %d",
				i, before, stamp, user, last)
		}
		if delay := time.Duration(user - stamp); delay < busy/2 {
			t.Errorf("read %d: the reader was %v late, the stamps say %v", i, busy, delay)
		}
		last = stamp
	}
}

// A read that takes several segments has the stamp of the last; one that leaves bytes behind has that of what it took.
func TestStampOfSeveralSegments(t *testing.T) {
	sc, s := stampedPair(t)
	s.SetNoDelay(true)
	c := NewClock()
	const apart = 150 * time.Millisecond
	first := c.Now()
	s.Write([]byte("first"))
	time.Sleep(apart)
	second := c.Now()
	s.Write([]byte("second"))
	time.Sleep(20 * time.Millisecond)
	buf := make([]byte, 100)
	n, err := sc.Read(buf)
	if err != nil || string(buf[:n]) != "firstsecond" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if stamp := c.FromWall(sc.Received()); stamp < second-int64(time.Millisecond) {
		t.Errorf("the stamp lies %v after the first write, want that of the second, %v after it",
			time.Duration(stamp-first), time.Duration(second-first))
	}
}

func TestStampedConnReads(t *testing.T) {
	t.Run("end", func(t *testing.T) {
		sc, s := stampedPair(t)
		s.Close()
		if n, err := sc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%d, %v, want io.EOF", n, err)
		}
	})
	t.Run("nothing asked", func(t *testing.T) {
		sc, _ := stampedPair(t)
		if n, err := sc.Read(nil); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
	t.Run("reset", func(t *testing.T) {
		sc, s := stampedPair(t)
		s.SetLinger(0)
		s.Close()
		if _, err := sc.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%v, want connection reset", err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		sc, _ := stampedPair(t)
		sc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := sc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v, want a deadline exceeded", err)
		}
	})
	t.Run("closed while waiting", func(t *testing.T) {
		sc, _ := stampedPair(t)
		time.AfterFunc(10*time.Millisecond, func() { sc.Close() })
		if _, err := sc.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, want net.ErrClosed", err)
		}
	})
	t.Run("bytes are whole and in order", func(t *testing.T) {
		sc, s := stampedPair(t)
		want := make([]byte, 1<<20)
		for i := range want {
			want[i] = byte(i * 7 >> 3)
		}
		go func() { s.Write(want); s.CloseWrite() }()
		got, err := io.ReadAll(sc)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

func TestReadingAllocatesNothing(t *testing.T) {
	sc, s := stampedPair(t)
	token, buf := []byte("data: token\n\n"), make([]byte, 64)
	read := func() {
		if _, err := s.Write(token); err != nil {
			t.Fatal(err)
		}
		if n, err := sc.Read(buf); err != nil || n != len(token) {
			t.Fatal(n, err)
		}
	}
	if n := testing.AllocsPerRun(500, read); n != 0 {
		t.Errorf("%v allocations a read, want none", n)
	}
}

// message is a control message as the kernel writes it.
func message(level, kind int32, data ...int64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(unix.SizeofCmsghdr+8*len(data)))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	for _, d := range data {
		b = binary.NativeEndian.AppendUint64(b, uint64(d))
	}
	return b
}

func TestReceiveStamp(t *testing.T) {
	stamp := message(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, 1_700_000_000, 123_456_789, 0, 0, 0, 0)
	const want = 1_700_000_000_123_456_789
	long := message(unix.SOL_SOCKET, 1, 1)
	long[0] = 200
	for name, test := range map[string]struct {
		oob  []byte
		want int64
	}{
		"nothing":             {nil, 0},
		"a stamp":             {stamp, want},
		"after another":       {append(message(unix.SOL_IP, unix.IP_TTL, 64), stamp...), want},
		"another level":       {message(unix.SOL_IP, unix.SO_TIMESTAMPING_NEW, 1, 2), 0},
		"hardware alone":      {message(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, 0, 0, 0, 0, 7, 7), 0},
		"too short a message": {message(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, 1), 0},
		"a broken length":     {long, 0},
		"length zero":         {make([]byte, 64), 0},
		"half a head":         {stamp[:10], 0},
	} {
		// Aligned as the kernel's buffer is.
		var oob [128]byte
		n := copy(oob[:], test.oob)
		if got := receiveStamp(oob[:n]); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestIdleClosed(t *testing.T) {
	soon := func(c net.Conn) bool {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if IdleClosed(c) {
				return true
			}
		}
		return false
	}
	c, s := tcpPair(t)
	if IdleClosed(c) {
		t.Error("an open connection is taken for a closed one")
	}
	s.CloseWrite()
	if !soon(c) {
		t.Error("a closed connection is taken for an open one")
	}
	c, s = tcpPair(t)
	s.Write([]byte("unasked"))
	if !soon(c) {
		t.Error("a connection with unasked bytes is taken for a fit one")
	}
	if b := make([]byte, 7); func() string { io.ReadFull(c, b); return string(b) }() != "unasked" {
		t.Errorf("the look took bytes away: %q", b)
	}
	c, _ = tcpPair(t)
	c.Close()
	if !IdleClosed(c) {
		t.Error("a connection closed here is taken for an open one")
	}
}
