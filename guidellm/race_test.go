//go:build race

package guidellm

// raceEnabled: the race detector makes tests ten times as slow.
const raceEnabled = true
