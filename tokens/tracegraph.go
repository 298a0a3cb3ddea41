package tokens

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// mostTraceTurns bounds the turns of one session of a trace; it is below what a record of a request can hold.
const mostTraceTurns = 5000

// span is a stretch of time in a trace: an agent at work, or one call of the model.
type span struct{ from, to time.Duration }

// call is one call of the model in a recording of agents.
type call struct {
	span
	agents []*span // that it was made by, the outermost first
	think  time.Duration
	turn   traceRequest
}

// noThink is the think time of a call whose recording says none.
const noThink = -1

// overlap is by how much a call may begin before the answer that it followed has ended: times are rounded.
const overlap = time.Millisecond

// follows says whether a call was made when another one had been answered, as far as that can be told from times: its
// agent, and those that wait for its agent, go on when what they waited for has ended. Agents that work at the same
// time don't wait for each other's calls.
func (c *call) follows(before *call) bool {
	k := 0
	for k < len(c.agents) && k < len(before.agents) && c.agents[k] == before.agents[k] {
		k++
	}
	mine, other := &c.span, &before.span
	if k < len(c.agents) {
		mine = c.agents[k]
	}
	if k < len(before.agents) {
		other = before.agents[k]
	}
	return other.to <= mine.from+overlap
}

// sessionOf makes a session of the calls of a recording: each needs the answers that were there when it was made, but
// for those that another one of them needs already, and is due as long after the last of them as in the recording. A
// call that needs none is due as long after the session as it was in the recording. The calls need not be in order.
func sessionOf(calls []call) (traceRequest, error) {
	if len(calls) > mostTraceTurns {
		return traceRequest{}, fmt.Errorf("its session has %d requests; at most %d are sent", len(calls),
			mostTraceTurns)
	}
	slices.SortStableFunc(calls, func(a, b call) int { return cmp.Compare(a.from, b.from) })
	words := (len(calls) + 63) / 64
	earlier := make([][]uint64, len(calls)) // the calls, as bits, that each one follows, if by way of others
	for i := range calls {
		c := &calls[i]
		earlier[i] = make([]uint64, words)
		last := time.Duration(0)
		for j := i - 1; j >= 0; j-- {
			if earlier[i][j/64]&(1<<(j%64)) != 0 || !c.follows(&calls[j]) {
				continue
			}
			c.turn.needs = append(c.turn.needs, int32(j))
			last = max(last, calls[j].to)
			for k, bits := range earlier[j] {
				earlier[i][k] |= bits
			}
			earlier[i][j/64] |= 1 << (j % 64)
		}
		switch {
		case i == 0:
		case len(c.turn.needs) == 0:
			c.turn.needs = []int32{loadgen.NoTurn}
			c.turn.after = c.from - calls[0].from
		case c.think != noThink && len(c.turn.needs) == 1:
			c.turn.think = c.think
		default:
			c.turn.think = max(c.from-last, 0)
		}
		if c.turn.think > longestThink || c.turn.after > longestTrace {
			return traceRequest{}, fmt.Errorf("its request %d begins %v after what it waits for; want a day "+
				"at most", i+1, max(c.turn.think, c.turn.after))
		}
	}
	first := calls[0].turn
	first.offset = calls[0].from
	for i := range calls[1:] {
		first.turns = append(first.turns, calls[i+1].turn)
	}
	return first, nil
}

// graphPacing says how many turns of sessions are not those of a chain; "" where all are.
func (t *trace) graphPacing() string {
	joins, roots, beside := 0, 0, 0
	for i := range t.requests {
		needed := map[int32]bool{}
		for _, turn := range t.requests[i].turns {
			switch {
			case len(turn.needs) == 0:
				continue
			case turn.needs[0] == loadgen.NoTurn:
				roots++
				continue
			case len(turn.needs) > 1:
				joins++
			}
			if slices.ContainsFunc(turn.needs, func(need int32) bool { return needed[need] }) {
				beside++
			}
			for _, need := range turn.needs {
				needed[need] = true
			}
		}
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{joins, "for several answers"}, {beside, "for an answer that others wait for, too"}, {roots, "for none"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "of the turns wait " + strings.Join(parts, ", ")
}
