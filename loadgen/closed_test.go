package loadgen

import (
	"testing"
	"time"
)

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
		measured := run(t, r, Stage{
			Load:        Load{Kind: Concurrent, Streams: 4, RampUp: 2 * time.Second},
			MaxDuration: 1900 * time.Millisecond,
		})
		for i, want := range []int64{0, 500, 1000, 1000, 1500, 1500} {
			rec := measured.Records[i]
			if rec.Scheduled != measured.Start+want*ms || rec.Sent != rec.Scheduled {
				t.Errorf("request %d scheduled %d ms after the start, want %d, sent %d later", i,
					(rec.Scheduled-measured.Start)/ms, want, rec.Sent-rec.Scheduled)
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
		run, err := r.Start(t.Context(), Stage{Load: streamsLoad(2), MaxDuration: 6700 * time.Millisecond},
			Hooks{Source: fixedSource})
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
			if rec.SendDelay() != 0 {
				t.Errorf("request %d: scheduled at %d, sent %v later; a stream is due when it is added", i,
					rec.Scheduled, rec.SendDelay())
			}
		}
		if measured.Client.PeakInFlight != 5 {
			t.Errorf("%+v", measured.Client)
		}
	})
	// What is set right after the start stands.
	inBubble(t, &wire{answer: serve(time.Second, 0, 1)}, func(t *testing.T, r *Runner) {
		run, err := r.Start(t.Context(), Stage{Load: streamsLoad(1), MaxDuration: 900 * time.Millisecond},
			Hooks{Source: fixedSource})
		if err != nil {
			t.Fatal(err)
		}
		run.SetStreams(4)
		if measured := run.Wait(); len(measured.Records) != 4 {
			t.Errorf("%d requests, want 4", len(measured.Records))
		}
	})
}
