package report

import (
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// MaxRate is the max rate at SLO in requests per second, as one number: the search's estimate, or its lower end where
// it has only that; without a search the highest rate that passed. ok is false where none is known.
func (r *Result) MaxRate() (rate float64, ok bool) {
	if a := r.Search; a != nil && a.Finding != sweep.None && a.Finding != sweep.Unknown {
		if a.Upper.IsAbsent() && !a.Lower.IsAbsent() {
			return float64(a.Lower), true
		}
		if !a.Estimate.IsAbsent() && a.Estimate > 0 {
			return float64(a.Estimate), true
		}
	}
	if best, _ := r.Bracket(); best != nil && r.Search == nil {
		return best.Load.Rate, true
	}
	return 0, false
}

// OutputAtMaxRate is how many output tokens a second the endpoint gives at the max rate: that rate times the output
// tokens of an arrival, a request or a session, as they were in the open-loop stages that did not fail.
func (r *Result) OutputAtMaxRate() (tokens float64, ok bool) {
	rate, ok := r.MaxRate()
	if !ok {
		return 0, false
	}
	requests := 0.0
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Load.Kind.Open() && s.Judgement.Outcome != slo.Fail {
			seconds := s.Sending.Seconds()
			tokens += s.Rates.Output * seconds
			// One in flight at the end had half of its tokens, on average.
			if s.Sessions != nil {
				requests += float64(s.Sessions.Started+s.Sessions.Alone) - float64(s.Sessions.Unfinished)/2
			} else {
				requests += (s.Rates.Sent + s.Rates.Done) / 2 * seconds
			}
		}
	}
	if !(tokens > 0) || !(requests > 0) {
		return 0, false
	}
	return rate * tokens / requests, true
}

// CostPerMillion is what a million output tokens cost at the max rate, in the currency of Asked.Cost: the price of an
// hour over the tokens of an hour. ok is false where no price or no max rate is known.
func (r *Result) CostPerMillion() (amount float64, ok bool) {
	tokens, ok := r.OutputAtMaxRate()
	if !ok || r.Asked.Cost == nil {
		return 0, false
	}
	return r.Asked.Cost.PerHour / (tokens * 3600) * 1e6, true
}
