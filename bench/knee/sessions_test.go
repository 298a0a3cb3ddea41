package knee

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/llmsim"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
	"github.com/openloop/openloop/sweep"
)

// talks is an engine that sessions are sent to: their arrivals are the engine's, its prompt is that of the first turn.
type talks struct {
	engine
	fewest, most int           // turns, each number as likely as another
	think        time.Duration // mean, exponential
	turn         int           // tokens that a turn adds, beside the answer before it
	spread       float64       // half of the sessions add so many times as many tokens; 1: all alike
}

// talking is a session under way, of the engine alone.
type talking struct {
	number, turn, turns int
	began               int64
	prompt              int
	random              *rand.Rand
	record              *loadgen.Record
}

// upcoming is a turn that will be due.
type upcoming struct {
	at int64
	s  *talking
}

type agenda []upcoming

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(upcoming)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	*a = (*a)[:last]
	return x
}

// session draws a session.
func (k talks) session(seed uint64, i int) *talking {
	s := &talking{number: i + 1, random: rand.New(rand.NewPCG(seed, uint64(i)))}
	s.turns = k.fewest + s.random.IntN(k.most-k.fewest+1)
	return s
}

// talk runs the engine without any client until a time: sessions begin at the schedule's offsets, and each turn is due
// when the answer before it has come and the think time has passed.
func (k talks) talk(schedule loadgen.Schedule, until time.Duration, seed uint64) ([]loadgen.Record, error) {
	sim, err := llmsim.NewEngine(k.config)
	if err != nil {
		return nil, err
	}
	var records []*loadgen.Record
	var coming agenda
	sent, begun := uint64(0), 0
	add := func(s *talking) {
		if s.turn == 0 {
			s.prompt = k.prompt
		}
		output, _ := k.config.Output.Draw(seed, sent, k.limit)
		sent++
		r := &loadgen.Record{PromptTokens: int32(s.prompt), OutputTokens: -1, AskedPrompt: int32(s.prompt),
			AskedOutput: int32(k.limit), Status: loadgen.Incomplete, Session: int32(s.number), Turn: int16(s.turn),
			Turns: int16(s.turns)}
		s.record = r
		records = append(records, r)
		if err = sim.Submit(&llmsim.Sequence{Prompt: s.prompt, Output: output, Tag: s}); err != nil {
			return
		}
	}
	next := func() (int64, *talking) {
		offset, ok := schedule.At(begun)
		if first := int64(offset) + 1; ok && (len(coming) == 0 || first <= coming[0].at) {
			return first, nil
		}
		if len(coming) == 0 {
			return math.MaxInt64, nil
		}
		return coming[0].at, coming[0].s
	}
	for now := int64(0); now < int64(until) && err == nil; {
		at, s := next()
		if !sim.Busy() {
			now = max(now, at)
		}
		for ; at <= now && at < int64(until); at, s = next() {
			if s == nil {
				s = k.session(seed, begun)
				begun++
				s.began = at
			} else {
				heap.Pop(&coming)
			}
			add(s)
			r := s.record
			r.Scheduled, r.Started, r.Sent, r.Began = at, at, at, s.began
		}
		if !sim.Busy() {
			break // nothing more comes in time
		}
		step := sim.Step()
		now += int64(step.Duration)
		for _, q := range step.Tokens {
			r := q.Tag.(*talking).record
			if r.FirstToken == 0 {
				r.FirstToken = now
			}
			r.LastToken = now
			r.TokenEvents++
		}
		for _, q := range step.Finished {
			s := q.Tag.(*talking)
			r := s.record
			r.End, r.OutputTokens, r.Status = now, int32(q.Output), loadgen.Completed
			if s.turn++; s.turn < s.turns {
				grows := float64(k.turn)
				if s.number%2 == 0 {
					grows *= k.spread
				}
				s.prompt += q.Output + int(grows)
				heap.Push(&coming, upcoming{now + int64(s.random.ExpFloat64()*float64(k.think)) + 1, s})
			}
		}
	}
	all := make([]loadgen.Record, len(records))
	for i, r := range records {
		all[i] = *r
	}
	slices.SortStableFunc(all, func(a, b loadgen.Record) int { return cmp.Compare(a.Scheduled, b.Scheduled) })
	return all, err
}

// meetsLong says whether the objectives hold in the long run, over about so many sessions, the first tenth left out.
func (k talks) meetsLong(rate float64, sessions int, seed uint64) (bool, error) {
	objectives, err := slo.ParseObjectives(k.objectives)
	if err != nil {
		return false, err
	}
	length := time.Duration(float64(sessions) / rate * float64(time.Second))
	records, err := k.talk(k.schedule(rate, int64(seed)), length, seed)
	if err != nil {
		return false, err
	}
	m := &loadgen.Measured{Stopped: int64(length), Stage: loadgen.Stage{Warmup: length / 10}}
	m = slo.Snapshot(m, records, int64(length))
	for _, o := range objectives {
		if !slo.Observe(m, o).Holds {
			return false, nil
		}
	}
	return true, nil
}

