package tokens

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// drawn is a session of a trace: of each turn its lengths, the turns that it needs, and when it is due.
func drawn(q *traceRequest) string {
	text := fmt.Sprintf("%v %d/%d", q.offset, q.input, q.output)
	for _, turn := range q.turns {
		text += fmt.Sprintf(", %d/%d %v", turn.input, turn.output, turn.needs)
		if turn.think > 0 {
			text += fmt.Sprintf("+%v", turn.think.Round(time.Millisecond))
		}
		if turn.after > 0 {
			text += fmt.Sprintf("@%v", turn.after.Round(time.Millisecond))
		}
	}
	return text
}

func TestTraceGraphs(t *testing.T) {
	weka := func(requests string) string {
		return traceFile(t, `{"id":"x","block_size":16,"requests":[`+requests+`]}`)
	}
	otel := func(spans ...string) string { return traceFile(t, `{"spans":[`+strings.Join(spans, ",")+`]}`) }
	chat := func(id, parent string, from, to float64) string {
		return fmt.Sprintf(`{"span_id":%q,"parent_span_id":%q,"name":"chat m","start_time":"2026-01-01T00:00:%06.3fZ",`+
			`"end_time":"2026-01-01T00:00:%06.3fZ","attributes":{`+
			`"gen_ai.input.messages":[{"role":"user","content":"hey"}],`+
			`"gen_ai.usage.input_tokens":7,"gen_ai.usage.output_tokens":2}}`, id, parent, from, to)
	}
	agent := func(id, parent string, from, to float64) string {
		return strings.Replace(chat(id, parent, from, to), "chat m", "agent", 1)
	}
	for name, c := range map[string]struct {
		file string
		want string
	}{
		"WEKA": {filepath.Join("testdata", "traces", "weka.jsonl"),
			"0s 40/4, 32/3 [0]+100ms, 32/3 [0]+100ms, 48/3 [1]+50ms, 64/4 [3 2]+50ms, 80/4 [4]+100ms; " +
				"0s 40/4, 50/4 [0]+100ms"},
		"WEKA, times of a sub-agent from its beginning": {weka(`{"t":0,"type":"s","in":9,"out":1,"api_time":1},` +
			`{"t":5,"type":"subagent","requests":[{"t":0,"type":"n","in":8,"out":1,"api_time":1},` +
			`{"t":2,"type":"n","in":7,"out":1,"api_time":1}]},{"t":9,"type":"s","in":6,"out":1}`),
			"0s 9/1, 8/1 [0]+4s, 7/1 [1]+1s, 6/1 [2]+1s"},
		"WEKA, a sub-agent that runs on": {weka(`{"t":0,"type":"s","in":9,"out":1,"api_time":1},` +
			`{"t":1,"type":"subagent","requests":[{"t":1,"type":"n","in":8,"out":1,"api_time":9}]},` +
			`{"t":2,"type":"s","in":7,"out":1,"api_time":1},{"t":11,"type":"s","in":6,"out":1}`),
			"0s 9/1, 8/1 [0], 7/1 [0]+1s, 6/1 [2 1]+1s"},
		"WEKA, without times of answers": {weka(`{"t":0,"type":"s","in":9,"out":1},{"t":3,"type":"s","in":8,"out":0}`),
			"0s 9/1, 8/1 [0]+3s"},
		"WEKA, an answer that ended late, by rounding": {weka(`{"t":0,"type":"s","in":9,"out":1,"api_time":3.1},` +
			`{"t":3,"type":"s","in":8,"out":1,"think_time":0.5}`), "0s 9/1, 8/1 [0]+500ms"},
		"OpenTelemetry": {filepath.Join("testdata", "traces", "otel.json"),
			"0s 20/4, 4/3 [0]+100ms, 4/8 [0]+100ms, 13/3 [1]+200ms, 13/5 [3 2]+100ms"},
		"OpenTelemetry, flat: by times": {otel(chat("1", "", 0, 2), chat("2", "", 2.5, 4.5), chat("3", "", 3, 5),
			chat("4", "", 6, 9), chat("5", "", 1, 1.5)),
			"0s 7/2, 7/2 [-1]@1s, 7/2 [1 0]+500ms, 7/2 [1 0]+1s, 7/2 [3 2]+1s"},
		"OpenTelemetry, agents of agents": {otel(agent("r", "", 0, 20), chat("1", "r", 0, 1), agent("a", "r", 1, 9),
			agent("aa", "a", 2, 5), agent("ab", "a", 2, 6), agent("b", "r", 1, 8), chat("x", "aa", 2, 3),
			chat("y", "aa", 4, 5), chat("z", "ab", 3, 3.5), chat("w", "b", 5.5, 6), chat("a2", "a", 7, 8)),
			"0s 7/2, 7/2 [0]+1s, 7/2 [0]+2s, 7/2 [1]+1s, 7/2 [0]+4.5s, 7/2 [3 2]+2s"},
	} {
		tr, err := readTrace(TraceSpec{File: c.file, Sessions: &SessionSpec{}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var all []string
		tr.form.unit = ""
		for i := range tr.requests {
			all = append(all, drawn(&tr.requests[i]))
		}
		if got := strings.Join(all, "; "); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
}

// sentOf are the bodies of the turns of a session of a trace, and whether the history is in each.
func sentOf(t *testing.T, file string, session int) (bodies []string) {
	t.Helper()
	spec := TraceSpec{File: file, Sessions: &SessionSpec{Recorded: true}}
	tr, err := readTrace(spec)
	if err != nil {
		t.Fatal(err)
	}
	it, err := tr.source(traceSynth(t), spec)(session)
	if err != nil {
		t.Fatal(err)
	}
	body, err := NewBody(BodyConfig{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	for _, turn := range body.session(it).Turns {
		bodies = append(bodies, string(slices.Concat(turn.Head, turn.Messages, turn.Tail)))
	}
	return bodies
}

// Messages are sent as they were recorded: calls of tools and their results, and the tools that there were.
func TestTraceMessages(t *testing.T) {
	otel := sentOf(t, filepath.Join("testdata", "traces", "otel.json"), 0)
	for k, want := range map[int][]string{
		0: {`{"role":"system","content":"Be brief."},{"role":"user","content":"Plan a trip."}`,
			`"tools":[{"function":{"description":"finds a city","name":"lookup"`, `"max_completion_tokens":4`},
		3: {`"tool_calls":[{"id":"c1","type":"function",` +
			`"function":{"name":"lookup","arguments":"{\"city\":\"Oslo\"}"}}]`,
			`{"role":"tool","content":"two flights","tool_call_id":"c1"}`},
		4: {`{"role":"assistant","content":"Two flights."}`,
			`{"role":"tool","content":"{\"hotels\":3}","tool_call_id":"c9"}`, `"max_completion_tokens":5`},
	} {
		for _, part := range want {
			if !strings.Contains(otel[k], part) || !json.Valid([]byte(otel[k])) {
				t.Errorf("turn %d: no %s in %s", k, part, otel[k])
			}
		}
	}
	if strings.Contains(otel[1], `"tools"`) {
		t.Errorf("tools of another turn: %s", otel[1])
	}
	file := filepath.Join("testdata", "traces", "messages.jsonl")
	history, delta, text := sentOf(t, file, 0), sentOf(t, file, 1), sentOf(t, file, 2)
	for _, c := range []struct{ body, part string }{
		{history[0], `"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"one"}]`},
		{history[1], `{"role":"tool","tool_call_id":"c1","content":"2"}]`}, {history[1], `"tools":[{"type"`},
		{delta[1], `"messages":[{"role":"user","content":"second"}]`}, {delta[1], `"temperature":0.5`},
		{text[0], `"messages":[{"role":"user","content":[{"type":"text","text":"a text of its own"}]}]`},
	} {
		if !strings.Contains(c.body, c.part) {
			t.Errorf("no %s in %s", c.part, c.body)
		}
	}
	spec := TraceSpec{File: file, Sessions: &SessionSpec{}}
	tr, err := readTrace(spec)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := tr.requests[0].turns[0], tr.requests[1].turns[0]; !a.alone || b.alone {
		t.Error("a whole conversation is alone, what is added to one is not")
	}
	if note := tr.notes(spec)[0]; !strings.Contains(note, "AIPerf's messages, times in ms): 3 sessions of 5 requests") {
		t.Error(note)
	}
}

// Prompts share their beginnings as their identifiers say, within a session alone.
func TestWekaPrompts(t *testing.T) {
	file := filepath.Join("testdata", "traces", "weka.jsonl")
	first, second := sentOf(t, file, 0), sentOf(t, file, 1)
	shared := func(a, b string) (n int) {
		_, a, _ = strings.Cut(a, `"text":"`)
		_, b, _ = strings.Cut(b, `"text":"`)
		x, y := strings.Fields(a), strings.Fields(b)
		for n < min(len(x), len(y)) && x[n] == y[n] {
			n++
		}
		return n
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{first[0], first[4], 32}, {first[1], first[2], 16}, {first[1], first[3], 32}, {first[0], first[1], 0},
		{first[0], second[0], 0}, {second[0], second[1], 32}} {
		if got := shared(c.a, c.b); got < c.want-1 || got > c.want {
			t.Errorf("%d words in common, want %d:\n%s\n%s", got, c.want, c.a, c.b)
		}
	}
}

func TestTraceGraphsRefused(t *testing.T) {
	span := func(more string) string {
		return `{"spans":[{"span_id":"a","name":"chat m","start_time":"2026-01-01T00:00:00Z",` + more + `}]}`
	}
	for line, want := range map[string]string{
		`{"id":"x","block_size":0,"requests":[{"t":0,"type":"s"}]}`:               "block_size: 0",
		`{"id":"x","block_size":16,"requests":[]}`:                                "no requests",
		`{"id":"x","block_size":16,"requests":[{"t":0,"type":"q"}]}`:              `type: "q"`,
		`{"id":"x","block_size":16,"requests":[{"t":0,"type":"s"},{"type":"s"}]}`: "request 2: t is missing",
		`{"id":"x","block_size":16,"requests":[{"t":-1,"type":"s"}]}`:             "t: -1",
		`{"spans":5}`:                       "spans: it is 5",
		`{"spans":[]}`:                      "none of its spans",
		`{"spans":[{"start_time":"soon"}]}`: `start_time: "soon"`,
		span(`"attributes":{"gen_ai.input.messages":"[{}]"}`):             "role is missing",
		span(`"attributes":{"gen_ai.input.messages":"hey"}`):              "gen_ai.input.messages",
		`{"timestamp":0,"messages":[{"content":"x"}],"output_length":1}`:  "message 1 has no role",
		`{"timestamp":0,"messages":[],"output_length":1}`:                 "messages: it is []",
		`{"timestamp":0,"messages":[{"role":"user"}],"message_mode":"x"}`: "message_mode",
	} {
		_, err := readTrace(TraceSpec{File: traceFile(t, line), Sessions: &SessionSpec{}})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "trace.jsonl:1") {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	_, err := readTrace(TraceSpec{File: filepath.Join("testdata", "traces", "weka.jsonl")})
	if err == nil || !strings.Contains(err.Error(), "its records are sessions") {
		t.Error(err)
	}
}
