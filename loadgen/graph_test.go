package loadgen

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// forked is a session of two branches that a last turn joins, beside a turn that needs none of them, and one that needs
// that.
func forked(i int) *Session {
	ms := time.Millisecond
	turns := []Turn{
		{},
		{Think: 10 * ms},                             // a chain's: after the first
		{Needs: []int32{0}, Think: 30 * ms},          // at the same time
		{Needs: []int32{2}},                          // the second branch is longer
		{Needs: []int32{1, 3}, Think: 200 * ms},      // when both have come
		{Needs: []int32{NoTurn}, After: 25 * ms},     // beside them
		{Needs: []int32{5}, Think: ms, After: 400e6}, // not before its time
	}
	for k := range turns {
		t := &turns[k]
		t.Head, t.Tail, t.Alone = []byte(`{"messages":[`), []byte(`]}`), true
		t.Messages = fmt.Appendf(nil, `{"role":"user","content":"s%d q%d"}`, i, k)
		t.PromptTokens, t.OutputTokens = 10, 3
	}
	return &Session{Turns: turns}
}

// seen is when a server began and ended an answer.
type seen struct{ from, to time.Time }

// watching is a server that notes when it answers each question, and fails those that a text is in.
func watching(saw map[string]seen, failing string) func(io.Writer, *http.Request) {
	var mu sync.Mutex
	return func(w io.Writer, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, question, _ := strings.Cut(string(body), `"content":"`)
		question, _, _ = strings.Cut(question, `"`)
		s := seen{from: time.Now()}
		if failing != "" && strings.Contains(question, failing) {
			io.WriteString(w, "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")
		} else {
			serve(50*time.Millisecond, 10*time.Millisecond, 3)(w, r)
		}
		s.to = time.Now()
		mu.Lock()
		defer mu.Unlock()
		saw[question] = s
	}
}

// No turn is sent before the answers that it needs have come, and branches are sent at the same time: as the server saw
// it.
func TestBranches(t *testing.T) {
	saw := map[string]seen{}
	inBubble(t, &wire{answer: watching(saw, "")}, func(t *testing.T, r *Runner) {
		m := mustRun(t, r, Stage{Load: constantLoad(4), MaxRequests: 5}, Hooks{
			Source: func(i int) (Request, error) { return forked(i).Request(), nil }})
		if want := (Sessions{Started: 5, Done: 5}); m.Sessions != want || len(m.Records) != 35 || m.Offered != 5 {
			t.Fatalf("%+v, %d records, %d offered", m.Sessions, len(m.Records), m.Offered)
		}
		byTurn := map[int32][7]Record{}
		for _, rec := range m.Records {
			turns := byTurn[rec.Session]
			turns[rec.Turn] = rec
			byTurn[rec.Session] = turns
			if rec.SendDelay() < 0 || rec.SendDelay() > time.Millisecond {
				t.Errorf("session %d, turn %d was sent %v late", rec.Session, rec.Turn, rec.SendDelay())
			}
			if ends := rec.Flags&EndsSession != 0; ends != (rec.Turn == 4) {
				t.Errorf("turn %d ends its session: %v", rec.Turn, ends)
			}
		}
		const ms = int64(time.Millisecond)
		for n, of := range byTurn {
			for turn, due := range map[int]int64{
				1: of[0].End + 10*ms, 2: of[0].End + 30*ms, 3: of[2].End, 4: max(of[1].End, of[3].End) + 200*ms,
				5: of[0].Began + 25*ms, 6: of[0].Began + 400*ms,
			} {
				if of[turn].Scheduled != due {
					t.Errorf("session %d, turn %d was due %v from when it should", n, turn,
						time.Duration(of[turn].Scheduled-due))
				}
			}
		}
	})
	for i := range 5 {
		of := func(k int) seen { return saw[fmt.Sprintf("s%d q%d", i, k)] }
		for _, order := range [][2]int{{0, 1}, {0, 2}, {2, 3}, {1, 4}, {3, 4}, {5, 6}} {
			if before, after := of(order[0]), of(order[1]); after.from.Before(before.to) || after.from.IsZero() {
				t.Errorf("session %d: turn %d was sent before the answer to turn %d", i, order[1], order[0])
			}
		}
		for _, pair := range [][2]int{{1, 2}, {0, 5}} {
			if a, b := of(pair[0]), of(pair[1]); !b.from.Before(a.to) || !a.from.Before(b.to) {
				t.Errorf("session %d: turns %d and %d were not sent at the same time", i, pair[0], pair[1])
			}
		}
	}
}

