package loadgen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openloop/openloop/internal/precise"
)

func TestInterruption(t *testing.T) {
	slow := &wire{answer: serve(time.Hour, 0, 1)}
	loads := map[string]Stage{
		"open":                 {Load: constantLoad(10)},
		"closed":               {Load: streamsLoad(4)},
		"open, with a grace":   {Load: constantLoad(10), Grace: time.Hour},
		"closed, with a grace": {Load: streamsLoad(4), Grace: time.Hour},
		"open, all sent":       {Load: constantLoad(10), MaxRequests: 3},
		"closed, all sent":     {Load: streamsLoad(4), MaxRequests: 4},
	}
	for name, stage := range loads {
		t.Run(name, func(t *testing.T) {
			inBubble(t, slow, func(t *testing.T, r *Runner) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(1010*time.Millisecond, cancel)
				stage.MaxDuration = time.Minute
				measured, err := r.Run(ctx, stage, Hooks{Source: fixedSource})
				if err != nil {
					t.Fatal(err)
				}
				checkMeasured(t, measured)
				wantReason(t, measured, StopInterrupted, "")
				wantCount(t, measured, 0, 0, len(measured.Records), 0)
				if len(measured.Records) < 3 || measured.Stopped != measured.Start+1010*ms ||
					measured.End != measured.Stopped {
					t.Errorf("%d records, start %d, stopped %d, end %d", len(measured.Records), measured.Start,
						measured.Stopped, measured.End)
				}
			})
		})
	}
	t.Run("while it is being drained", func(t *testing.T) {
		inBubble(t, slow, func(t *testing.T, r *Runner) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			measured, err := r.Run(ctx, Stage{Load: constantLoad(10), MaxDuration: time.Second, Grace: time.Hour},
				Hooks{Source: fixedSource})
			if err != nil {
				t.Fatal(err)
			}
			wantReason(t, measured, StopDuration, "")
			wantCount(t, measured, 0, 0, 9, 0)
			if measured.End > measured.Start+3000*ms {
				t.Errorf("ended after %v, want 3 s", time.Duration(measured.End-measured.Start))
			}
		})
	})
	t.Run("before it began", func(t *testing.T) {
		inBubble(t, slow, func(t *testing.T, r *Runner) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			for _, stage := range []Stage{{Load: timesLoad(0, 0)}, {Load: streamsLoad(2)}} {
				stage.MaxDuration = time.Minute
				measured, err := r.Run(ctx, stage, Hooks{Source: fixedSource})
				if err != nil {
					t.Fatal(err)
				}
				wantReason(t, measured, StopInterrupted, "")
				if len(measured.Records) > 0 {
					t.Errorf("%d records", len(measured.Records))
				}
			}
		})
	})
	t.Run("by Stop, by an observer", func(t *testing.T) {
		inBubble(t, slow, func(t *testing.T, r *Runner) {
			run, err := r.Start(t.Context(), Stage{Load: constantLoad(10), MaxDuration: time.Minute},
				Hooks{Source: fixedSource})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(550 * time.Millisecond)
			run.Stop()
			run.Stop()
			<-run.Done()
			wantReason(t, run.Wait(), StopAsked, "")
			wantCount(t, run.Wait(), 0, 0, 5, 0)

			var begun, ended atomic.Int32
			measured := mustRun(t, r, Stage{Load: constantLoad(10), MaxDuration: time.Minute},
				Hooks{Source: fixedSource, Observe: func(e Event) {
					if e.Ended {
						ended.Add(1)
					} else if begun.Add(1) == 7 {
						e.Run.StopFor(StopOverSaturated)
					}
				}})
			wantReason(t, measured, StopOverSaturated, "")
			// The seventh, which stops the stage as it begins, is cut off before or after its first byte.
			if _, _, incomplete, notSent := count(measured); incomplete+notSent != 7 || notSent > 1 {
				t.Errorf("%d incomplete, %d not sent; want 7, at most one of them not sent", incomplete, notSent)
			}
			if begun.Load() != 7 || ended.Load() != 7 {
				t.Errorf("told of %d beginnings and %d ends, want 7", begun.Load(), ended.Load())
			}
		})
	})
}

func mustRun(t *testing.T, r *Runner, s Stage, h ...Hooks) *Measured {
	t.Helper()
	measured, err := r.Run(t.Context(), s, append(h, Hooks{Source: fixedSource})[0])
	if err != nil {
		t.Fatal(err)
	}
	return measured
}

