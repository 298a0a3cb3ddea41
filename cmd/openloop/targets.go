package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// mostTargets is how many targets a load may be spread over.
const mostTargets = 64

// namedTarget is NAME=URL.
var namedTarget = regexp.MustCompile(`^([A-Za-z0-9_.-]+)=((?:https?|unix)://.*|sim:.*)$`)

// parseTargets reads --target, given several times; nil where it was given once.
func (f *specFlags) parseTargets(first endpoint.Config) ([]spec.Target, error) {
	if len(f.targets) < 2 {
		if len(f.weights) > 0 {
			return nil, usageError("--target-weights needs several --target")
		}
		return nil, nil
	}
	switch n := len(f.targets); {
	case n > mostTargets:
		return nil, usageError("%d targets: a load can be spread over %d at most", n, mostTargets)
	case len(f.weights) > 0 && len(f.weights) != n:
		return nil, usageError("--target-weights has %d numbers, for %d targets", len(f.weights), n)
	case f.serverName != "":
		return nil, usageError("--server-name goes with one target")
	}
	var targets []spec.Target
	for i, text := range f.targets {
		t := spec.Target{Weight: 1, Endpoint: first}
		if len(f.weights) > 0 {
			if t.Weight = f.weights[i]; t.Weight < 1 || t.Weight > 1000 {
				return nil, usageError("--target-weights %d: want whole numbers from 1 to 1000", t.Weight)
			}
		}
		name, address := splitTarget(text)
		if strings.HasPrefix(address, simScheme) {
			return nil, withHint(
				usageError("--target %s: a simulated engine in the process is the only target", address),
				"openloop simulate --replicas 2 serves several")
		}
		e := &t.Endpoint
		login, err := setAddress(e, address)
		if err != nil {
			return nil, err
		}
		if !login.IsEmpty() {
			return nil, withHint(usageError("--target: one of several can't have a name and a password"),
				"--header 'Authorization: Basic …' goes to all of them")
		}
		if t.Name = name; name == "" {
			t.Name = strings.TrimPrefix(strings.TrimPrefix(e.Target, "http://"), "https://")
		}
		if slices.ContainsFunc(targets, func(of spec.Target) bool { return of.Name == t.Name }) {
			return nil, usageError("--target: two targets are named %s; NAME=URL tells them apart", t.Name)
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// shownTargets are targets as people name them.
func shownTargets(targets []spec.Target) string {
	var all []string
	for _, t := range targets {
		text := t.Endpoint.Target
		if !strings.HasSuffix(text, "://"+t.Name) {
			text = t.Name + "=" + text
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// splitTarget splits NAME=URL; the name is empty where there is none.
func splitTarget(text string) (name, address string) {
	if m := namedTarget.FindStringSubmatch(text); m != nil {
		return m[1], m[2]
	}
	return "", text
}

// openTargets opens the targets behind the first, and makes sure that each can be asked for the models. Where they list
// their models, each has to have them.
func (s *session) openTargets(ctx context.Context) error {
	asked := s.askedModels(s.model)
	if len(s.models) > 0 {
		for _, name := range asked {
			if err := mustServe("the endpoint", s.models, name); err != nil {
				return err
			}
		}
	}
	s.endpoints = []*endpoint.Endpoint{s.endpoint}
	for i := 1; i < len(s.spec.Targets); i++ {
		t := &s.spec.Targets[i]
		e, err := endpoint.Open(t.Endpoint)
		if err != nil {
			return refuse(err)
		}
		list, err := s.list(ctx, &e, asked...)
		s.endpoints = append(s.endpoints, e)
		if errors.Is(err, endpoint.ErrNoModels) && len(s.models) == 0 {
			continue // as the first one lists none
		}
		if err != nil {
			return refusal(ctx, fmt.Errorf("target %s: %w", t.Name, err))
		}
		for _, name := range asked {
			if err := mustServe("target "+t.Name, list.Models, name); err != nil {
				return err
			}
		}
	}
	for _, c := range s.spec.Mix {
		var own []*endpoint.Endpoint
		if len(c.Headers) > 0 {
			for i := range s.endpoints {
				config := s.spec.Endpoint
				if len(s.spec.Targets) > 0 {
					config = s.spec.Targets[i].Endpoint
				}
				config.Address = s.endpoints[i].Base()
				config.Sim, config.Headers = "", withHeaders(config.Headers, c.Headers)
				e, err := endpoint.Open(config)
				if err != nil {
					return refuse(err)
				}
				own = append(own, e)
			}
		}
		s.classes = append(s.classes, own)
	}
	return nil
}

// askedModels are the models that requests ask for, where model is the endpoint's; empty: the first that it lists.
func (s *session) askedModels(model string) (all []string) {
	for _, c := range mixOf(&s.spec, model) {
		if c.Model != "" && !slices.Contains(all, c.Model) {
			all = append(all, c.Model)
		}
	}
	if len(s.spec.Mix) == 0 && model != "" {
		all = append(all, model)
	}
	return all
}

// tryAll looks at the trials of all kinds of requests, at all targets.
func (s *session) tryAll(ctx context.Context, items []tokens.Item) error {
	for k, item := range items {
		workload, endpoints, of := s.spec.Workload, s.endpoints, ""
		if s.spec.Mix != nil {
			c := &s.spec.Mix[k]
			workload, of = c.Workload, "class "+c.Name
			if s.classes[k] != nil {
				endpoints = s.classes[k]
			}
		}
		for i := range endpoints {
			at := of
			if len(s.spec.Targets) > 0 {
				at = strings.TrimPrefix(of+", target "+s.spec.Targets[i].Name, ", ")
			}
			if err := s.try(ctx, &endpoints[i], item, workload, at); err != nil {
				return err
			}
		}
	}
	s.endpoint = s.endpoints[0] // it may have been found elsewhere
	return nil
}

// turns gives each request of a source its target: they take turns, each so often in a round as its weight says, and
// not one after the other, so that rounds of unequal weights are even, too.
func turns(targets []spec.Target) []uint8 {
	total := 0
	for _, t := range targets {
		total += t.Weight
	}
	credit := make([]int, len(targets))
	order := make([]uint8, 0, total)
	for range total {
		best := 0
		for k, t := range targets {
			if credit[k] += t.Weight; credit[k] > credit[best] {
				best = k
			}
		}
		credit[best] -= total
		order = append(order, uint8(best))
	}
	return order
}

// spread makes a source one whose requests go to the targets in turn.
func spread(targets []spec.Target, from sourceOf) sourceOf {
	if len(targets) < 2 {
		return from
	}
	order := turns(targets)
	return func(ctx context.Context, stage int) (loadgen.Source, func(), error) {
		next, release, err := from(ctx, stage)
		if err != nil {
			return nil, nil, err
		}
		return func(i int) (loadgen.Request, error) {
			r, err := next(i)
			r.Target = order[i%len(order)]
			return r, err
		}, release, nil
	}
}

// sourceOf gives the requests of a stage, as sweep.Plan.Source does.
type sourceOf = func(ctx context.Context, stage int) (loadgen.Source, func(), error)

// openClient prepares to send to all targets, with the headers of all classes.
func (s *session) openClient() (*loadgen.Client, error) {
	targetsOf := func(endpoints []*endpoint.Endpoint) (targets []loadgen.Target) {
		for _, e := range endpoints {
			targets = append(targets, e.Target(s.path()))
		}
		return targets
	}
	var classes [][]loadgen.Target
	for _, own := range s.classes {
		classes = append(classes, targetsOf(own))
	}
	return loadgen.NewClients(targetsOf(s.endpoints), classes)
}
