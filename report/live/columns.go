package live

import (
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
)

// column is a latency with the bound that an objective sets it.
type column struct {
	metric    slo.Metric
	statistic slo.Statistic
	bound     float64 // ms; 0: none
}

func (c column) title() string {
	return strings.ToUpper(string(c.metric)) + " " + c.statistic.String()
}

// statistics are the two latencies that are shown first: the statistics that objectives bound, else the 95th
// percentile.
func statistics(objectives []slo.Objective) (ttft, tpot column) {
	ttft, tpot = column{metric: slo.TTFT}, column{metric: slo.TPOT}
	for _, c := range []*column{&ttft, &tpot} {
		c.statistic, c.bound = report.ShownStatistic(objectives, c.metric)
	}
	return ttft, tpot
}

// milliseconds writes a latency.
func milliseconds(v num.Value) string {
	if v.IsAbsent() {
		return "-"
	}
	return num.Three(float64(v)) + " ms"
}
