package maxrate

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// step is what stages say whose shares of misses are all or nothing.
type step struct {
	lower, upper float64 // req/s: the highest rate that met every limit below all others, the lowest that missed one
	resolution   float64 // overload that the stage at lower may have had, as a share: what stayed in flight
	limiting     int     // objective that was missed at upper
	at, above    int     // the stages at lower and upper
}

// narrow is how close the two rates must be for the answer to lie between them.
const narrow = 1.1

// regularLengths is the squared coefficient of variation of output lengths below which they are regular.
const regularLengths = 0.01

// fewestOfStep is how many requests show how many stay in flight.
const fewestOfStep = 50

// beside is how far from the two rates a stage may lie whose share of misses is neither none nor all.
const beside = 1.05

// step looks for a step: with regular arrivals and lengths, the share of misses goes from none to all within a
// hundredth of the rate, hardly a stage falls between, and no curve can be fitted. ok is false where there is none.
func (e *estimator) step() (s step, ok bool) {
	if e.Arrivals != Regular || e.clustering > 1.5*regularLengths {
		return s, false
	}
	s.upper = math.Inf(1)
	lowest, highest := math.Inf(1), 0.0 // of the stages between none and all
	for i := range e.stages {
		st := &e.stages[i]
		missed := false
		for k, o := range e.Objectives {
			n, misses := st.Series[k].counts()
			switch share := misses / n; {
			case o.Kind == Mean:
				return s, false
			case n < fewestRequests:
				continue
			case st.Growing || share > o.Limit:
				if st.Rate < s.upper {
					s.limiting = k
				}
				missed = true
				fallthrough
			default:
				if !st.Growing && share >= 0.25*o.Limit && share <= overShare {
					lowest, highest = min(lowest, st.Rate), max(highest, st.Rate)
				}
			}
		}
		// A whole number is in flight: one more or less over the later half of the stage says nothing.
		resolution := min(max(st.Staying, 0)+max(2*st.StayingError, 2/float64(len(st.Arrivals))), 0.5)
		if len(st.Arrivals) < fewestOfStep {
			resolution = 0.5
		}
		switch {
		case missed && st.Rate < s.upper:
			s.upper, s.above = st.Rate, i
		case missed:
		case st.Rate > s.lower || st.Rate == s.lower && resolution < s.resolution:
			s.lower, s.resolution, s.at = st.Rate, resolution, i
		}
	}
	return s, s.lower > 0 && s.lower < s.upper && !math.IsInf(s.upper, 1) &&
		lowest >= s.lower/beside && highest <= s.upper*beside
}

// unsteady is how far the rate of a step may be off because the server was not the same all the time, as a share: twice
// the standard deviation by which latencies vary, over how steeply they grow with the rate. They vary from part to part
// of the stage at lower, and from stage to stage around a line through those near the step.
func (e *estimator) unsteady(s step) float64 {
	_, sd := inParts(e.stages[s.at].Series[s.limiting].Values)
	var near, wide points
	for i := range e.stages {
		st := &e.stages[i]
		series := &st.Series[s.limiting]
		n, misses := series.counts()
		if st.Growing || n < fewestRequests ||
			st.measured() < 0.8*steadyFor*st.Residence || // still on its way up
			misses > overShare*n && e.Objectives[s.limiting].Metric != TPOT { // its requests wait ever longer
			continue
		}
		mean, _ := inParts(series.Values)
		if math.IsNaN(mean) {
			continue
		}
		if st.Rate >= s.lower/nearStep && st.Rate <= s.upper*nearStep {
			near.add(math.Log(st.Rate), mean)
		}
		if st.Rate >= s.lower/aroundStep && st.Rate <= s.upper*aroundStep {
			wide.add(math.Log(st.Rate), mean)
		}
	}
	if _, residual, ok := near.line(); ok && len(near.x) > 3 {
		sd = max(sd, residual)
	}
	steepness, _, _ := wide.line()
	if math.IsNaN(sd) {
		return 0
	}
	return 2 * sd / min(max(steepness, 1), 10)
}

// points are stages: the logarithms of their rates and of their latencies.
type points struct{ x, y []float64 }

func (p *points) add(x, y float64) { p.x, p.y = append(p.x, x), append(p.y, y) }

// line is the slope of the line through the points and the standard deviation around it; ok is false where there are
// too few.
func (p *points) line() (slope, residual float64, ok bool) {
	n := float64(len(p.x))
	if n < 2 || slices.Max(p.x) == slices.Min(p.x) {
		return 0, 0, false
	}
	offset, slope := stat.LinearRegression(p.x, p.y, nil, false)
	squares := 0.0
	for i := range p.x {
		squares += math.Pow(p.y[i]-offset-slope*p.x[i], 2)
	}
	return slope, math.Sqrt(squares / max(n-2, 1)), true
}

// How far from a step stages are compared: to see how much the server varies, and how latencies grow.
const (
	nearStep   = 1.12
	aroundStep = 1.4
)

// parts is how many parts of the later half of a stage are compared.
const parts = 5

// inParts is the mean of the logarithms of the later half of values, and how much that of a part of it varies from one
// to the next; NaN where there are too few.
func inParts(values []float64) (mean, sd float64) {
	values = values[len(values)/2:]
	var means []float64
	for i := range parts {
		n, sum := 0.0, 0.0
		for _, v := range values[i*len(values)/parts : (i+1)*len(values)/parts] {
			if v > 0 && !math.IsInf(v, 1) {
				n++
				sum += math.Log(v)
			}
		}
		means = append(means, sum/n) // NaN where there is none
		mean += sum / n / parts
	}
	for i := range parts - 1 {
		change := means[i+1] - means[i]
		sd += change * change / 2 / (parts - 1)
	}
	return mean, math.Sqrt(sd)
}
