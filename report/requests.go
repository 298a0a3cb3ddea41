package report

import (
	"iter"
	"slices"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Request is one request of a stage, flat: what files of requests hold, and what timelines are drawn from. Times are
// seconds since the stage began to send (Stage.Began), null where it did not come to that.
type Request struct {
	Index      int       `json:"index"`         // in the order of the schedule
	Scheduled  num.Value `json:"scheduled_s"`   // the time the arrival process gave it
	Sent       num.Value `json:"sent_s"`        // just before its first byte was written
	FirstToken num.Value `json:"first_token_s"` // the first token came
	// FirstOutput is when the first token of the answer itself came: content or a tool call, not reasoning alone.
	FirstOutput num.Value `json:"first_output_token_s"`
	LastToken   num.Value `json:"last_token_s"` // the last token came
	End         num.Value `json:"end_s"`        // the response was complete, or the request had failed

	SendDelay     num.Value `json:"send_delay_s"`     // sent − scheduled
	TTFT          num.Value `json:"ttft_s"`           // first token − sent
	ScheduledTTFT num.Value `json:"ttft_scheduled_s"` // first token − scheduled: what objectives bound
	ScheduledTTFO num.Value `json:"ttfo_scheduled_s"` // first token of the answer itself − scheduled
	TPOT          num.Value `json:"tpot_s"`           // (last − first token) / (output tokens − 1)
	ITL           num.Value `json:"itl_mean_s"`       // mean gap between its token events
	Latency       num.Value `json:"latency_s"`        // end − sent; of completed requests

	Session int `json:"session"` // that it is a turn of, from 1; 0: of none
	Turn    int `json:"turn"`    // which one, from 1; 0: none

	Class  int `json:"class"`  // of the mix, from 1; 0: there is none
	Target int `json:"target"` // from 0

	PromptTokens int    `json:"prompt_tokens"` // −1: not known
	CachedTokens int    `json:"cached_tokens"` // of them, found in the server's prefix cache; −1: not known
	OutputTokens int    `json:"output_tokens"`
	AskedOutput  int    `json:"asked_output_tokens"` // 0: as many as the model likes
	Status       string `json:"status"`              // completed, errored, cancelled (unfinished) or pending (not sent)
	HTTPStatus   int    `json:"http_status"`         // 0: no answer
	ErrorKind    string `json:"error_kind"`          // such as "http status"; "" for none
	Error        string `json:"error"`               // in words
	ResponseID   string `json:"response_id"`         // the server's
	RequestID    string `json:"request_id"`          // by which the log of server or gateway knows it; "": not said
	Tries        int    `json:"tries"`               // how often it was sent
}

// Log is every request of the stage in the order of the schedule: from its records, or where the result was read from a
// file, from the requests that stand there. It is nil where neither is at hand.
func (s *Stage) Log() []Request {
	if s.log == nil && s.Measured != nil {
		s.log = logOf(s.Measured)
	}
	return s.log
}

// EachRequest yields what Log returns one by one, so that the requests of a large stage need not all be held once more.
// It is nil where no requests are at hand.
func (s *Stage) EachRequest() iter.Seq[Request] {
	switch {
	case s.log != nil:
		return slices.Values(s.log)
	case s.Measured != nil:
		return eachOf(s.Measured)
	}
	return nil
}

func eachOf(m *loadgen.Measured) iter.Seq[Request] {
	return func(yield func(Request) bool) {
		for i := range m.Records {
			if !yield(requestOf(m, i)) {
				return
			}
		}
	}
}

// SetLog gives a stage that was read from a file its requests.
func (s *Stage) SetLog(requests []Request) { s.log = requests }

func logOf(m *loadgen.Measured) []Request {
	return slices.AppendSeq(make([]Request, 0, len(m.Records)), eachOf(m))
}

// requestOf is a record as a Request.
func requestOf(m *loadgen.Measured, i int) Request {
	r := &m.Records[i]
	at := func(ns int64) num.Value {
		if ns == 0 {
			return num.Absent()
		}
		return num.Value(float64(ns-m.Start) / 1e9)
	}
	since := func(to, from int64) num.Value {
		if to == 0 || from == 0 {
			return num.Absent()
		}
		return num.Value(float64(to-from) / 1e9)
	}
	q := Request{
		Index: i, Scheduled: at(r.Scheduled), Sent: at(r.Sent), FirstToken: at(r.FirstToken),
		FirstOutput: at(r.FirstOutput), LastToken: at(r.LastToken), End: at(r.End),
		SendDelay: since(r.Sent, r.Scheduled), TTFT: since(r.FirstToken, r.Sent),
		ScheduledTTFT: since(r.FirstToken, r.Scheduled), ScheduledTTFO: since(r.FirstOutput, r.Scheduled),
		TPOT: num.Absent(), ITL: num.Absent(), Latency: num.Absent(),
		PromptTokens: int(r.PromptTokens), CachedTokens: int(r.CachedTokens), OutputTokens: r.Tokens(),
		AskedOutput: int(r.AskedOutput), Status: r.Status.String(), HTTPStatus: int(r.HTTPStatus),
		ErrorKind: r.Err.String(), Tries: int(r.Tries), Class: int(r.Class), Target: int(r.Target),
	}
	if r.Session > 0 {
		q.Session, q.Turn = int(r.Session), int(r.Turn)+1
	}
	if d, ok := r.TPOT(); ok {
		q.TPOT = num.Value(d.Seconds())
	}
	if gap := r.MeanGap(); gap > 0 {
		q.ITL = num.Value(gap / 1e9)
	}
	if d, ok := r.Latency(); ok {
		q.Latency = num.Value(d.Seconds())
	}
	if m.Details != nil {
		d := &m.Details[i]
		q.Error, q.ResponseID, q.RequestID = d.Error, d.ResponseID, d.RequestID
	}
	return q
}

// completed and errored are Request.Status of requests that ended so.
var completed, errored = loadgen.Completed.String(), loadgen.Errored.String()
