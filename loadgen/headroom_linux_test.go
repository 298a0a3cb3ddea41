package loadgen

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/fstest"
)

func TestPorts(t *testing.T) {
	root := fstest.MapFS{
		"proc/sys/net/ipv4/ip_local_port_range": {Data: []byte("32768\t60999\n")},
		"proc/net/sockstat": {Data: []byte("sockets: used 63\n" +
			"TCP: inuse 33 orphan 0 tw 88 alloc 36 mem 0\nUDP: inuse 0 mem 0\n")},
	}
	if got, want := portsOf(root, 12), (Headroom{28232, 28132}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := portsOf(root, 30_000), (Headroom{28232, 0}); got != want {
		t.Errorf("more open than there are: %+v, want %+v", got, want)
	}
	if got := portsOf(fstest.MapFS{}, 12); got != (Headroom{}) {
		t.Errorf("nothing is known: %+v", got)
	}
}

func TestFiles(t *testing.T) {
	before := files()
	if before.Limit == 0 || before.Left <= 0 || before.Left >= before.Limit {
		t.Fatalf("%+v", before)
	}
	for range 5 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	// Tests beside this one may open and close files as well.
	if after := files(); after.Left > before.Left-5+50 || after.Limit != before.Limit {
		t.Errorf("%+v after %+v and five files", after, before)
	}
}

func TestLocalShortage(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)})
	}
	for err, want := range map[syscall.Errno]bool{
		syscall.EMFILE: true, syscall.EADDRNOTAVAIL: true, syscall.ECONNREFUSED: false, syscall.ETIMEDOUT: false,
	} {
		if got := localShortage(dial(err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
