package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/openloop/openloop/internal/shell"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/live"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// How often the screen is drawn, what is known is looked at elsewhere, and a line is written there.
const (
	drawEvery = 250 * time.Millisecond
	lookEvery = time.Second
	lineEvery = 10 * time.Second
)

// progress shows a run as it goes, on stderr: as a screen that is drawn again in place, as lines of a log, or as JSON.
type progress struct {
	s     *session
	mode  spec.Progress
	model *live.Model
	paint func(string) string
	last  atomic.Int64 // when a line was written, ns since the epoch: stages end in another goroutine
	stop  chan struct{}
	ended chan struct{}
}

// progressMode is how progress is shown.
func (s *session) progressMode() spec.Progress {
	switch o := &s.spec.Output; { // no copy: workers that join ask while the folder is being settled
	case o.Quiet:
		return spec.NoProgress
	case o.Progress != "" && o.Progress != spec.AutoProgress:
		return o.Progress
	case canDraw(s.stderr):
		return spec.ScreenProgress
	}
	return spec.PlainProgress
}

// startProgress begins to show the run, and has the plan tell of it.
func (s *session) startProgress() *progress {
	p := &progress{s: s, mode: s.progressMode(), stop: make(chan struct{}), ended: make(chan struct{})}
	s.plan.StageStarted = func(index int, _ loadgen.Load, run loadgen.Running) {
		s.begin(index, run)
		if p.model != nil {
			p.model.Begin(index, run)
		}
	}
	s.plan.StageEnded = func(index int, st *sweep.Stage) {
		if p.model != nil {
			p.stageEnded(index, st)
		}
		s.keep(st)
	}
	if p.mode == spec.NoProgress {
		close(p.ended)
		return p
	}
	p.model = live.NewModel(s.head(), time.Now())
	p.paint = painter(s.stderr, s.spec.Output.NoColor)
	if p.paint == nil {
		p.paint = func(line string) string { return line }
	}
	s.plan.Planned = p.model.Planned
	s.plan.Estimated = func(soFar *sweep.Answer) {
		text := soFar.SoFar()
		p.model.Estimate(text)
		if text != "" {
			p.note("max rate so far: " + text)
		}
	}
	if s.plan.Metrics != nil {
		s.plan.Metrics.Seen = p.model.Engine
	}
	s.plan.Observe = both(p.model.Observe, s.plan.Observe)
	now := time.Now()
	p.last.Store(now.UnixNano())
	state := p.model.State(now)
	p.note(state.Beginning())
	go p.run()
	return p
}

// searching says that the stages to come are those of the search.
func (p *progress) searching(text string) {
	if p.model != nil {
		p.model.Search(time.Now())
		p.note(text)
	}
}

// end ends it. What a screen showed stays where the end of the run is not printed on the same terminal.
func (p *progress) end() {
	close(p.stop)
	<-p.ended
	if p.mode == spec.ScreenProgress {
		endScreen(p.s.stderr, !canDraw(p.s.stdout) || p.s.spec.Output.Style == spec.StyleNone)
	}
}

// run draws until it is ended.
func (p *progress) run() {
	defer close(p.ended)
	every := lookEvery
	if p.mode == spec.ScreenProgress {
		every = drawEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	suspended := make(chan os.Signal, 1)
	if p.mode == spec.ScreenProgress {
		notifySuspend(suspended)
		defer signal.Stop(suspended)
	}
	for {
		p.show(time.Now())
		select {
		case <-p.stop:
			return
		case <-suspended:
			endScreen(p.s.stderr, true)
			suspend()
		case <-tick.C:
		}
	}
}

// show draws the screen, or writes a line where it is time for one.
func (p *progress) show(now time.Time) {
	state := p.model.State(now)
	if p.mode == spec.ScreenProgress {
		width, height := 80, 24
		if f := file(p.s.stderr); f != nil {
			if !inForeground(f) {
				return
			}
			if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
				width, height = w, h
			}
		}
		// The last column stays free: some terminals wrap as soon as it is written.
		drawScreen(p.s.stderr, live.Screen(state, max(width-1, 1), max(height-1, 1)), p.paint)
		return
	}
	// A look that comes a moment early is not to make it eleven seconds.
	if now.Sub(time.Unix(0, p.last.Load())) < lineEvery-lookEvery/2 || state.Running == nil {
		return
	}
	p.last.Store(now.UnixNano())
	if p.mode == spec.JSONProgress {
		_, _ = p.s.stderr.Write(state.JSON())
	} else {
		fmt.Fprintln(p.s.stderr, state.Line())
	}
}

// stageEnded shows a stage that has ended.
func (p *progress) stageEnded(index int, st *sweep.Stage) {
	ended := report.NewStage(p.s.spec.Plan, st)
	now := time.Now()
	state := p.model.State(now)
	p.model.End(ended)
	switch p.mode {
	case spec.PlainProgress:
		p.last.Store(now.UnixNano())
		fmt.Fprintln(p.s.stderr, state.StageLine(index, &ended))
	case spec.JSONProgress:
		p.last.Store(now.UnixNano())
		_, _ = p.s.stderr.Write(state.StageJSON(index, &ended))
	}
}

