package loadgen

import (
	"container/heap"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Session is a sequence of requests, of which each is due when the answer to the one before has come, and a think time
// has passed. What arrives by the schedule of a stage are then sessions. It holds values only, so that it can be sent
// to another process.
type Session struct{ Turns []Turn }

// Turn is one request of a session. Its body is Head, the messages of all turns so far with the answers between them,
// and Tail.
type Turn struct {
	Think      time.Duration // from the end of the answer before until it is due; of the first turn not used
	After      time.Duration // from when the session was due: it is not due before
	Head, Tail []byte
	Messages   []byte // that it adds: JSON objects with commas between
	Alone      bool   // they are all that it sends: what was said before is in them

	// Answer is the message that stands for this turn's answer in later turns, as it was recorded: a JSON object. Where
	// it is empty, the text that the model answers does.
	Answer []byte

	PromptTokens int32 // of the whole prompt, earlier turns and answers included; −1 if not known
	OutputTokens int32 // as in Request, as the following
	PromptWords  int32
	PromptChars  int32
}

// Sessions counts what became of the sessions of a stage. The rest of those that were started was not at its end.
type Sessions struct {
	Started   int `json:"started"`   // their first turn was due
	Done      int `json:"done"`      // all their turns were answered
	Abandoned int `json:"abandoned"` // a turn failed, so that none could follow
}

// request makes the request of a turn, whose history are the messages of all turns before, with their answers.
func (t *Turn) request(history []byte) Request {
	if t.Alone {
		history = nil
	}
	body := make([]byte, 0, len(t.Head)+len(history)+len(t.Messages)+len(t.Tail))
	body = append(append(append(append(body, t.Head...), history...), t.Messages...), t.Tail...)
	return Request{Body: body, PromptTokens: t.PromptTokens, OutputTokens: t.OutputTokens, PromptWords: t.PromptWords,
		PromptChars: t.PromptChars}
}

// Request is the session as a request of a Source: its first turn.
func (s *Session) Request() Request {
	r := s.Turns[0].request(nil)
	r.Session = s
	return r
}

// Length is how long the session takes by its times alone: to when its last turn is due, were answers to take none.
func (s *Session) Length() time.Duration {
	length := time.Duration(0)
	for _, t := range s.Turns[1:] {
		length = max(length+t.Think, t.After)
	}
	return length
}

// AtSpeed is the session with its times that many times as short; of an infinite speed each turn is due when the answer
// before it has come.
func (s *Session) AtSpeed(speed float64) *Session {
	fast := &Session{Turns: slices.Clone(s.Turns)}
	for i := range fast.Turns {
		t := &fast.Turns[i]
		t.Think, t.After = time.Duration(float64(t.Think)/speed), time.Duration(float64(t.After)/speed)
	}
	return fast
}

// conversation is a session under way.
type conversation struct {
	session *Session
	number  int32  // from 1, in the order of the schedule
	began   int64  // when its first turn was due
	turn    int    // that is under way
	history []byte // messages of the turns before it, their answers included, each with a comma behind
}

// wantsText says whether the model's answer to the turn under way is part of later turns.
func (c *conversation) wantsText() bool {
	return c != nil && c.turn+1 < len(c.session.Turns) && len(c.session.Turns[c.turn].Answer) == 0 &&
		!c.session.Turns[c.turn+1].Alone
}

// advance goes on to the next turn, after an answer.
func (c *conversation) advance(answer []byte) *Turn {
	before := &c.session.Turns[c.turn]
	if c.turn++; c.session.Turns[c.turn].Alone {
		return &c.session.Turns[c.turn]
	}
	c.history = append(append(c.history, before.Messages...), ',')
	if len(before.Answer) > 0 {
		c.history = append(c.history, before.Answer...)
	} else {
		c.history = AppendAnswer(c.history, answer)
	}
	c.history = append(c.history, ',')
	return &c.session.Turns[c.turn]
}

// AppendAnswer appends what a model answered as a message of a chat.
func AppendAnswer[text []byte | string](dst []byte, answer text) []byte {
	dst = append(dst, `{"role":"assistant","content":`...)
	dst, _ = jsontext.AppendQuote(dst, answer) // what is not UTF-8 becomes U+FFFD
	return append(dst, '}')
}

// mark notes in a record which turn of a session it is of.
func (c *conversation) mark(r *Record) {
	if c != nil {
		if c.began == 0 {
			c.began = r.Scheduled
		}
		r.Began, r.Session, r.Turn, r.Turns = c.began, c.number, int16(c.turn), int16(len(c.session.Turns))
	}
}

// begin makes a session out of a request that is one. i is the index of its arrival.
func (run *Run) begin(req Request, i int) *conversation {
	if req.Session == nil {
		return nil
	}
	run.sessions.Add(1)
	run.sessionCount.Started++ // run.mu is held
	share := run.stage.Load.Share
	return &conversation{session: req.Session, number: int32(share.Index + i*max(share.Of, 1) + 1)}
}

// follow makes the turn that follows a request that has ended; false if there is none. When it is due stands in the
// job, which has no record yet. Its body is made without run.mu: the pacer must not wait for that.
func (run *Run) follow(r *reader, a job) (next job, ok bool) {
	c := a.session
	if c == nil {
		return next, false
	}
	last := c.turn+1 == len(c.session.Turns)
	if a.rec.Status == Completed && !last && run.sending.Err() == nil {
		t := c.advance(r.text)
		req := t.request(c.history)
		req.Class, req.Target = a.req.Class, a.req.Target
		due := a.rec.End + int64(t.Think)
		if t.After > 0 {
			due = max(due, c.began+int64(t.After))
		}
		return job{req: req, session: c, due: due}, true
	}
	run.mu.Lock()
	switch {
	case a.rec.Status == Errored:
		run.sessionCount.Abandoned++
	case a.rec.Status == Completed && last:
		run.sessionCount.Done++
	}
	run.mu.Unlock() // what is left was cut by the end of the stage
	run.sessions.Done()
	return next, false
}

// turnHeap are turns that are not due yet, the next one first.
type turnHeap []job

func (h turnHeap) Len() int           { return len(h) }
func (h turnHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h turnHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *turnHeap) Push(x any) { *h = append(*h, x.(job)) }

// Pop implements heap.Interface.
func (h *turnHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = job{}
	*h = (*h)[:last]
	return x
}

// turnPacer sends turns when they are due. It is a pacer beside that of the schedule, since turns are due when answers
// have come.
type turnPacer struct {
	mu      sync.Mutex
	waiting turnHeap
	woken   chan struct{} // has a value where a turn came that is due before all others
	end     chan struct{} // closed where no turn is to be sent any more
	stopped chan struct{} // closed when the pacer has stopped
	started bool
	closed  bool // no turn is taken in any more
}

func newTurnPacer() *turnPacer {
	return &turnPacer{woken: make(chan struct{}, 1), end: make(chan struct{}), stopped: make(chan struct{})}
}

// shortThink is the think time up to which a turn does not go through the pacer: it would wake too late for it.
const shortThink = 2 * coarse

// await has a turn sent when it is due.
func (run *Run) await(a job) {
	p := run.turns
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		run.sessions.Done()
		return
	}
	heap.Push(&p.waiting, a)
	if !p.started {
		p.started = true
		go run.paceTurns()
	}
	if p.waiting[0].due == a.due {
		select {
		case p.woken <- struct{}{}:
		default:
		}
	}
}

