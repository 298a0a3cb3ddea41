package loadgen

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a server in memory, for stages in virtual time.
type wire struct {
	answer func(w io.Writer, r *http.Request) // an error of its writer ends the connection
	refuse func() error                       // not nil: asked before every connection
	slow   time.Duration                      // what a connection takes to open
	dials  atomic.Int32
	open   *sync.WaitGroup // its connections
}

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	w.dials.Add(1)
	if w.refuse != nil {
		if err := w.refuse(); err != nil {
			return nil, err
		}
	}
	time.Sleep(w.slow)
	c, s := net.Pipe()
	w.open.Go(func() {
		defer s.Close()
		r := bufio.NewReader(s)
		for {
			req := request(r)
			if req == nil {
				return
			}
			e := &errWriter{w: s}
			w.answer(e, req)
			if e.err != nil {
				return
			}
		}
	})
	return c, nil
}

// errWriter remembers the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(p)
	e.err = err
	return n, err
}

// serve answers with n tokens, the first after ttft, the others itl apart, and the end with the last.
func serve(ttft, itl time.Duration, n int) func(w io.Writer, r *http.Request) {
	return func(w io.Writer, r *http.Request) {
		io.WriteString(w, chunkedHead)
		time.Sleep(ttft)
		for i := range n {
			if i > 0 {
				time.Sleep(itl)
			}
			io.WriteString(w, tokenChunk(" t"))
		}
		io.WriteString(w, chunked(fmt.Sprintf("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":%d}}\n\ndata: [DONE]\n\n", n)))
	}
}

func fixedSource(int) (Request, error) {
	return Request{Body: []byte("{}"), PromptTokens: 5, OutputTokens: 3, PromptWords: 2, PromptChars: 9}, nil
}

// inBubble runs a test in virtual time with a runner for the wire.
func inBubble(t *testing.T, w *wire, test func(t *testing.T, r *Runner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(Target{URL: "http://wire.test/v1/chat/completions", Dial: w.dial})
		if err != nil {
			t.Fatal(err)
		}
		w.open = new(sync.WaitGroup)
		test(t, &Runner{Client: c, Sleep: time.Sleep})
		c.Close()
		w.open.Wait()
	})
}

// run runs a stage and checks what holds of every stage.
func run(t *testing.T, r *Runner, s Stage, h ...Hooks) *Measured {
	t.Helper()
	measured := mustRun(t, r, s, h...)
	checkMeasured(t, measured)
	return measured
}

func checkMeasured(t *testing.T, measured *Measured) {
	t.Helper()
	if !(0 < measured.Start && measured.Start <= measured.Stopped && measured.Stopped <= measured.End) {
		t.Errorf("start %d, stopped %d, end %d", measured.Start, measured.Stopped, measured.End)
	}
	for i := range measured.Records {
		r := &measured.Records[i]
		checkOrder(t, r)
		if r.Scheduled < measured.Start || r.End > measured.End {
			t.Errorf("request %d scheduled at %d, ended at %d, outside of the stage", i, r.Scheduled, r.End)
		}
		if (r.Status == NotSent) != (r.Sent == 0) && r.Err != ErrConnect {
			t.Errorf("request %d: %v, sent at %d", i, r.Status, r.Sent)
		}
		if r.Sent != 0 && r.Sent < r.Scheduled {
			t.Errorf("request %d was sent %d ns early", i, r.Scheduled-r.Sent)
		}
		if r.AskedPrompt != 5 || r.AskedOutput != 3 || r.PromptWords != 2 || r.PromptChars != 9 {
			t.Errorf("request %d: what its source knew is lost: %+v", i, *r)
		}
	}
	if measured.Offered < len(measured.Records) {
		t.Errorf("offered %d, but %d records", measured.Offered, len(measured.Records))
	}
}

// count counts the records of each status.
func count(measured *Measured) (completed, errored, incomplete, notSent int) {
	for _, r := range measured.Records {
		switch r.Status {
		case Completed:
			completed++
		case Errored:
			errored++
		case Incomplete:
			incomplete++
		default:
			notSent++
		}
	}
	return
}

func wantCount(t *testing.T, measured *Measured, completed, errored, incomplete, notSent int) {
	t.Helper()
	c, e, i, n := count(measured)
	if c != completed || e != errored || i != incomplete || n != notSent {
		t.Errorf("%d completed, %d errored, %d incomplete, %d not sent; want %d, %d, %d, %d", c, e, i, n, completed, errored, incomplete, notSent)
	}
}

