package report

import (
	"math"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// LatencyOf sums up values in nanoseconds, which it sorts.
func LatencyOf(ns []float64) Latency { return latency(ns) }

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
	case slo.TPOT:
		return s.TPOT.At(of)
	case slo.ITL:
		return s.ITL.At(of)
	}
	return num.Absent()
}
