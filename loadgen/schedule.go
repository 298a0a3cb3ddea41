package loadgen

import (
	"math"
	"math/bits"
	"time"

	"gonum.org/v1/gonum/mathext/prng"
)

// Schedule says when the requests of an open-loop stage are due. At returns the offset of request i (0, 1, 2, …) from
// the start of the stage, non-decreasing in i; ok is false when the schedule has no request i. A schedule is pure: it
// knows no clock, and the same schedule gives the same offsets. At is called with i in order, from one goroutine at a
// time.
type Schedule interface {
	At(i int) (offset time.Duration, ok bool)
}

// Constant is GuideLLM's constant arrival process: request i (from 0) is due at (i+1)/Rate seconds. It has no end.
type Constant struct {
	Rate float64 // requests per second, > 0
}

// At implements Schedule. The offset is computed from i alone, so there is no drift.
func (c Constant) At(i int) (time.Duration, bool) {
	if !(c.Rate > 0) || i < 0 {
		return 0, false
	}
	return seconds(float64(i+1) / c.Rate)
}

// Poisson is a Poisson arrival process: gaps are exponential with mean 1/Rate. The gaps are those of Python's
// random.Random(seed).expovariate(rate), so that they equal those of GuideLLM 0.5.0 with one worker.
type Poisson struct {
	rate   float64
	random *pythonRandom
	seed   int64
	next   int     // the request whose arrival is at sum
	sum    float64 // seconds
}

// NewPoisson returns the process of the given rate (requests per second, > 0) and seed.
func NewPoisson(rate float64, seed int64) *Poisson {
	p := &Poisson{rate: rate, seed: seed}
	p.rewind()
	return p
}

func (p *Poisson) rewind() {
	p.random = newPythonRandom(p.seed)
	p.next, p.sum = 0, p.random.exponential(p.rate)
}

// At implements Schedule. Asking for an earlier i than the last one computes the process again from its seed.
func (p *Poisson) At(i int) (time.Duration, bool) {
	if !(p.rate > 0) || i < 0 {
		return 0, false
	}
	if i < p.next {
		p.rewind()
	}
	for p.next < i {
		p.sum += p.random.exponential(p.rate)
		p.next++
	}
	return seconds(p.sum)
}

// seconds converts, and says false where the value exceeds what a duration holds.
func seconds(s float64) (time.Duration, bool) {
	ns := s * 1e9
	if !(ns < math.MaxInt64) {
		return 0, false
	}
	return time.Duration(math.Round(ns)), true
}

// pythonRandom is CPython's random.Random: the Mersenne Twister MT19937 (gonum's), seeded and read as
// Modules/_randommodule.c does it.
type pythonRandom struct {
	mt *prng.MT19937
}

// newPythonRandom seeds as random.Random(seed) does for an int: by the 32-bit digits of its absolute value, lowest
// first.
func newPythonRandom(seed int64) *pythonRandom {
	abs := uint64(seed)
	if seed < 0 {
		abs = -abs
	}
	keys := []uint32{uint32(abs)}
	if bits.Len64(abs) > 32 {
		keys = append(keys, uint32(abs>>32))
	}
	mt := prng.NewMT19937()
	mt.SeedFromKeys(keys)
	return &pythonRandom{mt: mt}
}

// float returns random.random(): 53 bits in [0, 1).
func (r *pythonRandom) float() float64 {
	a, b := r.mt.Uint32()>>5, r.mt.Uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}

// exponential returns random.expovariate(rate): −ln(1 − random()) / rate.
func (r *pythonRandom) exponential(rate float64) float64 {
	return -math.Log(1-r.float()) / rate
}
