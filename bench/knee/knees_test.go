package knee

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

var rewriteKnees = flag.Bool("knees", false,
	"compute the true rates of engines whose definition is not the one in testdata/knees.json, minutes, and write it")

// kneesFile holds the true rates, which take too long to compute every time.
var kneesFile = filepath.Join("testdata", "knees.json")

// trueRate is an engine's entry in kneesFile, by its name.
type trueRate struct {
	Definition string  `json:"definition"` // all that determines the rate
	Rate       float64 `json:"rate"`       // requests per second
}

// readKnees reads the file once.
var readKnees = sync.OnceValues(func() (map[string]trueRate, error) {
	text, err := os.ReadFile(kneesFile)
	if err != nil {
		return nil, err
	}
	var rates map[string]trueRate
	if err := json.Unmarshal(text, &rates); err != nil {
		return nil, fmt.Errorf("%s: %w", kneesFile, err)
	}
	return rates, nil
})

// bruteMethod is to be raised when the simulator or the computation changes so that the rates do.
const bruteMethod = 1

// bruteSeeds are the seeds of the computation; the rate is the geometric mean of theirs.
var bruteSeeds = [...]uint64{7, 77}

// bruteRequests is how many requests a rate the true rate rests on: more where the load or the speed is correlated for
// long.
func (e engine) bruteRequests() int {
	if !e.steady().config.Speed.Constant() || e.config.Output.Kind == llmsim.LengthPareto {
		return 600_000
	}
	return bruteForce
}

// steady is the engine without its drift: at its mean speed. Its true rate is that of the drifting engine.
func (e engine) steady() engine {
	e.config.Speed.Drift = llmsim.Drift{}
	return e
}

// definition is all that determines the engine's true rate. The time scale is rounded: its last digits depend on the
// processor.
func (e engine) definition() string {
	c := e.steady().config
	speed := "constant"
	if !c.Speed.Constant() {
		speed = c.Speed.String()
	}
	prompt := strconv.Itoa(e.prompt)
	if e.longs > 0 {
		prompt += fmt.Sprintf(" or %d (%v)", e.long, e.longs)
	}
	return fmt.Sprintf("base %v, per sequence %v, per prefill token %v, slots %d, budget %d, time scale %.9g, "+
		"output %v, speed %s, prompt %s, limit %d, %s, %s; method %d, %d requests, seeds %v",
		c.Base, c.PerSequence, c.PerPrefillToken, c.MaxNumSeqs, c.MaxNumBatchedTokens, c.TimeScale, c.Output,
		speed, prompt, e.limit, e.arrivals, e.objectives, bruteMethod, e.bruteRequests(), bruteSeeds)
}

// trueKnee is the highest rate at which the objectives hold: from the file if the definition there is this engine's.
// Otherwise it is computed: as for the file, which takes some seconds, or where n is less than bruteForce from n
// requests a rate and one seed.
func (e engine) trueKnee(n int, seed uint64) (float64, error) {
	if rates, err := readKnees(); err == nil && rates[e.name].Definition == e.definition() {
		return rates[e.name].Rate, nil
	}
	if n < bruteForce {
		return e.bruteKnee(n, seed)
	}
	rate, _, err := e.computeKnee()
	return rate, err
}

// computeKnee is the true rate as the file has it, and by what share the seeds differ.
func (e engine) computeKnee() (rate, spread float64, err error) {
	logs, low, high := 0.0, math.Inf(1), 0.0
	for _, seed := range bruteSeeds {
		rate, err := e.bruteKnee(e.bruteRequests(), seed)
		if err != nil {
			return 0, 0, err
		}
		logs += math.Log(rate)
		low, high = min(low, rate), max(high, rate)
	}
	return math.Exp(logs / float64(len(bruteSeeds))), high/low - 1, nil
}

// bruteKnee is the highest rate at which the objectives hold, to 0.3 %, by brute force on the engine alone.
func (e engine) bruteKnee(n int, seed uint64) (float64, error) {
	e = e.steady()
	capacity := e.capacity()
	lo, hi := 0.02*capacity, 1.3*capacity
	ok, err := e.meets(lo, n, seed)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", e.name, err)
	}
	if !ok {
		return 0, fmt.Errorf("%s: even %.3g req/s fails", e.name, lo)
	}
	for hi/lo > 1.003 {
		mid := (lo + hi) / 2
		ok, err := e.meets(mid, n, seed)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return (lo + hi) / 2, nil
}

