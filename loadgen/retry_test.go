package loadgen

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// refusing refuses every request so often, by its body, before it answers.
func refusing(times int, head string) func(io.Writer, *http.Request) {
	var mu sync.Mutex
	seen := map[string]int{}
	return func(w io.Writer, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		seen[string(body)]++
		n := seen[string(body)]
		mu.Unlock()
		if n <= times {
			fmt.Fprintf(w, "HTTP/1.1 %s\r\nX-Request-Id: no-%d\r\nContent-Length: 0\r\n\r\n", head, n)
			return
		}
		serve(50*time.Millisecond, 10*time.Millisecond, 3)(w, r)
	}
}

func numbered() Hooks {
	return Hooks{Source: func(i int) (Request, error) {
		req, err := fixedSource(i)
		req.Body = fmt.Appendf(nil, `{"n":%d}`, i)
		return req, err
	}}
}

// A request that is refused is sent again after the pause that was asked for. It stays one request, with the times of
// its first try, and holds up no other.
func TestRetry(t *testing.T) {
	const date = "429 x\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\nRetry-After: Sat, 01 Jan 2000 00:00:03 GMT"
	for name, c := range map[string]struct {
		head           string
		refused, allow int
		tries          uint8
		status         Status
		latency        time.Duration // from the schedule, ms
	}{
		"not asked for":     {"429 x\r\nRetry-After: 1", 1, 0, 1, Errored, 0},
		"seconds":           {"429 x\r\nRetry-After: 2", 1, 3, 2, Completed, 2070},
		"unavailable":       {"503 x\r\nRetry-After: 1", 3, 3, 4, Completed, 3070},
		"too often":         {"503 x\r\nRetry-After: 1", 3, 2, 3, Errored, 2000},
		"a pause of ours":   {"429 x", 2, 2, 3, Completed, 1570},
		"a date":            {date, 1, 1, 2, Completed, 3070},
		"longer than ever":  {"429 x\r\nRetry-After: 601", 1, 1, 1, Errored, 0},
		"another status":    {"500 x\r\nRetry-After: 1", 1, 1, 1, Errored, 0},
		"nothing to retry":  {"429 x", 0, 1, 1, Completed, 70},
		"the largest pause": {"429 x", 7, 7, 8, Completed, 31570},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, &wire{answer: refusing(c.refused, c.head)}, func(t *testing.T, r *Runner) {
				s := Stage{Load: constantLoad(20), MaxRequests: 20, Retries: c.allow, KeepDetails: true}
				m := run(t, r, s, numbered())
				if m.Offered != 20 || len(m.Records) != 20 {
					t.Fatalf("%d offered, %d records", m.Offered, len(m.Records))
				}
				for i := range m.Records {
					rec := &m.Records[i]
					if due := time.Duration(i+1) * time.Second / 20; time.Duration(rec.Scheduled-m.Start) != due {
						t.Errorf("request %d was due at %v", i, time.Duration(rec.Scheduled-m.Start))
					}
					took := time.Duration(rec.End - rec.Scheduled).Round(time.Millisecond)
					if rec.Tries != c.tries || rec.Status != c.status || rec.SendDelay() > time.Millisecond ||
						took != c.latency*time.Millisecond {
						t.Errorf("request %d: %d tries, %v, sent %v late, took %v", i, rec.Tries, rec.Status,
							rec.SendDelay(), took)
					}
					d := &m.Details[i]
					if failed := c.status == Errored; failed != (d.Error != "") || failed != (d.RequestID != "") {
						t.Errorf("request %d: %+v", i, *d)
					}
				}
			})
		})
	}
}

// A stage that ends while a request waits for its next try leaves it unfinished, and does not wait.
func TestRetryAtTheEnd(t *testing.T) {
	inBubble(t, &wire{answer: refusing(1, "429 x\r\nRetry-After: 60")}, func(t *testing.T, r *Runner) {
		s := Stage{Load: constantLoad(10), MaxDuration: time.Second, Retries: 1, KeepDetails: true}
		m := run(t, r, s, numbered())
		wantCount(t, m, 0, 0, len(m.Records), 0)
		if took := time.Duration(m.End - m.Start); took > 1100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		for i := range m.Records {
			if rec := &m.Records[i]; rec.Err != NoError || rec.Tries != 1 || m.Details[i].Error != cancelled {
				t.Errorf("%+v, %q", *rec, m.Details[i].Error)
			}
		}
	})
}

// Which header of an answer names its request.
func TestRequestID(t *testing.T) {
	for head, want := range map[string]string{
		"":                        "",
		"X-Request-Id: a":         "a",
		"x-litellm-call-id: b":    "b",
		"request-id: c":           "c",
		"X-Request-Id:":           "",
		"X-Request-Id: " + longID: "",
		"x-litellm-call-id: b\r\nx-request-id: a": "a",
	} {
		inBubble(t, &wire{answer: func(w io.Writer, r *http.Request) {
			if head != "" {
				head := head + "\r\n"
				fmt.Fprintf(w, "HTTP/1.1 500 x\r\n%sContent-Length: 0\r\n\r\n", head)
				return
			}
			io.WriteString(w, "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n")
		}}, func(t *testing.T, r *Runner) {
			m := run(t, r, Stage{Load: constantLoad(10), MaxRequests: 1, KeepDetails: true}, numbered())
			if got := m.Details[0].RequestID; got != want {
				t.Errorf("%q: %q, want %q", head, got, want)
			}
		})
	}
}

var longID = fmt.Sprintf("%0300d", 1)
