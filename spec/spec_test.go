package spec

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/tokens"
)

// good is a spec that nothing is wrong with.
func good(t *testing.T) Spec {
	t.Helper()
	address, _, err := endpoint.ParseBase("http://host:8000")
	if err != nil {
		t.Fatal(err)
	}
	return Spec{
		Endpoint:   endpoint.Config{Target: "http://host:8000", Address: address, ConnectTimeout: time.Second},
		Workload:   tokens.Spec{Synthetic: &tokens.SyntheticSpec{Prompt: tokens.Length{Mean: 256}}},
		Limits:     Limits{MaxDuration: 30 * time.Second},
		Plan:       Plan{Profile: "constant", Stages: []loadgen.Load{{Kind: loadgen.ConstantGap, Rate: 5}}},
		Confidence: 0.95,
		Output:     Output{Dir: "results"},
	}
}

func TestValidate(t *testing.T) {
	if err := good(t).Validate(); err != nil {
		t.Errorf("a good spec: %v", err)
	}
	sweep := func(s *Spec) {
		s.Plan = Plan{Profile: "sweep", Sweep: &Sweep{Size: 10, Search: &Search{Precision: 0.05}}}
	}
	s := good(t)
	sweep(&s)
	if err := s.Validate(); err != nil {
		t.Errorf("a good sweep: %v", err)
	}
	nan := math.NaN()
	for _, c := range []struct {
		field  string
		change func(*Spec)
	}{
		{"Endpoint", func(s *Spec) { s.Endpoint.Address = endpoint.Address{} }},
		{"Endpoint", func(s *Spec) { s.Endpoint.Sim = "fast" }},
		{"Endpoint.ConnectTimeout", func(s *Spec) { s.Endpoint.ConnectTimeout = 0 }},
		{"Endpoint.RequestTimeout", func(s *Spec) { s.Endpoint.RequestTimeout = -1 }},
		{"Endpoint.Insecure", func(s *Spec) { s.Endpoint.Insecure, s.Endpoint.CAFile = true, "ca.pem" }},
		{"Endpoint.ClientCert", func(s *Spec) { s.Endpoint.ClientCert = "client.pem" }},
		{"Endpoint.ServerName", func(s *Spec) { s.Endpoint.ServerName = "vllm.internal" }},
		{"Workload", func(s *Spec) { s.Workload.Synthetic = nil }},
		{"Workload", func(s *Spec) { s.Workload.Trace = &tokens.TraceSpec{File: "trace.jsonl"} }},
		{"Limits", func(s *Spec) { s.Limits.MaxDuration = 0 }},
		{"Limits.MaxDuration", func(s *Spec) { s.Limits.MaxDuration = -1 }},
		{"Limits.MaxRequests", func(s *Spec) { s.Limits.MaxRequests = -1 }},
		{"Limits.MaxErrors", func(s *Spec) { s.Limits.MaxErrors = -1 }},
		{"Limits.MaxErrorRate", func(s *Spec) { s.Limits.MaxErrorRate = 1.1 }},
		{"Limits.MaxErrorRate", func(s *Spec) { s.Limits.MaxErrorRate = nan }},
		{"Limits.MaxGlobalErrorRate", func(s *Spec) { s.Limits.MaxGlobalErrorRate = -0.1 }},
		{"Limits.Grace", func(s *Spec) { s.Limits.Grace = -1 }},
		{"Limits.RampUp", func(s *Spec) { s.Limits.RampUp = -1 }},
		{"Limits.MaxConcurrency", func(s *Spec) { s.Limits.MaxConcurrency = -1 }},
		{"Limits.Warmup", func(s *Spec) { s.Limits.Warmup.Percent = 1 }},
		{"Limits.Warmup", func(s *Spec) { s.Limits.Warmup.Value = 30 }},
		{"Limits.Cooldown", func(s *Spec) { s.Limits.Cooldown.Value = nan }},
		{"Plan", func(s *Spec) { s.Plan.Stages = nil }},
		{"Plan", func(s *Spec) { s.Plan.Sweep = &Sweep{Size: 2} }},
		{"Plan.Stages", func(s *Spec) {
			s.Limits.MaxConcurrency = 8
			s.Plan.Stages = []loadgen.Load{{Kind: loadgen.Concurrent, Streams: 9}}
		}},
		{"Plan.Sweep.Size", func(s *Spec) { sweep(s); s.Plan.Sweep.Size = 1 }},
		{"Plan.Sweep.Search.Precision", func(s *Spec) { sweep(s); s.Plan.Sweep.Search.Precision = 1 }},
		{"Plan.Sweep.Search.MaxStages", func(s *Spec) { sweep(s); s.Plan.Sweep.Search.MaxStages = -1 }},
		{"Plan.Sweep.Search.Budget", func(s *Spec) { sweep(s); s.Plan.Sweep.Search.Budget = -1 }},
		{"Plan.Sweep.Search.MaxPerStage", func(s *Spec) { sweep(s); s.Plan.Sweep.Search.MaxPerStage = -1 }},
		{"Confidence", func(s *Spec) { s.Confidence = 0.5 }},
		{"Confidence", func(s *Spec) { s.Confidence = 95 }},
		{"Output.SampleRequests", func(s *Spec) { s.Output.SampleRequests = -1 }},
	} {
		s := good(t)
		c.change(&s)
		err := s.Validate()
		var issue *Issue
		if !errors.As(err, &issue) || issue.Field != c.field || strings.Contains(issue.Text, "--") {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

// GuideLLM's ways to say how much of a stage is left out, and what they come to.
func TestTrim(t *testing.T) {
	timed := Limits{MaxDuration: 20 * time.Second}
	counted := Limits{MaxRequests: 100}
	both := Limits{MaxDuration: 20 * time.Second, MaxRequests: 100}
	for _, c := range []struct {
		name   string
		trim   Trim
		limits Limits
		want   time.Duration
	}{
		{"nothing", Trim{}, timed, 0},
		{"a share", TrimOf(0.1), timed, 2 * time.Second},
		{"seconds", TrimOf(3), timed, 3 * time.Second},
		{"requests, where they alone limit the stage", TrimOf(3), counted, 0},
		{"seconds, where both limit it", TrimOf(3), both, 3 * time.Second},
		{"requests preferred", Trim{Value: 3, Mode: PreferRequests}, both, 0},
		{"requests preferred and not limited", Trim{Value: 3, Mode: PreferRequests}, timed, 3 * time.Second},
		{"requests", Trim{Value: 3, Mode: ByRequests}, timed, 0},
	} {
		if got := c.trim.Duration(c.limits); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCostAmount(t *testing.T) {
	for _, test := range []struct {
		currency string
		sum      float64
		want     string
	}{
		{"$", 0.2011, "$0.20"}, {"€", 12.34, "€12.3"}, {"EUR", 1.1, "EUR 1.10"}, {"", 0.00421, "0.00421"},
		{"$", 0, "$0"},
	} {
		if got := (Cost{Currency: test.currency}).Amount(test.sum); got != test.want {
			t.Errorf("%v of %q: %q, want %q", test.sum, test.currency, got, test.want)
		}
	}
}
