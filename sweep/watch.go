package sweep

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// watch looks at a stage as it runs, and stops it once it is clear that its rate is too high (or clearly low enough,
// where that is asked). It knows of requests what Hooks.Observe tells, so that its looks are estimates; what counts is
// the judgement of the stage's own records, once it has ended. Nothing of a watch is kept after its stage.
type watch struct {
	objectives []slo.Objective
	confidence float64
	brief      bool // stop also where the rate is clearly low enough
	looks      []time.Duration
	stage      loadgen.Stage
	schedule   loadgen.Schedule // an instance of its own: At is not for two goroutines
	interim    *interim         // of a stage that runs until it is decided; nil: of a search
	settle     func(*Stage)     // changes its judgement by what else is known, before anyone is told; nil: nothing is

	mu sync.Mutex
	// Requests that ended since the last look, in parts of the same size: none is ever moved.
	ended [][]loadgen.Record
	turns map[int]loadgen.Record // in flight, of sessions: no schedule says when they are due

	// What follows belongs to the goroutine that looks.
	due     []int64          // when each arrival so far was due
	known   []loadgen.Record // of each arrival so far; one that has not ended has no status
	last    loadgen.Record   // the one with a first token that ended last
	noToken int              // of those that ended, the ones that never had a first token
}

// endedPart is how many records are kept together.
const endedPart = 1024

// lookError is the error of each look: of taking a rate for too high that is not, and the reverse.
const lookError = 0.02

// newWatch watches a stage of at most limit, first looked at after a time.
func newWatch(objectives []slo.Objective, first, limit time.Duration, confidence float64, stage loadgen.Stage) *watch {
	w := &watch{objectives: objectives, confidence: confidence, stage: stage, schedule: stage.Load.Schedule()}
	for at := first; at < limit; at = at * 3 / 2 {
		w.looks = append(w.looks, at)
	}
	return w
}

// observe is for Hooks.Observe.
func (w *watch) observe(e loadgen.Event) {
	if !e.Ended && e.Record.Session == 0 || e.Ended && e.Record.Status == loadgen.NotSent {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !e.Ended {
		if w.turns == nil {
			w.turns = map[int]loadgen.Record{}
		}
		r := e.Record
		w.turns[e.Index] = loadgen.Record{Scheduled: r.Scheduled, Began: r.Began, Session: r.Session, Turn: r.Turn,
			Turns: r.Turns, Class: r.Class, Target: r.Target}
		return
	}
	delete(w.turns, e.Index)
	n := len(w.ended)
	if n == 0 || len(w.ended[n-1]) >= endedPart {
		w.ended = append(w.ended, make([]loadgen.Record, 0, endedPart))
		n++
	}
	w.ended[n-1] = append(w.ended[n-1], *e.Record)
}

// run looks at the stage.
func (w *watch) run(run loadgen.Running) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for _, look := range w.looks {
		timer.Reset(look - run.Progress().Elapsed)
		select {
		case <-timer.C:
		case <-run.Done():
			return
		}
		gaps := w.countGaps(run)
		at := run.Start() + int64(look)
		w.take(run.Start(), at)
		p := run.Progress()
		s := w.estimate(run.Start(), at, p.Sent-int(p.Firsts))
		if w.enough(s, gaps) {
			run.Stop()
			return
		}
	}
}

// enough says whether a stage as it stands shows enough for it to end.
func (w *watch) enough(s *loadgen.Measured, gaps slo.GapCount) bool {
	if w.interim != nil {
		return w.interim.look(s, w.objectives, gaps)
	}
	j := slo.JudgeAt(s, w.objectives, gaps, lookError)
	return clearCut(&j, w.brief)
}

