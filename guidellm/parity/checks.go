package parity

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/openloop/openloop/guidellm"
)

// differentLoad says why two reports are not of the same load.
func differentLoad(g, o *guidellm.Report) []string {
	var reasons []string
	if a, b := canonicalData(g.Args.Data), canonicalData(o.Args.Data); a != b {
		reasons = append(reasons, fmt.Sprintf("other data: %q and %q", strings.Join(g.Args.Data, " "),
			strings.Join(o.Args.Data, " ")))
	}
	if a, b := requestType(g), requestType(o); a != b {
		reasons = append(reasons, fmt.Sprintf("other requests: %s and %s", a, b))
	}
	if a, b := modelOf(g), modelOf(o); a != b && a != "" && b != "" {
		reasons = append(reasons, fmt.Sprintf("other models: %q and %q", a, b))
	}
	return reasons
}

// differentLimits warns of what differs and yet leaves the metrics comparable.
func differentLimits(g, o *guidellm.Report) []string {
	var warnings []string
	differ := func(what string, a, b any) {
		x, y := fmt.Sprint(plain(a)), fmt.Sprint(plain(b))
		if x != y {
			warnings = append(warnings, fmt.Sprintf("%s: %s in GuideLLM's run, %s in openloop's", what, x, y))
		}
	}
	differ("max_seconds", g.Args.MaxSeconds, o.Args.MaxSeconds)
	differ("max_requests", nullable(g.Args.MaxRequests), nullable(o.Args.MaxRequests))
	differ("warmup", g.Args.Warmup, o.Args.Warmup)
	differ("cooldown", g.Args.Cooldown, o.Args.Cooldown)
	return warnings
}

func nullable[T any](n guidellm.Null[T]) any {
	if !n.Valid {
		return nil
	}
	return n.Value
}

// plain makes values that mean the same print the same: 3 and 3.0, nil and "none".
func plain(v any) any {
	raw, err := json.Marshal(v) // what was read is JSON already
	if err == nil && json.Unmarshal(raw, &v) != nil || v == nil {
		return "none"
	}
	return v
}

// canonicalData writes data sources so that those that mean the same are equal: "kind=synthetic_text,a=1,b=2" and
// {"b":2,"a":1} are.
func canonicalData(data []string) string {
	var out []string
	for _, text := range data {
		out = append(out, canonicalSource(strings.TrimSpace(text)))
	}
	return strings.Join(out, "\n")
}

