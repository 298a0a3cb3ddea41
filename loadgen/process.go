package loadgen

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// processUse is what the process had used at some moment.
type processUse struct {
	cpu   time.Duration
	group cgroupCPU
	pause time.Duration
	gcs   int
	sched *metrics.Float64Histogram
}

func readProcessUse() processUse {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	u := processUse{cpu: processCPU(), group: readCgroup(), pause: time.Duration(m.PauseTotalNs), gcs: int(m.NumGC)}
	if s[0].Value.Kind() == metrics.KindFloat64Histogram {
		u.sched = s[0].Value.Float64Histogram()
	}
	return u
}

// since returns what was used between two moments.
func (u processUse) since(before processUse) ClientStats {
	s := ClientStats{
		CPU: u.cpu - before.cpu, Procs: runtime.GOMAXPROCS(0), CPULimit: u.group.limit,
		CPUPeriods: u.group.periods - before.group.periods, CPUThrottled: u.group.throttled - before.group.throttled,
		CPUStopped: u.group.stopped - before.group.stopped,
		GCPause:    u.pause - before.pause, GCs: u.gcs - before.gcs,
	}
	if u.sched == nil || before.sched == nil || len(u.sched.Counts) != len(before.sched.Counts) {
		return s
	}
	total, sum := uint64(0), uint64(0)
	for i := range u.sched.Counts {
		total += u.sched.Counts[i] - before.sched.Counts[i]
	}
	for i := range u.sched.Counts {
		sum += u.sched.Counts[i] - before.sched.Counts[i]
		if sum > 0 && float64(sum) >= 0.99*float64(total) {
			s.SchedP99 = time.Duration(max(u.sched.Buckets[i], 0) * 1e9) // the bucket's lower bound, −Inf for the first
			break
		}
	}
	return s
}