// countGaps counts gaps for the objectives on itl.
func (w *watch) countGaps(run loadgen.Running) slo.GapCount {
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

// take takes in what has ended of what was due before a moment.
func (w *watch) take(start, at int64) {
	w.mu.Lock()
	sessions := w.turns != nil
	w.mu.Unlock()
	if sessions {
		w.takeTurns(at)
	} else {
		w.takeArrivals(start, at)
	}
}

// takeTurns takes in turns of sessions: those that ended, and those that are in flight. One that waits for the limit of
// requests in flight is not among them; the judgement of the stage's own records will have it.
func (w *watch) takeTurns(at int64) {
	done := w.known[:0]
	for i := range w.known {
		if w.known[i].Status != loadgen.NotSent {
			done = append(done, w.known[i])
		}
	}
	w.mu.Lock()
	ended := w.ended
	w.ended = nil
	open := slices.Collect(maps.Values(w.turns))
	w.mu.Unlock()
	for _, part := range ended {
		for i := range part {
			w.note(&part[i])
		}
		done = append(done, part...)
	}
	w.known = append(done, open...)
	slices.SortStableFunc(w.known, func(a, b loadgen.Record) int { return cmp.Compare(a.Scheduled, b.Scheduled) })
	w.due = w.due[:0]
	for i := range w.known {
		w.due = append(w.due, w.known[i].Scheduled)
	}
}

// note takes in what a request that ended says of those in flight.
func (w *watch) note(r *loadgen.Record) {
	if r.FirstToken > 0 {
		w.last = *r
	} else {
		w.noToken++
	}
}

// takeArrivals puts what has ended in its place among the arrivals that were due before a moment.
func (w *watch) takeArrivals(start, at int64) {
	for i := len(w.due); ; i++ {
		offset, ok := w.schedule.At(i)
		due := start + int64(offset)
		if !ok || due >= at {
			break
		}
		w.due = append(w.due, due)
	}
	w.known = append(w.known, make([]loadgen.Record, len(w.due)-len(w.known))...)

	w.mu.Lock()
	ended := w.ended
	w.ended = nil
	w.mu.Unlock()
	taken := map[int]int{} // arrivals that were due at once are alike; where the next of them goes
	var later []loadgen.Record
	for _, part := range ended {
		for i := range part {
			r := &part[i]
			first := sort.Search(len(w.due), func(k int) bool { return w.due[k] >= r.Scheduled })
			k := first + taken[first]
			for k < len(w.due) && w.due[k] == r.Scheduled && w.known[k].Status != loadgen.NotSent {
				k++
			}
			if k >= len(w.due) || w.due[k] != r.Scheduled { // due after the moment
				later = append(later, *r)
				continue
			}
			taken[first] = k - first + 1
			w.known[k] = *r
			w.note(r)
		}
	}
	if len(later) > 0 {
		w.mu.Lock()
		w.ended = append(w.ended, later)
		w.mu.Unlock()
	}
}

// estimate is the stage as it stands. Of the requests in flight it is only known how many have no first token; they are
// taken to be those that came last. The rest are given the wait of the request that ended last.
func (w *watch) estimate(start, at int64, withoutToken int) *loadgen.Measured {
	records := make([]loadgen.Record, len(w.known))
	copy(records, w.known)
	open := 0
	for i := range records {
		open += count(records[i].Status == loadgen.NotSent)
	}
	answered := open - max(withoutToken-w.noToken, 0)
	for i := range records {
		r := &records[i]
		if r.Status != loadgen.NotSent {
			continue
		}
		r.Scheduled, r.Sent, r.AskedOutput, r.OutputTokens = w.due[i], w.due[i], w.last.AskedOutput, -1
		r.Status = loadgen.Incomplete
		if answered > 0 {
			answered--
			r.FirstToken = min(r.Scheduled+max(w.last.FirstToken-w.last.Scheduled, 1), at)
			r.LastToken = r.FirstToken
			if o := w.last.FirstOutput; o > 0 && r.Scheduled+o-w.last.Scheduled <= at {
				r.FirstOutput = max(r.Scheduled+o-w.last.Scheduled, r.FirstToken)
			}
		}
	}
	return slo.Snapshot(&loadgen.Measured{Stage: w.stage, Start: start}, records, at)
}

// judge judges the stage that was watched, by its own records.
func (w *watch) judge(s *Stage) slo.StageJudgement {
	w.ended, w.known, w.due, w.turns = nil, nil, nil, nil // an idle connection may hold the run, and with it the watch
	if w.interim != nil {
		return w.interim.judge(s, w.objectives)
	}
	return judge(s, w.objectives, w.confidence)
}
