package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// blockBootstrap is the 95 % percentile interval of the logarithm of the ratio of a figure of two series, by the moving
// block bootstrap (H. Künsch, Ann. Stat. 17, 1989) with blocks of n^(1/3)·2 observations: what openloop compare does
// not do, to see why.
func blockBootstrap(a, b []float64, figure func([]float64) float64, resamples int, seed uint64) (low, high float64) {
	r := rand.New(rand.NewPCG(seed, 5))
	scratch := make([]float64, 0, len(a))
	resample := func(from []float64) float64 {
		length := int(2 * math.Cbrt(float64(len(from))))
		scratch = scratch[:0]
		for len(scratch) < len(from) {
			start := r.IntN(len(from) - length + 1)
			scratch = append(scratch, from[start:start+min(length, len(from)-len(scratch))]...)
		}
		return figure(scratch)
	}
	ratios := make([]float64, resamples)
	for i := range ratios {
		ratios[i] = math.Log(resample(b) / resample(a))
	}
	slices.Sort(ratios)
	return ratios[int(0.025*float64(resamples))], ratios[min(int(0.975*float64(resamples)), resamples-1)]
}
