package slo

import (
	"math"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// inFlightSamples is how many times the number of requests in flight is sampled over a stage.
const inFlightSamples = 500

// inFlight samples the number of requests in flight at equal steps from the start of a stage to the given time: those
// due by then that had not ended. Requests count from their scheduled time, so that a client that is late hides no
// backlog.
func inFlight(records []loadgen.Record, start, end int64) []float64 {
	diff := make([]float64, inFlightSamples+1)
	step := float64(end-start) / inFlightSamples
	slot := func(t int64) int { // the first sample at or after t
		return min(max(int(math.Ceil(float64(t-start)/step)), 0), inFlightSamples)
	}
	for i := range records {
		r := &records[i]
		diff[slot(r.Scheduled)]++
		if r.End > 0 && r.Status != loadgen.Incomplete && r.Status != loadgen.NotSent {
			diff[slot(r.End)]--
		}
	}
	series := make([]float64, inFlightSamples)
	n := 0.0
	for i := range series {
		n += diff[i]
		series[i] = n
	}
	return series
}

// mserBatch is the batch size of MSER-5.
const mserBatch = 5

// warmUp finds the part at the start of a series that is not steady yet, as a number of its values, by MSER-5: of all
// places to cut, the one that leaves the smallest standard error of the mean of what remains (K. P. White, Simulation
// 69, 1997; with batches of five: K. P. White, M. J. Cobb and S. C. Spratt, Winter Simulation Conference 2000). No more
// than the share most can be cut; a minimum at the end of that means that the series did not become steady in it.
func warmUp(series []float64, most float64) (cut int, steady bool) {
	n := len(series) / mserBatch
	if n < 4 {
		return 0, false
	}
	batches := make([]float64, n)
	for i := range batches {
		for _, v := range series[i*mserBatch : (i+1)*mserBatch] {
			batches[i] += v / mserBatch
		}
	}
	// Sums from the back, so that each cut costs one step.
	best, sum, squares := math.Inf(1), 0.0, 0.0
	limit := min(max(int(most*float64(n)), 1), n/2)
	shift := batches[n-1] // keeps the squares small
	for d := n - 1; d >= 0; d-- {
		v := batches[d] - shift
		sum += v
		squares += v * v
		if d > limit {
			continue
		}
		m := float64(n - d)
		if statistic := max(squares-sum*sum/m, 0) / (m * m); statistic <= best {
			best, cut = statistic, d
		}
	}
	return cut * mserBatch, cut < limit
}

// longestWarmUp is the greatest share of a stage that may be left out at its start: a tenth, or ten mean residence
// times where that is more, but never more than half. A queue that starts empty is close to its steady state well
// before that; beyond it, MSER would cut at whatever chance did.
func longestWarmUp(length, residence float64) float64 {
	return min(max(0.1, warmUpResidences*residence/length), 0.5)
}

const warmUpResidences = 10

// Of the turns of a stage of sessions, how far from the beginning of their session they are due: what is left out at
// the stage's start is so long that this share of them can be there, and a stage is long enough where the lesser share
// can.
const settled, settledEnough = 0.99, 0.9

// settling is how long a stage of sessions takes until its turns are about those of a steady state, ns: it begins with
// first turns alone. How far turns are from the beginning of their session is seen in its later half, where the stage's
// own length cuts it least. whole is false where sessions go on for longer than half of the stage, so that it is not
// known. 0 without sessions.
func settling(records []loadgen.Record, start, end int64) (d float64, whole bool) {
	var ages []float64
	half := start + (end-start)/2
	for i := range records {
		if r := &records[i]; r.Session > 0 && r.Scheduled >= half {
			ages = append(ages, float64(r.Scheduled-r.Began))
		}
	}
	if len(ages) == 0 {
		return 0, true
	}
	longest := float64(end-start) / 2
	d = min(num.Select(ages, num.Rank(settled, len(ages))), longest)
	return d, num.Select(ages, num.Rank(settledEnough, len(ages))) <= longest
}

// Growth is how the number of requests in flight develops over the later half of a stage.
type Growth struct {
	Slope num.Value `json:"added_rate"`        // requests that are added a second
	Error num.Value `json:"added_rate_stderr"` // its standard error
	Share num.Value `json:"share"`             // slope / arrivals per second
	// Limit is the share that is allowed: a hundredth, and what the stage's start may still add.
	Limit num.Value `json:"share_limit"`
	// PValue is the probability of such a slope or a steeper one if no more than the allowed share of the arrivals
	// stayed.
	PValue float64 `json:"p_value"`
	Parts  int     `json:"parts"` // that the half was divided into, each at least a mean residence time long
}

// noGrowth is the Growth of a stage that is not tested for it.
func noGrowth() Growth {
	none := num.Absent()
	return Growth{Slope: none, Error: none, Share: none, Limit: none, PValue: 1}
}

// growthLimit is the share of the arrivals that may be added to the backlog: the one per cent by which a stage may also
// fall short of its offered rate. What grows faster is not sustained.
const growthLimit = 0.01

// growthAllowance is the share of the arrivals that may stay at a time since the start of a stage. Requests in flight
// approach their steady number as 1 − exp(−t/W), W being the mean residence time; a busy server approaches it more
// slowly, hence twice that time.
func growthAllowance(t, residence float64) float64 {
	if !(residence > 0) {
		return 1
	}
	return growthLimit + math.Exp(-t/(2*residence))
}

// meanResidence is how long the completed requests of a stage were in the server on average, ns, counted from their
// scheduled time; 0 where none completed.
func meanResidence(records []loadgen.Record) float64 {
	sum, n := 0.0, 0.0
	for i := range records {
		if d, ok := records[i].ScheduledLatency(); ok {
			sum += float64(d)
			n++
		}
	}
	return sum / max(n, 1)
}

// growth tests whether more than the share allowed of the arrivals stays in flight, over a series whose samples lie
// step apart. It divides it into parts at least as long as a mean residence time, and asks with Student's t whether the
// changes from part to part are above what is allowed on average. For a number that goes up and down freely (a random
// walk, as a server's queue is near its limit) that test is exact; for one that returns to its mean it errs on the side
// of no growth. A line fitted to the series would not do: it takes every long way up for growth.
func growth(series []float64, step time.Duration, rate, allowed, residence float64) Growth {
	g := noGrowth()
	g.Limit = num.Value(allowed)
	n := len(series) - 1
	if n < growthParts || step <= 0 || rate <= 0 || !(residence > 0) {
		return g
	}
	length := time.Duration(n) * step
	slope := (series[n] - series[0]) / length.Seconds()
	g.Slope, g.Share = num.Value(slope), num.Value(slope/rate)
	g.Parts = min(int(float64(length)/residence), growthParts)
	if g.Parts < 3 {
		return g // too short to tell
	}
	k := float64(g.Parts)
	mean := (series[n] - series[0]) / k
	squares := 0.0
	for i := range g.Parts {
		change := series[(i+1)*n/g.Parts] - series[i*n/g.Parts]
		squares += (change - mean) * (change - mean)
	}
	se := math.Sqrt(squares/(k-1)*k) / length.Seconds()
	g.Error = num.Value(se)
	if excess := slope - allowed*rate; se <= 1e-9*rate {
		g.PValue = indicator(excess <= 0)
	} else {
		g.PValue = studentTail(excess/se, k-1)
	}
	return g
}

// growthParts is the most parts that growth divides a stage's half into.
const growthParts = 10
