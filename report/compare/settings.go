package compare

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/report"
)

// settingsOf is what was run, one value a run; what the runs have in common comes last.
func settingsOf(results []*report.Result) []Setting {
	var all []Setting
	add := func(name string, of func(r *report.Result) string) {
		s := Setting{Name: name}
		for _, r := range results {
			s.Values = append(s.Values, of(r))
		}
		s.Differs = slices.ContainsFunc(s.Values, func(v string) bool { return v != s.Values[0] })
		if s.Differs || s.Values[0] != "" {
			all = append(all, s)
		}
	}
	add("engine", func(r *report.Result) string { return r.Engine.String() })
	config := func(r *report.Result) map[string]string {
		if r.Engine == nil {
			return nil
		}
		return r.Engine.Config
	}
	for _, key := range keysOf(results, config) {
		add(key, func(r *report.Result) string { return config(r)[key] })
	}
	for _, key := range keysOf(results, func(r *report.Result) map[string]string { return r.Asked.Labels }) {
		add("label "+key, func(r *report.Result) string { return r.Asked.Labels[key] })
	}
	add("target", func(r *report.Result) string { return r.Asked.Target })
	add("model", func(r *report.Result) string { return r.Asked.Model })
	add("workload", workloadOf)
	add("requests", func(r *report.Result) string { return r.Asked.Request })
	add("arrivals", arrivalsOf)
	add("objectives", func(r *report.Result) string { return r.Asked.SLO() })
	add("profile", func(r *report.Result) string { return r.Asked.Profile })
	add("arrival seed", func(r *report.Result) string { return fmt.Sprint(r.Asked.Seed) })
	add("openloop", func(r *report.Result) string { return r.Version })
	add("client cores", func(r *report.Result) string {
		if cores := coresOf(r); cores > 0 {
			return num.Exact(num.Round(cores))
		}
		return ""
	})
	add("time stamps", func(r *report.Result) string {
		for i := range r.Stages {
			if s := r.Stages[i].Client.Measurements.Stamps; s != "" {
				return s
			}
		}
		return ""
	})
	slices.SortStableFunc(all, func(a, b Setting) int {
		switch {
		case a.Differs == b.Differs:
			return 0
		case a.Differs:
			return -1
		}
		return 1
	})
	return all
}

// keysOf are the keys of all runs' maps, in order.
func keysOf(results []*report.Result, of func(*report.Result) map[string]string) []string {
	all := map[string]bool{}
	for _, r := range results {
		for key := range of(r) {
			all[key] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// coresOf is how many processors the client of a run had; 0 where that is not known.
func coresOf(r *report.Result) float64 {
	for i := range r.Stages {
		if c := r.Stages[i].Client.Measurements.CPULimit; c > 0 {
			return c
		}
	}
	return 0
}

// arrivalsOf names the arrival processes of a run's open loops.
func arrivalsOf(r *report.Result) string {
	var all []string
	for i := range r.Stages {
		if l := r.Stages[i].Load; l.Kind.Open() && !slices.Contains(all, l.Arrivals().String()) {
			all = append(all, l.Arrivals().String())
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// workloadOf is a run's workload, that of synthetic prompts in few words: "256→128 tokens". GuideLLM's reports and
// openloop's write the same in different ways.
func workloadOf(r *report.Result) string {
	text := strings.TrimSpace(r.Asked.Workload)
	pairs := map[string]string{}
	var object map[string]any
	if json.Unmarshal([]byte(text), &object) == nil {
		for key, value := range object {
			pairs[key] = fmt.Sprint(value)
		}
	} else {
		for part := range strings.SplitSeq(text, ",") {
			key, value, ok := strings.Cut(part, "=")
			if !ok {
				return text
			}
			pairs[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	if pairs["kind"] == "synthetic_text" {
		delete(pairs, "kind")
	}
	prompt, output := pairs["prompt_tokens"], pairs["output_tokens"]
	if prompt == "" {
		return text
	}
	delete(pairs, "prompt_tokens")
	delete(pairs, "output_tokens")
	words := prompt + "→" + output + " tokens"
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		words += fmt.Sprintf(", %s %s", strings.ReplaceAll(key, "_", " "), pairs[key])
	}
	return words
}

// refuse says what keeps a run from being compared with the base.
func (c *Comparison) refuse(anyway bool) error {
	base := c.results[0]
	var hard, soft []string
	for k, r := range c.results {
		if len(r.Stages) == 0 {
			hard = append(hard, c.Runs[k]+" has no stage")
		}
		if k == 0 {
			continue
		}
		differ := func(what, a, b string) {
			if a != b && a != "" && b != "" {
				soft = append(soft, fmt.Sprintf("%s differ: %s in %s, %s in %s", what, a, c.Runs[0], b, c.Runs[k]))
			}
		}
		differ("workloads", workloadOf(base), workloadOf(r))
		differ("kinds of request", base.Asked.Request, r.Asked.Request)
		a, b := arrivalsOf(base), arrivalsOf(r)
		if a != "" && b != "" && !slices.ContainsFunc(strings.Split(a, ", "),
			func(s string) bool { return slices.Contains(strings.Split(b, ", "), s) }) {
			hard = append(hard, fmt.Sprintf("arrivals differ: %s in %s, %s in %s", a, c.Runs[0], b, c.Runs[k]))
		}
	}
	switch {
	case hard != nil:
		return &RefusedError{Reasons: append(hard, soft...)}
	case soft != nil && !anyway:
		return &RefusedError{Reasons: soft, Despite: true}
	}
	for _, s := range soft {
		c.Warnings = append(c.Warnings, s+": compared because it was asked for")
	}
	return nil
}
