package cluster

import (
	"cmp"
	"slices"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/openloop/openloop/loadgen"
)

// merge makes one stage of what the workers measured, as a single process would have left it. after is how far their
// clocks are now.
func (s *stage) merge(after []distance) *loadgen.Measured {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &loadgen.Measured{
		Stage: s.asked, Origin: s.clock.Origin(), Start: s.start, End: s.start,
		Gaps: loadgen.NewHistogram(), TTFT: loadgen.NewHistogram(), ClientDelay: loadgen.NewHistogram(),
	}
	for i, p := range s.parts {
		w := loadgen.Worker{
			Name: p.member.name, Version: p.member.version, Lost: p.lost, ClockOffset: time.Duration(p.distance.offset),
		}
		error := max(p.distance.error, after[i].error)
		if p.left != nil {
			error = max(error, abs(after[i].offset-p.distance.offset))
			w.Part = p.measured(s)
			m.Gaps.Merge(w.Part.Gaps)
			m.TTFT.Merge(w.Part.TTFT)
			m.ClientDelay.Merge(w.Part.ClientDelay)
			m.End, m.Stopped = max(m.End, w.Part.End), max(m.Stopped, w.Part.Stopped)
			m.Sessions.Started += p.left.Sessions.Started
			m.Sessions.Done += p.left.Sessions.Done
			m.Sessions.Abandoned += p.left.Sessions.Abandoned
			addClient(&m.Client, &w.Part.Client, m.Client.Stamps == "")
		}
		w.ClockError = time.Duration(error)
		m.Workers = append(m.Workers, w)
	}
	m.Reason, m.Err = s.reason, s.err
	if m.Reason == "" {
		m.Reason = s.endedBy()
	}
	switch m.Reason {
	case loadgen.StopDuration:
		m.Stopped = m.Start + int64(s.asked.MaxDuration)
	case loadgen.StopRequests, loadgen.StopSchedule:
		m.Stopped = m.End
	case loadgen.StopWorkerLost:
		m.End = max(m.End, s.lastEnd())
		if m.Stopped == 0 { // nobody is left who knows
			m.Stopped = m.End
		}
		m.Stopped = max(m.Stopped, m.Start)
	}
	s.gather(m)
	m.Client.PeakInFlight = peak(m.Records)
	return m
}

// endedBy is why the stage ended by itself.
func (s *stage) endedBy() loadgen.StopReason {
	reason := loadgen.StopSchedule
	for _, p := range s.parts {
		switch r := p.left.Reason; r {
		case loadgen.StopSchedule:
		case loadgen.StopDuration:
			return r // whoever was done before had sent all of its share
		default:
			reason = r
		}
	}
	return reason
}

// lastEnd is when the last request that was told of ended.
func (s *stage) lastEnd() int64 {
	last := s.start
	for _, p := range s.parts {
		for i := range p.requests {
			last = max(last, p.requests[i].record.End)
		}
	}
	return last
}

// gather puts the records in the order of the arrivals, or of a closed loop's requests. Arrivals that a worker did not
// get to stand between those of others, without having been sent.
func (s *stage) gather(m *loadgen.Measured) {
	keep := s.asked.KeepDetails
	var all []*request
	for _, p := range s.parts {
		for i := range p.requests {
			if r := &p.requests[i]; r.index >= 0 {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b *request) int { return cmp.Compare(a.index, b.index) })
	schedule := m.Stage.Load.Schedule()
	sessions := m.Sessions.Started > 0
	add := func(r *request) {
		m.Records = append(m.Records, r.record)
		if keep {
			m.Details = append(m.Details, r.detail)
		}
	}
	for _, r := range all {
		for schedule != nil && !sessions && len(m.Records) < r.index {
			offset, _ := schedule.At(len(m.Records))
			of := s.requests.kind(len(m.Records))
			due := m.Start + int64(offset)
			add(&request{record: loadgen.Record{Scheduled: due, Class: of.class, Target: of.target}})
		}
		add(r)
	}
	m.Offered = len(m.Records)
	if sessions {
		m.SortRecords()
		m.Offered = m.Arrived()
	}
	if schedule == nil {
		return
	}
	limit := s.asked.MaxRequests
	for limit == 0 || m.Offered < limit {
		offset, ok := schedule.At(m.Offered)
		if !ok || m.Start+int64(offset) >= m.Stopped {
			return
		}
		m.Offered++
	}
}

// measured is what one worker measured, by the leader's clock.
func (p *part) measured(s *stage) *loadgen.Measured {
	l, by := p.left, s.start-p.start
	m := &loadgen.Measured{
		Stage: p.stage, Origin: s.clock.Origin(), Start: l.Start + by, Stopped: l.Stopped + by, End: l.End + by,
		Reason: l.Reason, Offered: l.Offered, Sessions: l.Sessions, Client: l.Client,
		Gaps: hdr.Import(l.Gaps), TTFT: hdr.Import(l.TTFT), ClientDelay: hdr.Import(l.Delay),
	}
	for i := range p.requests {
		m.Records = append(m.Records, p.requests[i].record)
	}
	return m
}

// addClient adds up what clients say of themselves.
func addClient(all, c *loadgen.ClientStats, first bool) {
	all.NewConnections += c.NewConnections
	all.Retries += c.Retries
	all.DelayedByCap += c.DelayedByCap
	all.SourceWaits += c.SourceWaits
	all.CPU += c.CPU
	all.Procs += c.Procs
	all.CPUPeriods += c.CPUPeriods
	all.CPUThrottled += c.CPUThrottled
	all.GCPause += c.GCPause
	all.GCs += c.GCs
	all.LocalFailures += c.LocalFailures
	all.SchedP99 = max(all.SchedP99, c.SchedP99)
	all.Frozen = max(all.Frozen, c.Frozen)
	all.FrozenMax = max(all.FrozenMax, c.FrozenMax)
	if first {
		all.Stamps, all.Pacer, all.CPULimit, all.Files, all.Ports = c.Stamps, c.Pacer, c.CPULimit, c.Files, c.Ports
		return
	}
	if c.Stamps != loadgen.KernelStamps {
		all.Stamps = c.Stamps
	}
	if all.CPULimit == 0 || c.CPULimit == 0 {
		all.CPULimit = 0
	} else {
		all.CPULimit += c.CPULimit
	}
	all.Files, all.Ports = least(all.Files, c.Files), least(all.Ports, c.Ports)
}

// least is the headroom of whoever has the least left.
func least(a, b loadgen.Headroom) loadgen.Headroom {
	if a.Limit == 0 || b.Limit > 0 && b.Left < a.Left {
		return b
	}
	return a
}

// peak is how many requests were in flight at most.
func peak(records []loadgen.Record) int {
	type change struct {
		at int64
		by int
	}
	var changes []change
	for i := range records {
		if r := &records[i]; r.Sent > 0 && r.End > 0 {
			changes = append(changes, change{r.Sent, 1}, change{r.End, -1})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	most, now := 0, 0
	for _, c := range changes {
		now += c.by
		most = max(most, now)
	}
	return most
}

func abs(x int64) int64 { return max(x, -x) }
