package spec

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Need is the least that a run holds in memory, as far as that is known before it: closed loops with a limit by time
// send what the server takes.
type Need struct {
	Requests float64 // of all stages; what is kept of them stays until the report is written
	Waiting  float64 // of them, those that come faster than any client sends: they wait with what they are to send
	Body     int     // length of what one request sends
}

// requestBytes is what a request costs from its sending to the written report: its record and details, its share of
// what the report is made from, and the garbage collector's margin. A million requests and their report took 1,010 MB
// (docs/performance.md); at 120,000 and 300,000 requests the peak of the resident memory of openloop run was 1,100 and
// 1,400 bytes a request above that of a short run (256 prompt tokens, Linux, amd64).
const requestBytes = 1000

// fastest is a rate that no client on one machine comes near, in requests per second.
const fastest = 100_000

const (
	// endless is a length of stage that nobody waits for: somebody ends such a stage by hand, after openEnded perhaps.
	endless   = 1e7 * time.Second
	openEnded = time.Hour
	// gateStage is the shortest stage that a search runs at the rate of a gate.
	gateStage = 3 * time.Second
)

// Bytes is the memory that is needed.
func (n Need) Bytes() float64 { return n.Requests*requestBytes + n.Waiting*float64(n.Body) }

// Check says what is wrong with a plan on a machine with so much memory available, in bytes; 0 is not known, and holds
// a terabyte.
func (n Need) Check(available float64, source string) error {
	if available == 0 {
		available, source = 1<<40, "taken as available, for want of knowing"
	}
	if n.Bytes() <= available {
		return nil
	}
	return fmt.Errorf("the plan has %s requests, which need %s of memory or more; there is %s (%s)",
		large(n.Requests), gigabytes(n.Bytes()), gigabytes(available), source)
}

// NeedOf estimates what a run holds. Body is the length of what one request sends.
func (s Spec) NeedOf(body int) Need {
	n := Need{Body: body}
	for _, load := range s.Plan.Stages {
		n.add(s.Limits, load)
	}
	sweep := s.Plan.Sweep
	if sweep == nil {
		return n
	}
	if s.Limits.MaxDuration == 0 {
		n.Requests += float64(sweep.Size) * float64(s.Limits.MaxRequests)
	}
	if sweep.Search != nil {
		for _, g := range s.Gates {
			n.add(Limits{MaxDuration: gateStage, MaxRequests: s.Limits.MaxRequests},
				loadgen.Load{Kind: loadgen.ConstantGap, Rate: g.Rate})
		}
	}
	return n
}

// add adds the requests of one stage.
func (n *Need) add(l Limits, load loadgen.Load) {
	most := math.Inf(1)
	if l.MaxRequests > 0 {
		most = float64(l.MaxRequests)
	}
	length := math.Inf(1)
	if l.MaxDuration > 0 {
		length = l.MaxDuration.Seconds()
	}
	var due float64
	switch {
	case !load.Kind.Open():
		if l.MaxDuration == 0 {
			n.Requests += most
		}
		return
	case len(load.Times) > 0:
		times := load.Times
		if l.MaxDuration > 0 {
			i, _ := slices.BinarySearch(times, l.MaxDuration)
			times = times[:i]
		}
		due = float64(len(times))
		length = min(length, load.Times[len(load.Times)-1].Seconds())
	case load.Profile != nil:
		length = min(length, load.Profile.Length().Seconds())
		due = arrivals(load.Profile, length)
	default:
		if length = min(length, most/load.Rate); length >= endless.Seconds() {
			length = openEnded.Seconds()
		}
		due = load.Rate * length
	}
	sent := min(due, most)
	n.Requests += sent
	n.Waiting += max(0, sent-fastest*length)
}

// arrivals is how many requests a profile expects until then, in seconds.
func arrivals(p loadgen.Profile, until float64) float64 {
	sum := 0.0
	for _, piece := range p {
		length := piece.Length.Seconds()
		t := max(0, min(until, length))
		sum += piece.From*t + (piece.To-piece.From)*t*t/(2*length)
		until -= length
	}
	return sum
}

// large writes a number of requests for people.
func large(v float64) string {
	if v >= 1e15 {
		return "more than 10^15"
	}
	return num.Thousands(int(v))
}

// gigabytes writes an amount of memory for people.
func gigabytes(v float64) string {
	if v >= 1e15 {
		return "more than a million GB"
	}
	return num.Three(v/1e9) + " GB"
}
