package sweep

import (
	"math"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep/maxrate"
)

// growthSeen is the p-value below which a backlog counts as growing for the estimate. That such a stage is too fast
// weighs little, so that this may be wrong now and then.
const growthSeen = 0.005

// evidence makes the estimator's stages, and its question, of trials.
type evidence struct {
	objectives []slo.Objective
	arrival    loadgen.Arrival
	traffic    *Traffic
	confidence float64
	saturation float64 // req/s, by the probe; 0: unknown

	began  time.Time       // of the first stage
	stages []maxrate.Stage // one for each trial that was taken in
	phi    float64         // dispersion after the stages so far

	arrivals, requests int // in the stages, and the requests that they are with all their turns
}

func newEvidence(objectives []slo.Objective, c SearchConfig, saturation float64) *evidence {
	return &evidence{objectives: objectives, arrival: c.Arrival, traffic: c.Traffic, confidence: c.Confidence,
		saturation: saturation}
}

// add takes in a stage whose client was fit; residence is the mean of its requests.
func (e *evidence) add(m *loadgen.Measured, j *slo.StageJudgement, residence time.Duration) {
	length := time.Duration(m.Stopped - m.Start)
	// The way up from an empty server: what the judge found, two residence times, and half of the requests that come
	// late together; the last two are bounded for short stages.
	from := max(j.WarmUp, min(2*residence, length/3))
	if rate := m.Stage.Load.Rate; e.phi > 0 {
		from = max(from, min(seconds(e.phi/2/rate), length/4))
	}
	replays := m.Stage.Load.Replays()
	if replays { // its rate changes, which is no sign of a server that settles, or of a backlog that grows
		from = min(2*residence, length/10)
	}
	began := m.Wall(m.Start)
	if e.began.IsZero() {
		e.began = began
	}
	stage := maxrate.Stage{
		Rate: m.Stage.Load.Rate, At: began.Sub(e.began).Seconds(), Length: length.Seconds(), From: from.Seconds(),
		Residence: residence.Seconds(),
		Growing:   !replays && j.Growth.PValue < growthSeen, Staying: 1, StayingError: 0,
	}
	records := m.AllRecords()
	done := 0
	for i := range records {
		r := &records[i]
		if r.Scheduled >= m.Stopped {
			continue
		}
		if r.Turn == 0 { // a first one, or it stands alone
			e.arrivals++
			e.requests += max(int(r.Turns), 1)
		}
		stage.Arrivals = append(stage.Arrivals, float64(r.Scheduled-m.Start)/1e9)
		tokens := -1.0
		if r.Status == loadgen.Completed {
			tokens = float64(r.Tokens())
			if r.End >= m.Start+int64(from) && r.End < m.Stopped {
				done++
			}
		}
		stage.Tokens = append(stage.Tokens, tokens)
	}
	stage.Gap = shortGap(records)
	stage.Done = float64(done) / (length - from).Seconds() / e.perArrival()
	share, err := float64(j.Growth.Share), float64(j.Growth.Error)
	if !replays && !math.IsNaN(err) && m.Stage.Load.Rate > 0 {
		stage.Staying, stage.StayingError = share, err/m.Stage.Load.Rate/e.perArrival()
	}
	for _, o := range e.objectives {
		stage.Series = append(stage.Series, e.series(m, o, from))
	}
	e.stages = append(e.stages, stage)
}

// perArrival is how many requests an arrival is, on average: the turns of a session, or 1.
func (e *evidence) perArrival() float64 {
	if e.arrivals == 0 {
		return 1
	}
	return float64(e.requests) / float64(e.arrivals)
}

// shortGap is the gap between tokens that a twentieth of the requests stay below, s; 0 where too few have gaps.
func shortGap(records []loadgen.Record) float64 {
	var gaps []float64
	for i := range records {
		if r := &records[i]; r.Status == loadgen.Completed && r.TokenEvents > 1 {
			gaps = append(gaps, r.MeanGap()/1e9)
		}
	}
	if len(gaps) < 20 {
		return 0
	}
	return num.Select(gaps, num.Rank(0.05, len(gaps)))
}

