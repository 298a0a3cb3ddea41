package sweep

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// SearchConfig shapes a search. The zero value searches with constant arrivals to 5 % at 95 % confidence.
type SearchConfig struct {
	Arrival loadgen.Arrival
	Seed    int64 // of the first leg; each further one has another

	Precision  float64       // the search ends when the bracket is no wider than this share; 0: 0.05
	Confidence float64       // of every leg's outcome; 0: DefaultConfidence
	MaxLegs    int           // that the search may run; 0: 16
	Budget     time.Duration // of wall time; 0: none
	// MaxPerLeg ends a leg that is not decided by then: it is inconclusive. 0: 1000 requests, within 30 s and 5 min, and up to
	// 10 min where legs showed that it takes more.
	MaxPerLeg time.Duration

	NoEarlyStop bool // run every leg for all of MaxPerLeg

	// Drain is how long the server may take to get rid of the leg before: until its metrics say that it runs nothing, where
	// the plan has them; 0: 60 s. Without metrics Plan.Pause is all there is.
	Drain time.Duration
}

func (c SearchConfig) withDefaults() SearchConfig {
	if c.Precision <= 0 {
		c.Precision = 0.05
	}
	c.Confidence = withDefault(c.Confidence)
	if c.MaxLegs <= 0 {
		c.MaxLegs = 16
	}
	if c.Drain <= 0 {
		c.Drain = time.Minute
	}
	return c
}

func withDefault(confidence float64) float64 {
	if confidence <= 0 || confidence >= 1 {
		return DefaultConfidence
	}
	return confidence
}

// perLeg is the longest that a leg at a rate may take, after what the legs so far showed.
func (c SearchConfig) perLeg(rate float64, trials []Trial) time.Duration {
	if c.MaxPerLeg > 0 {
		return c.MaxPerLeg
	}
	d := time.Duration(1000 / rate * float64(time.Second))
	d = min(max(d, 30*time.Second), 5*time.Minute)
	for i := range trials {
		d = max(d, min(trials[i].needs(withDefault(c.Confidence)), longestLeg))
	}
	return d
}

// longestLeg is the most that a leg is given by itself.
const longestLeg = 10 * time.Minute

// needs is how long a leg would have had to be to pass, if nothing had missed its bounds, where it was too short for that: on
// many servers requests are slow in spells of seconds, and a leg that saw a few spells is worth few independent requests. 0 if
// it was something else that was missing.
func (t Trial) needs(confidence float64) time.Duration {
	if t.Outcome != Inconclusive || !t.Leans || t.Client {
		return 0
	}
	times := 0.0
	for _, j := range t.Objectives {
		n, share := float64(j.EffectiveN), j.Objective.missLimit()
		if j.Outcome == Inconclusive && n > 0 && share > 0 && share < 1 { // a mean has no share that may miss
			// So many requests without a miss are enough for the last look, which has half of the error.
			times = max(times, math.Log((1-confidence)/2)/math.Log1p(-share)/n)
		}
	}
	const surplus = 1.25 // the next leg may have more spells
	return time.Duration(surplus * times * float64(t.At))
}

// Estimate says, before a search, how many legs it is likely to take between two rates (req/s; lo may be 0), and how long:
// at most, if no leg stops early, and what is likely, if each takes a third of that. Failing legs take a tenth, passing ones
// about half.
func (c SearchConfig) Estimate(lo, hi float64) (legs int, likely, most time.Duration) {
	c = c.withDefaults()
	// The search begins at firstGuess of the saturation rate, and goes down by lowering if that fails.
	lo = max(lo, lowering*hi)
	bisections := math.Ceil(math.Log2(max(math.Log(hi/lo)/math.Log1p(c.Precision), 1)))
	legs = min(int(bisections)+2, c.MaxLegs) // one end of the bracket, and the confirmation
	most = time.Duration(legs) * c.perLeg(firstGuess*hi, nil)
	if c.Budget > 0 {
		most = min(most, c.Budget)
	}
	return legs, most / 3, most
}

// Role is why a leg of a search was run.
type Role string

// The roles.
const (
	Interpolated Role = "interpolated" // one of the sweep's own legs
	FirstGuess   Role = "first"        // no leg was there to begin with
	Lower        Role = "lower"        // everything failed so far
	Higher       Role = "higher"       // everything passed so far
	Bisection    Role = "bisection"    // between what passes and what fails
	Recheck      Role = "recheck"      // a failure below a rate that passes is tried again
	Longer       Role = "longer"       // a rate that could not be decided is given more time
	Widening     Role = "widening"     // next to a rate that could not be decided
	Confirmation Role = "confirmation" // the answer again, with another seed
)

