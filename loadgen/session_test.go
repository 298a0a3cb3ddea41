package loadgen

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// talk is a session of so many turns, with a think time between.
func talk(i, turns int, think time.Duration, answer string) *Session {
	s := &Session{}
	for k := range turns {
		t := Turn{
			Think: think, Head: []byte(`{"messages":[`), Tail: []byte(`]}`),
			Messages:     fmt.Appendf(nil, `{"role":"user","content":"s%d q%d"}`, i, k),
			PromptTokens: int32(10 * (k + 1)), OutputTokens: 3,
		}
		if answer != "" {
			t.Answer = fmt.Appendf(nil, `{"role":"assistant","content":%q}`, answer)
		}
		s.Turns = append(s.Turns, t)
	}
	return s
}

func talks(turns int, think time.Duration, answer string) Hooks {
	return Hooks{Source: func(i int) (Request, error) { return talk(i, turns, think, answer).Request(), nil }}
}

// heard are the bodies that a server was sent.
type heard struct {
	mu     sync.Mutex
	bodies []string
}

// listening is a server that keeps what it is sent, and answers as answer does.
func (h *heard) listening(answer func(io.Writer, *http.Request)) func(io.Writer, *http.Request) {
	return func(w io.Writer, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.bodies = append(h.bodies, string(body))
		h.mu.Unlock()
		answer(w, r)
	}
}

// Sessions arrive by the schedule; a turn is due when the answer before it has come and its think time has passed, and
// holds all that was said before, the model's own answers included.
func TestSessions(t *testing.T) {
	for name, c := range map[string]struct {
		think  time.Duration
		answer string // recorded
		said   string // what stands for it in the next turn
	}{
		"own answers":     {think: 300 * time.Millisecond, said: " t t t"},
		"recorded":        {think: 300 * time.Millisecond, answer: "as it was", said: "as it was"},
		"no think time":   {said: " t t t"},
		"a short thought": {think: 2 * time.Millisecond, said: " t t t"},
	} {
		t.Run(name, func(t *testing.T) {
			var h heard
			w := &wire{answer: h.listening(serve(50*time.Millisecond, 10*time.Millisecond, 3))}
			inBubble(t, w, func(t *testing.T, r *Runner) {
				m := mustRun(t, r, Stage{Load: constantLoad(4), MaxRequests: 6}, talks(3, c.think, c.answer))
				want := Sessions{Started: 6, Done: 6}
				if m.Sessions != want || m.Offered != 6 || len(m.Records) != 18 {
					t.Fatalf("%+v, %d offered, %d records", m.Sessions, m.Offered, len(m.Records))
				}
				last := map[int32]*Record{}
				for i := range m.Records {
					rec := &m.Records[i]
					if i > 0 && rec.Scheduled < m.Records[i-1].Scheduled {
						t.Errorf("request %d was due before the one before it", i)
					}
					before := last[rec.Session]
					last[rec.Session] = rec
					if rec.Turn == 0 {
						due := time.Duration(rec.Session) * time.Second / 4
						if before != nil || time.Duration(rec.Scheduled-m.Start) != due {
							t.Errorf("session %d began %v, instead of %v", rec.Session, rec.Scheduled-m.Start, due)
						}
						continue
					}
					if before == nil || before.Turn != rec.Turn-1 || rec.Turns != 3 ||
						rec.Scheduled != before.End+int64(c.think) || rec.AskedPrompt != 10*int32(rec.Turn+1) {
						t.Errorf("session %d: %+v follows %+v", rec.Session, rec, before)
					}
					if rec.SendDelay() < 0 || rec.SendDelay() > time.Millisecond {
						t.Errorf("session %d, turn %d was sent %v late", rec.Session, rec.Turn, rec.SendDelay())
					}
				}
			})
			third := 0
			for _, body := range h.bodies {
				var asked struct {
					Messages []struct{ Role, Content string }
				}
				if err := json.Unmarshal([]byte(body), &asked); err != nil {
					t.Fatalf("%v in %s", err, body)
				}
				if len(asked.Messages) != 5 {
					continue
				}
				third++
				session, _, _ := strings.Cut(asked.Messages[0].Content, " ")
				var said []string
				for _, m := range asked.Messages {
					said = append(said, m.Role+":"+m.Content)
				}
				want := fmt.Sprintf("user:%[1]s q0,assistant:%[2]s,user:%[1]s q1,assistant:%[2]s,user:%[1]s q2",
					session, c.said)
				if got := strings.Join(said, ","); got != want {
					t.Errorf("%s\nwant %s", got, want)
				}
			}
			if third != 6 {
				t.Errorf("%d third turns", third)
			}
		})
	}
}