// nextDue is when the next turn is due; 0 if none waits.
func (p *turnPacer) nextDue() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		return 0
	}
	return p.waiting[0].due
}

func (p *turnPacer) take() job {
	p.mu.Lock()
	defer p.mu.Unlock()
	return heap.Pop(&p.waiting).(job)
}

// paceTurns fires turns as they are due, until sending ends. Those that are not due then are cut.
func (run *Run) paceTurns() {
	p := run.turns
	defer close(p.stopped)
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for range p.waiting {
			run.sessions.Done()
		}
		p.waiting, p.closed = nil, true
	}()
	sleepUntil, release, err := run.pacerSleep()
	if err != nil {
		run.stop(StopPacer, fmt.Errorf("the pacer can't sleep precisely: %w", err))
		return
	}
	defer release()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	cancelled := run.sending.Done()
	for {
		due := p.nextDue()
		wait := time.Hour
		if due > 0 {
			wait = time.Duration(due-run.clock.Now()) - coarse
		}
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-p.woken:
			case <-p.end:
				return
			case <-cancelled:
				return
			}
			continue
		}
		run.fireTurn(p.take(), sleepUntil)
		if run.sending.Err() != nil {
			return
		}
	}
}

// fireTurn sends a turn that is about to be due.
func (run *Run) fireTurn(a job, sleepUntil func(int64)) {
	r, ok := run.awaitDue(a.due, a.req, sleepUntil)
	if !ok {
		run.sessions.Done()
		return
	}
	run.mu.Lock()
	run.record(&a)
	r = run.queue(r, a)
	run.mu.Unlock()
	if r != nil {
		r.jobs <- a
	}
}

// endSessions waits until no session is under way, or sending has ended, and ends the pacer of turns.
func (run *Run) endSessions() {
	over := make(chan struct{})
	go func() {
		run.sessions.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-run.sending.Done():
	}
	p := run.turns
	p.mu.Lock()
	p.closed = true
	started := p.started
	p.mu.Unlock()
	close(p.end)
	if started {
		<-p.stopped
	}
}

// SortRecords puts records in the order in which they were due, with their details. Turns are made when answers have
// come, and so between arrivals that were made before them. Without turns it does nothing.
func (m *Measured) SortRecords() {
	if !slices.ContainsFunc(m.Records, func(r Record) bool { return r.Session > 0 }) {
		return
	}
	order := make([]int, len(m.Records))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return int(min(max(m.Records[a].Scheduled-m.Records[b].Scheduled, -1), 1))
	})
	records := make([]Record, len(order))
	for to, from := range order {
		records[to] = m.Records[from]
	}
	m.Records = records
	if m.Details != nil {
		details := make([]Detail, len(order))
		for to, from := range order {
			details[to] = m.Details[from]
		}
		m.Details = details
	}
}
