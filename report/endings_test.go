package report

import (
	"reflect"
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/stream"
)

func TestAnswersOf(t *testing.T) {
	m := &loadgen.Measured{}
	add := func(n int, r loadgen.Record) {
		for range n {
			m.Records = append(m.Records, r)
		}
	}
	if got := answersOf(m); got != nil {
		t.Errorf("of no answers: %+v", got)
	}
	add(196, loadgen.Record{Status: loadgen.Completed, Finish: stream.FinishLength, AskedOutput: 8, OutputTokens: 8})
	add(1, loadgen.Record{Status: loadgen.Completed, Finish: stream.FinishStop, AskedOutput: 8, OutputTokens: 7})
	add(1, loadgen.Record{Status: loadgen.Completed, Finish: stream.FinishStop, OutputTokens: 7})
	// Without usage it is the token events that count.
	add(1, loadgen.Record{Status: loadgen.Completed, AskedOutput: 8, OutputTokens: -1, TokenEvents: 7})
	add(1, loadgen.Record{Status: loadgen.Completed, Finish: stream.FinishOther, AskedOutput: 8, OutputTokens: 8})
	add(5, loadgen.Record{Status: loadgen.Errored, Finish: stream.FinishStop, AskedOutput: 8, OutputTokens: 1})
	want := &Answers{Finish: Finish{Length: 196, Stop: 2, Other: 1, None: 1}, Asked: 199, Short: 2}
	if got := answersOf(m); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	got := endingWarnings(m, false)
	if len(got) != 1 || !strings.Contains(got[0], "2 of 199 answers (1.01 %) were shorter") {
		t.Errorf("%q", got)
	}
	if got := endingWarnings(m, true); len(got) != 0 {
		t.Errorf("where the model ends its answers: %q", got)
	}
	add(1, loadgen.Record{Status: loadgen.Completed, AskedOutput: 8, OutputTokens: 8})
	if got := endingWarnings(m, false); len(got) != 0 {
		t.Errorf("at 1 %%: %q", got)
	}
}

// Refusals are counted apart, and those that differ by Retry-After alone are one error.
func TestRefusals(t *testing.T) {
	m := &loadgen.Measured{}
	add := func(status int16, text string) {
		m.Records = append(m.Records,
			loadgen.Record{Status: loadgen.Errored, Err: loadgen.ErrStatus, HTTPStatus: status, Sent: 1})
		m.Details = append(m.Details, loadgen.Detail{Error: text})
	}
	for _, after := range []string{"9", "1", "30"} {
		add(429, "HTTP 429 Too Many Requests: slow down (Retry-After: "+after+")")
	}
	add(429, "HTTP 429 Too Many Requests: slow down (Retry-After: Wed, 21 Oct 2026 07:28:00 GMT)")
	add(503, "HTTP 503 Service Unavailable (Retry-After: 2)")
	add(503, "HTTP 503 Service Unavailable (Retry-After: 2)")
	add(500, "HTTP 500 Internal Server Error (Retry-After: 600)")
	m.Records = append(m.Records, loadgen.Record{Status: loadgen.Incomplete, HTTPStatus: 429, Sent: 1})
	m.Details = append(m.Details, loadgen.Detail{})

	counted := Requests{Errored: 7, Unfinished: 1, RateLimited: 4, Unavailable: 2}
	if got := countRequests(m); got != counted {
		t.Errorf("%+v", got)
	}
	if got, want := retryAfterOf(m), (&RetryAfter{5, 2, 30}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	var got []string
	for _, e := range countErrors(m) {
		got = append(got, e.Text)
	}
	want := []string{
		"HTTP 429 Too Many Requests: slow down (Retry-After: median 9 s, at most 30 s)",
		"HTTP 503 Service Unavailable (Retry-After: 2)",
		"HTTP 429 Too Many Requests: slow down (Retry-After: Wed, 21 Oct 2026 07:28:00 GMT)",
		"HTTP 500 Internal Server Error (Retry-After: 600)",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := endingWarnings(m, false); len(got) != 1 || !strings.HasPrefix(got[0], "4 of 8 requests were refused") {
		t.Errorf("%q", got)
	}
	m.Details = nil
	if got := retryAfterOf(m); got != nil {
		t.Errorf("%+v", got)
	}
}
