package sweep

import (
	"math"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// A server that sends four tokens in an event is as fast as it is: the probe counts events, and so does its idea of
// what a request costs.
func TestWorkCountsEvents(t *testing.T) {
	const second = int64(time.Second)
	stage := &loadgen.Measured{Stopped: 10 * second, Records: []loadgen.Record{{
		Scheduled: 1, Sent: 1, FirstToken: 1 + second/10, LastToken: 1 + second/10 + 31*second/100, End: 1 + second,
		TokenEvents: 32, OutputTokens: 128, Status: loadgen.Completed,
	}}}
	w, ok := workOf(stage)
	if !ok || w.output != 32 || math.Abs(w.prefill-0.09) > 1e-9 {
		t.Errorf("%+v, %v: want 32 events, 10 ms apart, after 90 ms", w, ok)
	}
	// In 10 s of a steady state with 20 requests come 20 first tokens and 640 events.
	if rate := w.steadyRate(10, 20, 640); math.Abs(rate-2) > 1e-9 {
		t.Errorf("%v req/s, want 2", rate)
	}
}
