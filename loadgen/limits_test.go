package loadgen

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestServerGone(t *testing.T) {
	gone := errors.New("connection refused")
	for name, stage := range map[string]Stage{
		"open": {Load: constantLoad(50)}, "closed": {Load: streamsLoad(20)}, "one stream": {Load: streamsLoad(1)},
	} {
		t.Run(name, func(t *testing.T) {
			w := &wire{answer: serve(10*time.Millisecond, 0, 1), refuse: func() error { return gone }}
			inBubble(t, w, func(t *testing.T, r *Runner) {
				stage.MaxDuration = time.Minute
				measured := run(t, r, stage)
				wantReason(t, measured, StopServerGone, "connection refused")
				d := time.Duration(measured.Stopped - measured.Start)
				if d < goneAfter || d > goneAfter+500*time.Millisecond {
					t.Errorf("noticed after %v, want about %v", d, goneAfter)
				}
				completed, errored, _, _ := count(measured)
				if completed != 0 || errored < goneCount || errored > 1000 {
					t.Errorf("%d completed, %d errored", completed, errored)
				}
			})
		})
	}
	t.Run("not for good", func(t *testing.T) {
		n := 0
		w := &wire{refuse: func() error {
			if n++; n%8 == 0 {
				return nil
			}
			return gone
		}, answer: func(w io.Writer, r *http.Request) {
			io.WriteString(w, strings.Replace(chunkedHead, "200 OK\r\n", "200 OK\r\nConnection: close\r\n", 1)+
				chunked(completion("a")))
		}}
		inBubble(t, w, func(t *testing.T, r *Runner) {
			measured := run(t, r, Stage{Load: constantLoad(5), MaxDuration: 20 * time.Second})
			wantReason(t, measured, StopDuration, "")
			// An eighth of the tries succeed; some of those ahead of a request are tries too.
			completed, errored, _, _ := count(measured)
			if completed < 12 || completed > 24 || completed+errored != 99 {
				t.Errorf("%d completed, %d errored", completed, errored)
			}
		})
	})
}

