package guidellm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
)

// GiveRequests gives the stages of a result, openloop's own and read from a report, the requests that the report holds
// of them.
func GiveRequests(result *report.Result, r *Report) error {
	var own struct {
		Search []*Benchmark `json:"search_benchmarks"`
	}
	if raw, ok := r.OpenLoop.(json.RawMessage); ok {
		d := newDecoder(bytes.NewReader(raw))
		if _, err := d.value(reflect.ValueOf(&own).Elem()); err != nil {
			return fmt.Errorf("the requests of the search: %w", err)
		}
	}
	for _, b := range slices.Concat(r.Benchmarks, own.Search) {
		var notes stageNotes
		if b.OpenLoop == nil || DecodeFree(b.OpenLoop, &notes) != nil {
			continue
		}
		if i := notes.Stage; i >= 0 && i < int64(len(result.Stages)) {
			stage := &result.Stages[i]
			if notes.Requests == nil {
				give(stage, requestsOf(b, &notes, stage.Began))
				continue
			}
			log, err := notes.Requests.requests()
			if err != nil {
				return fmt.Errorf("the requests of the stage %s: %w", stage.Name, err)
			}
			give(stage, log)
		}
	}
	return nil
}

// give gives a stage its requests, nil where they are not known, and the series that follows from them where its report
// has none.
func give(s *report.Stage, log []report.Request) {
	s.SetLog(log)
	if log == nil || s.Series != nil {
		return
	}
	last := 0.0
	for i := range log {
		if end := float64(log[i].End); end > last {
			last = end
		}
	}
	lasted := time.Duration(min(last*1e9, math.MaxInt64/2))
	s.Series = report.NewSeries(slices.Values(log), lasted, s.Load.Kind.Open())
}

// requestsOf are the requests of a stage, as openloop's own results have them, in the order of the schedule: nil where
// the report kept a sample of them. GuideLLM's reports don't say in which order they were scheduled at one time.
func requestsOf(b *Benchmark, notes *stageNotes, began time.Time) []report.Request {
	all := []report.Request{}
	numbered := true
	for _, group := range []struct {
		requests RequestSeq
		status   loadgen.Status
	}{
		{b.Requests.Successful, loadgen.Completed},
		{b.Requests.Errored, loadgen.Errored},
		{b.Requests.Incomplete, loadgen.Incomplete},
	} {
		if group.requests == nil {
			continue
		}
		for r := range group.requests {
			q, hasIndex := r.request(group.status, began)
			numbered = numbered && hasIndex
			all = append(all, q)
		}
	}
	if int64(len(all)) < b.SchedulerMetrics.RequestsMade.Total {
		return nil
	}
	for _, p := range notes.NotSent {
		q := unknownRequest(int(p.Index))
		q.Scheduled, q.AskedOutput, q.Status = num.Value(p.Scheduled), int(p.AskedOutput), loadgen.NotSent.String()
		derive(&q, 0)
		all = append(all, q)
	}
	slices.SortStableFunc(all, func(a, b report.Request) int {
		if numbered {
			return cmp.Compare(a.Index, b.Index)
		}
		return cmp.Compare(a.Scheduled, b.Scheduled)
	})
	if !numbered {
		for i := range all {
			all[i].Index = i
		}
	}
	return all
}

// request is a request as openloop's own results have it. numbered says whether the report has its place in the order
// of the schedule.
func (r *Request) request(status loadgen.Status, began time.Time) (q report.Request, numbered bool) {
	var notes requestNotes
	if r.OpenLoop != nil && DecodeFree(r.OpenLoop, &notes) != nil {
		notes = requestNotes{}
	}
	t, s := &r.Info.Timings, r.Stats()
	start := float64(began.UnixNano()) / 1e9
	// Seconds since the epoch, as floats, are known to a quarter of a microsecond.
	micro := func(seconds float64) num.Value { return num.Value(math.Round(seconds*1e6) / 1e6) }
	at := func(epoch Null[float64]) num.Value {
		if !epoch.Valid {
			return num.Absent()
		}
		return micro(epoch.Value - start)
	}
	q = report.Request{
		Index: int(notes.Index.Value), Scheduled: at(t.TargetedStart), Sent: at(t.RequestStart),
		FirstToken: at(t.FirstTokenIteration), FirstOutput: num.Absent(), LastToken: at(t.LastTokenIteration),
		End:          at(t.ResolveEnd),
		PromptTokens: int(s.Input.TextTokens), CachedTokens: -1, OutputTokens: int(t.TokenIterations),
		AskedOutput: int(notes.AskedOutput), Status: status.String(), HTTPStatus: int(notes.HTTPStatus),
		ErrorKind: notes.ErrorKind, Error: r.Info.Error.Value, ResponseID: r.ResponseID.Value,
	}
	q.Session, q.Turn = int(notes.Session), int(notes.Turn)
	q.RequestID, q.Tries = notes.RequestID, int(notes.Tries)
	if q.Tries == 0 && !q.Sent.IsAbsent() {
		q.Tries = 1
	}
	q.Class, q.Target = int(notes.Class), int(notes.Target)
	if notes.FirstOutput.Valid {
		q.FirstOutput = micro(t.RequestStart.Value + notes.FirstOutput.Value - start)
	}
	if notes.PromptUnknown {
		q.PromptTokens = -1
	}
	if notes.CachedTokens.Valid {
		q.CachedTokens = int(notes.CachedTokens.Value)
	}
	switch n := s.OutputTokens(); {
	case notes.OutputTokens.Valid:
		q.OutputTokens = int(notes.OutputTokens.Value)
	case n >= 0:
		q.OutputTokens = int(n)
	}
	derive(&q, int(t.TokenIterations))
	if !q.Sent.IsAbsent() && r.OpenLoop != nil {
		// openloop's own notes have nanoseconds.
		q.SendDelay = num.Value(notes.SendDelay)
		if notes.ScheduledTTFT.Valid {
			q.ScheduledTTFT = num.Value(notes.ScheduledTTFT.Value)
			q.TTFT = nano(notes.ScheduledTTFT.Value - notes.SendDelay)
		}
		if notes.ScheduledLatency.Valid {
			q.Latency = nano(notes.ScheduledLatency.Value - notes.SendDelay)
		}
	}
	return q, notes.Index.Valid
}
