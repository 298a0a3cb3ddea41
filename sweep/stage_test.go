package sweep

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/sweep/enginemetrics"
)

// A whole stage in virtual time, against a server that answers: nothing speaks against its client.
func TestHealthyStageIsValid(t *testing.T) {
	inBubble(t, "few-sequences", 64, 32, func(t *testing.T, b *bench) {
		b.Stage.MaxDuration = 20 * time.Second
		for _, arrival := range []loadgen.ArrivalKind{loadgen.ConstantArrival, loadgen.PoissonArrival} {
			r, err := b.Run(context.Background(), []loadgen.Load{{Kind: loadgen.KindOf(loadgen.Arrival{Kind: arrival}),
				Rate: 5, Seed: 3}})
			if err != nil {
				t.Fatal(err)
			}
			if f := r.Stages[0].Audit.Measurements; f.SendDelayMax != 0 || f.SentShare != 1 || f.Unsent != 0 {
				t.Errorf("%s: %+v", arrival, f)
			}
		}
	})
}

// A stage's record has what the engine said while it ran, and the engine is seen to drain.
func TestWindow(t *testing.T) {
	inBubble(t, "l4-qwen2.5-0.5b", 64, 32, func(t *testing.T, b *bench) {
		b.Stage.MaxDuration = 10 * time.Second
		b.Metrics = metricsSource(t, &http.Client{Transport: &http.Transport{DialContext: b.net.Dial,
			DisableKeepAlives: true}})
		r, err := b.Run(t.Context(), []loadgen.Load{{Kind: loadgen.ConstantGap, Rate: 20}})
		if err != nil {
			t.Fatal(err)
		}
		e := r.Stages[0].Engine
		if e == nil || e.Errors != 0 || len(e.Series) < 11 || len(e.Series) > 12 {
			t.Fatalf("%+v", e)
		}
		n := float64(len(r.Stages[0].Records))
		if e.Running.Mean < 2 || e.Running.Mean > 20 || float64(e.OutputTokens) < 30*(n-20) ||
			float64(e.TTFT.Count) < n-10 || e.TTFT.P50 <= 0 || e.Contaminated {
			t.Errorf("%+v", e)
		}
		if drained, err := b.Metrics.Drained(t.Context(), 10*time.Second); !drained || err != nil {
			t.Errorf("drained: %v, %v", drained, err)
		}
	})
}

// metricsSource reads the metrics of the simulated engine.
func metricsSource(t *testing.T, client *http.Client) *enginemetrics.Sources {
	t.Helper()
	address, _, err := endpoint.ParseAddress("http://llmsim/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return &enginemetrics.Sources{All: []*enginemetrics.Source{{Address: address, Client: client}}}
}
