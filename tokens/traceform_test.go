package tokens

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// traceLines are lines with Mooncake's fields: a stamp, an input length, and the number of identifiers.
func traceLines(requests ...[3]float64) string {
	var text strings.Builder
	for i, q := range requests {
		fmt.Fprintf(&text, `{"timestamp":%v,"input_length":%v,"output_length":1`, q[0], q[1])
		if n := int(q[2]); n > 0 {
			ids := make([]string, n)
			for k := range ids {
				ids[k] = fmt.Sprint(100*i + k)
			}
			fmt.Fprintf(&text, `,"hash_ids":[%s]`, strings.Join(ids, ","))
		}
		text.WriteString("}\n")
	}
	return text.String()
}

func TestTraceForms(t *testing.T) {
	for name, c := range map[string]struct {
		file  string
		spec  TraceSpec
		form  string
		unit  string
		block int
		last  time.Duration
		err   string // else what is asked for
	}{
		"Mooncake": {traceLines([3]float64{0, 600, 2}, [3]float64{2000, 1100, 3}), TraceSpec{}, "Mooncake", "ms", 512,
			2 * time.Second, ""},
		"16 tokens": {traceLines([3]float64{0, 33, 3}, [3]float64{2, 600, 38}), TraceSpec{}, "vLLM timed_trace", "s",
			16, 2 * time.Second, ""},
		"64 tokens, fractions": {traceLines([3]float64{0.5, 130, 3}, [3]float64{2.25, 64, 1}), TraceSpec{},
			"Mooncake's fields", "s", 64, 1750 * time.Millisecond, ""},
		"short prompts fit every block": {traceLines([3]float64{0, 9, 1}, [3]float64{2000, 16, 1}), TraceSpec{},
			"Mooncake", "ms", 512, 2 * time.Second, ""},
		"lengths in seconds, by their rate": {traceLines([3]float64{0, 9, 0}, [3]float64{1, 9, 0}), TraceSpec{},
			"lengths alone", "s", 0, time.Second, ""},
		"lengths in milliseconds, by their rate": {traceLines([3]float64{0, 9, 0}, [3]float64{1000, 9, 0}), TraceSpec{},
			"lengths alone", "ms", 0, time.Second, ""},
		"one request": {traceLines([3]float64{7, 9, 0}), TraceSpec{}, "lengths alone", "ms", 0, 0, ""},
		"a few that don't fit": {traceLines([3]float64{0, 600, 2}, [3]float64{1, 600, 2}, [3]float64{2, 600, 2},
			[3]float64{3, 600, 2}, [3]float64{4, 600, 2}, [3]float64{5, 600, 2}, [3]float64{6, 600, 2},
			[3]float64{7, 600, 2}, [3]float64{8, 600, 2}, [3]float64{900, 600, 9}), TraceSpec{},
			"Mooncake", "ms", 512, 900 * time.Millisecond, ""},
		"asked for": {traceLines([3]float64{0, 600, 2}, [3]float64{60, 600, 2}), TraceSpec{BlockTokens: 100,
			TimeUnit: "s"}, "Mooncake's fields", "s", 100, time.Minute, ""},

		"512 tokens and fractions": {traceLines([3]float64{0.25, 600, 2}, [3]float64{60.5, 600, 2}), TraceSpec{},
			"", "", 0, 0, "--trace-time-unit"},
		"512 tokens, too fast": {traceLines([3]float64{0, 600, 2}, [3]float64{1, 600, 2}), TraceSpec{},
			"", "", 0, 0, "--trace-time-unit"},
		"16 tokens, too slow": {traceLines([3]float64{0, 33, 3}, [3]float64{3000, 33, 3}), TraceSpec{},
			"", "", 0, 0, "--trace-time-unit"},
		"lengths, either": {traceLines([3]float64{0, 9, 0}, [3]float64{30, 9, 0}), TraceSpec{},
			"", "", 0, 0, "--trace-time-unit"},
		"several blocks": {traceLines([3]float64{0, 600, 1}, [3]float64{3, 900, 1}), TraceSpec{}, "", "", 0, 0,
			"--trace-block-tokens"},
		"no block": {traceLines([3]float64{0, 600, 5}, [3]float64{30, 9, 2}), TraceSpec{}, "", "", 0, 0,
			"--trace-block-tokens"},
	} {
		spec := c.spec
		spec.File = write(t, "t.jsonl", c.file)
		got, err := readTrace(spec)
		var open *HintError
		if c.err != "" {
			if !errors.As(err, &open) || !strings.Contains(open.Hint, c.err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f := got.form
		if last := got.requests[len(got.requests)-1].offset; f.name != c.form || f.unit != c.unit ||
			f.block != c.block || last != c.last {
			t.Errorf("%s: %+v, the last at %v", name, f, last)
		}
	}
	spec := TraceSpec{File: write(t, "t.jsonl", traceLines([3]float64{0, 9, 0})), TimeUnit: "min"}
	if _, err := readTrace(spec); err == nil || !strings.Contains(err.Error(), `"min" is not known`) {
		t.Error(err)
	}
	spec.TimeUnit, spec.File = "s", write(t, "t.jsonl", traceLines([3]float64{9e11, 9, 0}, [3]float64{9e11, 9, 0}))
	if _, err := readTrace(spec); err == nil || !strings.Contains(err.Error(), "too large for seconds") {
		t.Error(err)
	}
}

// The busiest second may lie anywhere.
func TestTracePeak(t *testing.T) {
	of := func(ms ...int) *trace {
		tr := &trace{}
		for _, at := range ms {
			q := traceRequest{offset: time.Duration(at) * time.Millisecond, input: 3, output: 1}
			tr.requests = append(tr.requests, q)
		}
		return tr
	}
	for _, c := range []struct {
		trace *trace
		want  int
	}{
		{of(0), 1}, {of(0, 1000), 1}, {of(0, 999), 2}, {of(0, 600, 900, 1500, 1700, 1899), 4},
	} {
		if got := c.trace.peak(); got != c.want {
			t.Errorf("%d, want %d", got, c.want)
		}
	}
	for _, c := range []struct {
		trace *trace
		want  string
	}{
		{of(0), "trace f (): 1 request at one moment; 3 input and 1 output tokens on average"},
		{of(0, 7_200_000), "trace f () at 3 times its speed: 2 requests in 2h0m0s, mean 0.00028/s, at most 1 within " +
			"a second; 3 input and 1 output tokens on average"},
	} {
		spec := TraceSpec{File: "f"}
		if len(c.trace.requests) > 1 {
			spec.Speed = 3
		}
		if got := c.trace.describe(spec); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// A trace that says its own unit and block length, as those of openloop record do, is believed.
func TestTraceSaysItsForm(t *testing.T) {
	const line = `{"timestamp":%d.25,"input_length":40,"output_length":1,"hash_ids":[1,2,3],"block_tokens":16,` +
		`"time_unit":"ms"}` + "\n"
	path := write(t, "t.jsonl", fmt.Sprintf(line+line, 1000, 3000))
	trace, err := readTrace(TraceSpec{File: path})
	if err != nil {
		t.Fatal(err)
	}
	if trace.form.block != 16 || trace.form.unit != Milliseconds || trace.offsets()[1] != 2*time.Second {
		t.Errorf("%+v %v", trace.form, trace.offsets())
	}
	if trace, err = readTrace(TraceSpec{File: path, TimeUnit: Seconds, BlockTokens: 32}); err != nil {
		t.Fatal(err)
	}
	if trace.form.block != 32 || trace.form.unit != Seconds {
		t.Errorf("what is asked for does not count: %+v", trace.form)
	}
}
