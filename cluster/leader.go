package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/openloop/openloop/loadgen"
)

// How long is waited for what does not come. All of it together stays below five seconds: nobody waits longer for a
// machine that is dead.
const (
	heartbeat = 250 * time.Millisecond  // how often a worker is asked whether it is there
	answerIn  = time.Second             // how long it may take to say so
	lostAfter = 2500 * time.Millisecond // without an answer for so long, a worker is lost
	// leaderLostAfter is when a worker takes the leader for dead. It is longer, so that the leader says first whom it
	// goes on without.
	leaderLostAfter = 3500 * time.Millisecond
)

// ErrNoWorkers means that no worker is left to send a stage.
var ErrNoWorkers = errors.New("no worker is left")

// Config says how a leader leads.
type Config struct {
	Listen  string      // address for workers, HOST:PORT
	Token   string      // that they must have; "" for none
	TLS     *tls.Config // nil: none
	Workers int         // how many send
	Version string      // of the program: theirs must be the same

	// Note, where set, is told what people should know as it happens; it may be called at any time.
	Note func(text string)
}

// Leader has stages sent by workers. Its methods are safe for concurrent use.
type Leader struct {
	config Config
	server *server.Server
	nc     *nats.Conn
	clock  clock
	setup  Setup

	mu      sync.Mutex
	members []*member
	refused map[string]bool // what was said of those that could not join
	notes   []string
	joined  chan struct{} // has a value where someone joined
	stages  int
	current *stage // nil between two
}

// member is a worker as the leader knows it.
type member struct {
	id            string
	name, version string
	most          int
	gone          context.Context // ends when it is lost
	lose          context.CancelFunc
	why           string // it was lost; guarded by Leader.mu
}

// NewLeader starts to listen. Workers can join once Open is called.
func NewLeader(c Config) (*Leader, error) {
	l := &Leader{config: c, clock: newClock(), refused: map[string]bool{}, joined: make(chan struct{}, 1)}
	s, err := startServer(c.Listen, c.Token, c.TLS, func(host, why string) { l.refuse("a worker at "+host, why) })
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect("", append(options(c.Token), nats.InProcessServer(s))...)
	if err != nil {
		s.Shutdown()
		return nil, err
	}
	l.server, l.nc = s, nc
	return l, nil
}

// Address is where workers join.
func (l *Leader) Address() string { return l.server.Addr().String() }

// waitTold is how often it is said that workers are waited for.
const waitTold = 10 * time.Second

// Open lets workers join, and waits until there are as many as are to send. When it ends before, what is missing is in
// the error.
func (l *Leader) Open(ctx context.Context, setup Setup, patience time.Duration) error {
	l.setup = setup
	for name, handle := range map[string]nats.MsgHandler{
		joinSubject: l.join, leaveSubject: l.left, requestsSubject: func(m *nats.Msg) { go l.supply(m) },
	} {
		if _, err := l.nc.Subscribe(name, handle); err != nil {
			return err
		}
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	tick := time.NewTicker(waitTold)
	defer tick.Stop()
	for {
		n := len(l.able())
		if n >= l.config.Workers {
			return nil
		}
		select {
		case <-l.joined:
		case <-tick.C:
			l.note(false, "waiting for workers: %d of %d have joined", n, l.config.Workers)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return fmt.Errorf("%d of %d workers joined within %v%s", n, l.config.Workers, patience, l.whyMissing())
		}
	}
}

// whyMissing says what was wrong with those that could not join.
func (l *Leader) whyMissing() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.notes) == 0 {
		return ""
	}
	return ": " + strings.Join(l.notes, "; ")
}

// Notes are what the reader of a result should know: who was refused, lost, or came late.
func (l *Leader) Notes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.notes)
}

// MaxConcurrency is how many requests the workers together may have in flight.
func (l *Leader) MaxConcurrency() int {
	n := 0
	for _, m := range l.able() {
		n += m.most
	}
	return n
}

// Close sends the workers home and ends the server.
func (l *Leader) Close() {
	var told sync.WaitGroup
	for _, m := range l.present() { // also who stands by
		told.Go(func() {
			_, _ = l.order(m, order{Kind: goHome}) // who does not hear it notices that the leader is gone
		})
	}
	told.Wait()
	l.mu.Lock()
	members := l.members
	l.mu.Unlock()
	for _, m := range members {
		m.lose() // ends its heartbeat
	}
	l.nc.Close()
	l.server.Shutdown()
	l.server.WaitForShutdown()
}

func (l *Leader) note(keep bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if keep {
		l.mu.Lock()
		l.notes = append(l.notes, text)
		l.mu.Unlock()
	}
	if l.config.Note != nil {
		l.config.Note(text)
	}
}

// join takes a worker in.
func (l *Leader) join(msg *nats.Msg) {
	h, err := decode[hello](msg.Data)
	if err != nil {
		return
	}
	w := l.admit(h)
	if w.Refused != "" {
		l.refuse("worker "+h.Name, w.Refused)
	}
	_ = msg.Respond(encode(w)) // who does not hear it asks again
}

// mostRefused is how many refusals are told: whoever can reach the port can be refused.
const mostRefused = 50

// refuse takes note, once, of who was not let in.
func (l *Leader) refuse(who, why string) {
	text := fmt.Sprintf("%s was refused: %s", who, why)
	l.mu.Lock()
	known := l.refused[text] || len(l.refused) >= mostRefused
	if !known {
		l.refused[text] = true
	}
	l.mu.Unlock()
	if !known {
		l.note(true, "%s", text)
	}
}

