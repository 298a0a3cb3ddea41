package tokens

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

func traceFile(t *testing.T, lines ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "trace.jsonl")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// bailianLine and recordedLine are lines of traces in their forms.
func bailianLine(chat, parent int, at float64, input, output, turn int, ids string) string {
	return fmt.Sprintf(`{"chat_id":%d,"parent_chat_id":%d,"timestamp":%v,"input_length":%d,"output_length":%d,`+
		`"type":"text","turn":%d,"hash_ids":[%s]}`, chat, parent, at, input, output, turn, ids)
}

func recordedLine(turn, at, input int, ids string, latency int) string {
	return fmt.Sprintf(`{"timestamp":%d,"input_length":%d,"output_length":5,"hash_ids":[%s],"block_tokens":16,`+
		`"time_unit":"ms","session_id":"s1","turn":%d,"latency_ms":%d}`, at, input, ids, turn, latency)
}

// Sessions of a trace, each as the offset of its first turn, and of each turn its lengths and when it is due.
func TestTraceSessions(t *testing.T) {
	for _, c := range []struct {
		name, spec string
		lines      []string
		want       string
	}{
		{"Mooncake, with delays", "1", []string{
			`{"session_id":"a","timestamp":1000,"input_length":10,"output_length":3}`,
			`{"session_id":"b","timestamp":1500,"input_length":20,"output_length":4}`,
			`{"session_id":"a","delay":250,"input_length":11,"output_length":5}`,
			`{"timestamp":2000,"input_length":7,"output_length":1}`,
			`{"session_id":"a","delay":0,"input_length":12,"output_length":6}`,
		}, "0s 10/3, 11/5 think 250ms, 12/6; 500ms 20/4; 1s 7/1"},
		{"twice as fast", "2", []string{
			`{"session_id":"a","timestamp":1000,"input_length":10,"output_length":3}`,
			`{"session_id":"a","delay":250,"input_length":11,"output_length":5}`,
			`{"session_id":"a","timestamp":3000,"input_length":12,"output_length":5}`,
			`{"session_id":"b","timestamp":1500,"input_length":20,"output_length":4}`,
		}, "0s 10/3, 11/5 think 125ms, 12/5 after 1s; 250ms 20/4"},
		{"Bailian, of which one goes on twice, and one from nowhere", "1", []string{
			bailianLine(1, -1, 10.5, 16, 3, 1, "1"),
			bailianLine(2, -1, 11.0, 17, 3, 1, "2,3"),
			bailianLine(3, 1, 14.5, 32, 4, 2, "1,4"),
			bailianLine(4, 1, 15.5, 33, 5, 2, "1,5,6"),
			bailianLine(5, 3, 16.5, 48, 6, 3, "1,4,7"),
			bailianLine(6, 99, 17.5, 16, 7, 9, "8"),
		}, "0s 16/3, 32/4 after 4s, 48/6 after 6s; 500ms 17/3; 5s 33/5; 7s 16/7"},
		{"as openloop record writes them, in the order in which they ended", "1", []string{
			recordedLine(2, 2100, 40, "1,2,3", 50),
			recordedLine(1, 100, 20, "1,9", 1500),
			recordedLine(3, 2120, 60, "1,2,3,4", 9),
		}, "0s 20/5, 40/5 think 500ms, 60/5"},
		{"an order of turns that is not that of the times", "1", []string{
			`{"session_id":7,"turn":2,"delay":5,"input_length":11,"output_length":5}`,
			`{"session_id":7,"turn":1,"timestamp":1000,"input_length":10,"output_length":3}`,
		}, "0s 10/3, 11/5 think 5ms"},
	} {
		speed := 1.0
		if c.spec == "2" {
			speed = 2
		}
		tr, err := readTrace(TraceSpec{File: traceFile(t, c.lines...), Speed: speed, Sessions: &SessionSpec{}})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var all []string
		for _, q := range tr.requests {
			text := fmt.Sprintf("%v %d/%d", q.offset, q.input, q.output)
			for _, turn := range q.turns {
				text += fmt.Sprintf(", %d/%d", turn.input, turn.output)
				if turn.think > 0 {
					text += fmt.Sprintf(" think %v", turn.think)
				}
				if turn.after > 0 {
					text += fmt.Sprintf(" after %v", turn.after)
				}
			}
			all = append(all, text)
		}
		if got := strings.Join(all, "; "); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
}

// Whole prompts share their beginnings as their identifiers say, and hold no history beside; what is added holds it.
func TestTraceSessionPrompts(t *testing.T) {
	bodies := func(lines ...string) (all [][]byte, s *loadgen.Session) {
		w, err := Open(Spec{Trace: &TraceSpec{File: traceFile(t, lines...), Sessions: &SessionSpec{Recorded: true}},
			Tokenizer: "o200k_base"}, "m")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		next, release, err := w.Source(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		r, err := next(0)
		if err != nil {
			t.Fatal(err)
		}
		s = r.Session
		for k := range s.Turns {
			all = append(all, s.Turns[k].Messages)
		}
		return all, s
	}
	all, s := bodies(
		`{"session_id":"a","timestamp":0,"input_length":32,"output_length":3,"hash_ids":[1,2],"block_tokens":16}`,
		`{"session_id":"a","delay":1,"input_length":48,"output_length":3,"hash_ids":[1,2,3],"block_tokens":16}`,
	)
	if n := len(all[0]) - len(`"}]}`); !s.Turns[1].Alone || string(all[0][:n]) != string(all[1][:n]) ||
		s.Turns[1].PromptTokens != 48 || s.Turns[0].Answer != nil {
		t.Errorf("%s\n%s\n%+v", all[0], all[1], s.Turns[1])
	}
	all, s = bodies(
		`{"session_id":"a","timestamp":0,"input_length":32,"output_length":3}`,
		`{"session_id":"a","delay":1,"input_length":48,"output_length":4}`,
	)
	if s.Turns[1].Alone || string(all[0]) == string(all[1]) || s.Turns[1].PromptTokens != 32+3+48 ||
		!strings.Contains(string(s.Turns[0].Answer), `"assistant"`) {
		t.Errorf("%s\n%+v", all[1], s.Turns)
	}
}

func TestTraceSessionsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		lines    []string
		sessions *SessionSpec
	}{
		"no sessions": {[]string{`{"timestamp":0,"input_length":3,"output_length":3}`}, &SessionSpec{}},
		"no first time": {[]string{`{"session_id":"a","delay":3,"input_length":3,"output_length":3}`,
			`{"session_id":"a","delay":3,"input_length":3,"output_length":3}`}, &SessionSpec{}},
		"not asked for": {[]string{`{"session_id":"a","timestamp":3,"input_length":3,"output_length":3}`,
			`{"session_id":"a","delay":3,"input_length":3,"output_length":3}`}, nil},
		"a delay of no time": {[]string{`{"session_id":"a","timestamp":3,"input_length":3,"output_length":3}`,
			`{"session_id":"a","delay":-3,"input_length":3,"output_length":3}`}, &SessionSpec{}},
	} {
		if tr, err := readTrace(TraceSpec{File: traceFile(t, c.lines...), Sessions: c.sessions}); err == nil {
			t.Errorf("%s: %+v", name, tr)
		}
	}
	long := TraceSpec{File: traceFile(t, `{"session_id":"a","timestamp":3,"input_length":3,"output_length":3}`,
		`{"session_id":"a","timestamp":4,"input_length":3,"output_length":3}`), Think: &ThinkTime{Least: time.Second},
		Sessions: &SessionSpec{}}
	tr, err := readTrace(long)
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(tr.notes(long), "; "); !strings.Contains(text, "1 session of 2 requests") ||
		!strings.Contains(text, "turns are due 1s after the answer before") {
		t.Error(text)
	}
}
