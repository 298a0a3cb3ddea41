package cli

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/spec"
)

// runOutput is what a kind of output is for openloop: its form, its file's name, and other endings with their forms.
type runOutput struct {
	form, file string
	endings    map[string]string
}

// runOutputs are GuideLLM's kinds of output (schemas/benchmark/outputs).
var runOutputs = map[string]runOutput{
	"json": {form: string(guidellm.JSONv2), file: "benchmarks.json"},
	"yaml": {form: string(guidellm.YAMLv2), file: "benchmarks.yaml"},
	"csv":  {form: "csv", file: "benchmarks.csv"},
	"html": {form: "html", file: "benchmarks.html"},
	"plot": {form: "png", file: "benchmarks.png", endings: map[string]string{".png": "png", ".svg": "svg"}},
}

// outputs reads what is written, and where: each kind has a path.
func (r *runReader) outputs(value any) error {
	list, ok := value.([]any)
	if value != nil && !ok {
		return fmt.Errorf("outputs: it is %s: want a list", describe(value))
	}
	if value == nil {
		for _, kind := range []string{"json", "csv"} {
			list = append(list, guidellm.Object{{Key: "kind", Value: kind}})
		}
	}
	out := &r.Spec.Output
	out.Dir, out.Files = ".", nil
	if r.NoConsole {
		out.Style = spec.StyleNone
	}
	r.Args.Outputs = nil
	kinds := append(sortedKeys(runOutputs), "console")
	for i, item := range list {
		s := newSection(fmt.Sprintf("outputs[%d]", i), item)
		kind := s.kind(kinds, nil)
		if kind == "console" { // printed in any case
			if err := s.end(); err != nil {
				return err
			}
			continue
		}
		o := runOutputs[kind]
		file := s.text("path")
		if info, err := os.Stat(file); err == nil && info.IsDir() {
			file = filepath.Join(file, o.file)
		}
		if file == "" {
			file = o.file
		}
		if strings.ContainsAny(file, "=") {
			s.failed("path", "%s: openloop writes to no file with = in its name", file)
		}
		form := o.form
		if kind == "plot" {
			ending := strings.ToLower(filepath.Ext(file))
			if ending == "" {
				ending, file = ".png", file+".png"
			}
			if form = o.endings[ending]; form == "" {
				s.failed("path", "%s: openloop draws .png and .svg", file)
			}
			if _, given := s.whole("dpi", 1); given {
				r.note("outputs[%d].dpi has no effect", i)
			}
		}
		if err := s.end(); err != nil {
			return err
		}
		out.Files = append(out.Files, form+"="+file)
		r.Args.Outputs = append(r.Args.Outputs, file)
	}
	return nil
}

// metrics reads what is kept and computed (schemas/benchmark/entrypoints.py, GenerativeMetricsArgs).
func (r *runReader) metrics(s *section) error {
	r.Spec.Output.SampleRequests = 10
	if len(s.rest) == 0 {
		return s.end()
	}
	s.kind([]string{"generative"}, nil)
	isNull := slices.Contains(s.rest, guidellm.Member{Key: "sample_size"})
	if n, given := s.whole("sample_size", 0); given {
		r.Spec.Output.SampleRequests = int(min(n, math.MaxInt32))
		r.Args.SampleRequests = guidellm.Some(n)
	} else if isNull { // all of them
		r.Spec.Output.SampleRequests = math.MaxInt32
		r.Args.SampleRequests = guidellm.Null[int64]{}
	}
	if on, given := s.truth("prefer_response_metrics"); given && !on {
		s.failed("prefer_response_metrics", "openloop reports the server's own token counts wherever it gives them")
	}
	if x, given := s.number("confidence", 0); given {
		r.note("metrics.confidence %v has no effect: the report has no intervals; openloop's own part has them", x)
	}
	s.refuse("openloop judges by --slo 'ttft:p95<250ms', openloop sweep searches by it; leave it out", "slo")
	s.refuse("openloop has warnings of its own; leave them out", "warnings")
	return s.end()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
