package guidellm

import (
	"strings"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm/stats"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
)

// Import is what a report says in the words of openloop's own results: its stages with their rates and latencies. A
// report that GuideLLM wrote knows no objectives, no client and no latencies from the scheduled time: TTFT counts from
// the sending, ITL and TPOT are one mean a request, as GuideLLM has its ITL.
func Import(r *Report) *report.Result {
	result := &report.Result{
		Asked: report.Asked{
			Target: endpoint.RedactUserinfo(r.Args.Target), Profile: r.Args.Profile,
			Workload: strings.Join(r.Args.Data, " "), Seed: r.Args.RandomSeed,
		},
	}
	for _, b := range r.Benchmarks {
		if result.Asked.Model == "" {
			result.Asked.Model = b.Config.Model()
		}
		result.Stages = append(result.Stages, importStage(b))
	}
	return result
}

func importStage(b *Benchmark) report.Stage {
	load, m := b.Config.Load(), &b.Metrics
	s := report.Stage{
		Name: load.String(), Began: time.Unix(0, int64(b.SchedulerMetrics.StartTime*1e9)),
		Sending: time.Duration(b.Duration * float64(time.Second)),
		Load:    loadgen.Load{Kind: loadgen.Kind(load.Type), Rate: load.Rate.Value, Streams: int(load.Streams.Value)},
		Rates: report.Rates{
			Asked: num.Absent(), Done: m.RequestsPerSecond.Successful.Mean, Tokens: m.TokensPerSecond.Successful.Mean,
			Sent: m.RequestsPerSecond.Total.Mean, Output: m.OutputTokensPerSecond.Successful.Mean,
		},
		InFlight: m.RequestConcurrency.Total.Mean,
		Requests: report.Requests{
			Completed: int(m.RequestTotals.Successful), Errored: int(m.RequestTotals.Errored),
			Unfinished: int(m.RequestTotals.Incomplete),
		},
		TTFT:      importLatency(&m.TimeToFirstTokenMS.Successful),
		ITL:       importLatency(&m.InterTokenLatencyMS.Successful),
		TPOT:      importLatency(&m.InterTokenLatencyMS.Successful),
		SendDelay: importLatency(nil),
	}
	if load.Open() && load.Rate.Valid {
		s.Rates.Asked = num.Value(load.Rate.Value)
	}
	give(&s, requestsOf(b, &stageNotes{}, s.Began))
	return s
}

// importLatency is a distribution of milliseconds, of nothing where it is nil or empty.
func importLatency(d *stats.Distribution) report.Latency {
	none := num.Absent()
	if d == nil || d.Count == 0 {
		return report.Latency{Mean: none, P50: none, P90: none, P95: none, P99: none, P999: none, Max: none}
	}
	p := d.Percentiles
	return report.Latency{
		Count: int(d.Count), Mean: num.Value(d.Mean), P50: num.Value(p.P50), P90: num.Value(p.P90),
		P95: num.Value(p.P95),
		P99: num.Value(p.P99), P999: num.Value(p.P999), Max: num.Value(d.Max),
	}
}
