package slo

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/internal/layout"
	"github.com/openloop/openloop/internal/num"
)

// ParseError says where and why a text is not a list of objectives.
type ParseError struct {
	Input   string
	Offset  int // in bytes
	Problem string
}

// Error points at the character.
func (e *ParseError) Error() string {
	return fmt.Sprintf("objectives: %s\n%s", e.Problem, layout.PointAt(e.Input, e.Offset))
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
	if p.at < len(p.in) && p.in[p.at] == '{' {
		at := p.at
		if err := p.requests(&o); err != nil {
			return nil, err
		}
		switch {
		case o.Metric == ITL:
			return nil, p.fail(at, "itl is over all gaps of a stage: bound tpot of some of its requests")
		case o.Turns != (Turns{}) && (o.Metric == SessionE2E || o.Metric == Goodput):
			return nil, p.fail(at, "%s can't be asked of single turns", o.Metric)
		}
	}
	switch o.Metric {
	case TTFT, TTFO, ITL, TPOT, NTPOT, E2E, SessionE2E:
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
	return nil, p.fail(start,
		"an objective begins with ttft, ttfo, itl, tpot, ntpot, e2e, session_e2e, errors or goodput; presets are %s",
		strings.Join(names, ", "))
}

// requests reads which requests an objective is about: "{turn>1}", "{class=chat}", "{class=chat,turn>1}".
func (p *objectiveParser) requests(o *Objective) error {
	const form = "requests are told apart by {turn=1}, {turn>1}, {turn>=2}, {turn<4}, {turn<=3}, {class=NAME}, or " +
		"both: {class=NAME,turn>1}"
	start := p.at
	end := strings.IndexByte(p.in[start:], '}')
	if end < 0 {
		return p.fail(start, form)
	}
	p.at = start + end + 1
	for part := range strings.SplitSeq(p.in[start+1:start+end], ",") {
		part = strings.TrimSpace(part)
		class, isClass := strings.CutPrefix(part, "class=")
		turn, isTurn := strings.CutPrefix(part, "turn")
		switch {
		case isClass && o.Class == "" && class != "" && IsClassName(class):
			o.Class = class
		case isTurn && o.Turns == (Turns{}):
			var err error
			if o.Turns, err = p.turns(turn, start); err != nil {
				return err
			}
		default:
			return p.fail(start, form)
		}
	}
	return nil
}

// IsClassName says whether a text can be the name of a class: letters, digits, - _ and . alone.
func IsClassName(s string) bool {
	for i := range len(s) {
		if !isNameChar(s[i]) {
			return false
		}
	}
	return s != ""
}

// turns reads ">1".
func (p *objectiveParser) turns(text string, start int) (Turns, error) {
	const form = "turns are {turn=1}, {turn>1}, {turn>=2}, {turn<4} or {turn<=3}"
	number := strings.TrimLeft(text, "<>=")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > math.MaxInt16 {
		return Turns{}, p.fail(start, form)
	}
	switch strings.TrimSuffix(text, number) {
	case "=":
		return Turns{n, n}, nil
	case ">":
		return Turns{First: n + 1}, nil
	case ">=":
		return Turns{First: n}, nil
	case "<":
		if n > 1 {
			return Turns{1, n - 1}, nil
		}
	case "<=":
		return Turns{1, n}, nil
	}
	return Turns{}, p.fail(start, form)
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
		case TTFT, TTFO, TPOT, NTPOT, E2E:
		case ITL:
			return nil, p.fail(start,
				"goodput counts requests, and a request has many gaps: bound their mean with tpot")
		default:
			return nil, p.fail(start,
				"goodput takes bounds on ttft, ttfo, tpot, ntpot and e2e, for example %s", example)
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
func percent(v float64) float64 { return num.Digits(v/100, 14) }

// completeGoodput gives a goodput without bounds those of the latency objectives.
func (p *objectiveParser) completeGoodput(all []Objective) error {
	var each []RequestBound
	for _, o := range all {
		if o.Metric.Latency() && o.Metric != ITL && o.Metric != SessionE2E && o.of() == "" {
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
