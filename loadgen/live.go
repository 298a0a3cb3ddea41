package loadgen

import (
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Start returns when the stage began, on the clock of the records: the offsets of its schedule count from there.
func (run *Run) Start() int64 { return run.result.Start }

// Origin is the origin of the records' clock by the wall clock.
func (run *Run) Origin() time.Time { return run.result.Origin }

// Gaps copies the histogram of the gaps between token events of the requests that have ended so far. It may be called
// at any time.
func (run *Run) Gaps() *hdr.Histogram {
	all := NewHistogram()
	for i := range run.shard {
		all.Merge(run.shard[i].copyGaps())
	}
	return all
}

// LiveGaps counts the gaps between token events of the requests that have ended so far, and of them those longer than
// each of the bounds (ns). Like the histogram it knows a gap to 0.1 %. It may be called at any time.
func (run *Run) LiveGaps(bounds []int64) (total int64, over []int64) {
	over = make([]int64, len(bounds))
	for i := range run.shard {
		h := run.shard[i].copyGaps()
		total += h.TotalCount()
		CountOver(h, bounds, over)
	}
	return total, over
}

// CountOver adds to over how many values of a histogram are longer than each of the bounds (ns).
func CountOver(h *hdr.Histogram, bounds, over []int64) {
	if len(bounds) == 0 || h.TotalCount() == 0 {
		return
	}
	for _, bar := range h.Distribution() {
		for k, bound := range bounds {
			if bar.Count > 0 && bar.From >= bound && !h.ValuesAreEquivalent(bar.From, bound) {
				over[k] += bar.Count
			}
		}
	}
}

// copyGaps copies the histogram, so that whoever counts in it holds up no request that ends.
func (sh *shard) copyGaps() *hdr.Histogram {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.hists.Gaps.Clone()
}
