package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
	"github.com/openloop/openloop/tokens"
)

// session is everything that one load command needs, checked before any load is sent.
type session struct {
	flags  *loadFlags
	stdout io.Writer
	stderr io.Writer

	sim    *llmsim.Server // the simulated engine inside the process; nil for a real endpoint
	client *loadgen.Client
	plan   *sweep.Plan
	run    *guidellm.Run
	work   *workload
	gates  []slo.Gate
	saved  []string     // files written so far
	sofar  sweep.Result // the stages that have ended
	rescue string       // folder for what could not be saved where it was to go; "" as long as all could
}

// reportGC is GOGC after the load: the report of a million requests takes hundreds of megabytes, and nobody is in a hurry.
const reportGC = 50

// openSession checks what was asked for and looks at the endpoint. What it refuses, it refuses before any load.
func openSession(ctx context.Context, f *loadFlags, stdout, stderr io.Writer) (*session, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	objectives, err := f.parseObjectives()
	if err != nil {
		return nil, err
	}
	gates, err := f.parseGates()
	if err != nil {
		return nil, err
	}
	outputs, err := guidellm.ParseOutputs(f.outputs)
	if err != nil {
		return nil, usageError("--outputs: %w", err)
	}
	if err := prepareFolder(f.outputDir); err != nil {
		return nil, usageError("--output-dir: %w", err)
	}
	header, err := f.header()
	if err != nil {
		return nil, err
	}
	f.target = withoutUserinfo(f.target) // it is in the header now
	s := &session{flags: f, stdout: stdout, stderr: stderr, gates: gates}
	if f.insecure {
		s.warn("--insecure: the endpoint's certificate is not verified, and the API key could go to someone else")
	}
	cap, err := s.concurrencyCap()
	if err != nil {
		return nil, err
	}
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	format := tokens.ChatCompletions
	if f.requestType == "text_completions" {
		format = tokens.TextCompletions
	}
	path := strings.TrimPrefix(format.Path(), "/v1")
	asked, err := f.openEndpoint(base, header)
	if err != nil {
		return nil, err
	}
	model, err := s.chooseModel(ctx, asked)
	if err != nil {
		return nil, err
	}
	if s.work, err = openWorkload(f, format, model); err != nil {
		return nil, err
	}
	if err = s.try(ctx, asked, path); err != nil {
		return nil, err
	}
	if err = s.work.learn(ctx, asked, s.warn); err != nil {
		return nil, err
	}
	s.client, err = loadgen.NewClient(asked.Target(path))
	if err != nil {
		return nil, usageError("%w", err)
	}
	serverMetrics, err := s.metrics(ctx, asked)
	if err != nil {
		return nil, err
	}
	s.plan = &sweep.Plan{
		Runner:     &loadgen.Runner{Client: s.client, MaxConcurrency: cap},
		Stage:      f.stage(),
		Source:     s.work.source,
		Objectives: objectives, Confidence: f.confidence,
		Metrics: serverMetrics,
		Pause:   time.Second / 2,
	}
	s.run = &guidellm.Run{
		Args: f.guideLLMArgs(), Stream: true, RequestType: f.requestType, Model: model, Timeout: f.requestTimeout,
		HTTP2: f.http2, Verify: !f.insecure, Version: programVersion(), Command: s.safeCommand(), Outputs: outputs,
		MaxConcurrency: cap,
	}
	return s, nil
}

func (s *session) close() {
	if s.work != nil {
		if err := s.work.close(); err != nil {
			s.warn("%v", err)
		}
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.sim != nil {
		s.sim.Close()
	}
}

func (s *session) warn(format string, args ...any) {
	fmt.Fprintf(s.stderr, "warning: "+format+"\n", args...)
}

func (s *session) say(format string, args ...any) {
	if !s.flags.quiet {
		fmt.Fprintf(s.stderr, format+"\n", args...)
	}
}

// prepareFolder makes the folder and tries to write into it.
func prepareFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("the folder for the results can't be made: %w", err)
	}
	f, err := os.CreateTemp(dir, ".openloop-*")
	if err != nil {
		return fmt.Errorf("the folder for the results can't be written to: %w", err)
	}
	_, err = f.WriteString("openloop tests whether it can write here\n")
	err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	if err != nil {
		return fmt.Errorf("the folder for the results can't be written to: %w", err)
	}
	return nil
}

