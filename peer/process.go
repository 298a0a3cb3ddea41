package peer

import (
	"math"
	"sync"
	"time"

	"github.com/openloop/openloop/internal/num"
)

// Process is what the command's processes took.
type Process struct {
	Exit     int       `json:"exit"`         // code; -1: ended by a signal
	Took     float64   `json:"took_s"`       // from start to end
	First    num.Value `json:"first_s"`      // from its start to its first request
	CPU      num.Value `json:"cpu_s"`        // processor time, of it and of the processes that it waited for
	CPUToken num.Value `json:"cpu_us_token"` // while load was sent, a token of output; else over the whole run
	// CPUOfLoad says that CPUToken is of the time of the load alone, without start-up and report.
	CPUOfLoad bool      `json:"cpu_of_load"`
	Memory    num.Value `json:"memory_mb"` // at most, of all its processes together; else of the largest
	Processes int       `json:"processes"` // at most at once; 0: not known
}

// sample is what a command's processes had used at a time.
type sample struct {
	at        time.Time
	cpu       float64 // s, of all processes so far
	memory    float64 // MB; 0 where it was not read
	processes int
}

// sampler follows the processes of a command while it runs.
type sampler struct {
	stop chan struct{}
	done sync.WaitGroup

	samples []sample
}

const (
	sampleEvery = 200 * time.Millisecond
	searchEvery = 5 // samples; new processes are looked for less often, for that reads all of /proc
	// weighEvery is how often, in samples, memory is read: it holds a process up for some milliseconds.
	weighEvery = 10
)

// follow begins to sample a process and its descendants. finish ends it and gives what was seen.
func follow(pid int) *sampler {
	s := &sampler{stop: make(chan struct{})}
	s.done.Go(func() {
		tree := newProcessTree(pid)
		ticker := time.NewTicker(sampleEvery)
		defer ticker.Stop()
		for n := 0; ; n++ {
			if n%searchEvery == 0 {
				tree.search()
			}
			if now, ok := tree.sample(n%weighEvery == weighEvery/2); ok {
				s.samples = append(s.samples, now)
			}
			select {
			case <-s.stop:
				return
			case <-ticker.C:
			}
		}
	})
	return s
}

func (s *sampler) finish() []sample {
	close(s.stop)
	s.done.Wait()
	return s.samples
}

// cpuBetween is the processor time used between two times, by the samples that are nearest to them; absent where there
// are none within half a second.
func cpuBetween(samples []sample, from, to time.Time) num.Value {
	near := func(t time.Time) (cpu float64, ok bool) {
		best := math.Inf(1)
		for i := range samples {
			if d := math.Abs(samples[i].at.Sub(t).Seconds()); d < best {
				best, cpu = d, samples[i].cpu
			}
		}
		return cpu, best < 0.5
	}
	before, ok := near(from)
	after, alsoOK := near(to)
	if !ok || !alsoOK || after <= before {
		return num.Absent()
	}
	return num.Value(after - before)
}
