package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/audit"
	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/slo"
)

// SearchConfig shapes a search. The zero value searches with constant arrivals to 5 % at 95 % confidence.
type SearchConfig struct {
	Arrival loadgen.Arrival
	Seed    int64 // of the first stage; each further one has another

	Precision  float64       // the search ends when the bracket is no wider than this share; 0: 0.05
	Confidence float64       // of every stage's outcome; 0: slo.DefaultConfidence
	MaxStages  int           // that the search may run; 0: 16
	Budget     time.Duration // of wall time; 0: none
	// MaxPerStage ends a stage that is not decided by then: it is inconclusive. 0: 1000 requests, within 30 s and 5 min, and up to
	// 10 min where stages showed that it takes more.
	MaxPerStage time.Duration

	NoEarlyStop bool // run every stage for all of MaxPerStage

	// Drain is how long the server may take to get rid of the stage before: until its metrics say that it runs nothing, where
	// the plan has them; 0: 60 s. Without metrics Plan.Pause is all there is.
	Drain time.Duration
}

func (c SearchConfig) withDefaults() SearchConfig {
	if c.Precision <= 0 {
		c.Precision = 0.05
	}
	c.Confidence = slo.WithDefault(c.Confidence)
	if c.MaxStages <= 0 {
		c.MaxStages = 16
	}
	if c.Drain <= 0 {
		c.Drain = time.Minute
	}
	return c
}

// perStage is the longest that a stage at a rate may take, after what the stages so far showed.
func (c SearchConfig) perStage(rate float64, trials []Trial) time.Duration {
	if c.MaxPerStage > 0 {
		return c.MaxPerStage
	}
	d := time.Duration(1000 / rate * float64(time.Second))
	d = min(max(d, 30*time.Second), 5*time.Minute)
	for i := range trials {
		d = max(d, min(trials[i].needs(slo.WithDefault(c.Confidence)), longestStage))
	}
	return d
}

// longestStage is the most that a stage is given by itself.
const longestStage = 10 * time.Minute

// needs is how long a stage would have had to be to pass, if nothing had missed its bounds, where it was too short for that: on
// many servers requests are slow in spells of seconds, and a stage that saw a few spells is worth few independent requests. 0 if
// it was something else that was missing.
func (t Trial) needs(confidence float64) time.Duration {
	if t.Outcome != slo.Undecided || !t.Leans || t.Client {
		return 0
	}
	times := 0.0
	for _, j := range t.Objectives {
		n, share := float64(j.EffectiveN), j.Objective.MissLimit()
		if j.Outcome == slo.Undecided && n > 0 && share > 0 && share < 1 { // a mean has no share that may miss
			// So many requests without a miss are enough for the last look, which has half of the error.
			times = max(times, math.Log((1-confidence)/2)/math.Log1p(-share)/n)
		}
	}
	const surplus = 1.25 // the next stage may have more spells
	return time.Duration(surplus * times * float64(t.At))
}

// Estimate says, before a search, how many stages it is likely to take between two rates (req/s; lo may be 0), and how long:
// at most, if no stage stops early, and what is likely, if each takes a third of that. Failing stages take a tenth, passing ones
// about half.
func (c SearchConfig) Estimate(lo, hi float64) (stages int, likely, most time.Duration) {
	c = c.withDefaults()
	// The search begins at firstGuess of the saturation rate, and goes down by lowering if that fails.
	lo = max(lo, lowering*hi)
	bisections := math.Ceil(math.Log2(max(math.Log(hi/lo)/math.Log1p(c.Precision), 1)))
	stages = min(int(bisections)+2, c.MaxStages) // one end of the bracket, and the confirmation
	most = time.Duration(stages) * c.perStage(firstGuess*hi, nil)
	if c.Budget > 0 {
		most = min(most, c.Budget)
	}
	return stages, most / 3, most
}

// Role is why a stage of a search was run.
type Role string

