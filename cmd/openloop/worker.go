package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openloop/openloop/cluster"
	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/journal"
	"github.com/openloop/openloop/report/live"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

const (
	workerTokenVariable = "OPENLOOP_WORKER_TOKEN"
	// jobIndexVariable is set by Kubernetes in the pods of an Indexed Job.
	jobIndexVariable = "JOB_COMPLETION_INDEX"

	defaultListen      = "127.0.0.1:4222" // NATS's port
	defaultJoinTimeout = 5 * time.Minute
)

// addWorkers adds the flags by which several processes send the load.
func (f *specFlags) addWorkers(set *pflag.FlagSet) {
	w := &f.workers
	set.IntVar(&w.Count, "workers", 0,
		"have this number of other processes send the load, which join by \"openloop worker\"; this one leads (0: it "+
			"sends itself)")
	set.StringVar(&w.Listen, "listen", defaultListen,
		"`ADDRESS` at which workers join; without a token on this machine alone")
	set.StringVar(&w.Join, "join", "",
		"`HOST:PORT`: in an Indexed Job of Kubernetes, whose pods have one command: the first pod leads, the others "+
			"join it there")
	addWorkerFlags(set, w)
	set.StringVar(&w.CertFile, "worker-cert", "", "`FILE`: PEM certificate of the leader, for TLS with the workers")
	set.StringVar(&w.KeyFile, "worker-key", "", "`FILE`: its key")
}

// addWorkerFlags adds those that leader and workers share.
func addWorkerFlags(set *pflag.FlagSet, w *spec.Workers) {
	set.StringVar(&w.TokenFile, "worker-token-file", "",
		"`FILE` with the token that workers must have (also: the variable "+workerTokenVariable+")")
	set.StringVar(&w.CAFile, "worker-ca", "",
		"`FILE`: PEM file of authorities for the leader's certificate; \"system\" for the system's")
	timeVar(set, &w.Patience, "join-timeout", defaultJoinTimeout, "how long workers may take to join the leader")
}

// parseWorkers checks the flags of addWorkers, and settles where the leader listens.
func (f *specFlags) parseWorkers(e endpoint.Config) (spec.Workers, error) {
	w := f.workers
	switch {
	case w.Count < 0:
		return w, usageError("--workers %d: it can't be negative", w.Count)
	case w.Count == 0:
		for _, name := range []string{"listen", "join", "worker-token-file", "worker-cert", "worker-key", "worker-ca"} {
			if f.set.Changed(name) {
				return w, usageError("--%s needs --workers: how many send the load", name)
			}
		}
		return spec.Workers{}, nil
	case (w.CertFile == "") != (w.KeyFile == ""):
		return w, usageError("--worker-cert and --worker-key belong together: give both")
	case w.Patience <= 0:
		return w, usageError("--join-timeout: it must be above 0")
	case !e.Address.Query().IsEmpty():
		return w, withHint(usageError("--workers: the target has a query, which may hold a secret, and secrets are "+
			"not sent to workers"), "give it as a header, to the leader and to the workers: --header")
	}
	host, port, err := net.SplitHostPort(w.Listen)
	if err != nil {
		return w, usageError("--listen %q: it is HOST:PORT, or :PORT for all of this machine's addresses", w.Listen)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return w, usageError("--listen %q: %q is not a port", w.Listen, port)
	}
	token, err := workerToken(w.TokenFile)
	if err != nil {
		return w, err
	}
	if token == "" && !isLoopback(host) {
		if host != "" {
			return w, withHint(usageError("--listen %s: without a token it can only be an address that no other "+
				"machine reaches", w.Listen), "--worker-token-file names a file that holds one")
		}
		w.Listen = net.JoinHostPort("127.0.0.1", port)
		f.note("workers can join from this machine alone, at %s: there is no token (--worker-token-file)", w.Listen)
	}
	if e.Sim != "" && !isLoopback(host) && token != "" {
		return w, withHint(usageError("--workers: %s is simulated in this process, where other machines can't reach it",
			e.Target), "run openloop simulate on a machine of its own, and give its URL")
	}
	return w, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// workerToken is the token between leader and workers, "" for none.
func workerToken(name string) (string, error) {
	if name == "" {
		return os.Getenv(workerTokenVariable), nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return "", usageError("--worker-token-file: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if token == "" {
		return "", usageError("--worker-token-file: %s is empty", name)
	}
	return token, nil
}

// jobIndex is which pod of an Indexed Job this is, 0 elsewhere.
func jobIndex() int {
	n, err := strconv.Atoi(os.Getenv(jobIndexVariable))
	if err != nil {
		return 0
	}
	return n
}

// lead begins to listen for workers.
func (s *session) lead() error {
	w := s.spec.Workers
	config := cluster.Config{Listen: w.Listen, Workers: w.Count, Version: programVersion(),
		Note: func(text string) {
			if s.progressMode() == spec.PlainProgress {
				text = live.Timed(time.Now(), text)
			}
			s.say("%s", text)
		}}
	var err error
	if config.Token, err = workerToken(w.TokenFile); err != nil {
		return err
	}
	if w.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(w.CertFile, w.KeyFile)
		if err != nil {
			return usageError("--worker-cert: %w", err)
		}
		config.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	if s.leader, err = cluster.NewLeader(config); err != nil {
		return withHint(usageError("--listen: %w", err), "--listen names another address")
	}
	return nil
}

// gatherWorkers waits for the workers, and has the plan send by them.
func (s *session) gatherWorkers(ctx context.Context) error {
	w := s.spec.Workers
	target := s.endpoint.Target(s.path())
	setup := cluster.Setup{
		Path: s.path(), HTTP2: target.HTTP2,
		ConnectTimeout: target.ConnectTimeout, RequestTimeout: target.RequestTimeout,
		MaxConcurrency: s.spec.Limits.MaxConcurrency,
	}
	for _, e := range s.endpoints {
		setup.Targets = append(setup.Targets, e.Base().String())
	}
	setup.Headers = headerNames(s.spec.Endpoint.Headers)
	for _, c := range s.spec.Mix {
		setup.Classes = append(setup.Classes, cluster.Class{Name: c.Name, Headers: headerNames(c.Headers)})
	}
	about, err := json.Marshal(s.journalHead(setup.MaxConcurrency))
	if err != nil {
		return err
	}
	setup.About = about
	s.say("waiting for %d workers at %s: openloop worker --join %s", w.Count, s.leader.Address(),
		joinAddress(s.leader.Address()))
	err = s.leader.Open(ctx, setup, w.Patience)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return withHint(usageError("%w", err), "start the workers, or give them more time (--join-timeout)")
	}
	return nil
}

// joinAddress is an address as workers give it: one of all of this machine's is one by its name.
func joinAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return listen
	}
	if host, err = os.Hostname(); err != nil {
		return listen
	}
	return net.JoinHostPort(host, port)
}