func TestSourceErrors(t *testing.T) {
	empty := errors.New("the data set is empty")
	source := func(i int) (Request, error) {
		if i == 3 {
			return Request{}, empty
		}
		if i > 3 {
			t.Errorf("asked for request %d after an error", i)
		}
		return fixedSource(i)
	}
	for _, stage := range []Stage{{Load: constantLoad(10)}, {Load: streamsLoad(2)}} {
		inBubble(t, &wire{answer: serve(10*time.Millisecond, 0, 1)}, func(t *testing.T, r *Runner) {
			stage.MaxDuration, stage.Grace = time.Minute, time.Minute
			measured := run(t, r, stage, Hooks{Source: source})
			wantReason(t, measured, StopSource, "data set is empty")
			if !errors.Is(measured.Err, empty) {
				t.Errorf("%v", measured.Err)
			}
			wantCount(t, measured, 3, 0, 0, 0)
		})
	}
}

func TestMeasuredWindow(t *testing.T) {
	inBubble(t, &wire{answer: serve(50*time.Millisecond, 10*time.Millisecond, 2)}, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{
			Load: constantLoad(10), MaxDuration: 3 * time.Second, Warmup: time.Second, Cooldown: 500 * time.Millisecond,
		})
		// Sent at 100 … 2,900 ms, ended 60 ms later: counted are those of 1,000 … 2,500.
		wantCount(t, measured, 29, 0, 0, 0)
		if measured.TTFT.TotalCount() != 16 || measured.Gaps.TotalCount() != 16 {
			t.Errorf("%d and %d in the histograms, want 16", measured.TTFT.TotalCount(), measured.Gaps.TotalCount())
		}
	})
}

func TestDetails(t *testing.T) {
	w := &wire{answer: func(w io.Writer, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == `{"i":1}` {
			io.WriteString(w, "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
			return
		}
		io.WriteString(w, chunkedHead+chunked(completion("out", string(body[5:6]))))
	}}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		source := func(i int) (Request, error) {
			req, err := fixedSource(i)
			req.Body = fmt.Appendf(nil, `{"i":%d}`, i)
			return req, err
		}
		measured := run(t, r, Stage{Load: constantLoad(10), MaxRequests: 4, KeepDetails: true, KeepTexts: 3},
			Hooks{Source: source})
		if len(measured.Details) != 4 {
			t.Fatalf("%d details", len(measured.Details))
		}
		for i, want := range []Detail{
			{ResponseID: "cmpl-1", Body: []byte(`{"i":0}`), Output: "out0"},
			{Error: "HTTP 400 Bad Request: no", Body: []byte(`{"i":1}`)},
			{ResponseID: "cmpl-1", Body: []byte(`{"i":2}`), Output: "out2"},
			{ResponseID: "cmpl-1"},
		} {
			if got := measured.Details[i]; fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Errorf("request %d: %q, want %q", i, got, want)
			}
		}
		measured = run(t, r, Stage{Load: constantLoad(10), MaxRequests: 2}, Hooks{Source: source})
		if measured.Details != nil {
			t.Errorf("details that nobody asked for: %q", measured.Details)
		}
	})
}

func TestProgress(t *testing.T) {
	inBubble(t, &wire{answer: serve(100*time.Millisecond, 100*time.Millisecond, 5)}, func(t *testing.T, r *Runner) {
		run, err := r.Start(t.Context(), Stage{Load: constantLoad(10), MaxDuration: 950 * time.Millisecond},
			Hooks{Source: fixedSource})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(850 * time.Millisecond)
		// Sent at 100 … 800 ms; those of 100, 200, 300 have ended, the others have 5, 4, 3, 2, 0 tokens at most.
		p := run.Progress()
		if p.Elapsed != 850*time.Millisecond || p.Sent != 8 || p.InFlight != 5 || p.Completed != 3 || p.Errored != 0 ||
			p.Firsts != 7 || p.Tokens != 3*5+4+3+2+1 {
			t.Errorf("%+v", p)
		}
		run.Wait()
	})
}

func TestArena(t *testing.T) {
	for _, details := range []bool{false, true} {
		a := arena{details: details}
		var records []*Record
		var kept []*Detail
		for i := range 3*slabSize + 5 {
			r, d := a.add()
			r.Scheduled = int64(i)
			if d != nil {
				d.ResponseID = fmt.Sprint(i)
			}
			records, kept = append(records, r), append(kept, d)
		}
		for i, r := range records { // they never moved
			r.Sent = int64(-i)
			if details {
				kept[i].Output = fmt.Sprint(-i)
			}
		}
		flat, flatDetails := a.flatten()
		if len(flat) != len(records) || (flatDetails != nil) != details {
			t.Fatalf("%d records, details: %v", len(flat), flatDetails != nil)
		}
		for i := range flat {
			if flat[i].Scheduled != int64(i) || flat[i].Sent != int64(-i) ||
				details && (flatDetails[i].ResponseID != fmt.Sprint(i) || flatDetails[i].Output != fmt.Sprint(-i)) {
				t.Fatalf("record %d holds %d, %d", i, flat[i].Scheduled, flat[i].Sent)
			}
		}
		if again, _ := a.flatten(); len(again) != 0 {
			t.Errorf("%d records are left", len(again))
		}
	}
}

