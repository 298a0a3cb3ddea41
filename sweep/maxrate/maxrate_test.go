package maxrate

import (
	"math"
	"math/rand/v2"
	"testing"
)

// curveOf is a server whose share of misses has a logit that grows with ln rate, and whose requests are independent.
type curveOf struct{ theta, slope, limit float64 }

// stage is a stage of it that began at a time, at Poisson arrivals.
func (c curveOf) stage(rate, length, at float64, random *rand.Rand) Stage {
	return stageOf(expit(logit(c.limit)+c.slope*(math.Log(rate)-c.theta)), rate, length, at, random)
}

// stageOf is a stage of which such a share misses.
func stageOf(share, rate, length, at float64, random *rand.Rand) Stage {
	st := Stage{Rate: rate, At: at, Length: length, Residence: 0.1, Done: rate}
	var s Series
	for t := random.ExpFloat64() / rate; t < length; t += random.ExpFloat64() / rate {
		s.Index = append(s.Index, int32(len(st.Arrivals)))
		st.Arrivals = append(st.Arrivals, t)
		st.Tokens = append(st.Tokens, 16)
		miss := 0.0
		if random.Float64() < share {
			miss = 1
		}
		s.Miss = append(s.Miss, miss)
	}
	s.Slowest = 1
	st.Series = []Series{s}
	return st
}

func question() Question {
	return Question{
		Objectives: []Objective{{Name: "ttft:p95", Limit: 0.05}}, Saturation: 100, Arrivals: Poisson, Variation: 1,
		Confidence: 0.95,
	}
}

// Independent requests are the easiest server: the interval holds the truth, and is as narrow as their number allows.
func TestSolve(t *testing.T) {
	held := 0
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		server := curveOf{math.Log(80), 12, 0.05}
		var stages []Stage
		for i, rate := range []float64{70, 90, 78, 84} {
			stages = append(stages, server.stage(rate, 60, 70*float64(i), random))
		}
		est := Solve(question(), stages)
		if est.Lower <= 80 && 80 <= est.Upper {
			held++
		}
		if !est.Stated() || est.Width() > 0.1 || math.Abs(est.Slope/12-1) > 0.5 || !est.Met || !est.Missed {
			t.Errorf("seed %d: %v to %v, slope %v, %v clusters", seed, est.Lower, est.Upper, est.Slope, est.Clusters)
		}
		if below, above, ok := est.Shares(); !ok || below > 0.05 || above < 0.05 {
			t.Errorf("shares %v and %v at the ends", below, above)
		}
		if p := est.Above(est.Estimate); math.Abs(p-0.5) > 0.02 {
			t.Errorf("above the estimate with %v", p)
		}
	}
	if held < 36 {
		t.Errorf("%d of 40 intervals hold the true rate", held)
	}
}

// Where some requests miss at any rate, the curve has a floor. Its rate is found all the same, and sharply: without the
// floors, 40 of these 48 intervals are wider than 35 %.
func TestFloor(t *testing.T) {
	const knee, seeds = 80., 8
	held, wide, all := 0, 0, 0
	for _, floor := range []float64{0.015, 0.03, 0.04} {
		for _, slope := range []float64{6, 25} {
			for seed := range uint64(seeds) {
				random := rand.New(rand.NewPCG(seed, 2))
				var stages []Stage
				for i, rate := range []float64{20, 50, 70, 90, 80, 76} {
					share := min(floor+(0.05-floor)*math.Pow(rate/knee, slope), 1)
					stages = append(stages, stageOf(share, rate, 60, 70*float64(i), random))
				}
				est := Solve(question(), stages)
				all++
				if est.Lower <= knee && knee <= est.Upper {
					held++
				}
				if est.Width() > 0.35 {
					wide++
				}
			}
		}
	}
	if held < all-3 || wide > 3 {
		t.Errorf("%d of %d intervals hold the rate, %d are wider than 35 %%", held, all, wide)
	}
}

func TestOneSided(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	low := curveOf{math.Log(300), 12, 0.05}.stage(70, 60, 0, random)
	if est := Solve(question(), []Stage{low}); est.Met != true || est.Missed || !math.IsInf(est.Upper, 1) ||
		est.Lower <= 0 || est.Lower > 70 {
		t.Errorf("nothing missed: %v to %v", est.Lower, est.Upper)
	}
	high := curveOf{math.Log(10), 12, 0.05}.stage(70, 60, 0, random)
	if est := Solve(question(), []Stage{high}); est.Met || !est.Missed || est.Lower != 0 || est.Upper > 75 {
		t.Errorf("everything missed: %v to %v", est.Lower, est.Upper)
	}
}

