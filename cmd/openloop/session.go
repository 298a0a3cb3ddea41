package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/cluster"
	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/internal/armor"
	"github.com/openloop/openloop/internal/atomicfile"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/loadgen/journal"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/bucket"
	"github.com/openloop/openloop/report/live"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
	"github.com/openloop/openloop/tokens"
	"github.com/openloop/openloop/tokens/tokenizer"
)

// runOptions are what a run of GuideLLM's command has beside its spec.
type runOptions struct {
	args           *guidellm.Args         // as GuideLLM echoes them; nil: made from the spec
	scenario       guidellm.Object        // of "guidellm run", as GuideLLM echoes it; nil: made from the arguments
	ready          string                 // printed when all is ready for the load; "": nothing
	observe        func(loadgen.Event)    // told of every request; nil for none
	overSaturation *oversaturation.Config // whether stages end at over-saturation; nil: not looked for
}

// session is a spec being run: the endpoint looked at, the load sent, the results saved.
type session struct {
	spec    spec.Spec
	options runOptions
	stdout  io.Writer
	stderr  io.Writer

	sim      *llmsim.Server // the simulated engine in the process; nil for a real endpoint
	endpoint *endpoint.Endpoint
	// endpoints are all targets, of which endpoint is the first; classes are the same with the headers of a class of
	// the mix, nil for one that has none.
	endpoints []*endpoint.Endpoint
	classes   [][]*endpoint.Endpoint
	model     string
	models    []endpoint.Model    // as the endpoint lists them
	engine    *enginemetrics.Info // what serves it; nil: it does not say
	engines   []report.Engine     // the same of each engine that has a name
	waiting   *waiter             // see waiter
	own       *ownMetrics         // of --metrics-addr; nil: none
	work      workload
	client    *loadgen.Client
	leader    *cluster.Leader // of the workers that send the load; nil: this process does
	plan      *sweep.Plan
	files     *resultFiles
	exporter  *guidellm.Exporter
	store     *bucket.Store   // where the files go in the end; nil: they stay where they are
	journal   *journal.Writer // nil: none could be begun, or the run has ended
	measured  sweep.Result    // the stages that have ended
	traffic   *sweep.Traffic  // whose speed is searched; nil: it is not
}

// workload is what is sent: a tokens.Workload, or a mix of several.
type workload interface {
	Trials() ([]tokens.Item, error)
	Notes() (notes, warnings []string)
	Learn(ctx context.Context, post tokens.Post) (warning string, err error)
	Source(ctx context.Context, stage int) (next loadgen.Source, release func(), err error)
	TraceLoad() loadgen.Load
	Sent(n int)
	Save(keep func(name string) error) (saved bool, err error)
	Summary(stages []*loadgen.Measured) tokens.Summary
	Warnings(stages []*loadgen.Measured) []string
	Close()
}

// reportGC is GOGC after the load: the report of a million requests takes hundreds of megabytes, and nobody is in a
// hurry.
const reportGC = 50

// measuring makes a command one that measures what its flags and its argument, the target, ask for.
func (p *program) measuring(cmd *cobra.Command, asked func(args []string) (spec.Spec, error)) *cobra.Command {
	cmd.Args = urlArgument
	annotate(cmd, endingKey, endingStage)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := asked(args)
		if err != nil {
			return err
		}
		if w := s.Workers; w.Join != "" && jobIndex() > 0 {
			return p.work(cmd.Context(), s.Endpoint, s.Mix, w, s.Output.Dir, s.Output.Quiet)
		}
		return runSpec(cmd.Context(), s, runOptions{}, p.stdout, p.stderr)
	}
	return cmd
}

