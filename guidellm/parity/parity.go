// Package parity lays a GuideLLM report and an openloop report of the same load side by side: stage by stage and metric
// by metric, both values, their difference, how much of it is tolerated and why. It is pure: two reports in, a table
// out.
package parity

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/guidellm"
)

// verdict says how two values stand to each other.
type verdict string

// The verdicts of a row.
const (
	within  verdict = "within"
	outside verdict = "outside"
	shown   verdict = "–" // shown for the reader, not judged
)

// The tolerances of metrics that do not depend on chance. Medians of two runs against one server differ by the error of
// both clients' clocks and by what the server did in that minute; achieved rates by the requests at the two ends.
const (
	relativeLatency  = 0.03 // of a median latency
	absoluteLatency  = 2.0  // ms, of a median latency
	relativeRate     = 0.02 // of an achieved rate
	scheduleDistance = 1.0  // µs, between the two times that an arrival process gave one request
)

// Row is one metric of one stage.
type Row struct {
	Metric    string  // "TTFT p50"
	Unit      string  // "ms", "req/s", "tokens", "µs", "%"
	GuideLLM  float64 // NaN where the report has none
	OpenLoop  float64
	Tolerance float64 // in Unit; NaN for rows that are not judged
	Reason    string  // of the tolerance
	Verdict   verdict
}

// Difference is openloop's value less GuideLLM's, in the row's unit.
func (r *Row) Difference() float64 { return r.OpenLoop - r.GuideLLM }

// Stage is one stage of the comparison.
type Stage struct {
	Name     string
	Refused  string // why it can't be compared; "" where it was
	Rows     []Row
	Warnings []string
}

// Within says whether every judged metric of the stage is.
func (l *Stage) Within() bool {
	return !slices.ContainsFunc(l.Rows, func(r Row) bool { return r.Verdict == outside })
}

// Comparison is what came of two reports.
type Comparison struct {
	Stages   []Stage
	Warnings []string // about the reports as a whole
}

// counts are the number of stages that were compared, and of those among them with every value within its tolerance.
func (c *Comparison) counts() (compared, within int) {
	for i := range c.Stages {
		if l := &c.Stages[i]; l.Refused == "" {
			compared++
			if l.Within() {
				within++
			}
		}
	}
	return compared, within
}

// Agrees says whether every stage that could be compared is within its tolerances.
func (c *Comparison) Agrees() bool {
	compared, within := c.counts()
	return compared > 0 && compared == within
}

// refusedError says why two reports can't be compared at all.
type refusedError struct{ Reasons []string }

func (e *refusedError) Error() string {
	return "the two reports can't be compared: " + strings.Join(e.Reasons, "; ")
}

// Compare lays two reports side by side, GuideLLM's first. The error is a *refusedError where they are not of the same
// load, or have no stage in common.
func Compare(reference, openloop *guidellm.Report) (*Comparison, error) {
	if reasons := differentLoad(reference, openloop); len(reasons) > 0 {
		return nil, &refusedError{reasons}
	}
	c := &Comparison{Warnings: differentLimits(reference, openloop)}
	left := slices.Clone(openloop.Benchmarks)
	for _, g := range reference.Benchmarks {
		stage := Stage{Name: g.Config.Load().String()}
		i := slices.IndexFunc(left, func(o *guidellm.Benchmark) bool { return same(g.Config.Load(), o.Config.Load()) })
		if i < 0 {
			stage.Refused = "openloop's report has no stage of this load"
			if near := nearest(g.Config.Load(), left); near != "" {
				stage.Refused += " (" + near + " has other arrivals)"
			}
			c.Stages = append(c.Stages, stage)
			continue
		}
		o := left[i]
		left = slices.Delete(left, i, i+1)
		own := ownStageOf(openloop, o)
		if arrivals := own.foreignArrivals(); arrivals != "" {
			stage.Refused = "openloop's arrivals were " + arrivals + ", which GuideLLM does not have"
			c.Stages = append(c.Stages, stage)
			continue
		}
		stage.compare(g, o)
		stage.Warnings = append(stage.Warnings, own.verdict()...)
		c.Stages = append(c.Stages, stage)
	}
	for _, o := range left {
		c.Stages = append(c.Stages, Stage{Name: o.Config.Load().String(),
			Refused: "GuideLLM's report has no stage of this load"})
	}
	if compared, _ := c.counts(); compared == 0 {
		var reasons []string
		for _, l := range c.Stages {
			reasons = append(reasons, l.Name+": "+l.Refused)
		}
		if len(reasons) == 0 {
			reasons = []string{"neither has a stage"}
		}
		return nil, &refusedError{reasons}
	}
	return c, nil
}

