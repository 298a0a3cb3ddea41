//go:build !linux && !darwin

package main

// availableMemory is not known here.
func availableMemory() (bytes float64, source string) { return 0, "" }
