package spec

import (
	"errors"
	"fmt"
	"math"

	"github.com/openloop/openloop/loadgen"
)

// Issue is something that is wrong with a Spec.
type Issue struct {
	Field string // such as Limits.MaxErrors
	Value string // of the field; "" where it is of no use
	Text  string
}

// Error implements error.
func (i *Issue) Error() string { return i.About(i.Field) }

// About is the issue with another name for its field, such as the flag that sets it.
func (i *Issue) About(name string) string {
	if i.Value != "" {
		name += " " + i.Value
	}
	return name + ": " + i.Text
}

// issues collects what is wrong.
type issues []error

// add takes in an issue if something is wrong. The value is nil where it is of no use.
func (all *issues) add(wrong bool, field string, value any, text string) {
	if !wrong {
		return
	}
	i := &Issue{Field: field, Text: text}
	if value != nil {
		i.Value = fmt.Sprint(value)
	}
	*all = append(*all, i)
}

const (
	negative = "it can't be negative"
	share    = "it is a share between 0 and 1"
)

// Validate says all that is wrong with a Spec, as Issues joined; nil if nothing.
func (s Spec) Validate() error {
	var all issues
	e := s.Endpoint
	all.add(e.Address.IsZero() == (e.Sim == ""), "Endpoint", nil, "it needs an address, or a simulated engine")
	all.add(e.ConnectTimeout <= 0, "Endpoint.ConnectTimeout", e.ConnectTimeout, "it must be above 0")
	all.add(e.RequestTimeout < 0, "Endpoint.RequestTimeout", e.RequestTimeout, negative)
	all.add(e.WaitReady < 0, "Endpoint.WaitReady", e.WaitReady, negative)
	all.add(e.Insecure && e.CAFile != "", "Endpoint.Insecure", nil,
		"with it no certificate is verified, so that no authorities can be given")
	for _, field := range []struct{ name, value string }{
		{"Endpoint.ClientCert", e.ClientCert}, {"Endpoint.ServerName", e.ServerName},
	} {
		all.add(field.value != "" && !e.Address.IsTLS(), field.name, nil, "it needs a target with TLS: https://")
	}

	w, sources := s.Workload, 0
	for _, given := range []bool{w.Synthetic != nil, w.Data != nil, w.Trace != nil} {
		if given {
			sources++
		}
	}
	all.add(sources != 1, "Workload", nil, "it needs synthetic prompts, data or a trace, and one of them only")
	l := s.Limits
	all.add(l.MaxDuration == 0 && l.MaxRequests == 0 && w.Trace == nil, "Limits", nil,
		"a stage needs a limit, by time or by requests")
	l.validate(&all)
	for _, of := range s.Plan.Limits {
		of.validate(&all)
	}
	s.Plan.validate(&all, l.MaxConcurrency)
	all.add(!(s.Confidence > 0.5 && s.Confidence < 1), "Confidence", s.Confidence,
		"it must lie between 0.5 and 1, such as 0.95")
	all.add(s.Output.SampleRequests < 0, "Output.SampleRequests", s.Output.SampleRequests, negative)
	return errors.Join(all...)
}

func (l Limits) validate(all *issues) {
	all.add(l.MaxDuration < 0, "Limits.MaxDuration", l.MaxDuration, negative)
	all.add(l.MaxRequests < 0, "Limits.MaxRequests", l.MaxRequests, negative)
	all.add(l.MaxErrors < 0, "Limits.MaxErrors", l.MaxErrors, negative)
	all.add(!isShare(l.MaxErrorRate), "Limits.MaxErrorRate", l.MaxErrorRate, share)
	all.add(!isShare(l.MaxGlobalErrorRate), "Limits.MaxGlobalErrorRate", l.MaxGlobalErrorRate, share)
	all.add(l.Retries < 0 || l.Retries > loadgen.MostRetries, "Limits.Retries", l.Retries,
		fmt.Sprintf("it must be between 0 and %d", loadgen.MostRetries))
	all.add(l.Grace < 0, "Limits.Grace", l.Grace, negative)
	all.add(l.RampUp < 0, "Limits.RampUp", l.RampUp, negative)
	all.add(l.MaxConcurrency < 0, "Limits.MaxConcurrency", l.MaxConcurrency, negative)
	for _, t := range []struct {
		field string
		trim  Trim
	}{{"Limits.Warmup", l.Warmup}, {"Limits.Cooldown", l.Cooldown}} {
		all.add(!(t.trim.Percent >= 0 && t.trim.Percent < 1), t.field, t.trim.Percent, share)
		all.add(!(t.trim.Value >= 0) || math.IsInf(t.trim.Value, 0), t.field, t.trim.Value, negative)
	}
	warm, cool := l.Warmup.Duration(l), l.Cooldown.Duration(l)
	all.add(l.MaxDuration > 0 && warm+cool >= l.MaxDuration, "Limits.Warmup", warm,
		fmt.Sprintf("with a cool-down of %v it leaves nothing of a stage of %v", cool, l.MaxDuration))
}

// validate checks a plan. maxConcurrency is that of the limits, 0 for the default.
func (p Plan) validate(all *issues, maxConcurrency int) {
	all.add((p.Sweep == nil) == (p.Stages == nil), "Plan", nil, "it needs stages or a sweep, and one of them only")
	if maxConcurrency == 0 {
		maxConcurrency = loadgen.DefaultMaxConcurrency
	}
	for _, load := range p.Stages {
		all.add(!load.Kind.Open() && load.Streams > maxConcurrency, "Plan.Stages", load.Streams,
			fmt.Sprintf("no more than %d requests may be in flight", maxConcurrency))
	}
	if p.Sweep == nil {
		return
	}
	all.add(p.Sweep.Size < 2, "Plan.Sweep.Size", p.Sweep.Size,
		"it must be at least 2, for the synchronous and the throughput stage")
	if f := p.Sweep.Search; f != nil {
		all.add(!(f.Precision >= 0 && f.Precision < 1), "Plan.Sweep.Search.Precision", f.Precision, share)
		all.add(f.MaxStages < 0, "Plan.Sweep.Search.MaxStages", f.MaxStages, negative)
		all.add(f.Budget < 0, "Plan.Sweep.Search.Budget", f.Budget, negative)
		all.add(f.MaxPerStage < 0, "Plan.Sweep.Search.MaxPerStage", f.MaxPerStage, negative)
	}
}

func isShare(v float64) bool { return v >= 0 && v <= 1 }
