package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/nats-io/nats.go"

	"github.com/openloop/openloop/internal/precise"
	"github.com/openloop/openloop/loadgen"
)

// stage is a stage that the leader has under way: a loadgen.Running.
type stage struct {
	leader   *Leader
	number   int
	asked    loadgen.Stage
	hooks    loadgen.Hooks
	requests *supply
	clock    *precise.Clock
	start    int64 // on that clock
	parts    []*part
	done     chan struct{}
	closing  sync.Once
	result   *loadgen.Measured

	mu      sync.Mutex
	limits  loadgen.ErrorLimits
	reason  loadgen.StopReason // "" until it is to end before its limits
	err     error
	indices int // of a closed loop: requests that were told of
	open    int // parts that have not ended
}

// part is a worker's share of a stage.
type part struct {
	member   *member
	share    loadgen.Share
	stage    loadgen.Stage
	reports  *nats.Subscription
	distance distance
	begun    chan struct{} // closed when start is known
	start    int64         // of the stage, by the clock of the worker's records

	// Guarded by stage.mu.
	batches  int
	requests []request // by the worker's own index
	progress loadgen.Progress
	left     *left
	lost     string
	ended    bool
}

// request is what is known of one.
type request struct {
	index  int // in the stage; −1: not told of yet
	record loadgen.Record
	detail loadgen.Detail
}

// headStart is how long before a stage begins its workers are told when, beside the way there.
const headStart = 200 * time.Millisecond

// begin begins a stage with the given workers.
func (l *Leader) begin(ctx context.Context, asked loadgen.Stage, hooks loadgen.Hooks, able []*member) (*stage, error) {
	s := &stage{leader: l, asked: asked, hooks: hooks, clock: precise.NewClock(), done: make(chan struct{})}
	s.parts = shares(asked, able)
	s.requests = newSupply(hooks.Source, asked, len(s.parts))
	s.open = len(s.parts)
	l.mu.Lock()
	l.stages++
	s.number = l.stages
	l.current = s
	l.mu.Unlock()
	err := s.prepare()
	if err == nil {
		err = s.launch()
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = s.each(func(p *part) error { // who does not hear it hears of the next stage
			_, err := l.order(p.member, order{Kind: endStage, Stage: s.number, Reason: loadgen.StopAsked, Cancel: true})
			return err
		})
		s.closing.Do(s.release)
		return nil, err
	}
	interrupted := context.AfterFunc(ctx, func() { s.stop(loadgen.StopInterrupted, nil, true) })
	go func() {
		<-s.done
		interrupted()
	}()
	return s, nil
}

// shares deals a stage out. Workers that would have nothing to send are left out.
func shares(asked loadgen.Stage, able []*member) []*part {
	if n := asked.MaxRequests; n > 0 {
		able = able[:min(n, len(able))]
	}
	if n := asked.Load.Streams; !asked.Load.Kind.Open() && asked.MaxRequests > 0 {
		able = able[:min(n, len(able))]
	}
	var parts []*part
	for i, m := range able {
		p := &part{member: m, share: loadgen.Share{Index: i, Of: len(able)}, stage: asked, begun: make(chan struct{})}
		own := &p.stage
		own.Load.Share = p.share
		own.Load.Streams = p.share.Size(asked.Load.Streams)
		own.MaxRequests = p.share.Size(asked.MaxRequests)
		own.KeepTexts = p.share.Size(asked.KeepTexts)
		own.MaxErrors, own.MaxErrorRate, own.MaxGlobalErrorRate = 0, 0, 0 // the leader sees them all
		parts = append(parts, p)
	}
	return parts
}

