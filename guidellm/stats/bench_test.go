package stats

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// manyRequests makes n completed requests of 128 output tokens, one a line, offered at a rate per second: TTFT 30 ms,
// ITL 5 ms, both with jitter. The last few are cancelled, as those in flight at the end of a stage are.
func manyRequests(n int, rate float64) []Request {
	rng := rand.New(rand.NewPCG(1, 2))
	requests := make([]Request, n)
	for i := range requests {
		start := epoch + float64(i)/rate
		r := &requests[i]
		*r = Request{Timings: NoTimings(), Input: NoUsage(), Output: NoUsage(), RequestIterations: 260,
			TokenIterations: 128}
		r.TargetedStart, r.Queued, r.Dequeued, r.ScheduledAt = start, start, start, start
		r.ResolveStart, r.RequestStart = start+rng.Float64()*1e-5, start+rng.Float64()*1e-4
		r.FirstTokenIteration = r.RequestStart + 0.030 + rng.Float64()*0.002
		r.LastTokenIteration = r.FirstTokenIteration + 127*0.005*(1+rng.Float64()*0.02)
		r.FirstRequestIteration, r.LastRequestIteration = r.FirstTokenIteration, r.LastTokenIteration
		r.RequestEnd = r.LastTokenIteration + 1e-4
		r.ResolveEnd, r.Finalized = r.RequestEnd, r.RequestEnd
		r.Input = Usage{TextTokens: 250 + rng.Int64N(12), TextWords: 200, TextCharacters: 1200}
		r.Output = Usage{TextTokens: 128, TextWords: 128, TextCharacters: 768}
		if i >= n-min(100, n/10) {
			r.Status, r.Output, r.RequestEnd = Cancelled, NoUsage(), NoTimings().RequestEnd
		}
	}
	return requests
}

// BenchmarkCompile is the report of n requests of 128 tokens at 700 a second; peak-MB is the memory held at its
// highest, the requests included.
func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("requests=%d", n), func(b *testing.B) {
			requests := manyRequests(n, 700)
			runtime.GC()
			peak := watchMemory()
			for b.Loop() {
				Compile(Window{epoch, epoch + float64(n)/700}, requests)
			}
			b.ReportMetric(float64(peak())/1e6, "peak-MB")
		})
	}
}
