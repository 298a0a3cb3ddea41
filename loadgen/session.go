package loadgen

import (
	"container/heap"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Session is a graph of requests: each is due when the answers that it needs have come, and a think time has passed. A
// chain, where each needs the one before it, is the simple case. What arrives by the schedule of a stage are then
// sessions. It holds values only, so that it can be sent to another process.
type Session struct{ Turns []Turn }

// Turn is one request of a session. Its body is Head, the messages of all turns so far with the answers between them,
// and Tail.
type Turn struct {
	// Needs are the turns, by their places before this one, whose answers it waits for. Empty: the turn before. NoTurn
	// alone: it waits for none, and is due After the session. The first turn is due with the session. A turn with Needs
	// sends its own messages alone: turns that are under way at the same time have no common history.
	Needs []int32

	Think      time.Duration // from the last answer that it needs until it is due; of the first turn not used
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

// NoTurn stands in Turn.Needs where a turn needs no answer.
const NoTurn = -1

// alone says whether a turn sends its own messages and nothing else.
func (t *Turn) alone() bool { return t.Alone || len(t.Needs) > 0 }

// isRoot says whether a turn after the first one waits for no answer.
func (t *Turn) isRoot() bool { return len(t.Needs) == 1 && t.Needs[0] == NoTurn }

// isChain says whether every turn needs the one before it.
func (s *Session) isChain() bool {
	return !slices.ContainsFunc(s.Turns, func(t Turn) bool { return len(t.Needs) > 0 })
}

// check finds what can't be sent: a turn that needs itself or a later one, or the history of a session that has no
// single one.
func (s *Session) check() error {
	chain := s.isChain()
	for k := range s.Turns {
		t := &s.Turns[k]
		if k > 0 && !chain && !t.alone() {
			return fmt.Errorf("turn %d of a session sends what was said before, though its turns are not a chain", k+1)
		}
		for _, need := range t.Needs {
			if k == 0 || int(need) >= k || need < 0 && !t.isRoot() {
				return fmt.Errorf("turn %d of a session needs turn %d, which is not before it", k+1, need+1)
			}
		}
	}
	return nil
}

// Sessions counts what became of the sessions of a stage. The rest of those that were started was not at its end.
type Sessions struct {
	Started   int `json:"started"`   // their first turn was due
	Done      int `json:"done"`      // all their turns were answered
	Abandoned int `json:"abandoned"` // a turn failed, so that none that needs its answer could follow
}

// request makes the request of a turn, whose history are the messages of all turns before, with their answers.
func (t *Turn) request(history []byte) Request {
	if t.alone() {
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
	due, longest := make([]time.Duration, len(s.Turns)), time.Duration(0)
	for k := 1; k < len(s.Turns); k++ {
		t := &s.Turns[k]
		switch {
		case t.isRoot():
		case len(t.Needs) == 0:
			due[k] = due[k-1] + t.Think
		default:
			for _, before := range t.Needs {
				due[k] = max(due[k], due[before]+t.Think)
			}
		}
		due[k] = max(due[k], t.After)
		longest = max(longest, due[k])
	}
	return longest
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
	history []byte // of a chain: messages of the turns so far, their answers included, each with a comma behind

	mu      sync.Mutex // of what follows: turns of a graph end at the same time
	left    int        // turns that have not been answered
	failed  bool       // one of them has failed
	missing []int32    // answers that each turn still waits for; nil: the session is a chain
	latest  []int64    // when the last of the answers came that it has waited for
}

func newConversation(s *Session, number int32) *conversation {
	c := &conversation{session: s, number: number, left: len(s.Turns)}
	if s.isChain() {
		return c
	}
	c.missing, c.latest = make([]int32, len(s.Turns)), make([]int64, len(s.Turns))
	for k := range s.Turns {
		switch t := &s.Turns[k]; {
		case k == 0 || t.isRoot():
		case len(t.Needs) == 0:
			c.missing[k] = 1
		default:
			c.missing[k] = int32(len(t.Needs))
		}
	}
	return c
}

// wantsText says whether the model's answer to a turn is part of later turns.
func (c *conversation) wantsText(turn int) bool {
	return c != nil && turn+1 < len(c.session.Turns) && len(c.session.Turns[turn].Answer) == 0 &&
		!c.session.Turns[turn+1].alone()
}

// ended notes how a turn ended. It marks the record of the one that ends its session: the last answer, or the first
// failure.
func (c *conversation) ended(r *Record) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.Status {
	case Completed:
		if c.left--; c.left == 0 {
			r.Flags |= EndsSession
		}
	case Errored:
		if !c.failed {
			r.Flags |= EndsSession
		}
		c.failed = true
	}
}

// answered notes that turn k has one answer more of those that it needs, that of a turn which ended at a time. It is
// true where that was the last one, with the time from which its think time counts.
func (c *conversation) answered(k, turn int, end int64) (from int64, ready bool) {
	if c.missing == nil {
		return end, k == turn+1
	}
	t := &c.session.Turns[k]
	if needs := len(t.Needs) == 0 && k == turn+1 || slices.Contains(t.Needs, int32(turn)); !needs {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing[k]--
	c.latest[k] = max(c.latest[k], end)
	return c.latest[k], c.missing[k] == 0
}

// extend adds a turn and its answer to what later turns of a chain send.
func (c *conversation) extend(before *Turn, answer []byte) {
	c.history = append(append(c.history, before.Messages...), ',')
	if len(before.Answer) > 0 {
		c.history = append(c.history, before.Answer...)
	} else {
		c.history = AppendAnswer(c.history, answer)
	}
	c.history = append(c.history, ',')
}

// AppendAnswer appends what a model answered as a message of a chat.
func AppendAnswer[text []byte | string](dst []byte, answer text) []byte {
	dst = append(dst, `{"role":"assistant","content":`...)
	dst, _ = jsontext.AppendQuote(dst, answer) // what is not UTF-8 becomes U+FFFD
	return append(dst, '}')
}

// mark notes in a record which turn of a session it is of.
func (c *conversation) mark(r *Record, turn int) {
	if c != nil {
		if c.began == 0 {
			c.began = r.Scheduled
		}
		r.Began, r.Session, r.Turn, r.Turns = c.began, c.number, int16(turn), int16(len(c.session.Turns))
	}
}

// begin makes a session out of a request that is one. i is the index of its arrival.
func (run *Run) begin(req Request, i int) *conversation {
	if req.Session == nil {
		return nil
	}
	run.turnsLeft.Add(1)
	run.sessionCount.Started++ // run.mu is held
	share := run.stage.Load.Share
	return newConversation(req.Session, int32(share.Index+i*max(share.Of, 1)+1))
}

// beginBranches has the turns sent that wait for no answer, but for the first one, which has gone its way.
func (run *Run) beginBranches(a job) {
	if a.session == nil || a.session.missing == nil {
		return
	}
	for k := range a.session.session.Turns {
		if t := &a.session.session.Turns[k]; k > 0 && t.isRoot() {
			run.turnsLeft.Add(1)
			run.branch(run.turnOf(a, k, a.due+int64(t.After), nil))
		}
	}
}

// turnOf makes a turn of the session of a request. When it is due stands in the job, which has no record yet. Its body
// is made without run.mu: the pacer must not wait for that.
func (run *Run) turnOf(a job, k int, due int64, history []byte) job {
	req := a.session.session.Turns[k].request(history)
	req.Class, req.Target = a.req.Class, a.req.Target
	return job{req: req, session: a.session, turn: k, due: due}
}

// follow makes a turn that follows a request that has ended; false if there is none. Others that it lets follow at the
// same time go their own way.
func (run *Run) follow(r *reader, a job) (next job, ok bool) {
	c := a.session
	if c == nil {
		return next, false
	}
	if a.rec.Status == Completed && run.sending.Err() == nil {
		turns := c.session.Turns
		most := len(turns)
		if c.missing == nil {
			most = min(most, a.turn+2)
		}
		for k := a.turn + 1; k < most; k++ {
			from, ready := c.answered(k, a.turn, a.rec.End)
			if !ready {
				continue
			}
			t := &turns[k]
			if !t.alone() {
				c.extend(&turns[a.turn], r.text)
			}
			due := from + int64(t.Think)
			if t.After > 0 {
				due = max(due, c.began+int64(t.After))
			}
			run.turnsLeft.Add(1)
			if turn := run.turnOf(a, k, due, c.history); !ok {
				next, ok = turn, true
			} else {
				run.branch(turn)
			}
		}
	}
	if a.rec.Flags&EndsSession != 0 {
		run.mu.Lock()
		if a.rec.Status == Completed {
			run.sessionCount.Done++
		} else {
			run.sessionCount.Abandoned++
		}
		run.mu.Unlock() // what is left was cut by the end of the stage
	}
	run.turnsLeft.Done()
	return next, ok
}

// branch sends a turn beside another one, with a slot of its own.
func (run *Run) branch(a job) {
	if time.Duration(a.due-run.clock.Now()) > shortThink {
		run.await(a)
		return
	}
	run.requests.Add(1) // who calls has one himself
	go func() {
		defer run.requests.Done()
		if !wait(run.sending, time.Duration(a.due-run.clock.Now())) {
			run.turnsLeft.Done()
			return
		}
		run.sendBranch(nil, a)
	}()
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
		run.turnsLeft.Done()
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
			run.turnsLeft.Done()
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
		run.turnsLeft.Done()
		return
	}
	run.sendBranch(r, a)
}

// sendBranch sends a turn that is due, with a reader that has it or with another.
func (run *Run) sendBranch(r *reader, a job) {
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
	// Until sending ends, whoever begins sessions has returned before this, and the count can't leave zero again. After
	// it, a stream of a closed loop may be about to begin one.
	if run.sending.Err() == nil {
		over := make(chan struct{})
		go func() {
			run.turnsLeft.Wait()
			close(over)
		}()
		select {
		case <-over:
		case <-run.sending.Done():
		}
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
