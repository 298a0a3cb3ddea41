// Package oversaturation detects that a server no longer keeps up, as GuideLLM 0.5.0 defines it
// (scheduler/constraints/saturation.py): both the number of requests in flight and the time to the first token rise, by
// a line fitted to each over a sliding window, with a margin of error that is small against the slope. It knows no
// clock: it is told of requests and of the time at which something happened.
package oversaturation

import "math"

// Config are the detector's settings. Start from Defaults.
type Config struct {
	Enabled         bool    // false: detect, but say that nothing is to be stopped
	MinSeconds      float64 // nothing is detected before
	MaxWindow       float64 // seconds: what is older is forgotten
	MOEThreshold    float64 // of the margin of error against the slope
	MinTTFT         float64 // seconds: half of the first tokens in the window must have taken longer
	MaxWindowRatio  float64 // of the requests so far: more than this share of them is not kept
	MinWindowSize   int     // observations needed
	Confidence      float64 // of the margin of error
	smallestDivisor float64
}

// Defaults are GuideLLM's.
func Defaults() Config {
	return Config{
		Enabled: true, MinSeconds: 30, MaxWindow: 120, MOEThreshold: 2, MinTTFT: 2.5,
		MaxWindowRatio: 0.75, MinWindowSize: 5,
		Confidence: 0.95, smallestDivisor: 1e-12,
	}
}

// Line is a least-squares line through a window of points, kept by its sums.
type Line struct {
	N             int
	Slope         float64 // of the last check; NaN before the first
	MarginOfError float64 // of the slope at the configured confidence, relative to the slope; NaN likewise
	x, y, xy, xx  float64
	yy            float64
}

func (l *Line) add(x, y, sign float64) {
	l.N += int(sign)
	l.x += sign * x
	l.y += sign * y
	l.xy += sign * float64(x*y)
	l.xx += sign * float64(x*x)
	l.yy += sign * float64(y*y)
}

// rises says whether the line rises with a margin of error below the threshold. n is the number of observations that
// the points are worth: points of the same second say much the same, so it is no more than the seconds they span.
func (l *Line) rises(n float64, c *Config) bool {
	if n < 3 {
		return false
	}
	count := float64(l.N)
	sxx := math.Max(l.xx-float64(l.x*l.x)/count, c.smallestDivisor)
	sxy := l.xy - float64(l.x*l.y)/count
	syy := l.yy - float64(l.y*l.y)/count
	l.Slope = sxy / sxx
	residual := math.Max(syy-float64(sxy*sxy)/sxx, 0)
	freedom := n - 2
	deviation := math.Sqrt(residual / freedom / sxx)
	alpha := 1 - c.Confidence
	l.MarginOfError = float64(studentQuantile(1-alpha/2, freedom)*deviation) / math.Max(l.Slope, c.smallestDivisor)
	return l.Slope > 0 && l.MarginOfError < c.MOEThreshold
}

// studentQuantile approximates the quantile p of Student's t distribution: the normal quantile by Abramowitz and Stegun
// 26.2.23 and the first terms of its expansion in 1/freedom, 26.7.5, with the coefficients that GuideLLM uses.
func studentQuantile(p, freedom float64) float64 {
	if freedom <= 0 {
		return math.NaN()
	}
	tail := p
	if p >= 0.5 {
		tail = 1 - p
	}
	t := math.Sqrt(-2 * math.Log(tail))
	above := float64((float64(0.010328*t)+0.802853)*t) + 2.515517
	below := float64((float64((float64(0.001308*t)+0.189269)*t)+1.432788)*t) + 1
	z := t - above/below
	if p < 0.5 {
		z = -z
	}
	z2 := z * z
	z3 := z2 * z
	z4 := z3 * z
	g1 := (z3 + z) / 4
	g2 := (float64(5*z4) + float64(16*z3) + float64(3*z2)) / 96
	return z + g1/freedom + g2/float64(freedom*freedom)
}

// point is an observation: when, in seconds since the start, and what.
type point struct{ at, value float64 }

// Detector follows one stage. It is not safe for concurrent use.
type Detector struct {
	InFlight Line // requests in flight against time
	TTFT     Line // seconds to the first token against time

	Violations int // first tokens in the window that took longer than MinTTFT

	config            Config
	now               float64
	started, finished []point
	startedEver       int
	finishedEver      int
}

// New returns the detector of a stage.
func New(c Config) *Detector {
	if c.smallestDivisor == 0 {
		c.smallestDivisor = Defaults().smallestDivisor
	}
	d := &Detector{config: c}
	for _, l := range []*Line{&d.InFlight, &d.TTFT} {
		l.Slope, l.MarginOfError = math.NaN(), math.NaN()
	}
	return d
}

// Started tells of a request that was sent at a time (seconds since the start of the stage), with the number then in
// flight, itself included. It says whether the server is over-saturated.
func (d *Detector) Started(at float64, inFlight int) bool {
	d.startedEver++
	d.started = append(d.started, point{at, float64(inFlight)})
	d.InFlight.add(at, float64(inFlight), 1)
	return d.moved(at)
}

// Finished tells of a request that completed, with its time to the first token in seconds.
func (d *Detector) Finished(at, ttft float64) bool {
	d.finishedEver++
	d.finished = append(d.finished, point{at, ttft})
	if ttft > d.config.MinTTFT {
		d.Violations++
	}
	d.TTFT.add(at, ttft, 1)
	return d.moved(at)
}

// Passed tells that time passed, as by a request that failed.
func (d *Detector) Passed(at float64) bool { return d.moved(at) }

func (d *Detector) moved(at float64) bool {
	d.now = at
	c := &d.config
	for most := int(float64(d.finishedEver) * c.MaxWindowRatio); len(d.finished) > 0 &&
		(len(d.finished) > most || at-d.finished[0].at > c.MaxWindow); d.finished = d.finished[1:] {
		first := d.finished[0]
		if first.value > c.MinTTFT {
			d.Violations--
		}
		d.TTFT.add(first.at, first.value, -1)
	}
	for most := int(float64(d.startedEver) * c.MaxWindowRatio); len(d.started) > 0 &&
		(len(d.started) > most || at-d.started[0].at > c.MaxWindow); d.started = d.started[1:] {
		d.InFlight.add(d.started[0].at, d.started[0].value, -1)
	}
	return d.saturated()
}

func (d *Detector) saturated() bool {
	c := &d.config
	n := math.Min(d.now, float64(d.InFlight.N))
	if d.now < c.MinSeconds || d.TTFT.N > 2*d.Violations || d.now < c.MinTTFT || n < float64(c.MinWindowSize) {
		return false
	}
	more := d.InFlight.rises(n, c)
	n = math.Min(d.now, float64(d.TTFT.N))
	if n < float64(c.MinWindowSize) {
		return more
	}
	return d.TTFT.rises(n, c) && more
}
