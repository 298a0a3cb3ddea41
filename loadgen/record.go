package loadgen

import (
	"time"

	"github.com/openloop/openloop/loadgen/stream"
)

// Status is how a request ended.
type Status uint8

// The ways a request can end. The zero value marks a record whose request was never started.
const (
	NotSent    Status = iota // made by the schedule, but the stage ended before it was sent
	Completed                // the response ended as it should
	Errored                  // refused, failed, timed out, or cut short
	Incomplete               // still in flight when the stage ended
)

// String returns the status as GuideLLM's reports name it.
func (s Status) String() string {
	switch s {
	case Completed:
		return "completed"
	case Errored:
		return "errored"
	case Incomplete:
		return "cancelled"
	default:
		return "pending"
	}
}

// ErrorKind says at which step a request failed.
type ErrorKind uint8

// The kinds of failure.
const (
	NoError      ErrorKind = iota
	ErrConnect             // no connection: DNS, TCP or TLS; it is the server's or the network's
	ErrLocal               // no connection, since this machine had no descriptor, port or memory for it
	ErrSend                // the request could not be written
	ErrReset               // the connection ended before the response did
	ErrStatus              // an HTTP status other than 200
	ErrServer              // an error object in a response with HTTP 200
	ErrTruncated           // the stream ended in good order, and the answer was not at its end
	ErrNoToken             // the answer ended as it should, and held no token
	ErrMalformed           // bytes that are not HTTP, server-sent events or JSON
	ErrTimeout             // the request's own time limit
)

// String returns the kind in a word or two, for tables of errors.
func (k ErrorKind) String() string {
	switch k {
	case NoError:
		return ""
	case ErrConnect:
		return "connect"
	case ErrLocal:
		return "local shortage"
	case ErrSend:
		return "send"
	case ErrReset:
		return "connection lost"
	case ErrStatus:
		return "http status"
	case ErrServer:
		return "error in response"
	case ErrTruncated:
		return "truncated stream"
	case ErrNoToken:
		return "no token"
	case ErrMalformed:
		return "malformed response"
	case ErrTimeout:
		return "timeout"
	default:
		return "unknown"
	}
}

// Flags mark what was unusual about a request.
type Flags uint16

// The flags.
const (
	NewConnection  Flags = 1 << iota // a connection was opened for it
	Retried                          // an idle connection proved closed before any of it was received; sent again
	DelayedByCap                     // it waited for the concurrency cap
	KernelStamped                    // token times are the kernel's receive times
	FinishedByDone                   // the stream ended with [DONE]
	Streamed                         // the response was a stream of server-sent events
	OpenedAhead                      // its connection was opened before it was due: Connecting was not waited for
	BadUsage                         // usage held a number that can't be; token events were counted in its place
	OtherChoices                     // the answer held choices beside the first, of which nothing is measured
	EndsSession                      // it is the last answer of its session, or the first failure of one of its turns
)

// Record is what is kept of one request. It has a fixed size and no pointers, and is written once, by the request's own
// goroutine. Times are nanoseconds since the stage's origin; the origin lies before everything, so 0 means "never".
type Record struct {
	Scheduled  int64 // the time the arrival process gave it (closed loops: when its stream became free)
	Started    int64 // its goroutine took it up; where the cap delayed it, when it began to wait
	Connecting int64 // how long it took to get a connection (transport.Sending); 0 on one that was open
	Sent       int64 // just before the first byte was written on the chosen connection; of the first try
	FirstEvent int64 // the first event of the stream, whatever it held
	FirstToken int64 // the first token event: content, reasoning or a tool call
	// FirstOutput is the first token event of the answer itself: content or a tool call, not reasoning alone.
	FirstOutput int64
	LastToken   int64 // the last token event
	LastEvent   int64 // the last event, [DONE] included
	End         int64 // the response was complete, or the request had failed or been cancelled

	DelaySum int64 // Σ (user-space stamp − kernel stamp) over its token events, ns; 0 without kernel stamps
	DelayMax int64 // the largest of them

	Lines        int32 // lines of the stream, blank ones and [DONE] included (GuideLLM's request_iterations)
	TokenEvents  int32 // events with content: not tokens, a server may send several tokens in one event
	PromptTokens int32 // usage.prompt_tokens, −1 if the server gave none
	OutputTokens int32 // usage.completion_tokens, −1 if the server gave none
	CachedTokens int32 // usage.prompt_tokens_details.cached_tokens, −1 if the server gave none
	AskedPrompt  int32 // length of the prompt as the request source counted it, −1 if it did not
	AskedOutput  int32 // output tokens that were asked for, 0 for "as many as the model likes"
	PromptWords  int32
	PromptChars  int32
	OutputWords  int32
	OutputChars  int32

	Began int64 // when the session was due that it is a turn of; 0: of none

	Session     int32 // that it is a turn of, from 1 in the order of arrivals; 0: of none
	Turn, Turns int16 // which one, from 0, and how many the session has

	Class  uint8 // of the mix, from 1; 0: there is none
	Target uint8 // that it was sent to, from 0

	HTTPStatus int16
	Tries      uint8 // how often it was sent: more than once where Stage.Retries allows it; 0: not at all
	Status     Status
	Err        ErrorKind
	Finish     stream.Finish
	Flags      Flags
}