// runSpec runs a spec and saves and prints what came out.
func runSpec(ctx context.Context, s spec.Spec, o runOptions, stdout, stderr io.Writer) error {
	if err := refuse(s.Validate()); err != nil {
		return err
	}
	if s.Output.Progress == spec.ScreenProgress && !canDraw(stderr) {
		return withHint(usageError("--progress screen: stderr is not a terminal"), "--progress plain writes lines")
	}
	run := &session{spec: s, options: o, stdout: stdout, stderr: stderr}
	defer run.close()
	if err := run.open(ctx); err != nil {
		return err
	}
	result, err := run.send(ctx)
	return run.finish(ctx, result, err)
}

// open looks at everything that a run needs. What it refuses, it refuses before any load.
func (s *session) open(ctx context.Context) error {
	var err error
	if s.files, err = openResultFiles(s.spec.Output); err != nil {
		return err
	}
	s.files.kept = func(old, now string) { s.say("kept %s of an earlier run as %s", old, now) }
	if err := s.checkFiles(); err != nil {
		return err
	}
	if err := s.files.refuseEarlier(); err != nil {
		return err
	}
	if err := s.openBucket(ctx); err != nil {
		return err
	}
	if s.spec.Endpoint.Insecure {
		s.warn("--insecure: the endpoint's certificate is not verified, and the API key could go to someone else")
	}
	if err := s.listenMetrics(); err != nil {
		return err
	}
	if s.spec.Workers.Count > 0 {
		if err := s.lead(); err != nil {
			return err
		}
	}
	limit, err := s.concurrencyCap()
	if err != nil {
		return err
	}
	if err := s.openEndpoint(ctx); err != nil {
		return err
	}
	if err := s.openTargets(ctx); err != nil {
		return err
	}
	trials, err := s.openWork(ctx)
	if err != nil {
		return err
	}
	notes, warnings := s.work.Notes()
	for _, text := range notes {
		s.say("%s", text)
	}
	for _, text := range warnings {
		s.warn("%s", text)
	}
	if search := s.spec.Plan.Search(); search != nil && search.Speed {
		if err := s.openTraffic(search.Budget); err != nil {
			return err
		}
	} else if s.spec.Workload.Trace != nil {
		load := s.work.TraceLoad()
		most, stages := &s.spec.Limits.MaxRequests, s.spec.Plan.Stages
		if len(stages) > 0 && stages[0].Name != loadgen.TraceName { // its sessions begin at a rate
			if *most == 0 || *most > len(load.Times) {
				*most = len(load.Times)
			}
		} else {
			s.spec.Plan.Stages = []loadgen.Load{load}
			if s.spec.Limits.MaxDuration == 0 && *most == 0 {
				*most = len(load.Times)
			}
		}
	}
	largest := 0
	for _, item := range trials {
		largest = max(largest, len(item.Body))
	}
	if err := s.spec.NeedOf(largest).Check(availableMemory()); err != nil {
		return withHint(usageError("%w", err),
			"ask for a lower rate, a shorter stage (--max-seconds) or fewer requests (--max-requests)")
	}
	if err := s.tryAll(ctx, trials); err != nil {
		return err
	}
	warning, err := s.work.Learn(ctx, s.endpoint.Post)
	if err != nil {
		return refusal(ctx, err)
	}
	if warning != "" {
		s.warn("%s", warning)
	}
	if s.client, err = s.openClient(); err != nil {
		return usageError("%w", err)
	}
	metrics, err := s.metrics(ctx)
	if err != nil {
		return err
	}
	s.engine, s.engines = s.ask(ctx, metrics)
	start := sweep.OnThisMachine(&loadgen.Runner{Client: s.client, MaxConcurrency: limit})
	if s.leader != nil {
		if err := s.gatherWorkers(ctx); err != nil {
			return err
		}
		start, limit = s.leader.Start, s.leader.MaxConcurrency()
		if most := s.spec.Limits.MaxConcurrency; most > 0 {
			limit = min(limit, most)
		}
	}
	if err := s.files.begin(s.model, time.Now()); err != nil {
		return err
	}
	s.spec.Output.Dir = s.files.dir
	s.beginUpload(ctx)
	if err := s.files.writeRepeat(s.spec.Output.Repeat); err != nil {
		s.warn("%s is not written: %v", configFile, err)
	}
	args := guidellm.ArgsOf(s.spec)
	if s.options.args != nil {
		args = *s.options.args
	}
	s.exporter = guidellm.NewExporter(guidellm.ExportConfig{
		Args: args, Spec: s.spec, Model: s.model, Version: programVersion(), MaxConcurrency: limit,
		OverSaturation: s.options.overSaturation, Scenario: s.options.scenario,
	})
	stage := s.spec.Limits.Stage()
	stage.KeepTexts = s.spec.Output.SampleRequests
	s.plan = &sweep.Plan{
		Start:          start,
		MaxConcurrency: limit,

		Stage:      stage,
		Source:     spread(s.spec.Targets, s.work.Source),
		Sessions:   s.spec.Sessioned(),
		Objectives: s.spec.Objectives, Confidence: s.spec.Confidence,
		Metrics: metrics,
		Observe: s.options.observe,
		Pause:   time.Second / 2,
	}
	if s.spec.Plan.Limits != nil {
		s.plan.StageOf = func(i int) loadgen.Stage {
			of := s.spec.Plan.LimitsOf(i).Stage()
			of.KeepTexts = stage.KeepTexts
			return of
		}
	}
	s.startJournal(limit)
	if s.options.ready != "" {
		fmt.Fprintln(s.stdout, s.options.ready)
	}
	return nil
}

