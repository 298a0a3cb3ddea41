package tokens

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openloop/openloop/loadgen"
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
