package report

import (
	"math"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// ShownObjective is the objective on a latency that is shown where there is room for one; nil for none.
func ShownObjective(objectives []slo.Objective, m slo.Metric) *slo.Objective {
	var any Latency
	for i := range objectives {
		if o := &objectives[i]; o.Metric == m && any.statistic(o.Statistic) != nil {
			return o
		}
	}
	return nil
}

// ShownStatistic is the statistic of a latency that is shown where there is room for one: the one that an objective
// bounds, with its bound in ms, else the 95th percentile and no bound (0).
func ShownStatistic(objectives []slo.Objective, m slo.Metric) (of slo.Statistic, bound float64) {
	if o := ShownObjective(objectives, m); o != nil {
		return o.Statistic, o.Bound / 1e6
	}
	return slo.Statistic{Kind: slo.Quantile, Q: 0.95}, 0
}

// At is a statistic of a latency, ms; absent where there is none of the kind.
func (l Latency) At(s slo.Statistic) num.Value {
	if at := l.statistic(s); at != nil {
		return *at
	}
	return num.Absent()
}

// At is a statistic of a metric over the stage, ms: the observed value of an objective on it where there is one, else
// what the stage's percentiles say. It is absent for what is not a time.
func (s *Stage) At(m slo.Metric, of slo.Statistic) num.Value {
	for _, j := range s.Judgement.Objectives {
		if j.Objective.Metric != m || j.Objective.Statistic != of {
			continue
		}
		value := j.Value
		if j.Failed > 0 && !j.ValueWithoutFailed.IsAbsent() {
			value = j.ValueWithoutFailed
		}
		if v := float64(value); !math.IsNaN(v) && !math.IsInf(v, 0) {
			return value / 1e6
		}
	}
	switch m {
	case slo.TTFT:
		return s.TTFT.At(of)
	case slo.E2E:
		if s.E2E != nil {
			return s.E2E.At(of)
		}
	case slo.TTFO:
		if s.TTFO != nil {
			return s.TTFO.At(of)
		}
	case slo.TPOT:
		return s.TPOT.At(of)
	case slo.ITL:
		return s.ITL.At(of)
	}
	return num.Absent()
}
