//go:build race

package sweep

// raceEnabled: the race detector makes tests ten times as slow.
const raceEnabled = true
