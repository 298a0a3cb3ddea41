// Package live is a run as it goes: what is shown of it on a terminal, in a log, and to programs. What is drawn is made
// of a State alone.
//
//	state.go    what is known of a run at a moment
//	model.go    how it is gathered, as the requests of the stage under way end
//	recent.go   the requests that ended last, and what they say
//	screen.go   a State on a terminal
//	columns.go  the columns of its table
//	charts.go   bars, sparklines and panes
//	line.go     a State as a line of a log, and as JSON
package live

import (
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
)

// Head is what is known of a run before it begins.
type Head struct {
	Command    string // sweep, run, …
	Target     string // without name and password
	Model      string
	Workload   string // in a few words: "256→128 tokens"
	Arrivals   string // of the open-loop stages: "poisson"
	Objectives []slo.Objective

	// Lengths are about how long each stage takes, the probe's time among it; of stages whose length is not known, nil.
	// A search comes on top of them, with its budget of wall time.
	Lengths []time.Duration
	Stages  int           // of which the number is known: without those of a search
	Rates   []float64     // of the stages, where they are known beforehand, req/s; 0 for closed loops
	Search  time.Duration // 0: no search, or one without a budget
	Endless bool          // a search without a budget
}

// State is a run at a moment.
type State struct {
	Head
	At      time.Time
	Elapsed time.Duration // since the run began
	// Total is about how long the run takes in all, and AtMost says that it may be less: a search ends once it knows
	// enough. 0: not known.
	Total  time.Duration
	AtMost bool

	Finished  []report.Stage
	Running   *Running // nil between two stages
	Next      float64  // rate of the stage after it, req/s; 0: not known
	Searching bool
	SoFar     string // what is known of the max rate: "between 11.9 and 21 req/s"; "" for nothing
}

// Running is the stage under way.
type Running struct {
	Index       int // of all stages, from 0; −1 for the probe of a sweep, which looks for the saturation
	Name        string
	Load        loadgen.Load
	Elapsed     time.Duration
	Limit       time.Duration // after which it ends; 0: none by time
	MaxRequests int           // after which it ends; 0: none by requests
	loadgen.Progress

	// Of the last seconds, per second; NaN in the first.
	SentRate, DoneRate, TokenRate float64
	// Of the stage so far: the requests that ended, at most the last few thousands of them.
	TTFT, TPOT, SendDelay report.Latency
	// Of the last seconds.
	TTFTNow, TPOTNow report.Latency

	// What the engine said of itself last; absent where it says nothing.
	Waiting, KVUsage num.Value

	Client    audit.Level
	ErrorText string // the most frequent error
	// A value a second, the last one now; NaN where there was nothing.
	InFlightOverTime, TTFTOverTime, TPOTOverTime []float64
}