// The roles.
const (
	Interpolated Role = "interpolated" // one of the sweep's own stages
	FirstGuess   Role = "first"        // no stage was there to begin with
	Lower        Role = "lower"        // everything failed so far
	Higher       Role = "higher"       // everything passed so far
	Bisection    Role = "bisection"    // between what passes and what fails
	Recheck      Role = "recheck"      // a failure below a rate that passes is tried again
	Longer       Role = "longer"       // a rate that could not be decided is given more time
	Widening     Role = "widening"     // next to a rate that could not be decided
	Confirmation Role = "confirmation" // the answer again, with another seed
)

// Trial is one stage of a search, with its outcome.
type Trial struct {
	Stage int     `json:"stage"` // its index in Result.Stages
	Role  Role    `json:"role"`
	Rate  float64 `json:"rate"`
	Seed  int64   `json:"seed"`
	slo.StageJudgement
}

// margin is by what share of its bound the least favourable objective keeps it.
func (t Trial) margin() float64 {
	least := math.Inf(1)
	for _, j := range t.Objectives {
		least = min(least, float64(j.Margin))
	}
	return least
}

// EndReason is why a search ended.
type EndReason string

// The reasons.
const (
	EndPrecision   EndReason = "precision"   // the bracket is narrow enough, and its lower end confirmed
	EndUndecided   EndReason = "undecided"   // the rates inside the bracket can't be decided within a stage's time
	EndNothing     EndReason = "all fail"    // even the lowest rate fails
	EndNoFailure   EndReason = "all pass"    // no rate that could be offered fails
	EndClient      EndReason = "client"      // the client can't offer higher rates
	EndStages      EndReason = "max stages"  //
	EndBudget      EndReason = "budget"      //
	EndInterrupted EndReason = "interrupted" //
	EndError       EndReason = "error"       //
)

// Knee is what a search found: the highest rate at which every objective holds, with the lowest at which one fails.
type Knee struct {
	HoldsAt float64 `json:"holds_at"` // req/s; 0: no rate was found to pass
	FailsAt float64 `json:"fails_at"` // req/s; 0: no rate was found to fail
	// Estimate is the rate at which the plain figures cross their bounds, by the stages next to it; 0 where unknown. It
	// has no confidence of its own.
	Estimate   float64 `json:"estimate"`
	Confidence float64 `json:"confidence"` // of the outcome of each of the two
	Precision  float64 `json:"precision"`  // as asked for
	Confirmed  bool    `json:"confirmed"`  // a second stage at HoldsAt, with another seed, passed too

	Requests   int             `json:"requests"`    // measured at HoldsAt and FailsAt
	EffectiveN num.Value       `json:"effective_n"` // at HoldsAt: the fewest that an objective rests on, as independent ones
	Arrivals   string          `json:"arrivals"`
	Client     audit.Level     `json:"client"`     // the worst verdict at HoldsAt and FailsAt
	Objectives []slo.Judgement `json:"objectives"` // at HoldsAt, with margins

	Ended  EndReason     `json:"ended"`
	Why    string        `json:"why"`   // the same in a sentence
	Notes  []string      `json:"notes"` // what else the reader should know
	Trials []Trial       `json:"trials"`
	Took   time.Duration `json:"took_ns"`
}

// Headline is the answer in one sentence.
func (k *Knee) Headline() string {
	inside := []string{}
	switch {
	case k.HoldsAt > 0 && k.FailsAt > 0:
		inside = append(inside, fmt.Sprintf("holds at %s, fails at %s", num.Rate(k.HoldsAt), num.Rate(k.FailsAt)))
	case k.HoldsAt > 0:
		inside = append(inside, fmt.Sprintf("holds at %s, no rate was found to fail", num.Rate(k.HoldsAt)))
	case k.FailsAt > 0:
		inside = append(inside, fmt.Sprintf("fails at %s", num.Rate(k.FailsAt)))
	}
	inside = append(inside, fmt.Sprintf("%s %% confidence", num.Exact(100*k.Confidence)), num.Thousands(k.Requests)+" requests", k.Arrivals+" arrivals", "client "+string(k.Client))
	list := " (" + strings.Join(inside, "; ") + ")"
	switch {
	case k.HoldsAt == 0 && k.Ended == EndNothing:
		return "max rate at SLO: none" + list
	case k.HoldsAt == 0 && k.Estimate > 0:
		return fmt.Sprintf("max rate at SLO: near %s req/s by the plain figures, but no rate could be shown to hold%s", num.Rate(k.Estimate), list)
	case k.HoldsAt == 0:
		return "max rate at SLO: not found" + list
	case k.FailsAt == 0:
		return "max rate at SLO: at least " + num.Rate(k.HoldsAt) + " req/s" + list
	case k.FailsAt/k.HoldsAt > 1+1.5*k.Precision:
		return fmt.Sprintf("max rate at SLO: between %s and %s req/s%s", num.Rate(k.HoldsAt), num.Rate(k.FailsAt), list)
	}
	return "max rate at SLO: " + num.Rate(k.HoldsAt) + " req/s" + list
}

