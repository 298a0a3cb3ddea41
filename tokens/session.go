package tokens

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openloop/openloop/loadgen"
)

// SessionSpec describes sessions: requests that follow each other, each with all that was said before it.
type SessionSpec struct {
	Turns  Length    // of a session; a Mean is needed
	Think  ThinkTime // from the end of an answer to the turn after it
	Prompt Length    // of the turns after the first one; Mean 0: as the first one's

	// Recorded has made-up answers of the asked length stand for the model's own in later turns, so that every prompt
	// is as long as asked.
	Recorded bool
}

// ThinkTime is a distribution of times. The zero value is none.
type ThinkTime struct {
	Least, Most time.Duration // every time between the two alike
	Exponential bool          // … or exponential with the mean Least
}

// ThinkForms are the forms that ParseThinkTime reads, as a sentence for people.
const ThinkForms = "2s, 1s..5s (any time between alike) or exp:2s (exponential, with that mean)"

// longestThink bounds a think time: what is above it is surely a slip.
const longestThink = 24 * time.Hour

// ParseThinkTime reads one of ThinkForms; duration reads a time.
func ParseThinkTime(text string, duration func(string) (time.Duration, error)) (t ThinkTime, err error) {
	one := func(s string) (d time.Duration) {
		if err != nil {
			return 0
		}
		if d, err = duration(s); err == nil && (d < 0 || d > longestThink) {
			err = fmt.Errorf("%s is not between 0 and %v", s, longestThink)
		}
		return d
	}
	if mean, ok := strings.CutPrefix(text, "exp:"); ok {
		t.Exponential = true
		t.Least = one(mean)
		return t, err
	}
	least, most, ok := strings.Cut(text, "..")
	t.Least = one(least)
	if t.Most = t.Least; ok {
		t.Most = one(most)
	}
	if err == nil && t.Most < t.Least {
		err = fmt.Errorf("%s is less than %s", most, least)
	}
	return t, err
}

// String is the form that ParseThinkTime reads.
func (t ThinkTime) String() string {
	switch {
	case t.Exponential:
		return "exp:" + t.Least.String()
	case t.Most > t.Least:
		return t.Least.String() + ".." + t.Most.String()
	}
	return t.Least.String()
}

func (t ThinkTime) sample(r *rand.Rand) time.Duration {
	switch {
	case t.Exponential:
		return min(time.Duration(r.ExpFloat64()*float64(t.Least)), longestThink)
	case t.Most > t.Least:
		return t.Least + time.Duration(r.Int64N(int64(t.Most-t.Least)+1))
	}
	return t.Least
}

// mostTurns bounds the turns of a session.
const mostTurns = 1000

func (s *SessionSpec) check() error {
	if s.Turns.Mean < 1 {
		return errors.New("sessions need a number of turns, of at least 1")
	}
	if err := s.Turns.check("turns"); err != nil {
		return err
	}
	if _, high := s.Turns.bounds(); high > mostTurns {
		return fmt.Errorf("turns: up to %d: none may have more than %d", high, mostTurns)
	}
	return s.Prompt.check("turn tokens")
}

// Turn is a further request of a session, before it is bytes.
type Turn struct {
	Needs        []int32 // as loadgen.Turn has them; empty: the turn before
	Think        time.Duration
	After        time.Duration // from when the session was due: it is not due before
	Alone        bool          // the prompt has the history in it
	PromptText   string
	Messages     []byte // JSON of what it adds, with commas between; empty: PromptText as the user's message
	PromptTokens int    // of the text
	OutputTokens int

	// AnswerMessage is JSON that stands for this turn's answer in later ones; empty: the model's own.
	AnswerMessage []byte
	fields        []field // of its body; nil: those of the session's first request
}

// ofSession are the random numbers of a session: its number of turns, their lengths and their think times.
func ofSession(seed uint64, i int) *rand.Rand {
	source := stream(seed, streamSession, uint64(i))
	return rand.New(&source)
}

// turns makes the turns of item i after the first, and the first one's recorded answer.
func (s *Synth) turns(it *Item) {
	spec := s.cfg.Sessions
	if spec == nil {
		return
	}
	r := ofSession(s.cfg.Seed, it.Index)
	prompt := spec.Prompt
	if prompt.Mean == 0 {
		prompt = s.cfg.Prompt
	}
	answer := func(turn, tokens int) []byte {
		if !spec.Recorded || tokens == 0 {
			return nil
		}
		return loadgen.AppendAnswer(nil, s.text(it.Index*mostTurns+turn, s.words(tokens), streamAnswer, false))
	}
	it.whole = true
	it.AnswerMessage = answer(0, it.OutputTokens)
	for k, n := 1, spec.Turns.sample(r); k < n; k++ {
		t := Turn{Think: spec.Think.sample(r), PromptTokens: prompt.sample(r), OutputTokens: s.cfg.Output.sample(r)}
		t.PromptText = s.text(it.Index*mostTurns+k, s.words(t.PromptTokens), streamTurn, false)
		t.AnswerMessage = answer(k, t.OutputTokens)
		it.Turns = append(it.Turns, t)
	}
}

// around is the body of a chat request before and behind its messages.
func (b *Body) around(it Item) (head, tail []byte) {
	const mark = "\x00" // no JSON has it
	it.Messages = []byte(mark)
	before, after, _ := bytes.Cut(b.append(nil, it), []byte(mark))
	return append(before, '['), append([]byte{']'}, after...)
}

// session makes the session of an item. The length of each turn's prompt is that of all texts up to it, the answers
// between as they were asked for; −1 where one of them is not known.
func (b *Body) session(it Item) *loadgen.Session {
	s := &loadgen.Session{}
	all := it.InputTokens()
	known := all > 0
	add := func(of Turn, messages []byte, text string, output int, answer []byte) {
		t := loadgen.Turn{Needs: of.Needs, Think: of.Think, After: of.After, Alone: of.Alone,
			Messages: messages, Answer: answer, PromptTokens: -1, OutputTokens: int32(output),
			PromptWords: int32(loadgen.CountWords([]byte(text))),
			PromptChars: int32(utf8.RuneCountInString(text))}
		if of.fields == nil {
			of.fields = it.fields
		}
		t.Head, t.Tail = b.around(Item{OutputTokens: output, fields: of.fields})
		if known {
			t.PromptTokens = int32(all)
		}
		known = known && output > 0
		all += output
		s.Turns = append(s.Turns, t)
	}
	first := appendMessages(nil, it)
	add(Turn{}, first[1:len(first)-1], it.PromptText, it.OutputTokens, it.AnswerMessage)
	for _, t := range it.Turns {
		if t.Alone {
			known, all = true, 0
		}
		known = known && t.PromptTokens > 0
		all += t.PromptTokens
		messages := t.Messages
		if len(messages) == 0 {
			messages = appendUser(nil, t.PromptText, nil)
		}
		add(t, messages, t.PromptText, t.OutputTokens, t.AnswerMessage)
	}
	return s
}
