package loadgen

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Kind is the kind of load of a stage, named as GuideLLM names its strategies.
type Kind string

// The kinds of load.
const (
	Synchronous Kind = "synchronous" // closed loop, one stream
	Concurrent  Kind = "concurrent"  // closed loop, a fixed number of streams
	Throughput  Kind = "throughput"  // closed loop, more streams than the server can run at once
	ConstantGap Kind = "constant"    // open loop, gaps that are not random: equal, unless Load.Arrival says otherwise
	PoissonGaps Kind = "poisson"     // open loop, random gaps: exponential, unless Load.Arrival says otherwise
)

// Open says whether the kind offers load on a schedule.
func (k Kind) Open() bool { return k == ConstantGap || k == PoissonGaps }

// KindOf is the kind under which an arrival process is reported.
func KindOf(a Arrival) Kind {
	switch a.Kind {
	case PoissonArrival, GammaArrival:
		return PoissonGaps
	case ConstantArrival, BurstArrival, "":
		return ConstantGap
	}
	panic("loadgen: no kind of load for the arrival process " + string(a.Kind))
}

// Load is how the requests of a stage arrive. It holds values only, so that it can be stored and compared.
type Load struct {
	Kind    Kind    `json:"kind"`
	Rate    float64 `json:"rate,omitempty"`    // open loops: requests per second; the mean of a profile or a trace
	Streams int     `json:"streams,omitempty"` // closed loops: requests in flight; Run.SetStreams changes it
	Seed    int64   `json:"seed,omitempty"`    // open loops with random gaps: of the arrivals

	// Arrival refines an open loop's kind: gamma arrivals are of the kind PoissonGaps, bursts of the kind ConstantGap.
	// The zero value is the kind's own.
	Arrival Arrival `json:"arrival,omitzero"`

	// Profile is a rate that changes over the stage, Times are the offsets of a recorded load, which never decrease.
	// Either takes the place of Rate.
	Profile Profile         `json:"profile,omitempty"`
	Times   []time.Duration `json:"-"` // as long as the trace is: its file has them

	// RampUp spreads the first request of each stream of a closed loop evenly over this time.
	RampUp time.Duration `json:"ramp_up_ns,omitempty"`

	Name string `json:"name,omitempty"` // of the stage, where kind and rate do not say it

	// Share is the part of the load that this process sends, where several send it together (package cluster). Rate and
	// MaxRequests of the stage: those of the whole load, and of the part. The zero value: all of it.
	Share Share `json:"share,omitzero"`
}

// Share is one of several equal parts of a load: the arrivals Index, Index+Of, Index+2·Of, …
type Share struct {
	Index int `json:"index"` // from 0
	Of    int `json:"of"`
}

// Whole says whether the share is the whole load.
func (s Share) Whole() bool { return s.Of <= 1 }

// Size is how many of the first n arrivals are in the share.
func (s Share) Size(n int) int {
	if s.Whole() {
		return n
	}
	return (n - s.Index + s.Of - 1) / s.Of
}

// Schedule returns when the requests of an open loop are due, nil for a closed loop. Each call returns an instance of
// its own, which begins at the first request.
func (l Load) Schedule() Schedule {
	if !l.Share.Whole() && l.Kind.Open() {
		whole := l
		whole.Share = Share{}
		return part{whole.Schedule(), l.Share}
	}
	switch {
	case !l.Kind.Open():
		return nil
	case l.Times != nil:
		return times(l.Times)
	case l.Profile != nil:
		return newProfileSchedule(l.Arrivals(), l.Profile, l.Seed)
	}
	return NewSchedule(l.Arrivals(), l.Rate, l.Seed)
}

// Arrivals is the arrival process of an open loop.
func (l Load) Arrivals() Arrival {
	switch {
	case l.Arrival.Kind != "":
		return l.Arrival
	case l.Kind == PoissonGaps:
		return Arrival{Kind: PoissonArrival}
	}
	return Arrival{Kind: ConstantArrival}
}

// TraceName is the name of a stage that replays a trace. A report tells it by that: the times do not stand in it.
const TraceName = "trace"

// Replays says whether the load is that of a trace, also where it was read from a report and has no times.
func (l Load) Replays() bool {
	return l.Times != nil || l.Name == TraceName || strings.HasPrefix(l.Name, TraceName+"@")
}

// AtSpeed is the load of a trace sent a number of times as fast.
func (l Load) AtSpeed(speed float64) Load {
	times := make([]time.Duration, len(l.Times))
	for i, t := range l.Times {
		times[i] = time.Duration(float64(t) / speed)
	}
	l.Times, l.Rate = times, l.Rate*speed
	l.Name = fmt.Sprintf("%s@%.3gx", TraceName, speed)
	return l
}

// Steady says whether the load is an open loop at one rate.
func (l Load) Steady() bool { return l.Kind.Open() && l.Profile == nil && !l.Replays() && l.Rate > 0 }

// String names a stage in a table: "constant@12.50", "concurrent@8".
func (l Load) String() string {
	switch {
	case l.Name != "":
		return l.Name
	case l.Kind.Open():
		return fmt.Sprintf("%s@%.2f", l.Arrivals(), l.Rate)
	case l.Kind == Synchronous:
		return string(l.Kind)
	default:
		return fmt.Sprintf("%s@%d", l.Kind, l.Streams)
	}
}

// check says what is wrong with a load, nil if nothing.
func (l Load) check() error {
	switch l.Kind {
	case Synchronous, Concurrent, Throughput:
		if l.Streams < 1 && l.Share.Whole() { // a share may wait for streams to be added to it
			return fmt.Errorf("a %s stage needs at least one stream", l.Kind)
		}
	case ConstantGap, PoissonGaps:
		switch {
		case l.Streams != 0:
			return errors.New("an open loop has a rate and no streams")
		case l.Times == nil && l.Profile == nil && !(l.Rate > 0 && !math.IsInf(l.Rate, 0)):
			return fmt.Errorf("a rate of %v requests per second: it must be above 0", l.Rate)
		}
	default:
		return fmt.Errorf("%q is not a kind of load", l.Kind)
	}
	if l.Share.Index < 0 || l.Share.Of < 0 || l.Share.Index > 0 && l.Share.Index >= l.Share.Of {
		return fmt.Errorf("share %d of %d: there is none", l.Share.Index, l.Share.Of)
	}
	if l.RampUp < 0 {
		return errors.New("a ramp-up can't be negative")
	}
	return nil
}

// times is a schedule of given offsets.
type times []time.Duration

// At implements Schedule.
func (t times) At(i int) (time.Duration, bool) {
	if i < 0 || i >= len(t) {
		return 0, false
	}
	return t[i], true
}

// part is a share of a schedule.
type part struct {
	whole Schedule
	share Share
}

// At implements Schedule.
func (p part) At(i int) (time.Duration, bool) { return p.whole.At(p.share.Index + i*p.share.Of) }
