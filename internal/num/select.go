package num

import (
	"math/bits"
	"slices"
)

// Select returns the value of rank k, from 1 to len(values), as it would stand in their sorted order, in linear time.
// It reorders the values; none may be NaN.
func Select(values []float64, k int) float64 {
	lo, hi := 0, len(values) // the value lies in values[lo:hi]
	for rounds := 2 * bits.Len(uint(len(values))); hi-lo > 1; rounds-- {
		if rounds == 0 { // the pivots were bad: sorting bounds the work
			slices.Sort(values[lo:hi])
			break
		}
		mid := lo + (hi-lo)/2
		pivot := medianOf3(values[lo], values[mid], values[hi-1])
		// Three parts: below, equal to and above the pivot, so that equal values cost no rounds.
		below, above := lo, hi
		for i := lo; i < above; {
			switch v := values[i]; {
			case v < pivot:
				values[i], values[below] = values[below], v
				below++
				i++
			case v > pivot:
				above--
				values[i], values[above] = values[above], v
			default:
				i++
			}
		}
		switch {
		case k <= below:
			hi = below
		case k > above:
			lo = above
		default:
			return pivot
		}
	}
	return values[k-1]
}

func medianOf3(a, b, c float64) float64 { return max(min(a, b), min(max(a, b), c)) }
