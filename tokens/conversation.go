package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// turn is a message in the form of OpenAI (role, content) or of ShareGPT (from, value).
type turn struct {
	Role, From, Value string
	Content           json.RawMessage
	raw               json.RawMessage

	// Of AIPerf's multi_turn.
	Text         *string
	Delay        json.RawMessage // ms
	OutputLength json.RawMessage `json:"output_length"`
	Extra        json.RawMessage
}

func conversation(value any) ([]turn, bool) {
	raw, ok := value.(json.RawMessage)
	if s, isText := value.(string); isText && strings.HasPrefix(s, `[{"`) { // CSV
		raw, ok = json.RawMessage(s), true
	}
	var turns []turn
	if raw = bytes.TrimSpace(raw); !ok || len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &turns) != nil {
		return nil, false
	}
	isOther := func(t turn) bool { return !slices.Contains(shareGPTRoles, t.From) }
	if !slices.ContainsFunc(turns, isOther) {
		return turns, true // no message of ShareGPT's is sent as it is: the second reading is saved
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return nil, false
	}
	for i, part := range parts {
		turns[i].raw = part
	}
	return turns, true
}

// conversationItem sends a conversation up to its last answer, which says how long the output is to be. Of a ShareGPT
// conversation it takes the first exchange, as other load generators do.
func (f *fileSource) conversationItem(it Item, turns []turn) (Item, error) {
	if len(turns) == 0 {
		return Item{}, errors.New("its conversation is empty")
	}
	if areSpoken(turns) {
		return f.spokenItem(it, turns)
	}
	if f.cfg.sessions != nil {
		return f.sessionItem(it, turns)
	}
	answer := ""
	if turns[0].From != "" {
		for i, t := range turns {
			switch {
			case t.From == "system":
				it.PrefixText = t.Value
			case t.isHuman() && t.Value != "":
				it.PromptText = t.Value
				if i+1 < len(turns) {
					answer = turns[i+1].Value
				}
				if f.found != nil && slices.ContainsFunc(turns[i+1:], turn.isHuman) {
					f.found.further++
				}
			}
			if it.PromptText != "" {
				break
			}
		}
		if it.PromptText == "" {
			return Item{}, errors.New("its conversation has no turn of a human")
		}
	} else {
		all, err := messages(turns)
		if err != nil {
			return Item{}, err
		}
		if last := all[len(all)-1]; last.assistant {
			answer = last.text
			all = all[:len(all)-1]
		}
		if len(all) == 0 {
			return Item{}, errors.New("its conversation has nothing but an answer")
		}
		if it.PrefixText != "" {
			it.Messages = append(appendSystem(nil, it.PrefixText), ',')
		}
		for i, m := range all {
			if i > 0 {
				it.Messages, it.PromptText = append(it.Messages, ','), it.PromptText+"\n"
			}
			it.Messages = append(it.Messages, m.message...)
			it.PromptText += m.text // for text completions, and to be counted
		}
		it.Messages = append(append([]byte{'['}, it.Messages...), ']')
	}
	f.measure(&it, answer)
	return it, nil
}

// shareGPTRoles are the values of from that are known.
var shareGPTRoles = []string{"system", "human", "user", "gpt", "chatgpt", "assistant"}

// isHuman says whether a turn of ShareGPT's is a question.
func (t turn) isHuman() bool { return t.From == "human" || t.From == "user" }

