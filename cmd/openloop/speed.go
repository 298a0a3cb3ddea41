package main

import (
	"context"
	"fmt"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/sweep"
)

// openTraffic makes the traffic of the trace whose highest speed is looked for.
func (s *session) openTraffic(budget time.Duration) error {
	s.traffic = sweep.NewTraffic(s.work.TraceLoad(), s.spec.Limits.MaxDuration)
	switch t := s.traffic; {
	case t == nil:
		return withHint(
			usageError("the trace is too short to be sent at several speeds: it needs %d requests, not all at once",
				sweep.FewestReplayed),
			"a longer one, or a greater --max-seconds or --max-requests")
	case t.Length > budget:
		return withHint(usageError("the trace takes %s at its own speed, and the search may take %s",
			shortTime(t.Length.Round(time.Second)), shortTime(budget)),
			"a longer --budget, or --max-seconds for the beginning of the trace")
	}
	return nil
}

// searchSpeed looks for the highest speed of the traffic.
func (s *session) searchSpeed(ctx context.Context, progress *progress) (*sweep.Result, error) {
	result := &sweep.Result{}
	search := sweep.SearchConfig{
		Search: *s.spec.Plan.Sweep.Search, Confidence: s.spec.Confidence, Traffic: s.traffic,
		Gates: s.spec.Gates,
	}
	progress.searching(fmt.Sprintf("searching for the max speed: until it is known to ±%s %%, at most %v",
		num.Exact(100*search.Precision), search.Budget))
	var err error
	result.Answer, err = s.plan.Search(ctx, result, search)
	return result, err
}