// same says whether two stages offer the same load. Rates are the same where no float's last digits tell them apart.
func same(a, b guidellm.Strategy) bool {
	if a.Open() {
		return a.Type == b.Type && math.Abs(a.Rate.Value-b.Rate.Value) <= 1e-9*a.Rate.Value
	}
	return a.String() == b.String()
}

// nearest names the stage of the same kind whose rate is the nearest, "" where there is none.
func nearest(s guidellm.Strategy, stages []*guidellm.Benchmark) string {
	best, name := math.Inf(1), ""
	for _, b := range stages {
		o := b.Config.Load()
		if distance := math.Abs(o.Rate.Value - s.Rate.Value); o.Type == s.Type && s.Open() && distance < best {
			best, name = distance, o.String()
		}
	}
	return name
}

// compare fills in a stage from its two benchmarks.
func (l *Stage) compare(g, o *guidellm.Benchmark) {
	s, t := g.Config.Load(), o.Config.Load()
	a, b := viewOf(g), viewOf(o)
	l.Warnings = faults(s, g, a)
	switch {
	case s.Type == "poisson" && s.RandomSeed != t.RandomSeed:
		l.Refused = fmt.Sprintf("other arrivals: the seeds are %d and %d", s.RandomSeed.Value, t.RandomSeed.Value)
		return
	case s.Type == "poisson" && s.WorkerCount > 1:
		l.Refused = fmt.Sprintf("other arrivals: GuideLLM's %d workers all drew the same gaps, "+
			"so its arrivals are bursts and not a Poisson process (GUIDELLM__MAX_WORKER_PROCESSES=1 avoids it)",
			s.WorkerCount)
		return
	}
	if a.atEpoch > 0 {
		l.Refused = fmt.Sprintf("other arrivals: GuideLLM drew the first of its gaps before it had set its start, "+
			"so that %d of its requests are due at the epoch and the others each a gap too early", a.atEpoch)
		return
	}
	if s.Open() {
		l.addSchedule(s, a, b)
	}
	l.addRate(s, a, b)
	l.addTokens(a, b)
	for _, m := range []struct {
		name   string
		value  func(*guidellm.Request) guidellm.Null[float64]
		factor float64
		spread bool // over a request's tokens
	}{
		{"TTFT", func(r *guidellm.Request) guidellm.Null[float64] { return r.TimeToFirstTokenMS }, 1, false},
		{"ITL", func(r *guidellm.Request) guidellm.Null[float64] { return r.InterTokenLatencyMS }, 1, true},
		{"TPOT", func(r *guidellm.Request) guidellm.Null[float64] { return r.TimePerOutputTokenMS }, 1, true},
		{"latency", func(r *guidellm.Request) guidellm.Null[float64] { return r.RequestLatency }, 1000, false},
	} {
		x, y := a.values(m.value, m.factor), b.values(m.value, m.factor)
		floor, why := absoluteLatency, "2 ms: what both clients' clocks and the server's minute are good for"
		if n := a.outputTokens(); m.spread && n > 1 {
			floor /= n - 1
			why = "2 ms over a request's output tokens: the same error, a token"
		}
		l.addMedian(m.name, x, y, floor, why)
		if m.name == "TTFT" {
			l.addShown("TTFT p99", "ms", quantile(x, 0.99), quantile(y, 0.99))
		}
	}
	l.addShown("concurrency mean", "", g.Metrics.RequestConcurrency.Total.Mean, o.Metrics.RequestConcurrency.Total.Mean)
	l.addErrors(a, b)
}

// view is what a comparison needs of one stage.
type view struct {
	b         *guidellm.Benchmark
	counted   []*guidellm.Request // completed, inside the measured window
	scheduled []float64           // offsets of targeted starts from the scheduler's start, s, rising
	atEpoch   int                 // requests whose targeted start is long before that
	sent      int                 // requests sent inside the window
}

