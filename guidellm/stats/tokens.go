package stats

import (
	"math"
	"slices"
)

// tokenTrain is the output of one request over time: n events, evenly spaced from first to last, the first of weight
// head and the others of weight tail. GuideLLM knows only the two ends and spaces what lies between
// (request_stats.py, output_tokens_timings and iter_tokens_timings).
type tokenTrain struct {
	first, last, step float64
	head, tail        float64
	n                 int
	next              int // events already taken by a sweep
	status            Status
}

// outputTrain returns the output events of a request: one token at the first line and (output tokens − 1)/(lines − 1)
// at each further one, or all tokens at once at the last line (else the end) where there are fewer than two lines.
func outputTrain(r *Request) tokenTrain {
	out := float64(known(r.OutputTokens()))
	if !defined(r.FirstTokenIteration) || !defined(r.LastTokenIteration) || r.TokenIterations <= 1 {
		at := r.LastTokenIteration
		if !defined(at) {
			at = r.End()
		}
		return tokenTrain{first: at, last: at, head: out, n: 1, status: r.Status}
	}
	t := tokenTrain{first: r.FirstTokenIteration, last: r.LastTokenIteration, n: 1, status: r.Status}
	if out > 0 {
		t.head = 1
	}
	if tail := r.IterTokensPerIteration(); defined(tail) {
		t.tail, t.n = tail, r.TokenIterations
		t.step = (t.last - t.first) / float64(t.n-1)
	}
	return t
}

// at is the time of event i, in numpy's arithmetic (linspace): first + i·step, the last one exactly last.
func (t *tokenTrain) at(i int) float64 {
	switch {
	case i == 0:
		return t.first
	case i == t.n-1:
		return t.last
	case t.step == 0:
		return float64(float64(i)/float64(t.n-1)*(t.last-t.first)) + t.first
	}
	// The conversion keeps a compiler from fusing the two operations into one that rounds once.
	return float64(float64(i)*t.step) + t.first
}

func (t *tokenTrain) weight(i int) float64 {
	if i == 0 {
		return t.head
	}
	return t.tail
}

// upcoming is the earliest event not yet taken. The events run backwards where the clock was set back while the request
// ran.
func (t *tokenTrain) upcoming() event {
	i := t.next
	if t.last < t.first {
		i = t.n - 1 - i
	}
	return event{t.at(i), t.weight(i)}
}

// promptTiming is when a request's prompt counts as processed, and its text tokens: at the first token line, else at
// the end (request_stats.py, prompt_tokens_timing).
func promptTiming(r *Request) event {
	at := r.FirstTokenIteration
	if !defined(at) {
		at = r.End()
	}
	return event{at, float64(known(r.Input.TextTokens))}
}

// tokenRates are the three distributions over time of tokens per second.
type tokenRates struct{ prompt, output, total StatusDistribution }

// compileTokenRates sweeps once over the token events of all requests in order of time. A million requests of 128
// tokens have 128 million events, so they are never listed: a heap holds the trains that are running, and events are
// merged and counted as they stream by. Within a window, events outside of it are dropped and its ends are added with
// weight 0, as in ratesWithin; nil takes all of them.
func compileTokenRates(g byStatus, within *Window) tokenRates {
	n := len(g[Completed]) + len(g[Errored]) + len(g[Cancelled])
	trains, prompts := make([]startOf, 0, n), make([]startOf, 0, n)
	whole := true
	for _, requests := range g {
		for _, r := range requests {
			t := outputTrain(r)
			whole = whole && t.tail == math.Trunc(t.tail)
			if start := t.upcoming().Time; defined(start) {
				trains = append(trains, startOf{start, r})
			}
			if p := promptTiming(r); defined(p.Time) {
				prompts = append(prompts, startOf{p.Time, r})
			}
		}
	}
	slices.SortFunc(trains, func(a, b startOf) int { return compareDefined(a.time, b.time) })
	slices.SortFunc(prompts, func(a, b startOf) int { return compareDefined(a.time, b.time) })

	prompt, output := newRateStreams(g, true, within), newRateStreams(g, whole, within)
	total := newRateStreams(g, whole, within)
	var running trainHeap
	for len(trains) > 0 || len(prompts) > 0 || len(running) > 0 {
		nextTrain, nextPrompt, nextToken := math.Inf(1), math.Inf(1), math.Inf(1)
		if len(trains) > 0 {
			nextTrain = trains[0].time
		}
		if len(prompts) > 0 {
			nextPrompt = prompts[0].time
		}
		if len(running) > 0 {
			nextToken = running[0].time
		}
		switch {
		case nextToken <= nextTrain && nextToken <= nextPrompt:
			t := running[0].train
			e := t.upcoming()
			running.advance()
			output.add(t.status, e)
			total.add(t.status, e)
		case nextTrain <= nextPrompt:
			t := outputTrain(trains[0].request)
			running.push(&t)
			trains = trains[1:]
		default:
			r := prompts[0].request
			prompt.add(r.Status, promptTiming(r))
			total.add(r.Status, promptTiming(r))
			prompts = prompts[1:]
		}
	}
	return tokenRates{prompt.distributions(), output.distributions(), total.distributions()}
}