// Search finds the knee. It begins with the open-loop stages of the arrivals in the result, and runs further ones. An
// error ends it; what was found until then is in the knee.
func (p *Plan) Search(ctx context.Context, r *Result, c SearchConfig) (*Knee, error) {
	c = c.withDefaults()
	s := search{plan: p, result: r, config: c, began: time.Now()}
	s.bounds = bounds{saturation: r.SaturationRate, synchronous: r.SynchronousRate}
	for i, l := range r.Stages {
		if l.Load.Kind.Open() && l.Load.Arrival == c.Arrival && l.Load.Rate > 0 {
			s.trials = append(s.trials, Trial{i, Interpolated, l.Load.Rate, l.Load.Seed, judge(l, p.Objectives, c.Confidence)})
		}
	}
	var err error
	for {
		n := c.next(s.trials, s.bounds, c.MaxStages-s.stages)
		if n.ended != "" {
			s.ended, s.why = n.ended, n.why
			break
		}
		if s.stages >= c.MaxStages {
			s.ended, s.why = EndStages, fmt.Sprintf("%d stages were run", s.stages)
			break
		}
		limit, ok := s.limit(n)
		if !ok {
			s.ended, s.why = EndBudget, fmt.Sprintf("the budget of %v has no room for another stage", c.Budget)
			break
		}
		if err = s.try(ctx, n, limit); err != nil {
			s.ended, s.why = EndError, err.Error()
			if ctx.Err() != nil {
				s.ended, s.why = EndInterrupted, "the run was interrupted"
			}
			break
		}
	}
	return s.knee(), err
}

// search is a search under way.
type search struct {
	plan   *Plan
	result *Result
	config SearchConfig
	bounds bounds
	trials []Trial
	stages int // that the search ran
	began  time.Time
	ended  EndReason
	why    string
}

// limit is how long the next stage may take; ok is false if the budget has no room for a stage of use.
func (s *search) limit(n step) (d time.Duration, ok bool) {
	known := s.trials
	switch n.role {
	case Longer, Widening, Confirmation:
	default: // on the way to the bracket a look is enough
		known = nil
	}
	d = s.config.perStage(n.rate, known)
	if s.config.Budget <= 0 {
		return d, true
	}
	left := s.config.Budget - time.Since(s.began)
	if d > left {
		d = left
	}
	// Fewer than 60 requests can't show that 95 % of them hold.
	return d, d > 0 && d.Seconds()*n.rate >= 60
}

