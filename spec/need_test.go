package spec

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// How many requests a plan is known to have, and how many of them wait.
func TestNeedOf(t *testing.T) {
	rate := func(r float64) loadgen.Load { return loadgen.Load{Kind: loadgen.PoissonGaps, Rate: r} }
	profile := func(text string) loadgen.Load {
		p, err := loadgen.ParseProfile(text)
		if err != nil {
			t.Fatal(err)
		}
		return loadgen.Load{Kind: loadgen.ConstantGap, Profile: p, Rate: p.Requests() / p.Length().Seconds()}
	}
	trace := loadgen.Load{Kind: loadgen.ConstantGap, Times: []time.Duration{0, 0, time.Second, 2 * time.Second}}
	streams := loadgen.Load{Kind: loadgen.Concurrent, Streams: 8}
	search := &Sweep{Size: 10, Search: &Search{}}
	for _, c := range []struct {
		name     string
		limits   Limits
		plan     Plan
		gates    []slo.Gate
		requests float64
		waiting  float64
	}{
		{"a rate", Limits{MaxDuration: 30 * time.Second}, Plan{Stages: []loadgen.Load{rate(5)}}, nil, 150, 0},
		{"two rates", Limits{MaxDuration: 30 * time.Second}, Plan{Stages: []loadgen.Load{rate(5), rate(10)}},
			nil, 450, 0},
		{"by requests", Limits{MaxRequests: 50}, Plan{Stages: []loadgen.Load{rate(5)}}, nil, 50, 0},
		{"by both, requests first", Limits{MaxDuration: 30 * time.Second, MaxRequests: 50},
			Plan{Stages: []loadgen.Load{rate(5)}}, nil, 50, 0},
		{"by both, time first", Limits{MaxDuration: time.Second, MaxRequests: 50},
			Plan{Stages: []loadgen.Load{rate(5)}}, nil, 5, 0},
		{"too fast for any client", Limits{MaxDuration: 50 * time.Millisecond}, Plan{Stages: []loadgen.Load{rate(1e9)}},
			nil, 5e7, 5e7 - 5e3},
		{"too fast, by requests", Limits{MaxRequests: 2e6}, Plan{Stages: []loadgen.Load{rate(1e6)}}, nil, 2e6, 1.8e6},
		{"beyond all numbers", Limits{MaxDuration: 30 * time.Second}, Plan{Stages: []loadgen.Load{rate(1e308)}}, nil,
			math.Inf(1), math.Inf(1)},
		{"without an end in time", Limits{MaxDuration: 1e7 * time.Second}, Plan{Stages: []loadgen.Load{rate(5)}}, nil,
			5 * 3600, 0},
		{"without an end in requests", Limits{MaxRequests: math.MaxInt}, Plan{Stages: []loadgen.Load{rate(5)}}, nil,
			5 * 3600, 0},
		{"a profile", Limits{MaxDuration: 90 * time.Second},
			Plan{Stages: []loadgen.Load{profile("10rps:30s,20..40rps:60s")}}, nil, 300 + 1800, 0},
		{"a profile cut short", Limits{MaxDuration: 60 * time.Second},
			Plan{Stages: []loadgen.Load{profile("10rps:30s,20..40rps:60s")}}, nil, 300 + 750, 0},
		{"a profile too fast", Limits{MaxDuration: 10 * time.Second},
			Plan{Stages: []loadgen.Load{profile("1e6rps:10s")}}, nil, 1e7, 9e6},
		{"a profile by requests", Limits{MaxDuration: 60 * time.Second, MaxRequests: 7},
			Plan{Stages: []loadgen.Load{profile("10rps:30s,20..40rps:60s")}}, nil, 7, 0},
		{"a trace", Limits{MaxRequests: 4}, Plan{Stages: []loadgen.Load{trace}}, nil, 4, 0},
		{"a trace cut short", Limits{MaxDuration: 2 * time.Second}, Plan{Stages: []loadgen.Load{trace}}, nil, 3, 0},
		{"a closed loop by time", Limits{MaxDuration: time.Hour, MaxRequests: 1e9},
			Plan{Stages: []loadgen.Load{streams}}, nil, 0, 0},
		{"a closed loop by requests", Limits{MaxRequests: 1e9}, Plan{Stages: []loadgen.Load{streams}}, nil, 1e9, 0},
		{"a sweep by time", Limits{MaxDuration: time.Hour, MaxRequests: 1e9}, Plan{Sweep: search}, nil, 0, 0},
		{"a sweep by requests", Limits{MaxRequests: 1e9}, Plan{Sweep: search}, nil, 1e10, 0},
		{"a gate of a search", Limits{MaxDuration: time.Minute}, Plan{Sweep: search}, []slo.Gate{{Rate: 1e9}}, 3e9,
			3e9 - 3e5},
		{"a gate without a search", Limits{MaxDuration: time.Minute}, Plan{Sweep: &Sweep{Size: 10}},
			[]slo.Gate{{Rate: 1e9}}, 0, 0},
	} {
		n := Spec{Limits: c.limits, Plan: c.plan, Gates: c.gates}.NeedOf(1000)
		if n.Requests != c.requests || n.Waiting != c.waiting {
			t.Errorf("%s: %v, %v of them waiting; want %v, %v", c.name, n.Requests, n.Waiting, c.requests, c.waiting)
		}
	}
}

func TestNeedCheck(t *testing.T) {
	million := Need{Requests: 1e6}
	for _, c := range []struct {
		name      string
		need      Need
		available float64
		want      string
	}{
		{"nothing", Need{}, 1, ""},
		{"just enough", million, 1e6 * requestBytes, ""},
		{"too little", million, 1e6*requestBytes - 1,
			"the plan has 1,000,000 requests, which need 1.00 GB of memory or more; there is 1.00 GB (of a test)"},
		{"what waits", Need{Requests: 1e6, Waiting: 1e6, Body: 1e4}, 8e9, "1,000,000 requests, which need 11.0 GB"},
		{"beyond all numbers", Need{math.Inf(1), math.Inf(1), 1000}, 8e9,
			"more than 10^15 requests, which need more than a million GB"},
		{"not known, and little", million, 0, ""},
		{"not known, and much", Need{Requests: 1e10}, 0, "for want of knowing"},
	} {
		err := c.need.Check(c.available, "of a test")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