func viewOf(b *guidellm.Benchmark) *view {
	v := &view{b: b}
	start, end := b.SchedulerMetrics.MeasureStartTime, b.SchedulerMetrics.MeasureEndTime
	begin := b.SchedulerState.StartTime
	for _, seq := range []guidellm.RequestSeq{b.Requests.Successful, b.Requests.Errored, b.Requests.Incomplete} {
		for _, r := range seq.List() {
			t := &r.Info.Timings
			switch {
			case !t.TargetedStart.Valid:
			case t.TargetedStart.Value < begin-1e6:
				v.atEpoch++
			default:
				v.scheduled = append(v.scheduled, t.TargetedStart.Value-begin)
			}
			if t.RequestStart.Valid && t.RequestStart.Value >= start && t.RequestStart.Value <= end {
				v.sent++
			}
			if r.Info.Status == "completed" && r.RequestEndTime.Valid && r.RequestEndTime.Value >= start &&
				(!r.RequestStartTime.Valid || r.RequestStartTime.Value <= end) {
				v.counted = append(v.counted, r)
			}
		}
	}
	slices.Sort(v.scheduled)
	return v
}

// values are the sorted values of the requests that count.
func (v *view) values(of func(*guidellm.Request) guidellm.Null[float64], factor float64) []float64 {
	var out []float64
	for _, r := range v.counted {
		if x := of(r); x.Valid {
			out = append(out, x.Value*factor)
		}
	}
	slices.Sort(out)
	return out
}

func (v *view) outputTokens() float64 { return v.b.Metrics.OutputTokenCount.Successful.Median }

// roundingDrift is how far GuideLLM's Poisson arrivals may have strayed from their own gaps after n of them, in µs: it
// adds each gap to a time in seconds since the epoch, in a float whose neighbours are 0.238 µs apart, so that every sum
// is rounded by a random part of ±0.119 µs. Four standard deviations of n such errors.
func roundingDrift(n int) float64 { return 4 * 0.2384 / math.Sqrt(12) * math.Sqrt(float64(n)) }

// addSchedule compares the times that the two arrival processes gave their requests.
func (l *Stage) addSchedule(s guidellm.Strategy, a, b *view) {
	n := min(len(a.scheduled), len(b.scheduled))
	if n == 0 {
		l.addShown("arrivals", "µs", math.NaN(), math.NaN())
		l.Warnings = append(l.Warnings,
			"no request was kept in one of the reports, so that arrivals could not be compared")
		return
	}
	arrivals := Row{Metric: fmt.Sprintf("arrivals, greatest distance of %d", n), Unit: "µs",
		Tolerance: scheduleDistance,
		Reason:    "1 µs: the rounding of seconds since the epoch in a float, four times 0.12 µs, and a margin"}
	gaps := arrivals
	gaps.Metric = "gaps between them, greatest distance"
	for i := range n {
		arrivals.OpenLoop = math.Max(arrivals.OpenLoop, math.Abs(a.scheduled[i]-b.scheduled[i])*1e6)
		if i > 0 {
			gap := a.scheduled[i] - a.scheduled[i-1] - (b.scheduled[i] - b.scheduled[i-1])
			gaps.OpenLoop = math.Max(gaps.OpenLoop, math.Abs(gap)*1e6)
		}
	}
	if s.Type == "poisson" {
		l.add(gaps)
		arrivals.Tolerance += roundingDrift(n)
		arrivals.Reason = "1 µs, and four standard deviations of the rounding that " +
			"GuideLLM's running sum of times gathers"
	}
	l.add(arrivals)
}

// addRate compares completed requests per second.
func (l *Stage) addRate(s guidellm.Strategy, a, b *view) {
	x, y := a.b.Metrics.RequestsPerSecond.Successful.Mean, b.b.Metrics.RequestsPerSecond.Successful.Mean
	row := Row{Metric: "completed", Unit: "req/s", GuideLLM: x, OpenLoop: y, Tolerance: relativeRate * x, Reason: "2 %"}
	// One request more or less at each end of the window, in each of the runs.
	if d := math.Min(a.b.Duration, b.b.Duration); d > 0 && 2/d > row.Tolerance {
		row.Tolerance = 2 / d
		row.Reason = "one request at each end of the measured window"
	}
	l.add(row)
	if s.Open() {
		l.addShown("sent", "req/s", float64(a.sent)/a.b.Duration, float64(b.sent)/b.b.Duration)
	}
}

