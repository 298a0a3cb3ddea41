package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/slo"
)

// metric is a latency of a stage that is drawn.
type metric struct {
	of   slo.Metric
	name string
}

var (
	ttft = metric{slo.TTFT, "TTFT"}
	tpot = metric{slo.TPOT, "TPOT"}
)

var (
	p50 = slo.Statistic{Kind: slo.Quantile, Q: 0.5}
	p95 = slo.Statistic{Kind: slo.Quantile, Q: 0.95}
	p99 = slo.Statistic{Kind: slo.Quantile, Q: 0.99}
)

// objectiveOn is the objective that bounds a latency, nil for none.
func objectiveOn(r *report.Result, of slo.Metric) *slo.Objective {
	return report.ShownObjective(r.Asked.Objectives, of)
}

// counts is the statistic of a latency that the reader wants to know first: the one that an objective bounds.
func counts(r *report.Result, of slo.Metric) slo.Statistic {
	key, _ := report.ShownStatistic(r.Asked.Objectives, of)
	return key
}

// rateOf is the rate at which a stage stands in a chart: as it was asked for, else as requests were done.
func rateOf(s *report.Stage) float64 {
	switch {
	case s.Load.Kind.Open() && s.Load.Rate > 0:
		return s.Load.Rate
	case s.Load.Kind.Open():
		return s.Rates.Sent
	}
	return s.Rates.Done
}

// drawn are the stages of a result that charts show, by their rate: the open loops, or where there are none, the
// closed ones.
func drawn(r *report.Result) []int {
	var opens, closed []int
	for i := range r.Stages {
		if r.Stages[i].Load.Kind.Open() {
			opens = append(opens, i)
		} else {
			closed = append(closed, i)
		}
	}
	all := opens
	if len(all) == 0 {
		all = closed
	}
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(rateOf(&r.Stages[a]), rateOf(&r.Stages[b])) })
	return all
}

// curve joins the stages of a result, those at nearly one rate by their mean: a search runs many close to its answer.
func curve(r *report.Result, stages []int, at func(*report.Stage) point) []point {
	const near = 0.02
	var all []point
	var sum point
	var n, first float64
	flush := func() {
		if n > 0 {
			all = append(all, point{sum.x / n, sum.y / n})
		}
		sum, n = point{}, 0
	}
	for _, i := range stages {
		s := &r.Stages[i]
		if rateOf(s) > first*(1+near) {
			flush()
			first = rateOf(s)
		}
		if v := at(s); !math.IsNaN(v.x) && !math.IsNaN(v.y) && !math.IsInf(v.y, 0) {
			sum, n = point{sum.x + v.x, sum.y + v.y}, n+1
		}
	}
	flush()
	return all
}

// marked is the mark of a stage.
func marked(r *report.Result, i int, at point, what string) mark {
	s := &r.Stages[i]
	m := mark{point: at, shape: dot, colour: main, stage: i}
	switch {
	case !s.Judged():
		if !s.Load.Kind.Open() {
			m.shape = diamond
		}
	case s.Judgement.Outcome == slo.Pass:
		m.shape, m.colour = disc, pass
	case s.Judgement.Outcome == slo.Fail:
		m.shape, m.colour = cross, fail
	default:
		m.shape, m.colour = circle, open
	}
	m.ringed = s.Client.Level == audit.Invalid || s.Client.Level == audit.Suspect
	m.tip = s.Name + ": " + what
	if s.Judged() {
		m.tip += ", " + string(s.Judgement.Outcome)
	}
	if m.ringed {
		m.tip += ", client " + string(s.Client.Level)
	}
	return m
}

func milliseconds(v float64) string { return num.Three(v) + " ms" }

const (
	chartWidth  = 460
	chartHeight = 290
)

