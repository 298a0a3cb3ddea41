package compare

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/estimate"
	"github.com/openloop/openloop/slo"
)

// Keys of metrics that are not objectives'.
const (
	keyRate   = "rate"
	keyOutput = "tok/s"
	keyErrors = "errors"
	keyITL99  = "itl:p99"
)

// metric is what a line shows.
type metric struct {
	key  string
	name string
	unit string
	of   slo.Metric
	stat slo.Statistic
	each []slo.RequestBound // goodput
}

// latencyMetric is a statistic of a latency.
func latencyMetric(of slo.Metric, stat slo.Statistic) metric {
	return metric{
		key: string(of) + ":" + stat.String(), name: strings.ToUpper(string(of)) + " " + stat.String(), unit: "ms",
		of: of, stat: stat,
	}
}

// metricsOf are the lines of every stage: the same ones always, then what the objectives and the conditions ask for
// beside them.
func metricsOf(results []*report.Result, conditions []Condition) []metric {
	q := func(of slo.Metric, q float64) metric {
		return latencyMetric(of, slo.Statistic{Kind: slo.Quantile, Q: q})
	}
	all := []metric{q(slo.TTFT, 0.5), q(slo.TTFT, 0.95), q(slo.TTFT, 0.99), q(slo.TPOT, 0.5), q(slo.TPOT, 0.95)}
	add := func(m metric) {
		if !slices.ContainsFunc(all, func(have metric) bool { return have.key == m.key }) {
			all = append(all, m)
		}
	}
	for _, r := range results {
		for _, o := range r.Asked.Objectives {
			switch {
			case o.Metric == slo.Goodput:
				add(metric{key: "goodput", name: "goodput", unit: "share", of: slo.Goodput, each: o.Each})
			case o.Metric.Latency() && o.Metric != slo.ITL && o.Statistic.Kind != slo.Max:
				add(latencyMetric(o.Metric, o.Statistic))
			}
		}
	}
	for _, f := range conditions {
		if f.latency != "" {
			add(latencyMetric(f.latency, f.stat))
		}
	}
	return append(all,
		metric{key: keyITL99, name: "ITL p99", unit: "ms"},
		metric{key: keyOutput, name: "output", unit: "tok/s"},
		metric{key: keyErrors, name: "errors", unit: "share"})
}

// stage makes the lines of a group.
func (c *Comparison) stage(g group, metrics []metric) Stage {
	s := Stage{Title: g.title()}
	var others []string
	for k, v := range g.views {
		if v == nil {
			s.Names = append(s.Names, "")
			continue
		}
		s.Names = append(s.Names, v.stage.Name)
		if k > 0 && g.near {
			others = append(others, num.Rate(v.stage.Load.Rate))
		}
	}
	if others != nil {
		s.Note = "the nearest rate: " + strings.Join(others, ", ")
	}
	for _, v := range g.views[1:] {
		s.Paired = append(s.Paired, v != nil && sameArrivals(g.views[0], v))
	}
	for _, m := range metrics {
		line := Line{Metric: m.key, Name: m.name, Unit: m.unit,
			higherIsBetter: m.key == keyOutput || m.of == slo.Goodput}
		for _, v := range g.views {
			line.Figures = append(line.Figures, m.figure(v))
		}
		if !slices.ContainsFunc(line.Figures, func(f Figure) bool { return !f.Value.IsAbsent() }) {
			continue
		}
		for k := 1; k < len(g.views); k++ {
			line.Changes = append(line.Changes, line.change(k, s.Paired[k-1], c.Noise, m.why(g.views[0], g.views[k])))
		}
		s.Lines = append(s.Lines, line)
	}
	s.Why = commonReason(s.Lines)
	return s
}

// commonReason is the reason for which no change of any line was tested, "" where one was, or the reasons differ.
func commonReason(lines []Line) string {
	reason := ""
	for i := range lines {
		for _, d := range lines[i].Changes {
			switch {
			case lines[i].Metric == keyITL99:
			case d.Verdict != NotTested || reason != "" && d.Why != reason:
				return ""
			default:
				reason = d.Why
			}
		}
	}
	return reason
}