func TestStageCheck(t *testing.T) {
	nan := 0.0
	nan /= nan
	good := Stage{Load: constantLoad(1), MaxDuration: time.Second}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(s *Stage){
		"no load":               func(s *Stage) { s.Load = Load{} },
		"an unknown load":       func(s *Stage) { s.Load.Kind = "sweep" },
		"no rate":               func(s *Stage) { s.Load.Rate = 0 },
		"no number of a rate":   func(s *Stage) { s.Load.Rate = nan },
		"a rate and streams":    func(s *Stage) { s.Load.Streams = 1 },
		"negative streams":      func(s *Stage) { s.Load = streamsLoad(-1) },
		"no limit":              func(s *Stage) { s.MaxDuration = 0 },
		"negative duration":     func(s *Stage) { s.MaxDuration = -1 },
		"negative requests":     func(s *Stage) { s.MaxRequests = -1 },
		"negative errors":       func(s *Stage) { s.MaxErrors = -1 },
		"negative grace":        func(s *Stage) { s.Grace = -1 },
		"negative ramp-up":      func(s *Stage) { s.Load.RampUp = -1 },
		"negative error rate":   func(s *Stage) { s.MaxErrorRate = -0.1 },
		"error rate above 1":    func(s *Stage) { s.MaxGlobalErrorRate = 1.1 },
		"error rate, no number": func(s *Stage) { s.MaxErrorRate = nan },
		"negative warm-up":      func(s *Stage) { s.Warmup = -1 },
		"negative cool-down":    func(s *Stage) { s.Cooldown = -1 },
		"nothing to measure":    func(s *Stage) { s.Warmup, s.Cooldown = time.Second/2, time.Second/2 },
	} {
		s := good
		change(&s)
		if s.Check() == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := (&Runner{Client: &Client{}}).Start(t.Context(), s, Hooks{Source: fixedSource}); err == nil {
			t.Errorf("%s: the stage began", name)
		}
	}
	if _, err := (&Runner{Client: &Client{}}).Start(t.Context(), good, Hooks{}); err == nil {
		t.Error("a stage without a request source began")
	}
	if _, err := new(Runner).Run(t.Context(), good, Hooks{Source: fixedSource}); err == nil {
		t.Error("a runner without a client began a stage")
	}
}

// A stage in real time, with the real pacer, over a real connection: what holds on any machine, however busy.
func TestStageOverLoopback(t *testing.T) {
	target, _ := server(t, func(c net.Conn, r *bufio.Reader) {
		for request(r) != nil {
			serve(2*time.Millisecond, time.Millisecond, 3)(c, nil)
		}
	})
	c := newClient(t, target)
	r := &Runner{Client: c}
	measured := run(t, r, Stage{Load: constantLoad(200), MaxRequests: 100})
	wantReason(t, measured, StopRequests, "")
	wantCount(t, measured, 100, 0, 0, 0)
	for i, rec := range measured.Records {
		if rec.Scheduled != measured.Start+int64(i+1)*5*ms || rec.Started < rec.Scheduled || rec.Sent < rec.Started {
			t.Errorf("request %d scheduled at %d, started at %d, sent at %d", i, rec.Scheduled, rec.Started, rec.Sent)
		}
		if ttft, _ := rec.TTFT(); ttft < 2*time.Millisecond {
			t.Errorf("request %d: TTFT %v, the server waits 2 ms", i, ttft)
		}
	}
	if measured.Client.Pacer != precise.SleepKind || measured.Client.Stamps != c.StampSource() ||
		measured.Client.CPU <= 0 {
		t.Errorf("%+v", measured.Client)
	}

	// Two stages share the client.
	var both sync.WaitGroup
	for _, stage := range []Stage{{Load: Load{Kind: PoissonGaps, Rate: 300, Seed: 1}}, {Load: streamsLoad(5)}} {
		both.Go(func() {
			stage.MaxRequests = 50
			measured, err := r.Run(context.Background(), stage, Hooks{Source: fixedSource})
			if err != nil {
				t.Error(err)
				return
			}
			checkMeasured(t, measured)
			wantCount(t, measured, 50, 0, 0, 0)
		})
	}
	both.Wait()
}
