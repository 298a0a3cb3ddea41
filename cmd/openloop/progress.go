package main

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/sweep"
)

// watch shows the stages as they run: a line that is rewritten on a terminal, and one line a stage elsewhere. stages is
// how many there will be, 0 where that is not known.
func (s *session) watch(stages int) {
	quiet := s.spec.Output.Quiet
	terminal := isTerminal(s.stderr)
	lines := rate.NewLimiter(rate.Every(200*time.Millisecond), 1)
	s.plan.StageStarted = func(index int, _ loadgen.Load, run *loadgen.Run) {
		s.begin(index, run)
		if quiet {
			return
		}
		stage := run.Stage()
		name := fmt.Sprintf("%s  %s", stageLabel(index, stages), stage.Load)
		if index < 0 {
			name = "finding the saturation"
		}
		if !terminal {
			fmt.Fprintln(s.stderr, name)
			go s.tellSilence(run)
			return
		}
		go func() {
			for {
				select {
				case <-run.Done():
					rewriteLine(s.stderr, "")
					return
				case <-time.After(100 * time.Millisecond):
					if lines.Allow() {
						rewriteLine(s.stderr, progressLine(name, run.Progress(), stage, index < 0))
					}
				}
			}
		}()
	}
	s.plan.StageEnded = func(index int, st *sweep.Stage) {
		s.keep(st)
		if quiet {
			return
		}
		ended := report.NewStage(s.spec.Plan, st)
		line := report.StageLine(&ended)
		if terminal {
			rewriteLine(s.stderr, fmt.Sprintf("%s  %s\n", stageLabel(index, stages), line))
		} else {
			fmt.Fprintf(s.stderr, "  %s\n", line)
		}
	}
	s.plan.Estimated = func(soFar *sweep.Answer) {
		if text := soFar.SoFar(); text != "" && !quiet {
			fmt.Fprintf(s.stderr, "  max rate so far: %s\n", text)
		}
	}
}

// A stream that stays silent for so long is worth a word on a terminal, and a line elsewhere, where it is repeated.
const (
	silentShown  = 2 * time.Second
	silentTold   = 10 * time.Second
	silentRepeat = 30 * time.Second
)

// tellSilence says while a stage runs that no token comes.
func (s *session) tellSilence(run *loadgen.Run) {
	for told := time.Duration(0); ; {
		select {
		case <-run.Done():
			return
		case <-time.After(time.Second):
		}
		switch p := run.Progress(); {
		case p.Silent < silentTold:
			told = 0
		case told == 0 || p.Silent >= told+silentRepeat:
			told = p.Silent
			fmt.Fprintf(s.stderr, "  %s\n", silence(p))
		}
	}
}

// silence says for how long no token has come.
func silence(p loadgen.Progress) string {
	return fmt.Sprintf("no token for %.0f s, %d requests in flight", p.Silent.Seconds(), p.InFlight)
}

// begin takes note of a stage that has begun; a probe's requests are not kept.
func (s *session) begin(index int, run *loadgen.Run) {
	if s.journal != nil && index >= 0 {
		s.journal.Begin(run)
	}
}

// stageLabel counts a stage, of the stages where their number is known.
func stageLabel(index, stages int) string {
	if index >= stages {
		return fmt.Sprintf("stage %d", index+1)
	}
	return fmt.Sprintf("stage %d of %d", index+1, stages)
}

// progressLine is one line about a stage under way. A probe has limits of its own, which say nothing.
func progressLine(name string, p loadgen.Progress, stage loadgen.Stage, probe bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %.0f", name, p.Elapsed.Seconds())
	if stage.MaxDuration > 0 && !probe {
		fmt.Fprintf(&b, "/%.0f", stage.MaxDuration.Seconds())
	}
	fmt.Fprintf(&b, " s  sent %d", p.Sent)
	if stage.MaxRequests > 0 && !probe {
		fmt.Fprintf(&b, "/%d", stage.MaxRequests)
	}
	fmt.Fprintf(&b, "  in flight %d  done %d  errors %d", p.InFlight, p.Completed, p.Errored)
	if p.Silent >= silentShown {
		fmt.Fprintf(&b, "  no token for %.0f s", p.Silent.Seconds())
	}
	return b.String()
}
