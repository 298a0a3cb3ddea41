package tokens

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// wekaTrace is an agent's session in the form of WEKA's kv-cache-tester, one a record, as AIPerf and inference-perf
// read it, too. Times are in seconds, from the beginning of the session.
type wekaTrace struct {
	ID        string        `json:"id"`
	BlockSize int           `json:"block_size"`
	HashScope string        `json:"hash_id_scope"` // "local": of this session alone
	Requests  []wekaRequest `json:"requests"`
}

// wekaRequest is a request, or a sub-agent with those of its own.
type wekaRequest struct {
	At       *float64 `json:"t"`
	Type     string   `json:"type"` // "s", "n": streamed or not; "subagent"
	Input    int      `json:"in"`
	Output   int      `json:"out"`
	Hashes   []int64  `json:"hash_ids"`
	APITime  *float64 `json:"api_time"`   // until its answer had come
	Think    *float64 `json:"think_time"` // from the answer before
	Duration *float64 `json:"duration_ms"`

	Requests []wekaRequest `json:"requests"`
}

// longestWeka bounds the times of a session.
const longestWeka = 366 * 24 * 3600.0

func (q *wekaRequest) check() error {
	for name, seconds := range map[string]*float64{"t": q.At, "api_time": q.APITime, "think_time": q.Think} {
		switch {
		case seconds == nil && name == "t":
			return errors.New("t is missing")
		case seconds != nil && !(*seconds >= 0 && *seconds <= longestWeka):
			return fmt.Errorf("%s: %v; want seconds, up to a year", name, *seconds)
		}
	}
	if d := q.Duration; d != nil && !(*d >= 0 && *d <= 1000*longestWeka) {
		return fmt.Errorf("duration_ms: %v; want milliseconds, up to a year", *d)
	}
	for name, n := range map[string]int{"in": q.Input, "out": q.Output} {
		if n < 0 || n > maxTokens {
			return fmt.Errorf("%s: %d; want a whole number from 0 to %d", name, n, maxTokens)
		}
	}
	switch q.Type {
	case "s", "n", "subagent":
		return nil
	}
	return fmt.Errorf(`type: %.80q; want "s", "n" or "subagent"`, q.Type)
}

// readWeka reads one session.
func readWeka(r record) (traceRequest, error) {
	var w wekaTrace
	for name, to := range map[string]any{"id": &w.ID, "block_size": &w.BlockSize, "hash_id_scope": &w.HashScope,
		"requests": &w.Requests} {
		raw, ok := r[name].(json.RawMessage)
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, to); err != nil {
			return traceRequest{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if w.BlockSize < 1 || w.BlockSize > maxTokens {
		return traceRequest{}, fmt.Errorf("block_size: %d; want the tokens that one of hash_ids stands for",
			w.BlockSize)
	}
	calls, err := w.calls(w.Requests, nil, 0)
	if err != nil {
		return traceRequest{}, err
	}
	if len(calls) == 0 {
		return traceRequest{}, errors.New("it has no requests")
	}
	q, err := sessionOf(calls)
	q.offset = 0 // sessions have no times of their own
	return q, err
}

// calls are those of an agent and its sub-agents. origin is what its times count from.
func (w *wekaTrace) calls(requests []wekaRequest, agents []*span, origin time.Duration) (all []call, err error) {
	last := -1 // the agent's own call before
	for i := range requests {
		q := &requests[i]
		if err := q.check(); err != nil {
			return nil, fmt.Errorf("request %d: %w", i+1, err)
		}
		at := origin + seconds(*q.At)
		if q.Type == "subagent" {
			if len(agents) > 0 {
				return nil, fmt.Errorf("request %d: a sub-agent of a sub-agent", i+1)
			}
			of, err := w.subagent(q, at)
			if err != nil {
				return nil, fmt.Errorf("sub-agent (request %d): %w", i+1, err)
			}
			all = append(all, of...)
			continue
		}
		c := call{span: span{at, at}, agents: agents, think: noThink}
		if q.APITime != nil {
			c.to += seconds(*q.APITime)
		}
		if q.Think != nil {
			c.think = seconds(*q.Think)
			if c.think > 0 && last >= 0 { // then it came after that answer, whatever the rounding of times makes of it
				all[last].to = min(all[last].to, max(at, all[last].from))
			}
		}
		c.turn = traceRequest{input: max(1, q.Input), output: max(1, q.Output), block: w.BlockSize, alone: true}
		for _, id := range q.Hashes {
			c.turn.hashes = append(c.turn.hashes, w.hash(id))
		}
		last = len(all)
		all = append(all, c)
	}
	return all, nil
}

// subagent are the calls of a sub-agent that began at a time. Their own times count from there, or from the beginning
// of the session where all of them are later.
func (w *wekaTrace) subagent(q *wekaRequest, at time.Duration) ([]call, error) {
	agent := &span{at, at}
	origin := time.Duration(0)
	for i := range q.Requests {
		if of := q.Requests[i].At; of != nil && seconds(*of) < at-overlap {
			origin = at
		}
	}
	all, err := w.calls(q.Requests, []*span{agent}, origin)
	for i := range all {
		agent.from, agent.to = min(agent.from, all[i].from), max(agent.to, all[i].to)
	}
	return all, err
}

// hash tells the identifiers of sessions apart whose identifiers mean nothing to each other.
func (w *wekaTrace) hash(id int64) int64 {
	if w.HashScope == "global" {
		return id
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", w.ID, id)
	return int64(h.Sum64())
}

func seconds(s float64) time.Duration { return time.Duration(s * 1e9) }