// each does something with every part that is not lost, at once, and returns what went wrong.
func (s *stage) each(do func(*part) error) error {
	errs := make([]error, len(s.parts))
	var all sync.WaitGroup
	for i, p := range s.parts {
		all.Go(func() { errs[i] = do(p) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// prepare has the workers fetch their first requests.
func (s *stage) prepare() error {
	return s.each(func(p *part) (err error) {
		p.reports, err = s.leader.nc.Subscribe(reportSubject(p.member.id), func(m *nats.Msg) { s.report(p, m) })
		if err == nil {
			err = p.reports.SetPendingLimits(-1, -1)
		}
		if err == nil {
			o := order{Kind: prepareStage, Stage: s.number, Load: p.stage, Ahead: ahead(p.stage)}
			if n := s.leader.setup.MaxConcurrency; n > 0 {
				o.Most = max(1, p.share.Size(n))
			}
			_, err = s.leader.order(p.member, o)
		}
		return err
	})
}

// mostAhead is how many requests a worker fetches ahead at most.
const mostAhead = 4096

// ahead is how many requests a worker has fetched before they are due: of about two seconds.
func ahead(own loadgen.Stage) int {
	const fewest, most = 16, mostAhead
	load := own.Load
	n := 2 * load.Streams
	if load.Kind.Open() {
		rate := load.Rate
		for _, p := range load.Profile {
			rate = max(rate, p.From, p.To)
		}
		n = int(min(2*rate, most)) / max(1, load.Share.Of)
	}
	n = min(max(n, fewest), most)
	if own.MaxRequests > 0 {
		n = min(n, own.MaxRequests)
	}
	return n
}

// launch tells the workers when to begin.
func (s *stage) launch() error {
	l := s.leader
	for _, p := range s.parts { // one after the other: what answers one holds up another's answer
		var err error
		if p.distance, err = l.measureDistance(p.member); err != nil {
			return fmt.Errorf("as its clock was asked for: %w", err)
		}
	}
	way := int64(0) // there and back, of the farthest
	for _, p := range s.parts {
		way = max(way, 2*p.distance.error)
	}
	at := l.clock.now() + int64(headStart) + 2*way
	s.start = int64(l.clock.at(at).Sub(s.clock.Origin()))
	return s.each(func(p *part) error {
		a, err := l.order(p.member, order{Kind: beginStage, Stage: s.number, At: at + p.distance.offset})
		if err == nil {
			p.start = a.Start
			close(p.begun)
		}
		return err
	})
}

// report takes in what a worker tells.
func (s *stage) report(p *part, msg *nats.Msg) {
	b, err := decode[batch](msg.Data)
	if err != nil || b.Stage != s.number {
		return
	}
	select { // the first may be here before the answer to the order to begin
	case <-p.begun:
	case <-s.done:
		return
	}
	told, reason, last, err := s.take(p, &b)
	if err != nil {
		go s.leader.giveUp(p.member, err.Error())
		return
	}
	if s.hooks.Observe != nil {
		for _, e := range told {
			s.hooks.Observe(e)
		}
	}
	if reason != "" {
		s.stop(reason, nil, false)
	}
	if last {
		s.partEnded(p)
	}
}

// take adds what a worker told to what is known of its part. It returns the events that others are to be told of, why
// the stage is to end, if it is, and whether the part ends with it.
func (s *stage) take(p *part, b *batch) (told []loadgen.Event, reason loadgen.StopReason, last bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.ended || p.left != nil {
		return nil, "", false, nil
	}
	if b.Number != p.batches {
		return nil, "", false, errors.New("some of what it told of its requests did not arrive")
	}
	if err := b.check(len(p.requests), p.start, s.clock.Now()-s.start); err != nil {
		return nil, "", false, fmt.Errorf("what it told of its requests can't be: %w", err)
	}
	p.batches++
	p.progress = b.Progress
	events := b.Events
	if b.Left != nil {
		p.left = b.Left
		events = slices.Concat(events, b.Left.Unsent)
	}
	inFlight := 0
	for _, other := range s.parts {
		inFlight += other.progress.InFlight
	}
	told = make([]loadgen.Event, 0, len(b.Events))
	for i := range events {
		e := &events[i]
		shift(&e.Record, s.start-p.start)
		r := p.request(e.Index)
		if r.index < 0 {
			r.index = s.indexOf(p, e.Index, &e.Record)
		}
		r.record = e.Record
		if e.Detail != nil {
			r.detail = *e.Detail
		}
		if e.Ended {
			if st := e.Record.Status; reason == "" && (st == loadgen.Completed || st == loadgen.Errored) {
				reason = s.limits.Add(st == loadgen.Errored, &s.asked)
			}
		}
		if i < len(b.Events) { // the rest was not sent
			told = append(told, loadgen.Event{Run: s, Index: r.index, Record: &e.Record, Detail: e.Detail,
				Ended: e.Ended, At: e.At, InFlight: inFlight})
		}
	}
	return told, reason, b.Left != nil, nil
}

// request is the worker's own request of an index.
func (p *part) request(index int) *request {
	for len(p.requests) <= index {
		p.requests = append(p.requests, request{index: -1})
	}
	return &p.requests[index]
}

// indexOf is which request of the stage a worker's own request is. Turns of sessions and the requests of a closed loop
// are counted as they are told of. s.mu is held.
func (s *stage) indexOf(p *part, own int, r *loadgen.Record) int {
	if s.asked.Load.Kind.Open() && r.Session == 0 {
		return p.share.Index + own*p.share.Of
	}
	s.indices++
	return s.indices - 1
}

// shift moves the times of a record to another clock; 0 means never.
func shift(r *loadgen.Record, by int64) {
	for _, t := range []*int64{&r.Scheduled, &r.Started, &r.Sent, &r.FirstEvent, &r.FirstToken, &r.FirstOutput,
		&r.LastToken, &r.LastEvent, &r.End, &r.Began} {
		if *t != 0 {
			*t += by
		}
	}
}

// partEnded takes note of a part that has ended, and ends the others where it ended for a reason that concerns all.
func (s *stage) partEnded(p *part) {
	switch left := p.left; left.Reason {
	case loadgen.StopServerGone, loadgen.StopPacer:
		s.stop(left.Reason, fmt.Errorf("worker %s: %s", p.member.name, left.Error), false)
	case loadgen.StopSource:
		err := s.requests.failure()
		if err == nil { // it got none, and there were some
			go s.leader.giveUp(p.member, left.Error)
			return
		}
		s.stop(left.Reason, err, false)
	}
	s.countEnded(p)
}

// lose ends a stage of which a worker was lost.
func (s *stage) lose(m *member, why string) {
	for _, p := range s.parts {
		if p.member != m {
			continue
		}
		s.mu.Lock()
		ended := p.ended
		if !ended {
			p.lost = why
		}
		s.mu.Unlock()
		if !ended {
			s.stop(loadgen.StopWorkerLost, fmt.Errorf("worker %s was lost: %s", m.name, why), true)
			s.countEnded(p)
		}
	}
}

// countEnded counts a part as ended, and finishes the stage with the last.
func (s *stage) countEnded(p *part) {
	s.mu.Lock()
	if p.ended {
		s.mu.Unlock()
		return
	}
	p.ended = true
	s.open--
	last := s.open == 0
	s.mu.Unlock()
	if last {
		go s.finish() // not in the goroutine of a subscription that it ends
	}
}

// finish makes what the stage left.
func (s *stage) finish() {
	after := make([]distance, len(s.parts))
	for i, p := range s.parts {
		if p.lost == "" {
			var err error
			if after[i], err = s.leader.measureDistance(p.member); err != nil {
				after[i] = p.distance // it was lost since; the stage was sent
			}
		}
	}
	s.closing.Do(func() { // unless it never began
		s.result = s.merge(after)
		s.release()
	})
}

// release ends what the stage holds of the leader, and the stage with it.
func (s *stage) release() {
	for _, p := range s.parts {
		if p.reports != nil {
			_ = p.reports.Unsubscribe() // it may have ended with the connection
		}
	}
	s.leader.mu.Lock()
	if s.leader.current == s {
		s.leader.current = nil
	}
	s.leader.mu.Unlock()
	close(s.done)
}

// stop has all workers end the stage.
func (s *stage) stop(reason loadgen.StopReason, err error, cancel bool) {
	s.mu.Lock()
	// A stage that was to end early anyway is not whole without the worker either.
	early := s.reason == loadgen.StopAsked || s.reason == loadgen.StopOverSaturated
	if s.reason == "" || early && reason == loadgen.StopWorkerLost {
		s.reason, s.err = reason, err
	} else if !cancel {
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	for _, p := range s.parts {
		go func() {
			_, _ = s.leader.order(p.member, order{Kind: endStage, Stage: s.number, Reason: reason, Cancel: cancel})
		}()
	}
}

// Stage implements loadgen.Running, as the other methods.
func (s *stage) Stage() loadgen.Stage { return s.asked }

func (s *stage) Origin() time.Time { return s.clock.Origin() }

func (s *stage) Start() int64 { return s.start }

func (s *stage) Done() <-chan struct{} { return s.done }

func (s *stage) Stop() { s.stop(loadgen.StopAsked, nil, false) }

func (s *stage) StopFor(reason loadgen.StopReason) { s.stop(reason, nil, false) }

func (s *stage) Wait() *loadgen.Measured {
	<-s.done
	return s.result
}

// Progress sums up what the workers told last. Its time is that at which they counted.
func (s *stage) Progress() loadgen.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all loadgen.Progress
	elapsed, silent, counting := time.Duration(0), time.Duration(-1), true
	for _, p := range s.parts {
		of := &p.progress
		all.Sent += of.Sent
		all.InFlight += of.InFlight
		all.Completed += of.Completed
		all.Errored += of.Errored
		all.Tokens += of.Tokens
		all.Firsts += of.Firsts
		if of.InFlight > 0 && (silent < 0 || of.Silent < silent) {
			silent = of.Silent
		}
		elapsed += of.Elapsed
		counting = counting && !p.ended && of.Elapsed > 0
	}
	all.Silent = max(silent, 0)
	all.Elapsed = time.Duration(max(s.clock.Now()-s.start, 0))
	if counting {
		all.Elapsed = elapsed / time.Duration(len(s.parts))
	}
	return all
}

// SetStreams deals the streams of a closed loop out.
func (s *stage) SetStreams(n int) {
	_ = s.each(func(p *part) error { // who does not hear it is lost, and ends the stage
		_, err := s.leader.order(p.member, order{Kind: setStreams, Stage: s.number, Streams: p.share.Size(n)})
		return err
	})
}

// Gaps asks the workers for what they have. Of one that does not answer, there is nothing in it.
func (s *stage) Gaps() *hdr.Histogram {
	all := loadgen.NewHistogram()
	var mu sync.Mutex
	_ = s.each(func(p *part) error {
		a, err := s.leader.order(p.member, order{Kind: tellGaps, Stage: s.number})
		if err != nil || checkHistogram(a.Gaps) != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all.Merge(hdr.Import(a.Gaps))
		return nil
	})
	return all
}

func (s *stage) LiveGaps(bounds []int64) (total int64, over []int64) {
	h := s.Gaps()
	over = make([]int64, len(bounds))
	loadgen.CountOver(h, bounds, over)
	return h.TotalCount(), over
}
