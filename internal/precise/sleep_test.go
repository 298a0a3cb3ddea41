package precise

import (
	"testing"
	"time"
)

func TestSleeperIsNeverEarly(t *testing.T) {
	for _, locked := range []bool{false, true} {
		done := make(chan struct{})
		go func() { // its thread may become the sleeper's
			defer close(done)
			c := NewClock()
			s, err := NewSleeper(c.Origin())
			if err != nil {
				t.Error(err)
				return
			}
			if locked {
				s.Lock()
				defer s.Unlock()
			}
			for i := range 50 {
				until := c.Now() + int64(i)*20_000
				s.Until(until)
				if now := c.Now(); now < until {
					t.Errorf("woke %d ns early", until-now)
				}
			}
			start := time.Now()
			s.Until(c.Now() - int64(time.Hour)) // long ago
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("slept %v until a time long past", d)
			}
		}()
		<-done
	}
}
