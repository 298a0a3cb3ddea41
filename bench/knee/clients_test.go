package knee

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/internal/memnet"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// body is a request of an exact prompt length by llmsim's count: words of one token, and what the chat template adds.
func (e engine) body(prompt int) loadgen.Request {
	words := strings.TrimSpace(strings.Repeat("word ", prompt-llmsim.DefaultTemplateTokens))
	text := fmt.Sprintf(`{"model":"llmsim","stream":true,"stream_options":{"include_usage":true},`+
		`"max_tokens":%d,"messages":[{"role":"user","content":"%s"}]}`, e.limit, words)
	return loadgen.Request{Body: []byte(text), PromptTokens: int32(prompt), OutputTokens: int32(e.limit)}
}

// plan is a plan against a server of the engine; dial reaches it.
func (e engine) plan(t *testing.T, target loadgen.Target, virtual bool) (*sweep.Plan, *loadgen.Client) {
	client, err := loadgen.NewClient(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	objectives, err := slo.ParseObjectives(e.objectives)
	if err != nil {
		t.Fatal(err)
	}
	usual, long := e.body(e.prompt), e.body(max(e.prompt, e.long))
	return &sweep.Plan{
		Start:      sweep.OnThisMachine(&loadgen.Runner{Client: client, VirtualTime: virtual}),
		Stage:      loadgen.Stage{MaxDuration: max(10*time.Second, e.timeFor(200))},
		Objectives: objectives,
		Source: func(_ context.Context, stage int) (loadgen.Source, func(), error) {
			return func(i int) (loadgen.Request, error) {
				if e.promptOf(uint64(stage), uint64(i)) == e.prompt {
					return usual, nil
				}
				return long, nil
			}, func() {}, nil
		},
		Pause: time.Second,
	}, client
}

// timeFor is how long the engine at capacity takes for so many requests.
func (e engine) timeFor(requests int) time.Duration {
	return time.Duration(float64(requests) / e.capacity() * float64(time.Second))
}

// serve starts a server of the engine in virtual time, the wire in memory; end closes both.
func (e engine) serve(t *testing.T, seed uint64) (target loadgen.Target, end func()) {
	config := e.config
	config.VirtualTime = true
	config.Seed = seed
	config.TruthLimit = -1
	server, err := llmsim.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	wire := memnet.Listen()
	go server.Serve(wire)
	return loadgen.Target{URL: "http://llmsim/v1/chat/completions", Dial: wire.Dial}, func() {
		wire.Close()
		server.Close()
	}
}

// search runs probes and search against a server of the engine in virtual time, the wire in memory.
func (e engine) search(t *testing.T, seed int64, budget time.Duration) (answer *sweep.Answer) {
	synctest.Test(t, func(t *testing.T) {
		target, end := e.serve(t, uint64(seed))
		plan, client := e.plan(t, target, true)
		result, err := plan.Sweep(t.Context(), spec.Sweep{Size: 2})
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		answer, err = plan.Search(t.Context(), result, e.asked(seed, budget))
		if err != nil {
			t.Fatalf("%s: %v", e.name, err)
		}
		client.Close()
		end()
	})
	return answer
}

func (e engine) arrival() loadgen.Arrival {
	if e.arrivals == loadgen.ConstantGap {
		return loadgen.Arrival{Kind: loadgen.ConstantArrival}
	}
	return loadgen.Arrival{Kind: loadgen.PoissonArrival}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// asked is what a search is asked for.
func (e engine) asked(seed int64, budget time.Duration) sweep.SearchConfig {
	return sweep.SearchConfig{Search: spec.Search{Arrival: e.arrival(), Seed: seed, Budget: budget}}
}

// perfectPlan is a plan whose stages are as the engine alone has them, in virtual time, as a perfect client would
// record them.
func (e engine) perfectPlan(t *testing.T, seed int64) *sweep.Plan {
	objectives, err := slo.ParseObjectives(e.objectives)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	served := uint64(0)
	plan := &sweep.Plan{Objectives: objectives, Pause: time.Second}
	plan.Simulate = func(stage loadgen.Stage, looks []time.Duration, stop func(*loadgen.Measured) bool,
	) *loadgen.Measured {
		from := moment{seed: uint64(seed), time: time.Since(began), index: served}
		// The arrivals go on for a while, so that the last requests of the stage meet the server as it is under
		// load.
		on := stage.MaxDuration + min(stage.MaxDuration/2, 5*time.Second+e.timeFor(100))
		records, err := e.stage(stage.Load.Rate, stage.Load.Seed, on, from)
		if err != nil {
			t.Fatal(err)
		}
		m := &loadgen.Measured{Stage: stage, Records: records, Origin: time.Now(), Reason: loadgen.StopDuration}
		cut := func(at time.Duration) *loadgen.Measured { return slo.Snapshot(m, records, int64(at)) }
		for _, look := range looks {
			if stop(cut(look)) {
				served += uint64(len(cut(look).Records))
				time.Sleep(look)
				s := cut(look)
				s.Reason = loadgen.StopAsked
				return s
			}
		}
		served += uint64(len(cut(stage.MaxDuration).Records))
		time.Sleep(stage.MaxDuration)
		return cut(stage.MaxDuration)
	}
	return plan
}

// simulated is a search of an engine with a perfect client, after a probe that is wrong by up to 5 %.
func (e engine) simulated(t *testing.T, seed int64, budget time.Duration) (answer *sweep.Answer) {
	synctest.Test(t, func(t *testing.T) {
		plan := e.perfectPlan(t, seed)
		luck := rand.New(rand.NewPCG(uint64(seed), 99)).Float64()
		r := &sweep.Result{SaturationRate: *probe * e.capacity() * (0.95 + 0.1*luck)}
		var err error
		answer, err = plan.Search(t.Context(), r, e.asked(seed, budget))
		if err != nil {
			t.Fatal(err)
		}
	})
	return answer
}
