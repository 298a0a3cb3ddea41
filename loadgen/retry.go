package loadgen

import (
	"net/http"
	"time"

	"github.com/openloop/openloop/loadgen/stream"
)

// MostRetries bounds Stage.Retries.
const MostRetries = 100

// What a request waits for before it is sent again, where the refusal does not say.
const (
	firstPause = 500 * time.Millisecond
	mostPause  = 8 * time.Second
	// longestWait is the longest Retry-After that is waited for: whoever asks for more is taken at its first word.
	longestWait = 10 * time.Minute
)

// pauseBefore is how long to wait before the next try of a request that was tried so often, by the head of its refusal.
// ok is false where there is to be none.
func pauseBefore(tries int, header http.Header) (pause time.Duration, ok bool) {
	if after, said := stream.RetryAfter(header, time.Now()); said {
		return after, after <= longestWait
	}
	return min(firstPause<<min(tries-1, 10), mostPause), true
}

// mayRetry says whether the request at hand was refused in a way that a later try may go better.
func (r *reader) mayRetry() bool {
	return r.kind == ErrStatus &&
		(r.head.Status == http.StatusTooManyRequests || r.head.Status == http.StatusServiceUnavailable)
}

// retry sends a request again that was refused, as often as the stage allows. It waits in the goroutine of the request
// and keeps its slot, so that no arrival is held up.
func (run *Run) retry(r *reader, a job) {
	for n := 1; n <= run.stage.Retries && a.rec.Status == Errored && r.mayRetry(); n++ {
		pause, ok := pauseBefore(n, r.head.Header)
		if !ok {
			return
		}
		if !wait(run.flights, pause) {
			r.cutRetry()
			return
		}
		r.again()
		r.encode(&a.req)
		r.roundTrip()
	}
}

// again forgets what a refusal left in the record, for the next try.
func (r *reader) again() {
	rec := r.rec
	rec.End, rec.HTTPStatus, rec.Status, rec.Err = 0, 0, NotSent, NoError
	if r.detail != nil {
		r.detail.Error, r.detail.ResponseID, r.detail.RequestID = "", "", ""
	}
}

// cutRetry notes that the stage ended while the request waited for its next try: it is unfinished.
func (r *reader) cutRetry() {
	r.rec.End, r.rec.Status, r.rec.Err = r.clock.Now(), Incomplete, NoError
	if r.detail != nil {
		r.detail.Error = cancelled
	}
}
