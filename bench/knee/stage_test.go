package knee

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// changing is an engine whose speed changes in all ways.
func changing() engine {
	e := manySlots.at(100).engine(exponential, loadgen.PoissonGaps)
	e.config.Speed = llmsim.SpeedProfile{
		Spells: llmsim.Spells{Every: 10 * time.Second, Min: time.Second, Max: 2 * time.Second, Speed: 0.5},
		Drift:  llmsim.Drift{Change: -0.2, Horizon: time.Minute},
		Wander: llmsim.Wander{SD: 0.1, Time: 10 * time.Second},
		Modes:  llmsim.Modes{Speed: 0.7, Dwell: 5 * time.Second},
	}
	return e
}

// TestEngineStageIsTheServers holds a stage of the engine alone against the same stage of the load generator and the
// server, in virtual time, in the middle of the server's life: the times are the same to the nanosecond.
func TestEngineStageIsTheServers(t *testing.T) {
	const (
		seed   = 5
		length = 20 * time.Second
		rate   = 60.0
	)
	e := changing()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		target, end := e.serve(t, seed)
		client, err := loadgen.NewClient(target)
		if err != nil {
			t.Fatal(err)
		}
		runner := &loadgen.Runner{Client: client, VirtualTime: true}
		request := e.body(e.prompt)
		index := uint64(0)
		for stage := range int64(2) {
			time.Sleep(37 * time.Second)
			measured, err := runner.Run(t.Context(), loadgen.Stage{MaxDuration: length, Grace: time.Hour,
				Load: loadgen.Load{Kind: loadgen.PoissonGaps, Rate: rate, Seed: stage}},
				loadgen.Hooks{Source: func(int) (loadgen.Request, error) { return request, nil }})
			if err != nil {
				t.Fatal(err)
			}
			// The engine alone has everything 1 ns after the stage's start.
			start := measured.Origin.Sub(began) + time.Duration(measured.Start) - 1
			records, err := e.stage(rate, stage, length, moment{seed: seed, time: start, index: index})
			if err != nil {
				t.Fatal(err)
			}
			if len(records) < 1000 || len(records) != len(measured.Records) {
				t.Fatalf("%d requests alone, %d by the load generator", len(records), len(measured.Records))
			}
			index += uint64(len(records))
			for i := range records {
				a, m := &records[i], &measured.Records[i]
				shift := 1 - measured.Start
				if a.Scheduled != m.Scheduled+shift || a.Sent != m.Sent+shift || a.FirstToken != m.FirstToken+shift ||
					a.LastToken != m.LastToken+shift || a.End != m.End+shift || a.Status != m.Status ||
					a.OutputTokens != m.OutputTokens || a.TokenEvents != m.TokenEvents ||
					a.PromptTokens != m.PromptTokens || a.AskedPrompt != m.AskedPrompt ||
					a.AskedOutput != m.AskedOutput {
					t.Fatalf("stage %d, request %d:\nalone             %+v\nby load generator %+v, start %d",
						stage, i, *a, *m, measured.Start)
				}
			}
		}
		client.Close()
		end()
	})
}

// TestEngineStageIsOfItsMoment sees that a stage has the speed of its part of the server's life, and that a cut-off
// stage holds what was in flight.
func TestEngineStageIsOfItsMoment(t *testing.T) {
	e := manySlots.at(100).engine(fixed, loadgen.ConstantGap)
	e.config.Speed.Drift.Change = -0.5
	e = e.over(100 * time.Second)
	first := func(at time.Duration) float64 {
		records, err := e.stage(20, 1, time.Second, moment{seed: 1, time: at})
		if err != nil {
			t.Fatal(err)
		}
		if len(records) != 19 { // the 20th is due at the end
			t.Fatalf("%d requests", len(records))
		}
		return float64(records[0].FirstToken - records[0].Sent) // the engine was idle
	}
	fast, slow := first(0), first(200*time.Second)
	if ratio := slow / fast; math.Abs(ratio-1.25/0.75) > 0.01 {
		t.Errorf("at the end of the drift requests take %.3f times as long", ratio)
	}
	records, err := e.stage(20, 1, 10*time.Second, moment{seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	at := int64(10 * time.Second)
	cut := slo.Snapshot(&loadgen.Measured{}, records, at)
	open := 0
	for _, r := range cut.Records {
		if r.End > at || r.LastToken > at {
			t.Errorf("the cut-off stage knows more than it should: %+v", r)
		}
		if r.Status == loadgen.Incomplete {
			open++
		}
	}
	if open == 0 || open > 20 {
		t.Errorf("%d requests in flight at the end", open)
	}
}

// TestEngineDefinitions sees that what determines the true rate is in the definition, and a drift is not.
func TestEngineDefinitions(t *testing.T) {
	plain := manySlots.at(100).engine(exponential, loadgen.PoissonGaps)
	drifting := plain
	drifting.config.Speed.Drift = llmsim.Drift{Change: -0.1, Horizon: time.Minute}
	if plain.definition() != drifting.definition() {
		t.Errorf("a drift makes another definition: %s", drifting.definition())
	}
	wandering := plain
	wandering.config.Speed.Wander = llmsim.Wander{SD: 0.05, Time: time.Minute}
	if plain.definition() == wandering.definition() || plain.definition() == plain.scaled(50).definition() {
		t.Errorf("another engine has the definition %s", plain.definition())
	}
}
