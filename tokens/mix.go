package tokens

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/openloop/openloop/loadgen"
)

// Class is a part of a mix.
type Class struct {
	Name   string
	Weight float64 // its share of the arrivals, over the sum of all weights
	Model  string
	Spec   Spec // without a trace, and without SaveTo
}

// MostClasses is how many classes a mix may have.
const MostClasses = 32

// Mix is several workloads, whose requests arrive as one load: each arrival is drawn a class, by the weights. Its
// methods are those of a Workload.
type Mix struct {
	classes []Class
	work    []*Workload
	sums    []float64 // of the weights up to each class, over all of them
	seed    uint64
	drawn   []uint8 // the classes of the stage's requests so far
}

// OpenMix opens the classes. The seed is that of the arrivals: the same gives the same sequence of classes. What is
// wrong with a class is a [ClassError].
func OpenMix(classes []Class, seed int64) (*Mix, error) {
	if len(classes) == 0 || len(classes) > MostClasses {
		return nil, fmt.Errorf("%d classes: want 1 to %d", len(classes), MostClasses)
	}
	m := &Mix{classes: classes, seed: uint64(seed)}
	sum := 0.0
	for _, c := range classes {
		if !(c.Weight > 0) {
			return nil, &ClassError{c.Name, fmt.Errorf("weight %v: it must be above 0", c.Weight)}
		}
		sum += c.Weight
		m.sums = append(m.sums, sum)
	}
	for i, c := range classes {
		m.sums[i] /= sum
		if c.Spec.Trace != nil || c.Spec.SaveTo != "" {
			return nil, &ClassError{c.Name, errors.New("neither traces nor saving go with a mix")}
		}
		// Classes of one shape have prompts of their own.
		c.Spec.Seed += int64(i) * 7_919
		w, err := Open(c.Spec, c.Model)
		if err != nil {
			m.Close()
			return nil, &ClassError{c.Name, err}
		}
		w.class = uint8(i + 1)
		m.work = append(m.work, w)
	}
	return m, nil
}

// ClassError says which class something is wrong with.
type ClassError struct {
	Class string
	Err   error
}

// Error implements error.
func (e *ClassError) Error() string { return "class " + e.Class + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *ClassError) Unwrap() error { return e.Err }

// each does something with every class.
func (m *Mix) each(do func(w *Workload, c Class) error) error {
	for i, w := range m.work {
		if err := do(w, m.classes[i]); err != nil {
			return &ClassError{m.classes[i].Name, err}
		}
	}
	return nil
}

// Trials returns a request of each class, in their order: see Workload.Trials.
func (m *Mix) Trials() (items []Item, err error) {
	err = m.each(func(w *Workload, _ Class) error {
		of, err := w.Trials()
		items = append(items, of...)
		return err
	})
	return items, err
}

// Notes is Workload.Notes of all classes.
func (m *Mix) Notes() (notes, warnings []string) {
	for i, w := range m.work {
		n, also := w.Notes()
		for k := range n {
			notes = append(notes, "class "+m.classes[i].Name+": "+n[k])
		}
		for k := range also {
			warnings = append(warnings, "class "+m.classes[i].Name+": "+also[k])
		}
	}
	return notes, warnings
}

// Learn is Workload.Learn for all classes.
func (m *Mix) Learn(ctx context.Context, post Post) (warning string, err error) {
	for i, w := range m.work {
		text, err := w.Learn(ctx, post)
		if err != nil {
			return "", err
		}
		if text != "" && warning == "" {
			warning = "class " + m.classes[i].Name + ": " + text
		}
	}
	return warning, nil
}

// Source gives the requests of a stage: see Workload.Source.
func (m *Mix) Source(ctx context.Context, stage int) (next loadgen.Source, release func(), err error) {
	var sources []loadgen.Source
	var releases []func()
	release = func() {
		for _, r := range releases {
			r()
		}
	}
	err = m.each(func(w *Workload, _ Class) error {
		s, r, err := w.Source(ctx, stage)
		if err != nil {
			return err
		}
		sources, releases = append(sources, s), append(releases, r)
		return nil
	})
	if err != nil {
		release()
		return nil, nil, err
	}
	m.drawn = m.drawn[:0]
	draw := m.draws(stage)
	return func(i int) (loadgen.Request, error) {
		k := draw()
		r, err := sources[k](i)
		if err != nil {
			return r, &ClassError{m.classes[k].Name, err}
		}
		m.drawn = append(m.drawn, uint8(k))
		r.Class = m.work[k].class
		return r, nil
	}, release, nil
}

// draws draws the classes of a stage's requests one by one. Each stage has its own sequence.
func (m *Mix) draws(stage int) func() int {
	random := rand.New(rand.NewPCG(m.seed, uint64(stage)^0x6d6978)) // "mix": other numbers than the arrivals' gaps
	return func() int {
		k, _ := slices.BinarySearch(m.sums, random.Float64())
		return min(k, len(m.sums)-1)
	}
}

// Summary is Workload.Summary: of the first class what an endpoint showed, and the lengths of all.
func (m *Mix) Summary(stages []*loadgen.Measured) Summary {
	s := m.work[0].Summary(nil)
	var all LengthCheck
	for k, w := range m.work {
		c := w.lengths(stages)
		if k == 0 {
			all.Template = c.Template
		}
		all.Requests += c.Requests
		all.Exact += c.Exact
		all.Error = max(all.Error, c.Error)
	}
	if all.Requests > 0 {
		s.Lengths = &all
	}
	return s
}

// Warnings is Workload.Warnings of all classes.
func (m *Mix) Warnings(stages []*loadgen.Measured) (all []string) {
	for k, w := range m.work {
		for _, text := range w.Warnings(stages) {
			all = append(all, "class "+m.classes[k].Name+": "+text)
		}
	}
	return all
}

// TraceLoad is the zero Load: a mix has no trace.
func (m *Mix) TraceLoad() loadgen.Load { return loadgen.Load{} }

// Sent is Workload.Sent: the first n requests of the stage were begun.
func (m *Mix) Sent(n int) {
	began := make([]int, len(m.work))
	for _, k := range m.drawn[:min(n, len(m.drawn))] {
		began[k]++
	}
	for k, w := range m.work {
		w.Sent(began[k])
	}
	m.drawn = m.drawn[:0]
}

// Save does nothing: a mix is not saved.
func (m *Mix) Save(func(string) error) (bool, error) { return false, nil }

// Close is Workload.Close of all classes.
func (m *Mix) Close() {
	for _, w := range m.work {
		w.Close()
	}
}
