package main

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// mostEngines is how many engines --server-metrics may name.
const mostEngines = mostTargets

// namedMetrics is NAME=URL.
var namedMetrics = regexp.MustCompile(`^([A-Za-z0-9_.-]+)=(.*)$`)

// parseServerMetrics reads --server-metrics.
func (f *specFlags) parseServerMetrics() (c endpoint.MetricsConfig, err error) {
	const flag = "server-metrics"
	n := len(f.serverMetrics)
	if n > mostEngines {
		return c, usageError("--%s: %d engines; the most are %d", flag, n, mostEngines)
	}
	for _, text := range f.serverMetrics {
		switch {
		case text == "":
			return c, usageError("--%s is empty: it is auto, off, or a URL", flag)
		case text != "auto" && text != "off":
		case n > 1:
			return c, withHint(usageError("--%s %s stands alone", flag, text), "NAME=URL names each of several engines")
		default:
			c.Off = text == "off"
			return c, nil
		}
		s := endpoint.MetricsSource{}
		address := text
		if m := namedMetrics.FindStringSubmatch(text); m != nil {
			s.Name, address = m[1], m[2]
		}
		if s.Address, s.Login, err = endpoint.ParseAddress(address); err != nil {
			return c, usageError("--%s: %w", flag, err)
		}
		if s.Name == "" && n > 1 {
			s.Name = unnamed(s.Address)
		}
		if slices.ContainsFunc(c.Sources, func(of endpoint.MetricsSource) bool { return of.Name == s.Name }) {
			return c, usageError("--%s: two engines are named %s; NAME=URL tells them apart", flag, s.Name)
		}
		c.Sources = append(c.Sources, s)
	}
	return c, nil
}

// unnamed is the name of an engine that was given none: its host, or its socket.
func unnamed(a endpoint.Address) string {
	text := strings.TrimSuffix(a.Root("").String(), "/")
	_, host, _ := strings.Cut(text, "://")
	return host
}

// metrics finds the engines' own metrics, nil where there are none.
func (s *session) metrics(ctx context.Context) (*enginemetrics.Sources, error) {
	config := s.spec.Endpoint.Metrics
	if config.Off {
		return nil, nil
	}
	all := s.metricsSources()
	asked := len(config.Sources) > 0
	trials := all.Try(ctx)
	failed := 0
	for _, t := range trials {
		if t.Err != nil {
			failed++
		}
	}
	switch first := trials[0].Err; {
	case failed < len(trials):
	case asked && len(trials) > 1:
		return nil, usageError("--server-metrics: none of %d can be read; %s: %w", len(trials), all.All[0].Name, first)
	case asked:
		return nil, usageError("--server-metrics: %w", first)
	default:
		return nil, nil // there is nothing to say about what was not asked for
	}
	var kept []*enginemetrics.Source
	also := map[*enginemetrics.Source][]string{} // further names of an engine
	for k, t := range trials {
		m := all.All[k]
		switch {
		case t.Err != nil && !asked:
			s.say("target %s has no metrics of its engine, others have: %v", m.Name, t.Err)
			continue
		case t.Same != nil:
			s.say("the metrics of %s are those of %s: it is one engine, and counted once", m.Name, t.Same.Name)
			also[t.Same] = append(also[t.Same], m.Name)
			continue
		case t.Err != nil: // it may still come
			s.warn("--server-metrics: %s can't be read, the others can: %v", m.Name, t.Err)
		}
		kept = append(kept, m)
	}
	for m, names := range also {
		m.Name = joinedName(append([]string{m.Name}, names...))
	}
	all.All = kept
	return all, nil
}

// joinedName names one engine that has several names: direct+proxied.
func joinedName(names []string) string {
	const longest = 40
	if text := strings.Join(names, "+"); len(text) <= longest {
		return text
	}
	return fmt.Sprintf("%s+%d", names[0], len(names)-1)
}

// metricsSources are those that were asked for, or /metrics at the host of each target.
func (s *session) metricsSources() *enginemetrics.Sources {
	config := s.spec.Endpoint.Metrics
	all := &enginemetrics.Sources{}
	for _, c := range config.Sources {
		m := &enginemetrics.Source{Name: c.Name, Address: c.Address,
			Client: &http.Client{Transport: s.endpoint.Transport(c.Address)}}
		if !c.Login.IsEmpty() {
			m.Headers = []endpoint.Header{{Name: "Authorization", Value: c.Login}}
		}
		all.All = append(all.All, m)
	}
	if len(all.All) > 0 {
		return all
	}
	endpoints := []*endpoint.Endpoint{s.endpoint}
	if len(s.spec.Targets) > 0 {
		endpoints, all.Apart = s.endpoints, true
	}
	for k, e := range endpoints {
		m := &enginemetrics.Source{Address: e.Base().Root("/metrics")}
		m.Client = &http.Client{Transport: e.Transport(m.Address)}
		m.Headers = s.spec.Endpoint.Headers // the same host: what may be sent to the one may be sent to the other
		if len(s.spec.Targets) > 0 {
			m.Name = s.spec.Targets[k].Name
		}
		all.All = append(all.All, m)
	}
	return all
}

// ask asks the endpoint once what serves it, nil where it does not say, and the engines that have a name.
func (s *session) ask(
	ctx context.Context, metrics *enginemetrics.Sources,
) (info *enginemetrics.Info, engines []report.Engine) {
	asker := enginemetrics.Asker{
		Base: s.endpoint.Base(), Headers: s.spec.Endpoint.Headers,
		Client: &http.Client{Transport: s.endpoint.Transport(s.endpoint.Base())},
		Models: s.models, Model: s.model,
		ListOnly: s.spec.Endpoint.Metrics.Off,
	}
	if metrics == nil {
		return asker.Ask(ctx), nil
	}
	var asking sync.WaitGroup
	for _, m := range metrics.All {
		if m.Name != "" {
			engines = append(engines, report.Engine{Name: m.Name})
		}
	}
	for k := range engines {
		m := metrics.All[k]
		of := enginemetrics.Asker{Base: m.Address, Headers: m.Headers, Client: m.Client, Metrics: m}
		asking.Go(func() { engines[k].Engine = of.Ask(ctx) })
	}
	asking.Wait()
	asker.Metrics = metrics.All[0]
	if k := slices.IndexFunc(engines, func(e report.Engine) bool { return e.Engine != nil }); k > 0 {
		asker.Metrics = metrics.All[k] // the ones before it did not answer
	}
	return asker.Ask(ctx), engines
}

// describe says where metrics are read.
func describe(m *enginemetrics.Source) string {
	address := endpoint.RedactUserinfo(m.Address.String())
	if m.Name == "" {
		return address
	}
	return fmt.Sprintf("%s=%s", m.Name, address)
}
