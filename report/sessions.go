package report

import (
	"fmt"
	"strings"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep"
)

// Sessions is what became of the sessions of a stage.
type Sessions struct {
	loadgen.Sessions
	Unfinished int     `json:"unfinished"` // under way, or thinking, when the stage ended
	Alone      int     `json:"alone"`      // requests that arrived beside them, and stand alone: of other classes
	Rate       float64 `json:"rate"`       // sessions started per second
	E2E        Latency `json:"e2e"`        // of those done, from when they were due to the end of the last answer
	Turns      []Turn  `json:"turns"`      // in order; of the requests due after the warm-up
}

// Turn is one turn over all sessions of a stage.
type Turn struct {
	Turn     int     `json:"turn"`     // from 1
	Requests int     `json:"requests"` // that completed
	TTFT     Latency `json:"ttft"`     // from the scheduled time, ms
	// Prompt and Cached are means, in tokens, by the server's own count; null where it gives none.
	Prompt num.Value `json:"prompt_tokens"`
	Cached num.Value `json:"cached_tokens"` // found in its prefix cache
}

// sessionsOf sums up the sessions of a stage; nil where it had none. from is the end of its warm-up.
func sessionsOf(m *loadgen.Measured, from int64) *Sessions {
	if m.Sessions.Started == 0 {
		return nil
	}
	s := &Sessions{Sessions: m.Sessions, Turns: []Turn{}}
	s.Unfinished = s.Started - s.Done - s.Abandoned
	s.Alone = m.Arrived() - s.Started
	s.Rate = float64(s.Started) / (float64(m.Stopped-m.Start) / 1e9)
	type sums struct {
		ttft           []float64
		prompt, cached []float64
	}
	var turns []sums
	var e2e []float64
	for i := range m.Records {
		r := &m.Records[i]
		if r.Session == 0 || r.Status != loadgen.Completed || r.Scheduled < from {
			continue
		}
		for len(turns) <= int(r.Turn) {
			turns = append(turns, sums{})
		}
		t := &turns[r.Turn]
		if d, ok := r.ScheduledTTFT(); ok {
			t.ttft = append(t.ttft, float64(d))
		}
		if r.PromptTokens >= 0 {
			t.prompt = append(t.prompt, float64(r.PromptTokens))
		}
		if r.CachedTokens >= 0 {
			t.cached = append(t.cached, float64(r.CachedTokens))
		}
		if r.Flags&loadgen.EndsSession != 0 {
			e2e = append(e2e, float64(r.End-r.Began))
		}
	}
	s.E2E = LatencyOf(e2e)
	for i, t := range turns {
		s.Turns = append(s.Turns, Turn{Turn: i + 1, Requests: len(t.ttft), TTFT: LatencyOf(t.ttft),
			Prompt: mean(t.prompt), Cached: mean(t.cached)})
	}
	return s
}

// RateUnit is what the stage's rate counts: what arrives.
func (s *Stage) RateUnit() string {
	return sweep.ArrivingIn(s.Sessions != nil, s.Sessions != nil && s.Sessions.Alone > 0).Unit()
}

// Arriving is what arrives in the stages.
func (r *Result) Arriving() sweep.Arriving {
	sessions, alone := false, false
	for i := range r.Stages {
		if s := r.Stages[i].Sessions; s != nil {
			sessions, alone = true, alone || s.Alone > 0
		}
	}
	return sweep.ArrivingIn(sessions, alone)
}

// RateUnit is what the rates of the stages count: what arrives.
func (r *Result) RateUnit() string { return r.Arriving().Unit() }

// mean is absent for no values.
func mean(values []float64) num.Value {
	if len(values) == 0 {
		return num.Absent()
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return num.Value(sum / float64(len(values)))
}

// mostTurnsShown is how many turns stand on the screen.
const mostTurnsShown = 8

// writeSessions writes what became of sessions, by stage and by turn.
func (r *Result) writeSessions(b *strings.Builder) {
	sessions := [][]string{{"  sessions", "started/s", "done", "abandoned", "unfinished", "e2e p95 (s)"}}
	turns := [][]string{{"  turns", "turn", "answered", "TTFT p95", "prompt", "cached"}}
	more := 0
	for i := range r.Stages {
		s := r.Stages[i].Sessions
		if s == nil {
			continue
		}
		name := "  " + r.Stages[i].Name
		sessions = append(sessions, []string{name, num.Three(s.Rate), num.Thousands(s.Done), num.Thousands(s.Abandoned),
			num.Thousands(s.Unfinished), num.Three(float64(s.E2E.P95) / 1e3)})
		for k, t := range s.Turns {
			if k == mostTurnsShown {
				more = max(more, len(s.Turns)-k)
				break
			}
			turns = append(turns, append([]string{name, fmt.Sprint(t.Turn), num.Thousands(t.Requests),
				num.Three(float64(t.TTFT.P95))}, t.Lengths()...))
			name = ""
		}
	}
	if len(sessions) == 1 {
		return
	}
	b.WriteByte('\n')
	writeTable(b, sessions)
	b.WriteByte('\n')
	writeTable(b, turns)
	if more > 0 {
		fmt.Fprintf(b, "  and up to %d further turns, which are in the report\n", more)
	}
	fmt.Fprintf(b, "\n  rates are %s a second; prompt in tokens, cached is the share that the server had of it\n",
		r.Arriving())
}

// Lengths are the turn's mean prompt, and how much of it the server had, for people.
func (t *Turn) Lengths() []string {
	prompt, cached := "–", "–"
	if !t.Prompt.IsAbsent() {
		prompt = fmt.Sprintf("%.0f", float64(t.Prompt))
		if !t.Cached.IsAbsent() && t.Prompt > 0 {
			cached = fmt.Sprintf("%.0f %%", 100*float64(t.Cached/t.Prompt))
		}
	}
	return []string{prompt, cached}
}
