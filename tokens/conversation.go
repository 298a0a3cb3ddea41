package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
)

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
			m.assistant, m.message = true, appendAssistant(nil, t.Value)
		case t.isHuman():
			m.message = appendUser(nil, t.Value, nil)
		case t.Role != "" && len(t.raw) > 0:
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

func appendAssistant(dst []byte, text string) []byte {
	dst = append(dst, `{"role":"assistant","content":`...)
	return append(appendString(dst, text), '}')
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
	source := stream(f.cfg.seed, streamSession, uint64(f.talks))
	f.talks++
	r := rand.New(&source)
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