// admit says what becomes of a worker that wants to join.
func (l *Leader) admit(h hello) welcome {
	switch {
	case h.Protocol != Protocol || h.Version != l.config.Version:
		return welcome{Refused: fmt.Sprintf("it is openloop %s, and the leader is %s", h.Version, l.config.Version)}
	case h.Most < 1:
		return welcome{Refused: "it can have no request in flight"}
	}
	if why := l.setup.lacks(h); why != "" {
		return welcome{Refused: why}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known := slices.ContainsFunc(l.members, func(m *member) bool { return m.id == h.ID })
	if !h.Ready || known { // it may not have heard the answer
		return welcome{Setup: l.setup}
	}
	m := &member{id: h.ID, name: h.Name, version: h.Version, most: h.Most}
	m.gone, m.lose = context.WithCancel(context.Background())
	present := 0
	for _, other := range l.members {
		if other.why == "" {
			present++
		}
	}
	l.members = append(l.members, m)
	late := l.stages
	go func() {
		switch {
		case late > 0:
			l.note(true, "worker %s joined late, when stage %d had begun", m.name, late)
		case present >= l.config.Workers:
			l.note(false, "worker %s stands by: there are %d already", m.name, l.config.Workers)
		default:
			l.note(false, "worker %s has joined (%d of %d)", m.name, present+1, l.config.Workers)
		}
		l.listen(m)
	}()
	select {
	case l.joined <- struct{}{}:
	default:
	}
	return welcome{Setup: l.setup}
}

// listen asks a worker whether it is there, until it is lost.
func (l *Leader) listen(m *member) {
	heard := time.Now()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-m.gone.Done():
			return
		}
		ctx, cancel := context.WithTimeout(m.gone, answerIn)
		_, err := l.nc.RequestWithContext(ctx, pingSubject(m.id), nil)
		cancel()
		if err == nil {
			heard = time.Now()
		} else if d := time.Since(heard); d >= lostAfter {
			what := "it did not answer for"
			if errors.Is(err, nats.ErrNoResponders) {
				what = "its connection was gone for"
			}
			l.giveUp(m, fmt.Sprintf("%s %v", what, d.Round(100*time.Millisecond)))
			return
		}
	}
}

// left takes note that a worker leaves.
func (l *Leader) left(msg *nats.Msg) {
	v, err := decode[leave](msg.Data)
	if m := l.member(v.Worker); err == nil && m != nil {
		go l.giveUp(m, v.Why)
	}
}

func (l *Leader) member(id string) *member {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// giveUp goes on without a worker.
func (l *Leader) giveUp(m *member, why string) {
	l.mu.Lock()
	if m.why != "" {
		l.mu.Unlock()
		return
	}
	m.why = why
	s := l.current
	l.mu.Unlock()
	m.lose()
	l.note(true, "worker %s was lost: %s (%d left)", m.name, why, len(l.present()))
	_ = l.nc.Publish(orderSubject(m.id), encode(order{Kind: giveUp, Text: why})) // it may hear it, or not
	if s != nil {
		s.lose(m, why)
	}
}

// able are the workers that send the next stage: the first of those that are there.
func (l *Leader) able() []*member {
	present := l.present()
	return present[:min(len(present), l.config.Workers)]
}

// present are the workers that were not lost.
func (l *Leader) present() []*member {
	l.mu.Lock()
	defer l.mu.Unlock()
	var present []*member
	for _, m := range l.members {
		if m.why == "" {
			present = append(present, m)
		}
	}
	return present
}

// request asks a worker something, until it answers or is lost. One whose connection is gone may come back.
func (l *Leader) request(m *member, subject string, data []byte) (*nats.Msg, error) {
	for {
		reply, err := l.nc.RequestWithContext(m.gone, subject, data)
		if errors.Is(err, nats.ErrNoResponders) {
			select {
			case <-time.After(heartbeat):
				continue
			case <-m.gone.Done():
			}
		}
		switch {
		case m.gone.Err() != nil:
			l.mu.Lock()
			defer l.mu.Unlock()
			return nil, fmt.Errorf("worker %s was lost: %s", m.name, m.why)
		case err != nil:
			return nil, fmt.Errorf("worker %s: %w", m.name, err)
		}
		return reply, nil
	}
}

// order tells a worker what to do, and waits until it is done, or the worker is lost.
func (l *Leader) order(m *member, o order) (answer, error) {
	reply, err := l.request(m, orderSubject(m.id), encode(o))
	if err != nil {
		return answer{}, err
	}
	a, err := decode[answer](reply.Data)
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return a, fmt.Errorf("worker %s: %w", m.name, err)
	}
	return a, nil
}

// supply answers a worker that asks for requests.
func (l *Leader) supply(msg *nats.Msg) {
	w, err := decode[wanted](msg.Data)
	if err != nil {
		return
	}
	l.mu.Lock()
	s := l.current
	l.mu.Unlock()
	if s == nil || s.number != w.Stage {
		return
	}
	for _, p := range s.parts {
		if p.member.id == w.Worker {
			_ = msg.Respond(encode(s.requests.take(p.share.Index, w.Most)))
		}
	}
}

// tries is how often a stage is begun, where a worker is lost before it has begun.
const tries = 3

// Start begins a stage; Plan.Start of package sweep. The context's end ends it.
func (l *Leader) Start(ctx context.Context, asked loadgen.Stage, hooks loadgen.Hooks) (loadgen.Running, error) {
	if err := asked.Check(); err != nil {
		return nil, err
	}
	var err error
	for range tries {
		able := l.able()
		if len(able) == 0 {
			return nil, fmt.Errorf("%w: %s", ErrNoWorkers, strings.Join(l.Notes(), "; "))
		}
		var s *stage
		if s, err = l.begin(ctx, asked, hooks, able); err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		l.note(true, "%s could not begin: %v", asked.Load, err)
	}
	return nil, err
}