func wantReason(t *testing.T, measured *Measured, reason StopReason, err string) {
	t.Helper()
	if measured.Reason != reason || (measured.Err == nil) != (err == "") || err != "" && !strings.Contains(measured.Err.Error(), err) {
		t.Errorf("ended by %q (%v), want %q (%s)", measured.Reason, measured.Err, reason, err)
	}
}

const ms = int64(time.Millisecond)

func TestOpenLoopNeverWaitsForTheServer(t *testing.T) {
	w := &wire{answer: serve(time.Minute, 0, 1)}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 2 * time.Second})
		wantReason(t, measured, StopDuration, "")
		wantCount(t, measured, 0, 0, 19, 0) // at 100, 200, … 1,900 ms
		for i, rec := range measured.Records {
			if due := measured.Start + int64(i+1)*100*ms; rec.Scheduled != due || rec.Started != due || rec.Sent != due {
				t.Errorf("request %d scheduled at %d, started at %d, sent at %d, want %d", i, rec.Scheduled, rec.Started, rec.Sent, due)
			}
		}
		if measured.Offered != 19 || measured.Client.PeakInFlight != 19 || measured.Client.NewConnections != 19 || measured.Client.SourceWaits != 0 {
			t.Errorf("offered %d, %+v", measured.Offered, measured.Client)
		}
		if measured.Stopped != measured.Start+2000*ms || measured.End != measured.Stopped {
			t.Errorf("start %d, stopped %d, end %d", measured.Start, measured.Stopped, measured.End)
		}
	})
}

func TestTimesOfAStream(t *testing.T) {
	w := &wire{answer: serve(30*time.Millisecond, 5*time.Millisecond, 4)}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: constantLoad(5), MaxRequests: 10})
		wantReason(t, measured, StopRequests, "")
		wantCount(t, measured, 10, 0, 0, 0)
		for i := range measured.Records {
			rec := &measured.Records[i]
			ttft, _ := rec.TTFT()
			latency, _ := rec.Latency()
			tpot, _ := rec.TPOT()
			ntpot, _ := rec.NTPOT()
			if ttft != 30*time.Millisecond || latency != 45*time.Millisecond || tpot != 5*time.Millisecond || ntpot != 11250*time.Microsecond || rec.Lateness() != 0 {
				t.Errorf("request %d: TTFT %v, latency %v, TPOT %v, NTPOT %v, lateness %v", i, ttft, latency, tpot, ntpot, rec.Lateness())
			}
		}
		if measured.Gaps.TotalCount() != 30 || measured.TTFT.TotalCount() != 10 || measured.ClientDelay.TotalCount() != 0 {
			t.Errorf("%d gaps, %d TTFT, %d delays", measured.Gaps.TotalCount(), measured.TTFT.TotalCount(), measured.ClientDelay.TotalCount())
		}
		if lo, hi := measured.Gaps.Min(), measured.Gaps.Max(); lo > 5*ms || hi < 5*ms || hi-lo > 5*ms/1000 {
			t.Errorf("gaps from %d to %d ns, want 5 ms", lo, hi)
		}
		if measured.Stopped != measured.Records[9].End || measured.Client.NewConnections != 1 || w.dials.Load() != 1 {
			t.Errorf("stopped %d, last end %d, %d connections", measured.Stopped, measured.Records[9].End, measured.Client.NewConnections)
		}
		if measured.Client.Stamps != UserStamps || measured.Client.Procs != runtime.GOMAXPROCS(0) {
			t.Errorf("%+v", measured.Client)
		}
	})
}