// Of several objectives the one with the lowest rate limits.
func TestJoint(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	q := question()
	q.Objectives = append(q.Objectives, Objective{Name: "tpot:p95", Limit: 0.05})
	var stages []Stage
	for i, rate := range []float64{50, 60, 70, 85} {
		a := curveOf{math.Log(80), 12, 0.05}.stage(rate, 60, 70*float64(i), random)
		b := curveOf{math.Log(60), 12, 0.05}.stage(rate, 60, 70*float64(i), rand.New(rand.NewPCG(2, uint64(i))))
		n := min(len(a.Series[0].Miss), len(b.Series[0].Miss))
		a.Series[0].Miss, a.Series[0].Index = a.Series[0].Miss[:n], a.Series[0].Index[:n]
		a.Series = append(a.Series, Series{Index: a.Series[0].Index, Miss: b.Series[0].Miss[:n], Slowest: 1})
		stages = append(stages, a)
	}
	est := Solve(q, stages)
	if est.Limiting != 1 || est.Objective != "tpot:p95" || est.Lower > 60 || est.Upper < 60 ||
		est.All[0].Estimate < 70 {
		t.Errorf("%s limits: %v to %v; %v alone", est.Objective, est.Lower, est.Upper, est.All[0].Estimate)
	}
}

func TestMean(t *testing.T) {
	q := question()
	q.Objectives = []Objective{{Name: "ttft:mean", Kind: Mean, Limit: 100}}
	random := rand.New(rand.NewPCG(3, 1))
	var stages []Stage
	for i, rate := range []float64{60, 95, 75, 85} {
		st := curveOf{math.Log(80), 12, 0.05}.stage(rate, 60, 70*float64(i), random)
		mean := 100 * math.Pow(rate/80, 3)
		for j := range st.Series[0].Miss {
			st.Series[0].Miss[j] = mean * random.ExpFloat64()
		}
		stages = append(stages, st)
	}
	est := Solve(q, stages)
	if est.Lower > 80 || est.Upper < 80 || est.Width() > 0.1 || math.Abs(est.Slope/3-1) > 0.4 {
		t.Errorf("%v to %v, slope %v; want 80 and 3", est.Lower, est.Upper, est.Slope)
	}
}

// A server that loses a fifth of its speed over the search is seen to drift; one that does not is not.
func TestDrift(t *testing.T) {
	seen := 0
	for seed := range uint64(20) {
		for _, drift := range []float64{0, -0.2} {
			random := rand.New(rand.NewPCG(seed, 7))
			var stages []Stage
			for i, rate := range []float64{75, 85, 78, 83, 76, 84, 80} {
				x := float64(i)/6 - 0.5
				server := curveOf{math.Log(80) + drift*x, 15, 0.05}
				stages = append(stages, server.stage(rate, 60, 70*float64(i), random))
			}
			est := Solve(question(), stages)
			switch {
			case drift == 0 && est.Drift != 0:
				t.Errorf("seed %d: a drift of %v of a steady server", seed, est.Drift)
			case est.Drift < -0.1 && est.Drift > -0.3:
				seen++
			}
		}
	}
	if seen < 15 {
		t.Errorf("the drift was seen in %d of 20 searches", seen)
	}
}

func TestSpells(t *testing.T) {
	series := func(pattern string) Series {
		var s Series
		for i, c := range pattern {
			s.Index = append(s.Index, int32(i))
			s.Miss = append(s.Miss, float64(c-'0'))
		}
		return s
	}
	for pattern, want := range map[string]float64{
		"0000000000000000": 0, "0110100000000000": 1, "0100000000000010": 2, "1000000000000000": 1,
		"1111111111111111": 1, "0100000100000010": 3,
	} {
		e := &estimator{Question: Question{Requests: 1}, apart: 1,
			stages: []Stage{{Rate: 4, Series: []Series{series(pattern)}}}}
		if n := e.spells(0, 0, 1); n != want { // four requests are a second
			t.Errorf("%s: %v spells, want %v", pattern, n, want)
		}
	}
}

// Misses are worth no more than the sessions that they are of, and one that has most of them is hardly more than one.
func TestMissesOfSessions(t *testing.T) {
	for _, c := range []struct {
		of   []int32
		want float64
	}{{nil, 0}, {[]int32{1, 1, 1, 1}, 1}, {[]int32{1, 2, 3, 4}, 4}, {[]int32{1, 1, 1, 2}, 1.6}} {
		s := Series{Miss: []float64{1, 0, 1, 1, 1}}
		if c.of != nil {
			s.Sessions = []int32{c.of[0], 9, c.of[1], c.of[2], c.of[3]}
		}
		if n := s.missing(); math.Abs(n-c.want) > 1e-9 {
			t.Errorf("misses of %v: %v sessions, want %v", c.of, n, c.want)
		}
	}
}