// noteWorkers adds to a result what happened to workers.
func (s *session) noteWorkers(r *sweep.Result) {
	if s.leader == nil {
		return
	}
	for _, note := range s.leader.Notes() {
		r.Warnings = append(r.Warnings, sweep.Warning{Stage: -1, Text: note})
	}
}

// workerFlags are the flags of openloop worker.
type workerFlags struct {
	specFlags
	join string
}

func newWorker(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --join HOST:PORT",
		Short: "send a share of the load of an openloop that leads (--workers)",
		Long: `openloop worker lends this machine to a leader: openloop sweep, run or gate with --workers N. It ` +
			`sends a share of each stage, as the leader says, and ends with the run. The leader says what is sent, ` +
			`and where to; credentials of the endpoint are this worker's own, given as to any other command, and ` +
			`never come over the network.`,
		Example: `  openloop worker --join leader.example:4222 --worker-token-file FILE
  openloop worker --join localhost:4222   # beside the leader, without a token`,
		Annotations: endsWith("leaving the run; once more to quit at once"),
		Args:        cobra.NoArgs,
	}
	f := &workerFlags{}
	f.program, f.set = p, cmd.Flags()
	set := cmd.Flags()
	set.StringVar(&f.join, "join", "", "`HOST:PORT` of the leader")
	addWorkerFlags(set, &f.workers)
	f.addCredentials(set)
	set.StringVar(&f.mix, "mix", "",
		"`FILE`: the leader's, where its classes have headers; nothing else of it is read")
	set.BoolVarP(&f.quiet, "quiet", "q", false, "print errors alone")
	set.StringVarP(&f.outputDir, "output-dir", "o", "",
		"`DIR`: folder for the records of all requests, which are kept where the leader did not get them (default: a "+
			"new one in "+runsFolder+")")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.join == "" {
			return usageError("no leader: give its address with --join HOST:PORT")
		}
		headers, err := f.parseHeaders()
		if err != nil {
			return err
		}
		e := endpoint.Config{Headers: headers}
		if err := f.setTLS(&e); err != nil {
			return err
		}
		key, err := f.key()
		if err != nil {
			return err
		}
		e.Authorize(key)
		mix, err := f.mixHeaders()
		if err != nil {
			return err
		}
		w := f.workers
		w.Join = f.join
		return p.work(cmd.Context(), e, mix, w, f.outputDir, f.quiet)
	}
	return cmd
}

