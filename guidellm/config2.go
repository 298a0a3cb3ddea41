package guidellm

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// laterConfig is how a stage was run (benchmark/schemas/base.py). It asks for no intervals of confidence and no
// warnings: the report has none.
func laterConfig(r *Report, b *Benchmark) Object {
	c := &b.Config
	return Object{
		{"id_", c.ID}, {"run_id", c.RunID}, {"run_index", c.RunIndex}, {"strategy", c.Strategy},
		{"constraints", laterConstraints(c)}, {"sample_size", nil}, {"warmup", transientObject(c.Warmup)},
		{"cooldown", transientObject(c.Cooldown)}, {"prefer_response_metrics", c.PreferResponseMetrics}, {"slo", nil},
		{"confidence", nil}, {"warnings", []any{}}, {"profile", laterProfile(r)},
		{"requests", Object{{"kind", "pytorch"}, {"samples", r.Args.DataSamples}}},
		{"backend", laterBackend(r, b)}, {"environment", c.Environment},
	}
}

// laterConstraints are the limits of a stage (scheduler/constraints).
func laterConstraints(c *Config) Object {
	var limits constraints
	_ = DecodeFree(c.Constraints, &limits) // what is not there stays nil
	out := Object{}
	add := func(kind string, args ...Member) {
		args = append([]Member{{"kind", kind}, {"stopping_scope", "current"}}, args...)
		out = append(out, Member{kind, Object{{"type_", kind}, {"args", Object(args)}, {"current_index", int64(0)}}})
	}
	if l := limits.MaxSeconds; l != nil {
		add("max_duration", Member{"seconds", l.MaxDuration})
	}
	if l := limits.MaxRequests; l != nil {
		add("max_requests", Member{"count", l.MaxNum})
	}
	if l := limits.MaxErrors; l != nil {
		add("max_errors", Member{"count", l.MaxErrors})
	}
	if l := limits.MaxErrorRate; l != nil {
		add("max_error_rate", Member{"rate", l.MaxErrorRate}, Member{"window", l.WindowSize})
	}
	if l := limits.MaxGlobalErrorRate; l != nil {
		add("max_global_error_rate", Member{"rate", l.MaxErrorRate}, Member{"minimum", l.MinProcessed})
	}
	if l := limits.OverSaturation; l != nil {
		add("over_saturation", Member{"mode", "enforce"}, Member{"min_seconds", l.MinimumDuration},
			Member{"max_window_seconds", l.MaximumWindowSeconds}, Member{"moe_threshold", l.MOEThreshold},
			Member{"minimum_ttft", l.MinimumTTFT}, Member{"maximum_window_ratio", l.MaximumWindowRatio},
			Member{"minimum_window_size", l.MinimumWindowSize}, Member{"confidence", l.Confidence})
	}
	return out
}

func transientObject(t Transient) Object {
	var percent any
	if t.Percent.Valid {
		percent = t.Percent.Value
	}
	return Object{{"percent", percent}, {"value", t.Value}, {"mode", t.Mode}}
}

// laterScenario is what was asked for (schemas/benchmark/entrypoints.py, BenchmarkScenario).
func laterScenario(r *Report) Object {
	if r.Scenario != nil {
		return r.Scenario
	}
	a := &r.Args
	var first *Benchmark
	if len(r.Benchmarks) > 0 {
		first = r.Benchmarks[0]
	}
	limits := []any{}
	if a.MaxSeconds != nil {
		limits = append(limits, Object{{"kind", "max_duration"}, {"seconds", a.MaxSeconds}})
	}
	if a.MaxRequests.Valid {
		limits = append(limits, Object{{"kind", "max_requests"}, {"count", a.MaxRequests.Value}})
	}
	if a.MaxErrors.Valid {
		limits = append(limits, Object{{"kind", "max_errors"}, {"count", a.MaxErrors.Value}})
	}
	if a.MaxErrorRate.Valid {
		limits = append(limits, Object{{"kind", "max_error_rate"}, {"rate", a.MaxErrorRate.Value}})
	}
	if a.MaxGlobalErrorRate.Valid {
		limits = append(limits, Object{{"kind", "max_global_error_rate"}, {"rate", a.MaxGlobalErrorRate.Value}})
	}
	spec := Object{
		{"backend", laterBackend(r, first)}, {"profile", laterProfile(r)}, {"constraints", limits},
		{"data", []any{laterData(a.Data)}}, {"seed", Object{{"kind", "static"}, {"value", a.RandomSeed}}},
		{"outputs", []any{Object{{"kind", "json"}}}},
		{"metrics", Object{{"kind", "generative"}, {"confidence", nil}, {"warnings", []any{}}}},
	}
	return Object{{"metadata", Object{{"labels", Object{}}}}, {"spec", spec}, {"benchmarks", []any{nil}}}
}

func laterBackend(r *Report, b *Benchmark) Object {
	format := "/v1/chat/completions"
	switch request := freeText(r.Args.DataRequestFormatter); request {
	case "text_completions":
		format = "/v1/completions"
	case "responses":
		format = "/v1/responses"
	}
	model := r.Args.Model.Value
	if b != nil && b.Config.Model() != "" {
		model = b.Config.Model()
	}
	return Object{{"kind", "openai_http"}, {"target", r.Args.Target}, {"model", model}, {"request_format", format}}
}

// freeText is a string of free form, written or read; "" for anything else.
func freeText(free any) string {
	var text string
	if raw, err := marshalFree(free); err != nil || json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// laterProfile is the load that was asked for, in schema 2's words.
func laterProfile(r *Report) Object {
	kind, rates := r.Args.Profile, r.Args.Rate
	p := Object{{"kind", kind}}
	whole := make([]any, len(rates))
	for i, rate := range rates {
		whole[i] = int64(math.Max(1, math.Round(rate)))
	}
	switch kind {
	case "synchronous":
	case "concurrent":
		p = append(p, Member{"streams", whole})
	case "throughput":
		if len(whole) > 0 {
			p = append(p, Member{"max_concurrency", whole[0]})
		}
	case "constant", "poisson":
		values := make([]any, len(rates))
		for i, rate := range rates {
			values[i] = rate
		}
		p = append(p, Member{"rate", values})
	default:
		p = Object{{"kind", "sweep"}}
		if len(rates) > 0 && rates[0] >= 2 {
			p = append(p, Member{"sweep_size", whole[0]})
		}
		if i := slices.IndexFunc(r.Benchmarks, func(b *Benchmark) bool { return b.Config.Load().Open() }); i >= 0 {
			p = append(p, Member{"strategy_type", r.Benchmarks[i].Config.Load().Type})
		}
	}
	return p
}

// laterData is the workload. What is no synthetic text of numbers is told as the name of a file.
func laterData(data []string) Object {
	text := strings.Join(data, " ")
	o := Object{{"kind", "synthetic_text"}}
	for _, part := range strings.Split(text, ",") {
		if part == "kind=synthetic_text" {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseInt(value, 10, 64)
		known := slices.Contains([]string{
			"prompt_tokens", "prompt_tokens_stdev", "prompt_tokens_min", "prompt_tokens_max", "output_tokens",
			"output_tokens_stdev", "output_tokens_min", "output_tokens_max",
		}, key)
		if !ok || err != nil || !known || n <= 0 {
			return Object{{"kind", "text_file"}, {"path", text}}
		}
		o = append(o, Member{key, n})
	}
	if o.Get("prompt_tokens") == nil {
		return Object{{"kind", "text_file"}, {"path", text}}
	}
	return o
}