// why says why a metric of two stages can't be tested, "" where it can.
func (m *metric) why(a, b *view) string {
	switch {
	case b == nil:
		return "no such stage"
	case a.stage.Client.Level == audit.Invalid || b.stage.Client.Level == audit.Invalid:
		return "client invalid"
	case m.key == keyITL99:
		return "histogram only"
	case a.all == nil || b.all == nil:
		return "requests not in the report"
	}
	return ""
}

// figure is the metric of one stage.
func (m *metric) figure(v *view) Figure {
	none := noFigure()
	if v == nil {
		return none
	}
	s := v.stage
	plain := func(value num.Value, n int) Figure {
		f := none
		f.Value, f.N = value, n
		return f
	}
	var o observations
	switch {
	case m.key == keyITL99:
		return plain(s.ITL.P99, s.ITL.Count)
	case v.all == nil:
		f := plain(m.summary(s))
		if m.key == keyErrors {
			f.Text = fmt.Sprintf("%d/%d", s.Requests.Errored, f.N)
		}
		return f
	case m.key == keyErrors:
		o = v.errors()
	case m.key == keyOutput:
		o = v.output()
	default:
		o = v.observe(m.of, m.each)
	}
	if len(o.values) == 0 {
		return none
	}
	sample := m.sample(o.values).WithIndices(o.indices)
	low, high := sample.Interval(confidence)
	f := Figure{
		Value: six(sample.Value), Lower: six(low), Upper: six(high), N: sample.N, Effective: six(sample.Effective),
		sample: &sample,
	}
	if m.key == keyErrors {
		f.Text = fmt.Sprintf("%.0f/%d", sample.Value*float64(sample.N), sample.N)
	}
	return f
}

// noFigure is a figure of which nothing is known.
func noFigure() Figure {
	none := num.Absent()
	return Figure{Value: none, Lower: none, Upper: none, Effective: none}
}

// sample is the metric of observations.
func (m *metric) sample(values []float64) estimate.Sample {
	switch {
	case m.unit == "share":
		return estimate.NewShare(values)
	case m.stat.Kind == slo.Quantile:
		return estimate.NewQuantile(values, m.stat.Q)
	}
	return estimate.NewMean(values)
}

// summary is the metric as a report without requests has it.
func (m *metric) summary(s *report.Stage) (num.Value, int) {
	l := s.TTFT
	switch {
	case m.key == keyOutput:
		return num.Value(s.Rates.Output), s.Requests.Completed
	case m.key == keyErrors:
		n := s.Requests.Errored + s.Requests.Completed
		return num.Value(float64(s.Requests.Errored) / float64(n)), n
	case m.of == slo.TPOT:
		l = s.TPOT
	case m.of != slo.TTFT:
		return num.Absent(), 0
	}
	return l.At(m.stat), l.Count
}

// change compares a figure with the base's; why says why it is not to be tested.
func (l *Line) change(k int, paired bool, noise float64, why string) Difference {
	a, b := &l.Figures[0], &l.Figures[k]
	d := untested(why)
	share := l.Unit == "share"
	switch {
	case a.Value.IsAbsent() || b.Value.IsAbsent():
		d.Why = "no value"
		return d
	case share:
		d.Change = six(float64(b.Value - a.Value))
	case a.Value > 0:
		d.Change = six(float64(b.Value/a.Value - 1))
	}
	if why != "" {
		return d
	}
	if !a.sample.Enough || !b.sample.Enough {
		d.Why = fmt.Sprintf("too short: worth %.0f and %.0f independent ones", a.Effective, b.Effective)
		return d
	}
	change := estimate.NewChange(*a.sample, *b.sample, paired)
	low, high := change.Interval(confidence)
	if math.IsInf(low, -1) && math.IsInf(high, 1) {
		d.Why = "too few requests"
		return d
	}
	if share {
		noise = 0
	} else {
		low, high, noise = math.Expm1(low), math.Expm1(high), math.Log1p(noise)
	}
	d.Lower, d.Upper, d.P = six(low), six(high), six(change.P(noise))
	d.Correlation, d.Verdict = float64(six(change.Correlation)), Same
	return d
}

// six rounds to six significant digits: more are not known, and processors differ in them.
func six(v float64) num.Value { return num.Value(num.Digits(v, 6)) }

