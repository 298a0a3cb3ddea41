package enginemetrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/loadgen"
)

// Sources are the metrics of the engines that serve one load: of one engine, of that of each target, or of those that
// were named. Nil: none are read.
type Sources struct {
	All []*Source
	// Apart says that each request is at one of the engines alone, as those of several targets are: their latencies can
	// be put together.
	Apart bool
	// Seen is told of the engines' state, that of all added up, as it comes during a stage; nil for none. It must
	// return at once.
	Seen func(Scrape)

	mu     sync.Mutex
	latest []*Scrape // of each engine; nil where it did not answer
}

// Trial is how a source was found before any load.
type Trial struct {
	Err error
	// Same is a source before it that is of the same engine, by its address or by what the engine says; nil for none.
	Same *Source
}

// Try scrapes every source once, all at the same time.
func (s *Sources) Try(ctx context.Context) []Trial {
	trials := make([]Trial, len(s.All))
	scrapes := make([]Scrape, len(s.All))
	s.each(func(k int, m *Source) { scrapes[k], trials[k].Err = m.Scrape(ctx) })
	for k, m := range s.All {
		for before, other := range s.All[:k] {
			alike := m.Address.String() == other.Address.String() ||
				scrapes[k].identity != "" && scrapes[k].identity == scrapes[before].identity
			if alike && trials[k].Same == nil {
				trials[k].Same = other
			}
		}
	}
	return trials
}

// each does something with all sources at the same time.
func (s *Sources) each(do func(k int, m *Source)) {
	var doing sync.WaitGroup
	for k, m := range s.All {
		doing.Go(func() { do(k, m) })
	}
	doing.Wait()
}

// Named is what one of several engines said of itself during one stage.
type Named struct {
	Name    string  `json:"name"` // of its target, or as --server-metrics names it
	Metrics *Window `json:"metrics"`
}

// scrapeEvery is how often a stage's engines are asked.
const scrapeEvery = time.Second

// lastRound is that of the scrape at the end of a stage.
const lastRound = math.MaxInt

// Collector collects scrapes during one stage.
type Collector struct {
	of     *Sources
	cancel context.CancelFunc
	began  time.Time
	going  sync.WaitGroup
	parts  []collected // by source; each is its own goroutine's until that has ended
}

type collected struct {
	scrapes []Scrape
	errors  int
	last    error
}

// Collect scrapes now and every second until Finish or Stop is called. A nil *Sources collects nothing.
func (s *Sources) Collect(ctx context.Context) *Collector {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &Collector{of: s, cancel: cancel, began: time.Now(), parts: make([]collected, len(s.All))}
	s.mu.Lock()
	s.latest = make([]*Scrape, len(s.All))
	s.mu.Unlock()
	s.each(func(k int, _ *Source) { c.take(ctx, k, 0) }) // before the stage begins, so that its counters begin here
	for k := range s.All {
		c.going.Go(func() { c.follow(ctx, k) })
	}
	return c
}

// follow scrapes a source every second. One that is slow holds up no other.
func (c *Collector) follow(ctx context.Context, k int) {
	tick := time.NewTicker(scrapeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.take(ctx, k, int(time.Since(c.began).Round(scrapeEvery)/scrapeEvery))
		case <-ctx.Done():
			return
		}
	}
}

// take scrapes a source once.
func (c *Collector) take(ctx context.Context, k, round int) {
	scrape, err := c.of.All[k].Scrape(ctx)
	if err != nil && ctx.Err() != nil {
		return
	}
	p := &c.parts[k]
	if err != nil {
		p.errors++
		p.last = err
		c.of.show(k, nil)
		return
	}
	scrape.round = round
	p.scrapes = append(p.scrapes, scrape)
	c.of.show(k, &scrape)
}

// show tells Seen of an engine's latest scrape, nil where it did not answer, beside the others'.
func (s *Sources) show(k int, scrape *Scrape) {
	if s.Seen == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest[k] = scrape
	var all []Scrape
	for _, of := range s.latest {
		if of != nil {
			all = append(all, *of)
		}
	}
	if len(all) > 0 {
		s.Seen(together(all))
	}
}

// Stop ends the scrapes.
func (c *Collector) Stop() {
	if c != nil {
		c.cancel()
		c.going.Wait()
	}
}

// Finish scrapes a last time and sums up what came during a stage: of all engines together, and of each where they have
// names. Both are nil where nothing was collected.
func (c *Collector) Finish(ctx context.Context, l *loadgen.Measured) (all *Window, each []Named) {
	if c == nil {
		return nil, nil
	}
	c.Stop()
	if ctx.Err() == nil { // an interrupted run must not wait for the server
		c.of.each(func(k int, _ *Source) { c.take(ctx, k, lastRound) })
	}
	start := l.Wall(l.Start)
	for k := range c.parts {
		p := &c.parts[k]
		w := summarize(p.scrapes, start)
		if l.Sessions.Started > 0 { // a turn is to find the ones before it in the cache
			w.Contaminated = false
		}
		w.Errors = p.errors
		if p.last != nil {
			w.Error = p.last.Error()
		}
		each = append(each, Named{c.of.All[k].Name, w})
	}
	if len(each) > 1 {
		return c.total(each, start), each
	}
	all = each[0].Metrics
	if each[0].Name == "" {
		each = nil
	}
	return all, each
}

