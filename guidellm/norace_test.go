//go:build !race

package guidellm

const raceEnabled = false
