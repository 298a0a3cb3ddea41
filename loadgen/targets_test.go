package loadgen

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Each request goes to its own target, with the headers of its class; answers and records are those of that target.
func TestRequestsGoToTheirTargets(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	serve := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			got[name+" "+r.Header.Get("X-Priority")]++
			mu.Unlock()
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}`+
				"\n\ndata: [DONE]\n\n")
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	a, b := Target{URL: serve("a")}, Target{URL: serve("b")}
	withPriority := func(t Target) Target {
		t.Header = http.Header{"X-Priority": {"5"}}
		return t
	}
	client, err := NewClients([]Target{a, b}, [][]Target{nil, {withPriority(a), withPriority(b)}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, load := range []Load{{Kind: ConstantGap, Rate: 500}, {Kind: Concurrent, Streams: 3}} {
		clear(got)
		r := Runner{Client: client, MaxConcurrency: 2}
		m, err := r.Run(context.Background(), Stage{Load: load, MaxRequests: 60}, Hooks{
			Source: func(i int) (Request, error) {
				return Request{Body: []byte("{}"), Class: uint8(i % 3), Target: uint8(i / 3 % 2)}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, rec := range m.Records {
			if load.Kind.Open() && (int(rec.Class) != i%3 || int(rec.Target) != i/3%2) || rec.Status != Completed {
				t.Fatalf("%v: request %d: %+v", load, i, rec)
			}
		}
		for name, want := range map[string]int{"a ": 20, "a 5": 10, "b ": 20, "b 5": 10} {
			if got[name] != want {
				t.Errorf("%v: %v, want %d of %q", load, got, want, name)
			}
		}
	}
	// One that names a target that is not there ends the stage, and does not go elsewhere.
	r := Runner{Client: client}
	m, err := r.Run(context.Background(), Stage{Load: Load{Kind: ConstantGap, Rate: 50}, MaxRequests: 5}, Hooks{
		Source: func(int) (Request, error) { return Request{Target: 2}, nil },
	})
	if err != nil || m.Err == nil || len(m.Records) > 0 {
		t.Errorf("%v, %+v", err, m)
	}
}