// openEndpoint prepares to ask the endpoint.
func (f *loadFlags) openEndpoint(base endpoint.Address, header http.Header) (*endpoint.Endpoint, error) {
	c := endpoint.Config{
		Target: f.target, Address: base, CAFile: f.caFile, Insecure: f.insecure, HTTP2: f.http2,
		ConnectTimeout: f.connectTimeout, RequestTimeout: f.requestTimeout,
	}
	for name, values := range header {
		for _, value := range values {
			c.Headers = append(c.Headers, endpoint.Header{Name: name, Value: endpoint.NewSecret(value)})
		}
	}
	e, err := endpoint.Open(c)
	var failed *endpoint.Error
	if errors.As(err, &failed) && failed.Cause == endpoint.CauseCAFile {
		return nil, usageError("--ca-file: %w", failed.Err)
	}
	if err != nil {
		return nil, usageError("%w", err)
	}
	return e, nil
}

// concurrencyCap checks the safety cap against the limit of open files: each request in flight holds one.
func (s *session) concurrencyCap() (int, error) {
	const reserve = 100 // files, listeners, /metrics
	each := 1
	if s.flags.isSim() {
		each = 2 // the simulated engine in the process holds the other end
	}
	limit, ok := openFileLimit()
	if !ok {
		return s.flags.maxConcurrency, nil
	}
	most := (limit - reserve) / each
	switch {
	case most >= s.flags.maxConcurrency:
		return s.flags.maxConcurrency, nil
	case most < 1 || s.flags.set.Changed("max-concurrency"):
		return 0, usageError("--max-concurrency %d needs %d open files, and the limit is %d: raise it (ulimit -n), or ask for at most %d",
			s.flags.maxConcurrency, s.flags.maxConcurrency*each+reserve, limit, max(0, most))
	}
	if most < fewStreams {
		s.warn("at most %d requests can be in flight: the limit of open files is %d (ulimit -n)", most, limit)
	}
	return most, nil
}

// fewStreams is how many requests in flight are too few for the saturation of a usual engine (vLLM runs 256 sequences).
const fewStreams = 1024

const simScheme = "sim:"

func (f *loadFlags) isSim() bool { return strings.HasPrefix(f.target, simScheme) }

// base returns the base URL; for sim:PRESET it starts the engine.
func (s *session) base() (endpoint.Address, error) {
	if !s.flags.isSim() {
		base, _, err := endpoint.ParseBase(s.flags.target)
		if err != nil {
			return base, usageError("target %w", err)
		}
		return base, nil
	}
	config, err := llmsim.ParseSpec(strings.TrimPrefix(s.flags.target, simScheme))
	if err != nil {
		return endpoint.Address{}, usageError("--target: %w", err)
	}
	server, err := llmsim.NewServer(config)
	if err != nil {
		return endpoint.Address{}, usageError("--target: %w", err)
	}
	if err := server.Start("127.0.0.1:0"); err != nil {
		return endpoint.Address{}, fmt.Errorf("the simulated engine: %w", err)
	}
	s.sim = server
	// The engine's loop sleeps in the kernel with its processor in hand; the client is to have its own all the same.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	base, _, err := endpoint.ParseBase(server.URL())
	return base, err
}

// chooseModel finds the model to ask for.
func (s *session) chooseModel(ctx context.Context, e *endpoint.Endpoint) (string, error) {
	models, err := e.Models(ctx)
	asked := s.flags.model
	switch {
	case errors.Is(err, endpoint.ErrNoModels):
		if asked == "" {
			return "", usageError("%w, so the one to ask for must be named: --model", err)
		}
		return asked, nil
	case err != nil:
		return "", refusal(ctx, err)
	case asked == "":
		if len(models) > 1 {
			s.say("the endpoint serves %d models; asking for the first, %s (--model chooses)", len(models), models[0])
		}
		return models[0], nil
	case !slices.Contains(models, asked):
		list := strings.Join(models[:min(10, len(models))], ", ")
		if len(models) > 10 {
			list += ", …"
		}
		return "", usageError("the endpoint does not serve the model %q; it serves %s", asked, list)
	}
	return asked, nil
}

// refusal is an endpoint that can't be used: a usage error, since nothing was measured.
func refusal(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return &exitError{exitUsage, err}
}