func canonicalSource(text string) string {
	values := map[string]any{}
	switch {
	case strings.HasPrefix(text, "{"):
		if json.Unmarshal([]byte(text), &values) != nil {
			return text
		}
	case strings.Contains(text, "="):
		for _, pair := range strings.Split(text, ",") {
			key, value, _ := strings.Cut(pair, "=")
			values[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	default:
		return text
	}
	var lines []string
	for key, value := range values {
		if key == "kind" || key == "type_" || value == nil {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s=%v", key, value))
	}
	slices.Sort(lines)
	return strings.Join(lines, ",")
}

func requestType(r *guidellm.Report) string {
	var settings struct {
		RequestType string `json:"request_type"`
	}
	name, isText := plain(r.Args.DataRequestFormatter).(string)
	if !isText && guidellm.DecodeFree(r.Args.DataRequestFormatter, &settings) == nil {
		name = settings.RequestType
	}
	return name
}

func modelOf(r *guidellm.Report) string {
	for _, b := range r.Benchmarks {
		if m := b.Config.Model(); m != "" {
			return m
		}
	}
	return r.Args.Model.Value
}

// faults names the known faults that a stage of GuideLLM shows.
func faults(s guidellm.Strategy, b *guidellm.Benchmark, v *view) []string {
	var out []string
	warn := func(format string, args ...any) { out = append(out, "GuideLLM: "+fmt.Sprintf(format, args...)) }
	m := &b.Metrics
	if s.Type == "poisson" && s.WorkerCount > 1 {
		warn("%d workers drew the same Poisson gaps from seed %d: every gap comes up to %d times", s.WorkerCount,
			s.RandomSeed.Value, s.WorkerCount)
	}
	if s.Open() && b.Duration > 0 {
		// Two requests may be missing at the ends of the window whatever the client does.
		if rate := float64(v.sent) / b.Duration; rate < 0.98*s.Rate.Value-2/b.Duration {
			warn("it sent %.4g req/s of the %.4g asked for (%.0f %%): its own limit, not the server's", rate,
				s.Rate.Value, 100*rate/s.Rate.Value)
		}
	}
	if v.atEpoch > 0 {
		warn("%d requests were due at the epoch, which its mean delay counts as well", v.atEpoch)
	}
	late, ttft := b.SchedulerMetrics.RequestTargetedStartDelayAvg*1000, m.TimeToFirstTokenMS.Successful.Median
	if s.Open() && ttft > 0 && late > ttft && v.atEpoch == 0 {
		warn("requests left %.4g ms late on average, more than the median TTFT of %.4g ms: "+
			"what its users would have felt is in no metric", late, ttft)
	}
	timeout := b.Config.Timeout()
	timedOut := 0
	for _, r := range b.Requests.Errored.List() {
		if strings.Contains(r.Info.Error.Value, "Timeout") || timeout > 0 && lasted(r) >= timeout-0.05 {
			timedOut++
		}
	}
	if timedOut > 0 {
		warn("%d requests ran into its limit of %.4g s for one step of the exchange and are counted as errors",
			timedOut, timeout)
	}
	zeros := 0
	for _, r := range v.counted {
		if !r.TimeToFirstTokenMS.Valid || r.TimeToFirstTokenMS.Value == 0 {
			zeros++
		}
	}
	if zeros == 0 && m.TimeToFirstTokenMS.Successful.Count > 0 && m.TimeToFirstTokenMS.Successful.Min == 0 {
		zeros = 1 // not among the requests that were kept
	}
	if zeros > 0 {
		warn("at least %d completed requests without a first token stand as a TTFT of 0 in its distribution", zeros)
	}
	return out
}

func lasted(r *guidellm.Request) float64 {
	t := &r.Info.Timings
	switch {
	case !t.RequestStart.Valid:
		return 0
	case t.RequestEnd.Valid:
		return t.RequestEnd.Value - t.RequestStart.Value
	case t.ResolveEnd.Valid:
		return t.ResolveEnd.Value - t.RequestStart.Value
	}
	return 0
}

// ownStage is what openloop said of one of its stages beside GuideLLM's fields.
type ownStage struct {
	Load struct {
		Arrival string `json:"arrival"` // "" for the kind's own
	} `json:"load"`
	Client struct {
		Level   string `json:"level"`
		Reasons []struct {
			Text string `json:"text"`
		} `json:"reasons"`
	} `json:"client"`
}

// ownStageOf finds a benchmark's stage in openloop's own part of the report, the zero value where there is none.
func ownStageOf(r *guidellm.Report, b *guidellm.Benchmark) ownStage {
	var result struct {
		Stages []ownStage `json:"stages"`
	}
	var of struct {
		Stage int64 `json:"stage"`
	}
	if r.OpenLoop == nil || guidellm.DecodeFree(r.OpenLoop, &result) != nil ||
		b.OpenLoop == nil || guidellm.DecodeFree(b.OpenLoop, &of) != nil ||
		of.Stage < 0 || of.Stage >= int64(len(result.Stages)) {
		return ownStage{}
	}
	return result.Stages[of.Stage]
}

// foreignArrivals names arrivals that GuideLLM does not have: a stage of them is reported under the nearest kind, but
// is another load. "" for GuideLLM's own.
func (s ownStage) foreignArrivals() string {
	switch s.Load.Arrival {
	case "", "constant", "poisson":
		return ""
	}
	return s.Load.Arrival
}

// verdict repeats what openloop said of its own client in a stage, where that was not "valid".
func (s ownStage) verdict() []string {
	if s.Client.Level == "" || s.Client.Level == "valid" {
		return nil
	}
	var reasons []string
	for _, reason := range s.Client.Reasons {
		reasons = append(reasons, reason.Text)
	}
	return []string{"openloop: its client was " + s.Client.Level + ": " + strings.Join(reasons, "; ")}
}

// finite says whether a value can be printed as a number.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
