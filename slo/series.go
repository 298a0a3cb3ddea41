package slo

import (
	"math"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// Series is what the requests of a stage say of an objective one by one, for an estimate over several stages.
type Series struct {
	Scheduled []int64 // of each request, ns since the origin of the stage's stamps, rising
	Values    []float64
	Misses    []float64 // 1 where the value does not keep the bound, else 0
	Sessions  []int32   // that they are of; 0 for one that stands alone
	// Clustering is the autocorrelation time of the slowest requests, as many as may miss, with its standard error
	// added: how many requests are late together.
	Clustering float64

	// Requests and Share sum up gaps between tokens, which are not known request by request: requests that had any,
	// and the share of gaps beyond the bound. The slices are then empty, but for objectives on the mean gap, where they
	// have the mean of each request.
	Requests int
	Share    float64
}

// fewestEvents is how many token events a request in flight must have for its mean gap to be worth something.
const fewestEvents = 8

// Series returns what the requests say that were due from a time after the start of the stage on. It differs from
// Observe in one thing: of requests that were in flight at the end, the mean gap until then counts as their TPOT.
// Without them, only the short answers among the last requests would count.
func (o Objective) Series(m *loadgen.Measured, from time.Duration) Series {
	s := snapshot(m, m.AllRecords(), m.Stopped, max(m.Stopped, m.End))
	_, to := measuredWindow(s)
	start := m.Start + int64(from)
	if o.Metric == ITL {
		return o.gapSeries(s, start, to)
	}
	var work autocorrelation
	var series Series
	add := func(ob observation) {
		series.Scheduled = append(series.Scheduled, ob.scheduled)
		series.Values = append(series.Values, ob.value)
		series.Misses = append(series.Misses, indicator(ob.miss))
		series.Sessions = append(series.Sessions, ob.session)
	}
	if o.Metric == TPOT {
		for i := range s.Records {
			r := &s.Records[i]
			if !within(r, start, to) || !o.about(r) {
				continue
			}
			ob, counts := o.observe(r, s)
			if r.Status == loadgen.Incomplete {
				ob.value = r.MeanGap()
				ob.miss = !o.Op.holds(ob.value, o.Bound)
				counts = r.TokenEvents >= fewestEvents
			}
			if counts {
				add(ob)
			}
		}
	} else {
		for _, ob := range o.window(s, start, to) {
			add(ob)
		}
	}
	if len(series.Values) > 0 && o.Statistic.Kind != Mean {
		tau, stderr := work.clustering(series.Values, series.Misses, series.Sessions, o.missLimit(), o.Bound)
		series.Clustering = tau + stderr
	}
	return series
}

// gapSeries sums up gaps. All of one request count as one observation (judgeGaps).
func (o Objective) gapSeries(s *loadgen.Measured, start, to int64) Series {
	w := o.observeGaps(s, start, to)
	series := Series{Share: float64(w.Misses) / float64(max(w.N, 1))}
	var means []float64
	var scheduled []int64
	var sessions []int32
	for i := range s.Records {
		if r := &s.Records[i]; within(r, start, to) {
			if m := measure(TPOT, r, s); m.state == known && !math.IsInf(m.value, 1) {
				means = append(means, m.value)
				scheduled = append(scheduled, r.Scheduled)
				sessions = append(sessions, r.Session)
			}
		}
	}
	if o.Statistic.Kind == Mean {
		return Series{Scheduled: scheduled, Values: means, Misses: make([]float64, len(means)), Sessions: sessions}
	}
	series.Requests = len(means)
	if len(means) > 0 {
		var work autocorrelation
		tau, stderr := work.clustering(means, make([]float64, len(means)), sessions, o.missLimit(), o.Bound)
		series.Clustering = tau + stderr
	}
	return series
}

// Residence is how long the completed requests of a stage were in the server on average; 0 where none completed.
func Residence(m *loadgen.Measured) time.Duration {
	return time.Duration(meanResidence(m.AllRecords()))
}
