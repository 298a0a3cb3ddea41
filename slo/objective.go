// Package slo is the objectives: the language they are written in, and the one judge of a stage by them. It is pure: no
// input or output, no clock.
//
//	objective.go        what can be asked: "ttft:p95<250ms"; how it is read and written
//	observe.go          what each request says about an objective, and the observed value of a stage
//	decide.go           from observations to PASS, FAIL or UNDECIDED, by each statistic
//	stage.go            all objectives of a stage together, its warm-up and its backlog
//	need.go             how much more would decide what is undecided
//	gaps.go             gaps between tokens, which are counted as the stage runs
//	confidence.go       tests and bounds, and the moments at which a stage under way is judged
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
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/num"
)

// Metric is what an objective bounds.
type Metric string

// The metrics. Latencies count from the scheduled time (measure, in observe.go). A new metric that is not a time goes
// into Latency and Unit too; one whose bound is a lower one has failed requests at 0, not at infinity.
const (
	TTFT    Metric = "ttft"    // to the first token
	ITL     Metric = "itl"     // every gap between two token events is one observation
	TPOT    Metric = "tpot"    // mean gap of one request: (last − first token) / (tokens − 1)
	NTPOT   Metric = "ntpot"   // time to the end, per output token
	E2E     Metric = "e2e"     // to the end
	Errors  Metric = "errors"  // share of requests that failed
	Goodput Metric = "goodput" // share of requests that meet all bounds of the objective
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
	Metric Metric // TTFT, TPOT, NTPOT or E2E
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

	Text string // as it was written; Objective.String is the canonical form
}

// String returns the canonical form, which ParseObjectives reads again.
func (o Objective) String() string {
	head := string(o.Metric)
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
		return string(o.Metric) + ":" + o.Statistic.String()
	}
	return string(o.Metric)
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

// ParseError says where and why a text is not a list of objectives.
type ParseError struct {
	Input   string
	Offset  int // in bytes
	Problem string
}

// Error points at the character.
func (e *ParseError) Error() string {
	column := utf8.RuneCountInString(e.Input[:e.Offset])
	line := strings.Map(func(r rune) rune { // so that the caret stands below its character
		if r < ' ' {
			return ' '
		}
		return r
	}, e.Input)
	return fmt.Sprintf("objectives: %s\n  %s\n  %s^", e.Problem, line, strings.Repeat(" ", column))
}

// preset is a named list of objectives.
type preset struct {
	Name       string
	Objectives string
	Source     string // whose objectives these are
}

const (
	guideLLMSource = "GuideLLM's guide to service level objectives (docs/guides/service_level_objectives.md). " +
		"Its ITL is the mean gap of one request, which is TPOT here"
	mlperfSource = "MLPerf Inference, loadgen/mlperf.conf: latency constraints of the server scenario, " +
		"at the 99th percentile"
)

// presets returns the presets that ParseObjectives knows by name.
func presets() []preset {
	return []preset{
		{"chat", "ttft:p99<=200ms,tpot:p99<=50ms", guideLLMSource + "; “Chat Applications”"},
		{"rag", "ttft:p99<=300ms,tpot:p99<=100ms,e2e:p99<=3s", guideLLMSource + "; “Retrieval-Augmented Generation”"},
		{"code", "ttft:p99<=500ms,tpot:p99<=150ms", guideLLMSource + "; “Code Generation”"},
		{"mlperf-llama2-70b-server", "ttft:p99<=2s,tpot:p99<=200ms", mlperfSource + "; llama2-70b"},
		{"mlperf-llama2-70b-interactive", "ttft:p99<=450ms,tpot:p99<=40ms", mlperfSource + "; llama2-70b-interactive"},
	}
}

// ParseObjectives reads objectives and names of presets, separated by commas or spaces. Identical ones count once. A
// bare "goodput>=90%" takes its bounds from the latency objectives beside it. An error is a *ParseError.
func ParseObjectives(s string) ([]Objective, error) {
	p := &objectiveParser{in: s}
	var all []Objective
	for p.skip(" \t\n\r,"); p.at < len(p.in); p.skip(" \t\n\r,") {
		start := p.at
		several, err := p.item()
		if err != nil {
			return nil, err
		}
		for i := range several {
			if several[i].Text == "" {
				several[i].Text = s[start:p.at]
			}
		}
		all = append(all, several...)
		if p.at < len(p.in) && !strings.ContainsRune(" \t\n\r,", rune(p.in[p.at])) {
			return nil, p.fail(p.at, "separate objectives by commas or spaces")
		}
	}
	if err := p.completeGoodput(all); err != nil {
		return nil, err
	}
	return distinct(all), nil
}