// What ends a session early is counted: an error apart from the end of the stage.
func TestSessionsEnd(t *testing.T) {
	w := &wire{answer: func(w io.Writer, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "s1 q1") {
			io.WriteString(w, "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")
			return
		}
		serve(50*time.Millisecond, 10*time.Millisecond, 3)(w, r)
	}}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		// Sessions begin after 1, 2, 3 and 4 s and take 0.21 s; the fourth is cut in its think time.
		m := mustRun(t, r, Stage{Load: constantLoad(1), MaxDuration: 4100 * time.Millisecond},
			talks(2, 70*time.Millisecond, ""))
		if want := (Sessions{Started: 4, Done: 2, Abandoned: 1}); m.Sessions != want || len(m.Records) != 7 {
			t.Errorf("%+v, %d records", m.Sessions, len(m.Records))
		}
		if all := m.AllRecords(); len(all) != 7 {
			t.Errorf("%d records with those that were not sent", len(all))
		}
	})
}

// A closed loop keeps so many sessions going, each through its think times.
func TestSessionsInAClosedLoop(t *testing.T) {
	w := &wire{answer: serve(50*time.Millisecond, 10*time.Millisecond, 3)}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		m := mustRun(t, r, Stage{Load: streamsLoad(2), MaxRequests: 6}, talks(3, time.Second, ""))
		if want := (Sessions{Started: 6, Done: 6}); m.Sessions != want || len(m.Records) != 18 {
			t.Errorf("%+v, %d records", m.Sessions, len(m.Records))
		}
		if m.Client.PeakInFlight > 2 {
			t.Errorf("%d in flight", m.Client.PeakInFlight)
		}
	})
}

// A session that begins while a closed loop ends is none that its end waits for: the race detector looks on.
func TestSessionsBeginAtTheEnd(t *testing.T) {
	w := &wire{answer: serve(50*time.Millisecond, 10*time.Millisecond, 3)}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		for range 50 {
			end := time.Now().Add(time.Second)
			hooks := Hooks{Source: func(i int) (Request, error) {
				if i == 3 {
					time.Sleep(time.Until(end))
				}
				return talk(i, 3, time.Second, "").Request(), nil
			}}
			m := mustRun(t, r, Stage{Load: streamsLoad(4), MaxDuration: time.Second}, hooks)
			if m.Sessions.Done != 0 || m.Sessions.Started < 3 {
				t.Errorf("%+v", m.Sessions)
			}
		}
	})
}

// Where the cap is reached, turns wait in line like arrivals.
func TestSessionsAtTheCap(t *testing.T) {
	w := &wire{answer: serve(time.Second, 10*time.Millisecond, 3)}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		r.MaxConcurrency = 2
		m := mustRun(t, r, Stage{Load: constantLoad(10), MaxRequests: 5}, talks(3, 100*time.Millisecond, ""))
		if want := (Sessions{Started: 5, Done: 5}); m.Sessions != want || m.Client.DelayedByCap == 0 {
			t.Errorf("%+v, %d delayed", m.Sessions, m.Client.DelayedByCap)
		}
	})
}

// A turn that is not due before a time of its session waits for that, or for the answer before it, whichever is later;
// one that holds the history itself is sent without it.
func TestTurnsAtTheirTime(t *testing.T) {
	var h heard
	w := &wire{answer: h.listening(serve(50*time.Millisecond, 10*time.Millisecond, 3))}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		hooks := Hooks{Source: func(i int) (Request, error) {
			s := talk(i, 4, 0, "")
			for k := range s.Turns {
				s.Turns[k].Alone = true
			}
			s.Turns[1].After = 400 * time.Millisecond
			s.Turns[2].After = 410 * time.Millisecond // before the answer of the turn before it
			s.Turns[3].After, s.Turns[3].Think = 450*time.Millisecond, 30*time.Millisecond
			return s.Request(), nil
		}}
		m := mustRun(t, r, Stage{Load: constantLoad(4), MaxRequests: 2}, hooks)
		last := map[int32]*Record{}
		for i := range m.Records {
			rec := &m.Records[i]
			before := last[rec.Session]
			last[rec.Session] = rec
			if before == nil {
				continue
			}
			want := before.End
			switch rec.Turn {
			case 1:
				want = rec.Began + int64(400*time.Millisecond)
			case 3:
				want += int64(30 * time.Millisecond)
			}
			if rec.Scheduled != want {
				t.Errorf("turn %d was due %v after its session, want %v", rec.Turn,
					time.Duration(rec.Scheduled-rec.Began), time.Duration(want-rec.Began))
			}
		}
		if m.Sessions.Done != 2 || len(m.Records) != 8 {
			t.Errorf("%+v, %d requests", m.Sessions, len(m.Records))
		}
	})
	for _, body := range h.bodies {
		if strings.Count(body, `"role"`) != 1 {
			t.Errorf("%s has more than its own message", body)
		}
	}
}