// meets says whether the objectives hold in the long run at a rate: over n requests, the first tenth left out.
func (e engine) meets(rate float64, n int, seed uint64) (bool, error) {
	objectives, err := slo.ParseObjectives(e.objectives)
	if err != nil {
		return false, err
	}
	records, err := e.alone(e.schedule(rate, int64(seed)), n, moment{seed: seed})
	if err != nil {
		return false, err
	}
	l := &loadgen.Measured{Records: records[n/10:], Stopped: 1 << 62}
	for _, o := range objectives {
		if !slo.Observe(l, o).Holds {
			return false, nil
		}
	}
	return true, nil
}

// TestKnees sees that the file has the true rate of every engine as it is now, and of no other. With -knees it writes
// the file; delete it to compute all of them again.
func TestKnees(t *testing.T) {
	rates, err := readKnees()
	if err != nil && !(*rewriteKnees && os.IsNotExist(err)) {
		t.Fatal(err)
	}
	engines := all()
	if *rewriteKnees {
		rates = writeKnees(t, engines, rates)
	}
	known := map[string]bool{}
	for _, e := range engines {
		if known[e.name] {
			t.Errorf("two engines are called %s", e.name)
		}
		known[e.name] = true
		r := rates[e.name]
		if r.Definition != e.definition() {
			t.Errorf("%s: the definition is %q, that of the rate in %s is %q: run this test with -args -knees",
				e.name, e.definition(), kneesFile, r.Definition)
		} else if c := e.capacity(); !(r.Rate > 0.05*c && r.Rate < 1.1*c) {
			t.Errorf("%s: the rate is %v, the capacity %v", e.name, r.Rate, c)
		}
	}
	for name := range rates {
		if !known[name] {
			t.Errorf("%s has a rate of %q, which is no engine: run this test with -args -knees", kneesFile, name)
		}
	}
}

// writeKnees computes what is not in the file as it is now and writes the file.
func writeKnees(t *testing.T, engines []engine, old map[string]trueRate) map[string]trueRate {
	rates := make(map[string]trueRate, len(engines))
	var mu sync.Mutex
	forAll(t, engines, func(t *testing.T, _ int, e engine) {
		r := trueRate{Definition: e.definition()}
		if have := old[e.name]; have.Definition == r.Definition {
			r = have
		} else {
			began := time.Now()
			rate, spread, err := e.computeKnee()
			if err != nil {
				t.Error(err)
				return
			}
			r.Rate = num4(rate)
			fmt.Printf("%-45s capacity %7.4g, true rate %7.4g (%.3f), seeds differ by %.1f %%, %v; %s\n", e.name,
				e.capacity(), r.Rate, r.Rate/e.capacity(), 100*spread, time.Since(began).Round(time.Second),
				e.objectives)
		}
		mu.Lock()
		defer mu.Unlock()
		rates[e.name] = r
	})
	if t.Failed() {
		t.FailNow()
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // objectives have "<"
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(rates); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(kneesFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kneesFile, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return rates
}

// num4 rounds to four digits; the rates are good to three.
func num4(v float64) float64 {
	scale := math.Pow(10, 3-math.Floor(math.Log10(v)))
	return math.Round(v*scale) / scale
}

// BenchmarkAlone is the engine alone at nine tenths of its capacity.
func BenchmarkAlone(b *testing.B) {
	for _, e := range []engine{grid()[3], grid()[15], more()[3]} {
		b.Run(e.name, func(b *testing.B) {
			tokens := 0
			for b.Loop() {
				records, err := e.alone(e.schedule(0.9*e.capacity(), 1), 50_000, moment{seed: 1})
				if err != nil {
					b.Fatal(err)
				}
				for i := range records {
					tokens += int(records[i].OutputTokens)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(tokens), "s/Mtoken")
		})
	}
}
