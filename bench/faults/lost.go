package main

// lostRows are rows.
func lostRows() []row { return nil }
