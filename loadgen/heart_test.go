package loadgen

import (
	"testing"
	"time"
)

func TestHeart(t *testing.T) {
	for _, test := range []struct {
		name            string
		gaps            []time.Duration
		frozen, longest time.Duration
	}{
		{"in time", []time.Duration{heartbeat, heartbeat, heartbeat}, 0, 0},
		{"a busy machine", []time.Duration{heartbeat + frozenFloor, heartbeat - frozenFloor, heartbeat}, 0, 0},
		{"stopped once", []time.Duration{heartbeat, heartbeat + 4*time.Second, 40 * time.Millisecond, heartbeat},
			4 * time.Second, 4 * time.Second},
		{"stopped twice", []time.Duration{heartbeat + time.Second, heartbeat + 2*time.Second}, 3 * time.Second,
			2 * time.Second},
		{"ended before a beat", []time.Duration{time.Millisecond}, 0, 0},
	} {
		h := heart{last: 1000}
		now := h.last
		for _, gap := range test.gaps {
			now += int64(gap)
			h.beat(now)
		}
		if h.frozen != test.frozen || h.longest != test.longest {
			t.Errorf("%s: stood still for %v, at most %v; want %v and %v", test.name, h.frozen, h.longest, test.frozen,
				test.longest)
		}
	}
}