// addTokens compares the tokens of a request.
func (l *Stage) addTokens(a, b *view) {
	x, y := &a.b.Metrics.OutputTokenCount.Successful, &b.b.Metrics.OutputTokenCount.Successful
	row := Row{Metric: "output tokens a request, mean", Unit: "", GuideLLM: x.Mean, OpenLoop: y.Mean, Tolerance: 0,
		Reason: "exactly: each asks for the same number"}
	if x.StdDev > 0 || y.StdDev > 0 {
		row.Tolerance = 1.96 * math.Hypot(standardError(x.StdDev, x.Count), standardError(y.StdDev, y.Count))
		row.Reason = "95 % confidence of both means"
	}
	l.add(row)
	x, y = &a.b.Metrics.PromptTokenCount.Successful, &b.b.Metrics.PromptTokenCount.Successful
	row = Row{Metric: "prompt tokens a request, median", Unit: "", GuideLLM: x.Median, OpenLoop: y.Median,
		Tolerance: math.Max(1, 0.01*x.Median),
		Reason:    "1 % or 1 token: GuideLLM cuts a text between tokens, and read again it may have one more or less"}
	if x.StdDev > 2 && y.StdDev > 2 {
		if t := 1.96 * 1.2533 * math.Hypot(standardError(x.StdDev, x.Count),
			standardError(y.StdDev, y.Count)); t > row.Tolerance {
			row.Tolerance, row.Reason = t, "95 % confidence of both medians"
		}
	}
	l.add(row)
}

func standardError(deviation float64, n int64) float64 {
	if n < 1 {
		return 0
	}
	return deviation / math.Sqrt(float64(n))
}

// addMedian compares two medians. The tolerance is the largest of 3 %, the floor and what chance alone explains.
func (l *Stage) addMedian(name string, x, y []float64, floor float64, why string) {
	row := Row{Metric: name + " p50", Unit: "ms", GuideLLM: quantile(x, 0.5), OpenLoop: quantile(y, 0.5)}
	if len(x) == 0 || len(y) == 0 {
		row.Tolerance, row.Verdict = math.NaN(), shown
		l.Rows = append(l.Rows, row)
		return
	}
	row.Tolerance, row.Reason = relativeLatency*row.GuideLLM, "3 %"
	if floor > row.Tolerance {
		row.Tolerance, row.Reason = floor, why
	}
	if chance := math.Hypot(medianHalfWidth(x), medianHalfWidth(y)); chance > row.Tolerance {
		row.Tolerance = chance
		row.Reason = "95 % confidence of both medians"
	}
	l.add(row)
}

// addErrors compares the shares of requests that failed, by the confidence of both shares.
func (l *Stage) addErrors(a, b *view) {
	share := func(v *view) (float64, float64) {
		t := v.b.Metrics.RequestTotals
		n := float64(t.Successful + t.Errored)
		if n == 0 {
			return 0, 0
		}
		return float64(t.Errored) / n, n
	}
	p, n := share(a)
	q, m := share(b)
	if n == 0 || m == 0 || p == 0 && q == 0 {
		return
	}
	// The pooled share's standard error, and one request.
	pool := (p*n + q*m) / (n + m)
	tolerance := 1.96*math.Sqrt(pool*(1-pool)*(1/n+1/m)) + math.Max(1/n, 1/m)
	l.add(Row{Metric: "errors", Unit: "%", GuideLLM: p * 100, OpenLoop: q * 100, Tolerance: tolerance * 100,
		Reason: "95 % confidence of both shares"})
}

// addShown adds a metric that is not judged.
func (l *Stage) addShown(name, unit string, x, y float64) {
	l.Rows = append(l.Rows, Row{Metric: name, Unit: unit, GuideLLM: x, OpenLoop: y, Tolerance: math.NaN(),
		Verdict: shown})
}

// add judges a row and adds it.
func (l *Stage) add(r Row) {
	r.Verdict = outside
	// The margin keeps a sum's last digits from deciding.
	if math.Abs(r.Difference()) <= r.Tolerance+1e-9*math.Abs(r.GuideLLM) {
		r.Verdict = within
	}
	l.Rows = append(l.Rows, r)
}

// quantile is GuideLLM's: the first value whose cumulative share reaches q. NaN without values.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))-1e-9))-1)]
}

// medianHalfWidth is half the width of the distribution-free 95 % confidence interval of a median: between the order
// statistics at n/2 ± 1.96·√n/2 (Conover, Practical Nonparametric Statistics, section 3.2, in the normal
// approximation).
func medianHalfWidth(sorted []float64) float64 {
	n := float64(len(sorted))
	if n < 2 {
		return 0
	}
	lo := max(0, int(math.Floor(n/2-0.98*math.Sqrt(n)))-1)
	hi := min(len(sorted)-1, int(math.Ceil(n/2+0.98*math.Sqrt(n))))
	return (sorted[hi] - sorted[lo]) / 2
}
