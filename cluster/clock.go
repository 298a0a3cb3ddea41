package cluster

import "time"

// clock counts ns from the start of the process, by its monotonic clock.
type clock struct{ origin time.Time }

func newClock() clock { return clock{time.Now()} }

func (c clock) now() int64 { return int64(time.Since(c.origin)) }

// at is the instant of a time on the clock.
func (c clock) at(t int64) time.Time { return c.origin.Add(time.Duration(t)) }

// distance is how far a worker's clock is from the leader's (worker − leader), and what that is known to.
type distance struct{ offset, error int64 }

// A worker's clock is asked for so often, as long as it takes no longer than that: the quickest answer says most.
const (
	rounds    = 25
	roundTime = time.Second / 2
)

// measureDistance asks a worker for its clock. An answer that took d was made at some moment of d, so that the distance
// is known to d/2, by the quickest of some answers (Cristian's algorithm).
func (l *Leader) measureDistance(m *member) (distance, error) {
	own := l.clock
	var best distance
	began := own.now()
	for i := range rounds {
		before := own.now()
		if i > 0 && before-began > int64(roundTime) {
			break
		}
		reply, err := l.request(m, pingSubject(m.id), nil)
		after := own.now()
		if err != nil {
			return best, err
		}
		p, err := decode[pong](reply.Data)
		if err != nil {
			return best, err
		}
		if half := (after - before) / 2; i == 0 || half < best.error {
			best = distance{p.Clock - (before + half), half}
		}
	}
	return best, nil
}
