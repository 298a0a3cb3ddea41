package report

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
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
