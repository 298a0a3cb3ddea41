//go:build !race

package tokenizer

const vectorStride = 1