func TestSaturation(t *testing.T) {
	stage := func(rate, done float64, growing bool) Stage {
		return Stage{Rate: rate, Done: done, Growing: growing, Length: 20, Residence: 1}
	}
	for name, tc := range map[string]struct {
		stages []Stage
		want   float64
	}{
		"nothing known":              {nil, 100},
		"served below":               {[]Stage{stage(75, 75, false)}, 100},
		"served above":               {[]Stage{stage(116.4, 116.4, false)}, 120},
		"not served far below":       {[]Stage{stage(80, 60, true)}, 63},
		"served, then not":           {[]Stage{stage(58.2, 58, false), stage(80, 50, true)}, 60},
		"too short to tell":          {[]Stage{{Rate: 80, Done: 60, Growing: true, Length: 4, Residence: 1}}, 100},
		"nothing is known of it yet": {[]Stage{stage(80, 0, true)}, 100},
	} {
		if got := saturationOf(100, tc.stages); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// A stage whose requests all miss or all hit, with values that grow with the rate.
func allOrNothing(rate float64, miss bool) Stage {
	st := Stage{Rate: rate, Length: 20, From: 2, Residence: 0.5, Done: rate}
	var s Series
	for i := range int(rate * 20) {
		s.Index = append(s.Index, int32(i))
		st.Arrivals = append(st.Arrivals, float64(i)/rate)
		st.Tokens = append(st.Tokens, 16)
		s.Values = append(s.Values, 0.1*math.Pow(rate/80, 2))
		v := 0.0
		if miss {
			v = 1
		}
		s.Miss = append(s.Miss, v)
	}
	st.Series = []Series{s}
	return st
}

func TestStep(t *testing.T) {
	q := question()
	q.Arrivals, q.Variation = Regular, 0
	q.Objectives[0].Metric = TPOT
	stages := []Stage{allOrNothing(75, false), allOrNothing(95, true)}
	est := Solve(q, stages)
	if est.Step || math.Abs(est.Between-math.Sqrt(75*95)) > 1e-9 {
		t.Errorf("far apart: step %v, next %v", est.Step, est.Between)
	}
	stages = append(stages, allOrNothing(82, false), allOrNothing(85, true))
	est = Solve(q, stages)
	if !est.Step || !est.Stated() || est.Lower > 82 || est.Lower < 81.5 || est.Upper < 85 || est.Upper > 85.3 {
		t.Errorf("a step between 82 and 85: %v, %v to %v", est.Step, est.Lower, est.Upper)
	}
	unsteady := allOrNothing(82, false)
	for i := range unsteady.Series[0].Values {
		unsteady.Series[0].Values[i] *= 1 + 0.2*math.Sin(float64(i)/100)
	}
	if wide := Solve(q, append(stages[:2:2], unsteady, stages[3])); !wide.Step || wide.Width() < 1.5*est.Width() {
		t.Errorf("a server whose latencies vary: %v to %v", wide.Lower, wide.Upper)
	}
	growing := allOrNothing(85, true)
	stages[2].Staying, stages[2].StayingError = 0.03, 0.01
	if e := Solve(q, append(stages[:3:3], growing)); e.Lower > 82*0.96 {
		t.Errorf("3 %% of the arrivals stayed in flight at 82, and the lower end is %v", e.Lower)
	}
	q.Arrivals = Poisson
	if Solve(q, stages).Step {
		t.Error("a step with Poisson arrivals")
	}
}

// In a batch, one request alone takes its own time, several slow each other down, and beyond capacity they wait ever
// longer.
func TestBatch(t *testing.T) {
	run := func(metric Metric, arrivals []float64, capacity float64) []float64 {
		e := &estimator{Question: Question{Objectives: []Objective{{Metric: metric}}}, gap: 0.01}
		tokens := make([]float64, len(arrivals))
		for i := range tokens {
			tokens[i] = 20
		}
		found := make([]float64, len(arrivals))
		runBatch(e, 0, arrivals, tokens, capacity, 20, found)
		return found
	}
	alone := math.Exp(run(TPOT, []float64{0}, 50)[0])
	if alone < 0.01 || alone > 0.0105 { // and the prompt's share
		t.Errorf("one request alone: %v s a token", alone)
	}
	several := math.Exp(run(TPOT, []float64{0, 0, 0, 0, 0, 0, 0, 0}, 50)[0])
	if several < 1.3*alone {
		t.Errorf("eight at once: %v s a token, one alone %v", several, alone)
	}
	if e2e := math.Exp(run(E2E, []float64{0}, 50)[0]); math.Abs(e2e/(20*alone)-1) > 1e-9 {
		t.Errorf("one request alone takes %v s", e2e)
	}
	mean := func(rate float64) float64 {
		random, at := rand.New(rand.NewPCG(1, 1)), 0.0
		var arrivals []float64
		for range 4000 {
			at += random.ExpFloat64() / rate
			arrivals = append(arrivals, at)
		}
		sum := 0.0
		for _, v := range run(E2E, arrivals, 50) {
			sum += math.Exp(v) / 4000
		}
		return sum
	}
	if low, high, beyond := mean(10), mean(45), mean(60); !(low < 0.3 && high > 2*low && beyond > 5*high) {
		t.Errorf("mean times at 10, 45 and 60 of 50 req/s: %v, %v, %v", low, high, beyond)
	}
}