// text is the content of a message, whether a text or a list of parts.
func (t turn) text() string {
	var s string
	if json.Unmarshal(t.Content, &s) == nil {
		return s
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(t.Content, &parts) // what has no text, such as an image, adds none
	for _, p := range parts {
		s += p.Text
	}
	return s
}

// said is a message of a conversation, as it is sent.
type said struct {
	assistant bool
	text      string
	message   []byte // JSON
}

// messages are those of a conversation in the form of OpenAI, or of ShareGPT.
func messages(turns []turn) ([]said, error) {
	var all []said
	for i, t := range turns {
		m := said{text: t.Value}
		switch {
		case t.From == "system":
			m.message = appendSystem(nil, t.Value)
		case t.From == "gpt" || t.From == "chatgpt" || t.From == "assistant":
			m.assistant, m.message = true, loadgen.AppendAnswer(nil, t.Value)
		case t.isHuman():
			m.message = appendUser(nil, t.Value, nil)
		case t.Role != "" && len(t.raw) > 0 && (len(t.Content) > 0 || t.Role == "assistant"):
			// An answer may have calls of tools alone.
			var compact bytes.Buffer
			if err := json.Compact(&compact, t.raw); err != nil {
				return nil, err
			}
			m = said{assistant: t.Role == "assistant", text: t.text(), message: compact.Bytes()}
		default:
			const form = "role and content, or from and value"
			return nil, fmt.Errorf("message %d of its conversation is %.80s; want %s", i+1, t.raw, form)
		}
		all = append(all, m)
	}
	return all, nil
}

// sessionItem sends a whole conversation as a session: each answer ends a turn, and what comes before it since the one
// before is what the turn adds.
func (f *fileSource) sessionItem(it Item, turns []turn) (Item, error) {
	all, err := messages(turns)
	if err != nil {
		return Item{}, err
	}
	var made []Turn
	var now Turn
	add := func(m said) {
		if len(now.Messages) > 0 {
			now.Messages = append(now.Messages, ',')
			now.PromptText += "\n"
		}
		now.Messages = append(now.Messages, m.message...)
		now.PromptText += m.text
	}
	if it.PrefixText != "" {
		add(said{text: it.PrefixText, message: appendSystem(nil, it.PrefixText)})
	}
	asked := false // the turn at hand has something to be answered
	end := func(answer *said) {
		measured := Item{PromptText: now.PromptText, fields: it.fields}
		text := ""
		if answer != nil {
			text = answer.text
			// What follows calls of tools are their results, which belong to those calls and to no others.
			if f.cfg.sessions.Recorded || bytes.Contains(answer.message, []byte(`"tool_calls"`)) {
				now.AnswerMessage = answer.message
			}
		}
		f.measure(&measured, text)
		now.PromptTokens, now.OutputTokens = measured.PromptTokens, measured.OutputTokens
		made = append(made, now)
		now, asked = Turn{}, false
	}
	for i := range all {
		if m := &all[i]; m.assistant && asked {
			end(m)
		} else {
			add(*m)
			asked = asked || !m.assistant
		}
	}
	if asked {
		end(nil)
	}
	if len(made) == 0 {
		return Item{}, errors.New("its conversation has nothing to be answered")
	}
	if len(made) > mostTurns {
		return Item{}, fmt.Errorf("its conversation has %d turns; at most %d are sent", len(made), mostTurns)
	}
	r := ofSession(f.cfg.seed, f.talks)
	f.talks++
	for i := range made[1:] {
		made[i+1].Think = f.cfg.sessions.Think.sample(r)
	}
	first := made[0]
	it.PrefixText, it.PromptText, it.PromptTokens = "", first.PromptText, first.PromptTokens
	it.Messages = append(append([]byte{'['}, first.Messages...), ']')
	it.OutputTokens, it.AnswerMessage, it.Turns = first.OutputTokens, first.AnswerMessage, made[1:]
	it.whole = true
	return it, nil
}

// areSpoken says whether turns are those of AIPerf's multi_turn: a text each, and no answers.
func areSpoken(turns []turn) bool {
	return !slices.ContainsFunc(turns, func(t turn) bool {
		return t.Text == nil || t.From != "" || len(t.Content) > 0 ||
			t.Role != "" && t.Role != "user" && t.Role != "system"
	})
}

// spokenItem sends the turns of AIPerf's multi_turn as a session, or the first of them alone. What the model answers
// stands between them, since the data has no answers. A system message at the beginning is no turn.
func (f *fileSource) spokenItem(it Item, turns []turn) (Item, error) {
	if turns[0].Role == "system" {
		it.PrefixText += *turns[0].Text
		turns = turns[1:]
	}
	var all []askedTurn
	for i, t := range turns {
		of := Item{PromptText: *t.Text, fields: it.fields}
		if i == 0 {
			of.PrefixText = it.PrefixText
		}
		think, err := t.timing(&of)
		if err != nil {
			return Item{}, fmt.Errorf("turn %d of its conversation: %w", i+1, err)
		}
		all = append(all, askedTurn{of, think})
	}
	return f.askedItem(it, all)
}

// timing reads when a turn of AIPerf's is due, from the answer before, and how long its answer is to be.
func (t *turn) timing(of *Item) (think time.Duration, err error) {
	switch {
	case t.Role == "system":
		return 0, errors.New("a system message can stand at the beginning alone")
	case *t.Text == "":
		return 0, errors.New("its text is empty")
	case !empty(t.Extra) && len(t.Extra) > 0:
		return 0, errors.New("fields of single turns (extra) are not known: extra-body is for all requests")
	}
	if len(t.OutputLength) > 0 && !empty(t.OutputLength) {
		if of.OutputTokens, err = wholeNumber(t.OutputLength); err != nil || of.OutputTokens < 1 {
			return 0, fmt.Errorf("output_length: %s; want a whole number of tokens", show(t.OutputLength))
		}
	}
	if len(t.Delay) > 0 && !empty(t.Delay) {
		ms, err := delayIn(t.Delay)
		if err != nil {
			return 0, fmt.Errorf("delay: %w", err)
		}
		think = time.Duration(ms * 1e6)
	}
	return think, nil
}
