package report

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/stream"
)

// Answers are how the completed answers of a stage ended, in requests.
type Answers struct {
	Finish Finish `json:"finish_reasons"`
	Asked  int    `json:"length_asked"` // answers of which a number of output tokens was asked
	Short  int    `json:"short"`        // of those, the ones that had fewer
}

// Finish counts answers by the server's finish_reason.
type Finish struct {
	Length int `json:"length"` // requests: the number of tokens that was asked for was reached
	Stop   int `json:"stop"`   // requests: the model ended by itself
	Other  int `json:"other"`  // requests: any other, such as tool_calls
	None   int `json:"none"`   // requests: none was given
}

// RetryAfter sums up how long the refusals of a stage (429 and 503) asked to wait. Refusals without a Retry-After in
// seconds are not among them.
type RetryAfter struct {
	Count  int     `json:"count"` // requests
	Median float64 `json:"median_s"`
	Max    float64 `json:"max_s"`
}

// answersOf says how the completed answers ended; nil where there are none.
func answersOf(m *loadgen.Measured) *Answers {
	a := &Answers{}
	for i := range m.Records {
		r := &m.Records[i]
		if r.Status != loadgen.Completed {
			continue
		}
		switch r.Finish {
		case stream.FinishLength:
			a.Finish.Length++
		case stream.FinishStop:
			a.Finish.Stop++
		case stream.NoFinish:
			a.Finish.None++
		default:
			a.Finish.Other++
		}
		if r.AskedOutput > 0 {
			a.Asked++
			if r.Tokens() < int(r.AskedOutput) {
				a.Short++
			}
		}
	}
	if *a == (Answers{}) {
		return nil
	}
	return a
}

// refused says of a status whether it is the rate limit of an endpoint, or that it has no room.
func refused(status int16) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

// retryAfterOf sums up the Retry-After of a stage's refusals; nil where there was none.
func retryAfterOf(m *loadgen.Measured) *RetryAfter {
	if m.Details == nil {
		return nil
	}
	var all []time.Duration
	for i := range m.Records {
		if m.Records[i].Status != loadgen.Errored || !refused(m.Records[i].HTTPStatus) {
			continue
		}
		if _, after, ok := stream.CutRetryAfter(m.Details[i].Error); ok {
			all = append(all, after)
		}
	}
	return summedUp(all)
}

// summedUp sorts what it sums up.
func summedUp(all []time.Duration) *RetryAfter {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return &RetryAfter{len(all), all[(len(all)-1)/2].Seconds(), all[len(all)-1].Seconds()}
}

// Retried sums up the requests of a stage that were sent again after a refusal (429 or 503). None is an arrival, and
// the pauses are part of their latencies.
type Retried struct {
	Requests  int `json:"requests"`  // requests sent more than once
	Tries     int `json:"tries"`     // requests on the wire, those after the first of each
	Completed int `json:"completed"` // requests of them that completed in the end
}

// retriedOf sums up what was sent again; nil where nothing was.
func retriedOf(m *loadgen.Measured) *Retried {
	var n Retried
	for i := range m.Records {
		r := &m.Records[i]
		if r.Tries < 2 {
			continue
		}
		n.Requests++
		n.Tries += int(r.Tries) - 1
		if r.Status == loadgen.Completed {
			n.Completed++
		}
	}
	if n.Requests == 0 {
		return nil
	}
	return &n
}

