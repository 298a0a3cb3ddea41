package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openloop/openloop/endpoint"
)

// waiter asks again what fails since the endpoint is not there yet.
type waiter struct {
	limit time.Duration // 0: nothing is asked again
	say   func(format string, args ...any)

	began time.Time // when it was asked first

	mu   sync.Mutex
	last error // what came of the last attempt
}

const (
	waitEvery = time.Second      // between two attempts
	waitTold  = 10 * time.Second // between two lines about it
)

// notReady are the causes by which an endpoint fails that is being started: its host has no name yet, nobody listens,
// what stands before the engine has none, or the engine has no model.
var notReady = []endpoint.Cause{
	endpoint.CauseUnknownHost, endpoint.CauseRefused, endpoint.CauseUnreachable, endpoint.CauseTimeout,
	endpoint.CauseNoAnswer, endpoint.CauseClosed, endpoint.CauseCutShort, endpoint.CauseUnavailable,
	endpoint.CauseNotFound, endpoint.CauseNoModels,
}

// notYet is the error of an endpoint that answers, and does not have what is asked for yet.
type notYet struct{ error }

// worthWaiting says whether an error may go away by itself.
func worthWaiting(err error) bool {
	var failed *endpoint.Error
	return errors.As(err, &notYet{}) || errors.As(err, &failed) && slices.Contains(notReady, failed.Cause)
}

// until does something until it succeeds or fails for good, or the limit is over, which counts from the first call.
func (w *waiter) until(ctx context.Context, do func(context.Context) error) error {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	w.note(nil)
	telling, silence := context.WithCancel(ctx)
	var told sync.WaitGroup
	told.Go(func() { w.tell(telling) })
	defer told.Wait()
	defer silence()
	err := do(ctx)
	if err == nil || w.limit <= 0 || !worthWaiting(err) {
		return err
	}
	w.note(err)
	w.say("waiting for the endpoint, at most %v: %v", w.limit, err)
	ctx, cancel := context.WithDeadlineCause(ctx, w.began.Add(w.limit), errWaited)
	defer cancel()
	pause := time.NewTimer(waitEvery)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return w.ended(ctx)
		}
		switch err := do(ctx); {
		case ctx.Err() != nil:
			return w.ended(ctx)
		case err == nil:
			w.say("the endpoint is ready after %v", w.waited())
			return nil
		case !worthWaiting(err):
			return err
		default:
			w.note(err)
		}
		pause.Reset(waitEvery)
	}
}

// errWaited ends the waiting.
var errWaited = errors.New("it took too long")

// ended is the error with which the waiting ends for another reason than an answer.
func (w *waiter) ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, errWaited) {
		return cause
	}
	return fmt.Errorf("the endpoint is not ready after %v: %w", w.limit, w.lastError())
}

// tell says every now and then what is waited for, also while nothing is known but that no answer came yet: the log of
// a Job that is silent for minutes looks like one that hangs, and what carries it may cut it.
func (w *waiter) tell(ctx context.Context) {
	tick := time.NewTicker(waitTold)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.say("waiting for the endpoint, %s", w.state())
		case <-ctx.Done():
			return
		}
	}
}

// state is how long it was waited, and what came of it.
func (w *waiter) state() string {
	text := w.waited().String()
	if w.limit > 0 {
		text += fmt.Sprintf(" of %v", w.limit)
	}
	if err := w.lastError(); err != nil {
		return fmt.Sprintf("%s: %v", text, err)
	}
	return text + ": no answer yet"
}

func (w *waiter) waited() time.Duration { return time.Since(w.began).Round(time.Second) }

func (w *waiter) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err
}

func (w *waiter) lastError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// firstList asks the endpoint, or the first target, for its models.
func (s *session) firstList(ctx context.Context) (*endpoint.Listing, error) {
	return s.list(ctx, &s.endpoint, s.askedModels(s.spec.Endpoint.Model)...)
}

// list asks an endpoint for its models, and waits for them as long as --wait-ready says: until those that are asked for
// are among them.
func (s *session) list(
	ctx context.Context, at **endpoint.Endpoint, asked ...string,
) (list *endpoint.Listing, err error) {
	err = s.waiter().until(ctx, func(ctx context.Context) error {
		err := s.following(at, func(e *endpoint.Endpoint) (err error) {
			list, err = e.List(ctx)
			return err
		})
		if err != nil {
			return err
		}
		for _, name := range asked {
			if !serves(list.Models, name) && s.waiter().limit > 0 {
				return notYet{fmt.Errorf("it does not list the model %q yet, but %s", name, names(list.Models))}
			}
		}
		return nil
	})
	return list, err
}

// serves says whether a model is among those that an endpoint lists.
func serves(models []endpoint.Model, asked string) bool {
	return slices.ContainsFunc(models, func(m endpoint.Model) bool { return m.ID == asked })
}

// mustServe is an error if an endpoint does not list a model that is asked for.
func mustServe(who string, models []endpoint.Model, asked string) error {
	if serves(models, asked) {
		return nil
	}
	return usageError("%s does not serve the model %q; it serves %s", who, asked, names(models))
}

// names are the names of the first few models.
func names(models []endpoint.Model) string {
	const most = 10
	var all []string
	for _, m := range models[:min(most, len(models))] {
		all = append(all, m.ID)
	}
	if len(models) > most {
		all = append(all, "…")
	}
	return strings.Join(all, ", ")
}

// waiter waits for the endpoint of the session.
func (s *session) waiter() *waiter {
	if s.waiting == nil {
		s.waiting = &waiter{limit: s.spec.Endpoint.WaitReady, say: s.sayWhen}
	}
	return s.waiting
}
