package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/openloop/openloop/internal/num"
)

// aiperfMetric is one metric of profile_export_aiperf.json (aiperf/common/models/export_models.py).
type aiperfMetric struct {
	Unit string `json:"unit"`
	Avg  number `json:"avg"`
	P50  number `json:"p50"`
	P99  number `json:"p99"`
}

// ms is a value of a metric in milliseconds.
func (m *aiperfMetric) ms(v func(*aiperfMetric) number) num.Value {
	if m == nil {
		return num.Absent()
	}
	return v(m).Value * num.Value(unitMS(m.Unit))
}

// avg is the metric's mean, absent where there is no such metric.
func (m *aiperfMetric) avg() num.Value {
	if m == nil {
		return num.Absent()
	}
	return m.Avg.Value
}

// UnmarshalJSON implements json.Unmarshaler: what is not there is absent, not 0.
func (m *aiperfMetric) UnmarshalJSON(b []byte) error {
	type plain aiperfMetric
	v := plain{Avg: absent(), P50: absent(), P99: absent()}
	err := json.Unmarshal(b, &v)
	*m = aiperfMetric(v)
	return err
}

// unitMS is what one of a unit is in milliseconds.
func unitMS(unit string) float64 {
	switch unit {
	case "ns", "nanoseconds":
		return 1e-6
	case "us", "µs", "microseconds":
		return 1e-3
	case "s", "sec", "seconds":
		return 1e3
	}
	return 1
}

type aiperfResult struct {
	Version    string          `json:"aiperf_version"`
	Throughput *aiperfMetric   `json:"request_throughput"`
	Completed  *aiperfMetric   `json:"request_count"`
	Errored    *aiperfMetric   `json:"error_request_count"`
	TTFT       *aiperfMetric   `json:"time_to_first_token"`
	ITL        *aiperfMetric   `json:"inter_token_latency"` // (latency − TTFT) / (tokens − 1), one a request
	Input      *aiperfMetric   `json:"input_sequence_length"`
	Output     *aiperfMetric   `json:"output_sequence_length"`
	Config     json.RawMessage `json:"input_config"`
}

func readAIPerf(text []byte) (*Claim, error) {
	var r aiperfResult
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	if r.Throughput == nil || r.Throughput.Unit == "" {
		return nil, errUnknown
	}
	s := newStage("profiling")
	s.Rate, s.RateOf = r.Throughput.avg(), "completed requests, until the last answer"
	s.Completed, s.Errored = r.Completed.avg(), r.Errored.avg()
	if s.Errored.IsAbsent() {
		s.Errored = 0 // it leaves out what did not happen
	}
	s.Sent = s.Completed + s.Errored
	p50, p99 := func(m *aiperfMetric) number { return m.P50 }, func(m *aiperfMetric) number { return m.P99 }
	s.TTFT50, s.TTFT99 = r.TTFT.ms(p50), r.TTFT.ms(p99)
	s.ITLMean, s.ITL99 = r.ITL.ms(func(m *aiperfMetric) number { return m.Avg }), r.ITL.ms(p99)
	s.ITLPerRequest = true
	s.PromptTokens, s.OutputTokens = r.Input.avg(), r.Output.avg()
	s.askedOf(r.Config)
	return &Claim{Tool: "AIPerf " + r.Version, format: formatAIPerf, Stages: []StageClaim{s}}, nil
}

// aiperfConfig is what is read of AIPerf's configuration: since 0.11 the load stands in phases, before in loadgen.
type aiperfConfig struct {
	Phases []struct {
		Kind string `json:"kind"`
		Type string `json:"type"`
		Rate number `json:"rate"`
	} `json:"phases"`
	Loadgen struct {
		Rate number `json:"request_rate"`
		Mode string `json:"request_rate_mode"`
	} `json:"loadgen"`
}

// askedOf takes from AIPerf's configuration which arrivals were asked for. One of another form says nothing.
func (s *StageClaim) askedOf(config json.RawMessage) {
	var c aiperfConfig
	if json.Unmarshal(config, &c) != nil {
		return
	}
	rate, kind := c.Loadgen.Rate.Value, c.Loadgen.Mode
	for _, p := range c.Phases {
		if p.Kind != "warmup" {
			rate, kind = p.Rate.Value, p.Type
		}
	}
	if !(rate > 0) {
		return
	}
	s.Asked, s.Arrivals = rate, kind
	s.Name = kind + "@" + num.Rate(float64(rate))
}

// aiperfRecord is one line of profile_export.jsonl.
type aiperfRecord struct {
	Metadata struct {
		Start number `json:"request_start_ns"` // since the epoch
		End   number `json:"request_end_ns"`
		Phase string `json:"benchmark_phase"`
	} `json:"metadata"`
	Metrics struct {
		TTFT   *aiperfValue `json:"time_to_first_token"`
		ITL    *aiperfValue `json:"inter_token_latency"`
		Input  *aiperfValue `json:"input_sequence_length"`
		Output *aiperfValue `json:"output_sequence_length"`
	} `json:"metrics"`
	Error json.RawMessage `json:"error"`
}

type aiperfValue struct {
	Value number `json:"value"`
	Unit  string `json:"unit"`
}

func readAIPerfRecords(text []byte) (*Claim, error) {
	s := newStage("profiling")
	var ttft, itl, input, output []float64
	var sent, errored int
	first, last := time.Time{}, time.Time{}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var r aiperfRecord
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if r.Metadata.Phase == "warmup" {
			continue
		}
		sent++
		at := unixTime(float64(r.Metadata.Start.Value) / 1e9)
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if at.After(last) {
			last = at
		}
		if len(r.Error) > 0 && !isNull(r.Error) {
			errored++
			continue
		}
		add := func(to *[]float64, v *aiperfValue, unit float64) {
			if v != nil && !v.Value.IsAbsent() {
				*to = append(*to, float64(v.Value.Value)*unit)
			}
		}
		for _, m := range []struct {
			to *[]float64
			v  *aiperfValue
		}{{&ttft, r.Metrics.TTFT}, {&itl, r.Metrics.ITL}} {
			if m.v != nil {
				add(m.to, m.v, unitMS(m.v.Unit))
			}
		}
		add(&input, r.Metrics.Input, 1)
		add(&output, r.Metrics.Output, 1)
	}
	if sent == 0 {
		return nil, errUnknown
	}
	s.Began, s.Ended = first, last
	s.Sent, s.Errored, s.Completed = num.Value(sent), num.Value(errored), num.Value(sent-errored)
	if took := last.Sub(first).Seconds(); took > 0 {
		s.Rate, s.RateOf = num.Value(float64(sent-1)/took), "sent requests, from its records"
	}
	t, i := quantiles(ttft, 0.5, 0.99), quantiles(itl, 0.99)
	s.TTFT50, s.TTFT99, s.ITLMean, s.ITL99, s.ITLPerRequest = t[0], t[1], mean(itl), i[0], true
	s.PromptTokens, s.OutputTokens = mean(input), mean(output)
	return &Claim{Tool: "AIPerf", format: formatRecords, Stages: []StageClaim{s}}, nil
}
