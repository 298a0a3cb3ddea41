package slo

import (
	"fmt"
	"math"
	"time"

	"github.com/openloop/openloop/internal/num"
)

// Need is about how much more of a stage's load would decide what is undecided, if what comes is like what came.
type Need struct {
	Requests int           `json:"requests"` // more than were judged
	Time     time.Duration `json:"time_ns"`  // that these take at the stage's rate
}

// String says it for people: "about 1,200 more requests (1m20s)".
func (n Need) String() string {
	whole := time.Duration(math.Ceil(n.Time.Seconds())) * time.Second
	return fmt.Sprintf("about %s more requests (%v)", num.Thousands(n.Requests), whole)
}

// The most that is called a need: beyond it, the stage is too close to its limit for more requests to be an answer.
const (
	mostRequests = 1e8
	mostTime     = 24 * time.Hour
)

// fewestTimes is how many autocorrelation times long a series must be for that time to be known.
const fewestTimes = 3

// needs is what would decide an undecided objective, where so many requests are judged a second; nil where no amount is
// known to.
func (j *Judgement) needs(perSecond float64, alpha alphas) *Need {
	e := j.sample
	if e.requests >= fewest && e.forFailing() < fewestTimes {
		return nil // a trend: its autocorrelation time grows with the stage, so nothing is known of a longer one
	}
	if e.requests == 0 { // nothing is known: as if each request were independent and none missed its bound
		e = sample{requests: 1, tau: 1, stderr: math.Sqrt(2 * 3)} // Wolff's error at the shortest window
	}
	decided := j.decidedBy(e, alpha)
	if decided == nil || !(perSecond > 0) || !decided(mostRequests) {
		return nil
	}
	few, many := 1.0, float64(max(e.requests, 2))
	for !decided(many) {
		few, many = many, 2*many
	}
	for many-few > 0.5 {
		if mid := (few + many) / 2; decided(mid) {
			many = mid
		} else {
			few = mid
		}
	}
	more := max(math.Ceil(many)-float64(j.sample.requests), 1)
	if more/perSecond > mostTime.Seconds() {
		return nil
	}
	return &Need{Requests: int(more), Time: time.Duration(more / perSecond * float64(time.Second))}
}

// decidedBy returns whether so many requests like those observed would decide the objective; nil where they can't.
func (j *Judgement) decidedBy(e sample, alpha alphas) func(requests float64) bool {
	// The error of the autocorrelation time falls with the root of the number of requests.
	grown := func(requests float64) sample {
		g := e
		g.stderr *= math.Sqrt(float64(e.requests) / requests)
		return g
	}
	passing := func(requests float64) float64 { g := grown(requests); return requests / (g.tau + g.stderr) }
	failing := func(requests float64) float64 { return requests / e.tau }
	limit, bound, mean := j.Objective.missLimit(), j.Objective.Bound, float64(j.Value)
	switch kind := j.Objective.Statistic.Kind; {
	case kind == Max:
		return func(float64) bool { return true }
	case kind == Mean && math.IsNaN(mean):
		return nil
	case kind == Mean && mean < bound:
		return func(requests float64) bool {
			n := passing(requests)
			return mean+studentQuantile(alpha.pass, n-1)*e.meanError(n) < bound
		}
	case kind == Mean && mean > bound:
		return func(requests float64) bool {
			n := failing(requests)
			return mean-studentQuantile(alpha.fail, n-1)*e.meanError(n) > bound
		}
	case kind == Mean:
		return nil
	case e.share < limit:
		return func(requests float64) bool {
			n := passing(requests)
			return passProbability(e.share*n, n, limit) <= alpha.pass
		}
	case e.share > limit:
		return func(requests float64) bool {
			n := failing(requests)
			return requests >= fewest && failProbability(e.share*n, n, limit) < alpha.fail
		}
	}
	return nil
}

// longer is the longer of two needs; nil stands for none.
func longer(a, b *Need) *Need {
	if a == nil || b != nil && b.Time > a.Time {
		return b
	}
	return a
}
