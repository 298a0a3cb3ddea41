package report

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// recordAt is a record by its times in seconds since the stage began; 0 stands for never.
func recordAt(scheduled, sent, first, last, end float64, tokens int32, status loadgen.Status) loadgen.Record {
	at := func(seconds float64) int64 {
		if seconds == 0 {
			return 0
		}
		return 1000 + int64(math.Round(seconds*1e9))
	}
	return loadgen.Record{
		Scheduled: at(scheduled), Started: at(scheduled), Sent: at(sent), FirstToken: at(first), LastToken: at(last),
		End: at(end), OutputTokens: tokens, TokenEvents: tokens, PromptTokens: 10, CachedTokens: -1, Status: status,
	}
}

func stageOf(load loadgen.Load, lasted time.Duration, records ...loadgen.Record) *loadgen.Measured {
	return &loadgen.Measured{
		Stage: loadgen.Stage{Load: load}, Origin: time.Unix(1795501839, 0), Start: 1000,
		Stopped: 1000 + int64(lasted), End: 1000 + int64(lasted), Records: records, Offered: len(records),
	}
}

var (
	openLoad   = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 10}
	closedLoad = loadgen.Load{Kind: loadgen.Concurrent, Streams: 2}
)

func TestSeries(t *testing.T) {
	none := num.Absent()
	for _, c := range []struct {
		name string
		m    *loadgen.Measured
		want Series
	}{
		{
			"a request through three steps", stageOf(openLoad, 2500*time.Millisecond,
				recordAt(0.4, 0.5, 0.9, 2.1, 2.25, 13, loadgen.Completed)),
			Series{
				Step: 1, Sent: []int{1, 0, 0}, Done: []int{0, 0, 1}, Errors: []int{0, 0, 0}, Tokens: []int{1, 11, 1},
				// Half a second of the first, all of the second, a quarter of a second of a step of half a second.
				InFlight: []float64{0.5, 1, 0.5},
				TTFT50:   []num.Value{500, none, none}, TTFT95: []num.Value{500, none, none},
				TPOT50: []num.Value{none, none, 100}, TPOT95: []num.Value{none, none, 100},
				Delay99: []num.Value{100, none, none},
			},
		},
		{
			"percentiles of a step", stageOf(openLoad, time.Second,
				recordAt(0.1, 0.1, 0.11, 0.21, 0.5, 11, loadgen.Completed),
				recordAt(0.1, 0.1, 0.12, 0.32, 0.5, 11, loadgen.Completed),
				recordAt(0.1, 0.1, 0.13, 0.43, 0.5, 11, loadgen.Completed)),
			Series{
				Step: 1, Sent: []int{3}, Done: []int{3}, Errors: []int{0}, Tokens: []int{33}, InFlight: []float64{1.2},
				TTFT50: []num.Value{20}, TTFT95: []num.Value{30}, TPOT50: []num.Value{20}, TPOT95: []num.Value{30},
				Delay99: []num.Value{0},
			},
		},
		{
			"those that failed, were cut or never sent", stageOf(openLoad, 2*time.Second,
				recordAt(0.1, 0.1, 0.3, 0.4, 1.1, 2, loadgen.Errored),
				recordAt(0.2, 0, 0, 0, 0.7, -1, loadgen.Errored),
				recordAt(0.5, 0.5, 1.5, 1.9, 2, 4, loadgen.Incomplete),
				recordAt(1.9, 0, 0, 0, 0, -1, loadgen.NotSent)),
			Series{
				Step: 1, Sent: []int{2, 0}, Done: []int{0, 0}, Errors: []int{1, 1}, Tokens: []int{2, 4},
				InFlight: []float64{1.4, 1.1},
				TTFT50:   []num.Value{none, 1000}, TTFT95: []num.Value{none, 1000},
				TPOT50: []num.Value{none, none}, TPOT95: []num.Value{none, none},
				Delay99: []num.Value{0, none},
			},
		},
		{
			"a closed loop has no send delay", stageOf(closedLoad, time.Second,
				recordAt(0.1, 0.2, 0.5, 0.5, 1, 1, loadgen.Completed)),
			Series{
				Step: 1, Sent: []int{1}, Done: []int{1}, Errors: []int{0}, Tokens: []int{1}, InFlight: []float64{0.8},
				TTFT50: []num.Value{400}, TTFT95: []num.Value{400}, TPOT50: []num.Value{none},
				TPOT95: []num.Value{none}, Delay99: []num.Value{none},
			},
		},
	} {
		got, err := json.Marshal(seriesOf(c.m))
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(&c.want)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
		}
	}
	if s := seriesOf(stageOf(openLoad, 0)); s != nil {
		t.Errorf("a stage without length has the series %+v", s)
	}
}

