package live

import (
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
)

// kept is how many requests of the stage under way are looked at: those that ended last.
const kept = 4096

// audited is how many of them the client's level is made of.
const audited = 1024

// What counts as "now": the requests that ended in the last few seconds, and no fewer than a handful, so that a slow
// load shows something.
const (
	nowFor   = 5 * time.Second
	fewest   = 10
	longNow  = 30 * time.Second // of that handful
	mostText = 20               // different texts of errors that are told apart
)

// recent holds the requests of a stage that ended last, in a ring. The requests' own goroutines fill it, one each.
type recent struct {
	of      loadgen.Running // the stage
	records []loadgen.Record
	next    int // where the next goes, once the ring is full
	errors  map[string]int
}

// follow begins anew with another stage.
func (r *recent) follow(run loadgen.Running) {
	if r.of != run {
		*r = recent{of: run}
	}
}

// add takes in a request that has ended.
func (r *recent) add(rec *loadgen.Record, detail *loadgen.Detail) {
	if rec.Status == loadgen.NotSent {
		return
	}
	if len(r.records) < kept {
		r.records = append(r.records, *rec)
	} else {
		r.records[r.next] = *rec
		r.next = (r.next + 1) % kept
	}
	if rec.Status != loadgen.Errored {
		return
	}
	text := rec.Err.String()
	if detail != nil && detail.Error != "" {
		text = detail.Error
	}
	if _, known := r.errors[text]; known || len(r.errors) < mostText {
		if r.errors == nil {
			r.errors = map[string]int{}
		}
		r.errors[text]++
	}
}

// mostFrequent is the most frequent error.
func (r *recent) mostFrequent() string {
	most := ""
	for text, n := range r.errors {
		if n > r.errors[most] || n == r.errors[most] && text < most {
			most = text
		}
	}
	return most
}

// oldestFirst are the requests in the order in which they ended.
func (r *recent) oldestFirst() []loadgen.Record {
	return append(slices.Clone(r.records[r.next:]), r.records[:r.next]...)
}

// look is what requests that ended say.
type look struct{ ttft, tpot, delay report.Latency }

// lookAt sums requests up; those due before from are left out of the latencies, as the warm-up is.
func lookAt(records []loadgen.Record, from int64) look {
	var ttft, tpot, delay []float64
	for i := range records {
		r := &records[i]
		if r.Scheduled < from {
			continue
		}
		if d, ok := r.ScheduledTTFT(); ok && r.Status != loadgen.Errored {
			ttft = append(ttft, float64(d))
		}
		if d, ok := r.TPOT(); ok && r.Status == loadgen.Completed {
			tpot = append(tpot, float64(d))
		}
		if r.Sent > 0 {
			delay = append(delay, float64(r.SendDelay()))
		}
	}
	return look{report.LatencyOf(ttft), report.LatencyOf(tpot), report.LatencyOf(delay)}
}

// latest are the requests that ended in the last seconds before a moment.
func latest(records []loadgen.Record, at int64) []loadgen.Record {
	n := 0
	for ; n < len(records); n++ {
		age := time.Duration(at - records[len(records)-1-n].End)
		if age > nowFor && (n >= fewest || age > longNow) {
			break
		}
	}
	return records[len(records)-n:]
}

// clientLevel is what the audit says of the requests that ended last: whether they were sent when they were due.
func clientLevel(run loadgen.Running, records []loadgen.Record, ttft, empty *hdr.Histogram) audit.Level {
	if len(records) == 0 {
		return audit.Valid
	}
	records = records[max(0, len(records)-audited):]
	ttft.Reset()
	for i := range records {
		if d, ok := records[i].TTFT(); ok {
			_ = ttft.RecordValue(int64(d))
		}
	}
	first, last := records[0].Scheduled, int64(0)
	for i := range records {
		first, last = min(first, records[i].Scheduled), max(last, records[i].End)
	}
	m := loadgen.Measured{
		Stage: run.Stage(), Start: first, Stopped: last, End: last, Records: records, Offered: len(records),
		TTFT: ttft, Gaps: empty, ClientDelay: empty,
		Client: loadgen.ClientStats{Stamps: loadgen.KernelStamps},
	}
	return audit.Check(&m).Level
}
