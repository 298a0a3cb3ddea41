package main

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm/cli"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
	"github.com/openloop/openloop/tokens"
)

// TODO(session): this file carries a spec.Spec to the session of today, which reads loadFlags. It goes when the session
// runs a Spec.

// base is what openloop's own flags say of a run.
func (f *loadFlags) base() (spec.Spec, error) {
	objectives, err := f.parseObjectives()
	if err != nil {
		return spec.Spec{}, err
	}
	s := spec.Spec{Objectives: objectives, Confidence: f.confidence}
	s.Endpoint.CAFile, s.Endpoint.Insecure = f.caFile, f.insecure
	s.Endpoint.ConnectTimeout, s.Endpoint.RequestTimeout = f.connectTimeout, f.requestTimeout
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		// The text is not repeated: it may hold a secret.
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || strings.ContainsAny(value, "\r\n") {
			return s, usageError("a --header is not of the form 'Name: value'")
		}
		s.Endpoint.Headers = append(s.Endpoint.Headers, endpoint.Header{Name: name, Value: endpoint.NewSecret(value)})
	}
	s.Limits.Grace, s.Limits.MaxConcurrency = f.grace, f.maxConcurrency
	s.Output.Style, s.Output.AllowInvalid = spec.Style(f.consoleStyle), f.allowInvalid
	return s, nil
}

// take sets the flags as a Spec asks.
func (f *loadFlags) take(c *cli.Command) error {
	s := &c.Spec
	f.target, f.model, f.insecure, f.http2 = s.Endpoint.Target, s.Endpoint.Model, s.Endpoint.Insecure, s.Endpoint.HTTP2
	f.headers = nil
	for _, h := range s.Endpoint.Headers {
		f.headers = append(f.headers, h.Name+": "+h.Value.Reveal())
	}
	f.requestType = "chat_completions"
	if s.Workload.Format == tokens.TextCompletions {
		f.requestType = "text_completions"
	}
	f.seed, f.tokenizer, f.extraBody = c.Args.RandomSeed, s.Workload.Tokenizer, string(s.Workload.Extra)
	f.data = strings.TrimSpace(c.Args.Data[0])
	if d := s.Workload.Data; d != nil {
		f.dataSamples, f.dataShuffle = d.Samples, d.Shuffle
		if d.Columns != nil {
			text, err := json.Marshal(d.Columns)
			if err != nil {
				return err
			}
			f.dataColumns = string(text)
		}
	}
	f.maxSeconds, f.maxRequests = s.Limits.MaxDuration.Seconds(), s.Limits.MaxRequests
	f.maxErrors, f.rampup = s.Limits.MaxErrors, s.Limits.RampUp
	f.maxErrorRate, f.maxGlobalErrorRate = s.Limits.MaxErrorRate, s.Limits.MaxGlobalErrorRate
	f.outputDir, f.outputs, f.sampleRequests = s.Output.Dir, s.Output.Files, s.Output.SampleRequests
	f.quiet, f.consoleStyle = s.Output.Quiet, string(s.Output.Style)
	return nil
}

// runCommand runs what GuideLLM's command line asked for.
func runCommand(ctx context.Context, c *cli.Command, f *loadFlags, stdout, stderr io.Writer) error {
	if err := f.take(c); err != nil {
		return err
	}
	s, err := openSession(ctx, f, stdout, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	if c.Spec.Workload.NoStream {
		s.work.body, err = tokens.NewBody(tokens.BodyConfig{
			Format: c.Spec.Workload.Format, Model: s.run.Model, NoStream: true, Extra: c.Spec.Workload.Extra,
		})
		if err != nil {
			return usageError("--request-formatter-kwargs: extras.body: %w", err)
		}
		s.run.Stream = false
	}
	s.run.Args, s.run.Command = c.Args, c.Spec.Output.Command
	s.plan.Stage.Warmup = c.Spec.Limits.Warmup.Duration(c.Spec.Limits)
	s.plan.Stage.Cooldown = c.Spec.Limits.Cooldown.Duration(c.Spec.Limits)
	s.plan.Observe, s.run.OverSaturation = c.Observe(), c.OverSaturation
	p := c.Spec.Plan
	s.run.Profile = p.Profile
	var result *sweep.Result
	if p.Sweep != nil {
		s.run.Size = p.Sweep.Size
		s.watch(p.Sweep.Size)
		result, err = s.plan.Sweep(ctx, spec.Sweep{Size: p.Sweep.Size, Seed: p.Sweep.Seed})
	} else {
		for _, load := range p.Stages {
			if load.Kind.Open() {
				s.run.Rates = append(s.run.Rates, load.Rate)
			} else {
				s.run.Streams = append(s.run.Streams, load.Streams)
			}
		}
		s.watch(len(p.Stages))
		result, err = s.plan.Run(ctx, p.Stages)
	}
	return s.finish(result, err)
}
