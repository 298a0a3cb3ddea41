package tokens

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// sessionFields are what a line of a trace says of its session. Times are in ms, negative where there are none.
type sessionFields struct {
	session      string // that it is a turn of; "" for none
	chat, parent string // of Bailian: its own name, and that of the turn before; "" for none
	turn         int    // in the session; 0: not said
	delay        float64
	latency      float64 // how long its answer took
	noStamp      bool
}

// readSession reads them.
func (q *traceRequest) readSession(r record) error {
	q.delay, q.latency = -1, -1
	for name, to := range map[string]*float64{"delay": &q.delay, "latency_ms": &q.latency} {
		value, ok := r[name]
		if !ok || empty(value) {
			continue
		}
		ms, err := delayIn(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*to = ms
	}
	if n, err := wholeNumber(r["turn"]); err == nil {
		q.turn = n
	}
	q.session = nameIn(r["session_id"])
	q.chat, q.parent = nameIn(r["chat_id"]), nameIn(r["parent_chat_id"])
	if n, err := strconv.ParseFloat(q.parent, 64); err == nil && n < 0 {
		q.parent = ""
	}
	return nil
}

// delayIn is a time within a session in a record, in ms.
func delayIn(value any) (float64, error) {
	ms, err := realNumber(value)
	if err != nil || !(ms >= 0 && ms <= float64(longestThink.Milliseconds())) {
		return 0, fmt.Errorf("%s; want milliseconds, up to a day", show(value))
	}
	return ms, nil
}

// nameIn is a text or a number of a record as a name; "" for anything else.
func nameIn(value any) string {
	raw, ok := value.(json.RawMessage)
	if !ok || empty(value) {
		text, _ := value.(string)
		return text
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

// gather makes sessions of the requests of a trace, which stand in the order of their times.
//
// A session goes on with the lines that have its session_id, in the order of their turn where they have one, or with
// the line whose parent_chat_id is the chat_id of its last turn. A line whose parent has gone on with another one
// begins a session of its own: it is the same conversation, asked something else.
func (t *trace) gather() error {
	var sessions []*[]traceRequest
	byName := map[string]*[]traceRequest{}
	byLast := map[string]*[]traceRequest{} // by the chat_id of the last turn
	for _, q := range t.requests {
		var of *[]traceRequest
		if q.session != "" {
			of = byName[q.session]
		} else if q.parent != "" {
			if of = byLast[q.parent]; of == nil {
				t.form.orphans++
			}
			delete(byLast, q.parent)
		}
		if of == nil {
			of = &[]traceRequest{}
			sessions = append(sessions, of)
			if q.session != "" {
				byName[q.session] = of
			}
		}
		*of = append(*of, q)
		if q.chat != "" {
			byLast[q.chat] = of
		}
	}
	t.requests = t.requests[:0]
	for _, turns := range sessions {
		slices.SortStableFunc(*turns, func(a, b traceRequest) int { return cmp.Compare(a.turn, b.turn) })
		first := (*turns)[0]
		if first.noStamp {
			return fmt.Errorf("session %q: its first turn has no timestamp", first.session)
		}
		if len(*turns) > mostTraceTurns {
			return fmt.Errorf("session %q has %d turns; at most %d are sent", first.session, len(*turns),
				mostTraceTurns)
		}
		first.turns = slices.Clone((*turns)[1:])
		t.requests = append(t.requests, first)
	}
	if len(sessions) == t.form.lines {
		return &HintError{errors.New("none of its requests goes on from another one: it has no sessions"),
			"leave out --sessions"}
	}
	return nil
}

// pace says when the turns of a session are due: by the delay that the trace gives, by the time between an answer and
// the next request where it tells how long answers took, else at their time in the trace, if the answer before has come
// by then.
func (q *traceRequest) pace(speed float64) {
	scaled := func(ms float64) time.Duration { return time.Duration(ms * 1e6 / speed) }
	before := q
	for k := range q.turns {
		turn := &q.turns[k]
		if len(turn.needs) > 0 {
			turn.think = time.Duration(float64(turn.think) / speed)
			turn.after = time.Duration(float64(turn.after) / speed)
			continue
		}
		between := float64(turn.offset-before.offset) / 1e6
		switch {
		case turn.delay >= 0:
			turn.think = scaled(turn.delay)
		case before.latency >= 0 && !turn.noStamp && !before.noStamp:
			turn.think = scaled(max(between-before.latency, 0))
		case !turn.noStamp:
			turn.after = time.Duration(float64(turn.offset-q.offset) / speed)
		}
		before = turn
	}
}

// session makes the item of a session. Lines with hash identifiers are whole prompts, the history in them, as are most
// recorded messages; in sessions without any, each line is what its turn adds.
func (t *trace) session(s *Synth, i int, q traceRequest, spec TraceSpec) Item {
	isWhole := func(q *traceRequest) bool { return t.form.block > 0 || q.alone }
	answer := func(k int, q *traceRequest) []byte {
		if isWhole(q) || !spec.Sessions.Recorded || q.output == 0 {
			return nil
		}
		return loadgen.AppendAnswer(nil, s.text(i*mostTraceTurns+k, s.words(q.output), streamAnswer, false))
	}
	it := t.item(s, i, i*mostTraceTurns, q)
	it.whole = true
	it.AnswerMessage = answer(0, &q)
	random := ofSession(s.cfg.Seed, i)
	for k := range q.turns {
		turn := &q.turns[k]
		of := t.item(s, i, i*mostTraceTurns+k+1, *turn)
		made := Turn{Needs: turn.needs, Think: turn.think, After: turn.after, Alone: isWhole(turn),
			PromptText: of.PromptText, Messages: turn.messages, PromptTokens: of.PromptTokens,
			OutputTokens: of.OutputTokens, fields: append([]field{}, of.fields...)}
		if isRoot := len(turn.needs) == 1 && turn.needs[0] == loadgen.NoTurn; spec.Think != nil && !isRoot {
			made.Think, made.After = spec.Think.sample(random), 0
		}
		made.AnswerMessage = answer(k+1, turn)
		it.Turns = append(it.Turns, made)
	}
	return it
}

// each calls with every request, those of later turns included.
func (t *trace) each(do func(q *traceRequest)) {
	for i := range t.requests {
		do(&t.requests[i])
		for k := range t.requests[i].turns {
			do(&t.requests[i].turns[k])
		}
	}
}