// try runs one stage.
func (s *search) try(ctx context.Context, n step, limit time.Duration) error {
	if s.plan.Metrics != nil && len(s.result.Stages) > 0 {
		drained, err := s.plan.Metrics.Drained(ctx, s.config.Drain)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !drained && err == nil {
			s.result.warn("before the stage at %s req/s the server still had requests after %v: it may serve others too", num.Rate(n.rate), s.config.Drain)
		}
	}
	s.stages++
	load := loadgen.Load{Kind: loadgen.KindOf(s.config.Arrival), Rate: n.rate, Seed: s.config.Seed + int64(s.stages), Arrival: s.config.Arrival}
	w := &watch{objectives: s.plan.Objectives, schedule: load.Schedule()}
	if s.config.NoEarlyStop {
		w.looks = slo.Looks(limit, limit, 1-s.config.Confidence)
	} else {
		first := max(time.Second, time.Duration(20/n.rate*float64(time.Second)))
		w.looks = slo.Looks(first, limit, 1-s.config.Confidence)
	}
	stage := s.plan.Stage
	stage.MaxDuration, stage.MaxRequests = limit, 0
	stage.Warmup, stage.Cooldown, stage.Grace = 0, 0, 0
	observe := func(e loadgen.Event) {
		w.observe(e)
		if s.plan.Observe != nil {
			s.plan.Observe(e)
		}
	}
	l, err := s.plan.stageIn(ctx, s.result, load, stage, observe, w.run)
	if l == nil {
		return err
	}
	t := Trial{len(s.result.Stages) - 1, n.role, n.rate, load.Seed, w.judge(l, s.config.Confidence)}
	if errors.Is(err, ErrNothingSucceeded) {
		// At this rate the server answers nothing. That decides the stage, and the next one is at a lower rate.
		if t.Outcome != slo.Fail {
			t.Outcome, t.Leans = slo.Fail, false
			t.Reasons = append(t.Reasons, err.Error())
		}
		err = nil
	}
	s.trials = append(s.trials, t)
	return err
}

// bounds is what the probes said about the server, req/s; 0 where unknown.
type bounds struct{ saturation, synchronous float64 }

// step is what to do next: a stage, or the end.
type step struct {
	role  Role
	rate  float64
	ended EndReason
	why   string
}

// point is what the trials at one rate say together.
type point struct {
	rate    float64
	outcome slo.Outcome
	leans   bool
	client  bool
	judged  int           // trials whose client was fit
	longest time.Duration // of its trials
	margin  float64       // by which the last trial's plain figures keep their bounds: the least of all objectives
	roles   map[Role]int
}

// points sums up trials by rate, rising. The last decided trial at a rate counts: it was run because the one before was in
// doubt.
func points(trials []Trial) []point {
	var all []point
	for _, t := range trials {
		i := slices.IndexFunc(all, func(p point) bool { return p.rate == t.Rate })
		if i < 0 {
			i = len(all)
			all = append(all, point{rate: t.Rate, outcome: slo.Undecided, roles: map[Role]int{}})
		}
		p := &all[i]
		p.roles[t.Role]++
		p.leans = t.Leans
		p.client = t.Client
		p.longest = max(p.longest, t.At)
		p.margin = t.margin()
		switch {
		case t.Outcome != slo.Undecided:
			p.outcome = t.Outcome
		case t.Client: // says nothing
		case p.outcome == slo.Pass && !t.Leans || p.outcome == slo.Fail && t.Leans:
			p.outcome = slo.Undecided // a confirmation or a recheck that points the other way
		}
		if !t.Client {
			p.judged++
		}
	}
	for i := range all {
		switch all[i].outcome {
		case slo.Pass:
			all[i].leans = true
		case slo.Fail:
			all[i].leans = false
		}
	}
	slices.SortFunc(all, func(a, b point) int {
		if a.rate < b.rate {
			return -1
		}
		return 1
	})
	return all
}

// bracket is the knee as the trials stand: what is decided, and what the plain figures say where that is closer.
type bracket struct {
	lo, hi         *point // highest that passes below every failure, lowest that fails; nil: none
	softLo, softHi *point // the same, where inconclusive stages count by their plain figures
	above          *point // a rate that passes above one that fails
	doubt          *point // a rate that passes, or whose plain figures hold, above one that fails
}

func bracketOf(points []point) bracket {
	var b bracket
	for i := range points {
		p := &points[i]
		if p.outcome == slo.Fail && b.hi == nil {
			b.hi = p
		}
		if p.outcome == slo.Pass && b.hi != nil {
			b.above = p
		}
		if p.outcome == slo.Pass && b.hi == nil {
			b.lo = p
		}
		if b.hi != nil && p.leans && !p.client {
			b.doubt = p
		}
	}
	for i := range points {
		p := &points[i]
		if b.lo != nil && p.rate < b.lo.rate || b.hi != nil && p.rate > b.hi.rate {
			continue
		}
		if !p.leans {
			b.softHi = p
			break
		}
		b.softLo = p
	}
	return b
}

