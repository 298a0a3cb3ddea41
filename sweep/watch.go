package sweep

import (
	"sync"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// watch judges a stage as it runs, and stops it at the first look that decides it. It knows of requests what
// Stage.Observe tells, so its looks are estimates; what counts is what the stage's own records say of the same moments,
// once it has ended.
type watch struct {
	objectives []slo.Objective
	looks      []slo.Look
	schedule   loadgen.Schedule // an instance of its own: At is not for two goroutines

	mu    sync.Mutex
	ended []loadgen.Record

	gaps []slo.GapCount // one a look that was taken
}

// observe is for Stage.Observe.
func (w *watch) observe(e loadgen.Event) {
	if !e.Ended || e.Record.Status == loadgen.NotSent {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = append(w.ended, *e.Record)
}

// run takes the looks.
func (w *watch) run(run *loadgen.Run) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, look := range w.looks {
		timer.Reset(look.At - run.Progress().Elapsed)
		select {
		case <-timer.C:
		case <-run.Done():
			return
		}
		w.gaps = append(w.gaps, w.countGaps(run))
		if i == len(w.looks)-1 {
			return // the stage ends by itself
		}
		at := run.Start() + int64(look.At)
		s := slo.Snapshot(&loadgen.Measured{Start: run.Start()}, w.records(run, at), at)
		if slo.JudgeAt(s, w.objectives, w.gaps[i], look.Alpha).Outcome != slo.Undecided {
			run.Stop()
			return
		}
	}
}

// countGaps counts gaps for the objectives on itl.
func (w *watch) countGaps(run *loadgen.Run) slo.GapCount {
	g := slo.GapCount{Over: make([]int64, len(w.objectives))}
	var bounds []int64
	for _, o := range w.objectives {
		if o.Metric == slo.ITL {
			bounds = append(bounds, int64(o.Bound))
		}
	}
	if len(bounds) == 0 {
		return g
	}
	total, over := run.LiveGaps(bounds)
	for i, o := range w.objectives {
		if o.Metric == slo.ITL {
			g.Total, g.Over[i], over = total, over[0], over[1:]
		}
	}
	return g
}

// records returns what is known of the requests due by a time: those that ended, and for the others what must be. Of the
// requests in flight it is only known how many have no first token; they are taken to be those that came last. The rest
// are given the wait of the request that ended last.
func (w *watch) records(run *loadgen.Run, at int64) []loadgen.Record {
	w.mu.Lock()
	records := append([]loadgen.Record(nil), w.ended...)
	w.mu.Unlock()
	progress := run.Progress()

	ended := make(map[int64]int, len(records))
	var last loadgen.Record
	waiting := progress.Sent - int(progress.Firsts)
	for _, r := range records {
		ended[r.Scheduled]++
		if r.FirstToken > 0 {
			last = r
		} else {
			waiting--
		}
	}
	var open []loadgen.Record
	for i := 0; ; i++ {
		offset, ok := w.schedule.At(i)
		due := run.Start() + int64(offset)
		if !ok || due >= at {
			break
		}
		if ended[due] > 0 {
			ended[due]--
			continue
		}
		open = append(open, loadgen.Record{Scheduled: due, Sent: due, AskedOutput: last.AskedOutput, OutputTokens: -1, Status: loadgen.Incomplete})
	}
	answered := len(open) - max(waiting, 0)
	for i := range open[:max(answered, 0)] {
		open[i].FirstToken = min(open[i].Scheduled+max(last.FirstToken-last.Scheduled, 1), at)
		open[i].LastToken = open[i].FirstToken
	}
	return append(records, open...)
}

// judge judges the stage that was watched, by its own records: as it stood at each look in turn, until one decides.
func (w *watch) judge(l *Stage, confidence float64) slo.StageJudgement {
	all := l.AllRecords()
	var j slo.StageJudgement
	for i, look := range w.looks {
		at := l.Start + int64(look.At)
		gaps := slo.GapCount{Over: make([]int64, len(w.objectives))}
		switch {
		case i < len(w.gaps):
			gaps = w.gaps[i]
		case i > 0 && at > l.Stopped:
			// The stage ended before this look, for another reason than its outcome: it is taken now, with its error.
			at = l.Stopped
			gaps = slo.CountGaps(l.Measured, w.objectives)
		}
		at = min(at, l.Stopped)
		j = slo.JudgeAt(slo.Snapshot(l.Measured, all, at), w.objectives, gaps, look.Alpha)
		if j.Outcome != slo.Undecided || at == l.Stopped {
			break
		}
	}
	j.Confidence = confidence
	judgeClient(&j, l)
	return j
}
