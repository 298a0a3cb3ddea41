package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// tellEvery is how often a worker tells what became of its requests.
const tellEvery = 50 * time.Millisecond

// sending is a stage that a worker has under way.
type sending struct {
	worker *worker
	number int
	stage  loadgen.Stage
	runner loadgen.Runner
	flight context.Context // ends when what is in flight is to be cancelled
	cancel context.CancelFunc
	queue  chan loadgen.Request // fetched ahead
	full   chan struct{}        // closed when the first ones are there
	none   error                // why there are no more; set before queue is closed
	kept   chan struct{}        // closed when what the stage left is in the journal
	told   chan struct{}        // closed when the leader was told, too

	forgotten sync.Once

	mu      sync.Mutex
	run     *loadgen.Run // nil before it began
	events  []event
	batches int
	ended   int          // requests below which all have ended …
	over    map[int]bool // … and those above that have
}

func newSending(w *worker, o order) *sending {
	ahead := min(max(o.Ahead, 1), mostAhead)
	s := &sending{
		worker: w, number: o.Stage, stage: o.Load, runner: *w.runner,
		queue: make(chan loadgen.Request, ahead), full: make(chan struct{}), kept: make(chan struct{}),
		told: make(chan struct{}), over: map[int]bool{},
	}
	if o.Most > 0 {
		s.runner.MaxConcurrency = min(s.runner.MaxConcurrency, o.Most)
	}
	s.flight, s.cancel = context.WithCancel(context.Background())
	go s.fetch(ahead)
	return s
}

// fetch fetches requests from the leader, so that some are always there.
func (s *sending) fetch(ahead int) {
	defer close(s.queue)
	var once sync.Once
	filled := func() { once.Do(func() { close(s.full) }) }
	defer filled()
	for n := 0; s.stage.MaxRequests == 0 || n < s.stage.MaxRequests; {
		most := max(ahead/2, 1)
		if s.stage.MaxRequests > 0 {
			most = min(most, s.stage.MaxRequests-n)
		}
		got, err := s.ask(most)
		if err != nil {
			s.none = err
			return
		}
		for _, r := range got.Requests {
			select {
			case s.queue <- r:
			default:
				filled()
				select {
				case s.queue <- r:
				case <-s.flight.Done():
					s.none = context.Canceled
					return
				}
			}
			if n++; n >= ahead {
				filled()
			}
		}
		if got.Error != "" {
			s.none = errors.New(got.Error)
			return
		}
		if len(got.Requests) == 0 {
			s.none = errors.New("the leader has no more requests")
			return
		}
	}
	s.none = errors.New("all requests of this worker's share were sent")
}

// supplyIn is how long the leader may take to hand out requests.
const supplyIn = 4 * time.Second

// ask asks the leader for requests. One that does not answer is noticed elsewhere.
func (s *sending) ask(most int) (supplied, error) {
	ctx, cancel := context.WithTimeout(s.flight, supplyIn)
	defer cancel()
	reply, err := s.worker.nc.RequestWithContext(ctx, requestsSubject, encode(wanted{s.worker.id, s.number, most}))
	if err != nil {
		return supplied{}, fmt.Errorf("the leader did not hand out requests: %w", err)
	}
	return decode[supplied](reply.Data)
}

// fetchFirst waits until the stage can begin without waiting for requests.
func (s *sending) fetchFirst() error {
	select {
	case <-s.full:
		return nil
	case <-s.flight.Done():
		return context.Canceled
	}
}

// source is the stage's loadgen.Source.
func (s *sending) source(int) (loadgen.Request, error) {
	select {
	case r, ok := <-s.queue:
		if !ok {
			return r, s.none
		}
		return r, nil
	case <-s.flight.Done(): // what asks the leader may not hear of it: see await
		return loadgen.Request{}, context.Canceled
	}
}

func (s *sending) obey(o order) (a answer, err error) {
	switch o.Kind {
	case beginStage:
		return s.begin(o.At)
	case endStage:
		return a, s.end(o)
	}
	s.mu.Lock()
	run := s.run
	s.mu.Unlock()
	if run == nil {
		return a, errors.New("the stage has not begun")
	}
	switch o.Kind {
	case setStreams:
		run.SetStreams(o.Streams)
	case tellGaps:
		a.Gaps = run.Gaps().Export()
	default:
		return a, fmt.Errorf("%q is not an order", o.Kind)
	}
	return a, nil
}

