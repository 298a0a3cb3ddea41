package enginemetrics

import (
	"io"
	"strconv"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// metricSample is one line of a Prometheus exposition.
type metricSample struct {
	name   string
	labels map[string]string
	value  float64
}

// parseMetrics reads Prometheus' text format. Histograms become the lines that they were read from, whether or not the
// text declared them as such.
func parseMetrics(r io.Reader) ([]metricSample, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, err
	}
	var samples []metricSample
	for name, family := range families {
		for _, m := range family.Metric {
			samples = appendSamples(samples, name, m)
		}
	}
	return samples, nil
}

func appendSamples(samples []metricSample, name string, m *dto.Metric) []metricSample {
	labels := map[string]string{}
	for _, l := range m.Label {
		labels[l.GetName()] = l.GetValue()
	}
	plain := func(v float64) []metricSample { return append(samples, metricSample{name, labels, v}) }
	switch {
	case m.Gauge != nil:
		return plain(m.Gauge.GetValue())
	case m.Counter != nil:
		return plain(m.Counter.GetValue())
	case m.Untyped != nil:
		return plain(m.Untyped.GetValue())
	case m.Summary != nil:
		return append(samples,
			metricSample{name + "_sum", labels, m.Summary.GetSampleSum()},
			metricSample{name + "_count", labels, float64(m.Summary.GetSampleCount())})
	case m.Histogram != nil:
		for _, b := range m.Histogram.Bucket {
			le := map[string]string{"le": strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)}
			samples = append(samples, metricSample{name + "_bucket", le, float64(b.GetCumulativeCount())})
		}
		return append(samples,
			metricSample{name + "_sum", labels, m.Histogram.GetSampleSum()},
			metricSample{name + "_count", labels, float64(m.Histogram.GetSampleCount())})
	}
	return samples
}
