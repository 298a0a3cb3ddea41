package report

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// miss is what limits the rate: the objective that is missed first as the rate rises, and what the engine says of
// itself where it is.
type miss struct {
	objective string  // such as tpot:p95
	value     string  // observed at rate, with its unit; "" where nothing was
	rate      float64 // of the stage that shows it; 0: no stage does
	unit      string  // … such as "req/s"
	cause     string  // what holds the engine up there; "" where the data do not show it
	engine    string  // what it said there: "KV 38 %, none waiting"; "" for nothing
}

// String says it in a line: "tpot:p95, 50.9 ms at 12.4 req/s: the batch is slow (KV 38 %, none waiting)".
func (b *miss) String() string {
	text := b.objective
	if b.value != "" {
		text += ", " + b.value
	}
	if b.rate > 0 {
		text += " at " + num.Rate(b.rate) + " " + b.unit
	}
	if b.cause != "" {
		text += ": " + b.cause
	}
	if b.engine != "" {
		text += " (" + b.engine + ")"
	}
	return text
}

// BreaksFirst says in a line what limits the rate: by the search, or else by the stage with the lowest rate that fails.
// It is empty where nothing was missed.
func (r *Result) BreaksFirst() string {
	name, limit := "", 0.0
	if s := r.Search; s != nil {
		switch s.Finding {
		case sweep.Interval, sweep.Near, sweep.None:
			name = s.Limiting
			if !s.Estimate.IsAbsent() {
				limit = float64(s.Estimate)
			}
		}
	} else if _, fails := r.Bracket(); fails != nil {
		name, limit = firstFailing(fails), fails.Load.Rate
	}
	if name == "" {
		return ""
	}
	b := &miss{objective: name}
	if s := r.missing(name, limit); s != nil {
		b.rate, b.unit = s.Load.Rate, s.RateUnit()
		j := s.objective(name)
		if j != nil {
			b.value = value(j)
		}
		b.explain(s, j, r)
	}
	return b.String()
}

// backlog stands where a name of an objective does, for a stage that only fails since its backlog grows.
const backlog = "a growing backlog"

// firstFailing is the first objective that a stage fails, by its name.
func firstFailing(s *Stage) string {
	for i := range s.Judgement.Objectives {
		if o := &s.Judgement.Objectives[i]; o.Outcome == slo.Fail {
			return o.Objective.Name()
		}
	}
	return backlog
}

// objective is the judgement of the objective of this name: of several, the one that was missed.
func (s *Stage) objective(name string) *slo.Judgement {
	var found *slo.Judgement
	for i := range s.Judgement.Objectives {
		o := &s.Judgement.Objectives[i]
		if o.Objective.Name() == name && (found == nil || found.Holds && !o.Holds) {
			found = o
		}
	}
	return found
}

// missing is the stage that shows how an objective is missed: the nearest one above a rate that misses it, else the
// lowest that does; nil for none.
func (r *Result) missing(name string, limit float64) *Stage {
	var nearest, lowest *Stage
	for i := range r.Stages {
		s := &r.Stages[i]
		j := s.objective(name)
		misses := j != nil && !j.Holds || name == backlog && s.Judgement.Outcome == slo.Fail
		if !s.Load.Steady() || s.Judgement.ClientAtFault || !misses {
			continue
		}
		if s.Load.Rate >= limit && (nearest == nil || s.Load.Rate < nearest.Load.Rate) {
			nearest = s
		}
		if lowest == nil || s.Load.Rate < lowest.Load.Rate {
			lowest = s
		}
	}
	return cmp.Or(nearest, lowest)
}

// value is what was observed of an objective, with a space before its unit.
func value(j *slo.Judgement) string {
	v := float64(j.Value)
	switch {
	case math.IsNaN(v):
		return ""
	case math.IsInf(v, 0):
		return "failed requests"
	}
	text := j.Objective.Seen(v)
	at := strings.LastIndexAny(text, "0123456789") + 1
	return text[:at] + " " + text[at:]
}

// What of the engine's figures counts as full: the cache, and the sequences that may run at once.
const (
	fullCache   = 0.95
	fullRunning = 0.98
)

// fullest is the one of several engines that is full or has the longest queue: its name, what it said and what is known
// of it. Where none is full and none has a queue, it is all of them together, without a name.
func (s *Stage) fullest(r *Result) (name string, w *enginemetrics.Window, info *enginemetrics.Info) {
	w, info = s.Engine, r.Engine
	if len(s.Engines) < 2 {
		return "", w, info
	}
	full := func(w *enginemetrics.Window) bool { return w.KVUsage.Max > fullCache || w.Preemptions > 0 }
	longest := num.Value(1)
	info = nil
	for _, e := range s.Engines {
		switch of := e.Metrics; {
		case full(of):
			return e.Name, of, r.info(e.Name)
		case of.Waiting.Mean >= longest:
			name, w, info, longest = e.Name, of, r.info(e.Name), of.Waiting.Mean
		}
	}
	return name, w, info
}

// explain says what the engine said during a stage, and what that shows.
func (b *miss) explain(s *Stage, j *slo.Judgement, r *Result) {
	if j != nil && j.Objective.Metric == slo.Errors && len(s.Errors) > 0 {
		b.cause = cmp.Or(s.Errors[0].Text, s.Errors[0].Kind)
	}
	name, w, info := s.fullest(r)
	if w == nil {
		return
	}
	of, whose := "", "the engine's"
	if name != "" {
		of, whose = " of "+name, name+"'s"
	}
	waiting, most := float64(w.Waiting.Mean), float64(w.Waiting.Max)
	running, kv, preemptions := float64(w.Running.Max), float64(w.KVUsage.Max), float64(w.Preemptions)
	seats := info.MaxRunning()
	var said []string
	say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	if !math.IsNaN(kv) {
		say("KV %.0f %%", 100*kv)
	}
	switch {
	case math.IsNaN(most):
	case most == 0:
		say("none waiting")
	case waiting < 1:
		say("at most %.0f waiting", most)
	default:
		say("%.0f waiting", waiting)
	}
	if preemptions > 0 {
		say("%s preemptions", num.Thousands(int(preemptions)))
	}
	if running > 0 && seats > 0 {
		say("%.0f of %s running", running, num.Thousands(seats))
	}
	b.engine = strings.Join(said, ", ")
	if name != "" && b.engine != "" {
		b.engine = name + ": " + b.engine
	}
	queue := waiting >= 1
	switch {
	case b.cause != "":
	case kv > fullCache || preemptions > 0:
		b.cause = "the KV cache" + of + " is full"
	case queue && seats > 0 && running >= fullRunning*float64(seats):
		b.cause = fmt.Sprintf("requests wait for one of %s sequences%s", num.Thousands(seats), of)
	case queue:
		b.cause = "requests wait in " + whose + " queue"
	case j == nil || math.IsNaN(most):
	case j.Objective.Metric == slo.TPOT || j.Objective.Metric == slo.ITL || j.Objective.Metric == slo.NTPOT:
		b.cause = "the batch is slow: decode bound"
	case j.Objective.Metric == slo.TTFT:
		b.cause = "prefill is slow"
	}
}