// The steps of a search outside its bracket.
const (
	firstGuess = 0.75 // of the saturation rate: where latencies are about to grow
	lowering   = 0.6
	raising    = 1.25
	lowerings  = 4 // before the search gives up: to an eighth
	widenings  = 4 // stages beside rates that could not be decided
	hiccups    = 2 // times that a stage is run again because its client was not fit

	clearMargin = 0.1 // share of a bound; nearer to it, more time seldom decides
)

// hiccup says whether the last stage is to be run again: its client was not fit to be believed, which on a shared machine
// passes. A client that is out of its reach is unfit each time.
func hiccup(trials []Trial) (rate float64, again bool) {
	if len(trials) == 0 {
		return 0, false
	}
	last, unfit := trials[len(trials)-1], 0
	for _, t := range trials {
		if t.Client && t.Rate == last.Rate && t.Role != Interpolated {
			unfit++
		}
	}
	return last.Rate, last.Client && last.Role != Interpolated && unfit <= hiccups
}

// next decides what to do, with so many stages left. It is a pure function of what was measured.
func (c SearchConfig) next(trials []Trial, known bounds, left int) step {
	all := points(trials)
	b := bracketOf(all)
	unfit, retry := hiccup(trials)
	switch {
	case left == 1 && b.lo != nil && b.lo.roles[Confirmation] == 0:
		return step{role: Confirmation, rate: b.lo.rate}
	case len(all) == 0:
		rate := firstGuess * known.saturation
		if rate <= 0 {
			rate = max(known.synchronous, 1)
		}
		return step{role: FirstGuess, rate: num.Round(rate)}
	case retry:
		return step{role: Recheck, rate: unfit}
	case b.doubt != nil && b.hi.judged == 1 && (b.above != nil || b.doubt.rate > b.hi.rate*(1+c.Precision)):
		return step{role: Recheck, rate: b.hi.rate}
	case b.softLo == nil:
		return c.lower(all, b)
	case b.softHi == nil:
		return c.raise(all, b, known)
	case b.softHi.rate/b.softLo.rate > 1+c.Precision*1.0001:
		return step{role: Bisection, rate: between(b.softLo.rate, b.softHi.rate)}
	}
	if rate, ok := c.longer(all, b, trials); ok {
		return step{role: Longer, rate: rate}
	}
	return c.settle(all, b)
}

// longer finds the highest rate that was not decided for want of time alone: its plain figures keep their bounds by a clear
// margin, and a stage may now be so much longer that it is likely to show it.
func (c SearchConfig) longer(all []point, b bracket, trials []Trial) (rate float64, ok bool) {
	for _, p := range slices.Backward(all) {
		switch {
		case p.rate >= b.softHi.rate, p.outcome != slo.Undecided, !p.leans, p.client, p.roles[Longer] > 0:
		case b.lo != nil && p.rate <= b.lo.rate*(1+c.Precision):
		case p.margin >= clearMargin && float64(c.perStage(p.rate, trials)) > 1.5*float64(p.longest):
			return p.rate, true
		}
	}
	return 0, false
}

// lower tries a lower rate than all that failed.
func (c SearchConfig) lower(all []point, b bracket) step {
	tried := 0
	for _, p := range all {
		tried += min(p.roles[Lower], 1)
	}
	if tried >= lowerings {
		return step{ended: EndNothing, why: fmt.Sprintf("even the lowest rate, %s req/s, fails", num.Rate(all[0].rate))}
	}
	return step{role: Lower, rate: num.Round(lowering * all[0].rate)}
}

// raise tries a higher rate than all that passed.
func (c SearchConfig) raise(all []point, b bracket, known bounds) step {
	highest := all[len(all)-1]
	if highest.client {
		return step{ended: EndClient, why: fmt.Sprintf("at %s req/s the client could not offer the load", num.Rate(highest.rate))}
	}
	rate := raising * highest.rate
	if known.saturation > highest.rate*(1+c.Precision) {
		rate = min(rate, 1.05*known.saturation)
	}
	return step{role: Higher, rate: num.Round(rate)}
}