// distinct keeps the first of objectives that say the same.
func distinct(all []Objective) []Objective {
	var kept []Objective
	for _, o := range all {
		same := func(k Objective) bool { return k.String() == o.String() }
		if !slices.ContainsFunc(kept, same) {
			kept = append(kept, o)
		}
	}
	return kept
}

type objectiveParser struct {
	in   string
	at   int
	bare int // offset of a goodput without bounds
}

func (p *objectiveParser) fail(at int, format string, args ...any) error {
	return &ParseError{Input: p.in, Offset: min(at, len(p.in)), Problem: fmt.Sprintf(format, args...)}
}

func (p *objectiveParser) skip(chars string) {
	for p.at < len(p.in) && strings.IndexByte(chars, p.in[p.at]) >= 0 {
		p.at++
	}
}

// take moves past the characters that belong and returns them.
func (p *objectiveParser) take(belongs func(c byte) bool) string {
	start := p.at
	for p.at < len(p.in) && belongs(p.in[p.at]) {
		p.at++
	}
	return p.in[start:p.at]
}

func isNameChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

func isDigitChar(c byte) bool { return c >= '0' && c <= '9' || c == '.' }

// item reads one objective, or one preset.
func (p *objectiveParser) item() ([]Objective, error) {
	start := p.at
	name := p.take(isNameChar)
	o := Objective{Metric: Metric(strings.ToLower(name))}
	switch o.Metric {
	case TTFT, ITL, TPOT, NTPOT, E2E:
		return p.latencyObjective(o)
	case Errors:
		o.Statistic.Kind = Share
		return p.shareObjective(o, "errors<1%", Below, AtMost)
	case Goodput:
		return p.goodputObjective(o)
	}
	for _, preset := range presets() {
		if preset.Name == strings.ToLower(name) {
			os, err := ParseObjectives(preset.Objectives)
			for i := range os {
				os[i].Text = preset.Name
			}
			return os, err
		}
	}
	var names []string
	for _, preset := range presets() {
		names = append(names, preset.Name)
	}
	return nil, p.fail(start, "an objective begins with ttft, itl, tpot, ntpot, e2e, errors or goodput; presets are %s",
		strings.Join(names, ", "))
}

// latencyObjective reads ":p95<250ms".
func (p *objectiveParser) latencyObjective(o Objective) ([]Objective, error) {
	if p.at >= len(p.in) || p.in[p.at] != ':' {
		return nil, p.fail(p.at, "which statistic of %s? Write for example %s:p95<250ms", o.Metric, o.Metric)
	}
	p.at++
	start := p.at
	name := p.take(isNameChar)
	switch lower := strings.ToLower(name); {
	case lower == "mean":
		o.Statistic.Kind = Mean
	case lower == "max":
		o.Statistic.Kind = Max
	case lower == "median":
		o.Statistic = Statistic{Quantile, 0.5}
	case strings.HasPrefix(lower, "p"):
		q, err := strconv.ParseFloat(lower[1:], 64)
		if err != nil || !(q > 0 && q < 100) || strings.Trim(lower[1:], "0123456789.") != "" {
			return nil, p.fail(start,
				"a percentile lies between p0 and p100: p50, p95, p99.9; the greatest value is max")
		}
		o.Statistic = Statistic{Quantile, percent(q)}
	default:
		return nil, p.fail(start, "a statistic is one of mean, median, max, p50, p95, p99, p99.9 …")
	}
	bound, op, err := p.latencyBound(o.Metric)
	o.Bound, o.Op = float64(bound), op
	return []Objective{o}, err
}

// latencyBound reads "<250ms".
func (p *objectiveParser) latencyBound(of Metric) (time.Duration, Op, error) {
	op, err := p.op(fmt.Sprintf("%s has an upper bound: use < or <=", of), Below, AtMost)
	if err != nil {
		return 0, "", err
	}
	start := p.at
	v, err := p.number()
	if err != nil {
		return 0, "", err
	}
	unitAt := p.at
	unit := p.take(func(c byte) bool { return isNameChar(c) || c == '%' || c >= utf8.RuneSelf })
	scale, ok := map[string]float64{"s": 1e9, "ms": 1e6, "us": 1e3, "µs": 1e3, "μs": 1e3}[strings.ToLower(unit)]
	if !ok {
		return 0, "", p.fail(unitAt, "a time needs one of the units ms, s, us")
	}
	ns := math.Round(v * scale)
	if ns < 1 || ns > float64(24*time.Hour) {
		return 0, "", p.fail(start, "a bound lies above 0 and below a day")
	}
	return time.Duration(ns), op, nil
}