// knee is the highest rate of sessions at which the objectives hold, to 0.5 %, by brute force.
func (k talks) knee(sessions int, seed uint64) (float64, error) {
	lo, hi := 0.02*k.sessionCapacity(), 1.5*k.sessionCapacity()
	for hi/lo > 1.005 {
		mid := math.Sqrt(lo * hi)
		ok, err := k.meetsLong(mid, sessions, seed)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Sqrt(lo * hi), nil
}

func (k talks) turns() float64 { return float64(k.fewest+k.most) / 2 }

// sessionCapacity is about how many sessions a second the engine sustains.
func (k talks) sessionCapacity() float64 {
	later := (k.turns() - 1) / 2 * (k.config.Output.Mean + float64(k.turn)*(1+k.spread)/2)
	return k.config.Capacity(k.prompt+int(later), int(k.config.Output.Mean)) / k.turns()
}

// source gives sessions as long as those of the engine alone, by which a plan knows how long they are.
func (k talks) source(context.Context, int) (loadgen.Source, func(), error) {
	random := rand.New(rand.NewPCG(1, 1))
	return func(i int) (loadgen.Request, error) {
		s := &loadgen.Session{Turns: make([]loadgen.Turn, k.session(1, i).turns)}
		for j := range s.Turns {
			s.Turns[j].Think = time.Duration(random.ExpFloat64() * float64(k.think))
		}
		return s.Request(), nil
	}, func() {}, nil
}

// searched is a search over sessions with a perfect client, after a probe that is wrong by up to 10 %.
func (k talks) searched(t *testing.T, seed int64, budget time.Duration) (answer *sweep.Answer) {
	synctest.Test(t, func(t *testing.T) {
		objectives, err := slo.ParseObjectives(k.objectives)
		if err != nil {
			t.Fatal(err)
		}
		plan := &sweep.Plan{Objectives: objectives, Pause: time.Second, Sessions: true, Source: k.source}
		plan.Simulate = func(stage loadgen.Stage, looks []time.Duration, stop func(*loadgen.Measured) bool,
		) *loadgen.Measured {
			records, err := k.talk(k.schedule(stage.Load.Rate, stage.Load.Seed), stage.MaxDuration,
				uint64(stage.Load.Seed))
			if err != nil {
				t.Fatal(err)
			}
			m := &loadgen.Measured{Stage: stage, Origin: time.Now(), Reason: loadgen.StopDuration}
			cut := func(at time.Duration) *loadgen.Measured {
				s := slo.Snapshot(m, records, int64(at))
				for i := range s.Records {
					s.Sessions.Started += count(s.Records[i].Turn == 0)
				}
				return s
			}
			for _, look := range looks {
				if s := cut(look); stop(s) {
					time.Sleep(look)
					s.Reason = loadgen.StopAsked
					return s
				}
			}
			time.Sleep(stage.MaxDuration)
			return cut(stage.MaxDuration)
		}
		luck := rand.New(rand.NewPCG(uint64(seed), 99)).Float64()
		r := &sweep.Result{SaturationRate: k.sessionCapacity() * (0.9 + 0.2*luck)}
		answer, err = plan.Search(t.Context(), r, k.asked(seed, budget))
		if err != nil {
			t.Fatal(err)
		}
	})
	return answer
}

// conversations are the engines of the study of sessions.
func conversations() []talks {
	// Bounds are in TTFTs of a first turn. Where sessions are unlike, the longest prompts alone take up to ten.
	with := func(name string, s shape, output llmsim.OutputLengths, metric string, ttfts float64, k talks) talks {
		k.engine = s.engine(output, loadgen.PoissonGaps)
		k.name = name
		k.objectives = strings.Replace(k.ttft(ttfts), "ttft", metric, 1)
		return k
	}
	return []talks{
		with("l4-like, 4 turns", l4Like, fixed, "ttft", 6, talks{fewest: 4, most: 4, think: 2 * time.Second, turn: 32,
			spread: 1}),
		with("l4-like, 1 to 7 turns, unlike", l4Like, exponential, "ttft", 24, talks{fewest: 1, most: 7,
			think: 2 * time.Second, turn: 24, spread: 6}),
		with("many slots, 2 to 6 turns, the later ones", manySlots.at(60), exponential, "ttft{turn>1}", 4,
			talks{fewest: 2, most: 6, think: 4 * time.Second, turn: 32, spread: 1}),
		with("many slots, 1 to 9 turns, unlike", manySlots.at(60), exponential, "ttft", 12, talks{fewest: 1, most: 9,
			think: time.Second, turn: 16, spread: 8}),
		with("many slots, 1 to 9 turns, unlike, tight", manySlots.at(60), exponential, "ttft", 4, talks{fewest: 1,
			most: 9, think: time.Second, turn: 16, spread: 8}),
	}
}

// TestSessionStudy compares the max rates that searches over sessions find with the true ones.
func TestSessionStudy(t *testing.T) {
	all, n, sessions := conversations(), *seeds, 60_000
	limits := strings.Split(*budgets, ",")
	if !*perfect {
		all, n, sessions, limits = all[:1], 1, 3000, []string{"3m"}
	}
	for _, k := range all {
		if !strings.Contains(k.name, *only) {
			continue
		}
		knee, err := k.knee(sessions, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range limits {
			budget, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			var sum tally
			for seed := range n {
				a := k.searched(t, shuffled(2, seed), budget)
				sum.add(a, knee)
				if *verbose {
					report(k.engine, budget, knee, a)
				}
			}
			t.Logf("| %s | %.3g | %v |%s", k.name, knee, budget, sum.cells())
			if sum.answered < n {
				t.Errorf("%s: %d of %d searches have an answer", k.name, sum.answered, n)
			}
			if sum.stated >= enough && float64(sum.covered) < leastCoveredEngine*float64(sum.stated) {
				t.Errorf("%s: %d of %d intervals hold the true rate", k.name, sum.covered, sum.stated)
			}
		}
	}
}
