package main

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/internal/race"
	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/report"
	"github.com/openloop/openloop/report/compare"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/sweep"
)

// simulated is a whole run against the simulated engine as a client without fault would record it: stages at given
// rates, and a search. server is the seed of its output lengths, arrivals that of the arrivals.
func simulated(t *testing.T, config llmsim.Config, server, arrivals int64, rates ...float64) *report.Result {
	var result *report.Result
	synctest.Test(t, func(t *testing.T) {
		objectives, err := slo.ParseObjectives("ttft:p95<250ms tpot:p95<20ms errors<1%")
		if err != nil {
			t.Fatal(err)
		}
		plan := &sweep.Plan{
			Objectives: objectives, Pause: time.Second, Stage: loadgen.Stage{MaxDuration: 3 * time.Minute},
		}
		stages := uint64(0)
		plan.Simulate = func(stage loadgen.Stage, looks []time.Duration, stop func(*loadgen.Measured) bool,
		) *loadgen.Measured {
			stages++
			on := stage.MaxDuration + 10*time.Second
			seed := uint64(server)*1000 + stages
			due := func(at time.Duration, _ int) bool { return at < on }
			records := recordsOf(config, stage.Load.Schedule(), seed, due)
			m := &loadgen.Measured{Stage: stage, Records: records, Origin: time.Now(), Reason: loadgen.StopDuration}
			for _, look := range looks {
				if stop(slo.Snapshot(m, records, int64(look))) {
					time.Sleep(look)
					return slo.Snapshot(m, records, int64(look))
				}
			}
			time.Sleep(stage.MaxDuration)
			return slo.Snapshot(m, records, int64(stage.MaxDuration))
		}
		var loads []loadgen.Load
		for i, rate := range rates {
			loads = append(loads, loadgen.Load{Kind: loadgen.PoissonGaps, Rate: rate, Seed: arrivals + int64(i)})
		}
		measured, err := plan.Run(context.Background(), loads)
		if err != nil {
			t.Fatal(err)
		}
		measured.SaturationRate = config.Capacity(prompt, meanOutput)
		measured.Plain = len(measured.Stages)
		measured.Answer, err = plan.Search(context.Background(), measured, sweep.SearchConfig{Search: spec.Search{
			Arrival: loadgen.Arrival{Kind: loadgen.PoissonArrival}, Seed: arrivals + server, Budget: 3 * time.Minute,
		}})
		if err != nil {
			t.Fatal(err)
		}
		s := spec.Spec{Objectives: objectives, Plan: spec.Plan{Profile: "poisson", Stages: loads}}
		result = report.New(s, report.Run{Version: "test", Model: "llmsim", Measured: measured})
	})
	return result
}

// TestRuns compares whole runs: of one engine twice, and of a slower one. What is compared is what the screen of a run
// shows.
func TestRuns(t *testing.T) {
	if race.Enabled {
		t.Skip("a simulation in one goroutine, too slow under the race detector")
	}
	rates := []float64{4, 7}
	base := simulated(t, engineConfig(), 1, 42, rates...)
	c, err := compare.Compare([]compare.Run{{Name: "A", Result: base},
		{Name: "A again", Result: simulated(t, engineConfig(), 2, 42, rates...)}}, compare.Options{Noise: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(screen(t, c))
	if v := c.MaxRate.Changes[0].Verdict; v != compare.Same {
		t.Errorf("the max rate of the same is %s", v)
	}
	for i := range c.Stages {
		for _, l := range c.Stages[i].Lines {
			if v := l.Changes[0].Verdict; v == compare.Better || v == compare.Worse {
				t.Errorf("of the same: %s at %s: %+v", l.Name, c.Stages[i].Title, l.Changes[0])
			}
		}
		if given := i < len(rates); c.Stages[i].Paired[0] != given {
			t.Errorf("%s: the arrivals are taken for the same: %v", c.Stages[i].Title, !given)
		}
	}
	slow := engineConfig()
	slow.Base = slow.Base * 6 / 5
	conditions, err := compare.ParseConditions("ttft:p95>+10% tpot:p50>+5% rate<-5%")
	if err != nil {
		t.Fatal(err)
	}
	c, err = compare.Compare([]compare.Run{{Name: "base", Result: base},
		{Name: "slower", Result: simulated(t, slow, 5, 42, rates...)}}, compare.Options{Noise: -1, FailOn: conditions})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(screen(t, c))
	if !c.Failed() {
		t.Errorf("an engine whose steps take a fifth longer passes: %+v", c.FailOn)
	}
	for i := range rates {
		s := &base.Stages[i]
		for _, l := range c.Stages[i].Lines {
			want := map[string]float64{
				"ttft:p50": float64(s.TTFT.P50), "ttft:p95": float64(s.TTFT.P95), "tpot:p95": float64(s.TPOT.P95),
			}
			if v, ok := want[l.Metric]; ok && !near(float64(l.Figures[0].Value), v) {
				t.Errorf("%s at %s is %v ms, and %v ms on the run's own screen", l.Name, s.Name, l.Figures[0].Value, v)
			}
		}
	}
}

func near(a, b float64) bool { return a > 0.999*b && a < 1.001*b }

func screen(t *testing.T, c *compare.Comparison) string {
	var b bytes.Buffer
	if err := compare.WriteScreen(&b, c); err != nil {
		t.Fatal(err)
	}
	return "\n" + b.String()
}
