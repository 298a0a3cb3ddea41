package guidellm

import (
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/openloop/openloop/guidellm/stats"
)

// Tolerance is the relative difference up to which two figures count as equal: that of sums made in another order.
const Tolerance = 1e-9

// Difference is a figure that came out differently when it was made anew from a report's requests.
type Difference struct {
	Path     string // such as benchmarks[0].metrics.request_latency.successful.mean
	Stored   string // the report's value, as text; "null" where there is none
	Computed string
}

func (d Difference) String() string {
	return d.Path + ": stored " + d.Stored + ", computed " + d.Computed
}

// NotRebuilt is a figure, or a group of them, that cannot be made from the requests that a report holds.
type NotRebuilt struct {
	Path   string
	Reason string
}

// Recomputed is what came of making a report's figures anew.
type Recomputed struct {
	// Benchmarks are the metrics made from each stage's requests; nil where they could not be.
	Benchmarks  []*stats.Metrics
	Differences []Difference
	NotRebuilt  []NotRebuilt
	Figures     int // compared
}

// Recompute makes the metrics, the scheduler's delays and each request's derived figures anew from the requests that
// a report holds, and compares them with the stored ones. It does not change the report.
func Recompute(r *Report) Recomputed {
	var out Recomputed
	for i, b := range r.Benchmarks {
		out.Benchmarks = append(out.Benchmarks, out.benchmark(b, elementPath("benchmarks", i)))
	}
	return out
}

func (out *Recomputed) benchmark(b *Benchmark, path string) *stats.Metrics {
	var requests []stats.Request
	for _, group := range []struct {
		name     string
		requests RequestSeq
		status   stats.Status
	}{
		{"successful", b.Requests.Successful, stats.Completed},
		{"incomplete", b.Requests.Incomplete, stats.Cancelled},
		{"errored", b.Requests.Errored, stats.Errored},
	} {
		if group.requests == nil {
			continue
		}
		i := 0
		for request := range group.requests {
			s := request.Stats()
			s.Status = group.status // the list that it is in decides, as it does for GuideLLM
			requests = append(requests, s)
			out.request(request, &s, fmt.Sprintf("%s.requests.%s[%d]", path, group.name, i))
			i++
		}
	}
	window := stats.Window{Start: b.SchedulerMetrics.MeasureStartTime, End: b.SchedulerMetrics.MeasureEndTime}
	out.schedulerDelays(b, requests, path+".scheduler_metrics")

	computed := stats.Compile(window, requests)
	stored, now := b.Metrics.RequestTotals, computed.RequestTotals
	if now.Successful < stored.Successful || now.Errored < stored.Errored || now.Incomplete < stored.Incomplete {
		out.NotRebuilt = append(out.NotRebuilt, NotRebuilt{path + ".metrics", fmt.Sprintf(
			"the figures are of %d successful, %d incomplete and %d errored requests, of which the report kept %d, %d and %d: a sample",
			stored.Successful, stored.Incomplete, stored.Errored, now.Successful, now.Incomplete, now.Errored)})
		return nil
	}
	out.compare(reflect.ValueOf(b.Metrics), reflect.ValueOf(*computed), path+".metrics")
	return computed
}

// request checks the figures that a request derives from its own timings and counts.
func (out *Recomputed) request(stored *Request, s *stats.Request, path string) {
	computed := *stored
	computed.SetStats(s)
	// These say the same in another place, or are no figures.
	computed.Type, computed.Info.Status = stored.Type, stored.Info.Status
	computed.OpenLoop = stored.OpenLoop
	out.compare(reflect.ValueOf(*stored), reflect.ValueOf(computed), path)
}

// schedulerDelays checks the mean delays, which are of all requests of the run, counted in the window or not.
func (out *Recomputed) schedulerDelays(b *Benchmark, requests []stats.Request, path string) {
	out.NotRebuilt = append(out.NotRebuilt, NotRebuilt{path + ".processed_delay_avg", "no request says when it was counted"})
	state := &b.SchedulerState
	if made := state.SuccessfulRequests + state.ErroredRequests; made > countDone(requests) {
		out.NotRebuilt = append(out.NotRebuilt, NotRebuilt{path + ".*_avg", fmt.Sprintf(
			"they are of %d requests that ended by themselves, of which the report kept %d: a sample", made, countDone(requests))})
		return
	}
	computed := b.SchedulerMetrics
	computed.CompileDelays(requests)
	computed.ProcessedDelayAvg = b.SchedulerMetrics.ProcessedDelayAvg
	out.compare(reflect.ValueOf(b.SchedulerMetrics), reflect.ValueOf(computed), path)
}

func countDone(requests []stats.Request) (n int64) {
	for i := range requests {
		if requests[i].Status != stats.Cancelled {
			n++
		}
	}
	return n
}

// compare walks two values of one type and lists the figures that differ.
func (out *Recomputed) compare(stored, computed reflect.Value, path string) {
	switch stored.Kind() {
	case reflect.Struct:
		for _, f := range structFields(stored.Type()) {
			if f.name != "pdf" && f.name != "openloop" { // GuideLLM keeps the pdf on request only
				out.compare(stored.Field(f.index), computed.Field(f.index), memberPath(path, f.name))
			}
		}
		if t := stored.Type(); t == nullIntType || t == nullFloatType || t == nullTextType {
			out.compareNull(stored, computed, path)
		}
	case reflect.Pointer:
		switch {
		case stored.IsNil() && computed.IsNil():
		case stored.IsNil():
			out.differ(path, "null", "a distribution")
		case computed.IsNil():
			out.differ(path, "a distribution", "null")
		default:
			out.compare(stored.Elem(), computed.Elem(), path)
		}
	case reflect.Float64:
		out.Figures++
		if !SameFigure(stored.Float(), computed.Float()) {
			out.differ(path, formatFloat(stored.Float()), formatFloat(computed.Float()))
		}
	case reflect.Int64:
		out.Figures++
		if stored.Int() != computed.Int() {
			out.differ(path, strconv.FormatInt(stored.Int(), 10), strconv.FormatInt(computed.Int(), 10))
		}
	}
}

func (out *Recomputed) compareNull(stored, computed reflect.Value, path string) {
	switch a, b := stored.Field(1).Bool(), computed.Field(1).Bool(); {
	case a && b:
		out.compare(stored.Field(0), computed.Field(0), path)
	case a:
		out.differ(path, fmt.Sprint(stored.Field(0)), "null")
	case b:
		out.differ(path, "null", fmt.Sprint(computed.Field(0)))
	}
}

func (out *Recomputed) differ(path, stored, computed string) {
	out.Differences = append(out.Differences, Difference{path, stored, computed})
}

// SameFigure says whether two figures are equal up to Tolerance, relative to the larger one.
func SameFigure(a, b float64) bool {
	if a == b || math.IsNaN(a) && math.IsNaN(b) {
		return true
	}
	return math.Abs(a-b) <= Tolerance*math.Max(math.Abs(a), math.Abs(b))
}

func formatFloat(x float64) string { return string(appendPythonFloat(nil, x)) }
