package maxrate

// A stage counts for the saturation rate once it was measured for so many residence times.
const saturationFor = 5

// saturationOf is the saturation rate after what the stages showed: the probe's, unless a stage was served at a higher
// rate without a growing backlog, or one with a growing backlog was served at a lower rate. The probe looks for
// seconds, and a server may give less, or more, in minutes.
func saturationOf(probe float64, stages []Stage) float64 {
	lowest, highest := 0.0, 0.0
	for i := range stages {
		st := &stages[i]
		if st.Done <= 0 || st.measured() < saturationFor*st.Residence {
			continue
		}
		switch {
		case !st.Growing && st.Done > 0.97*st.Rate:
			lowest = max(lowest, st.Rate/0.97)
		case st.Growing && st.Done < 0.95*st.Rate:
			highest = max(highest, 1.05*st.Done)
		}
	}
	saturation := probe
	if highest > 0 {
		saturation = min(saturation, highest)
	}
	return max(saturation, lowest)
}
