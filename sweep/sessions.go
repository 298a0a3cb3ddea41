package sweep

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// conversations is what is known of the sessions that arrive before any is sent. The zero value stands for requests
// that arrive by themselves.
type conversations struct {
	requests float64       // of a session, on average; 0 for requests that arrive by themselves
	length   time.Duration // by their think times alone: nine of ten take no longer
}

// residence is how long an arrival is about, of which each request is in the server for a time.
func (t conversations) residence(request time.Duration) time.Duration {
	return time.Duration(float64(request)*t.perArrival()) + t.length
}

// sessionsDrawn is how many sessions are looked at to know how long they are.
const sessionsDrawn = 100

// Learn looks at some sessions of the source, to know how long they are. Sweep, Search and Decide do so by themselves; it
// is for who wants to know how long they will take.
func (p *Plan) Learn(ctx context.Context) error {
	if !p.Sessions || p.Source == nil || p.talk.requests > 0 {
		return nil
	}
	source, release, err := p.Source(ctx, p.stages)
	if err != nil {
		return fmt.Errorf("sessions, to see how long they are: %w", err)
	}
	defer release()
	var lengths []float64
	turns := 0
	for i := range sessionsDrawn {
		r, err := source(i)
		if err != nil || r.Session == nil { // an end of the data, which the stage will tell of
			break
		}
		turns += len(r.Session.Turns)
		lengths = append(lengths, float64(r.Session.Length()))
	}
	if len(lengths) > 0 {
		p.talk.requests = float64(turns) / float64(len(lengths))
		p.talk.length = time.Duration(num.Select(lengths, num.Rank(0.9, len(lengths))))
	}
	return nil
}

// perArrival is how many requests an arrival is, on average.
func (t conversations) perArrival() float64 { return max(t.requests, 1) }

// atSpeed gives the sessions of a source with times that many times as short.
func atSpeed(source loadgen.Source, speed float64) loadgen.Source {
	return func(i int) (loadgen.Request, error) {
		r, err := source(i)
		if err == nil && r.Session != nil {
			r = r.Session.AtSpeed(speed).Request()
		}
		return r, err
	}
}

// hurry is the speed of sessions in closed loops, which are to keep the server busy: nobody thinks.
var hurry = math.Inf(1)

// speedOf is how many times as fast the sessions of a stage are to go on as their source says; 0: just so.
func (p *Plan) speedOf(l loadgen.Load) float64 {
	switch {
	case p.talk.requests == 0:
		return 0
	case !l.Kind.Open():
		return hurry
	}
	return p.speed
}

// The units of rates.
const (
	requestsPerSecond = "req/s"
	sessionsPerSecond = "sessions/s"
)

// unit is what the rates of the stages count: what arrives.
func (r *Result) unit() string {
	for _, s := range r.Stages {
		if s.Measured != nil && s.Sessions.Started > 0 {
			return sessionsPerSecond
		}
	}
	return requestsPerSecond
}

// Unit is what the answer's rates count: what arrives.
func (a *Answer) Unit() string {
	if a.SessionRequests > 0 {
		return sessionsPerSecond
	}
	return requestsPerSecond
}

// unit is what the rates of the search count.
func (c SearchConfig) unit() string {
	if c.talk.requests > 0 {
		return sessionsPerSecond
	}
	return requestsPerSecond
}

// inRequests is the estimate of a search over sessions in requests, in a clause: "12.4 req/s". It is empty where rates are
// of requests, or nothing is known.
func (a *Answer) inRequests() string {
	at := a.Estimate
	if a.Finding == AtLeast || a.Finding == Interval && a.Upper.IsAbsent() {
		at = a.Lower
	}
	if a.SessionRequests == 0 || at.IsAbsent() || a.Finding == Unknown {
		return ""
	}
	return fmt.Sprintf("%s req/s in sessions of %s", num.Rate(float64(at)*a.SessionRequests),
		num.Three(a.SessionRequests))
}
