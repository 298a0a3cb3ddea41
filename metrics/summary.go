package metrics

// timed is one request's amount of something: when it was in flight, how much went in and how much came out.
type timed struct{ start, end, in, out float64 }

// usageFigure reads one amount from a usage; false where it is not known.
type usageFigure func(*Usage) (float64, bool)

func count(get func(*Usage) int64) usageFigure {
	return func(u *Usage) (float64, bool) {
		n := get(u)
		return float64(n), n >= 0
	}
}

func mediaCount(get func(*Media) int64) usageFigure {
	return func(u *Usage) (float64, bool) {
		if u.Media == nil {
			return 0, false
		}
		n := get(u.Media)
		return float64(n), n >= 0
	}
}

func mediaSeconds(get func(*Media) float64) usageFigure {
	return func(u *Usage) (float64, bool) {
		if u.Media == nil {
			return 0, false
		}
		x := get(u.Media)
		return x, defined(x)
	}
}

type summaryOf struct {
	to     **Summary
	figure usageFigure
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
// directions have data (metrics.py, GenerativeMetricsSummary.compile).
func compileSummary(g byStatus, figure usageFigure) *Summary {
	var known [statuses][]timed
	for status, requests := range g {
		if len(requests) > 0 {
			if _, ok := figure(&requests[0].Input); ok {
				known[status] = make([]timed, 0, len(requests)) // the others will know it, too
			}
		}
		for _, r := range requests {
			in, hasIn := figure(&r.Input)
			out, hasOut := figure(&r.Output)
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
			known[status] = append(known[status], timed{start, end, in, out})
		}
	}
	var s Summary
	in := func(t timed) float64 { return t.in }
	out := func(t timed) float64 { return t.out }
	s.Input, s.InputPerSecond, s.InputConcurrency = compileDirections(known, in)
	s.Output, s.OutputPerSecond, s.OutputConcurrency = compileDirections(known, out)
	if s.Input != nil && s.Output != nil {
		s.Total, s.TotalPerSecond, s.TotalConcurrency = compileDirections(known, in, out)
	}
	return &s
}

// compileDirections makes the three distributions of one direction, or of two taken together: each request then gives
// one observation for each.
func compileDirections(known [statuses][]timed, directions ...func(timed) float64) (value, perSecond, concurrency *StatusDistribution) {
	values := distributions(known, func(t timed, add func(Weighted)) {
		for _, amount := range directions {
			add(Weighted{amount(t), 1})
		}
	}, Summarize)
	if values.Total.TotalSum == 0 {
		return nil, nil, nil
	}
	rates := distributions(known, func(t timed, add func(Event)) {
		for _, amount := range directions {
			add(Event{t.end, amount(t)})
		}
	}, ratesInPlace)
	levels := distributions(known, func(t timed, add func(Interval)) {
		for _, amount := range directions {
			add(Interval{t.start, t.end, amount(t)})
		}
	}, Concurrency)
	return &values, &rates, &levels
}
