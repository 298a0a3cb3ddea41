//go:build race

package tokenizer

// The race detector makes the vectors ten times slower and finds nothing in their arithmetic: with it every tenth is
// checked.
const vectorStride = 10