// startOf is a request by the time at which something of it starts.
type startOf struct {
	time    float64
	request *Request
}

// trainHeap is a binary heap of running trains, the one with the earliest next event at its root.
type trainHeap []runningTrain

type runningTrain struct {
	time  float64 // of the train's next event
	train *tokenTrain
}

func (h *trainHeap) push(t *tokenTrain) {
	*h = append(*h, runningTrain{t.upcoming().Time, t})
	h.rise(len(*h) - 1)
}

func (h trainHeap) rise(i int) {
	rising := h[i]
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].time <= rising.time {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = rising
}

// advance moves the root's train to its next event, or drops the train after its last one.
func (h *trainHeap) advance() {
	s := *h
	moving := s[0]
	moving.train.next++
	if moving.train.next < moving.train.n {
		moving.time = moving.train.upcoming().Time
	} else {
		last := len(s) - 1
		moving, s[last] = s[last], runningTrain{}
		s = s[:last]
		*h = s
		if last == 0 {
			return
		}
	}
	// A train's next event mostly lies behind those of all others: let the earlier child rise at each level and put the
	// train at the bottom, which takes half the comparisons of looking for its place on the way.
	i := 0
	for child := 1; child < len(s); child = 2*i + 1 {
		if child+1 < len(s) && s[child+1].time < s[child].time {
			child++
		}
		s[i] = s[child]
		i = child
	}
	s[i] = moving
	s.rise(i)
}

// rateStreams are one stream of events for each status and one for all together.
type rateStreams struct {
	status [statuses]*rateStream
	// total is nil where a single status has requests, since it would see the same events.
	total  *rateStream
	only   Status
	within *Window // nil: all events count
}

func newRateStreams(g byStatus, whole bool, within *Window) *rateStreams {
	s := &rateStreams{within: within}
	for i := range s.status {
		s.status[i] = &rateStream{whole: whole}
	}
	only, single := soleStatus(g)
	if s.only = only; !single {
		s.total = &rateStream{whole: whole}
	}
	if within != nil {
		s.addToAll(event{Time: within.Start})
	}
	return s
}

func (s *rateStreams) addToAll(e event) {
	for _, one := range s.status {
		one.add(e)
	}
	if s.total != nil {
		s.total.add(e)
	}
}

func (s *rateStreams) add(status Status, e event) {
	if w := s.within; w != nil && (e.Time < w.Start || e.Time > w.End) {
		return
	}
	s.status[status].add(e)
	if s.total != nil {
		s.total.add(e)
	}
}

func (s *rateStreams) distributions() StatusDistribution {
	if s.within != nil {
		s.addToAll(event{Time: s.within.End})
	}
	d := StatusDistribution{
		Successful: s.status[Completed].distribution(),
		Errored:    s.status[Errored].distribution(),
		Incomplete: s.status[Cancelled].distribution(),
	}
	if s.total != nil {
		d.Total = s.total.distribution()
	} else {
		d.Total = *d.of(s.only)
	}
	return d
}

// heldEvents is how many events of fractional weight a stream keeps (16 bytes each) to merge them as GuideLLM does to
// the last bit; see mergeFractional.
const heldEvents = 4 << 20

// rateStream is Rates over a stream of events in order of time.
type rateStream struct {
	whole bool // the weights are whole, or too many to hold
	group grouper
	rates rates
	held  []event
}

func (s *rateStream) add(e event) {
	if s.whole {
		if done, ok := s.group.add(e); ok {
			s.rates.add(done)
		}
		return
	}
	if last := len(s.held) - 1; last >= 0 && s.held[last].Time == e.Time {
		s.held[last].Weight += e.Weight
		return
	}
	s.held = append(s.held, e)
	if len(s.held) > heldEvents {
		s.whole = true
		for _, h := range s.held {
			s.add(h)
		}
		s.held = nil
	}
}

func (s *rateStream) distribution() Distribution {
	if !s.whole {
		return ratesOfSorted(mergeFractional(s.held))
	}
	if done, ok := s.group.flush(); ok {
		s.rates.add(done)
	}
	return s.rates.distribution()
}
