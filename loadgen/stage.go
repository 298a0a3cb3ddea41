package loadgen

import (
	"errors"
	"fmt"
	"time"
)

// Request is one request to be sent, with what its source knows of it.
type Request struct {
	Body         []byte // the JSON body; not written to
	PromptTokens int32  // by the source's own count; −1 if it did not count
	OutputTokens int32  // asked for; 0 for as many as the model likes
	PromptWords  int32
	PromptChars  int32

	Class  uint8 // of a mix that it belongs to, from 1; 0: there are none
	Target uint8 // that it is sent to, from 0

	Session *Session // of which it is the first turn (Session.Request); nil: it stands alone
}

// Source gives request i of a stage. It is called with i in order, by one goroutine at a time, and ahead of the time at
// which the request is due. It should have the request ready: an open-loop stage that waits for its source is late.
type Source func(i int) (Request, error)

// Stage is what is asked of one stage of load: how requests arrive, when the stage ends, and what is kept of it. It
// holds values only, so that it can be stored beside what was measured.
type Stage struct {
	Load Load

	MaxDuration time.Duration // the stage ends then; 0: no limit by time
	MaxRequests int           // the stage ends when so many requests were sent and have ended; 0: no limit

	MaxErrors          int     // the stage ends at this many errors; 0: no limit
	MaxErrorRate       float64 // … when this share of the last 30 requests failed; 0: no limit
	MaxGlobalErrorRate float64 // … when this share of all requests failed, of at least 30; 0: no limit

	// Retries is how often a request that is refused with HTTP 429 or 503 is sent again, each time after the refusal's
	// Retry-After, or else a pause that doubles. A retry is no arrival: it belongs to its request, whose times begin
	// with the first try. 0: never; at most MostRetries.
	Retries int

	// Grace is how long what is in flight at the end may still run before it is cancelled. 0 cancels at once, as
	// GuideLLM does.
	Grace time.Duration

	// Warmup and Cooldown are left out of the histograms that are filled as the stage runs: requests that ended before
	// Warmup is over, or were sent after MaxDuration − Cooldown. Records are kept of all.
	Warmup, Cooldown time.Duration

	KeepDetails bool // fill Measured.Details
	KeepTexts   int  // … with body and output of the first so many requests
}

// Hooks are the functions that a stage calls while it runs. Nothing of them is kept in what it leaves.
type Hooks struct {
	Source Source // gives the requests

	// Observe, where set, is told of every request as it is sent and when it has ended. It is called by the requests'
	// own goroutines, several at a time, and must return at once; it may call Running.StopFor.
	Observe func(Event)

	// StartAt is when the stage begins: the offsets of its schedule count from there. It lies ahead. Zero: at once.
	StartAt time.Time
}

// Event is what Hooks.Observe is told.
type Event struct {
	Run   Running
	Index int // of the request, from 0

	// Record is to be read only until Observe returns, and unless Ended only for what is known before the sending:
	// Scheduled, Started and the lengths of the prompt.
	Record *Record
	Detail *Detail // nil where the stage keeps none; likewise

	Ended    bool          // false as the request is about to be sent
	At       time.Duration // since the start of the stage
	InFlight int           // requests in flight, this one included unless it has ended
}

// Check says what is wrong with a stage, nil if nothing.
func (s Stage) Check() error {
	if err := s.Load.check(); err != nil {
		return err
	}
	switch {
	case s.Retries < 0 || s.Retries > MostRetries:
		return fmt.Errorf("a request is sent again at most %d times", MostRetries)
	case s.MaxDuration < 0 || s.MaxRequests < 0 || s.MaxErrors < 0 || s.Grace < 0:
		return errors.New("limits of a stage can't be negative")
	case s.MaxDuration == 0 && s.MaxRequests == 0:
		return errors.New("a stage needs a limit: by time or by requests")
	case !isShare(s.MaxErrorRate) || !isShare(s.MaxGlobalErrorRate):
		return errors.New("an error rate lies between 0 and 1")
	case s.Warmup < 0 || s.Cooldown < 0:
		return errors.New("warm-up and cool-down can't be negative")
	case s.MaxDuration > 0 && s.Warmup+s.Cooldown >= s.MaxDuration:
		return fmt.Errorf("warm-up %v and cool-down %v leave nothing of %v", s.Warmup, s.Cooldown, s.MaxDuration)
	}
	return nil
}

// isShare is false for NaN too.
func isShare(x float64) bool { return x >= 0 && x <= 1 }

// StopReason is why a stage ended.
type StopReason string

// The reasons.
const (
	StopDuration        StopReason = "max_duration"
	StopRequests        StopReason = "max_requests"
	StopMinRequests     StopReason = "min_requests" // an observer has seen so many requests end
	StopSchedule        StopReason = "schedule_end"
	StopErrors          StopReason = "max_errors"
	StopErrorRate       StopReason = "max_error_rate"
	StopGlobalErrorRate StopReason = "max_global_error_rate"
	StopServerGone      StopReason = "server_gone"     // for a while, no connection could be made
	StopSource          StopReason = "source_error"    // no further request to send
	StopPacer           StopReason = "pacer_error"     // this machine can't sleep precisely
	StopOverSaturated   StopReason = "over_saturation" // an observer found that the server does not keep up
	StopWorkerLost      StopReason = "worker_lost"     // one of the machines that sent it no longer did
	StopInterrupted     StopReason = "interrupted"     // the caller's context ended
	StopAsked           StopReason = "stopped"         // Run.Stop was called
)
