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
	requests float64       // of an arrival, on average; 0 where all are requests that stand alone
	length   time.Duration // by their think times alone: nine of ten take no longer
	mixed    bool          // some arrivals are requests that stand alone
}

// residence is how long an arrival is about, of which each request is in the server for a time.
func (t conversations) residence(request time.Duration) time.Duration {
	return time.Duration(float64(request)*t.perArrival()) + t.length
}

// sessionsDrawn is how many sessions are looked at to know how long they are.
const sessionsDrawn = 100

// Learn looks at some sessions of the source, to know how long they are. Sweep, Search and Decide do so by themselves;
// it is for who wants to know how long they will take.
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
	drawn := 0
	for ; drawn < sessionsDrawn; drawn++ {
		r, err := source(drawn)
		if err != nil { // an end of the data, which the stage will tell of
			break
		}
		if r.Session == nil {
			p.talk.mixed = true
			turns++
			continue
		}
		turns += len(r.Session.Turns)
		lengths = append(lengths, float64(r.Session.Length()))
	}
	if len(lengths) > 0 {
		p.talk.requests = float64(turns) / float64(drawn)
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
			class, target := r.Class, r.Target
			r = r.Session.AtSpeed(speed).Request()
			r.Class, r.Target = class, target
		}
		return r, err
	}
}

// open gives the requests of the next stage, or of the probe, whose sessions go on as the load wants it.
func (p *Plan) open(ctx context.Context, l loadgen.Load) (source loadgen.Source, release func(), err error) {
	if source, release, err = p.Source(ctx, p.stages); err != nil {
		return nil, nil, err
	}
	p.stages++
	if speed := p.speedOf(l); speed > 0 {
		source = atSpeed(source, speed)
	}
	return source, release, nil
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

// Arriving says what arrives, and so what rates count.
type Arriving string

// What may arrive.
const (
	Requests Arriving = "requests"
	Sessions Arriving = "sessions"
	Both     Arriving = "arrivals" // sessions, and requests that stand alone
)

// Unit is that of its rates.
func (a Arriving) Unit() string {
	if a == Requests {
		return "req/s"
	}
	return string(a) + "/s"
}

// IsRate says whether a unit is that of rates of arrivals.
func IsRate(unit string) bool {
	return unit == Requests.Unit() || unit == Sessions.Unit() || unit == Both.Unit()
}

// ArrivingIn is what arrives in a load that has sessions or not, and beside them requests that stand alone or not.
func ArrivingIn(sessions, alone bool) Arriving {
	switch {
	case !sessions:
		return Requests
	case alone:
		return Both
	}
	return Sessions
}

func (t conversations) unit() string { return ArrivingIn(t.requests > 0, t.mixed).Unit() }

// unit is what the rates of the stages count: what arrives.
func (r *Result) unit() string {
	sessions, alone := false, false
	for _, s := range r.Stages {
		if s.Measured != nil && s.Sessions.Started > 0 {
			sessions, alone = true, alone || s.Arrived() > s.Sessions.Started
		}
	}
	return ArrivingIn(sessions, alone).Unit()
}

// Unit is what the answer's rates count: what arrives.
func (a *Answer) Unit() string {
	return ArrivingIn(a.ArrivalRequests > 0, a.Mixed).Unit()
}

// unit is what the rates of the search count.
func (c SearchConfig) unit() string { return c.talk.unit() }

// inRequests is the estimate of a search over sessions in requests, in a clause: "12.4 req/s". It is empty where rates
// are of requests, or nothing is known.
func (a *Answer) inRequests() string {
	at := a.Estimate
	if a.Finding == AtLeast || a.Finding == Interval && a.Upper.IsAbsent() {
		at = a.Lower
	}
	if a.ArrivalRequests == 0 || at.IsAbsent() || a.Finding == Unknown {
		return ""
	}
	text := num.Rate(float64(at)*a.ArrivalRequests) + " req/s"
	if a.Mixed {
		return text
	}
	return text + " in sessions of " + num.Three(a.ArrivalRequests)
}