// work sends what a leader says. Of the endpoint and of the classes of the mix, the credentials are this process's own.
func (p *program) work(
	ctx context.Context, own endpoint.Config, mix []spec.Class, w spec.Workers, dir string, quiet bool,
) error {
	if _, _, err := net.SplitHostPort(w.Join); err != nil {
		return usageError("--join %q: it is the HOST:PORT at which the leader listens", w.Join)
	}
	token, err := workerToken(w.TokenFile)
	if err != nil {
		return err
	}
	config := cluster.WorkerConfig{
		Leader: w.Join, Token: token, Name: processName(), Version: programVersion(), Most: mostInFlight(),
		Patience: w.Patience,
		Note: func(text string) {
			if !quiet {
				writeMessage(p.stderr, spec.PlainProgress, "note", live.Timed(time.Now(), text))
			}
		},
	}
	if config.TLS, err = workerTLS(w); err != nil {
		return err
	}
	config.Headers = headerNames(own.Headers)
	config.Classes = map[string][]string{}
	for _, c := range mix {
		config.Classes[c.Name] = headerNames(c.Headers)
	}
	config.Open = func(setup cluster.Setup) (*loadgen.Client, error) { return openTargets(own, mix, setup) }
	kept := ""
	config.Journal = func(about []byte) *journal.Writer {
		var j *journal.Writer
		var err error
		if kept, j, err = p.keepRecords(dir, about); err != nil {
			writeMessage(p.stderr, spec.PlainProgress, "warning",
				fmt.Sprintf("the records are not kept beside the leader's: %v", err))
		}
		return j
	}
	err = cluster.Work(ctx, config)
	if kept != "" {
		if !exists(kept) {
			_ = os.Remove(filepath.Dir(kept)) // it stays where something is in it
		} else if err != nil {
			err = withHint(err, fmt.Sprintf("what this worker measured is in %s; openloop report --recover makes a "+
				"report of it", kept))
		}
	}
	switch {
	case errors.Is(err, cluster.ErrUntrusted):
		return withHint(&exitError{exitUsage, err}, "--worker-ca names a file with the authority that signed it")
	case errors.Is(err, cluster.ErrRefused) || errors.Is(err, cluster.ErrNoLeader):
		return &exitError{exitUsage, err}
	}
	return err
}

// processName names this process among others, on this machine and elsewhere.
func processName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// mostInFlight is how many requests this machine may have in flight.
func mostInFlight() int {
	if limit, ok := openFileLimit(); ok {
		return min(limit-fileReserve, loadgen.DefaultMaxConcurrency)
	}
	return loadgen.DefaultMaxConcurrency
}

// workerTLS is how a worker verifies its leader; nil for no TLS.
func workerTLS(w spec.Workers) (*tls.Config, error) {
	switch w.CAFile {
	case "":
		return nil, nil
	case "system":
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	raw, err := os.ReadFile(w.CAFile)
	if err != nil {
		return nil, usageError("--worker-ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return nil, usageError("--worker-ca: %s holds no certificate in PEM", w.CAFile)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// openTargets prepares for the targets that a leader names, with this machine's own credentials.
func openTargets(own endpoint.Config, mix []spec.Class, setup cluster.Setup) (*loadgen.Client, error) {
	own.HTTP2, own.ConnectTimeout, own.RequestTimeout = setup.HTTP2, setup.ConnectTimeout, setup.RequestTimeout
	open := func(headers []endpoint.Header) (targets []loadgen.Target, err error) {
		with := own
		with.Headers = headers
		for _, base := range setup.Targets {
			if with.Address, _, err = endpoint.ParseBase(base); err != nil {
				return nil, fmt.Errorf("the leader's target: %w", err)
			}
			e, err := endpoint.Open(with)
			if err != nil {
				return nil, refuse(err)
			}
			targets = append(targets, e.Target(setup.Path))
		}
		return targets, nil
	}
	plain, err := open(own.Headers)
	if err != nil {
		return nil, err
	}
	classes := make([][]loadgen.Target, len(setup.Classes))
	for k, of := range setup.Classes {
		at := slices.IndexFunc(mix, func(c spec.Class) bool { return c.Name == of.Name })
		if len(of.Headers) == 0 || at < 0 { // the leader has seen to it that it is there where it is needed
			continue
		}
		if classes[k], err = open(withHeaders(own.Headers, mix[at].Headers)); err != nil {
			return nil, err
		}
	}
	return loadgen.NewClients(plain, classes)
}

// headerNames are the names alone, which are no secret.
func headerNames(headers []endpoint.Header) (names []string) {
	for _, h := range headers {
		names = append(names, h.Name)
	}
	return names
}

// keepRecords begins a journal of what a worker measures.
func (p *program) keepRecords(dir string, about []byte) (name string, j *journal.Writer, err error) {
	if dir == "" {
		dir = filepath.Join(runsFolder, fmt.Sprintf("worker-%s-%d", time.Now().Format("20060102-150405"), os.Getpid()))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	name = filepath.Join(dir, journalFile)
	j, err = journal.Create(name, json.RawMessage(about))
	if err != nil {
		return "", nil, err
	}
	return name, j, nil
}
