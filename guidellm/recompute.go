package guidellm

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/openloop/openloop/guidellm/stats"
)

// tolerance is the relative difference up to which two values count as equal: that of sums made in another order.
const tolerance = 1e-9

// Difference is a value that came out differently when it was recomputed from a report's requests.
type Difference struct {
	Path     string // such as benchmarks[0].metrics.request_latency.successful.mean
	Stored   string // the report's value, as text; "null" where there is none
	Computed string
}

func (d Difference) String() string {
	return d.Path + ": stored " + d.Stored + ", computed " + d.Computed
}

// NotRecomputed is a value, or a group of them, that cannot be made from the requests that a report holds.
type NotRecomputed struct {
	Path   string
	Reason string
}

// Recomputed is what came of recomputing a report's metrics.
type Recomputed struct {
	// Benchmarks are the metrics made from each stage's requests, and Later those of schema 2; nil where they could not
	// be, where the report has the other ones, or where its schema defines them in another way.
	Benchmarks  []*stats.Metrics
	Later       []*stats.LaterMetrics
	Differences []Difference
	// Redefined are metrics that came out differently in a report of a schema after 2: they say how its definitions
	// depart from GuideLLM 0.8.1's, not that a value is wrong.
	Redefined     []Difference
	NotRecomputed []NotRecomputed
	Compared      int // values

	missing map[string]bool // fields that the report does not have, by path: there is nothing to compare
}

// Schema is the version of the schema that is GuideLLM 0.5.0's, in Metadata.Version. GuideLLM 0.7 and later write 2.
const Schema = 1

// LaterSchema is the version of GuideLLM 0.8.1's, whose definitions are those of stats.CompileLater.
const LaterSchema = 2

// Recompute makes the metrics, the scheduler's delays and what each request derives from its own timings once more from
// the requests that a report holds, and compares them with the stored ones. It does not change the report.
//
// Where the report claims to hold all of its requests, those that are missing are a difference: it is openloop's, or
// its sample_requests is null or no less than their number.
//
// Fields that the report does not have are not compared. The metrics of schema 2 are made by GuideLLM 0.8.1's
// definitions, and so are those of later ones; there, metrics that come out differently are Redefined, and the counts
// of its requests and what each of them derives from its own times alone can be Differences.
func Recompute(r *Report) Recomputed {
	out := Recomputed{missing: map[string]bool{}}
	for _, path := range r.Missing {
		out.missing[path] = true
	}
	holdsAll := IsOpenLoop(r)
	var later *laterReader
	if r.Metadata.Version >= LaterSchema {
		later = newLaterReader(r)
	}
	for i, b := range r.Benchmarks {
		path := elementPath("benchmarks", i)
		requests := out.requests(b, path, holdsAll, later)
		var metrics *stats.Metrics
		var made *stats.LaterMetrics
		switch {
		case requests == nil:
		case later == nil:
			metrics = stats.Compile(stats.Window{
				Start: b.SchedulerMetrics.MeasureStartTime, End: b.SchedulerMetrics.MeasureEndTime,
			}, requests)
			out.compare(&b.Metrics, metrics, path+".metrics")
		default:
			made = out.later(later, b, path, requests)
			if r.Metadata.Version > LaterSchema && out.redefine(path+".metrics.") {
				made = nil
			}
		}
		out.Benchmarks, out.Later = append(out.Benchmarks, metrics), append(out.Later, made)
	}
	return out
}

// redefine makes the differences below a path redefinitions, but for those of counts, and says whether there were any.
func (out *Recomputed) redefine(path string) bool {
	before := len(out.Redefined)
	var kept []Difference
	for _, d := range out.Differences {
		if strings.HasPrefix(d.Path, path) && !strings.HasPrefix(d.Path, path+"request_totals.") {
			out.Redefined = append(out.Redefined, d)
		} else {
			kept = append(kept, d)
		}
	}
	out.Differences = kept
	return len(out.Redefined) > before
}

// requests checks the requests of a benchmark and its scheduler's delays. It returns the requests, nil where some are
// missing, so that no metric would be the same. later is nil for a report of schema 1.
func (out *Recomputed) requests(b *Benchmark, path string, holdsAll bool, later *laterReader) []stats.Request {
	requests := []stats.Request{}
	var kept stats.StatusCounts
	for _, group := range []struct {
		name     string
		requests RequestSeq
		status   stats.Status
		kept     *int64
	}{
		{"successful", b.Requests.Successful, stats.Completed, &kept.Successful},
		{"incomplete", b.Requests.Incomplete, stats.Cancelled, &kept.Incomplete},
		{"errored", b.Requests.Errored, stats.Errored, &kept.Errored},
	} {
		if group.requests == nil {
			continue
		}
		for request := range group.requests {
			s := request.Stats()
			s.Status = group.status // the list that it is in decides, as it does for GuideLLM
			requests = append(requests, s)
			if later != nil {
				s.CountIterations()
			}
			out.request(request, &s, later != nil, fmt.Sprintf("%s.requests.%s[%d]", path, group.name, *group.kept))
			*group.kept++
		}
	}
	if sample := b.Config.SampleRequests; !sample.Valid {
		holdsAll = true
	} else if !holdsAll {
		made := b.SchedulerMetrics.RequestsMade
		holdsAll = sample.Value >= max(made.Successful, made.Errored, made.Incomplete)
	}
	out.schedulerDelays(b, requests, path+".scheduler_metrics", kept, holdsAll)

	window := stats.Window{Start: b.SchedulerMetrics.MeasureStartTime, End: b.SchedulerMetrics.MeasureEndTime}
	stored, now := b.Metrics.RequestTotals, stats.Compile(window, requests).RequestTotals
	if fewer := missing(stored, now); fewer && holdsAll {
		out.compare(&stored, &now, path+".metrics.request_totals")
		out.NotRecomputed = append(out.NotRecomputed, NotRecomputed{path + ".metrics",
			"requests are missing of a report that claims to hold all, so that no metric would be the same"})
		return nil
	} else if fewer {
		out.NotRecomputed = append(out.NotRecomputed, NotRecomputed{path + ".metrics", fmt.Sprintf("they are of "+
			"%d successful, %d incomplete and %d errored requests, of which the report kept %d, %d and %d: a sample",
			stored.Successful, stored.Incomplete, stored.Errored, now.Successful, now.Incomplete, now.Errored)})
		return nil
	}
	return requests
}