// between is the middle of two rates on a logarithmic scale, rounded if that leaves it between them.
func between(lo, hi float64) float64 {
	mid := math.Sqrt(lo * hi)
	if r := num.Round(mid); r > lo && r < hi {
		return r
	}
	return mid
}

// settle ends a search whose plain figures are narrow enough: it finds rates that can be decided beside those that
// can't, and confirms the lower end.
func (c SearchConfig) settle(all []point, b bracket) step {
	widened := 0
	for _, p := range all {
		widened += p.roles[Widening]
	}
	lowest, highest := b.softLo.rate, b.softHi.rate
	for _, p := range all { // the whole stretch of rates that could not be decided
		if p.outcome == slo.Undecided && (b.lo == nil || p.rate > b.lo.rate) && (b.hi == nil || p.rate < b.hi.rate) {
			lowest, highest = min(lowest, p.rate), max(highest, p.rate)
		}
	}
	if widened < widenings && !b.softHi.client {
		switch {
		case b.lo == nil:
			return step{role: Widening, rate: num.Round(lowest / (1 + 2*c.Precision))}
		case b.hi == nil:
			return step{role: Widening, rate: num.Round(highest * (1 + 2*c.Precision))}
		case lowest > b.lo.rate*(1+2*c.Precision):
			return step{role: Widening, rate: between(b.lo.rate, lowest)}
		case b.hi.rate > highest*(1+2*c.Precision):
			return step{role: Widening, rate: between(highest, b.hi.rate)}
		}
	}
	if b.lo != nil && b.lo.roles[Confirmation] == 0 {
		return step{role: Confirmation, rate: b.lo.rate}
	}
	switch {
	case b.lo == nil && b.hi == nil:
		return step{ended: EndUndecided, why: "no stage could be decided within its time: give stages more (--max-seconds-per-stage)"}
	case b.softHi.client:
		return step{ended: EndClient, why: fmt.Sprintf("at %s req/s the client could not offer the load", num.Rate(b.softHi.rate))}
	case b.lo == nil || b.hi == nil || b.hi.rate/b.lo.rate > 1+c.Precision*1.0001:
		return step{ended: EndUndecided, why: "the rates in between can't be decided within the time of a stage (--max-seconds-per-stage)"}
	}
	return step{ended: EndPrecision, why: fmt.Sprintf("the bracket is narrower than %s %%", num.Exact(100*c.Precision))}
}

// knee sums up.
func (s *search) knee() *Knee {
	c := s.config
	k := &Knee{
		Confidence: c.Confidence, Precision: c.Precision, Arrivals: c.Arrival.String(), Client: audit.Valid, EffectiveN: num.Value(math.NaN()),
		Ended: s.ended, Why: s.why, Trials: s.trials, Notes: []string{}, Took: time.Since(s.began), Objectives: []slo.Judgement{},
	}
	all := points(s.trials)
	b := bracketOf(all)
	if b.lo != nil {
		k.HoldsAt = b.lo.rate
	}
	if b.hi != nil {
		k.FailsAt = b.hi.rate
	}
	k.Estimate = crossing(b)
	passes := 0
	for i := range s.trials {
		t := &s.trials[i]
		if b.lo != nil && t.Rate == b.lo.rate {
			if t.Outcome == slo.Pass {
				passes++
			}
			k.Objectives, k.EffectiveN = t.Objectives, t.EffectiveN
		}
		if t.Rate == k.HoldsAt || t.Rate == k.FailsAt || k.HoldsAt == 0 {
			k.Requests += t.Requests
			if v := s.result.Stages[t.Stage].Audit.Level; v == audit.Invalid || v == audit.Suspect && k.Client == audit.Valid {
				k.Client = v
			}
		}
	}
	k.Confirmed = passes > 1
	s.note(k, all, b)
	return k
}

// crossing estimates where the plain figures cross their bounds.
func crossing(b bracket) float64 {
	if b.softLo == nil || b.softHi == nil {
		return 0
	}
	return num.Round(math.Sqrt(b.softLo.rate * b.softHi.rate))
}