// Trial is one leg of a search, with its outcome.
type Trial struct {
	Leg  int     `json:"leg"` // its index in Result.Legs
	Role Role    `json:"role"`
	Rate float64 `json:"rate"`
	Seed int64   `json:"seed"`
	LegJudgement
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
	EndUndecided   EndReason = "undecided"   // the rates inside the bracket can't be decided within a leg's time
	EndNothing     EndReason = "all fail"    // even the lowest rate fails
	EndNoFailure   EndReason = "all pass"    // no rate that could be offered fails
	EndClient      EndReason = "client"      // the client can't offer higher rates
	EndLegs        EndReason = "max legs"    //
	EndBudget      EndReason = "budget"      //
	EndInterrupted EndReason = "interrupted" //
	EndError       EndReason = "error"       //
)

// Knee is what a search found: the highest rate at which every objective holds, with the lowest at which one fails.
type Knee struct {
	HoldsAt float64 `json:"holds_at"` // req/s; 0: no rate was found to pass
	FailsAt float64 `json:"fails_at"` // req/s; 0: no rate was found to fail
	// Estimate is the rate at which the plain figures cross their bounds, by the legs next to it; 0 where unknown. It
	// has no confidence of its own.
	Estimate   float64 `json:"estimate"`
	Confidence float64 `json:"confidence"` // of the outcome of each of the two
	Precision  float64 `json:"precision"`  // as asked for
	Confirmed  bool    `json:"confirmed"`  // a second leg at HoldsAt, with another seed, passed too

	Requests   int         `json:"requests"`    // measured at HoldsAt and FailsAt
	EffectiveN Figure      `json:"effective_n"` // at HoldsAt: the fewest that an objective rests on, as independent ones
	Arrivals   string      `json:"arrivals"`
	Client     Level       `json:"client"`     // the worst verdict at HoldsAt and FailsAt
	Objectives []Judgement `json:"objectives"` // at HoldsAt, with margins

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
		inside = append(inside, fmt.Sprintf("holds at %s, fails at %s", rateText(k.HoldsAt), rateText(k.FailsAt)))
	case k.HoldsAt > 0:
		inside = append(inside, fmt.Sprintf("holds at %s, no rate was found to fail", rateText(k.HoldsAt)))
	case k.FailsAt > 0:
		inside = append(inside, fmt.Sprintf("fails at %s", rateText(k.FailsAt)))
	}
	inside = append(inside, fmt.Sprintf("%s %% confidence", number(100*k.Confidence)), thousands(k.Requests)+" requests", k.Arrivals+" arrivals", "client "+string(k.Client))
	list := " (" + strings.Join(inside, "; ") + ")"
	switch {
	case k.HoldsAt == 0 && k.Ended == EndNothing:
		return "max rate at SLO: none" + list
	case k.HoldsAt == 0 && k.Estimate > 0:
		return fmt.Sprintf("max rate at SLO: near %s req/s by the plain figures, but no rate could be shown to hold%s", rateText(k.Estimate), list)
	case k.HoldsAt == 0:
		return "max rate at SLO: not found" + list
	case k.FailsAt == 0:
		return "max rate at SLO: at least " + rateText(k.HoldsAt) + " req/s" + list
	case k.FailsAt/k.HoldsAt > 1+1.5*k.Precision:
		return fmt.Sprintf("max rate at SLO: between %s and %s req/s%s", rateText(k.HoldsAt), rateText(k.FailsAt), list)
	}
	return "max rate at SLO: " + rateText(k.HoldsAt) + " req/s" + list
}

// rateText writes a rate with three significant digits.
func rateText(r float64) string { return number(roundRate(r)) }

// roundRate rounds to three significant digits: legs run at rates that can be written down.
func roundRate(r float64) float64 {
	if !(r > 0) {
		return 0
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(r)))
	return math.Round(r*scale) / scale
}

