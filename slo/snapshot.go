package slo

import (
	"cmp"
	"math"
	"slices"

	"github.com/openloop/openloop/loadgen"
)

// Snapshot is a stage as it stood at a moment, ns since its origin: the requests due by then, and of them what had
// happened. It shares nothing with the records that it is taken of.
func Snapshot(m *loadgen.Measured, records []loadgen.Record, at int64) *loadgen.Measured {
	return snapshot(m, records, at, at)
}

// snapshot takes the requests that were due before one moment, with what was known of them at another, later one: at
// the end of a stage's grace, how the last requests ended is known.
func snapshot(m *loadgen.Measured, records []loadgen.Record, due, known int64) *loadgen.Measured {
	s := *m
	s.Stopped, s.End = due, known
	s.Records = make([]loadgen.Record, 0, len(records))
	for i := range records {
		r := &records[i]
		if r.Scheduled >= due {
			continue
		}
		s.Records = append(s.Records, *r)
		forget(&s.Records[len(s.Records)-1], known)
	}
	s.Offered = len(s.Records)
	byScheduled := func(a, b loadgen.Record) int { return cmp.Compare(a.Scheduled, b.Scheduled) }
	if !slices.IsSortedFunc(s.Records, byScheduled) {
		slices.SortFunc(s.Records, byScheduled)
	}
	return &s
}

// forget takes back what happened to a request after a moment.
func forget(r *loadgen.Record, at int64) {
	if r.Sent > at {
		*r = loadgen.Record{
			Scheduled: r.Scheduled, Started: r.Started,
			AskedOutput: r.AskedOutput, AskedPrompt: r.AskedPrompt, OutputTokens: -1,
		}
	}
	if r.End > at || r.End == 0 && r.Sent > 0 || r.Status == loadgen.Incomplete {
		r.Status = loadgen.Incomplete
		if r.End == 0 || r.End > at {
			r.End = at
		}
		r.OutputTokens = -1
	}
	if r.FirstToken > at {
		r.FirstToken, r.LastToken, r.TokenEvents = 0, 0, 0
	}
	if r.FirstOutput > at {
		r.FirstOutput = 0
	}
	if r.LastToken > at { // its tokens are taken to have come evenly
		gap := r.MeanGap()
		gaps := int32(float64(at-r.FirstToken) / gap)
		r.TokenEvents = 1 + gaps
		r.LastToken = r.FirstToken + int64(gap*float64(gaps))
	}
}

// measuredWindow is the part of a stage that its warm-up and cool-down leave, ns since its origin: requests due in it
// are judged.
func measuredWindow(m *loadgen.Measured) (from, to int64) {
	s := &m.Stage
	from, to = m.Start+int64(s.Warmup), math.MaxInt64
	if s.Cooldown > 0 && s.MaxDuration > 0 {
		to = m.Start + int64(s.MaxDuration-s.Cooldown)
	}
	return from, to
}
