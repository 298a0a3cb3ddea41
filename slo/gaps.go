package slo

import (
	"math"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// GapCount is how many gaps between tokens there were, and how many of them beyond the bound of each objective on itl.
type GapCount struct {
	Total int64
	Over  []int64 // parallel to the objectives
}

// countGaps counts the gaps of a stage that has ended.
func countGaps(s *loadgen.Measured, objectives []Objective) GapCount {
	g := GapCount{Over: make([]int64, len(objectives))}
	from, to := measuredWindow(s)
	for i, o := range objectives {
		if o.Metric == ITL {
			w := o.observeGaps(s, from, to)
			g.Total, g.Over[i] = int64(w.N), int64(w.Misses)
		}
	}
	return g
}

// observeGaps sums up the gaps between token events. A request that failed counts with the gaps that it was asked for
// and did not deliver, at least one, all missed. The gaps that came are those of the histogram that the stage filled.
func (o Objective) observeGaps(s *loadgen.Measured, from, to int64) Observed {
	lost := int64(0)
	for i := range s.Records {
		r := &s.Records[i]
		if r.Status == loadgen.Errored && r.Scheduled >= from && r.Scheduled <= to {
			lost += int64(max(r.AskedOutput-1-max(r.TokenEvents-1, 0), 1))
		}
	}
	seen, over := int64(0), lost
	if s.Gaps != nil {
		seen = s.Gaps.TotalCount()
		for _, bar := range s.Gaps.Distribution() {
			// A histogram's values stand for their whole bucket, 0.1 % wide: the bucket that holds the bound keeps it.
			if bar.Count > 0 && bar.From >= int64(o.Bound) && !s.Gaps.ValuesAreEquivalent(bar.From, int64(o.Bound)) {
				over += bar.Count
			}
		}
	}
	total := seen + lost
	if total == 0 {
		return o.nothing(s)
	}
	w := Observed{N: int(total), Misses: int(over), Failed: int(lost), ValueWithoutFailed: num.Absent()}
	w.Value = num.Value(o.gapStatistic(s, seen, lost))
	w.ValueFromSent = w.Value
	if lost > 0 && seen > 0 {
		w.ValueWithoutFailed = num.Value(o.gapStatistic(s, seen, 0))
	}
	w.setMargin(o)
	return w
}

// gapStatistic is the statistic of the gaps that were seen and of others that are infinite.
func (o Objective) gapStatistic(s *loadgen.Measured, seen, infinite int64) float64 {
	value := math.Inf(1)
	switch {
	case seen == 0:
		return value
	case o.Statistic.Kind == Quantile:
		if k := int64(num.Rank(o.Statistic.Q, int(seen+infinite))); k <= seen {
			value = float64(s.Gaps.ValueAtQuantile(100 * float64(k) / float64(seen)))
		}
	case infinite > 0:
	case o.Statistic.Kind == Mean:
		value = s.Gaps.Mean()
	default:
		value = float64(s.Gaps.Max())
	}
	if !math.IsInf(value, 0) && o.Op == Below && s.Gaps.ValuesAreEquivalent(int64(value), int64(o.Bound)) {
		value = min(value, math.Nextafter(o.Bound, 0)) // the bucket that holds the bound keeps it
	}
	return value
}

// judgeGaps judges an objective on itl. Gaps are counted as the stage runs, the warm-up that the judge finds included.
// All gaps of one request count as one observation, as if they were long or short together, and requests have the
// autocorrelation of their mean gap: a bound on how much less than independent the gaps are.
func (o Objective) judgeGaps(s *loadgen.Measured, from, to, total, over int64, work *autocorrelation,
	alpha alphas) Judgement {
	j := newJudgement(o)
	j.Observed = o.observeGaps(s, from, to)
	if total == 0 {
		j.Observed = o.nothing(s)
		j.decideNothing()
		return j
	}
	var means []float64
	var sessions []int32
	for i := range s.Records {
		r := &s.Records[i]
		if r.Scheduled < from || r.Scheduled > to {
			continue
		}
		if m := measure(TPOT, r, s); m.state == known {
			means = append(means, m.value)
			sessions = append(sessions, r.Session)
		}
	}
	share := float64(over) / float64(total)
	j.N, j.Misses = int(total), int(over)
	switch o.Statistic.Kind {
	case Quantile:
		j.Holds = share <= o.missLimit()
	case Max:
		j.Holds = over == 0
	}
	e := sample{share: share, requests: len(means)}
	if len(means) > 0 {
		e.tau, e.stderr = work.clustering(means, make([]float64, len(means)), sessions, o.missLimit(), o.Bound)
	}
	j.decide(e, means, alpha)
	return j
}