// note writes a line about the run; a screen shows the same by itself.
func (p *progress) note(text string) {
	switch p.mode {
	case spec.PlainProgress:
		fmt.Fprintln(p.s.stderr, live.Timed(time.Now(), text))
	case spec.JSONProgress:
		_, _ = p.s.stderr.Write(live.MessageJSON(time.Now(), "note", text))
	}
}

// begin takes note of a stage that has begun; a probe's requests are not kept.
func (s *session) begin(index int, run loadgen.Running) {
	if s.journal != nil && index >= 0 {
		s.journal.Begin(run)
	}
}

// probing is about how long the search for the saturation takes, which a sweep does beside its stages.
const probing = 15 * time.Second

// head is what is known of the run before it begins.
func (s *session) head() live.Head {
	h := live.Head{
		Command: "run", Target: s.spec.Endpoint.Target, Model: s.model, Workload: s.workloadText(),
		Objectives: s.spec.Objectives,
	}
	if c := s.spec.Output.Command; len(c) > 1 {
		h.Command = c[1]
	}
	plan := s.spec.Plan
	if plan.Sweep == nil {
		h.Stages = len(plan.Stages)
		for _, load := range plan.Stages {
			if load.Kind.Open() {
				h.Arrivals = load.Arrivals().String()
				h.Rates = append(h.Rates, load.Rate)
			} else {
				h.Rates = append(h.Rates, 0)
			}
			if d := s.stageLength(load); d > 0 {
				h.Lengths = append(h.Lengths, d)
			}
		}
		return h
	}
	if s.traffic != nil {
		h.Arrivals, h.Search = "recorded", plan.Sweep.Search.Budget
		return h
	}
	h.Stages, h.Arrivals = plan.Sweep.Size, plan.Sweep.Arrival.String()
	for i := range plan.Sweep.Size {
		d := s.stageLength(loadgen.Load{Kind: loadgen.Throughput})
		if d == 0 {
			break
		}
		if i == 1 {
			d += probing
		}
		h.Lengths = append(h.Lengths, d)
	}
	if search := plan.Sweep.Search; search != nil {
		h.Search, h.Endless = search.Budget, search.Budget == 0
	}
	return h
}

// stageLength is about how long a stage takes, the pause after it included; 0 where that is not known.
func (s *session) stageLength(load loadgen.Load) time.Duration {
	l := s.spec.Limits
	d := l.MaxDuration
	if l.MaxRequests > 0 && load.Kind.Open() {
		all := time.Duration(0)
		switch n := len(load.Times); {
		case n > 0:
			all = load.Times[min(n, l.MaxRequests)-1]
		case load.Rate > 0:
			all = time.Duration(float64(l.MaxRequests) / load.Rate * float64(time.Second))
		}
		if d == 0 || all < d {
			d = all
		}
	}
	if d == 0 {
		return 0
	}
	return d + l.Grace + s.plan.Pause
}

// workloadText says in a few words what is sent.
func (s *session) workloadText() string {
	if s.spec.Mix != nil {
		return "mix of " + strings.Join(s.spec.Classes(), ", ")
	}
	switch w := s.spec.Workload; {
	case w.Data != nil:
		if n := len(w.Data.Further); n > 0 {
			return fmt.Sprintf("%s and %d more", filepath.Base(w.Data.Source), n)
		}
		return filepath.Base(w.Data.Source)
	case w.Trace != nil:
		return filepath.Base(w.Trace.File)
	case w.Synthetic != nil && w.Synthetic.Output.Mean > 0:
		return fmt.Sprintf("%d→%d tokens", w.Synthetic.Prompt.Mean, w.Synthetic.Output.Mean)
	case w.Synthetic != nil:
		return fmt.Sprintf("%d tokens", w.Synthetic.Prompt.Mean)
	}
	return ""
}

// message writes a warning or a note to stderr, in the form that progress has there.
func (s *session) message(kind, text string) { writeMessage(s.stderr, s.progressMode(), kind, text) }

// writeMessage writes a warning or a note in the form that progress has.
func writeMessage(w io.Writer, progress spec.Progress, kind, text string) {
	if progress == spec.JSONProgress {
		_, _ = w.Write(live.MessageJSON(time.Now(), kind, text)) // there is nobody left to tell
		return
	}
	if kind == "warning" {
		text = "warning: " + text
	}
	fmt.Fprintln(w, text)
}

// sayNext says what can be done with the results that were saved.
func (s *session) sayNext() {
	if len(s.files.saved) == 0 || s.files.rescue != "" {
		return
	}
	s.say("compare  openloop compare BASE %s", shell.Word(s.files.dir))
	if again := s.files.place(configFile); exists(again) && len(s.spec.Output.Command) > 1 {
		s.say("again    openloop %s --config %s", s.spec.Output.Command[1], shell.Word(again))
	}
}
