// Package slo is the objectives: the language they are written in, and the one judge of a stage by them. It is pure: no
// input or output, no clock.
//
//	objective.go        what can be asked: "ttft:p95<250ms", and how it is written
//	parse.go            how it is read
//	observe.go          what each request says about an objective, and the observed value of a stage
//	decide.go           from observations to PASS, FAIL or UNDECIDED, by each statistic
//	stage.go            all objectives of a stage together, its warm-up and its backlog
//	need.go             how much more would decide what is undecided
//	gaps.go             gaps between tokens, which are counted as the stage runs
//	confidence.go       tests and bounds
//	series.go           what the requests of a stage say one by one, for an estimate over several
//	autocorrelation.go  how many independent requests correlated ones are worth
//	steady.go           where the warm-up ends, and whether the backlog grows
//	snapshot.go         a stage as it stood at a moment
//	drift.go            whether two stages at one rate differ
//	gate.go             conditions on the answer: "rate>=10"
package slo

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Metric is what an objective bounds.
type Metric string

// The metrics. Latencies count from the scheduled time (measure, in observe.go). A new metric that is not a time goes
// into Latency and Unit too; one whose bound is a lower one has failed requests at 0, not at infinity.
const (
	TTFT    Metric = "ttft"    // to the first token
	TTFO    Metric = "ttfo"    // to the first token of the answer itself: no reasoning
	ITL     Metric = "itl"     // every gap between two token events is one observation
	TPOT    Metric = "tpot"    // mean gap of one request: (last − first token) / (tokens − 1)
	NTPOT   Metric = "ntpot"   // time to the end, per output token
	E2E     Metric = "e2e"     // to the end
	Errors  Metric = "errors"  // share of requests that failed
	Goodput Metric = "goodput" // share of requests that meet all bounds of the objective

	// SessionE2E is from when a session was due until its last turn was answered; one observation a session.
	SessionE2E Metric = "session_e2e"
)

// Latency says whether the metric is a time; the others are shares.
func (m Metric) Latency() bool { return m != Errors && m != Goodput }

// StatisticKind is how the observations of a stage become one figure.
type StatisticKind string

// The statistics.
const (
	Quantile StatisticKind = "quantile"
	Mean     StatisticKind = "mean"
	Max      StatisticKind = "max"
	Share    StatisticKind = "share" // errors and goodput
)

// Statistic is how the observations of a stage become one figure.
type Statistic struct {
	Kind StatisticKind
	Q    float64 // Quantile: 0 < Q < 1
}

// String writes the statistic as an objective does: "p99.9", "mean".
func (s Statistic) String() string {
	if s.Kind == Quantile {
		return "p" + num.Exact(s.Q*100)
	}
	return string(s.Kind)
}

// Op compares a figure with its bound.
type Op string

// The comparisons.
const (
	Below   Op = "<"
	AtMost  Op = "<="
	Above   Op = ">"
	AtLeast Op = ">="
)

// holds says whether value keeps the bound.
func (op Op) holds(value, bound float64) bool {
	switch op {
	case Below:
		return value < bound
	case AtMost:
		return value <= bound
	case Above:
		return value > bound
	default:
		return value >= bound
	}
}

// RequestBound is one of the bounds that a request has to meet to count as good.
type RequestBound struct {
	Metric Metric // TTFT, TTFO, TPOT, NTPOT or E2E
	Op     Op     // Below or AtMost
	Bound  time.Duration
}

// String writes the bound as an objective does: "ttft<250ms".
func (b RequestBound) String() string { return string(b.Metric) + string(b.Op) + num.Duration(b.Bound) }

// Objective is one bound that a stage has to keep: "ttft:p95<250ms", "errors<1%", "goodput:ttft<250ms,tpot<50ms>=90%".
type Objective struct {
	Metric    Metric
	Statistic Statistic
	Op        Op
	Bound     float64        // latencies: ns; errors and goodput: a share between 0 and 1
	Each      []RequestBound // Goodput: what a good request meets
	Turns     Turns          // of sessions, that it is about; the zero value: all requests
	Class     string         // of a mix, that it is about; "": all requests

	class uint8 // its number in records; see ForClasses

	Text string // as it was written; Objective.String is the canonical form
}

