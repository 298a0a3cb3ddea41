package main

import (
	"slices"
	"testing"

	"github.com/openloop/openloop/spec"
)

// Targets take turns evenly, whatever their weights.
func TestTurns(t *testing.T) {
	for _, c := range []struct{ weights, want []int }{
		{[]int{1, 1}, []int{0, 1}},
		{[]int{1, 1, 1}, []int{0, 1, 2}},
		{[]int{2, 1}, []int{0, 1, 0}},
		{[]int{5, 1, 1}, []int{0, 0, 1, 0, 2, 0, 0}},
		{[]int{3, 3}, []int{0, 1, 0, 1, 0, 1}},
	} {
		var targets []spec.Target
		for _, w := range c.weights {
			targets = append(targets, spec.Target{Weight: w})
		}
		var got []int
		for _, k := range turns(targets) {
			got = append(got, int(k))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("weights %v: %v, want %v", c.weights, got, c.want)
		}
	}
}

func TestSplitTarget(t *testing.T) {
	for text, want := range map[string][2]string{
		"http://host:8000":            {"", "http://host:8000"},
		"a=http://host:8000":          {"a", "http://host:8000"},
		"gpu-1.x=https://h/v1?a=http": {"gpu-1.x", "https://h/v1?a=http"},
		"u=unix:///run/a.sock":        {"u", "unix:///run/a.sock"},
		"http://host/?to=http://b":    {"", "http://host/?to=http://b"},
		"sim:fast?ttft=1ms":           {"", "sim:fast?ttft=1ms"},
	} {
		name, address := splitTarget(text)
		if got := [2]string{name, address}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