// both is one observer in the place of two; the second may be nil.
func both[T any](one, other func(T)) func(T) {
	if other == nil {
		return one
	}
	return func(of T) {
		one(of)
		other(of)
	}
}

// unlessDone does what may take long over a large file and knows of no context. When that ends, it is left where it is:
// the program ends, too, and nothing was measured.
func unlessDone(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		atomicfile.RemoveParts()
		return context.Cause(ctx)
	}
}

// largeData is from how many bytes on it is said that data is read: it takes seconds.
const largeData = 100 << 20

// openWork opens what is to be sent, and makes a request of each kind to be tried.
func (s *session) openWork(ctx context.Context) ([]tokens.Item, error) {
	var work workload
	var trials []tokens.Item
	if d := s.spec.Workload.Data; d != nil {
		for _, name := range d.Files() {
			if info, err := os.Stat(name); err == nil && info.Size() >= largeData {
				s.say("reading %s, %d MB", name, info.Size()>>20)
			}
		}
	}
	err := unlessDone(ctx, func() (err error) {
		if s.spec.Mix != nil {
			work, err = tokens.OpenMix(mixOf(&s.spec, s.model), s.spec.Plan.Seed())
		} else {
			work, err = tokens.Open(s.spec.Workload, s.model)
		}
		if err != nil {
			return refuse(err)
		}
		if trials, err = work.Trials(); err != nil {
			work.Close()
			return refuse(err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.work = work
	return trials, nil
}

// checkFiles refuses a run that would write over a file that it reads, or over another that it writes.
func (s *session) checkFiles() error {
	w := s.spec.Workload
	taken := map[string]string{
		s.spec.Endpoint.CAFile: "holds the authorities", s.spec.Endpoint.ClientCert: "holds the client's certificate",
		s.spec.Endpoint.ClientKey: "holds the client's key",
	}
	if exists(w.Tokenizer) {
		taken[tokenizer.File(w.Tokenizer)] = "is the tokenizer"
	}
	switch {
	case w.Data != nil:
		for _, name := range w.Data.Files() {
			taken[name] = "is to be sent"
		}
	case w.Trace != nil:
		taken[w.Trace.File] = "is to be sent"
	}
	refuse := func(flag, name string) error {
		for other, use := range taken {
			if sameFile(name, other) {
				return usageError("--%s: %s is the file that %s; name another", flag, name, use)
			}
		}
		return nil
	}
	for _, o := range s.files.outputs {
		if s.files.dir == "" && !filepath.IsAbs(o.file) {
			continue // it goes into a new folder
		}
		flag := "outputs"
		if o.format.name == "records" || o.format.name == "hlog" {
			flag = o.format.name
		}
		if err := refuse(flag, s.files.place(o.file)); err != nil {
			return err
		}
	}
	written := s.files.names()
	for _, name := range written {
		if err := refuse("output-dir", name); err != nil {
			return err
		}
	}
	if w.SaveTo == "" {
		return nil
	}
	for _, name := range written {
		taken[name] = "is to hold the results"
	}
	return refuse("save-workload", w.SaveTo)
}

// openEndpoint finds the endpoint and the model to ask for.
func (s *session) openEndpoint(ctx context.Context) (err error) {
	if err := s.findEndpoint(); err != nil {
		return err
	}
	s.model, err = s.chooseModel(ctx)
	return err
}

// findEndpoint makes the endpoint ready to be asked; for sim:PRESET it is started here.
func (s *session) findEndpoint() error {
	config := s.spec.Endpoint
	if config.Sim != "" {
		engine, err := llmsim.ParseSpec(config.Sim)
		if err != nil {
			return usageError("--target: %w", err)
		}
		if s.sim, err = llmsim.NewServer(engine); err != nil {
			return usageError("--target: %w", err)
		}
		if err := s.sim.Start("127.0.0.1:0"); err != nil {
			return fmt.Errorf("the simulated engine: %w", err)
		}
		// The engine's loop sleeps in the kernel with its processor in hand; the client is to have its own all the
		// same.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
		if config.Address, _, err = endpoint.ParseBase(s.sim.URL()); err != nil {
			return err
		}
	}
	var err error
	if s.endpoint, err = endpoint.Open(config); err != nil {
		return refuse(err)
	}
	return nil
}

// chooseModel finds the model to ask for.
func (s *session) chooseModel(ctx context.Context) (string, error) {
	list, err := s.firstList(ctx)
	if err == nil {
		s.models = list.Models
	}
	asked := s.spec.Endpoint.Model
	switch {
	case errors.Is(err, endpoint.ErrNoModels) && s.spec.Endpoint.WaitReady == 0:
		if asked == "" {
			return "", withHint(usageError("%w", err), "name the model to ask for: --model")
		}
		return asked, nil
	case err != nil:
		return "", refusal(ctx, err)
	case asked == "":
		first := list.Models[0].ID
		if n := len(list.Models); n > 1 {
			s.say("the endpoint serves %d models; asking for the first, %s (--model chooses)", n, first)
		}
		return first, nil
	}
	return asked, mustServe("the endpoint", list.Models, asked)
}

// refusal is an endpoint that can't be used: a usage error, since nothing was measured.
func refusal(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return &exitError{exitUsage, err}
}

// path is that of requests, below the endpoint's base.
func (s *session) path() string { return strings.TrimPrefix(s.spec.Workload.Format.Path(), "/v1") }

// trial sends the first request of the work once, as the load would, as soon as the endpoint is ready.
func (s *session) trial(
	ctx context.Context, at **endpoint.Endpoint, item tokens.Item,
) (trial *endpoint.Trial, err error) {
	patience := time.Minute
	if d := s.spec.Endpoint.RequestTimeout; d > 0 && d != endpoint.DefaultRequestTimeout {
		patience = d
	}
	err = s.waiter().until(ctx, func(ctx context.Context) error {
		return s.following(at, func(e *endpoint.Endpoint) (err error) {
			trial, err = e.Try(ctx, s.path(), item.Body, patience)
			return err
		})
	})
	return trial, err
}

// try looks at the trial of a request, before any load. of says what of the load it is, where that has several parts.
func (s *session) try(
	ctx context.Context, at **endpoint.Endpoint, item tokens.Item, workload tokens.Spec, of string,
) error {
	trial, err := s.trial(ctx, at, item)
	if err != nil {
		if of != "" {
			err = fmt.Errorf("%s: %w", of, err)
		}
		return refusal(ctx, err)
	}
	if of != "" {
		of += ": "
	}
	switch lack := lackOf(trial, item, workload); {
	case lack.stream:
		s.warn("%sthe endpoint does not stream: there will be no time to first token, "+
			"and no objective on it can be judged", of)
	case lack.usage:
		s.warn("%sthe endpoint reports no usage: output tokens are the token events that came", of)
	case lack.length:
		s.warn("%s%d output tokens were asked for and %d came: the endpoint does not honour ignore_eos or "+
			"max_completion_tokens", of, item.OutputTokens, trial.OutputTokens)
	}
	return nil
}

// lack is what the answer to a trial lacks, without which a run works and can say less.
type lack struct {
	stream bool // it was asked for
	usage  bool
	length bool // it has another one than was asked for
}

func lackOf(trial *endpoint.Trial, item tokens.Item, w tokens.Spec) lack {
	l := lack{stream: !trial.Streamed && !w.NoStream, usage: trial.Ended && trial.OutputTokens < 0}
	l.length = trial.Ended && !l.usage && item.OutputTokens > 0 && trial.OutputTokens != item.OutputTokens &&
		!w.NoIgnoreEOS
	return l
}

// fewStreams is how many requests in flight are too few for the saturation of a usual engine (vLLM runs 256 sequences).
const fewStreams = 1024

// fileReserve is how many descriptors are kept for files, listeners, /metrics.
const fileReserve = 100

// concurrencyCap checks the safety cap against the limit of open files: each request in flight holds one.
func (s *session) concurrencyCap() (int, error) {
	const reserve = fileReserve
	each := 1
	if s.spec.Endpoint.Sim != "" {
		each = 2 // the simulated engine in the process holds the other end
	}
	asked := s.spec.Limits.MaxConcurrency
	wanted := asked
	if wanted == 0 {
		wanted = loadgen.DefaultMaxConcurrency
	}
	limit, ok := openFileLimit()
	if !ok {
		return wanted, nil
	}
	most := (limit - reserve) / each
	switch {
	case most >= wanted:
		return wanted, nil
	case most < 1:
		return 0, withHint(
			usageError("the limit of open files is %d: openloop needs %d, and %d for each request in flight",
				limit, reserve, each),
			"raise the limit (ulimit -n 4096)")
	case asked > 0:
		return 0, withHint(
			usageError("--max-concurrency %d needs %d open files, and the limit is %d",
				wanted, wanted*each+reserve, limit),
			fmt.Sprintf("raise the limit (ulimit -n), or ask for at most %d", most))
	}
	if most < fewStreams {
		s.warn("at most %d requests can be in flight: the limit of open files is %d (ulimit -n)", most, limit)
	}
	return most, nil
}

// send runs the plan.
func (s *session) send(ctx context.Context) (*sweep.Result, error) {
	plan := s.spec.Plan
	if plan.Decide != nil {
		if err := s.plan.Learn(ctx); err != nil {
			return &sweep.Result{}, err
		}
		s.announceGates()
	}
	progress := s.startProgress()
	defer progress.end()
	s.serveMetrics()
	if plan.Decide != nil {
		return s.plan.Decide(ctx, s.spec.Gates, *plan.Decide)
	}
	if plan.Sweep == nil {
		return s.plan.Run(ctx, plan.Stages)
	}
	if s.traffic != nil {
		return s.searchSpeed(ctx, progress)
	}
	result, err := s.plan.Sweep(ctx, *plan.Sweep)
	if err != nil || plan.Sweep.Search == nil {
		return result, err
	}
	if plan.Sweep.Size > 2 {
		// GuideLLM's sweep has as many benchmarks as it was asked for, at rising rates; the search's stages stand
		// beside them.
		result.Plain = len(result.Stages)
	}
	search := sweep.SearchConfig{Search: *plan.Sweep.Search, Confidence: s.spec.Confidence, Gates: s.spec.Gates}
	progress.searching(fmt.Sprintf("searching for the max rate: until it is known to ±%s %%, at most %v",
		num.Exact(100*search.Precision), search.Budget))
	result.Answer, err = s.plan.Search(ctx, result, search)
	return result, err
}

// finish saves and prints what was measured, and settles with which error the command ends.
func (s *session) finish(ctx context.Context, measured *sweep.Result, failed error) error {
	if len(measured.Stages) == 0 {
		return failed
	}
	debug.SetGCPercent(reportGC)
	s.noteWorkers(measured)
	result := s.result(measured)
	file := s.exporter.Export(result)
	saveErr := s.files.save(file, result, true)
	s.endJournal(saveErr == nil)
	saveErr = errors.Join(saveErr, s.saveWorkload())
	if err := s.print(file, result); err != nil {
		saveErr = errors.Join(saveErr, fmt.Errorf("what is to be printed at the end: %w", err))
	}
	for _, name := range s.files.saved {
		s.say("saved %s", name)
	}
	s.sayNext()
	if err := s.logReport(file); err != nil {
		saveErr = errors.Join(saveErr, fmt.Errorf("--log-report: %w", err))
	}
	return s.upload(ctx, s.verdict(result, failed, saveErr))
}

// verdict is the error with which the command ends, whose results are printed.
func (s *session) verdict(result *report.Result, failed, saveErr error) error {
	var field *tokens.SpecError
	if errors.As(failed, &field) { // such as a full disk under --save-workload
		failed = inFlags(failed)
	}
	switch {
	case failed != nil:
		return errors.Join(failed, saveErr)
	case saveErr != nil:
		return saveErr
	}
	if err := nothingSucceeded(result); err != nil {
		return err
	}
	if missed := s.missedGates(result); missed != nil {
		return missed
	}
	if !s.spec.Output.AllowInvalid {
		return invalidStages(result)
	}
	return nil
}

// logPause is how long the program lives after a report went to the log. Who keeps the log of a container reads it from
// a pipe: what the pipe still holds when the process ends has been seen to be lost, and what is written to stderr at
// the same time to get in between.
const logPause = time.Second

// logReport writes the report to stdout as text, where that is asked for.
func (s *session) logReport(file *guidellm.Report) error {
	if !s.spec.Output.LogReport {
		return nil
	}
	err := armor.Write(s.stdout, func(w io.Writer) error { return guidellm.Write(w, guidellm.JSON, file) })
	time.Sleep(logPause)
	return err
}

// saveWorkload ends the file of --save-workload.
func (s *session) saveWorkload() error {
	saved, err := s.work.Save(s.files.keepEarlier)
	if err != nil {
		return inFlags(err)
	}
	if saved {
		s.files.saved = append(s.files.saved, s.spec.Workload.SaveTo)
	}
	return nil
}

// result sums up what was measured.
func (s *session) result(measured *sweep.Result) *report.Result {
	var stages []*loadgen.Measured
	for _, st := range measured.Stages {
		stages = append(stages, st.Measured)
	}
	return report.New(s.spec, report.Run{
		Version: programVersion(), Model: s.model, Measured: measured,
		Workload: s.work.Summary(stages), Warnings: s.work.Warnings(stages), Engine: s.engine,
		Engines: s.engines,
	})
}

// savedEveryStage is how many requests a run may have for its report to be saved after every stage: beyond that,
// writing takes too long.
const savedEveryStage = 100_000

// keep saves what was measured so far, in case the program does not live to its end.
func (s *session) keep(st *sweep.Stage) {
	s.work.Sent(len(st.Records))
	if s.journal != nil {
		s.journal.End(st.Measured)
	}
	s.measured.Stages = append(s.measured.Stages, st)
	n := 0
	for _, st := range s.measured.Stages {
		n += len(st.Records)
	}
	if n > savedEveryStage {
		return
	}
	result := s.result(&s.measured)
	if err := s.files.save(s.exporter.Export(result), result, false); err != nil {
		s.warn("%v", err)
	}
}

// nothingSucceeded is an error if no request of any stage completed. The time to first token of answers that were all
// unfinished at the ends of their stages is a result, but not one that a script should take for a success.
func nothingSucceeded(r *report.Result) error {
	failed, unfinished := 0, 0
	counts := map[string]int{}
	for i := range r.Stages {
		s := &r.Stages[i]
		if s.Requests.Completed > 0 {
			return nil
		}
		failed += s.Requests.Errored
		unfinished += s.Requests.Unfinished
		for _, e := range s.Errors {
			counts[e.Text] += e.Count
		}
	}
	switch {
	case failed+unfinished == 0:
		return nil
	case failed == 0:
		return withHint(
			fmt.Errorf("no request of the run completed: %d were unfinished when their stage ended", unfinished),
			"give stages more time (--max-seconds), or requests at their end (--grace)")
	}
	most := ""
	for text, n := range counts {
		if n > counts[most] || n == counts[most] && text < most {
			most = text
		}
	}
	return fmt.Errorf("no request of the run succeeded: %d failed, %d of them with: %s", failed, counts[most], most)
}

// missedGates is an error if a gate does not hold, or could not be decided.
func (s *session) missedGates(r *report.Result) error {
	if s.spec.Plan.Decide != nil {
		return s.finishGates(r)
	}
	for _, g := range r.Gates {
		if g.Outcome == slo.Pass {
			s.say("%s", g)
		}
	}
	var missed []string
	for _, g := range r.Gates {
		if g.Outcome != slo.Pass {
			missed = append(missed, g.String())
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return &exitError{exitMissed, errors.New(strings.Join(missed, "; "))}
}

// invalidStages is an error if the client of a stage was invalid.
func invalidStages(r *report.Result) error {
	var names []string
	reason := ""
	for i := range r.Stages {
		client := &r.Stages[i].Client
		if client.Level != audit.Invalid || r.Stages[i].Repeated {
			continue
		}
		if name := r.Stages[i].Name; !slices.Contains(names, name) { // a search comes back to a rate
			names = append(names, name)
		}
		for _, c := range client.Reasons {
			if c.Level == audit.Invalid && reason == "" {
				reason = c.Text
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	err := fmt.Errorf("the client was invalid on %s: %s", strings.Join(names, ", "), reason)
	return withHint(&exitError{exitInvalid, err},
		"--allow-invalid exits 0 all the same")
}

// print writes the results to stdout in the style that was asked for.
func (s *session) print(file *guidellm.Report, r *report.Result) error {
	switch s.spec.Output.Style {
	case spec.StyleNone:
		return nil
	case spec.StyleGuideLLM:
		// Its tables say nothing of the client, so that is said beside them.
		for i := range r.Stages {
			for _, reason := range r.Stages[i].Client.Reasons {
				s.warn("client %s on %s: %s", reason.Level, r.Stages[i].Name, reason.Text)
			}
		}
		for _, w := range r.Warnings {
			s.warn("%s", w.Text)
		}
		return guidellm.WriteConsole(s.stdout, file, time.Local)
	}
	return printScreen(s.stdout, r, s.spec.Output.Wide, s.spec.Output.NoColor)
}

func (s *session) close() {
	s.closeMetrics()
	if s.leader != nil {
		s.leader.Close()
	}
	if s.work != nil {
		s.work.Close()
	}
	s.endJournal(len(s.measured.Stages) == 0)
	if s.client != nil {
		s.client.Close()
	}
	if s.sim != nil {
		s.sim.Close()
	}
}

func (s *session) warn(format string, args ...any) {
	s.message("warning", fmt.Sprintf(format, args...))
}

// sayWhen is say with the time of day, which the lines of a log about the run have, too.
func (s *session) sayWhen(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.progressMode() == spec.PlainProgress {
		text = live.Timed(time.Now(), text)
	}
	s.say("%s", text)
}

func (s *session) say(format string, args ...any) {
	if !s.spec.Output.Quiet {
		s.message("note", fmt.Sprintf(format, args...))
	}
}
