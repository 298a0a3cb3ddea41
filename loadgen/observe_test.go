package loadgen_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// An observer is told of every request when it is sent and when it has ended, and may end the stage for its own reason.
func TestObserve(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n")
	}))
	defer server.Close()
	client, err := loadgen.NewClient(loadgen.Target{URL: server.URL, ConnectTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	const enough = 20 // requests that ended
	var mu sync.Mutex
	sent, ended := 0, 0
	inFlight := 0
	stage := loadgen.Stage{Load: loadgen.Load{Kind: loadgen.Concurrent, Streams: 3}, MaxRequests: 100_000}
	hooks := loadgen.Hooks{
		Source: func(int) (loadgen.Request, error) { return loadgen.Request{Body: []byte(`{}`)}, nil },
		Observe: func(e loadgen.Event) {
			mu.Lock()
			defer mu.Unlock()
			inFlight = max(inFlight, e.InFlight)
			if e.At <= 0 {
				t.Errorf("an event at %v", e.At)
			}
			if !e.Ended {
				sent++
				return
			}
			if e.Record.Status == loadgen.Completed && (e.Record.FirstToken == 0 || e.Record.End == 0) {
				t.Errorf("a record that ended is not complete: %+v", e.Record)
			}
			if ended++; ended == enough {
				e.Run.StopFor(loadgen.StopOverSaturated)
			}
		},
	}
	measured, err := (&loadgen.Runner{Client: client}).Run(context.Background(), stage, hooks)
	if err != nil {
		t.Fatal(err)
	}
	if measured.Reason != loadgen.StopOverSaturated {
		t.Errorf("the stage ended by %s", measured.Reason)
	}
	if sent != ended || ended < enough || ended > enough+3 || inFlight > 3 || inFlight < 1 {
		t.Errorf("%d sent, %d ended, %d in flight", sent, ended, inFlight)
	}
}