// begin begins the stage at a time of this worker's clock.
func (s *sending) begin(at int64) (a answer, err error) {
	w := s.worker
	if late := w.clock.now() - at; late > 0 {
		return a, fmt.Errorf("the order to begin came %v late", time.Duration(late))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	run, err := s.runner.Start(s.flight, s.stage,
		loadgen.Hooks{Source: s.source, Observe: s.observe, StartAt: w.clock.at(at)})
	if err != nil {
		return a, err
	}
	s.run = run
	if w.journal != nil {
		w.journal.Begin(run)
	}
	w.mu.Lock()
	w.began = true
	w.mu.Unlock()
	go s.keep(run)
	go s.tell(run)
	name := s.stage.Load.String()
	if !s.stage.Load.Kind.Open() {
		name = fmt.Sprintf("%s, %d streams", s.stage.Load.Kind, s.stage.Load.Streams)
	}
	w.note("stage %d: %s, share %d of %d", s.number, name, s.stage.Load.Share.Index+1, s.stage.Load.Share.Of)
	return answer{Start: run.Start()}, nil
}

// end ends the stage.
func (s *sending) end(o order) error {
	s.mu.Lock()
	run := s.run
	s.mu.Unlock()
	if run == nil {
		s.abandon()
		return nil
	}
	run.StopFor(o.Reason)
	if o.Cancel {
		s.cancel()
	}
	return nil
}

// abandon ends a stage. If it ever began, it waits until what it left is in the journal, and for the leader to be told.
func (s *sending) abandon() {
	s.cancel()
	s.mu.Lock()
	begun := s.run != nil
	s.mu.Unlock()
	if !begun {
		s.forget()
		return
	}
	<-s.kept
	s.worker.await(s.told)
}

// forget makes the stage the worker's current one no more.
func (s *sending) forget() {
	s.forgotten.Do(func() {
		w := s.worker
		w.mu.Lock()
		if w.current == s {
			w.current = nil
		}
		w.mu.Unlock()
		close(s.told)
	})
}

// observe is the stage's Hooks.Observe.
func (s *sending) observe(e loadgen.Event) {
	if j := s.worker.journal; j != nil {
		j.Observe(e)
	}
	of := event{Index: e.Index, Ended: e.Ended, At: e.At, InFlight: e.InFlight, Record: *e.Record}
	if e.Ended && e.Detail != nil {
		d := *e.Detail
		of.Detail = &d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, of)
	if e.Ended {
		s.over[e.Index] = true
		for s.over[s.ended] {
			delete(s.over, s.ended)
			s.ended++
		}
	}
}

// keep ends the stage's part of the journal. It does not wait for the leader: see await.
func (s *sending) keep(run *loadgen.Run) {
	m := run.Wait()
	if j := s.worker.journal; j != nil {
		j.End(m)
	}
	close(s.kept)
}

// tell tells the leader what comes of the stage, until it has ended.
func (s *sending) tell(run *loadgen.Run) {
	defer s.forget()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for going := true; going; {
		select {
		case <-tick.C:
		case <-run.Done():
			going = false
		}
		if going {
			s.send(run, nil)
		}
	}
	m := run.Wait()
	<-s.kept
	s.cancel()
	l := &left{
		Start: m.Start, Stopped: m.Stopped, End: m.End, Reason: m.Reason, Offered: m.Offered, Sessions: m.Sessions,
		Gaps: m.Gaps.Export(), TTFT: m.TTFT.Export(), Delay: m.ClientDelay.Export(), Client: m.Client,
	}
	if m.Err != nil {
		l.Error = m.Err.Error()
	}
	for i := s.ended; i < len(m.Records); i++ {
		if !s.over[i] {
			l.Unsent = append(l.Unsent, event{Index: i, Record: m.Records[i]})
		}
	}
	s.send(run, l)
}

// send sends what has come since the last time.
func (s *sending) send(run *loadgen.Run, l *left) {
	s.mu.Lock()
	b := batch{Stage: s.number, Number: s.batches, Events: s.events, Progress: run.Progress(), Left: l}
	s.events = nil
	s.batches++
	s.mu.Unlock()
	// What is lost is noticed by its number.
	_ = s.worker.nc.Publish(reportSubject(s.worker.id), encode(b))
}
