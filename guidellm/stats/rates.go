package stats

import (
	"math"
	"slices"
	"sort"
)

// mergeWindow is how close in seconds two events may lie to be taken for one: 0.1 ms (statistics.py, threshold).
const mergeWindow = 1e-4

// shortestLast is the least duration in seconds given to the last event, which has no successor
// (statistics.py: epsilon of rate_distribution_from_timings).
const shortestLast = 1e-6

// event is something that happened: when, in seconds since the epoch, and how much of it.
type event struct{ Time, Weight float64 }

// interval is something that lasted, with how much of it there was.
type interval struct{ Start, End, Weight float64 }

// rateDistribution returns the distribution over time of events per second. Each event stands for the time from the
// midpoint to its predecessor up to the midpoint to its successor; its rate is its weight over that time, and counts
// for that time. Events within 0.1 ms are merged first. The count is the sum of the weights. The events are reordered
// (statistics.py, rate_distribution_from_timings without a window).
func rateDistribution(events []event) Distribution { return ratesOfSorted(mergeEvents(events)) }

// ratesWithin is rateDistribution with events outside of the window dropped and its two ends added with weight 0
// (statistics.py, rate_distribution_from_timings with start_time and end_time).
func ratesWithin(w Window, events []event) Distribution {
	inside := make([]event, 0, len(events)+2)
	inside = append(inside, event{Time: w.Start})
	for _, e := range events {
		if e.Time >= w.Start && e.Time <= w.End {
			inside = append(inside, e)
		}
	}
	inside = append(inside, event{Time: w.End})
	return ratesOfSorted(mergeEvents(inside))
}

func ratesOfSorted(merged []event) Distribution {
	var r rates
	weights := make([]float64, len(merged))
	for i, e := range merged {
		r.add(e)
		weights[i] = e.Weight
	}
	r.weight = pairwiseSum(weights) // as numpy adds them, for the rounding of the count
	return r.distribution()
}

// rates turns merged events in order of time into their distribution, holding no more than the last two of them.
// Equal rates are kept once with the sum of their durations: times near now have a grain of 2⁻²² s, so that a hundred
// million events have some ten thousand different rates.
type rates struct {
	events    int
	last      event
	mid       float64 // midpoint between the last event and the one before, or the first event's time
	weight    float64
	durations map[float64]float64 // of each rate
}

func (r *rates) add(e event) {
	if r.events == 0 {
		r.mid = e.Time
		r.durations = map[float64]float64{}
	} else {
		mid := (e.Time + r.last.Time) / 2
		r.put(r.last.Weight, mid-r.mid)
		r.mid = mid
	}
	r.events++
	r.weight += e.Weight
	r.last = e
}

func (r *rates) put(weight, duration float64) { r.durations[weight/duration] += duration }

func (r *rates) distribution() Distribution {
	if r.events <= 1 {
		return Distribution{} // no distance, no rate
	}
	r.put(r.last.Weight, math.Max(r.last.Time-r.mid, shortestLast))
	values := make([]weighted, 0, len(r.durations))
	for rate, duration := range r.durations {
		values = append(values, weighted{rate, duration})
	}
	return summarizeCounted(values, int64(math.RoundToEven(r.weight)))
}

// levels returns the distribution over time of the weight of the intervals that overlap: +w at each start, −w at
// each end, changes within 0.1 ms merged, their running sum (never below 0) counting for the time until the next
// change. The count is that of the intervals (statistics.py, concurrency_distribution_from_timings without a window).
func levels(intervals []interval) Distribution {
	return concurrencyOfChanges(len(intervals), mergeEvents(changes(intervals)))
}

// levelsWithin is levels of the intervals that touch the window, cut to it
// (statistics.py, concurrency_distribution_from_timings with start_time and end_time).
func levelsWithin(w Window, intervals []interval) Distribution {
	touching := make([]interval, 0, len(intervals))
	for _, iv := range intervals {
		if iv.End >= w.Start && iv.Start <= w.End {
			touching = append(touching, iv)
		}
	}
	if len(touching) == 0 {
		return Distribution{}
	}
	merged := mergeEvents(changes(touching))

	from := sort.Search(len(merged), func(i int) bool { return merged[i].Time >= w.Start })
	before := make([]float64, from)
	for i := range before {
		before[i] = merged[i].Weight
	}
	merged = append([]event{{w.Start, pairwiseSum(before)}}, merged[from:]...)

	upto := sort.Search(len(merged), func(i int) bool { return merged[i].Time > w.End })
	merged = append(merged[:upto], event{Time: w.End})
	return concurrencyOfChanges(len(touching), merged)
}

func changes(intervals []interval) []event {
	events := make([]event, 0, 2*len(intervals))
	for _, iv := range intervals {
		events = append(events, event{iv.Start, iv.Weight})
	}
	for _, iv := range intervals {
		events = append(events, event{iv.End, -iv.Weight})
	}
	return events
}