// metrics finds the engine's own metrics, nil where there are none.
func (s *session) metrics(ctx context.Context, e *endpoint.Endpoint) (*enginemetrics.Source, error) {
	address := s.flags.serverMetrics
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: e.Transport(),
	}
	switch address {
	case "off":
		return nil, nil
	case "auto":
		m := &enginemetrics.Source{Address: e.Base().Root("/metrics"), Client: client}
		for name := range e.Header() { // the same host: what may be sent to the one may be sent to the other
			m.Headers = append(m.Headers, endpoint.Header{Name: name, Value: endpoint.NewSecret(e.Header().Get(name))})
		}
		if _, err := m.Scrape(ctx); err != nil {
			return nil, nil // there is nothing to say about what was not asked for
		}
		return m, nil
	}
	m, err := enginemetrics.NewSource(address)
	if err != nil {
		return nil, usageError("--server-metrics: %w", err)
	}
	m.Client = client
	if _, err := m.Scrape(ctx); err != nil {
		return nil, usageError("--server-metrics: %w", err)
	}
	return m, nil
}

// try sends the first request of the work once, before any load.
func (s *session) try(ctx context.Context, e *endpoint.Endpoint, path string) error {
	item, err := s.work.trial()
	if err != nil {
		return usageError("%w", err)
	}
	patience := time.Minute
	if s.flags.requestTimeout > 0 {
		patience = s.flags.requestTimeout
	}
	trial, err := e.Try(ctx, path, item.Body, patience)
	if err != nil {
		return refusal(ctx, err)
	}
	switch {
	case !trial.Streamed:
		s.warn("the endpoint does not stream: there will be no time to first token, and no objective on it can be judged")
	case trial.Ended && trial.OutputTokens < 0:
		s.warn("the endpoint reports no usage: an event that carries text counts as one token")
	case trial.Ended && item.OutputTokens > 0 && trial.OutputTokens != item.OutputTokens && !s.flags.noIgnoreEOS:
		s.warn("%d output tokens were asked for and %d came: the endpoint does not honour ignore_eos or max_completion_tokens", item.OutputTokens, trial.OutputTokens)
	}
	return nil
}

// guideLLMArgs says what was asked for in the words of GuideLLM's arguments.
func (f *loadFlags) guideLLMArgs() guidellm.Args {
	a := guidellm.DefaultArgs()
	a.Target = f.target
	if f.data != "" {
		a.Data = []string{f.data}
	} else {
		a.Data = []string{f.syntheticData()}
	}
	if f.model != "" {
		a.Model = guidellm.Some(f.model)
	}
	a.DataRequestFormatter = f.requestType
	a.RandomSeed = f.seed
	a.Outputs, a.OutputDir = f.outputs, f.outputDir
	a.SampleRequests = guidellm.Some(int64(f.sampleRequests))
	if f.warmup > 0 {
		a.Warmup = f.warmup
	}
	if f.cooldown > 0 {
		a.Cooldown = f.cooldown
	}
	a.Rampup = f.rampup.Seconds()
	if f.maxSeconds > 0 {
		a.MaxSeconds = f.maxSeconds
	}
	if f.maxRequests > 0 {
		a.MaxRequests = guidellm.Some(int64(f.maxRequests))
	}
	if f.maxErrors > 0 {
		a.MaxErrors = guidellm.Some(int64(f.maxErrors))
	}
	if f.maxErrorRate > 0 {
		a.MaxErrorRate = guidellm.Some(f.maxErrorRate)
	}
	if f.maxGlobalErrorRate > 0 {
		a.MaxGlobalErrorRate = guidellm.Some(f.maxGlobalErrorRate)
	}
	return a
}

// syntheticData describes the synthetic prompts as GuideLLM's --data does.
func (f *loadFlags) syntheticData() string {
	data := []string{"kind=synthetic_text"}
	for _, l := range []struct {
		name string
		lengthFlags
	}{{"prompt_tokens", f.promptTokens}, {"output_tokens", f.outputTokens}} {
		data = append(data, fmt.Sprintf("%s=%d", l.name, l.mean))
		for _, part := range []struct {
			name  string
			value int
		}{{"stdev", l.stdev}, {"min", l.least}, {"max", l.most}} {
			if part.value > 0 {
				data = append(data, fmt.Sprintf("%s_%s=%d", l.name, part.name, part.value))
			}
		}
	}
	if f.prefixTokens > 0 {
		data = append(data, fmt.Sprintf("prefix_tokens=%d,prefix_count=%d", f.prefixTokens, f.prefixCount))
	}
	return strings.Join(data, ",")
}

// secretFlags are those of sweep and run whose values may hold a credential.
var secretFlags = []string{"api-key", "header"}

// safeCommand is the command line without what is secret in it.
func (s *session) safeCommand() []string {
	return append([]string{"openloop", s.flags.set.Name()}, endpoint.RedactCommand(s.flags.args, secretFlags)...)
}

// keepRequests is how many requests a run may have for its report to be saved after every stage: beyond that, writing takes
// too long.
const keepRequests = 100_000

