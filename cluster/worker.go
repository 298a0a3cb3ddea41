package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/journal"
)

// Errors of a worker.
var (
	ErrRefused    = errors.New("the leader refused this worker")
	ErrLeaderGone = errors.New("the leader is gone")
	ErrGivenUp    = errors.New("the leader goes on without this worker")
	ErrNoLeader   = errors.New("no leader answers")
	ErrUntrusted  = errors.New("the leader's certificate is not trusted")
)

// WorkerConfig says whom a worker works for.
type WorkerConfig struct {
	Leader  string // HOST:PORT
	Token   string // that the leader asks for; "" for none
	TLS     *tls.Config
	Name    string // of this process, for people
	Version string
	Headers []string            // names of the headers that it sends by itself
	Classes map[string][]string // … and with the requests of a class of a mix
	Most    int                 // requests in flight at most

	// Patience is how long the leader may take to come up.
	Patience time.Duration

	// Open prepares for the target once the leader has said what it is.
	Open func(Setup) (*loadgen.Client, error)
	// Journal begins to keep what is measured; nil where it can't be kept, or is not to be. About is its head.
	Journal func(about []byte) *journal.Writer

	Note func(text string) // told what people should know
}

// worker is a worker at work.
type worker struct {
	config  WorkerConfig
	nc      *nats.Conn
	clock   clock
	id      string
	setup   Setup
	runner  *loadgen.Runner
	journal *journal.Writer
	ended   context.Context // with the reason why the worker ends
	end     context.CancelCauseFunc

	mu      sync.Mutex
	began   bool      // a stage: something was measured
	heard   time.Time // of the leader
	current *sending  // the stage under way; nil between two
}

// errHome ends a worker whose run is over.
var errHome = errors.New("the run is over")

// Work joins a leader and sends what it says until its run is over. The journal is kept where it did not end well.
func Work(ctx context.Context, c WorkerConfig) error {
	w := &worker{config: c, clock: newClock(), id: nuid.Next()}
	w.ended, w.end = context.WithCancelCause(ctx)
	defer w.end(nil)
	defer func() {
		if w.nc != nil {
			w.within(w.nc.Close)
		}
	}()
	if err := w.join(false); err != nil {
		return err
	}
	client, err := c.Open(w.setup)
	if err != nil {
		return err
	}
	defer client.Close()
	w.runner = &loadgen.Runner{Client: client, MaxConcurrency: c.Most}
	if w.config.Journal != nil {
		w.journal = w.config.Journal(w.setup.About)
	}
	err = w.listen()
	if err == nil {
		err = w.join(true)
	}
	if err == nil {
		w.note("joined the leader at %s as %s", c.Leader, c.Name)
		err = w.wait(ctx)
	}
	if err == nil {
		w.note("the run is over")
	}
	w.mu.Lock()
	nothing := !w.began
	w.mu.Unlock()
	return errors.Join(err, w.endJournal(err == nil || nothing))
}

// wait works until there is a reason to end.
func (w *worker) wait(ctx context.Context) error {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for w.ended.Err() == nil {
		select {
		case <-w.ended.Done():
		case <-tick.C:
			w.mu.Lock()
			d := time.Since(w.heard)
			w.mu.Unlock()
			if d > leaderLostAfter {
				w.end(fmt.Errorf("%w: it was not heard for %v", ErrLeaderGone, d.Round(100*time.Millisecond)))
			}
		}
	}
	if ctx.Err() != nil {
		w.leave("it was stopped")
	}
	w.mu.Lock()
	s := w.current
	w.mu.Unlock()
	if s != nil {
		s.abandon()
	}
	if err := context.Cause(w.ended); !errors.Is(err, errHome) {
		return err
	}
	return nil
}

// endJournal ends the journal, and removes it where the leader has everything.
func (w *worker) endJournal(done bool) error {
	switch {
	case w.journal == nil:
		return nil
	case done:
		return w.journal.Remove()
	}
	return w.journal.Close()
}

// leave tells the leader to go on without this worker.
func (w *worker) leave(why string) {
	w.within(func() {
		_ = w.nc.Publish(leaveSubject, encode(leave{w.id, why})) // else it notices by itself
		_ = w.nc.FlushTimeout(answerIn)
	})
}

// within says something to the leader, and waits for that as long as it is worth it.
func (w *worker) within(say func()) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		say()
	}()
	w.await(said)
}

// await waits until something was said to the leader. One that stands still, and is connected to again, holds the
// connection for as long as connecting may take: then what is said waits, and a worker that ends must not.
func (w *worker) await(said <-chan struct{}) {
	if errors.Is(context.Cause(w.ended), ErrLeaderGone) {
		return
	}
	select {
	case <-said:
	case <-time.After(answerIn):
	}
}

// joinEvery is how often it is tried to join.
const joinEvery = 300 * time.Millisecond