// A stage of 30 minutes whose server stood still in its minute 12 shows it there, and nowhere else; the counts of all
// steps are those of the stage.
func TestSeriesOfASoak(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const lasted = 30 * 60
	var records []loadgen.Record
	for at := 0.05; at < lasted-20; at += 0.1 {
		first := at + 0.04 + 0.02*rng.Float64()
		if at > 720 && at < 780 {
			first = max(first, 779+rng.Float64())
		}
		records = append(records, recordAt(at, at, first, first+1.27, first+1.28, 128, loadgen.Completed))
	}
	s := seriesOf(stageOf(openLoad, lasted*time.Second, records...))
	if s.Step != 1 || len(s.Sent) != lasted {
		t.Fatalf("%d steps of %v s", len(s.Sent), s.Step)
	}
	sent, done, tokens := 0, 0, 0
	for i := range s.Sent {
		sent, done, tokens = sent+s.Sent[i], done+s.Done[i], tokens+s.Tokens[i]
		stall, filling := i >= 723 && i < 778, i >= 778 && i < 790
		switch {
		case stall && (s.Done[i] != 0 || s.InFlight[i] < 10 || !s.TTFT95[i].IsAbsent()):
			t.Fatalf("second %d of the stall: %d done, %v in flight", i, s.Done[i], s.InFlight[i])
		case !stall && !filling && i > 5 && i < lasted-30 && (s.TTFT95[i] > 61 || s.InFlight[i] > 16 && i < 720):
			t.Fatalf("second %d: TTFT p95 %v ms, %v in flight", i, s.TTFT95[i], s.InFlight[i])
		}
	}
	if n := len(records); sent != n || done != n || tokens != 128*n {
		t.Errorf("%d sent, %d done, %d tokens of %d requests", sent, done, tokens, n)
	}
	if worst := s.TTFT95[779]; worst < 50_000 {
		t.Errorf("after the stall TTFT p95 is %v ms", worst)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if perStep := len(text) / lasted; perStep > 60 {
		t.Errorf("%d bytes a step", perStep)
	}
}

// However long a stage is, its series has at most 1,800 steps, which end with it.
func TestStepsOfLongStages(t *testing.T) {
	for lasted, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Second, 1800 * time.Second: time.Second, 1801 * time.Second: 2 * time.Second,
		2 * time.Hour: 5 * time.Second, 15 * time.Hour: 30 * time.Second, 15*time.Hour + 1: time.Minute,
		60 * time.Hour: 2 * time.Minute, 59*time.Hour + time.Nanosecond: 2 * time.Minute,
		math.MaxInt64: 85402 * time.Minute,
	} {
		step := stepOf(lasted)
		if want != step {
			t.Errorf("%v: steps of %v, want %v", lasted, step, want)
		}
		s := NewSeries(func(func(Request) bool) {}, lasted, true)
		if n := len(s.Sent); n < 1 || n > mostSteps || time.Duration(n-1)*step >= lasted {
			t.Errorf("%v: %d steps of %v", lasted, n, step)
		}
	}
}

// Every list of a series has as many elements as there are steps.
func TestSeriesListsAreOfOneLength(t *testing.T) {
	for _, stage := range made(t).Stages {
		s := reflect.ValueOf(stage.Series).Elem()
		for i := 1; i < s.NumField(); i++ {
			if n := s.Field(i).Len(); n != 21 {
				t.Errorf("%s: %d elements of %s, want 21", stage.Name, n, s.Type().Field(i).Name)
			}
		}
	}
}
