package slo

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// steadyStage is a stage of n requests at a rate, each 1 s long, whose TTFT is drawn; the share of them beyond 250 ms
// is slow.
func steadyStage(n int, rate, slow float64, seed uint64) *loadgen.Measured {
	rng := rand.New(rand.NewPCG(seed, 9))
	l := judgedStage()
	l.Stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: rate}
	for i := range n {
		at := int64(float64(i+1) / rate * 1e9)
		ttft := 100*ms + rng.Int64N(100*ms)
		if rng.Float64() < slow {
			ttft = 300*ms + rng.Int64N(100*ms)
		}
		l.Records = append(l.Records, completedRecord(at, 0, ttft, 50*ms, 21))
	}
	l.Offered = n
	l.Stopped = int64(float64(n+1)/rate*1e9) - 1
	l.End = l.Stopped + 2000*ms
	return l
}

func TestJudgeStage(t *testing.T) {
	ttft := []Objective{objective(t, "ttft:p95<250ms")}
	for _, tc := range []struct {
		name  string
		stage *loadgen.Measured
		want  Outcome
		holds bool
	}{
		{"well below", steadyStage(800, 20, 0.01, 1), Pass, true},
		{"well above", steadyStage(800, 20, 0.2, 2), Fail, false},
		{"too close", steadyStage(800, 20, 0.048, 5), Undecided, true},
		{"too few", steadyStage(50, 2, 0, 4), Undecided, true},
		{"enough of them", steadyStage(150, 2, 0, 4), Pass, true},
		{"measured for less than ten residence times", steadyStage(300, 60, 0, 4), Undecided, true},
	} {
		j := Judge(tc.stage, ttft, 0)
		if j.Outcome != tc.want || j.ObservedHold != tc.holds || (j.Outcome == Pass) != (len(j.Reasons) == 0) ||
			j.Confidence != 0.95 {
			t.Errorf("%s: %s, observed values hold %v, %v", tc.name, j.Outcome, j.ObservedHold, j.Reasons)
		}
	}
}

