package loadgen

import (
	"testing"
	"time"
)

func TestSilence(t *testing.T) {
	const s = int64(time.Second)
	var watch silence
	for _, look := range []struct {
		name        string
		now, tokens int64
		idleUntil   int64
		inFlight    int
		want        time.Duration
	}{
		{"nothing sent", 1 * s, 0, 0, 0, 0},
		{"sent, no token yet", 5 * s, 0, 4 * s, 1, time.Second},
		{"tokens", 6 * s, 7, 4 * s, 1, 0},
		{"none since", 9 * s, 7, 4 * s, 1, 3 * time.Second},
		{"tokens again", 10 * s, 8, 4 * s, 2, 0},
		{"idle", 20 * s, 8, 4 * s, 0, 0},
		{"sent after that", 31 * s, 8, 30 * s, 1, time.Second},
	} {
		if got := watch.look(look.now, look.tokens, look.idleUntil, look.inFlight); got != look.want {
			t.Errorf("%s: silent for %v, want %v", look.name, got, look.want)
		}
	}
}