// thousands writes 1420 as "1,420".
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Search finds the knee. It begins with the open-loop legs of the arrivals in the result, and runs further ones. An
// error ends it; what was found until then is in the knee.
func (p *Plan) Search(ctx context.Context, r *Result, c SearchConfig) (*Knee, error) {
	c = c.withDefaults()
	s := search{plan: p, result: r, config: c, began: time.Now()}
	s.bounds = bounds{saturation: r.SaturationRate, synchronous: r.SynchronousRate}
	for i, l := range r.Legs {
		if l.Strategy.Kind.Open() && l.Strategy.Arrival == c.Arrival && l.Strategy.Rate > 0 {
			s.trials = append(s.trials, Trial{i, Interpolated, l.Strategy.Rate, l.Strategy.Seed, JudgeLeg(l, p.Objectives, c.Confidence)})
		}
	}
	var err error
	for {
		n := c.next(s.trials, s.bounds, c.MaxLegs-s.legs)
		if n.ended != "" {
			s.ended, s.why = n.ended, n.why
			break
		}
		if s.legs >= c.MaxLegs {
			s.ended, s.why = EndLegs, fmt.Sprintf("%d legs were run", s.legs)
			break
		}
		limit, ok := s.limit(n)
		if !ok {
			s.ended, s.why = EndBudget, fmt.Sprintf("the budget of %v has no room for another leg", c.Budget)
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
	legs   int // that the search ran
	began  time.Time
	ended  EndReason
	why    string
}

// limit is how long the next leg may take; ok is false if the budget has no room for a leg of use.
func (s *search) limit(n step) (d time.Duration, ok bool) {
	known := s.trials
	switch n.role {
	case Longer, Widening, Confirmation:
	default: // on the way to the bracket a look is enough
		known = nil
	}
	d = s.config.perLeg(n.rate, known)
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

// try runs one leg.
func (s *search) try(ctx context.Context, n step, limit time.Duration) error {
	if s.plan.Metrics != nil && len(s.result.Legs) > 0 {
		drained, err := s.plan.Metrics.Drained(ctx, s.config.Drain)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !drained && err == nil {
			s.result.warn("before the leg at %s req/s the server still had requests after %v: it may serve others too", rateText(n.rate), s.config.Drain)
		}
	}
	s.legs++
	strategy := Strategy{Kind: KindOf(s.config.Arrival), Rate: n.rate, Seed: s.config.Seed + int64(s.legs), Arrival: s.config.Arrival}
	w := &watch{objectives: s.plan.Objectives, schedule: strategy.schedule()}
	if s.config.NoEarlyStop {
		w.looks = looks(limit, limit, 1-s.config.Confidence)
	} else {
		first := max(time.Second, time.Duration(20/n.rate*float64(time.Second)))
		w.looks = looks(first, limit, 1-s.config.Confidence)
	}
	stage := s.plan.Stage
	stage.MaxDuration, stage.MaxRequests = limit, 0
	stage.Warmup, stage.Cooldown, stage.Grace = 0, 0, 0
	observe := stage.Observe
	stage.Observe = func(e loadgen.Event) {
		w.observe(e)
		if observe != nil {
			observe(e)
		}
	}
	l, err := s.plan.legIn(ctx, s.result, strategy, stage, w.run)
	if l == nil {
		return err
	}
	t := Trial{len(s.result.Legs) - 1, n.role, n.rate, strategy.Seed, w.judge(l, s.config.Confidence)}
	if errors.Is(err, ErrNothingSucceeded) {
		// At this rate the server answers nothing. That decides the leg, and the next one is at a lower rate.
		if t.Outcome != Fails {
			t.Outcome, t.Leans = Fails, false
			t.Reasons = append(t.Reasons, err.Error())
		}
		err = nil
	}
	s.trials = append(s.trials, t)
	return err
}

// bounds is what the probes said about the server, req/s; 0 where unknown.
type bounds struct{ saturation, synchronous float64 }

// step is what to do next: a leg, or the end.
type step struct {
	role  Role
	rate  float64
	ended EndReason
	why   string
}

// point is what the trials at one rate say together.
type point struct {
	rate    float64
	outcome Outcome
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
			all = append(all, point{rate: t.Rate, outcome: Inconclusive, roles: map[Role]int{}})
		}
		p := &all[i]
		p.roles[t.Role]++
		p.leans = t.Leans
		p.client = t.Client
		p.longest = max(p.longest, t.At)
		p.margin = t.margin()
		switch {
		case t.Outcome != Inconclusive:
			p.outcome = t.Outcome
		case t.Client: // says nothing
		case p.outcome == Passes && !t.Leans || p.outcome == Fails && t.Leans:
			p.outcome = Inconclusive // a confirmation or a recheck that points the other way
		}
		if !t.Client {
			p.judged++
		}
	}
	for i := range all {
		switch all[i].outcome {
		case Passes:
			all[i].leans = true
		case Fails:
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
	softLo, softHi *point // the same, where inconclusive legs count by their plain figures
	above          *point // a rate that passes above one that fails
	doubt          *point // a rate that passes, or whose plain figures hold, above one that fails
}

func bracketOf(points []point) bracket {
	var b bracket
	for i := range points {
		p := &points[i]
		if p.outcome == Fails && b.hi == nil {
			b.hi = p
		}
		if p.outcome == Passes && b.hi != nil {
			b.above = p
		}
		if p.outcome == Passes && b.hi == nil {
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
	widenings  = 4 // legs beside rates that could not be decided
	hiccups    = 2 // times that a leg is run again because its client was not fit

	clearMargin = 0.1 // share of a bound; nearer to it, more time seldom decides
)

// hiccup says whether the last leg is to be run again: its client was not fit to be believed, which on a shared machine
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

// next decides what to do, with so many legs left. It is a pure function of what was measured.
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
		return step{role: FirstGuess, rate: roundRate(rate)}
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
// margin, and a leg may now be so much longer that it is likely to show it.
func (c SearchConfig) longer(all []point, b bracket, trials []Trial) (rate float64, ok bool) {
	for _, p := range slices.Backward(all) {
		switch {
		case p.rate >= b.softHi.rate, p.outcome != Inconclusive, !p.leans, p.client, p.roles[Longer] > 0:
		case b.lo != nil && p.rate <= b.lo.rate*(1+c.Precision):
		case p.margin >= clearMargin && float64(c.perLeg(p.rate, trials)) > 1.5*float64(p.longest):
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
		return step{ended: EndNothing, why: fmt.Sprintf("even the lowest rate, %s req/s, fails", rateText(all[0].rate))}
	}
	return step{role: Lower, rate: roundRate(lowering * all[0].rate)}
}

// raise tries a higher rate than all that passed.
func (c SearchConfig) raise(all []point, b bracket, known bounds) step {
	highest := all[len(all)-1]
	if highest.client {
		return step{ended: EndClient, why: fmt.Sprintf("at %s req/s the client could not offer the load", rateText(highest.rate))}
	}
	rate := raising * highest.rate
	if known.saturation > highest.rate*(1+c.Precision) {
		rate = min(rate, 1.05*known.saturation)
	}
	return step{role: Higher, rate: roundRate(rate)}
}

// between is the middle of two rates on a logarithmic scale, rounded if that leaves it between them.
func between(lo, hi float64) float64 {
	mid := math.Sqrt(lo * hi)
	if r := roundRate(mid); r > lo && r < hi {
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
		if p.outcome == Inconclusive && (b.lo == nil || p.rate > b.lo.rate) && (b.hi == nil || p.rate < b.hi.rate) {
			lowest, highest = min(lowest, p.rate), max(highest, p.rate)
		}
	}
	if widened < widenings && !b.softHi.client {
		switch {
		case b.lo == nil:
			return step{role: Widening, rate: roundRate(lowest / (1 + 2*c.Precision))}
		case b.hi == nil:
			return step{role: Widening, rate: roundRate(highest * (1 + 2*c.Precision))}
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
		return step{ended: EndUndecided, why: "no leg could be decided within its time: give legs more (--max-seconds-per-leg)"}
	case b.softHi.client:
		return step{ended: EndClient, why: fmt.Sprintf("at %s req/s the client could not offer the load", rateText(b.softHi.rate))}
	case b.lo == nil || b.hi == nil || b.hi.rate/b.lo.rate > 1+c.Precision*1.0001:
		return step{ended: EndUndecided, why: "the rates in between can't be decided within the time of a leg (--max-seconds-per-leg)"}
	}
	return step{ended: EndPrecision, why: fmt.Sprintf("the bracket is narrower than %s %%", number(100*c.Precision))}
}

// knee sums up.
func (s *search) knee() *Knee {
	c := s.config
	k := &Knee{
		Confidence: c.Confidence, Precision: c.Precision, Arrivals: c.Arrival.String(), Client: Valid, EffectiveN: Figure(math.NaN()),
		Ended: s.ended, Why: s.why, Trials: s.trials, Notes: []string{}, Took: time.Since(s.began), Objectives: []Judgement{},
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
			if t.Outcome == Passes {
				passes++
			}
			k.Objectives, k.EffectiveN = t.Objectives, t.EffectiveN
		}
		if t.Rate == k.HoldsAt || t.Rate == k.FailsAt || k.HoldsAt == 0 {
			k.Requests += t.Requests
			if v := s.result.Legs[t.Leg].Verdict.Level; v == Invalid || v == Suspect && k.Client == Valid {
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
	return roundRate(math.Sqrt(b.softLo.rate * b.softHi.rate))
}

// note adds what the reader should know beside the bracket.
func (s *search) note(k *Knee, all []point, b bracket) {
	add := func(format string, args ...any) { k.Notes = append(k.Notes, fmt.Sprintf(format, args...)) }
	if b.above != nil {
		add("the server is not monotonic: it fails at %s req/s and passes at %s; the knee is the one below the first failure", rateText(b.hi.rate), rateText(b.above.rate))
	}
	if b.hi != nil && s.bounds.saturation > 0 && b.hi.rate > 1.02*s.bounds.saturation && b.lo != nil && b.lo.rate >= 0.99*s.bounds.saturation {
		add("every rate up to the saturation rate of %s req/s passes; the search went beyond it", rateText(s.bounds.saturation))
	}
	undecided := []string{}
	for _, p := range all {
		if p.outcome == Inconclusive && !p.client {
			undecided = append(undecided, rateText(p.rate))
		}
	}
	if len(undecided) > 0 {
		add("not decided within the time of a leg: %s req/s", strings.Join(undecided, ", "))
	}
	if len(undecided) > 0 && k.Estimate > 0 && k.HoldsAt > 0 { // else the headline says it
		add("by the plain figures the limit lies near %s req/s", rateText(k.Estimate))
	}
	if rate, time := s.leastNeed(); k.HoldsAt == 0 && time > 0 {
		add("to be shown to hold, %s req/s needs a leg of about %v, if nothing misses its bounds: give the search that (--max-seconds-per-leg, --budget)", rateText(rate), time)
	}
	if b.hi != nil && onlyErrors(s.trials, b.hi.rate) {
		add("at %s req/s it is errors that fail the objectives", rateText(b.hi.rate))
	}
	s.noteRepeats(add)
	for i := 1; i < len(s.trials); i++ {
		if t := s.trials[i]; t.Role == Confirmation && t.Outcome == Fails {
			add("%s req/s passed once and failed with another seed: the answer was stepped down", rateText(t.Rate))
		} else if t.Role == Confirmation && t.Outcome == Inconclusive {
			add("the confirming leg at %s req/s was inconclusive", rateText(t.Rate))
		}
	}
}

// leastNeed is the undecided rate that takes the shortest leg to be shown to hold; 0 if there is none.
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
			if j.Outcome == Fails && (j.Objective.Metric == Errors || math.IsInf(float64(j.Value), 1)) {
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

// noteRepeats compares legs at the same rate: where they differ by more than chance and by more than 10 %, the server was
// not the same.
func (s *search) noteRepeats(add func(string, ...any)) {
	for i, first := range s.trials {
		for _, last := range s.trials[i+1:] {
			if first.Rate != last.Rate {
				continue
			}
			for k, o := range s.plan.Objectives {
				if !o.Metric.latency() || o.Metric == ITL || k >= len(first.Objectives) || k >= len(last.Objectives) {
					continue
				}
				a, b := s.values(first, o), s.values(last, o)
				if d := drift(a, b); math.Abs(d) > 0.1 {
					add("the server drifts: the median %s at %s req/s went from %s to %s between two legs", o.Metric, rateText(first.Rate), o.Seen(median(a)), o.Seen(median(b)))
					break
				}
			}
		}
	}
}

// values returns an objective's figures in the measured part of a trial's leg.
func (s *search) values(t Trial, o Objective) []float64 {
	l := s.result.Legs[t.Leg].Leg
	snap := snapshot(l, l.Records, l.Start+int64(t.At))
	var values []float64
	for _, ob := range o.window(snap, l.Start+int64(t.WarmUp)) {
		values = append(values, ob.value)
	}
	return values
}

// drift is by how much the median changes from one series to another, as a share; 0 where that may be chance. The test is
// Mann and Whitney's (Ann. Math. Stat. 18, 1947) on effective sample sizes, at an error of 0.001.
func drift(a, b []float64) float64 {
	if len(a) < 20 || len(b) < 20 {
		return 0
	}
	tauA, errA := autocorrelationTime(a)
	tauB, errB := autocorrelationTime(b)
	nA, nB := float64(len(a))/(tauA+errA), float64(len(b))/(tauB+errB)
	sorted := slices.Clone(b)
	slices.Sort(sorted)
	wins := 0.0
	for _, v := range a {
		below, _ := slices.BinarySearch(sorted, v)
		upTo, _ := slices.BinarySearch(sorted, math.Nextafter(v, math.Inf(1)))
		wins += float64(below) + 0.5*float64(upTo-below)
	}
	u := wins / float64(len(a)) / float64(len(b)) // probability that one of a exceeds one of b
	if z := (u - 0.5) / math.Sqrt((nA+nB+1)/(12*nA*nB)); math.Abs(z) < 3.29 {
		return 0
	}
	return median(b)/median(a) - 1
}
