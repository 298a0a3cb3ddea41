package loadgen

import (
	"runtime"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

func TestOpenLoopNeverWaitsForTheServer(t *testing.T) {
	w := &wire{answer: serve(time.Minute, 0, 1)}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 2 * time.Second})
		wantReason(t, measured, StopDuration, "")
		wantCount(t, measured, 0, 0, 19, 0) // at 100, 200, … 1,900 ms
		for i, rec := range measured.Records {
			due := measured.Start + int64(i+1)*100*ms
			if rec.Scheduled != due || rec.Started != due || rec.Sent != due {
				t.Errorf("request %d scheduled at %d, started at %d, sent at %d, want %d",
					i, rec.Scheduled, rec.Started, rec.Sent, due)
			}
		}
		if measured.Offered != 19 || measured.Client.PeakInFlight != 19 || measured.Client.NewConnections != 19 ||
			measured.Client.SourceWaits != 0 {
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
			if ttft != 30*time.Millisecond || latency != 45*time.Millisecond || tpot != 5*time.Millisecond ||
				rec.SendDelay() != 0 {
				t.Errorf("request %d: TTFT %v, latency %v, TPOT %v, send delay %v",
					i, ttft, latency, tpot, rec.SendDelay())
			}
		}
		if measured.Gaps.TotalCount() != 30 || measured.TTFT.TotalCount() != 10 ||
			measured.ClientDelay.TotalCount() != 0 {
			t.Errorf("%d gaps, %d TTFT, %d delays", measured.Gaps.TotalCount(), measured.TTFT.TotalCount(),
				measured.ClientDelay.TotalCount())
		}
		if lo, hi := measured.Gaps.Min(), measured.Gaps.Max(); lo > 5*ms || hi < 5*ms || hi-lo > 5*ms/1000 {
			t.Errorf("gaps from %d to %d ns, want 5 ms", lo, hi)
		}
		if measured.Stopped != measured.Records[9].End || measured.Client.NewConnections != 1 || w.dials.Load() != 1 {
			t.Errorf("stopped %d, last end %d, %d connections", measured.Stopped, measured.Records[9].End,
				measured.Client.NewConnections)
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
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 2050 * time.Millisecond},
			Hooks{Source: source})
		wantCount(t, measured, 20, 0, 0, 0)
		for i, rec := range measured.Records {
			due := measured.Start + int64(i+1)*100*ms
			sent := due
			if i >= 5 {
				sent = max(due, measured.Start+1550*ms)
			}
			if rec.Scheduled != due || rec.Sent != sent || int64(rec.SendDelay()) != sent-due {
				t.Errorf("request %d scheduled at %d, sent at %d, late by %v; want %d, %d", i, rec.Scheduled, rec.Sent,
					rec.SendDelay(), due, sent)
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
		measured := run(t, r, Stage{Load: constantLoad(10), MaxDuration: 2050 * time.Millisecond},
			Hooks{Source: source})
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
		{"by requests, before the time",
			Stage{Load: constantLoad(10), MaxRequests: 5, MaxDuration: time.Minute},
			StopRequests, 5, 0, 5, 1500},
		{"by time, before the requests",
			Stage{Load: constantLoad(10), MaxRequests: 50, MaxDuration: 1250 * time.Millisecond},
			StopDuration, 2, 10, 12, 1250},
		{"by time, when all requests are sent",
			Stage{Load: constantLoad(10), MaxRequests: 5, MaxDuration: 1250 * time.Millisecond},
			StopDuration, 2, 3, 5, 1250},
		{"by its schedule",
			Stage{Load: timesLoad(0, 0, 100*time.Millisecond), MaxDuration: time.Minute},
			StopSchedule, 3, 0, 3, 1100},
		{"by its schedule, with as many requests",
			Stage{Load: timesLoad(0, 0, 100*time.Millisecond), MaxRequests: 3},
			StopRequests, 3, 0, 3, 1100},
		{"by a schedule without requests",
			Stage{Load: timesLoad(), MaxDuration: time.Minute},
			StopSchedule, 0, 0, 0, 0},
		{"by time, before the first request",
			Stage{Load: timesLoad(time.Hour), MaxDuration: time.Second},
			StopDuration, 0, 0, 0, 1000},
		{"by time, with a grace that suffices",
			Stage{Load: constantLoad(10), MaxDuration: 550 * time.Millisecond, Grace: time.Minute},
			StopDuration, 5, 0, 5, 550},
		{"by time, with a grace that suffices for some",
			Stage{Load: constantLoad(10), MaxDuration: 550 * time.Millisecond, Grace: 700 * time.Millisecond},
			StopDuration, 2, 3, 5, 550},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, second, func(t *testing.T, r *Runner) {
				measured := run(t, r, test.stage)
				wantReason(t, measured, test.reason, "")
				wantCount(t, measured, test.completed, 0, test.incomplete, 0)
				if measured.Offered != test.offered || measured.Stopped != measured.Start+int64(test.stopped)*ms {
					t.Errorf("offered %d, stopped after %v; want %d, %d ms", measured.Offered,
						time.Duration(measured.Stopped-measured.Start), test.offered, test.stopped)
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
			if i >= 2 && rec.Status == Completed && rec.SendDelay() == 0 {
				t.Errorf("request %d was held up, and shows no send delay", i)
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

// A connection that takes time to open is opened ahead of the request that is to need it.
func TestConnectionsAreOpenedAhead(t *testing.T) {
	w := &wire{answer: serve(995*time.Millisecond, 0, 1), slow: 2 * time.Millisecond}
	inBubble(t, w, func(t *testing.T, r *Runner) {
		measured := run(t, r, Stage{Load: constantLoad(100), MaxDuration: 2 * time.Second})
		wantCount(t, measured, 100, 0, 99, 0)
		for i := range measured.Records {
			rec := &measured.Records[i]
			opened := rec.Flags&NewConnection != 0
			if rec.SendDelay() != 0 || opened != (rec.Connecting == 2*ms) || opened != (i < 100) {
				t.Errorf("request %d: late by %v, connecting took %d ns, new: %v", i, rec.SendDelay(), rec.Connecting,
					opened)
			}
		}
		if measured.Client.NewConnections != 100 || w.dials.Load() > 101 {
			t.Errorf("%d new connections, %d opened", measured.Client.NewConnections, w.dials.Load())
		}
	})
}
