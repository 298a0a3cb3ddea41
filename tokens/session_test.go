package tokens

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestParseThinkTime(t *testing.T) {
	for text, want := range map[string]ThinkTime{
		"2s":     {Least: 2 * time.Second, Most: 2 * time.Second},
		"1s..5s": {Least: time.Second, Most: 5 * time.Second},
		"exp:2s": {Least: 2 * time.Second, Exponential: true},
		"0s":     {},
	} {
		got, err := ParseThinkTime(text, time.ParseDuration)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseThinkTime(got.String(), time.ParseDuration); err != nil || again != got {
			t.Errorf("%s is written as %s: %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "x", "5s..1s", "-1s", "exp:", "1s..", "90h"} {
		if got, err := ParseThinkTime(text, time.ParseDuration); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	sum := time.Duration(0)
	for range 1000 {
		sum += ThinkTime{Least: 2 * time.Second, Exponential: true}.sample(r)
		if d := (ThinkTime{Least: 1, Most: 3}).sample(r); d < 1 || d > 3 {
			t.Fatalf("%d is not between 1 and 3", d)
		}
	}
	if mean := sum / 1000; mean < 1800*time.Millisecond || mean > 2200*time.Millisecond {
		t.Errorf("the mean is %v, of 2s", mean)
	}
}

// Every turn's prompt holds all turns before it, has the length that is said of it, and is the same in every run.
func TestSessionBodies(t *testing.T) {
	for _, recorded := range []bool{true, false} {
		synth, err := NewSynth(SynthConfig{
			Prompt: Length{Mean: 20}, Output: Length{Mean: 7}, Seed: 3, Prefixes: []PrefixBucket{{Tokens: 5}},
			Sessions: &SessionSpec{Turns: Length{Mean: 3}, Think: ThinkTime{Least: time.Second, Most: time.Second},
				Prompt: Length{Mean: 4}, Recorded: recorded},
		})
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewBody(BodyConfig{Model: "m"})
		if err != nil {
			t.Fatal(err)
		}
		s := b.session(synth.Item(2))
		if len(s.Turns) != 3 || s.Turns[1].Think != time.Second {
			t.Fatalf("%d turns: %+v", len(s.Turns), s.Turns)
		}
		for i, want := range []int32{25, 25 + 7 + 4, 25 + 2*(7+4)} {
			if got := s.Turns[i].PromptTokens; got != want {
				t.Errorf("turn %d has %d tokens, not %d", i+1, got, want)
			}
		}
		if got, want := string(s.Request().Body), string(b.Bytes(synth.Item(2))); got != want {
			t.Errorf("the first turn is\n%s\ninstead of the request that it would be alone\n%s", got, want)
		}
		if has := len(s.Turns[0].Answer) > 0; has != recorded {
			t.Errorf("recorded %v: answer %q", recorded, s.Turns[0].Answer)
		}
		if !recorded {
			continue
		}
		history := ""
		for i, turn := range s.Turns {
			text := string(turn.Head) + history + string(turn.Messages) + string(turn.Tail)
			var body struct {
				Model    string
				Messages []struct {
					Role    string
					Content any
				}
			}
			if err := json.Unmarshal([]byte(text), &body); err != nil || body.Model != "m" {
				t.Fatalf("turn %d: %v in %s", i+1, err, text)
			}
			var roles []string
			for _, m := range body.Messages {
				roles = append(roles, m.Role)
			}
			want := "system user" + strings.Repeat(" assistant user", i)
			if got := strings.Join(roles, " "); got != want {
				t.Errorf("turn %d: %s, want %s", i+1, got, want)
			}
			history += string(turn.Messages) + "," + string(turn.Answer) + ","
		}
		if again := b.session(synth.Item(2)); string(again.Turns[2].Messages) != string(s.Turns[2].Messages) {
			t.Error("the same session has other words")
		}
	}
	if _, err := NewSynth(SynthConfig{Prompt: Length{Mean: 1}, Sessions: &SessionSpec{}}); err == nil {
		t.Error("sessions without a number of turns are taken")
	}
}
