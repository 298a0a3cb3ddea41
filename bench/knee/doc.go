// Package knee is the study of the search for the knee: what it states against what is true, for simulated engines
// whose knee is known by brute force. `make knee-study` runs it; docs/knee.md has its table.
package knee
