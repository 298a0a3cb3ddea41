package stats

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

const epoch = 1795501839.5 // a time of today's size, so that floats have today's grain of 2⁻²² s

func TestRates(t *testing.T) {
	tests := []struct {
		name   string
		events []event
		want   Distribution // percentiles apart
	}{
		{"no event", nil, Distribution{}},
		{"one event has no rate", []event{{epoch, 5}}, Distribution{}},
		{"two within 0.1 ms are one", []event{{epoch, 1}, {epoch + 0.00005, 1}}, Distribution{}},
		{
			// Durations 0.5, 1, 0.5 s with rates 2, 1, 6: p = ¼, ½, ¼; mean 2.5; variance ¼·¼ + 2.25·½ + 12.25·¼ =
			// 4.25.
			"half way to each neighbour", []event{{epoch, 1}, {epoch + 1, 1}, {epoch + 2, 3}},
			Distribution{Mean: 2.5, Median: 1, Mode: 1, Variance: 4.25, StdDev: math.Sqrt(4.25), Min: 1, Max: 6,
				Count: 5, TotalSum: 12.5},
		},
		{
			// As above, the last event split in two close ones, in any order.
			"close events merge", []event{{epoch + 2.00005, 2}, {epoch + 1, 1}, {epoch + 2, 1}, {epoch, 1}},
			Distribution{Mean: 2.5, Median: 1, Mode: 1, Variance: 4.25, StdDev: math.Sqrt(4.25), Min: 1, Max: 6,
				Count: 5, TotalSum: 12.5},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := rateDistribution(slices.Clone(tt.events))
			got.Percentiles = Percentiles{}
			if !sameDistribution(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestRatesWithin(t *testing.T) {
	w := Window{epoch, epoch + 4}
	// Inside: only the event at +2, which has 2 s to itself; the ends have 1 s each at rate 0. p = ½ for 0 and ½ for ½.
	got := ratesWithin(w, []event{{epoch - 1, 1}, {epoch + 2, 1}, {epoch + 5, 1}})
	want := Distribution{Mean: 0.25, Median: 0, Mode: 0, Variance: 0.0625, StdDev: 0.25, Min: 0, Max: 0.5, Count: 1,
		TotalSum: 0.25}
	got.Percentiles = Percentiles{}
	if !sameDistribution(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := ratesWithin(w, nil); !sameDistribution(got, Distribution{}) {
		t.Errorf("no events: got %+v", got)
	}
}

func TestConcurrency(t *testing.T) {
	// 1 for 1 s, 2 for 2 s, 1 for 1 s: mean 1.5.
	overlapping := []interval{{epoch, epoch + 3, 1}, {epoch + 1, epoch + 4, 1}}
	tests := []struct {
		name string
		got  Distribution
		want Distribution
	}{
		{"none", levels(nil), Distribution{}},
		{"overlap", levels(overlapping),
			Distribution{Mean: 1.5, Median: 1, Mode: 1, Variance: 0.25, StdDev: 0.5, Min: 1, Max: 2, Count: 2,
				TotalSum: 3}},
		{
			// Shorter than 0.1 ms: start and end merge to one change of 0.
			"a moment", levels([]interval{{epoch, epoch + 0.00001, 1}}),
			Distribution{Count: 1},
		},
		{
			// Cut to [+2, +6]: 2 for 1 s, 1 for 1 s, 0 for 2 s: p = ½ for 0, ¼ for 1, ¼ for 2.
			"window", levelsWithin(Window{epoch + 2, epoch + 6}, overlapping),
			Distribution{Mean: 0.75, Median: 0, Mode: 0, Variance: 0.6875, StdDev: math.Sqrt(0.6875), Min: 0, Max: 2,
				Count: 2, TotalSum: 1.5},
		},
		{"window beside", levelsWithin(Window{epoch + 5, epoch + 6}, overlapping), Distribution{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.got
			got.Percentiles = Percentiles{}
			if !sameDistribution(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestMergeTakesAGroupFromItsFirstEvent(t *testing.T) {
	// Each event is 0.06 ms after the one before: the first group ends at 0.06 ms, since 0.12 lies beyond 0.1 ms from
	// its first event; the second begins there.
	var events []event
	for i := range 5 {
		events = append(events, event{epoch + float64(i)*0.00006, 1})
	}
	for name, merged := range map[string][]event{
		"whole":      mergeWhole(slices.Clone(events)),
		"fractional": mergeFractional(slices.Clone(events)),
	} {
		want := []event{{events[0].Time, 2}, {events[2].Time, 2}, {events[4].Time, 1}}
		if !slices.Equal(merged, want) {
			t.Errorf("%s: got %v, want %v", name, merged, want)
		}
	}
}

// The references below say the same as the package in the plainest way, looking at all events for each of them.

func referenceSummary(values []weighted, count int64) Distribution {
	var distinct []float64
	for _, v := range values {
		if !slices.Contains(distinct, v.Value) {
			distinct = append(distinct, v.Value)
		}
	}
	slices.Sort(distinct)
	weightOf := func(x float64) (sum float64) {
		for _, v := range values {
			if v.Value == x {
				sum += v.Weight
			}
		}
		return sum
	}
	distinct = slices.DeleteFunc(distinct, func(x float64) bool { return weightOf(x) <= 0 })
	if len(distinct) == 0 {
		return Distribution{Count: count}
	}
	total := 0.0
	for _, x := range distinct {
		total += weightOf(x)
	}
	probability := func(x float64) float64 {
		if total <= totalWeightFloor {
			return 1 / float64(len(distinct))
		}
		return weightOf(x) / total
	}
	d := Distribution{Min: distinct[0], Max: distinct[len(distinct)-1], Mode: distinct[0], Count: count}
	for _, x := range distinct {
		d.Mean += x * probability(x)
		if probability(x) > probability(d.Mode) {
			d.Mode = x
		}
	}
	for _, x := range distinct {
		d.Variance += (x - d.Mean) * (x - d.Mean) * probability(x)
	}
	d.StdDev, d.TotalSum = math.Sqrt(d.Variance), d.Mean*float64(count)
	percentile := func(q float64) float64 {
		cumulative := 0.0
		for _, x := range distinct {
			if cumulative += probability(x); cumulative >= q {
				return x
			}
		}
		return d.Max
	}
	d.Median = percentile(0.5)
	d.Percentiles = Percentiles{percentile(0.001), percentile(0.01), percentile(0.05), percentile(0.1),
		percentile(0.25),
		d.Median, percentile(0.75), percentile(0.9), percentile(0.95), percentile(0.99), percentile(0.999)}
	return d
}

// referenceMerge adds each event to the group of the earliest event that is within 0.1 ms before it and is itself in
// no group before.
func referenceMerge(events []event) []event {
	times := []float64{}
	for _, e := range events {
		times = append(times, e.Time)
	}
	slices.Sort(times)
	times = slices.Compact(times)
	var merged []event
	for len(times) > 0 {
		first := times[0]
		group := event{Time: first}
		for _, e := range events {
			if e.Time >= first && e.Time <= first+mergeWindow {
				group.Weight += e.Weight
			}
		}
		merged = append(merged, group)
		times = slices.DeleteFunc(times, func(t float64) bool { return t <= first+mergeWindow })
	}
	return merged
}

func referenceRates(events []event) Distribution {
	merged := referenceMerge(events)
	if len(merged) < 2 {
		return Distribution{}
	}
	var values []weighted
	count := 0.0
	for i, e := range merged {
		from, to := e.Time, e.Time
		if i > 0 {
			from = (e.Time + merged[i-1].Time) / 2
		}
		if i+1 < len(merged) {
			to = (e.Time + merged[i+1].Time) / 2
		}
		duration := to - from
		if i+1 == len(merged) {
			duration = math.Max(duration, shortestLast)
		}
		values = append(values, weighted{e.Weight / duration, duration})
		count += e.Weight
	}
	return referenceSummary(values, int64(math.RoundToEven(count)))
}

func referenceConcurrency(intervals []interval) Distribution {
	merged := referenceMerge(changes(intervals))
	switch len(merged) {
	case 0:
		return Distribution{}
	case 1:
		return referenceSummary([]weighted{{math.Max(merged[0].Weight, 0), 1}}, 1)
	}
	var values []weighted
	for i := range len(merged) - 1 {
		level := 0.0
		for _, e := range merged[:i+1] {
			level += e.Weight
		}
		values = append(values, weighted{math.Max(level, 0), merged[i+1].Time - merged[i].Time})
	}
	return referenceSummary(values, int64(len(intervals)))
}

// fuzzNumbers reads small numbers from a fuzzer's bytes, two bytes each.
func fuzzNumbers(data []byte, most int) []int {
	var numbers []int
	for ; len(data) >= 2 && len(numbers) < most; data = data[2:] {
		numbers = append(numbers, int(binary.LittleEndian.Uint16(data)))
	}
	return numbers
}

// fuzzTime spreads a number over 0.3 s in steps of 4.8 µs, so that events coincide, lie close, and lie apart.
func fuzzTime(n int) float64 { return epoch + float64(n)*math.Ldexp(20, -22) }

func checkSame(t *testing.T, what string, got, want Distribution) {
	t.Helper()
	if !sameDistribution(got, want) {
		t.Errorf("%s\ngot  %+v\nwant %+v", what, got, want)
	}
}

func FuzzDistributions(f *testing.F) {
	f.Add([]byte{1, 0, 1, 0, 9, 0, 3, 0, 9, 0, 2, 0})
	f.Add([]byte{0, 0, 4, 0, 20, 0, 4, 0, 21, 0, 4, 0, 45, 0, 4, 0, 0, 200, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		numbers := fuzzNumbers(data, 120)
		var values []weighted
		var events []event
		var intervals []interval
		for i := 0; i+1 < len(numbers); i += 2 {
			a, b := numbers[i], numbers[i+1]
			weight := float64(b%64) / 4 // sums of quarters are exact in any order
			values = append(values, weighted{float64(a % 50), weight})
			events = append(events, event{fuzzTime(a), weight})
			intervals = append(intervals, interval{fuzzTime(a), fuzzTime(a + b%4096), weight})
		}
		sum := 0.0
		for _, v := range values {
			sum += v.Weight
		}
		count := int64(math.RoundToEven(sum))
		if len(values) == 0 {
			count = 0
		}
		checkSame(t, "values", summarize(slices.Clone(values)), referenceSummary(values, count))
		checkSame(t, "rates", rateDistribution(slices.Clone(events)), referenceRates(events))
		checkSame(t, "concurrency", levels(intervals), referenceConcurrency(intervals))

		w := Window{fuzzTime(5000), fuzzTime(40000)}
		inside := []event{{w.Start, 0}, {w.End, 0}}
		for _, e := range events {
			if e.Time >= w.Start && e.Time <= w.End {
				inside = append(inside, e)
			}
		}
		checkSame(t, "rates within", ratesWithin(w, events), referenceRates(inside))
	})
}

// The sweep over running trains sees the same as a list of all token events.
func FuzzTokenRates(f *testing.F) {
	f.Add([]byte{1, 0, 1, 0, 9, 0, 3, 0, 9, 0, 2, 0, 1, 0, 1, 0, 9, 0, 3, 0, 9, 0, 2, 0})
	f.Add([]byte{200, 0, 100, 1, 17, 0, 4, 0, 0, 0, 30, 0, 210, 0, 90, 1, 9, 0, 2, 0, 1, 0, 8, 0, 5, 0, 0, 0, 1, 0, 0,
		0, 2, 0, 3, 0})
	// The clock was set back in a request whose lines have no count: one event, at the later of its two ends.
	f.Add([]byte{0, 0, 209, 15, 4, 0, 0, 0, 0, 0, 1, 0, 232, 3, 218, 7, 3, 0, 8, 0, 0, 0, 1, 0, 184, 11, 218, 7, 3, 0,
		8, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		numbers := fuzzNumbers(data, 240)
		var g byStatus
		for ; len(numbers) >= 6; numbers = numbers[6:] {
			r := &Request{Timings: NoTimings(), Input: NoUsage(), Output: NoUsage(),
				Status: Status(numbers[4] % statuses)}
			r.ResolveStart, r.RequestStart = fuzzTime(numbers[0]), fuzzTime(numbers[0])
			r.ResolveEnd = fuzzTime(numbers[0] + 9000)
			r.TokenIterations = []int{0, 1, 2, 3, 5, 9, 17}[numbers[2]%7] // (tokens − 1)/(lines − 1) is exact
			if r.TokenIterations > 0 {
				r.FirstTokenIteration = fuzzTime(numbers[0] + 100)
				r.LastTokenIteration = fuzzTime(numbers[0] + 100 + numbers[1]%9000)
			}
			r.Output.TextTokens, r.Input.TextTokens = int64(numbers[3]%40)-1, int64(numbers[5]%40)-1
			if numbers[1]%50 == 49 { // a clock set back
				r.FirstTokenIteration, r.LastTokenIteration = r.LastTokenIteration, r.FirstTokenIteration
			}
			g[r.Status] = append(g[r.Status], r)
		}
		list := func(of func(*Request) []event) StatusDistribution {
			var d StatusDistribution
			var all []event
			for status, requests := range g {
				var events []event
				for _, r := range requests {
					events = append(events, of(r)...)
				}
				all = append(all, events...)
				*d.of(Status(status)) = rateDistribution(slices.Clone(events))
			}
			d.Total = rateDistribution(slices.Clone(all))
			return d
		}
		output := func(r *Request) (events []event) {
			train := outputTrain(r)
			for i := range train.n {
				events = append(events, event{train.at(i), train.weight(i)})
			}
			return events
		}
		prompt := func(r *Request) []event { return []event{promptTiming(r)} }
		got := compileTokenRates(g, nil)
		for _, c := range []struct {
			what      string
			got, want StatusDistribution
		}{
			{"prompt", got.prompt, list(prompt)},
			{"output", got.output, list(output)},
			{"total", got.total, list(func(r *Request) []event { return append(prompt(r), output(r)...) })},
		} {
			for _, status := range []Status{Completed, Errored, Cancelled} {
				checkSame(t, c.what, *c.got.of(status), *c.want.of(status))
			}
			checkSame(t, c.what+" of all", c.got.Total, c.want.Total)
		}
	})
}

// Where following GuideLLM to the last bit would take minutes, one pass does: the same groups, their weights the same
// but for the last digits.
func TestMergeFractionalGivesUpOnEndlessChains(t *testing.T) {
	var events []event
	for i := range 300_000 { // 3 s of events 10 µs apart are one chain of 30,000 groups
		events = append(events, event{epoch + float64(i)*1e-5, 1.1})
	}
	if work := float64(len(events)) * float64(mergePasses(events)); work <= mergePassWork {
		t.Fatalf("the events take %g steps, which is no reason to give up", work)
	}
	want := mergeWhole(slices.Clone(events))
	if got := mergeFractional(slices.Clone(events)); !slices.Equal(got, want) {
		t.Errorf("%d groups, want %d", len(got), len(want))
	}
}

// A stream of too many fractional events goes over to counting them as they come, with those that it holds.
func TestRateStreamOverflows(t *testing.T) {
	s := rateStream{}
	const extra = 1000
	for i := range heldEvents + extra {
		s.add(event{epoch + float64(i)*0.00025, 1.5})
	}
	if !s.whole || s.held != nil {
		t.Fatal("it still holds the events")
	}
	d := s.distribution()
	if want := int64((heldEvents + extra) * 1.5); d.Count != want {
		t.Errorf("count %d, want %d", d.Count, want)
	}
	if math.Abs(d.Mean-6000) > 1 {
		t.Errorf("mean %v, want 6000 a second", d.Mean)
	}
}
