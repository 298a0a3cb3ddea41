// Package fuzztest is what fuzz targets of several packages need. Only tests import it.
package fuzztest

import (
	"bytes"
	"compress/gzip"
	"runtime/metrics"
	"testing"
	"time"
)

// Watch ends the process where a target does not end within 20 s, so that the input is kept.
func Watch(t *testing.T) {
	timer := time.AfterFunc(20*time.Second, func() { panic("hangs") })
	t.Cleanup(func() { timer.Stop() })
}

// Allocated is how many bytes the process has allocated so far.
func Allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Gzip packs a text.
func Gzip(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.HuffmanOnly) // which needs little memory, and so is fast to make
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