// series is what a stage says of one objective.
func (e *evidence) series(m *loadgen.Measured, o slo.Objective, from time.Duration) maxrate.Series {
	s := o.Series(m, from)
	if s.Requests > 0 {
		n := float64(s.Requests)
		return maxrate.Series{N: n, Misses: s.Share * n, Tau: s.Clustering, Slowest: s.Clustering}
	}
	series := maxrate.Series{Miss: s.Misses, Slowest: s.Clustering, Sessions: s.Sessions}
	if o.Metric.Latency() {
		series.Values = s.Values
	}
	if o.Statistic.Kind == slo.Mean {
		series.Miss = s.Values
	}
	records := m.AllRecords()
	at := 0
	for i := range s.Scheduled {
		for records[at].Scheduled < s.Scheduled[i] {
			at++
		}
		series.Index = append(series.Index, int32(at))
		at++
	}
	return series
}

// leastShare stands for "none" where no request may miss: no number of requests shows that none ever will.
const leastShare = 0.001

// solve estimates the max rate; nil where there is nothing to estimate it from.
func (e *evidence) solve() *maxrate.Estimate {
	if len(e.stages) == 0 {
		return nil
	}
	q := maxrate.Question{Saturation: e.saturation, Confidence: e.confidence, Requests: e.perArrival()}
	switch {
	case e.traffic != nil: // the same arrivals at each speed: there is no luck of theirs to correct for
		q.Variation = e.traffic.variation()
	case e.arrival.Kind == loadgen.PoissonArrival:
		q.Arrivals, q.Variation = maxrate.Poisson, 1
	case e.arrival.Kind == loadgen.GammaArrival:
		q.Variation = e.arrival.CV * e.arrival.CV
	case e.arrival.Kind == loadgen.BurstArrival:
		q.Variation = float64(e.arrival.Size)
	default:
		q.Arrivals = maxrate.Regular
	}
	if q.Saturation <= 0 && e.traffic != nil {
		q.Saturation = e.sustained()
	}
	if q.Saturation <= 0 { // a search without probes: as if it had begun where it does
		q.Saturation = e.stages[0].Rate / firstGuess
	}
	var kept []int
	for k, o := range e.objectives {
		objective := maxrate.Objective{Name: o.Name(), Limit: leastShare}
		if limit, ok := o.MissLimit(); ok {
			objective.Limit = max(limit, leastShare)
		}
		switch {
		case o.Statistic.Kind == slo.Mean:
			objective.Kind, objective.Limit = maxrate.Mean, o.Bound
		case o.Metric == slo.Errors && !e.anyMiss(k) && len(e.objectives) > 1:
			continue // nothing failed: that less than 1 % do is not what the search has to show
		}
		switch o.Metric {
		case slo.TTFT:
			objective.Metric = maxrate.TTFT
		case slo.TPOT, slo.NTPOT:
			objective.Metric = maxrate.TPOT
		case slo.E2E, slo.TTFO: // reasoning is decoded before the answer begins
			objective.Metric = maxrate.E2E
		}
		q.Objectives = append(q.Objectives, objective)
		kept = append(kept, k)
	}
	if len(kept) == 0 {
		return nil
	}
	stages := make([]maxrate.Stage, len(e.stages))
	for i, st := range e.stages {
		stages[i] = st
		stages[i].Series = nil
		for _, k := range kept {
			stages[i].Series = append(stages[i].Series, st.Series[k])
		}
	}
	est := maxrate.Solve(q, stages)
	e.phi = est.Dispersion
	return &est
}

// anyMiss says whether any request of any stage missed an objective.
func (e *evidence) anyMiss(k int) bool {
	for i := range e.stages {
		for _, y := range e.stages[i].Series[k].Miss {
			if y > 0 {
				return true
			}
		}
	}
	return false
}

// sustained is about what rate a server sustains that no probe looked at: what it did where it fell behind, or else
// somewhat above the highest rate so far.
func (e *evidence) sustained() float64 {
	highest, done, behind := 0.0, 0.0, false
	for i := range e.stages {
		st := &e.stages[i]
		highest, done = max(highest, st.Rate), max(done, st.Done)
		behind = behind || st.Done < fallsBehind*st.Rate
	}
	if behind {
		return done
	}
	return highest / firstGuess
}

// fallsBehind is the share of the arrivals below which a server that completes no more has more than it sustains.
const fallsBehind = 0.9