// A pacer that was held up fires what is overdue at once; nothing is dropped or moved.
func TestLateArrivals(t *testing.T) {
	inBubble(t, &wire{answer: serve(time.Millisecond, 0, 1)}, func(t *testing.T, r *Runner) {
		source := func(i int) (Request, error) {
			if i == 5 { // due at 600 ms, asked for at 500
				time.Sleep(1050 * time.Millisecond)
			}
			return fixedSource(i)
		}
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 2050 * time.Millisecond}, Hooks{Source: source})
		wantCount(t, measured, 20, 0, 0, 0)
		for i, rec := range measured.Records {
			due := measured.Start + int64(i+1)*100*ms
			sent := due
			if i >= 5 {
				sent = max(due, measured.Start+1550*ms)
			}
			if rec.Scheduled != due || rec.Sent != sent || int64(rec.Lateness()) != sent-due {
				t.Errorf("request %d scheduled at %d, sent at %d, late by %v; want %d, %d", i, rec.Scheduled, rec.Sent, rec.Lateness(), due, sent)
			}
		}
		if measured.Client.SourceWaits != 1 || measured.Offered != 20 {
			t.Errorf("%d waits for the source, offered %d", measured.Client.SourceWaits, measured.Offered)
		}
	})
	// Held up beyond the end of the stage: what was due is offered, and never sent.
	inBubble(t, &wire{answer: serve(time.Millisecond, 0, 1)}, func(t *testing.T, r *Runner) {
		source := func(i int) (Request, error) {
			if i == 5 {
				time.Sleep(time.Minute)
			}
			return fixedSource(i)
		}
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 2050 * time.Millisecond}, Hooks{Source: source})
		wantReason(t, measured, StopDuration, "")
		wantCount(t, measured, 5, 0, 0, 0)
		if measured.Offered != 20 || measured.Stopped != measured.Start+2050*ms {
			t.Errorf("offered %d, stopped %d", measured.Offered, measured.Stopped)
		}
	})
}

// times is a schedule by hand.
func TestOpenLoopEnds(t *testing.T) {
	second := &wire{answer: serve(time.Second, 0, 1)}
	tests := []struct {
		name                                    string
		stage                                   Stage
		reason                                  StopReason
		completed, incomplete, offered, stopped int // ms
	}{
		{"by requests", Stage{Load: constantLoad(10), MaxRequests: 5}, StopRequests, 5, 0, 5, 1500},
		{"by requests, before the time", Stage{Load: constantLoad(10), MaxRequests: 5, MaxDuration: time.Minute}, StopRequests, 5, 0, 5, 1500},
		{"by time, before the requests", Stage{Load: constantLoad(10), MaxRequests: 50, MaxDuration: 1250 * time.Millisecond}, StopDuration, 2, 10, 12, 1250},
		{"by time, when all requests are sent", Stage{Load: constantLoad(10), MaxRequests: 5, MaxDuration: 1250 * time.Millisecond}, StopDuration, 2, 3, 5, 1250},
		{"by its schedule", Stage{Load: timesLoad(0, 0, 100*time.Millisecond), MaxDuration: time.Minute}, StopSchedule, 3, 0, 3, 1100},
		{"by its schedule, with as many requests", Stage{Load: timesLoad(0, 0, 100*time.Millisecond), MaxRequests: 3}, StopRequests, 3, 0, 3, 1100},
		{"by a schedule without requests", Stage{Load: timesLoad(), MaxDuration: time.Minute}, StopSchedule, 0, 0, 0, 0},
		{"by time, before the first request", Stage{Load: timesLoad(time.Hour), MaxDuration: time.Second}, StopDuration, 0, 0, 0, 1000},
		{"by time, with a grace that suffices", Stage{Load: constantLoad(10), MaxDuration: 550 * time.Millisecond, Grace: time.Minute}, StopDuration, 5, 0, 5, 550},
		{"by time, with a grace that suffices for some", Stage{Load: constantLoad(10), MaxDuration: 550 * time.Millisecond, Grace: 700 * time.Millisecond}, StopDuration, 2, 3, 5, 550},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, second, func(t *testing.T, r *Runner) {
				measured := run(t, r, test.stage)
				wantReason(t, measured, test.reason, "")
				wantCount(t, measured, test.completed, 0, test.incomplete, 0)
				if measured.Offered != test.offered || measured.Stopped != measured.Start+int64(test.stopped)*ms {
					t.Errorf("offered %d, stopped after %v; want %d, %d ms", measured.Offered, time.Duration(measured.Stopped-measured.Start), test.offered, test.stopped)
				}
				if test.stage.Grace == 700*time.Millisecond && measured.End != measured.Stopped+700*ms {
					t.Errorf("ended %v after it stopped, want 700 ms", time.Duration(measured.End-measured.Stopped))
				}
			})
		})
	}
}

