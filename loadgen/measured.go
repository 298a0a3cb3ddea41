package loadgen

import (
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Measured is what a stage left. Times are nanoseconds since the stage's origin, as in Record.
type Measured struct {
	Stage   Stage
	Origin  time.Time // the origin by the wall clock
	Start   int64     // offsets of the schedule count from here
	Stopped int64     // sending ended
	End     int64     // nothing was in flight any more
	Reason  StopReason
	Err     error // for StopSource, StopPacer and StopServerGone: what happened

	Records []Record
	Details []Detail // parallel to Records; nil unless the stage asked for it

	// Offered counts the arrivals that the schedule gave until sending ended, those included that the pacer no longer
	// got to. Closed loops: the requests begun.
	Offered int

	// What was recorded as the stage ran, of requests inside the measured window, ns.
	Gaps        *hdr.Histogram // between consecutive token events, each gap one observation (ITL)
	TTFT        *hdr.Histogram // from Sent
	ClientDelay *hdr.Histogram // user-space stamp − kernel stamp of token events; empty without kernel stamps

	Sessions Sessions // what became of them; the zero value where requests stand alone

	Client ClientStats

	// Workers are the processes that sent the stage together, nil where this one did alone.
	Workers []Worker
}

// Worker is one of several processes that sent a stage together.
type Worker struct {
	Name    string // of the process, for people
	Version string

	// ClockOffset is its clock's distance from the leader's at the start of the stage, ClockError what that is known
	// to: half the quickest answer's way there and back, or what the distance changed by over the stage, if that is
	// more.
	ClockOffset, ClockError time.Duration

	Lost string    // why it did not send to the end; "" if it did
	Part *Measured // what it measured, by its own clock; nil if it was lost
}

// Wall returns a stage time by the wall clock.
func (m *Measured) Wall(ns int64) time.Time { return m.Origin.Add(time.Duration(ns)) }

// Rebuild makes the histograms that are nil: that of TTFT from the records, and those that can't be made from them
// empty.
func (m *Measured) Rebuild() {
	for _, h := range []**hdr.Histogram{&m.Gaps, &m.ClientDelay} {
		if *h == nil {
			*h = NewHistogram()
		}
	}
	if m.TTFT != nil {
		return
	}
	m.TTFT = NewHistogram()
	for i := range m.Records {
		rec := &m.Records[i]
		if ttft, ok := rec.TTFT(); ok && m.Stage.measures(m.Start, rec) {
			record(m.TTFT, int64(ttft))
		}
	}
}

// AllRecords returns the records with those of the arrivals that were due and that the pacer never got to.
func (m *Measured) AllRecords() []Record {
	schedule := m.Stage.Load.Schedule()
	arrived := len(m.Records)
	if m.Sessions.Started > 0 {
		arrived = m.Arrived()
	}
	if schedule == nil || m.Offered <= arrived {
		return m.Records
	}
	records := slices.Clip(m.Records)
	for i := arrived; i < m.Offered; i++ {
		offset, ok := schedule.At(i)
		if !ok {
			break
		}
		records = append(records, Record{Scheduled: m.Start + int64(offset)})
	}
	return records
}

// Arrived counts the records of what arrived by itself: requests that stand alone, and first turns of sessions. Later
// turns do not arrive by the schedule.
func (m *Measured) Arrived() int {
	n := 0
	for i := range m.Records {
		if m.Records[i].Turn == 0 {
			n++
		}
	}
	return n
}

// EndEdge is the last part of a stage in which an arrival need not have been sent: it may have been due a microsecond
// before the end.
const EndEdge = 50 * time.Millisecond

// ClientStats is what the client can say about itself over one stage.
type ClientStats struct {
	Stamps         StampSource
	Pacer          string
	NewConnections int
	Retries        int           // requests sent again because their idle connection proved closed
	DelayedByCap   int           // arrivals that waited for the concurrency cap
	PeakInFlight   int           // requests in flight at most
	SourceWaits    int           // arrivals that were late because the request source was
	CPU            time.Duration // of the whole process, user and system
	Procs          int           // GOMAXPROCS: how many threads may run Go code at once
	CPULimit       float64       // processors that the control groups leave the process; 0: no limit, or not known
	CPUPeriods     int           // periods of that limit in which the process ran …
	CPUThrottled   int           // … and of them, those in which it was stopped for having used it up
	CPUStopped     time.Duration // for how long it was stopped in them, summed over processors
	GCPause        time.Duration // sum of stop-the-world pauses
	GCs            int
	SchedP99       time.Duration // 99th percentile of the time goroutines waited, runnable, for a processor
	Frozen         time.Duration // for how long the process stood still in all: beats of its heart that came late …
	FrozenMax      time.Duration // … and at a time
	LocalFailures  int           // requests that failed because this machine had no descriptor or port for a connection
	Files          Headroom      // file descriptors
	Ports          Headroom      // local ports, for connections to the target
}

// Histogram bounds: values are nanoseconds from 1 µs to 1 h with three significant digits.
const (
	histMin    = 1_000
	histMax    = 3_600_000_000_000
	histDigits = 3
)

// NewHistogram is an empty histogram of a stage's times.
func NewHistogram() *hdr.Histogram { return hdr.New(histMin, histMax, histDigits) }

// record adds a value; one beyond the bounds counts as the nearest bound rather than not at all.
func record(h *hdr.Histogram, ns int64) {
	_ = h.RecordValue(min(max(ns, 0), histMax)) // errors only out of bounds
}