// total is what several engines said together.
func (c *Collector) total(each []Named, start time.Time) *Window {
	w := summarize(c.rounds(), start)
	var read []*Window // of engines whose counters are known
	for k, e := range each {
		w.Contaminated = w.Contaminated || e.Metrics.Contaminated
		if w.Errors += e.Metrics.Errors; e.Metrics.Errors > 0 {
			w.Error = e.Name + ": " + e.Metrics.Error
		}
		if len(c.parts[k].scrapes) > 1 {
			read = append(read, e.Metrics)
		}
	}
	// An engine that was gone for a while takes nothing from what the others counted meanwhile.
	sum := func(of func(*Window) num.Value) num.Value {
		total := num.Absent()
		for i, w := range read {
			if i == 0 {
				total = of(w)
			} else {
				total += of(w)
			}
		}
		return total
	}
	w.Preemptions = sum(func(w *Window) num.Value { return w.Preemptions })
	w.PrefixHits = sum(func(w *Window) num.Value { return w.PrefixHits })
	w.PrefixQueries = sum(func(w *Window) num.Value { return w.PrefixQueries })
	w.PromptTokens = sum(func(w *Window) num.Value { return w.PromptTokens })
	w.OutputTokens = sum(func(w *Window) num.Value { return w.OutputTokens })
	w.Drafted = sum(func(w *Window) num.Value { return w.Drafted })
	w.Accepted = sum(func(w *Window) num.Value { return w.Accepted })
	w.HitShare = num.Absent()
	if w.PrefixQueries > 0 {
		w.HitShare = w.PrefixHits / w.PrefixQueries
	}
	if w.Drafted > 0 {
		w.AcceptShare = w.Accepted / w.Drafted
	}
	w.TTFT, w.ITL = engineLatency(Histogram{}), engineLatency(Histogram{})
	if !c.of.Apart {
		w.NotMerged = "a request may pass through several of these engines"
		return w
	}
	ttft, okTTFT := merge(read, func(w *Window) Histogram { return w.TTFT.Histogram })
	itl, okITL := merge(read, func(w *Window) Histogram { return w.ITL.Histogram })
	if !okTTFT || !okITL {
		w.NotMerged = "the engines do not have the same histograms"
	}
	w.TTFT, w.ITL = engineLatency(ttft), engineLatency(itl)
	return w
}

// merge adds up the histograms of windows, if all have the same bounds.
func merge(windows []*Window, of func(*Window) Histogram) (sum Histogram, ok bool) {
	for i, w := range windows {
		h := of(w)
		if i == 0 {
			sum, ok = h, len(h.Bounds) > 0
			continue
		}
		if sum, ok = sum.plus(h); !ok {
			return Histogram{}, false
		}
	}
	return sum, ok
}

// rounds are the engines' states, added up second by second: those of the seconds in which all answered, as far as an
// engine answered in the stage at all.
func (c *Collector) rounds() (all []Scrape) {
	byRound := map[int][]Scrape{}
	live := 0
	for _, p := range c.parts {
		if len(p.scrapes) > 0 {
			live++
		}
		for i, s := range p.scrapes {
			if i == 0 || s.round != p.scrapes[i-1].round {
				byRound[s.round] = append(byRound[s.round], s)
			}
		}
	}
	for _, scrapes := range byRound {
		if len(scrapes) == live {
			all = append(all, together(scrapes))
		}
	}
	slices.SortFunc(all, func(a, b Scrape) int { return a.At.Compare(b.At) })
	return all
}

// together adds up the states of several engines. What one of them does not tell is not known of all, but for the KV
// cache: the fullest one that is known counts. Latencies are left out.
func together(scrapes []Scrape) Scrape {
	sum := scrapes[0]
	for _, s := range scrapes[1:] {
		if s.At.After(sum.At) {
			sum.At = s.At
		}
		sum.Running += s.Running
		sum.Waiting += s.Waiting
		sum.KVUsage = max(nonNaN(sum.KVUsage, s.KVUsage), nonNaN(s.KVUsage, sum.KVUsage))
		sum.Preemptions += s.Preemptions
		sum.PrefixHits += s.PrefixHits
		sum.PrefixQueries += s.PrefixQueries
		sum.PromptTokens += s.PromptTokens
		sum.GenerationTokens += s.GenerationTokens
		sum.Drafted += s.Drafted
		sum.Accepted += s.Accepted
		sum.AcceptShare = min(nonNaN(sum.AcceptShare, s.AcceptShare), nonNaN(s.AcceptShare, sum.AcceptShare))
	}
	if len(scrapes) > 1 {
		sum.TTFT, sum.ITL = Histogram{}, Histogram{}
	}
	return sum
}

// pollsPerSecond bounds how often an engine is asked whether it has drained.
const pollsPerSecond = 4

// Drained waits until no engine runs anything or has anything waiting, at most for limit. It reports whether it came to
// that: others may be using the server. The error is of those that did not answer, beside which others may have.
func (s *Sources) Drained(ctx context.Context, limit time.Duration) (bool, error) {
	drained, errs := make([]bool, len(s.All)), make([]error, len(s.All))
	s.each(func(k int, m *Source) { drained[k], errs[k] = m.drained(ctx, limit) })
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	all := true
	for k, m := range s.All {
		if errs[k] != nil && m.Name != "" {
			errs[k] = fmt.Errorf("%s: %w", m.Name, errs[k])
		}
		all = all && drained[k]
	}
	return all, errors.Join(errs...)
}

func (m *Source) drained(ctx context.Context, limit time.Duration) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	polls := rate.NewLimiter(pollsPerSecond, 1)
	for {
		s, err := m.Scrape(ctx)
		switch {
		case ctx.Err() == context.DeadlineExceeded:
			return false, nil
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			return false, err
		case nonNaN(s.Running, 0) == 0 && nonNaN(s.Waiting, 0) == 0:
			return true, nil
		}
		if err := polls.Wait(ctx); err != nil { // the limit would pass first
			return false, context.Cause(ctx)
		}
	}
}
