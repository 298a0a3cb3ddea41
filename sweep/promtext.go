package sweep

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// metricSample is one line of a Prometheus exposition.
type metricSample struct {
	name   string
	labels map[string]string
	value  float64
}

// maxMetricLine bounds a line: a label may hold a whole configuration.
const maxMetricLine = 1 << 20

// parseMetrics reads Prometheus' text format, version 0.0.4, and what OpenMetrics adds to it on a line. Comments, types
// and timestamps are passed over: what a sample is follows from its name here.
func parseMetrics(r io.Reader) ([]metricSample, error) {
	var samples []metricSample
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxMetricLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseMetric(line)
		if err != nil {
			return nil, fmt.Errorf("metrics, line %d: %w", n, err)
		}
		samples = append(samples, s)
	}
	return samples, lines.Err()
}

// parseMetric reads `name{label="value",…} number` with an optional timestamp.
func parseMetric(line string) (metricSample, error) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return metricSample{}, errors.New("a name and a number are wanted")
	}
	s := metricSample{name: line[:end]}
	rest := line[end:]
	if rest[0] == '{' {
		var err error
		if s.labels, rest, err = parseLabels(rest[1:]); err != nil {
			return metricSample{}, err
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return metricSample{}, errors.New("no number")
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return metricSample{}, fmt.Errorf("%q is no number", fields[0])
	}
	s.value = v
	return s, nil
}

// parseLabels reads labels up to the closing brace and returns what follows.
func parseLabels(s string) (labels map[string]string, rest string, err error) {
	labels = map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t,")
		if strings.HasPrefix(s, "}") {
			return labels, s[1:], nil
		}
		name, value, ok := strings.Cut(s, "=")
		value = strings.TrimLeft(value, " \t")
		if !ok || !strings.HasPrefix(value, `"`) {
			return nil, "", errors.New(`labels are written name="value"`)
		}
		text, after, ok := quoted(value[1:])
		if !ok {
			return nil, "", errors.New("a label's value does not end")
		}
		labels[strings.TrimSpace(name)] = text
		s = after
	}
}

// quoted reads up to the closing quote. The format knows three escapes: \\, \" and \n.
func quoted(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
			if s[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
