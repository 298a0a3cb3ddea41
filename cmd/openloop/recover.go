package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/loadgen/journal"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
	"github.com/openloop/openloop/tokens"
)

// journalFile is the journal in the folder of a run that has not ended.
const journalFile = "records.part"

// journaled is what a journal holds beside its stages: what a report is made of.
type journaled struct {
	Version        string
	Model          string
	Spec           spec.Spec // without secrets
	Workload       tokens.Summary
	MaxConcurrency int
	Engine         *enginemetrics.Info
	Engines        []report.Engine
}

// startJournal begins the run's journal. A run that can have none goes on without.
func (s *session) startJournal(limit int) {
	name := s.files.place(journalFile)
	err := s.files.keepEarlier(name)
	if err == nil {
		s.journal, err = journal.Create(name, s.journalHead(limit))
	}
	if err != nil {
		s.warn("%s can't be kept, a run that is killed would lose its stage: %v", journalFile, err)
		return
	}
	s.plan.Observe = both(s.journal.Observe, s.plan.Observe)
}

// journalHead is what is needed to make a report of a journal, without secrets.
func (s *session) journalHead(limit int) journaled {
	safe := s.spec
	strip := func(c *endpoint.Config) {
		c.Headers, c.Metrics.Sources = nil, slices.Clone(c.Metrics.Sources)
		for i := range c.Metrics.Sources {
			c.Metrics.Sources[i].Login = endpoint.Secret{}
		}
	}
	strip(&safe.Endpoint)
	safe.Targets = slices.Clone(safe.Targets)
	for i := range safe.Targets {
		strip(&safe.Targets[i].Endpoint)
	}
	safe.Mix = slices.Clone(safe.Mix)
	for i := range safe.Mix {
		safe.Mix[i].Headers = nil
	}
	return journaled{programVersion(), s.model, safe, s.work.Summary(nil), limit, s.engine, s.engines}
}

// endJournal ends the run's journal: it goes where its results were saved.
func (s *session) endJournal(saved bool) {
	j := s.journal
	if j == nil {
		return
	}
	s.journal = nil
	if err := j.Err(); err != nil {
		s.warn("%s ended before the run did: %v", journalFile, err)
	}
	if saved {
		if err := j.Remove(); err != nil {
			s.warn("removing %s: %v", journalFile, err)
		}
		return
	}
	if err := j.Close(); err == nil {
		s.warn("the records of all requests are in %s; openloop report --recover makes a report of it",
			s.files.place(journalFile))
	}
}

// runRecover makes the report of a run that was killed, of the journal that it left.
func runRecover(names []string, shown screenFlags, stdout, stderr io.Writer) error {
	if len(names) != 1 {
		return usageError("--recover takes one folder of results, or one %s", journalFile)
	}
	name := runFolder(names[0])
	if latest := filepath.Join(name, latestRun); !exists(filepath.Join(name, journalFile)) && exists(latest) {
		name = runFolder(latest)
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, journalFile)
	}
	file, err := journal.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(usageError("there is no %s", name),
			"a run that has ended leaves none: openloop report "+filepath.Dir(name)+" prints its report")
	}
	if err != nil {
		return usageError("--recover: %w", err)
	}
	defer file.Close()
	var about journaled
	stages, cut, err := journal.Read(file, &about)
	if err != nil {
		return usageError("--recover: %s: %w", name, err)
	}
	if len(stages) == 0 {
		return fmt.Errorf("%s holds no request: the run was killed before the first was written", name)
	}
	if cut {
		fmt.Fprintf(stderr, "warning: the end of %s is spoilt; what stands before it is used\n", name)
	}
	if about.Spec.Objectives, err = slo.ForClasses(about.Spec.Objectives, about.Spec.Classes()); err != nil {
		return usageError("--recover: %s: %w", name, err)
	}
	measured := recoverStages(stages, about.Spec)
	result := report.New(about.Spec, report.Run{
		Version: about.Version, Model: about.Model, Measured: measured, Workload: about.Workload,
		Engine: about.Engine, Engines: about.Engines,
	})
	exporter := guidellm.NewExporter(guidellm.ExportConfig{
		Args: guidellm.ArgsOf(about.Spec), Spec: about.Spec, Model: about.Model, Version: about.Version,
		MaxConcurrency: about.MaxConcurrency,
	})
	outputs, err := allOutputs(about.Spec.Output)
	if err != nil {
		return err
	}
	results := &resultFiles{
		dir: filepath.Dir(name), outputs: outputs, own: map[string]bool{},
		kept: func(old, now string) { fmt.Fprintf(stderr, "kept %s as %s\n", old, now) },
	}
	saveErr := results.save(exporter.Export(result), result, true)
	printErr := printScreen(stdout, result, shown.wide, shown.noColor)
	for _, name := range results.saved {
		fmt.Fprintf(stderr, "saved %s\n", name)
	}
	if saveErr == nil {
		saveErr = os.Remove(name)
	}
	return errors.Join(saveErr, printErr)
}

// recoverStages makes the stages of a run of its journal, with what the reader should know of them.
func recoverStages(stages []journal.Stage, s spec.Spec) *sweep.Result {
	r := &sweep.Result{}
	for i, st := range stages {
		r.Stages = append(r.Stages, sweep.Recover(st.Measured, st.Whole, s.Objectives, s.Confidence))
		if !st.Whole {
			text := fmt.Sprintf("%s was killed: its records end at %s, what was in flight then counts as unfinished",
				st.Measured.Stage.Load, st.Measured.Wall(st.Measured.Stopped).Format(time.TimeOnly))
			r.Warnings = append(r.Warnings, sweep.Warning{Stage: i, Text: text})
		}
	}
	text := "the report was recovered from the records of a run that was killed"
	if s.Plan.Sweep != nil {
		text += ": the probe is not in it, and what a search found is not; the answer is by its single stages"
	}
	r.Warnings = append(r.Warnings, sweep.Warning{Stage: -1, Text: text})
	return r
}
