//go:build !race

package tokens

const vectorStride = 1