func TestConcurrencyCap(t *testing.T) {
	inBubble(t, &wire{answer: serve(time.Second, 0, 1)}, func(t *testing.T, r *Runner) {
		r.MaxConcurrency = 2
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 2450 * time.Millisecond})
		// Two at 100 and 200 ms, two at 1,100 and 1,200, two at 2,100 and 2,200; which ones is the scheduler's choice.
		wantCount(t, measured, 4, 0, 2, 18)
		if measured.Client.DelayedByCap != 22 || measured.Client.PeakInFlight != 2 || measured.Offered != 24 {
			t.Errorf("%+v, offered %d", measured.Client, measured.Offered)
		}
		for i, rec := range measured.Records {
			if delayed := rec.Flags&DelayedByCap != 0; delayed != (i >= 2) {
				t.Errorf("request %d delayed by the cap: %v", i, delayed)
			}
			if i >= 2 && rec.Status == Completed && rec.Lateness() == 0 {
				t.Errorf("request %d was held up, and shows no lateness", i)
			}
		}
	})
	// Streams beyond the cap wait too, and none of their requests is lost or sent after the end.
	inBubble(t, &wire{answer: serve(time.Second, 0, 1)}, func(t *testing.T, r *Runner) {
		r.MaxConcurrency = 2
		measured := run(t, r, Stage{Load: streamsLoad(5), MaxRequests: 5})
		wantReason(t, measured, StopRequests, "")
		wantCount(t, measured, 5, 0, 0, 0)
		if measured.Client.PeakInFlight != 2 || measured.Client.DelayedByCap == 0 {
			t.Errorf("%+v", measured.Client)
		}
		measured = run(t, r, Stage{Load: streamsLoad(5), MaxDuration: 1500 * time.Millisecond, Grace: time.Minute})
		wantReason(t, measured, StopDuration, "")
		wantCount(t, measured, 4, 0, 0, 3)
		for i, rec := range measured.Records {
			if rec.Sent > measured.Stopped {
				t.Errorf("request %d was sent after the stage had stopped", i)
			}
		}
	})
}

func TestClosedLoop(t *testing.T) {
	second := &wire{answer: serve(500*time.Millisecond, 250*time.Millisecond, 3)}
	inBubble(t, second, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: streamsLoad(3), MaxDuration: 3500 * time.Millisecond})
		wantReason(t, measured, StopDuration, "")
		wantCount(t, measured, 9, 0, 3, 0)
		for i, rec := range measured.Records {
			if want := measured.Start + int64(i/3)*1000*ms; rec.Scheduled != want || rec.Sent != want {
				t.Errorf("request %d scheduled at %d, sent at %d, want %d", i, rec.Scheduled, rec.Sent, want)
			}
		}
		if measured.Offered != 12 || measured.Client.PeakInFlight != 3 || measured.Client.NewConnections != 3 {
			t.Errorf("offered %d, %+v", measured.Offered, measured.Client)
		}
	})
	inBubble(t, second, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: streamsLoad(3), MaxRequests: 7})
		wantReason(t, measured, StopRequests, "")
		wantCount(t, measured, 7, 0, 0, 0)
		if measured.Stopped != measured.Start+3000*ms {
			t.Errorf("stopped after %d ns, want 3 s", measured.Stopped-measured.Start)
		}
	})
	// The first requests of a ramp-up are spread; a stage whose requests are used up does not wait for the rest of it.
	inBubble(t, second, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: Load{Kind: Concurrent, Streams: 4, RampUp: 2 * time.Second}, MaxDuration: 1900 * time.Millisecond})
		for i, want := range []int64{0, 500, 1000, 1000, 1500, 1500} {
			rec := measured.Records[i]
			if rec.Scheduled != measured.Start+want*ms || rec.Sent != rec.Scheduled {
				t.Errorf("request %d scheduled %d ms after the start, want %d, sent %d later", i, (rec.Scheduled-measured.Start)/ms, want, rec.Sent-rec.Scheduled)
			}
		}
		measured = run(t, r, Stage{Load: Load{Kind: Concurrent, Streams: 10, RampUp: time.Hour}, MaxRequests: 3})
		wantCount(t, measured, 3, 0, 0, 0)
		wantReason(t, measured, StopRequests, "")
		if measured.Stopped != measured.Start+3000*ms {
			t.Errorf("stopped after %d ns, want 3 s", measured.Stopped-measured.Start)
		}
	})
}

