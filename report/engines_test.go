package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// window is what an engine said: requests waiting, and the share of its cache in use.
func window(waiting, kv float64) *enginemetrics.Window {
	w := &enginemetrics.Window{HitShare: num.Absent()}
	w.Running = enginemetrics.GaugeSummary{Mean: 4, Max: 5, Last: 3}
	w.Waiting = enginemetrics.GaugeSummary{Mean: num.Value(waiting), Max: num.Value(2 * waiting)}
	w.KVUsage.Max = num.Value(kv)
	w.TTFT.P95 = 0.123
	return w
}

// What breaks first is said of the engine that is full, or has the longest queue; of all where none has one.
func TestBreaksFirstOfSeveral(t *testing.T) {
	const ms = 1e6
	for _, tc := range []struct {
		name     string
		one, two *enginemetrics.Window
		want     string
	}{
		{"a queue at one of them", window(2, 0.5), window(9, 0.4),
			"requests wait for one of 5 sequences of two (two: KV 40 %, 9 waiting, 5 of 5 running)"},
		{"a full one", window(30, 0.5), window(9, 0.99),
			"the KV cache of two is full (two: KV 99 %, 9 waiting, 5 of 5 running)"},
		{"a queue where no more is known", window(9, 0.5), window(2, 0.4),
			"requests wait in one's queue (one: KV 50 %, 9 waiting)"},
		{"none", window(0.2, 0.5), window(0, 0.4), "prefill is slow (KV 50 %, at most 1 waiting)"},
	} {
		s := seen(t, 12.4, "ttft:p95<250ms", 312*ms, 20*ms, 0)
		s.Engine = window(0.3, 0.5)
		s.Engines = []enginemetrics.Named{{Name: "one", Metrics: tc.one}, {Name: "two", Metrics: tc.two}}
		seats := &enginemetrics.Info{Name: "vLLM", Config: map[string]string{"max_num_seqs": "5"}}
		r := &Result{Stages: []Stage{s}, Engine: seats, Engines: []Engine{{Name: "one"}, {Name: "two", Engine: seats}}}
		if got, want := r.BreaksFirst(), "ttft:p95, 312 ms at 12.4 req/s: "+tc.want; got != want {
			t.Errorf("%s: %q\nwant %q", tc.name, got, want)
		}
	}
}

// The engines stand in a table by name, on the screen and in Markdown, with what is not known of all of them.
func TestEngineTable(t *testing.T) {
	s := seen(t, 12.4, "ttft:p95<250ms", 312e6, 20e6, 0)
	s.Name = "constant@12.40"
	dead := &enginemetrics.Window{Errors: 3, Error: "connection refused", HitShare: num.Absent()}
	s.Engines = []enginemetrics.Named{{Name: "prefill", Metrics: window(2, 0.5)}, {Name: "decode", Metrics: dead}}
	s.Engine = window(2, 0.5)
	s.Engine.NotMerged = "a request may pass through several of these engines"
	r := &Result{Stages: []Stage{s}}
	var screen, markdown bytes.Buffer
	if err := WriteWideScreen(&screen, r); err != nil {
		t.Fatal(err)
	}
	if err := WriteMarkdown(&markdown, r); err != nil {
		t.Fatal(err)
	}
	const cells = "     4.00     2.00  4.00  50.0 %     –          0       123"
	for name, tc := range map[string]struct{ text, want string }{
		"row":   {screen.String(), "  constant@12.40  prefill" + cells},
		"all":   {screen.String(), "                  (all)  " + cells},
		"dead":  {screen.String(), "constant@12.40: decode did not answer 3 times: connection refused"},
		"why":   {screen.String(), "no TTFT of all engines: a request may pass through several"},
		"mark":  {markdown.String(), "| constant@12.40 | prefill | 4.00 | 2.00 | 4.00 | 50.0 % | – | 0 | 123 |"},
		"notes": {markdown.String(), "- constant@12.40: decode did not answer 3 times"},
	} {
		if !strings.Contains(tc.text, tc.want) {
			t.Errorf("%s: %q is not in\n%s", name, tc.want, tc.text)
		}
	}
	alone := Stage{Engine: window(2, 0.5)}
	if alone.EngineRows() != nil || alone.EngineNotes() != nil {
		t.Error("one engine without a name has a table")
	}
}

func TestEngineText(t *testing.T) {
	old := &enginemetrics.Info{Name: "vLLM", Version: "0.22.1"}
	later := &enginemetrics.Info{Name: "vLLM", Version: "0.23.0"}
	for _, tc := range []struct {
		engines []Engine
		want    string
	}{
		{nil, "vLLM 0.22.1"},
		{[]Engine{{"one", old}, {"two", old}, {"dead", nil}}, "vLLM 0.22.1"},
		{[]Engine{{"one", old}, {"two", later}, {"dead", nil}}, "one vLLM 0.22.1, two vLLM 0.23.0"},
	} {
		if got := (&Result{Engine: old, Engines: tc.engines}).EngineText(); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
