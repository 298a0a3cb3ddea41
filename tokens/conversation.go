package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
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
