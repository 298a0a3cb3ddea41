package tokens

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
	"os"
	"path/filepath"
	"time"
)

// A conversation is sent whole: each answer ends a turn, in the forms of OpenAI and of ShareGPT.
func TestConversationsAsSessions(t *testing.T) {
	for name, c := range map[string]struct {
		record string
		roles  []string // of the messages of each turn
		answer []string // recorded
	}{
		"OpenAI": {
			`{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"a b"},` +
				`{"role":"assistant","content":"c d e"},{"role":"user","content":"f"},` +
				`{"role":"assistant","content":"g"}]}`,
			[]string{"system user", "system user assistant user"}, []string{"c d e", "g"},
		},
		"a question at the end": {
			`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},` +
				`{"role":"user","content":"c"}]}`,
			[]string{"user", "user assistant user"}, []string{"b", ""},
		},
		"tools": {
			`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"id":"1"}]},` +
				`{"role":"tool","tool_call_id":"1","content":"r"},{"role":"assistant","content":"b"}]}`,
			[]string{"user", "user assistant tool"}, []string{"", "b"},
		},
		"it begins with an answer": {
			`{"messages":[{"role":"assistant","content":"hello"},{"role":"user","content":"a"},` +
				`{"role":"assistant","content":"b"}]}`,
			[]string{"assistant user"}, []string{"b"},
		},
		"ShareGPT": {
			`{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b c"},` +
				`{"from":"human","value":"d"},{"from":"gpt","value":"e"}]}`,
			[]string{"user", "user assistant user"}, []string{"b c", "e"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := Open(Spec{Data: &DataSpec{Source: write(t, "data.jsonl", c.record),
				Sessions: &SessionSpec{Recorded: true}}, Tokenizer: "o200k_base"}, "m")
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			next, release, err := w.Source(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			r, err := next(0)
			if err != nil || r.Session == nil || len(r.Session.Turns) != len(c.roles) {
				t.Fatalf("%v, %+v", err, r.Session)
			}
			history := ""
			for i, turn := range r.Session.Turns {
				var body struct {
					Messages []struct{ Role string }
				}
				text := string(turn.Head) + history + string(turn.Messages) + string(turn.Tail)
				if err := json.Unmarshal([]byte(text), &body); err != nil {
					t.Fatalf("turn %d: %v in %s", i+1, err, text)
				}
				var roles []string
				for _, m := range body.Messages {
					roles = append(roles, m.Role)
				}
				if got := strings.Join(roles, " "); got != c.roles[i] {
					t.Errorf("turn %d: %s, want %s", i+1, got, c.roles[i])
				}
				if !strings.Contains(string(turn.Answer), c.answer[i]) {
					t.Errorf("turn %d: the answer is %s, want %s", i+1, turn.Answer, c.answer[i])
				}
				if want := int32(loadgen.CountWords([]byte(c.answer[i]))); turn.OutputTokens != want {
					t.Errorf("turn %d asks for %d tokens, want %d", i+1, turn.OutputTokens, want)
				}
				history += string(turn.Messages) + "," + string(turn.Answer) + ","
			}
		})
	}
}

// Turns of AIPerf's multi_turn become a session: with their delays, and without answers between that were never there.
func TestSpokenTurns(t *testing.T) {
	name := filepath.Join(t.TempDir(), "d.jsonl")
	line := `{"turns":[{"role":"system","text":"Be brief."},{"text":"one two","output_length":9},` +
		`{"text":"three","delay":1500},{"text":"four"}]}`
	if err := os.WriteFile(name, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	for think, want := range map[time.Duration][]time.Duration{
		0: {1500 * time.Millisecond, 0}, time.Second: {time.Second, time.Second},
	} {
		w, err := Open(Spec{Data: &DataSpec{Source: name, Output: 4, Sessions: &SessionSpec{Recorded: true,
			Think: ThinkTime{Least: think}}}, Tokenizer: "o200k_base"}, "m")
		if err != nil {
			t.Fatal(err)
		}
		next, release, err := w.Source(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		r, err := next(0)
		if err != nil {
			t.Fatal(err)
		}
		turns := r.Session.Turns
		if len(turns) != 3 || turns[1].Think != want[0] || turns[2].Think != want[1] || turns[0].OutputTokens != 9 ||
			turns[1].OutputTokens != 4 || len(turns[0].Answer) > 0 ||
			!strings.Contains(string(turns[0].Messages), "Be brief.") || turns[0].PromptTokens != 5 ||
			turns[1].PromptTokens != 5+9+1 {
			t.Errorf("%+v", turns)
		}
		release()
		w.Close()
	}
	for _, bad := range []string{`[]`, `[{"role":"system","text":"alone"}]`, `[{"text":""}]`,
		`[{"text":"a"},{"role":"system","text":"b"}]`, `[{"text":"a","extra":{"x":1}}]`,
		`[{"text":"a","output_length":0}]`, `[{"text":"a","delay":-1}]`} {
		if err := os.WriteFile(name, []byte(`{"turns":`+bad+`}`), 0o644); err != nil {
			t.Fatal(err)
		}
		data := &DataSpec{Source: name, Sessions: &SessionSpec{}}
		if w, err := Open(Spec{Data: data, Tokenizer: "none"}, "m"); err == nil {
			w.Close()
			t.Errorf("%s: no error", bad)
		}
	}
}