// A turn that fails abandons its session, once; what does not need its answer goes on.
func TestBranchesAbandoned(t *testing.T) {
	for failing, want := range map[string]struct {
		sessions Sessions
		records  int
	}{
		"s1 q2": {Sessions{Started: 3, Done: 2, Abandoned: 1}, 19}, // without 3 and 4
		"s1 q5": {Sessions{Started: 3, Done: 2, Abandoned: 1}, 20}, // without 6
		"s1 q":  {Sessions{Started: 3, Done: 2, Abandoned: 1}, 16}, // the first and the sixth fail
		" q4":   {Sessions{Started: 3, Abandoned: 3}, 21},
	} {
		inBubble(t, &wire{answer: watching(map[string]seen{}, failing)}, func(t *testing.T, r *Runner) {
			m := mustRun(t, r, Stage{Load: constantLoad(1), MaxRequests: 3}, Hooks{
				Source: func(i int) (Request, error) { return forked(i).Request(), nil }})
			ends := 0
			for _, rec := range m.Records {
				if rec.Flags&EndsSession != 0 {
					ends++
				}
			}
			if m.Sessions != want.sessions || len(m.Records) != want.records || ends != 3 {
				t.Errorf("%s fails: %+v, %d records, %d ends", failing, m.Sessions, len(m.Records), ends)
			}
		})
	}
}

// The end of the stage cuts branches; a cap has them wait in line like arrivals.
func TestBranchesCut(t *testing.T) {
	for name, c := range map[string]struct {
		most, cap, records int
		after              time.Duration
		want               Sessions
	}{
		"the end": {0, 512, 4, 1150 * time.Millisecond, Sessions{Started: 1}},
		"a cap":   {3, 1, 21, 0, Sessions{Started: 3, Done: 3}},
	} {
		inBubble(t, &wire{answer: watching(map[string]seen{}, "")}, func(t *testing.T, r *Runner) {
			r.MaxConcurrency = c.cap
			m := mustRun(t, r, Stage{Load: constantLoad(1), MaxRequests: c.most, MaxDuration: c.after}, Hooks{
				Source: func(i int) (Request, error) { return forked(i).Request(), nil }})
			if m.Sessions != c.want || len(m.Records) != c.records {
				t.Errorf("%s: %+v, %d records", name, m.Sessions, len(m.Records))
			}
		})
	}
}

func TestSessionsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		load Load
		turn Turn
	}{
		"a closed loop":   {streamsLoad(1), Turn{Needs: []int32{NoTurn}, Alone: true}},
		"itself":          {constantLoad(1), Turn{Needs: []int32{1}}},
		"none and one":    {constantLoad(1), Turn{Needs: []int32{0, NoTurn}}},
		"not the chain's": {constantLoad(1), Turn{}},
	} {
		inBubble(t, &wire{answer: serve(0, 0, 1)}, func(t *testing.T, r *Runner) {
			m, err := r.Run(t.Context(), Stage{Load: c.load, MaxRequests: 1}, Hooks{
				Source: func(int) (Request, error) {
					s := &Session{Turns: []Turn{{}, c.turn, {Needs: []int32{0}}}}
					return s.Request(), nil
				}})
			if err == nil && m.Err == nil {
				t.Errorf("%s: %+v", name, m)
			}
		})
	}
}
