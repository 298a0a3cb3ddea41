package records

import (
	"fmt"
	"io"
	"strconv"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
)

// Bounds of the histograms in ns, as those that are recorded while load is sent.
const (
	leastNS = 1_000
	mostNS  = int64(time.Hour)
	digits  = 3
)

// hlogTag is a latency in an HdrHistogram log.
type hlogTag struct {
	name  string
	value func(*report.Request) num.Value // in seconds
	when  func(*report.Request) num.Value // the moment at which it counts, in seconds since the stage began
}

// hlogTags are the latencies of requests that a log has. Failed requests have none but their send delay, and unfinished
// ones no more than their time to first token.
func hlogTags() []hlogTag {
	sent := func(q *report.Request) num.Value { return q.Sent }
	first := func(q *report.Request) num.Value { return q.FirstToken }
	end := func(q *report.Request) num.Value { return q.End }
	of := func(which func(status string) bool, value func(*report.Request) num.Value) func(*report.Request) num.Value {
		return func(q *report.Request) num.Value {
			if !which(q.Status) {
				return num.Absent()
			}
			return value(q)
		}
	}
	done := func(status string) bool { return status == loadgen.Completed.String() }
	unfailed := func(status string) bool { return status != loadgen.Errored.String() }
	return []hlogTag{
		{"ttft", of(unfailed, func(q *report.Request) num.Value { return q.ScheduledTTFT }), first},
		{"ttft_sent", of(unfailed, func(q *report.Request) num.Value { return q.TTFT }), first},
		{"tpot", of(done, func(q *report.Request) num.Value { return q.TPOT }), end},
		{"latency", of(done, func(q *report.Request) num.Value { return q.Latency }), end},
		{"send_delay", func(q *report.Request) num.Value { return q.SendDelay }, sent},
	}
}

// WriteHLog writes the latencies of results as an HdrHistogram log of version 1.3, values in ns: for every stage and
// every step of its series (a second, but in long stages) a histogram of each latency, under a tag. Tag itl has all
// gaps between tokens, one histogram a stage; a result that was read from a file has none of them. The error is
// ErrNoRequests where the requests of a stage are not at hand.
func WriteHLog(w io.Writer, results ...*report.Result) error {
	if err := haveRequests(results); err != nil {
		return err
	}
	log := hdr.NewHistogramLogWriter(w)
	write := []func() error{
		func() error { return log.OutputComment("[Latencies measured by openloop; values in nanoseconds]") },
		log.OutputLogFormatVersion,
	}
	if len(results) > 0 {
		began := results[0].Began.UnixMilli()
		write = append(write, func() error { return log.OutputStartTime(began) })
	}
	write = append(write, log.OutputLegend)
	for _, step := range write {
		if err := step(); err != nil {
			return err
		}
	}
	scratch := hdr.New(leastNS, mostNS, digits)
	for _, r := range results {
		for i := range r.Stages {
			if err := writeStage(log, &r.Stages[i], i, scratch); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeStage writes the lines of a stage in the order of time.
func writeStage(log *hdr.HistogramLogWriter, s *report.Stage, index int, scratch *hdr.Histogram) error {
	// A name may have come from a file: it must not end the comment's line.
	if err := log.OutputComment(fmt.Sprintf("[Stage %d: %s]", index+1, strconv.Quote(s.Name))); err != nil {
		return err
	}
	if m := s.Measured; m != nil && m.Gaps != nil && m.Gaps.TotalCount() > 0 {
		gaps := hdr.Import(m.Gaps.Export())
		if err := writeLine(log, gaps, "itl", s.Began, m.Wall(m.End)); err != nil {
			return err
		}
	}
	step, steps := time.Second, 1
	if of := s.Series; of != nil && of.Step > 0 && len(of.Sent) > 0 {
		step, steps = time.Duration(of.Step*float64(time.Second)), len(of.Sent)
	}
	tags := hlogTags()
	values := make([][][]int64, steps) // of each step and tag, in ns
	for q := range s.EachRequest() {
		for k, tag := range tags {
			value, when := tag.value(&q), float64(tag.when(&q))
			if value.IsAbsent() || !(when >= 0) {
				continue
			}
			i := int(min(when/step.Seconds(), float64(steps-1)))
			if values[i] == nil {
				values[i] = make([][]int64, len(tags))
			}
			ns := int64(min(max(float64(value)*1e9, 0), float64(mostNS)))
			values[i][k] = append(values[i][k], ns)
		}
	}
	for i, of := range values {
		from := s.Began.Add(time.Duration(i) * step)
		for k := range of {
			if len(of[k]) == 0 {
				continue
			}
			scratch.Reset()
			for _, ns := range of[k] {
				if err := scratch.RecordValue(ns); err != nil {
					return err
				}
			}
			if err := writeLine(log, scratch, tags[k].name, from, from.Add(step)); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeLine(log *hdr.HistogramLogWriter, h *hdr.Histogram, tag string, from, to time.Time) error {
	h.SetTag(tag)
	h.SetStartTimeMs(from.UnixMilli())
	h.SetEndTimeMs(to.UnixMilli())
	return log.OutputIntervalHistogram(h)
}
