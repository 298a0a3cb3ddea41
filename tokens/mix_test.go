package tokens

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
)

func mixed(t *testing.T, seed int64) *Mix {
	t.Helper()
	of := func(name string, weight float64, tokens int) Class {
		return Class{Name: name, Weight: weight, Model: "model-" + name, Spec: Spec{
			Synthetic: &SyntheticSpec{Prompt: Length{Mean: tokens}, Output: Length{Mean: 4}},
			Tokenizer: "o200k_base", Seed: 7,
		}}
	}
	m, err := OpenMix([]Class{of("a", 6, 20), of("b", 3, 40), of("c", 1, 20)}, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// draw takes n requests of a stage.
func draw(t *testing.T, m *Mix, stage, n int) (all []loadgen.Request) {
	t.Helper()
	next, release, err := m.Source(context.Background(), stage)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for i := range n {
		r, err := next(i)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// Classes are drawn by their weights, the same in every run of one seed; each request is its class's own.
func TestMixDraws(t *testing.T) {
	const n = 4000
	all := draw(t, mixed(t, 1), 0, n)
	counts := map[uint8]int{}
	seen := map[string]bool{}
	for _, r := range all {
		counts[r.Class]++
		class := string("?abc"[r.Class])
		tokens := map[uint8]int32{1: 20, 2: 40, 3: 20}[r.Class]
		if !strings.Contains(string(r.Body), `"model-`+class+`"`) || r.PromptTokens != tokens {
			t.Fatalf("class %s has the request %s", class, r.Body)
		}
		if seen[string(r.Body)] {
			t.Fatalf("twice: %s", r.Body)
		}
		seen[string(r.Body)] = true
	}
	for class, share := range map[uint8]float64{1: 0.6, 2: 0.3, 3: 0.1} {
		// Four standard deviations of a binomial count.
		if off := math.Abs(float64(counts[class]) - n*share); off > 4*math.Sqrt(n*share*(1-share)) {
			t.Errorf("class %d has %d of %d requests", class, counts[class], n)
		}
	}
	classes := func(of []loadgen.Request) (c []uint8) {
		for _, r := range of {
			c = append(c, r.Class)
		}
		return c
	}
	if !slices.Equal(classes(all), classes(draw(t, mixed(t, 1), 0, n))) {
		t.Error("one seed draws two sequences")
	}
	for what, of := range map[string][]loadgen.Request{
		"stage": draw(t, mixed(t, 1), 1, n), "seed": draw(t, mixed(t, 2), 0, n),
	} {
		if slices.Equal(classes(all), classes(of)) {
			t.Errorf("another %s draws the same sequence", what)
		}
	}
}

// The endpoint's counts are looked at by class, of which each has a template of its own.
func TestMixLengths(t *testing.T) {
	m := mixed(t, 1)
	stage := &loadgen.Measured{}
	for _, r := range draw(t, m, 0, 50) {
		stage.Records = append(stage.Records, loadgen.Record{Class: r.Class, AskedPrompt: r.PromptTokens,
			PromptTokens: r.PromptTokens + 10*int32(r.Class)})
	}
	m.Sent(len(stage.Records))
	stages := []*loadgen.Measured{stage}
	if l := m.Summary(stages).Lengths; l == nil || l.Requests != 50 || l.Exact != 50 || l.Template != 10 {
		t.Errorf("%+v", l)
	}
	if w := m.Warnings(stages); len(w) != 0 {
		t.Error(w)
	}
	stage.Records[0].PromptTokens += 3
	name := string("?abc"[stage.Records[0].Class])
	if w := m.Warnings(stages); len(w) != 1 || !strings.HasPrefix(w[0], "class "+name+": 1 of ") {
		t.Error(w)
	}
}

func TestMixRefuses(t *testing.T) {
	good := Class{Name: "a", Weight: 1, Spec: Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 4}}}}
	change := func(do func(*Class)) []Class {
		c := good
		do(&c)
		return []Class{good, c}
	}
	for name, classes := range map[string][]Class{
		"none":      nil,
		"too many":  make([]Class, MostClasses+1),
		"no weight": change(func(c *Class) { c.Weight = 0 }),
		"a trace":   change(func(c *Class) { c.Spec = Spec{Trace: &TraceSpec{File: "x"}} }),
		"saving":    change(func(c *Class) { c.Spec.SaveTo = "x" }),
		"nothing":   change(func(c *Class) { c.Spec.Synthetic = nil }),
	} {
		if m, err := OpenMix(classes, 0); err == nil {
			m.Close()
			t.Errorf("%s: no error", name)
		}
	}
}