// untested is a difference that was not tested.
func untested(why string) Difference {
	none := num.Absent()
	return Difference{Change: none, Lower: none, Upper: none, P: none, Adjusted: none, Verdict: NotTested, Why: why}
}

// maxRateLine is the max rate of all runs, nil where no run has one.
func maxRateLine(results []*report.Result, noise float64) *Line {
	l := &Line{Metric: keyRate, Name: "max rate at SLO", Unit: results[0].RateUnit(), higherIsBetter: true}
	known := false
	for _, r := range results {
		f := noFigure()
		rate, ok := r.MaxRate()
		known = known || ok || r.Search != nil
		switch a := r.Search; {
		case a != nil:
			f.Value, f.Lower, f.Upper, f.N = a.Estimate, a.Lower, a.Upper, a.Requests
			if f.Value == 0 {
				f.Value = num.Absent()
			}
		case ok:
			f.Lower = num.Value(rate)
		}
		if f.Lower.IsAbsent() {
			f.Lower = 0
		}
		if f.Upper.IsAbsent() {
			f.Upper = num.Value(math.Inf(1))
		}
		switch {
		case r.Search != nil && r.Search.Rough:
			f.Text = "near " + num.Rate(float64(f.Value))
		case math.IsInf(float64(f.Upper), 1) && f.Lower > 0:
			f.Text = "≥ " + num.Rate(float64(f.Lower))
		case f.Lower == 0 && !math.IsInf(float64(f.Upper), 1):
			f.Text = "≤ " + num.Rate(float64(f.Upper))
		case f.Value.IsAbsent():
			f.Text = "not known"
		}
		l.Figures = append(l.Figures, f)
	}
	if !known {
		return nil
	}
	for k := 1; k < len(results); k++ {
		l.Changes = append(l.Changes, l.rateChange(results[0], results[k], k, noise))
	}
	return l
}

// notSearched is why two max rates are not compared: without a search, stages only say between which rates one lies.
const notSearched = "not searched in both"

// rateChange compares two max rates by their intervals: as Change does where both have two ends, by the ends alone
// where one has only one.
func (l *Line) rateChange(base, to *report.Result, k int, noise float64) Difference {
	a, b := &l.Figures[0], &l.Figures[k]
	d := untested("")
	if a.Value > 0 && b.Value > 0 {
		d.Change = six(float64(b.Value/a.Value - 1))
	}
	switch {
	case base.Asked.SLO() != to.Asked.SLO():
		d.Why = "objectives differ"
	case base.Search == nil || to.Search == nil:
		d.Why = notSearched
	case base.Search.Arrivals != to.Search.Arrivals:
		d.Why = "arrivals differ"
	case base.Search.Rough || to.Search.Rough:
		d.Why = "not decided in both"
	case base.Search.Client == audit.Invalid || to.Search.Client == audit.Invalid:
		d.Why = "client invalid"
	}
	if d.Why != "" {
		return d
	}
	ln := func(v num.Value) float64 { return math.Log(float64(v)) }
	limit := math.Log1p(noise)
	bothEnds := a.Lower > 0 && b.Lower > 0 && !math.IsInf(float64(a.Upper+b.Upper), 1) && d.Change > -1
	if !bothEnds {
		low, high := ln(b.Lower)-ln(a.Upper), ln(b.Upper)-ln(a.Lower)
		if !(low > limit || high < -limit) {
			d.Why = "not known well enough"
			return d
		}
		d.Lower, d.Upper = six(math.Expm1(low)), six(math.Expm1(high))
		d.P, d.Verdict = 1-confidence, Same // at most: the two intervals have nothing in common
		return d
	}
	value := ln(b.Value) - ln(a.Value)
	down := estimate.Joint(ln(b.Value)-ln(b.Lower), ln(a.Upper)-ln(a.Value), 0)
	up := estimate.Joint(ln(b.Upper)-ln(b.Value), ln(a.Value)-ln(a.Lower), 0)
	d.Lower, d.Upper = six(math.Expm1(value-down)), six(math.Expm1(value+up))
	d.P, d.Verdict = six(estimate.NormalP(value, down, up, limit, base.Search.Confidence)), Same
	return d
}