// Endings are what is to be seen of how the requests of a stage ended and its table has no column for, in a line each:
// refusals, retries, and answers that were too short.
func (s *Stage) Endings() []string {
	var texts []string
	var refusals []string
	if n := s.Requests.RateLimited; n > 0 {
		refusals = append(refusals, num.Thousands(n)+" with HTTP 429")
	}
	if n := s.Requests.Unavailable; n > 0 {
		refusals = append(refusals, num.Thousands(n)+" with HTTP 503")
	}
	if len(refusals) > 0 {
		text := "refused: " + strings.Join(refusals, ", ")
		if w := s.RetryAfter; w != nil {
			text += fmt.Sprintf("; Retry-After of %s: median %v s, at most %v s", num.Thousands(w.Count), w.Median,
				w.Max)
		}
		texts = append(texts, text)
	}
	if r := s.Retried; r != nil {
		texts = append(texts, fmt.Sprintf("sent again after a refusal: %s, %s, of which %s completed",
			num.Count(r.Requests, "request"), times(r.Tries), num.Thousands(r.Completed)))
	}
	if a := s.Answers; a != nil && a.Short > 0 {
		texts = append(texts, fmt.Sprintf("shorter than was asked for: %s of %s answers", num.Thousands(a.Short),
			num.Thousands(a.Asked)))
	}
	return texts
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return num.Thousands(n) + " times"
}

// writeEndings writes the endings of all stages below their table.
func (r *Result) writeEndings(b *strings.Builder) {
	first := true
	for i := range r.Stages {
		texts := r.Stages[i].Endings()
		if len(texts) > 0 && first {
			b.WriteByte('\n')
			first = false
		}
		for _, text := range texts {
			if len(r.Stages) > 1 {
				text = r.Stages[i].Name + ": " + text
			}
			wrap(b, "  ", "    ", text)
		}
	}
}

// mostErrors is how many different errors of a stage are listed.
const mostErrors = 10

// countErrors counts the errors of a stage by their text, the most frequent first. Errors that differ by their
// Retry-After alone are one, with its median and its maximum.
func countErrors(m *loadgen.Measured) []ErrorCount {
	counts := map[ErrorCount]int{}
	waits := map[ErrorCount][]time.Duration{}
	for i := range m.Records {
		if m.Records[i].Status != loadgen.Errored {
			continue
		}
		e := ErrorCount{Kind: m.Records[i].Err.String()}
		e.Text = e.Kind
		if m.Details != nil && m.Details[i].Error != "" {
			e.Text = m.Details[i].Error
		}
		if text, after, ok := stream.CutRetryAfter(e.Text); ok {
			e.Text = text
			waits[e] = append(waits[e], after)
			continue
		}
		counts[e]++
	}
	all := make([]ErrorCount, 0, len(counts)+len(waits))
	for e, n := range counts {
		e.Count = n
		all = append(all, e)
	}
	for e, after := range waits {
		e.Count = len(after)
		w := summedUp(after)
		if after[0] == after[len(after)-1] {
			e.Text += fmt.Sprintf(" (Retry-After: %v)", w.Max)
		} else {
			e.Text += fmt.Sprintf(" (Retry-After: median %v s, at most %v s)", w.Median, w.Max)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b ErrorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	return all[:min(len(all), mostErrors)]
}

// shortShare is the share of short answers from which on a stage is warned of: what was measured then is another load
// than the one that was asked for.
const shortShare = 0.01

// endingWarnings are what there is to say of how the requests of a stage ended. lengthsAreModels means that it was left
// to the model where its answers end.
func endingWarnings(m *loadgen.Measured, lengthsAreModels bool) []string {
	var texts []string
	if a := answersOf(m); a != nil && !lengthsAreModels && float64(a.Short) > shortShare*float64(a.Asked) {
		texts = append(texts, fmt.Sprintf("%d of %d answers (%s %%) were shorter than was asked for: the endpoint "+
			"does not honour ignore_eos, or limits the length", a.Short, a.Asked,
			num.Three(100*float64(a.Short)/float64(a.Asked))))
	}
	limited, sent := 0, 0
	for i := range m.Records {
		r := &m.Records[i]
		if r.Sent > 0 {
			sent++
		}
		if r.Status == loadgen.Errored && r.HTTPStatus == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited > 0 {
		texts = append(texts, fmt.Sprintf("%d of %d requests were refused with HTTP 429: a rate limit of the endpoint "+
			"is part of what was measured", limited, sent))
	}
	return texts
}