// missing says whether there are fewer requests now than a report has counted.
func missing(stored, now stats.StatusCounts) bool {
	return now.Successful < stored.Successful || now.Errored < stored.Errored || now.Incomplete < stored.Incomplete
}

// request checks what a request derives from its own timings and counts.
func (out *Recomputed) request(stored *Request, s *stats.Request, later bool, path string) {
	computed := *stored
	computed.setStats(s)
	// These say the same in another place, or are not values to be compared.
	computed.Type, computed.Info.Status = stored.Type, stored.Info.Status
	computed.OpenLoop, computed.OutputMetrics = stored.OpenLoop, stored.OutputMetrics
	if later { // schema 2 does not have it
		computed.InputTokens = stored.InputTokens
	}
	out.compare(stored, &computed, path)
}

// schedulerDelays checks the mean delays, which are of all requests of the run, counted in the window or not.
func (out *Recomputed) schedulerDelays(b *Benchmark, requests []stats.Request, path string, kept stats.StatusCounts,
	holdsAll bool) {
	out.NotRecomputed = append(out.NotRecomputed, NotRecomputed{path + ".processed_delay_avg",
		"no request says when it was counted"})
	made := b.SchedulerMetrics.RequestsMade
	kept.Total = kept.Successful + kept.Errored + kept.Incomplete
	if state := &b.SchedulerState; state.SuccessfulRequests+state.ErroredRequests > kept.Successful+kept.Errored {
		if holdsAll && missing(made, kept) {
			out.compare(&made, &kept, path+".requests_made")
			return
		}
		out.NotRecomputed = append(out.NotRecomputed, NotRecomputed{path + ".*_avg", fmt.Sprintf(
			"they are of %d requests that ended by themselves, of which the report kept %d: a sample",
			state.SuccessfulRequests+state.ErroredRequests, kept.Successful+kept.Errored)})
		return
	}
	computed := b.SchedulerMetrics
	computed.CompileDelays(requests)
	computed.ProcessedDelayAvg = b.SchedulerMetrics.ProcessedDelayAvg
	out.compare(&b.SchedulerMetrics, &computed, path)
}

// compare walks two values of one type, given by pointers, and lists the values in them that differ.
func (out *Recomputed) compare(stored, computed any, path string) {
	out.walk(reflect.ValueOf(stored).Elem(), reflect.ValueOf(computed).Elem(), path)
}

func (out *Recomputed) walk(stored, computed reflect.Value, path string) {
	if out.missing[path] {
		return
	}
	switch a := stored.Addr().Interface().(type) {
	case *Null[float64]:
		compareNull(out, *a, *computed.Addr().Interface().(*Null[float64]), path, out.float)
		return
	case *Null[int64]:
		compareNull(out, *a, *computed.Addr().Interface().(*Null[int64]), path, out.integer)
		return
	case *Null[string]: // no statistics
		return
	case *float64:
		out.float(*a, computed.Float(), path)
		return
	case *int64:
		out.integer(*a, computed.Int(), path)
		return
	}
	switch stored.Kind() {
	case reflect.Struct:
		for _, f := range structFields(stored.Type()) {
			if f.name != "pdf" && f.name != "openloop" { // GuideLLM keeps the pdf on request only
				out.walk(stored.Field(f.index), computed.Field(f.index), memberPath(path, f.name))
			}
		}
	case reflect.Pointer:
		switch {
		case stored.IsNil() && computed.IsNil():
		case stored.IsNil():
			out.differ(path, "null", "a distribution")
		case computed.IsNil():
			out.differ(path, "a distribution", "null")
		default:
			out.walk(stored.Elem(), computed.Elem(), path)
		}
	}
}

func compareNull[T any](out *Recomputed, a, b Null[T], path string, compare func(a, b T, path string)) {
	switch {
	case a.Valid && b.Valid:
		compare(a.Value, b.Value, path)
	case a.Valid:
		out.differ(path, fmt.Sprint(a.Value), "null")
	case b.Valid:
		out.differ(path, "null", fmt.Sprint(b.Value))
	}
}

func (out *Recomputed) float(a, b float64, path string) {
	if out.Compared++; !sameValue(a, b) {
		out.differ(path, formatFloat(a), formatFloat(b))
	}
}

func (out *Recomputed) integer(a, b int64, path string) {
	if out.Compared++; a != b {
		out.differ(path, strconv.FormatInt(a, 10), strconv.FormatInt(b, 10))
	}
}

func (out *Recomputed) differ(path, stored, computed string) {
	out.Differences = append(out.Differences, Difference{path, stored, computed})
}

// sameValue says whether two values are equal up to the tolerance, relative to the larger one. Infinity is equal to
// itself alone.
func sameValue(a, b float64) bool {
	if a == b || math.IsNaN(a) && math.IsNaN(b) {
		return true
	}
	larger := math.Max(math.Abs(a), math.Abs(b))
	return !math.IsInf(larger, 0) && math.Abs(a-b) <= tolerance*larger
}
