//go:build !race

// Package race tells tests whether they run under the race detector, which makes them ten times as slow: those of
// arithmetic in one goroutine leave their longest parts out there.
package race

// Enabled says whether the race detector is on.
const Enabled = false
