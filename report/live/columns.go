package live

import (
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
)

// column is a latency with the bound that an objective sets it.
type column struct {
	metric    slo.Metric
	statistic slo.Statistic
	bound     float64 // ms; 0: none
}

func (c column) title() string {
	return map[slo.Metric]string{slo.TTFT: "TTFT", slo.TPOT: "TPOT"}[c.metric] + " " + c.statistic.String()
}

// statistics are the two latencies that are shown first: the statistics that objectives bound, else the 95th
// percentile.
func statistics(objectives []slo.Objective) (ttft, tpot column) {
	p95 := slo.Statistic{Kind: slo.Quantile, Q: 0.95}
	ttft, tpot = column{metric: slo.TTFT, statistic: p95}, column{metric: slo.TPOT, statistic: p95}
	for _, c := range []*column{&ttft, &tpot} {
		for _, o := range objectives {
			if o.Metric == c.metric && c.bound == 0 && known(o.Statistic) {
				c.statistic, c.bound = o.Statistic, o.Bound/1e6
			}
		}
	}
	return ttft, tpot
}

// known says whether a latency has a statistic.
func known(s slo.Statistic) bool {
	switch s.Kind {
	case slo.Mean, slo.Max:
		return true
	}
	switch s.Q {
	case 0.5, 0.9, 0.95, 0.99, 0.999:
		return true
	}
	return false
}

// milliseconds writes a latency.
func milliseconds(v num.Value) string {
	if v.IsAbsent() {
		return "-"
	}
	return num.Three(float64(v)) + " ms"
}
