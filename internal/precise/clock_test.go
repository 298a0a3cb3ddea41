package precise

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	c := NewClock()
	if c.Now() <= 0 {
		t.Errorf("now is %d: 0 means never", c.Now())
	}
	// The two clocks agree to within what a busy machine may lie between the readings.
	for range 20 {
		c.Calibrate()
		before := c.Now()
		at := c.FromWall(time.Now().UnixNano())
		after := c.Now()
		if at < before-int64(time.Millisecond) || at > after+int64(time.Millisecond) {
			t.Errorf("by the wall clock it is %d, by the stage's %d to %d", at, before, after)
		}
	}
}

func TestKernelStampsAreDoubted(t *testing.T) {
	c := NewClock()
	const user = int64(20 * time.Second)
	for _, test := range []struct {
		name   string
		stamp  int64 // on the stage's clock
		want   int64
		kernel bool
	}{
		{"a little before the read", user - 30_000, user - 30_000, true},
		{"long before the read: the client was busy", user - int64(5*time.Second), user - int64(5*time.Second), true},
		{"a little after the read: the error between the clocks", user + 300, user, true},
		{"after the read: the wall clock was set", user + int64(time.Second), user, false},
		{"far before the read: the wall clock was set", user - int64(11*time.Second), user, false},
		{"no time at all", -1 << 40, user, false},
	} {
		if at, ok := c.Received(test.stamp+c.wall.Load(), user); at != test.want || ok != test.kernel {
			t.Errorf("%s: stamp %d, by the kernel: %v; want %d, %v", test.name, at, ok, test.want, test.kernel)
		}
	}
}
