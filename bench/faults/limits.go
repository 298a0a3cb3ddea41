package main

// limitRows are rows.
func limitRows() []row { return nil }