func TestSetStreams(t *testing.T) {
	inBubble(t, &wire{answer: serve(time.Second, 0, 1)}, func(t *testing.T, r *Runner) {
		run, err := r.Start(t.Context(), Stage{Load: streamsLoad(2), MaxDuration: 6700 * time.Millisecond}, Hooks{Source: fixedSource})
		if err != nil {
			t.Fatal(err)
		}
		inFlight := func(at time.Duration, want int) {
			t.Helper()
			time.Sleep(at - run.Progress().Elapsed)
			if n := run.Progress().InFlight; n != want {
				t.Errorf("%d requests in flight after %v, want %d", n, at, want)
			}
		}
		inFlight(500*time.Millisecond, 2)
		run.SetStreams(5)
		inFlight(700*time.Millisecond, 5)
		inFlight(1700*time.Millisecond, 5)
		run.SetStreams(1)
		inFlight(1750*time.Millisecond, 5) // they end with the request they are at
		inFlight(2700*time.Millisecond, 1)
		run.SetStreams(0)
		inFlight(4*time.Second, 0)
		run.SetStreams(3)
		inFlight(5100*time.Millisecond, 3)
		measured := run.Wait()
		run.SetStreams(9) // of no effect
		checkMeasured(t, measured)
		wantReason(t, measured, StopDuration, "")
		wantCount(t, measured, len(measured.Records)-3, 0, 3, 0)
		for i, rec := range measured.Records {
			if rec.Lateness() != 0 {
				t.Errorf("request %d: scheduled at %d, sent %v later; a stream is due when it is added", i, rec.Scheduled, rec.Lateness())
			}
		}
		if measured.Client.PeakInFlight != 5 {
			t.Errorf("%+v", measured.Client)
		}
	})
	// What is set right after the start stands.
	inBubble(t, &wire{answer: serve(time.Second, 0, 1)}, func(t *testing.T, r *Runner) {
		run, err := r.Start(t.Context(), Stage{Load: streamsLoad(1), MaxDuration: 900 * time.Millisecond}, Hooks{Source: fixedSource})
		if err != nil {
			t.Fatal(err)
		}
		run.SetStreams(4)
		if measured := run.Wait(); len(measured.Records) != 4 {
			t.Errorf("%d requests, want 4", len(measured.Records))
		}
	})
}

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
				if len(measured.Records) < 3 || measured.Stopped != measured.Start+1010*ms || measured.End != measured.Stopped {
					t.Errorf("%d records, start %d, stopped %d, end %d", len(measured.Records), measured.Start, measured.Stopped, measured.End)
				}
			})
		})
	}
	t.Run("while it is being drained", func(t *testing.T) {
		inBubble(t, slow, func(t *testing.T, r *Runner) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			measured, err := r.Run(ctx, Stage{Load: constantLoad(10), MaxDuration: time.Second, Grace: time.Hour}, Hooks{Source: fixedSource})
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
			run, err := r.Start(t.Context(), Stage{Load: constantLoad(10), MaxDuration: time.Minute}, Hooks{Source: fixedSource})
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
			measured := mustRun(t, r, Stage{Load: constantLoad(10), MaxDuration: time.Minute}, Hooks{Source: fixedSource, Observe: func(e Event) {
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

// A connection that takes time to open is opened ahead of the request that is to need it.
func TestConnectionsAreOpenedAhead(t *testing.T) {
	w := &wire{answer: serve(995*time.Millisecond, 0, 1), slow: 2 * time.Millisecond}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: constantLoad(100), MaxDuration: 2 * time.Second})
		wantCount(t, measured, 100, 0, 99, 0)
		for i := range measured.Records {
			rec := &measured.Records[i]
			opened := rec.Flags&NewConnection != 0
			if rec.Lateness() != 0 || opened != (rec.Connecting == 2*ms) || opened != (i < 100) {
				t.Errorf("request %d: late by %v, connecting took %d ns, new: %v", i, rec.Lateness(), rec.Connecting, opened)
			}
		}
		if measured.Client.NewConnections != 100 || w.dials.Load() > 101 {
			t.Errorf("%d new connections, %d opened", measured.Client.NewConnections, w.dials.Load())
		}
	})
}

func TestServerGone(t *testing.T) {
	gone := errors.New("connection refused")
	for name, stage := range map[string]Stage{"open": {Load: constantLoad(50)}, "closed": {Load: streamsLoad(20)}, "one stream": {Load: streamsLoad(1)}} {
		t.Run(name, func(t *testing.T) {
			w := &wire{answer: serve(10*time.Millisecond, 0, 1), refuse: func() error { return gone }}
			inBubble(t, w, func(t *testing.T, r *Runner) {
				stage.MaxDuration = time.Minute
				measured := run(t, r, stage)
				wantReason(t, measured, StopServerGone, "connection refused")
				if d := time.Duration(measured.Stopped - measured.Start); d < goneAfter || d > goneAfter+500*time.Millisecond {
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
			io.WriteString(w, strings.Replace(chunkedHead, "200 OK\r\n", "200 OK\r\nConnection: close\r\n", 1)+chunked(completion("a")))
		}}
		inBubble(t, w, func(t *testing.T, r *Runner) {
			measured := run(t, r, Stage{Load: constantLoad(5), MaxDuration: 20 * time.Second})
			wantReason(t, measured, StopDuration, "")
			// An eighth of the tries succeed; some of those ahead of a request are tries too.
			if completed, errored, _, _ := count(measured); completed < 12 || completed > 24 || completed+errored != 99 {
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
		"x5": "xxxxx", "alt": strings.Repeat(".x", 60), "late": strings.Repeat(".", 100) + strings.Repeat("x", 100),
		"early": strings.Repeat("x", 20) + strings.Repeat(".", 200), "early2": strings.Repeat("x", 15) + strings.Repeat(".", 200),
		"rare": strings.Repeat(strings.Repeat(".", 9)+"x", 30), "one": strings.Repeat(".", 29) + "x" + strings.Repeat(".", 50),
		"ok": strings.Repeat(".", 50), "edge": "xxx" + strings.Repeat(".", 37),
		"rnd": "......x....x.x..xx...x.x.xx.xx......x......xxx..x........x.x..x...xxx.x.......x...x.x........xxx..xx...x....x.x..x....x.x............x......x........." +
			"..........x...................x......x........xx..x..x.xxx.xxx....x.x...x..x.x.........x.......xx..x....x...............x.....x....x.x.......x........",
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
		var w errorWindow
		stop := 0
		for i, c := range patterns[test.pattern] {
			if w.add(c == 'x', &test.stage) != "" {
				stop = i + 1
				break
			}
		}
		if stop != test.stop {
			t.Errorf("%s, errors %d, rate %v, global rate %v: stops after %d requests, GuideLLM after %d",
				test.pattern, test.stage.MaxErrors, test.stage.MaxErrorRate, test.stage.MaxGlobalErrorRate, stop, test.stop)
		}
	}
}

func TestMeasuredWindow(t *testing.T) {
	inBubble(t, &wire{answer: serve(50*time.Millisecond, 10*time.Millisecond, 2)}, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 3 * time.Second, Warmup: time.Second, Cooldown: 500 * time.Millisecond})
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
		measured := run(t, r, Stage{Load: constantLoad(10), MaxRequests: 4, KeepDetails: true, KeepTexts: 3}, Hooks{Source: source})
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
		if measured := run(t, r, Stage{Load: constantLoad(10), MaxRequests: 2}, Hooks{Source: source}); measured.Details != nil {
			t.Errorf("details that nobody asked for: %q", measured.Details)
		}
	})
}

func TestProgress(t *testing.T) {
	inBubble(t, &wire{answer: serve(100*time.Millisecond, 100*time.Millisecond, 5)}, func(t *testing.T, r *Runner) {
		run, err := r.Start(t.Context(), Stage{Load: constantLoad(10), MaxDuration: 950 * time.Millisecond}, Hooks{Source: fixedSource})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(850 * time.Millisecond)
		// Sent at 100 … 800 ms; those of 100, 200, 300 have ended, the others have 5, 4, 3, 2, 0 tokens at most.
		p := run.Progress()
		if p.Elapsed != 850*time.Millisecond || p.Sent != 8 || p.InFlight != 5 || p.Completed != 3 || p.Errored != 0 || p.Firsts != 7 || p.Tokens != 3*5+4+3+2+1 {
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
			if flat[i].Scheduled != int64(i) || flat[i].Sent != int64(-i) || details && (flatDetails[i].ResponseID != fmt.Sprint(i) || flatDetails[i].Output != fmt.Sprint(-i)) {
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
	if measured.Client.Pacer != PacerKind || measured.Client.Stamps != c.StampSource() || measured.Client.CPU <= 0 {
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

func TestPreciseSleeperIsNeverEarly(t *testing.T) {
	done := make(chan struct{})
	go func() { // its thread is the sleeper's
		defer close(done)
		c := newClock()
		s, err := newPreciseSleeper(c)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.release()
		for i := range 50 {
			until := c.now() + int64(i)*20_000
			s.until(until)
			if now := c.now(); now < until {
				t.Errorf("woke %d ns early", until-now)
			}
		}
		start := time.Now()
		s.until(c.now() - int64(time.Hour)) // long ago
		quick(t, start, 5*time.Second)
	}()
	<-done
}