// SendDelay is Sent − Scheduled, the send delay; for a request that was never sent it is 0.
func (r *Record) SendDelay() time.Duration {
	if r.Sent == 0 {
		return 0
	}
	return time.Duration(r.Sent - r.Scheduled)
}

// Offered is when the client offered the request to the server: Sent, or where there was no connection to be had, when
// it began to ask for one. 0: it did not, or could not for want of something of its own.
func (r *Record) Offered() int64 {
	switch {
	case r.Sent > 0:
		return r.Sent
	case r.Connecting > 0 && r.Err != ErrLocal:
		return r.End - r.Connecting
	}
	return 0
}

// OwnDelay is the part of the send delay that is the client's own: without the time in which the server or the network
// kept it waiting for a connection.
func (r *Record) OwnDelay() time.Duration {
	offered := r.Offered()
	if offered == 0 {
		return 0
	}
	if r.Sent > 0 && r.Flags&OpenedAhead == 0 {
		offered -= r.Connecting
	}
	return time.Duration(max(offered-r.Scheduled, 0))
}

// TTFT is the time from Sent to the first token event; ok is false if there was none.
func (r *Record) TTFT() (d time.Duration, ok bool) {
	return time.Duration(r.FirstToken - r.Sent), r.FirstToken > 0
}

// ScheduledTTFT is the time from Scheduled to the first token event: what a user who came at that time felt.
func (r *Record) ScheduledTTFT() (d time.Duration, ok bool) {
	return time.Duration(r.FirstToken - r.Scheduled), r.FirstToken > 0
}

// ScheduledTTFO is the time from Scheduled to the first token event of the answer itself.
func (r *Record) ScheduledTTFO() (d time.Duration, ok bool) {
	return time.Duration(r.FirstOutput - r.Scheduled), r.FirstOutput > 0
}

// Latency is the time from Sent to the end of the response; ok is false unless the request completed.
func (r *Record) Latency() (d time.Duration, ok bool) {
	return time.Duration(r.End - r.Sent), r.Status == Completed
}

// ScheduledLatency is the time from Scheduled to the end of the response.
func (r *Record) ScheduledLatency() (d time.Duration, ok bool) {
	return time.Duration(r.End - r.Scheduled), r.Status == Completed
}

// TPOT is (last token − first token) / (output tokens − 1), one observation a request, after the first token. Output
// tokens are the server's count where it gave one, else the events with content. ok is false below two tokens.
func (r *Record) TPOT() (d time.Duration, ok bool) {
	n := r.Tokens()
	if r.FirstToken == 0 || n < 2 {
		return 0, false
	}
	return time.Duration((r.LastToken - r.FirstToken) / int64(n-1)), true
}

// MeanGap is the mean gap between the token events, in ns: of a request that has not ended, of those that came. It is 0
// below two events. Unlike TPOT it asks nothing about the server's count of tokens.
func (r *Record) MeanGap() float64 {
	if r.TokenEvents < 2 {
		return 0
	}
	return float64(r.LastToken-r.FirstToken) / float64(r.TokenEvents-1)
}

// Tokens is the number of output tokens: the server's count where it gave one, else the events with content.
func (r *Record) Tokens() int {
	if r.OutputTokens >= 0 {
		return int(r.OutputTokens)
	}
	return int(r.TokenEvents)
}

// Detail is what is kept of one request beside its record where the stage asked for it.
type Detail struct {
	ResponseID string // the server's id of the response
	RequestID  string // by which the server's or a gateway's log knows the request: a header of the response
	Error      string // what went wrong, in words, with no secret in it
	Body       []byte // what was sent; nil where texts are not kept
	Output     string // the text it generated, as far as it came; "" where texts are not kept
}
