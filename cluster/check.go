package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

// What a worker tells is believed within bounds: a worker that is broken is not to break the leader.
const (
	mostSkipped = 1 << 16   // requests of which nothing was told, before one of which something is
	timeSlack   = time.Hour // that a time may lie outside of the stage
)

// check says what can't be of what a worker tells of a stage: known is of how many of its requests something was told
// before, start when the stage began by the worker's clock, elapsed how long ago that is.
func (b *batch) check(known int, start, elapsed int64) error {
	earliest, latest := start-int64(timeSlack), start+max(elapsed, 0)+int64(timeSlack)
	within := func(times ...int64) error {
		for _, t := range times {
			if t != 0 && (t < earliest || t > latest) {
				return fmt.Errorf("a time %v from the start of the stage", time.Duration(t-start))
			}
		}
		return nil
	}
	events := b.Events
	if b.Left != nil {
		events = append(events[:len(events):len(events)], b.Left.Unsent...)
	}
	for i := range events {
		e := &events[i]
		if e.Index < 0 || e.Index > known+mostSkipped {
			return fmt.Errorf("request %d, after %d", e.Index, known)
		}
		known = max(known, e.Index+1)
		r := &e.Record
		if err := within(r.Scheduled, r.Started, r.Sent, r.FirstEvent, r.FirstToken, r.FirstOutput, r.LastToken,
			r.LastEvent, r.End); err != nil {
			return err
		}
	}
	l := b.Left
	if l == nil {
		return nil
	}
	if l.Offered < 0 {
		return errors.New("fewer than no arrivals")
	}
	if err := within(l.Start, l.Stopped, l.End); err != nil {
		return err
	}
	for _, h := range []*hdr.Snapshot{l.Gaps, l.TTFT, l.Delay} {
		if err := checkHistogram(h); err != nil {
			return err
		}
	}
	return nil
}

// checkHistogram says what is wrong with a histogram: it is to be one of loadgen's.
func checkHistogram(s *hdr.Snapshot) error {
	if s == nil {
		return errors.New("a histogram is missing")
	}
	own := loadgen.NewHistogram()
	if s.LowestTrackableValue != own.LowestTrackableValue() ||
		s.HighestTrackableValue != own.HighestTrackableValue() ||
		s.SignificantFigures != own.SignificantFigures() || len(s.Counts) != len(own.Export().Counts) {
		return errors.New("a histogram of other bounds")
	}
	for _, n := range s.Counts {
		if n < 0 {
			return errors.New("a histogram that counts backwards")
		}
	}
	return nil
}

// lacks says which headers a worker can't send as the leader would, "" if none. Those of a class have to be the same
// ones: its requests would be others.
func (s *Setup) lacks(h hello) string {
	for _, name := range s.Headers {
		if !hasHeader(h.Headers, name) {
			return fmt.Sprintf("it has no %s header, which the leader's requests have", name)
		}
	}
	for _, c := range s.Classes {
		for _, name := range c.Headers {
			if !hasHeader(h.Classes[c.Name], name) {
				return fmt.Sprintf("it has no %s header for class %s, which the leader's requests have: "+
					"--mix names the leader's file", name, c.Name)
			}
		}
		for _, name := range h.Classes[c.Name] {
			if !hasHeader(c.Headers, name) {
				return fmt.Sprintf("its --mix has a %s header for class %s, which the leader's has not", name, c.Name)
			}
		}
	}
	return ""
}

func hasHeader(names []string, name string) bool {
	return slices.ContainsFunc(names, func(of string) bool { return strings.EqualFold(of, name) })
}
