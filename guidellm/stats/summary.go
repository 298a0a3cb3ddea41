package stats

import "slices"

// usageCount reads one amount from a usage; false where it is not known.
type usageCount func(*Usage) (float64, bool)

func count(get func(*Usage) int64) usageCount {
	return func(u *Usage) (float64, bool) {
		n := get(u)
		return float64(n), n >= 0
	}
}

func mediaCount(get func(*Media) int64) usageCount {
	return func(u *Usage) (float64, bool) {
		if u.Media == nil {
			return 0, false
		}
		n := get(u.Media)
		return float64(n), n >= 0
	}
}

func mediaSeconds(get func(*Media) float64) usageCount {
	return func(u *Usage) (float64, bool) {
		if u.Media == nil {
			return 0, false
		}
		x := get(u.Media)
		return x, defined(x)
	}
}

type summaryOf struct {
	to    **Summary
	count usageCount
}

// summaries lists the fifteen units of the four modalities.
func (m *Metrics) summaries() []summaryOf {
	return []summaryOf{
		{&m.Text.Tokens, count(func(u *Usage) int64 { return u.TextTokens })},
		{&m.Text.Words, count(func(u *Usage) int64 { return u.TextWords })},
		{&m.Text.Characters, count(func(u *Usage) int64 { return u.TextCharacters })},
		{&m.Image.Tokens, mediaCount(func(m *Media) int64 { return m.ImageTokens })},
		{&m.Image.Images, mediaCount(func(m *Media) int64 { return m.ImageCount })},
		{&m.Image.Pixels, mediaCount(func(m *Media) int64 { return m.ImagePixels })},
		{&m.Image.Bytes, mediaCount(func(m *Media) int64 { return m.ImageBytes })},
		{&m.Video.Tokens, mediaCount(func(m *Media) int64 { return m.VideoTokens })},
		{&m.Video.Frames, mediaCount(func(m *Media) int64 { return m.VideoFrames })},
		{&m.Video.Seconds, mediaSeconds(func(m *Media) float64 { return m.VideoSeconds })},
		{&m.Video.Bytes, mediaCount(func(m *Media) int64 { return m.VideoBytes })},
		{&m.Audio.Tokens, mediaCount(func(m *Media) int64 { return m.AudioTokens })},
		{&m.Audio.Samples, mediaCount(func(m *Media) int64 { return m.AudioSamples })},
		{&m.Audio.Seconds, mediaSeconds(func(m *Media) float64 { return m.AudioSeconds })},
		{&m.Audio.Bytes, mediaCount(func(m *Media) int64 { return m.AudioBytes })},
	}
}

// compileSummary makes one unit's summary from the requests that know it, of input or of output. An amount that one of
// the two does not know counts as 0; a direction that sums up to 0 is nil, and so is the total unless both
// directions have data. In the total each request counts twice, with its input and with its output
// (metrics.py, GenerativeMetricsSummary.compile).
func compileSummary(g byStatus, count usageCount) *Summary {
	var input, output, total [statuses][]interval
	for status, requests := range g {
		for _, r := range requests {
			in, hasIn := count(&r.Input)
			out, hasOut := count(&r.Output)
			start, end := orZero(r.Start()), orZero(r.End())
			if start == 0 || end == 0 || !hasIn && !hasOut {
				continue
			}
			if !hasIn {
				in = 0
			}
			if !hasOut {
				out = 0
			}
			input[status] = append(input[status], interval{start, end, in})
			output[status] = append(output[status], interval{start, end, out})
		}
	}
	var s Summary
	s.Input, s.InputPerSecond, s.InputConcurrency = compileAmounts(input)
	s.Output, s.OutputPerSecond, s.OutputConcurrency = compileAmounts(output)
	if s.Input != nil && s.Output != nil {
		for status := range total {
			total[status] = slices.Concat(input[status], output[status])
		}
		s.Total, s.TotalPerSecond, s.TotalConcurrency = compileAmounts(total)
	}
	return &s
}

// compileAmounts makes the three distributions of amounts and when each was in flight: of the amounts, of their rate
// over time, each counted at its end, and of how much was in flight.
func compileAmounts(amounts [statuses][]interval) (value, perSecond, concurrency *StatusDistribution) {
	values := distributions(amounts, func(a interval, add func(weighted)) { add(weighted{a.Weight, 1}) }, summarize)
	if values.Total.TotalSum == 0 {
		return nil, nil, nil
	}
	rates := distributions(amounts, func(a interval, add func(event)) { add(event{a.End, a.Weight}) }, rateDistribution)
	levels := distributions(amounts, func(a interval, add func(interval)) { add(a) }, levels)
	return &values, &rates, &levels
}
