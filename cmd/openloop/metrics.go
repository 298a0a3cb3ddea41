package main

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report/metrics"
	"github.com/openloop/openloop/sweep"
)

// ownMetrics are the run's own metrics, served while it runs.
type ownMetrics struct {
	listener net.Listener
	server   *http.Server // nil until it serves
}

// listenMetrics opens the address of --metrics-addr, before any load: it may be taken.
func (s *session) listenMetrics() error {
	address := s.spec.Output.MetricsAddr
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return withHint(usageError("--metrics-addr: %w", err), "name a free address, such as :9464 or 127.0.0.1:0")
	}
	s.own = &ownMetrics{listener: l}
	return nil
}

// serveMetrics begins to serve, and has the plan tell of what happens.
func (s *session) serveMetrics() {
	if s.own == nil {
		return
	}
	run := metrics.New(programVersion(), s.spec.Endpoint.Target, s.model)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", run.Handler())
	s.own.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := s.own.server.Serve(s.own.listener); !errors.Is(err, http.ErrServerClosed) {
			s.warn("--metrics-addr: %v", err)
		}
	}()
	s.say("serving metrics of the run at http://%s/metrics", s.own.listener.Addr())
	p := s.plan
	started, ended := p.StageStarted, p.StageEnded
	p.StageStarted = func(index int, load loadgen.Load, r loadgen.Running) {
		run.StageStarted(index, load, r)
		if started != nil {
			started(index, load, r)
		}
	}
	p.StageEnded = func(index int, st *sweep.Stage) {
		run.StageEnded(index, st)
		if ended != nil {
			ended(index, st)
		}
	}
	p.Estimated, p.Observe = both(run.Estimated, p.Estimated), both(run.Observe, p.Observe)
}

// closeMetrics ends the serving.
func (s *session) closeMetrics() {
	switch {
	case s.own == nil:
	case s.own.server != nil:
		_ = s.own.server.Close() // nobody is left to tell
	default:
		_ = s.own.listener.Close()
	}
}