// keep saves what was measured so far, in case the program does not live to its end.
func (s *session) keep(l *sweep.Stage) {
	s.work.sent(len(l.Records))
	s.sofar.Stages = append(s.sofar.Stages, l)
	n := 0
	for _, l := range s.sofar.Stages {
		n += len(l.Records)
	}
	if n > keepRequests {
		return
	}
	if err := s.save(guidellm.Build(s.run, &s.sofar)); err != nil {
		s.warn("%v", err)
	}
}

// withoutUserinfo takes name and password out of a URL in an argument.
func withoutUserinfo(arg string) string {
	before, after, ok := strings.Cut(arg, "://")
	if !ok {
		return arg
	}
	if at := strings.LastIndexByte(after, '@'); at >= 0 {
		after = after[at+1:]
	}
	return before + "://" + after
}

// finish saves and prints what was measured, and settles with which error the command ends.
func (s *session) finish(result *sweep.Result, failed error) error {
	if len(result.Stages) == 0 {
		return failed
	}
	s.run.Notes = append(s.run.Notes, guidellm.Member{Key: "workload", Value: s.work.notes(result)})
	result.Warnings = append(result.Warnings, s.work.warnings(result)...)
	debug.SetGCPercent(reportGC)
	r := guidellm.Build(s.run, result)
	saveErr := s.save(r)
	if err := s.print(r, result); err != nil && saveErr == nil {
		saveErr = err
	}
	for _, name := range s.saved {
		s.say("saved %s", name)
	}
	switch {
	case failed != nil:
		return errors.Join(failed, saveErr)
	case saveErr != nil:
		return saveErr
	}
	if missed := s.missedGates(result); missed != nil {
		return missed
	}
	if !s.flags.allowInvalid {
		return invalidStages(result)
	}
	return nil
}

// missedGates is an error if a gate does not hold, or could not be judged.
func (s *session) missedGates(result *sweep.Result) error {
	var missed []string
	for _, g := range s.gates {
		if o := sweep.Evaluate(g, result); o.Outcome == slo.Pass {
			s.say("%s", o)
		} else {
			missed = append(missed, o.String())
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return &exitError{exitMissed, errors.New(strings.Join(missed, "; "))}
}

// print writes the results to stdout in the style that was asked for.
func (s *session) print(r *guidellm.Report, result *sweep.Result) error {
	switch s.flags.consoleStyle {
	case styleNone:
		return nil
	case styleGuideLLM:
		// Its tables say nothing of the client, so that is said beside them.
		for _, l := range result.Stages {
			for _, reason := range l.Audit.Reasons {
				s.warn("client %s on %s: %s", reason.Level, l.Load, reason.Text)
			}
		}
		for _, w := range result.Warnings {
			s.warn("%s", w.Text)
		}
		return guidellm.WriteConsole(s.stdout, r, time.Local)
	}
	return report.WriteScreen(s.stdout, s.run.Args.Target, s.run.Model, strings.Join(s.run.Args.Data, " "), result)
}

// invalidStages is an error if a stage's client was not fit to be believed.
func invalidStages(result *sweep.Result) error {
	var stages []string
	for _, l := range result.Stages {
		if l.Audit.Level == audit.Invalid {
			stages = append(stages, l.Load.String())
		}
	}
	if len(stages) == 0 {
		return nil
	}
	return &exitError{exitInvalid, fmt.Errorf("the client was not fit to be believed on %s; the reasons stand above (--allow-invalid exits 0 all the same)", strings.Join(stages, ", "))}
}

// save writes the report's files. Where the folder has become unusable, they go to the folder for temporary files: what
// was measured is not to be lost.
func (s *session) save(r *guidellm.Report) error {
	s.saved = nil
	var failed error
	for _, o := range s.run.Outputs {
		name := filepath.Join(s.flags.outputDir, o.File)
		if filepath.IsAbs(o.File) {
			name = o.File
		}
		err := guidellm.WriteFile(name, o.Format, r)
		if err == nil {
			s.saved = append(s.saved, name)
			continue
		}
		failed = errors.Join(failed, fmt.Errorf("saving %s: %w", name, err))
		if s.rescue == "" {
			if s.rescue, err = os.MkdirTemp("", "openloop-results-"); err != nil {
				continue
			}
		}
		rescue := filepath.Join(s.rescue, filepath.Base(o.File))
		if guidellm.WriteFile(rescue, o.Format, r) == nil {
			s.saved = append(s.saved, rescue)
		}
	}
	return failed
}