// note adds what the reader should know beside the bracket.
func (s *search) note(k *Knee, all []point, b bracket) {
	add := func(format string, args ...any) { k.Notes = append(k.Notes, fmt.Sprintf(format, args...)) }
	if b.above != nil {
		add("the server is not monotonic: it fails at %s req/s and passes at %s; the knee is the one below the first failure", num.Rate(b.hi.rate), num.Rate(b.above.rate))
	}
	if b.hi != nil && s.bounds.saturation > 0 && b.hi.rate > 1.02*s.bounds.saturation && b.lo != nil && b.lo.rate >= 0.99*s.bounds.saturation {
		add("every rate up to the saturation rate of %s req/s passes; the search went beyond it", num.Rate(s.bounds.saturation))
	}
	undecided := []string{}
	for _, p := range all {
		if p.outcome == slo.Undecided && !p.client {
			undecided = append(undecided, num.Rate(p.rate))
		}
	}
	if len(undecided) > 0 {
		add("not decided within the time of a stage: %s req/s", strings.Join(undecided, ", "))
	}
	if len(undecided) > 0 && k.Estimate > 0 && k.HoldsAt > 0 { // else the headline says it
		add("by the plain figures the limit lies near %s req/s", num.Rate(k.Estimate))
	}
	if rate, time := s.leastNeed(); k.HoldsAt == 0 && time > 0 {
		add("to be shown to hold, %s req/s needs a stage of about %v, if nothing misses its bounds: give the search that (--max-seconds-per-stage, --budget)", num.Rate(rate), time)
	}
	if b.hi != nil && onlyErrors(s.trials, b.hi.rate) {
		add("at %s req/s it is errors that fail the objectives", num.Rate(b.hi.rate))
	}
	s.noteRepeats(add)
	for i := 1; i < len(s.trials); i++ {
		if t := s.trials[i]; t.Role == Confirmation && t.Outcome == slo.Fail {
			add("%s req/s passed once and failed with another seed: the answer was stepped down", num.Rate(t.Rate))
		} else if t.Role == Confirmation && t.Outcome == slo.Undecided {
			add("the confirming stage at %s req/s was inconclusive", num.Rate(t.Rate))
		}
	}
}

// leastNeed is the undecided rate that takes the shortest stage to be shown to hold; 0 if there is none.
func (s *search) leastNeed() (rate float64, least time.Duration) {
	for _, t := range s.trials {
		if need := t.needs(s.config.Confidence).Round(time.Minute); need > 0 && (least == 0 || need < least) {
			rate, least = t.Rate, need
		}
	}
	return rate, least
}

// onlyErrors says whether requests failed at a rate, and at no lower one.
func onlyErrors(trials []Trial, rate float64) bool {
	failed := func(t Trial) bool {
		for _, j := range t.Objectives {
			if j.Outcome == slo.Fail && (j.Objective.Metric == slo.Errors || math.IsInf(float64(j.Value), 1)) {
				return true
			}
		}
		return false
	}
	at := false
	for _, t := range trials {
		if t.Rate == rate {
			at = at || failed(t)
		} else if t.Rate < rate && failed(t) {
			return false
		}
	}
	return at
}

// noteRepeats compares stages at the same rate: where they differ by more than chance and by more than 10 %, the server was
// not the same.
func (s *search) noteRepeats(add func(string, ...any)) {
	for i, first := range s.trials {
		for _, last := range s.trials[i+1:] {
			if first.Rate != last.Rate {
				continue
			}
			for k, o := range s.plan.Objectives {
				if !o.Metric.Latency() || o.Metric == slo.ITL || k >= len(first.Objectives) || k >= len(last.Objectives) {
					continue
				}
				a, b := s.values(first, o), s.values(last, o)
				if d := slo.Drift(a, b); math.Abs(d) > 0.1 {
					add("the server drifts: the median %s at %s req/s went from %s to %s between two stages", o.Metric, num.Rate(first.Rate), o.Seen(num.Median(a)), o.Seen(num.Median(b)))
					break
				}
			}
		}
	}
}

// values returns an objective's observations in the measured part of a trial's stage.
func (s *search) values(t Trial, o slo.Objective) []float64 {
	return slo.Values(s.result.Stages[t.Stage].Measured, o, int64(t.WarmUp), int64(t.At))
}