// shareObjective reads "<1%".
func (p *objectiveParser) shareObjective(o Objective, example string, ops ...Op) ([]Objective, error) {
	op, err := p.op(fmt.Sprintf("write for example %s", example), ops...)
	if err != nil {
		return nil, err
	}
	start := p.at
	v, err := p.number()
	if err != nil {
		return nil, err
	}
	if p.at >= len(p.in) || p.in[p.at] != '%' {
		return nil, p.fail(p.at, "a share is written in %%, for example %s", example)
	}
	p.at++
	if v > 100 || v == 100 && op == Above || v == 0 && op == Below {
		return nil, p.fail(start, "no share can be %s %s%%", op, num.Exact(v))
	}
	o.Op, o.Bound = op, percent(v)
	return []Objective{o}, nil
}

// goodputObjective reads ":ttft<250ms,tpot<50ms >=90%".
func (p *objectiveParser) goodputObjective(o Objective) ([]Objective, error) {
	o.Statistic.Kind = Share
	const example = "goodput:ttft<250ms,tpot<50ms>=90%"
	if p.at >= len(p.in) || p.in[p.at] != ':' {
		p.bare = p.at
		return p.shareObjective(o, example, AtLeast, Above)
	}
	p.at++
	for {
		p.skip(" \t")
		start := p.at
		metric := Metric(strings.ToLower(p.take(isNameChar)))
		switch metric {
		case TTFT, TPOT, NTPOT, E2E:
		case ITL:
			return nil, p.fail(start,
				"goodput counts requests, and a request has many gaps: bound their mean with tpot")
		default:
			return nil, p.fail(start, "goodput takes bounds on ttft, tpot, ntpot and e2e, for example %s", example)
		}
		if p.at < len(p.in) && p.in[p.at] == ':' {
			return nil, p.fail(p.at, "a bound inside goodput is on each request, without a statistic: %s", example)
		}
		bound, op, err := p.latencyBound(metric)
		if err != nil {
			return nil, err
		}
		o.Each = append(o.Each, RequestBound{metric, op, bound})
		p.skip(" \t")
		if p.at >= len(p.in) || p.in[p.at] != ',' {
			return p.shareObjective(o, example, AtLeast, Above)
		}
		p.at++
	}
}

// op reads a comparison, which must be one of those allowed.
func (p *objectiveParser) op(hint string, allowed ...Op) (Op, error) {
	p.skip(" \t")
	start := p.at
	op := Op(p.take(func(c byte) bool { return c == '<' || c == '>' || c == '=' }))
	if !slices.Contains(allowed, op) {
		return "", p.fail(start, "%s", hint)
	}
	p.skip(" \t")
	return op, nil
}

// number reads digits with an optional point.
func (p *objectiveParser) number() (float64, error) {
	start := p.at
	v, err := strconv.ParseFloat(p.take(isDigitChar), 64)
	if err != nil || math.IsInf(v, 0) {
		return 0, p.fail(start, "a number is wanted here, such as 250 or 1.5")
	}
	return v, nil
}

// percent turns percent into a share, such that 99.9 is the same float as the constant 0.999.
func percent(v float64) float64 {
	share, _ := strconv.ParseFloat(strconv.FormatFloat(v/100, 'g', 14, 64), 64)
	return share
}

// completeGoodput gives a goodput without bounds those of the latency objectives.
func (p *objectiveParser) completeGoodput(all []Objective) error {
	var each []RequestBound
	for _, o := range all {
		if o.Metric.Latency() && o.Metric != ITL {
			each = append(each, RequestBound{o.Metric, o.Op, time.Duration(o.Bound)})
		}
	}
	for i := range all {
		if all[i].Metric != Goodput || len(all[i].Each) > 0 {
			continue
		}
		if len(each) == 0 {
			return p.fail(p.bare, "goodput needs bounds for each request: goodput:ttft<250ms,tpot<50ms>=90%%")
		}
		all[i].Each = each
	}
	return nil
}