// join connects to the leader, and asks it what is to be sent, or says that it is ready to.
func (w *worker) join(ready bool) error {
	ctx, cancel := context.WithTimeoutCause(w.ended, w.config.Patience,
		fmt.Errorf("%w at %s within %v", ErrNoLeader, w.config.Leader, w.config.Patience))
	defer cancel()
	h := encode(hello{Ready: ready, Protocol: Protocol, Version: w.config.Version, ID: w.id, Name: w.config.Name,
		Most: w.config.Most, Headers: w.config.Headers, Classes: w.config.Classes})
	var last error
	for said := false; ; {
		err := w.connect(ctx)
		if err == nil {
			err = w.ask(ctx, h)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrRefused) || errors.Is(err, ErrUntrusted):
			return err
		}
		if last = err; !said {
			w.note("waiting for the leader at %s, up to %v", w.config.Leader, w.config.Patience)
			said = true
		}
		select {
		case <-time.After(joinEvery):
		case <-ctx.Done():
			if w.ended.Err() != nil {
				return context.Cause(w.ended)
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		}
	}
}

// connect connects to the leader, if it is not done yet.
func (w *worker) connect(ctx context.Context) error {
	if w.nc != nil {
		return nil
	}
	timeout := 5 * time.Second
	if end, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(end)), time.Millisecond)
	}
	o := append(options(w.config.Token), nats.Timeout(timeout))
	url := "nats://" + w.config.Leader
	if w.config.TLS != nil {
		o = append(o, nats.Secure(w.config.TLS))
		url = "tls://" + w.config.Leader
	}
	nc, err := nats.Connect(url, o...)
	var untrusted *tls.CertificateVerificationError
	var slow net.Error
	switch {
	case errors.As(err, &untrusted):
		return fmt.Errorf("%w: %w", ErrUntrusted, untrusted.Err)
	case errors.Is(err, nats.ErrNoServers):
		return errors.New("nothing listens there")
	case errors.Is(err, nats.ErrTimeout) || errors.As(err, &slow) && slow.Timeout():
		return errors.New("it can't be reached, or is something else than a leader")
	case errors.Is(err, nats.ErrAuthorization):
		return fmt.Errorf("%w: it asks for another token", ErrRefused)
	case errors.Is(err, nats.ErrSecureConnRequired):
		return fmt.Errorf("%w: it speaks TLS only", ErrRefused)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: it does not speak TLS", ErrRefused)
	case err != nil:
		return err
	}
	w.nc = nc
	return nil
}

// ask asks the leader for work.
func (w *worker) ask(ctx context.Context, h []byte) error {
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	reply, err := w.nc.RequestWithContext(ctx, joinSubject, h)
	if err != nil {
		return err
	}
	welcome, err := decode[welcome](reply.Data)
	switch {
	case err != nil:
		return fmt.Errorf("%w: its answer can't be read, so that it is another version than %s", ErrRefused,
			w.config.Version)
	case welcome.Refused != "":
		return fmt.Errorf("%w: %s", ErrRefused, welcome.Refused)
	}
	w.mu.Lock()
	w.setup, w.heard = welcome.Setup, time.Now()
	w.mu.Unlock()
	return nil
}

// listen begins to answer the leader.
func (w *worker) listen() error {
	_, err := w.nc.Subscribe(pingSubject(w.id), func(m *nats.Msg) {
		_ = m.Respond(encode(pong{w.clock.now()})) // first: what takes time here makes the clock uncertain
		w.mu.Lock()
		w.heard = time.Now()
		w.mu.Unlock()
	})
	if err == nil {
		_, err = w.nc.Subscribe(orderSubject(w.id), func(m *nats.Msg) { go w.handle(m) })
	}
	if err == nil {
		err = w.nc.Flush()
	}
	return err
}

// handle does what the leader says.
func (w *worker) handle(m *nats.Msg) {
	o, err := decode[order](m.Data)
	var a answer
	if err == nil {
		a, err = w.obey(o)
	}
	if err != nil {
		a.Error = err.Error()
	}
	if m.Reply != "" {
		_ = m.Respond(encode(a)) // a leader that is gone is noticed by its silence
	}
	if o.Kind == goHome {
		_ = w.nc.FlushTimeout(answerIn)
		w.end(errHome)
	}
}

func (w *worker) obey(o order) (answer, error) {
	switch o.Kind {
	case prepareStage:
		return answer{}, w.prepare(o)
	case goHome:
		return answer{}, nil
	case giveUp:
		w.end(fmt.Errorf("%w: %s", ErrGivenUp, o.Text))
		return answer{}, nil
	}
	w.mu.Lock()
	s := w.current
	w.mu.Unlock()
	if s == nil || s.number != o.Stage {
		if o.Kind == endStage { // it has ended already
			return answer{}, nil
		}
		return answer{}, fmt.Errorf("stage %d is not under way", o.Stage)
	}
	return s.obey(o)
}

// prepare gets ready for a stage.
func (w *worker) prepare(o order) error {
	if err := o.Load.Check(); err != nil {
		return err
	}
	s := newSending(w, o)
	w.mu.Lock()
	before := w.current
	w.current = s
	w.mu.Unlock()
	if before != nil { // the leader went on without it
		before.abandon()
	}
	return s.fetchFirst()
}

func (w *worker) note(format string, args ...any) {
	if w.config.Note != nil {
		w.config.Note(fmt.Sprintf(format, args...))
	}
}