// One objective that fails decides, others may be what they are.
func TestJudgeStageObjectives(t *testing.T) {
	all, err := ParseObjectives("ttft:p95<250ms,tpot:p95<40ms,errors<1%,ttft:mean<200ms,e2e:max<2s")
	if err != nil {
		t.Fatal(err)
	}
	j := Judge(steadyStage(800, 20, 0.01, 1), all, 0)
	want := []Outcome{Pass, Fail, Pass, Pass, Pass}
	for i, o := range want {
		if j.Objectives[i].Outcome != o {
			t.Errorf("%s: %s %s", all[i], j.Objectives[i].Outcome, j.Objectives[i].Reason)
		}
	}
	if j.Outcome != Fail || len(j.Reasons) != 1 || !strings.Contains(j.Reasons[0], "tpot") {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
}

// A backlog that grows fails the stage, however patient the objective.
func TestJudgeStageBacklog(t *testing.T) {
	l := judgedStage()
	l.Stage.Load = loadgen.Load{Kind: loadgen.ConstantGap, Rate: 20}
	free := int64(0)
	for i := range 1200 { // served one after the other at 18 a second
		at := int64(i+1) * 50 * ms
		free = max(free, at) + 1000*ms/18
		r := completedRecord(at, 0, free-at-1, 1, 2)
		l.Records = append(l.Records, r)
	}
	l.Offered, l.Stopped, l.End = 1200, 60_000*ms, 70_000*ms
	j := Judge(l, []Objective{objective(t, "ttft:p95<60s")}, 0)
	if j.Outcome != Fail || !strings.Contains(strings.Join(j.Reasons, " "), "backlog") {
		t.Errorf("%s: %v, %+v", j.Outcome, j.Reasons, j.Growth)
	}
}

// Gaps are judged with the requests as sample size: 1000 gaps of 10 requests are no more than ten observations.
func TestJudgeStageGaps(t *testing.T) {
	itl := []Objective{objective(t, "itl:p95<60ms")}
	for _, tc := range []struct {
		n    int
		over int64
		want Outcome
	}{{800, 0, Pass}, {800, 4000, Fail}, {30, 0, Undecided}} {
		l := steadyStage(tc.n, 2, 0, 1)
		_ = l.Gaps.RecordValues(50*ms, int64(20*tc.n)-tc.over)
		_ = l.Gaps.RecordValues(90*ms, tc.over)
		if j := Judge(l, itl, 0); j.Outcome != tc.want {
			t.Errorf("%d requests, %d gaps over: %s %v", tc.n, tc.over, j.Outcome, j.Reasons)
		}
	}
}

// The last requests that were due are left out where one of them is undecided, and only there.
func TestWindowLeavesOutTheUndecided(t *testing.T) {
	o := objective(t, "ttft:p95<250ms")
	waiting := func(at int64) loadgen.Record {
		return loadgen.Record{Scheduled: at, Sent: at, End: 10_000 * ms, Status: loadgen.Incomplete, OutputTokens: -1}
	}
	l := judgedStage(completedRecord(9000*ms, 0, 100*ms, ms, 2), waiting(9100*ms),
		completedRecord(9700*ms, 0, 100*ms, ms, 2),
		waiting(9800*ms), completedRecord(9850*ms, 0, 100*ms, ms, 2))
	obs := o.window(l, 0, math.MaxInt64)
	if len(obs) != 3 || !obs[1].miss {
		t.Errorf("%+v", obs)
	}
}

// A few requests that a disturbance made late together fail no stage.
func TestFewMissesDecideNothing(t *testing.T) {
	ttft := []Objective{objective(t, "ttft:p95<250ms")}
	burst := steadyStage(fewest-1, 1, 1, 3)
	if j := Judge(burst, ttft, 0); j.Outcome != Undecided || j.ObservedHold {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
	if j := Judge(steadyStage(60, 1, 1, 3), ttft, 0); j.Outcome != Fail {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
	// Latencies far below their bound that differ by a hair, for a while, are as good as equal.
	hair := steadyStage(400, 2, 0, 4)
	for i := range hair.Records {
		r := &hair.Records[i]
		*r = completedRecord(r.Scheduled, 0, 34*ms+int64(count(i/16 == 12))*ms/10, 10*ms, 21)
	}
	if j := Judge(hair, ttft, 0); j.Outcome != Pass || j.EffectiveN < 100 {
		t.Errorf("met by seven times: %s %v", j.Outcome, j.Reasons)
	}
	// Where one of them came near, how the slow ones cluster is to be believed.
	if j := Judge(hair, []Objective{objective(t, "ttft:p95<60ms")}, 0); j.Outcome != Undecided || j.EffectiveN > 50 {
		t.Errorf("not far from the bound: %s, worth %v", j.Outcome, j.EffectiveN)
	}
	if j := Judge(hair, []Objective{objective(t, "ttft:p95<34.2ms")}, 0); j.Outcome != Undecided || j.EffectiveN > 50 {
		t.Errorf("met by a hair: %s, worth %v", j.Outcome, j.EffectiveN)
	}
	// Latencies that rise and fall slowly are few observations, though all of them miss.
	values, misses := make([]float64, 100), make([]float64, 100)
	for i := range values {
		values[i], misses[i] = float64(i), 1
	}
	if tau, _ := new(autocorrelation).clustering(values, misses, nil, 0.05, 10); tau < 10 {
		t.Errorf("a slow rise: τ = %v", tau)
	}
}

// failEvery makes every k-th request of a stage fail after a millisecond.
func failEvery(l *loadgen.Measured, k int) *loadgen.Measured {
	for i := range l.Records {
		if r := &l.Records[i]; i%k == 0 {
			*r = loadgen.Record{
				Scheduled: r.Scheduled, Sent: r.Sent, End: r.Sent + ms, AskedOutput: r.AskedOutput, OutputTokens: -1,
				Status: loadgen.Errored, Err: loadgen.ErrStatus,
			}
		}
	}
	return l
}

// Where requests that failed are all that is wrong, the reasons say so: no latency is blamed without a word.
func TestReasonsNameTheErrors(t *testing.T) {
	for _, tc := range []struct {
		objectives string
		outcome    Outcome
		reasons    []string
		onlyErrors bool
	}{
		{"errors<1%", Fail, []string{"errors: 25 % of 800 failed (limit 1 %)"}, true},
		{"ttft:p95<250ms errors<1%", Fail, []string{"errors: 25 % of 800 failed (limit 1 %)",
			"ttft:p95: 194 of 776 failed, which count as misses; of the others the p95 is "}, true},
		{"tpot:mean<60ms", Fail,
			[]string{"tpot:mean: 194 of 776 failed, which count as misses; of the others the mean is 50ms"}, true},
		{"e2e:max<3s", Fail,
			[]string{"e2e:max: 194 of 776 failed, which count as misses; of the others the max is 1."}, true},
		{"goodput:ttft<250ms>=90%", Fail,
			[]string{"goodput: 194 of 776 failed, which count as misses; of the others 100% are good"}, true},
		{"ttft:p95<150ms", Fail, []string{"ttft:p95: p95 is ∞: "}, false},
		{"ttft:p95<150ms errors<1%", Fail, []string{"errors: 25 % of 800", "ttft:p95: p95 is ∞: "}, false},
	} {
		all, err := ParseObjectives(tc.objectives)
		if err != nil {
			t.Fatal(err)
		}
		j := Judge(failEvery(steadyStage(800, 20, 0, 1), 4), all, 0)
		if j.Outcome != tc.outcome || len(j.Reasons) != len(tc.reasons) || j.OnlyErrors != tc.onlyErrors {
			t.Errorf("%s: %s, only errors %v, %q", tc.objectives, j.Outcome, j.OnlyErrors, j.Reasons)
			continue
		}
		for i, want := range tc.reasons {
			if !strings.HasPrefix(j.Reasons[i], want) {
				t.Errorf("%s: %q, want %q", tc.objectives, j.Reasons[i], want)
			}
		}
	}
	slow := Judge(steadyStage(800, 20, 0.2, 2), []Objective{objective(t, "ttft:p95<250ms")}, 0)
	if len(slow.Reasons) != 1 || !strings.HasSuffix(slow.Reasons[0], " of 752 missed 250ms (limit 5 %)") ||
		slow.OnlyErrors {
		t.Errorf("slow without errors: %q", slow.Reasons)
	}
}

// An undecided stage says what would decide it, and a stage of that length is decided.
func TestNeed(t *testing.T) {
	for _, tc := range []struct {
		name      string
		objective string
		stage     func(n int) *loadgen.Measured
		n         int
		want      Outcome
	}{
		{"no miss among few", "ttft:p95<250ms", func(n int) *loadgen.Measured { return steadyStage(n, 6, 0, 4) }, 12,
			Pass},
		{"nothing at all", "ttft:p95<250ms", func(n int) *loadgen.Measured { return steadyStage(n, 6, 0, 4) }, 0, Pass},
		{"all miss among few", "ttft:p95<250ms", func(n int) *loadgen.Measured { return steadyStage(n, 6, 1, 4) }, 12,
			Fail},
		{"a mean", "tpot:mean<51ms", func(n int) *loadgen.Measured {
			l := steadyStage(n, 6, 0, 4)
			for i := range l.Records {
				l.Records[i].LastToken += int64(i%7-3) * 20 * 3 * ms / 2
			}
			return l
		}, 12, Pass},
		{"short beside its requests", "ttft:p95<250ms", func(n int) *loadgen.Measured {
			return steadyStage(n, 60, 0,
				4)
		}, 400, Pass},
	} {
		o := []Objective{objective(t, tc.objective)}
		j := Judge(tc.stage(tc.n), o, 0)
		if j.Outcome != Undecided || j.Need == nil || j.Need.Requests <= 0 || j.Need.Time <= 0 {
			t.Errorf("%s: %s %v, need %+v", tc.name, j.Outcome, j.Reasons, j.Need)
			continue
		}
		if j.Need.Requests > 1000 {
			t.Errorf("%s: needs %+v", tc.name, j.Need)
		}
		more := tc.stage(tc.n + 2*j.Need.Requests) // twice, since "about" it is
		if again := Judge(more, o, 0); again.Outcome != tc.want {
			t.Errorf("%s: %d requests are not enough after %+v: %s %v", tc.name, len(more.Records), j.Need,
				again.Outcome, again.Reasons)
		}
	}
	o := []Objective{objective(t, "ttft:p95<250ms")}
	exact := newJudgement(o[0])
	exact.sample = sample{share: o[0].missLimit(), requests: 100, tau: 1, stderr: 0.2}
	if need := exact.needs(6, alphas{0.05, 0.05}); need != nil {
		t.Errorf("exactly at its limit: needs %+v", need)
	}
	if j := Judge(steadyStage(800, 20, 0.01, 1), o, 0); j.Need != nil || j.Objectives[0].Need != nil {
		t.Errorf("a stage that passed needs %+v", j.Need)
	}
}

// A closed loop is judged by its requests, and not by a backlog that it can't have.
func TestJudgeClosedLoop(t *testing.T) {
	l := steadyStage(800, 20, 0.01, 1)
	l.Stage.Load = loadgen.Load{Kind: loadgen.Concurrent, Streams: 20}
	j := Judge(l, []Objective{objective(t, "ttft:p95<250ms")}, 0)
	if j.Outcome != Pass || j.Growth.PValue != 1 || !j.Growth.Slope.IsAbsent() {
		t.Errorf("%s %v, %+v", j.Outcome, j.Reasons, j.Growth)
	}
	// Ever more in flight, because its responses become longer.
	for i := range l.Records {
		l.Records[i] = completedRecord(l.Records[i].Scheduled, 0, 300*ms, int64(i)*ms/20, 21)
	}
	if j := Judge(l, []Objective{objective(t, "ttft:p95<250ms")}, 0); strings.Contains(strings.Join(j.Reasons, " "),
		"backlog") {
		t.Errorf("%s %v", j.Outcome, j.Reasons)
	}
}

// What the user's warm-up and cool-down leave out is not judged, and the judge's own warm-up begins after them.
func TestJudgeLeavesOutWarmUpAndCoolDown(t *testing.T) {
	o := []Objective{objective(t, "ttft:p95<250ms"), objective(t, "errors<1%")}
	l := steadyStage(1000, 20, 0, 1)
	for i := range 200 { // the first ten seconds and the last ten
		for _, k := range []int{i, 999 - i} {
			l.Records[k] = completedRecord(l.Records[k].Scheduled, 0, 400*ms, 10*ms, 21)
			if i%2 == 0 {
				l.Records[k].Status = loadgen.Errored
			}
		}
	}
	if j := Judge(l, o, 0); j.Outcome == Pass || j.ObservedHold {
		t.Errorf("all of it: %s %v", j.Outcome, j.Reasons)
	}
	l.Stage.MaxDuration = 50 * time.Second
	l.Stage.Warmup, l.Stage.Cooldown = 10100*time.Millisecond, 10*time.Second
	j := Judge(l, o, 0)
	if j.Outcome != Pass || j.WarmUp < l.Stage.Warmup || j.Requests > 600 || j.Requests < 500 ||
		j.Objectives[0].Misses != 0 {
		t.Errorf("%s %v, %d requests, warm-up %v", j.Outcome, j.Reasons, j.Requests, j.WarmUp)
	}
	l.Stage.MaxDuration = 0
	l.Stopped = 9000 * ms
	if j := Judge(l, o, 0); j.Outcome != Undecided || len(j.Reasons) != 1 ||
		!strings.Contains(j.Reasons[0], "warm-up") {
		t.Errorf("ended in its warm-up: %s %v", j.Outcome, j.Reasons)
	}
}

// What ends in a stage's grace is known.
func TestJudgeKnowsWhatEndsInTheGrace(t *testing.T) {
	l := judgedStage(completedRecord(9000*ms, 0, 100*ms, 100*ms, 21)) // ends at 11.1 s
	e2e := objective(t, "e2e:p95<3s")
	if w := Observe(l, e2e); w.N != 0 {
		t.Errorf("without grace: %+v", w)
	}
	l.End = 12_000 * ms
	if w := Observe(l, e2e); w.N != 1 || float64(w.Value) != 2.1e9 {
		t.Errorf("with grace: %+v", w)
	}
	if j := Judge(l, []Objective{e2e}, 0); j.At != 10*time.Second {
		t.Errorf("judged at %v", j.At)
	}
}

// A judgement is written to JSON and read again, with infinite figures and absent ones told apart.
func TestStageJudgementJSON(t *testing.T) {
	all, err := ParseObjectives("ttft:p95<250ms errors<1% tpot:mean<60ms itl:p99<1s")
	if err != nil {
		t.Fatal(err)
	}
	j := Judge(failEvery(steadyStage(800, 20, 0, 1), 4), all, 0)
	j.Need = &Need{Requests: 3, Time: time.Second}
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var again StageJudgement
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	b2, err := json.Marshal(again)
	if err != nil || string(b2) != string(b) {
		t.Errorf("%v\n%s\n%s", err, b, b2)
	}
	o := again.Objectives[0]
	if !math.IsInf(float64(o.Value), 1) || o.EffectiveN < 100 || o.Failed != 194 ||
		o.Objective.String() != "ttft:p95<250ms" {
		t.Errorf("%+v", o)
	}
	if !again.Objectives[2].MissShareUpper.IsAbsent() || !again.Objectives[1].ValueWithoutFailed.IsAbsent() &&
		again.Objectives[1].ValueWithoutFailed != 0 {
		t.Errorf("%+v", again.Objectives[2])
	}
	for _, key := range []string{`"outcome":"FAIL"`, `"at_ns":`, `"warm_up_ns":`, `"unit":"ns"`, `"value":"+Inf"`,
		`"value_from_sent":`,
		`"miss_share_upper":null`, `"effective_n":`, `"need":{"requests":3,"time_ns":1000000000}`, `"only_errors":`,
		`"observed_hold":`,
	} {
		if !strings.Contains(string(b), key) {
			t.Errorf("no %s in %s", key, b)
		}
	}
}

// BenchmarkJudge300k is the time of one objective on a stage of 300,000 requests: where it is kept, and where the
// server falls ever further behind, which makes the autocorrelation of the misses a sum over half of the stage.
func BenchmarkJudge300k(b *testing.B) {
	o, err := ParseObjectives("ttft:p95<250ms")
	if err != nil {
		b.Fatal(err)
	}
	kept := steadyStage(300_000, 1000, 0.01, 1)
	behind := steadyStage(300_000, 1000, 0, 1)
	for i := range behind.Records {
		behind.Records[i].FirstToken += int64(i) * ms / 1000
	}
	for name, stage := range map[string]*loadgen.Measured{"kept": kept, "behind": behind} {
		for n := range 3 {
			objectives := make([]Objective, n)
			for i := range objectives {
				objectives[i] = o[0]
			}
			b.Run(fmt.Sprintf("%s, %d objectives", name, n), func(b *testing.B) {
				for b.Loop() {
					Judge(stage, objectives, 0)
				}
			})
		}
	}
}

// An outage at the beginning looks like a stage that fills up: what failed in it counts all the same.
func TestErrorsOfTheWarmUpCount(t *testing.T) {
	l := steadyStage(400, 20, 0.05, 3)
	for i := range 60 {
		rec := &l.Records[i]
		*rec = loadgen.Record{Scheduled: rec.Scheduled, Started: rec.Scheduled, Connecting: 1, End: rec.Scheduled + 1,
			Status: loadgen.Errored, Err: loadgen.ErrConnect}
	}
	objectives, err := ParseObjectives("errors<1%")
	if err != nil {
		t.Fatal(err)
	}
	j := Judge(l, objectives, 0)
	if j.WarmUp < time.Second {
		t.Errorf("the warm-up is %v: the outage is not in it, and this shows nothing", j.WarmUp)
	}
	// One outage is one observation, whatever it took: it need not decide.
	if o := j.Objectives[0]; o.Outcome == Pass || o.Failed != 60 {
		t.Errorf("%s, %d failed, want 60 and no PASS: %s", o.Outcome, o.Failed, o.Reason)
	}
}