// latencyChart is a latency against the rate.
func latencyChart(r, base *report.Result, a *answer, of metric) *chart {
	c := &chart{width: chartWidth, height: chartHeight}
	c.x.label, c.y.label = string(r.Arriving())+"/s", of.name+", ms"
	stages := drawn(r)
	if len(stages) > 0 && !r.Stages[stages[0]].Load.Kind.Open() {
		c.x.label = "requests/s done (closed loop)"
	}
	key, objective := counts(r, of.of), objectiveOn(r, of.of)
	lines := []struct {
		of     slo.Statistic
		colour colour
		width  float64
		dash   []float64
	}{{p50, low, 1.5, []float64{1, 3}}, {key, main, 2.4, nil}, {p99, high, 1.5, []float64{6, 3}}}
	if key == p50 || key == p99 { // the p95 takes the place of what is drawn already
		for i := range lines {
			if i != 1 && lines[i].of == key {
				lines[i].of = p95
			}
		}
	}
	var xs, ys []float64
	if base != nil {
		l := line{name: "base", colour: ghost, width: 2, dash: []float64{3, 3}}
		l.curve = curve(base, drawn(base), func(s *report.Stage) point {
			return point{rateOf(s), float64(s.At(of.of, key))}
		})
		for _, v := range l.curve {
			xs, ys = append(xs, v.x), append(ys, v.y)
		}
		c.lines = append(c.lines, l)
	}
	for _, l := range lines {
		one := line{name: l.of.String(), colour: l.colour, width: l.width, dash: l.dash}
		value := func(s *report.Stage) point { return point{rateOf(s), float64(s.At(of.of, l.of))} }
		one.curve = curve(r, stages, value)
		for _, i := range stages {
			v := value(&r.Stages[i])
			if l.of == key {
				one.marks = append(one.marks, marked(r, i, v,
					fmt.Sprintf("%s %s %s at %s %s", of.name, key, milliseconds(v.y), num.Rate(v.x),
						r.Stages[i].RateUnit())))
			}
			xs, ys = append(xs, v.x), append(ys, v.y)
		}
		c.lines = append(c.lines, one)
	}
	if objective != nil {
		bound := objective.Bound / 1e6
		c.rules = append(c.rules, rule{
			at: bound, text: fmt.Sprintf("SLO: %s %s %s", key, objective.Op, num.Exact(bound)+" ms"), colour: limit,
		})
		ys = append(ys, bound)
	}
	c.y.log = spread(ys)
	c.x.fit(append(xs, c.addRates(r, a)...))
	c.y.fit(ys)
	return c
}

// addRates adds to a chart over the rate what the result says of rates: the saturation, and where the max rate lies. It
// returns those that are to be in sight.
func (c *chart) addRates(r *report.Result, a *answer) (rates []float64) {
	if p := r.Probes; p != nil && p.SaturationRate > 0 {
		c.rules = append(c.rules, rule{at: p.SaturationRate, vertical: true, text: "saturation", colour: quiet})
		rates = append(rates, p.SaturationRate)
	}
	c.bands = a.bands()
	for _, b := range c.bands {
		if !b.open {
			rates = append(rates, b.to)
		}
	}
	return rates
}

// outputOf is the rate of a stage's output tokens, or of all tokens where the file does not tell them apart.
func outputOf(s *report.Stage) float64 {
	if s.Rates.Output > 0 {
		return s.Rates.Output
	}
	return s.Rates.Tokens
}

