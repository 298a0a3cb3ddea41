package main

import "strings"

// nearest is the name that someone who typed a wrong one meant: the least number of letters to change, to leave out, to
// add or to swap with the next. It is "" where all names are too far away.
func nearest(typed string, names []string) string {
	typed = strings.ToLower(typed)
	best, least := "", 1+min(3, max(1, len(typed)/3))
	for _, name := range names {
		d := distance(typed, strings.ToLower(name))
		if len(typed) >= 3 && strings.HasPrefix(strings.ToLower(name), typed) {
			d = min(d, 2) // it was not typed to its end
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is the number of single letters between two names, two that are swapped counting once.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