// ForClasses returns objectives that know the classes of a mix, which are numbered from 1. An error names an objective
// whose class is not among them.
func ForClasses(objectives []Objective, classes []string) ([]Objective, error) {
	all := slices.Clone(objectives)
	for i := range all {
		o := &all[i]
		if o.Class == "" {
			continue
		}
		at := slices.Index(classes, o.Class)
		switch {
		case len(classes) == 0:
			return nil, fmt.Errorf("%s: there are no classes", o)
		case at < 0:
			return nil, fmt.Errorf("%s: there is no class %q: they are %s", o, o.Class, strings.Join(classes, ", "))
		}
		o.class = uint8(at + 1)
	}
	return all, nil
}

// about says whether the objective is about a request.
func (o Objective) about(r *loadgen.Record) bool {
	return o.Turns.has(r) && (o.Class == "" || o.class == r.Class)
}

// of writes which requests the objective is about: "{turn>1}", "{class=chat}", "" for all.
func (o Objective) of() string {
	switch {
	case o.Class == "":
		return o.Turns.String()
	case o.Turns == (Turns{}):
		return "{class=" + o.Class + "}"
	}
	return "{class=" + o.Class + "," + strings.TrimPrefix(o.Turns.String(), "{")
}

// Turns are turns of sessions, from one to another, both counted from 1. 0 is no end; the zero value is every request,
// also one that is no turn.
type Turns struct{ First, Last int }

// has says whether a request is among them.
func (t Turns) has(r *loadgen.Record) bool {
	if t == (Turns{}) {
		return true
	}
	turn := int(r.Turn) + 1
	return r.Session > 0 && turn >= t.First && (t.Last == 0 || turn <= t.Last)
}

// String writes the turns as an objective does: "{turn>1}", "" for all.
func (t Turns) String() string {
	switch {
	case t == (Turns{}):
		return ""
	case t.First == t.Last:
		return fmt.Sprintf("{turn=%d}", t.First)
	case t.Last == 0:
		return fmt.Sprintf("{turn>=%d}", t.First)
	}
	return fmt.Sprintf("{turn<=%d}", t.Last)
}

// String returns the canonical form, which ParseObjectives reads again.
func (o Objective) String() string {
	head := string(o.Metric) + o.of()
	switch {
	case o.Metric == Goodput:
		parts := make([]string, len(o.Each))
		for i, b := range o.Each {
			parts[i] = b.String()
		}
		head += ":" + strings.Join(parts, ",")
	case o.Metric.Latency():
		head += ":" + o.Statistic.String()
	}
	return head + string(o.Op) + o.Format(o.Bound)
}

// Name is the objective without its bound: "ttft:p95", "errors".
func (o Objective) Name() string {
	if o.Metric.Latency() {
		return string(o.Metric) + o.of() + ":" + o.Statistic.String()
	}
	return string(o.Metric) + o.of()
}

// Unit is the unit of the objective's figures: "ns" for latencies, else "share".
func (o Objective) Unit() string {
	if o.Metric.Latency() {
		return "ns"
	}
	return "share"
}

// MissLimit is the greatest share of observations that may miss the bound; ok is false for means and maxima, which have
// no such share.
func (o Objective) MissLimit() (share float64, ok bool) {
	switch {
	case o.Statistic.Kind == Quantile:
		return 1 - o.Statistic.Q, true
	case o.Metric == Goodput:
		return 1 - o.Bound, true
	}
	return o.Bound, o.Statistic.Kind == Share
}

// missLimit is MissLimit where it is known that there is one.
func (o Objective) missLimit() float64 {
	share, _ := o.MissLimit()
	return share
}

// MarshalText writes the canonical form.
func (o Objective) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads one objective.
func (o *Objective) UnmarshalText(text []byte) error {
	all, err := ParseObjectives(string(text))
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("%q is not one objective", text)
	}
	*o = all[0]
	return nil
}

// Format writes a figure of this objective with its unit: "182ms", "0.4%".
func (o Objective) Format(v float64) string {
	switch {
	case math.IsNaN(v):
		return "—"
	case math.IsInf(v, 0):
		return "∞"
	case o.Metric.Latency():
		return num.Duration(time.Duration(v))
	}
	return num.Exact(v*100) + "%"
}

// Seen is Format for what was measured: to three digits.
func (o Objective) Seen(v float64) string {
	return o.Format(num.Round(v))
}
