package precise

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FuzzReceiveStamp: in what the kernel writes, the stamp is the one that golang.org/x/sys finds; in anything else
// nothing is read beyond the end.
func FuzzReceiveStamp(f *testing.F) {
	stamp := message(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, 1_700_000_000, 123_456_789, 0, 0, 0, 0)
	ttl := message(unix.SOL_IP, unix.IP_TTL, 64)
	for _, b := range [][]byte{
		nil, stamp, append(ttl, stamp...), append(stamp[:32:32], ttl...), stamp[:10], make([]byte, 64),
		message(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, 1), append([]byte{200}, stamp[1:]...),
		append(message(unix.SOL_SOCKET, unix.SO_TIMESTAMPING_NEW, 1), stamp...),
		append(append([]byte{17}, ttl[1:]...), stamp...),
	} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var aligned [128]byte // as the kernel's buffer is
		oob := aligned[:copy(aligned[:], data)]
		got := receiveStamp(oob)
		messages, err := unix.ParseSocketControlMessage(oob)
		if err != nil {
			return // the kernel writes no such thing
		}
		want := int64(0)
		for _, m := range messages {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPING_NEW && len(m.Data) >= 16 {
				want = int64(binary.NativeEndian.Uint64(m.Data))*int64(time.Second) +
					int64(binary.NativeEndian.Uint64(m.Data[8:]))
				break
			}
		}
		if got != want {
			t.Fatalf("%x: %d, want %d", oob, got, want)
		}
	})
}

// FuzzReceived: whatever the kernel stamps, no read is put after itself or long before.
func FuzzReceived(f *testing.F) {
	const now = 1_700_000_000_000_000_000
	f.Add(int64(now), int64(now), int64(1))
	f.Add(int64(now+1e9), int64(now), int64(1e9))
	f.Add(int64(0), int64(now), int64(1e12))
	f.Add(int64(-1<<63), int64(now), int64(1<<62))
	f.Add(int64(-1<<63+now+5), int64(now), int64(1e12))
	f.Fuzz(func(t *testing.T, stamp, wall, read int64) {
		if read < 0 || read > int64(100*365*24*time.Hour) || wall < 0 || wall > 3*now {
			return // a read is after the clock's origin, and the wall clock's distance from it is some decades
		}
		c := NewClock()
		c.wall.Store(wall)
		at, ok := c.Received(stamp, read)
		if at > read || read-at >= int64(doubtful) || read-at < 0 || !ok && at != read {
			t.Fatalf("stamp %d, wall clock at %d, read at %d: received at %d, %v", stamp, wall, read, at, ok)
		}
	})
}