func TestErrorLimitsOfAStage(t *testing.T) {
	failing := &wire{answer: func(w io.Writer, r *http.Request) {
		io.WriteString(w, "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
	}}
	for _, test := range []struct {
		stage  Stage
		reason StopReason
		errors int
	}{
		{Stage{MaxErrors: 3}, StopErrors, 3},
		{Stage{MaxErrorRate: 0.5}, StopErrorRate, 30},
		{Stage{MaxGlobalErrorRate: 0.5}, StopGlobalErrorRate, 30},
		{Stage{MaxRequests: 40}, StopRequests, 40},
	} {
		inBubble(t, failing, func(t *testing.T, r *Runner) {
			test.stage.MaxDuration, test.stage.Load = time.Minute, constantLoad(10)
			measured := run(t, r, test.stage)
			wantReason(t, measured, test.reason, "")
			wantCount(t, measured, 0, test.errors, 0, 0)
		})
	}
}

func TestErrorLimits(t *testing.T) {
	// Of each request, in the order in which they ended: "x" failed.
	patterns := map[string]string{
		"x5":     "xxxxx",
		"alt":    strings.Repeat(".x", 60),
		"late":   strings.Repeat(".", 100) + strings.Repeat("x", 100),
		"early":  strings.Repeat("x", 20) + strings.Repeat(".", 200),
		"early2": strings.Repeat("x", 15) + strings.Repeat(".", 200),
		"rare":   strings.Repeat(strings.Repeat(".", 9)+"x", 30),
		"one":    strings.Repeat(".", 29) + "x" + strings.Repeat(".", 50),
		"ok":     strings.Repeat(".", 50),
		"edge":   "xxx" + strings.Repeat(".", 37),
		"rnd": "......x....x.x..xx...x.x.xx.xx......x......xxx..x........x.x..x...xxx.x.......x...x.x........xxx..xx" +
			"...x....x.x..x....x.x............x......x...................x...................x......x........xx.." +
			"x..x.xxx.xxx....x.x...x..x.x.........x.......xx..x....x...............x.....x....x.x.......x........",
	}
	// When the constraints of GuideLLM 0.5.0 stopped, after so many requests; 0: never. Made by calling them.
	for _, test := range []struct {
		pattern string
		stage   Stage
		stop    int
	}{
		{"x5", Stage{MaxErrors: 1}, 1},
		{"alt", Stage{MaxErrors: 1}, 2},
		{"late", Stage{MaxErrors: 1}, 101},
		{"early", Stage{MaxErrors: 1}, 1},
		{"early2", Stage{MaxErrors: 1}, 1},
		{"rare", Stage{MaxErrors: 1}, 10},
		{"one", Stage{MaxErrors: 1}, 30},
		{"ok", Stage{MaxErrors: 1}, 0},
		{"edge", Stage{MaxErrors: 1}, 1},
		{"rnd", Stage{MaxErrors: 1}, 7},
		{"x5", Stage{MaxErrors: 3}, 3},
		{"alt", Stage{MaxErrors: 3}, 6},
		{"late", Stage{MaxErrors: 3}, 103},
		{"early", Stage{MaxErrors: 3}, 3},
		{"early2", Stage{MaxErrors: 3}, 3},
		{"rare", Stage{MaxErrors: 3}, 30},
		{"one", Stage{MaxErrors: 3}, 0},
		{"ok", Stage{MaxErrors: 3}, 0},
		{"edge", Stage{MaxErrors: 3}, 3},
		{"rnd", Stage{MaxErrors: 3}, 14},
		{"x5", Stage{MaxErrors: 30}, 0},
		{"alt", Stage{MaxErrors: 30}, 60},
		{"late", Stage{MaxErrors: 30}, 130},
		{"early", Stage{MaxErrors: 30}, 0},
		{"early2", Stage{MaxErrors: 30}, 0},
		{"rare", Stage{MaxErrors: 30}, 300},
		{"one", Stage{MaxErrors: 30}, 0},
		{"ok", Stage{MaxErrors: 30}, 0},
		{"edge", Stage{MaxErrors: 30}, 0},
		{"rnd", Stage{MaxErrors: 30}, 99},
		{"x5", Stage{MaxErrorRate: 0.1}, 0},
		{"alt", Stage{MaxErrorRate: 0.1}, 30},
		{"late", Stage{MaxErrorRate: 0.1}, 103},
		{"early", Stage{MaxErrorRate: 0.1}, 30},
		{"early2", Stage{MaxErrorRate: 0.1}, 30},
		{"rare", Stage{MaxErrorRate: 0.1}, 30},
		{"one", Stage{MaxErrorRate: 0.1}, 0},
		{"ok", Stage{MaxErrorRate: 0.1}, 0},
		{"edge", Stage{MaxErrorRate: 0.1}, 30},
		{"rnd", Stage{MaxErrorRate: 0.1}, 30},
		{"x5", Stage{MaxErrorRate: 0.3}, 0},
		{"alt", Stage{MaxErrorRate: 0.3}, 30},
		{"late", Stage{MaxErrorRate: 0.3}, 109},
		{"early", Stage{MaxErrorRate: 0.3}, 30},
		{"early2", Stage{MaxErrorRate: 0.3}, 30},
		{"rare", Stage{MaxErrorRate: 0.3}, 0},
		{"one", Stage{MaxErrorRate: 0.3}, 0},
		{"ok", Stage{MaxErrorRate: 0.3}, 0},
		{"edge", Stage{MaxErrorRate: 0.3}, 0},
		{"rnd", Stage{MaxErrorRate: 0.3}, 30},
		{"x5", Stage{MaxErrorRate: 0.5}, 0},
		{"alt", Stage{MaxErrorRate: 0.5}, 30},
		{"late", Stage{MaxErrorRate: 0.5}, 115},
		{"early", Stage{MaxErrorRate: 0.5}, 30},
		{"early2", Stage{MaxErrorRate: 0.5}, 30},
		{"rare", Stage{MaxErrorRate: 0.5}, 0},
		{"one", Stage{MaxErrorRate: 0.5}, 0},
		{"ok", Stage{MaxErrorRate: 0.5}, 0},
		{"edge", Stage{MaxErrorRate: 0.5}, 0},
		{"rnd", Stage{MaxErrorRate: 0.5}, 0},
		{"x5", Stage{MaxErrorRate: 0.99}, 0},
		{"alt", Stage{MaxErrorRate: 0.99}, 0},
		{"late", Stage{MaxErrorRate: 0.99}, 130},
		{"early", Stage{MaxErrorRate: 0.99}, 0},
		{"early2", Stage{MaxErrorRate: 0.99}, 0},
		{"rare", Stage{MaxErrorRate: 0.99}, 0},
		{"one", Stage{MaxErrorRate: 0.99}, 0},
		{"ok", Stage{MaxErrorRate: 0.99}, 0},
		{"edge", Stage{MaxErrorRate: 0.99}, 0},
		{"rnd", Stage{MaxErrorRate: 0.99}, 0},
		{"x5", Stage{MaxGlobalErrorRate: 0.05}, 0},
		{"alt", Stage{MaxGlobalErrorRate: 0.05}, 30},
		{"late", Stage{MaxGlobalErrorRate: 0.05}, 106},
		{"early", Stage{MaxGlobalErrorRate: 0.05}, 30},
		{"early2", Stage{MaxGlobalErrorRate: 0.05}, 30},
		{"rare", Stage{MaxGlobalErrorRate: 0.05}, 30},
		{"one", Stage{MaxGlobalErrorRate: 0.05}, 0},
		{"ok", Stage{MaxGlobalErrorRate: 0.05}, 0},
		{"edge", Stage{MaxGlobalErrorRate: 0.05}, 30},
		{"rnd", Stage{MaxGlobalErrorRate: 0.05}, 30},
		{"x5", Stage{MaxGlobalErrorRate: 0.1}, 0},
		{"alt", Stage{MaxGlobalErrorRate: 0.1}, 30},
		{"late", Stage{MaxGlobalErrorRate: 0.1}, 112},
		{"early", Stage{MaxGlobalErrorRate: 0.1}, 30},
		{"early2", Stage{MaxGlobalErrorRate: 0.1}, 30},
		{"rare", Stage{MaxGlobalErrorRate: 0.1}, 30},
		{"one", Stage{MaxGlobalErrorRate: 0.1}, 0},
		{"ok", Stage{MaxGlobalErrorRate: 0.1}, 0},
		{"edge", Stage{MaxGlobalErrorRate: 0.1}, 30},
		{"rnd", Stage{MaxGlobalErrorRate: 0.1}, 30},
		{"x5", Stage{MaxGlobalErrorRate: 0.3}, 0},
		{"alt", Stage{MaxGlobalErrorRate: 0.3}, 30},
		{"late", Stage{MaxGlobalErrorRate: 0.3}, 143},
		{"early", Stage{MaxGlobalErrorRate: 0.3}, 30},
		{"early2", Stage{MaxGlobalErrorRate: 0.3}, 30},
		{"rare", Stage{MaxGlobalErrorRate: 0.3}, 0},
		{"one", Stage{MaxGlobalErrorRate: 0.3}, 0},
		{"ok", Stage{MaxGlobalErrorRate: 0.3}, 0},
		{"edge", Stage{MaxGlobalErrorRate: 0.3}, 0},
		{"rnd", Stage{MaxGlobalErrorRate: 0.3}, 30},
		{"x5", Stage{MaxGlobalErrorRate: 0.5}, 0},
		{"alt", Stage{MaxGlobalErrorRate: 0.5}, 30},
		{"late", Stage{MaxGlobalErrorRate: 0.5}, 200},
		{"early", Stage{MaxGlobalErrorRate: 0.5}, 30},
		{"early2", Stage{MaxGlobalErrorRate: 0.5}, 30},
		{"rare", Stage{MaxGlobalErrorRate: 0.5}, 0},
		{"one", Stage{MaxGlobalErrorRate: 0.5}, 0},
		{"ok", Stage{MaxGlobalErrorRate: 0.5}, 0},
		{"edge", Stage{MaxGlobalErrorRate: 0.5}, 0},
		{"rnd", Stage{MaxGlobalErrorRate: 0.5}, 0},
	} {
		var w ErrorLimits
		stop := 0
		for i, c := range patterns[test.pattern] {
			if w.Add(c == 'x', &test.stage) != "" {
				stop = i + 1
				break
			}
		}
		if stop != test.stop {
			t.Errorf("%s, errors %d, rate %v, global rate %v: stops after %d requests, GuideLLM after %d",
				test.pattern, test.stage.MaxErrors, test.stage.MaxErrorRate, test.stage.MaxGlobalErrorRate,
				stop, test.stop)
		}
	}
}