func concurrencyOfChanges(count int, merged []event) Distribution {
	if len(merged) == 0 {
		return Distribution{}
	}
	if len(merged) == 1 {
		return summarize([]weighted{{math.Max(merged[0].Weight, 0), 1}})
	}
	levels := make([]weighted, 0, len(merged)-1)
	level, lasting := 0.0, false
	for i := range len(merged) - 1 {
		level += merged[i].Weight
		duration := math.Max(merged[i+1].Time-merged[i].Time, 0)
		lasting = lasting || duration > 0
		levels = append(levels, weighted{math.Max(level, 0), duration})
	}
	if !lasting {
		return Distribution{}
	}
	return summarizeCounted(levels, int64(count))
}

// mergeEvents sorts events by time in place, adds up those at the same time and then those within 0.1 ms of the first
// of a group, as GuideLLM does (statistics.py, _merge_sorted_times_with_weights).
func mergeEvents(events []event) []event {
	events = slices.DeleteFunc(events, func(e event) bool { return !defined(e.Time) }) // what never happened
	byTime := func(a, b event) int { return compareDefined(a.Time, b.Time) }
	whole := !slices.ContainsFunc(events, func(e event) bool { return e.Weight != math.Trunc(e.Weight) })
	if whole {
		slices.SortFunc(events, byTime)
	} else {
		slices.SortStableFunc(events, byTime) // fractions add up to other last digits in another order
	}
	unique := events[:0]
	for i := 0; i < len(events); {
		sum := event{Time: events[i].Time}
		for ; i < len(events) && events[i].Time == sum.Time; i++ {
			sum.Weight += events[i].Weight
		}
		unique = append(unique, sum)
	}
	if whole {
		return mergeWhole(unique)
	}
	return mergeFractional(unique)
}

// compareDefined orders defined numbers; cmp.Compare, which also orders what is not a number, takes three times as
// long.
func compareDefined(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// mergeWhole merges in one pass. It is exact for whole weights, whose sums have no rounding.
func mergeWhole(unique []event) []event {
	var g grouper
	merged := unique[:0] // never longer than what was read
	for _, e := range unique {
		if done, ok := g.add(e); ok {
			merged = append(merged, done)
		}
	}
	if done, ok := g.flush(); ok {
		merged = append(merged, done)
	}
	return merged
}

// grouper merges a stream of events in order of time: a group begins with an event whose successor lies within
// 0.1 ms, and holds all that lie within 0.1 ms of it.
type grouper struct {
	group   event
	members int     // different times in the group; 0 before the first event
	newest  float64 // time of the newest member
}

// add takes the next event and returns the group before it once that is complete.
func (g *grouper) add(e event) (done event, ok bool) {
	switch {
	case g.members == 0:
	case e.Time == g.newest:
		g.group.Weight += e.Weight
		return done, false
	case e.Time <= g.group.Time+mergeWindow && (g.members > 1 || e.Time-g.group.Time <= mergeWindow):
		g.group.Weight += e.Weight
		g.newest = e.Time
		g.members++
		return done, false
	default:
		done, ok = g.group, true
	}
	g.group, g.newest, g.members = e, e.Time, 1
	return done, ok
}

// flush returns the last group.
func (g *grouper) flush() (event, bool) {
	ok := g.members > 0
	g.members = 0
	return g.group, ok
}

// mergePassWork bounds the steps that mergeFractional spends on following GuideLLM to the last bit.
const mergePassWork = 4e9

// mergeFractional merges events whose weights are not whole. GuideLLM merges in passes, each taking only the first
// group of every chain of close events, and takes a group's weight as the difference of two running sums over the
// pass. The rounding this leaves behind decides which rates are equal, and so the mode: it is followed here pass by
// pass. Where that would take minutes (events closer than 0.1 ms for seconds on end) one pass is made instead; the
// weights then differ in their last digits.
func mergeFractional(events []event) []event {
	if float64(len(events))*float64(mergePasses(events)) > mergePassWork {
		return mergeWhole(events)
	}
	sums := make([]float64, len(events)+1)
	for {
		for i, e := range events {
			sums[i+1] = sums[i] + e.Weight
		}
		merged := mergePass(events, sums)
		if len(merged) == len(events) {
			return merged
		}
		events = merged
	}
}

// mergePass merges the first group of every chain, in place. sums[i] is the sum of the first i weights.
func mergePass(events []event, sums []float64) []event {
	close := func(i int) bool {
		return i+1 < len(events) && events[i+1].Time-events[i].Time <= mergeWindow
	}
	merged := events[:0] // never longer than what was read
	for i := 0; i < len(events); {
		first, end := events[i].Time, i
		chain := close(i)
		if chain {
			for end+1 < len(events) && events[end+1].Time <= first+mergeWindow {
				end++
			}
			merged = append(merged, event{first, sums[end+1] - sums[i]})
		} else {
			merged = append(merged, events[i])
		}
		// The rest of the chain waits for the next pass.
		i = end + 1
		for inChain := chain && close(end); inChain; i++ {
			inChain = close(i)
			merged = append(merged, events[i])
		}
	}
	return merged
}

// mergePasses is how many passes GuideLLM's merging takes: the most groups that one chain of close events holds.
func mergePasses(events []event) int {
	most, groups := 0, 0
	first := math.Inf(-1)
	for i, e := range events {
		if i > 0 && e.Time-events[i-1].Time > mergeWindow {
			groups = 0
		}
		if groups == 0 || e.Time > first+mergeWindow {
			groups++
			first = e.Time
			most = max(most, groups)
		}
	}
	return most
}
