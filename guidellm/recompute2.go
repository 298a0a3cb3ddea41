package guidellm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/openloop/openloop/guidellm/stats"
)

// laterReader gives what a report of schema 2 has and the types of schema 1 have no place for: it is in Report.Unknown.
type laterReader struct {
	encoder encoder
	values  map[string]json.RawMessage // of Report.Unknown by their paths
}

func newLaterReader(r *Report) *laterReader {
	l := &laterReader{values: map[string]json.RawMessage{}}
	l.encoder.unknown = map[string][]Field{}
	for _, f := range r.Unknown {
		l.values[f.Path] = f.Value
		l.encoder.unknown[f.object] = append(l.encoder.unknown[f.object], f)
	}
	return l
}

// metrics are the metrics of schema 2 that a benchmark holds, and the paths of those that it does not have.
func (l *laterReader) metrics(b *Benchmark, path string) (m *stats.LaterMetrics, missing []string, err error) {
	e := l.encoder
	e.buf = nil
	e.value(reflect.ValueOf(&b.Metrics).Elem(), path)
	d := newDecoder(bytes.NewReader(e.buf))
	d.report = &Report{}
	d.path = stepsOf(path)
	m = &stats.LaterMetrics{}
	if _, err := d.value(reflect.ValueOf(m).Elem()); err != nil {
		return nil, nil, err
	}
	return m, d.report.Missing, nil
}

// stepsOf are the steps of a path as elementPath and memberPath make it.
func stepsOf(path string) (steps []step) {
	for part := range strings.SplitSeq(path, ".") {
		name, index, isElement := strings.Cut(part, "[")
		steps = append(steps, step{name: name})
		if isElement {
			i := 0
			_, _ = fmt.Sscanf(index, "%d]", &i)
			steps = append(steps, step{index: i})
		}
	}
	return steps
}

// later makes the metrics of schema 2 of a benchmark's requests, and compares them with the stored ones.
func (out *Recomputed) later(l *laterReader, b *Benchmark, path string, requests []stats.Request) *stats.LaterMetrics {
	path += ".metrics"
	stored, missing, err := l.metrics(b, path)
	if err != nil {
		out.NotRecomputed = append(out.NotRecomputed, NotRecomputed{path, err.Error()})
		return nil
	}
	for _, p := range missing {
		out.missing[p] = true
	}
	later, reasoning := l.turns(b, strings.TrimSuffix(path, ".metrics"))
	first := func(i int) bool { return !later[i] }
	window := stats.Window{Start: b.StartTime, End: b.EndTime}
	made := stats.CompileLater(window, requests, stored.RequestDispatchDelay != nil, first)
	skip := func(reason string, names ...string) {
		for _, name := range names {
			out.missing[path+"."+name] = true
			out.NotRecomputed = append(out.NotRecomputed, NotRecomputed{path + "." + name, reason})
		}
	}
	if len(later) > 0 && stored.TurnPredecessorDelay != nil {
		skip("no request says when the turn before it had ended", "turn_predecessor_delay", "turn_scheduling_delay")
		made.TurnPredecessorDelay, made.TurnSchedulingDelay = stored.TurnPredecessorDelay, stored.TurnSchedulingDelay
	}
	if reasoning {
		skip("a first token that is no reasoning came later than the first", "time_to_first_output_token_ms")
		made.TimeToFirstOutputTokenMS = stored.TimeToFirstOutputTokenMS
	}
	out.compare(stored, made, path)
	return made
}

// turns are the requests that are no first turn, by their place among all, and whether the first output token of any
// came after its first token.
func (l *laterReader) turns(b *Benchmark, path string) (later map[int]bool, reasoning bool) {
	later = map[int]bool{}
	at := 0
	for _, group := range []struct {
		name     string
		requests RequestSeq
	}{
		{"successful", b.Requests.Successful}, {"incomplete", b.Requests.Incomplete}, {"errored", b.Requests.Errored},
	} {
		if group.requests == nil {
			continue
		}
		k := 0
		for request := range group.requests {
			info := fmt.Sprintf("%s.requests.%s[%d].info.", path, group.name, k)
			if turn := l.values[info+"turn_index"]; turn != nil && string(turn) != "0" {
				later[at] = true
			}
			var output Null[float64]
			if raw := l.values[info+"timings.first_output_token_iteration"]; raw != nil {
				output.Valid = json.Unmarshal(raw, &output.Value) == nil
			}
			first := request.Info.Timings.FirstTokenIteration
			reasoning = reasoning || output.Valid && first.Valid && output.Value != first.Value
			at++
			k++
		}
	}
	return later, reasoning
}

// Apply puts the metrics that were made in the place of the stored ones.
func (out *Recomputed) Apply(r *Report) error {
	for i, b := range r.Benchmarks {
		if m := out.Benchmarks[i]; m != nil {
			b.Metrics = *m
		}
		made := out.Later[i]
		if made == nil {
			continue
		}
		path := elementPath("benchmarks", i) + ".metrics"
		e := newEncoder(nil)
		e.value(reflect.ValueOf(made).Elem(), "")
		d := newDecoder(bytes.NewReader(e.buf))
		d.report = &Report{}
		d.path = stepsOf(path)
		if _, err := d.value(reflect.ValueOf(&b.Metrics).Elem()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		at := map[string]int{}
		for k, f := range r.Unknown {
			at[f.Path] = k
		}
		for _, f := range d.report.Unknown {
			if k, ok := at[f.Path]; ok {
				r.Unknown[k] = f
			} else {
				r.Unknown = append(r.Unknown, f)
			}
		}
	}
	return nil
}