// throughputChart is the rate of output tokens against the two latencies.
func throughputChart(r, base *report.Result) *chart {
	c := &chart{width: chartWidth, height: chartHeight}
	c.x.label, c.y.label = "latency, ms", "output tokens/s"
	var xs, ys []float64
	take := func(l line) {
		for _, v := range l.curve {
			xs, ys = append(xs, v.x), append(ys, v.y)
		}
		for _, m := range l.marks {
			xs, ys = append(xs, m.x), append(ys, m.y)
		}
		c.lines = append(c.lines, l)
	}
	for _, of := range []struct {
		metric
		colour colour
	}{{ttft, main}, {tpot, second}} {
		key := counts(r, of.of)
		value := func(s *report.Stage) point { return point{float64(s.At(of.of, key)), outputOf(s)} }
		if base != nil {
			take(line{
				name: "base", colour: ghost, width: 2, dash: []float64{3, 3},
				curve: curve(base, drawn(base), value),
			})
		}
		// TPOT is the shorter of the two: its curve ends to the left of the other's.
		l := line{name: of.name + " " + key.String(), colour: of.colour, width: 2.2, before: of.name == tpot.name}
		l.curve = curve(r, drawn(r), value)
		for _, i := range drawn(r) {
			v := value(&r.Stages[i])
			l.marks = append(l.marks, marked(r, i, v, fmt.Sprintf("%s output tokens/s, %s %s %s", num.Three(v.y),
				of.name, key, milliseconds(v.x))))
		}
		take(l)
		if o := objectiveOn(r, of.of); o != nil {
			bound := o.Bound / 1e6
			c.rules = append(c.rules, rule{at: bound, vertical: true, text: "SLO " + of.name, colour: of.colour})
			xs = append(xs, bound)
		}
	}
	c.x.log = spread(xs)
	c.x.fit(xs)
	c.y.fit(ys)
	return c
}

// percentileChart shows how the latencies of one stage are distributed, on an axis of nines.
func percentileChart(s *report.Stage) *chart {
	c := &chart{width: chartWidth, height: chartHeight}
	c.x.label, c.y.label = "percentile (the last point is the maximum)", "ms"
	nines := func(q float64) float64 { return -math.Log10(1 - q) }
	var ys []float64
	furthest := nines(0.99)
	for _, of := range []struct {
		name   string
		colour colour
		dash   []float64
		l      *report.Latency
	}{
		{"TTFT", main, nil, &s.TTFT},
		{"TPOT", second, []float64{6, 3}, &s.TPOT},
		{"ITL", third, []float64{1, 3}, &s.ITL},
	} {
		l := line{name: of.name, colour: of.colour, width: 2.2, dash: of.dash}
		most := math.Log10(float64(max(of.l.Count, 1)))
		for _, at := range []struct {
			q float64
			v num.Value
		}{{0.5, of.l.P50}, {0.9, of.l.P90}, {0.95, of.l.P95}, {0.99, of.l.P99}, {0.999, of.l.P999}} {
			// A percentile of fewer values than it takes is the maximum under another name.
			if x := nines(at.q); x < most && !at.v.IsAbsent() {
				l.curve = append(l.curve, point{x, float64(at.v)})
			}
		}
		if !of.l.Max.IsAbsent() && of.l.Count > 1 {
			l.curve = append(l.curve, point{most, float64(of.l.Max)})
		}
		for _, v := range l.curve {
			ys, furthest = append(ys, v.y), max(furthest, v.x)
			q := num.Exact(100 * (1 - math.Pow(10, -v.x)))
			tip := fmt.Sprintf("%s p%s: %s", of.name, q, milliseconds(v.y))
			if v.x == most {
				tip = fmt.Sprintf("%s, the greatest of %s: %s", of.name, num.Thousands(of.l.Count), milliseconds(v.y))
			}
			l.marks = append(l.marks, mark{point: v, colour: of.colour, tip: tip, stage: -1})
		}
		c.lines = append(c.lines, l)
	}
	for _, t := range []tick{
		{nines(0.5), "50"}, {nines(0.9), "90"}, {nines(0.99), "99"}, {nines(0.999), "99.9"}, {nines(0.9999), "99.99"},
		{nines(0.99999), "99.999"},
	} {
		if t.at <= furthest*1.001 {
			c.x.ticks = append(c.x.ticks, t)
		}
	}
	c.x.from, c.x.to = 0.2, furthest+0.1
	c.y.log = spread(ys)
	c.y.fit(ys)
	return c
}

// points is how many values a chart shows.
func (c *chart) points() int {
	n := 0
	for i := range c.lines {
		for _, v := range c.lines[i].curve {
			if c.x.shows(v.x) && c.y.shows(v.y) {
				n++
			}
		}
	}
	return n
}
