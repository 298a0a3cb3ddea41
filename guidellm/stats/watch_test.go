package stats

import (
	"runtime/metrics"
	"time"
)

// watchMemory samples what the Go runtime holds of the system's memory, until the function it returns is called, which
// gives the highest. It does not stop the world, as runtime.ReadMemStats would.
func watchMemory() func() uint64 {
	stop, highest := make(chan struct{}), make(chan uint64)
	go func() {
		samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"},
			{Name: "/memory/classes/heap/released:bytes"}}
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		most := uint64(0)
		for {
			metrics.Read(samples)
			most = max(most, samples[0].Value.Uint64()-samples[1].Value.Uint64())
			select {
			case <-ticker.C:
			case <-stop:
				highest <- most
				return
			}
		}
	}()
	return func() uint64 { close(stop); return <-highest }
}
